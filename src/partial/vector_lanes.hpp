// Lanes for a block of rows: straight from a chunk's columns, or by evaluating expressions.
//
// Owns: the arrays of one block and the expression states of one run. May call: agg/lanes,
// spool/feed, the server's expression evaluation. Invariant: rows that the query's WHERE leaves
// out are in no selection, and no other expression is evaluated for them.
#pragma once

#include "pg/postgres.hpp"

#include "partial/datum_block.hpp"
#include "partial/vector_plan.hpp"
#include "spool/chunk.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pipeline::partial {

struct LaneBuilder;

LaneBuilder *open_lanes(const VectorPlan *plan, Relation stream);

/// The next chunk of the feed.
void set_chunk(LaneBuilder *builder, const spool::Chunk *chunk);

/// The same for rows that are in no chunk.
void set_block(LaneBuilder *builder, const DatumBlock *block);

/// Fills the lanes for `nrows` rows of the chunk from `first` on and selects those that pass
/// WHERE. What the lanes point to is valid until the next call.
agg::Selection fill_lanes(LaneBuilder *builder, uint32 first, uint32 nrows);

/// The lane of an input.
const agg::Lane &lane_of(const LaneBuilder *builder, int input);

void close_lanes(LaneBuilder *builder);

} // namespace pipeline::partial
