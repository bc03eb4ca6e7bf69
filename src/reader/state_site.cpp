#include "reader/state_site.hpp"

#include "pg/compat.hpp"
#include "pg/scope.hpp"
#include "view/aggregate_rights.hpp"

extern "C" {
#include "catalog/pg_aggregate.h"
#include "executor/nodeAgg.h"
#include "parser/parse_agg.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "utils/expandeddatum.h"
#include "utils/regproc.h"
}

namespace pipeline::reader {
namespace {

/// As ExecInitAgg: the caller needs the right to the aggregate, the aggregate's owner to its
/// functions.
void check_permissions(const view::StateForm &form)
{
    view::check_may_execute(form.aggregate, GetUserId(), OBJECT_AGGREGATE);
    view::check_component_functions(form.aggregate, &form.finalfn, 1);
}

void check_type(Oid expected, Oid given, Oid aggregate, const char *what)
{
    if (expected != given)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("%s of aggregate function %s has type %s, not %s", what,
                               format_procedure(aggregate), format_type_be(expected),
                               format_type_be(given))));
}

[[noreturn]] void refuse_unknown_inputs(Oid aggregate)
{
    ereport(ERROR, (errcode(ERRCODE_INDETERMINATE_DATATYPE),
                    errmsg("could not determine the input types of aggregate function %s",
                           format_procedure(aggregate)),
                    errhint("Pass NULLs of these types as the last arguments.")));
    pg_unreachable();
}

/// A final function reads as many arguments as the aggregate has; all of them must be there.
void resolve_inputs(Inputs *inputs, const StateRequest &request)
{
    Oid *declared;
    int num_declared;
    get_func_signature(request.aggregate, &declared, &num_declared);
    *inputs = request.inputs;
    bool const given = inputs->count > 0;
    bool const variadic_any = get_func_variadictype(request.aggregate) == ANYOID;
    if (given && (inputs->count < num_declared || (inputs->count > num_declared && !variadic_any) ||
                  inputs->count >= FUNC_MAX_ARGS))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("wrong number of inputs for aggregate function %s",
                               format_procedure(request.aggregate))));
    if (!given)
        inputs->count = num_declared;
    for (int i = 0; i < inputs->count; i++) {
        Oid const type = i < num_declared ? declared[i] : ANYOID;
        bool const follows = IsPolymorphicType(type) || type == ANYOID;
        if (!follows || !given)
            inputs->types[i] = type;
        inputs->unknown |= follows && !(given && OidIsValid(inputs->types[i]));
    }
}

Oid result_type_of(Oid aggregate, Inputs &inputs)
{
    Oid *declared;
    int num_declared;
    Oid const type = get_func_signature(aggregate, &declared, &num_declared);
    if (!IsPolymorphicType(type))
        return type;
    if (inputs.unknown)
        refuse_unknown_inputs(aggregate);
    return enforce_generic_type_consistency(inputs.types, declared, num_declared, type, false);
}

Expr *input_constant(const Inputs &inputs, int i)
{
    if (OidIsValid(inputs.named[i]))
        return reinterpret_cast<Expr *>(makeConst(REGPROCEDUREOID, -1, InvalidOid, sizeof(Oid),
                                                  ObjectIdGetDatum(inputs.named[i]), false, true));
    return reinterpret_cast<Expr *>(
        makeNullConst(inputs.types[i], -1, get_typcollation(inputs.types[i])));
}

/// The call of the aggregate that made the state, as far as it is known: for AggGetAggref.
Aggref *make_aggref(const StateSite &site)
{
    Aggref *const aggref = makeNode(Aggref);
    aggref->aggfnoid = site.aggregate;
    aggref->aggtype = site.result_type;
    aggref->aggcollid = get_typcollation(site.result_type);
    aggref->inputcollid = site.calls.collation;
    aggref->aggtranstype = site.calls.form.transtype;
    aggref->aggkind = AGGKIND_NORMAL;
    for (int i = 0; i < site.inputs.count; i++) {
        aggref->aggargtypes = lappend_oid(aggref->aggargtypes, site.inputs.types[i]);
        aggref->args = lappend(aggref->args, makeTargetEntry(input_constant(site.inputs, i),
                                                             AttrNumber(i + 1), nullptr, false));
    }
    return aggref;
}

/// As much of an AggState as aggregate support functions may look at.
AggState *make_agg_state(const StateSite &site, Aggref *aggref)
{
    AggState *const agg = makeNode(AggState);
    auto *peragg = static_cast<AggStatePerAgg>(palloc0(sizeof(AggStatePerAggData)));
    peragg->aggref = aggref;
    agg->peragg = peragg;
    agg->pertrans = site.calls.call;
    return agg;
}

void prepare_final(StateSite *site, MemoryContext context)
{
    view::StateForm const &form = site->calls.form;
    if (form.finalextra && site->inputs.unknown)
        refuse_unknown_inputs(site->aggregate);
    site->num_final_args = form.finalextra ? site->inputs.count + 1 : 1;
    get_typlenbyval(site->result_type, &site->result_length, &site->result_by_value);
    if (!OidIsValid(form.finalfn))
        return;
    Expr *expr;
    build_aggregate_finalfn_expr(site->inputs.types, site->num_final_args, form.transtype,
                                 site->result_type, site->calls.collation, form.finalfn, &expr);
    fmgr_info_cxt(form.finalfn, &site->final, context);
    fmgr_info_set_expr(reinterpret_cast<Node *>(expr), &site->final);
}

