// Finding the stored row of a group: by a unique index over the keys, or by the hash of a group
// and a comparison.
//
// Owns: the scans of one view's turn in a tick. May call: pg/, view/group_hash, group_order.
// Invariants: keys are equal by their types' own equality in their columns' collations, and NULL
// equals NULL; what the snapshot's command id does not show is not found.
#pragma once

#include "fold/fold_state.hpp"
#include "fold/group_order.hpp"

namespace pipeline::fold {

struct KeyLookup;

/// The keys of a group, by column number.
struct GroupKeys {
    const Datum *values;
    const bool *isnull;
};

/// nullptr if the matrel has no index that finds groups (a restore is under way).
KeyLookup *open_lookup(Relation matrel, int nkeys, Snapshot snapshot);

/// Stores the group's row in `stored`, and in `place` what the index points to: the row itself or
/// where its HOT chain begins (invalid if that is not known). What comparing allocates goes to
/// `scratch`; the scans keep what they allocate in the context of open_lookup().
bool find_group(KeyLookup *lookup, GroupKeys group, TupleTableSlot *stored, ItemPointer place,
                MemoryContext scratch);

/// The order in which looking up is cheapest; nullptr: any.
KeyOrder *order_of_lookup(const KeyLookup *lookup);

/// Gives up the pin on the page of the last row: a page is pruned only with a single pin.
void leave_page(KeyLookup *lookup);

void close_lookup(KeyLookup *lookup);

} // namespace pipeline::fold
