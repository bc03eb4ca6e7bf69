#include "partial/lane_source.hpp"

#include "pg/scope.hpp"

extern "C" {
#include "access/detoast.h"
#include "utils/datum.h"
}

namespace pipeline::partial {
namespace {

template <typename Value>
void widen(int64 *words, const spool::Chunk::Slots &slots, uint32 first, uint32 nrows)
{
    const std::byte *from = slots.first + Size{first} * slots.stride;
    for (uint32 i = 0; i < nrows; i++) {
        Value value;
        memcpy(&value, from + Size{i} * slots.stride, sizeof(value));
        words[i] = value;
    }
}

int64 word_of_float4(float4 value)
{
    return static_cast<int64>(Float8GetDatum(static_cast<float8>(value)));
}

bool fill_nulls(uint8 *nulls, const std::byte *validity, uint32 first, uint32 nrows)
{
    if (validity == nullptr)
        return false;
    for (uint32 i = 0; i < nrows; i++) {
        uint32 const row = first + i;
        nulls[i] = (static_cast<uint8>(validity[row / 8]) >> (row % 8) & 1) == 0;
    }
    return true;
}

/// The content of a varlena; decompressed if need be.
void set_text(LaneSource *source, uint32 i, const varlena *value, MemoryContext values)
{
    if (VARATT_IS_EXTENDED(value) && !VARATT_IS_SHORT(value))
        value = pg::in_context(values, [&] { return detoast_attr(const_cast<varlena *>(value)); });
    source->starts[i] = reinterpret_cast<const std::byte *>(VARDATA_ANY(value));
    source->sizes[i] = static_cast<uint32>(VARSIZE_ANY_EXHDR(value));
}

void fill_varlena(LaneSource *source, const spool::Chunk &chunk, uint32 first, uint32 nrows,
                  MemoryContext values)
{
    bool has_nulls = false;
    for (uint32 i = 0; i < nrows; i++) {
        const std::byte *const value = chunk.value(source->column, first + i);
        source->nulls[i] = value == nullptr;
        has_nulls |= value == nullptr;
        if (value != nullptr)
            set_text(source, i, reinterpret_cast<const varlena *>(value), values);
    }
    source->lane = {nullptr, source->starts, source->sizes, has_nulls ? source->nulls : nullptr};
}

void fill_words(LaneSource *source, const spool::Chunk::Slots &slots, uint32 first, uint32 nrows)
{
    switch (source->length) {
    case 1:
        widen<int8_t>(source->words, slots, first, nrows);
        break;
    case 2:
        widen<int16>(source->words, slots, first, nrows);
        break;
    case 4:
        if (source->form == LaneForm::kFloat4) {
            const std::byte *from = slots.first + Size{first} * slots.stride;
            for (uint32 i = 0; i < nrows; i++) {
                float4 value;
                memcpy(&value, from + Size{i} * slots.stride, sizeof(value));
                source->words[i] = word_of_float4(value);
            }
        } else {
            widen<int32>(source->words, slots, first, nrows);
        }
        break;
    default:
        widen<int64>(source->words, slots, first, nrows);
    }
}

void fill_all_null(LaneSource *source, uint32 nrows)
{
    memset(source->nulls, 1, nrows);
    source->lane = {source->words, source->starts, source->sizes, source->nulls};
}

void fill_words(LaneSource *source, const Datum *values, uint32 nrows)
{
    int64 *const words = source->words;
    if (source->form == LaneForm::kFloat4) {
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of_float4(DatumGetFloat4(values[i]));
        return;
    }
    switch (source->length) {
    case 1:
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of(values[i], 1);
        break;
    case 2:
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of(values[i], 2);
        break;
    case 4:
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of(values[i], 4);
        break;
    default:
        for (uint32 i = 0; i < nrows; i++)
            words[i] = word_of(values[i], 8);
    }
}

} // namespace

void make_room(LaneSource *source)
{
    source->words = static_cast<int64 *>(palloc(sizeof(int64) * agg::kBlockRows));
    source->starts = static_cast<const std::byte **>(palloc(sizeof(std::byte *) * agg::kBlockRows));
    source->sizes = static_cast<uint32 *>(palloc(sizeof(uint32) * agg::kBlockRows));
    source->nulls = static_cast<uint8 *>(palloc(agg::kBlockRows));
}

void point_to_room(LaneSource *source)
{
    source->lane = {source->words, source->starts, source->sizes, source->nulls};
}

void fill_column(LaneSource *source, const spool::Chunk &chunk, uint32 first, uint32 nrows,
                 MemoryContext values)
{
    if (source->column < 0) {
        fill_all_null(source, nrows);
        return;
    }
    if (source->length == -1 && source->form != LaneForm::kNulls) {
        fill_varlena(source, chunk, first, nrows, values);
        return;
    }
    spool::Chunk::Slots const slots = chunk.slots(source->column);
    if (slots.first == nullptr) {
        fill_all_null(source, nrows);
        return;
    }
    bool const has_nulls = fill_nulls(source->nulls, slots.validity, first, nrows);
    if (source->form == LaneForm::kBlock) {
        const std::byte *const from = slots.first + Size{first} * slots.stride;
        for (uint32 row = 0; row < nrows; row++) {
            source->starts[row] = from + Size{row} * slots.stride;
            source->sizes[row] = static_cast<uint32>(source->length);
        }
    } else if (source->form != LaneForm::kNulls) {
        fill_words(source, slots, first, nrows);
    }
    source->lane = {source->words, source->starts, source->sizes,
                    has_nulls ? source->nulls : nullptr};
}

void fill_from_block(LaneSource *source, const DatumBlock &block, uint32 nrows,
                     MemoryContext memory)
{
    const Datum *const values = block.values[source->column];
    const uint8 *const nulls =
        block.has_nulls[source->column] ? block.nulls[source->column] : nullptr;
    switch (source->form) {
    case LaneForm::kNulls:
        break;
    case LaneForm::kText:
        for (uint32 i = 0; i < nrows; i++)
            if (nulls == nullptr || nulls[i] == 0)
                set_text(source, i, reinterpret_cast<const varlena *>(DatumGetPointer(values[i])),
                         memory);
        break;
    case LaneForm::kBlock:
        for (uint32 i = 0; i < nrows; i++) {
            source->starts[i] = reinterpret_cast<const std::byte *>(DatumGetPointer(values[i]));
            source->sizes[i] = static_cast<uint32>(source->length);
        }
        break;
    default:
        fill_words(source, values, nrows);
    }
    source->lane = {source->words, source->starts, source->sizes, nulls};
}

void set_value(LaneSource *source, uint32 i, Datum value, bool isnull, MemoryContext values)
{
    source->nulls[i] = isnull;
    if (isnull)
        return;
    switch (source->form) {
    case LaneForm::kWord:
        source->words[i] = word_of(value, source->length);
        break;
    case LaneForm::kFloat4:
        source->words[i] = word_of_float4(DatumGetFloat4(value));
        break;
    case LaneForm::kText: {
        Datum const copy =
            pg::in_context(values, [&] { return datumCopy(value, false, source->length); });
        set_text(source, i, reinterpret_cast<const varlena *>(DatumGetPointer(copy)), values);
        break;
    }
    case LaneForm::kBlock: {
        Datum const copy =
            pg::in_context(values, [&] { return datumCopy(value, false, source->length); });
        source->starts[i] = reinterpret_cast<const std::byte *>(DatumGetPointer(copy));
        source->sizes[i] = static_cast<uint32>(source->length);
        break;
    }
    case LaneForm::kNulls:
        break;
    }
}

void point_to_result(LaneSource *source, uint32 nrows)
{
    const agg::Expression &result = *source->compiled;
    source->lane = {result.words, result.starts, result.sizes, result.nulls};
    if (result.type != agg::ValueType::kBool)
        return;
    for (uint32 i = 0; i < nrows; i++)
        source->words[i] = result.truth[i];
    source->lane.words = source->words;
}

} // namespace pipeline::partial
