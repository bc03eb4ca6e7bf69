#include "view/decompose.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/grouping.hpp"

extern "C" {
#include "catalog/heap.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "optimizer/tlist.h"
#include "parser/parse_agg.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"
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

/// The column and its number.
struct FoundColumn {
    MatrelColumn *column;
    AttrNumber attno;
};

/// A node that belongs to the outermost query, as it looks there. Inside a subquery only
/// columns, aggregates and GROUPING() can be (parse_agg.c matches nothing else across levels).
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

/// `node` may name columns of joins; a.x and the x of "a JOIN b USING (x)" are the same.
FoundColumn find_column(const Decomposition &parts, Query *query, Node *node)
{
    Node *const flat = pg::flatten_join_columns(query, node);
    AttrNumber attno = 0;
    for (auto *column : pg::each<MatrelColumn>(parts.columns)) {
        attno++;
        if (equal(column->flat, flat))
            return {column, attno};
    }
    return {nullptr, 0};
}

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
        MatrelColumn *const column = new_column(entry->expr, column_name(collector, node));
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

/// Also equal expressions are columns of their own: they may be volatile.
void add_appended(Collector &collector)
{
    for (auto *entry : pg::each<TargetEntry>(collector.target_list)) {
        if (entry->resjunk)
            continue;
        char *const name = SystemAttributeByName(entry->resname) == nullptr
                               ? pstrdup(entry->resname)
                               : hidden_name(collector);
        MatrelColumn *const column = new_column(entry->expr, name);
        collector.parts.columns = lappend(collector.parts.columns, column);
    }
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

/// NULL of a type and collation, to tell a polymorphic function its types.
Expr *typed_null(Oid type, Oid collation)
{
    Expr *const null = reinterpret_cast<Expr *>(makeNullConst(type, -1, get_typcollation(type)));
    if (!OidIsValid(collation) || collation == get_typcollation(type))
        return null;
    CollateExpr *const collate = makeNode(CollateExpr);
    collate->arg = null;
    collate->collOid = collation;
    collate->location = -1;
    return reinterpret_cast<Expr *>(collate);
}

Expr *aggregate_constant(Oid aggregate)
{
    return reinterpret_cast<Expr *>(makeConst(REGPROCEDUREOID, -1, InvalidOid, sizeof(Oid),
                                              ObjectIdGetDatum(aggregate), false, true));
}

Oid finalize_function(bool with_inputs)
{
    Oid const types[] = {REGPROCEDUREOID, ANYOID, ANYELEMENTOID, ANYOID};
    oidvector *const vector = buildoidvector(types, with_inputs ? 4 : 3);
    Oid const schema = get_namespace_oid("pipelinedb", false);
    Oid const function =
        GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, PointerGetDatum("finalize"),
                        PointerGetDatum(vector), ObjectIdGetDatum(schema));
    if (!OidIsValid(function))
        elog(ERROR, "function pipelinedb.finalize is missing");
    return function;
}

/// The inputs matter where the transition type or the final function's call follows from them,
/// and where a collation other than the default must reach the final function.
bool needs_inputs(const Aggref *aggref, const StateForm &form)
{
    bool const collated =
        OidIsValid(aggref->inputcollid) && aggref->inputcollid != DEFAULT_COLLATION_OID;
    return form.polymorphic || form.finalextra || collated;
}

Node *finalize_call(const Aggref *aggref, const StateForm &form, Var *state)
{
    List *args = list_make3(aggregate_constant(aggref->aggfnoid), state,
                            typed_null(aggref->aggtype, aggref->aggcollid));
    bool const with_inputs = needs_inputs(aggref, form) && aggref->args != NIL;
    if (with_inputs) {
        Oid types[FUNC_MAX_ARGS];
        int const count = get_aggregate_argtypes(const_cast<Aggref *>(aggref), types);
        for (int i = 0; i < count; i++)
            args = lappend(args,
                           typed_null(types[i], type_is_collatable(types[i]) ? aggref->inputcollid
                                                                             : InvalidOid));
    }
    return reinterpret_cast<Node *>(makeFuncExpr(finalize_function(with_inputs), aggref->aggtype,
                                                 args, aggref->aggcollid, aggref->inputcollid,
                                                 COERCE_EXPLICIT_CALL));
}

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
        if (IsA(ours, Aggref) && column->form.kind != StateKind::kResult)
            return finalize_call(reinterpret_cast<Aggref *>(ours), column->form, var);
        return reinterpret_cast<Node *>(var);
    }
    if (IsA(ours, GroupingFunc))
        return read_grouping(reinterpret_cast<GroupingFunc *>(ours), &reading);
    if (IsA(ours, Var) || IsA(ours, Aggref))
        elog(ERROR, "expression over the stream outside keys and aggregates");
    return pg::mutate_expression(node, pipeline_reading_mutator, context);
}

