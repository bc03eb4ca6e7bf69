// Arithmetic on sets of transactions (XidSet): what a tick adds to its consumer's progress.
//
// Owns: nothing; results are allocated in CurrentMemoryContext. May call: progress.hpp only.
// Invariant: advance() never loses a member of `from`.
#pragma once

#include "spool/progress.hpp"

namespace pipeline::spool {

inline constexpr uint64 kNoXid = ~uint64{0};

XidSet copy_set(const XidSet &set);

bool equal_sets(const XidSet &a, const XidSet &b);

/// from ∪ {x ∈ target : x < limit}. `target` must contain `from`.
XidSet advance(const XidSet &from, const XidSet &target, uint64 limit);

/// The set without `xids` (they become running); xids that are no members are ignored.
XidSet without(const XidSet &set, const uint64 *xids, int nxids);

/// The set with `xid`, which must be below xmax.
XidSet with(const XidSet &set, uint64 xid);

/// A lower bound of the members of `to` that `from` lacks; kNoXid if there is none.
uint64 first_new(const XidSet &from, const XidSet &to);

/// Is there a member of `to` below `limit` that `from` lacks?
bool lacks_below(const XidSet &from, const XidSet &to, uint64 limit);

} // namespace pipeline::spool
