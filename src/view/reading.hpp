// The query of the view that users read: what is computed from the stored columns.
//
// Owns: how a key, an aggregate or a GROUPING() is read from the columns of a matrel. May call:
// pg/, view/decompose, view/grouping. Invariant: the view has the columns, types, typmods and
// collations that the user's own query has.
#pragma once

#include "pg/postgres.hpp"

#include "view/decompose.hpp"

namespace pipeline::view {

/// The query of the view that users read, over `matrel`.
Query *reading_query(Query *query, const Decomposition &parts, Oid matrel);

} // namespace pipeline::view
