// The arithmetic of xid_set.hpp with results in CurrentMemoryContext.
#pragma once

#include "pg/postgres.hpp"

#include "spool/xid_set.hpp"

namespace pipeline::spool {

inline uint64 *xid_buffer(Size count)
{
    return static_cast<uint64 *>(palloc(sizeof(uint64) * (count + 1)));
}

inline XidSet copy_set(const XidSet &set)
{
    return copied_set(set, xid_buffer(set.nxip));
}

inline XidSet advance(const XidSet &from, const XidSet &target, uint64 limit)
{
    return advanced_set(from, target, limit, xid_buffer(Size{from.nxip} + target.nxip));
}

inline XidSet without(const XidSet &set, const uint64 *xids, int nxids)
{
    auto const count = static_cast<uint32>(nxids);
    return reduced_set(set, xids, count, xid_buffer(Size{set.nxip} + count));
}

inline XidSet with(const XidSet &set, uint64 xid)
{
    Assert(xid < set.xmax);
    return extended_set(set, xid, xid_buffer(set.nxip));
}

} // namespace pipeline::spool
