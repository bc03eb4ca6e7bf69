#include "stream/preaggregation.hpp"

#include "partial/partial_chunk.hpp"
#include "partial/purity.hpp"
#include "partial/vector.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "spool/stream_workers.hpp"
#include "spool/view_lock.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "access/parallel.h"
#include "access/relation.h"
#include "executor/nodeHash.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
}

#include <algorithm>

namespace pipeline::stream {
namespace {

/// A view on its way into a run.
struct Candidate {
    Oid definition;
    Oid owner;
    const char *timezone; ///< nullptr if nothing depends on it
    const partial::VectorPlan *plan;
};

/// Views that have owner, time zone and WHERE in common.
struct ViewRun {
    Oid owner;
    const char *timezone;
    bool evaluates; ///< something that can fail
    int nviews;
    Oid *definitions;
    partial::VectorRun *run;
};

} // namespace

struct Preaggregation {
    MemoryContext context;
    MemoryContext block; ///< of the rows at hand
    uint64 catalog_changes;
    int nviews;
    int nruns;
    ViewRun *runs;
    uint64 rows;   ///< taken since the groups were forgotten, ...
    uint64 judged; ///< ... and at the last judgement, ...
    uint64 groups; ///< ... when there were so many groups, over all views
    bool pays;
};

namespace {

/// Rows between two looks at whether it pays.
constexpr uint64 kJudgeEvery = 32 * uint64{agg::kBlockRows};

List *views_of(Oid stream)
{
    List *views = NIL;
    for (auto *query : pg::each<view::ContinuousQuery>(view::list_queries()))
        if (query->reads_stream(stream) && !query->lost)
            views = lappend(views, query);
    return views;
}

/// A group that violates a constraint would stop the view, where a single row can be rejected; and
/// a partitioned table refuses rows without a time.
bool may_refuse_groups(Oid matrel)
{
    HeapTuple const tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(matrel));
    if (!HeapTupleIsValid(tuple))
        return true;
    Form_pg_class const form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    bool refuses = form->relkind != RELKIND_RELATION || form->relchecks > 0;
    int const natts = form->relnatts;
    ReleaseSysCache(tuple);
    for (int i = 1; i <= natts && !refuses; i++) {
        HeapTuple const column =
            SearchSysCache2(ATTNUM, ObjectIdGetDatum(matrel), Int16GetDatum(i));
        if (!HeapTupleIsValid(column))
            continue;
        refuses = reinterpret_cast<Form_pg_attribute>(GETSTRUCT(column))->attnotnull;
        ReleaseSysCache(column);
    }
    return refuses;
}

/// Plans the view's query as its owner; false if it is not served.
bool plan_view(const view::ContinuousQuery *query, Candidate *candidate)
{
    if (may_refuse_groups(query->matrel))
        return false;
    if (!ConditionalLockRelationOid(query->definition, AccessShareLock))
        return false;
    Relation definition = try_relation_open(query->definition, NoLock);
    if (definition == nullptr)
        return false;
    const partial::VectorPlan *plan = nullptr;
    candidate->definition = query->definition;
    candidate->owner = definition->rd_rel->relowner;
    candidate->timezone = nullptr;
    pg::as_user(candidate->owner, SECURITY_RESTRICTED_OPERATION, [&] {
        if (const PlannedStmt *const statement = partial::plan_once(definition))
            plan = partial::make_vector_plan(statement, definition);
        if (plan != nullptr && !partial::may_run(plan))
            plan = nullptr;
    });
    partial::Purity const purity =
        plan == nullptr ? partial::Purity::kImpure : partial::purity_of(plan);
    if (purity == partial::Purity::kTimeZoneOnly)
        candidate->timezone = view::creation_setting(definition, "timezone");
    candidate->plan = plan;
    relation_close(definition, NoLock);
    return purity == partial::Purity::kPure || candidate->timezone != nullptr;
}

bool have_same_run(const Candidate &one, const Candidate &other)
{
    bool const same_zone =
        one.timezone == other.timezone || (one.timezone != nullptr && other.timezone != nullptr &&
                                           strcmp(one.timezone, other.timezone) == 0);
    return one.owner == other.owner && same_zone && partial::can_merge(one.plan, other.plan);
}

/// Makes a run of all candidates that go together with the first one that has none yet.
ViewRun make_run(Relation stream, const Candidate *candidates, int count, bool *placed, int first)
{
    ViewRun run{};
    run.owner = candidates[first].owner;
    run.timezone = candidates[first].timezone;
    auto const most = static_cast<Size>(count - first);
    run.definitions = static_cast<Oid *>(palloc(sizeof(Oid) * most));
    auto *const plans = static_cast<const partial::VectorPlan **>(
        palloc(sizeof(const partial::VectorPlan *) * most));
    for (int i = first; i < count; i++) {
        if (placed[i] || !have_same_run(candidates[first], candidates[i]))
            continue;
        placed[i] = true;
        run.definitions[run.nviews] = candidates[i].definition;
        plans[run.nviews++] = candidates[i].plan;
    }
    const partial::MergedPlan *const merged = partial::merge_plans(plans, run.nviews);
    run.evaluates = merged->lanes->scan->scan.plan.qual != NIL;
    for (int i = 0; i < merged->lanes->ninputs; i++)
        run.evaluates |= merged->lanes->inputs[i].attnum == 0;
    pg::as_user(run.owner, SECURITY_RESTRICTED_OPERATION,
                [&] { run.run = partial::open_run(merged, stream); });
    return run;
}

/// The stream's scan is planned only where there is something to scan.
void make_runs(Preaggregation *preaggregation, Relation stream, const List *views, bool *served)
{
    spool::StreamChunks const nothing{RelationGetRelid(stream), 0, 0, 0};
    spool::Feed feed;
    feed.nstreams = 1;
    feed.streams = &nothing;
    const spool::Feed *const former = spool::set_feed(&feed);
    auto const count = static_cast<Size>(list_length(views));
    auto *const candidates = static_cast<Candidate *>(palloc0(sizeof(Candidate) * count));
    auto *const placed = static_cast<bool *>(palloc0(count));
    int planned = 0;
    for (auto *query : pg::each<view::ContinuousQuery>(views)) {
        if (!plan_view(query, &candidates[planned])) {
            spool::set_feed(former);
            return;
        }
        planned++;
    }
    spool::set_feed(former);
    preaggregation->runs = static_cast<ViewRun *>(palloc0(sizeof(ViewRun) * count));
    for (int i = 0; i < planned; i++)
        if (!placed[i])
            preaggregation->runs[preaggregation->nruns++] =
                make_run(stream, candidates, planned, placed, i);
    preaggregation->nviews = planned;
    *served = true;
}

/// Cancellation is no reason to take another way.
void raise_unless_a_fault(const pg::Failure &failure)
{
    int const category = ERRCODE_TO_CATEGORY(failure.sqlstate);
    if (category == MAKE_SQLSTATE('5', '7', '0', '0', '0') ||
        category == MAKE_SQLSTATE('5', '3', '0', '0', '0'))
        pg::raise_again(failure);
}

void evaluate(const ViewRun &run, const partial::DatumBlock &rows)
{
    int level = -1;
    if (run.timezone != nullptr &&
        strcmp(run.timezone, GetConfigOption("timezone", false, false)) != 0) {
        level = NewGUCNestLevel();
        (void) set_config_option("timezone", run.timezone, PGC_USERSET, PGC_S_SESSION,
                                 GUC_ACTION_SAVE, true, 0, false);
    }
    pg::as_user(run.owner, SECURITY_RESTRICTED_OPERATION, [&] {
        partial::begin_block(run.run, &rows);
        partial::evaluate_block(run.run, 0, rows.nrows);
    });
    if (level >= 0)
        AtEOXact_GUC(false, level);
}

/// What only copies columns cannot fail; the rest is tried in a subtransaction, which costs no
/// transaction id, as nothing is written.
bool evaluate_all(const Preaggregation *preaggregation, const partial::DatumBlock &rows)
{
    bool careful = false;
    for (int r = 0; r < preaggregation->nruns; r++)
        careful |= preaggregation->runs[r].evaluates;
    auto all = [&] {
        for (int r = 0; r < preaggregation->nruns; r++)
            evaluate(preaggregation->runs[r], rows);
    };
    if (!careful) {
        all();
        return true;
    }
    pg::Failure const failure = pg::subtransaction(all);
    if (failure.failed)
        raise_unless_a_fault(failure);
    return !failure.failed;
}

/// work_mem is for one operation, and here each view's aggregation is one.
Size memory_limit(const Preaggregation *preaggregation)
{
    constexpr Size kMost = Size{256} << 20;
    return std::min(get_hash_memory_limit() * static_cast<Size>(preaggregation->nviews), kMost);
}

uint64 count_groups(const Preaggregation *preaggregation)
{
    uint64 count = 0;
    for (int r = 0; r < preaggregation->nruns; r++)
        count += partial::count_all_groups(preaggregation->runs[r].run);
    return count;
}

/// It pays while most rows fall into groups that are there.
void judge(Preaggregation *preaggregation)
{
    uint64 const judged = preaggregation->judged;
    if (preaggregation->rows < judged + kJudgeEvery)
        return;
    uint64 const groups = count_groups(preaggregation);
    uint64 const possible =
        (preaggregation->rows - judged) * static_cast<uint64>(preaggregation->nviews);
    uint64 const fresh = groups - preaggregation->groups;
    preaggregation->pays = fresh < possible / 2;
    preaggregation->groups = groups;
    preaggregation->judged = preaggregation->rows;
}

struct GroupSink {
    spool::StatementWriter *writer;
    Oid definition;
    uint64 rows; ///< that the groups stand for, and that no chunk says yet
};

void write_batch(const batch::Batch &groups, void *arg)
{
    auto *const sink = static_cast<GroupSink *>(arg);
    std::size_t const bound = spool::encoded_size(groups);
    auto *const chunk = static_cast<std::byte *>(spool::chunk_buffer(sink->writer, bound));
    std::size_t const size = pg::enter([&] { return spool::encode(groups, {chunk, bound}); });
    auto const rows = static_cast<int32>(std::min(sink->rows, uint64{INT32_MAX}));
    sink->rows -= static_cast<uint64>(rows);
    spool::write_chunk(sink->writer, sink->definition, -rows, chunk, size);
}

/// "AT TIME ZONE 'EST'" is declared immutable, and yet depends on this setting, which is not kept
/// at a view's creation.
bool has_usual_abbreviations()
{
    return strcmp(GetConfigOption("timezone_abbreviations", false, false), "Default") == 0;
}

} // namespace

