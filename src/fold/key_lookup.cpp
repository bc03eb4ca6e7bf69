#include "fold/key_lookup.hpp"

#include "pg/compat.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/group_hash.hpp"

extern "C" {
#include "access/relscan.h"
#include "access/skey.h"
#include "catalog/pg_am.h"
#include "utils/typcache.h"
}

namespace pipeline::fold {

/// A key that the index does not compare.
struct ComparedKey {
    int column;
    Oid collation;
    FmgrInfo equals;
};

struct KeyLookup {
    Relation matrel;
    Relation index;
    MemoryContext context;    ///< lives as long as the scans
    TableScanDesc table_scan; ///< of a view of a single row
    IndexScanDesc index_scan;
    int nscan_keys;
    ScanKeyData scan_keys[INDEX_MAX_KEYS];
    int nhashed; ///< 0 with a unique index
    int *hashed; ///< columns, in the order of hash_group's arguments
    view::ColumnHash *hashes;
    NullableDatum *values;
    int ncompared;
    ComparedKey *compared;
};

namespace {

bool is_usable(Relation index)
{
    Form_pg_index const form = index->rd_index;
    return form->indisvalid && form->indisready && index->rd_rel->relam == BTREE_AM_OID &&
           RelationGetIndexPredicate(index) == NIL;
}

/// The columns of an index are keys, or 0 for an expression; returns how many are expressions.
int count_expressions(Relation index, int nkeys)
{
    int count = 0;
    for (int i = 0; i < index->rd_index->indnkeyatts; i++) {
        int const column = index->rd_index->indkey.values[i];
        if (column > nkeys)
            return -1;
        count += column == 0;
    }
    return count;
}

/// Over exactly the keys; for a view of a single row, any unique index.
bool is_unique_over_keys(Relation index, int nkeys)
{
    Form_pg_index const form = index->rd_index;
    if (!form->indisunique || !form->indimmediate)
        return false;
    return nkeys == 0 || (form->indnkeyatts == nkeys && count_expressions(index, nkeys) == 0);
}

/// hash_group(keys); nullptr if the index has no such column.
List *hashed_columns(Relation index, int nkeys)
{
    if (count_expressions(index, nkeys) != 1)
        return nullptr;
    auto *call = static_cast<FuncExpr *>(linitial(RelationGetIndexExpressions(index)));
    if (!IsA(call, FuncExpr) || call->funcid != view::hash_group_function())
        return nullptr;
    List *columns = NIL;
    for (auto *arg : pg::each<Var>(call->args)) {
        if (!IsA(arg, Var) || arg->varattno <= 0 || arg->varattno > nkeys)
            return nullptr;
        columns = lappend_int(columns, arg->varattno - 1);
    }
    return columns;
}

/// One of them is there once a restore has come to its end.
Relation open_key_index(Relation matrel, int nkeys, List **hashed)
{
    Relation found = nullptr;
    for (Oid const oid : pg::each_oid(RelationGetIndexList(matrel))) {
        Relation index = index_open(oid, RowExclusiveLock);
        List *columns = NIL;
        bool fits = is_usable(index);
        if (fits && !is_unique_over_keys(index, nkeys)) {
            columns = nkeys > 0 ? hashed_columns(index, nkeys) : NIL;
            fits = columns != NIL;
        }
        // A unique index needs no comparison.
        if (fits && (found == nullptr || (*hashed != NIL && columns == NIL))) {
            if (found != nullptr)
                index_close(found, NoLock);
            found = index;
            *hashed = columns;
        } else {
            index_close(index, NoLock);
        }
    }
    return found;
}

void prepare_scan_keys(KeyLookup *lookup)
{
    Relation const index = lookup->index;
    lookup->nscan_keys = index->rd_index->indnkeyatts;
    for (int i = 0; i < lookup->nscan_keys; i++) {
        Oid const op = get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
                                           index->rd_opcintype[i], BTEqualStrategyNumber);
        if (!OidIsValid(op))
            elog(ERROR, "no equality operator in operator family %u", index->rd_opfamily[i]);
        ScanKeyEntryInitialize(&lookup->scan_keys[i], 0, static_cast<AttrNumber>(i + 1),
                               BTEqualStrategyNumber, InvalidOid, index->rd_indcollation[i],
                               get_opcode(op), static_cast<Datum>(0));
    }
}

bool is_in_index(const KeyLookup *lookup, int column)
{
    const int16 *const columns = lookup->index->rd_index->indkey.values;
    for (int i = 0; i < lookup->nscan_keys; i++)
        if (columns[i] == column + 1)
            return true;
    return false;
}

void prepare_comparisons(KeyLookup *lookup, int nkeys)
{
    TupleDesc const descriptor = RelationGetDescr(lookup->matrel);
    lookup->compared =
        static_cast<ComparedKey *>(palloc0(sizeof(ComparedKey) * static_cast<Size>(nkeys)));
    for (int i = 0; i < nkeys; i++) {
        if (is_in_index(lookup, i))
            continue;
        Form_pg_attribute const attribute = TupleDescAttr(descriptor, i);
        ComparedKey &key = lookup->compared[lookup->ncompared++];
        key.column = i;
        key.collation = attribute->attcollation;
        Oid const op = lookup_type_cache(attribute->atttypid, TYPECACHE_EQ_OPR)->eq_opr;
        if (!OidIsValid(op))
            elog(ERROR, "no equality operator for type %u", attribute->atttypid);
        fmgr_info(get_opcode(op), &key.equals);
    }
}

void prepare_hashes(KeyLookup *lookup, const List *columns)
{
    TupleDesc const descriptor = RelationGetDescr(lookup->matrel);
    auto const count = static_cast<Size>(list_length(columns));
    lookup->hashed = static_cast<int *>(palloc(sizeof(int) * count));
    lookup->hashes = static_cast<view::ColumnHash *>(palloc0(sizeof(view::ColumnHash) * count));
    lookup->values = static_cast<NullableDatum *>(palloc(sizeof(NullableDatum) * count));
    const ListCell *cell;
    foreach (cell, columns) {
        Form_pg_attribute const attribute = TupleDescAttr(descriptor, lfirst_int(cell));
        view::ColumnHash &hash = lookup->hashes[lookup->nhashed];
        hash.type = attribute->atttypid;
        hash.collation = attribute->attcollation;
        lookup->hashed[lookup->nhashed++] = lfirst_int(cell);
    }
}

Datum hash_of(KeyLookup *lookup, GroupKeys group)
{
    for (int i = 0; i < lookup->nhashed; i++)
        lookup->values[i] = {group.values[lookup->hashed[i]], group.isnull[lookup->hashed[i]]};
    return Int32GetDatum(
        view::hash_group(lookup->hashes, lookup->values, lookup->nhashed, lookup->context));
}

/// Of the group; hash functions allocate in the current context.
void set_scan_keys(KeyLookup *lookup, GroupKeys group)
{
    for (int i = 0; i < lookup->nscan_keys; i++) {
        int const column = lookup->index->rd_index->indkey.values[i] - 1;
        ScanKeyData &key = lookup->scan_keys[i];
        bool const isnull = column >= 0 && group.isnull[column];
        // NULL groups: the index is NULLS NOT DISTINCT, and a search for IS NULL finds them.
        key.sk_flags = isnull ? SK_ISNULL | SK_SEARCHNULL : 0;
        if (column < 0)
            key.sk_argument = hash_of(lookup, group);
        else
            key.sk_argument = isnull ? static_cast<Datum>(0) : group.values[column];
    }
}

/// Values may be out of line in the table; equality functions copy them as they need, into the
/// current context.
bool has_same_keys(KeyLookup *lookup, GroupKeys group, TupleTableSlot *stored)
{
    for (int i = 0; i < lookup->ncompared; i++) {
        ComparedKey &key = lookup->compared[i];
        bool isnull;
        Datum const value = slot_getattr(stored, key.column + 1, &isnull);
        if (isnull != group.isnull[key.column])
            return false;
        if (!isnull && !DatumGetBool(FunctionCall2Coll(&key.equals, key.collation, value,
                                                       group.values[key.column])))
            return false;
    }
    return true;
}

/// Fetching through the index prunes the page first (heapam_index_fetch_tuple calls
/// heap_page_prune_opt), so that the update after it finds room and stays HOT. As
/// index_getnext_slot, which does not say what the index points to: the fetch moves xs_heaptid on
/// to the visible version.
bool next_candidate(KeyLookup *lookup, TupleTableSlot *stored, ItemPointer place)
{
    IndexScanDesc const scan = lookup->index_scan;
    while (scan->xs_heap_continue || index_getnext_tid(scan, ForwardScanDirection) != nullptr) {
        *place = scan->xs_heaptid;
        if (index_fetch_heap(scan, stored))
            return true;
    }
    return false;
}

} // namespace

