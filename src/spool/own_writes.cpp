#include "spool/own_writes.hpp"

#include "pg/list.hpp"
#include "pg/settings.hpp"
#include "pg/utility_hook.hpp"
#include "spool/rendezvous.hpp"
#include "spool/shared_state.hpp"
#include "spool/stream_workers.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "access/parallel.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/resowner.h"
}

namespace pipeline::spool {
namespace {

constexpr int kMaxOwn = 16;

/// Own committed writes that are not known to be folded. Too many of them, or one whose xid
/// is not known (COMMIT PREPARED), are waited for by a flush.
struct OwnWrites {
    FullTransactionId xids[kMaxOwn];
    Concerned concerned[kMaxOwn]; ///< who folds them
    int count;
    bool others;

    bool any() const { return count > 0 || others; }
    void forget()
    {
        count = 0;
        others = false;
    }
};

constinit OwnWrites own{};
constinit bool wait_after_commit = false;

constexpr int kMaxLevels = 64;

/// pg::nesting_depth() when a subtransaction began, to be restored if it fails.
constinit int depth_at_level[kMaxLevels]{};

constinit ExecutorStart_hook_type previous_start = nullptr;
constinit ExecutorRun_hook_type previous_run = nullptr;
constinit ExecutorFinish_hook_type previous_finish = nullptr;

WaitResult wait_for_own_writes(int timeout_ms, bool raise)
{
    TimestampTz const begin = GetCurrentTimestamp();
    while (own.any()) {
        int left = timeout_ms;
        if (timeout_ms >= 0)
            left = Max(0, timeout_ms - static_cast<int>(TimestampDifferenceMilliseconds(
                                           begin, GetCurrentTimestamp())));
        int const last = own.count - 1;
        WaitResult const result =
            own.others
                ? wait_for_fold(WaitKind::kFlush, InvalidFullTransactionId, {}, left, raise)
                : wait_for_fold(WaitKind::kXid, own.xids[last], own.concerned[last], left, raise);
        // A session does not wait for a view that somebody else blocks.
        if (result != WaitResult::kDone && result != WaitResult::kPartlyDone)
            return result;
        if (own.others)
            own.forget();
        else
            own.count--;
    }
    return WaitResult::kDone;
}

// ---- sync_commit ---------------------------------------------------------------------

/// What syncrep.c (SyncRepWaitForLSN) does when its wait is given up: the transaction is
/// committed, so neither ERROR nor FATAL may be raised. ProcDiePending stays set, and the
/// process ends after the commit.
void warn_of_unfolded(WaitResult result)
{
    constexpr const char *kDetail =
        "The transaction has already committed; continuous views will show its rows later.";

    if (result == WaitResult::kNoWorker) {
        ereport(WARNING, (errmsg("no fold worker runs in this database"), errdetail(kDetail)));
    } else if (result == WaitResult::kHalted) {
        ereport(WARNING, (errmsg("folding is turned off"), errdetail(kDetail)));
    } else if (ProcDiePending) {
        ereport(WARNING, (errcode(ERRCODE_ADMIN_SHUTDOWN),
                          errmsg("canceling the wait for continuous views and terminating "
                                 "connection due to administrator command"),
                          errdetail(kDetail)));
        whereToSendOutput = DestNone;
    } else if (QueryCancelPending) {
        QueryCancelPending = false;
        ereport(WARNING, (errmsg("canceling the wait for continuous views due to user request"),
                          errdetail(kDetail)));
    }
}

void wait_as_sync_commit()
{
    WaitResult const result = wait_for_own_writes(-1, false);
    if (result != WaitResult::kDone)
        warn_of_unfolded(result);
}

/// After the commit's locks are gone (xact.c, CommitTransaction): while they are held, the
/// fold worker could wait for one of them, and no detector would see the deadlock. Comes
/// once per resource owner, hence the flag. Interrupts are held here.
void at_resource_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *)
{
    if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit || !is_top_level || !wait_after_commit)
        return;
    wait_after_commit = false;
    wait_as_sync_commit();
}

