// A block of a statement's rows that waits to be aggregated.
//
// Owns: copies of the datums, in a fixed amount of memory. May call: partial/datum_block.
// Invariants: nothing in it is external or expanded; a row is in it whole or not at all.
#pragma once

#include "pg/postgres.hpp"

#include "partial/datum_block.hpp"

namespace pipeline::stream {

struct RowBlock {
    partial::DatumBlock rows;
    TupleDesc descriptor;
    char *bytes; ///< what datums point to
    Size used;
};

/// In `context`, for rows of `descriptor`, which must stay.
RowBlock *make_block(TupleDesc descriptor, MemoryContext context);

/// False if the row does not fit; an empty block has no room for it either then.
bool add_to_block(RowBlock *block, TupleTableSlot *slot, MemoryContext scratch);

bool is_full(const RowBlock *block);

void clear_block(RowBlock *block);

} // namespace pipeline::stream
