// Partitioned tables of continuous views: partition_by and partition_duration.
//
// Owns: which views can have one, and the making of a partition. May call: pg/, the other files of
// view/. Invariants: the table is partitioned by range of one stored column; a partition has the
// columns of the table under the same numbers, so rows can be written to either; each has the guard
// trigger of its own.
#pragma once

#include "pg/postgres.hpp"

#include "view/decompose.hpp"
#include "view/partition_range.hpp"
#include "view/view_options.hpp"

namespace pipeline::view {

/// The column that the options name; 0 = the table is not partitioned.
AttrNumber partition_column(const ViewOptions &options, const Decomposition &parts, Query *query);

/// To be stored with the view.
List *partition_options(const ViewOptions &options, const Decomposition &parts, AttrNumber column,
                        int fillfactor);
/// Those of a restored view's options.
List *kept_partition_options(List *options);

/// What the fold worker needs to know of an open partitioned table.
struct Partitioning {
    AttrNumber column;
    Oid type;
    const Interval *size;
    int fillfactor;
};
Partitioning partitioning_of(Oid view, Relation matrel);

/// Makes the partition and attaches it. The caller has the table locked in a mode that conflicts
/// with itself, but not open; the current user owns it.
void create_partition(Oid matrel, const Partitioning &partitioning, const PartitionRange &range);

/// Before and after ALTER TABLE matrel ATTACH PARTITION by a user, or by create_partition().
void check_attached(Oid matrel, Oid partition);
void finish_attached(Oid matrel, Oid partition);

/// The tables that hold the rows: the partitions, locked in that mode, or the table itself.
List *tables_of(Oid matrel, LOCKMODE lockmode);

} // namespace pipeline::view