[[noreturn]] void refuse_definition()
{
    ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
                    errmsg("the definition of a continuous view must list its keys and bare "
                           "aggregates"),
                    errhint("Definitions are written by CREATE VIEW and by pg_dump only.")));
    pg_unreachable();
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

} // namespace

Decomposition decompose(Query *query)
{
    Collector collector{query, query->targetList, {}, 0};
    collector.parts.append = is_append_query(query);
    collector.parts.total_row = has_total_row(query);
    if (collector.parts.append) {
        add_appended(collector);
        return collector.parts;
    }
    add_keys(collector, query);
    for (auto *entry : pg::each<TargetEntry>(query->targetList))
        if (!entry->resjunk)
            pipeline_collect_aggregates_walker(reinterpret_cast<Node *>(entry->expr), &collector);
    return collector.parts;
}

Decomposition columns_of_definition(Query *definition)
{
    Decomposition parts{};
    parts.append = is_append_query(definition);
    parts.total_row = has_total_row(definition);
    List *masks = grouping_masks(definition);
    for (auto *entry : pg::each<TargetEntry>(definition->targetList)) {
        // The keys come first, then their masks, then the aggregates.
        bool const is_mask = masks != NIL && equal(entry->expr, linitial(masks));
        bool const is_key = (entry->ressortgroupref != 0 || is_mask) &&
                            parts.num_keys == list_length(parts.columns);
        if (is_mask)
            masks = list_delete_first(masks);
        if (entry->resjunk || (!parts.append && !is_key && !IsA(entry->expr, Aggref)))
            refuse_definition();
        MatrelColumn *const column = new_column(entry->expr, entry->resname);
        column->key = entry->ressortgroupref;
        column->is_key = is_key;
        parts.columns = lappend(parts.columns, column);
        parts.num_keys += is_key;
    }
    if (masks != NIL || (parts.num_keys == 0) != (definition->groupClause == NIL))
        refuse_definition();
    return parts;
}

Query *definition_query(Query *query, const Decomposition &parts)
{
    auto *definition = static_cast<Query *>(copyObjectImpl(query));
    definition->targetList = NIL;
    definition->distinctClause = NIL;
    AttrNumber attno = 0;
    for (auto *column : pg::each<MatrelColumn>(parts.columns)) {
        auto *expr = static_cast<Expr *>(copyObjectImpl(column->expr));
        TargetEntry *const entry = makeTargetEntry(expr, ++attno, pstrdup(column->name), false);
        entry->ressortgroupref = column->key;
        definition->targetList = lappend(definition->targetList, entry);
    }
    definition->hasSubLinks = checkExprHasSubLink(reinterpret_cast<Node *>(definition));
    return definition;
}

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
        column->ressortgroupref = query->distinctClause != NIL ? entry->ressortgroupref : 0;
        reading->targetList = lappend(reading->targetList, column);
    }
    reading->hasSubLinks = checkExprHasSubLink(reinterpret_cast<Node *>(reading->targetList));
    // DISTINCT over groups; without grouping it has become the grouping itself.
    reading->distinctClause = static_cast<List *>(copyObjectImpl(query->distinctClause));
    return reading;
}

} // namespace pipeline::view