/// `site` is filled in its own context, which the caller has made current.
void prepare_site(StateSite *site, const StateRequest &request, MemoryContext context)
{
    site->aggregate = request.aggregate;
    site->user = GetUserId();
    resolve_inputs(&site->inputs, request);
    if (OidIsValid(request.result_type)) {
        site->result_type = result_type_of(request.aggregate, site->inputs);
        check_type(site->result_type, request.result_type, request.aggregate, "the result");
    }
    view::StateForm const form = view::state_form_of(
        request.aggregate, site->result_type, request.collation,
        site->inputs.unknown ? nullptr : site->inputs.types, site->inputs.count);
    if (OidIsValid(request.state_type))
        check_type(form.column_type, request.state_type, request.aggregate, "the stored state");
    check_permissions(form);
    site->calls.form = form;
    site->calls.collation = request.collation;
    Aggref *const aggref = make_aggref(*site);
    view::init_state_calls(&site->calls, aggref, context);
    site->initial.value = view::initial_state(form, &site->initial.isnull);
    if (OidIsValid(site->result_type))
        prepare_final(site, context);
    site->agg = make_agg_state(*site, aggref);
}

} // namespace

void describe_call(StateRequest *request, const CallShape &shape, Oid aggregate, Oid collation,
                   const CallArguments &call)
{
    int const num_fixed = shape.has_result ? 3 : 2;
    memset(request, 0, sizeof(StateRequest));
    request->aggregate = aggregate;
    request->state_type = call.types[1];
    request->result_type = shape.has_result ? call.types[2] : InvalidOid;
    request->collation = collation;
    Inputs &inputs = request->inputs;
    inputs.count = Max(call.count - num_fixed, 0);
    for (int i = 0; i < inputs.count; i++) {
        inputs.types[i] = call.types[num_fixed + i];
        if (num_fixed + i < list_length(call.args) && inputs.types[i] == REGPROCEDUREOID)
            inputs.named[i] = constant_aggregate(list_nth(call.args, num_fixed + i));
    }
}

CallArguments arguments_of(FunctionCallInfo fcinfo, const CallShape &shape, List *args)
{
    CallArguments call;
    call.count = Min(PG_NARGS() - shape.first, FUNC_MAX_ARGS);
    call.args = args;
    for (int i = 0; i < call.count; i++)
        call.types[i] = get_fn_expr_argtype(fcinfo->flinfo, shape.first + i);
    if (call.count > (shape.has_result ? 3 : 2) && get_fn_expr_variadic(fcinfo->flinfo))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("function %s does not take a VARIADIC array", shape.name)));
    return call;
}

Oid constant_aggregate(const void *expr)
{
    auto *const constant = static_cast<const Const *>(expr);
    return IsA(constant, Const) && !constant->constisnull ? DatumGetObjectId(constant->constvalue)
                                                          : InvalidOid;
}

StateSite *find_site(StateSite *first, Oid aggregate)
{
    for (StateSite *site = first; site != nullptr; site = site->next)
        if (site->aggregate == aggregate && site->user == GetUserId())
            return site;
    return nullptr;
}

StateSite *make_site(FmgrInfo *function, const StateRequest &request)
{
    // A child of its own under the caller's memory, moved over when it is complete.
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "pipelinedb state", ALLOCSET_SMALL_SIZES);
    StateSite *const site = pg::in_context(context, [&] {
        auto *made = static_cast<StateSite *>(palloc0(sizeof(StateSite)));
        prepare_site(made, request, context);
        return made;
    });
    MemoryContextSetParent(context, function->fn_mcxt);
    site->next = static_cast<StateSite *>(function->fn_extra);
    function->fn_extra = site;
    return site;
}

/// As finalize_aggregate (nodeAgg.c).
Datum call_final(StateSite *site, NullableDatum state, Oid collation, bool *isnull)
{
    if (!OidIsValid(site->calls.form.finalfn)) {
        *isnull = state.isnull;
        return state.value;
    }
    LOCAL_FCINFO(call, FUNC_MAX_ARGS);
    InitFunctionCallInfoData(*call, &site->final, short(site->num_final_args), collation,
                             reinterpret_cast<fmNodePtr>(site->agg), nullptr);
    call->args[0] = state;
    if (!state.isnull)
        call->args[0].value = MakeExpandedObjectReadOnly(state.value, false, site->calls.length);
    for (int i = 1; i < site->num_final_args; i++)
        call->args[i] = view::null_datum();
    *isnull = site->final.fn_strict && (state.isnull || site->num_final_args > 1);
    if (*isnull)
        return Datum(0);
    site->agg->curperagg = site->agg->peragg;
    Datum const result = FunctionCallInvoke(call);
    site->agg->curperagg = nullptr;
    *isnull = call->isnull;
    return result;
}

} // namespace pipeline::reader
