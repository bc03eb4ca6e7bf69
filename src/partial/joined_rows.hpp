// Vectorised aggregation of joins: the executor runs the plan below the top Agg, and the rows
// that come out are aggregated in blocks. A hash join with the stream is done in blocks, too.
//
// Owns: the plan without its Agg. May call: partial/vector, partial/hash_join, the executor.
// Invariants: as those of partial/vector; the statement that it was made from outlives it.
#pragma once

#include "partial/vector.hpp"

namespace pipeline::partial {

struct JoinedPlan;

/// nullptr if the query is not served. What is made lives in the current memory context.
JoinedPlan *make_joined_plan(const PlannedStmt *statement, Relation definition);

/// Runs the plan over the current feed and hands on each group. False, with nothing done, if
/// the general path has to run it.
bool run_joined_plan(const JoinedPlan *plan, GroupReceiver receive, void *arg);

} // namespace pipeline::partial
