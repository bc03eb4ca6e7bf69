// The scan of a stream: rows of the chunks that the running tick feeds, for queries that the
// fold plans. Everybody else is refused while planning.
#include "pg/compat.hpp"
#include "spool/feed.hpp"
#include "spool/rendezvous.hpp"
#include "stream/stream.hpp"

extern "C" {
#include "access/sysattr.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "parser/parse_param.h"
}

#include <algorithm>

namespace pipeline::stream {
namespace {

/// As costsize.c's disable_cost: more than any plan without it.
constexpr Cost kForbidden = 1.0e10;

/// Executor state of one scan.
struct ScanState {
    int nwanted;   ///< columns that the query reads
    int *wanted;   ///< their slot indexes
    int *column;   ///< of each, its column in the chunk at hand, -1 = absent (NULL)
    int chunk;     ///< index into the feed
    uint32 row;    ///< next row of that chunk
    uint64 number; ///< and its number in the feed
    bool mapped;   ///< `column` is right for the chunk at hand
    const spool::StreamChunks *chunks; ///< of the feed, those of this stream, ...
    int end;                           ///< ... before this one
};

const char *verb_of(CmdType command)
{
    switch (command) {
    case CMD_UPDATE:
        return "update";
    case CMD_DELETE:
        return "delete from";
    case CMD_MERGE:
        return "merge into";
    default:
        return "read";
    }
}

[[noreturn]] void refuse(Oid relid, CmdType command)
{
    spool::require_preload(); // else nothing reads a stream, not even a continuous view
    const char *const name = get_rel_name(relid);
    if (command != CMD_SELECT)
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("cannot %s stream \"%s\"", verb_of(command), name),
                        errhint("A stream stores no rows. Only INSERT and COPY FROM work on it.")));
    ereport(ERROR,
            (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is a stream", name),
             errhint("Streams can be read only in the FROM clause of a continuous view: CREATE "
                     "VIEW ... AS SELECT ... FROM %s GROUP BY ...",
                     quote_identifier(name))));
}

/// A query names `parent`, and the stream is below it.
[[noreturn]] void refuse_parent(Oid parent, Oid relid, CmdType command)
{
    bool const partitioned = get_rel_relkind(parent) == RELKIND_PARTITIONED_TABLE;
    ereport(ERROR,
            (errcode(ERRCODE_WRONG_OBJECT_TYPE),
             errmsg("cannot %s table \"%s\" because its %s \"%s\" is a stream", verb_of(command),
                    get_rel_name(parent), partitioned ? "partition" : "child", get_rel_name(relid)),
             errdetail("A stream stores no rows; those that were written to it are in its "
                       "continuous views."),
             partitioned ? errhint("Name another partition, or leave this one out by a condition "
                                   "on the partition key.")
                         : errhint("Use ONLY %s.", quote_identifier(get_rel_name(parent)))));
}

/// The table that the query names, if the stream is reached by inheritance; else InvalidOid.
/// Members of a flattened UNION ALL have a parent that is no table.
Oid named_parent(PlannerInfo *root, const RelOptInfo *rel, Oid relid)
{
    Oid parent = InvalidOid;
    Index member = rel->relid;
    while (root->append_rel_array != nullptr && root->append_rel_array[member] != nullptr &&
           OidIsValid(root->append_rel_array[member]->parent_reloid)) {
        parent = root->append_rel_array[member]->parent_reloid;
        member = root->append_rel_array[member]->parent_relid;
    }
    if (parent == relid) // made while no hook of ours was there to refuse it
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("stream \"%s\" has inheritance children", get_rel_name(relid)),
                        errhint("ALTER TABLE child NO INHERIT %s.",
                                quote_identifier(get_rel_name(relid)))));
    return parent;
}

/// A scan by way of a parent. Only the executor knows which partitions a generic plan or a
/// stable function leaves out, so a read is refused when the scan starts
/// (nodeAppend.c:ExecInitAppend starts those that are left). For a write it would be the server
/// that refuses (execMain.c:CheckValidResultRel, for all targets), so the plan must not be
/// taken: plancache.c makes a generic one in order to compare the costs.
void size_below_parent(PlannerInfo *root, RelOptInfo *rel, Oid parent, Oid relid)
{
    bool const is_target = bms_is_member(static_cast<int>(rel->relid), root->all_result_relids);
    if (is_target &&
        (root->glob->boundParams != nullptr || !query_contains_extern_params(root->parse)))
        refuse_parent(parent, relid, root->parse->commandType);
    rel->tuples = 0;
    rel->rows = 1;
}

