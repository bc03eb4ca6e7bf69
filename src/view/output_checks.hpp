// Which continuous queries can have an output stream, and what it looks like.
//
// Owns: the refusals. May call: pg/, view/catalog. Invariant: of a query that passes, the row of a
// group, old and new, can be computed from the stored row alone.
#pragma once

#include "pg/postgres.hpp"

#include "view/catalog.hpp"

namespace pipeline::view {

/// True for a view over a sliding window.
bool has_window(const ContinuousQuery *query);

/// Raises an error if the changes of the view cannot be said row by row.
void check_has_output(const ContinuousQuery *query);

/// Raises an error unless `output` has just these columns (ColumnDefs) and arrival_timestamp.
void check_output_columns(Oid output, const List *columns);

} // namespace pipeline::view
