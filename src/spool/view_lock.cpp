#include "spool/view_lock.hpp"

extern "C" {
#include "catalog/pg_foreign_table.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
}

namespace pipeline::spool {
namespace {

/// The server locks foreign tables by their pg_class row, so nobody else uses this tag.
LOCKTAG tag_of(Oid stream)
{
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ForeignTableRelationId, stream, 0);
    return tag;
}

} // namespace

bool hold_views_of(Oid stream)
{
    LOCKTAG const tag = tag_of(stream);
    return LockAcquire(&tag, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/// The mode conflicts with that of writers and not with itself: views of one stream can be created
/// at the same time. A queued request makes the tries of further writers fail (lock.c,
/// LockAcquireExtended), which then write rows: so it is waited for in the lock's queue, where
/// deadlocks are found.
void lock_views_of(Oid stream)
{
    LOCKTAG const tag = tag_of(stream);
    (void) LockAcquire(&tag, RowExclusiveLock, false, false);
}

} // namespace pipeline::spool