extern "C" void pipeline_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
    Oid const parent = named_parent(root, rel, relid);
    if (OidIsValid(parent)) {
        size_below_parent(root, rel, parent, relid);
        return;
    }
    const spool::Feed *const feed = spool::current_feed();
    if (spool::find_stream(feed, relid) == nullptr) {
        bool const is_target = bms_is_member(static_cast<int>(rel->relid), root->all_result_relids);
        refuse(relid, is_target ? root->parse->commandType : CMD_SELECT);
    }
    // Of several streams each is taken for the only one that has rows: the plan is kept for all
    // feeds of this size.
    rel->tuples = feed->rows;
    rel->rows = clamp_row_est(
        feed->rows * clauselist_selectivity(root, rel->baserestrictinfo, 0, JOIN_INNER, nullptr));
}

extern "C" void pipeline_paths(PlannerInfo *root, RelOptInfo *rel, Oid)
{
    bool const is_target = bms_is_member(static_cast<int>(rel->relid), root->all_result_relids);
    Cost const total = is_target ? kForbidden : rel->tuples * cpu_tuple_cost;
    add_path(rel, reinterpret_cast<Path *>(pg::make_foreign_scan_path(root, rel, 0, total)));
}

/// fdw_private: the attribute numbers that the query reads, or, as a list of OIDs, the parent
/// that it names.
extern "C" ForeignScan *pipeline_plan_scan(PlannerInfo *root, RelOptInfo *rel, Oid relid,
                                           ForeignPath *, List *tlist, List *clauses,
                                           Plan *outer_plan)
{
    Bitmapset *used = nullptr;
    pull_varattnos(reinterpret_cast<Node *>(rel->reltarget->exprs), rel->relid, &used);
    List *const quals = extract_actual_clauses(clauses, false);
    pull_varattnos(reinterpret_cast<Node *>(quals), rel->relid, &used);

    List *wanted = NIL;
    for (int i = -1; (i = bms_next_member(used, i)) >= 0;)
        wanted = lappend_int(wanted, i + FirstLowInvalidHeapAttributeNumber);
    Oid const parent = named_parent(root, rel, relid);
    if (OidIsValid(parent))
        wanted = list_make1_oid(parent);
    return make_foreignscan(tlist, quals, rel->relid, NIL, wanted, NIL, NIL, outer_plan);
}

void list_wanted(ScanState *state, const List *attnums, TupleDesc descriptor)
{
    auto const natts = static_cast<Size>(descriptor->natts);
    state->wanted = static_cast<int *>(palloc(natts * sizeof(int)));
    state->column = static_cast<int *>(palloc(natts * sizeof(int)));
    const ListCell *cell;
    bool whole_row = false;
    foreach (cell, attnums)
        whole_row |= lfirst_int(cell) == 0;
    for (int i = 0; i < descriptor->natts; i++)
        if (!TupleDescAttr(descriptor, i)->attisdropped &&
            (whole_row || list_member_int(attnums, i + 1)))
            state->wanted[state->nwanted++] = i;
}

void go_to_start(ScanState *state, const spool::Feed *feed)
{
    bool const is_before = feed->first_chunk < state->chunks->begin;
    state->chunk = is_before ? state->chunks->begin : feed->first_chunk;
    state->row = is_before ? 0 : feed->first_row;
    state->number = is_before ? state->chunks->first : feed->first;
    state->mapped = false;
    state->end = std::min(state->chunks->end, feed->nchunks);
}

/// Goes to the next row that is to be handed out; false at the end.
bool find_row(ScanState *state, const spool::Feed *feed)
{
    for (;; state->row++, state->number++) {
        while (state->chunk < state->end && state->row >= feed->chunks[state->chunk]->nrows()) {
            state->chunk++;
            state->row = 0;
            state->mapped = false;
            CHECK_FOR_INTERRUPTS();
        }
        if (state->chunk >= state->end || state->number >= feed->end)
            return false;
        if (likely(!spool::is_skipped(feed->skip, state->number)))
            return true;
    }
}

