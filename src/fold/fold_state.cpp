#include "fold/fold_state.hpp"

#include "fold/expiry.hpp"
#include "fold/view_machine.hpp"
#include "pg/clock.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "spool/progress_store.hpp"
#include "spool/rendezvous.hpp"
#include "spool/xid_sets.hpp"
#include "view/output_checks.hpp"

extern "C" {
#include "utils/inval.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

constinit FoldState the_state{};
constinit Oid query_catalog = InvalidOid;

void note_message(Datum, Oid relid)
{
    if (relid == InvalidOid || relid == query_catalog)
        the_state.valid = false;
    forget_expiry_of(relid);
    for (auto *view : pg::each<FoldedView>(the_state.views))
        if (view->windowed && (relid == InvalidOid || relid == view->query.matrel))
            view->window_due = DT_NOBEGIN; // look
}

Consumer *find_consumer(Oid id)
{
    for (auto *consumer : pg::each<Consumer>(the_state.consumers))
        if (consumer->id == id)
            return consumer;
    return nullptr;
}

FoldedView *find_view(Oid view)
{
    for (auto *candidate : pg::each<FoldedView>(the_state.views))
        if (candidate->query.view == view)
            return candidate;
    return nullptr;
}

Consumer *new_consumer(Oid id)
{
    auto *consumer = static_cast<Consumer *>(palloc0(sizeof(Consumer)));
    consumer->id = id;
    consumer->context =
        AllocSetContextCreate(the_state.context, "fold consumer", ALLOCSET_SMALL_SIZES);
    return consumer;
}

void drop_consumer(Consumer *consumer)
{
    drop_survey(consumer);
    MemoryContextDelete(consumer->context);
    pfree(consumer);
}

/// Consumers whose stored row is the version we know keep what is in memory.
void refresh_consumers(const List *stored)
{
    List *fresh = NIL;
    for (auto *row : pg::each<spool::StoredProgress>(stored)) {
        Consumer *consumer = find_consumer(row->consumer);
        if (consumer != nullptr)
            the_state.consumers = list_delete_ptr(the_state.consumers, consumer);
        else
            consumer = new_consumer(row->consumer);
        if (consumer->version != row->version) {
            set_progress(consumer, row->progress);
            consumer->version = row->version;
            drop_survey(consumer);
            consumer->nhints = 0;
        }
        fresh = consumer->is_shared() ? lcons(consumer, fresh) : lappend(fresh, consumer);
    }
    for (auto *gone : pg::each<Consumer>(the_state.consumers))
        drop_consumer(gone);
    list_free(the_state.consumers);
    the_state.consumers = fresh;
}

void drop_truncation(FoldedView *view)
{
    if (view->truncation == nullptr)
        return;
    pfree(view->truncation->seen.xip);
    pfree(view->truncation);
    view->truncation = nullptr;
}

/// The row of a truncation is never deleted but with its view. Whoever truncated the view had
/// its table locked until now, so it is tried again at once.
void refresh_truncations(const List *truncations)
{
    for (auto *row : pg::each<view::Truncation>(truncations)) {
        FoldedView *const view = find_view(row->view);
        if (view == nullptr || (view->truncation != nullptr && view->truncation->xid == row->xid &&
                                view->truncation->seq == row->seq))
            continue;
        drop_truncation(view);
        view->truncation = static_cast<view::Truncation *>(palloc(sizeof(view::Truncation)));
        *view->truncation = *row;
        view->truncation->seen = spool::copy_set(row->seen);
        if (Consumer *const own = find_consumer(row->view); own != nullptr)
            own->retry_at = 0;
    }
}

void drop_earlier(FoldedView *view)
{
    if (view->earlier.xids != nullptr)
        pfree(view->earlier.xids);
    view->earlier = {0, nullptr};
}

void refresh_earlier(const List *rows)
{
    for (auto *view : pg::each<FoldedView>(the_state.views)) {
        drop_earlier(view);
        view->earlier = earlier_writers_of(view->query.view, rows);
    }
}

List *readers_of(Oid output, const List *queries)
{
    List *readers = NIL;
    if (OidIsValid(output))
        for (auto *query : pg::each<view::ContinuousQuery>(queries))
            if (query->reads_stream(output))
                readers = lappend_oid(readers, query->view);
    return readers;
}

bool reads_output(const view::ContinuousQuery *reader, const List *queries)
{
    for (auto *query : pg::each<view::ContinuousQuery>(queries))
        if (OidIsValid(query->output) && reader->reads_stream(query->output))
            return true;
    return false;
}

/// `own_queries` are this worker's; readers may be anybody's.
void refresh_views(const List *own_queries, const List *queries)
{
    List *fresh = NIL;
    for (auto *query : pg::each<view::ContinuousQuery>(own_queries)) {
        FoldedView *view = find_view(query->view);
        if (view != nullptr)
            the_state.views = list_delete_ptr(the_state.views, view);
        else
            view = static_cast<FoldedView *>(palloc0(sizeof(FoldedView)));
        bool const mended = view->query.failed && !query->failed;
        view->query = *query;
        view->windowed = OidIsValid(query->output) && view::has_window(query);
        view->reads_output = reads_output(query, queries);
        List *const readers = readers_of(query->output, queries);
        if (view->windowed && view->readers == NIL && readers != NIL)
            view->window_due = DT_NOBEGIN; // look
        list_free(view->readers);
        view->readers = readers;
        Consumer *const own = find_consumer(query->view);
        if (own != nullptr && mended)
            own->retry_at = 0;
        view->consumer = own != nullptr ? own : shared_consumer();
        fresh = lappend(fresh, view);
    }
    for (auto *gone : pg::each<FoldedView>(the_state.views)) {
        drop_machine(gone);
        drop_truncation(gone);
        list_free(gone->readers);
        drop_earlier(gone);
        pfree(gone);
    }
    list_free(the_state.views);
    the_state.views = fresh;
}

bool is_listed(const List *queries, Oid view)
{
    for (auto *query : pg::each<view::ContinuousQuery>(queries))
        if (query->view == view)
            return true;
    return false;
}

/// A tick that could not lock the matrel of a view which was being dropped has given it a row
/// of its own. Who did so, or worker 0, removes it.
void delete_orphans(const List *stored, const List *queries)
{
    for (auto *row : pg::each<spool::StoredProgress>(stored))
        if (row->consumer >= FirstNormalObjectId && !is_listed(queries, row->consumer) &&
            (the_state.number == 0 || find_consumer(row->consumer) != nullptr))
            spool::delete_progress(row->consumer);
}

List *own_queries(const List *queries)
{
    List *own = NIL;
    for (auto *query : pg::each<view::ContinuousQuery>(queries))
        if (query->worker == the_state.number)
            own = lappend(own, query);
    return own;
}

List *own_rows(const List *stored, const List *queries)
{
    List *own = NIL;
    for (auto *row : pg::each<spool::StoredProgress>(stored))
        if (row->consumer == shared_id(the_state.number) || is_listed(queries, row->consumer))
            own = lappend(own, row);
    return own;
}

uint32 other_workers(const List *queries)
{
    uint32 others = 0;
    for (auto *query : pg::each<view::ContinuousQuery>(queries))
        if (query->worker != the_state.number && query->active && !query->failed)
            others |= 1u << query->worker;
    return others;
}

/// A lost view has no progress and takes no rows: to the worker it is not there.
List *without_lost(const List *queries)
{
    List *rest = NIL;
    for (auto *query : pg::each<view::ContinuousQuery>(queries))
        if (!query->lost)
            rest = lappend(rest, query);
    return rest;
}

} // namespace

