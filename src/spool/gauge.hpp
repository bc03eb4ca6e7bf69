// How full the spool of a database is, and the limit that its writers keep.
//
// Owns: the shared-memory segment "pipeline_ext spool sizes", one gauge per database.
// May call: pg/, generations, rendezvous. Invariants: a gauge says what somebody measured within
// the last seconds of writing, no more; exactness never rests on it. A writer pays one comparison
// per chunk, and measures itself only if no fold worker did for kPatience.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::spool {

/// Registers the shared memory (from _PG_init).
void install_gauges();

/// Bytes of all spool tables, TOAST included. Waits for no lock: what is being emptied counts as
/// empty. In a transaction.
uint64 measure_spool();

/// What writers go by from now on.
void publish_spool_size(uint64 bytes);

/// pipelinedb.max_spool_size in bytes; 0 = no limit.
uint64 spool_limit();

/// With each chunk, before it takes a lock: raises ERRCODE_CONFIGURATION_LIMIT_EXCEEDED when the
/// spool is full. `is_first`: of its statement. A fold worker is never refused: it makes room.
void check_room(Size bytes, bool is_first);

} // namespace pipeline::spool
