#include "fold/expired_partitions.hpp"

#include "pg/list.hpp"
#include "view/partition_range.hpp"

extern "C" {
#include "access/tableam.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

/// The last key that can lie below an upper bound.
ExpiryKey last_key(const PartitionRemoval &removal, const PartitionBoundInfo bounds, int i)
{
    int64 number;
    if (bounds->kind[i][0] != PARTITION_RANGE_DATUM_VALUE ||
        !view::partition_number(removal.rule.type, bounds->datums[i][0], &number))
        return kNoKey;
    return number - 1;
}

/// The expired ones; `left` is of the others.
List *list_expired(PartitionRemoval *removal)
{
    List *expired = NIL;
    PartitionDesc const partitions = RelationGetPartitionDesc(removal->matrel, true);
    if (partitions->nparts == 0)
        return NIL;
    PartitionBoundInfo const bounds = partitions->boundinfo;
    for (int i = 0; i < bounds->ndatums; i++) {
        if (bounds->indexes[i] < 0)
            continue;
        ExpiryKey const key = last_key(*removal, bounds, i);
        if (is_expired(removal->rule, key, removal->cutoff))
            expired = lappend_oid(expired, partitions->oids[bounds->indexes[i]]);
        else
            removal->left = std::min(removal->left, key);
    }
    return expired;
}

bool lock(const PartitionRemoval &removal, Oid relid)
{
    if (!removal.wait)
        return ConditionalLockRelationOid(relid, AccessExclusiveLock);
    LockRelationOid(relid, AccessExclusiveLock);
    return true;
}

int64 count_rows(Oid relid)
{
    Relation rel = table_open(relid, NoLock);
    if (rel->rd_rel->relkind != RELKIND_RELATION) {
        table_close(rel, NoLock);
        return 0;
    }
    int64 rows = 0;
    TupleTableSlot *const slot = table_slot_create(rel, nullptr);
    TableScanDesc const scan = table_beginscan(rel, GetActiveSnapshot(), 0, nullptr);
    while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
        CHECK_FOR_INTERRUPTS();
        rows++;
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(slot);
    table_close(rel, NoLock);
    return rows;
}

} // namespace

void drop_expired_partitions(PartitionRemoval *removal)
{
    removal->rows = 0;
    removal->left = kNoKey;
    removal->more = removal->locked_out = false;
    List *const expired = list_expired(removal);
    if (expired == NIL)
        return;
    if (!lock(*removal, RelationGetRelid(removal->matrel))) {
        removal->locked_out = true;
        return;
    }
    int dropped = 0;
    for (Oid const relid : pg::each_oid(expired)) {
        if (dropped == removal->limit) {
            removal->more = true;
            break;
        }
        if (!lock(*removal, relid)) {
            removal->locked_out = true;
            continue;
        }
        if (removal->count)
            removal->rows += count_rows(relid);
        ObjectAddress address;
        ObjectAddressSet(address, RelationRelationId, relid);
        performDeletion(&address, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
        CommandCounterIncrement();
        dropped++;
    }
}

} // namespace pipeline::fold
