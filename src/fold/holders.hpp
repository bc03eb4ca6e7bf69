// Who holds rows of the spool: the consumers of all fold workers, as they are stored.
//
// Owns: nothing; lists live in CurrentMemoryContext. May call: spool, view, fold_state.
// Invariant: what is stored is what counts. In its memory a worker can only be ahead of it, over
// transactions that wrote nothing for its views.
#pragma once

#include "fold/fold_state.hpp"

namespace pipeline::fold {

/// A consumer that has views, of any worker. Paused and failed ones count: they keep their rows.
struct Holder {
    const spool::StoredProgress *stored;
    spool::Progress progress; ///< of this worker's own consumers what it knows, else as stored
    List *views;              ///< FoldedView *, of which query and truncation are set

    bool is_shared() const { return stored->consumer < FirstNormalObjectId; }
};

/// As `snapshot` sees them, as a List of Holder *. Lost views hold nothing.
List *list_holders(Snapshot snapshot);

/// True if some view of the holder has still to take the chunk's rows.
bool lacks(const Holder *holder, const spool::StoredChunk &chunk);

} // namespace pipeline::fold
