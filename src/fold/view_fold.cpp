#include "fold/view_fold.hpp"

#include "fold/bad_rows.hpp"
#include "fold/emission.hpp"
#include "fold/matrel_writer.hpp"
#include "fold/view_machine.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "pg/stop_points.hpp"
#include "spool/feed.hpp"
#include "spool/rendezvous.hpp"
#include "view/output.hpp"

extern "C" {
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/timeout.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

bool is_for(const FoldedView *view, const TickChunk &chunk, int consumer)
{
    return (chunk.consumers & 1u << consumer) != 0 && view->reads(chunk.stream) &&
           view->counts(chunk.stream, chunk.xid, chunk.seq);
}

bool has_chunk_for(const FoldedView *view, const Collection &collection, int consumer)
{
    for (int c = 0; c < collection.nchunks; c++)
        if (is_for(view, collection.chunks[c], consumer))
            return true;
    return false;
}

/// The stream that the rows of a chunk were written to.
Oid stream_of(const FoldedView *view, const TickChunk &chunk)
{
    if (chunk.stream != view->query.view)
        return chunk.stream;
    return OidIsValid(chunk.origin) ? chunk.origin : view->query.streams[0];
}

void add_chunks_of(spool::Feed *feed, Oid stream, const FoldedView *view, Collection &collection,
                   int consumer)
{
    for (int c = 0; c < collection.nchunks; c++) {
        TickChunk &chunk = collection.chunks[c];
        if (!is_for(view, chunk, consumer) || stream_of(view, chunk) != stream)
            continue;
        feed->chunks[feed->nchunks++] = parsed_chunk(&chunk, collection.context);
        feed->rows += chunk.nrows;
    }
}

void add_partials(spool::Feed *feed, const FoldedView *view, Collection &collection, int consumer)
{
    for (int c = 0; c < collection.nchunks; c++) {
        TickChunk &chunk = collection.chunks[c];
        if (chunk.stream == view->query.definition && is_for(view, chunk, consumer))
            feed->partials[feed->npartials++] = parsed_chunk(&chunk, collection.context);
    }
}

spool::Feed feed_of(const FoldedView *view, Collection &collection, int consumer)
{
    const view::ContinuousQuery &query = view->query;
    spool::Feed feed;
    Size const bytes = sizeof(spool::Chunk *) * static_cast<Size>(collection.nchunks + 1);
    feed.chunks = static_cast<const spool::Chunk **>(palloc(bytes));
    feed.partials = static_cast<const spool::Chunk **>(palloc(bytes));
    auto *const streams = static_cast<spool::StreamChunks *>(
        palloc(sizeof(spool::StreamChunks) * static_cast<Size>(query.nstreams)));
    uint64 first = 0;
    for (int i = 0; i < query.nstreams; i++) {
        int const begin = feed.nchunks;
        add_chunks_of(&feed, query.streams[i], view, collection, consumer);
        streams[i] = {query.streams[i], begin, feed.nchunks, first};
        for (int c = begin; c < feed.nchunks; c++)
            first += feed.chunks[c]->nrows();
    }
    feed.streams = streams;
    feed.nstreams = query.nstreams;
    add_partials(&feed, view, collection, consumer);
    return feed;
}

bool relation_exists(Oid relid)
{
    return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
}

bool relations_exist(const view::ContinuousQuery &query)
{
    for (int i = 0; i < query.nstreams; i++)
        if (!relation_exists(query.streams[i]))
            return false;
    return relation_exists(query.definition) && relation_exists(query.matrel);
}

/// Has the tick's snapshot the last truncation of the view? If it committed later, the list may
/// not show it yet, and the table's initial row is not visible. It held the table's lock to its
/// commit, so the message is here.
bool sees_last_truncation(const FoldedView *view)
{
    uint64 xid = view->truncation != nullptr ? view->truncation->xid : 0;
    if (!state().valid)
        xid = view::last_truncation_of(view->query.view);
    return xid == 0 || spool::xid_set_of(GetActiveSnapshot(), CurrentMemoryContext).contains(xid);
}

/// Who creates a query over the view's output held the view's table (output.hpp: hold_outputs) to
/// his commit. If that came after the list was read, the message is here by now, and what the
/// view changes from here on is for that query.
bool sees_all_readers(const FoldedView *view)
{
    if (state().valid)
        return true;
    const view::ContinuousQuery *const now = view::find_query(view->query.view);
    if (now == nullptr || !OidIsValid(now->output))
        return true;
    for (auto *query : pg::each<view::ContinuousQuery>(view::list_queries()))
        if (!query->lost && query->reads_stream(now->output) &&
            !list_member_oid(view->readers, query->view))
            return false;
    return true;
}

/// False if somebody holds a lock on the output stream.
bool open_output(FoldedView *view, MemoryContext context)
{
    Oid const output = view->query.output;
    if (!OidIsValid(output))
        return true;
    if (!ConditionalLockRelationOid(output, AccessShareLock))
        return false;
    if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(output)) &&
        (view->readers != NIL || has_triggers(output)))
        view->emission = begin_emission(view, context);
    return true;
}

