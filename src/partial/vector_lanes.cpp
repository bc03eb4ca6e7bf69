#include "partial/vector_lanes.hpp"

#include "pg/compat.hpp"
#include "pg/scope.hpp"
#include "spool/feed.hpp"

extern "C" {
#include "access/detoast.h"
#include "executor/executor.h"
#include "utils/datum.h"
}

namespace pipeline::partial {

/// One input's place in the block.
struct LaneSource {
    ExprState *expr; ///< nullptr for a plain column
    int column;      ///< in the chunk at hand; -1 = absent
    agg::Lane lane;
    int64 *words;
    const std::byte **starts;
    uint32 *sizes;
    uint8 *nulls;
};

struct LaneBuilder {
    const VectorPlan *plan;
    TupleDesc descriptor;
    const spool::Chunk *chunk;
    MemoryContext values; ///< copies of one block
    LaneSource *sources;
    uint16 *selected;
    // For expressions:
    EState *estate;
    ExprContext *expressions;
    TupleTableSlot *slot;
    ExprState *where; ///< nullptr without WHERE
    bool has_expressions;
    int nused; ///< columns that expressions read
    int *used;
    int *used_column; ///< of each, in the chunk at hand
};

namespace {

void list_used_columns(LaneBuilder *builder)
{
    const VectorPlan *const plan = builder->plan;
    Bitmapset *used = nullptr;
    Index const relid = plan->scan->scan.scanrelid;
    pull_varattnos(reinterpret_cast<Node *>(plan->scan->scan.plan.qual), relid, &used);
    for (int i = 0; i < plan->ninputs; i++)
        if (plan->inputs[i].attnum == 0)
            pull_varattnos(reinterpret_cast<Node *>(plan->inputs[i].expr), relid, &used);
    auto const natts = static_cast<Size>(builder->descriptor->natts);
    builder->used = static_cast<int *>(palloc(sizeof(int) * natts));
    builder->used_column = static_cast<int *>(palloc(sizeof(int) * natts));
    for (int i = -1; (i = bms_next_member(used, i)) >= 0;) {
        int const attnum = i + FirstLowInvalidHeapAttributeNumber;
        if (attnum > 0)
            builder->used[builder->nused++] = attnum - 1;
    }
}

void prepare_expressions(LaneBuilder *builder)
{
    const VectorPlan *const plan = builder->plan;
    builder->estate = CreateExecutorState();
    builder->expressions = CreateExprContext(builder->estate);
    builder->slot = MakeSingleTupleTableSlot(builder->descriptor, &TTSOpsVirtual);
    builder->expressions->ecxt_scantuple = builder->slot;
    pg::in_context(builder->estate->es_query_cxt, [&] {
        if (plan->scan->scan.plan.qual != NIL)
            builder->where = ExecInitQual(plan->scan->scan.plan.qual, nullptr);
        for (int i = 0; i < plan->ninputs; i++)
            if (plan->inputs[i].attnum == 0) {
                builder->sources[i].expr = ExecInitExpr(plan->inputs[i].expr, nullptr);
                builder->has_expressions = true;
            }
    });
    memset(builder->slot->tts_isnull, true, static_cast<Size>(builder->descriptor->natts));
}

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
void set_text(LaneBuilder *builder, LaneSource *source, uint32 i, const varlena *value)
{
    if (VARATT_IS_EXTENDED(value) && !VARATT_IS_SHORT(value))
        value = pg::in_context(builder->values,
                               [&] { return detoast_attr(const_cast<varlena *>(value)); });
    source->starts[i] = reinterpret_cast<const std::byte *>(VARDATA_ANY(value));
    source->sizes[i] = static_cast<uint32>(VARSIZE_ANY_EXHDR(value));
}

void fill_varlena(LaneBuilder *builder, LaneSource *source, uint32 first, uint32 nrows)
{
    bool has_nulls = false;
    for (uint32 i = 0; i < nrows; i++) {
        const std::byte *const value = builder->chunk->value(source->column, first + i);
        source->nulls[i] = value == nullptr;
        has_nulls |= value == nullptr;
        if (value != nullptr)
            set_text(builder, source, i, reinterpret_cast<const varlena *>(value));
    }
    source->lane = {nullptr, source->starts, source->sizes, has_nulls ? source->nulls : nullptr};
}

void fill_words(const VectorInput &input, LaneSource *source, const spool::Chunk::Slots &slots,
                uint32 first, uint32 nrows)
{
    switch (input.length) {
    case 1:
        widen<int8_t>(source->words, slots, first, nrows);
        break;
    case 2:
        widen<int16>(source->words, slots, first, nrows);
        break;
    case 4:
        if (input.form == LaneForm::kFloat4) {
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

void fill_column(LaneBuilder *builder, int i, uint32 first, uint32 nrows)
{
    const VectorInput &input = builder->plan->inputs[i];
    LaneSource *const source = &builder->sources[i];
    if (source->column < 0) {
        fill_all_null(source, nrows);
        return;
    }
    if (input.length == -1 && input.form != LaneForm::kNulls) {
        fill_varlena(builder, source, first, nrows);
        return;
    }
    spool::Chunk::Slots const slots = builder->chunk->slots(source->column);
    if (slots.first == nullptr) {
        fill_all_null(source, nrows);
        return;
    }
    bool const has_nulls = fill_nulls(source->nulls, slots.validity, first, nrows);
    if (input.form == LaneForm::kBlock) {
        const std::byte *const from = slots.first + Size{first} * slots.stride;
        for (uint32 row = 0; row < nrows; row++) {
            source->starts[row] = from + Size{row} * slots.stride;
            source->sizes[row] = static_cast<uint32>(input.length);
        }
    } else if (input.form != LaneForm::kNulls) {
        fill_words(input, source, slots, first, nrows);
    }
    source->lane = {source->words, source->starts, source->sizes,
                    has_nulls ? source->nulls : nullptr};
}

void load_row(LaneBuilder *builder, uint32 row)
{
    TupleTableSlot *const slot = builder->slot;
    ExecClearTuple(slot);
    for (int u = 0; u < builder->nused; u++) {
        int const i = builder->used[u];
        const std::byte *const value = builder->used_column[u] < 0
                                           ? nullptr
                                           : builder->chunk->value(builder->used_column[u], row);
        slot->tts_isnull[i] = value == nullptr;
        if (value != nullptr)
            slot->tts_values[i] = fetchatt(TupleDescAttr(builder->descriptor, i), value);
    }
    ExecStoreVirtualTuple(slot);
}

void set_value(LaneBuilder *builder, const VectorInput &input, LaneSource *source, uint32 i,
               Datum value, bool isnull)
{
    source->nulls[i] = isnull;
    if (isnull)
        return;
    switch (input.form) {
    case LaneForm::kWord:
        source->words[i] = static_cast<int64>(value);
        break;
    case LaneForm::kFloat4:
        source->words[i] = word_of_float4(DatumGetFloat4(value));
        break;
    case LaneForm::kText: {
        Datum const copy =
            pg::in_context(builder->values, [&] { return datumCopy(value, false, input.length); });
        set_text(builder, source, i, reinterpret_cast<const varlena *>(DatumGetPointer(copy)));
        break;
    }
    case LaneForm::kBlock: {
        Datum const copy =
            pg::in_context(builder->values, [&] { return datumCopy(value, false, input.length); });
        source->starts[i] = reinterpret_cast<const std::byte *>(DatumGetPointer(copy));
        source->sizes[i] = static_cast<uint32>(input.length);
        break;
    }
    case LaneForm::kNulls:
        break;
    }
}

/// WHERE and computed inputs, row by row.
uint32 evaluate(LaneBuilder *builder, uint32 first, uint32 nrows)
{
    const VectorPlan *const plan = builder->plan;
    uint32 count = 0;
    for (uint32 row = 0; row < nrows; row++) {
        ResetExprContext(builder->expressions);
        load_row(builder, first + row);
        if (!ExecQual(builder->where, builder->expressions))
            continue;
        builder->selected[count++] = static_cast<uint16>(row);
        for (int i = 0; i < plan->ninputs; i++) {
            LaneSource *const source = &builder->sources[i];
            if (source->expr == nullptr)
                continue;
            bool isnull;
            Datum const value =
                ExecEvalExprSwitchContext(source->expr, builder->expressions, &isnull);
            set_value(builder, plan->inputs[i], source, row, value, isnull);
        }
    }
    for (int i = 0; i < plan->ninputs; i++)
        if (builder->sources[i].expr != nullptr) {
            LaneSource &source = builder->sources[i];
            source.lane = {source.words, source.starts, source.sizes, source.nulls};
        }
    return count;
}

} // namespace

LaneBuilder *open_lanes(const VectorPlan *plan, Relation stream)
{
    auto *builder = static_cast<LaneBuilder *>(palloc0(sizeof(LaneBuilder)));
    builder->plan = plan;
    // A copy is not counted by the resource owner: the lanes may outlive a subtransaction.
    builder->descriptor = CreateTupleDescCopy(RelationGetDescr(stream));
    builder->values =
        AllocSetContextCreate(CurrentMemoryContext, "vector values", ALLOCSET_DEFAULT_SIZES);
    builder->selected = static_cast<uint16 *>(palloc(sizeof(uint16) * agg::kBlockRows));
    builder->sources =
        static_cast<LaneSource *>(palloc0(sizeof(LaneSource) * static_cast<Size>(plan->ninputs)));
    for (int i = 0; i < plan->ninputs; i++) {
        LaneSource &source = builder->sources[i];
        source.words = static_cast<int64 *>(palloc(sizeof(int64) * agg::kBlockRows));
        source.starts =
            static_cast<const std::byte **>(palloc(sizeof(std::byte *) * agg::kBlockRows));
        source.sizes = static_cast<uint32 *>(palloc(sizeof(uint32) * agg::kBlockRows));
        source.nulls = static_cast<uint8 *>(palloc(agg::kBlockRows));
    }
    prepare_expressions(builder);
    list_used_columns(builder);
    return builder;
}

void set_chunk(LaneBuilder *builder, const spool::Chunk *chunk)
{
    builder->chunk = chunk;
    for (int i = 0; i < builder->plan->ninputs; i++)
        if (AttrNumber const attnum = builder->plan->inputs[i].attnum; attnum > 0)
            builder->sources[i].column =
                spool::find_column(*chunk, TupleDescAttr(builder->descriptor, attnum - 1));
    for (int u = 0; u < builder->nused; u++)
        builder->used_column[u] =
            spool::find_column(*chunk, TupleDescAttr(builder->descriptor, builder->used[u]));
}

agg::Selection fill_lanes(LaneBuilder *builder, uint32 first, uint32 nrows)
{
    MemoryContextReset(builder->values);
    for (int i = 0; i < builder->plan->ninputs; i++)
        if (builder->sources[i].expr == nullptr)
            fill_column(builder, i, first, nrows);
    if (builder->where != nullptr || builder->has_expressions)
        return {builder->selected, evaluate(builder, first, nrows)};
    for (uint32 row = 0; row < nrows; row++)
        builder->selected[row] = static_cast<uint16>(row);
    return {builder->selected, nrows};
}

const agg::Lane &lane_of(const LaneBuilder *builder, int input)
{
    return builder->sources[input].lane;
}

void close_lanes(LaneBuilder *builder)
{
    ExecDropSingleTupleTableSlot(builder->slot);
    FreeExecutorState(builder->estate);
    MemoryContextDelete(builder->values);
}

} // namespace pipeline::partial
