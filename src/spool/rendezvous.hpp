// Where writers and fold workers meet in shared memory: who folds a database, how to wake it,
// and who waits for it.
//
// Owns: the shared-memory segment "pipeline_ext" (one WorkerSlot per worker that is wanted or
// alive, one waiter cell per PGPROC, the launcher's latch) and its LWLock.
// May call: pg/ only. Invariants: nothing here is needed for exactness; a lost wake-up costs
// time, never rows. Slots are released in before_shmem_exit, registered before they are taken.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "storage/lock.h"
}

namespace pipeline::spool {

/// A database has up to so many fold workers, numbered from 0. Worker 0 also tends the spool and
/// sees to the others.
inline constexpr int kMaxWorkers = 16;

/// Bit n stands for worker n.
using WorkerSet = uint32;
inline constexpr WorkerSet kFirstWorker = 1;

/// From shmem_request_hook and shmem_startup_hook; both chain.
void install_rendezvous();

/// True when the library was in shared_preload_libraries. Otherwise raises
/// ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE and says what to set.
bool is_preloaded();
void require_preload();

// ---- writers -------------------------------------------------------------------------

/// Who folds what may have changed since a number was read, if this has another value now. It
/// changes after the commit of such a change, and before a worker that takes a view over is
/// woken: whoever commits a row and finds the value that he had when he asked the catalog has
/// woken the right workers, or is seen by the tick of the one that was woken after the change.
uint64 assignment_epoch();

/// To be called after the commit of such a change.
void assignment_changed();

/// Called for each statement of this transaction that writes to `stream`, after its top xid is
/// assigned: at commit the fold workers that fold it are woken, and the session remembers the
/// xid for the waits below.
void note_write(FullTransactionId top_xid, Oid stream);

/// True if this transaction has written to a stream, also in a subtransaction that was rolled back.
bool has_written();

/// Wakes `workers` of database `db`, or asks the launcher to start them; with `all`, the other
/// running ones too. Async-signal rules do not apply; may be called after commit; raises nothing.
void wake_workers(Oid db, WorkerSet workers, bool all);

/// The same for rows that nobody waits for: a worker that is at work or in its pause between two
/// ticks will find them, and is left alone.
void announce_rows(Oid db, WorkerSet workers);

/// Wakes all of them at the commit of the current transaction, without having written (CREATE
/// EXTENSION, CREATE VIEW, activate). Worker 0 and `number` are started, if they do not run.
void wake_worker_at_commit(int number = 0);

/// What a waiter waits for.
enum class WaitKind : uint32 {
    kXid,  ///< this transaction is folded by every view that is not paused or failed
    kFlush ///< everything that was committed when the wait began is folded
};

enum class WaitResult { kDone, kPartlyDone, kTimeout, kInterrupted, kNoWorker, kHalted };

/// Which workers must answer, and when that was known. With `workers` = 0 or if the epoch is
/// not the present one, worker 0 finds out.
struct Concerned {
    WorkerSet workers;
    uint64 epoch;
};

/// Waits until the fold workers of this database answer. `timeout_ms` < 0: no limit.
/// With `raise` (normal statements) interrupts are processed by CHECK_FOR_INTERRUPTS.
/// Without it (after commit) QueryCancelPending and ProcDiePending are tested and nothing is
/// raised: returns kInterrupted. kNoWorker: one that must answer did not come to life within
/// 5 s (no slot, folding broken). kHalted: pipelinedb.folding is off. Uses WaitLatch only and
/// allocates nothing.
WaitResult wait_for_fold(WaitKind kind, FullTransactionId xid, Concerned concerned, int timeout_ms,
                         bool raise);

/// pipelinedb.flush(): waits until what was committed before is folded, also by queries that read
/// the output of others. kPartlyDone: but for views that are set aside.
WaitResult flush();

// ---- fold worker ---------------------------------------------------------------------

/// Takes the slot of (MyDatabaseId, number) for this process; false if a live process has it
/// or the database is held by stop_workers(). However the process ends, the launcher starts
/// another, unless leave_worker() came first.
bool attach_worker(int number);

/// The number of this fold worker.
int worker_number();

/// Takes the session-level lock (database, number) of this worker, inside a transaction; false
/// if another process holds it, or the extension is gone. A function of a view that calls
/// pg_advisory_unlock_all() releases it, so each tick calls this first: when it is held, that
/// is one look-up in the local lock table.
bool hold_worker_lock();

/// Takes the lock of another number to the end of the transaction, so that no such worker can
/// fold meanwhile; false if there is one.
bool lock_absent_worker(int number);

/// How often this worker was woken. Its latch alone does not tell: the server's own waits
/// (locks, buffers, pg_sleep) reset it in the middle of a tick.
uint64 count_wakes();

/// Before the worker waits for its latch with nothing to do: from now on rows set it. False if it
/// was woken since it saw `wakes_seen`: then it must not wait.
bool fall_asleep(uint64 wakes_seen);
void wake_up();

/// True if the server, or one of its processes, crashed before this start.
bool started_after_crash();

/// When its processes were started, the first time or after the crash of one of them.
TimestampTz server_started();

/// After a crash: this worker makes an attempt to fold, `alone` if no other worker of the server
/// may make one at the same time: if that crashes the server, it is known whose fault it was.
/// False: others have to end theirs first. It ends with end_attempt() or with the process.
bool begin_attempt(bool alone);
void end_attempt();

/// Leaves word to the next worker that this one ends because of `view`. Async-signal-safe.
void blame(Oid view);

/// What the former worker left; InvalidOid = nothing.
Oid take_blamed();

/// The worker has nothing to do and is about to exit: frees its slot. If somebody woke it
/// since it saw `wakes_seen`, or if it ends because folding is off, the launcher will start
/// another. With `wanted_at` != 0, by pg::now(), one is wanted again at that time.
void leave_worker(uint64 wakes_seen, bool halted, TimestampTz wanted_at);

/// True while the launcher has no free process for another database: an idle worker should
/// then return at once instead of after idle_exit. Its latch is set when this becomes true.
bool slots_are_short();

/// The workers of this database that run, and those for which no process was free.
struct Roster {
    WorkerSet running;
    WorkerSet denied;
};
Roster roster();

/// Another value than before: a worker has come, or could not come.
uint64 roster_epoch();

/// True if the virtual transaction is one of a fold worker of this database.
bool is_of_fold_worker(const VirtualTransactionId &transaction);

/// Before a tick takes its snapshot: requests that are there now may be answered after it.
void note_requests();

/// Worker 0, before answer_waiters(): requests that do not say who must answer get `others` to
/// answer, too. That is right as of `epoch` (assignment_epoch()); if it is not the present one
/// any more, nothing happens.
void extend_requests(WorkerSet others, uint64 epoch);

/// Views went from one worker to others, after assignment_changed(): who waits for the one
/// waits for the others, too, or instead of it.
void forward_requests(int from, WorkerSet to, bool instead);

/// After a tick: `folded(kind, xid, arg)` says whether a request that was noted is satisfied;
/// such waiters are woken when everybody concerned has said so. kFlush passes the next xid at
/// the time of the request.
enum class Folded {
    kNo,
    kPartly, ///< but for views that have been set aside: blocked by somebody, or in trouble
    kYes
};

/// `request` is another number for each request.
using FoldedTest = Folded (*)(uint64 request, WaitKind kind, FullTransactionId xid, void *arg);
void answer_waiters(FoldedTest folded, void *arg);

/// True while some request waits for this worker's answer.
bool has_waiters();

// ---- launcher ------------------------------------------------------------------------

struct StartRequest {
    Oid db;
    int number;
};

/// Takes the launcher's place; requests set its latch from now on. Workers that a former
/// launcher was starting are requested again: a second start of the same one ends at once.
void attach_launcher();

/// How many workers there can be at most.
int max_workers();

/// The requests that may be served now: no worker lives, and the database is not held.
int list_requests(StartRequest *requests, int max);

/// A database gets a request (startup scan, CREATE DATABASE). False if there is no free slot.
bool request_worker(Oid db, int number);

/// Takes over from workers that have left when they are wanted again, one at a time; false if there
/// is none.
bool take_resting(StartRequest *request, TimestampTz *wanted_at);

/// The launcher is about to start it: the request becomes a start. False if it is gone.
bool begin_start(Oid db, int number);

enum class Wanted {
    kNo,      ///< it was idle
    kStopped, ///< stop_workers() ended it, or folding was turned off
    kYes      ///< it died
};

/// After the process has ended, or could not be started: is the worker still wanted? A start
/// becomes a request again. kStopped is said once.
Wanted still_wanted(Oid db, int number);

/// True while somebody waits for its start.
bool is_requested(Oid db, int number);

/// True between begin_start() and attach_worker().
bool is_starting(Oid db, int number);

/// The database is gone: the slot is freed, if no process has it.
void drop_request(Oid db, int number);

/// There is no process for worker `number` > 0: worker 0 shall take its views, and it is not
/// asked for again within a minute.
void deny_request(Oid db, int number);

/// Tells idle workers whether processes are short.
void set_slots_are_short(bool is_short);

/// Tells those who wait for a fold whether pipelinedb.folding is off.
void set_halted(bool halted);

/// True once after a request found no free slot: the launcher has to look at all databases.
bool take_scan_wanted();

/// Asks the workers of `db` to end and waits up to `timeout_ms` for it (DROP DATABASE,
/// CREATE DATABASE … TEMPLATE, RENAME, SET TABLESPACE). Interruptible. None is started there
/// until the current transaction (or subtransaction, if it fails) ends.
void stop_workers(Oid db, int timeout_ms);

/// A worker is requested for `db` when the current transaction commits (CREATE DATABASE).
void request_worker_at_commit(Oid db);

} // namespace pipeline::spool