FoldState &state()
{
    return the_state;
}

spool::Transactions earlier_writers_of(Oid view, const List *rows)
{
    spool::Transactions found{0, nullptr};
    for (auto *row : pg::each<view::EarlierWriter>(rows)) {
        if (row->view != view)
            continue;
        if (found.xids == nullptr)
            found.xids = static_cast<uint64 *>(
                palloc(sizeof(uint64) * static_cast<Size>(list_length(rows))));
        found.xids[found.count++] = row->xid;
    }
    return found;
}

void init_state()
{
    the_state.number = spool::worker_number();
    the_state.context =
        AllocSetContextCreate(TopMemoryContext, "fold state", ALLOCSET_DEFAULT_SIZES);
    CacheRegisterRelcacheCallback(note_message, static_cast<Datum>(0));
}

bool refresh_state()
{
    // Who changes the catalog sends its message before it raises the epoch: after the messages
    // have been read, what we know is right as of the epoch read before them.
    the_state.other_epoch = spool::assignment_epoch();
    AcceptInvalidationMessages();
    if (the_state.valid)
        return true;
    query_catalog = view::catalog_relation("query");
    if (!OidIsValid(query_catalog))
        return false;
    // Set first: a message that comes while we read makes us read again.
    the_state.valid = true;
    the_state.placement_due = true;
    // With one snapshot for all: a view that is listed without its own row would be taken for
    // one of the shared consumer.
    Snapshot const snapshot = RegisterSnapshot(GetLatestSnapshot());
    const List *const stored = spool::list_progress(snapshot);
    const List *const all = view::list_queries(snapshot);
    const List *const queries = without_lost(all);
    List *const truncations = view::list_truncations(snapshot);
    const List *const earlier = view::list_earlier_writers(snapshot);
    UnregisterSnapshot(snapshot);
    delete_orphans(stored, queries);
    the_state.other_workers = other_workers(queries);
    const List *const own = own_queries(queries);
    const List *const rows = own_rows(stored, own);
    pg::in_context(the_state.context, [&] {
        refresh_consumers(rows);
        refresh_views(own, queries);
        refresh_truncations(truncations);
        refresh_earlier(earlier);
        refresh_expiring(own_queries(all));
    });
    return true;
}

