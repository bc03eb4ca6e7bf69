#include "view/creation_notices.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog.hpp"
#include "view/from_checks.hpp"
#include "view/union_streams.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
}

namespace pipeline::view {
namespace {

bool is_time_function(Oid function)
{
    switch (function) {
    case F_NOW:
    case F_TRANSACTION_TIMESTAMP:
    case F_STATEMENT_TIMESTAMP:
    case F_CLOCK_TIMESTAMP:
    case F_TIMEOFDAY:
    case F_AGE_TIMESTAMPTZ: // age(t) is CURRENT_DATE - t
    case F_AGE_TIMESTAMP:
        return true;
    default:
        return false;
    }
}

/// CURRENT_USER and its like are SQLValueFunctions, too.
bool is_time_value(const SQLValueFunction *value)
{
    return value->op <= SVFOP_LOCALTIMESTAMP_N;
}

extern "C" bool pipeline_asks_time_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    if (IsA(node, FuncExpr) && is_time_function(reinterpret_cast<FuncExpr *>(node)->funcid))
        return true;
    if (IsA(node, SQLValueFunction) && is_time_value(reinterpret_cast<SQLValueFunction *>(node)))
        return true;
    if (IsA(node, Query))
        return pg::walk_query(reinterpret_cast<Query *>(node), pipeline_asks_time_walker, context,
                              0);
    return pg::walk_expression(node, pipeline_asks_time_walker, context);
}

/// One level's FROM: which of its items rows of the stream have reached, and by what conditions.
struct Joins {
    Query *query;
    List *conditions; ///< OpExpr *, all must hold
    Bitmapset *reached;
};

void add_conditions(Joins *joins, Node *quals)
{
    for (auto *qual : pg::each<Node>(make_ands_implicit(reinterpret_cast<Expr *>(quals)))) {
        if (is_andclause(qual))
            add_conditions(joins, qual);
        else if (IsA(qual, OpExpr) && list_length(castNode(OpExpr, qual)->args) == 2)
            joins->conditions = lappend(joins->conditions, qual);
    }
}

void collect_from(Joins *joins, Node *item)
{
    check_stack_depth();
    if (IsA(item, JoinExpr)) {
        auto *join = reinterpret_cast<JoinExpr *>(item);
        collect_from(joins, join->larg);
        collect_from(joins, join->rarg);
        add_conditions(joins, join->quals);
        return;
    }
    int const index = castNode(RangeTblRef, item)->rtindex;
    RangeTblEntry *const entry = rt_fetch(index, joins->query->rtable);
    bool const has_stream = entry->rtekind == RTE_SUBQUERY
                                ? names_a_stream(entry->subquery)
                                : entry->rtekind == RTE_RELATION && is_stream(entry->relid);
    if (has_stream)
        joins->reached = bms_add_member(joins->reached, index);
    if (has_stream && entry->rtekind == RTE_SUBQUERY)
        notice_unindexed_joins(entry->subquery);
}

extern "C" bool pipeline_used_entries_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    if (IsA(node, Var)) {
        auto *var = reinterpret_cast<Var *>(node);
        auto **used = static_cast<Bitmapset **>(context);
        if (var->varlevelsup == 0)
            *used = bms_add_member(*used, static_cast<int>(var->varno));
        return false;
    }
    return pg::walk_expression(node, pipeline_used_entries_walker, context);
}

/// The column of a table that can have an index, if `node` is nothing else.
const Var *indexable_column(const Joins *joins, Node *node)
{
    while (IsA(node, RelabelType))
        node = reinterpret_cast<Node *>(reinterpret_cast<RelabelType *>(node)->arg);
    if (!IsA(node, Var))
        return nullptr;
    const auto *var = reinterpret_cast<Var *>(node);
    RangeTblEntry *const entry = rt_fetch(var->varno, joins->query->rtable);
    bool const can_have_index =
        var->varlevelsup == 0 && var->varattno > 0 && entry->rtekind == RTE_RELATION &&
        (entry->relkind == RELKIND_RELATION || entry->relkind == RELKIND_PARTITIONED_TABLE ||
         entry->relkind == RELKIND_MATVIEW);
    return can_have_index ? var : nullptr;
}

