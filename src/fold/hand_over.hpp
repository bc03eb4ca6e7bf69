// The way of emitted rows to the queries that read them.
//
// Owns: nothing. May call: emission, collect, spooled_changes. Invariants: each reader of a view's
// output gets every row once: in the tick that emitted it, in memory, or if it is not folded in
// that tick, from the spool, where the tick's own transaction writes a copy that names the reader.
// A reader gets the rows of one view in the order of the changes.
#pragma once

#include "fold/collect.hpp"
#include "fold/emission.hpp"

namespace pipeline::fold {

/// Before the first view's turn in a tick: nothing was emitted, nobody was folded.
void begin_hand_over();

/// After the turn of `view`: its readers that have their turns in this tick, later, get the rows.
void hand_over(FoldedView *view, Collection *collection);

/// After the last turn: what is left for readers that had none. True if there was anything.
bool spool_leftovers();

} // namespace pipeline::fold
