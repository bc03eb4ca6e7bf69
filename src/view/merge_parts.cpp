#include "view/merge_parts.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "view/from_checks.hpp"
#include "view/same_source.hpp"
#include "view/view_options.hpp"

extern "C" {
#include "catalog/heap.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "rewrite/rewriteManip.h"
#include "utils/typcache.h"
}

namespace pipeline::view {
namespace {

struct Merger {
    const Replaced *old;
    Query *query;
    const Decomposition *wanted;
    List *before; ///< of MatrelColumn *: the columns as the old query has them
    List *after;  ///< as the new one has them; nullptr where it does not need one, or not yet
    bool changed; ///< something that is folded differs
};

[[noreturn]] void refuse_change(const Replaced &old, const char *what, const char *detail)
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("cannot change %s of %s \"%s\"", what, old.kind, old.name),
                    errdetail("%s", detail),
                    errhint("Create one of another name, and drop this one when the new one has "
                            "seen enough.")));
    pg_unreachable();
}

constexpr char kGroupsStay[] = "What it has stored belongs to groups of the old query.";

const MatrelColumn *nth(const List *columns, int i)
{
    return static_cast<const MatrelColumn *>(list_nth(columns, i));
}

/// With the same source, and columns of joins taken apart, equal means equal.
List *old_columns(const Replaced &old, const Decomposition &parts)
{
    for (auto *column : pg::each<MatrelColumn>(parts.columns))
        column->flat =
            pg::flatten_join_columns(old.definition, reinterpret_cast<Node *>(column->expr));
    return parts.columns;
}

void check_source(const Replaced &old, Query *query)
{
    if (!equal(streams_of(old.definition), streams_of(query)))
        refuse_change(old, "the streams",
                      "Rows that wait to be counted, and its progress, are of the old streams.");
    if (!extends_source(old.definition, query, Filters::kIgnore))
        refuse_change(old, "the FROM clause",
                      "The relations of the old query must come first, joined as they were; others "
                      "may follow, and conditions may change.");
}

void check_shape(const Replaced &old, const Decomposition &before, const Decomposition &wanted)
{
    if (before.append != wanted.append)
        refuse_change(old, "the grouping",
                      "Of two queries one keeps a row per group, the other one per row.");
    if (before.first_row != wanted.first_row || before.num_keys != wanted.num_keys)
        refuse_change(old, "the keys", kGroupsStay);
}

/// The step is a key and is compared with the others.
void check_window(const Replaced &old, const Decomposition &wanted)
{
    bool const same = old.window == nullptr || wanted.window == nullptr
                          ? old.window == wanted.window
                          : interval_length(old.window) == interval_length(wanted.window);
    if (!same)
        refuse_change(old, "the window",
                      "What was behind the old window is gone, and steps follow from its size.");
}

// ---- sets of keys --------------------------------------------------------------------

/// The number of a key among those of the query, by its reference.
int key_number(const Query *query, int reference)
{
    int number = 0;
    for (auto *clause : pg::each<SortGroupClause>(query->groupClause)) {
        if (static_cast<int>(clause->tleSortGroupRef) == reference)
            return number;
        number++;
    }
    return -1;
}

bool are_same_sets(const Query *before, const List *sets, const Query *after, const List *others)
{
    if (list_length(sets) != list_length(others))
        return false;
    for (int i = 0; i < list_length(sets); i++) {
        if (IsA(sets, IntList) != IsA(others, IntList))
            return false;
        if (IsA(sets, IntList)) {
            if (key_number(before, list_nth_int(sets, i)) !=
                key_number(after, list_nth_int(others, i)))
                return false;
            continue;
        }
        auto *const set = static_cast<GroupingSet *>(list_nth(sets, i));
        auto *const other = static_cast<GroupingSet *>(list_nth(others, i));
        if (set->kind != other->kind || !are_same_sets(before, set->content, after, other->content))
            return false;
    }
    return true;
}

// ---- the order of DISTINCT ON ---------------------------------------------------------

Node *sort_expression(Query *query, const SortGroupClause *clause)
{
    Node *const expr =
        get_sortgroupclause_expr(const_cast<SortGroupClause *>(clause), query->targetList);
    return pg::flatten_join_columns(query, expr);
}

