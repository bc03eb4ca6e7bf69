#include "view/decompose.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/grouping.hpp"

extern "C" {
#include "catalog/heap.h"
#include "optimizer/tlist.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
}

namespace pipeline::view {
namespace {

/// Collects the columns and gives them names.
struct Collector {
    Query *query;
    List *target_list;
    Decomposition parts;
    Index depth; ///< of subqueries around the node at hand
};

/// A key stands for what depends on it only as long as the other table's rows do not change.
[[noreturn]] void refuse_ungrouped(Query *query, const Var *var)
{
    RangeTblEntry *const entry = rt_fetch(var->varno, query->rtable);
    ereport(ERROR,
            (errcode(ERRCODE_GROUPING_ERROR),
             errmsg("column \"%s.%s\" must be listed in the GROUP BY clause of a continuous view",
                    entry->eref->aliasname, get_rte_attribute_name(entry, var->varattno)),
             errdetail("It follows from a primary key now, but the row that has the key may change "
                       "between two rows of the stream."),
             errhint("Add it to GROUP BY.")));
    pg_unreachable();
}

bool is_column_name(const Collector &collector, const char *name)
{
    for (auto *column : pg::each<MatrelColumn>(collector.parts.columns))
        if (strcmp(column->name, name) == 0)
            return true;
    return false;
}

bool name_is_used(const Collector &collector, const char *name)
{
    for (auto *entry : pg::each<TargetEntry>(collector.target_list))
        if (!entry->resjunk && strcmp(entry->resname, name) == 0)
            return true;
    return is_column_name(collector, name);
}

char *hidden_name(const Collector &collector)
{
    for (int i = 0;; i++) {
        char *const name = psprintf("_%d", i);
        if (!name_is_used(collector, name))
            return name;
    }
}

/// A column that the view shows as it is has the view's name for it. A view may have a column
/// named like a system column (heap.c, CheckAttributeNamesTypes leaves views out), a table not.
char *column_name(const Collector &collector, const Node *expr)
{
    for (auto *entry : pg::each<TargetEntry>(collector.target_list))
        if (!entry->resjunk && equal(entry->expr, expr) &&
            SystemAttributeByName(entry->resname) == nullptr &&
            !is_column_name(collector, entry->resname))
            return pstrdup(entry->resname);
    return hidden_name(collector);
}

MatrelColumn *new_column(Expr *expr, char *name)
{
    auto *column = static_cast<MatrelColumn *>(palloc0(sizeof(MatrelColumn)));
    Node *const node = reinterpret_cast<Node *>(expr);
    column->expr = expr;
    column->name = name;
    if (IsA(node, Aggref)) {
        column->form = state_form_of(reinterpret_cast<Aggref *>(expr));
        column->type = column->form.column_type;
        column->typmod = -1;
        column->collation = column->form.column_collation;
    } else {
        column->type = exprType(node);
        column->typmod = exprTypmod(node);
        column->collation = exprCollation(node);
    }
    return column;
}

void add_key(Collector &collector, MatrelColumn *column)
{
    column->is_key = true;
    for (auto *entry : pg::each<TargetEntry>(collector.target_list))
        column->is_shown |= !entry->resjunk && equal(entry->expr, column->expr);
    collector.parts.columns = lappend(collector.parts.columns, column);
    collector.parts.num_keys++;
}

void add_keys(Collector &collector, Query *query)
{
    for (auto *clause : pg::each<SortGroupClause>(query->groupClause)) {
        TargetEntry *const entry = get_sortgroupclause_tle(clause, query->targetList);
        Node *const node = reinterpret_cast<Node *>(entry->expr);
        bool const is_named = entry->resjunk && entry->resname != nullptr &&
                              !name_is_used(collector, entry->resname) &&
                              SystemAttributeByName(entry->resname) == nullptr;
        MatrelColumn *const column = new_column(
            entry->expr, is_named ? pstrdup(entry->resname) : column_name(collector, node));
        column->flat = pg::flatten_join_columns(query, node);
        column->key = clause->tleSortGroupRef;
        add_key(collector, column);
    }
    for (auto *mask : pg::each<GroupingFunc>(grouping_masks(query))) {
        Node *const node = reinterpret_cast<Node *>(mask);
        MatrelColumn *const column =
            new_column(reinterpret_cast<Expr *>(mask), column_name(collector, node));
        column->flat = pg::flatten_join_columns(query, node);
        add_key(collector, column);
    }
}

/// A column that holds an entry of the target list as it is.
MatrelColumn *add_entry(Collector &collector, const TargetEntry *entry)
{
    bool const has_name = entry->resname != nullptr &&
                          SystemAttributeByName(entry->resname) == nullptr &&
                          (!entry->resjunk || !name_is_used(collector, entry->resname));
    MatrelColumn *const column =
        new_column(entry->expr, has_name ? pstrdup(entry->resname) : hidden_name(collector));
    column->entry = entry->resno;
    column->is_shown = !entry->resjunk;
    collector.parts.columns = lappend(collector.parts.columns, column);
    return column;
}

/// Of DISTINCT ON. All other keys are those of groups.
void add_first_row_keys(Collector &collector, Query *query)
{
    for (auto *clause : pg::each<SortGroupClause>(query->distinctClause)) {
        MatrelColumn *const column =
            add_entry(collector, get_sortgroupclause_tle(clause, query->targetList));
        column->key = clause->tleSortGroupRef;
        column->is_key = true;
        collector.parts.num_keys++;
    }
}

/// The number of the column by which rows leave the window.
AttrNumber add_time(Collector &collector, const Window &window)
{
    AttrNumber attno = 0;
    for (auto *column : pg::each<MatrelColumn>(collector.parts.columns)) {
        attno++;
        if (equal(column->expr, window.time))
            return attno;
    }
    bool const is_free = window.name != nullptr && !name_is_used(collector, window.name) &&
                         SystemAttributeByName(window.name) == nullptr;
    MatrelColumn *const column =
        new_column(window.time, is_free ? pstrdup(window.name) : hidden_name(collector));
    collector.parts.columns = lappend(collector.parts.columns, column);
    return attno + 1;
}

bool has_column(const Collector &collector, const TargetEntry *entry)
{
    for (auto *column : pg::each<MatrelColumn>(collector.parts.columns))
        if (column->entry == entry->resno)
            return true;
    return false;
}

/// Also equal expressions are columns of their own: they may be volatile. What is not shown is
/// there for ORDER BY.
void add_entries(Collector &collector)
{
    for (auto *entry : pg::each<TargetEntry>(collector.target_list))
        if (!has_column(collector, entry))
            add_entry(collector, entry);
}

/// Collects aggregates outside keys, also those in subqueries that belong to the outermost query.
extern "C" bool pipeline_collect_aggregates_walker(Node *node, void *context)
{
    if (node == nullptr)
        return false;
    check_stack_depth();
    auto &collector = *static_cast<Collector *>(context);
    if (IsA(node, Query)) {
        collector.depth++;
        pg::walk_query(reinterpret_cast<Query *>(node), pipeline_collect_aggregates_walker, context,
                       0);
        collector.depth--;
        return false;
    }
    Node *const ours = outermost(node, collector.depth);
    if (ours != nullptr && find_column(collector.parts, collector.query, ours).column != nullptr)
        return false;
    if (ours == nullptr || (!IsA(ours, Aggref) && !IsA(ours, Var)))
        return pg::walk_expression(node, pipeline_collect_aggregates_walker, context);
    if (IsA(ours, Var))
        refuse_ungrouped(collector.query, reinterpret_cast<Var *>(ours));
    MatrelColumn *const column =
        new_column(reinterpret_cast<Expr *>(ours), column_name(collector, ours));
    column->flat = pg::flatten_join_columns(collector.query, ours);
    collector.parts.columns = lappend(collector.parts.columns, column);
    return false;
}

/// The first key: add_step().
Index step_reference(const Query *query)
{
    return static_cast<SortGroupClause *>(linitial(query->groupClause))->tleSortGroupRef;
}

[[noreturn]] void refuse_definition()
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
                    errmsg("the definition of a continuous view must list its keys and bare "
                           "aggregates"),
                    errhint("Definitions are written by CREATE VIEW and by pg_dump only.")));
    pg_unreachable();
}

