// Backfills of continuous views: what is read into which view, and how far it is.
//
// Owns: access to pipelinedb.backfill_job. May call: pg/, spool/progress, view/catalog. Invariants:
// the position moves in the transaction that writes the rows before it; the row is deleted with its
// view. All functions need an active snapshot, as a set of transactions may be stored out of line.
#pragma once

#include "pg/postgres.hpp"

#include "spool/progress.hpp"

extern "C" {
#include "access/xlogdefs.h"
}

namespace pipeline::view {

/// A table that is read, as it was at the seam.
struct SourceTable {
    Oid relid;
    Oid file;     ///< relfilenode: another one means that its rows have moved
    int64 blocks; ///< rows from before the seam are in these
};

struct BackfillJob {
    Oid view;
    Oid source; ///< InvalidOid: a query
    Oid stream; ///< of the view: its columns are filled
    bool seam;  ///< the view was emptied at the beginning

    // What has to be as it was at the beginning, or rows would be missing or counted twice.
    uint64 view_created;   ///< ContinuousQuery::created_xid: activate() of a lost view changes it
    uint64 view_truncated; ///< last_truncation_of()

    // Which rows of the source are history.
    spool::XidSet seen;
    XLogRecPtr seen_at;
    int ntables;
    SourceTable *tables; ///< the source, or its partitions

    // Progress.
    int64 position; ///< the next block, of all tables
    int64 blocks_done;
    int64 rows;
    int64 updated_rows; ///< rows that were updated after the seam, as far as they were met
    TimestampTz started;
    TimestampTz changed;
    TimestampTz finished; ///< 0 = not yet
    int sqlstate;         ///< of the error that ended the last attempt, 0 = none
    const char *message;

    int64 total_blocks() const
    {
        int64 total = 0;
        for (int i = 0; i < ntables; i++)
            total += tables[i].blocks;
        return total;
    }
};

/// The one of the view, in CurrentMemoryContext; nullptr if there is none.
BackfillJob *find_backfill(Oid view);

/// Takes the place of an earlier one of the view.
void insert_backfill(const BackfillJob &job);

/// Locks its row to the end of the transaction; false if it is gone. Who deletes it waits.
bool lock_backfill(Oid view);

/// Stores what is under "Progress"; the row is locked.
void store_backfill(const BackfillJob &job);

/// DROP VIEW and cancel_backfill(); true if there was one.
bool delete_backfill(Oid view);

} // namespace pipeline::view
