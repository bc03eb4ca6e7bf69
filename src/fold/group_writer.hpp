// Writing the groups of one view: find the stored row, combine, update or insert.
//
// Owns: the open matrel during one view's turn in a tick. May call: key_lookup, matrel_target,
// group_combine. Invariants: the fold worker is the only writer; it never waits for another
// session's row lock (ERRCODE_LOCK_NOT_AVAILABLE instead); rows are updated in place of their
// group, HOT where the page has room.
#pragma once

#include "fold/fold_state.hpp"

namespace pipeline::fold {

struct GroupWriter;

/// `matrel` is locked. Returns nullptr if it has no key index yet (a restore is under way).
GroupWriter *open_groups(Relation matrel, ViewMachine *machine);

/// partial::GroupReceiver: `arg` is the GroupWriter.
void write_group(TupleTableSlot *group, void *arg);

/// The same up to the point where the row would be written: what fails there would fail here.
void check_group(TupleTableSlot *group, void *arg);

void close_groups(GroupWriter *writer);

} // namespace pipeline::fold
