// How far a sliding window has moved, as the readers of its output know it.
//
// Owns: access to pipelinedb.window_edge, and the arithmetic of steps. May call: pg/, view/catalog.
// Invariants: the edge changes in the transaction that emits what has left the window; rows that
// are later than it are not removed.
#pragma once

#include "pg/postgres.hpp"

#include "view/catalog.hpp"

namespace pipeline::view {

/// The size of a step in microseconds, as the definition has it; 0 for a view without a window, and
/// for one that keeps rows as they are, which leave one by one.
int64 step_of_definition(Query *definition);

/// At `now`, the time of the last step (or row, if `step` is 0) that is not in a window of `size`.
TimestampTz edge_at(TimestampTz now, const Interval &size, int64 step);

/// When the next step leaves the window, as of `edge`.
TimestampTz next_move(TimestampTz edge, const Interval &size, int64 step);

/// What is stored; DT_NOBEGIN if nothing is: the view was restored.
TimestampTz read_edge(Oid view);
void store_edge(Oid view, TimestampTz edge);
void forget_edge(Oid view);

} // namespace pipeline::view