/// set_ttl() holds a lock on the table to its commit: what it changed since the views were listed
/// is there now.
void refresh_expiry(FoldedView *view)
{
    if (state().valid)
        return;
    const view::ContinuousQuery *const query = view::find_query(view->query.view);
    if (query == nullptr)
        return;
    view->query.expire_column = query->expire_column;
    view->query.expire_after = query->expire_after;
}

void fold_as_owner(FoldedView *view, Relation definition, Relation matrel)
{
    ready_machine(view, definition);
    MatrelWriter const writer = open_matrel(matrel, view, true);
    fold_into(writer);
    close_matrel(writer);
}

/// The view whose turn it is, and the timer that ends the worker if it does not end.
constinit Oid timed_view = InvalidOid;
constinit TimeoutId last_resort = MAX_TIMEOUTS;

/// A function can catch its cancellation and go on. It cannot catch FATAL: the worker ends, and
/// the next one stops the view.
extern "C" void pipeline_last_resort()
{
    spool::blame(timed_view);
    ProcDiePending = true;
    InterruptPending = true;
    SetLatch(MyLatch);
}

/// A function that sleeps must not stall the other views. The server's own statement timer
/// raises ERRCODE_QUERY_CANCELED; postgres.c is not there to arm it in a background worker.
void start_timer(Oid view)
{
    if (settings::view_timeout <= 0)
        return;
    timed_view = view;
    enable_timeout_after(STATEMENT_TIMEOUT, settings::view_timeout);
    enable_timeout_after(last_resort, std::min(settings::view_timeout, INT_MAX / 2) * 2);
}

/// A timer that has fired in the last moment must not cancel the next view.
void stop_timer()
{
    disable_timeout(last_resort, false);
    disable_timeout(STATEMENT_TIMEOUT, true);
    if (get_timeout_indicator(STATEMENT_TIMEOUT, true))
        QueryCancelPending = false;
}

/// Session-level advisory locks would outlive the view's turn. The worker's own lock is of that
/// method too (locks of the default one do not survive an abort): taken again at once.
void release_advisory_locks()
{
    LockReleaseSession(USER_LOCKMETHOD);
    if (!spool::hold_worker_lock())
        ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                        errmsg("another fold worker is active in this database")));
}

/// Whatever the query or a group's row waits for, it must not keep the other views waiting.
void limit_lock_waits()
{
    (void) set_config_option("lock_timeout", "100ms", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
                             true, 0, false);
}

/// Of output streams the right to the view behind them counts, which no plan asks for.
void check_sources(const FoldedView *view, Oid owner)
{
    if (!view->reads_output)
        return;
    List *streams = NIL;
    for (int i = 0; i < view->query.nstreams; i++)
        streams = lappend_oid(streams, view->query.streams[i]);
    view::check_outputs(streams, owner);
}

/// Calls `fn(definition, matrel)` with everything that a turn of the view has around it.
template <typename Fn> void in_turn_of(FoldedView *view, const spool::Feed &feed, Fn &&fn)
{
    Relation definition = table_open(view->query.definition, NoLock);
    Relation matrel = table_open(view->query.matrel, NoLock);
    const spool::Feed *const former = spool::set_feed(&feed);
    // As matview.c:refresh_by_match_merge: functions of the query run as the owner, restricted,
    // and the settings that they change are rolled back.
    check_sources(view, definition->rd_rel->relowner);
    pg::as_user(definition->rd_rel->relowner, SECURITY_RESTRICTED_OPERATION, [&] {
        int const level = NewGUCNestLevel();
        view::apply_creation_settings(definition);
        limit_lock_waits();
        fn(definition, matrel);
        AtEOXact_GUC(false, level);
    });
    release_advisory_locks();
    spool::set_feed(former);
    table_close(matrel, NoLock);
    table_close(definition, NoLock);
}

