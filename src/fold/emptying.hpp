// Rotation of spool generations, and emptying those that nobody needs any more.
//
// Owns: when and how a generation is cut to zero. May call: spool, fold_state.
// Invariants: a generation is emptied under AccessExclusiveLock (so no writer, prepared ones
// included, has chunks in flight there), after a last look for chunks that some consumer
// lacks, and after the WAL of every progress that covers them is on disk.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::fold {

/// Rotates the current generation if it is large, and empties drained ones. With `idle`, the
/// current one is emptied in place. True if something is left that may be emptied later.
bool tend_generations(bool idle);

} // namespace pipeline::fold
