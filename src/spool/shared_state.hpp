// The shared-memory segment behind rendezvous.hpp; only spool/rendezvous.cpp, spool/waits.cpp
// and spool/worker_slots.cpp include it.
//
// Owns: the layout of the segment. Invariants: `lock` guards slots, holds and the launcher's
// entry, and nothing is called under it but SetLatch and kill; a waiter cell is written by its
// own process, but for asked -> noted -> done, which only the fold worker does, atomically.
#pragma once

#include "pg/postgres.hpp"
#include "spool/rendezvous.hpp"

extern "C" {
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
}

namespace pipeline::spool {

enum class SlotState : uint32 {
    kFree,
    kRequested, ///< somebody wants a worker; the launcher has to start it
    kStarting,  ///< registered with the postmaster, not here yet
    kRunning
};

struct WorkerSlot {
    Oid db;
    int number;
    SlotState state;
    pid_t pid;    ///< while running
    int procno;   ///< while running: whose latch wakes it
    bool stopped; ///< by stop_workers(): its end is no failure
    /// How often it was woken. A latch alone is reset by the server's own waits.
    pg_atomic_uint64 wakes;
    Oid blamed; ///< view whose turn a former worker could end only by ending itself
};

enum CellState : uint32 { kCellIdle, kCellAsked, kCellNoted, kCellDone, kCellPartlyDone };

/// One per backend, at its place in ProcGlobal->allProcs.
struct WaiterCell {
    pg_atomic_uint32 state; ///< a CellState
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
    bool after_crash;         ///< the server did not end as it should before this start
    pg_atomic_uint32 waiting; ///< number of cells that are not idle
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

/// True while a live worker of this database, any number, is attached.
bool worker_lives(Oid db);

/// Registers, once per process, that its cell is cleared when the process ends.
void clear_cell_at_exit();

/// Ends the hold of stop_workers(), if this process has one.
void release_hold();

/// Takes back this process's request, if it has one.
void clear_cell();

/// True in a fold worker, which must not wait for itself.
bool am_fold_worker();

} // namespace pipeline::spool
