// DISTINCT, DISTINCT ON, grouping sets and views without any grouping: what the keys of a matrel
// are.
//
// Owns: the hidden columns that tell a rolled-up NULL from a real one. May call: pg/. Invariants:
// a group is in one grouping set, whose mask (GROUPING of all keys) is a part of its key; no two
// sets of a query are equal, so a tick writes a group once.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

/// Turns SELECT DISTINCT without grouping into GROUP BY of all columns, and grouping sets that
/// are a single one into GROUP BY. DISTINCT over groups stays: it is applied on reading.
void normalise_grouping(Query *query);

/// Raises ERRCODE_FEATURE_NOT_SUPPORTED for grouping sets that groups cannot be kept for.
void check_grouping(Query *query);

/// True if the view keeps one row per row of the stream.
bool is_append_query(const Query *query);

/// True if the view keeps one row of the stream per key, the first one in the order of the query:
/// DISTINCT ON without groups. Over groups it is applied on reading.
bool is_first_row_query(const Query *query);

/// True if the query has a row before the first row of the stream: no GROUP BY, or a grouping
/// set without columns. `step`, if not 0, is the key that a window has added to each set: the total
/// of a window without GROUP BY needs no row, since its readers do not group either.
bool has_total_row(Query *query, Index step);

/// GROUPING() of all keys, 31 in each, as a List of GroupingFunc *; NIL without grouping sets.
List *grouping_masks(Query *query);

/// The value of a mask where all its keys are rolled up, or all but the first.
int32 all_rolled_up(const GroupingFunc *mask, bool but_first);

/// A user's GROUPING() from the masks. `read` gives the expression that reads the i-th mask.
Node *grouping_from_masks(const GroupingFunc *call, const List *masks,
                          Node *(*read)(int i, void *arg), void *arg);

} // namespace pipeline::view
