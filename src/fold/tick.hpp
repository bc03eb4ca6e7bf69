// A tick: one transaction that folds what one consumer lacks, and its progress with it.
//
// Owns: the order of steps. May call: everything below fold/. Invariants: mark, then snapshot,
// then the list of views; the snapshot is taken before the tick has an xid, so its own xid is
// in no set; views and progress change in the same transaction or not at all.
#pragma once

#include "fold/fold_state.hpp"

namespace pipeline::fold {

struct TickOutcome {
    bool extension_is_gone;
    bool folded;            ///< some chunk was folded
    bool left_behind;       ///< there is more to do at once
    bool failed;            ///< the transaction was rolled back
    bool consumers_changed; ///< a view was set aside or has rejoined
    bool wants_mark;        ///< it was not made (attempts.hpp)
};

/// A tick for the consumer `id`. The shared one takes along views that can rejoin it.
TickOutcome run_tick(Oid id);

/// What the last tick of the shared consumer saw as committed (valid until the next one).
const spool::XidSet &latest_set();

} // namespace pipeline::fold
