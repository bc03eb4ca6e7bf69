// Calling the functions that combine and store the states of one aggregate, without an Agg node.
//
// Owns: the looked-up functions of an aggregate. May call: pg/, view/state_form,
// view/aggregate_rights. Invariants: called as nodeAgg.c calls them, with an AggState that has a
// current aggregate context; a datum that comes from a table is never scribbled on.
#pragma once

#include "pg/postgres.hpp"

#include "view/state_form.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pipeline::view {

struct StateCalls {
    StateForm form;
    Oid collation; ///< input collation of the aggregate
    FmgrInfo combine;
    FmgrInfo serial;
    FmgrInfo deserial;
    int16 length; ///< of the transition type
    bool byval;
    AggStatePerTrans call; ///< the aggregate call, for AggGetAggref

    bool is_serialized() const { return form.kind == StateKind::kSerialized; }
};

/// `form` and `collation` are set; `aggref` is the call that made the states. Raises an error
/// unless the aggregate's owner may call its functions. What is looked up lives in `context`.
void init_state_calls(StateCalls *calls, const Aggref *aggref, MemoryContext context);

inline NullableDatum null_datum()
{
    return {static_cast<Datum>(0), true};
}

/// Calls a function of the aggregate, one of `calls`, with up to two arguments.
inline NullableDatum call_state_function(StateCalls &calls, FmgrInfo *function, Oid collation,
                                         AggState *agg, int nargs, NullableDatum first,
                                         NullableDatum second)
{
    agg->curpertrans = calls.call;
    LOCAL_FCINFO(fcinfo, 2);
    InitFunctionCallInfoData(*fcinfo, function, static_cast<short>(nargs), collation,
                             reinterpret_cast<Node *>(agg), nullptr);
    fcinfo->args[0] = first;
    fcinfo->args[1] = second;
    NullableDatum result;
    result.value = FunctionCallInvoke(fcinfo);
    result.isnull = fcinfo->isnull;
    return result;
}

/// A private, flat copy of a state of an ordinary type, which a combine function may modify.
NullableDatum copy_state(const StateCalls &calls, NullableDatum state);

/// kSerialized only: a transition state from what the serial function returned.
NullableDatum deserialize_state(StateCalls &calls, AggState *agg, NullableDatum bytes);

/// What a partial Agg node emits for a transition state: itself, or serialized.
NullableDatum emitted_state(StateCalls &calls, AggState *agg, NullableDatum state);

/// A state as the executor emits it (AGGSPLIT_INITIAL_SERIAL) in the form of the column.
inline Datum stored_form(const StateCalls &calls, Datum partial)
{
    if (!calls.is_serialized())
        return partial;
    return PointerGetDatum(wrap_state(calls.form, DatumGetByteaPP(partial)));
}

/// A transition state in the form of the column.
NullableDatum store_state(StateCalls &calls, AggState *agg, NullableDatum state);

} // namespace pipeline::view
