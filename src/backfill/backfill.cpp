// SQL routines pipelinedb.backfill() and cancel_backfill(): history for a view whose stream goes
// on.
//
// Owns: the order of things. May call: pg/, spool, view, the rest of backfill. Invariants: at the
// seam the view is emptied and a set of transactions stored; from then on the stream counts what is
// not in the set, and the backfill writes the rows of the source that are; position and rows are
// committed together. Nobody who writes to the stream or to the source is locked out.
#include "backfill/history.hpp"
#include "backfill/pace.hpp"
#include "backfill/source.hpp"
#include "pg/guard.hpp"
#include "pg/scope.hpp"
#include "pg/stop_points.hpp"
#include "spool/rendezvous.hpp"
#include "spool/targets.hpp"
#include "view/backfill_job.hpp"
#include "view/catalog.hpp"
#include "view/ddl.hpp"
#include "view/earlier_writers.hpp"
#include "view/truncation.hpp"

extern "C" {
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::backfill {
namespace {

struct Arguments {
    text *view;
    const char *source;
    const char *query;
    const char *stream;
    bool seam;
    bool atomic; ///< inside a transaction block or function: nothing can be committed
};

// ---- what may be said about it -------------------------------------------------------

const char *literal_name(Oid view)
{
    return quote_literal_cstr(quote_qualified_identifier(
        get_namespace_name(get_rel_namespace(view)), get_rel_name(view)));
}

void check_counts(const view::ContinuousQuery *query)
{
    if (query->active && !query->failed && !query->lost)
        return;
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("continuous view \"%s\" is not active", get_rel_name(query->view)),
                    errhint("Call pipelinedb.activate() first.")));
}

/// Rows that went to the view may be gone, and it cannot be told which.
void check_kept(const view::BackfillJob *job, const view::ContinuousQuery *query)
{
    check_counts(query);
    if (U64FromFullTransactionId(query->created_xid) == job->view_created &&
        view::last_truncation_of(job->view) == job->view_truncated)
        return;
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("continuous view \"%s\" was truncated, or detached from its stream, since its "
                    "backfill began",
                    get_rel_name(job->view)),
             errhint("Forget this backfill with SELECT pipelinedb.cancel_backfill(%s) and begin "
                     "anew.",
                     literal_name(job->view))));
}

/// One backfill of a view at a time. Kept by the session: with the transaction's abort it goes, too
/// (proc.c, ProcReleaseLocks). pipelinedb.backfills shows who holds it.
LOCKTAG tag_of(Oid view)
{
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, view::catalog_relation("backfill_job"), view, 0);
    return tag;
}

void begin_run(Oid view, bool by_session)
{
    LOCKTAG const tag = tag_of(view);
    if (LockAcquire(&tag, ExclusiveLock, by_session, true) == LOCKACQUIRE_NOT_AVAIL)
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_IN_USE),
                 errmsg("a backfill of continuous view \"%s\" is running", get_rel_name(view)),
                 errhint("pipelinedb.backfills shows how far it is.")));
}

void end_run(Oid view)
{
    LOCKTAG const tag = tag_of(view);
    (void) LockRelease(&tag, ExclusiveLock, true);
}

// ---- writing rows --------------------------------------------------------------------

/// The rows from block `from` up to `to` of all tables; returns how many went to the view. Also of
/// none, so that missing rights and columns are known before anything is emptied.
int64 write_rows(view::BackfillJob *job, int64 from, int64 to)
{
    ItemPointerData bounds[2];
    ItemPointerSet(&bounds[0], static_cast<BlockNumber>(from), 0);
    ItemPointerSet(&bounds[1], static_cast<BlockNumber>(to), 0);
    Oid types[] = {TIDOID, TIDOID};
    Datum values[] = {PointerGetDatum(&bounds[0]), PointerGetDatum(&bounds[1])};
    const char *const statement = statement_over_table(job->stream, job->source, true);
    begin_history(job);
    spool::aim_next_statement(job->stream, job->view);
    int const result = SPI_execute_with_args(statement, 2, types, values, nullptr, false, 0);
    if (result != SPI_OK_INSERT)
        elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(result));
    spool::check_aim();
    job->updated_rows += end_history();
    return static_cast<int64>(SPI_processed);
}

int64 longest_table(const view::BackfillJob *job)
{
    int64 blocks = 0;
    for (int i = 0; i < job->ntables; i++)
        blocks = std::max(blocks, job->tables[i].blocks);
    return blocks;
}

