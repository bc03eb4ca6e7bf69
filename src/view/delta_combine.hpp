// combine((delta).column) in a continuous query: states that another view has changed by.
//
// Owns: its replacement by combine_state(...) in the raw query. May call: pg/, view/stored_state,
// view/state_expressions. Invariants: the replacement comes before parse analysis, since the
// column has the type of the state and what is computed from the result depends on its type; a
// query without such a call is not changed.
#pragma once

#include "pg/utility_hook.hpp"

namespace pipeline::view {

/// `raw_query` is that of the CREATE VIEW at hand, its own copy. delta is any column of the row
/// type of a continuous view's table.
void resolve_delta_combines(Node *raw_query, const pg::UtilityCall &call);

} // namespace pipeline::view
