#include "partial/hash_join.hpp"

#include "agg/join_table.hpp"
#include "partial/hash_join_plan.hpp"
#include "partial/vector_lanes.hpp"
#include "pg/guard.hpp"
#include "pg/memory.hpp"
#include "spool/feed.hpp"

extern "C" {
#include "access/table.h"
#include "miscadmin.h"
}

#include <new>

namespace pipeline::partial {
namespace {

/// Everything of one run; lives in its memory context and is dropped with it.
struct Join {
    explicit Join(MemoryContext context) : memory(context) {}

    pg::ContextResource memory;
    HashJoinPlan *plan;
    BlockTaker take;
    void *arg;
    agg::JoinTable *table;
    agg::JoinTable::Matches *matches;
    agg::Lane *keys;   ///< of the stream's block
    agg::Lane *inputs; ///< of the joined rows
    uint16 *selected;  ///< 0, 1, 2, …
    int64 **words;     ///< of each input
    const std::byte ***starts;
    uint32 **sizes;
    uint8 **nulls;
};

template <typename T> T *make_array(int count)
{
    return static_cast<T *>(palloc0(sizeof(T) * static_cast<Size>(count)));
}

Join *open_join(HashJoinPlan *plan, BlockTaker take, void *arg)
{
    auto *join = new (palloc0(sizeof(Join))) Join(CurrentMemoryContext);
    int const ninputs = plan->inputs->ninputs;
    join->plan = plan;
    join->take = take;
    join->arg = arg;
    join->matches = static_cast<agg::JoinTable::Matches *>(palloc(sizeof(agg::JoinTable::Matches)));
    join->keys = make_array<agg::Lane>(plan->nkeys);
    join->inputs = make_array<agg::Lane>(ninputs);
    join->selected = make_array<uint16>(agg::kBlockRows);
    for (uint32 row = 0; row < agg::kBlockRows; row++)
        join->selected[row] = static_cast<uint16>(row);
    join->words = make_array<int64 *>(ninputs);
    join->starts = make_array<const std::byte **>(ninputs);
    join->sizes = make_array<uint32 *>(ninputs);
    join->nulls = make_array<uint8 *>(ninputs);
    for (int i = 0; i < ninputs; i++) {
        join->words[i] = make_array<int64>(agg::kBlockRows);
        join->starts[i] = make_array<const std::byte *>(agg::kBlockRows);
        join->sizes[i] = make_array<uint32>(agg::kBlockRows);
        join->nulls[i] = make_array<uint8>(agg::kBlockRows);
    }
    void *const table = palloc(sizeof(agg::JoinTable));
    pg::enter([&] {
        join->table = new (table) agg::JoinTable(
            {plan->key_kinds, static_cast<std::size_t>(plan->nkeys)},
            {plan->column_kinds, static_cast<std::size_t>(plan->ncolumns)}, &join->memory);
    });
    return join;
}

/// Takes a block of the other side. False: the table is too large.
bool take_table_rows(const agg::Lane *lanes, agg::Selection rows, void *arg)
{
    auto *const join = static_cast<Join *>(arg);
    if (join->plan->too_large)
        return false;
    auto const nkeys = static_cast<std::size_t>(join->plan->nkeys);
    auto const ncolumns = static_cast<std::size_t>(join->plan->ncolumns);
    join->plan->too_large = pg::enter([&] {
        join->table->add({lanes, nkeys}, {lanes + nkeys, ncolumns}, rows);
        return join->table->size() > get_hash_memory_limit();
    });
    CHECK_FOR_INTERRUPTS();
    return !join->plan->too_large;
}

bool fill_table(Join *join)
{
    HashJoinPlan *const plan = join->plan;
    BlockReceiver *const receiver =
        open_block_receiver(plan->table_inputs, plan->table_columns, plan->nkeys + plan->ncolumns,
                            take_table_rows, join);
    receive_blocks(plan->table, receiver);
    if (plan->too_large)
        return false;
    pg::enter([&] { join->table->finish(); });
    return true;
}

/// Input i of the joined rows, from the stream's lane.
void gather_stream(Join *join, int i, const agg::Lane &from)
{
    const agg::JoinTable::Matches &matches = *join->matches;
    LaneForm const form = join->plan->inputs->inputs[i].form;
    bool const bytes = form == LaneForm::kText || form == LaneForm::kBlock;
    bool const words = form == LaneForm::kWord || form == LaneForm::kFloat4;
    for (uint32 m = 0; words && m < matches.count; m++)
        join->words[i][m] = from.words[matches.left[m]];
    for (uint32 m = 0; bytes && m < matches.count; m++) {
        join->starts[i][m] = from.starts[matches.left[m]];
        join->sizes[i][m] = from.sizes[matches.left[m]];
    }
    for (uint32 m = 0; from.nulls != nullptr && m < matches.count; m++)
        join->nulls[i][m] = from.nulls[matches.left[m]];
    join->inputs[i] = {join->words[i], join->starts[i], join->sizes[i],
                       from.nulls != nullptr ? join->nulls[i] : nullptr};
}

void gather_table(Join *join, int i, int column)
{
    auto const at = static_cast<std::size_t>(column);
    std::span<const std::uint32_t> const rows{join->matches->right, join->matches->count};
    bool const has_nulls =
        join->plan->column_kinds[column] == agg::KeyKind::kBytes
            ? join->table->gather(at, rows, join->starts[i], join->sizes[i], join->nulls[i])
            : join->table->gather(at, rows, join->words[i], join->nulls[i]);
    join->inputs[i] = {join->words[i], join->starts[i], join->sizes[i],
                       has_nulls ? join->nulls[i] : nullptr};
}

/// False if no more rows are wanted.
bool join_block(Join *join, const LaneBuilder *lanes, agg::Selection rows)
{
    const HashJoinPlan *const plan = join->plan;
    auto const nkeys = static_cast<std::size_t>(plan->nkeys);
    for (int k = 0; k < plan->nkeys; k++)
        join->keys[k] = lane_of(lanes, plan->stream_keys[k]);
    pg::enter([&] { join->table->look_up({join->keys, nkeys}, rows, plan->keep); });
    while (pg::enter([&] { return join->table->next(*join->matches); })) {
        CHECK_FOR_INTERRUPTS();
        for (int i = 0; i < plan->inputs->ninputs; i++) {
            JoinSource const source = plan->sources[i];
            if (source.from_table)
                gather_table(join, i, source.number);
            else
                gather_stream(join, i, lane_of(lanes, source.number));
        }
        if (!join->take(join->inputs, {join->selected, join->matches->count}, join->arg))
            return false;
    }
    return true;
}

void join_chunks(Join *join)
{
    const spool::Feed *const feed = spool::current_feed();
    Relation const stream = table_open(spool::only_stream(*feed), AccessShareLock);
    LaneBuilder *const lanes = open_lanes(join->plan->stream, stream);
    bool wanted = true;
    for (int c = 0; c < feed->nchunks && wanted; c++) {
        const spool::Chunk *const chunk = feed->chunks[c];
        set_chunk(lanes, chunk);
        for (uint32 first = 0; first < chunk->nrows() && wanted; first += agg::kBlockRows)
            wanted =
                join_block(join, lanes,
                           fill_lanes(lanes, first, Min(agg::kBlockRows, chunk->nrows() - first)));
        CHECK_FOR_INTERRUPTS();
    }
    close_lanes(lanes);
    table_close(stream, NoLock);
    // Without keys there is a group even if nothing was joined.
    join->take(join->inputs, {join->selected, 0}, join->arg);
}

} // namespace

bool run_hash_join(HashJoinPlan *plan, BlockTaker take, void *arg)
{
    if (plan->too_large)
        return false;
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "hash join", ALLOCSET_DEFAULT_SIZES);
    MemoryContext const old = MemoryContextSwitchTo(context);
    Join *const join = open_join(plan, take, arg);
    bool const fits = fill_table(join);
    if (fits)
        join_chunks(join);
    MemoryContextSwitchTo(old);
    MemoryContextDelete(context);
    return fits;
}

} // namespace pipeline::partial
