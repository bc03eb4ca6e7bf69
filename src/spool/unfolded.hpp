// What the spool holds that a query has not folded, as another session than its fold worker sees
// it.
//
// Owns: nothing. May call: pg/, view/catalog, spool/progress_store, spool/reader. Invariants: the
// worker is kept out of the view by a lock that the caller holds, so that its progress stands
// still. The whole spool is read, which is what waits to be folded and a generation or two.
#pragma once

#include "spool/xid_set.hpp"
#include "view/catalog.hpp"

namespace pipeline::spool {

struct Unfolded {
    bool rows;      ///< of transactions in the given set
    bool groups;    ///< of any transaction that committed: aggregated by its writer for this query
    bool in_pieces; ///< a transaction is folded in part
};

/// What is visible now; rows are looked for of transactions in `before`.
Unfolded unfolded_by(const view::ContinuousQuery &query, const XidSet &before);

} // namespace pipeline::spool
