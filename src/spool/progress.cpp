#include "spool/progress.hpp"

#include "spool/xid_sets.hpp"
#include "view/catalog.hpp"
#include "pg/scope.hpp"

extern "C" {
#include "access/heapam.h"
#include "access/transam.h"
#include "catalog/indexing.h"
#include "lib/stringinfo.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
}

#include <algorithm>
#include <charconv>

namespace pipeline::spool {
namespace {

/// Columns of pipelinedb.progress.
enum Column : AttrNumber { kConsumer = 1, kFolded, kBigXids, kBigSeqs, kNumColumns = kBigSeqs };

} // namespace

/// As widen_snapshot_xid in xid8funcs.c: every xid that runs is of the same epoch as the
/// next xid, read after that, or of the one before.
uint64 widen_xid(TransactionId xid, FullTransactionId next)
{
    uint32 epoch = EpochFromFullTransactionId(next);
    if (!TransactionIdIsNormal(xid))
        epoch = 0;
    else if (xid > XidFromFullTransactionId(next))
        epoch--;
    return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

/// The type's own input function builds the datum: its layout is private to xid8funcs.c.
Datum pg_snapshot_datum(const XidSet &set)
{
    StringInfoData text;
    initStringInfo(&text);
    appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":", set.xmin, set.xmax);
    for (uint32 i = 0; i < set.nxip; i++)
        appendStringInfo(&text, i == 0 ? UINT64_FORMAT : "," UINT64_FORMAT, set.xip[i]);
    return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(text.data));
}

/// pg_snapshot's text form, "xmin:xmax:xip,xip,…": its binary form is private to xid8funcs.c.
XidSet parse_snapshot(Datum snapshot)
{
    char *const text = DatumGetCString(DirectFunctionCall1(pg_snapshot_out, snapshot));
    const char *const end = text + strlen(text);
    XidSet set;
    const char *at = std::from_chars(text, end, set.xmin).ptr;
    at = std::from_chars(at + 1, end, set.xmax).ptr;
    Size count = 0;
    for (const char *c = at; c < end; c++)
        count += *c == ',' || *c == ':';
    set.xip = static_cast<uint64 *>(palloc(sizeof(uint64) * (count + 1)));
    while (at + 1 < end)
        at = std::from_chars(at + 1, end, set.xip[set.nxip++]).ptr;
    return set;
}

XidSet xid_set_of(Snapshot snapshot, MemoryContext context)
{
    FullTransactionId const next = ReadNextFullTransactionId();
    XidSet set;
    set.xmin = widen_xid(snapshot->xmin, next);
    set.xmax = widen_xid(snapshot->xmax, next);
    set.xip = static_cast<uint64 *>(
        MemoryContextAlloc(context, sizeof(uint64) * Max(snapshot->xcnt, 1u)));
    for (uint32 i = 0; i < snapshot->xcnt; i++)
        set.xip[i] = widen_xid(snapshot->xip[i], next);
    std::sort(set.xip, set.xip + snapshot->xcnt);
    // A prepared transaction is there twice for a moment, while its session hands it over to
    // the dummy process (twophase.c, MarkAsPrepared).
    set.nxip = uint32(std::unique(set.xip, set.xip + snapshot->xcnt) - set.xip);
    return set;
}

XidSet start_set()
{
    // The own xid comes before the snapshot.
    (void) GetTopFullTransactionId();
    return start_set_of(GetLatestSnapshot());
}

/// GetSnapshotData leaves out the own process, so its xid may look finished; which of the own rows
/// count is decided by their seq.
XidSet start_set_of(Snapshot snapshot)
{
    uint64 const own = U64FromFullTransactionId(GetTopFullTransactionId());
    return without(xid_set_of(snapshot, CurrentMemoryContext), &own, 1);
}

