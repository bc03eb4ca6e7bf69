// What is kept of a rejected row: the error, the row as jsonb, and the row itself.
//
// Owns: the records of one turn of a view, at most as many as pipelinedb.errors keeps. May call:
// view/rejected, spool/row_chunk. Invariants: the jsonb holds no column that the owner of the
// view may not read; records are stored in the transaction that folds the other rows.
#pragma once

#include "fold/bad_rows.hpp"

namespace pipeline::fold {

struct RowRecords;

/// The latest `max` are kept, in `context`.
RowRecords *begin_records(MemoryContext context, int max);

/// `row` is its number in the feed; the failure's strings are copied.
void keep_record(RowRecords *records, uint64 row, const pg::Failure &failure);

/// Stores what was kept and counts all that `result` says were rejected; the last error goes
/// into `result`. `starts`: the number of each chunk's first row. As the owner of the view.
void store_records(const RowRecords *records, const FoldedView *view, const spool::Feed &feed,
                   const uint64 *starts, BadRows *result);

} // namespace pipeline::fold
