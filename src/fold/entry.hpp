// The main loop of a fold worker: what the supervisor calls, and all that it may include.
//
// Owns: the pace (when to tick, when to sleep, when to tend the spool). May call: fold/,
// spool/rendezvous. Invariant: an idle worker holds no transaction and uses no CPU.
#pragma once

#include <cstdint>

namespace pipeline::fold {

/// Folds this database until there is nothing to do for pipelinedb.idle_exit or the extension
/// is gone. The caller has connected, attached to the rendezvous and forced the session
/// settings. Returns how many wake-ups (spool::count_wakes) had been seen by then.
std::uint64_t run_worker();

} // namespace pipeline::fold
