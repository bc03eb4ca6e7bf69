#include "view/backfill_job.hpp"

#include "pg/scope.hpp"
#include "view/catalog_row.hpp"
#include "view/rejected.hpp"

extern "C" {
#include "access/heapam.h"
#include "catalog/indexing.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/pg_lsn.h"
}

#include <initializer_list>

namespace pipeline::view {
namespace {

enum Column : AttrNumber {
    kView = 1,
    kSource,
    kStream,
    kSeam,
    kViewCreated,
    kViewTruncated,
    kSeen,
    kSeenAt,
    kTables,
    kFiles,
    kBlocks,
    kPosition,
    kBlocksDone,
    kBlocksTotal,
    kRows,
    kUpdatedRows,
    kStarted,
    kChanged,
    kFinished,
    kSqlstate,
    kMessage,
    kNumColumns = kMessage
};

constexpr char kKey[] = "backfill_job_pkey";

/// Calls `fn(rel, tuple)` for the row until that does not return TM_Updated: another session has
/// changed it, and a new version is there.
template <typename Fn> TM_Result with_last_version(Oid view, Fn &&fn)
{
    Oid const catalog = catalog_relation("backfill_job");
    if (!OidIsValid(catalog))
        return TM_Deleted;
    return pg::with_relation(catalog, RowExclusiveLock, [&](Relation rel) {
        TM_Result result = TM_Updated;
        while (result == TM_Updated) {
            result = TM_Deleted;
            with_row(rel, kKey, kView, view, [&](HeapTuple tuple) { result = fn(rel, tuple); });
            CHECK_FOR_INTERRUPTS();
        }
        return result;
    });
}

Datum array_of(const BackfillJob &job, Column column)
{
    auto *elements =
        static_cast<Datum *>(palloc(sizeof(Datum) * static_cast<Size>(job.ntables + 1)));
    for (int i = 0; i < job.ntables; i++)
        elements[i] = column == kTables  ? ObjectIdGetDatum(job.tables[i].relid)
                      : column == kFiles ? ObjectIdGetDatum(job.tables[i].file)
                                         : Int64GetDatum(job.tables[i].blocks);
    bool const is_oid = column != kBlocks;
    return PointerGetDatum(
        is_oid ? construct_array(elements, job.ntables, OIDOID, sizeof(Oid), true, TYPALIGN_INT)
               : construct_array(elements, job.ntables, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
                                 TYPALIGN_DOUBLE));
}

const Datum *elements_of(Datum array, bool is_oid, int *count)
{
    Datum *elements;
    if (is_oid)
        deconstruct_array(DatumGetArrayTypeP(array), OIDOID, sizeof(Oid), true, TYPALIGN_INT,
                          &elements, nullptr, count);
    else
        deconstruct_array(DatumGetArrayTypeP(array), INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
                          TYPALIGN_DOUBLE, &elements, nullptr, count);
    return elements;
}

void read_tables(const Datum *values, BackfillJob *job)
{
    int nfiles;
    int nblocks;
    const Datum *const relids = elements_of(values[kTables - 1], true, &job->ntables);
    const Datum *const files = elements_of(values[kFiles - 1], true, &nfiles);
    const Datum *const blocks = elements_of(values[kBlocks - 1], false, &nblocks);
    if (nfiles != job->ntables || nblocks != job->ntables)
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                        errmsg("arrays of pipelinedb.backfill_job differ in length")));
    job->tables = static_cast<SourceTable *>(
        palloc(sizeof(SourceTable) * static_cast<Size>(job->ntables + 1)));
    for (int i = 0; i < job->ntables; i++)
        job->tables[i] = {DatumGetObjectId(relids[i]), DatumGetObjectId(files[i]),
                          DatumGetInt64(blocks[i])};
}

BackfillJob *read_job(HeapTuple tuple, TupleDesc descriptor)
{
    Datum values[kNumColumns];
    bool nulls[kNumColumns];
    heap_deform_tuple(tuple, descriptor, values, nulls);
    auto *job = static_cast<BackfillJob *>(palloc0(sizeof(BackfillJob)));
    job->view = DatumGetObjectId(values[kView - 1]);
    job->source = nulls[kSource - 1] ? InvalidOid : DatumGetObjectId(values[kSource - 1]);
    job->stream = DatumGetObjectId(values[kStream - 1]);
    job->seam = DatumGetBool(values[kSeam - 1]);
    job->view_created = DatumGetUInt64(values[kViewCreated - 1]);
    job->view_truncated = DatumGetUInt64(values[kViewTruncated - 1]);
    job->seen = spool::parse_snapshot(PointerGetDatum(PG_DETOAST_DATUM(values[kSeen - 1])));
    job->seen_at = DatumGetLSN(values[kSeenAt - 1]);
    read_tables(values, job);
    job->position = DatumGetInt64(values[kPosition - 1]);
    job->blocks_done = DatumGetInt64(values[kBlocksDone - 1]);
    job->rows = DatumGetInt64(values[kRows - 1]);
    job->updated_rows = DatumGetInt64(values[kUpdatedRows - 1]);
    job->started = DatumGetTimestampTz(values[kStarted - 1]);
    job->changed = DatumGetTimestampTz(values[kChanged - 1]);
    job->finished = nulls[kFinished - 1] ? 0 : DatumGetTimestampTz(values[kFinished - 1]);
    return job;
}

