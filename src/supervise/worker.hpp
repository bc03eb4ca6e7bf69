// The life of a fold worker outside its loop: registration, start, session settings, exit.
//
// Owns: the entry point pipeline_fold_worker_main and the lock that makes a worker the only
// one of its number in a database. May call: pg/, spool/rendezvous, view/catalog, fold/entry.
// Invariant: the session's settings are the same whatever ALTER DATABASE or ROLE … SET says.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "postmaster/bgworker.h"
}

namespace pipeline::supervise {

/// Registers fold worker `number` of database `db`; the caller is told when it ends. NULL if
/// no process is free. The handle lives in TopMemoryContext.
BackgroundWorkerHandle *register_fold_worker(Oid db, int number);

/// Takes the session-level lock (database, number), inside a transaction; false if another
/// process holds it. A function of a view that calls pg_advisory_unlock_all() releases it, so
/// each tick calls this first: when it is held, that is one look-up in the local lock table.
bool hold_worker_lock();

} // namespace pipeline::supervise