void move_to(view::BackfillJob *job, int64 position)
{
    job->position = position;
    job->blocks_done = 0;
    for (int i = 0; i < job->ntables; i++)
        job->blocks_done += std::min(position, job->tables[i].blocks);
    job->changed = GetCurrentTimestamp();
    if (position >= longest_table(job))
        job->finished = job->changed;
}

/// `blocks` is meant over all tables.
void write_piece(view::BackfillJob *job, const view::ContinuousQuery *query, int64 blocks)
{
    check_kept(job, query);
    lock_tables(job);
    int64 const step = std::max(int64{1}, blocks / std::max(1, job->ntables));
    int64 const end = std::min(longest_table(job), job->position + step);
    job->rows += write_rows(job, job->position, end);
    pg::stop_point("backfill_written");
    move_to(job, end);
    job->sqlstate = 0;
}

const view::ContinuousQuery *lock_job(Oid view)
{
    LockRelationOid(view, AccessShareLock);
    const view::ContinuousQuery *const query = view::find_query(view);
    if (query == nullptr || !view::lock_backfill(view))
        ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED),
                        query == nullptr
                            ? errmsg("continuous view was dropped while it was filled")
                            : errmsg("backfill of continuous view \"%s\" was cancelled by somebody",
                                     get_rel_name(view))));
    return query;
}

bool is_cancellation(int sqlstate)
{
    return ERRCODE_TO_CATEGORY(sqlstate) == MAKE_SQLSTATE('5', '7', '0', '0', '0');
}

/// What ended the attempt is stored, then raised once more.
[[noreturn]] void fail(Oid view, const pg::Failure &failure)
{
    if (!is_cancellation(failure.sqlstate)) {
        view::BackfillJob *const job = view::find_backfill(view);
        job->sqlstate = failure.sqlstate;
        job->message = failure.message;
        job->changed = GetCurrentTimestamp();
        view::store_backfill(*job);
        PopActiveSnapshot();
        SPI_commit();
    }
    pg::raise_again(failure);
}

void warn_of_updates(const view::BackfillJob *job)
{
    if (job->updated_rows > 0)
        ereport(
            WARNING,
            (errmsg("rows of \"%s\" were updated while they were read", get_rel_name(job->source)),
             errdetail("%lld updated rows were met. They may be missing from continuous view "
                       "\"%s\", or be in it with their former content.",
                       static_cast<long long>(job->updated_rows), get_rel_name(job->view)),
             errhint("Only rows that are inserted once, and stay, are counted exactly.")));
}

/// One transaction's work, up to its commit; true when all is done.
bool run_piece(Oid view, Pace *pace)
{
    PushActiveSnapshot(GetTransactionSnapshot());
    const view::ContinuousQuery *const query = lock_job(view);
    view::BackfillJob *const job = view::find_backfill(view);
    begin_piece(pace);
    pg::Failure const failure = pg::subtransaction([&] { write_piece(job, query, pace->blocks); });
    if (failure.failed)
        fail(view, failure);
    view::store_backfill(*job);
    end_piece(pace);
    PopActiveSnapshot();
    if (job->finished == 0)
        return false;
    warn_of_updates(job);
    return true;
}

void run_pieces(Oid view)
{
    MemoryContext const context =
        AllocSetContextCreate(CurrentMemoryContext, "piece of a backfill", ALLOCSET_DEFAULT_SIZES);
    Pace pace = first_pace();
    bool done = false;
    while (!done) {
        wait_for_room(pace, view);
        done = pg::in_context(context, [&] { return run_piece(view, &pace); });
        SPI_commit();
        pg::stop_point("backfill_committed");
        MemoryContextReset(context);
    }
    wait_until_folded(pace, view);
}

/// What is left, in the caller's transaction.
void run_rest(Oid view)
{
    PushActiveSnapshot(GetTransactionSnapshot());
    const view::ContinuousQuery *const query = lock_job(view);
    view::BackfillJob *const job = view::find_backfill(view);
    write_piece(job, query, INT64_MAX / 2);
    view::store_backfill(*job);
    warn_of_updates(job);
    PopActiveSnapshot();
}

// ---- beginning -----------------------------------------------------------------------

