#include "supervise/launcher.hpp"

#include "pg/clock.hpp"
#include "pg/list.hpp"
#include "pg/settings.hpp"
#include "spool/rendezvous.hpp"
#include "supervise/worker.hpp"

extern "C" {
#include "access/heapam.h"
#include "catalog/pg_database.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

namespace pipeline::supervise {
namespace {

constexpr int kMaxStarting = 2;
constexpr int kPatienceMs = 1000;    ///< idle workers have so long to make room
constexpr int kRetryMs = 10000;      ///< when they did not
constexpr int kShortLifeMs = 10000;  ///< dying earlier counts as a failed start
constexpr int kFirstBackOffMs = 200; ///< before the second restart
constexpr int kLastBackOffMs = 30000;

/// A fold worker that this launcher has started, or will start after a pause.
struct Entry {
    bool used;
    Oid db;
    int number;
    BackgroundWorkerHandle *handle; ///< NULL = no process
    TimestampTz started;
    TimestampTz not_before;
    int failures; ///< lives in a row that were short
};

/// A worker that has left and is wanted again, since rows will expire. Kept here alone: after a
/// restart of the launcher a worker of each database looks.
struct Alarm {
    spool::StartRequest worker;
    TimestampTz at; ///< by pg::now()
};

struct Launcher {
    Entry *entries;
    spool::StartRequest *requests;
    int size;
    List *alarms;            ///< of Alarm *
    List *to_probe;          ///< databases that may have the extension
    TimestampTz short_since; ///< no process was free; 0 = all is well
    TimestampTz retry_at;    ///< ... and none is tried before; 0 = go ahead
    bool reported;           ///< ... and the log says so
    bool denial_reported;    ///< the same for workers beside the first of a database
};

constinit Launcher launcher{};

// ---- entries -------------------------------------------------------------------------

Entry *find_entry(Oid db, int number)
{
    for (int i = 0; i < launcher.size; i++) {
        Entry &entry = launcher.entries[i];
        if (entry.used && entry.db == db && entry.number == number)
            return &entry;
    }
    return nullptr;
}

/// NULL if all are in use, which ends when a process does.
Entry *find_or_add_entry(Oid db, int number)
{
    Entry *const known = find_entry(db, number);
    if (known != nullptr)
        return known;
    for (int i = 0; i < launcher.size; i++) {
        Entry &entry = launcher.entries[i];
        if (entry.used)
            continue;
        entry = {};
        entry.used = true;
        entry.db = db;
        entry.number = number;
        return &entry;
    }
    return nullptr;
}

/// The first time a worker that died is started again at once.
int back_off_ms(int failures)
{
    if (failures == 0)
        return 0;
    int const doublings = Min(failures - 1, 10);
    return Min(kFirstBackOffMs << doublings, kLastBackOffMs);
}

/// The process of `entry` has ended. A worker that was idle has freed its slot; one that is
/// still wanted has died.
void entry_ended(Entry &entry, TimestampTz now)
{
    pfree(entry.handle);
    entry.handle = nullptr;
    launcher.retry_at = 0;
    spool::Wanted const wanted = spool::still_wanted(entry.db, entry.number);
    if (wanted == spool::Wanted::kNo)
        entry.used = false;
    if (wanted != spool::Wanted::kYes)
        return;
    if (TimestampDifferenceExceeds(entry.started, now, kShortLifeMs))
        entry.failures = 0;
    entry.not_before = TimestampTzPlusMilliseconds(now, back_off_ms(entry.failures));
    entry.failures++;
}

/// Looks after the processes: the postmaster signals their end (bgw_notify_pid).
void reap(TimestampTz now)
{
    for (int i = 0; i < launcher.size; i++) {
        Entry &entry = launcher.entries[i];
        pid_t pid;
        if (!entry.used)
            continue;
        if (entry.handle != nullptr) {
            if (GetBackgroundWorkerPid(entry.handle, &pid) == BGWH_STOPPED)
                entry_ended(entry, now);
        } else if (!spool::is_requested(entry.db, entry.number)) {
            entry.used = false;
        }
    }
}

int count_starting()
{
    int count = 0;
    for (int i = 0; i < launcher.size; i++) {
        const Entry &entry = launcher.entries[i];
        count +=
            entry.used && entry.handle != nullptr && spool::is_starting(entry.db, entry.number);
    }
    return count;
}

// ---- databases -----------------------------------------------------------------------

/// datconnlimit is -2 in a database that DROP DATABASE has left half removed.
bool is_usable(Form_pg_database database)
{
    return database->datallowconn && database->datconnlimit != -2;
}

/// Lists the databases that may have the extension (as autovacuum.c, get_database_list).
void scan_databases()
{
    StartTransactionCommand();
    (void) GetTransactionSnapshot();
    Relation const relation = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc const scan = table_beginscan_catalog(relation, 0, nullptr);
    HeapTuple tuple;
    while ((tuple = heap_getnext(scan, ForwardScanDirection)) != nullptr) {
        auto const database = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        if (!is_usable(database) || database->datistemplate)
            continue;
        MemoryContext const old = MemoryContextSwitchTo(TopMemoryContext);
        launcher.to_probe = list_append_unique_oid(launcher.to_probe, database->oid);
        MemoryContextSwitchTo(old);
    }
    table_endscan(scan);
    table_close(relation, AccessShareLock);
    CommitTransactionCommand();
}

bool database_is_usable(Oid db)
{
    StartTransactionCommand();
    HeapTuple const tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(db));
    bool usable = false;
    if (HeapTupleIsValid(tuple)) {
        usable = is_usable(reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple)));
        ReleaseSysCache(tuple);
    }
    CommitTransactionCommand();
    return usable;
}

