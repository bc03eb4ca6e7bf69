// Finding the stored row of a group: by a unique index over the keys, or by the hash of a group
// and a comparison.
//
// Owns: the scans of one view's turn in a tick. May call: pg/, view/group_hash. Invariants: keys
// are equal by their types' own equality in their columns' collations, and NULL equals NULL;
// rows that the tick itself wrote are not seen, as no group comes twice.
#pragma once

#include "fold/fold_state.hpp"

namespace pipeline::fold {

struct KeyLookup;

/// nullptr if the matrel has no index that finds groups (a restore is under way).
KeyLookup *open_lookup(Relation matrel, int nkeys);

/// Stores the group's row in `stored`. What comparing allocates goes to `scratch`; the scans keep
/// what they allocate in the context of open_lookup().
bool find_group(KeyLookup *lookup, TupleTableSlot *group, TupleTableSlot *stored,
                MemoryContext scratch);

void close_lookup(KeyLookup *lookup);

} // namespace pipeline::fold