/// The stream of the view whose columns are filled. It has to be named if there are several.
Oid choose_stream(const view::ContinuousQuery *query, const char *name)
{
    if (name == nullptr && query->nstreams == 1)
        return query->streams[0];
    if (name == nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("continuous view \"%s\" reads several streams", get_rel_name(query->view)),
                 errhint("Say whose rows these are: stream => 'name'.")));
    RangeVar *const range = makeRangeVarFromNameList(parse_name(name));
    Oid const stream = RangeVarGetRelid(range, NoLock, false);
    if (!query->reads_stream(stream))
        ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                        errmsg("continuous view \"%s\" does not read \"%s\"",
                               get_rel_name(query->view), range->relname)));
    return stream;
}

view::BackfillJob *new_job(const view::ContinuousQuery *query, const Arguments &arguments)
{
    auto *job = static_cast<view::BackfillJob *>(palloc0(sizeof(view::BackfillJob)));
    job->view = query->view;
    job->source = arguments.source != nullptr ? find_source(arguments.source) : InvalidOid;
    job->stream = choose_stream(query, arguments.stream);
    job->seam = arguments.seam;
    job->view_created = U64FromFullTransactionId(query->created_xid);
    job->started = job->changed = GetCurrentTimestamp();
    return job;
}

/// The own id comes before the snapshot (view::seam_of).
Snapshot take_snapshot()
{
    (void) GetTopFullTransactionId();
    return RegisterSnapshot(GetLatestSnapshot());
}

void note_seam(view::BackfillJob *job, Snapshot snapshot)
{
    job->seen = spool::row_set_of(snapshot);
    job->seen_at = GetXLogInsertRecPtr();
}

/// Keeps the fold worker from the view's table. Writers who aggregated rows when the view was
/// created do not count in it, however late they commit: theirs have to be history, hence
/// committed. They are waited for before anybody is locked out.
void lock_for_seam(const view::ContinuousQuery *query, LOCKMODE mode)
{
    view::wait_for_earlier_writers(query->view);
    LockRelationOid(query->matrel, mode);
}

/// The seam of a table that is read in pieces, up to its commit.
void begin_pieces(const view::ContinuousQuery *query, const Arguments &arguments)
{
    view::BackfillJob *const job = new_job(query, arguments);
    list_tables(job);
    (void) write_rows(job, 0, 0);
    if (job->seam)
        lock_for_seam(query, AccessExclusiveLock);
    Snapshot const snapshot = take_snapshot();
    note_seam(job, snapshot);
    list_tables(job);
    if (job->seam)
        view::empty_view(query, view::seam_of(snapshot));
    UnregisterSnapshot(snapshot);
    job->view_truncated = view::last_truncation_of(query->view);
    move_to(job, 0);
    view::insert_backfill(*job);
    pg::stop_point("backfill_seam");
}

/// The seam and all rows in one transaction, with one snapshot. Readers see the view as it was to
/// the end; only the fold worker is kept away, which would change it.
void run_at_once(const view::ContinuousQuery *query, const Arguments &arguments)
{
    if (IsolationUsesXactSnapshot())
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("a backfill in one transaction needs isolation level READ "
                               "COMMITTED")));
    view::BackfillJob *const job = new_job(query, arguments);
    const char *const statement = OidIsValid(job->source)
                                      ? statement_over_table(job->stream, job->source, false)
                                      : statement_over_query(job->stream, arguments.query);
    SPIPlanPtr const plan = SPI_prepare(statement, 0, nullptr);
    if (plan == nullptr)
        elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
    if (arguments.seam)
        lock_for_seam(query, ShareRowExclusiveLock);
    Snapshot const snapshot = take_snapshot();
    note_seam(job, snapshot);
    view::Seam const seam = view::seam_of(snapshot);
    spool::aim_next_statement(job->stream, query->view);
    int const result =
        SPI_execute_snapshot(plan, nullptr, nullptr, snapshot, InvalidSnapshot, false, true, 0);
    if (result != SPI_OK_INSERT)
        elog(ERROR, "SPI_execute_snapshot failed: %s", SPI_result_code_string(result));
    spool::check_aim();
    job->rows = static_cast<int64>(SPI_processed);
    UnregisterSnapshot(snapshot);
    pg::stop_point("backfill_written");
    if (arguments.seam) {
        LockRelationOid(query->matrel, AccessExclusiveLock);
        view::empty_view(query, seam);
    }
    job->view_truncated = view::last_truncation_of(query->view);
    move_to(job, 0);
    view::insert_backfill(*job);
}

