// Sliding windows: WHERE time > clock_timestamp() - interval, or WITH (sw = interval).
//
// Owns: which condition is a window, the steps by which it moves, and the key that they are. May
// call: pg/, view/view_options. Invariants: the definition has no condition on the clock, so what
// is folded depends on the rows alone; the step is the first key of every stored group, and the
// reading query leaves out what is behind the window.
#pragma once

#include "pg/postgres.hpp"

#include "view/view_options.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

struct Window {
    const Interval *size; ///< nullptr: the query has no window
    int64 step;           ///< in microseconds
    Expr *time;           ///< over the stream, of type timestamptz
    const char *name;     ///< of the column that stores it; nullptr: any
};

/// Puts the window that WITH (sw = …) asks for into the WHERE clause of a raw SELECT, where it
/// could as well have been written.
void add_window_condition(Node *raw_query, const ViewOptions &options);

/// Takes the window out of the WHERE clause. Raises an error if it is not where it can be one.
Window take_window(Query *query, const ViewOptions &options);

/// Makes the step the first key of a query that groups; an append query stores the time itself.
void add_step(Query *query, const Window &window);

/// The condition of readers: `time`, a stored column, is in the window at the time of reading.
Node *in_window(Node *time, const Interval *size);

} // namespace pipeline::view
