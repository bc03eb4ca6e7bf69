#include "spool/rendezvous.hpp"

#include "pg/list.hpp"
#include "pg/settings.hpp"
#include "spool/shared_state.hpp"
#include "view/catalog.hpp"

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

// A cell's word holds all of a request that changes, so that one compare-and-exchange decides.
//   bits 0-15   who has to answer yet
//   bits 16-31  which of them have noted the request before they took a snapshot
//   bit 32      there is a request
//   bit 33      worker 0 has to find out who else must answer
//   bit 34      somebody left a blocked view out
//   bits 40-63  serial number: the waiter may give up and ask anew at any time
constexpr uint64 kActive = uint64{1} << 32;
constexpr uint64 kAskAll = uint64{1} << 33;
constexpr uint64 kPartly = uint64{1} << 34;
constexpr uint64 kSerialUnit = uint64{1} << 40;
constexpr uint64 kSerial = ~(kSerialUnit - 1);

constexpr uint64 pending_bit(int number)
{
    return uint64{1} << number;
}

constexpr uint64 noted_bit(int number)
{
    return uint64{1} << (kMaxWorkers + number);
}

constexpr WorkerSet pending_of(uint64 word)
{
    return static_cast<WorkerSet>(word & ((uint64{1} << kMaxWorkers) - 1));
}

constexpr bool is_answered(uint64 word)
{
    return (word & kActive) != 0 && (word & kAskAll) == 0 && pending_of(word) == 0;
}

constinit bool exit_registered = false;

extern "C" void pipeline_clear_cell(int, Datum)
{
    clear_cell();
    release_hold();
}

/// The atomic exchange is a full barrier: the worker sees the request that belongs to it.
void publish(WaiterCell &cell, uint64 request)
{
    clear_cell();
    uint64 const serial = (pg_atomic_read_u64(&cell.word) & kSerial) + kSerialUnit;
    (void) pg_atomic_fetch_add_u32(&shared->waiting, 1);
    (void) pg_atomic_exchange_u64(&cell.word, serial | kActive | request);
}

/// A view that changes its worker after the request is seen takes the request along
/// (forward_requests). If one has changed it before, the caller's knowledge is not enough.
void ask(WaitKind kind, FullTransactionId xid, Concerned concerned)
{
    clear_cell();
    WaiterCell &cell = my_cell();
    cell.db = MyDatabaseId;
    cell.kind = kind;
    cell.xid =
        U64FromFullTransactionId(kind == WaitKind::kFlush ? ReadNextFullTransactionId() : xid);
    if (concerned.workers != 0) {
        publish(cell, concerned.workers);
        if (assignment_epoch() == concerned.epoch)
            return;
    }
    publish(cell, kAskAll | kFirstWorker);
}

/// Who has not answered yet.
WorkerSet still_pending()
{
    return pending_of(pg_atomic_read_u64(&my_cell().word));
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
        WorkerSet const pending = still_pending();
        wake_workers(MyDatabaseId, pending, false);
        if (all_live(MyDatabaseId, pending))
            lived = woke;
        return TimestampDifferenceMilliseconds(lived, woke) < kNoWorkerMs;
    }
};

