// Output streams: what a continuous query changes, as a stream that other queries read.
//
// Owns: the foreign table <view>_osrel, from its creation, when the first query reads it, to its
// end with the view. May call: pg/, view/catalog, view/reloptions. Invariants: it lies in the
// schema of its query and belongs to its owner; it is linked by pipelinedb.query.output and, for a
// dump, by the option output_of; who reads it may read the query's view.
#pragma once

#include "pg/postgres.hpp"

#include "view/catalog.hpp"

namespace pipeline::view {

/// The option of the foreign table: the name of the view.
inline constexpr char kOutputOption[] = "output_of";

/// Columns of the output of a continuous view. That of a window has no delta, and that of a
/// transform has the transform's own columns.
enum OutputColumn : AttrNumber { kOld = 1, kNew, kDelta };

/// Replaces output_of('view') in FROM of a raw query by its output stream, which is made if it is
/// not there, and makes those that are named <view>_osrel. True if there are any.
bool resolve_outputs(Node *raw_query);

/// The output stream of `query`, made if it is not there. The current user must be allowed to
/// read the view.
Oid ensure_output(const ContinuousQuery *query);

/// Raises the server's error unless `role` may read the views behind those of `streams` that are
/// output streams.
void check_outputs(const List *streams, Oid role);

/// Keeps the folds from changing what `streams` are the output of, to the end of the transaction:
/// a query that reads them begins to count with the changes after it.
void hold_outputs(const List *streams);

/// CREATE FOREIGN TABLE with the option output_of, by ensure_output() or from a dump, once the
/// table exists.
void link_output(Oid output, const char *view_name);

/// After the view was renamed.
void rename_output(const ContinuousQuery *query);

/// The foreign table is being dropped.
void forget_output(Oid output);

} // namespace pipeline::view
