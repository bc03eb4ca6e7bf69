// Partial states by the general path: the server's planner and executor over a feed.
//
// Owns: the plan of one definition (for joins one per size of the feed), in a memory context of its
// own, and when it is stale. May call: spool/feed, view/catalog. Invariants: the plan's top Agg
// emits transition states (AGGSPLIT_INITIAL_SERIAL), one row per group of the feed, columns as in
// the definition; the caller has switched to the owner and to the creation settings.
#pragma once

#include "pg/postgres.hpp"

#include "spool/feed.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pipeline::partial {

struct GeneralPlan;

/// Called for each group; the slot is valid during the call.
using GroupReceiver = void (*)(TupleTableSlot *group, void *arg);

/// Plans the query of `definition` (a view). The plan lives in a child of `parent`. Planning
/// needs a feed to be set: it gives the row estimate.
GeneralPlan *make_plan(Relation definition, MemoryContext parent);

/// Sees to it that a plan that is not stale has a statement for feeds of the present size.
void ready_plan(GeneralPlan *plan, Relation definition);

/// Locks what the plan reads beside the stream, without waiting; false if that cannot be done.
/// Ask is_stale() afterwards: a lock lets in the news of what others did to the relation.
bool lock_joined(const GeneralPlan *plan);

/// True once something that the plan rests on has changed; make_plan() again then.
bool is_stale(const GeneralPlan *plan);

void free_plan(GeneralPlan *plan);

/// The planned query, for the vectorised path; nullptr if it joins. It lives as long as the plan.
const PlannedStmt *single_statement(const GeneralPlan *plan);

/// Plans a query for a process that is no fold worker, in CurrentMemoryContext: nothing says when
/// the statement becomes stale. nullptr if it joins.
const PlannedStmt *plan_once(Relation definition);

/// Runs the plan over the current feed with the active snapshot.
void run_plan(const GeneralPlan *plan, GroupReceiver receive, void *arg);

/// Registers the invalidation callbacks of the fold worker.
void install_plans();

} // namespace pipeline::partial
