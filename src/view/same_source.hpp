// Do two continuous queries read the same relations in the same way?
//
// Owns: the comparison of FROM clauses. May call: pg/. Invariant: where the answer is yes, a column
// of the first query (varno, varattno) is the same column in the second one.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

enum class Filters {
    kIgnore, ///< conditions may differ, also those of subqueries
    kCompare
};

/// True if the range table of `after` begins with that of `before`: more joins may follow.
bool extends_source(const Query *before, const Query *after, Filters filters);

} // namespace pipeline::view
