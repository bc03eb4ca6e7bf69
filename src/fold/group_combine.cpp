#include "fold/group_combine.hpp"

#include "pg/scope.hpp"

namespace pipeline::fold {
namespace {

/// As a second argument. `bytes` is a state of an ordinary type, or what the serial function
/// returned.
NullableDatum second_argument(CombineColumn &column, const CombineEnvironment &environment,
                              NullableDatum bytes)
{
    return column.is_serialized() ? view::deserialize_state(column, environment.state, bytes)
                                  : bytes;
}

NullableDatum combine(CombineColumn &column, const CombineEnvironment &environment,
                      NullableDatum first, NullableDatum second)
{
    return view::call_state_function(column, &column.combine, column.collation, environment.state,
                                     2, first, second);
}

/// As a first argument.
NullableDatum first_argument(CombineColumn &column, const CombineEnvironment &environment,
                             NullableDatum bytes)
{
    if (!column.is_serialized())
        return view::copy_state(column, bytes);
    NullableDatum const state = view::deserialize_state(column, environment.state, bytes);
    if (state.isnull || column.form.native != view::NativeLayout::kNone)
        return state;
    // In nodeAgg.c a deserialized state is only ever the second argument: the first comes from
    // combining NULL with one (a combine function of internal is never strict). Functions rely
    // on it: array_agg_array_deserialize allocates less than the state's abytes says.
    return combine(column, environment, view::null_datum(), state);
}

NullableDatum load_stored(CombineColumn &column, const CombineEnvironment &environment,
                          NullableDatum stored)
{
    if (column.is_serialized() && !stored.isnull)
        stored.value = PointerGetDatum(view::unwrap_state(column.form, stored.value));
    return first_argument(column, environment, stored);
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
    view::init_state_calls(column, aggref, context);
}

NullableDatum combine_states(CombineColumn &column, const CombineEnvironment &environment,
                             NullableDatum stored, NullableDatum partial)
{
    NullableDatum const left = load_stored(column, environment, stored);
    NullableDatum const right = second_argument(column, environment, partial);
    if (column.combine.fn_strict) {
        if (right.isnull)
            return stored;
        if (left.isnull)
            return {stored_form(column, partial.value), false};
    }
    return view::store_state(column, environment.state, combine(column, environment, left, right));
}

NullableDatum combine_partials(CombineColumn &column, const CombineEnvironment &environment,
                               NullableDatum first, NullableDatum second)
{
    NullableDatum const left = first_argument(column, environment, first);
    NullableDatum const right = second_argument(column, environment, second);
    if (column.combine.fn_strict && (left.isnull || right.isnull))
        return right.isnull ? first : second;
    return view::emitted_state(column, environment.state,
                               combine(column, environment, left, right));
}

} // namespace pipeline::fold
