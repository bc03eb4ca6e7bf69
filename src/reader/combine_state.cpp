// pipelinedb.combine_state(aggregate, state, result [, inputs …]): one result of many stored
// states. pipelinedb.merge_states(aggregate, state [, inputs …]): one stored state of them.
//
// Owns: the support functions of these aggregates. May call: reader/combined_state. Invariants:
// the aggregate's functions see an AggState that has the memory of the one that runs; all states of
// a group belong to one aggregate; any user may call them with any arguments.
#include "pg/postgres.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "reader/combined_state.hpp"
#include "view/state_expressions.hpp"

extern "C" {
#include "executor/nodeAgg.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "utils/datum.h"
#include "utils/regproc.h"
}

namespace pipeline::reader {
namespace {

constexpr CallShape kCombine{"combine_state", 1, true};
constexpr CallShape kMerge{"merge_states", 1, false};

MemoryContext aggregate_context(FunctionCallInfo fcinfo)
{
    MemoryContext context;
    if (AggCheckCallContext(fcinfo, &context) != AGG_CONTEXT_AGGREGATE)
        elog(ERROR, "function %u was called outside an aggregate", fcinfo->flinfo->fn_oid);
    return context;
}

/// What the aggregate's functions see is in the memory of the call at hand.
void follow(StateSite *site, FunctionCallInfo fcinfo)
{
    auto *const running = reinterpret_cast<const AggState *>(fcinfo->context);
    site->agg->curaggcontext = running->curaggcontext;
    site->agg->tmpcontext = running->tmpcontext;
    site->agg->ss.ps.ps_ExprContext = running->ss.ps.ps_ExprContext;
}

List *expressions(const Aggref *aggref)
{
    List *list = NIL;
    for (auto *entry : pg::each<TargetEntry>(aggref->args))
        list = lappend(list, entry->expr);
    return list;
}

Plan *plan_below(Plan *plan)
{
    auto const first = [](List *plans) {
        return plans != NIL ? static_cast<Plan *>(linitial(plans)) : nullptr;
    };
    if (IsA(plan, Append))
        return first(reinterpret_cast<Append *>(plan)->appendplans);
    if (IsA(plan, MergeAppend))
        return first(reinterpret_cast<MergeAppend *>(plan)->mergeplans);
    return outerPlan(plan);
}

/// The Agg node that combines what others have aggregated knows only a Var of their output
/// (setrefs.c: convert_combining_aggrefs); EXPLAIN finds the arguments in the same way.
const Aggref *partial_aggref(Plan *plan, const Aggref *combining)
{
    auto *expr = reinterpret_cast<Node *>(linitial_node(TargetEntry, combining->args)->expr);
    while (plan != nullptr && IsA(expr, Var)) {
        plan = plan_below(plan);
        TargetEntry *const entry =
            plan != nullptr
                ? get_tle_by_resno(plan->targetlist, reinterpret_cast<Var *>(expr)->varattno)
                : nullptr;
        if (entry == nullptr)
            return nullptr;
        expr = reinterpret_cast<Node *>(entry->expr);
    }
    return IsA(expr, Aggref) ? reinterpret_cast<Aggref *>(expr) : nullptr;
}

/// The arguments of the aggregate call; NIL where they cannot be found.
List *call_arguments(FunctionCallInfo fcinfo)
{
    const Aggref *aggref = AggGetAggref(fcinfo);
    auto *const running = reinterpret_cast<const AggState *>(fcinfo->context);
    if (aggref != nullptr && DO_AGGSPLIT_COMBINE(aggref->aggsplit))
        aggref = partial_aggref(running->ss.ps.plan, aggref);
    return aggref != nullptr ? expressions(aggref) : NIL;
}

StateSite *site_of(FunctionCallInfo fcinfo, const CallShape &shape, Oid aggregate)
{
    StateSite *const site =
        find_site(static_cast<StateSite *>(fcinfo->flinfo->fn_extra), aggregate);
    if (likely(site != nullptr))
        return site;
    StateRequest request;
    describe_call(&request, shape, aggregate, PG_GET_COLLATION(),
                  arguments_of(fcinfo, shape, call_arguments(fcinfo)));
    return make_site(fcinfo->flinfo, request);
}

/// A state of the other site can be combined into one of this.
bool are_alike(const StateSite *site, const StateSite *other)
{
    return site == other ||
           (site->aggregate == other->aggregate && site->result_type == other->result_type &&
            site->calls.form.transtype == other->calls.form.transtype);
}

[[noreturn]] void refuse_mixture(const CombinedState *state, Oid other)
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("states of different aggregates cannot be combined"),
                    errdetail("One is of %s, another of %s.",
                              format_procedure(state->site->aggregate), format_procedure(other)),
                    errhint("Group by the aggregate, too.")));
    pg_unreachable();
}

