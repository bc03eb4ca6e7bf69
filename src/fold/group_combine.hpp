// Combining a partial state into a stored one, by the aggregate's own functions.
//
// Owns: nothing but the looked-up functions of one column. May call: view/state_form.
// Invariants: the stored datum is never scribbled on (combine functions may modify their
// first argument); results live in the given context.
#pragma once

#include "pg/postgres.hpp"

#include "view/state_form.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pipeline::fold {

/// What combining calls see as their AggState: AggCheckCallContext and AggGetAggref look at it.
struct CombineEnvironment {
    AggState *state;
    ExprContext *expressions; ///< its per-tuple memory is the aggregate context
};

CombineEnvironment make_combine_environment(MemoryContext parent);

/// One aggregate column of a matrel.
struct CombineColumn {
    view::StateForm form;
    Oid collation; ///< input collation of the aggregate
    FmgrInfo combine;
    FmgrInfo serial;
    FmgrInfo deserial;
    int16 length;
    bool byval;
};

void init_combine_column(CombineColumn *column, const Aggref *aggref, MemoryContext context);

/// A state as the executor emits it (AGGSPLIT_INITIAL_SERIAL) in the form of the column.
Datum stored_form(const CombineColumn &column, Datum partial);

/// Stored state ⊕ partial state -> stored state, in CurrentMemoryContext. Follows
/// nodeAgg.c:advance_combine_function for NULLs and strict functions.
NullableDatum combine_states(CombineColumn &column, const CombineEnvironment &environment,
                             NullableDatum stored, NullableDatum partial);

/// Partial state ⊕ partial state -> partial state, in the same way.
NullableDatum combine_partials(CombineColumn &column, const CombineEnvironment &environment,
                               NullableDatum first, NullableDatum second);

} // namespace pipeline::fold
