#include "view/query_checks.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/catalog.hpp"
#include "view/state_form.hpp"

extern "C" {
#include "access/stratnum.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_rewrite.h"
#include "commands/defrem.h"
#include "nodes/bitmapset.h"
#include "optimizer/tlist.h"
#include "rewrite/rewriteSupport.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/regproc.h"
}

namespace pipeline::view {
namespace {

[[noreturn]] void refuse(const char *what, const char *hint)
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("continuous views do not support %s", what), errhint("%s", hint)));
    pg_unreachable();
}

constexpr char kWhenReading[] = "Do that in the query that reads the view.";
constexpr char kOneView[] =
    "Create one continuous view per stream and combine the views in the query that reads them.";

extern "C" bool pipeline_names_a_stream_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    if (IsA(node, RangeTblEntry)) {
        auto *entry = reinterpret_cast<RangeTblEntry *>(node);
        return entry->rtekind == RTE_RELATION && is_stream(entry->relid);
    }
    if (IsA(node, Query))
        return pg::walk_query(reinterpret_cast<Query *>(node), pipeline_names_a_stream_walker,
                              context, QTW_EXAMINE_RTES_BEFORE);
    return pg::walk_expression(node, pipeline_names_a_stream_walker, context);
}

void check_clauses(Query *query)
{
    if (query->setOperations != nullptr)
        refuse("UNION, INTERSECT and EXCEPT", kOneView);
    if (query->cteList != NIL)
        refuse("WITH queries", "Write the query over the stream itself.");
    if (query->rowMarks != NIL)
        refuse("FOR UPDATE and FOR SHARE", "A stream has no rows that could be locked.");
    if (query->hasSubLinks)
        refuse("subqueries in expressions", kWhenReading);
    if (query->hasWindowFuncs || query->windowClause != NIL)
        refuse("window functions", kWhenReading);
    if (query->hasTargetSRFs)
        refuse("set-returning functions in the select list", kWhenReading);
    if (query->distinctClause != NIL)
        refuse(query->hasDistinctOn ? "DISTINCT ON" : "DISTINCT",
               "List the columns in GROUP BY instead.");
    if (query->groupingSets != NIL || query->groupDistinct)
        refuse("GROUPING SETS, CUBE and ROLLUP", "Create one continuous view per grouping.");
    if (query->havingQual != nullptr)
        refuse("HAVING", "Use WHERE in the query that reads the view.");
    if (query->sortClause != NIL)
        refuse("ORDER BY", kWhenReading);
    if (query->limitCount != nullptr || query->limitOffset != nullptr)
        refuse("LIMIT and OFFSET", kWhenReading);
}

RangeTblEntry *check_from(Query *query)
{
    List *const from = query->jointree->fromlist;
    if (list_length(from) > 1 || (from != NIL && IsA(linitial(from), JoinExpr)))
        refuse("joins", kOneView);
    RangeTblEntry *const entry = single_from_entry(query);
    if (entry == nullptr)
        refuse("queries without FROM", "Name a stream in FROM.");
    if (entry->rtekind == RTE_SUBQUERY)
        refuse("subqueries in FROM", "Write the query over the stream itself.");
    if (entry->rtekind != RTE_RELATION || !is_stream(entry->relid))
        refuse("FROM items other than a stream", "Name one stream in FROM.");
    if (entry->tablesample != nullptr)
        refuse("TABLESAMPLE", "Use a condition such as random() < 0.1 in WHERE.");
    return entry;
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

extern "C" bool pipeline_check_expression_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    switch (nodeTag(node)) {
    case T_Var: {
        AttrNumber const attno = reinterpret_cast<Var *>(node)->varattno;
        if (attno == 0)
            refuse("whole-row references to a stream", "Name the columns.");
        if (attno < 0)
            refuse("system columns of a stream", "Name the stream's own columns.");
        break;
    }
    case T_Param:
        refuse("parameters", "Write the value into the query.");
    case T_GroupingFunc:
        refuse("GROUPING", "Create one continuous view per grouping.");
    case T_Aggref:
        check_aggregate(reinterpret_cast<Aggref *>(node));
        break;
    default:
        break;
    }
    return pg::walk_expression(node, pipeline_check_expression_walker, context);
}

/// A group is found by hash in the fold worker and kept unique by a btree in the matrel.
void check_keys(Query *query)
{
    for (auto *clause : pg::each<SortGroupClause>(query->groupClause)) {
        TargetEntry *const key = get_sortgroupclause_tle(clause, query->targetList);
        Oid const type = exprType(reinterpret_cast<Node *>(key->expr));
        if (!clause->hashable || !OidIsValid(GetDefaultOpClass(type, BTREE_AM_OID)))
            ereport(ERROR,
                    (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                     errmsg("continuous views cannot group by type %s", format_type_be(type)),
                     errdetail("The type needs a hash function and a default btree operator "
                               "class."),
                     errhint("Cast the expression to a type that has both, such as text.")));
    }
}

extern "C" bool pipeline_used_columns_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    if (IsA(node, Var)) {
        auto *used = static_cast<Bitmapset **>(context);
        *used = bms_add_member(*used, reinterpret_cast<Var *>(node)->varattno);
        return false;
    }
    return pg::walk_expression(node, pipeline_used_columns_walker, context);
}

[[noreturn]] void deny(Oid stream)
{
    aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FOREIGN_TABLE, get_rel_name(stream));
    pg_unreachable();
}

} // namespace

RangeTblEntry *single_from_entry(Query *query)
{
    List *const from = query->jointree->fromlist;
    if (list_length(from) != 1 || !IsA(linitial(from), RangeTblRef))
        return nullptr;
    int const index = static_cast<RangeTblRef *>(linitial(from))->rtindex;
    return static_cast<RangeTblEntry *>(list_nth(query->rtable, index - 1));
}

bool names_a_stream(Query *query)
{
    return pipeline_names_a_stream_walker(reinterpret_cast<Node *>(query), nullptr);
}

Oid check_query(Query *query)
{
    check_clauses(query);
    RangeTblEntry *const entry = check_from(query);
    if (!query->hasAggs && query->groupClause == NIL)
        refuse("queries without aggregates and GROUP BY",
               "Rows of a stream are not kept; add GROUP BY or an aggregate.");
    pipeline_check_expression_walker(reinterpret_cast<Node *>(query->targetList), nullptr);
    pipeline_check_expression_walker(query->jointree->quals, nullptr);
    check_keys(query);
    return entry->relid;
}

void check_stream_permissions(Query *query, Oid stream)
{
    Oid const user = GetUserId();
    if (pg_class_aclcheck(stream, user, ACL_SELECT) == ACLCHECK_OK)
        return;
    Bitmapset *used = nullptr;
    pipeline_used_columns_walker(reinterpret_cast<Node *>(query->targetList), &used);
    pipeline_used_columns_walker(query->jointree->quals, &used);
    // As ExecCheckRTEPerms: without a named column, the right to any of them is enough.
    if (bms_is_empty(used) &&
        pg_attribute_aclcheck_all(stream, user, ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK)
        deny(stream);
    for (int attno = bms_next_member(used, -1); attno >= 0; attno = bms_next_member(used, attno))
        if (pg_attribute_aclcheck(stream, AttrNumber(attno), user, ACL_SELECT) != ACLCHECK_OK)
            deny(stream);
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
