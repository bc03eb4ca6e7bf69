// Creates the two hidden relations of a continuous view.
//
// Owns: the shape of <view>_mrel and <view>_def. May call: pg/, view/decompose. Invariant: the
// relations belong to the current user and lie in the view's schema; their columns correspond
// one to one.
#pragma once

#include "pg/postgres.hpp"

#include "view/decompose.hpp"

namespace pipeline::view {

/// Runs a statement as a part of the one that the user gave.
void run_subcommand(void *statement);
void alter_table(RangeVar *name, AlterTableCmd *command);

struct TableOptions {
    int fillfactor;
    const char *tablespace;      ///< nullptr: the default one
    AttrNumber primary_key;      ///< 0 = none
    AttrNumber partition_column; ///< 0 = the table is not partitioned
};

/// Creates the table with its key indexes, replica identity and guard trigger.
Oid create_matrel(const char *view_name, Oid schema, const Decomposition &parts,
                  const TableOptions &options);

/// Gives a partition what create_matrel() gives the table: replica identity and guard trigger.
void protect_table(RangeVar *name);

/// The table's rows begin to expire by `column`: VACUUM shall come early, and with `index` the
/// column gets an index, unless one begins with it.
void prepare_for_expiry(Oid matrel, AttrNumber column, bool index);

/// What the row of a total (parts.total_row) holds before the first row of the stream; arrays
/// of as many entries as the matrel has columns.
void fill_total_row(const Decomposition &parts, Datum *values, bool *nulls);

/// Creates the hidden view. Its options are stored later.
Oid create_definition(const char *view_name, Oid schema, Query *definition);

/// True if the trigger that refuses others' changes is there. pg_dump creates triggers after it
/// has loaded data, so it says that a restore has come to its end.
bool has_guard(Relation matrel);

/// Raises an error unless `matrel` has just the columns that `parts` asks for.
void check_matrel_columns(Oid matrel, const Decomposition &parts);

} // namespace pipeline::view
