// combine(column): the rewrite of a query that is about to be planned, and of a continuous query
// over an output stream.
//
// Owns: the planner hook. May call: pg/, view/stored_state, view/state_expressions. Invariants: a
// query that calls none of our aggregates is not changed, and one without any aggregate costs a
// walk over its range tables; types stay as the parser found them.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

/// Installs the planner hook.
void install_combine();

/// Replaces combine((delta).column) in a raw SELECT, where delta is a column of the row type of a
/// continuous view's table, by combine_state(...) with the types of the result. Before parse
/// analysis, since the column has the type of the state and what is computed from the result
/// depends on its type.
void resolve_delta_combines(Node *raw_select, const char *query_string);

} // namespace pipeline::view
