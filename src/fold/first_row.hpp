// DISTINCT ON: which of two rows of a key is the one that the view keeps.
//
// Owns: the comparison by the ORDER BY of the definition. May call: nothing of ours. Invariants: it
// orders rows as the server's Sort node does; what a comparison function caches lies in the context
// in which the order was made.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::fold {

struct FirstRowOrder;

/// Of the columns of the definition by which it sorts the rows of one key, in CurrentMemoryContext.
FirstRowOrder *make_first_row_order(Query *definition);

/// True if the row comes strictly before the other one. Without ORDER BY none does.
bool comes_before(FirstRowOrder *order, const Datum *values, const bool *isnull,
                  const Datum *other_values, const bool *other_isnull);

} // namespace pipeline::fold
