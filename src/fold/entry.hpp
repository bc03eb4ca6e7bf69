// The main loop of a fold worker: what the supervisor calls, and all that it may include.
//
// Owns: the pace (when to tick, when to sleep, when to tend the spool). May call: fold/,
// spool/rendezvous. Invariant: an idle worker holds no transaction and uses no CPU.
#pragma once

namespace pipeline::fold {

/// Folds this database until there is nothing to do for pipelinedb.idle_exit or the extension
/// is gone. The caller has connected, attached to the rendezvous and forced the session
/// settings.
void run_worker();

} // namespace pipeline::fold