void fold_feed(FoldedView *view, const spool::Feed &feed)
{
    in_turn_of(view, feed, [view](Relation definition, Relation matrel) {
        fold_as_owner(view, definition, matrel);
    });
}

/// The error classes of the design, point 11, but for those of a row (bad_rows.hpp).
ViewResult classify(int sqlstate)
{
    if (sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
        return ViewResult::kBlocked;
    // A timeout; or the owner has inserted the same group by hand at the same time.
    if (sqlstate == ERRCODE_QUERY_CANCELED || sqlstate == ERRCODE_UNIQUE_VIOLATION)
        return ViewResult::kStrike;
    switch (ERRCODE_TO_CATEGORY(sqlstate)) {
    case MAKE_SQLSTATE('0', '8', '0', '0', '0'):
    case MAKE_SQLSTATE('4', '0', '0', '0', '0'):
    case MAKE_SQLSTATE('5', '3', '0', '0', '0'):
    case MAKE_SQLSTATE('5', '5', '0', '0', '0'):
    case MAKE_SQLSTATE('5', '7', '0', '0', '0'):
    case MAKE_SQLSTATE('5', '8', '0', '0', '0'):
    case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):
        return ViewResult::kRetry;
    default:
        return ViewResult::kFailed;
    }
}

} // namespace

bool lock_relations(const view::ContinuousQuery &query)
{
    if (!ConditionalLockRelationOid(query.view, AccessShareLock))
        return false;
    for (int i = 0; i < query.nstreams; i++)
        if (!ConditionalLockRelationOid(query.streams[i], AccessShareLock))
            return false;
    return ConditionalLockRelationOid(query.definition, AccessShareLock) &&
           ConditionalLockRelationOid(query.matrel, RowExclusiveLock);
}

void init_timer()
{
    last_resort = RegisterTimeout(USER_TIMEOUT, pipeline_last_resort);
}

void clean_up()
{
    spool::set_feed(nullptr);
    stop_timer();
}

