// Between writers that aggregate and those who create views of the same stream.
//
// Owns: the lock. May call: pg/. Invariant: while a transaction holds the one, no other gets the
// other: a writer that leaves groups in the spool instead of rows knows every view that may count
// its rows. Writers never wait for it.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::spool {

/// For a writer, to the end of the transaction; false if somebody creates a view of the stream.
bool hold_views_of(Oid stream);

/// For who creates a view, to the end of the transaction: waits for the writers that hold the
/// views. Comes before the snapshot with which the view starts.
void lock_views_of(Oid stream);

} // namespace pipeline::spool
