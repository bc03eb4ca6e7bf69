// The set of transactions whose rows a snapshot sees, for comparison with the xmin of a row.
#include "spool/progress.hpp"

#include "spool/xid_sets.hpp"

extern "C" {
#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "utils/snapmgr.h"
}

#include <algorithm>

namespace pipeline::spool {
namespace {

struct XidList {
    uint64 *xids;
    Size count;
    Size room;
};

void add(XidList *list, uint64 xid)
{
    if (list->count == list->room) {
        list->room = std::max(Size{64}, list->room * 2);
        Size const bytes = sizeof(uint64) * list->room;
        list->xids = static_cast<uint64 *>(
            list->xids == nullptr ? palloc(bytes) : repalloc_huge(list->xids, bytes));
    }
    list->xids[list->count++] = xid;
}

bool is_listed(const XidSet &set, uint64 xid)
{
    return xid >= set.xmin && xid < set.xmax && !set.contains(xid);
}

/// A session that has too many subtransactions does not publish them all, so each id is looked at.
/// A subtransaction of a running transaction gets its id a moment before its parent is noted
/// (xact.c, AssignTransactionId); it has not ended then. If it looks as if it had, its parent has
/// committed since, and was noted before. So the order of the two looks matters.
bool is_of_running(const XidSet &set, uint64 xid)
{
    auto const short_xid = static_cast<TransactionId>(xid);
    if (!TransactionIdIsNormal(short_xid))
        return false;
    if (!TransactionIdDidCommit(short_xid) && !TransactionIdDidAbort(short_xid))
        return true;
    TransactionId const top = SubTransGetTopmostTransaction(short_xid);
    return top != short_xid && is_listed(set, xid - static_cast<uint32>(short_xid - top));
}

void add_unpublished(const XidSet &set, XidList *list)
{
    for (uint64 xid = set.xmin; xid < set.xmax; xid++) {
        CHECK_FOR_INTERRUPTS();
        if (set.contains(xid) && is_of_running(set, xid))
            add(list, xid);
    }
}

} // namespace

uint64 widen_xmin(TransactionId xmin, FullTransactionId next)
{
    uint64 const last = U64FromFullTransactionId(next) - 1;
    uint32 const distance = static_cast<TransactionId>(last) - xmin;
    return distance > last ? 0 : last - distance;
}

XidSet row_set_of(Snapshot snapshot)
{
    XidSet const set = start_set_of(snapshot);
    XidList list{};
    if (snapshot->suboverflowed) {
        add_unpublished(set, &list);
    } else {
        FullTransactionId const next = ReadNextFullTransactionId();
        for (int32 i = 0; i < snapshot->subxcnt; i++)
            add(&list, widen_xmin(snapshot->subxip[i], next));
    }
    std::sort(list.xids, list.xids + list.count);
    return list.count == 0 ? set : without(set, list.xids, static_cast<int>(list.count));
}

} // namespace pipeline::spool