WaitResult wait_for_answer(int timeout_ms, bool raise)
{
    TimestampTz const now = GetCurrentTimestamp();
    uint32 const halts = pg_atomic_read_u32(&shared->halts);
    Watch watch{now, now, now};
    for (;;) {
        uint64 const word = pg_atomic_read_u64(&my_cell().word);
        if (is_answered(word))
            return (word & kPartly) == 0 ? WaitResult::kDone : WaitResult::kPartlyDone;
        // The launcher may not have heard yet that folding is on again, nor this session, which
        // reads its settings between two statements, that it is off.
        if (shared->halted &&
            (pg_atomic_read_u32(&shared->halts) != halts || ms_since(watch.began) >= kWakeAgainMs))
            return WaitResult::kHalted;
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

/// Calls `fn(cell, word, procno)` for the requests of this database. The count spares the usual
/// tick, for which nobody waits, the walk over all cells.
template <typename Fn> void each_request(Fn &&fn)
{
    if (pg_atomic_read_u32(&shared->waiting) == 0)
        return;
    for (int i = 0; i < shared->num_cells; i++) {
        WaiterCell &cell = shared->cells[i];
        uint64 const word = pg_atomic_read_u64(&cell.word);
        if ((word & kActive) == 0)
            continue;
        pg_read_barrier();
        if (cell.db == MyDatabaseId)
            fn(cell, word, i);
    }
}

/// Replaces the word by `change(word)` as long as it is the request that `seen` belongs to;
/// false if it is another one, or if `change` leaves it as it is. `*seen` is then what was found
/// last, else the new word.
template <typename Fn> bool change_word(WaiterCell &cell, uint64 *seen, Fn &&change)
{
    uint64 found = *seen;
    do {
        if ((found & (kSerial | kActive)) != (*seen & (kSerial | kActive)) ||
            change(found) == found)
            return false;
        *seen = change(found);
    } while (!pg_atomic_compare_exchange_u64(&cell.word, &found, *seen));
    return true;
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
    uint64 const word = pg_atomic_read_u64(&cell.word);
    if ((word & kActive) == 0)
        return;
    // Workers change the other bits, but only this process begins and ends a request.
    (void) pg_atomic_exchange_u64(&cell.word, word & kSerial);
    (void) pg_atomic_fetch_sub_u32(&shared->waiting, 1);
}

bool has_request(WaiterCell &cell)
{
    return (pg_atomic_read_u64(&cell.word) & kActive) != 0;
}

WaitResult wait_for_fold(WaitKind kind, FullTransactionId xid, Concerned concerned, int timeout_ms,
                         bool raise)
{
    if (shared == nullptr || am_fold_worker())
        return WaitResult::kNoWorker;
    if (!settings::folding)
        return WaitResult::kHalted;
    clear_cell_at_exit();
    ask(kind, xid, concerned);
    wake_workers(MyDatabaseId, still_pending(), false);
    WaitResult const result = wait_for_answer(timeout_ms, raise);
    clear_cell();
    return result;
}

// ---- fold worker ---------------------------------------------------------------------

void note_requests()
{
    uint64 const mine = pending_bit(worker_number());
    uint64 const noted = noted_bit(worker_number());
    pg_memory_barrier();
    each_request([&](WaiterCell &cell, uint64 word, int) {
        (void) change_word(
            cell, &word, [&](uint64 found) { return (found & mine) != 0 ? found | noted : found; });
    });
    pg_memory_barrier();
}

void extend_requests(WorkerSet others, uint64 epoch)
{
    WorkerSet woken = 0;
    each_request([&](WaiterCell &cell, uint64 word, int) {
        if (assignment_epoch() != epoch)
            return;
        if (!change_word(cell, &word, [&](uint64 found) {
                return (found & kAskAll) != 0 ? (found & ~kAskAll) | others : found;
            }))
            return;
        // A view that was handed over before `others` were there has not taken this request
        // along: look again.
        if (assignment_epoch() != epoch)
            (void) change_word(cell, &word, [](uint64 found) { return found | kAskAll; });
        woken |= others;
    });
    if (woken != 0)
        wake_workers(MyDatabaseId, woken, false);
}

/// The receivers answer anew, for a snapshot that they have yet to take, even if they have
/// answered for their former views.
void forward_requests(int from, WorkerSet to, bool instead)
{
    uint64 const receivers = to;
    bool forwarded = false;
    each_request([&](WaiterCell &cell, uint64 word, int procno) {
        bool const changed = change_word(cell, &word, [&](uint64 found) {
            if ((found & pending_bit(from)) == 0)
                return found;
            uint64 const kept = instead ? found & ~pending_bit(from) : found;
            return (kept & ~(receivers << kMaxWorkers)) | receivers;
        });
        forwarded |= changed;
        if (changed && is_answered(word))
            set_latch_of(procno);
    });
    if (forwarded)
        wake_workers(MyDatabaseId, to, false);
}

void answer_waiters(FoldedTest folded, void *arg)
{
    uint64 const mine = pending_bit(worker_number());
    uint64 const noted = noted_bit(worker_number());
    each_request([&](WaiterCell &cell, uint64 word, int procno) {
        if ((word & mine) == 0 || (word & noted) == 0 ||
            ((word & kAskAll) != 0 && worker_number() == 0))
            return;
        uint64 const request = (word & kSerial) | static_cast<uint64>(procno);
        Folded const answer = folded(request, cell.kind, FullTransactionIdFromU64(cell.xid), arg);
        if (answer == Folded::kNo)
            return;
        // Not if a view came to this worker in between.
        bool const changed = change_word(cell, &word, [&](uint64 found) {
            if ((found & mine) == 0 || (found & noted) == 0)
                return found;
            return (found & ~mine) | (answer == Folded::kPartly ? kPartly : 0);
        });
        if (changed && is_answered(word))
            set_latch_of(procno);
    });
}

bool has_waiters()
{
    uint64 const mine = pending_bit(worker_number());
    bool found = false;
    pg_memory_barrier();
    each_request([&](WaiterCell &, uint64 word, int) { found |= (word & mine) != 0; });
    return found;
}

} // namespace pipeline::spool

namespace pipeline::spool {
namespace {

/// How often rows can go from one fold worker to another on their way; one worker alone sees to it
/// that its answer covers what comes back to the spool.
int count_hops()
{
    int hops = 0;
    if (settings::num_workers > 1)
        for (auto *query : pg::each<view::ContinuousQuery>(view::list_queries()))
            hops += OidIsValid(query->output) ? 1 : 0;
    return hops;
}

} // namespace

/// Each further wait covers what the folds of the one before have written to the spool.
WaitResult flush()
{
    WaitResult result = WaitResult::kDone;
    for (int hops = count_hops(); hops >= 0 && result == WaitResult::kDone; hops--)
        result = wait_for_fold(WaitKind::kFlush, InvalidFullTransactionId, {}, -1, true);
    return result;
}

} // namespace pipeline::spool

extern "C" {

PG_FUNCTION_INFO_V1(pipeline_flush);

Datum pipeline_flush(PG_FUNCTION_ARGS)
{
    using namespace pipeline::spool;

    (void) fcinfo;
    require_preload();
    if (am_fold_worker())
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("cannot execute %s in a fold worker", "pipelinedb.flush()"),
                        errdetail("It would wait for itself."),
                        errhint("Take it out of the functions that the query or a trigger of its "
                                "output calls.")));
    if (RecoveryInProgress())
        ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
                        errmsg("cannot execute %s during recovery", "pipelinedb.flush()")));
    WaitResult const result = flush();
    if (result == WaitResult::kHalted)
        ereport(WARNING, (errmsg("folding is turned off"),
                          errdetail("Rows that were written are kept until it is turned on again."),
                          errhint("Set pipelinedb.folding to on and reload the configuration.")));
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
