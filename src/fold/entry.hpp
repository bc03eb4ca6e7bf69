// The main loop of a fold worker: what the supervisor calls, and all that it may include.
//
// Owns: the pace (when to tick, when to sleep, when to tend the spool). May call: fold/,
// spool/rendezvous. Invariant: an idle worker holds no transaction and uses no CPU.
#pragma once

#include <cstdint>

namespace pipeline::fold {

/// Why a worker ends.
struct WorkerEnd {
    std::uint64_t wakes_seen; ///< spool::count_wakes() by then
    bool halted;              ///< pipelinedb.folding was turned off
    std::int64_t wanted_at;   ///< by pg::now(), a TimestampTz: rows will expire; 0 = never
};

/// Folds this database until there is nothing to do for pipelinedb.idle_exit, or fewer workers
/// are wanted, or the extension is gone. The caller has connected, attached to the rendezvous
/// and forced the session settings.
WorkerEnd run_worker();

} // namespace pipeline::fold
