#include "spool/xid_set.hpp"

#include "batch/pure_only.hpp"

#include <algorithm>

namespace pipeline::spool {
namespace {

XidSet closed_set(std::uint64_t xmax, std::uint64_t *xip, std::uint64_t *end)
{
    auto const nxip = static_cast<std::uint32_t>(end - xip);
    return {nxip > 0 ? xip[0] : xmax, xmax, nxip, xip};
}

} // namespace

bool XidSet::contains(std::uint64_t xid) const
{
    if (xid < xmin)
        return true;
    if (xid >= xmax)
        return false;
    return !std::binary_search(xip, xip + nxip, xid);
}

XidSet copied_set(const XidSet &set, std::uint64_t *buffer)
{
    std::copy_n(set.xip, set.nxip, buffer);
    return {set.xmin, set.xmax, set.nxip, buffer};
}

XidSet advanced_set(const XidSet &from, const XidSet &target, std::uint64_t limit,
                    std::uint64_t *buffer)
{
    std::uint64_t const xmax = std::max(from.xmax, std::min(limit, target.xmax));
    // Below from.xmax only what `from` lists can be missing; from there on, what `target` lists.
    std::uint64_t *end =
        std::copy_if(from.xip, from.xip + from.nxip, buffer,
                     [&](std::uint64_t xid) { return xid >= limit || !target.contains(xid); });
    end = std::copy_if(target.xip, target.xip + target.nxip, end,
                       [&](std::uint64_t xid) { return xid >= from.xmax && xid < xmax; });
    return closed_set(xmax, buffer, end);
}

XidSet reduced_set(const XidSet &set, const std::uint64_t *xids, std::uint32_t nxids,
                   std::uint64_t *buffer)
{
    std::uint64_t *end = std::copy_n(set.xip, set.nxip, buffer);
    end =
        std::copy_if(xids, xids + nxids, end, [&](std::uint64_t xid) { return set.contains(xid); });
    std::sort(buffer, end);
    return closed_set(set.xmax, buffer, std::unique(buffer, end));
}

XidSet extended_set(const XidSet &set, std::uint64_t xid, std::uint64_t *buffer)
{
    return closed_set(set.xmax, buffer, std::remove_copy(set.xip, set.xip + set.nxip, buffer, xid));
}

std::uint64_t first_new(const XidSet &from, const XidSet &to)
{
    for (std::uint32_t i = 0; i < from.nxip; i++)
        if (to.contains(from.xip[i]))
            return from.xip[i];
    const std::uint64_t *listed = std::lower_bound(to.xip, to.xip + to.nxip, from.xmax);
    for (std::uint64_t xid = from.xmax; xid < to.xmax; xid++, listed++)
        if (listed == to.xip + to.nxip || *listed != xid)
            return xid;
    return kNoXid;
}

} // namespace pipeline::spool
