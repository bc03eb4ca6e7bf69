#include "view/grouping.hpp"

#include "pg/list.hpp"

extern "C" {
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "optimizer/tlist.h"
#include "parser/parse_agg.h"
#include "parser/parse_oper.h"
}

namespace pipeline::view {
namespace {

/// parse_agg.c:transformGroupingFunc takes no more: the result is an int4.
constexpr int kKeysPerMask = 31;

/// The limit of parse_agg.c:parseCheckAggregates.
constexpr int kMaxGroupingSets = 4096;

[[noreturn]] void refuse(const char *what, const char *hint)
{
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                    errmsg("continuous views do not support %s", what), errhint("%s", hint)));
    pg_unreachable();
}

/// Each set as an integer List of ressortgrouprefs; GROUP BY DISTINCT has dropped equal ones.
List *sets_of(Query *query)
{
    return expand_grouping_sets(query->groupingSets, query->groupDistinct, kMaxGroupingSets);
}

Bitmapset *as_bits(const List *refs)
{
    Bitmapset *bits = nullptr;
    const ListCell *cell;
    foreach (cell, refs)
        bits = bms_add_member(bits, lfirst_int(cell));
    return bits;
}

/// They would give each group several rows, which nothing tells apart.
void refuse_equal_sets(Query *query)
{
    List *seen = NIL;
    for (auto *set : pg::each<List>(sets_of(query))) {
        Bitmapset *const bits = as_bits(set);
        for (auto *other : pg::each<Bitmapset>(seen))
            if (bms_equal(bits, other))
                refuse("equal grouping sets", "Write GROUP BY DISTINCT, which drops them.");
        seen = lappend(seen, bits);
    }
}

/// Up to PostgreSQL 17 a constant is not NULL where it is rolled up (setrefs.c:
/// search_indexed_tlist_for_non_var leaves constants alone).
void refuse_constant_keys(Query *query)
{
    for (auto *clause : pg::each<SortGroupClause>(query->groupClause)) {
        Node *const key = get_sortgroupclause_expr(clause, query->targetList);
        if (IsA(eval_const_expressions(nullptr, key), Const))
            refuse("constants in grouping sets", "Leave the constant out of GROUP BY.");
    }
}

/// The planner sorts or hashes by all columns of a set (planner.c: create_grouping_paths,
/// preprocess_grouping_sets). GROUP BY itself is one set.
void refuse_mixed_keys(Query *query)
{
    List *all = NIL;
    for (auto *clause : pg::each<SortGroupClause>(query->groupClause))
        all = lappend_int(all, static_cast<int>(clause->tleSortGroupRef));
    List *const sets = query->groupingSets != NIL ? sets_of(query) : list_make1(all);
    for (auto *set : pg::each<List>(sets)) {
        bool unsortable = false, unhashable = false;
        for (auto *clause : pg::each<SortGroupClause>(query->groupClause)) {
            if (!list_member_int(set, static_cast<int>(clause->tleSortGroupRef)))
                continue;
            unsortable |= !OidIsValid(clause->sortop);
            unhashable |= !clause->hashable;
        }
        if (unsortable && unhashable)
            refuse("types that can only be sorted beside types that can only be hashed in GROUP BY",
                   "Cast one of them to another type, such as text.");
    }
}

bool has_groups(const Query *query)
{
    return query->groupClause != NIL || query->groupingSets != NIL || query->hasAggs;
}

/// What the server computes by sorting, while rows of the table are told apart by the type's own
/// equality.
void check_first_row_keys(Query *query)
{
    for (auto *clause : pg::each<SortGroupClause>(query->distinctClause)) {
        Oid const type = exprType(get_sortgroupclause_expr(clause, query->targetList));
        Oid equality = InvalidOid;
        get_sort_group_operators(type, false, true, false, nullptr, &equality, nullptr, nullptr);
        if (!OidIsValid(clause->sortop))
            refuse(psprintf("DISTINCT ON of type %s, which has no order", format_type_be(type)),
                   "Cast it to another type, such as text.");
        if (clause->eqop != equality)
            refuse("DISTINCT ON with ORDER BY USING an operator of another equality",
                   "Leave out USING, or cast the column to a type that is ordered that way.");
    }
}

bool is_repeated(Query *query, const SortGroupClause *clause, const List *earlier)
{
    Node *const expr =
        get_sortgroupclause_expr(const_cast<SortGroupClause *>(clause), query->targetList);
    if (contain_volatile_functions(expr))
        return false;
    for (auto *other : pg::each<SortGroupClause>(earlier))
        if (equal(expr, get_sortgroupclause_expr(other, query->targetList)))
            return true;
    return false;
}

