#include "pg/settings.hpp"

#include "pg/stop_points.hpp"
#include "pg/unused_settings.hpp"

namespace pipeline::settings {

constinit int stream_insert_level = kSyncReceive;
constinit bool read_own_writes = true;
constinit int read_own_writes_timeout = 10000;
constinit bool matrels_writable = false;
constinit char *stream_targets = nullptr;
constinit int preaggregate_after = 65536;
constinit int num_workers = 1;
constinit bool folding = true;
constinit bool vectorize = true;
constinit int fold_interval = 2;
constinit int fold_batch = 16384;
constinit int fold_memory = 262144;
constinit int view_timeout = 30000;
constinit int max_errors = 1000;
constinit int spool_generation_size = 64;
constinit int max_spool_size = 10240;
constinit int spool_full_action = kDetach;
constinit int idle_exit = 300;
constinit int fillfactor = 50;
constinit double step_factor = 5.0;
constinit int clock_offset = 0;
constinit int ttl_expiration_batch_size = 10000;
constinit char *stop_points = nullptr;

namespace {

constexpr config_enum_entry kInsertLevels[] = {{"async", kAsync, false},
                                               {"sync_receive", kSyncReceive, false},
                                               {"sync_commit", kSyncCommit, false},
                                               {nullptr, 0, false}};

constexpr config_enum_entry kFullSpoolActions[] = {
    {"detach", kDetach, false}, {"reject", kReject, false}, {nullptr, 0, false}};

void define_for_writers()
{
    DefineCustomEnumVariable("pipelinedb.stream_insert_level",
                             "Sets what a committing writer to a stream waits for.",
                             "With async and sync_receive, rows are durable when the commit "
                             "returns; with sync_commit, continuous views show them, too.",
                             &stream_insert_level, kSyncReceive, kInsertLevels, PGC_USERSET, 0,
                             nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("pipelinedb.read_own_writes",
                             "Makes a query wait until the rows that this session wrote are "
                             "in the continuous views.",
                             nullptr, &read_own_writes, true, PGC_USERSET, 0, nullptr, nullptr,
                             nullptr);
    DefineCustomIntVariable("pipelinedb.read_own_writes_timeout",
                            "Sets the maximum time that a query waits for this session's own "
                            "writes.",
                            "A value of 0 turns off the wait.", &read_own_writes_timeout, 10000, 0,
                            3600000, PGC_USERSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("pipelinedb.stream_targets",
                               "Sets the continuous views that alone get the rows that this "
                               "session writes to streams.",
                               "An empty list means all that read the stream. Functions with the "
                               "rights of another role write to all.",
                               &stream_targets, "", PGC_USERSET, GUC_LIST_INPUT, nullptr, nullptr,
                               nullptr);
    DefineCustomIntVariable("pipelinedb.preaggregate_after",
                            "Sets the number of rows of a statement from which on it aggregates "
                            "them itself.",
                            "Where there are few groups, that is cheaper than to hand the rows to "
                            "a fold worker. A value of -1 turns it off.",
                            &preaggregate_after, 65536, -1, INT_MAX, PGC_USERSET, 0, nullptr,
                            nullptr, nullptr);
}

void define_for_views()
{
    DefineCustomBoolVariable("pipelinedb.matrels_writable",
                             "Allows changes to the tables behind continuous views.", nullptr,
                             &matrels_writable, false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pipelinedb.fillfactor",
                            "Sets the fillfactor of the tables behind new continuous views.",
                            "Free room in a page keeps updates of a group within the page.",
                            &fillfactor, 50, 10, 100, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomRealVariable("pipelinedb.sliding_window_step_factor",
                             "Sets the size of a step of new sliding windows, in percent of the "
                             "window.",
                             "A window moves by steps; smaller ones need more rows per group.",
                             &step_factor, 5.0, 0.0, 50.0, PGC_USERSET, 0, nullptr, nullptr,
                             nullptr);
    DefineCustomIntVariable("pipelinedb.clock_offset",
                            "Adds to the clock that sliding windows and retention go by, for "
                            "tests.",
                            nullptr, &clock_offset, 0, INT_MIN, INT_MAX, PGC_SUSET,
                            GUC_UNIT_S | GUC_NOT_IN_SAMPLE, nullptr, nullptr, nullptr);
}

void define_for_fold_workers()
{
    DefineCustomIntVariable("pipelinedb.num_workers",
                            "Sets the number of fold workers per database.",
                            "Continuous views are spread over them; one view has one worker.",
                            &num_workers, 1, 1, 16, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("pipelinedb.folding", "Folds rows into continuous views.",
                             "When this is off no fold worker runs, and rows wait in the spool.",
                             &folding, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("pipelinedb.vectorize",
                             "Folds common queries by loops over columns instead of the executor.",
                             "Both ways give the same results.", &vectorize, true, PGC_SIGHUP, 0,
                             nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pipelinedb.fold_interval",
                            "Sets the time that a fold worker waits after it folded little.",
                            "A longer time needs fewer transactions, and views lag as much.",
                            &fold_interval, 2, 0, 60000, PGC_SIGHUP, GUC_UNIT_MS, nullptr, nullptr,
                            nullptr);
    DefineCustomIntVariable("pipelinedb.fold_batch",
                            "Sets the maximum amount of rows that a fold worker folds in one "
                            "transaction.",
                            nullptr, &fold_batch, 16384, 256, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_KB,
                            nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pipelinedb.fold_memory",
                            "Sets the maximum memory that a fold worker uses for groups.",
                            "Groups beyond that are written to their tables early, and looked up "
                            "there.",
                            &fold_memory, 262144, 16384, MAX_KILOBYTES, PGC_SIGHUP, GUC_UNIT_KB,
                            nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pipelinedb.view_timeout",
                            "Sets the maximum time that a continuous view may take in one "
                            "transaction of the fold worker.",
                            "A view that exceeds it three times in a row is stopped, so that it "
                            "does not stall the others. A value of 0 turns this off.",
                            &view_timeout, 30000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, nullptr,
                            nullptr, nullptr);
    DefineCustomIntVariable("pipelinedb.ttl_expiration_batch_size",
                            "Sets the maximum number of expired rows that are removed in one "
                            "transaction.",
                            "A value of 0, or above 10000, means 10000.",
                            &ttl_expiration_batch_size, 10000, 0, INT_MAX, PGC_SIGHUP, 0, nullptr,
                            nullptr, nullptr);
    DefineCustomIntVariable("pipelinedb.max_errors",
                            "Sets the maximum number of rows in pipelinedb.errors per continuous "
                            "view.",
                            "The oldest ones are deleted. They are counted in any case.",
                            &max_errors, 1000, 0, 1000000, PGC_SIGHUP, 0, nullptr, nullptr,
                            nullptr);
    DefineCustomIntVariable("pipelinedb.spool_generation_size",
                            "Sets the size from which on a spool table is replaced by an empty "
                            "one.",
                            nullptr, &spool_generation_size, 64, 1, 65536, PGC_SIGHUP, GUC_UNIT_MB,
                            nullptr, nullptr, nullptr);
    DefineCustomIntVariable("pipelinedb.max_spool_size",
                            "Sets the maximum size of the rows of a database that wait to be "
                            "folded.",
                            "At this size writes to streams fail, unless a view can be detached. "
                            "A value of 0 turns the limit off.",
                            &max_spool_size, 10240, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB, nullptr,
                            nullptr, nullptr);
    DefineCustomEnumVariable("pipelinedb.spool_full_action",
                             "Sets what happens when the spool has pipelinedb.max_spool_size.",
                             "With detach, paused, failed, blocked and slow views that hold the "
                             "oldest rows lose what waits for them; with reject, writes to streams "
                             "fail instead.",
                             &spool_full_action, kDetach, kFullSpoolActions, PGC_SIGHUP, 0, nullptr,
                             nullptr, nullptr);
    DefineCustomIntVariable("pipelinedb.idle_exit",
                            "Sets the time after which an idle fold worker exits.",
                            "The next write to a stream starts it again.", &idle_exit, 300, 1,
                            86400, PGC_SIGHUP, GUC_UNIT_S, nullptr, nullptr, nullptr);
    DefineCustomStringVariable(
        "pipelinedb.stop_points", "Sets the places where processes wait, fail or crash, for tests.",
        "A list of name:action, where action is wait, error or crash.", &stop_points, "", PGC_SUSET,
        GUC_NOT_IN_SAMPLE, pg::check_stop_points, nullptr, nullptr);
}

} // namespace

void define_all()
{
    define_for_writers();
    define_for_views();
    define_for_fold_workers();
    define_unused();
    MarkGUCPrefixReserved("pipelinedb");
}

} // namespace pipeline::settings
