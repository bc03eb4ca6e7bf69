#include "view/from_checks.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/catalog.hpp"
#include "view/query_checks.hpp"
#include "view/union_streams.hpp"

extern "C" {
#include "catalog/pg_inherits.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
}

namespace pipeline::view {
namespace {

constexpr char kOneView[] =
    "Create one continuous view per stream and combine the views in the query that reads them.";
constexpr char kOuterSide[] =
    "Put the stream on the left of LEFT JOIN or on the right of RIGHT JOIN.";
constexpr char kNoLocks[] = "A continuous view locks no rows.";

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

/// A query and those around it, for Vars of an outer level.
struct Levels {
    const Levels *outer;
    Query *query;
};

void check_stream_var(const Var *var, const Levels *levels)
{
    if (var->varattno > 0)
        return;
    for (Index up = var->varlevelsup; up > 0 && levels != nullptr; up--)
        levels = levels->outer;
    if (levels == nullptr)
        return;
    RangeTblEntry *const entry = rt_fetch(var->varno, levels->query->rtable);
    if (entry->rtekind != RTE_RELATION || !is_stream(entry->relid))
        return;
    if (var->varattno == 0)
        refuse("whole-row references to a stream", "Name the columns.");
    refuse("system columns of a stream", "Name the stream's own columns.");
}

/// What holds on every level.
extern "C" bool pipeline_check_levels_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    const auto *levels = static_cast<const Levels *>(context);
    if (IsA(node, Var)) {
        check_stream_var(reinterpret_cast<Var *>(node), levels);
        return false;
    }
    if (IsA(node, SubLink) &&
        names_a_stream(castNode(Query, reinterpret_cast<SubLink *>(node)->subselect)))
        refuse("a stream in a subquery of an expression",
               "Name the stream in FROM; such a subquery can read tables and views.");
    if (IsA(node, Query)) {
        auto *query = reinterpret_cast<Query *>(node);
        if (levels != nullptr && query->rowMarks != NIL)
            refuse("FOR UPDATE and FOR SHARE", kNoLocks);
        Levels inner{levels, query};
        return pg::walk_query(query, pipeline_check_levels_walker, &inner, 0);
    }
    return pg::walk_expression(node, pipeline_check_levels_walker, context);
}

/// A subquery is folded with the batch at hand only: whatever looks at all rows of the stream
/// would see a part of them.
void check_stream_subquery(const Query *query, const char *place, const char *hint)
{
    const char *const what = query->cteList != NIL ? "WITH queries"
                             : query->hasAggs      ? "aggregates"
                             : query->groupClause != NIL || query->groupingSets != NIL ? "GROUP BY"
                             : query->havingQual != nullptr                            ? "HAVING"
                             : query->hasWindowFuncs        ? "window functions"
                             : query->distinctClause != NIL ? "DISTINCT"
                             : query->sortClause != NIL     ? "ORDER BY"
                             : query->limitCount != nullptr || query->limitOffset != nullptr
                                 ? "LIMIT and OFFSET"
                             : query->hasTargetSRFs ? "set-returning functions in the select list"
                                                    : nullptr;
    if (what != nullptr)
        refuse(psprintf("%s in %s", what, place), hint);
}

List *streams_of_item(Query *query, Node *item);

List *streams_of_list(Query *query, List *items)
{
    List *found = NIL;
    for (auto *item : pg::each<Node>(items)) {
        List *const streams = streams_of_item(query, item);
        if (found != NIL && streams != NIL)
            refuse("joins of two streams", kOneView);
        if (streams != NIL)
            found = streams;
    }
    return found;
}

List *streams_of_entry(RangeTblEntry *entry)
{
    if (entry->rtekind == RTE_SUBQUERY && names_a_stream(entry->subquery)) {
        check_stream_subquery(
            entry->subquery, "a subquery over a stream",
            "Do that in the outermost query, or in the query that reads the view.");
        return streams_of(entry->subquery);
    }
    if (entry->rtekind != RTE_RELATION || !is_stream(entry->relid))
        return NIL;
    if (entry->tablesample != nullptr)
        refuse("TABLESAMPLE", "Use a condition such as random() < 0.1 in WHERE.");
    return list_make1_oid(entry->relid);
}

List *streams_of_branch(RangeTblEntry *branch)
{
    if (!names_a_stream(branch->subquery))
        refuse("a branch of UNION ALL that reads no stream",
               "Its rows have no time at which they come. Add them in the query that reads the "
               "view.");
    check_stream_subquery(
        branch->subquery, "a branch of UNION ALL",
        "Do that over the union: SELECT ... FROM (SELECT ... UNION ALL SELECT ...) "
        "AS u.");
    return streams_of(branch->subquery);
}

List *streams_of_union(Query *query)
{
    List *streams = NIL;
    for (auto *branch : pg::each<RangeTblEntry>(union_branches(query)))
        streams = list_concat_unique_oid(streams, streams_of_branch(branch));
    return streams;
}

/// A row of the other side that finds no row in this batch may find one in the next.
void check_join_side(const JoinExpr *join, bool stream_is_left)
{
    if (join->jointype == JOIN_FULL)
        refuse("FULL JOIN with a stream", kOuterSide);
    if ((join->jointype == JOIN_LEFT && !stream_is_left) ||
        (join->jointype == JOIN_RIGHT && stream_is_left))
        refuse("a stream on the nullable side of an outer join", kOuterSide);
}

List *streams_of_item(Query *query, Node *item)
{
    check_stack_depth();
    if (IsA(item, RangeTblRef))
        return streams_of_entry(
            rt_fetch(reinterpret_cast<RangeTblRef *>(item)->rtindex, query->rtable));
    if (!IsA(item, JoinExpr))
        elog(ERROR, "unrecognized FROM item %d", static_cast<int>(nodeTag(item)));
    auto *join = reinterpret_cast<JoinExpr *>(item);
    List *const left = streams_of_item(query, join->larg);
    List *const right = streams_of_item(query, join->rarg);
    if (left != NIL && right != NIL)
        refuse("joins of two streams", kOneView);
    if (left != NIL || right != NIL)
        check_join_side(join, left != NIL);
    return left != NIL ? left : right;
}

bool has_stream_child(Oid relid)
{
    if (!has_subclass(relid))
        return false;
    for (Oid const child : pg::each_oid(find_all_inheritors(relid, NoLock, nullptr)))
        if (is_stream(child))
            return true;
    return false;
}

/// One level of the rewritten query. `nstreams`: how often streams may still be named.
void check_expanded_level(Query *query, int *nstreams)
{
    if (query->rowMarks != NIL)
        refuse("views with FOR UPDATE or FOR SHARE", kNoLocks);
    for (auto *entry : pg::each<RangeTblEntry>(query->rtable)) {
        if (entry->rtekind != RTE_RELATION)
            continue;
        if (is_stream(entry->relid) && --*nstreams < 0)
            refuse("joins with a view that reads a stream", kOneView);
        if (entry->inh && has_stream_child(entry->relid))
            refuse("joins with a table that has a stream as a partition",
                   "Name the other partitions in FROM.");
    }
    pg::check_permissions(query);
}

extern "C" bool pipeline_count_streams_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    if (IsA(node, RangeTblEntry)) {
        auto *entry = reinterpret_cast<RangeTblEntry *>(node);
        *static_cast<int *>(context) += entry->rtekind == RTE_RELATION && is_stream(entry->relid);
        return false;
    }
    if (IsA(node, Query))
        return pg::walk_query(reinterpret_cast<Query *>(node), pipeline_count_streams_walker,
                              context, QTW_EXAMINE_RTES_BEFORE);
    return pg::walk_expression(node, pipeline_count_streams_walker, context);
}

