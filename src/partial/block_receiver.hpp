// Rows of the executor as lanes: a destination that collects blocks of them.
//
// Owns: the arrays of one block, in the memory context that it was made in. May call: agg/lanes,
// partial/vector_plan, the server's executor. Invariants: what the lanes point to is valid while
// a block is handed on; a block has at most agg::kBlockRows rows.
#pragma once

#include "pg/postgres.hpp"

#include "partial/vector_plan.hpp"

namespace pipeline::partial {

struct BlockReceiver;

/// Takes a block, with a lane for each input; false if no more rows are wanted.
using BlockTaker = bool (*)(const agg::Lane *lanes, agg::Selection rows, void *arg);

/// The column of row i is `columns[i]`, the form of its lane that of `inputs[i]`.
BlockReceiver *open_block_receiver(const VectorInput *inputs, const AttrNumber *columns,
                                   int ninputs, BlockTaker take, void *arg);

/// Runs a planned statement with the active snapshot. The last block may be empty.
void receive_blocks(const PlannedStmt *statement, BlockReceiver *receiver);

/// Runs a planned statement with the active snapshot.
void execute_statement(const PlannedStmt *statement, DestReceiver *receiver);

} // namespace pipeline::partial
