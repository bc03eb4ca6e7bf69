#include "partial/general.hpp"

#include "partial/block_receiver.hpp"
#include "partial/joined_rows.hpp"
#include "partial/relation_locks.hpp"
#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "access/transam.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/dest.h"
#include "utils/inval.h"
}

#include <cmath>

namespace pipeline::partial {

namespace {

/// A join of few rows wants index look-ups, of many rows one pass over the other table. So a
/// query that joins has a statement for each of these numbers of rows, made when it is first
/// needed; its estimate is then at most ten times off.
struct FeedSize {
    double below;
    double planned_for;
};
constexpr FeedSize kFeedSizes[] = {
    {100, 10}, {10000, 1000}, {1000000, 100000}, {HUGE_VAL, 3000000}};
constexpr int kNumSizes = lengthof(kFeedSizes);

/// From so many rows on a join is aggregated in blocks.
constexpr double kWorthBlocks = 1000;

int size_of_feed(double rows)
{
    int size = 0;
    while (size < kNumSizes - 1 && rows >= kFeedSizes[size].below)
        size++;
    return size;
}

} // namespace

struct GeneralPlan {
    GeneralPlan *next; ///< of the live plans
    MemoryContext context;
    PlannedStmt *statements[kNumSizes]; ///< nullptr until needed
    JoinedPlan *joined[kNumSizes];      ///< of those that are worth it and are served
    Oid definition;                     ///< its owner is baked into the plan
    TransactionId transient_xmin;       ///< a statement is good for this TransactionXmin only
    bool joins;                         ///< it reads more than the stream
    bool stale;
};

namespace {

/// Live plans of this process, for the invalidation callbacks.
constinit GeneralPlan *live_plans = nullptr;

/// How many messages came: a plan during whose making one came is stale from the start.
constinit uint64 messages = 0;

bool rests_on(const PlannedStmt *statement, Oid relid)
{
    return statement != nullptr && list_member_oid(statement->relationOids, relid);
}

bool rests_on(const PlannedStmt *statement, int cache, uint32 hash)
{
    if (statement == nullptr)
        return false;
    for (auto *item : pg::each<PlanInvalItem>(statement->invalItems))
        if (item->cacheId == cache && (hash == 0 || item->hashValue == hash))
            return true;
    return false;
}

/// The same tests as plancache.c:PlanCacheRelCallback and PlanCacheObjectCallback. A stale
/// flag that comes too often costs a planning, one that is missing a wrong answer.
void note_relation(Datum, Oid relid)
{
    messages++;
    for (GeneralPlan *plan = live_plans; plan != nullptr; plan = plan->next) {
        plan->stale |= relid == InvalidOid || relid == plan->definition;
        for (const PlannedStmt *statement : plan->statements)
            plan->stale |= rests_on(statement, relid);
    }
}

void note_object(Datum, int cache, uint32 hash)
{
    messages++;
    for (GeneralPlan *plan = live_plans; plan != nullptr; plan = plan->next)
        for (const PlannedStmt *statement : plan->statements)
            plan->stale |= rests_on(statement, cache, hash);
}

/// Operators, casts, schemas and the like are not tracked per plan (plancache.c does the same).
void note_anything(Datum, int, uint32)
{
    note_relation(0, InvalidOid);
}

/// Makes the top Agg emit serialized transition states. The definition's target list holds
/// keys and bare aggregates only, so nothing is computed on top of a state, and it has no
/// HAVING, which would filter groups by the state of one batch.
void emit_partial_states(PlannedStmt *statement)
{
    Plan *const top = statement->planTree;
    if (!IsA(top, Agg)) {
        // GROUP BY without aggregates (Group, Unique): rows are keys. WHERE false: no rows.
        for (auto *entry : pg::each<TargetEntry>(top->targetlist))
            if (IsA(entry->expr, Aggref))
                elog(ERROR, "top plan node %d is no Agg", static_cast<int>(nodeTag(top)));
        return;
    }
    auto *const agg = reinterpret_cast<Agg *>(top);
    if (agg->aggsplit != AGGSPLIT_SIMPLE)
        elog(ERROR, "top plan node aggregates in steps");
    bool has_aggregates = false;
    for (auto *entry : pg::each<TargetEntry>(top->targetlist)) {
        if (!IsA(entry->expr, Aggref))
            continue;
        mark_partial_aggref(reinterpret_cast<Aggref *>(entry->expr), AGGSPLIT_INITIAL_SERIAL);
        has_aggregates = true;
    }
    if (!has_aggregates)
        return;
    agg->aggsplit = AGGSPLIT_INITIAL_SERIAL;
    for (auto *grouping : pg::each<Agg>(agg->chain)) // of grouping sets
        grouping->aggsplit = AGGSPLIT_INITIAL_SERIAL;
}

PlannedStmt *plan_definition(Relation definition)
{
    auto *query = static_cast<Query *>(copyObjectImpl(get_view_query(definition)));
    AcquireRewriteLocks(query, true, false);
    List *const rewritten = QueryRewrite(query);
    if (list_length(rewritten) != 1)
        elog(ERROR, "definition rewrites to %d queries", list_length(rewritten));
    // No CURSOR_OPT_PARALLEL_OK: a stream cannot be scanned by a parallel worker.
    PlannedStmt *const statement =
        planner(static_cast<Query *>(linitial(rewritten)), "(continuous query)", 0, nullptr);
    statement->jitFlags = 0;
    emit_partial_states(statement);
    return statement;
}

/// True unless the definition reads its stream alone.
bool reads_more_than_stream(Relation definition)
{
    Query *const query = get_view_query(definition);
    List *const from = query->jointree->fromlist;
    if (query->hasSubLinks || list_length(from) != 1 || !IsA(linitial(from), RangeTblRef))
        return true;
    int const index = static_cast<RangeTblRef *>(linitial(from))->rtindex;
    return rt_fetch(index, query->rtable)->rtekind != RTE_RELATION;
}

/// The stream's scan takes its row estimate from the feed.
PlannedStmt *plan_for(Relation definition, double rows)
{
    spool::Feed feed = *spool::current_feed();
    feed.rows = rows;
    const spool::Feed *const former = spool::set_feed(&feed);
    PlannedStmt *const statement = plan_definition(definition);
    spool::set_feed(former);
    return statement;
}

/// The number of the statement for so many rows, else that of any.
int statement_for(const GeneralPlan *plan, double rows)
{
    if (int const size = size_of_feed(rows); plan->statements[size] != nullptr)
        return size;
    for (int size = 0; size < kNumSizes; size++)
        if (plan->statements[size] != nullptr)
            return size;
    elog(ERROR, "continuous query is not planned");
}

/// A destination that hands each row to a GroupReceiver.
struct GroupDestination {
    DestReceiver receiver; // first: the executor knows this member only
    GroupReceiver receive;
    void *arg;
};

extern "C" bool pipeline_receive_group(TupleTableSlot *slot, DestReceiver *self)
{
    auto *destination = reinterpret_cast<GroupDestination *>(self);
    destination->receive(slot, destination->arg);
    return true;
}

extern "C" void pipeline_start_groups(DestReceiver *, int, TupleDesc) {}

extern "C" void pipeline_end_groups(DestReceiver *) {}

} // namespace

GeneralPlan *make_plan(Relation definition, MemoryContext parent)
{
    MemoryContext const context =
        AllocSetContextCreate(parent, "continuous query plan", ALLOCSET_DEFAULT_SIZES);
    auto *plan = static_cast<GeneralPlan *>(MemoryContextAllocZero(context, sizeof(GeneralPlan)));
    plan->context = context;
    plan->definition = RelationGetRelid(definition);
    plan->joins = reads_more_than_stream(definition);
    ready_plan(plan, definition);
    plan->next = live_plans;
    live_plans = plan;
    return plan;
}

void ready_plan(GeneralPlan *plan, Relation definition)
{
    double const rows = spool::current_feed()->rows;
    int const size = plan->joins ? size_of_feed(rows) : 0;
    if (plan->statements[size] != nullptr)
        return;
    double const planned_for = plan->joins ? kFeedSizes[size].planned_for : rows;
    uint64 const messages_before = messages;
    MemoryContext const scratch =
        AllocSetContextCreate(plan->context, "planning", ALLOCSET_DEFAULT_SIZES);
    PlannedStmt *const planned =
        pg::in_context(scratch, [&] { return plan_for(definition, planned_for); });
    plan->statements[size] = pg::in_context(
        plan->context, [&] { return static_cast<PlannedStmt *>(copyObjectImpl(planned)); });
    MemoryContextDelete(scratch);
    if (plan->joins && planned_for >= kWorthBlocks)
        plan->joined[size] = pg::in_context(
            plan->context, [&] { return make_joined_plan(plan->statements[size], definition); });
    plan->stale |= messages != messages_before;
    if (plan->statements[size]->transientPlan)
        plan->transient_xmin = TransactionXmin;
}

/// As plancache.c, CheckCachedPlan: a transient statement leaves out an index that snapshots of
/// its time could not use.
bool is_stale(const GeneralPlan *plan)
{
    return plan->stale || (TransactionIdIsValid(plan->transient_xmin) &&
                           !TransactionIdEquals(plan->transient_xmin, TransactionXmin));
}

bool lock_joined(const GeneralPlan *plan)
{
    if (plan->joins)
        for (const PlannedStmt *const statement : plan->statements)
            if (statement != nullptr && OidIsValid(lock_statement_relations(statement)))
                return false;
    return true;
}

const PlannedStmt *plan_once(Relation definition)
{
    constexpr double kManyRows = 100000;
    return reads_more_than_stream(definition) ? nullptr : plan_for(definition, kManyRows);
}

const PlannedStmt *single_statement(const GeneralPlan *plan)
{
    return plan->joins ? nullptr : plan->statements[0];
}

void free_plan(GeneralPlan *plan)
{
    for (GeneralPlan **at = &live_plans; *at != nullptr; at = &(*at)->next)
        if (*at == plan) {
            *at = plan->next;
            break;
        }
    MemoryContextDelete(plan->context);
}

void run_plan(const GeneralPlan *plan, GroupReceiver receive, void *arg)
{
    const spool::Feed *const feed = spool::current_feed();
    int const size = statement_for(plan, feed->rows);
    const PlannedStmt *const statement = plan->statements[size];
    if (Oid const relid = lock_statement_relations(statement); OidIsValid(relid))
        ereport(ERROR,
                (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
                 errmsg("relation \"%s\" is locked by another session", get_rel_name(relid))));
    if (settings::vectorize && plan->joined[size] != nullptr && spool::is_whole(*feed) &&
        run_joined_plan(plan->joined[size], receive, arg))
        return;

    GroupDestination destination{};
    destination.receiver.receiveSlot = pipeline_receive_group;
    destination.receiver.rStartup = pipeline_start_groups;
    destination.receiver.rShutdown = pipeline_end_groups;
    destination.receiver.rDestroy = pipeline_end_groups;
    destination.receiver.mydest = DestNone;
    destination.receive = receive;
    destination.arg = arg;
    execute_statement(statement, &destination.receiver);
}

void install_plans()
{
    CacheRegisterRelcacheCallback(note_relation, static_cast<Datum>(0));
    CacheRegisterSyscacheCallback(PROCOID, note_object, static_cast<Datum>(0));
    CacheRegisterSyscacheCallback(TYPEOID, note_object, static_cast<Datum>(0));
    for (int const cache :
         {NAMESPACEOID, OPEROID, AMOPOPID, FOREIGNSERVEROID, FOREIGNDATAWRAPPEROID, AUTHOID})
        CacheRegisterSyscacheCallback(cache, note_anything, static_cast<Datum>(0));
}

} // namespace pipeline::partial
