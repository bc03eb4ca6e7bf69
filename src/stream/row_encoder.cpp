#include "stream/row_encoder.hpp"

#include "batch/batch.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "pg/settings.hpp"
#include "spool/chunk.hpp"
#include "spool/writer.hpp"
#include "stream/preaggregation.hpp"
#include "stream/row_block.hpp"

extern "C" {
#include "access/detoast.h"
#include "executor/tuptable.h"
#include "utils/timestamp.h"
}

namespace pipeline::stream {

/// Lives in palloc'd memory and is never destroyed: all it owns comes from `context`.
struct RowEncoder {
    RowEncoder(Relation relation, MemoryContext parent);

    MemoryContext context;
    MemoryContext flattened; ///< detoasted values of the row at hand
    pg::ContextResource memory;
    TupleDesc descriptor;
    int ncolumns;   ///< columns that are not dropped
    int *attribute; ///< of each, its index in the slot
    batch::ColumnLayout *layout;
    batch::Cell *cells;
    char (*scratch)[128]; ///< of each, a by-value datum or a varlena packed into short form
    int arrival;          ///< slot index of arrival_timestamp, -1 = none
    TimestampTz arrival_time;
    batch::Batch *rows; ///< of the next chunk
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

std::uint8_t align_of(char typalign)
{
    switch (typalign) {
    case TYPALIGN_CHAR:
        return 1;
    case TYPALIGN_SHORT:
        return 2;
    case TYPALIGN_INT:
        return 4;
    default:
        return 8;
    }
}

/// Core refuses pseudo-types as columns, so there is no cstring (attlen -2) to think of.
void describe_columns(RowEncoder *encoder)
{
    TupleDesc const descriptor = encoder->descriptor;
    for (int i = 0; i < descriptor->natts; i++) {
        Form_pg_attribute const attribute = TupleDescAttr(descriptor, i);
        if (attribute->attisdropped)
            continue;
        int const column = encoder->ncolumns++;
        encoder->attribute[column] = i;
        encoder->layout[column] = {attribute->attnum, attribute->attlen, attribute->atttypid,
                                   attribute->atttypmod, align_of(attribute->attalign)};
        if (attribute->atttypid == TIMESTAMPTZOID &&
            strcmp(NameStr(attribute->attname), "arrival_timestamp") == 0)
            encoder->arrival = i;
    }
}

/// A varlena as it is stored: inline, and with a one-byte header where that is enough.
void set_varlena_cell(RowEncoder *encoder, int column, Datum value)
{
    auto *data = reinterpret_cast<varlena *>(DatumGetPointer(value));
    batch::Cell &cell = encoder->cells[column];
    if (VARATT_IS_EXTERNAL(data)) {
        MemoryContext const old = MemoryContextSwitchTo(encoder->flattened);
        data = detoast_external_attr(data);
        MemoryContextSwitchTo(old);
    }
    if (VARATT_CAN_MAKE_SHORT(data)) {
        char *const packed = encoder->scratch[column];
        Size const size = VARATT_CONVERTED_SHORT_SIZE(data);
        SET_VARSIZE_SHORT(packed, size);
        memcpy(packed + VARHDRSZ_SHORT, VARDATA(data), size - VARHDRSZ_SHORT);
        cell = {packed, static_cast<std::uint32_t>(size)};
    } else {
        cell = {data, static_cast<std::uint32_t>(VARSIZE_ANY(data))};
    }
}

/// A client that is slower than this (rows per second) gains nothing: it sends what it has, while
/// CREATE VIEW waits for its commit.
constexpr uint64 kSlowestAggregated = 20000;

constexpr uint64 kNever = UINT64_MAX;

void fill_cell(RowEncoder *encoder, int column, Datum value, bool isnull)
{
    Form_pg_attribute const attribute =
        TupleDescAttr(encoder->descriptor, encoder->attribute[column]);
    batch::Cell &cell = encoder->cells[column];
    if (isnull) {
        cell = {};
    } else if (attribute->attlen == -1) {
        set_varlena_cell(encoder, column, value);
    } else if (attribute->attbyval) {
        store_att_byval(encoder->scratch[column], value, attribute->attlen);
        cell = {encoder->scratch[column], static_cast<std::uint32_t>(attribute->attlen)};
    } else {
        cell = {DatumGetPointer(value), static_cast<std::uint32_t>(attribute->attlen)};
    }
}

void fill_cells(RowEncoder *encoder, TupleTableSlot *slot)
{
    slot_getallattrs(slot);
    for (int column = 0; column < encoder->ncolumns; column++) {
        int const i = encoder->attribute[column];
        fill_cell(encoder, column, slot->tts_values[i], slot->tts_isnull[i]);
    }
}

std::span<const batch::Cell> cells_of(const RowEncoder *encoder)
{
    return {encoder->cells, static_cast<std::size_t>(encoder->ncolumns)};
}

// ---- rows as chunks ------------------------------------------------------------------------

void flush(RowEncoder *encoder)
{
    batch::Batch &rows = *encoder->rows;
    if (rows.nrows() == 0)
        return;
    std::size_t const bound = spool::encoded_size(rows);
    auto *chunk = static_cast<std::byte *>(spool::chunk_buffer(encoder->writer, bound));
    std::size_t const size = pg::enter([&] { return spool::encode(rows, {chunk, bound}); });
    auto const nrows = static_cast<int32>(rows.nrows());
    rows.clear();
    spool::write_chunk(encoder->writer, encoder->writer->stream, nrows, chunk, size);
    if (encoder->begun == 0)
        encoder->begun = GetCurrentTimestamp();
}

void add_to_chunk(RowEncoder *encoder)
{
    batch::Batch &rows = *encoder->rows;
    std::span<const batch::Cell> const cells = cells_of(encoder);
    if (spool::surely_fits(rows, cells, spool::kMaxPageChunk)) {
        pg::enter([&] { rows.append(cells); });
        return;
    }
    std::size_t size = spool::encoded_size_with(rows, cells);
    if (size > spool::kMaxPageChunk && rows.nrows() > 0) {
        flush(encoder);
        size = spool::encoded_size_with(rows, cells);
    }
    spool::check_chunk_size(size); // before a second copy of it
    pg::enter([&] { rows.append(cells); });
    if (size > spool::kMaxPageChunk)
        flush(encoder); // a row wider than a page: a chunk of its own
}

// ---- aggregation ---------------------------------------------------------------------------

/// The block could not be aggregated: its rows go the usual way.
void write_block(RowEncoder *encoder, const partial::DatumBlock &rows)
{
    for (uint32 row = 0; row < rows.nrows; row++) {
        for (int column = 0; column < encoder->ncolumns; column++) {
            int const i = encoder->attribute[column];
            fill_cell(encoder, column, rows.values[i][row], rows.nulls[i][row] != 0);
        }
        add_to_chunk(encoder);
    }
    flush(encoder);
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

void write_row(RowEncoder *encoder, TupleTableSlot *slot)
{
    fill_cells(encoder, slot);
    add_to_chunk(encoder);
}

void aggregate_row(RowEncoder *encoder, TupleTableSlot *slot)
{
    slot_getallattrs(slot);
    if (!add_to_block(encoder->block, slot, encoder->flattened)) {
        aggregate_block(encoder);
        // Wider than a block; or aggregation has come to its end.
        if (encoder->aggregation == nullptr ||
            !add_to_block(encoder->block, slot, encoder->flattened))
            write_row(encoder, slot);
    } else if (is_full(encoder->block)) {
        aggregate_block(encoder);
    }
}

void consider_aggregation(RowEncoder *encoder)
{
    encoder->next_try = kNever;
    flush(encoder);
    auto const slowest =
        static_cast<int64>(encoder->nrows * uint64{USECS_PER_SEC} / kSlowestAggregated);
    if (encoder->begun != 0 && GetCurrentTimestamp() - encoder->begun > slowest)
        return;
    encoder->aggregation = begin_preaggregation(encoder->stream, encoder->context);
    if (encoder->aggregation != nullptr)
        encoder->block = make_block(encoder->descriptor, encoder->context);
}

} // namespace

RowEncoder::RowEncoder(Relation relation, MemoryContext parent)
    : context(parent),
      flattened(AllocSetContextCreate(parent, "stream values", ALLOCSET_SMALL_SIZES)),
      memory(parent), descriptor(RelationGetDescr(relation)), ncolumns(0), arrival(-1),
      arrival_time(0)
{
    auto const natts = static_cast<Size>(descriptor->natts);
    attribute = static_cast<int *>(MemoryContextAlloc(context, natts * sizeof(int)));
    layout = static_cast<batch::ColumnLayout *>(
        MemoryContextAlloc(context, natts * sizeof(batch::ColumnLayout)));
    cells = static_cast<batch::Cell *>(MemoryContextAlloc(context, natts * sizeof(batch::Cell)));
    scratch = static_cast<char(*)[128]>(MemoryContextAlloc(context, natts * sizeof(*scratch)));
    describe_columns(this);
    writer = spool::begin_statement(RelationGetRelid(relation), context);
    void *const place = MemoryContextAlloc(context, sizeof(batch::Batch));
    rows = pg::enter([&] {
        return new (place) batch::Batch({layout, static_cast<std::size_t>(ncolumns)}, &memory);
    });
    stream = relation;
    aggregation = nullptr;
    block = nullptr;
    nrows = 0;
    next_try = settings::preaggregate_after < 0 ? kNever
                                                : static_cast<uint64>(settings::preaggregate_after);
    begun = 0;
}

RowEncoder *begin_rows(Relation stream, MemoryContext context)
{
    void *const place = MemoryContextAlloc(context, sizeof(RowEncoder));
    return new (place) RowEncoder(stream, context);
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
                                                          : encoder->rows->nrows() == 0;
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
    else
        write_row(encoder, slot);
    MemoryContextReset(encoder->flattened);
}

void end_rows(RowEncoder *encoder)
{
    if (encoder->aggregation != nullptr)
        aggregate_block(encoder);
    if (encoder->aggregation != nullptr)
        end_aggregation(encoder);
    flush(encoder);
    spool::end_statement(encoder->writer);
}

} // namespace pipeline::stream
