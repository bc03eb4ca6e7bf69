// The output of a sliding window: what a turn has changed, and what has left the window since.
//
// Owns: the comparison of the window before and after. May call: pg/, view, partial. Invariants:
// the window before is that of the stored edge and of the snapshot before the turn's writes, so it
// is what was emitted last, also after a crash; the new edge is stored in the same transaction.
#pragma once

#include "pg/postgres.hpp"

#include "fold/emission.hpp"
#include "fold/fold_state.hpp"

namespace pipeline::fold {

struct WindowOutput;

/// Before the writes of a turn, as the owner. Lives in the current memory context.
WindowOutput *begin_window(const FoldedView *view, Relation matrel);

/// The group of that stored row was written.
void note_group(WindowOutput *window, TupleTableSlot *row);

/// True if a row with that time, of a view that keeps rows, is in the window now.
bool is_in_window(const WindowOutput *window, TupleTableSlot *row);

/// Receives the row of a group as readers saw it, and see it now; NULL where it is not in the
/// window.
using ChangeReceiver = void (*)(NullableDatum before, NullableDatum now, void *arg);

/// After the writes of a turn. Tells when the window moves next, 0 = not before rows come.
TimestampTz end_window(WindowOutput *window, Relation matrel, ChangeReceiver receive, void *arg);

} // namespace pipeline::fold
