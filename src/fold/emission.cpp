#include "fold/emission.hpp"

#include "fold/fold_state.hpp"
#include "fold/window_output.hpp"
#include "pg/clock.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "spool/slot_batch.hpp"
#include "view/output.hpp"
#include "view/stream_rules.hpp"

extern "C" {
#include "commands/trigger.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
}

#include <algorithm>

namespace pipeline::fold {

using view::kArrival;

/// What computes the row that readers see from a stored one.
struct RowOfView {
    EState *estate;
    ExprContext *expressions;
    ExprState *condition; ///< nullptr: every row is shown
    ProjectionInfo *projection;
    TupleTableSlot *result;
    TupleDesc descriptor; ///< of the view's row type
};

/// Triggers of the output stream, for one turn.
struct Firing {
    Relation output; ///< nullptr: it has none
    EState *estate;
    ResultRelInfo *target;
    int nwaiting; ///< rows that they have not seen yet
};

struct Emission {
    MemoryContext context;
    MemoryContext scratch; ///< reset after each row
    FoldedView *view;
    FmgrInfo same_image;
    spool::SlotBatch *batch; ///< nullptr: only triggers want the rows
    TupleTableSlot *row;     ///< of the output stream
    int arrival;             ///< index of arrival_timestamp in it
    EmittedChunk *chunks;
    int nchunks;
    int capacity;
    Size bytes;   ///< of the chunks
    bool spooled; ///< they are in the spool, as all that follows
    RowOfView shown;
    Firing firing;
    WindowOutput *window; ///< nullptr: the view has none
};

namespace {

void *place_chunk(void *arg, std::size_t bound)
{
    return MemoryContextAllocHuge(static_cast<Emission *>(arg)->context, bound);
}

/// Of the memory for groups, what the changes of one view may take: a chain has several.
Size memory_limit()
{
    return static_cast<Size>(settings::fold_memory) * 1024 / 4;
}

void keep_chunk(Emission *emission, const EmittedChunk &chunk)
{
    if (emission->nchunks == emission->capacity) {
        emission->capacity = std::max(16, emission->capacity * 2);
        Size const bytes = sizeof(EmittedChunk) * static_cast<Size>(emission->capacity);
        emission->chunks = static_cast<EmittedChunk *>(
            emission->chunks == nullptr ? MemoryContextAlloc(emission->context, bytes)
                                        : repalloc_huge(emission->chunks, bytes));
    }
    emission->chunks[emission->nchunks++] = chunk;
    emission->bytes += chunk.size;
}

void spool_for_all(const Emission *emission, const EmittedChunk *chunks, int count)
{
    for (Oid const reader : pg::each_oid(emission->view->readers))
        (void) spool_changes(reader, emission->view->query.output, chunks, count);
}

/// Those in memory first, so that the order stays. They are not freed: if the subtransaction is
/// rolled back they are needed once more.
void take_chunk(void *arg, int32 nrows, void *bytes, std::size_t size)
{
    auto *const emission = static_cast<Emission *>(arg);
    EmittedChunk const chunk{nrows, bytes, size};
    if (!emission->spooled && emission->bytes + size <= memory_limit()) {
        keep_chunk(emission, chunk);
        return;
    }
    if (!emission->spooled && emission->nchunks > 0)
        spool_for_all(emission, emission->chunks, emission->nchunks);
    emission->spooled = true;
    spool_for_all(emission, &chunk, 1);
    pfree(bytes);
}

/// The view's own query, but for what orders and limits it: a condition leaves out groups.
void prepare_row(RowOfView *row, Relation view, TupleDesc stored)
{
    auto *query = static_cast<Query *>(copyObjectImpl(get_view_query(view)));
    List *columns = NIL;
    for (auto *entry : pg::each<TargetEntry>(query->targetList))
        if (!entry->resjunk)
            columns = lappend(columns, entry);
    auto *const planned =
        reinterpret_cast<List *>(expression_planner(reinterpret_cast<Expr *>(columns)));
    row->estate = CreateExecutorState();
    row->expressions = GetPerTupleExprContext(row->estate);
    row->descriptor = CreateTupleDescCopy(RelationGetDescr(view));
    row->result = MakeSingleTupleTableSlot(row->descriptor, &TTSOpsVirtual);
    row->projection =
        ExecBuildProjectionInfo(planned, row->expressions, row->result, nullptr, stored);
    if (query->jointree->quals != nullptr)
        row->condition = ExecInitQual(make_ands_implicit(expression_planner(
                                          reinterpret_cast<Expr *>(query->jointree->quals))),
                                      nullptr);
}

/// As a datum of the view's row type, in the current memory context; NULL if readers do not see
/// the row.
NullableDatum shown_row(RowOfView &row, TupleTableSlot *stored)
{
    ResetExprContext(row.expressions);
    row.expressions->ecxt_scantuple = stored;
    if (row.condition != nullptr && !ExecQual(row.condition, row.expressions))
        return {Datum(0), true};
    (void) ExecProject(row.projection);
    return {ExecFetchSlotHeapTupleDatum(row.result), false};
}

/// What was stored may be compressed, and what has just been computed not.
bool is_same(Emission *emission, NullableDatum left, NullableDatum right)
{
    if (left.isnull || right.isnull)
        return left.isnull == right.isnull;
    auto *const a = DatumGetPointer(left.value);
    auto *const b = DatumGetPointer(right.value);
    return (VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0) ||
           DatumGetBool(FunctionCall2(&emission->same_image, left.value, right.value));
}

void set(Emission *emission, int i, NullableDatum value)
{
    emission->row->tts_values[i] = value.value;
    emission->row->tts_isnull[i] = value.isnull;
}

bool wants_rows(const TriggerDesc *triggers)
{
    return triggers != nullptr && triggers->trig_insert_after_row;
}

/// As for an INSERT into the output stream: the server keeps the rows and fires the triggers when
/// the turn ends, their WHEN conditions included (trigger.c).
void open_firing(Firing *firing, Oid output)
{
    Relation const rel = table_open(output, NoLock);
    if (!wants_rows(rel->trigdesc)) {
        table_close(rel, NoLock);
        return;
    }
    firing->output = rel;
    firing->estate = CreateExecutorState();
    firing->estate->es_snapshot = GetActiveSnapshot();
    firing->target = makeNode(ResultRelInfo);
    InitResultRelInfo(firing->target, rel, 0, nullptr, 0);
    AfterTriggerBeginQuery();
}

/// What a trigger's function keeps for its next call lives as long as the turn.
void fire(Firing *firing)
{
    pg::in_context(firing->estate->es_query_cxt, [&] { AfterTriggerEndQuery(firing->estate); });
    firing->nwaiting = 0;
}

void close_firing(Firing *firing)
{
    if (firing->output == nullptr)
        return;
    fire(firing);
    ExecCloseResultRelations(firing->estate);
    FreeExecutorState(firing->estate);
    table_close(firing->output, NoLock);
    *firing = {};
}

/// The server's queue takes memory for each row: of many, those so far are shown to the triggers
/// at once.
constexpr int kFireAtOnce = 65536;

void queue_row(Firing *firing, TupleTableSlot *row)
{
    if (firing->nwaiting == kFireAtOnce) {
        fire(firing);
        AfterTriggerBeginQuery();
    }
    ExecARInsertTriggers(firing->estate, firing->target, row, NIL, nullptr);
    ResetPerTupleExprContext(firing->estate);
    firing->nwaiting++;
}

/// The other columns of the row have been set.
void add_row(Emission *emission)
{
    ExecStoreVirtualTuple(emission->row);
    if (emission->batch != nullptr)
        spool::add_slot(emission->batch, emission->row);
    if (emission->firing.output != nullptr)
        queue_row(&emission->firing, emission->row);
    ExecClearTuple(emission->row);
    MemoryContextReset(emission->scratch);
}

void add_change(Emission *emission, NullableDatum old, NullableDatum now)
{
    set(emission, view::kOld - 1, old);
    set(emission, view::kNew - 1, now);
    set(emission, emission->arrival, {TimestampTzGetDatum(pg::statement_time()), false});
    add_row(emission);
}

} // namespace

bool has_triggers(Oid output)
{
    return pg::with_relation(output, NoLock,
                             [](Relation rel) { return wants_rows(rel->trigdesc); });
}

Emission *begin_emission(FoldedView *view, MemoryContext context)
{
    return pg::in_context(context, [&] {
        auto *emission = static_cast<Emission *>(palloc0(sizeof(Emission)));
        emission->context = context;
        emission->view = view;
        emission->scratch = AllocSetContextCreate(context, "emitted row", ALLOCSET_DEFAULT_SIZES);
        fmgr_info_cxt(F_RECORD_IMAGE_EQ, &emission->same_image, context);
        pg::with_relation(view->query.output, NoLock, [&](Relation output) {
            TupleDesc const descriptor = CreateTupleDescCopy(RelationGetDescr(output));
            emission->row = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
            emission->arrival = descriptor->natts - 1;
            if (view->readers != NIL)
                emission->batch = spool::make_slot_batch(descriptor, context,
                                                         {place_chunk, take_chunk, emission});
        });
        return emission;
    });
}

void open_changes(Emission *emission, Relation matrel)
{
    open_firing(&emission->firing, emission->view->query.output);
    if (matrel == nullptr)
        return;
    if (emission->view->windowed)
        emission->window = begin_window(emission->view, matrel);
    pg::with_relation(emission->view->query.view, NoLock, [&](Relation view) {
        if (emission->window == nullptr || emission->view->machine->append)
            prepare_row(&emission->shown, view, RelationGetDescr(matrel));
    });
    // Of rows the edge decides that is stored, not the clock.
    if (emission->window != nullptr)
        emission->shown.condition = nullptr;
}

void emit_change(Emission *emission, TupleTableSlot *before, TupleTableSlot *after,
                 TupleTableSlot *delta)
{
    if (emission->window != nullptr && !emission->view->machine->append) {
        note_group(emission->window, after);
        return;
    }
    if (emission->window != nullptr && !is_in_window(emission->window, after))
        return;
    pg::in_context(emission->scratch, [&] {
        NullableDatum const none{Datum(0), true};
        NullableDatum const old = before != nullptr ? shown_row(emission->shown, before) : none;
        NullableDatum const now = shown_row(emission->shown, after);
        if (is_same(emission, old, now)) {
            MemoryContextReset(emission->scratch);
            return;
        }
        ExecClearTuple(emission->row);
        if (emission->window == nullptr)
            set(emission, view::kDelta - 1, {ExecFetchSlotHeapTupleDatum(delta), false});
        add_change(emission, old, now);
    });
}

/// ChangeReceiver of a window.
static void receive_change(NullableDatum before, NullableDatum now, void *arg)
{
    auto *const emission = static_cast<Emission *>(arg);
    if (is_same(emission, before, now))
        return;
    ExecClearTuple(emission->row);
    add_change(emission, before, now);
}

void close_changes(Emission *emission, Relation matrel)
{
    if (emission->window != nullptr)
        emission->view->window_due = end_window(emission->window, matrel, receive_change, emission);
    emission->window = nullptr;
    close_firing(&emission->firing);
    if (emission->shown.estate == nullptr)
        return;
    ExecDropSingleTupleTableSlot(emission->shown.result);
    FreeExecutorState(emission->shown.estate);
    emission->shown = {};
}

void emit_row(Emission *emission, TupleTableSlot *row)
{
    slot_getallattrs(row);
    ExecClearTuple(emission->row);
    NullableDatum arrival{TimestampTzGetDatum(pg::statement_time()), false};
    int column = 0;
    for (int i = 0; i < row->tts_tupleDescriptor->natts; i++) {
        NullableDatum const value{row->tts_values[i], row->tts_isnull[i]};
        if (strcmp(NameStr(TupleDescAttr(row->tts_tupleDescriptor, i)->attname), kArrival) != 0)
            set(emission, column++, value);
        else if (!value.isnull)
            arrival = value;
    }
    set(emission, emission->arrival, arrival);
    add_row(emission);
}

static void flush(Emission *emission)
{
    if (emission->batch != nullptr)
        spool::flush_batch(emission->batch);
}

EmissionMark mark_emission(Emission *emission)
{
    flush(emission);
    return {emission->nchunks, emission->spooled};
}

void roll_back_emission(Emission *emission, EmissionMark mark)
{
    if (emission->batch != nullptr)
        spool::clear_batch(emission->batch);
    while (emission->nchunks > mark.nchunks) {
        const EmittedChunk &last = emission->chunks[--emission->nchunks];
        emission->bytes -= last.size;
        pfree(last.bytes);
    }
    emission->spooled = mark.spooled;
    // The turn has ended by an error: what it had opened went with its memory.
    emission->shown = {};
    emission->firing = {};
    emission->window = nullptr;
    MemoryContextReset(emission->scratch);
}

const EmittedChunk *emitted_chunks(Emission *emission, int *count)
{
    flush(emission);
    *count = emission->spooled ? 0 : emission->nchunks;
    return emission->chunks;
}

bool went_to_spool(const Emission *emission)
{
    return emission->spooled;
}

} // namespace pipeline::fold
