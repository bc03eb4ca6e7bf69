#include "fold/tick.hpp"

#include "fold/attempts.hpp"
#include "fold/collect.hpp"
#include "fold/hand_over.hpp"
#include "fold/setback.hpp"
#include "fold/view_fold.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/stop_points.hpp"
#include "spool/progress_store.hpp"
#include "spool/rendezvous.hpp"
#include "spool/xid_sets.hpp"

extern "C" {
#include "commands/trigger.h"
#include "pgstat.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

constinit spool::XidSet latest{};

/// What one tick decides; applied to the memory after its commit.
struct Tick {
    Collection collection;
    bool rejoined[kMaxConsumersPerTick]; ///< the consumer's view goes back to the shared one
    bool held[kMaxConsumersPerTick];     ///< its progress stays where it was
    bool catalog_changed;
    bool stored;
    bool again;            ///< with a smaller piece
    FoldedView *rejecting; ///< the view that has rejected rows, and what about them
    ViewOutcome rejected;
};

Consumer *find_consumer(Oid id)
{
    for (auto *consumer : pg::each<Consumer>(state().consumers))
        if (consumer->id == id)
            return consumer;
    return nullptr;
}

bool is_due(const Consumer *consumer)
{
    return consumer->retry_at == 0 || GetCurrentTimestamp() >= consumer->retry_at;
}

/// A consumer can be folded up to `live` only if it is not ahead of it: a view that was created
/// after the tick's snapshot may have started with transactions that this one does not see.
bool is_behind(const Consumer *consumer, const spool::XidSet &live)
{
    return spool::first_new(live, consumer->progress.folded) == spool::kNoXid;
}

bool can_come_along(const Consumer *consumer, const spool::XidSet &live)
{
    const FoldedView *const view = view_of(consumer);
    return view != nullptr && view->runs() && !view->troubled && !consumer->must_catch_up &&
           consumer->progress.nbig == 0 && consumer->survey == nullptr && is_due(consumer) &&
           consumer->alone_until <= GetCurrentTimestamp() && is_behind(consumer, live) &&
           !wants_mark(consumer) && lock_relations(view->query);
}

/// Laggards that can be folded together with the shared consumer up to the same set: neither
/// has a transaction half folded.
void invite_laggards(Collection *collection, const spool::XidSet &live)
{
    if (collection->consumers[0]->progress.nbig > 0 || collection->consumers[0]->survey != nullptr)
        return;
    for (auto *consumer : pg::each<Consumer>(state().consumers))
        if (collection->nconsumers < kMaxConsumersPerTick && !consumer->is_shared() &&
            can_come_along(consumer, live))
            collection->consumers[collection->nconsumers++] = consumer;
}

void begin_collection(Collection *collection, Consumer *consumer)
{
    *collection = {};
    collection->nconsumers = 1;
    collection->consumers[0] = consumer;
}

void collect_for(Collection *collection, Consumer *consumer, Snapshot snapshot,
                 const spool::XidSet &live)
{
    begin_collection(collection, consumer);
    if (consumer->is_shared())
        invite_laggards(collection, live);
    if (collect(collection, snapshot, live))
        return;
    // Too much for one tick: the laggards catch up on their own first.
    for (int i = 1; i < collection->nconsumers; i++)
        collection->consumers[i]->must_catch_up = true;
    begin_collection(collection, consumer);
    if (!collect(collection, snapshot, live))
        elog(ERROR, "chunks of a single consumer do not fit");
}

/// In a tick of its own a view has a subtransaction, and its error is known at once. Without
/// subtransactions, which would cost an xid each, an error ends the tick; whose turn it was
/// then leaves the shared consumer in the next one (run_tick).
void fold_one(Tick *tick, int i, FoldedView *view)
{
    if (must_leave(view)) {
        detach(view);
        tick->catalog_changed = true;
        return;
    }
    if (!view->runs())
        return;
    bool const alone = !tick->collection.consumers[0]->is_shared();
    ViewOutcome const outcome = view->endless
                                    ? ViewOutcome{ViewResult::kFailed, ERRCODE_QUERY_CANCELED,
                                                  "its query did not end when it was canceled", 0}
                                    : fold_view(view, tick->collection, i, alone);
    view->endless = false;
    view->folded = outcome.result == ViewResult::kFolded;
    if (outcome.result == ViewResult::kFolded) {
        if (outcome.rejected > 0) {
            strlcpy(view->name, get_rel_name(view->query.view), NAMEDATALEN);
            tick->rejecting = view;
            tick->rejected = outcome;
        }
        return;
    }
    if (view->consumer->is_shared()) {
        detach(view);
        tick->catalog_changed = true;
    } else if (outcome.result == ViewResult::kSmaller) {
        tick->held[i] = tick->again = true;
    } else {
        tick->held[i] = true;
        tick->catalog_changed |= set_back(view, outcome);
    }
}

void fold_views(Tick *tick)
{
    begin_hand_over();
    for (auto *view : pg::each<FoldedView>(state().views)) {
        for (int i = 0; i < tick->collection.nconsumers; i++)
            if (view->consumer == tick->collection.consumers[i])
                fold_one(tick, i, view);
        hand_over(view, &tick->collection);
        CHECK_FOR_INTERRUPTS();
    }
    tick->again |= spool_leftovers();
}

spool::Progress progress_after(const Collection &collection, int i)
{
    spool::Progress progress;
    progress.folded = collection.folded[i];
    if (i == 0) {
        progress.nbig = collection.nbig;
        progress.big = collection.big;
    }
    return progress;
}

bool big_changed(const Collection &collection)
{
    const spool::Progress &before = collection.consumers[0]->progress;
    if (before.nbig != collection.nbig)
        return true;
    for (int i = 0; i < before.nbig; i++)
        if (before.big[i].xid != collection.big[i].xid ||
            before.big[i].seq != collection.big[i].seq)
            return true;
    return false;
}

/// Progress goes into the same transaction as the groups. A set that only moved over
/// transactions without chunks is not worth a write; a laggard rejoins the *stored* set.
void store_progress(Tick *tick)
{
    Collection &collection = tick->collection;
    for (int i = 1; i < collection.nconsumers; i++)
        tick->rejoined[i] = !tick->held[i] && collection.nbig == 0;
    bool const rejoins = std::any_of(tick->rejoined, tick->rejoined + kMaxConsumersPerTick,
                                     [](bool rejoined) { return rejoined; });
    if (tick->held[0] ||
        (collection.nchunks == 0 && !rejoins && !tick->catalog_changed && !big_changed(collection)))
        return;

    pg::stop_point("fold_before_progress");
    Consumer *const consumer = collection.consumers[0];
    consumer->version =
        spool::replace_progress(consumer->id, consumer->version, progress_after(collection, 0));
    for (int i = 1; i < collection.nconsumers; i++)
        if (tick->rejoined[i]) {
            const Consumer *const laggard = collection.consumers[i];
            // Worker 0 may have taken its row in the same moment, since the spool is full. Or a
            // function of another view has dropped this one, in this very transaction.
            if (!spool::remove_progress(laggard->id, laggard->version) &&
                view::find_query(laggard->id) != nullptr)
                ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                                errmsg("progress of consumer %u was changed by somebody else",
                                       laggard->id)));
            spool::delete_attempt(laggard->id);
            tick->catalog_changed = true;
        }
    tick->stored = true;
    pg::stop_point("fold_after_progress");
}