Expr *int4_operator(const char *name, Expr *left, Expr *right)
{
    List *const qualified =
        list_make2(makeString(pstrdup("pg_catalog")), makeString(pstrdup(name)));
    Oid const op = OpernameGetOprid(qualified, INT4OID, INT4OID);
    Expr *const call = make_opclause(op, INT4OID, false, left, right, InvalidOid, InvalidOid);
    set_opfuncid(reinterpret_cast<OpExpr *>(call));
    return call;
}

Expr *int4_constant(int32 value)
{
    return reinterpret_cast<Expr *>(
        makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(value), false, true));
}

int position_of(const List *refs, int ref)
{
    int i = 0;
    const ListCell *cell;
    foreach (cell, refs) {
        if (lfirst_int(cell) == ref)
            return i;
        i++;
    }
    return -1;
}

/// The bit of key `ref`, moved to place `shift`.
Expr *grouping_bit(int ref, int shift, const List *masks, Node *(*read)(int i, void *arg),
                   void *arg)
{
    int number = 0;
    for (auto *mask : pg::each<GroupingFunc>(masks)) {
        int const position = position_of(mask->refs, ref);
        if (position >= 0) {
            auto *bit = reinterpret_cast<Expr *>(read(number, arg));
            int const place = list_length(mask->refs) - 1 - position;
            if (place > 0)
                bit = int4_operator(">>", bit, int4_constant(place));
            bit = int4_operator("&", bit, int4_constant(1));
            return shift > 0 ? int4_operator("<<", bit, int4_constant(shift)) : bit;
        }
        number++;
    }
    elog(ERROR, "GROUPING of an expression that is no key");
    pg_unreachable();
}

} // namespace

void normalise_grouping(Query *query)
{
    if (query->groupingSets != NIL) {
        List *const sets = sets_of(query);
        bool const kept = query->groupClause != NIL || query->hasAggs;
        if (list_length(sets) == 1 && kept)
            query->groupingSets = NIL;
    }
    if (query->groupingSets == NIL)
        query->groupDistinct = false;
    // HAVING alone makes all rows one group.
    if (query->distinctClause == NIL || query->hasDistinctOn || has_groups(query) ||
        query->havingQual != nullptr)
        return;
    for (auto *clause : pg::each<SortGroupClause>(query->distinctClause))
        if (!is_repeated(query, clause, query->groupClause))
            query->groupClause = lappend(query->groupClause, clause);
    query->distinctClause = NIL;
}

void check_grouping(Query *query)
{
    refuse_mixed_keys(query);
    if (is_first_row_query(query))
        check_first_row_keys(query);
    if (query->groupingSets == NIL)
        return;
    refuse_equal_sets(query);
    if (query->groupClause == NIL)
        refuse("GROUP BY () without aggregates", "Add an aggregate, such as count(*).");
    refuse_constant_keys(query);
}

bool is_append_query(const Query *query)
{
    return !has_groups(query) && !query->hasDistinctOn;
}

bool is_first_row_query(const Query *query)
{
    return !has_groups(query) && query->hasDistinctOn;
}

bool has_total_row(Query *query, Index step)
{
    if (query->groupingSets == NIL)
        return query->groupClause == NIL && query->hasAggs;
    int const length = step != 0 ? 1 : 0;
    for (auto *set : pg::each<List>(sets_of(query)))
        if (list_length(set) == length)
            return true;
    return false;
}

List *grouping_masks(Query *query)
{
    List *masks = NIL;
    if (query->groupingSets == NIL)
        return NIL;
    GroupingFunc *mask = nullptr;
    for (auto *clause : pg::each<SortGroupClause>(query->groupClause)) {
        if (mask == nullptr || list_length(mask->args) == kKeysPerMask) {
            mask = makeNode(GroupingFunc);
            mask->location = -1;
            masks = lappend(masks, mask);
        }
        Node *const key = get_sortgroupclause_expr(clause, query->targetList);
        mask->args = lappend(mask->args, copyObjectImpl(key));
        mask->refs = lappend_int(mask->refs, static_cast<int>(clause->tleSortGroupRef));
    }
    return masks;
}

int32 all_rolled_up(const GroupingFunc *mask, bool but_first)
{
    int const keys = list_length(mask->args) - (but_first ? 1 : 0);
    return static_cast<int32>((1u << keys) - 1);
}

Node *grouping_from_masks(const GroupingFunc *call, const List *masks,
                          Node *(*read)(int i, void *arg), void *arg)
{
    Expr *result = nullptr;
    int shift = list_length(call->refs);
    const ListCell *cell;
    foreach (cell, call->refs) {
        shift--;
        if (masks == NIL) // one set: nothing is rolled up
            continue;
        Expr *const bit = grouping_bit(lfirst_int(cell), shift, masks, read, arg);
        result = result == nullptr ? bit : int4_operator("|", result, bit);
    }
    return reinterpret_cast<Node *>(result != nullptr ? result : int4_constant(0));
}

} // namespace pipeline::view
