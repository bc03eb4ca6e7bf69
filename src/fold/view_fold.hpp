// Folding the tick's chunks into one view, as its owner and with its creation settings.
//
// Owns: rights and settings around a view's turn, and what an error means. May call:
// view_machine, group_writer, partial, view. Invariant: whatever the view's functions set or
// lock is undone after its turn.
#pragma once

#include "fold/collect.hpp"

namespace pipeline::fold {

enum class ViewResult {
    kFolded,  ///< or there was nothing for it
    kBlocked, ///< a lock is held by somebody: again soon
    kStrike,  ///< as kRetry, but only so often: it took too long, or lost a race for a group
    kRetry,   ///< an error that may go away by itself: again later
    kSmaller, ///< too many bad rows for one turn: a smaller piece, at once
    kFailed   ///< an error of the query
};

struct ViewOutcome {
    ViewResult result;
    int sqlstate; ///< of the error, or of the last row that was rejected
    const char *message;
    int64 rejected; ///< so many rows are in pipelinedb.errors instead
};

/// Registers the timer of last resort. Once per worker.
void init_timer();

/// Locks the relations of a view without waiting; false if somebody holds one. The view itself
/// is among them: DROP VIEW locks it before it touches the catalog.
bool lock_relations(const view::ContinuousQuery &query);

/// Folds the chunks of `collection` that belong to `view`, whose consumer is the i-th. With
/// `careful`, errors are caught in a subtransaction and classified, and bad rows are rejected;
/// else they are raised.
ViewOutcome fold_view(FoldedView *view, Collection &collection, int i, bool careful);

/// After an ERROR: forgets the feed and the timer of the view whose turn it was.
void clean_up();

} // namespace pipeline::fold