/// After the commit.
void remember(Tick *tick)
{
    Collection &collection = tick->collection;
    Consumer *const consumer = collection.consumers[0];
    if (!tick->held[0]) {
        consumer->nhints = collection.nhints;
        std::copy_n(collection.hints, collection.nhints, consumer->hints);
        set_progress(consumer, progress_after(collection, 0));
        forgive(consumer);
        if (!collection.left_behind)
            consumer->must_catch_up = false;
    }
    attempt_ended(consumer, !tick->held[0]);
    if (tick->rejecting != nullptr)
        note_rejected(tick->rejecting, tick->rejected);
    if (tick->catalog_changed)
        state().valid = false;
}

/// SET CONSTRAINTS ALL IMMEDIATE: a deferred trigger cannot fire in the restricted operation
/// that it would be attributed to at commit.
void fire_constraints_at_once()
{
    auto *const statement = makeNode(ConstraintsSetStmt);
    statement->deferred = false;
    AfterTriggerSetState(statement);
}

/// The former worker had to end because of a view: it is stopped in a tick of its own.
void accuse_blamed_view()
{
    for (auto *view : pg::each<FoldedView>(state().views))
        if (view->query.view == state().blamed)
            view->troubled = view->endless = true;
    state().blamed = InvalidOid;
}

