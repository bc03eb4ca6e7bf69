// What CREATE VIEW tells about a query that is allowed but may not do what is expected.
//
// Owns: the notices. May call: pg/, view/catalog, view/from_checks. Invariant: nothing is
// changed and nothing refused here.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

/// One notice if the folded part of a query, which is its definition, asks for the time.
void notice_fold_time(Query *definition);

/// One notice for each column of a table that the stream is joined to and that has no index.
void notice_unindexed_joins(Query *query);

} // namespace pipeline::view