extern "C" bool pipeline_check_expanded_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    if (!IsA(node, Query))
        return pg::walk_expression(node, pipeline_check_expanded_walker, context);
    auto *query = reinterpret_cast<Query *>(node);
    check_expanded_level(query, static_cast<int *>(context));
    return pg::walk_query(query, pipeline_check_expanded_walker, context, 0);
}

} // namespace

bool names_a_stream(Query *query)
{
    return pipeline_names_a_stream_walker(reinterpret_cast<Node *>(query), nullptr);
}

List *check_from(Query *query)
{
    // DefineView would make a temporary view of it (view.c).
    if (isQueryUsingTempRelation(query))
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("continuous views cannot use temporary objects"),
                        errhint("The query runs in another session; use permanent objects.")));
    pipeline_check_levels_walker(reinterpret_cast<Node *>(query), nullptr);
    List *const streams = streams_of(query);
    if (streams == NIL)
        refuse("queries without a stream in FROM", "Name a stream in FROM.");
    if (list_length(streams) > kMaxStreams)
        refuse(psprintf("more than %d streams", kMaxStreams),
               "Write to fewer streams, with a column that tells the rows apart.");
    return streams;
}

List *streams_of(Query *query)
{
    return query->setOperations != nullptr ? streams_of_union(query)
                                           : streams_of_list(query, query->jointree->fromlist);
}

void check_expansion(Query *query)
{
    List *const rewritten = QueryRewrite(static_cast<Query *>(copyObjectImpl(query)));
    int nstreams = 0;
    pipeline_count_streams_walker(reinterpret_cast<Node *>(query), &nstreams);
    for (auto *one : pg::each<Query>(rewritten))
        pipeline_check_expanded_walker(reinterpret_cast<Node *>(one), &nstreams);
}

} // namespace pipeline::view
