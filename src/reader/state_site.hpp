// What one call site of finalize(), combine_state() or merge_states() needs to run the functions of
// the aggregate that it names.
//
// Owns: checking what the call says against the aggregate, and the looked-up functions. May call:
// view/state_calls. Invariants: the types of state and result are the aggregate's; the caller may
// execute it; a site lives as long as the FmgrInfo of the call.
#pragma once

#include "pg/postgres.hpp"

#include "view/state_calls.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pipeline::reader {

/// The types with which the aggregate was called, as far as they are known.
struct Inputs {
    int count;
    bool unknown; ///< a type that the aggregate leaves open was not given
    Oid types[FUNC_MAX_ARGS];
    Oid named[FUNC_MAX_ARGS]; ///< of a regprocedure: the constant, if it is one
};

/// What a call says about the aggregate that it names.
struct StateRequest {
    Oid aggregate;
    Oid state_type;  ///< InvalidOid: not to be compared
    Oid result_type; ///< InvalidOid: no result is asked for
    Oid collation;
    Inputs inputs; ///< count = 0: none given
};

/// What combined_state.hpp needs to write states down, made at the first one.
struct StateText;

struct StateSite {
    StateSite *next; ///< of the same call, for other aggregates or users
    Oid aggregate;
    Oid user;
    view::StateCalls calls;
    NullableDatum initial; ///< the state before the first row
    Inputs inputs;
    Oid result_type; ///< InvalidOid: unknown, `final` is not set
    int16 result_length;
    bool result_by_value;
    int num_final_args;
    FmgrInfo final;
    AggState *agg; ///< what the aggregate's functions see as their context
    StateText *text;
};

/// Where a function of an aggregate, or finalize(), has what.
struct CallShape {
    const char *name;
    int first;       ///< number of the argument that names the aggregate
    bool has_result; ///< the third one tells the type of the result
};

/// The arguments of a call from the one that names the aggregate on.
struct CallArguments {
    int count;
    Oid types[FUNC_MAX_ARGS];
    List *args; ///< expressions; NIL = not known
};

CallArguments arguments_of(FunctionCallInfo fcinfo, const CallShape &shape, List *args);

/// What the call says.
void describe_call(StateRequest *request, const CallShape &shape, Oid aggregate, Oid collation,
                   const CallArguments &call);

/// The aggregate that an expression names by a constant, or InvalidOid.
Oid constant_aggregate(const void *expr);

/// The site of the list for the aggregate and the current user, or nullptr.
StateSite *find_site(StateSite *first, Oid aggregate);

/// Makes a site in the function's own memory, as the first of the call's list (fn_extra).
StateSite *make_site(FmgrInfo *function, const StateRequest &request);

/// The final function, or what nodeAgg.c does where there is none.
Datum call_final(StateSite *site, NullableDatum state, Oid collation, bool *isnull);

} // namespace pipeline::reader
