// Truncation of a continuous view: which transactions it does not count any more.
//
// Owns: access to pipelinedb.truncation. May call: pg/, spool/progress, spool/rendezvous,
// spool/writer, view/catalog. Invariant: a row is written under AccessExclusiveLock on the
// view's table, in the transaction that empties the table; only DROP VIEW deletes it.
#pragma once

#include "pg/postgres.hpp"

#include "pg/utility_hook.hpp"
#include "spool/progress.hpp"
#include "view/catalog.hpp"

namespace pipeline::view {

struct Truncation {
    Oid view;
    uint64 xid; ///< of the transaction that truncated the view
    int64 seq;  ///< its last chunk before that
    spool::XidSet seen;

    /// True for a chunk that came before.
    bool covers(uint64 chunk_xid, int64 chunk_seq) const
    {
        return chunk_xid == xid ? chunk_seq <= seq : seen.contains(chunk_xid);
    }
};

/// Where a view begins to count anew.
struct Seam {
    spool::XidSet seen; ///< these transactions do not count any more
    int64 seq;          ///< of the own one, chunks after this number count
};

/// The view of that name, which the caller owns. The lock keeps DROP, ALTER and a second truncation
/// out; readers and the fold worker go on.
const ContinuousQuery *lock_own_view(text *name);

/// To be called with an own transaction id, and with a lock on the view's table that the fold
/// worker's conflicts with: a tick that has folded rows into it holds its lock to its commit, and
/// has left the list of running transactions when it releases it (xact.c, CommitTransaction). So
/// whatever the table contains is in the seam's set, if `snapshot` was taken after the lock.
Seam seam_of(Snapshot snapshot);

/// Empties the view's table, which is locked with AccessExclusiveLock: from now on the view counts
/// what the seam does not contain.
void empty_view(const ContinuousQuery *query, const Seam &seam);

/// All of them as a List of Truncation *, as `snapshot` sees them.
List *list_truncations(Snapshot snapshot);

/// Which transaction truncated the view last, by a fresh snapshot; 0 = none.
uint64 last_truncation_of(Oid view);

/// For DROP VIEW.
void delete_truncation(Oid view);

/// TRUNCATE of a continuous view is refused with a hint.
void handle_truncate(pg::UtilityCall &call, pg::UtilityNext next);

} // namespace pipeline::view
