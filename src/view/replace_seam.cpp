// Two designs were weighed. The seam could be the commit of the replacement: then the fold worker
// would have to know two queries for one table, and which transactions are whose. It is the view's
// progress instead, where the worker stood when the lock kept it out: that is stored already, it is
// one set of transactions as of one moment, and it moves with the change or not at all. To wait
// until it holds all that has committed when the lock is there would not end under load; to wait
// for what was committed before the statement is enough for whoever runs it.
#include "view/replace_seam.hpp"

#include "pg/scope.hpp"
#include "pg/stop_points.hpp"
#include "spool/progress.hpp"
#include "spool/rendezvous.hpp"
#include "spool/unfolded.hpp"
#include "spool/view_lock.hpp"

extern "C" {
#include "access/transam.h"
#include "rewrite/rewriteSupport.h"
#include "storage/lmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

#include <algorithm>

namespace pipeline::view {
namespace {

/// A view that goes by itself for so long is not waited for any longer.
constexpr int kPatienceMs = 10000;
constexpr long kPauseMs = 20;

bool is_stopped(const ContinuousQuery *query)
{
    return !query->active || query->failed;
}

/// Then the worker has been kept out since, and knows no query but the old one.
bool is_changed_by_us(const ContinuousQuery *query)
{
    if (FullTransactionIdEquals(query->created_xid, GetTopFullTransactionIdIfAny()))
        return true;
    HeapTuple const tuple = SearchSysCache2(RULERELNAME, ObjectIdGetDatum(query->definition),
                                            PointerGetDatum(ViewSelectRuleName));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "definition of view \"%s\" has no query", get_rel_name(query->view));
    bool const ours = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
    ReleaseSysCache(tuple);
    return ours;
}

/// Its own rows commit with the new query, and would count by it, also those written before.
void refuse_own_rows(const ContinuousQuery *query)
{
    if (!spool::has_written())
        return;
    ereport(
        ERROR,
        (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
         errmsg("cannot replace the query of \"%s\" in a transaction that has written to a stream",
                get_rel_name(query->view)),
         errdetail("It would not be clear which query counts these rows."),
         errhint("Replace the view first, or in a transaction of its own.")));
}

void refuse_lost(const ContinuousQuery *query)
{
    if (query->lost)
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("view \"%s\" is detached from its stream", get_rel_name(query->view)),
                 errhint("Run pipelinedb.activate() first.")));
}

/// Groups of the old query cannot become groups of the new one.
void refuse_groups(const ContinuousQuery *query)
{
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("cannot replace the query of stopped view \"%s\"", get_rel_name(query->view)),
             errdetail("Writers have aggregated rows for its old query that wait to be folded."),
             errhint("Run pipelinedb.activate() and pipelinedb.flush() first, or "
                     "pipelinedb.truncate_continuous_view() to give up what was written.")));
}

void refuse_to_wait(const ContinuousQuery *query, spool::WaitResult result)
{
    const char *const reason = result == spool::WaitResult::kHalted ? "Folding is turned off."
                               : result == spool::WaitResult::kNoWorker
                                   ? "No fold worker runs."
                                   : "It is catching up, or a relation that it reads is locked.";
    ereport(
        ERROR,
        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
         errmsg("cannot replace the query of \"%s\": it has rows to fold yet",
                get_rel_name(query->view)),
         errdetail("%s", reason),
         errhint("Try again later; or run pipelinedb.deactivate() first, if the new query shall "
                 "count them.")));
}

/// Who aggregates has groups of the old query, and commits them later.
void wait_for_aggregating_writers(const ContinuousQuery *query)
{
    Oid streams[kMaxStreams];
    std::copy_n(query->streams, query->nstreams, streams);
    std::sort(streams, streams + query->nstreams);
    for (int i = 0; i < query->nstreams; i++)
        spool::lock_views_of(streams[i]);
    pg::stop_point("replace_alone");
}

void pause()
{
    CHECK_FOR_INTERRUPTS();
    (void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kPauseMs,
                     PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
}

/// With the worker kept out. False: it has to go on first.
bool is_seam(const ContinuousQuery *query, const spool::XidSet &before, bool stopped)
{
    spool::Unfolded const left = spool::unfolded_by(*query, before);
    if (stopped && left.groups)
        refuse_groups(query);
    return stopped || (!left.rows && !left.groups && !left.in_pieces);
}

} // namespace

Seam make_seam(const ContinuousQuery *query)
{
    Oid const view = query->view;
    refuse_lost(query);
    if (is_changed_by_us(query)) {
        LockRelationOid(view, AccessExclusiveLock);
        return Seam::kFolded;
    }
    refuse_own_rows(query);
    wait_for_aggregating_writers(query);
    spool::XidSet const before = spool::xid_set_of(GetLatestSnapshot(), CurrentMemoryContext);
    TimestampTz const begin = GetCurrentTimestamp();
    for (;;) {
        bool const stopped = is_stopped(find_query(view));
        spool::WaitResult const result = stopped ? spool::WaitResult::kDone : spool::flush();
        pg::stop_point("replace_flushed");
        LockRelationOid(view, AccessExclusiveLock);
        pg::stop_point("replace_locked");
        const ContinuousQuery *const now = find_query(view);
        if (is_stopped(now) == stopped && is_seam(now, before, stopped))
            return stopped ? Seam::kWithBacklog : Seam::kFolded;
        if (TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), kPatienceMs))
            refuse_to_wait(now, result);
        UnlockRelationOid(view, AccessExclusiveLock);
        pause();
    }
}

} // namespace pipeline::view