/// What is applied on reading has no place in a definition.
void check_clauses_of_definition(const Query *definition, const Decomposition &parts)
{
    bool const sorts = definition->sortClause != NIL || definition->distinctClause != NIL;
    if (definition->setOperations != nullptr || definition->havingQual != nullptr ||
        definition->limitCount != nullptr || definition->limitOffset != nullptr ||
        (sorts && !parts.first_row))
        refuse_definition();
}

/// Is the next column of a definition, `entry`, its next key?
bool is_key_of(const Query *definition, const Decomposition &parts, const TargetEntry *entry)
{
    if (!parts.first_row)
        return entry->ressortgroupref != 0;
    if (parts.num_keys == list_length(definition->distinctClause))
        return false;
    auto *clause =
        static_cast<const SortGroupClause *>(list_nth(definition->distinctClause, parts.num_keys));
    return clause->tleSortGroupRef == entry->ressortgroupref;
}

} // namespace

Node *outermost(Node *node, Index depth)
{
    if (depth == 0)
        return node;
    bool const is_ours =
        (IsA(node, Var) && reinterpret_cast<Var *>(node)->varlevelsup == depth) ||
        (IsA(node, Aggref) && reinterpret_cast<Aggref *>(node)->agglevelsup == depth) ||
        (IsA(node, GroupingFunc) && reinterpret_cast<GroupingFunc *>(node)->agglevelsup == depth);
    if (!is_ours)
        return nullptr;
    // As subselect.c, replace_outer_agg.
    auto *copy = static_cast<Node *>(copyObjectImpl(node));
    IncrementVarSublevelsUp(copy, -static_cast<int>(depth), 0);
    return copy;
}

