// What one continuous query changes in one tick, as rows of its output stream.
//
// Owns: the rows, as encoded chunks in the memory of the tick, and the firing of triggers that the
// output stream has. May call: pg/, spool/slot_batch, spooled_changes, view. Invariants: rows are
// in the order of the changes; those of a subtransaction that was rolled back are taken back; a
// change that no reader of the view could see is none; what does not fit the memory goes, all of
// it, to the spool.
#pragma once

#include "pg/postgres.hpp"

#include "fold/spooled_changes.hpp"
#include "view/catalog.hpp"

namespace pipeline::fold {

/// True if rows of the output stream are wanted beside by those who read it: it has triggers.
bool has_triggers(Oid output);

struct Emission;
struct FoldedView;

/// For one tick, whose memory `context` is. The output stream is locked. Of a view without readers,
/// nothing is kept.
Emission *begin_emission(FoldedView *view, MemoryContext context);

/// For a turn of the query, as its owner and with its settings, from here to close_changes().
/// Triggers of the output stream fire at the end of it. `matrel` is nullptr for transforms; else
/// it is prepared what computes a view's row from a stored one.
void open_changes(Emission *emission, Relation matrel);

/// A group's row before and after, as it is stored, and what came to it; `before` may be nullptr.
/// Of a window, the changes are found at the end of the turn (window_output.hpp).
void emit_change(Emission *emission, TupleTableSlot *before, TupleTableSlot *after,
                 TupleTableSlot *delta);

void close_changes(Emission *emission, Relation matrel);

/// A row of a transform.
void emit_row(Emission *emission, TupleTableSlot *row);

/// How much was emitted, to come back to.
struct EmissionMark {
    int nchunks;
    bool spooled;
};
EmissionMark mark_emission(Emission *emission);
void roll_back_emission(Emission *emission, EmissionMark mark);

/// All that was emitted, if it is in memory: the array lies in the tick's. None if it went to the
/// spool, for all readers.
const EmittedChunk *emitted_chunks(Emission *emission, int *count);
bool went_to_spool(const Emission *emission);

} // namespace pipeline::fold
