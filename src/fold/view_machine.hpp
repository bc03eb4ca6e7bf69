// What is needed to fold one view: its plan and the functions of its columns.
//
// Owns: ViewMachine, in a memory context of its own. May call: partial, view, group_combine.
// Invariant: a machine is used only while its plan is not stale.
#pragma once

#include "fold/fold_state.hpp"

namespace pipeline::fold {

/// Locks what the view's query reads beside its stream, and what planning it may need, without
/// waiting; false if somebody holds a lock. The definition itself is locked by the caller.
bool lock_joined(const FoldedView *view);

/// Builds the machine of `view`, or builds it again if its plan is stale. A feed must be set,
/// and the caller runs as the owner with the creation settings.
void ready_machine(FoldedView *view, Relation definition);

/// A machine that cannot fold, but write what was folded elsewhere. Lives in the current memory
/// context. The caller runs as the owner with the creation settings.
ViewMachine *make_writing_machine(Relation definition);

/// After an error in a function of the machine: what these have cached is not to be trusted. The
/// plan is, since its functions are set up for each run.
void renew_combining(FoldedView *view);

/// Frees it; the next tick builds another.
void drop_machine(FoldedView *view);

} // namespace pipeline::fold
