#include "fold/group_batch.hpp"

#include "pg/settings.hpp"

extern "C" {
#include "access/htup_details.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/memutils.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

/// Of the open-addressing table; `row` counts from 1, 0 = free.
struct Slot {
    uint32 hash;
    uint32 row;
};

constexpr uint32 kFirstRows = 64;
constexpr Size kFirstBlock = 8 * 1024;
constexpr Size kLargestBlock = 1024 * 1024;

} // namespace

struct GroupBatch {
    MemoryContext context;
    const KeyImage *keys;
    int share;
    GroupRow **rows;
    Slot *slots; ///< twice as many as rows fit
    uint32 nrows;
    uint32 capacity; ///< a power of two
    Size bytes;      ///< allocated in all
    char *free;      ///< in the current block of rows
    char *end;
    Size next_block;
};

namespace {

void *allocate(GroupBatch *batch, Size size)
{
    batch->bytes += size;
    return MemoryContextAllocHuge(batch->context, size);
}

/// Rows are never freed one by one, so they lie side by side.
char *take(GroupBatch *batch, Size size)
{
    size = MAXALIGN(size);
    if (static_cast<Size>(batch->end - batch->free) < size) {
        Size const block = std::max(size, batch->next_block);
        batch->free = static_cast<char *>(allocate(batch, block));
        batch->end = batch->free + block;
        batch->next_block = std::min(block * 2, kLargestBlock);
    }
    char *const taken = batch->free;
    batch->free += size;
    return taken;
}

void put_slot(GroupBatch *batch, uint32 hash, uint32 row)
{
    uint32 const mask = batch->capacity * 2 - 1;
    uint32 i = hash & mask;
    while (batch->slots[i].row != 0)
        i = (i + 1) & mask;
    batch->slots[i] = {hash, row};
}

void set_capacity(GroupBatch *batch, uint32 capacity)
{
    auto *rows = static_cast<GroupRow **>(allocate(batch, sizeof(GroupRow *) * capacity));
    std::copy_n(batch->rows, batch->nrows, rows);
    Size const slots = sizeof(Slot) * 2 * capacity;
    if (batch->rows != nullptr) {
        pfree(batch->rows);
        pfree(batch->slots);
        batch->bytes -= (sizeof(GroupRow *) + sizeof(Slot) * 2) * batch->capacity;
    }
    batch->rows = rows;
    batch->slots = static_cast<Slot *>(allocate(batch, slots));
    memset(static_cast<void *>(batch->slots), 0, slots);
    batch->capacity = capacity;
    for (uint32 i = 0; i < batch->nrows; i++)
        put_slot(batch, rows[i]->hash, i + 1);
}

bool is_expanded(Datum value, int16 length)
{
    return length == -1 && VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(value));
}

Size size_of(Datum value, int16 length)
{
    if (is_expanded(value, length))
        return EOH_get_flat_size(DatumGetEOHP(value));
    return datumGetSize(value, false, length);
}

void copy_value(char *to, Size size, Datum value, int16 length)
{
    if (is_expanded(value, length))
        EOH_flatten_into(DatumGetEOHP(value), to, size);
    else
        memcpy(to, DatumGetPointer(value), size);
}

} // namespace

GroupBatch *make_batch(const KeyImage *keys, int share)
{
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "group batch", ALLOCSET_DEFAULT_SIZES);
    auto *batch = static_cast<GroupBatch *>(palloc0(sizeof(GroupBatch)));
    batch->context = context;
    batch->keys = keys;
    batch->share = share;
    empty_batch(batch);
    return batch;
}

GroupRow *find_in_batch(GroupBatch *batch, uint32 hash, const Datum *values, const bool *isnull)
{
    uint32 const mask = batch->capacity * 2 - 1;
    for (uint32 i = hash & mask; batch->slots[i].row != 0; i = (i + 1) & mask) {
        if (batch->slots[i].hash != hash)
            continue;
        GroupRow *const row = batch->rows[batch->slots[i].row - 1];
        if (same_image(*batch->keys, values, isnull, row->values, row->isnull))
            return row;
    }
    return nullptr;
}

void add_to_batch(GroupBatch *batch, uint32 hash, const Datum *values, const bool *isnull,
                  TupleDesc types)
{
    auto const ncolumns = static_cast<Size>(types->natts);
    Size const head = MAXALIGN(sizeof(GroupRow)) + sizeof(Datum) * ncolumns;
    char *const start = take(batch, head + ncolumns);
    auto *row = reinterpret_cast<GroupRow *>(start);
    row->hash = hash;
    row->values = reinterpret_cast<Datum *>(start + MAXALIGN(sizeof(GroupRow)));
    row->isnull = reinterpret_cast<bool *>(start + head);
    for (int i = 0; i < types->natts; i++) {
        Form_pg_attribute const type = TupleDescAttr(types, i);
        row->isnull[i] = isnull[i];
        row->values[i] = values[i];
        if (isnull[i] || type->attbyval)
            continue;
        Size const size = size_of(values[i], type->attlen);
        char *const copy = take(batch, size);
        copy_value(copy, size, values[i], type->attlen);
        row->values[i] = PointerGetDatum(copy);
    }
    if (batch->nrows == batch->capacity)
        set_capacity(batch, batch->capacity * 2);
    batch->rows[batch->nrows++] = row;
    put_slot(batch, hash, batch->nrows);
}

void replace_in_batch(GroupBatch *batch, GroupRow *row, int column, NullableDatum value,
                      Form_pg_attribute type)
{
    if (!value.isnull && !type->attbyval) {
        Size const size = size_of(value.value, type->attlen);
        bool const fits =
            !row->isnull[column] && size_of(row->values[column], type->attlen) == size;
        char *const copy = fits ? DatumGetPointer(row->values[column]) : take(batch, size);
        copy_value(copy, size, value.value, type->attlen);
        value.value = PointerGetDatum(copy);
    }
    row->values[column] = value.value;
    row->isnull[column] = value.isnull;
}

/// Sorting the rows takes as much as the table over them (group_order).
bool is_full(const GroupBatch *batch)
{
    Size const limit =
        static_cast<Size>(settings::fold_memory) * 1024 / 8 * 3 / static_cast<Size>(batch->share);
    return batch->bytes + sizeof(Slot) * 2 * batch->nrows >= limit;
}

GroupRow **rows_of(const GroupBatch *batch, uint32 *count)
{
    *count = batch->nrows;
    return batch->rows;
}

void empty_batch(GroupBatch *batch)
{
    MemoryContextReset(batch->context);
    batch->rows = nullptr;
    batch->nrows = 0;
    batch->bytes = 0;
    batch->free = batch->end = nullptr;
    batch->next_block = kFirstBlock;
    set_capacity(batch, kFirstRows);
}

} // namespace pipeline::fold