/// a.x and the x of "a JOIN b USING (x)" are the same. The step of a window is no key of the
/// user's, who may have one with the same expression.
FoundColumn find_column(const Decomposition &parts, Query *query, Node *node)
{
    Node *const flat = pg::flatten_join_columns(query, node);
    AttrNumber attno = 0;
    for (auto *column : pg::each<MatrelColumn>(parts.columns)) {
        attno++;
        bool const is_step = attno == parts.time_column && !parts.append;
        if (!is_step && equal(column->flat, flat))
            return {column, attno};
    }
    return {nullptr, 0};
}

FoundColumn find_output_column(const Decomposition &parts, Query *query, const char *name)
{
    for (auto *entry : pg::each<TargetEntry>(query->targetList)) {
        if (entry->resjunk || strcmp(entry->resname, name) != 0)
            continue;
        if (parts.append)
            return {static_cast<MatrelColumn *>(list_nth(parts.columns, entry->resno - 1)),
                    entry->resno};
        FoundColumn const found = find_column(parts, query, reinterpret_cast<Node *>(entry->expr));
        bool const is_read =
            found.column != nullptr &&
            (!IsA(found.column->expr, Aggref) || found.column->form.kind == StateKind::kResult);
        return is_read ? found : FoundColumn{nullptr, kComputed};
    }
    return {nullptr, InvalidAttrNumber};
}

