// combine(column): the rewrite of a query that is about to be planned.
//
// Owns: the planner hook. May call: pg/, view/stored_state, view/state_expressions. Invariants: a
// query that calls none of our aggregates is not changed, and one without any aggregate costs a
// walk over its range tables; types stay as the parser found them.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::view {

/// Installs the planner hook.
void install_combine();

} // namespace pipeline::view
