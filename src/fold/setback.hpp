// What happens to a view that could not be folded: detached, retried, stopped.
//
// Owns: the back-off of a consumer and the log lines about it. May call: view/catalog,
// spool/progress_store, fold_state. Invariants: a view that is set aside keeps its backlog and
// stalls nobody; it leaves the shared consumer with the progress that this one had before the
// tick; nothing here waits for another session.
#pragma once

#include "fold/view_fold.hpp"

namespace pipeline::fold {

/// A view of the shared consumer that is paused or failed, or has to be folded alone: it must
/// leave before the shared set moves on, even over chunks that nobody else wants.
bool must_leave(const FoldedView *view);
bool has_view_that_must_leave(const Consumer *consumer);

/// Gives the view a row of its own in pipelinedb.progress, where its consumer stands.
void detach(const FoldedView *view);

/// The view's own consumer could not fold it: stops it, or notes when to try again. True if
/// the catalog was changed.
bool set_back(FoldedView *view, ViewOutcome outcome);

/// The view's own consumer has folded it.
void forgive(Consumer *consumer);

/// After a commit in which rows were rejected: a line in the log, but only one a minute; and
/// for a moment the view stays alone, since another bad row would undo a tick of all.
void note_rejected(FoldedView *view, const ViewOutcome &outcome);

/// Writes the lines that are due; returns in how many ms the next one is, -1 = none.
long report_rejected(TimestampTz now);

} // namespace pipeline::fold
