#include "spool/rendezvous.hpp"

#include "pg/compat.hpp"
#include "spool/shared_state.hpp"

extern "C" {
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/wait_event.h"
}

namespace pipeline::spool {
namespace {

/// Locks stand for objects of the extension: below this, for other ones.
constexpr uint16 kWorkerLockBase = 100;

/// This process's slot, if it is a fold worker.
constinit WorkerSlot *my_slot = nullptr;
constinit int my_number = 0;
constinit LOCKTAG my_lock{};

WorkerSlot *find_free_slot()
{
    WorkerSlot *denied = nullptr;
    for (int i = 0; i < shared->num_slots; i++) {
        if (shared->slots[i].state == SlotState::kFree)
            return &shared->slots[i];
        if (shared->slots[i].state == SlotState::kDenied)
            denied = &shared->slots[i];
    }
    return denied;
}

bool is_denied(const WorkerSlot &slot)
{
    return slot.state == SlotState::kDenied && GetCurrentTimestamp() < slot.denied_until;
}

void make_request(WorkerSlot *slot, Oid db, int number)
{
    slot->db = db;
    slot->number = number;
    slot->state = SlotState::kRequested;
    slot->pid = 0;
    slot->procno = -1;
    slot->stopped = false;
    slot->blamed = InvalidOid;
    slot->attempt = SlotAttempt::kNone;
}

/// Whom rows wake. The counter is raised first, by a full barrier: see fall_asleep().
enum class Wake {
    kAsleep, ///< only workers that have nothing to do
    kAlways
};

void wake_slot(WorkerSlot *slot, Wake wake)
{
    (void) pg_atomic_fetch_add_u64(&slot->wakes, 1);
    if (wake == Wake::kAlways || pg_atomic_read_u32(&slot->asleep) != 0)
        set_latch_of(slot->procno);
}

/// Wakes the running ones among `workers` of `db`, or all of them; returns those of `workers`
/// that have to be requested.
WorkerSet wake_running(Oid db, WorkerSet workers, bool all, Wake wake = Wake::kAlways)
{
    for (int i = 0; i < shared->num_slots; i++) {
        WorkerSlot &slot = shared->slots[i];
        if (slot.state == SlotState::kFree || slot.db != db)
            continue;
        WorkerSet const bit = WorkerSet{1} << slot.number;
        if (slot.state == SlotState::kRunning && (all || (workers & bit) != 0))
            wake_slot(&slot, wake);
        if (slot.state != SlotState::kDenied && slot.state != SlotState::kResting)
            workers &= ~bit;
    }
    return workers;
}

/// Runs before ShutdownPostgres aborts the open transaction (ipc.c calls the last registered
/// first), but a process that is in proc_exit() commits nothing any more: whoever takes the
/// slot now is alone. It leaves a request, so that the launcher starts another.
extern "C" void pipeline_release_slot(int, Datum)
{
    if (my_slot == nullptr)
        return;
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    my_slot->state = SlotState::kRequested;
    my_slot->attempt = SlotAttempt::kNone;
    my_slot->pid = 0;
    my_slot->procno = -1;
    my_slot = nullptr;
    wake_launcher();
    LWLockRelease(shared->lock);
}

/// The tag is made once: a worker whose extension is dropped ends.
bool make_lock_tag()
{
    Oid const extension = get_extension_oid("pipeline_ext", true);
    if (!OidIsValid(extension))
        return false;
    SET_LOCKTAG_OBJECT(my_lock, MyDatabaseId, ExtensionRelationId, extension,
                       static_cast<uint16>(kWorkerLockBase + my_number));
    my_lock.locktag_lockmethodid = USER_LOCKMETHOD;
    return true;
}

constexpr bool has_bit(WorkerSet workers, int number)
{
    return (workers >> number & 1) != 0;
}

} // namespace

// ---- slots, under the lock -----------------------------------------------------------

WorkerSlot *find_slot(Oid db, int number)
{
    for (int i = 0; i < shared->num_slots; i++) {
        WorkerSlot &slot = shared->slots[i];
        if (slot.state != SlotState::kFree && slot.db == db && slot.number == number)
            return &slot;
    }
    return nullptr;
}

bool is_held(Oid db)
{
    for (int i = 0; i < shared->num_cells; i++)
        if (shared->cells[i].held_db == db)
            return true;
    return false;
}

void wake_launcher()
{
    if (shared->launcher >= 0)
        set_latch_of(shared->launcher);
}

WorkerSlot *find_or_request(Oid db, int number)
{
    WorkerSlot *slot = find_slot(db, number);
    bool const is_there = slot != nullptr && slot->state != SlotState::kResting &&
                          (slot->state != SlotState::kDenied || is_denied(*slot));
    if (is_there)
        return slot;
    if (slot == nullptr)
        slot = find_free_slot();
    if (slot != nullptr)
        make_request(slot, db, number);
    else
        shared->scan_wanted = true;
    wake_launcher();
    return slot;
}

void roster_changed(Oid db)
{
    (void) pg_atomic_fetch_add_u64(&shared->roster, 1);
    (void) wake_running(db, 0, true);
}

// ---- everybody -----------------------------------------------------------------------

bool am_fold_worker()
{
    return my_slot != nullptr;
}

static void wake_or_request(Oid db, WorkerSet workers, bool all, Wake wake)
{
    if (shared == nullptr)
        return;
    LWLockAcquire(shared->lock, LW_SHARED);
    WorkerSet const missing = wake_running(db, workers, all, wake);
    LWLockRelease(shared->lock);
    if (missing == 0)
        return;
    for (int number = 0; number < kMaxWorkers; number++)
        if (has_bit(missing, number))
            request_worker(db, number);
}

/// For one that is denied, worker 0 stands in.
void wake_workers(Oid db, WorkerSet workers, bool all)
{
    wake_or_request(db, workers, all, Wake::kAlways);
}

void announce_rows(Oid db, WorkerSet workers)
{
    wake_or_request(db, workers, false, Wake::kAsleep);
}

bool request_worker(Oid db, int number)
{
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    WorkerSlot *slot = find_or_request(db, number);
    if (slot != nullptr && slot->state == SlotState::kDenied)
        slot = find_or_request(db, 0);
    // It may have come between the two locks of wake_workers().
    if (slot != nullptr && slot->state == SlotState::kRunning)
        wake_slot(slot, Wake::kAlways);
    LWLockRelease(shared->lock);
    return slot != nullptr;
}

Roster roster_of(Oid db)
{
    Roster roster{};
    LWLockAcquire(shared->lock, LW_SHARED);
    for (int i = 0; i < shared->num_slots; i++) {
        const WorkerSlot &slot = shared->slots[i];
        if (slot.state == SlotState::kRunning && slot.db == db)
            roster.running |= WorkerSet{1} << slot.number;
        else if (slot.db == db && is_denied(slot))
            roster.denied |= WorkerSet{1} << slot.number;
    }
    LWLockRelease(shared->lock);
    return roster;
}

bool all_live(Oid db, WorkerSet workers)
{
    return (workers & ~roster_of(db).running) == 0;
}

// ---- fold worker ---------------------------------------------------------------------

bool attach_worker(int number)
{
    my_number = number;
    before_shmem_exit(pipeline_release_slot, 0);
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    WorkerSlot *const slot = find_or_request(MyDatabaseId, number);
    bool const taken = slot == nullptr || slot->state == SlotState::kRunning;
    if (!taken && is_held(MyDatabaseId))
        slot->state = SlotState::kRequested;
    else if (!taken) {
        slot->state = SlotState::kRunning;
        slot->pid = MyProcPid;
        slot->procno = my_procno();
        slot->stopped = false;
        pg_atomic_write_u32(&slot->asleep, 0);
        my_slot = slot;
        roster_changed(MyDatabaseId);
    }
    wake_launcher();
    LWLockRelease(shared->lock);
    return my_slot != nullptr;
}

int worker_number()
{
    return my_number;
}

Roster roster()
{
    return roster_of(MyDatabaseId);
}

uint64 roster_epoch()
{
    return pg_atomic_read_u64(&shared->roster);
}

bool is_of_fold_worker(const VirtualTransactionId &transaction)
{
    bool is = false;
    LWLockAcquire(shared->lock, LW_SHARED);
    for (int i = 0; i < shared->num_slots; i++) {
        const WorkerSlot &slot = shared->slots[i];
        if (slot.state == SlotState::kRunning && slot.db == MyDatabaseId)
            is |= pg::is_transaction_of(transaction, ProcGlobal->allProcs[slot.procno]);
    }
    LWLockRelease(shared->lock);
    return is;
}

/// Kept by the lock method of advisory locks: session-level locks of the other one are lost
/// when a transaction fails (proc.c, ProcReleaseLocks), and are left behind by a process that
/// ends outside a transaction (postinit.c, ShutdownPostgres, releases advisory ones only).
bool hold_worker_lock()
{
    if (my_lock.locktag_type != LOCKTAG_OBJECT && !make_lock_tag())
        return false;
    LockAcquireResult const result = LockAcquire(&my_lock, ExclusiveLock, true, true);
    if (result == LOCKACQUIRE_ALREADY_HELD)
        LockRelease(&my_lock, ExclusiveLock, true);
    return result != LOCKACQUIRE_NOT_AVAIL;
}

bool lock_absent_worker(int number)
{
    LOCKTAG tag = my_lock;
    tag.locktag_field4 = static_cast<uint16>(kWorkerLockBase + number);
    return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

uint64 count_wakes()
{
    return pg_atomic_read_u64(&my_slot->wakes);
}

/// Either the commit that counts up `wakes` sees the flag after it and sets the latch, or its
/// count is seen here: there is a full barrier between the two on both sides.
bool fall_asleep(uint64 wakes_seen)
{
    (void) pg_atomic_exchange_u32(&my_slot->asleep, 1);
    if (count_wakes() == wakes_seen)
        return true;
    wake_up();
    return false;
}

void wake_up()
{
    pg_atomic_write_u32(&my_slot->asleep, 0);
}

void blame(Oid view)
{
    my_slot->blamed = view; // one store; nobody else reads it while this process has the slot
}

Oid take_blamed()
{
    Oid const view = my_slot->blamed;
    my_slot->blamed = InvalidOid;
    return view;
}

bool begin_attempt(bool alone)
{
    bool free = true;
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    for (int i = 0; i < shared->num_slots; i++) {
        const WorkerSlot &slot = shared->slots[i];
        if (&slot != my_slot && slot.state == SlotState::kRunning)
            free &=
                alone ? slot.attempt == SlotAttempt::kNone : slot.attempt != SlotAttempt::kAlone;
    }
    if (free)
        my_slot->attempt = alone ? SlotAttempt::kAlone : SlotAttempt::kBeside;
    LWLockRelease(shared->lock);
    return free;
}

void end_attempt()
{
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    my_slot->attempt = SlotAttempt::kNone;
    LWLockRelease(shared->lock);
}

void leave_worker(uint64 wakes_seen, bool halted, TimestampTz wanted_at)
{
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    // Whoever wakes this worker holds the lock, shared.
    bool const woken = count_wakes() != wakes_seen;
    my_slot->state = woken || halted  ? SlotState::kRequested
                     : wanted_at != 0 ? SlotState::kResting
                                      : SlotState::kFree;
    my_slot->wanted_at = wanted_at;
    my_slot->stopped = halted;
    my_slot->attempt = SlotAttempt::kNone;
    my_slot->pid = 0;
    my_slot->procno = -1;
    my_slot = nullptr;
    wake_launcher();
    LWLockRelease(shared->lock);
}

bool slots_are_short()
{
    return shared->slots_are_short;
}

} // namespace pipeline::spool
