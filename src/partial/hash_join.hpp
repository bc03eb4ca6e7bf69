// A hash join of the stream with anything that the executor can read, in blocks of lanes.
//
// Owns: what of a planned HashJoin it needs; during a run the join's table. May call: agg,
// partial/vector, partial/block_receiver. Invariants: the stream is the side that is looked up,
// and only equality that is that of bits joins; the table stays below the limit of the server's
// own hash joins (work_mem, hash_mem_multiplier), or the executor has to join.
#pragma once

#include "partial/block_receiver.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pipeline::partial {

struct HashJoinPlan;

/// `join` is the node below the top Agg of `statement`; `inputs` are those of the
/// aggregation, in terms of that node. nullptr if the join is not served. Planning needs a feed to
/// be set.
HashJoinPlan *make_hash_join(const PlannedStmt *statement, const Plan *join,
                             const VectorPlan *inputs);

/// Joins the current feed and hands on the rows until no more are wanted; the last block may be
/// empty. False, with nothing handed on, if the executor has to join.
bool run_hash_join(HashJoinPlan *plan, BlockTaker take, void *arg);

} // namespace pipeline::partial