bool is_same_order(Query *before, const List *clauses, Query *after, const List *others)
{
    bool same = list_length(clauses) == list_length(others);
    for (int i = 0; same && i < list_length(clauses); i++) {
        auto *const one = static_cast<const SortGroupClause *>(list_nth(clauses, i));
        auto *const other = static_cast<const SortGroupClause *>(list_nth(others, i));
        same = one->eqop == other->eqop && one->sortop == other->sortop &&
               one->nulls_first == other->nulls_first &&
               equal(sort_expression(before, one), sort_expression(after, other));
    }
    return same;
}

void check_order(const Replaced &old, Query *query)
{
    Query *const before = old.definition;
    if (!is_same_order(before, before->distinctClause, query, query->distinctClause))
        refuse_change(old, "the keys", kGroupsStay);
    if (!is_same_order(before, before->sortClause, query, query->sortClause))
        refuse_change(old, "the order", "It has kept the first rows in the old order.");
}

// ---- columns -------------------------------------------------------------------------

bool have_same_type(const MatrelColumn *one, const MatrelColumn *other)
{
    return one->type == other->type && one->typmod == other->typmod &&
           one->collation == other->collation;
}

/// The wanted column stands for the i-th one of the table.
void take_place(Merger *merger, int i, const MatrelColumn *wanted)
{
    const MatrelColumn *const before = nth(merger->before, i);
    auto *column = static_cast<MatrelColumn *>(palloc(sizeof(MatrelColumn)));
    *column = *wanted;
    column->name = before->name;
    merger->changed |= !equal(before->flat, wanted->flat);
    lfirst(list_nth_cell(merger->after, i)) = column;
}

int find_equal(const Merger &merger, const MatrelColumn *wanted)
{
    for (int i = 0; i < list_length(merger.before); i++) {
        const MatrelColumn *const before = nth(merger.before, i);
        if (nth(merger.after, i) == nullptr && before->is_key == wanted->is_key &&
            have_same_type(before, wanted) && equal(before->flat, wanted->flat))
            return i;
    }
    return -1;
}

/// Where rows are stored as they come, the view's columns are columns of the table.
int place_of_shown(const Merger &merger, int shown)
{
    const Replaced &old = *merger.old;
    if (old.reading == nullptr)
        return shown < list_length(merger.before) ? shown : -1;
    for (auto *entry : pg::each<TargetEntry>(old.reading->targetList))
        if (!entry->resjunk && entry->resno == shown + 1) {
            if (!IsA(entry->expr, Var))
                elog(ERROR, "column of view \"%s\" is no column of its table", old.name);
            return reinterpret_cast<Var *>(entry->expr)->varattno - 1;
        }
    return -1;
}

/// Among the columns that the view shows.
int shown_number(const Query *query, AttrNumber entry)
{
    int shown = 0;
    for (auto *other : pg::each<TargetEntry>(query->targetList)) {
        if (other->resno == entry)
            return shown;
        shown += !other->resjunk;
    }
    return -1;
}

int place_of_entry(const Merger &merger, const MatrelColumn *wanted)
{
    if (!wanted->is_shown)
        return find_equal(merger, wanted);
    int const i = place_of_shown(merger, shown_number(merger.query, wanted->entry));
    if (i < 0)
        return -1;
    const MatrelColumn *const before = nth(merger.before, i);
    if (!have_same_type(before, wanted))
        refuse_change(*merger.old, psprintf("the type of column \"%s\"", before->name),
                      "Its values are stored.");
    if (before->is_key && !equal(before->flat, wanted->flat))
        refuse_change(*merger.old, "the keys", kGroupsStay);
    return i;
}

bool is_taken(const List *columns, const char *name)
{
    for (auto *column : pg::each<MatrelColumn>(columns))
        if (column != nullptr && strcmp(column->name, name) == 0)
            return true;
    return false;
}

char *free_name(const Merger &merger, char *name)
{
    for (int i = 0; is_taken(merger.before, name) || is_taken(merger.after, name); i++)
        name = psprintf("_%d", i);
    return name;
}

/// The server would write the whole table anew, which ticks that have begun cannot see.
void check_new_type(const Replaced &old, const MatrelColumn *column)
{
    if (DomainHasConstraints(column->type))
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                 errmsg("cannot add a column of type %s to continuous view \"%s\"",
                        format_type_be(column->type), old.name),
                 errdetail("What is stored already has no value for it that the constraints of the "
                           "domain were checked for."),
                 errhint("Cast the column to %s.", format_type_be(getBaseType(column->type)))));
}

void add_column(Merger *merger, const MatrelColumn *wanted)
{
    check_new_type(*merger->old, wanted);
    auto *column = static_cast<MatrelColumn *>(palloc(sizeof(MatrelColumn)));
    *column = *wanted;
    column->name = free_name(*merger, wanted->name);
    merger->after = lappend(merger->after, column);
    merger->changed = true;
}

