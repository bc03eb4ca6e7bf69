#include "partial/vector.hpp"

#include "partial/partial_chunk.hpp"
#include "partial/vector_run.hpp"
#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "libpq/pqformat.h"
#include "storage/lmgr.h"
#include "utils/array.h"
}

namespace pipeline::partial {
namespace {

/// The base of a numeric's digits (numeric.c, NBASE).
constexpr int kNumericBase = 10000;

/// Of a plan that is run alone.
constexpr int kOnlyView = 0;

void add_chunk(VectorRun *run, const spool::Chunk *chunk)
{
    begin_chunk(run, chunk);
    for (uint32 first = 0; first < chunk->nrows(); first += agg::kBlockRows) {
        CHECK_FOR_INTERRUPTS();
        evaluate_block(run, first, Min(agg::kBlockRows, chunk->nrows() - first));
        take_block(run);
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

} // namespace

/// The receiver takes a group that comes again as well as a new one.
bool is_too_large(const VectorRun *run)
{
    return run_size(run) >= static_cast<Size>(settings::fold_memory) * 1024 / 4;
}

bool may_run(const VectorPlan *plan)
{
    for (int a = 0; a < plan->naggregates; a++)
        if (!pg::may_execute(plan->aggregates[a].function, GetUserId()))
            return false;
    return pg::may_read_relations(plan->statement);
}

void emit_groups(const VectorRun *run, const VectorPlan *plan, GroupReceiver receive, void *arg)
{
    TupleTableSlot *const slot =
        MakeSingleTupleTableSlot(ExecTypeFromTL(plan->result_types), &TTSOpsVirtual);
    MemoryContext const scratch =
        AllocSetContextCreate(CurrentMemoryContext, "vector group", ALLOCSET_SMALL_SIZES);
    uint32 const ngroups = count_groups(run, kOnlyView);
    for (uint32 group = 0; group < ngroups; group++) {
        ExecClearTuple(slot);
        MemoryContext const old = MemoryContextSwitchTo(scratch);
        for (int c = 0; c < plan->ncolumns; c++) {
            VectorColumn const column = plan->columns[c];
            if (column.is_key)
                emit_key(plan->inputs[plan->keys[column.number]],
                         group_key(run, kOnlyView, group, column.number), &slot->tts_values[c],
                         &slot->tts_isnull[c]);
            else
                emit_state(plan->aggregates[column.number],
                           states_of(run, kOnlyView, column.number).state(group),
                           &slot->tts_values[c], &slot->tts_isnull[c]);
        }
        MemoryContextSwitchTo(old);
        ExecStoreVirtualTuple(slot);
        receive(slot, arg);
        MemoryContextReset(scratch);
    }
    ExecDropSingleTupleTableSlot(slot);
    MemoryContextDelete(scratch);
}

void run_vector_plan(const VectorPlan *plan, const spool::Feed &feed, GroupReceiver receive,
                     void *arg)
{
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "vectorised query", ALLOCSET_DEFAULT_SIZES);
    MemoryContext const old = MemoryContextSwitchTo(context);
    Relation const stream = table_open(spool::only_stream(feed), AccessShareLock);
    VectorRun *const run = open_run(plan->alone, stream);
    for (int c = 0; c < feed.nchunks + feed.npartials; c++) {
        if (is_too_large(run)) {
            emit_groups(run, plan, receive, arg);
            clear_groups(run);
        }
        if (c < feed.nchunks)
            add_chunk(run, feed.chunks[c]);
        else
            merge_partials(run, kOnlyView, *feed.partials[c - feed.nchunks]);
    }
    emit_groups(run, plan, receive, arg);
    close_run(run);
    table_close(stream, NoLock);
    MemoryContextSwitchTo(old);
    MemoryContextDelete(context);
}

} // namespace pipeline::partial
