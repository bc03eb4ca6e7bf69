// Expressions over stored states: finalize(), combine_state() and merge_states() calls.
//
// Owns: which arguments they have. May call: pg/, view/state_form. Invariant: what is made here
// means the same when its text is parsed again, in a dump too.
#pragma once

#include "pg/postgres.hpp"

#include "view/state_form.hpp"

namespace pipeline::view {

/// The aggregate, `state`, a NULL of the result's type and, where they matter, the inputs: List of
/// Expr *, the arguments of finalize() and of combine_state().
List *state_arguments(const Aggref *aggref, const StateForm &form, Expr *state);

/// The result of the aggregate from one stored state.
Node *finalize_call(const Aggref *aggref, const StateForm &form, Expr *state);

/// The result of the aggregate from many stored states, in a query `depth` levels up.
Aggref *combine_call(const Aggref *aggref, const StateForm &form, Expr *state, Index depth);

/// The arguments of pipelinedb.combine_state(), with what they say about types.
struct CombineArguments {
    List *args; ///< of Expr *
    Oid type;   ///< of the result
    Oid collation;
    Oid input_collation;
};

CombineArguments combine_arguments(const Aggref *aggref, const StateForm &form, Expr *state);

/// combine_state(...) of them.
Aggref *combine_aggregate(const CombineArguments &arguments);

/// merge_states(...) of them: the state that combine_state() would compute the result of.
Aggref *merge_aggregate(const CombineArguments &arguments);

/// Which of our aggregates over states a function is.
enum class StateAggregate : uint8 {
    kNone,
    kPlaceholder, ///< combine()
    kCombine,     ///< combine_state()
    kMerge        ///< merge_states()
};

StateAggregate state_aggregate_of(Oid function);

/// Is it pipelinedb.finalize()?
bool is_finalize(Oid function);

} // namespace pipeline::view