void place_columns(Merger *merger)
{
    const Decomposition &wanted = *merger->wanted;
    bool const rows = wanted.append || wanted.first_row;
    List *added = NIL;
    for (auto *column : pg::each<MatrelColumn>(wanted.columns)) {
        int const i = rows && column->entry != 0 ? place_of_entry(*merger, column)
                                                 : find_equal(*merger, column);
        if (i >= 0)
            take_place(merger, i, column);
        else if (column->is_key)
            refuse_change(*merger->old, "the keys", kGroupsStay);
        else
            added = lappend(added, column);
    }
    for (auto *column : pg::each<MatrelColumn>(added))
        add_column(merger, column);
}

/// What the new query does not need is folded on: the columns of the table and of the definition
/// correspond, and a later query may need it again.
void keep_columns(Merger *merger)
{
    for (int i = 0; i < list_length(merger->before); i++) {
        if (nth(merger->after, i) != nullptr)
            continue;
        auto *column = static_cast<MatrelColumn *>(palloc(sizeof(MatrelColumn)));
        *column = *nth(merger->before, i);
        if (column->is_key)
            refuse_change(*merger->old, "the keys", kGroupsStay);
        if (merger->wanted->first_row)
            refuse_change(*merger->old, "the order",
                          "It has kept the first rows in the old order.");
        if (!equal(column->flat, column->expr))
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("cannot leave an aggregate of continuous view \"%s\" out",
                                   merger->old->name),
                            errdetail("It goes on being computed, and names a column of a join."),
                            errhint("Keep using it, for instance in HAVING.")));
        column->entry = 0;
        column->is_shown = false;
        lfirst(list_nth_cell(merger->after, i)) = column;
    }
}

/// The number that a column of the wanted parts has now.
AttrNumber new_number(const Merger &merger, AttrNumber attno)
{
    if (attno == 0)
        return 0;
    const MatrelColumn *const wanted = nth(merger.wanted->columns, attno - 1);
    for (int i = 0; i < list_length(merger.after); i++)
        if (equal(nth(merger.after, i)->flat, wanted->flat) &&
            nth(merger.after, i)->entry == wanted->entry)
            return static_cast<AttrNumber>(i + 1);
    elog(ERROR, "time of the window is missing");
    pg_unreachable();
}

/// It is the first key.
void check_step(const Merger &merger)
{
    const Decomposition &wanted = *merger.wanted;
    if (wanted.window != nullptr && !wanted.append &&
        !equal(nth(merger.before, 0)->flat, nth(wanted.columns, 0)->flat))
        refuse_change(*merger.old, "the step of the window",
                      "What it has stored is of whole steps of the old window.");
}

} // namespace

Merged merge_parts(const Replaced &old, Query *query, const Decomposition &parts)
{
    Decomposition const before = columns_of_definition(old.definition);
    check_source(old, query);
    check_window(old, parts);
    check_shape(old, before, parts);
    if (!are_same_sets(old.definition, old.definition->groupingSets, query, query->groupingSets))
        refuse_change(old, "the grouping sets", kGroupsStay);
    if (parts.first_row)
        check_order(old, query);

    for (auto *column : pg::each<MatrelColumn>(parts.columns))
        column->flat = pg::flatten_join_columns(query, reinterpret_cast<Node *>(column->expr));
    Merger merger{&old, query, &parts, old_columns(old, before), NIL, false};
    int const num_old = list_length(merger.before);
    check_step(merger);
    for (int i = 0; i < num_old; i++)
        merger.after = lappend(merger.after, nullptr);
    place_columns(&merger);
    keep_columns(&merger);

    Merged merged{parts, num_old, false};
    merged.parts.columns = merger.after;
    merged.parts.time_column = new_number(merger, parts.time_column);
    merged.folds_alike = !merger.changed && equal(old.definition->jointree, query->jointree) &&
                         list_length(old.definition->rtable) == list_length(query->rtable) &&
                         extends_source(old.definition, query, Filters::kCompare);
    return merged;
}

Query *merged_definition(const Replaced &old, Query *query, const Merged &merged)
{
    Query *const definition = definition_query(query, merged.parts);
    pg::add_column_rights(definition, old.definition);
    definition->hasAggs =
        contain_aggs_of_level(reinterpret_cast<Node *>(definition->targetList), 0);
    return definition;
}

} // namespace pipeline::view
