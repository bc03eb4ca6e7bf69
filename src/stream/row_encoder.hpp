// Turns the rows of one statement into chunks of the spool, or into groups.
//
// Owns: the batch of the statement and the time stamp of its rows. May call: spool,
// preaggregation. Invariant: every row is in the spool, or in a group there, when the statement
// ends.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::stream {

struct RowEncoder;

/// An encoder for rows of `stream`; it lives in `context`.
RowEncoder *begin_rows(Relation stream, MemoryContext context);

/// Fills arrival_timestamp if it is NULL, and tells whether it was. All rows of a chunk (or
/// of a block that is aggregated) have the time of its first row: a clock call per row would cost
/// more than encoding it.
/// With `tuple_is_read` the slot's tuple gets it, too: RETURNING and AFTER triggers may read that.
bool stamp_arrival(RowEncoder *encoder, TupleTableSlot *slot, bool tuple_is_read);

void add_row(RowEncoder *encoder, TupleTableSlot *slot);

/// Writes the rows that wait and releases the spool.
void end_rows(RowEncoder *encoder);

} // namespace pipeline::stream
