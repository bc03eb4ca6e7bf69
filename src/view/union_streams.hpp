// UNION ALL of streams as the outermost query: it becomes a subquery in FROM.
//
// Owns: the query around the union. May call: pg/. Invariant: the new query has the columns, the
// ORDER BY and the LIMIT of the old one; all rules about subqueries hold for its branches.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

/// SELECT * FROM (query) for a set operation, else `query` itself.
Query *wrap_union(Query *query);

/// The branches of a query that is a set operation, as a List of RangeTblEntry *. Raises
/// ERRCODE_FEATURE_NOT_SUPPORTED unless it is UNION ALL throughout.
List *union_branches(Query *query);

} // namespace pipeline::view