void insert_start_progress(Oid view)
{
    XidSet const set = start_set();
    pg::with_relation(view::catalog_relation("progress"), RowExclusiveLock, [&](Relation rel) {
        Datum values[kNumColumns];
        bool nulls[kNumColumns] = {};
        values[kConsumer - 1] = ObjectIdGetDatum(view);
        values[kFolded - 1] = pg_snapshot_datum(set);
        values[kBigXids - 1] = PointerGetDatum(construct_empty_array(XID8OID));
        values[kBigSeqs - 1] = PointerGetDatum(construct_empty_array(INT8OID));
        CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
    });
}

bool has_progress(Oid consumer)
{
    return pg::with_relation(
        view::catalog_relation("progress"), AccessShareLock, [&](Relation rel) {
            ScanKeyData key;
            ScanKeyInit(&key, kConsumer, BTEqualStrategyNumber, F_OIDEQ,
                        ObjectIdGetDatum(consumer));
            SysScanDesc scan = systable_beginscan(rel, view::catalog_relation("progress_pkey"),
                                                  true, nullptr, 1, &key);
            bool const found = HeapTupleIsValid(systable_getnext(scan));
            systable_endscan(scan);
            return found;
        });
}

/// Deletes the row of `consumer` from one of the tables that have it as their key.
static void delete_row_of(Oid consumer, const char *table, const char *index)
{
    Oid const catalog = view::catalog_relation(table);
    if (!OidIsValid(catalog))
        return;
    pg::with_relation(catalog, RowExclusiveLock, [&](Relation rel) {
        ScanKeyData key;
        ScanKeyInit(&key, kConsumer, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(consumer));
        // A tick may be replacing the row: simple_heap_delete would raise "tuple concurrently
        // updated" after having waited for it, so the row is looked up again.
        for (bool again = true; again;) {
            SysScanDesc scan =
                systable_beginscan(rel, view::catalog_relation(index), true, nullptr, 1, &key);
            HeapTuple const tuple = systable_getnext(scan);
            again = false;
            if (HeapTupleIsValid(tuple)) {
                TM_FailureData failure;
                again = heap_delete(rel, &tuple->t_self, GetCurrentCommandId(true), InvalidSnapshot,
                                    true, &failure, false) == TM_Updated;
            }
            systable_endscan(scan);
            CHECK_FOR_INTERRUPTS();
        }
    });
}

void delete_progress(Oid consumer)
{
    delete_row_of(consumer, "progress", "progress_pkey");
    delete_attempt(consumer);
}

Attempt read_attempt(Oid consumer)
{
    Attempt attempt{};
    pg::with_relation(view::catalog_relation("attempt"), AccessShareLock, [&](Relation rel) {
        ScanKeyData key;
        ScanKeyInit(&key, kConsumer, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(consumer));
        SysScanDesc scan =
            systable_beginscan(rel, view::catalog_relation("attempt_pkey"), true, nullptr, 1, &key);
        TupleDesc const columns = RelationGetDescr(rel);
        bool isnull;
        if (HeapTuple const tuple = systable_getnext(scan); HeapTupleIsValid(tuple))
            attempt = {DatumGetInt32(heap_getattr(tuple, 2, columns, &isnull)),
                       DatumGetTimestampTz(heap_getattr(tuple, 3, columns, &isnull))};
        systable_endscan(scan);
    });
    return attempt;
}

void write_attempt(Oid consumer, const Attempt &attempt)
{
    delete_attempt(consumer);
    CommandCounterIncrement(); // the key is unique
    pg::with_relation(view::catalog_relation("attempt"), RowExclusiveLock, [&](Relation rel) {
        Datum values[] = {ObjectIdGetDatum(consumer), Int32GetDatum(attempt.number),
                          TimestampTzGetDatum(attempt.started)};
        bool nulls[] = {false, false, false};
        CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
    });
}

void delete_attempt(Oid consumer)
{
    delete_row_of(consumer, "attempt", "attempt_pkey");
}

} // namespace pipeline::spool
