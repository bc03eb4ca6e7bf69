#include "spool/xid_sets.hpp"

#include <algorithm>

namespace pipeline::spool {
namespace {

uint64 *allocate(uint32 count)
{
    return static_cast<uint64 *>(palloc(sizeof(uint64) * (count + 1)));
}

void close_set(XidSet *set)
{
    set->xmin = set->nxip > 0 ? set->xip[0] : set->xmax;
}

} // namespace

XidSet copy_set(const XidSet &set)
{
    XidSet copy = set;
    copy.xip = allocate(set.nxip);
    std::copy_n(set.xip, set.nxip, copy.xip);
    return copy;
}

bool equal_sets(const XidSet &a, const XidSet &b)
{
    return a.xmax == b.xmax && a.nxip == b.nxip && std::equal(a.xip, a.xip + a.nxip, b.xip);
}

XidSet advance(const XidSet &from, const XidSet &target, uint64 limit)
{
    XidSet result;
    result.xmax = std::max(from.xmax, std::min(limit, target.xmax));
    result.xip = allocate(from.nxip + target.nxip);
    // Below from.xmax only what `from` lists can be missing; from there on, what `target` lists.
    for (uint32 i = 0; i < from.nxip; i++)
        if (!(from.xip[i] < limit && target.contains(from.xip[i])))
            result.xip[result.nxip++] = from.xip[i];
    for (uint32 i = 0; i < target.nxip; i++)
        if (target.xip[i] >= from.xmax && target.xip[i] < result.xmax)
            result.xip[result.nxip++] = target.xip[i];
    close_set(&result);
    return result;
}

XidSet without(const XidSet &set, const uint64 *xids, int nxids)
{
    XidSet result = set;
    result.xip = allocate(set.nxip + static_cast<uint32>(nxids));
    std::copy_n(set.xip, set.nxip, result.xip);
    for (int i = 0; i < nxids; i++)
        if (set.contains(xids[i]))
            result.xip[result.nxip++] = xids[i];
    std::sort(result.xip, result.xip + result.nxip);
    result.nxip = static_cast<uint32>(std::unique(result.xip, result.xip + result.nxip) -
                                      result.xip);
    close_set(&result);
    return result;
}

XidSet with(const XidSet &set, uint64 xid)
{
    Assert(xid < set.xmax);
    XidSet result = set;
    result.xip = allocate(set.nxip);
    result.nxip =
        static_cast<uint32>(std::remove_copy(set.xip, set.xip + set.nxip, result.xip, xid) -
                            result.xip);
    close_set(&result);
    return result;
}

uint64 first_new(const XidSet &from, const XidSet &to)
{
    for (uint32 i = 0; i < from.nxip; i++)
        if (to.contains(from.xip[i]))
            return from.xip[i];
    uint32 i = 0;
    for (uint64 xid = from.xmax; xid < to.xmax; xid++) {
        while (i < to.nxip && to.xip[i] < xid)
            i++;
        if (i >= to.nxip || to.xip[i] != xid)
            return xid;
    }
    return kNoXid;
}

bool lacks_below(const XidSet &from, const XidSet &to, uint64 limit)
{
    return first_new(from, to) < limit;
}

} // namespace pipeline::spool
