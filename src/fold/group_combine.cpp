#include "fold/group_combine.hpp"

#include "pg/scope.hpp"
#include "view/aggregate_rights.hpp"

extern "C" {
#include "catalog/pg_aggregate.h"
#include "parser/parse_agg.h"
#include "utils/datum.h"
}

namespace pipeline::fold {
namespace {

/// Calls a function of the aggregate with up to two arguments.
NullableDatum call(FmgrInfo *function, Oid collation, const CombineEnvironment &environment,
                   int nargs, NullableDatum first, NullableDatum second)
{
    LOCAL_FCINFO(fcinfo, 2);
    InitFunctionCallInfoData(*fcinfo, function, static_cast<short>(nargs), collation,
                             reinterpret_cast<Node *>(environment.state), nullptr);
    fcinfo->args[0] = first;
    fcinfo->args[1] = second;
    NullableDatum result;
    result.value = FunctionCallInvoke(fcinfo);
    result.isnull = fcinfo->isnull;
    return result;
}

NullableDatum null_datum()
{
    return {static_cast<Datum>(0), true};
}

/// A transition state from what the serial function of the partial step returned.
NullableDatum deserialize(CombineColumn &column, const CombineEnvironment &environment,
                          NullableDatum bytes)
{
    if (bytes.isnull && column.deserial.fn_strict)
        return null_datum();
    return call(&column.deserial, column.collation, environment, 2, bytes, null_datum());
}

/// A private, flat copy of a stored state, which the combine function may modify.
NullableDatum copy_state(const CombineColumn &column, NullableDatum stored)
{
    if (stored.isnull || column.byval)
        return stored;
    if (column.length == -1)
        return {PointerGetDatum(PG_DETOAST_DATUM_COPY(stored.value)), false};
    return {datumCopy(stored.value, false, column.length), false};
}

bool is_serialized(const CombineColumn &column)
{
    return column.form.kind == view::StateKind::kSerialized;
}

/// As a first argument. `bytes` is a state of an ordinary type, or what the serial function
/// returned.
NullableDatum load(CombineColumn &column, const CombineEnvironment &environment,
                   NullableDatum bytes)
{
    if (!is_serialized(column))
        return copy_state(column, bytes);
    NullableDatum const state = deserialize(column, environment, bytes);
    if (state.isnull || column.form.native != view::NativeLayout::kNone)
        return state;
    // In nodeAgg.c a deserialized state is only ever the second argument: the first comes from
    // combining NULL with one (a combine function of internal is never strict). Functions rely
    // on it: array_agg_array_deserialize allocates less than the state's abytes says.
    return call(&column.combine, column.collation, environment, 2, null_datum(), state);
}

NullableDatum load_stored(CombineColumn &column, const CombineEnvironment &environment,
                          NullableDatum stored)
{
    if (is_serialized(column) && !stored.isnull)
        stored.value = PointerGetDatum(view::unwrap_state(column.form, stored.value));
    return load(column, environment, stored);
}

/// As the partial step emits it.
NullableDatum emitted(CombineColumn &column, const CombineEnvironment &environment,
                      NullableDatum state)
{
    if (!is_serialized(column) || state.isnull)
        return state;
    // Of two NULL states the server's own combine functions make a null pointer that is no SQL
    // NULL (numeric.c: numeric_combine); nodeAgg.c hands it to no serial function either.
    if (DatumGetPointer(state.value) == nullptr)
        return null_datum();
    return call(&column.serial, column.collation, environment, 1, state, null_datum());
}

NullableDatum store(CombineColumn &column, const CombineEnvironment &environment,
                    NullableDatum state)
{
    NullableDatum bytes = emitted(column, environment, state);
    if (!bytes.isnull)
        bytes.value = stored_form(column, bytes.value);
    return bytes;
}

} // namespace

CombineEnvironment make_combine_environment(MemoryContext parent)
{
    return pg::in_context(parent, [] {
        CombineEnvironment environment;
        environment.state = makeNode(AggState);
        environment.expressions = CreateStandaloneExprContext();
        environment.state->curaggcontext = environment.expressions;
        environment.state->tmpcontext = environment.expressions;
        return environment;
    });
}

void init_combine_column(CombineColumn *column, const Aggref *aggref, MemoryContext context)
{
    column->form = view::state_form_of(aggref);
    column->collation = aggref->inputcollid;
    Oid const functions[] = {column->form.combinefn, column->form.serialfn,
                             column->form.deserialfn};
    view::check_component_functions(aggref->aggfnoid, functions, lengthof(functions));
    fmgr_info_cxt(column->form.combinefn, &column->combine, context);
    // As nodeAgg.c:build_pertrans_for_aggref: a polymorphic function asks for its actual types.
    pg::in_context(context, [&] {
        Expr *expr;
        Oid input = column->form.transtype;
        build_aggregate_transfn_expr(&input, 1, 0, false, column->form.transtype,
                                     aggref->inputcollid, column->form.combinefn, InvalidOid, &expr,
                                     nullptr);
        fmgr_info_set_expr(reinterpret_cast<Node *>(expr), &column->combine);
    });
    if (is_serialized(*column)) {
        fmgr_info_cxt(column->form.serialfn, &column->serial, context);
        fmgr_info_cxt(column->form.deserialfn, &column->deserial, context);
    }
    get_typlenbyval(column->form.transtype, &column->length, &column->byval);
}

Datum stored_form(const CombineColumn &column, Datum partial)
{
    if (!is_serialized(column))
        return partial;
    return PointerGetDatum(view::wrap_state(column.form, DatumGetByteaPP(partial)));
}

NullableDatum combine_states(CombineColumn &column, const CombineEnvironment &environment,
                             NullableDatum stored, NullableDatum partial)
{
    NullableDatum const left = load_stored(column, environment, stored);
    NullableDatum const right =
        is_serialized(column) ? deserialize(column, environment, partial) : partial;
    if (column.combine.fn_strict) {
        if (right.isnull)
            return stored;
        if (left.isnull)
            return {stored_form(column, partial.value), false};
    }
    return store(column, environment,
                 call(&column.combine, column.collation, environment, 2, left, right));
}

NullableDatum combine_partials(CombineColumn &column, const CombineEnvironment &environment,
                               NullableDatum first, NullableDatum second)
{
    NullableDatum const left = load(column, environment, first);
    NullableDatum const right =
        is_serialized(column) ? deserialize(column, environment, second) : second;
    if (column.combine.fn_strict && (left.isnull || right.isnull))
        return right.isnull ? first : second;
    return emitted(column, environment,
                   call(&column.combine, column.collation, environment, 2, left, right));
}

} // namespace pipeline::fold
