// The shared-memory segment behind rendezvous.hpp; only rendezvous.cpp, waits.cpp, own_writes.cpp,
// worker_slots.cpp and start_requests.cpp include it.
//
// Owns: the layout of the segment. Invariants: `lock` guards slots, holds and the launcher's
// entry, and nothing is called under it but SetLatch and kill; a waiter cell is written by its
// own process, but for the bits of its word that fold workers change, atomically.
#pragma once

#include "pg/postgres.hpp"
#include "spool/rendezvous.hpp"

extern "C" {
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/timestamp.h"
}

namespace pipeline::spool {

enum class SlotState : uint32 {
    kFree,
    kResting,   ///< its worker has left and is wanted again later; the launcher takes note
    kDenied,    ///< no process was free for it; not requested again before denied_until
    kRequested, ///< somebody wants a worker; the launcher has to start it
    kStarting,  ///< registered with the postmaster, not here yet
    kRunning
};

enum class SlotAttempt : uint32 { kNone, kBeside, kAlone };

struct WorkerSlot {
    Oid db;
    int number;
    SlotState state;
    pid_t pid;    ///< while running
    int procno;   ///< while running: whose latch wakes it
    bool stopped; ///< by stop_workers(): its end is no failure
    /// How often it was woken. A latch alone is reset by the server's own waits.
    pg_atomic_uint64 wakes;
    /// It waits for a latch and nothing else: before and after, a commit need only count up
    /// `wakes`.
    pg_atomic_uint32 asleep;
    Oid blamed; ///< view whose turn a former worker could end only by ending itself
    TimestampTz denied_until;
    TimestampTz wanted_at; ///< while resting, by pg::now()
    SlotAttempt attempt;   ///< that it makes after a crash
};

/// One per backend, at its place in ProcGlobal->allProcs.
struct WaiterCell {
    pg_atomic_uint64 word; ///< who has to answer, and who has (waits.cpp)
    Oid db;
    WaitKind kind;
    uint64 xid;  ///< kXid: the transaction; kFlush: the next xid when the wait began
    Oid held_db; ///< no worker may be started there now; guarded by the lock
};

struct SharedState {
    LWLock *lock;
    int launcher; ///< its procno, -1 = none
    bool scan_wanted;
    bool slots_are_short;
    bool after_crash;            ///< the server did not end as it should before this start
    TimestampTz started;         ///< this start
    bool halted;                 ///< folding is off
    pg_atomic_uint32 halts;      ///< how often it was turned off
    pg_atomic_uint32 waiting;    ///< number of cells with a request
    pg_atomic_uint64 assignment; ///< counts changes of who folds what, in any database
    pg_atomic_uint64 roster;     ///< counts workers that came or could not come
    int num_slots;
    int num_cells;
    WaiterCell *cells;
    WorkerSlot slots[FLEXIBLE_ARRAY_MEMBER];
};

/// Attached in every process, NULL when the library was not preloaded.
extern SharedState *shared;

/// The place of this process among the cells. Background workers and backends come first in
/// allProcs (proc.c, InitProcGlobal), so it is below MaxBackends.
inline int my_procno()
{
    return static_cast<int>(MyProc - ProcGlobal->allProcs);
}

inline WaiterCell &my_cell()
{
    return shared->cells[my_procno()];
}

/// A latch of a process that has ended may be set: the next owner wakes for nothing.
inline void set_latch_of(int procno)
{
    SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

// ---- to be called with the lock held ---------------------------------------------------

WorkerSlot *find_slot(Oid db, int number);

/// Returns the slot of (db, number), made a request if there was none; NULL if all are taken.
WorkerSlot *find_or_request(Oid db, int number);

/// True while some statement about the database keeps workers away.
bool is_held(Oid db);

void wake_launcher();

/// Tells the other workers of the database that one has come, or cannot come.
void roster_changed(Oid db);

// ---- without it --------------------------------------------------------------------------

/// True while all of `workers` of this database are attached.
bool all_live(Oid db, WorkerSet workers);

/// Registers, once per process, that its cell is cleared when the process ends.
void clear_cell_at_exit();

/// Ends the hold of stop_workers(), if this process has one.
void release_hold();

/// Takes back this process's request, if it has one.
void clear_cell();

/// True if the process of this cell waits for a fold.
bool has_request(WaiterCell &cell);

/// True in a fold worker, which must not wait for itself.
bool am_fold_worker();

} // namespace pipeline::spool
