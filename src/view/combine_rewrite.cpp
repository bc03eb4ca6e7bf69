#include "view/combine_rewrite.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/catalog.hpp"
#include "view/stored_state.hpp"

extern "C" {
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/plannodes.h"
#include "optimizer/clauses.h"
#include "optimizer/planner.h"
#include "utils/regproc.h"
}

namespace pipeline::view {
namespace {

constinit planner_hook_type previous_hook = nullptr;

struct Rewrite {
    List *levels;      ///< of Query *, innermost first
    int in_expression; ///< how many of them are queries in expressions
    FollowedViews followed;
    bool parallel_safe;
    PlannerGlobal *global; ///< what functions that were inlined depend on
};

[[noreturn]] void refuse_clauses(const char *clause)
{
    ereport(ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("combine does not support %s", clause),
             errdetail("It combines states, whose rows are not known any more.")));
    pg_unreachable();
}

void replace_placeholder(Aggref *aggref, Rewrite *rewrite)
{
    if (aggref->aggdistinct != NIL)
        refuse_clauses("DISTINCT");
    if (aggref->aggorder != NIL)
        refuse_clauses("ORDER BY");
    auto *const arg = reinterpret_cast<Node *>(linitial_node(TargetEntry, aggref->args)->expr);
    CombineArguments const arguments = find_stored_state(rewrite->levels, arg, &rewrite->followed);
    if (arguments.type != aggref->aggtype)
        elog(ERROR, "combine of type %u stands for type %u", aggref->aggtype, arguments.type);
    Aggref *const call = combine_aggregate(arguments);
    call->aggcollid = aggref->aggcollid; // expressions above were made for it
    call->aggfilter = aggref->aggfilter;
    call->agglevelsup = aggref->agglevelsup;
    call->location = aggref->location;
    *aggref = *call;
}

/// combine_state() is parallel safe if the aggregate is whose functions it calls.
void note_safety(const Aggref *aggref, Rewrite *rewrite)
{
    auto *const named = reinterpret_cast<Const *>(linitial_node(TargetEntry, aggref->args)->expr);
    if (!IsA(named, Const) || named->constisnull)
        return;
    Oid const aggregate = DatumGetObjectId(named->constvalue);
    if (SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(aggregate)) &&
        func_parallel(aggregate) != PROPARALLEL_SAFE)
        rewrite->parallel_safe = false;
}

void rewrite_aggregate(Aggref *aggref, Rewrite *rewrite)
{
    StateAggregate const kind = state_aggregate_of(aggref->aggfnoid);
    if (kind == StateAggregate::kPlaceholder)
        replace_placeholder(aggref, rewrite);
    if (kind != StateAggregate::kNone)
        note_safety(aggref, rewrite);
}

void rewrite_query(Query *query, Rewrite *rewrite, bool in_expression);

extern "C" bool pipeline_combine_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    auto *const rewrite = static_cast<Rewrite *>(context);
    if (IsA(node, Query)) {
        rewrite_query(reinterpret_cast<Query *>(node), rewrite, true);
        return false;
    }
    if (IsA(node, Aggref))
        rewrite_aggregate(reinterpret_cast<Aggref *>(node), rewrite);
    if (IsA(node, WindowFunc) &&
        state_aggregate_of(reinterpret_cast<WindowFunc *>(node)->winfnoid) ==
            StateAggregate::kPlaceholder)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("combine does not support use as a window function"),
                        errhint("Combine in a subquery, and use an ordinary window function "
                                "over it.")));
    return pg::walk_expression(node, pipeline_combine_walker, context);
}

bool is_sql_function(const RangeTblEntry *entry)
{
    if (entry->rtekind != RTE_FUNCTION || list_length(entry->functions) != 1)
        return false;
    auto *const call =
        reinterpret_cast<FuncExpr *>(linitial_node(RangeTblFunction, entry->functions)->funcexpr);
    if (!IsA(call, FuncExpr) || !call->funcretset)
        return false;
    HeapTuple const tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
    if (!HeapTupleIsValid(tuple))
        return false;
    Oid const language = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple))->prolang;
    ReleaseSysCache(tuple);
    return language == SQLlanguageId;
}

/// The planner puts the query of such a function in its place (prepjointree.c:
/// preprocess_function_rtes), when no hook would see what is in it any more. So it is done now.
void inline_function(Query *query, RangeTblEntry *entry, Rewrite *rewrite)
{
    PlannerInfo *const root = makeNode(PlannerInfo);
    if (rewrite->global == nullptr)
        rewrite->global = makeNode(PlannerGlobal);
    root->glob = rewrite->global;
    root->parse = query;
    root->query_level = 1;
    root->planner_cxt = CurrentMemoryContext;
    Query *const body = inline_set_returning_function(root, entry);
    if (body == nullptr)
        return;
    entry->rtekind = RTE_SUBQUERY;
    entry->subquery = body;
    entry->security_barrier = false;
    entry->funcordinality = false;
}

/// What is below comes first, so that a level above finds states there.
void rewrite_query(Query *query, Rewrite *rewrite, bool in_expression)
{
    check_stack_depth();
    if (query->commandType == CMD_UTILITY)
        return;
    rewrite->levels = lcons(query, rewrite->levels);
    rewrite->in_expression += in_expression;
    for (auto *with : pg::each<CommonTableExpr>(query->cteList))
        if (IsA(with->ctequery, Query))
            rewrite_query(reinterpret_cast<Query *>(with->ctequery), rewrite, false);
    for (auto *entry : pg::each<RangeTblEntry>(query->rtable)) {
        if (is_sql_function(entry))
            inline_function(query, entry, rewrite);
        if (entry->rtekind == RTE_SUBQUERY)
            rewrite_query(entry->subquery, rewrite, false);
    }
    // An aggregate of a level around may be in any query of an expression.
    if (query->hasAggs || query->hasWindowFuncs || query->hasSubLinks || rewrite->in_expression > 0)
        (void) pg::walk_query(query, pipeline_combine_walker, rewrite,
                              QTW_IGNORE_RT_SUBQUERIES | QTW_IGNORE_CTE_SUBQUERIES |
                                  QTW_IGNORE_JOINALIASES);
    rewrite->in_expression -= in_expression;
    rewrite->levels = list_delete_first(rewrite->levels);
}

PlannedStmt *plan(Query *query, const char *query_string, int options, ParamListInfo params)
{
    return previous_hook != nullptr ? previous_hook(query, query_string, options, params)
                                    : standard_planner(query, query_string, options, params);
}

extern "C" PlannedStmt *pipeline_plan(Query *query, const char *query_string, int options,
                                      ParamListInfo params)
{
    if (!extension_installed())
        return plan(query, query_string, options, params);
    Rewrite rewrite{};
    rewrite.parallel_safe = true;
    rewrite_query(query, &rewrite, false);
    if (!rewrite.parallel_safe)
        options &= ~CURSOR_OPT_PARALLEL_OK;
    PlannedStmt *const planned = plan(query, query_string, options, params);
    // A cached plan is made anew when one of them changes.
    planned->relationOids = list_concat(planned->relationOids, rewrite.followed.definitions);
    if (rewrite.global != nullptr)
        planned->invalItems = list_concat(planned->invalItems, rewrite.global->invalItems);
    return planned;
}

} // namespace

void install_combine()
{
    previous_hook = planner_hook;
    planner_hook = pipeline_plan;
}

} // namespace pipeline::view
