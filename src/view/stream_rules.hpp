// What may be done to a stream, and what must not become of one.
//
// Owns: the rules of arrival_timestamp, and the refusals of ALTER statements on streams, their
// parents and the types of their columns. May call: pg/, view/catalog. Invariant: a chunk that
// waits can be read by every view that needs it, whatever statement was let through.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

inline constexpr char kArrival[] = "arrival_timestamp";

/// Raises an error unless the column that is declared as arrival_timestamp is a timestamptz.
void check_arrival(const ColumnDef *column);

/// Raises an error if one of the parents (RangeVars) is a stream.
void check_no_stream_parent(const List *parents);

/// The value of a stream's option arrival_timestamp; true where it is not given.
bool wants_arrival(List *options);

/// Before ALTER TABLE, ALTER FOREIGN TABLE or ALTER TYPE ... ATTRIBUTE of `relid`.
void check_stream_alter(const AlterTableStmt *statement, Oid relid);

/// After it.
void finish_stream_alter(const AlterTableStmt *statement, Oid relid);

/// Before ALTER ... RENAME of `relid`, its columns or attributes.
void check_stream_rename(const RenameStmt *statement, Oid relid);

} // namespace pipeline::view
