#include "supervise/worker.hpp"

#include "fold/entry.hpp"
#include "spool/rendezvous.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/wait_event.h"
}

#include <csignal>

namespace pipeline::supervise {
namespace {

struct Setting {
    const char *name;
    const char *value;
};

/// What autovacuum.c (AutoVacWorkerMain) forces, and what exactness needs: one snapshot per
/// transaction, no SIREAD locks on the spool, no triggers left out; and what would stop all views:
/// an error of one that ends the process, or another role (ALTER DATABASE … SET role).
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
    {"exit_on_error", "false"},
    {"role", "none"},
    {"jit", "false"},
    {"max_parallel_workers_per_gather", "0"},
};

/// Some settings exist in some majors only.
void force_settings()
{
    for (const Setting &setting : kSettings)
        if (GetConfigOption(setting.name, true, false) != nullptr)
            SetConfigOption(setting.name, setting.value, PGC_SUSET, PGC_S_OVERRIDE);
    SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_SUSET, PGC_S_OVERRIDE);
}

/// A database's owner may also say ALTER DATABASE ... SET session_authorization, which this session
/// has taken at its start (postinit.c: process_settings). Rights would be missing then, and the
/// functions of views would see that role as the session's. The role is checked in a transaction.
void be_superuser()
{
    if (GetUserId() == BOOTSTRAP_SUPERUSERID && GetSessionUserId() == BOOTSTRAP_SUPERUSERID)
        return;
    StartTransactionCommand();
    SetConfigOption("session_authorization", GetUserNameFromId(BOOTSTRAP_SUPERUSERID, false),
                    PGC_SUSET, PGC_S_OVERRIDE);
    CommitTransactionCommand();
}

/// True if the extension is in this database and the lock is ours. Waits for a former worker
/// that has not quite gone.
bool has_work_here()
{
    for (;;) {
        StartTransactionCommand();
        bool const installed = view::extension_installed();
        bool const locked = installed && spool::hold_worker_lock();
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
    force_settings();
    be_superuser();
    if (!spool::attach_worker(number))
        proc_exit(0);
    // A wake-up from here on is seen by leave_worker().
    fold::WorkerEnd end{spool::count_wakes(), false, 0};
    ResetLatch(MyLatch);
    if (has_work_here())
        end = fold::run_worker();
    spool::leave_worker(end.wakes_seen, end.halted, end.wanted_at);
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
    if (number == 0)
        strlcpy(worker.bgw_name, "pipelinedb fold worker", sizeof(worker.bgw_name));
    else
        snprintf(worker.bgw_name, sizeof(worker.bgw_name), "pipelinedb fold worker %d", number);
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
