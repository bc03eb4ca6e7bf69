// Partial states by the vectorised path: loops over the columns of the feed's chunks.
//
// Owns: the memory of one run, about a quarter of pipelinedb.fold_memory. May call: agg,
// spool/feed, partial/vector_run. Invariants: as those of partial/general, but a group may come
// several times; the caller has switched to the owner and to the creation settings, and has asked
// may_run().
#pragma once

#include "partial/general.hpp"
#include "partial/vector_plan.hpp"

namespace pipeline::partial {

struct VectorRun;

/// False if the current user may not do what the plan does: the general path, which asks for
/// the same rights, has to raise the error.
bool may_run(const VectorPlan *plan);

/// Runs the plan over the feed, partial states included, and hands on each group.
void run_vector_plan(const VectorPlan *plan, const spool::Feed &feed, GroupReceiver receive,
                     void *arg);

/// Is it time to hand on the groups and clear them?
bool is_too_large(const VectorRun *run);

/// Hands on each group of a run over the plan alone (VectorPlan::alone).
void emit_groups(const VectorRun *run, const VectorPlan *plan, GroupReceiver receive, void *arg);

} // namespace pipeline::partial