void add_shared_consumer(const spool::XidSet &live)
{
    spool::Progress progress;
    progress.folded = live;
    spool::add_progress(shared_id(the_state.number), progress);
    CommandCounterIncrement();
    the_state.valid = false;
    (void) refresh_state();
}

const spool::Progress &known_progress(const spool::StoredProgress *stored)
{
    const Consumer *const consumer = find_consumer(stored->consumer);
    return consumer != nullptr && consumer->version == stored->version ? consumer->progress
                                                                       : stored->progress;
}

void forget_state()
{
    the_state.valid = false;
    for (auto *view : pg::each<FoldedView>(the_state.views))
        drop_machine(view);
    for (auto *consumer : pg::each<Consumer>(the_state.consumers))
        consumer->version = InvalidTransactionId;
}

Consumer *shared_consumer()
{
    auto *const first = the_state.consumers != NIL
                            ? static_cast<Consumer *>(linitial(the_state.consumers))
                            : nullptr;
    if (first == nullptr || !first->is_shared())
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                        errmsg("pipelinedb.progress has no row for the shared consumer of fold "
                               "worker %d",
                               the_state.number)));
    return first;
}

void set_progress(Consumer *consumer, const spool::Progress &progress)
{
    // The new value may be built from the old one: copy before the reset.
    MemoryContext const fresh =
        AllocSetContextCreate(the_state.context, "fold consumer", ALLOCSET_SMALL_SIZES);
    pg::in_context(fresh, [&] {
        spool::Progress copy = progress;
        copy.folded = spool::copy_set(progress.folded);
        copy.big = static_cast<spool::BigTransaction *>(
            palloc(sizeof(spool::BigTransaction) * static_cast<Size>(progress.nbig + 1)));
        std::copy_n(progress.big, progress.nbig, copy.big);
        consumer->progress = copy;
    });
    MemoryContextDelete(consumer->context);
    consumer->context = fresh;
}

void drop_survey(Consumer *consumer)
{
    if (consumer->survey != nullptr)
        MemoryContextDelete(consumer->survey->context);
    consumer->survey = nullptr;
}

FoldedView *view_of(const Consumer *consumer)
{
    return find_view(consumer->id);
}

void drop_stale_positions()
{
    uint64 const epoch = spool::layout_epoch();
    if (the_state.layout_epoch == epoch)
        return;
    the_state.layout_epoch = epoch;
    for (auto *consumer : pg::each<Consumer>(the_state.consumers)) {
        drop_survey(consumer);
        consumer->nhints = 0;
    }
}

bool is_wanted(const Consumer *consumer, Oid source)
{
    for (auto *view : pg::each<FoldedView>(the_state.views))
        if (view->consumer == consumer && view->reads(source) && view->runs())
            return true;
    return false;
}

bool has_running_view(const Consumer *consumer)
{
    for (auto *view : pg::each<FoldedView>(the_state.views))
        if (view->consumer == consumer && view->runs())
            return true;
    return false;
}

bool is_window_due(const FoldedView *view)
{
    return view->windowed && view->window_due != 0 && view->runs() &&
           pg::statement_time() >= view->window_due;
}

bool has_window_due(const Consumer *consumer)
{
    for (auto *view : pg::each<FoldedView>(the_state.views))
        if (view->consumer == consumer && is_window_due(view))
            return true;
    return false;
}

/// A view that is set aside is tried again when its consumer is.
long next_window_move()
{
    TimestampTz const now = pg::now();
    long shortest = -1;
    for (auto *view : pg::each<FoldedView>(the_state.views)) {
        if (!view->windowed || view->window_due == 0 || !view->runs() ||
            view->consumer->retry_at != 0)
            continue;
        long const wait =
            std::max(1L, TimestampDifferenceMilliseconds(now, std::max(now, view->window_due)));
        shortest = shortest < 0 ? wait : std::min(shortest, wait);
    }
    return shortest;
}

bool is_stuck(const Consumer *consumer)
{
    return consumer->retry_at != 0 && consumer->retry_delay > 100;
}

} // namespace pipeline::fold
