#include "partial/vector.hpp"

#include "partial/vector_lanes.hpp"
#include "pg/compat.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/memory.hpp"

extern "C" {
#include "libpq/pqformat.h"
#include "storage/lmgr.h"
#include "utils/array.h"
}

#include <new>

namespace pipeline::partial {
namespace {

/// The base of a numeric's digits (numeric.c, NBASE).
constexpr int kNumericBase = 10000;

/// Everything of one run; lives in its memory context and is dropped with it.
struct Run {
    explicit Run(MemoryContext where) : context(where), memory(where) {}

    MemoryContext context;
    pg::ContextResource memory;
    const VectorPlan *plan;
    agg::GroupTable *table;
    agg::StateArray **states;
    uint32 *groups;          ///< of the selected rows
    uint32 *filtered_groups; ///< of those that pass an aggregate's filter
    uint16 *filtered_rows;
    agg::Lane *keys;
};

Run *new_run(const VectorPlan *plan, MemoryContext context)
{
    auto *run = new (MemoryContextAllocZero(context, sizeof(Run))) Run(context);
    run->plan = plan;
    auto const naggregates = static_cast<Size>(plan->naggregates);
    run->states = static_cast<agg::StateArray **>(
        MemoryContextAlloc(context, sizeof(agg::StateArray *) * (naggregates + 1)));
    run->groups =
        static_cast<uint32 *>(MemoryContextAlloc(context, sizeof(uint32) * agg::kBlockRows));
    run->filtered_groups =
        static_cast<uint32 *>(MemoryContextAlloc(context, sizeof(uint32) * agg::kBlockRows));
    run->filtered_rows =
        static_cast<uint16 *>(MemoryContextAlloc(context, sizeof(uint16) * agg::kBlockRows));
    run->keys =
        new (MemoryContextAlloc(context, sizeof(agg::Lane) * static_cast<Size>(plan->nkeys + 1)))
            agg::Lane[static_cast<Size>(plan->nkeys + 1)];
    void *const table = MemoryContextAlloc(context, sizeof(agg::GroupTable));
    void *const states = MemoryContextAlloc(context, sizeof(agg::StateArray) * (naggregates + 1));
    pg::enter([&] {
        run->table = new (table)
            agg::GroupTable({plan->key_kinds, static_cast<std::size_t>(plan->nkeys)}, &run->memory);
        for (Size a = 0; a < naggregates; a++)
            run->states[a] = new (static_cast<agg::StateArray *>(states) + a)
                agg::StateArray(plan->aggregates[a].kind, &run->memory);
    });
    return run;
}

/// The rows of the selection for which a filter is true.
agg::Selection apply_filter(Run *run, const agg::Lane &filter, agg::Selection selection)
{
    uint32 count = 0;
    for (uint32 i = 0; i < selection.count; i++) {
        uint16 const row = selection.rows[i];
        if (filter.is_null(row) || filter.words[row] == 0)
            continue;
        run->filtered_rows[count] = row;
        run->filtered_groups[count++] = run->groups[i];
    }
    return {run->filtered_rows, count};
}

bool add_block(Run *run, const LaneBuilder *lanes, agg::Selection selection)
{
    const VectorPlan *const plan = run->plan;
    for (int k = 0; k < plan->nkeys; k++)
        run->keys[k] = lane_of(lanes, plan->keys[k]);
    run->table->resolve({run->keys, static_cast<std::size_t>(plan->nkeys)}, selection, run->groups);
    bool fits = true;
    for (int a = 0; a < plan->naggregates; a++) {
        const VectorAggregate &aggregate = plan->aggregates[a];
        agg::StateArray *const states = run->states[a];
        states->grow(run->table->ngroups());
        const agg::Lane *const argument =
            aggregate.input < 0 ? nullptr : &lane_of(lanes, aggregate.input);
        if (aggregate.filter < 0) {
            fits &= states->update(argument, selection, run->groups);
        } else {
            agg::Selection const some =
                apply_filter(run, lane_of(lanes, aggregate.filter), selection);
            fits &= states->update(argument, some, run->filtered_groups);
        }
    }
    return fits;
}

void add_chunks(Run *run, LaneBuilder *lanes)
{
    const spool::Feed *const feed = spool::current_feed();
    for (int c = 0; c < feed->nchunks; c++) {
        const spool::Chunk *const chunk = feed->chunks[c];
        set_chunk(lanes, chunk);
        for (uint32 first = 0; first < chunk->nrows(); first += agg::kBlockRows) {
            CHECK_FOR_INTERRUPTS();
            agg::Selection const selection =
                fill_lanes(lanes, first, Min(agg::kBlockRows, chunk->nrows() - first));
            if (!pg::enter([&] { return add_block(run, lanes, selection); }))
                ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                                errmsg("value out of range: overflow")));
        }
    }
}

// ---- states as the general path emits them -------------------------------------------------

