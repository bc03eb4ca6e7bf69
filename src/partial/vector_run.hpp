// The groups and states of merged views, filled block by block.
//
// Owns: the memory of one run, in a context of its own. May call: agg, vector_lanes, vector_merge.
// Invariants: evaluate_block() changes no state, so that its errors cost nothing but the block;
// take_block() and merge_lanes() raise errors only if memory runs out or numbers overflow, and
// the run is of no use then.
#pragma once

#include "partial/vector_lanes.hpp"
#include "partial/vector_merge.hpp"

namespace pipeline::partial {

struct VectorRun;

/// The context of the run is a child of CurrentMemoryContext. The current user must be allowed to
/// execute what the views' expressions call. Without a stream the rows come by set_lanes().
VectorRun *open_run(const MergedPlan *plan, Relation stream);

/// Evaluates WHERE, keys and arguments for `nrows` rows from `first` on, of a chunk or of a block
/// (whose rows are taken all).
void begin_chunk(VectorRun *run, const spool::Chunk *chunk);
void begin_block(VectorRun *run, const DatumBlock *block);
void evaluate_block(VectorRun *run, uint32 first, uint32 nrows);

/// The same for rows that come as lanes, one for each input, from elsewhere (joins). They must stay
/// until the block is taken. Such a run needs no stream.
void set_lanes(VectorRun *run, const agg::Lane *lanes, agg::Selection selection);

/// Can the evaluated block be taken without any chance that a state overflows?
bool is_moderate(const VectorRun *run);

/// Adds the evaluated block to the groups.
void take_block(VectorRun *run);

/// Adds states that were written elsewhere (agg::StateArray::write) to the groups of a view:
/// lanes for the keys, then for the words of each aggregate.
void merge_lanes(VectorRun *run, int view, std::span<const agg::Lane> lanes,
                 agg::Selection selection);

/// What came together for a view.
const VectorPlan *plan_of(const VectorRun *run, int view);
uint32 count_groups(const VectorRun *run, int view);
agg::KeyValue group_key(const VectorRun *run, int view, uint32 group, int key);
const agg::StateArray &states_of(const VectorRun *run, int view, int aggregate);

/// Bytes of memory, and how many groups there are in all groupings.
Size run_size(const VectorRun *run);
uint64 count_all_groups(const VectorRun *run);

/// Forgets all groups and gives their memory back.
void clear_groups(VectorRun *run);

void close_run(VectorRun *run);

} // namespace pipeline::partial
