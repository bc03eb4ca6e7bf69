// What a backfill reads: a table or a query, and the statement that writes its rows to the stream.
//
// Owns: nothing. May call: pg/, view/backfill_job, view/catalog. Invariants: a statement is made of
// OIDs under their locks, with qualified names, and runs with the rights of who calls; columns go
// by name.
#pragma once

#include "view/backfill_job.hpp"

namespace pipeline::backfill {

/// A qualified name, as a list of Strings.
List *parse_name(const char *name);

/// The table of that name, locked; an error unless its rows have a place that can be remembered.
Oid find_source(const char *name);

/// The source, or its partitions or children, locked. Of each the number of blocks, which must be
/// taken after the snapshot of the seam, and the file.
void list_tables(view::BackfillJob *job);

/// Locks what is left of the tables; an error if rows of one have moved to another file.
void lock_tables(const view::BackfillJob *job);

/// INSERT INTO stream SELECT ... FROM source; with `by_piece` of the rows from tid $1 up to $2 that
/// are history.
const char *statement_over_table(Oid stream, Oid source, bool by_piece);

/// The same over the text of a query. SPI must be connected.
const char *statement_over_query(Oid stream, const char *query);

} // namespace pipeline::backfill
