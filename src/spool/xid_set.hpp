// Arithmetic on sets of transactions: what a tick adds to its consumer's progress.
//
// Owns: nothing; the callers give the memory for the results. May call: std only; no server.
// Invariants: xip is ascending without duplicates, each in [xmin, xmax); advance() never loses
// a member of `from`.
#pragma once

#include <cstdint>

namespace pipeline::spool {

inline constexpr std::uint64_t kNoXid = ~std::uint64_t{0};

/// A set of transactions: all below xmin, none from xmax on, in between those not listed.
struct XidSet {
    std::uint64_t xmin = 0;
    std::uint64_t xmax = 0;
    std::uint32_t nxip = 0;
    std::uint64_t *xip = nullptr;

    bool contains(std::uint64_t xid) const;
};

/// A copy whose list is in `buffer`, which has room for set.nxip.
XidSet copied_set(const XidSet &set, std::uint64_t *buffer);

/// from ∪ {x ∈ target : x < limit}. `target` must contain `from`. `buffer` has room for
/// from.nxip + target.nxip.
XidSet advanced_set(const XidSet &from, const XidSet &target, std::uint64_t limit,
                    std::uint64_t *buffer);

/// The set without `xids` (they become running); those that are no members are ignored.
/// `buffer` has room for set.nxip + nxids.
XidSet reduced_set(const XidSet &set, const std::uint64_t *xids, std::uint32_t nxids,
                   std::uint64_t *buffer);

/// The set with `xid`, which must be below xmax. `buffer` has room for set.nxip.
XidSet extended_set(const XidSet &set, std::uint64_t xid, std::uint64_t *buffer);

/// The lowest member of `to` that `from` lacks; kNoXid if there is none.
std::uint64_t first_new(const XidSet &from, const XidSet &to);

} // namespace pipeline::spool
