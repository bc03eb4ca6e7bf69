// Where writers and fold workers meet in shared memory: who folds a database, how to wake it,
// and who waits for it.
//
// Owns: the shared-memory segment "pipeline_ext" (one WorkerSlot per worker that is wanted or
// alive, one waiter cell per PGPROC, the launcher's latch) and its LWLock.
// May call: pg/ only. Invariants: nothing here is needed for exactness; a lost wake-up costs
// time, never rows. Slots are released in before_shmem_exit, registered before they are taken.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::spool {

/// From shmem_request_hook and shmem_startup_hook; both chain.
void install_rendezvous();

/// True when the library was in shared_preload_libraries. Otherwise raises
/// ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE and says what to set.
bool is_preloaded();
void require_preload();

// ---- writers -------------------------------------------------------------------------

/// Called for each chunk of this transaction, after its top xid is assigned: at commit the
/// fold worker is woken, and the session remembers the xid for the waits below.
void note_write(FullTransactionId top_xid);

/// Wakes the fold worker of database `db`, or asks the launcher to start one. Async-signal
/// rules do not apply; may be called after commit; raises nothing.
void wake_worker(Oid db);

/// The same at the commit of the current transaction, without having written (CREATE
/// EXTENSION, CREATE VIEW, activate).
void wake_worker_at_commit();

/// What a waiter waits for.
enum class WaitKind : uint32 {
    kXid,  ///< this transaction is folded by every view that is not paused or failed
    kFlush ///< everything that was committed when the wait began is folded
};

enum class WaitResult { kDone, kPartlyDone, kTimeout, kInterrupted, kNoWorker };

/// Waits until the fold worker of this database answers. `timeout_ms` < 0: no limit.
/// With `raise` (normal statements) interrupts are processed by CHECK_FOR_INTERRUPTS.
/// Without it (after commit) QueryCancelPending and ProcDiePending are tested and nothing is
/// raised: returns kInterrupted. kNoWorker: none came to life within 5 s (no slot, folding
/// broken). Uses WaitLatch only and allocates nothing.
WaitResult wait_for_fold(WaitKind kind, FullTransactionId xid, int timeout_ms, bool raise);

// ---- fold worker ---------------------------------------------------------------------

/// Takes the slot of (MyDatabaseId, number) for this process; false if a live process has it
/// or the database is held by stop_workers(). However the process ends, the launcher starts
/// another, unless leave_worker() came first.
bool attach_worker(int number);

/// Takes the session-level lock (database, number) of this worker, inside a transaction; false
/// if another process holds it, or the extension is gone. A function of a view that calls
/// pg_advisory_unlock_all() releases it, so each tick calls this first: when it is held, that
/// is one look-up in the local lock table.
bool hold_worker_lock();

/// How often this worker was woken. Its latch alone does not tell: the server's own waits
/// (locks, buffers, pg_sleep) reset it in the middle of a tick.
uint64 count_wakes();

/// True if the server, or one of its processes, crashed before this start.
bool started_after_crash();

/// Leaves word to the next worker that this one ends because of `view`. Async-signal-safe.
void blame(Oid view);

/// What the former worker left; InvalidOid = nothing.
Oid take_blamed();

/// The worker has nothing to do and is about to exit: frees its slot. If somebody woke it
/// since it saw `wakes_seen`, the launcher will start another.
void leave_worker(uint64 wakes_seen);

/// True while the launcher has no free process for another database: an idle worker should
/// then return at once instead of after idle_exit. Its latch is set when this becomes true.
bool slots_are_short();

/// Before a tick takes its snapshot: requests that are there now may be answered after it.
void note_requests();

/// After a tick: `folded(kind, xid, arg)` says whether a request that was noted is satisfied;
/// such waiters are woken. kFlush passes the next xid at the time of the request.
enum class Folded {
    kNo,
    kPartly, ///< but for views that have been set aside: blocked by somebody, or in trouble
    kYes
};
using FoldedTest = Folded (*)(WaitKind kind, FullTransactionId xid, void *arg);
void answer_waiters(FoldedTest folded, void *arg);

/// True while some request of this database is unanswered.
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

/// The launcher is about to start it: the request becomes a start. False if it is gone.
bool begin_start(Oid db, int number);

enum class Wanted {
    kNo,      ///< it was idle
    kStopped, ///< stop_workers() ended it
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

/// Tells idle workers whether processes are short.
void set_slots_are_short(bool is_short);

/// True once after a request found no free slot: the launcher has to look at all databases.
bool take_scan_wanted();

/// Asks the workers of `db` to end and waits up to `timeout_ms` for it (DROP DATABASE,
/// CREATE DATABASE … TEMPLATE, RENAME, SET TABLESPACE). Interruptible. None is started there
/// until the current transaction (or subtransaction, if it fails) ends.
void stop_workers(Oid db, int timeout_ms);

/// A worker is requested for `db` when the current transaction commits (CREATE DATABASE).
void request_worker_at_commit(Oid db);

} // namespace pipeline::spool
