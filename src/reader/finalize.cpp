// pipelinedb.finalize(aggregate, state, result [, inputs …]): what a reader applies to a stored
// transition state.
//
// Owns: calling deserial and final functions outside an Agg node. May call: view/state_form.
// Invariants: the state's type is checked against the aggregate's; the stored state is copied
// before a final function sees it; any user may call this with any arguments.
#include "pg/postgres.hpp"

#include "pg/compat.hpp"
#include "view/aggregate_rights.hpp"
#include "view/state_form.hpp"

extern "C" {
#include "catalog/pg_aggregate.h"
#include "catalog/pg_proc.h"
#include "executor/nodeAgg.h"
#include "parser/parse_agg.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"
#include "utils/fmgrprotos.h"
#include "utils/regproc.h"
}

namespace pipeline::reader {
namespace {

using view::StateForm;
using view::StateKind;

constexpr int kFixedArgs = 3; ///< aggregate, state, result

/// What one call site needs, made at its first call.
struct Site {
    MemoryContext context;
    Oid aggregate;
    Oid user;
    StateForm form;
    int16 result_length;
    bool result_by_value;
    int16 state_length;
    bool state_by_value;
    int num_final_args;
    FmgrInfo deserial;
    FmgrInfo final;
    AggState *agg; ///< AggCheckCallContext and its like (nodeAgg.c) look into it
};

/// The types with which the aggregate was called, as far as the site tells them.
struct Inputs {
    int count;
    Oid types[FUNC_MAX_ARGS];
};

/// As ExecInitAgg: the caller needs the right to the aggregate, the aggregate's owner to its
/// functions.
void check_permissions(const StateForm &form)
{
    view::check_may_execute(form.aggregate, GetUserId(), OBJECT_AGGREGATE);
    Oid const functions[] = {form.deserialfn, form.finalfn};
    view::check_component_functions(form.aggregate, functions, lengthof(functions));
}

void check_type(Oid expected, Oid given, Oid aggregate, const char *what)
{
    if (expected != given)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("%s of aggregate function %s has type %s, not %s", what,
                               format_procedure(aggregate), format_type_be(expected),
                               format_type_be(given))));
}

/// A final function reads as many arguments as the aggregate has; all of them must be there.
Inputs inputs_of(FunctionCallInfo fcinfo, Oid aggregate)
{
    Oid *declared;
    int num_declared;
    get_func_signature(aggregate, &declared, &num_declared);
    Inputs inputs;
    inputs.count = PG_NARGS() - kFixedArgs;
    bool const given = inputs.count > 0;
    bool const variadic_any =
        OidIsValid(get_func_variadictype(aggregate)) && get_func_variadictype(aggregate) == ANYOID;
    if (given && get_fn_expr_variadic(fcinfo->flinfo))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("function finalize does not take a VARIADIC array")));
    if (given && (inputs.count < num_declared || (inputs.count > num_declared && !variadic_any) ||
                  inputs.count >= FUNC_MAX_ARGS))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("wrong number of inputs for aggregate function %s",
                               format_procedure(aggregate))));
    if (!given)
        inputs.count = num_declared;
    for (int i = 0; i < inputs.count; i++) {
        Oid const type = i < num_declared ? declared[i] : ANYOID;
        bool const follows = IsPolymorphicType(type) || type == ANYOID;
        inputs.types[i] = type;
        if (follows && given)
            inputs.types[i] = get_fn_expr_argtype(fcinfo->flinfo, kFixedArgs + i);
        if (follows && !(given && OidIsValid(inputs.types[i])))
            ereport(ERROR, (errcode(ERRCODE_INDETERMINATE_DATATYPE),
                            errmsg("could not determine the input types of aggregate function %s",
                                   format_procedure(aggregate)),
                            errhint("Pass NULLs of these types after the third argument.")));
    }
    return inputs;
}

Oid result_type_of(Oid aggregate, Inputs &inputs)
{
    Oid *declared;
    int num_declared;
    Oid const type = get_func_signature(aggregate, &declared, &num_declared);
    if (!IsPolymorphicType(type))
        return type;
    return enforce_generic_type_consistency(inputs.types, declared, num_declared, type, false);
}

/// As much of an AggState as aggregate support functions may look at.
AggState *make_agg_state()
{
    AggState *const agg = makeNode(AggState);
    agg->curaggcontext = CreateStandaloneExprContext();
    agg->tmpcontext = CreateStandaloneExprContext();
    agg->ss.ps.ps_ExprContext = CreateStandaloneExprContext();
    return agg;
}

void prepare_functions(Site *site, Inputs &inputs, Oid result_type, Oid collation)
{
    StateForm const &form = site->form;
    if (OidIsValid(form.deserialfn)) {
        Expr *expr;
        build_aggregate_deserialfn_expr(form.deserialfn, &expr);
        fmgr_info_cxt(form.deserialfn, &site->deserial, site->context);
        fmgr_info_set_expr(reinterpret_cast<Node *>(expr), &site->deserial);
    }
    site->num_final_args = form.finalextra ? inputs.count + 1 : 1;
    if (OidIsValid(form.finalfn)) {
        Expr *expr;
        build_aggregate_finalfn_expr(inputs.types, site->num_final_args, form.transtype,
                                     result_type, collation, form.finalfn, &expr);
        fmgr_info_cxt(form.finalfn, &site->final, site->context);
        fmgr_info_set_expr(reinterpret_cast<Node *>(expr), &site->final);
    }
}