Decomposition decompose(Query *query, const Window &window)
{
    Collector collector{query, query->targetList, {}, 0};
    collector.parts.append = is_append_query(query);
    collector.parts.first_row = is_first_row_query(query);
    bool const by_step = window.size != nullptr && query->groupClause != NIL;
    Index const step = by_step ? step_reference(query) : 0;
    collector.parts.total_row = has_total_row(query, step);
    collector.parts.window = window.size;
    if (collector.parts.append || collector.parts.first_row) {
        if (collector.parts.first_row)
            add_first_row_keys(collector, query);
        add_entries(collector);
        if (window.size != nullptr)
            collector.parts.time_column = collector.parts.append ? add_time(collector, window) : 1;
        return collector.parts;
    }
    add_keys(collector, query);
    collector.parts.time_column = by_step ? 1 : 0; // add_step()
    // What HAVING and ORDER BY alone ask for is stored, too.
    for (auto *entry : pg::each<TargetEntry>(query->targetList))
        if (step == 0 || entry->ressortgroupref != step)
            pipeline_collect_aggregates_walker(reinterpret_cast<Node *>(entry->expr), &collector);
    pipeline_collect_aggregates_walker(query->havingQual, &collector);
    return collector.parts;
}

Decomposition columns_of_definition(Query *definition, bool by_step)
{
    Decomposition parts{};
    parts.append = is_append_query(definition);
    parts.first_row = is_first_row_query(definition);
    by_step = by_step && definition->groupClause != NIL;
    parts.total_row = has_total_row(definition, by_step ? step_reference(definition) : 0);
    parts.time_column = by_step ? 1 : 0;
    check_clauses_of_definition(definition, parts);
    List *masks = grouping_masks(definition);
    for (auto *entry : pg::each<TargetEntry>(definition->targetList)) {
        // The keys come first, then their masks, then the aggregates.
        bool const is_mask = masks != NIL && equal(entry->expr, linitial(masks));
        bool const is_key = parts.num_keys == list_length(parts.columns) &&
                            (is_mask || is_key_of(definition, parts, entry));
        if (is_mask)
            masks = list_delete_first(masks);
        bool const is_row = parts.append || parts.first_row;
        if (entry->resjunk || (!is_row && !is_key && !IsA(entry->expr, Aggref)))
            refuse_definition();
        MatrelColumn *const column = new_column(entry->expr, entry->resname);
        column->key = is_key ? entry->ressortgroupref : 0;
        column->is_key = is_key;
        column->entry = is_row ? entry->resno : 0;
        parts.columns = lappend(parts.columns, column);
        parts.num_keys += is_key;
    }
    int const expected =
        list_length(parts.first_row ? definition->distinctClause : definition->groupClause);
    if (masks != NIL || (parts.num_keys == 0) != (expected == 0) ||
        (parts.first_row && parts.num_keys != expected))
        refuse_definition();
    return parts;
}

Query *definition_query(Query *query, const Decomposition &parts)
{
    auto *definition = static_cast<Query *>(copyObjectImpl(query));
    definition->targetList = NIL;
    definition->havingQual = nullptr;
    definition->limitCount = definition->limitOffset = nullptr;
    definition->limitOption = pg::kNoLimitOption;
    if (!parts.first_row) {
        definition->distinctClause = definition->sortClause = NIL;
        definition->hasDistinctOn = false;
    }
    AttrNumber attno = 0;
    for (auto *column : pg::each<MatrelColumn>(parts.columns)) {
        auto *expr = static_cast<Expr *>(copyObjectImpl(column->expr));
        TargetEntry *const entry = makeTargetEntry(expr, ++attno, pstrdup(column->name), false);
        entry->ressortgroupref = column->key;
        if (parts.first_row &&
            column->entry != 0) // DISTINCT ON, and the ORDER BY that says which row is the first
            entry->ressortgroupref =
                get_tle_by_resno(query->targetList, column->entry)->ressortgroupref;
        definition->targetList = lappend(definition->targetList, entry);
    }
    definition->hasSubLinks = checkExprHasSubLink(reinterpret_cast<Node *>(definition));
    return definition;
}

} // namespace pipeline::view
