#include "spool/progress_store.hpp"

#include "view/catalog.hpp"

extern "C" {
#include "access/heapam.h"
#include "catalog/indexing.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
}

namespace pipeline::spool {
namespace {

enum ProgressColumn { kConsumer, kFolded, kBigXids, kBigSeqs, kNumColumns };

/// xid8 and int8 arrays alike: eight bytes by value.
Datum form_array(const BigTransaction *big, int nbig, bool xids)
{
    auto *elements = static_cast<Datum *>(palloc(sizeof(Datum) * static_cast<Size>(nbig + 1)));
    for (int i = 0; i < nbig; i++)
        elements[i] = xids ? UInt64GetDatum(big[i].xid) : Int64GetDatum(big[i].seq);
    return PointerGetDatum(construct_array(elements, nbig, xids ? XID8OID : INT8OID, 8,
                                           FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

const Datum *array_elements(Datum array, Oid type, int *count)
{
    Datum *elements;
    deconstruct_array(DatumGetArrayTypeP(array), type, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
                      &elements, nullptr, count);
    return elements;
}

Progress parse_progress(const Datum *values)
{
    Progress progress;
    progress.folded = parse_snapshot(values[kFolded]);
    int nseqs;
    const Datum *const xids = array_elements(values[kBigXids], XID8OID, &progress.nbig);
    const Datum *const seqs = array_elements(values[kBigSeqs], INT8OID, &nseqs);
    if (nseqs != progress.nbig)
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                        errmsg("arrays of pipelinedb.progress differ in length")));
    progress.big = static_cast<BigTransaction *>(
        palloc(sizeof(BigTransaction) * static_cast<Size>(progress.nbig + 1)));
    for (int i = 0; i < progress.nbig; i++)
        progress.big[i] = {DatumGetUInt64(xids[i]), DatumGetInt64(seqs[i])};
    return progress;
}

void form_values(Oid consumer, const Progress &progress, Datum *values)
{
    values[kConsumer] = ObjectIdGetDatum(consumer);
    values[kFolded] = pg_snapshot_datum(progress.folded);
    values[kBigXids] = form_array(progress.big, progress.nbig, true);
    values[kBigSeqs] = form_array(progress.big, progress.nbig, false);
}

} // namespace

List *list_progress(Snapshot snapshot)
{
    List *result = NIL;
    Relation rel = table_open(view::catalog_relation("progress"), RowExclusiveLock);
    SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, nullptr);
    while (HeapTuple tuple = systable_getnext(scan)) {
        Datum values[kNumColumns];
        bool nulls[kNumColumns];
        heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
        auto *row = static_cast<StoredProgress *>(palloc0(sizeof(StoredProgress)));
        row->consumer = DatumGetObjectId(values[kConsumer]);
        row->progress = parse_progress(values);
        row->version = HeapTupleHeaderGetRawXmin(tuple->t_data);
        result = lappend(result, row);
    }
    systable_endscan(scan);
    table_close(rel, NoLock);
    return result;
}

TransactionId replace_progress(Oid consumer, TransactionId version, const Progress &progress)
{
    Relation rel = table_open(view::catalog_relation("progress"), RowExclusiveLock);
    ScanKeyData key;
    ScanKeyInit(&key, kConsumer + 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(consumer));
    SysScanDesc scan =
        systable_beginscan(rel, view::catalog_relation("progress_pkey"), true, nullptr, 1, &key);
    HeapTuple current = systable_getnext(scan);
    // xmin names the tick that wrote the version; freezing keeps it (only hint bits change).
    if (!HeapTupleIsValid(current) || HeapTupleHeaderGetRawXmin(current->t_data) != version)
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("progress of consumer %u was changed by somebody else", consumer)));
    Datum values[kNumColumns];
    bool nulls[kNumColumns] = {};
    form_values(consumer, progress, values);
    HeapTuple changed = heap_form_tuple(RelationGetDescr(rel), values, nulls);
    CatalogTupleUpdate(rel, &current->t_self, changed);
    systable_endscan(scan);
    table_close(rel, NoLock);
    return GetCurrentTransactionId();
}

bool remove_progress(Oid consumer, TransactionId version)
{
    Relation rel = table_open(view::catalog_relation("progress"), RowExclusiveLock);
    ScanKeyData key;
    ScanKeyInit(&key, kConsumer + 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(consumer));
    SysScanDesc scan =
        systable_beginscan(rel, view::catalog_relation("progress_pkey"), true, nullptr, 1, &key);
    HeapTuple const current = systable_getnext(scan);
    bool removed = false;
    if (HeapTupleIsValid(current) && HeapTupleHeaderGetRawXmin(current->t_data) == version) {
        HeapTupleData locked = *current;
        Buffer buffer;
        TM_FailureData failure;
        removed = heap_lock_tuple(rel, &locked, GetCurrentCommandId(true), LockTupleExclusive,
                                  LockWaitSkip, false, &buffer, &failure) == TM_Ok;
        ReleaseBuffer(buffer);
        if (removed)
            CatalogTupleDelete(rel, &current->t_self);
    }
    systable_endscan(scan);
    table_close(rel, NoLock);
    return removed;
}

TransactionId add_progress(Oid consumer, const Progress &progress)
{
    Relation rel = table_open(view::catalog_relation("progress"), RowExclusiveLock);
    Datum values[kNumColumns];
    bool nulls[kNumColumns] = {};
    form_values(consumer, progress, values);
    CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
    table_close(rel, NoLock);
    return GetCurrentTransactionId();
}

} // namespace pipeline::spool
