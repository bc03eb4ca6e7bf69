#include "view/query_checks.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/from_checks.hpp"
#include "view/grouping.hpp"
#include "view/key_index.hpp"
#include "view/state_form.hpp"

extern "C" {
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_rewrite.h"
#include "optimizer/tlist.h"
#include "rewrite/rewriteSupport.h"
#include "utils/fmgroids.h"
#include "utils/regproc.h"
}

namespace pipeline::view {
namespace {

constexpr char kWhenReading[] = "Do that in the query that reads the view.";

void check_clauses(Query *query)
{
    if (query->cteList != NIL)
        refuse("WITH queries", "Write the query over the stream itself.");
    if (query->rowMarks != NIL)
        refuse("FOR UPDATE and FOR SHARE", "A stream has no rows that could be locked.");
    if (query->hasWindowFuncs || query->windowClause != NIL)
        refuse("window functions", kWhenReading);
    if (query->hasTargetSRFs)
        refuse("set-returning functions in the select list", kWhenReading);
    if (query->havingQual != nullptr && !query->hasAggs && query->groupClause == NIL &&
        query->groupingSets == NIL)
        refuse("HAVING without GROUP BY or aggregates", "Use WHERE.");
}

void check_aggregate(Aggref *aggref)
{
    StateForm const form = state_form_of(aggref); // raises the error
    if (!pg::state_outlives_dump(aggref, form.deserialfn))
        refuse(psprintf("array_agg of type %s", format_type_be(linitial_oid(aggref->aggargtypes))),
               "Cast the argument to a built-in type such as text.");
    if (aggref->aggdistinct != NIL)
        refuse(
            "DISTINCT in aggregates",
            "List the column in GROUP BY and count its groups in the query that reads the view.");
    if (aggref->aggorder != NIL)
        refuse("ORDER BY in aggregates", kWhenReading);
}

/// `context` points to the number of subqueries around the node; what belongs to them is the
/// server's alone.
extern "C" bool pipeline_check_expression_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    auto const depth = *static_cast<Index *>(context);
    switch (nodeTag(node)) {
    case T_Param:
        if (reinterpret_cast<Param *>(node)->paramkind != PARAM_SUBLINK)
            refuse("parameters", "Write the value into the query.");
        break;
    case T_Aggref:
        if (reinterpret_cast<Aggref *>(node)->agglevelsup == depth)
            check_aggregate(reinterpret_cast<Aggref *>(node));
        break;
    case T_Query: {
        Index inner = depth + 1;
        return pg::walk_query(reinterpret_cast<Query *>(node), pipeline_check_expression_walker,
                              &inner, 0);
    }
    default:
        break;
    }
    return pg::walk_expression(node, pipeline_check_expression_walker, context);
}

void check_keys(Query *query)
{
    check_grouping(query);
    const List *const keys = is_first_row_query(query) ? query->distinctClause : query->groupClause;
    for (auto *clause : pg::each<SortGroupClause>(keys))
        check_key_type(get_sortgroupclause_expr(clause, query->targetList));
}

} // namespace

void refuse(const char *what, const char *hint)
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("continuous views do not support %s", what), errhint("%s", hint)));
    pg_unreachable();
}

RangeTblEntry *single_from_entry(Query *query)
{
    List *const from = query->jointree->fromlist;
    if (list_length(from) != 1 || !IsA(linitial(from), RangeTblRef))
        return nullptr;
    int const index = static_cast<RangeTblRef *>(linitial(from))->rtindex;
    return static_cast<RangeTblEntry *>(list_nth(query->rtable, index - 1));
}

List *check_query(Query *query)
{
    check_clauses(query);
    List *const streams = check_from(query);
    check_expressions(query);
    check_keys(query);
    return streams;
}

void check_expressions(Query *query)
{
    Index depth = 0;
    pipeline_check_expression_walker(reinterpret_cast<Node *>(query->targetList), &depth);
    pipeline_check_expression_walker(reinterpret_cast<Node *>(query->jointree), &depth);
    pipeline_check_expression_walker(query->havingQual, &depth);
    pipeline_check_expression_walker(query->limitCount, &depth);
    pipeline_check_expression_walker(query->limitOffset, &depth);
}

void check_no_temporary_objects(Oid view)
{
    Oid const rule = get_rewrite_oid(view, ViewSelectRuleName, false);
    Relation depend = table_open(DependRelationId, AccessShareLock);
    ScanKeyData keys[2];
    ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(RewriteRelationId));
    ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(rule));
    SysScanDesc scan = systable_beginscan(depend, DependDependerIndexId, true, nullptr, 2, keys);
    HeapTuple tuple;
    while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
        auto *row = reinterpret_cast<Form_pg_depend>(GETSTRUCT(tuple));
        ObjectAddress object;
        ObjectAddressSet(object, row->refclassid, row->refobjid);
        bool const has_schema = row->refclassid != NamespaceRelationId &&
                                is_objectclass_supported(row->refclassid) &&
                                get_object_attnum_namespace(row->refclassid) != InvalidAttrNumber;
        Oid const schema = has_schema ? get_object_namespace(&object) : InvalidOid;
        if (OidIsValid(schema) && isAnyTempNamespace(schema))
            ereport(ERROR,
                    (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                     errmsg("continuous views cannot use temporary objects"),
                     errdetail("The query depends on %s.", getObjectDescription(&object, false)),
                     errhint("The query runs in another session; use permanent objects.")));
    }
    systable_endscan(scan);
    table_close(depend, AccessShareLock);
}

} // namespace pipeline::view
