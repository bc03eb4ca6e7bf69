#include "fold/expired_rows.hpp"

#include "fold/matrel_target.hpp"
#include "pg/compat.hpp"
#include "pg/list.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

/// A scan stops after so many ms, so that the rows of streams do not wait for it.
constexpr int kLongestScan = 50;
constexpr int kRowsPerLook = 1024; ///< at the time

void note_page(Removal *removal, BlockNumber block)
{
    if (removal->pages != nullptr &&
        (removal->npages == 0 || removal->pages[removal->npages - 1] != block))
        removal->pages[removal->npages++] = block;
}

/// False if somebody is at that row.
bool remove_row(Removal *removal, TupleTableSlot *row)
{
    TM_FailureData failure;
    TM_Result const result =
        table_tuple_delete(removal->matrel, &row->tts_tid, GetCurrentCommandId(true),
                           removal->snapshot, InvalidSnapshot, removal->wait, &failure, false);
    if (result == TM_Ok) {
        removal->deleted++;
        note_page(removal, ItemPointerGetBlockNumber(&row->tts_tid));
    }
    // Deleted by another one: gone as well.
    return result == TM_Ok || result == TM_Deleted || result == TM_SelfModified;
}

ExpiryKey key_of_row(const Removal &removal, TupleTableSlot *row)
{
    bool isnull;
    Datum const value = slot_getattr(row, removal.rule.column, &isnull);
    return key_of(removal.rule, value, isnull);
}

bool is_time_index(Relation index, const ExpiryRule &rule)
{
    Form_pg_index const form = index->rd_index;
    constexpr int16 kAscending = 0; // NULL last
    return form->indisvalid && form->indisready && index->rd_rel->relam == BTREE_AM_OID &&
           RelationGetIndexPredicate(index) == NIL && form->indkey.values[0] == rule.column &&
           index->rd_indoption[0] == kAscending && index->rd_opcintype[0] == rule.type &&
           index->rd_opfamily[0] ==
               lookup_type_cache(rule.type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
}

RegProcedure not_before(Oid type)
{
    if (type == DATEOID)
        return F_DATE_GE;
    return type == TIMESTAMPOID ? F_TIMESTAMP_GE : F_TIMESTAMPTZ_GE;
}

/// Returns whether the walk along the index goes on.
bool take_row(Removal *removal, TupleTableSlot *row)
{
    ExpiryKey const key = key_of_row(*removal, row);
    if (!is_expired(removal->rule, key, removal->cutoff)) {
        removal->left = std::min(removal->left, key);
        return false;
    }
    if (!remove_row(removal, row))
        removal->left = std::min(removal->left, key);
    if (removal->deleted < removal->limit)
        return true;
    removal->left = std::min(removal->left, key);
    removal->more = true;
    return false;
}

} // namespace

Oid find_time_index(Relation matrel, const ExpiryRule &rule)
{
    Oid found = InvalidOid;
    for (Oid const oid : pg::each_oid(RelationGetIndexList(matrel))) {
        Relation index = index_open(oid, AccessShareLock);
        if (is_time_index(index, rule))
            found = oid;
        index_close(index, NoLock);
        if (OidIsValid(found))
            break;
    }
    return found;
}

/// From `first` on: entries of rows deleted before stay in the index until VACUUM, and while an
/// old snapshot is held nothing marks them as dead.
void remove_by_index(Removal *removal, Oid oid)
{
    refuse_triggers(removal->matrel);
    removal->deleted = 0;
    removal->left = kNoKey;
    removal->more = false;
    Relation index = index_open(oid, AccessShareLock);
    TupleTableSlot *const row = table_slot_create(removal->matrel, nullptr);
    bool const bounded = removal->first != kFirstKey;
    IndexScanDesc const scan =
        pg::begin_index_scan(removal->matrel, index, removal->snapshot, bounded ? 1 : 0);
    ScanKeyData key;
    if (bounded)
        ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, not_before(removal->rule.type),
                    value_of(removal->rule, removal->first));
    index_rescan(scan, bounded ? &key : nullptr, bounded ? 1 : 0, nullptr, 0);
    while (index_getnext_slot(scan, ForwardScanDirection, row) && take_row(removal, row))
        CHECK_FOR_INTERRUPTS();
    index_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
    index_close(index, NoLock);
}

void remove_by_scan(Removal *removal, BlockNumber nblocks)
{
    refuse_triggers(removal->matrel);
    removal->deleted = 0;
    removal->left = kNoKey;
    removal->more = false;
    BlockNumber const end = RelationGetNumberOfBlocks(removal->matrel);
    if (removal->block >= end)
        return;
    TimestampTz const begun = GetCurrentTimestamp();
    TupleTableSlot *const row = table_slot_create(removal->matrel, nullptr);
    TableScanDesc const scan =
        table_beginscan_strat(removal->matrel, removal->snapshot, 0, nullptr, true, false);
    BlockNumber const last = removal->block + std::min(nblocks, end - removal->block);
    heap_setscanlimits(scan, removal->block, last - removal->block);
    removal->block = last;
    int64 rows = 0;
    while (table_scan_getnextslot(scan, ForwardScanDirection, row)) {
        CHECK_FOR_INTERRUPTS();
        ExpiryKey const key = key_of_row(*removal, row);
        if (!is_expired(removal->rule, key, removal->cutoff) || !remove_row(removal, row))
            removal->left = std::min(removal->left, key);
        bool const late = ++rows % kRowsPerLook == 0 &&
                          TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), kLongestScan);
        if (removal->deleted >= removal->limit || (late && !removal->wait)) {
            removal->block = ItemPointerGetBlockNumber(&row->tts_tid);
            break;
        }
    }
    removal->more = removal->block < end;
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
}

} // namespace pipeline::fold