Preaggregation *begin_preaggregation(Relation stream, MemoryContext parent)
{
    // A subtransaction cannot be begun there.
    if (IsInParallelMode() || !has_usual_abbreviations() ||
        !spool::begin_aggregating(RelationGetRelid(stream)))
        return nullptr;
    MemoryContext const context =
        AllocSetContextCreate(parent, "aggregation by writer", ALLOCSET_DEFAULT_SIZES);
    MemoryContext const old = MemoryContextSwitchTo(context);
    auto *preaggregation = static_cast<Preaggregation *>(palloc0(sizeof(Preaggregation)));
    preaggregation->context = context;
    preaggregation->block = AllocSetContextCreate(context, "block of rows", ALLOCSET_SMALL_SIZES);
    preaggregation->pays = true;
    preaggregation->catalog_changes = spool::count_catalog_changes();
    const List *const views = views_of(RelationGetRelid(stream));
    bool served = false;
    const spool::Feed *const feed = spool::current_feed();
    pg::Failure failure;
    // Rolled back, so that planning leaves no lock on the definitions: DROP VIEW shall not wait for
    // a long COPY. The plans rest on the server's own functions and the stream, which is locked.
    if (views != NIL)
        failure = pg::trial([&] {
            MemoryContextSwitchTo(context);
            make_runs(preaggregation, stream, views, &served);
        });
    MemoryContextSwitchTo(old);
    if (served && !failure.failed)
        return preaggregation;
    spool::set_feed(feed);
    if (failure.failed)
        raise_unless_a_fault(failure);
    spool::cancel_aggregating(RelationGetRelid(stream));
    MemoryContextDelete(context);
    return nullptr;
}