Datum int8_pair(int64 count, int64 sum)
{
    Datum values[] = {Int64GetDatum(count), Int64GetDatum(sum)};
    return PointerGetDatum(
        construct_array(values, 2, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum float8_triple(const agg::State &state)
{
    Datum values[] = {Float8GetDatum(static_cast<float8>(state.count)),
                      Float8GetDatum(state.number), Float8GetDatum(state.squares)};
    return PointerGetDatum(
        construct_array(values, 3, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/// numeric.c, int128_to_numericvar and numericvar_serialize.
void append_numeric(StringInfo buffer, __int128 value)
{
    constexpr int kNumericNegative = 0x4000;
    uint16 digits[16];
    int ndigits = 0;
    auto rest = static_cast<unsigned __int128>(value < 0 ? -value : value);
    for (; rest != 0; rest /= kNumericBase)
        digits[ndigits++] = static_cast<uint16>(rest % kNumericBase);
    pq_sendint32(buffer, static_cast<uint32>(ndigits));
    pq_sendint32(buffer, ndigits == 0 ? 0 : static_cast<uint32>(ndigits - 1));
    pq_sendint32(buffer, value < 0 ? kNumericNegative : 0);
    pq_sendint32(buffer, 0);
    while (ndigits > 0)
        pq_sendint16(buffer, digits[--ndigits]);
}

Datum serialized_sums(const agg::State &state, bool with_squares)
{
    StringInfoData buffer;
    pq_begintypsend(&buffer);
    pq_sendint64(&buffer, static_cast<uint64>(state.count));
    append_numeric(&buffer, state.wide);
    if (with_squares)
        append_numeric(&buffer, state.wide_squares);
    return PointerGetDatum(pq_endtypsend(&buffer));
}

void emit_state(const VectorAggregate &aggregate, const agg::State &state, Datum *value,
                bool *isnull)
{
    *isnull = state.isnull;
    switch (aggregate.emitted) {
    case EmittedAs::kInt8:
    case EmittedAs::kWord:
        *value = Int64GetDatum(state.word);
        break;
    case EmittedAs::kInt8Pair: // not strict in its state: {0,0} from the beginning
        *isnull = false;
        *value = int8_pair(state.count, state.word);
        break;
    case EmittedAs::kInt8Avg:
    case EmittedAs::kNumericPoly:
        if (!state.isnull)
            *value = serialized_sums(state, aggregate.emitted == EmittedAs::kNumericPoly);
        break;
    case EmittedAs::kFloat4:
        *value = Float4GetDatum(static_cast<float4>(state.number));
        break;
    case EmittedAs::kFloat8:
        *value = Float8GetDatum(state.number);
        break;
    case EmittedAs::kFloat8Triple:
        *isnull = false;
        *value = float8_triple(state);
        break;
    }
}

void emit_key(const VectorInput &input, const agg::KeyValue &key, Datum *value, bool *isnull)
{
    *isnull = key.isnull;
    if (key.isnull)
        return;
    if (input.form == LaneForm::kWord) {
        *value = static_cast<Datum>(key.word);
        return;
    }
    Size const header = input.form == LaneForm::kText ? VARHDRSZ : 0;
    char *const copy = static_cast<char *>(palloc(header + key.bytes.size()));
    if (header > 0)
        SET_VARSIZE(copy, header + key.bytes.size());
    memcpy(copy + header, key.bytes.data(), key.bytes.size());
    *value = PointerGetDatum(copy);
}

void emit_groups(Run *run, GroupReceiver receive, void *arg)
{
    const VectorPlan *const plan = run->plan;
    TupleTableSlot *const slot =
        MakeSingleTupleTableSlot(ExecTypeFromTL(plan->result_types), &TTSOpsVirtual);
    MemoryContext const scratch =
        AllocSetContextCreate(CurrentMemoryContext, "vector group", ALLOCSET_SMALL_SIZES);
    for (uint32 group = 0; group < run->table->ngroups(); group++) {
        ExecClearTuple(slot);
        MemoryContext const old = MemoryContextSwitchTo(scratch);
        for (int c = 0; c < plan->ncolumns; c++) {
            VectorColumn const column = plan->columns[c];
            if (column.is_key)
                emit_key(plan->inputs[plan->keys[column.number]],
                         run->table->key(group, static_cast<Size>(column.number)),
                         &slot->tts_values[c], &slot->tts_isnull[c]);
            else
                emit_state(plan->aggregates[column.number],
                           run->states[column.number]->state(group), &slot->tts_values[c],
                           &slot->tts_isnull[c]);
        }
        MemoryContextSwitchTo(old);
        ExecStoreVirtualTuple(slot);
        receive(slot, arg);
        MemoryContextReset(scratch);
    }
    ExecDropSingleTupleTableSlot(slot);
    MemoryContextDelete(scratch);
}

bool may_run(const VectorPlan *plan)
{
    for (int a = 0; a < plan->naggregates; a++)
        if (!pg::may_execute(plan->aggregates[a].function, GetUserId()))
            return false;
    return pg::may_read_relations(plan->statement);
}

} // namespace

bool run_vector_plan(const VectorPlan *plan, GroupReceiver receive, void *arg)
{
    if (!may_run(plan))
        return false;
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "vector run", ALLOCSET_DEFAULT_SIZES);
    MemoryContext const old = MemoryContextSwitchTo(context);
    Relation const stream = table_open(spool::current_feed()->stream, AccessShareLock);
    Run *const run = new_run(plan, context);
    LaneBuilder *const lanes = open_lanes(plan, stream);
    add_chunks(run, lanes);
    close_lanes(lanes);
    emit_groups(run, receive, arg);
    table_close(stream, NoLock);
    MemoryContextSwitchTo(old);
    MemoryContextDelete(context);
    return true;
}

} // namespace pipeline::partial
