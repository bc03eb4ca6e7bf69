#include "view/aggregate_rights.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "catalog/pg_proc.h"
#include "utils/acl.h"
}

namespace pipeline::view {

void check_may_execute(Oid function, Oid role, ObjectType kind)
{
    if (!pg::may_execute(function, role))
        aclcheck_error(ACLCHECK_NO_PRIV, kind, get_func_name(function));
}

void check_component_functions(Oid aggregate, const Oid *functions, int count)
{
    HeapTuple const tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(aggregate));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for function %u", aggregate);
    Oid const owner = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple))->proowner;
    ReleaseSysCache(tuple);
    for (int i = 0; i < count; i++)
        if (OidIsValid(functions[i]))
            check_may_execute(functions[i], owner, OBJECT_FUNCTION);
}

} // namespace pipeline::view
