// Writing the rows of an append view: one stored row per row that its query returns.
//
// Owns: the batch of rows that is inserted at once. May call: matrel_target, view/matrel.
// Invariants: rows go to the table in the order of the feed, in the tick's transaction; memory is
// bounded by one batch, or by one row if that is larger.
#pragma once

#include "fold/fold_state.hpp"

namespace pipeline::fold {

struct AppendWriter;

/// `matrel` is locked. Returns nullptr while a restore is under way. Without `write` rows are
/// formed and checked only.
AppendWriter *open_append(Relation matrel, ViewMachine *machine, Emission *emission, bool write);

/// partial::GroupReceiver: `arg` is the AppendWriter.
void append_row(TupleTableSlot *row, void *arg);

void close_append(AppendWriter *writer);

} // namespace pipeline::fold