Datum advance(FunctionCallInfo fcinfo, const CallShape &shape)
{
    MemoryContext const context = aggregate_context(fcinfo);
    if (PG_ARGISNULL(1))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("the aggregate of function %s must not be NULL", shape.name)));
    StateSite *const site = site_of(fcinfo, shape, PG_GETARG_OID(1));
    auto *const state = PG_ARGISNULL(0) ? pg::in_context(context, [&] { return new_state(site); })
                                        : reinterpret_cast<CombinedState *>(PG_GETARG_POINTER(0));
    if (unlikely(!are_alike(state->site, site)))
        refuse_mixture(state, site->aggregate);
    follow(state->site, fcinfo);
    advance_state(state, fcinfo->args[2], PG_GET_COLLATION(), context);
    PG_RETURN_POINTER(state);
}

/// A state that the aggregate's functions can work on.
CombinedState *live_state(CombinedState *state, Oid collation, MemoryContext context)
{
    if (!state->raw)
        return state;
    CombinedState *const live = pg::in_context(context, [&] { return new_state(state->site); });
    advance_state(live, state->value, collation, context);
    return live;
}

Datum combine(FunctionCallInfo fcinfo)
{
    MemoryContext const context = aggregate_context(fcinfo);
    if (PG_ARGISNULL(1)) {
        if (PG_ARGISNULL(0))
            PG_RETURN_NULL();
        PG_RETURN_DATUM(PG_GETARG_DATUM(0));
    }
    auto *const right = reinterpret_cast<CombinedState *>(PG_GETARG_POINTER(1));
    auto *left = PG_ARGISNULL(0) ? pg::in_context(context, [&] { return new_state(right->site); })
                                 : reinterpret_cast<CombinedState *>(PG_GETARG_POINTER(0));
    follow(left->site, fcinfo);
    follow(right->site, fcinfo);
    left = live_state(left, PG_GET_COLLATION(), context);
    if (!are_alike(left->site, right->site))
        refuse_mixture(left, right->site->aggregate);
    advance_state(left, stored_value(right), PG_GET_COLLATION(), context);
    PG_RETURN_POINTER(left);
}

/// Outside an Agg node, serialized states come from a table or a stream, where anybody may have put
/// them. What runs is what the call names that they are the states of, not what they say.
/// False: an Agg node runs, and gets what it has serialized itself.
bool describe_expected(FunctionCallInfo fcinfo, StateRequest *request)
{
    if (reinterpret_cast<const AggState *>(fcinfo->context)->ss.ps.plan != nullptr)
        return false;
    const Aggref *const aggref = AggGetAggref(fcinfo);
    List *const args = aggref != nullptr ? expressions(aggref) : NIL;
    Oid const aggregate = args != NIL ? constant_aggregate(linitial(args)) : InvalidOid;
    if (!OidIsValid(aggregate))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("the aggregate of a stored state is not known"),
                        errhint("Pass the inputs of combine_state, with the aggregate as a "
                                "constant.")));
    CallArguments call{0, {}, args};
    for (Oid const type : pg::each_oid(aggref->aggargtypes))
        if (call.count < FUNC_MAX_ARGS)
            call.types[call.count++] = type;
    bool const merges = view::state_aggregate_of(aggref->aggfnoid) == view::StateAggregate::kMerge;
    describe_call(request, merges ? kMerge : kCombine, aggregate, aggref->inputcollid, call);
    return true;
}

/// Over no rows the aggregate is the one that the call names by a constant. Returns nullptr if it
/// does not: then there is nothing to say but NULL.
CombinedState *state_without_rows(FunctionCallInfo fcinfo, const CallShape &shape)
{
    List *const args = call_arguments(fcinfo);
    Oid const aggregate = args != NIL ? constant_aggregate(linitial(args)) : InvalidOid;
    return OidIsValid(aggregate) ? new_state(site_of(fcinfo, shape, aggregate)) : nullptr;
}