namespace {

/// A piece is not made smaller than a page, at which pieces end (collect.cpp).
constexpr Size kSmallestPiece = BLCKSZ;

bool can_be_smaller(const Consumer *consumer)
{
    return consumer->piece == 0 || consumer->piece > kSmallestPiece;
}

/// For the next try, by how far this one came.
void take_smaller_piece(const Collection &collection, double done)
{
    Consumer *const consumer = collection.consumers[0];
    Size const last =
        consumer->piece > 0 ? std::min(consumer->piece, collection.weight) : collection.weight;
    auto const fitting = static_cast<Size>(static_cast<double>(last) * std::max(done / 2, 0.1));
    consumer->piece = std::max(kSmallestPiece, std::min(fitting, last / 2));
}

/// So often new partitions are made in one tick, which has locks on all of them; what is still
/// missing comes in the next.
constexpr int kMostRounds = 4;

/// Runs `fn` in a subtransaction, and once more when partitions were missing and have been made.
template <typename Fn> pg::Failure with_partitions(FoldedView *view, Fn &&fn)
{
    EmissionMark const mark =
        view->emission != nullptr ? mark_emission(view->emission) : EmissionMark{};
    view->missing_context = CurrentMemoryContext;
    for (int round = 0;; round++) {
        view->missing = NIL;
        pg::Failure failure = pg::subtransaction(fn);
        if (!failure.failed || view->missing == NIL)
            return failure;
        if (round == kMostRounds) {
            failure.sqlstate = ERRCODE_LOCK_NOT_AVAILABLE; // again soon
            return failure;
        }
        spool::set_feed(nullptr);
        drop_machine(view);
        if (view->emission != nullptr)
            roll_back_emission(view->emission, mark);
        failure = pg::subtransaction([view] { create_missing_partitions(view); });
        if (failure.failed)
            return failure;
    }
}

/// Errors are caught in a subtransaction. If it is the fault of rows, they are looked for in
/// another one.
ViewOutcome fold_carefully(FoldedView *view, Collection &collection, int i)
{
    spool::Feed feed;
    BadRows bad{};
    EmissionMark const mark =
        view->emission != nullptr ? mark_emission(view->emission) : EmissionMark{};
    pg::Failure failure = with_partitions(view, [&] {
        feed = feed_of(view, collection, i);
        fold_feed(view, feed);
    });
    if (failure.failed && is_row_fault(failure, view->query.matrel)) {
        drop_machine(view);
        if (view->emission != nullptr)
            roll_back_emission(view->emission, mark);
        failure = with_partitions(view, [&] {
            in_turn_of(view, feed, [&](Relation definition, Relation matrel) {
                fold_but_bad_rows(view, definition, matrel, feed,
                                  can_be_smaller(collection.consumers[0]), &bad);
            });
        });
    }
    if (!failure.failed)
        return {ViewResult::kFolded, bad.sqlstate, bad.message, bad.rejected};
    spool::set_feed(nullptr);
    drop_machine(view);
    if (view->emission != nullptr)
        roll_back_emission(view->emission, mark);
    release_advisory_locks();
    if (bad.gave_up)
        take_smaller_piece(collection, bad.done);
    else if (failure.sqlstate == ERRCODE_QUERY_CANCELED)
        take_smaller_piece(collection, 0); // it may only have too much to do
    return {bad.gave_up ? ViewResult::kSmaller : classify(failure.sqlstate), failure.sqlstate,
            failure.message, 0};
}

/// Errors end the tick. Only of a partitioned table one is expected: a partition is missing.
void fold_at_once(FoldedView *view, Collection &collection, int i)
{
    if (get_rel_relkind(view->query.matrel) != RELKIND_PARTITIONED_TABLE) {
        fold_feed(view, feed_of(view, collection, i));
        return;
    }
    pg::Failure const failure =
        with_partitions(view, [&] { fold_feed(view, feed_of(view, collection, i)); });
    if (failure.failed)
        pg::raise_again(failure);
}

} // namespace

ViewOutcome fold_view(FoldedView *view, Collection &collection, int i, bool careful)
{
    ViewOutcome outcome{ViewResult::kFolded, 0, nullptr, 0};
    if (!has_chunk_for(view, collection, i) && !is_window_due(view))
        return outcome;
    if (!lock_relations(view->query)) {
        outcome = {ViewResult::kBlocked, ERRCODE_LOCK_NOT_AVAILABLE,
                   "a relation of the view is locked by another session", 0};
        return outcome;
    }
    if (!relations_exist(view->query))
        return outcome; // dropped since it was listed
    if (!sees_last_truncation(view)) {
        outcome = {ViewResult::kBlocked, ERRCODE_LOCK_NOT_AVAILABLE,
                   "the view was truncated by another session", 0};
        return outcome;
    }
    if (!lock_joined(view)) {
        outcome = {ViewResult::kBlocked, ERRCODE_LOCK_NOT_AVAILABLE,
                   "a relation that the view reads is locked by another session", 0};
        return outcome;
    }

    if (!sees_all_readers(view)) {
        outcome = {ViewResult::kBlocked, ERRCODE_LOCK_NOT_AVAILABLE,
                   "another session creates a query that reads the view's output", 0};
        return outcome;
    }
    if (!open_output(view, collection.context)) {
        outcome = {ViewResult::kBlocked, ERRCODE_LOCK_NOT_AVAILABLE,
                   "the output stream is locked by another session", 0};
        return outcome;
    }
    if (view->windowed && view->emission == nullptr)
        view->window_due = 0; // nobody reads the output
    if (view->query.kind == view::QueryKind::kTransform && view->emission == nullptr)
        return outcome; // nobody wants its rows

    refresh_expiry(view);
    pg::stop_point("fold_before_view");
    start_timer(view->query.view);
    if (careful) {
        outcome = fold_carefully(view, collection, i);
    } else {
        state().at_work = view;
        fold_at_once(view, collection, i);
        state().at_work = nullptr;
    }
    stop_timer();
    return outcome;
}

} // namespace pipeline::fold
