#include "supervise/worker.hpp"

#include "fold/entry.hpp"
#include "spool/rendezvous.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/wait_event.h"
}

#include <csignal>

namespace pipeline::supervise {
namespace {

/// Objects of the extension that locks stand for: below this, other uses.
constexpr uint16 kWorkerLockBase = 100;

struct Setting {
    const char *name;
    const char *value;
};

/// What autovacuum.c (AutoVacWorkerMain) forces, and what exactness needs: one snapshot per
/// transaction, no SIREAD locks on the spool, no triggers left out.
constexpr Setting kSettings[] = {
    {"search_path", ""},
    {"statement_timeout", "0"},
    {"transaction_timeout", "0"},
    {"lock_timeout", "0"},
    {"idle_in_transaction_session_timeout", "0"},
    {"idle_session_timeout", "0"},
    {"default_transaction_isolation", "repeatable read"},
    {"default_transaction_read_only", "false"},
    {"default_transaction_deferrable", "false"},
    {"row_security", "true"},
    {"session_replication_role", "origin"},
    {"synchronous_commit", "off"},
    {"zero_damaged_pages", "false"},
    {"jit", "false"},
    {"max_parallel_workers_per_gather", "0"},
};

constinit int my_number = 0;
constinit LOCKTAG my_lock{};

/// Some settings exist in some majors only.
void force_settings()
{
    for (const Setting &setting : kSettings)
        if (GetConfigOption(setting.name, true, false) != nullptr)
            SetConfigOption(setting.name, setting.value, PGC_SUSET, PGC_S_OVERRIDE);
    SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_SUSET, PGC_S_OVERRIDE);
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

/// True if the extension is in this database and the lock is ours. Waits for a former worker
/// that has not quite gone.
bool has_work_here()
{
    for (;;) {
        StartTransactionCommand();
        bool const installed = view::extension_installed();
        bool const locked = installed && hold_worker_lock();
        CommitTransactionCommand();
        if (!installed || locked)
            return installed;
        (void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
                         PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

void run(Oid db, int number)
{
    BackgroundWorkerInitializeConnectionByOid(db, InvalidOid, 0);
    my_number = number;
    force_settings();
    if (!spool::attach_worker(number))
        proc_exit(0);
    // A wake-up from here on is seen by leave_worker().
    ResetLatch(MyLatch);
    if (has_work_here())
        fold::run_worker();
    spool::leave_worker();
    proc_exit(0);
}

} // namespace

BackgroundWorkerHandle *register_fold_worker(Oid db, int number)
{
    BackgroundWorker worker;
    memset(&worker, 0, sizeof(worker));
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = BGW_NEVER_RESTART;
    worker.bgw_notify_pid = MyProcPid;
    worker.bgw_main_arg = ObjectIdGetDatum(db);
    memcpy(worker.bgw_extra, &number, sizeof(number));
    strlcpy(worker.bgw_name, "pipelinedb fold worker", sizeof(worker.bgw_name));
    strlcpy(worker.bgw_type, "pipelinedb fold worker", sizeof(worker.bgw_type));
    strlcpy(worker.bgw_library_name, "pipeline_ext", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, "pipeline_fold_worker_main",
            sizeof(worker.bgw_function_name));

    BackgroundWorkerHandle *handle = nullptr;
    MemoryContext const old = MemoryContextSwitchTo(TopMemoryContext);
    bool const registered = RegisterDynamicBackgroundWorker(&worker, &handle);
    MemoryContextSwitchTo(old);
    return registered ? handle : nullptr;
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

} // namespace pipeline::supervise

extern "C" PGDLLEXPORT void pipeline_fold_worker_main(Datum arg)
{
    int number;
    memcpy(&number, MyBgworkerEntry->bgw_extra, sizeof(number));
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    pipeline::supervise::run(DatumGetObjectId(arg), number);
}
