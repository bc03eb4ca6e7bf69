// Progress of a consumer: a set of folded transactions, kept as a pg_snapshot.
//
// Owns: access to pipelinedb.progress and pipelinedb.attempt. May call: pg/, view/catalog.
// Invariant: a row is only replaced if it is the version that was read (TM_Ok), in the transaction
// that folds.
#pragma once

#include "pg/postgres.hpp"

#include "spool/xid_set.hpp"

namespace pipeline::spool {

/// A transaction that is folded in pieces; it is listed as running in the set.
struct BigTransaction {
    uint64 xid;
    int64 seq; ///< last folded chunk, -1 = none
};

struct Progress {
    XidSet folded;
    int nbig = 0;
    BigTransaction *big = nullptr;
};

/// A running transaction's id in 64 bits; `next` was read (ReadNextFullTransactionId) after it was
/// seen to run.
uint64 widen_xid(TransactionId xid, FullTransactionId next);

/// The set of the transactions visible in `snapshot` (an MVCC snapshot), widened to 64 bits;
/// in `context`. The caller's own transaction is not a member, if it had no xid yet.
XidSet xid_set_of(Snapshot snapshot, MemoryContext context);

/// The set as a datum of type pg_snapshot.
Datum pg_snapshot_datum(const XidSet &set);

/// The inverse, in CurrentMemoryContext.
XidSet parse_snapshot(Datum snapshot);

/// Everything visible in the latest snapshot, but for the current transaction, which gets its
/// xid here if it had none.
XidSet start_set();

/// The same with a snapshot that was taken when the current transaction had its xid.
XidSet start_set_of(Snapshot snapshot);

/// The same set, to be compared with the xmin of rows: it also leaves out the subtransactions of
/// those that it leaves out. `snapshot` must be registered or active.
XidSet row_set_of(Snapshot snapshot);

/// The full id of an xmin that is visible to a snapshot which was taken before `next` was read:
/// the highest below `next`, 0 if there is none. Of a frozen row it may be too high by multiples of
/// 2^32.
uint64 widen_xmin(TransactionId xmin, FullTransactionId next);

/// For CREATE VIEW: inserts the consumer row of `view`: everything visible in the latest
/// snapshot is folded, the current transaction is not.
void insert_start_progress(Oid view);

/// Does the consumer have a row, as of now?
bool has_progress(Oid consumer);

/// Removes what is stored of a consumer that is gone, if it is there.
void delete_progress(Oid consumer);

/// pipelinedb.attempt: after a crash, which attempt to fold for this consumer is under way
/// (fold/attempts.hpp).
struct Attempt {
    int number;          ///< 0 = none
    TimestampTz started; ///< of the server's processes (server_started())
};
Attempt read_attempt(Oid consumer);
void write_attempt(Oid consumer, const Attempt &attempt);
void delete_attempt(Oid consumer);

} // namespace pipeline::spool
