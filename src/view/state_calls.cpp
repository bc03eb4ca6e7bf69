#include "view/state_calls.hpp"

#include "pg/scope.hpp"
#include "view/aggregate_rights.hpp"

extern "C" {
#include "executor/nodeAgg.h"
#include "parser/parse_agg.h"
#include "utils/datum.h"
}

namespace pipeline::view {

namespace {

/// What nodeAgg.c has for a transition; functions may ask for the call, and whether the state is
/// shared.
AggStatePerTrans make_call(const Aggref *aggref)
{
    auto *call = static_cast<AggStatePerTrans>(palloc0(sizeof(AggStatePerTransData)));
    call->aggref = static_cast<Aggref *>(copyObjectImpl(aggref));
    call->aggshared = true; // nobody may write to a state that is used again
    return call;
}

} // namespace

void init_state_calls(StateCalls *calls, const Aggref *aggref, MemoryContext context)
{
    StateForm const &form = calls->form;
    Oid const functions[] = {form.combinefn, form.serialfn, form.deserialfn};
    check_component_functions(form.aggregate, functions, lengthof(functions));
    fmgr_info_cxt(form.combinefn, &calls->combine, context);
    // As nodeAgg.c:build_pertrans_for_aggref: a polymorphic function asks for its actual types.
    pg::in_context(context, [&] {
        Expr *expr;
        Oid input = form.transtype;
        build_aggregate_transfn_expr(&input, 1, 0, false, form.transtype, calls->collation,
                                     form.combinefn, InvalidOid, &expr, nullptr);
        fmgr_info_set_expr(reinterpret_cast<Node *>(expr), &calls->combine);
        calls->call = make_call(aggref);
    });
    if (calls->is_serialized()) {
        fmgr_info_cxt(form.serialfn, &calls->serial, context);
        fmgr_info_cxt(form.deserialfn, &calls->deserial, context);
    }
    get_typlenbyval(form.transtype, &calls->length, &calls->byval);
}

NullableDatum copy_state(const StateCalls &calls, NullableDatum state)
{
    if (state.isnull || calls.byval)
        return state;
    if (calls.length == -1)
        return {PointerGetDatum(PG_DETOAST_DATUM_COPY(state.value)), false};
    return {datumCopy(state.value, false, calls.length), false};
}

NullableDatum deserialize_state(StateCalls &calls, AggState *agg, NullableDatum bytes)
{
    if (bytes.isnull && calls.deserial.fn_strict)
        return null_datum();
    // The second argument exists for the function's type only (nodeAgg.c).
    return call_state_function(calls, &calls.deserial, calls.collation, agg, 2, bytes,
                               null_datum());
}

NullableDatum emitted_state(StateCalls &calls, AggState *agg, NullableDatum state)
{
    if (!calls.is_serialized() || state.isnull)
        return state;
    // Of two NULL states the server's own combine functions make a null pointer that is no SQL
    // NULL (numeric.c: numeric_combine); nodeAgg.c hands it to no serial function either.
    if (DatumGetPointer(state.value) == nullptr)
        return null_datum();
    return call_state_function(calls, &calls.serial, calls.collation, agg, 1, state, null_datum());
}

NullableDatum store_state(StateCalls &calls, AggState *agg, NullableDatum state)
{
    NullableDatum bytes = emitted_state(calls, agg, state);
    if (!bytes.isnull)
        bytes.value = stored_form(calls, bytes.value);
    return bytes;
}

} // namespace pipeline::view
