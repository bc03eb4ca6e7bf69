// Where the state behind a column is: from combine(column) down to the table of a continuous view.
//
// Owns: following a column through subqueries, views, WITH queries and joins. May call: pg/,
// view/catalog, view/state_expressions. Invariants: columns are only added, at the end of a
// level's visible ones, so nothing else that refers to the level changes; a level is passed only
// if each of its rows is a row of what lies below.
#pragma once

#include "pg/postgres.hpp"

#include "view/state_expressions.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

/// What a query reads beside what its own tree says.
struct FollowedViews {
    List *definitions; ///< OIDs of the definitions that were looked at
};

/// `levels` is a List of Query *, innermost first, and `arg` the argument of combine() there. The
/// state among the arguments is for that place. Raises an error if `arg` is not one aggregate
/// column of a continuous view.
CombineArguments find_stored_state(List *levels, Node *arg, FollowedViews *followed);

/// The aggregate call that makes column `attno` of `matrel`, and its view's definition; nullptr if
/// the column holds a key. Raises an error if `matrel` is not the table of a continuous view.
const Aggref *aggregate_of_column(Oid matrel, AttrNumber attno, Oid *definition);

/// That column holds a key.
[[noreturn]] void refuse_key_column(Oid matrel, AttrNumber attno);

} // namespace pipeline::view
