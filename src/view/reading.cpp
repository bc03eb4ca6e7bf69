#include "view/reading.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/grouping.hpp"
#include "view/state_expressions.hpp"

extern "C" {
#include "catalog/pg_collation.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "optimizer/tlist.h"
#include "parser/parse_oper.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
}

#include <algorithm>

namespace pipeline::view {
namespace {

struct Reading {
    Query *query;
    const Decomposition *parts;
    Index depth; ///< of subqueries around the node at hand
};

Var *column_var(const MatrelColumn *column, AttrNumber attno, Index depth)
{
    return makeVar(1, attno, column->type, column->typmod, column->collation, depth);
}

Node *read_mask(int i, void *arg)
{
    auto &reading = *static_cast<const Reading *>(arg);
    AttrNumber attno = 0;
    for (auto *column : pg::each<MatrelColumn>(reading.parts->columns)) {
        attno++;
        if (IsA(column->expr, GroupingFunc) && i-- == 0)
            return reinterpret_cast<Node *>(column_var(column, attno, reading.depth));
    }
    elog(ERROR, "mask of grouping sets is missing");
    pg_unreachable();
}

Node *read_grouping(const GroupingFunc *call, Reading *reading)
{
    List *masks = NIL;
    for (auto *column : pg::each<MatrelColumn>(reading->parts->columns))
        if (IsA(column->expr, GroupingFunc))
            masks = lappend(masks, column->expr);
    return grouping_from_masks(call, masks, read_mask, reading);
}

/// Replaces keys and aggregates by what reads their columns.
extern "C" Node *pipeline_reading_mutator(Node *node, void *context)
{
    if (node == nullptr)
        return nullptr;
    check_stack_depth();
    auto &reading = *static_cast<Reading *>(context);
    if (IsA(node, Query)) {
        reading.depth++;
        Query *const inner =
            pg::mutate_query(reinterpret_cast<Query *>(node), pipeline_reading_mutator, context, 0);
        reading.depth--;
        return reinterpret_cast<Node *>(inner);
    }
    Node *const ours = outermost(node, reading.depth);
    if (ours == nullptr)
        return pg::mutate_expression(node, pipeline_reading_mutator, context);
    FoundColumn const found = find_column(*reading.parts, reading.query, ours);
    if (const MatrelColumn *const column = found.column; column != nullptr) {
        Var *const var = column_var(column, found.attno, reading.depth);
        if (IsA(ours, Aggref) && reading.parts->window != nullptr)
            return reinterpret_cast<Node *>(
                combine_call(reinterpret_cast<Aggref *>(ours), column->form,
                             reinterpret_cast<Expr *>(var), reading.depth));
        if (IsA(ours, Aggref) && column->form.kind != StateKind::kResult)
            return finalize_call(reinterpret_cast<Aggref *>(ours), column->form,
                                 reinterpret_cast<Expr *>(var));
        return reinterpret_cast<Node *>(var);
    }
    if (IsA(ours, GroupingFunc))
        return read_grouping(reinterpret_cast<GroupingFunc *>(ours), &reading);
    if (IsA(ours, Var) || IsA(ours, Aggref))
        elog(ERROR, "expression over the stream outside keys and aggregates");
    return pg::mutate_expression(node, pipeline_reading_mutator, context);
}

/// Of a key, by its reference: its expression may be volatile, and there twice.
Node *reading_expression(const TargetEntry *entry, Reading *reading, AttrNumber position)
{
    const Decomposition &parts = *reading->parts;
    if (parts.append)
        return reinterpret_cast<Node *>(column_var(
            static_cast<MatrelColumn *>(list_nth(parts.columns, position - 1)), position, 0));
    AttrNumber attno = 0;
    for (auto *column : pg::each<MatrelColumn>(parts.columns)) {
        attno++;
        if (column->key != 0 && column->key == entry->ressortgroupref)
            return reinterpret_cast<Node *>(column_var(column, attno, 0));
    }
    return pipeline_reading_mutator(reinterpret_cast<Node *>(entry->expr), reading);
}

/// Of a window with groups readers combine the steps of each.
bool groups_on_reading(const Decomposition &parts)
{
    return parts.window != nullptr && !parts.append;
}

SortGroupClause *clause_of(const Query *query, Index reference)
{
    for (auto *clause : pg::each<SortGroupClause>(query->groupClause))
        if (clause->tleSortGroupRef == reference)
            return static_cast<SortGroupClause *>(copyObjectImpl(clause));
    SortGroupClause *const clause = makeNode(SortGroupClause); // of a mask
    get_sort_group_operators(INT4OID, true, true, false, &clause->sortop, &clause->eqop, nullptr,
                             &clause->hashable);
    clause->tleSortGroupRef = reference;
    return clause;
}

/// Groups by the stored column `attno`, a key.
void group_by(Query *reading, const Query *query, const MatrelColumn *column, AttrNumber attno)
{
    Index reference = column->key;
    bool is_there = false;
    Index last = 0;
    for (auto *entry : pg::each<TargetEntry>(reading->targetList)) {
        is_there |= reference != 0 && entry->ressortgroupref == reference;
        last = std::max(last, entry->ressortgroupref);
    }
    for (auto *clause : pg::each<SortGroupClause>(query->groupClause))
        last = std::max(last, clause->tleSortGroupRef);
    if (reference == 0)
        reference = last + 1;
    if (!is_there) {
        auto const resno = static_cast<AttrNumber>(list_length(reading->targetList) + 1);
        Var *const var = column_var(column, attno, 0);
        TargetEntry *const entry =
            makeTargetEntry(reinterpret_cast<Expr *>(var), resno, nullptr, true);
        entry->ressortgroupref = reference;
        reading->targetList = lappend(reading->targetList, entry);
    }
    reading->groupClause = lappend(reading->groupClause, clause_of(query, reference));
}

/// What is behind the window is left out; the rest is combined by the user's own keys.
void read_window(Query *reading, const Query *query, const Decomposition &parts)
{
    AttrNumber attno = 0;
    for (auto *column : pg::each<MatrelColumn>(parts.columns)) {
        attno++;
        if (attno == parts.time_column)
            reading->jointree->quals =
                in_window(reinterpret_cast<Node *>(column_var(column, attno, 0)), parts.window);
        else if (!parts.append && column->is_key)
            group_by(reading, query, column, attno);
    }
    reading->hasAggs = contain_aggs_of_level(reinterpret_cast<Node *>(reading->targetList), 0);
}

} // namespace

Query *reading_query(Query *query, const Decomposition &parts, Oid matrel)
{
    Query *const reading = makeNode(Query);
    reading->commandType = CMD_SELECT;
    reading->querySource = QSRC_ORIGINAL;
    reading->canSetTag = true;

    ParseState *const pstate = make_parsestate(nullptr);
    pg::with_relation(matrel, AccessShareLock, [&](Relation rel) {
        // inh = false: FROM ONLY.
        addRangeTableEntryForRelation(pstate, rel, AccessShareLock, nullptr, false, true);
    });
    pg::take_range_table(reading, pstate);
    free_parsestate(pstate);

    RangeTblRef *const from = makeNode(RangeTblRef);
    from->rtindex = 1;
    reading->jointree = makeFromExpr(list_make1(from), nullptr);
    AttrNumber attno = 0;
    Reading context{query, &parts, 0};
    for (auto *entry : pg::each<TargetEntry>(query->targetList)) {
        if (entry->resjunk)
            continue;
        attno++;
        Node *const expr = reading_expression(entry, &context, attno);
        TargetEntry *const column =
            makeTargetEntry(reinterpret_cast<Expr *>(expr), attno, pstrdup(entry->resname), false);
        column->ressortgroupref =
            query->distinctClause != NIL || groups_on_reading(parts) ? entry->ressortgroupref : 0;
        reading->targetList = lappend(reading->targetList, column);
    }
    if (parts.window != nullptr)
        read_window(reading, query, parts);
    reading->hasSubLinks = checkExprHasSubLink(reinterpret_cast<Node *>(reading->targetList));
    // DISTINCT over groups; without grouping it has become the grouping itself.
    reading->distinctClause = static_cast<List *>(copyObjectImpl(query->distinctClause));
    return reading;
}

} // namespace pipeline::view