/// Requests the next databases of the list, a few at a time, so that a server with many of
/// them does not need as many slots.
void request_probes()
{
    while (launcher.to_probe != NIL) {
        if (spool::list_requests(launcher.requests, launcher.size) >= kMaxStarting)
            return;
        if (!spool::request_worker(linitial_oid(launcher.to_probe), 0))
            return;
        launcher.to_probe = list_delete_first(launcher.to_probe);
    }
}

// ---- alarms --------------------------------------------------------------------------

void set_alarms()
{
    Alarm alarm;
    while (spool::take_resting(&alarm.worker, &alarm.at)) {
        for (auto *known : pg::each<Alarm>(launcher.alarms))
            if (known->worker.db == alarm.worker.db &&
                known->worker.number == alarm.worker.number) {
                launcher.alarms = list_delete_ptr(launcher.alarms, known);
                pfree(known);
                break;
            }
        MemoryContext const old = MemoryContextSwitchTo(TopMemoryContext);
        auto *const kept = static_cast<Alarm *>(palloc(sizeof(Alarm)));
        *kept = alarm;
        launcher.alarms = lappend(launcher.alarms, kept);
        MemoryContextSwitchTo(old);
    }
}

/// Requests those whose time has come; returns when the next one has, by the server's time, 0 =
/// there is none. What finds no slot is tried again.
TimestampTz ring_alarms(TimestampTz now)
{
    TimestampTz const clock = pg::now();
    TimestampTz next = 0;
    for (int i = list_length(launcher.alarms) - 1; i >= 0; i--) {
        auto *const alarm = static_cast<Alarm *>(list_nth(launcher.alarms, i));
        TimestampTz look_again = now + (alarm->at - clock);
        if (alarm->at <= clock) {
            if (spool::request_worker(alarm->worker.db, alarm->worker.number)) {
                launcher.alarms = list_delete_nth_cell(launcher.alarms, i);
                pfree(alarm);
                continue;
            }
            look_again = TimestampTzPlusMilliseconds(now, kRetryMs);
        }
        next = next == 0 ? look_again : Min(next, look_again);
    }
    return next;
}

// ---- starting ------------------------------------------------------------------------

void report_shortage(int waiting)
{
    ereport(WARNING,
            (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
             errmsg_plural("no background process is free for the fold worker of %d database",
                           "no background process is free for the fold workers of %d databases",
                           static_cast<unsigned long>(waiting), waiting),
             errhint("Raise max_worker_processes by at least %d (it is %d) and restart the server.",
                     waiting, max_worker_processes)));
}

/// Idle workers of other databases make room first. Only a shortage that they cannot end is
/// worth a line in the log, one until it is over.
TimestampTz no_process_was_free(TimestampTz now)
{
    spool::set_slots_are_short(true);
    if (launcher.short_since == 0)
        launcher.short_since = now;
    bool const lasting = TimestampDifferenceExceeds(launcher.short_since, now, kPatienceMs);
    launcher.retry_at = TimestampTzPlusMilliseconds(now, lasting ? kRetryMs : kPatienceMs);
    if (lasting && !launcher.reported) {
        launcher.reported = true;
        report_shortage(spool::list_requests(launcher.requests, launcher.size));
    }
    return launcher.retry_at;
}

/// The first worker of a database then folds all of its views. No other worker has to make room
/// for a further one.
void deny(Entry &entry)
{
    spool::deny_request(entry.db, entry.number);
    entry.used = false;
    if (launcher.denial_reported)
        return;
    launcher.denial_reported = true;
    ereport(LOG,
            (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
             errmsg("no background process is free for fold worker %d of a database", entry.number),
             errdetail("Its continuous views are folded by another one."),
             errhint("Raise max_worker_processes (it is %d) and restart the server, or lower "
                     "pipelinedb.num_workers (it is %d).",
                     max_worker_processes, settings::num_workers)));
}