void check_new(const Arguments &arguments, const view::BackfillJob *old)
{
    if (arguments.source != nullptr && arguments.query != nullptr)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a backfill has a source or a query, not both")));
    if (old != nullptr && old->finished == 0)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("the last backfill of continuous view \"%s\" is not complete",
                               get_rel_name(old->view)),
                        errhint("CALL pipelinedb.backfill(%s) goes on with it; SELECT "
                                "pipelinedb.cancel_backfill(%s) forgets it.",
                                literal_name(old->view), literal_name(old->view))));
}

void check_resumable(Oid view, const view::BackfillJob *old)
{
    if (old == nullptr || old->finished != 0)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        old == nullptr
                            ? errmsg("continuous view \"%s\" has no backfill", get_rel_name(view))
                            : errmsg("the last backfill of continuous view \"%s\" is complete",
                                     get_rel_name(view)),
                        errhint("Name a table or a query to begin one.")));
}

/// True if there are pieces to run.
bool begin(const view::ContinuousQuery *query, const Arguments &arguments)
{
    const view::BackfillJob *const old = view::find_backfill(query->view);
    if (arguments.source == nullptr && arguments.query == nullptr) {
        check_resumable(query->view, old);
        return true;
    }
    check_new(arguments, old);
    bool const by_piece = arguments.source != nullptr && !arguments.atomic;
    if (by_piece)
        begin_pieces(query, arguments);
    else
        run_at_once(query, arguments);
    return by_piece;
}

void run(const Arguments &arguments)
{
    spool::require_preload();
    const view::ContinuousQuery *const query = view::lock_own_view(arguments.view);
    check_counts(query);
    begin_run(query->view, !arguments.atomic);
    PushActiveSnapshot(GetTransactionSnapshot());
    bool const has_pieces = begin(query, arguments);
    PopActiveSnapshot();
    if (arguments.atomic) {
        if (has_pieces)
            run_rest(query->view);
        return;
    }
    Pace pace{};
    pace.last = GetTopFullTransactionIdIfAny();
    SPI_commit();
    pg::stop_point("backfill_committed");
    if (has_pieces)
        run_pieces(query->view);
    else
        wait_until_folded(pace, query->view);
    end_run(query->view);
}

/// A procedure may commit when it is called by a client, outside of a transaction block.
bool is_atomic(FunctionCallInfo fcinfo)
{
    return fcinfo->context == nullptr || !IsA(fcinfo->context, CallContext) ||
           reinterpret_cast<CallContext *>(fcinfo->context)->atomic || IsSubTransaction();
}

const char *text_argument(FunctionCallInfo fcinfo, int n)
{
    return PG_ARGISNULL(n) ? nullptr : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

} // namespace
} // namespace pipeline::backfill

extern "C" {
PG_FUNCTION_INFO_V1(pipeline_backfill);
PG_FUNCTION_INFO_V1(pipeline_cancel_backfill);

Datum pipeline_backfill(PG_FUNCTION_ARGS)
{
    using namespace pipeline::backfill;

    PreventCommandIfReadOnly("pipelinedb.backfill()");
    PreventCommandDuringRecovery("pipelinedb.backfill()");
    if (PG_ARGISNULL(0) || PG_ARGISNULL(3))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("view and seam of a backfill must not be null")));
    bool const atomic = is_atomic(fcinfo);
    if (SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
        elog(ERROR, "SPI_connect failed");
    // In the memory of SPI, which outlives the transactions.
    Arguments const arguments{cstring_to_text(text_argument(fcinfo, 0)),
                              text_argument(fcinfo, 1),
                              text_argument(fcinfo, 2),
                              text_argument(fcinfo, 4),
                              PG_GETARG_BOOL(3),
                              atomic};
    run(arguments);
    if (SPI_finish() != SPI_OK_FINISH)
        elog(ERROR, "SPI_finish failed");
    PG_RETURN_VOID();
}

Datum pipeline_cancel_backfill(PG_FUNCTION_ARGS)
{
    using namespace pipeline;

    PreventCommandIfReadOnly("pipelinedb.cancel_backfill()");
    PreventCommandDuringRecovery("pipelinedb.cancel_backfill()");
    spool::require_preload();
    PG_RETURN_BOOL(view::delete_backfill(view::own_continuous_view(PG_GETARG_TEXT_PP(0))));
}
}
