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

bool is_of_entry(const Decomposition &parts, const MatrelColumn *column, const TargetEntry *entry)
{
    if (parts.append || parts.first_row)
        return column->entry == entry->resno;
    return column->key != 0 && column->key == entry->ressortgroupref;
}

/// Of a key, by its reference: its expression may be volatile, and there twice.
Node *reading_expression(const TargetEntry *entry, Reading *reading)
{
    AttrNumber attno = 0;
    for (auto *column : pg::each<MatrelColumn>(reading->parts->columns)) {
        attno++;
        if (is_of_entry(*reading->parts, column, entry))
            return reinterpret_cast<Node *>(column_var(column, attno, 0));
    }
    return pipeline_reading_mutator(reinterpret_cast<Node *>(entry->expr), reading);
}

/// Of a window with groups readers combine the steps of each.
bool groups_on_reading(const Decomposition &parts)
{
    return parts.window != nullptr && !parts.append && !parts.first_row;
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
        else if (groups_on_reading(parts) && column->is_key)
            group_by(reading, query, column, attno);
    }
}

/// DISTINCT over groups: without grouping it has become the grouping itself. A window has a row per
/// key and step, of which the first one is looked for here.
void add_distinct(const Query *query, const Decomposition &parts, Query *reading)
{
    if (parts.first_row && parts.window == nullptr)
        return;
    reading->distinctClause = static_cast<List *>(copyObjectImpl(query->distinctClause));
    reading->hasDistinctOn = query->hasDistinctOn;
    if (parts.first_row)
        reading->distinctClause = list_delete_first(reading->distinctClause); // add_step()
}

/// Where one row of a key is there, what chose it among others orders nothing any more; the rest
/// can be read from the index.
void add_order(const Query *query, const Decomposition &parts, Query *reading)
{
    auto *order = static_cast<List *>(copyObjectImpl(query->sortClause));
    if (parts.first_row && parts.window != nullptr)
        order = list_delete_first(order); // add_step()
    else if (parts.first_row && list_length(order) > parts.num_keys)
        order = list_truncate(order, parts.num_keys);
    reading->sortClause = order;
}

bool refers_to(const List *clauses, const TargetEntry *entry)
{
    for (auto *clause : pg::each<SortGroupClause>(clauses))
        if (clause->tleSortGroupRef == entry->ressortgroupref)
            return true;
    return false;
}

/// What is shown, and what DISTINCT ON or ORDER BY of the reading query need beside it.
void add_target_list(Query *query, Query *reading, Reading *context)
{
    bool const groups = groups_on_reading(*context->parts);
    AttrNumber attno = 0;
    for (auto *entry : pg::each<TargetEntry>(query->targetList)) {
        bool const is_needed =
            entry->ressortgroupref != 0 &&
            (refers_to(reading->sortClause, entry) || refers_to(reading->distinctClause, entry));
        if (entry->resjunk && !is_needed)
            continue;
        Expr *const expr = reinterpret_cast<Expr *>(reading_expression(entry, context));
        char *const name = entry->resname != nullptr ? pstrdup(entry->resname) : nullptr;
        TargetEntry *const column = makeTargetEntry(expr, ++attno, name, entry->resjunk);
        column->ressortgroupref = is_needed || groups ? entry->ressortgroupref : 0;
        reading->targetList = lappend(reading->targetList, column);
    }
}

/// All groups are stored: a row to come may let a group pass that does not pass now. Where readers
/// group, it is HAVING again.
void add_having(Query *query, Query *reading, Reading *context)
{
    Node *const condition = pipeline_reading_mutator(query->havingQual, context);
    if (groups_on_reading(*context->parts))
        reading->havingQual = condition;
    else
        reading->jointree->quals = condition;
}

void add_limit(const Query *query, Query *reading)
{
    reading->limitOffset = static_cast<Node *>(copyObjectImpl(query->limitOffset));
    reading->limitCount = static_cast<Node *>(copyObjectImpl(query->limitCount));
    reading->limitOption = query->limitOption;
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
        // FROM ONLY, or of a partitioned table all that there is.
        bool const partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
        addRangeTableEntryForRelation(pstate, rel, AccessShareLock, nullptr, partitioned, true);
    });
    pg::take_range_table(reading, pstate);
    free_parsestate(pstate);

    RangeTblRef *const from = makeNode(RangeTblRef);
    from->rtindex = 1;
    reading->jointree = makeFromExpr(list_make1(from), nullptr);
    add_distinct(query, parts, reading);
    add_order(query, parts, reading);
    Reading context{query, &parts, 0};
    add_target_list(query, reading, &context);
    add_having(query, reading, &context);
    if (parts.window != nullptr)
        read_window(reading, query, parts);
    add_limit(query, reading);
    reading->hasAggs = contain_aggs_of_level(reinterpret_cast<Node *>(reading->targetList), 0) ||
                       contain_aggs_of_level(reading->havingQual, 0);
    reading->hasSubLinks = checkExprHasSubLink(reinterpret_cast<Node *>(reading));
    return reading;
}

} // namespace pipeline::view
