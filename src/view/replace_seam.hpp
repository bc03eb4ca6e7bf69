// Which transactions a replaced query folds, and which the new one.
//
// Owns: the wait for the old query. May call: pg/, spool/rendezvous, spool/unfolded,
// spool/view_lock, view/catalog. Invariants: the seam is the view's progress, one set of
// transactions, and whatever was committed before the statement is in it; the fold worker is kept
// out from there to the commit. No group that a writer aggregated by the old query is left to fold.
#pragma once

#include "pg/postgres.hpp"

#include "view/catalog.hpp"

namespace pipeline::view {

enum class Seam {
    kNone,
    kFolded,     ///< what was committed before is folded by the old query
    kWithBacklog ///< the view is paused or failed: what waits is for the new one
};

/// Waits until the old query has folded what was committed before, and leaves the view locked.
/// Raises an error if that cannot be.
Seam make_seam(const ContinuousQuery *query);

} // namespace pipeline::view
