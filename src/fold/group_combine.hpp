// Combining a partial state into a stored one, by the aggregate's own functions.
//
// Owns: what these functions see as their AggState. May call: view/state_form, view/state_calls.
// Invariants: the stored datum is never scribbled on (combine functions may modify their
// first argument); results live in the given context.
#pragma once

#include "pg/postgres.hpp"

#include "view/state_calls.hpp"

namespace pipeline::fold {

/// What combining calls see as their AggState: AggCheckCallContext and AggGetAggref look at it.
struct CombineEnvironment {
    AggState *state;
    ExprContext *expressions; ///< its per-tuple memory is the aggregate context
};

CombineEnvironment make_combine_environment(MemoryContext parent);

/// One aggregate column of a matrel.
using CombineColumn = view::StateCalls;
using view::stored_form;

void init_combine_column(CombineColumn *column, const Aggref *aggref, MemoryContext context);

/// Stored state ⊕ partial state -> stored state, in CurrentMemoryContext. Follows
/// nodeAgg.c:advance_combine_function for NULLs and strict functions.
NullableDatum combine_states(CombineColumn &column, const CombineEnvironment &environment,
                             NullableDatum stored, NullableDatum partial);

/// Partial state ⊕ partial state -> partial state, in the same way.
NullableDatum combine_partials(CombineColumn &column, const CombineEnvironment &environment,
                               NullableDatum first, NullableDatum second);

} // namespace pipeline::fold
