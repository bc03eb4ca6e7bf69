// New columns for the table behind a view.
//
// Owns: what they hold for groups that are there. May call: pg/, view/decompose. Invariants: the
// table is not rewritten, so that every tick sees the rows that it saw before; the caller holds
// a lock that keeps the fold worker out.
#pragma once

#include "pg/postgres.hpp"

#include "view/decompose.hpp"

namespace pipeline::view {

/// Adds the columns of `parts` behind the first `num_old`: aggregates over no rows for the groups
/// that are there, NULL for rows.
void add_matrel_columns(Oid matrel, const Decomposition &parts, int num_old);

/// The same for a view: its column list follows the query that is stored next.
void add_view_columns(Oid view, const Query *query, int num_old);

} // namespace pipeline::view