/// Above READ COMMITTED a later transaction fixes its snapshot before it can wait.
bool waits_at_commit()
{
    return settings::stream_insert_level == settings::kSyncCommit ||
           (settings::read_own_writes && settings::read_own_writes_timeout > 0 &&
            DefaultXactIsoLevel > XACT_READ_COMMITTED);
}

// ---- read_own_writes -----------------------------------------------------------------

/// A write that was not folded in time is waited for only once: better one stale answer,
/// which is announced, than a pause before each query.
void wait_to_read()
{
    WaitResult const result = wait_for_own_writes(settings::read_own_writes_timeout, true);
    if (result == WaitResult::kDone)
        return;
    own.forget();
    ereport(WARNING,
            (errmsg("continuous views may not show all rows that this session wrote"),
             result == WaitResult::kNoWorker ? errdetail("No fold worker runs in this database.")
             : result == WaitResult::kHalted ? errdetail("Folding is turned off.")
                                             : errdetail("They were not folded within %d ms.",
                                                         settings::read_own_writes_timeout)));
}

bool may_wait_to_read()
{
    return own.any() && settings::read_own_writes && settings::read_own_writes_timeout > 0 &&
           !IsParallelWorker() && !am_fold_worker();
}

/// True for a statement of the client's. A function that runs while a statement is planned
/// or at the end of a transaction (deferred triggers) is not counted by nesting_depth().
bool is_from_client(const QueryDesc *query)
{
    CommandDest const dest = query->dest->mydest;
    return dest != DestSPI && dest != DestSQLFunction;
}

/// True if a fold could change what the statement reads: it reads the table behind a view,
/// or calls a function that may. Plans name only functions that users made (setrefs.c,
/// record_plan_function_dependency). A writer that calls one, say to make a value, must not
/// wait for each of its rows.
bool reads_views(const PlannedStmt *plan)
{
    for (Oid const relid : pg::each_oid(plan->relationOids))
        if (is_of_view(relid))
            return true;
    if (plan->commandType != CMD_SELECT)
        return false;
    for (const PlanInvalItem *item : pg::each<PlanInvalItem>(plan->invalItems))
        if (item->cacheId == PROCOID)
            return true;
    return false;
}

/// The statement's snapshot is older than the wait. Whoever called ExecutorStart has pushed
/// it, too, and pops what is on top (pquery.c, PortalStart and ProcessQuery).
void take_fresh_snapshot(QueryDesc *query)
{
    Snapshot const old = query->snapshot;
    Snapshot const fresh = RegisterSnapshot(GetTransactionSnapshot());
    if (ActiveSnapshotSet() && GetActiveSnapshot() == old) {
        PopActiveSnapshot();
        PushActiveSnapshot(fresh);
    }
    query->snapshot = fresh;
    UnregisterSnapshot(old);
}

void wait_before_query(QueryDesc *query, int eflags)
{
    if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) != 0 || query->snapshot == InvalidSnapshot ||
        pg::nesting_depth() > 0 || IsolationUsesXactSnapshot() || !is_from_client(query) ||
        !reads_views(query->plannedstmt))
        return;
    wait_to_read();
    take_fresh_snapshot(query);
}

/// With an isolation level above READ COMMITTED the first statement fixes the snapshot
/// before any hook is called (postgres.c, exec_simple_query), so the wait is earlier.
void wait_before_first_snapshot(const pg::UtilityCall &call)
{
    if (may_wait_to_read() && call.context == PROCESS_UTILITY_TOPLEVEL && IsTransactionState() &&
        IsolationUsesXactSnapshot() && !FirstSnapshotSet)
        wait_to_read();
}

// ---- hooks ---------------------------------------------------------------------------

