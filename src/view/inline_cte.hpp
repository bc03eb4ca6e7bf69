// WITH queries of a continuous query become subqueries in FROM, as the planner inlines them.
//
// Owns: the refusals that concern WITH. May call: pg/, view/from_checks, view/query_checks.
// Invariant: afterwards no level of the query that names a stream has a WITH list, so that all
// rules about subqueries hold for WITH queries, too.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

/// `query` comes from parse analysis and is changed. Raises ERRCODE_FEATURE_NOT_SUPPORTED for a
/// WITH query that cannot be a subquery.
void inline_ctes(Query *query);

} // namespace pipeline::view
