// The limit of the spool (pipelinedb.max_spool_size): who holds it, who is warned, who loses.
//
// Owns: the end of a view's claim to its unread rows. May call: emptying, spool, view/catalog.
// Invariants: a view loses its progress and is marked as lost in one transaction, with the number
// of the rows that this progress lacked; only a view with a progress of its own can lose it.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::fold {

/// Measures the spool and tells the writers; near the limit it warns, at the limit it detaches
/// the views that hold the oldest rows. True while the spool is full: look again soon.
bool limit_spool();

} // namespace pipeline::fold