extern "C" void pipeline_executor_start(QueryDesc *query, int eflags)
{
    if (unlikely(own.any()) && may_wait_to_read())
        wait_before_query(query, eflags);
    if (previous_start != nullptr)
        previous_start(query, eflags);
    else
        standard_ExecutorStart(query, eflags);
}

/// The hook's last argument is gone since PostgreSQL 18; its type fits both.
template <typename... Rest>
void count_executor_run(QueryDesc *query, ScanDirection direction, uint64 count, Rest... rest)
{
    pg::enter_nested();
    if (previous_run != nullptr)
        previous_run(query, direction, count, rest...);
    else
        standard_ExecutorRun(query, direction, count, rest...);
    pg::leave_nested();
}

extern "C" void pipeline_executor_finish(QueryDesc *query)
{
    pg::enter_nested();
    if (previous_finish != nullptr)
        previous_finish(query);
    else
        standard_ExecutorFinish(query);
    pg::leave_nested();
}

void restore_depth(int depth)
{
    pg::reset_nesting();
    while (pg::nesting_depth() < depth)
        pg::enter_nested();
}

/// An ERROR skips leave_nested(). The utility hook resets the depth when a transaction
/// aborts; this does it for subtransactions.
void at_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void *)
{
    int const level = GetCurrentTransactionNestLevel();
    if (level >= kMaxLevels)
        return;
    if (event == SUBXACT_EVENT_START_SUB)
        depth_at_level[level] = pg::nesting_depth();
    else if (event == SUBXACT_EVENT_ABORT_SUB)
        restore_depth(depth_at_level[level]);
}

/// COMMIT PREPARED fires no callback for the transaction that it commits (twophase.c,
/// FinishPreparedTransaction), and does not say its xid. If it created a view, its message has
/// come.
void finish_commit_prepared(uint64 catalog_changes)
{
    if (count_catalog_changes() != catalog_changes)
        assignment_changed();
    wake_workers(MyDatabaseId, all_folding_workers().workers, false);
    own.others = true;
    if (settings::stream_insert_level == settings::kSyncCommit)
        wait_as_sync_commit();
}

void handle_transaction_statement(pg::UtilityCall &call, pg::UtilityNext next)
{
    TransactionStmtKind const kind =
        reinterpret_cast<TransactionStmt *>(call.statement->utilityStmt)->kind;
    bool const commits_prepared = kind == TRANS_STMT_COMMIT_PREPARED && is_preloaded() &&
                                  IsTransactionState() && view::extension_installed();
    uint64 const catalog_changes = commits_prepared ? count_catalog_changes() : 0;
    next(call);
    if (kind == TRANS_STMT_BEGIN || kind == TRANS_STMT_START)
        wait_before_first_snapshot(call);
    else if (commits_prepared)
        finish_commit_prepared(catalog_changes);
}

/// SET TRANSACTION ISOLATION LEVEL.
void handle_set(pg::UtilityCall &call, pg::UtilityNext next)
{
    next(call);
    wait_before_first_snapshot(call);
}

} // namespace

void own_write_committed(FullTransactionId xid, Concerned concerned)
{
    if (own.count < kMaxOwn) {
        own.xids[own.count] = xid;
        own.concerned[own.count++] = concerned;
    } else {
        own.others = true;
    }
    wait_after_commit = waits_at_commit();
}

void install_own_writes()
{
    previous_start = ExecutorStart_hook;
    ExecutorStart_hook = pipeline_executor_start;
    previous_run = ExecutorRun_hook;
    ExecutorRun_hook = count_executor_run;
    previous_finish = ExecutorFinish_hook;
    ExecutorFinish_hook = pipeline_executor_finish;
    RegisterSubXactCallback(at_subtransaction, nullptr);
    RegisterResourceReleaseCallback(at_resource_release, nullptr);
    pg::register_utility_handler(T_TransactionStmt, handle_transaction_statement, true);
    pg::register_utility_handler(T_VariableSetStmt, handle_set, true);
}

} // namespace pipeline::spool
