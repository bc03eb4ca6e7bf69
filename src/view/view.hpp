// Continuous views: their DDL and their catalog.
//
// Owns: the handlers of CREATE, ALTER and DROP statements that touch views and streams, the
// guard trigger of matrels, activate and deactivate. May call: pg/, spool/progress,
// spool/rendezvous. Invariant: what is registered in pipelinedb.query exists completely.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::view {

/// From _PG_init, after pg::install_utility_hook().
void install_hooks();

} // namespace pipeline::view
