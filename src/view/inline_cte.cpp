#include "view/inline_cte.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/from_checks.hpp"
#include "view/query_checks.hpp"

extern "C" {
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
}

namespace pipeline::view {
namespace {

/// As subselect.c: inline_cte_walker_context.
struct Inlining {
    const CommonTableExpr *cte;
    Index depth; ///< of the query at hand below the one that has the WITH list
};

/// pg_dump writes the query as the server deparses it: a subquery must have an alias, and one that
/// renames its columns if they are called otherwise inside.
Alias *alias_of(const RangeTblEntry *entry, const Query *subquery)
{
    const char *const name =
        entry->alias != nullptr ? entry->alias->aliasname : entry->eref->aliasname;
    Alias *const alias = makeAlias(name, NIL);
    const ListCell *cell = list_head(entry->eref->colnames);
    bool renamed = false;
    for (auto *column : pg::each<TargetEntry>(subquery->targetList)) {
        if (column->resjunk || cell == nullptr)
            continue;
        renamed |= strcmp(column->resname, strVal(lfirst(cell))) != 0;
        cell = lnext(entry->eref->colnames, cell);
    }
    if (renamed)
        alias->colnames = static_cast<List *>(copyObjectImpl(entry->eref->colnames));
    return alias;
}

/// As subselect.c: inline_cte_walker.
void become_subquery(RangeTblEntry *entry, const Inlining &inlining)
{
    auto *const subquery = static_cast<Query *>(copyObjectImpl(inlining.cte->ctequery));
    if (inlining.depth > 0)
        IncrementVarSublevelsUp(reinterpret_cast<Node *>(subquery),
                                static_cast<int>(inlining.depth), 1);
    entry->alias = alias_of(entry, subquery);
    entry->rtekind = RTE_SUBQUERY;
    entry->subquery = subquery;
    entry->security_barrier = false;
    entry->ctename = nullptr;
    entry->ctelevelsup = 0;
    entry->self_reference = false;
    entry->coltypes = NIL;
    entry->coltypmods = NIL;
    entry->colcollations = NIL;
}

extern "C" bool pipeline_inline_cte_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    auto &inlining = *static_cast<Inlining *>(context);
    if (IsA(node, Query)) {
        inlining.depth++;
        pg::walk_query(reinterpret_cast<Query *>(node), pipeline_inline_cte_walker, context,
                       QTW_EXAMINE_RTES_AFTER);
        inlining.depth--;
        return false;
    }
    if (IsA(node, RangeTblEntry)) {
        auto *entry = reinterpret_cast<RangeTblEntry *>(node);
        if (entry->rtekind == RTE_CTE && entry->ctelevelsup == inlining.depth &&
            strcmp(entry->ctename, inlining.cte->ctename) == 0)
            become_subquery(entry, inlining);
        return false;
    }
    return pg::walk_expression(node, pipeline_inline_cte_walker, context);
}

void check_cte(const CommonTableExpr *cte)
{
    if (cte->cterecursive)
        refuse("recursive WITH queries",
               "Put a recursive query over tables into a view, and join that one.");
    // Each reference computes it anew.
    if (cte->cterefcount > 1 && contain_volatile_functions(cte->ctequery))
        refuse(psprintf("WITH query \"%s\", which calls a volatile function and is referenced more "
                        "than once",
                        cte->ctename),
               "Reference it once, or write the function into the column of a stream.");
}

/// WITH lists of levels that name no stream are the server's alone.
extern "C" bool pipeline_inline_ctes_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    if (!IsA(node, Query))
        return pg::walk_expression(node, pipeline_inline_ctes_walker, context);
    auto *query = reinterpret_cast<Query *>(node);
    if (query->cteList != NIL && names_a_stream(query)) {
        // One may name those before it, which have become subqueries then.
        for (auto *cte : pg::each<CommonTableExpr>(query->cteList)) {
            check_cte(cte);
            Inlining inlining{cte, 0};
            pg::walk_query(query, pipeline_inline_cte_walker, &inlining, QTW_EXAMINE_RTES_AFTER);
        }
        query->cteList = NIL;
        query->hasRecursive = false;
    }
    return pg::walk_query(query, pipeline_inline_ctes_walker, context, 0);
}

} // namespace

void inline_ctes(Query *query)
{
    pipeline_inline_ctes_walker(reinterpret_cast<Node *>(query), nullptr);
}

} // namespace pipeline::view