void fill_progress(const BackfillJob &job, Datum *values, bool *nulls)
{
    values[kPosition - 1] = Int64GetDatum(job.position);
    values[kBlocksDone - 1] = Int64GetDatum(job.blocks_done);
    values[kBlocksTotal - 1] = Int64GetDatum(job.total_blocks());
    values[kRows - 1] = Int64GetDatum(job.rows);
    values[kUpdatedRows - 1] = Int64GetDatum(job.updated_rows);
    values[kStarted - 1] = TimestampTzGetDatum(job.started);
    values[kChanged - 1] = TimestampTzGetDatum(job.changed);
    values[kFinished - 1] = TimestampTzGetDatum(job.finished);
    nulls[kFinished - 1] = job.finished == 0;
    nulls[kSqlstate - 1] = nulls[kMessage - 1] = job.sqlstate == 0;
    if (job.sqlstate == 0)
        return;
    values[kSqlstate - 1] = CStringGetTextDatum(unpack_sql_state(job.sqlstate));
    values[kMessage - 1] = CStringGetTextDatum(cut_error_text(job.message));
}

} // namespace

BackfillJob *find_backfill(Oid view)
{
    return pg::with_relation(catalog_relation("backfill_job"), AccessShareLock, [&](Relation rel) {
        BackfillJob *job = nullptr;
        with_row(rel, kKey, kView, view,
                 [&](HeapTuple tuple) { job = read_job(tuple, RelationGetDescr(rel)); });
        return job;
    });
}

void insert_backfill(const BackfillJob &job)
{
    if (delete_backfill(job.view))
        CommandCounterIncrement(); // the key is unique
    pg::with_relation(catalog_relation("backfill_job"), RowExclusiveLock, [&](Relation rel) {
        Datum values[kNumColumns] = {};
        bool nulls[kNumColumns] = {};
        values[kView - 1] = ObjectIdGetDatum(job.view);
        values[kSource - 1] = ObjectIdGetDatum(job.source);
        nulls[kSource - 1] = !OidIsValid(job.source);
        values[kStream - 1] = ObjectIdGetDatum(job.stream);
        values[kSeam - 1] = BoolGetDatum(job.seam);
        values[kViewCreated - 1] = UInt64GetDatum(job.view_created);
        values[kViewTruncated - 1] = UInt64GetDatum(job.view_truncated);
        values[kSeen - 1] = spool::pg_snapshot_datum(job.seen);
        values[kSeenAt - 1] = LSNGetDatum(job.seen_at);
        for (Column const column : {kTables, kFiles, kBlocks})
            values[column - 1] = array_of(job, column);
        fill_progress(job, values, nulls);
        CatalogTupleInsert(rel, heap_form_tuple(RelationGetDescr(rel), values, nulls));
    });
    CommandCounterIncrement();
}

bool lock_backfill(Oid view)
{
    return with_last_version(view, [](Relation rel, HeapTuple tuple) {
               HeapTupleData locked = *tuple;
               Buffer buffer;
               TM_FailureData failure;
               TM_Result const result =
                   heap_lock_tuple(rel, &locked, GetCurrentCommandId(true), LockTupleExclusive,
                                   LockWaitBlock, false, &buffer, &failure);
               ReleaseBuffer(buffer);
               return result;
           }) == TM_Ok;
}

void store_backfill(const BackfillJob &job)
{
    pg::with_relation(catalog_relation("backfill_job"), RowExclusiveLock, [&](Relation rel) {
        Datum values[kNumColumns] = {};
        bool nulls[kNumColumns] = {};
        bool replace[kNumColumns] = {};
        fill_progress(job, values, nulls);
        for (int column = kPosition; column <= kNumColumns; column++)
            replace[column - 1] = true;
        with_row(rel, kKey, kView, job.view, [&](HeapTuple tuple) {
            CatalogTupleUpdate(
                rel, &tuple->t_self,
                heap_modify_tuple(tuple, RelationGetDescr(rel), values, nulls, replace));
        });
    });
    CommandCounterIncrement();
}

bool delete_backfill(Oid view)
{
    TM_Result const result = with_last_version(view, [](Relation rel, HeapTuple tuple) {
        TM_FailureData failure;
        return heap_delete(rel, &tuple->t_self, GetCurrentCommandId(true), InvalidSnapshot, true,
                           &failure, false);
    });
    return result == TM_Ok;
}

} // namespace pipeline::view
