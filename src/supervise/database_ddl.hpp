// Statements about databases that the server refuses while anybody is connected to them.
//
// Owns: the handlers of CREATE, DROP and ALTER DATABASE: they ask the fold workers of the
// database to go first. May call: pg/, spool/rendezvous. Invariant: a role that may not run
// the statement cannot stop a worker with it; no worker is kept away for longer than the
// transaction.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::supervise {

/// From _PG_init, before pg::install_utility_hook().
void install_database_ddl();

} // namespace pipeline::supervise
