// What the launcher asks and tells about the slots, and the statements about databases that hold
// it back (rendezvous.hpp).
#include "spool/rendezvous.hpp"
#include "spool/shared_state.hpp"

extern "C" {
#include "storage/ipc.h"
#include "utils/wait_event.h"
}

#include <csignal>

namespace pipeline::spool {
namespace {

/// So long a worker for which no process was free is not asked for again.
constexpr int kDeniedMs = 60000;

bool has_state(Oid db, int number, SlotState state)
{
    LWLockAcquire(shared->lock, LW_SHARED);
    const WorkerSlot *const slot = find_slot(db, number);
    bool const has = slot != nullptr && slot->state == state;
    LWLockRelease(shared->lock);
    return has;
}

extern "C" void pipeline_release_launcher(int, Datum)
{
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    if (shared->launcher == my_procno())
        shared->launcher = -1;
    LWLockRelease(shared->lock);
}

/// Signals the workers of `db`; true if any is there or on its way.
bool signal_workers(Oid db)
{
    bool any = false;
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    for (int i = 0; i < shared->num_slots; i++) {
        WorkerSlot &slot = shared->slots[i];
        if (slot.db != db ||
            (slot.state != SlotState::kRunning && slot.state != SlotState::kStarting))
            continue;
        // Under the lock the process is still there: it takes the lock before it goes.
        if (slot.state == SlotState::kRunning)
            kill(slot.pid, SIGTERM);
        slot.stopped = true;
        any = true;
    }
    LWLockRelease(shared->lock);
    return any;
}

} // namespace

void attach_launcher()
{
    before_shmem_exit(pipeline_release_launcher, 0);
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    shared->launcher = my_procno();
    shared->slots_are_short = false;
    for (int i = 0; i < shared->num_slots; i++)
        if (shared->slots[i].state == SlotState::kStarting)
            shared->slots[i].state = SlotState::kRequested;
    LWLockRelease(shared->lock);
}

int max_workers()
{
    return shared->num_slots;
}

int list_requests(StartRequest *requests, int max)
{
    int count = 0;
    LWLockAcquire(shared->lock, LW_SHARED);
    for (int i = 0; i < shared->num_slots && count < max; i++) {
        const WorkerSlot &slot = shared->slots[i];
        if (slot.state == SlotState::kRequested && !is_held(slot.db))
            requests[count++] = {slot.db, slot.number};
    }
    LWLockRelease(shared->lock);
    return count;
}

bool take_resting(StartRequest *request, TimestampTz *wanted_at)
{
    bool found = false;
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    for (int i = 0; i < shared->num_slots && !found; i++) {
        WorkerSlot &slot = shared->slots[i];
        found = slot.state == SlotState::kResting;
        if (!found)
            continue;
        *request = {slot.db, slot.number};
        *wanted_at = slot.wanted_at;
        slot.state = SlotState::kFree;
    }
    LWLockRelease(shared->lock);
    return found;
}

bool begin_start(Oid db, int number)
{
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    WorkerSlot *const slot = find_slot(db, number);
    bool const begins = slot != nullptr && slot->state == SlotState::kRequested && !is_held(db);
    if (begins)
        slot->state = SlotState::kStarting;
    LWLockRelease(shared->lock);
    return begins;
}

Wanted still_wanted(Oid db, int number)
{
    Wanted wanted = Wanted::kNo;
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    WorkerSlot *const slot = find_slot(db, number);
    if (slot != nullptr && slot->state == SlotState::kStarting)
        slot->state = SlotState::kRequested;
    if (slot != nullptr && slot->state == SlotState::kRequested) {
        wanted = slot->stopped ? Wanted::kStopped : Wanted::kYes;
        slot->stopped = false;
    }
    LWLockRelease(shared->lock);
    return wanted;
}

bool is_requested(Oid db, int number)
{
    return has_state(db, number, SlotState::kRequested);
}

bool is_starting(Oid db, int number)
{
    return has_state(db, number, SlotState::kStarting);
}

void drop_request(Oid db, int number)
{
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    WorkerSlot *const slot = find_slot(db, number);
    if (slot != nullptr && slot->state != SlotState::kRunning)
        slot->state = SlotState::kFree;
    LWLockRelease(shared->lock);
}

void deny_request(Oid db, int number)
{
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    WorkerSlot *const slot = find_slot(db, number);
    if (slot != nullptr && slot->state == SlotState::kRequested) {
        slot->state = SlotState::kDenied;
        slot->denied_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), kDeniedMs);
        roster_changed(db);
        (void) find_or_request(db, 0);
    }
    LWLockRelease(shared->lock);
}

/// Whoever waits for a fold is woken.
void set_halted(bool halted)
{
    if (shared->halted == halted)
        return;
    shared->halted = halted;
    if (!halted)
        return;
    (void) pg_atomic_fetch_add_u32(&shared->halts, 1);
    for (int i = 0; i < shared->num_cells; i++)
        if (has_request(shared->cells[i]))
            set_latch_of(i);
}

void set_slots_are_short(bool is_short)
{
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    bool const news = is_short && !shared->slots_are_short;
    shared->slots_are_short = is_short;
    for (int i = 0; news && i < shared->num_slots; i++)
        if (shared->slots[i].state == SlotState::kRunning)
            set_latch_of(shared->slots[i].procno);
    LWLockRelease(shared->lock);
}

bool take_scan_wanted()
{
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    bool const wanted = shared->scan_wanted;
    shared->scan_wanted = false;
    LWLockRelease(shared->lock);
    return wanted;
}

// ---- statements about databases ------------------------------------------------------

void stop_workers(Oid db, int timeout_ms)
{
    clear_cell_at_exit();
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    my_cell().held_db = db;
    LWLockRelease(shared->lock);

    TimestampTz const begin = GetCurrentTimestamp();
    while (signal_workers(db) &&
           !TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), timeout_ms)) {
        (void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 20,
                         PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

void release_hold()
{
    if (shared == nullptr || MyProc == nullptr || !OidIsValid(my_cell().held_db))
        return;
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    my_cell().held_db = InvalidOid;
    wake_launcher();
    LWLockRelease(shared->lock);
}

} // namespace pipeline::spool
