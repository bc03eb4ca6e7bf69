// pipelinedb.finalize(aggregate, state, result [, inputs …]): what a reader applies to a stored
// transition state.
//
// Owns: the memory in which deserial and final functions run outside an Agg node. May call:
// reader/state_site. Invariants: the stored state is copied before a final function sees it; any
// user may call this with any arguments.
#include "pg/postgres.hpp"

#include "reader/state_site.hpp"

extern "C" {
#include "utils/datum.h"
}

namespace pipeline::reader {
namespace {

constexpr CallShape kFinalize{"finalize", 0, true};

List *arguments(const FmgrInfo *function)
{
    Node *const expr = function->fn_expr;
    return expr != nullptr && IsA(expr, FuncExpr) ? reinterpret_cast<FuncExpr *>(expr)->args : NIL;
}

StateSite *site_of(FunctionCallInfo fcinfo, Oid aggregate)
{
    auto *site = find_site(static_cast<StateSite *>(fcinfo->flinfo->fn_extra), aggregate);
    if (likely(site != nullptr))
        return site;
    StateRequest request;
    describe_call(&request, kFinalize, aggregate, PG_GET_COLLATION(),
                  arguments_of(fcinfo, kFinalize, arguments(fcinfo->flinfo)));
    site = make_site(fcinfo->flinfo, request);
    MemoryContext const caller = MemoryContextSwitchTo(GetMemoryChunkContext(site));
    site->agg->curaggcontext = CreateStandaloneExprContext();
    site->agg->tmpcontext = CreateStandaloneExprContext();
    site->agg->ss.ps.ps_ExprContext = CreateStandaloneExprContext();
    MemoryContextSwitchTo(caller);
    return site;
}

/// In the aggregate's memory context: a final function may write to its first argument.
NullableDatum transition_state(StateSite *site, NullableDatum stored)
{
    view::StateCalls &calls = site->calls;
    if (stored.isnull || !calls.is_serialized())
        return view::copy_state(calls, stored);
    stored.value = PointerGetDatum(view::unwrap_state(calls.form, stored.value));
    NullableDatum const state = view::deserialize_state(calls, site->agg, stored);
    if (state.isnull)
        elog(ERROR, "deserial function %u returned NULL", calls.form.deserialfn);
    return state;
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
    StateSite *const site = site_of(fcinfo, PG_GETARG_OID(0));
    MemoryContext const caller = CurrentMemoryContext;
    reset(site->agg); // what an ERROR in an earlier call may have left
    MemoryContextSwitchTo(site->agg->curaggcontext->ecxt_per_tuple_memory);
    NullableDatum const state = transition_state(site, fcinfo->args[1]);
    MemoryContextSwitchTo(site->agg->ss.ps.ps_ExprContext->ecxt_per_tuple_memory);
    bool isnull;
    Datum result = call_final(site, state, PG_GET_COLLATION(), &isnull);
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
