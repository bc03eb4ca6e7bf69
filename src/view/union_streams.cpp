#include "view/union_streams.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/query_checks.hpp"

extern "C" {
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
}

namespace pipeline::view {
namespace {

const char *name_of(const SetOperationStmt *operation)
{
    switch (operation->op) {
    case SETOP_INTERSECT:
        return "INTERSECT";
    case SETOP_EXCEPT:
        return "EXCEPT";
    default:
        return "UNION";
    }
}

void add_branches(Query *query, Node *node, List **branches)
{
    check_stack_depth();
    if (IsA(node, RangeTblRef)) {
        int const index = reinterpret_cast<RangeTblRef *>(node)->rtindex;
        *branches = lappend(*branches, rt_fetch(index, query->rtable));
        return;
    }
    auto *operation = castNode(SetOperationStmt, node);
    if (operation->op == SETOP_UNION && !operation->all)
        refuse(
            "UNION over streams",
            "Write UNION ALL, and SELECT DISTINCT ... FROM (... UNION ALL ...) AS u to drop equal "
            "rows.");
    if (operation->op != SETOP_UNION)
        refuse(psprintf("%s over streams", name_of(operation)),
               "Create one continuous view per stream and combine the views in the query that "
               "reads them.");
    add_branches(query, operation->larg, branches);
    add_branches(query, operation->rarg, branches);
}

/// Its columns are those of the first branch, but of the types that all branches have in common.
TargetEntry *outer_column(const TargetEntry *column, int rtindex)
{
    Node *const expr = reinterpret_cast<Node *>(column->expr);
    Var *const var =
        makeVar(rtindex, column->resno, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);
    TargetEntry *const entry = makeTargetEntry(reinterpret_cast<Expr *>(var), column->resno,
                                               pstrdup(column->resname), false);
    entry->ressortgroupref = column->ressortgroupref;
    return entry;
}

} // namespace

List *union_branches(Query *query)
{
    List *branches = NIL;
    add_branches(query, query->setOperations, &branches);
    return branches;
}

Query *wrap_union(Query *query)
{
    if (query->setOperations == nullptr)
        return query;
    Query *const outer = makeNode(Query);
    outer->commandType = CMD_SELECT;
    outer->querySource = query->querySource;
    outer->canSetTag = true;
    RangeTblRef *const from = makeNode(RangeTblRef);
    from->rtindex = 1;
    outer->jointree = makeFromExpr(list_make1(from), nullptr);
    for (auto *column : pg::each<TargetEntry>(query->targetList)) {
        outer->targetList = lappend(outer->targetList, outer_column(column, from->rtindex));
        column->ressortgroupref = 0;
    }
    // ORDER BY of a set operation can name its columns only (parse_clause.c).
    outer->sortClause = query->sortClause;
    outer->limitOffset = query->limitOffset;
    outer->limitCount = query->limitCount;
    outer->limitOption = query->limitOption;
    outer->hasSubLinks = query->hasSubLinks;
    query->sortClause = NIL;
    query->limitOffset = query->limitCount = nullptr;
    query->limitOption = pg::kNoLimitOption;
    query->hasSubLinks = false;

    ParseState *const pstate = make_parsestate(nullptr);
    addRangeTableEntryForSubquery(pstate, query, makeAlias("unioned", NIL), false, true);
    pg::take_range_table(outer, pstate);
    free_parsestate(pstate);
    return outer;
}

} // namespace pipeline::view
