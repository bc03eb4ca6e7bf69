#include "view/earlier_writers.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/indexing.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/xid8.h"
}

namespace pipeline::view {
namespace {

enum Column : AttrNumber { kView = 1, kXid, kNumColumns = kXid };

} // namespace

void store_earlier_writers(Oid view, const spool::Transactions &writers)
{
    delete_earlier_writers(view); // of a former start
    pg::with_relation(catalog_relation("earlier_writer"), RowExclusiveLock, [&](Relation rel) {
        for (int i = 0; i < writers.count; i++) {
            Datum values[kNumColumns] = {ObjectIdGetDatum(view), UInt64GetDatum(writers.xids[i])};
            bool nulls[kNumColumns] = {};
            CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
        }
    });
}

List *list_earlier_writers(Snapshot snapshot)
{
    List *result = NIL;
    pg::with_relation(catalog_relation("earlier_writer"), AccessShareLock, [&](Relation rel) {
        SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, nullptr);
        HeapTuple tuple;
        while (HeapTupleIsValid(tuple = systable_getnext(scan))) {
            Datum values[kNumColumns];
            bool nulls[kNumColumns];
            heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
            auto *writer = static_cast<EarlierWriter *>(palloc(sizeof(EarlierWriter)));
            *writer = {DatumGetObjectId(values[kView - 1]), DatumGetUInt64(values[kXid - 1])};
            result = lappend(result, writer);
        }
        systable_endscan(scan);
    });
    return result;
}

/// Old rows stay in the table: half of the ids ahead belong to others by then.
void wait_for_earlier_writers(Oid view)
{
    uint64 const next = U64FromFullTransactionId(ReadNextFullTransactionId());
    for (auto *writer : pg::each<EarlierWriter>(list_earlier_writers(nullptr)))
        if (writer->view == view && next - writer->xid < uint64{1} << 31)
            XactLockTableWait(static_cast<TransactionId>(writer->xid), nullptr, nullptr, XLTW_None);
}

void delete_earlier_writers(Oid view)
{
    Oid const catalog = catalog_relation("earlier_writer");
    if (!OidIsValid(catalog))
        return;
    pg::with_relation(catalog, RowExclusiveLock, [&](Relation rel) {
        ScanKeyData key;
        ScanKeyInit(&key, kView, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view));
        SysScanDesc scan = systable_beginscan(rel, catalog_relation("earlier_writer_pkey"), true,
                                              nullptr, 1, &key);
        while (HeapTuple const tuple = systable_getnext(scan))
            CatalogTupleDelete(rel, &tuple->t_self);
        systable_endscan(scan);
    });
}

} // namespace pipeline::view