KeyLookup *open_lookup(Relation matrel, int nkeys, Snapshot snapshot)
{
    List *hashed = NIL;
    Relation const index = open_key_index(matrel, nkeys, &hashed);
    if (index == nullptr)
        return nullptr;
    auto *lookup = static_cast<KeyLookup *>(palloc0(sizeof(KeyLookup)));
    lookup->matrel = matrel;
    lookup->index = index;
    lookup->context = CurrentMemoryContext;
    if (nkeys == 0) {
        lookup->table_scan = table_beginscan_strat(matrel, snapshot, 0, nullptr, true, false);
        return lookup;
    }
    prepare_scan_keys(lookup);
    if (hashed != NIL) {
        prepare_hashes(lookup, hashed);
        prepare_comparisons(lookup, nkeys);
    }
    lookup->index_scan = pg::begin_index_scan(matrel, index, snapshot, lookup->nscan_keys);
    return lookup;
}

bool find_group(KeyLookup *lookup, GroupKeys group, TupleTableSlot *stored, ItemPointer place,
                MemoryContext scratch)
{
    ItemPointerSetInvalid(place);
    // Not in the scratch context: the scan keeps what it allocates on the way (nbtree.c:
    // btgettuple, killedItems).
    return pg::in_context(lookup->context, [&] {
        ExecClearTuple(stored);
        if (lookup->table_scan != nullptr) {
            table_rescan(lookup->table_scan, nullptr);
            return table_scan_getnextslot(lookup->table_scan, ForwardScanDirection, stored);
        }
        pg::in_context(scratch, [&] { set_scan_keys(lookup, group); });
        index_rescan(lookup->index_scan, lookup->scan_keys, lookup->nscan_keys, nullptr, 0);
        while (next_candidate(lookup, stored, place)) {
            if (pg::in_context(scratch, [&] { return has_same_keys(lookup, group, stored); }))
                return true;
            CHECK_FOR_INTERRUPTS();
        }
        return false;
    });
}

KeyOrder *order_of_lookup(const KeyLookup *lookup)
{
    return pg::in_context(lookup->context, [&] { return order_of_index(lookup->index); });
}

void leave_page(KeyLookup *lookup)
{
    if (lookup->index_scan != nullptr)
        table_index_fetch_reset(lookup->index_scan->xs_heapfetch);
}

void close_lookup(KeyLookup *lookup)
{
    if (lookup->index_scan != nullptr)
        index_endscan(lookup->index_scan);
    if (lookup->table_scan != nullptr)
        table_endscan(lookup->table_scan);
    index_close(lookup->index, NoLock);
}

} // namespace pipeline::fold