void remember_latest(const spool::XidSet &live)
{
    if (latest.xip != nullptr)
        pfree(latest.xip);
    latest = pg::in_context(state().context, [&] { return spool::copy_set(live); });
}

void run_transaction(Oid id, MemoryContext context, TickOutcome *outcome)
{
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    AcceptInvalidationMessages();
    if (!view::extension_installed()) {
        outcome->extension_is_gone = true;
        CommitTransactionCommand();
        return;
    }
    if (state().at_work != nullptr) {
        // The former tick ended in this view's turn: it is folded alone until that goes well.
        state().at_work->troubled = true;
        state().at_work = nullptr;
        LockReleaseSession(USER_LOCKMETHOD);
    }
    if (!spool::hold_worker_lock())
        ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                        errmsg("another fold worker is active in this database")));
    spool::add_mark();
    pg::stop_point("fold_before_snapshot");
    PushActiveSnapshot(GetTransactionSnapshot());
    pg::stop_point("fold_after_snapshot");
    MemoryContextSwitchTo(context);
    spool::XidSet const live = spool::xid_set_of(GetActiveSnapshot(), context);
    bool const is_shared = id == shared_id(state().number);
    if (is_shared)
        remember_latest(live);

    // The server sends a transaction's messages before it releases its locks (xact.c:
    // CommitTransaction): a row of a writer that saw the view is preceded by its message.
    AcceptInvalidationMessages();
    if (!refresh_state())
        outcome->extension_is_gone = true;
    accuse_blamed_view();
    if (is_shared && state().views != NIL && find_consumer(id) == nullptr)
        add_shared_consumer(live);
    Consumer *consumer = outcome->extension_is_gone ? nullptr : find_consumer(id);
    if (consumer != nullptr && !is_behind(consumer, live)) {
        if (is_shared)
            ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                            errmsg("stored progress is ahead of this server's transactions")));
        consumer = nullptr; // in the next tick it is not
    }
    // Stopped or paused since the round began: nobody wants its chunks now, and a tick would pass
    // over them.
    if (consumer != nullptr && !is_shared && !has_running_view(consumer))
        consumer = nullptr;
    auto *tick = static_cast<Tick *>(palloc0(sizeof(Tick)));
    if (consumer != nullptr) {
        fire_constraints_at_once();
        drop_stale_positions();
        collect_for(&tick->collection, consumer, GetActiveSnapshot(), live);
        pg::stop_point("fold_collected");
        if (tick->collection.nchunks > 0 && wants_mark(consumer)) {
            outcome->wants_mark = true;
            PopActiveSnapshot();
            CommitTransactionCommand();
            return;
        }
        if (tick->collection.nchunks > 0 || has_view_that_must_leave(consumer) ||
            has_window_due(consumer))
            fold_views(tick);
        store_progress(tick);
        end_attempt(consumer);
    }
    PopActiveSnapshot();
    CommitTransactionCommand();
    pg::stop_point("fold_committed");
    if (consumer != nullptr) {
        MemoryContextSwitchTo(context);
        remember(tick);
        outcome->folded = tick->stored;
        outcome->consumers_changed = tick->catalog_changed;
        outcome->left_behind = tick->collection.left_behind || tick->again;
    }
}

} // namespace

static TickOutcome try_tick(Oid id)
{
    TickOutcome outcome{};
    MemoryContext const context =
        AllocSetContextCreate(state().context, "tick", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(context); // a Failure's strings go there
    pg::Failure const failure = pg::top_level([&] { run_transaction(id, context, &outcome); });
    MemoryContextSwitchTo(TopMemoryContext);
    if (failure.failed) {
        clean_up();
        spool::forget_marks();
        forget_state();
        forget_attempt();
        outcome.failed = true;
        if (state().at_work == nullptr)
            ereport(LOG, (errcode(failure.sqlstate), errmsg("fold worker: %s", failure.message),
                          failure.context ? errcontext_msg("%s", failure.context) : 0));
    }
    MemoryContextSwitchTo(TopMemoryContext);
    MemoryContextDelete(context);
    pgstat_report_stat(false);
    return outcome;
}

TickOutcome run_tick(Oid id)
{
    TickOutcome const outcome = try_tick(id);
    if (!outcome.wants_mark)
        return outcome;
    mark_attempt(id);
    return try_tick(id);
}

const spool::XidSet &latest_set()
{
    return latest;
}

} // namespace pipeline::fold
