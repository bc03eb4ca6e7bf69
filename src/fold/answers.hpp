// What the fold worker tells those who wait for their rows.
//
// Owns: of requests that hold already, what their folds have written to the spool: rows for readers
// that were not folded with them, and rows that functions insert. May call: fold_state, tick,
// spool/rendezvous. Invariant: who is answered finds his rows at the end of each chain, too, but
// for views that are stopped or blocked.
#pragma once

namespace pipeline::fold {

/// After a round of ticks. Unless `sure`, what is known of the consumers may be old: nobody is
/// answered. True if somebody can be after the next one.
bool answer_requests(bool sure);

} // namespace pipeline::fold
