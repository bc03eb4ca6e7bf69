// The transition state of combine_state() and merge_states(): the combined state of an aggregate.
//
// Owns: CombinedState, its way through a serialized form. May call: reader/state_site,
// view/combined_form. Invariants: follows nodeAgg.c:advance_combine_function for strictness, NULLs
// and the first state; memory in the aggregate's context is bounded by the state itself.
#pragma once

#include "pg/postgres.hpp"

#include "reader/state_site.hpp"

namespace pipeline::reader {

struct CombinedState {
    StateSite *site;
    NullableDatum value; ///< the transition value; of a raw one a state as a column holds it
    bool fresh;          ///< there was no state yet, and the aggregate has no initial one
    bool raw;            ///< read from a serialized form, not combined with anything yet
};

/// The state before the first row, in CurrentMemoryContext.
CombinedState *new_state(StateSite *site);

/// Combines a state, as a column holds it, into `state`. The site's AggState must follow the
/// aggregate's; what is kept goes to `context`.
void advance_state(CombinedState *state, NullableDatum stored, Oid collation,
                   MemoryContext context);

/// As a column holds it, in CurrentMemoryContext.
NullableDatum stored_value(CombinedState *state);

/// The serialized form, and back: a raw state in CurrentMemoryContext, whose site is made or found
/// among those of `function`. With `expected`, the state is of that aggregate or refused; nullptr:
/// the bytes are trusted.
bytea *serialize_combined(CombinedState *state);
CombinedState *deserialize_combined(FmgrInfo *function, const bytea *bytes,
                                    const StateRequest *expected);

} // namespace pipeline::reader
