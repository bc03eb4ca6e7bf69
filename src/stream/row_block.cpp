#include "stream/row_block.hpp"

#include "agg/lanes.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "access/detoast.h"
}

namespace pipeline::stream {
namespace {

constexpr Size kBytes = Size{1} << 20;

/// The size of a datum that is passed by reference; what is external is fetched first.
Size size_of(Datum *value, int length, MemoryContext scratch)
{
    if (length > 0)
        return static_cast<Size>(length);
    auto *data = reinterpret_cast<varlena *>(DatumGetPointer(*value));
    if (VARATT_IS_EXTERNAL(data)) {
        data = pg::in_context(scratch, [&] { return detoast_external_attr(data); });
        *value = PointerGetDatum(data);
    }
    return VARSIZE_ANY(data);
}

} // namespace

RowBlock *make_block(TupleDesc descriptor, MemoryContext context)
{
    return pg::in_context(context, [&] {
        auto *block = static_cast<RowBlock *>(palloc0(sizeof(RowBlock)));
        auto const natts = static_cast<Size>(descriptor->natts);
        block->descriptor = descriptor;
        block->bytes = static_cast<char *>(palloc(kBytes));
        block->rows.values = static_cast<Datum **>(palloc0(sizeof(Datum *) * natts));
        block->rows.nulls = static_cast<uint8 **>(palloc0(sizeof(uint8 *) * natts));
        block->rows.has_nulls = static_cast<bool *>(palloc0(natts));
        for (Size i = 0; i < natts; i++) {
            if (TupleDescAttr(descriptor, i)->attisdropped)
                continue;
            block->rows.values[i] = static_cast<Datum *>(palloc(sizeof(Datum) * agg::kBlockRows));
            block->rows.nulls[i] = static_cast<uint8 *>(palloc(agg::kBlockRows));
        }
        return block;
    });
}

bool add_to_block(RowBlock *block, TupleTableSlot *slot, MemoryContext scratch)
{
    partial::DatumBlock &rows = block->rows;
    uint32 const row = rows.nrows;
    Size used = block->used;
    for (int i = 0; i < block->descriptor->natts; i++) {
        if (rows.values[i] == nullptr)
            continue;
        Form_pg_attribute const attribute = TupleDescAttr(block->descriptor, i);
        bool const isnull = slot->tts_isnull[i];
        Datum value = slot->tts_values[i];
        rows.nulls[i][row] = isnull;
        rows.has_nulls[i] |= isnull;
        if (!attribute->attbyval && !isnull) {
            Size const size = size_of(&value, attribute->attlen, scratch);
            if (size > kBytes - used)
                return false;
            memcpy(block->bytes + used, DatumGetPointer(value), size);
            value = PointerGetDatum(block->bytes + used);
            used = Min(MAXALIGN(used + size), kBytes);
        }
        rows.values[i][row] = isnull ? static_cast<Datum>(0) : value;
    }
    block->used = used;
    rows.nrows++;
    return true;
}

bool is_full(const RowBlock *block)
{
    return block->rows.nrows == agg::kBlockRows;
}

void clear_block(RowBlock *block)
{
    block->rows.nrows = 0;
    block->used = 0;
    memset(block->rows.has_nulls, 0, static_cast<Size>(block->descriptor->natts));
}

} // namespace pipeline::stream
