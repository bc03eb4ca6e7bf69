#include "view/rejected.hpp"

#include "pg/scope.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "access/heapam.h"
#include "catalog/indexing.h"
#include "commands/sequence.h"
#include "mb/pg_wchar.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"
}

namespace pipeline::view {
namespace {

/// Columns of pipelinedb.rejected.
enum Column : AttrNumber {
    kId = 1,
    kView,
    kTime,
    kSqlstate,
    kMessage,
    kDetail,
    kRow,
    kChunk,
    kStream,
    kNumColumns = kStream
};

/// Columns of pipelinedb.rejection.
constexpr AttrNumber kCountView = 1;
constexpr AttrNumber kCountRows = 2;

/// Calls `fn(tuple)` for the rows of `view`, in the order of the index, as a fresh snapshot sees
/// them (genam.c: a snapshot of NULL).
template <typename Fn>
void each_row(Relation rel, const char *index_name, AttrNumber column, Oid view, Fn &&fn)
{
    Relation index = index_open(catalog_relation(index_name), AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view));
    SysScanDesc scan = systable_beginscan_ordered(rel, index, nullptr, 1, &key);
    while (HeapTuple tuple = systable_getnext_ordered(scan, ForwardScanDirection)) {
        fn(tuple);
        CHECK_FOR_INTERRUPTS();
    }
    systable_endscan_ordered(scan);
    index_close(index, NoLock);
}

template <typename Fn> void each_rejected(Relation rel, Oid view, Fn &&fn)
{
    each_row(rel, "rejected_view_idx", kView, view, fn);
}

/// False if somebody else has deleted the row, or without `wait` is about to.
bool delete_row(Relation rel, HeapTuple tuple, bool wait)
{
    TM_FailureData failure;
    return heap_delete(rel, &tuple->t_self, GetCurrentCommandId(true), InvalidSnapshot, wait,
                       &failure, false) == TM_Ok;
}

void insert_count(Relation rel, Oid view, int64 rows)
{
    Datum values[] = {ObjectIdGetDatum(view), Int64GetDatum(rows)};
    bool nulls[] = {false, false};
    CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
}

} // namespace

char *cut_error_text(const char *text)
{
    if (text == nullptr)
        return nullptr;
    int const length = pg_mbcliplen(text, static_cast<int>(strlen(text)), kMaxErrorText);
    return pnstrdup(text, static_cast<Size>(length));
}

void insert_rejected(const RejectedRow &row)
{
    pg::with_relation(catalog_relation("rejected"), RowExclusiveLock, [&](Relation rel) {
        Datum values[kNumColumns] = {};
        bool nulls[kNumColumns] = {};
        values[kId - 1] = Int64GetDatum(nextval_internal(catalog_relation("rejected_id"), false));
        values[kView - 1] = ObjectIdGetDatum(row.view);
        values[kTime - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
        values[kSqlstate - 1] = CStringGetTextDatum(unpack_sql_state(row.sqlstate));
        values[kMessage - 1] = CStringGetTextDatum(row.message);
        nulls[kDetail - 1] = row.detail == nullptr;
        if (row.detail != nullptr)
            values[kDetail - 1] = CStringGetTextDatum(row.detail);
        values[kRow - 1] = row.row;
        nulls[kRow - 1] = row.row_is_null;
        values[kChunk - 1] = PointerGetDatum(row.chunk);
        values[kStream - 1] = ObjectIdGetDatum(row.stream);
        CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
    });
}

void note_rejected(Oid view, int64 rows)
{
    pg::with_relation(catalog_relation("rejection"), RowExclusiveLock,
                      [&](Relation rel) { insert_count(rel, view, rows); });
}

void count_rejected(Oid view, int64 rows)
{
    pg::with_relation(catalog_relation("rejection"), RowExclusiveLock, [&](Relation rel) {
        int64 sum = rows;
        // Nobody else deletes here but DROP VIEW, which excludes a tick of the view.
        each_row(rel, "rejection_view_idx", kCountView, view, [&](HeapTuple tuple) {
            bool isnull;
            Datum const value = heap_getattr(tuple, kCountRows, RelationGetDescr(rel), &isnull);
            if (delete_row(rel, tuple, false))
                sum += DatumGetInt64(value);
        });
        insert_count(rel, view, sum);
    });
}

void trim_rejected(Oid view, int max)
{
    CommandCounterIncrement(); // what this tick inserted counts, too
    pg::with_relation(catalog_relation("rejected"), RowExclusiveLock, [&](Relation rel) {
        int64 surplus = -max;
        each_rejected(rel, view, [&](HeapTuple) { surplus++; });
        if (surplus <= 0)
            return;
        each_rejected(rel, view, [&](HeapTuple tuple) {
            if (surplus-- > 0)
                (void) delete_row(rel, tuple, false);
        });
    });
}

int64 delete_rejected(Oid view, ChunkTaker take, void *arg)
{
    int64 count = 0;
    MemoryContext const scratch =
        AllocSetContextCreate(CurrentMemoryContext, "rejected row", ALLOCSET_DEFAULT_SIZES);
    pg::with_relation(catalog_relation("rejected"), RowExclusiveLock, [&](Relation rel) {
        each_rejected(rel, view, [&](HeapTuple tuple) {
            bool isnull;
            Datum const chunk = heap_getattr(tuple, kChunk, RelationGetDescr(rel), &isnull);
            Datum const stream = heap_getattr(tuple, kStream, RelationGetDescr(rel), &isnull);
            pg::in_context(scratch, [&] {
                // Detoasted first: the deletion takes the toasted value along.
                bytea *const bytes = take != nullptr ? DatumGetByteaP(chunk) : nullptr;
                if (!delete_row(rel, tuple, true))
                    return;
                count++;
                if (take != nullptr)
                    take(bytes, DatumGetObjectId(stream), arg);
            });
            MemoryContextReset(scratch);
        });
    });
    MemoryContextDelete(scratch);
    return count;
}

void forget_rejected(Oid view)
{
    if (!OidIsValid(catalog_relation("rejected")))
        return;
    (void) delete_rejected(view, nullptr, nullptr);
    pg::with_relation(catalog_relation("rejection"), RowExclusiveLock, [&](Relation rel) {
        each_row(rel, "rejection_view_idx", kCountView, view,
                 [&](HeapTuple tuple) { (void) delete_row(rel, tuple, true); });
    });
}

} // namespace pipeline::view