/// False when there was no free process.
bool start(Entry &entry, TimestampTz now)
{
    if (!database_is_usable(entry.db)) {
        spool::drop_request(entry.db, entry.number);
        entry.used = false;
        return true;
    }
    if (!spool::begin_start(entry.db, entry.number))
        return true;
    entry.handle = register_fold_worker(entry.db, entry.number);
    entry.started = now;
    if (entry.handle == nullptr)
        (void) spool::still_wanted(entry.db, entry.number);
    return entry.handle != nullptr;
}

/// Starts what may be started; returns when to look again, 0 = when the latch is set.
TimestampTz serve_requests(TimestampTz now)
{
    TimestampTz look_again = 0;
    int const count = spool::list_requests(launcher.requests, launcher.size);
    if (count == 0)
        return 0;
    bool const is_short = launcher.retry_at > now;
    int starting = count_starting();
    for (int i = 0; i < count && starting < kMaxStarting; i++) {
        const spool::StartRequest request = launcher.requests[i];
        Entry *const entry = find_or_add_entry(request.db, request.number);
        // With a handle: the process that had the slot has not gone quite yet.
        if (entry == nullptr || entry->handle != nullptr)
            continue;
        if (entry->not_before > now) {
            if (look_again == 0 || entry->not_before < look_again)
                look_again = entry->not_before;
            continue;
        }
        if (is_short && request.number == 0)
            continue;
        if (!is_short && start(*entry, now))
            starting += entry->used;
        else if (request.number > 0)
            deny(*entry);
        else
            return no_process_was_free(now);
        if (entry->used && request.number > 0)
            launcher.denial_reported = false;
    }
    return is_short ? launcher.retry_at : look_again;
}

void end_shortage()
{
    if (launcher.short_since == 0 || launcher.to_probe != NIL ||
        spool::list_requests(launcher.requests, launcher.size) > 0)
        return;
    launcher.short_since = 0;
    launcher.retry_at = 0;
    launcher.reported = false;
    spool::set_slots_are_short(false);
}

// ---- main loop -----------------------------------------------------------------------

void sleep_until(TimestampTz when)
{
    long ms = -1;
    int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
    if (when != 0) {
        ms = Max(1L, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), when));
        events |= WL_TIMEOUT;
    }
    (void) WaitLatch(MyLatch, events, ms, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
}

/// Ends without a line in the log when the server is shut down, as the launcher of logical
/// replication does (postgres.c, ProcessInterrupts). Code 1: the postmaster restarts it.
void handle_signals()
{
    if (ProcDiePending)
        proc_exit(1);
    CHECK_FOR_INTERRUPTS();
    if (ConfigReloadPending) {
        ConfigReloadPending = false;
        ProcessConfigFile(PGC_SIGHUP);
    }
    spool::set_halted(!settings::folding);
}

void run_launcher()
{
    launcher.size = spool::max_workers();
    launcher.entries = static_cast<Entry *>(
        MemoryContextAllocZero(TopMemoryContext, sizeof(Entry) * static_cast<Size>(launcher.size)));
    launcher.requests = static_cast<spool::StartRequest *>(MemoryContextAllocZero(
        TopMemoryContext, sizeof(spool::StartRequest) * static_cast<Size>(launcher.size)));
    spool::attach_launcher();
    scan_databases();
    for (;;) {
        handle_signals();
        if (spool::take_scan_wanted())
            scan_databases();
        TimestampTz const now = GetCurrentTimestamp();
        reap(now);
        request_probes();
        set_alarms();
        TimestampTz const alarm = ring_alarms(now);
        TimestampTz const retry = settings::folding ? serve_requests(now) : 0;
        end_shortage();
        sleep_until(alarm != 0 && (retry == 0 || alarm < retry) ? alarm : retry);
    }
}

} // namespace

void register_launcher()
{
    if (IsBinaryUpgrade)
        return;
    BackgroundWorker worker;
    memset(&worker, 0, sizeof(worker));
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = 1;
    strlcpy(worker.bgw_name, "pipelinedb launcher", sizeof(worker.bgw_name));
    strlcpy(worker.bgw_type, "pipelinedb launcher", sizeof(worker.bgw_type));
    strlcpy(worker.bgw_library_name, "pipeline_ext", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, "pipeline_launcher_main", sizeof(worker.bgw_function_name));
    RegisterBackgroundWorker(&worker);
}

} // namespace pipeline::supervise

extern "C" PGDLLEXPORT void pipeline_launcher_main(Datum)
{
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
    // As autovacuum.c (AutoVacLauncherMain): the default may be serializable, read only and
    // deferrable, and then a snapshot waits for other sessions.
    SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
    pipeline::supervise::run_launcher();
}
