// Writing the rows of a view whose table is partitioned: each goes to the partition of its time.
//
// Owns: which partition a row belongs to, and the writers of those that are open. May call:
// group_writer, append_writer, view/partition. Invariants: only so many partitions are open at
// once; a partition that is missing is noted and the turn fails: nothing can be attached to a table
// that is open (create_missing_partitions()); no lock is waited for.
#pragma once

#include "fold/fold_state.hpp"

namespace pipeline::fold {

struct PartitionWriter;

/// `matrel` is locked.
PartitionWriter *open_partitions(Relation matrel, FoldedView *view, Emission *emission, bool write);

/// partial::GroupReceiver: `arg` is the PartitionWriter. Raises an error for a row without a time.
void route_row(TupleTableSlot *row, void *arg);

/// Raises an error if partitions were missing.
void close_partitions(PartitionWriter *writer);

/// Makes the partitions that the last turn of the view lacked, as its owner. The table is not open.
void create_missing_partitions(FoldedView *view);

} // namespace pipeline::fold
