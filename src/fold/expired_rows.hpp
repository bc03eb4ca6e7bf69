// Deleting the expired rows of one table: found by an index that begins with the time, or by a
// scan of the table.
//
// Owns: one piece of that work, in the caller's transaction. May call: expiry_rule, matrel_target.
// Invariants: rows are deleted below the executor, so the table has no row triggers; without
// `wait` a row that somebody has locked is left for another time; the caller has locked the table.
#pragma once

#include "fold/expiry_rule.hpp"

extern "C" {
#include "storage/block.h"
#include "utils/snapshot.h"
}

namespace pipeline::fold {

struct Removal {
    Relation matrel;
    ExpiryRule rule;
    TimestampTz cutoff;
    Snapshot snapshot;
    int64 limit;       ///< so many rows at most
    bool wait;         ///< for rows that are locked
    ExpiryKey first;   ///< no row has an earlier key
    BlockNumber block; ///< where a scan begins

    // The outcome.
    int64 deleted;
    ExpiryKey left;     ///< no row that is left has an earlier key
    bool more;          ///< it did not come to the end; a scan goes on at `block`
    BlockNumber *pages; ///< from which rows were deleted; may be nullptr
    int npages;         ///< at most `limit`
};

/// The index that finds expired rows; InvalidOid if there is none.
Oid find_time_index(Relation matrel, const ExpiryRule &rule);

void remove_by_index(Removal *removal, Oid index);

/// Stops after `nblocks` blocks or some time, with `more`.
void remove_by_scan(Removal *removal, BlockNumber nblocks);

} // namespace pipeline::fold