bool take_rows(Preaggregation *preaggregation, const partial::DatumBlock &rows)
{
    MemoryContext const old = MemoryContextSwitchTo(preaggregation->block);
    bool taken = evaluate_all(preaggregation, rows);
    for (int r = 0; taken && r < preaggregation->nruns; r++)
        taken = partial::is_moderate(preaggregation->runs[r].run);
    for (int r = 0; taken && r < preaggregation->nruns; r++)
        partial::take_block(preaggregation->runs[r].run);
    if (taken) {
        preaggregation->rows += rows.nrows;
        judge(preaggregation);
    }
    MemoryContextSwitchTo(old);
    MemoryContextReset(preaggregation->block);
    return taken;
}

Advice advice(const Preaggregation *preaggregation)
{
    if (!preaggregation->pays || spool::count_catalog_changes() != preaggregation->catalog_changes)
        return Advice::kStop;
    Size size = 0;
    for (int r = 0; r < preaggregation->nruns; r++)
        size += partial::run_size(preaggregation->runs[r].run);
    if (size < memory_limit(preaggregation))
        return Advice::kGoOn;
    // So many groups in so few rows are better left to the fold worker.
    uint64 const rows = preaggregation->rows * static_cast<uint64>(preaggregation->nviews);
    return rows < 4 * count_groups(preaggregation) ? Advice::kStop : Advice::kWrite;
}

void write_groups(Preaggregation *preaggregation, spool::StatementWriter *writer)
{
    MemoryContext const old = MemoryContextSwitchTo(preaggregation->block);
    for (int r = 0; r < preaggregation->nruns; r++) {
        const ViewRun &run = preaggregation->runs[r];
        for (int v = 0; v < run.nviews; v++) {
            GroupSink sink{writer, run.definitions[v], preaggregation->rows};
            partial::write_partials(run.run, v, write_batch, &sink);
        }
        partial::clear_groups(run.run);
    }
    preaggregation->rows = preaggregation->groups = preaggregation->judged = 0;
    MemoryContextSwitchTo(old);
    MemoryContextReset(preaggregation->block);
}

void end_preaggregation(Preaggregation *preaggregation)
{
    for (int r = 0; r < preaggregation->nruns; r++)
        partial::close_run(preaggregation->runs[r].run);
    MemoryContextDelete(preaggregation->context);
}

} // namespace pipeline::stream
