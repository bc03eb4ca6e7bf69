// What a session remembers of its own committed writes, and the waits for them: sync_commit
// after the commit, read_own_writes before a query.
//
// Owns: the list of own transactions that are not known to be folded; the executor hooks.
// May call: pg/, view/catalog, rendezvous. Invariants: after a commit nothing is raised;
// a session without such a write pays one test per query.
#pragma once

#include "spool/rendezvous.hpp"

namespace pipeline::spool {

/// From _PG_init: the executor hooks, the resource-release callback and the handlers of
/// transaction statements.
void install_own_writes();

/// From the commit of a transaction that wrote to a stream. Allocates and raises nothing.
void own_write_committed(FullTransactionId xid, Concerned concerned);

} // namespace pipeline::spool
