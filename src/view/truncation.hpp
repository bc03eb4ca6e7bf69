// Truncation of a continuous view: which transactions it does not count any more.
//
// Owns: access to pipelinedb.truncation. May call: pg/, spool/progress, spool/rendezvous,
// spool/writer, view/catalog. Invariant: a row is written under AccessExclusiveLock on the
// view's table, in the transaction that empties the table; only DROP VIEW deletes it.
#pragma once

#include "pg/postgres.hpp"

#include "pg/utility_hook.hpp"
#include "spool/progress.hpp"

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

/// All of them as a List of Truncation *, as `snapshot` sees them.
List *list_truncations(Snapshot snapshot);

/// Which transaction truncated the view last, by a fresh snapshot; 0 = none.
uint64 last_truncation_of(Oid view);

/// For DROP VIEW.
void delete_truncation(Oid view);

/// TRUNCATE of a continuous view is refused with a hint.
void handle_truncate(pg::UtilityCall &call, pg::UtilityNext next);

} // namespace pipeline::view
