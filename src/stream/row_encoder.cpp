#include "stream/row_encoder.hpp"

#include "pg/clock.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "spool/slot_batch.hpp"
#include "spool/targets.hpp"
#include "spool/writer.hpp"
#include "stream/preaggregation.hpp"
#include "stream/row_block.hpp"

extern "C" {
#include "executor/tuptable.h"
#include "utils/timestamp.h"
}

namespace pipeline::stream {

struct RowEncoder {
    MemoryContext context;
    MemoryContext flattened; ///< detoasted values of the row at hand, of a block
    TupleDesc descriptor;
    int arrival; ///< slot index of arrival_timestamp, -1 = none
    TimestampTz arrival_time;
    spool::SlotBatch *rows; ///< of the next chunk
    spool::StatementWriter *writer;

    // Aggregation instead of rows (stream/preaggregation):
    Relation stream;
    Preaggregation *aggregation; ///< nullptr: rows are written
    RowBlock *block;             ///< rows that wait to be aggregated
    uint64 nrows;                ///< of the statement
    uint64 next_try;             ///< begin when there are so many
    TimestampTz begun;           ///< when the first chunk was written
};

namespace {

int arrival_column(TupleDesc descriptor)
{
    int found = -1;
    for (int i = 0; i < descriptor->natts; i++) {
        Form_pg_attribute const attribute = TupleDescAttr(descriptor, i);
        if (!attribute->attisdropped && attribute->atttypid == TIMESTAMPTZOID &&
            strcmp(NameStr(attribute->attname), "arrival_timestamp") == 0)
            found = i;
    }
    return found;
}

/// A client that is slower than this (rows per second) gains nothing: it sends what it has, and a
/// view that is created before its commit could not count it.
constexpr uint64 kSlowestAggregated = 20000;

constexpr uint64 kNever = UINT64_MAX;

// ---- rows as chunks ------------------------------------------------------------------------

void *place_chunk(void *arg, std::size_t bound)
{
    return spool::chunk_buffer(static_cast<RowEncoder *>(arg)->writer, bound);
}

void take_chunk(void *arg, int32 nrows, void *chunk, std::size_t size)
{
    auto *const encoder = static_cast<RowEncoder *>(arg);
    spool::write_rows(encoder->writer, nrows, chunk, size);
    if (encoder->begun == 0)
        encoder->begun = GetCurrentTimestamp();
}

// ---- aggregation ---------------------------------------------------------------------------

/// The block could not be aggregated: its rows go the usual way.
void write_block(RowEncoder *encoder, const partial::DatumBlock &rows)
{
    for (uint32 row = 0; row < rows.nrows; row++)
        spool::add_values(encoder->rows, rows.values, rows.nulls, row);
    spool::flush_batch(encoder->rows);
}

void end_aggregation(RowEncoder *encoder)
{
    write_groups(encoder->aggregation, encoder->writer);
    end_preaggregation(encoder->aggregation);
    encoder->aggregation = nullptr;
}

void aggregate_block(RowEncoder *encoder)
{
    RowBlock *const block = encoder->block;
    if (block->rows.nrows == 0)
        return;
    if (!take_rows(encoder->aggregation, block->rows))
        write_block(encoder, block->rows);
    clear_block(block);
    switch (advice(encoder->aggregation)) {
    case Advice::kGoOn:
        break;
    case Advice::kWrite:
        write_groups(encoder->aggregation, encoder->writer);
        break;
    case Advice::kStop:
        end_aggregation(encoder);
        encoder->next_try = kNever;
    }
}

void aggregate_row(RowEncoder *encoder, TupleTableSlot *slot)
{
    slot_getallattrs(slot);
    if (!add_to_block(encoder->block, slot, encoder->flattened)) {
        aggregate_block(encoder);
        // Wider than a block; or aggregation has come to its end.
        if (encoder->aggregation == nullptr ||
            !add_to_block(encoder->block, slot, encoder->flattened))
            spool::add_slot(encoder->rows, slot);
    } else if (is_full(encoder->block)) {
        aggregate_block(encoder);
    }
    MemoryContextReset(encoder->flattened);
}

void consider_aggregation(RowEncoder *encoder)
{
    encoder->next_try = kNever;
    spool::flush_batch(encoder->rows);
    auto const slowest =
        static_cast<int64>(encoder->nrows * uint64{USECS_PER_SEC} / kSlowestAggregated);
    if (encoder->begun != 0 && GetCurrentTimestamp() - encoder->begun > slowest)
        return;
    encoder->aggregation = begin_preaggregation(encoder->stream, encoder->context);
    if (encoder->aggregation != nullptr)
        encoder->block = make_block(encoder->descriptor, encoder->context);
    if (encoder->block != nullptr && encoder->flattened == nullptr)
        encoder->flattened =
            AllocSetContextCreate(encoder->context, "stream values", ALLOCSET_SMALL_SIZES);
}

spool::StatementWriter *writer_of_statement(Oid stream, MemoryContext context)
{
    spool::Targets const targets =
        pg::in_context(context, [&] { return spool::targets_of_statement(stream); });
    return targets.all ? spool::begin_statement(stream, context)
                       : spool::begin_statement(targets.views, targets.count, context);
}

/// True unless the rows are for some views alone.
bool has_all_readers(const RowEncoder *encoder)
{
    const spool::StatementWriter *const writer = encoder->writer;
    return writer->nsources == 1 && writer->sources[0].id == RelationGetRelid(encoder->stream);
}

} // namespace

RowEncoder *begin_rows(Relation stream, MemoryContext context)
{
    auto *encoder = static_cast<RowEncoder *>(MemoryContextAllocZero(context, sizeof(RowEncoder)));
    encoder->context = context;
    encoder->descriptor = RelationGetDescr(stream);
    encoder->arrival = arrival_column(encoder->descriptor);
    encoder->writer = writer_of_statement(RelationGetRelid(stream), context);
    encoder->rows =
        spool::make_slot_batch(encoder->descriptor, context, {place_chunk, take_chunk, encoder});
    encoder->stream = stream;
    // Groups are made for all views of the stream or for none.
    bool const aggregates = settings::preaggregate_after >= 0 && has_all_readers(encoder);
    encoder->next_try = aggregates ? static_cast<uint64>(settings::preaggregate_after) : kNever;
    return encoder;
}

bool stamp_arrival(RowEncoder *encoder, TupleTableSlot *slot, bool tuple_is_read)
{
    int const i = encoder->arrival;
    if (i < 0)
        return false;
    slot_getallattrs(slot);
    if (!slot->tts_isnull[i])
        return false;
    bool const is_first = encoder->aggregation != nullptr ? encoder->block->rows.nrows == 0
                                                          : spool::rows_waiting(encoder->rows) == 0;
    if (is_first)
        encoder->arrival_time = pg::now();
    Datum const value = TimestampTzGetDatum(encoder->arrival_time);
    // The executor copies the row of a VALUES list into a tuple (nodeModifyTable.c,
    // ExecGetInsertNewTuple). Expressions read the slot's values, which are all there.
    if (tuple_is_read && TTS_IS_HEAPTUPLE(slot) &&
        reinterpret_cast<HeapTupleTableSlot *>(slot)->tuple != nullptr) {
        int number = i + 1;
        Datum stamp = value;
        bool isnull = false;
        HeapTuple tuple = ExecFetchSlotHeapTuple(slot, false, nullptr);
        tuple = heap_modify_tuple_by_cols(tuple, encoder->descriptor, 1, &number, &stamp, &isnull);
        ExecForceStoreHeapTuple(tuple, slot, true);
    } else {
        slot->tts_values[i] = value;
        slot->tts_isnull[i] = false;
    }
    return true;
}

void add_row(RowEncoder *encoder, TupleTableSlot *slot)
{
    if (encoder->nrows++ == encoder->next_try)
        consider_aggregation(encoder);
    if (encoder->aggregation != nullptr)
        aggregate_row(encoder, slot);
    else if (encoder->writer->nsources > 0) // some view that it is for reads the stream
        spool::add_slot(encoder->rows, slot);
}

void end_rows(RowEncoder *encoder)
{
    if (encoder->aggregation != nullptr)
        aggregate_block(encoder);
    if (encoder->aggregation != nullptr)
        end_aggregation(encoder);
    spool::flush_batch(encoder->rows);
    spool::end_statement(encoder->writer);
}

} // namespace pipeline::stream
