#include "spool/view_lock.hpp"

#include "pg/stop_points.hpp"
#include "spool/progress.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/pg_foreign_table.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
}

#include <algorithm>

namespace pipeline::spool {
namespace {

/// The server locks foreign tables by their pg_class row, so nobody else uses this tag.
LOCKTAG gate_of(Oid stream)
{
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ForeignTableRelationId, stream, 0);
    return tag;
}

/// The mark says whose it is, since the lock table does not: it knows virtual ids, which a
/// transaction loses when it is prepared. No catalog has the OID of a stream, so the class of the
/// tag is free; pg_locks shows the stream as classid and the transaction as objid.
LOCKTAG mark_of(Oid stream, TransactionId xid)
{
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, stream, xid, 0);
    return tag;
}

bool is_mark(const LockInstanceData &lock, const Oid *streams, int nstreams)
{
    const LOCKTAG &tag = lock.locktag;
    LOCKTAG const sample = mark_of(tag.locktag_field2, tag.locktag_field3);
    return (lock.holdMask & LOCKBIT_ON(ShareLock)) != 0 &&
           memcmp(&tag, &sample, sizeof(LOCKTAG)) == 0 &&
           std::find(streams, streams + nstreams, tag.locktag_field2) != streams + nstreams;
}

} // namespace

/// The mark must be there when the gate is let go. The gate is let go at once, so that who creates
/// a view need not wait for a COPY of hours.
bool begin_aggregating(Oid stream)
{
    LOCKTAG const mark = mark_of(stream, GetTopTransactionId());
    LOCKTAG const gate = gate_of(stream);
    if (LockAcquire(&gate, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
        return false;
    pg::stop_point("aggregate_in_gate");
    bool const marked = LockAcquire(&mark, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
    LockRelease(&gate, ShareLock, false);
    pg::stop_point("aggregate_marked");
    return marked;
}

void cancel_aggregating(Oid stream)
{
    LOCKTAG const mark = mark_of(stream, GetTopTransactionId());
    LockRelease(&mark, ShareLock, false);
}

/// The mode conflicts with that of writers and not with itself: views of one stream can be created
/// at the same time. A queued request makes the tries of further writers fail (lock.c,
/// LockAcquireExtended), which then write rows: so nobody is kept waiting by many short passages.
void close_gate(Oid stream)
{
    LOCKTAG const gate = gate_of(stream);
    (void) LockAcquire(&gate, RowExclusiveLock, false, false);
}

/// The whole lock table is copied, as for pg_locks; its state is consistent in itself, also while
/// a transaction hands its locks over to the dummy process that it is prepared with (lock.c,
/// GetLockStatusData and PostPrepare_Locks).
Transactions aggregating_writers(const Oid *streams, int nstreams)
{
    const LockData *const locks = GetLockStatusData();
    FullTransactionId const next = ReadNextFullTransactionId();
    Transactions writers{0, nullptr};
    writers.xids =
        static_cast<uint64 *>(palloc(sizeof(uint64) * static_cast<Size>(locks->nelements + 1)));
    for (int i = 0; i < locks->nelements; i++) {
        TransactionId const xid = locks->locks[i].locktag.locktag_field3;
        if (is_mark(locks->locks[i], streams, nstreams) && xid != GetTopTransactionIdIfAny())
            writers.xids[writers.count++] = widen_xid(xid, next);
    }
    // One that writes to several streams has as many marks.
    std::sort(writers.xids, writers.xids + writers.count);
    writers.count =
        static_cast<int>(std::unique(writers.xids, writers.xids + writers.count) - writers.xids);
    return writers;
}

void lock_views_of(Oid stream)
{
    close_gate(stream);
    Transactions const writers = aggregating_writers(&stream, 1);
    for (int i = 0; i < writers.count; i++) {
        // In the lock's own queue deadlocks are found, and lock_timeout holds.
        LOCKTAG const mark = mark_of(stream, static_cast<TransactionId>(writers.xids[i]));
        (void) LockAcquire(&mark, ExclusiveLock, false, false);
        LockRelease(&mark, ExclusiveLock, false);
    }
}

} // namespace pipeline::spool
