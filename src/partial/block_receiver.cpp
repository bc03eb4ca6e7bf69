#include "partial/block_receiver.hpp"

#include "partial/lane_source.hpp"
#include "pg/compat.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "access/detoast.h"
#include "executor/execdesc.h"
#include "tcop/dest.h"
}

namespace pipeline::partial {

/// One input's place in the block.
struct InputArrays {
    int64 *words;
    const std::byte **starts;
    uint32 *sizes;
    uint8 *nulls;
    bool has_nulls;
};

struct BlockReceiver {
    DestReceiver receiver; // first: the executor knows this member only
    const VectorInput *inputs;
    const AttrNumber *columns;
    int ninputs;
    int last_column;
    BlockTaker take;
    void *arg;
    InputArrays *arrays;
    agg::Lane *lanes;
    uint16 *selected; ///< 0, 1, 2, …
    uint32 count;
    MemoryContext values; ///< copies of what the rows point to
    char *piece;
    Size left;
};

namespace {

/// Copies of a block's values are carved from pieces of this size.
constexpr Size kPiece = 64 * 1024;

/// Memory until the block is handed on; not aligned.
char *carve(BlockReceiver *block, Size size)
{
    if (size > block->left) {
        block->left = Max(size, kPiece);
        block->piece = static_cast<char *>(MemoryContextAlloc(block->values, block->left));
    }
    char *const place = block->piece;
    block->piece += size;
    block->left -= size;
    return place;
}

void set_bytes(BlockReceiver *block, InputArrays *input, const void *from, Size size)
{
    char *const copy = carve(block, size);
    memcpy(copy, from, size);
    input->starts[block->count] = reinterpret_cast<const std::byte *>(copy);
    input->sizes[block->count] = static_cast<uint32>(size);
}

void set_text(BlockReceiver *block, InputArrays *input, Datum value)
{
    auto *text = reinterpret_cast<varlena *>(DatumGetPointer(value));
    if (VARATT_IS_EXTENDED(text) && !VARATT_IS_SHORT(text))
        text = pg::in_context(block->values, [&] { return detoast_attr(text); });
    set_bytes(block, input, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
}

void set_value(BlockReceiver *block, InputArrays *to, const VectorInput &input, Datum value)
{
    switch (input.form) {
    case LaneForm::kWord:
        to->words[block->count] = word_of(value, input.length);
        break;
    case LaneForm::kFloat4:
        to->words[block->count] =
            static_cast<int64>(Float8GetDatum(static_cast<float8>(DatumGetFloat4(value))));
        break;
    case LaneForm::kText:
        set_text(block, to, value);
        break;
    case LaneForm::kBlock:
        set_bytes(block, to, DatumGetPointer(value), static_cast<Size>(input.length));
        break;
    case LaneForm::kNulls:
        break;
    }
}

bool hand_on(BlockReceiver *block)
{
    for (int i = 0; i < block->ninputs; i++) {
        InputArrays *const input = &block->arrays[i];
        block->lanes[i] = {input->words, input->starts, input->sizes,
                           input->has_nulls ? input->nulls : nullptr};
        input->has_nulls = false;
    }
    bool const go_on = block->take(block->lanes, {block->selected, block->count}, block->arg);
    block->count = 0;
    MemoryContextReset(block->values);
    block->left = 0;
    return go_on;
}

extern "C" bool pipeline_receive_row(TupleTableSlot *slot, DestReceiver *self)
{
    auto *block = reinterpret_cast<BlockReceiver *>(self);
    slot_getsomeattrs(slot, block->last_column);
    for (int i = 0; i < block->ninputs; i++) {
        InputArrays *const input = &block->arrays[i];
        int const column = block->columns[i] - 1;
        bool const isnull = slot->tts_isnull[column];
        input->nulls[block->count] = isnull;
        input->has_nulls |= isnull;
        if (!isnull)
            set_value(block, input, block->inputs[i], slot->tts_values[column]);
    }
    return ++block->count < agg::kBlockRows || hand_on(block);
}

extern "C" void pipeline_start_rows(DestReceiver *, int, TupleDesc) {}

extern "C" void pipeline_end_rows(DestReceiver *) {}

} // namespace

BlockReceiver *open_block_receiver(const VectorInput *inputs, const AttrNumber *columns,
                                   int ninputs, BlockTaker take, void *arg)
{
    auto *block = static_cast<BlockReceiver *>(palloc0(sizeof(BlockReceiver)));
    block->receiver.receiveSlot = pipeline_receive_row;
    block->receiver.rStartup = pipeline_start_rows;
    block->receiver.rShutdown = pipeline_end_rows;
    block->receiver.rDestroy = pipeline_end_rows;
    block->receiver.mydest = DestNone;
    block->inputs = inputs;
    block->columns = columns;
    block->ninputs = ninputs;
    block->take = take;
    block->arg = arg;
    block->arrays =
        static_cast<InputArrays *>(palloc0(sizeof(InputArrays) * static_cast<Size>(ninputs)));
    block->lanes =
        static_cast<agg::Lane *>(palloc0(sizeof(agg::Lane) * static_cast<Size>(ninputs)));
    for (int i = 0; i < ninputs; i++) {
        InputArrays &input = block->arrays[i];
        // Where only NULLs count, nobody writes the words, but they may be copied.
        input.words = static_cast<int64 *>(palloc0(sizeof(int64) * agg::kBlockRows));
        input.starts =
            static_cast<const std::byte **>(palloc(sizeof(std::byte *) * agg::kBlockRows));
        input.sizes = static_cast<uint32 *>(palloc(sizeof(uint32) * agg::kBlockRows));
        input.nulls = static_cast<uint8 *>(palloc(agg::kBlockRows));
        block->last_column = Max(block->last_column, columns[i]);
    }
    block->selected = static_cast<uint16 *>(palloc(sizeof(uint16) * agg::kBlockRows));
    for (uint32 row = 0; row < agg::kBlockRows; row++)
        block->selected[row] = static_cast<uint16>(row);
    block->values =
        AllocSetContextCreate(CurrentMemoryContext, "block of rows", ALLOCSET_DEFAULT_SIZES);
    return block;
}

void receive_blocks(const PlannedStmt *statement, BlockReceiver *receiver)
{
    execute_statement(statement, &receiver->receiver);
    hand_on(receiver);
}

void execute_statement(const PlannedStmt *statement, DestReceiver *receiver)
{
    QueryDesc *const query =
        CreateQueryDesc(const_cast<PlannedStmt *>(statement), "(continuous query)",
                        GetActiveSnapshot(), InvalidSnapshot, receiver, nullptr, nullptr, 0);
    ExecutorStart(query, 0);
    pg::executor_run(query);
    ExecutorFinish(query);
    ExecutorEnd(query);
    FreeQueryDesc(query);
}

} // namespace pipeline::partial