/// `site` is filled in its own context, which the caller has made current.
void prepare_site(Site *site, FunctionCallInfo fcinfo, Oid aggregate)
{
    Inputs inputs = inputs_of(fcinfo, aggregate);
    Oid const result_type = result_type_of(aggregate, inputs);
    check_type(result_type, get_fn_expr_argtype(fcinfo->flinfo, 2), aggregate, "the result");
    site->form =
        view::state_form_of(aggregate, result_type, PG_GET_COLLATION(), inputs.types, inputs.count);
    check_type(site->form.column_type, get_fn_expr_argtype(fcinfo->flinfo, 1), aggregate,
               "the stored state");
    check_permissions(site->form);
    get_typlenbyval(result_type, &site->result_length, &site->result_by_value);
    get_typlenbyval(site->form.transtype, &site->state_length, &site->state_by_value);
    prepare_functions(site, inputs, result_type, PG_GET_COLLATION());
    site->agg = make_agg_state();
    site->aggregate = aggregate;
    site->user = GetUserId();
}

Site *site_of(FunctionCallInfo fcinfo, Oid aggregate)
{
    auto *old = static_cast<Site *>(fcinfo->flinfo->fn_extra);
    if (likely(old != nullptr && old->aggregate == aggregate && old->user == GetUserId()))
        return old;
    fcinfo->flinfo->fn_extra = nullptr;
    if (old != nullptr)
        MemoryContextDelete(old->context);
    MemoryContext const context =
        AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "pipelinedb.finalize", ALLOCSET_SMALL_SIZES);
    MemoryContext const caller = MemoryContextSwitchTo(context);
    auto *site = static_cast<Site *>(palloc0(sizeof(Site)));
    site->context = context;
    prepare_site(site, fcinfo, aggregate);
    MemoryContextSwitchTo(caller);
    fcinfo->flinfo->fn_extra = site;
    return site;
}

/// In the aggregate's memory context: a final function may write to its first argument.
Datum transition_state(Site *site, Datum stored, Oid collation)
{
    if (site->form.kind != StateKind::kSerialized)
        return datumCopy(stored, site->state_by_value, site->state_length);
    LOCAL_FCINFO(call, 2);
    InitFunctionCallInfoData(*call, &site->deserial, 2, collation,
                             reinterpret_cast<fmNodePtr>(site->agg), nullptr);
    call->args[0].value = PointerGetDatum(view::unwrap_state(site->form, stored));
    call->args[0].isnull = false;
    // The second argument exists for the function's type only (nodeAgg.c).
    call->args[1].value = Datum(0);
    call->args[1].isnull = false;
    Datum const state = FunctionCallInvoke(call);
    if (call->isnull)
        elog(ERROR, "deserial function %u returned NULL", site->form.deserialfn);
    return state;
}

/// As finalize_aggregate (nodeAgg.c).
Datum call_final(Site *site, NullableDatum state, Oid collation, bool *isnull)
{
    if (!OidIsValid(site->form.finalfn)) {
        *isnull = state.isnull;
        return state.value;
    }
    LOCAL_FCINFO(call, FUNC_MAX_ARGS);
    InitFunctionCallInfoData(*call, &site->final, short(site->num_final_args), collation,
                             reinterpret_cast<fmNodePtr>(site->agg), nullptr);
    call->args[0] = state;
    if (!state.isnull)
        call->args[0].value = MakeExpandedObjectReadOnly(state.value, false, site->state_length);
    for (int i = 1; i < site->num_final_args; i++)
        call->args[i] = {Datum(0), true};
    *isnull = site->final.fn_strict && (state.isnull || site->num_final_args > 1);
    if (*isnull)
        return Datum(0);
    Datum const result = FunctionCallInvoke(call);
    *isnull = call->isnull;
    return result;
}

/// Resets run callbacks that functions registered on the aggregate's context.
void reset(AggState *agg)
{
    ReScanExprContext(agg->curaggcontext);
    ReScanExprContext(agg->tmpcontext);
    ReScanExprContext(agg->ss.ps.ps_ExprContext);
}

Datum finalize(FunctionCallInfo fcinfo)
{
    if (PG_ARGISNULL(0))
        PG_RETURN_NULL();
    Site *const site = site_of(fcinfo, PG_GETARG_OID(0));
    Oid const collation = PG_GET_COLLATION();
    MemoryContext const caller = CurrentMemoryContext;
    reset(site->agg); // what an ERROR in an earlier call may have left
    MemoryContextSwitchTo(site->agg->curaggcontext->ecxt_per_tuple_memory);
    NullableDatum state{Datum(0), PG_ARGISNULL(1)};
    if (!state.isnull)
        state.value = transition_state(site, PG_GETARG_DATUM(1), collation);
    MemoryContextSwitchTo(site->agg->ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
    bool isnull;
    Datum result = call_final(site, state, collation, &isnull);
    MemoryContextSwitchTo(caller);
    if (!isnull)
        result = datumCopy(result, site->result_by_value, site->result_length);
    reset(site->agg);
    fcinfo->isnull = isnull;
    return result;
}

} // namespace
} // namespace pipeline::reader

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_finalize);

Datum pipeline_finalize(PG_FUNCTION_ARGS)
{
    return pipeline::reader::finalize(fcinfo);
}
}
