// Partial states by the vectorised path: loops over the columns of the feed's chunks.
//
// Owns: the memory of one run. May call: agg, spool/feed, partial/vector_plan. Invariants: as
// those of partial/general: one row per group with the columns of the definition; the caller
// has switched to the owner and to the creation settings; no function runs that the owner may
// not execute.
#pragma once

#include "partial/general.hpp"
#include "partial/vector_plan.hpp"

namespace pipeline::partial {

/// Runs the plan over the current feed and hands on each group. False, with nothing done, if
/// the general path has to run it (to raise the right error).
bool run_vector_plan(const VectorPlan *plan, GroupReceiver receive, void *arg);

} // namespace pipeline::partial