/// The row that find_row() found, if any, is handed out.
void note_row(const ScanState *state, spool::FeedTrace *trace, bool found)
{
    if (likely(trace == nullptr))
        return;
    trace->ended = !found;
    trace->count += found ? 1 : 0;
    if (found)
        trace->last = state->number;
}

extern "C" void pipeline_begin_scan(ForeignScanState *node, int eflags)
{
    if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) != 0)
        return;
    Relation const stream = node->ss.ss_currentRelation;
    const auto *plan = reinterpret_cast<const ForeignScan *>(node->ss.ps.plan);
    if (plan->fdw_private != NIL && IsA(plan->fdw_private, OidList))
        refuse_parent(linitial_oid(plan->fdw_private), RelationGetRelid(stream), CMD_SELECT);
    const spool::Feed *const feed = spool::current_feed();
    const spool::StreamChunks *const chunks = spool::find_stream(feed, RelationGetRelid(stream));
    if (chunks == nullptr)
        refuse(RelationGetRelid(stream), CMD_SELECT);
    auto *state = static_cast<ScanState *>(palloc0(sizeof(ScanState)));
    state->chunks = chunks;
    list_wanted(state, plan->fdw_private, RelationGetDescr(stream));
    go_to_start(state, feed);
    node->fdw_state = state;
}

void map_columns(ScanState *state, const spool::Chunk &chunk, TupleDesc descriptor)
{
    for (int w = 0; w < state->nwanted; w++)
        state->column[w] = spool::find_column(chunk, TupleDescAttr(descriptor, state->wanted[w]));
    state->mapped = true;
}

extern "C" TupleTableSlot *pipeline_next_row(ForeignScanState *node)
{
    auto *state = static_cast<ScanState *>(node->fdw_state);
    TupleTableSlot *const slot = node->ss.ss_ScanTupleSlot;
    TupleDesc const descriptor = slot->tts_tupleDescriptor;
    const spool::Feed *const feed = spool::current_feed();

    ExecClearTuple(slot);
    bool const found = find_row(state, feed);
    note_row(state, feed->trace, found);
    if (!found)
        return slot;

    const spool::Chunk &chunk = *feed->chunks[state->chunk];
    if (!state->mapped)
        map_columns(state, chunk, descriptor);
    memset(slot->tts_isnull, true, static_cast<Size>(descriptor->natts));
    for (int w = 0; w < state->nwanted; w++) {
        int const column = state->column[w];
        if (column < 0 || chunk.is_null(column, state->row))
            continue;
        int const i = state->wanted[w];
        slot->tts_values[i] =
            fetchatt(TupleDescAttr(descriptor, i), chunk.value(column, state->row));
        slot->tts_isnull[i] = false;
    }
    state->row++;
    state->number++;
    return ExecStoreVirtualTuple(slot);
}

extern "C" void pipeline_rescan(ForeignScanState *node)
{
    go_to_start(static_cast<ScanState *>(node->fdw_state), spool::current_feed());
}

extern "C" void pipeline_end_scan(ForeignScanState *) {}

/// ANALYZE of a stream finds no rows, silently.
extern "C" int pipeline_sample_nothing(Relation, int, HeapTuple *, int, double *total, double *dead)
{
    *total = 0;
    *dead = 0;
    return 0;
}

extern "C" bool pipeline_analyze(Relation, AcquireSampleRowsFunc *sample, BlockNumber *pages)
{
    *sample = pipeline_sample_nothing;
    *pages = 0;
    return true;
}

} // namespace

void add_scan_callbacks(FdwRoutine *routine)
{
    routine->GetForeignRelSize = pipeline_rel_size;
    routine->GetForeignPaths = pipeline_paths;
    routine->GetForeignPlan = pipeline_plan_scan;
    routine->BeginForeignScan = pipeline_begin_scan;
    routine->IterateForeignScan = pipeline_next_row;
    routine->ReScanForeignScan = pipeline_rescan;
    routine->EndForeignScan = pipeline_end_scan;
    routine->AnalyzeForeignTable = pipeline_analyze;
}

} // namespace pipeline::stream
