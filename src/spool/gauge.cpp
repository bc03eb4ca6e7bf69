#include "spool/gauge.hpp"

#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "spool/generations.hpp"
#include "spool/rendezvous.hpp"
#include "spool/shared_state.hpp"

extern "C" {
#include "access/relation.h"
#include "commands/dbcommands.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

namespace pipeline::spool {
namespace {

constexpr const char *kName = "pipeline_ext spool sizes";

/// More databases than this share gauges: the one measured longest ago gives way.
constexpr int kNumGauges = 256;

/// A fold worker measures once a second while it is awake. It may be in a long tick, or there
/// is none: after this time a writer measures instead. In microseconds.
constexpr int64 kLate = 1000000;
constexpr int64 kPatience = 5000000;

/// After so many bytes a long statement looks at the clock.
constexpr Size kBytesPerLook = 2 * 1024 * 1024;

struct Gauge {
    pg_atomic_uint32 db; ///< InvalidOid = free
    pg_atomic_uint64 bytes;
    pg_atomic_uint64 measured_at; ///< a TimestampTz; 0 = never
};

struct Gauges {
    LWLock *lock; ///< to take a gauge
    Gauge gauges[kNumGauges];
};

constinit Gauges *gauges = nullptr;
constinit Gauge *mine = nullptr;
constinit Size written_since_look = 0;

constinit shmem_request_hook_type previous_request = nullptr;
constinit shmem_startup_hook_type previous_startup = nullptr;

extern "C" void pipeline_request_gauges()
{
    if (previous_request != nullptr)
        previous_request();
    RequestAddinShmemSpace(MAXALIGN(sizeof(Gauges)));
    RequestNamedLWLockTranche(kName, 1);
}

extern "C" void pipeline_start_gauges()
{
    if (previous_startup != nullptr)
        previous_startup();
    bool found;
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    gauges = static_cast<Gauges *>(ShmemInitStruct(kName, sizeof(Gauges), &found));
    if (!found) {
        gauges->lock = &GetNamedLWLockTranche(kName)->lock;
        for (Gauge &gauge : gauges->gauges) {
            pg_atomic_init_u32(&gauge.db, InvalidOid);
            pg_atomic_init_u64(&gauge.bytes, 0);
            pg_atomic_init_u64(&gauge.measured_at, 0);
        }
    }
    LWLockRelease(AddinShmemInitLock);
}

/// This database's gauge, or the one to take: a free one, else the oldest.
Gauge *choose_gauge()
{
    Gauge *choice = nullptr;
    for (Gauge &gauge : gauges->gauges) {
        Oid const db = pg_atomic_read_u32(&gauge.db);
        if (db == MyDatabaseId)
            return &gauge;
        uint64 const age = OidIsValid(db) ? pg_atomic_read_u64(&gauge.measured_at) : 0;
        if (choice == nullptr || age < pg_atomic_read_u64(&choice->measured_at))
            choice = &gauge;
    }
    return choice;
}

Gauge &my_gauge()
{
    if (mine != nullptr && pg_atomic_read_u32(&mine->db) == MyDatabaseId)
        return *mine;
    LWLockAcquire(gauges->lock, LW_EXCLUSIVE);
    mine = choose_gauge();
    if (pg_atomic_read_u32(&mine->db) != MyDatabaseId) {
        pg_atomic_write_u64(&mine->bytes, 0);
        pg_atomic_write_u64(&mine->measured_at, 0);
        pg_atomic_write_u32(&mine->db, MyDatabaseId);
    }
    LWLockRelease(gauges->lock);
    return *mine;
}

uint64 main_fork_bytes(Oid relid, Oid *toast)
{
    if (!ConditionalLockRelationOid(relid, AccessShareLock))
        return 0;
    uint64 bytes = 0;
    Relation rel = try_relation_open(relid, NoLock);
    if (rel != nullptr) {
        bytes = uint64{RelationGetNumberOfBlocks(rel)} * BLCKSZ;
        if (toast != nullptr)
            *toast = rel->rd_rel->reltoastrelid;
        relation_close(rel, NoLock);
    }
    UnlockRelationOid(relid, AccessShareLock);
    return bytes;
}

/// A single one of the writers that come here at the same time does it.
void measure_instead_of_worker(Gauge &gauge, uint64 measured_at, TimestampTz now)
{
    if (pg_atomic_compare_exchange_u64(&gauge.measured_at, &measured_at, static_cast<uint64>(now)))
        pg_atomic_write_u64(&gauge.bytes, measure_spool());
}

const char *pretty(uint64 bytes)
{
    return TextDatumGetCString(
        DirectFunctionCall1(pg_size_pretty, Int64GetDatum(static_cast<int64>(bytes))));
}

[[noreturn]] void reject(uint64 bytes)
{
    // What it waits for may have ended without a message, say a transaction that rolled back.
    wake_workers(MyDatabaseId, kFirstWorker, false);
    ereport(ERROR,
            (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
             errmsg("spool of database \"%s\" is full", get_database_name(MyDatabaseId)),
             errdetail("Rows that wait to be folded take %s; pipelinedb.max_spool_size is %s.",
                       pretty(bytes), pretty(spool_limit())),
             errhint("The server log says what holds them. Try again later, or raise "
                     "pipelinedb.max_spool_size.")));
    pg_unreachable();
}

void refuse_if_full(const Gauge &gauge)
{
    uint64 const bytes = pg_atomic_read_u64(const_cast<pg_atomic_uint64 *>(&gauge.bytes));
    if (bytes >= spool_limit())
        reject(bytes);
}

} // namespace

void install_gauges()
{
    previous_request = shmem_request_hook;
    shmem_request_hook = pipeline_request_gauges;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = pipeline_start_gauges;
}

uint64 measure_spool()
{
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "spool size", ALLOCSET_SMALL_SIZES);
    uint64 bytes = 0;
    pg::in_context(context, [&] {
        for (auto *generation : pg::each<Generation>(list_generations())) {
            Oid toast = InvalidOid;
            bytes += main_fork_bytes(generation->relid, &toast);
            if (OidIsValid(toast))
                bytes += main_fork_bytes(toast, nullptr);
        }
    });
    MemoryContextDelete(context);
    return bytes;
}

void publish_spool_size(uint64 bytes)
{
    Gauge &gauge = my_gauge();
    pg_atomic_write_u64(&gauge.bytes, bytes);
    pg_atomic_write_u64(&gauge.measured_at, static_cast<uint64>(GetCurrentTimestamp()));
}

uint64 spool_limit()
{
    return static_cast<uint64>(settings::max_spool_size) * 1024 * 1024;
}

/// The clock is read now and then only; at a statement's first chunk the server's own reading of
/// it will do, which is old in a long statement that runs others.
void check_room(Size bytes, bool is_first)
{
    if (settings::max_spool_size == 0 || gauges == nullptr || am_fold_worker())
        return;
    Gauge &gauge = my_gauge();
    written_since_look += bytes;
    bool const looks = written_since_look >= kBytesPerLook;
    if (looks || is_first) {
        TimestampTz const now = looks ? GetCurrentTimestamp() : GetCurrentStatementStartTimestamp();
        uint64 const measured_at = pg_atomic_read_u64(&gauge.measured_at);
        int64 const age = now - static_cast<TimestampTz>(measured_at);
        // A transaction that is open wakes nobody by its commit, and others not always worker 0.
        if (age > kPatience || (looks && age > kLate))
            wake_workers(MyDatabaseId, kFirstWorker, false);
        if (age > kPatience)
            measure_instead_of_worker(gauge, measured_at, now);
        if (looks)
            written_since_look = 0;
    }
    refuse_if_full(gauge);
}

} // namespace pipeline::spool
