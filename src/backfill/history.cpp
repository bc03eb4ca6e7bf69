#include "backfill/history.hpp"

#include "pg/scope.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/transam.h"
#include "storage/bufmgr.h"
#include "storage/itemptr.h"
}

namespace pipeline::backfill {
namespace {

struct History {
    const view::BackfillJob *job; ///< nullptr: no statement of a backfill runs
    FullTransactionId next;       ///< read at the first row, hence after the statement's snapshot
    int64 updated_rows;
    Oid table;      ///< the last one ...
    bool is_listed; ///< ... and whether it was part of the source at the seam
    SubTransactionId subtransaction;
};

constinit History history{};
constinit bool callbacks_registered = false;

/// Subtransactions get ascending numbers: one that fails takes along what its children did.
void forget_in_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId, void *)
{
    if (event == SUBXACT_EVENT_ABORT_SUB && history.subtransaction >= mine)
        history = {};
}

void forget(XactEvent event, void *)
{
    if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
        history = {};
}

/// A partition that was attached later is not part of the source.
bool is_of_source(Oid table)
{
    if (table == history.table)
        return history.is_listed;
    history.table = table;
    history.is_listed = false;
    for (int i = 0; i < history.job->ntables; i++)
        history.is_listed |= history.job->tables[i].relid == table;
    return history.is_listed;
}

struct RowHeader {
    bool is_frozen;
    bool is_updated;
    bool page_is_old; ///< not changed since the seam
};

RowHeader read_header(Oid table, ItemPointer row)
{
    return pg::with_relation(table, NoLock, [&](Relation rel) {
        Buffer const buffer = ReadBuffer(rel, ItemPointerGetBlockNumber(row));
        LockBuffer(buffer, BUFFER_LOCK_SHARE);
        Page const page = BufferGetPage(buffer);
        ItemId const item = PageGetItemId(page, ItemPointerGetOffsetNumber(row));
        RowHeader header{};
        if (ItemIdIsNormal(item)) {
            auto *const tuple = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, item));
            header.is_frozen = HeapTupleHeaderXminFrozen(tuple);
            header.is_updated = (tuple->t_infomask & HEAP_UPDATED) != 0;
        }
        header.page_is_old = rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT &&
                             PageGetLSN(page) <= history.job->seen_at;
        UnlockReleaseBuffer(buffer);
        return header;
    });
}

/// A frozen row keeps its xmin, which may be of an earlier epoch and look like one of today. If its
/// page is as it was at the seam, the row was frozen then, hence committed before.
bool is_history_after_all(Oid table, ItemPointer row)
{
    RowHeader const header = read_header(table, row);
    if (header.is_frozen && header.page_is_old && EpochFromFullTransactionId(history.next) > 0)
        return true;
    history.updated_rows += header.is_updated;
    return false;
}

bool takes(Oid table, ItemPointer row, TransactionId xmin)
{
    if (history.job == nullptr)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("pipelinedb.backfill_takes() may only be called by "
                               "pipelinedb.backfill()")));
    if (!is_of_source(table))
        return false;
    if (!FullTransactionIdIsValid(history.next))
        history.next = ReadNextFullTransactionId();
    return !TransactionIdIsNormal(xmin) ||
           history.job->seen.contains(spool::widen_xmin(xmin, history.next)) ||
           is_history_after_all(table, row);
}

} // namespace

void begin_history(const view::BackfillJob *job)
{
    if (!callbacks_registered) {
        RegisterXactCallback(forget, nullptr);
        RegisterSubXactCallback(forget_in_subtransaction, nullptr);
        callbacks_registered = true;
    }
    if (history.job != nullptr)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                        errmsg("pipelinedb.backfill() cannot be called by the statements of "
                               "another one")));
    history = {};
    history.job = job;
    history.subtransaction = GetCurrentSubTransactionId();
}

int64 end_history()
{
    int64 const updated_rows = history.updated_rows;
    history = {};
    return updated_rows;
}

} // namespace pipeline::backfill

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_backfill_takes);

Datum pipeline_backfill_takes(PG_FUNCTION_ARGS)
{
    PG_RETURN_BOOL(pipeline::backfill::takes(PG_GETARG_OID(0),
                                             reinterpret_cast<ItemPointer>(PG_GETARG_POINTER(1)),
                                             PG_GETARG_TRANSACTIONID(2)));
}
}
