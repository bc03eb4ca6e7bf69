// Which fold worker has which view, when there are several: the plan, and handing views over.
//
// Owns: pipelinedb.query.worker after CREATE VIEW. May call: spool, view, fold_state. Invariants:
// a view is folded by the worker whose number its row has, and by nobody else. Only that worker
// changes the number, between two ticks, or worker 0 while it holds that worker's lock. A view
// that changes its number has a row of its own in pipelinedb.progress, made in the same
// transaction, so that nothing is folded twice or passed over.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace pipeline::fold {

struct PlacementOutcome {
    bool changed; ///< views were handed over
    bool leave;   ///< this worker is not wanted any more and has no view
    bool again;   ///< something could not be done now
};

/// True if there may be something to do: the catalog, pipelinedb.num_workers or the workers that
/// run have changed.
bool placement_is_due();

/// Hands views over, asks for workers, and lets worker 0 take over the views of workers that do
/// not come. In a transaction of its own, if it is due.
PlacementOutcome place_views();

} // namespace pipeline::fold
