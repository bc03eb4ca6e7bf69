// Operator classes pipelinedb.*_key_ops: GIN over the hash of a key, for WHERE key = value.
//
// Owns: the support functions. May call: view/group_hash. Invariants: an entry is the hash that
// hash_group() gives for the value alone, so equal values have one entry; matches are rechecked.
#include "pg/postgres.hpp"

#include "view/group_hash.hpp"

extern "C" {
#include "access/gin.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
}

namespace pipeline::reader {
namespace {

/// Index support functions have no expression that could tell the type (index_getprocinfo): it
/// is the first argument of the function that the operator class names.
Oid key_type(FmgrInfo *function, Datum value)
{
    Oid *types;
    int count;
    (void) get_func_signature(function->fn_oid, &types, &count);
    if (types[0] != ANYARRAYOID)
        return types[0];
    return get_array_type(ARR_ELEMTYPE(DatumGetArrayTypeP(value)));
}

Datum *entry_of(FunctionCallInfo fcinfo, int32 *nentries)
{
    auto *column = static_cast<view::ColumnHash *>(fcinfo->flinfo->fn_extra);
    if (column == nullptr) {
        Oid const type = key_type(fcinfo->flinfo, PG_GETARG_DATUM(0));
        column = static_cast<view::ColumnHash *>(
            MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(view::ColumnHash)));
        column->type = type;
        column->collation = PG_GET_COLLATION();
        fcinfo->flinfo->fn_extra = column;
    }
    auto *entry = static_cast<Datum *>(palloc(sizeof(Datum)));
    NullableDatum const value{PG_GETARG_DATUM(0), false};
    *entry = Int32GetDatum(view::hash_group(column, &value, 1, fcinfo->flinfo->fn_mcxt));
    *nentries = 1;
    return entry;
}

} // namespace
} // namespace pipeline::reader

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_key_extract_value);
PG_FUNCTION_INFO_V1(pipeline_key_extract_query);
PG_FUNCTION_INFO_V1(pipeline_key_consistent);

Datum pipeline_key_extract_value(PG_FUNCTION_ARGS)
{
    auto *nentries = reinterpret_cast<int32 *>(PG_GETARG_POINTER(1));
    PG_RETURN_POINTER(pipeline::reader::entry_of(fcinfo, nentries));
}

Datum pipeline_key_extract_query(PG_FUNCTION_ARGS)
{
    auto *nentries = reinterpret_cast<int32 *>(PG_GETARG_POINTER(1));
    PG_RETURN_POINTER(pipeline::reader::entry_of(fcinfo, nentries));
}

Datum pipeline_key_consistent(PG_FUNCTION_ARGS)
{
    const auto *check = reinterpret_cast<const bool *>(PG_GETARG_POINTER(0));
    auto *recheck = reinterpret_cast<bool *>(PG_GETARG_POINTER(5));
    *recheck = true;
    PG_RETURN_BOOL(check[0]);
}
}
