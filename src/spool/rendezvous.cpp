#include "spool/rendezvous.hpp"

#include "pg/settings.hpp"
#include "spool/own_writes.hpp"
#include "spool/shared_state.hpp"
#include "spool/stream_workers.hpp"

extern "C" {
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
}

namespace pipeline::spool {

constinit SharedState *shared = nullptr;

namespace {

constexpr const char *kName = "pipeline_ext";

constinit shmem_request_hook_type previous_request = nullptr;
constinit shmem_startup_hook_type previous_startup = nullptr;

/// What this process does at the end of its transaction.
struct AtCommit {
    bool wake;                 ///< the catalog was changed
    WorkerSet workers;         ///< who folds what was written or created ...
    uint64 epoch;              ///< ... as of then
    FullTransactionId written; ///< invalid = this transaction wrote no chunk
    Oid stream;                ///< that it wrote to last: its workers are among them
    Oid new_database;
};

constinit AtCommit at_commit{};

int slot_count()
{
    return 2 * max_worker_processes + 8;
}

Size slots_size()
{
    return MAXALIGN(offsetof(SharedState, slots) +
                    static_cast<Size>(slot_count()) * sizeof(WorkerSlot));
}

Size segment_size()
{
    return add_size(slots_size(), mul_size(static_cast<Size>(MaxBackends), sizeof(WaiterCell)));
}

/// MaxBackends and max_worker_processes are final here (postmaster.c, PostmasterMain: the
/// libraries are loaded, then InitializeMaxBackends, then the requests).
extern "C" void pipeline_shmem_request()
{
    if (previous_request != nullptr)
        previous_request();
    RequestAddinShmemSpace(segment_size());
    RequestNamedLWLockTranche(kName, 1);
}

/// Both after a crash of the whole server and when the postmaster starts all processes anew
/// after one of them has crashed: the control file is as the checkpointer left it (postmaster.c,
/// PostmasterStateMachine: shared memory is made before the startup process runs).
bool was_crash()
{
    bool crc_ok = false;
    ControlFileData *const control = get_controlfile(DataDir, &crc_ok);
    DBState const state = control->state;
    pfree(control);
    return crc_ok &&
           (state == DB_IN_PRODUCTION || state == DB_SHUTDOWNING || state == DB_IN_CRASH_RECOVERY);
}

void initialise(SharedState &state)
{
    memset(static_cast<void *>(&state), 0, segment_size());
    state.lock = &GetNamedLWLockTranche(kName)->lock;
    state.launcher = -1;
    state.after_crash = was_crash();
    state.started = GetCurrentTimestamp();
    state.num_slots = slot_count();
    state.num_cells = MaxBackends;
    state.cells = reinterpret_cast<WaiterCell *>(reinterpret_cast<char *>(&state) + slots_size());
    pg_atomic_init_u32(&state.waiting, 0);
    for (int i = 0; i < state.num_slots; i++) {
        pg_atomic_init_u64(&state.slots[i].wakes, 0);
        pg_atomic_init_u32(&state.slots[i].asleep, 0);
    }
    pg_atomic_init_u32(&state.halts, 0);
    pg_atomic_init_u64(&state.assignment, 1);
    pg_atomic_init_u64(&state.roster, 1);
    for (int i = 0; i < state.num_cells; i++)
        pg_atomic_init_u64(&state.cells[i].word, 0);
}

/// Runs again after a crash, with new shared memory (postmaster.c, PostmasterStateMachine).
extern "C" void pipeline_shmem_startup()
{
    if (previous_startup != nullptr)
        previous_startup();
    bool found;
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    shared = static_cast<SharedState *>(ShmemInitStruct(kName, segment_size(), &found));
    if (!found)
        initialise(*shared);
    LWLockRelease(AddinShmemInitLock);
}

/// If a view has changed its worker since this transaction asked the catalog, its new worker is
/// among those that run (assignment_epoch(), rendezvous.hpp).
void finish_commit()
{
    bool const wrote = FullTransactionIdIsValid(at_commit.written);
    if (at_commit.wake)
        assignment_changed();
    bool const stale = at_commit.wake || (wrote && at_commit.epoch != assignment_epoch());
    if (stale)
        wake_workers(MyDatabaseId, at_commit.workers | kFirstWorker, true);
    else if (wrote)
        announce_rows(MyDatabaseId, at_commit.workers);
    if (OidIsValid(at_commit.new_database))
        request_worker(at_commit.new_database, 0);
    if (wrote && !am_fold_worker())
        own_write_committed(at_commit.written, {at_commit.workers, at_commit.epoch});
}

/// At XACT_EVENT_COMMIT the transaction is out of the ProcArray (xact.c, CommitTransaction),
/// so the snapshot of the worker that is woken sees its chunks.
void at_transaction_end(XactEvent event, void *)
{
    switch (event) {
    case XACT_EVENT_COMMIT:
        finish_commit();
        break;
    case XACT_EVENT_ABORT:
        clear_cell();
        break;
    case XACT_EVENT_PREPARE:
        // COMMIT PREPARED, perhaps of another session, wakes the worker.
        break;
    default:
        return;
    }
    at_commit = {};
    release_hold();
}

/// An ERROR inside a wait or a statement about databases can be caught by PL/pgSQL.
void at_subtransaction_end(SubXactEvent event, SubTransactionId, SubTransactionId, void *)
{
    if (event != SUBXACT_EVENT_ABORT_SUB)
        return;
    clear_cell();
    release_hold();
}

} // namespace

void install_rendezvous()
{
    previous_request = shmem_request_hook;
    shmem_request_hook = pipeline_shmem_request;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = pipeline_shmem_startup;
    RegisterXactCallback(at_transaction_end, nullptr);
    RegisterSubXactCallback(at_subtransaction_end, nullptr);
}

bool started_after_crash()
{
    return shared->after_crash;
}

TimestampTz server_started()
{
    return shared->started;
}

bool is_preloaded()
{
    return shared != nullptr;
}

void require_preload()
{
    if (is_preloaded())
        return;
    const char *const now = shared_preload_libraries_string;
    bool const others = now != nullptr && now[0] != '\0';
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("pipeline_ext must be loaded by the server at start"),
             errhint("Set shared_preload_libraries = '%s%spipeline_ext' in postgresql.conf and "
                     "restart the server.",
                     others ? now : "", others ? ", " : "")));
}

uint64 assignment_epoch()
{
    pg_memory_barrier();
    return pg_atomic_read_u64(&shared->assignment);
}

void assignment_changed()
{
    (void) pg_atomic_fetch_add_u64(&shared->assignment, 1);
}

void note_write(FullTransactionId top_xid, Oid stream)
{
    // Who folds it may have changed since: then the epoch has, too, and all are woken.
    if (at_commit.stream == stream)
        return;
    Concerned const concerned = workers_of_stream(stream);
    at_commit.workers |= concerned.workers;
    if (!FullTransactionIdIsValid(at_commit.written)) {
        // Before the commit: registering may fail, and after it nothing may.
        clear_cell_at_exit();
        at_commit.written = top_xid;
        at_commit.epoch = concerned.epoch; // the oldest one counts
    }
    at_commit.stream = stream;
}

bool has_written()
{
    return FullTransactionIdIsValid(at_commit.written);
}

void wake_worker_at_commit(int number)
{
    at_commit.wake = true;
    at_commit.workers |= kFirstWorker | WorkerSet{1} << number;
}

void request_worker_at_commit(Oid db)
{
    at_commit.new_database = db;
}

} // namespace pipeline::spool
