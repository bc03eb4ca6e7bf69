// The life of a fold worker outside its loop: registration, start, session settings, exit.
//
// Owns: the entry point pipeline_fold_worker_main. May call: pg/, spool/rendezvous,
// view/catalog, fold/entry.
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

} // namespace pipeline::supervise