bool index_has_column(Oid index, AttrNumber attno)
{
    HeapTuple const tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for index %u", index);
    auto *form = reinterpret_cast<Form_pg_index>(GETSTRUCT(tuple));
    bool found = false;
    for (int i = 0; form->indisvalid && i < form->indnkeyatts; i++)
        found |= form->indkey.values[i] == attno;
    ReleaseSysCache(tuple);
    return found;
}

bool is_indexed(Oid relid, AttrNumber attno)
{
    return pg::with_relation(relid, AccessShareLock, [&](Relation rel) {
        for (Oid const index : pg::each_oid(RelationGetIndexList(rel)))
            if (index_has_column(index, attno))
                return true;
        return false;
    });
}

/// Columns of tables that were spoken of, as a list of "table.column".
bool first_time(List **said, const char *name)
{
    for (auto *other : pg::each<char>(*said))
        if (strcmp(other, name) == 0)
            return false;
    *said = lappend(*said, pstrdup(name));
    return true;
}

void notice_column(const Joins *joins, const Var *var, List **said)
{
    Oid const relid = rt_fetch(var->varno, joins->query->rtable)->relid;
    const char *const table = quote_identifier(get_rel_name(relid));
    const char *const column = quote_identifier(get_attname(relid, var->varattno, false));
    const char *const name = psprintf("%s.%s", table, column);
    if (!is_indexed(relid, var->varattno) && first_time(said, name))
        ereport(NOTICE, (errmsg("consider creating an index on %s for improved stream-table join "
                                "performance",
                                name)));
}

/// If the condition leads from what is reached to a column of another table: which one.
const Var *leads_to(const Joins *joins, Node *from, Node *to)
{
    const Var *const column = indexable_column(joins, to);
    if (column == nullptr || bms_is_member(static_cast<int>(column->varno), joins->reached))
        return nullptr;
    Bitmapset *used = nullptr;
    pipeline_used_entries_walker(from, &used);
    return !bms_is_empty(used) && bms_is_subset(used, joins->reached) ? column : nullptr;
}

/// Follows equalities from the stream to tables, and from those to others.
void follow_conditions(Joins *joins)
{
    List *said = NIL;
    for (;;) {
        Bitmapset *next = nullptr;
        for (auto *condition : pg::each<OpExpr>(joins->conditions)) {
            auto *left = static_cast<Node *>(linitial(condition->args));
            auto *right = static_cast<Node *>(lsecond(condition->args));
            if (!op_hashjoinable(condition->opno, exprType(left)) &&
                !op_mergejoinable(condition->opno, exprType(left)))
                continue;
            const Var *column = leads_to(joins, left, right);
            if (column == nullptr)
                column = leads_to(joins, right, left);
            if (column == nullptr)
                continue;
            notice_column(joins, column, &said);
            next = bms_add_member(next, static_cast<int>(column->varno));
        }
        if (bms_is_empty(next))
            return;
        joins->reached = bms_add_members(joins->reached, next);
    }
}

} // namespace

void notice_fold_time(Query *definition)
{
    if (pipeline_asks_time_walker(reinterpret_cast<Node *>(definition), nullptr))
        ereport(NOTICE,
                (errmsg("the query's current time is the time when a row is folded"),
                 errdetail("Functions such as now() and CURRENT_DATE in groups, conditions and "
                           "arguments of aggregates are evaluated by the fold worker, after the "
                           "row was committed."),
                 errhint("Use the stream's column arrival_timestamp for the time of writing, and "
                         "clock_timestamp() for a sliding window.")));
}

void notice_unindexed_joins(Query *query)
{
    if (query->setOperations != nullptr)
        for (auto *branch : pg::each<RangeTblEntry>(union_branches(query)))
            notice_unindexed_joins(branch->subquery);
    Joins joins{query, NIL, nullptr};
    for (auto *item : pg::each<Node>(query->jointree->fromlist))
        collect_from(&joins, item);
    add_conditions(&joins, query->jointree->quals);
    // Columns of joins stand for those below them.
    joins.conditions = reinterpret_cast<List *>(
        pg::flatten_join_columns(query, reinterpret_cast<Node *>(joins.conditions)));
    follow_conditions(&joins);
}

} // namespace pipeline::view