CombinedState *final_state(FunctionCallInfo fcinfo, const CallShape &shape)
{
    MemoryContext const context = aggregate_context(fcinfo);
    auto *state = PG_ARGISNULL(0) ? state_without_rows(fcinfo, shape)
                                  : reinterpret_cast<CombinedState *>(PG_GETARG_POINTER(0));
    if (state == nullptr)
        return nullptr;
    follow(state->site, fcinfo);
    return live_state(state, PG_GET_COLLATION(), context);
}

/// What the caller takes the result for.
void check_result_type(FunctionCallInfo fcinfo, Oid type)
{
    if (get_fn_expr_rettype(fcinfo->flinfo) != type)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("stored state is not one of type %s", format_type_be(type))));
}

Datum combined_result(FunctionCallInfo fcinfo)
{
    CombinedState *const state = final_state(fcinfo, kCombine);
    if (state == nullptr)
        PG_RETURN_NULL();
    bool isnull;
    StateSite *const site = state->site;
    check_result_type(fcinfo, site->result_type);
    Datum const result = call_final(site, state->value, PG_GET_COLLATION(), &isnull);
    if (isnull)
        PG_RETURN_NULL();
    // What has no final function is the state itself, which may be changed later.
    if (!OidIsValid(site->calls.form.finalfn))
        return datumCopy(result, site->result_by_value, site->result_length);
    return result;
}

Datum merged_state(FunctionCallInfo fcinfo)
{
    CombinedState *const state = final_state(fcinfo, kMerge);
    if (state == nullptr)
        PG_RETURN_NULL();
    NullableDatum const stored = stored_value(state);
    if (stored.isnull)
        PG_RETURN_NULL();
    view::StateCalls const &calls = state->site->calls;
    check_result_type(fcinfo, calls.form.column_type);
    return calls.is_serialized() ? stored.value
                                 : datumCopy(stored.value, calls.byval, calls.length);
}

} // namespace
} // namespace pipeline::reader

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_combine_state_step);
PG_FUNCTION_INFO_V1(pipeline_combine_state_final);
PG_FUNCTION_INFO_V1(pipeline_merge_states_step);
PG_FUNCTION_INFO_V1(pipeline_merge_states_final);
PG_FUNCTION_INFO_V1(pipeline_combine_state_combine);
PG_FUNCTION_INFO_V1(pipeline_combine_state_serialize);
PG_FUNCTION_INFO_V1(pipeline_combine_state_deserialize);
PG_FUNCTION_INFO_V1(pipeline_combine_placeholder);

Datum pipeline_combine_state_step(PG_FUNCTION_ARGS)
{
    return pipeline::reader::advance(fcinfo, pipeline::reader::kCombine);
}

Datum pipeline_combine_state_final(PG_FUNCTION_ARGS)
{
    return pipeline::reader::combined_result(fcinfo);
}

Datum pipeline_merge_states_step(PG_FUNCTION_ARGS)
{
    return pipeline::reader::advance(fcinfo, pipeline::reader::kMerge);
}

Datum pipeline_merge_states_final(PG_FUNCTION_ARGS)
{
    return pipeline::reader::merged_state(fcinfo);
}

Datum pipeline_combine_state_combine(PG_FUNCTION_ARGS)
{
    return pipeline::reader::combine(fcinfo);
}

Datum pipeline_combine_state_serialize(PG_FUNCTION_ARGS)
{
    using namespace pipeline::reader;
    (void) aggregate_context(fcinfo);
    auto *const state = reinterpret_cast<CombinedState *>(PG_GETARG_POINTER(0));
    follow(state->site, fcinfo);
    PG_RETURN_BYTEA_P(serialize_combined(state));
}

Datum pipeline_combine_state_deserialize(PG_FUNCTION_ARGS)
{
    using namespace pipeline::reader;
    (void) aggregate_context(fcinfo);
    StateRequest expected;
    bool const known = describe_expected(fcinfo, &expected);
    PG_RETURN_POINTER(
        deserialize_combined(fcinfo->flinfo, PG_GETARG_BYTEA_PP(0), known ? &expected : nullptr));
}

/// What combine() would run, had the planner not put combine_state() in its place.
Datum pipeline_combine_placeholder(PG_FUNCTION_ARGS)
{
    (void) fcinfo;
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("combine aggregates are only supported on continuous views")));
    PG_RETURN_NULL();
}
}
