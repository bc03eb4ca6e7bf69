#include "spool/rendezvous.hpp"
#include "spool/shared_state.hpp"

extern "C" {
#include "access/transam.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

namespace pipeline::spool {
namespace {

/// A lost wake-up costs at most this.
constexpr int kWakeAgainMs = 1000;
constexpr int kNoWorkerMs = 5000;

constinit bool exit_registered = false;

extern "C" void pipeline_clear_cell(int, Datum)
{
    clear_cell();
    release_hold();
}

/// The atomic exchange is a full barrier: the worker sees the request that belongs to it.
void ask(WaitKind kind, FullTransactionId xid)
{
    clear_cell();
    WaiterCell &cell = my_cell();
    cell.db = MyDatabaseId;
    cell.kind = kind;
    cell.xid =
        U64FromFullTransactionId(kind == WaitKind::kFlush ? ReadNextFullTransactionId() : xid);
    (void) pg_atomic_fetch_add_u32(&shared->waiting, 1);
    (void) pg_atomic_exchange_u32(&cell.state, kCellAsked);
}

long ms_since(TimestampTz begin)
{
    return TimestampDifferenceMilliseconds(begin, GetCurrentTimestamp());
}

/// Sleeps until the latch is set, or for `ms`; false if the postmaster has died. After a
/// commit the process may not exit here (WL_EXIT_ON_PM_DEATH): syncrep.c does the same.
bool sleep_on_latch(long ms, bool raise)
{
    int const death = raise ? WL_EXIT_ON_PM_DEATH : WL_POSTMASTER_DEATH;
    int const events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | death, ms, PG_WAIT_EXTENSION);
    if ((events & WL_POSTMASTER_DEATH) != 0)
        return false;
    ResetLatch(MyLatch);
    return true;
}

/// Looks about once a second whether anybody is there to answer.
struct Watch {
    TimestampTz began;
    TimestampTz woke;
    TimestampTz lived;

    /// False when no worker has lived for a while.
    bool look()
    {
        if (ms_since(woke) < kWakeAgainMs)
            return true;
        woke = GetCurrentTimestamp();
        wake_worker(MyDatabaseId);
        if (worker_lives(MyDatabaseId))
            lived = woke;
        return TimestampDifferenceMilliseconds(lived, woke) < kNoWorkerMs;
    }
};

WaitResult wait_for_answer(int timeout_ms, bool raise)
{
    TimestampTz const now = GetCurrentTimestamp();
    Watch watch{now, now, now};
    for (;;) {
        uint32 const state = pg_atomic_read_u32(&my_cell().state);
        if (state == kCellDone || state == kCellPartlyDone)
            return state == kCellDone ? WaitResult::kDone : WaitResult::kPartlyDone;
        if (raise)
            CHECK_FOR_INTERRUPTS();
        else if (QueryCancelPending || ProcDiePending)
            return WaitResult::kInterrupted;
        if (!watch.look())
            return WaitResult::kNoWorker;
        long left = kWakeAgainMs;
        if (timeout_ms >= 0)
            left = Min(left, timeout_ms - ms_since(watch.began));
        if (left <= 0)
            return WaitResult::kTimeout;
        if (!sleep_on_latch(left, raise)) {
            ProcDiePending = true;
            return WaitResult::kInterrupted;
        }
    }
}

/// Calls `fn(cell)` for the requests of this database. The count spares the usual tick, for
/// which nobody waits, the walk over all cells.
template <typename Fn> void each_request(Fn &&fn)
{
    if (pg_atomic_read_u32(&shared->waiting) == 0)
        return;
    for (int i = 0; i < shared->num_cells; i++) {
        WaiterCell &cell = shared->cells[i];
        uint32 const state = pg_atomic_read_u32(&cell.state);
        if (state != kCellAsked && state != kCellNoted)
            continue;
        pg_read_barrier();
        if (cell.db == MyDatabaseId)
            fn(cell, state, i);
    }
}

} // namespace

void clear_cell_at_exit()
{
    if (exit_registered)
        return;
    before_shmem_exit(pipeline_clear_cell, 0);
    exit_registered = true;
}

void clear_cell()
{
    if (shared == nullptr || MyProc == nullptr)
        return;
    WaiterCell &cell = my_cell();
    if (pg_atomic_read_u32(&cell.state) == kCellIdle)
        return;
    if (pg_atomic_exchange_u32(&cell.state, kCellIdle) != kCellIdle)
        (void) pg_atomic_fetch_sub_u32(&shared->waiting, 1);
}

WaitResult wait_for_fold(WaitKind kind, FullTransactionId xid, int timeout_ms, bool raise)
{
    if (shared == nullptr || am_fold_worker())
        return WaitResult::kNoWorker;
    clear_cell_at_exit();
    ask(kind, xid);
    wake_worker(MyDatabaseId);
    WaitResult const result = wait_for_answer(timeout_ms, raise);
    clear_cell();
    return result;
}

// ---- fold worker ---------------------------------------------------------------------

/// The state goes on only from what was seen: the waiter may have given up in between, and
/// may even have asked anew.
void note_requests()
{
    pg_memory_barrier();
    each_request([](WaiterCell &cell, uint32 state, int) {
        uint32 expected = kCellAsked;
        if (state == kCellAsked)
            (void) pg_atomic_compare_exchange_u32(&cell.state, &expected, kCellNoted);
    });
    pg_memory_barrier();
}

void answer_waiters(FoldedTest folded, void *arg)
{
    each_request([&](WaiterCell &cell, uint32 state, int procno) {
        if (state != kCellNoted)
            return;
        Folded const answer = folded(cell.kind, FullTransactionIdFromU64(cell.xid), arg);
        if (answer == Folded::kNo)
            return;
        uint32 expected = kCellNoted;
        uint32 const done = answer == Folded::kYes ? kCellDone : kCellPartlyDone;
        if (pg_atomic_compare_exchange_u32(&cell.state, &expected, done))
            set_latch_of(procno);
    });
}

bool has_waiters()
{
    bool found = false;
    pg_memory_barrier();
    each_request([&](WaiterCell &, uint32, int) { found = true; });
    return found;
}

} // namespace pipeline::spool

extern "C" {

PG_FUNCTION_INFO_V1(pipeline_flush);

Datum pipeline_flush(PG_FUNCTION_ARGS)
{
    using namespace pipeline::spool;

    (void) fcinfo;
    require_preload();
    if (RecoveryInProgress())
        ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
                        errmsg("cannot execute %s during recovery", "pipelinedb.flush()")));
    WaitResult const result = wait_for_fold(WaitKind::kFlush, InvalidFullTransactionId, -1, true);
    if (result == WaitResult::kNoWorker)
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
                        errmsg("no fold worker runs in this database"),
                        errdetail("None started within %d seconds. Rows that were written are kept "
                                  "until one does.",
                                  kNoWorkerMs / 1000),
                        errhint("See the server log; max_worker_processes may be too small.")));
    PG_RETURN_BOOL(result == WaitResult::kDone);
}
}
