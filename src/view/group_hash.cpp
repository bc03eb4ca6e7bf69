#include "view/group_hash.hpp"

extern "C" {
#include "catalog/pg_proc.h"
#include "common/hashfn.h"
#include "utils/fmgrprotos.h"
#include "utils/typcache.h"
}

namespace pipeline::view {
namespace {

/// The type cache has a hash function only where it fits the equality operator that GROUP BY
/// uses, also for the elements of arrays and ranges and the fields of records
/// (typcache.c:lookup_type_cache, parse_oper.c:get_sort_group_operators).
Oid hash_function_of(Oid type)
{
    return lookup_type_cache(type, TYPECACHE_HASH_PROC)->hash_proc;
}

void look_up(ColumnHash *column, MemoryContext context)
{
    Oid const function = hash_function_of(column->type);
    if (!OidIsValid(function))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
                        errmsg("could not identify a hash function for type %s",
                               format_type_be(column->type)),
                        errhint("Cast the value to a type that has one, such as text.")));
    fmgr_info_cxt(function, &column->function, context);
}

struct CallState {
    int count;
    ColumnHash columns[FLEXIBLE_ARRAY_MEMBER];
};

/// An index expression's arguments are columns, whose collation is their own: the function's
/// input collation is undefined where they differ (parse_collate.c).
CallState *describe_arguments(FunctionCallInfo fcinfo)
{
    FmgrInfo *const function = fcinfo->flinfo;
    if (function->fn_expr == nullptr || !IsA(function->fn_expr, FuncExpr) ||
        get_fn_expr_variadic(function))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("hash_group cannot be called in this way"),
                        errhint("List the values: pipelinedb.hash_group(a, b).")));
    List *const args = reinterpret_cast<FuncExpr *>(function->fn_expr)->args;
    auto *state = static_cast<CallState *>(MemoryContextAllocZero(
        function->fn_mcxt,
        offsetof(CallState, columns) + sizeof(ColumnHash) * static_cast<Size>(list_length(args))));
    state->count = list_length(args);
    for (int i = 0; i < state->count; i++) {
        auto *arg = static_cast<Node *>(list_nth(args, i));
        state->columns[i].type = exprType(arg);
        state->columns[i].collation = exprCollation(arg);
    }
    function->fn_extra = state;
    return state;
}

} // namespace

bool is_hashable(Oid type)
{
    return OidIsValid(hash_function_of(type));
}

int32 hash_group(ColumnHash *columns, const NullableDatum *values, int count, MemoryContext context)
{
    uint32 hash = 0;
    for (int i = 0; i < count; i++) {
        uint32 value = 0;
        if (!values[i].isnull) {
            if (!OidIsValid(columns[i].function.fn_oid))
                look_up(&columns[i], context);
            value = DatumGetUInt32(
                FunctionCall1Coll(&columns[i].function, columns[i].collation, values[i].value));
        }
        hash = hash_combine(hash, value);
    }
    return static_cast<int32>(hash);
}

Oid hash_group_function()
{
    Oid const types[] = {ANYOID};
    oidvector *const vector = buildoidvector(types, 1);
    Oid const schema = get_namespace_oid("pipelinedb", false);
    Oid const function =
        GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, PointerGetDatum("hash_group"),
                        PointerGetDatum(vector), ObjectIdGetDatum(schema));
    if (!OidIsValid(function))
        elog(ERROR, "function pipelinedb.hash_group is missing");
    return function;
}

} // namespace pipeline::view

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_hash_group);

Datum pipeline_hash_group(PG_FUNCTION_ARGS)
{
    auto *state = static_cast<pipeline::view::CallState *>(fcinfo->flinfo->fn_extra);
    if (state == nullptr)
        state = pipeline::view::describe_arguments(fcinfo);
    PG_RETURN_INT32(pipeline::view::hash_group(state->columns, fcinfo->args, state->count,
                                               fcinfo->flinfo->fn_mcxt));
}
}
