// What a query that replaces a continuous view's keeps of the old one's columns, and adds.
//
// Owns: which changes have a meaning for what is stored. May call: pg/, view/decompose,
// view/same_source. Invariants: the columns of the table stay where they are, with their names and
// types, whether the new query needs them or not; new ones follow.
#pragma once

#include "pg/postgres.hpp"

#include "view/decompose.hpp"

namespace pipeline::view {

/// The old query of a view.
struct Replaced {
    const char *kind;  ///< "continuous view" or "continuous transform"
    const char *name;  ///< of the view
    Query *definition; ///< what is folded
    Query *reading;    ///< what is read; nullptr for a transform
    const Interval *window;
};

struct Merged {
    Decomposition parts; ///< of the new query, over the columns of the table
    int num_old;         ///< of its columns are there already
    bool folds_alike;    ///< the new query differs on reading only
};

/// `query` has been taken apart into `parts`. Raises an error for a change that would make what is
/// stored wrong.
Merged merge_parts(const Replaced &old, Query *query, const Decomposition &parts);

/// The query of the definition, with the columns that only the old query needs.
Query *merged_definition(const Replaced &old, Query *query, const Merged &merged);

} // namespace pipeline::view
