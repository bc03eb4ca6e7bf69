// Writing the groups of one view: find the stored row, combine, update or insert.
//
// Owns: the open matrel during one view's turn in a tick. May call: group_batch, group_order,
// group_places, key_image, key_lookup, matrel_target, group_combine. Invariants: the fold worker
// is the only writer; it never waits for another session's row lock
// (ERRCODE_LOCK_NOT_AVAILABLE instead); rows are updated in place, HOT where the page has room.
#pragma once

#include "fold/emission.hpp"
#include "fold/fold_state.hpp"

namespace pipeline::fold {

struct GroupWriter;

/// `matrel` is locked. Returns nullptr if it has no key index yet (a restore is under way).
/// Without `write` nothing is written, but whatever fails would fail with it. What changes goes to
/// `emission`, if it is not nullptr. Groups take one part in `share` of the memory for them.
GroupWriter *open_groups(Relation matrel, ViewMachine *machine, Emission *emission, bool write,
                         int share);

/// partial::GroupReceiver: `arg` is the GroupWriter. A group may come again. It is written now or
/// later, by close_groups() at the latest.
void write_group(TupleTableSlot *group, void *arg);

void close_groups(GroupWriter *writer);

} // namespace pipeline::fold
