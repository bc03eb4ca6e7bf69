// The launcher: one background worker per cluster that starts the fold workers.
//
// Owns: who is started when, and the back-off of workers that keep dying. May call:
// pg/, spool/rendezvous. Invariants: it runs only on a primary; with nothing to start it
// sleeps on its latch without a timeout; at most two workers are starting at a time.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::supervise {

/// From _PG_init while shared_preload_libraries are loaded.
void register_launcher();

} // namespace pipeline::supervise
