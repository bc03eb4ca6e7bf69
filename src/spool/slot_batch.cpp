#include "spool/slot_batch.hpp"

#include "batch/batch.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "spool/chunk.hpp"
#include "spool/writer.hpp"

extern "C" {
#include "access/detoast.h"
#include "executor/tuptable.h"
}

namespace pipeline::spool {

/// Lives in palloc'd memory and is never destroyed: all it owns comes from `context`.
struct SlotBatch {
    SlotBatch(TupleDesc rows_of, MemoryContext parent, const ChunkSink &to);

    MemoryContext context;
    MemoryContext flattened; ///< detoasted values of the row at hand
    pg::ContextResource memory;
    TupleDesc descriptor;
    int ncolumns;   ///< columns that are not dropped
    int *attribute; ///< of each, its index in the slot
    batch::ColumnLayout *layout;
    batch::Cell *cells;
    char (*scratch)[128]; ///< of each, a by-value datum or a varlena packed into short form
    batch::Batch *rows;   ///< of the next chunk
    ChunkSink sink;
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
void describe_columns(SlotBatch *batch)
{
    for (int i = 0; i < batch->descriptor->natts; i++) {
        Form_pg_attribute const attribute = TupleDescAttr(batch->descriptor, i);
        if (attribute->attisdropped)
            continue;
        int const column = batch->ncolumns++;
        batch->attribute[column] = i;
        batch->layout[column] = {attribute->attnum, attribute->attlen, attribute->atttypid,
                                 attribute->atttypmod, align_of(attribute->attalign)};
    }
}

/// A varlena as it is stored: inline, and with a one-byte header where that is enough.
void set_varlena_cell(SlotBatch *batch, int column, Datum value)
{
    auto *data = reinterpret_cast<varlena *>(DatumGetPointer(value));
    batch::Cell &cell = batch->cells[column];
    if (VARATT_IS_EXTERNAL(data)) {
        MemoryContext const old = MemoryContextSwitchTo(batch->flattened);
        data = detoast_external_attr(data);
        MemoryContextSwitchTo(old);
    }
    if (VARATT_CAN_MAKE_SHORT(data)) {
        char *const packed = batch->scratch[column];
        Size const size = VARATT_CONVERTED_SHORT_SIZE(data);
        SET_VARSIZE_SHORT(packed, size);
        memcpy(packed + VARHDRSZ_SHORT, VARDATA(data), size - VARHDRSZ_SHORT);
        cell = {packed, static_cast<std::uint32_t>(size)};
    } else {
        cell = {data, static_cast<std::uint32_t>(VARSIZE_ANY(data))};
    }
}

void fill_cell(SlotBatch *batch, int column, Datum value, bool isnull)
{
    Form_pg_attribute const attribute = TupleDescAttr(batch->descriptor, batch->attribute[column]);
    batch::Cell &cell = batch->cells[column];
    if (isnull) {
        cell = {};
    } else if (attribute->attlen == -1) {
        set_varlena_cell(batch, column, value);
    } else if (attribute->attbyval) {
        store_att_byval(batch->scratch[column], value, attribute->attlen);
        cell = {batch->scratch[column], static_cast<std::uint32_t>(attribute->attlen)};
    } else {
        cell = {DatumGetPointer(value), static_cast<std::uint32_t>(attribute->attlen)};
    }
}

/// Adds the row of the cells.
void add_cells(SlotBatch *batch)
{
    batch::Batch &rows = *batch->rows;
    std::span<const batch::Cell> const cells{batch->cells,
                                             static_cast<std::size_t>(batch->ncolumns)};
    if (surely_fits(rows, cells, kMaxPageChunk)) {
        pg::enter([&] { rows.append(cells); });
        return;
    }
    std::size_t size = encoded_size_with(rows, cells);
    if (size > kMaxPageChunk && rows.nrows() > 0) {
        flush_batch(batch);
        size = encoded_size_with(rows, cells);
    }
    check_chunk_size(size); // before a second copy of it
    pg::enter([&] { rows.append(cells); });
    if (size > kMaxPageChunk)
        flush_batch(batch); // a row wider than a page: a chunk of its own
}

} // namespace

SlotBatch::SlotBatch(TupleDesc rows_of, MemoryContext parent, const ChunkSink &to)
    : context(parent),
      flattened(AllocSetContextCreate(parent, "stream values", ALLOCSET_SMALL_SIZES)),
      memory(parent), descriptor(rows_of), ncolumns(0), sink(to)
{
    auto const natts = static_cast<Size>(descriptor->natts);
    attribute = static_cast<int *>(MemoryContextAlloc(context, natts * sizeof(int)));
    layout = static_cast<batch::ColumnLayout *>(
        MemoryContextAlloc(context, natts * sizeof(batch::ColumnLayout)));
    cells = static_cast<batch::Cell *>(MemoryContextAlloc(context, natts * sizeof(batch::Cell)));
    scratch = static_cast<char(*)[128]>(MemoryContextAlloc(context, natts * sizeof(*scratch)));
    describe_columns(this);
    void *const place = MemoryContextAlloc(context, sizeof(batch::Batch));
    rows = pg::enter([&] {
        return new (place) batch::Batch({layout, static_cast<std::size_t>(ncolumns)}, &memory);
    });
}

SlotBatch *make_slot_batch(TupleDesc descriptor, MemoryContext context, const ChunkSink &sink)
{
    void *const place = MemoryContextAlloc(context, sizeof(SlotBatch));
    return new (place) SlotBatch(descriptor, context, sink);
}

void add_slot(SlotBatch *batch, TupleTableSlot *slot)
{
    slot_getallattrs(slot);
    for (int column = 0; column < batch->ncolumns; column++) {
        int const i = batch->attribute[column];
        fill_cell(batch, column, slot->tts_values[i], slot->tts_isnull[i]);
    }
    add_cells(batch);
    MemoryContextReset(batch->flattened);
}

void add_values(SlotBatch *batch, Datum *const *values, const uint8 *const *nulls, uint32 row)
{
    for (int column = 0; column < batch->ncolumns; column++) {
        int const i = batch->attribute[column];
        fill_cell(batch, column, values[i][row], nulls[i][row] != 0);
    }
    add_cells(batch);
    MemoryContextReset(batch->flattened);
}

void flush_batch(SlotBatch *batch)
{
    batch::Batch &rows = *batch->rows;
    if (rows.nrows() == 0)
        return;
    std::size_t const bound = encoded_size(rows);
    auto *chunk = static_cast<std::byte *>(batch->sink.place(batch->sink.arg, bound));
    std::size_t const size = pg::enter([&] { return encode(rows, {chunk, bound}); });
    auto const nrows = static_cast<int32>(rows.nrows());
    rows.clear();
    batch->sink.take(batch->sink.arg, nrows, chunk, size);
}

void clear_batch(SlotBatch *batch)
{
    batch->rows->clear();
}

uint32 rows_waiting(const SlotBatch *batch)
{
    return batch->rows->nrows();
}

} // namespace pipeline::spool
