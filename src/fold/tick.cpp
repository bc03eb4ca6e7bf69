#include "fold/tick.hpp"

#include "fold/collect.hpp"
#include "fold/view_fold.hpp"
#include "fold/view_machine.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/settings.hpp"
#include "pg/stop_points.hpp"
#include "spool/progress_store.hpp"
#include "spool/rendezvous.hpp"
#include "spool/xid_sets.hpp"

extern "C" {
#include "commands/trigger.h"
#include "pgstat.h"
#include "utils/inval.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

/// A view is stopped after so many timeouts in a row, not counting the one in the shared tick.
constexpr int kMaxTimeouts = 2;

constinit spool::XidSet latest{};

/// What one tick decides; applied to the memory after its commit.
struct Tick {
    Collection collection;
    bool rejoined[kMaxConsumersPerTick]; ///< the consumer's view goes back to the shared one
    bool held[kMaxConsumersPerTick];     ///< its progress stays where it was
    bool catalog_changed;
    bool stored;
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

/// Laggards that can be folded together with the shared consumer up to the same set: neither
/// has a transaction half folded.
void invite_laggards(Collection *collection)
{
    if (collection->consumers[0]->progress.nbig > 0 || collection->consumers[0]->survey != nullptr)
        return;
    for (auto *consumer : pg::each<Consumer>(state().consumers))
        if (collection->nconsumers < kMaxConsumersPerTick && consumer->id != InvalidOid &&
            !consumer->must_catch_up && consumer->progress.nbig == 0 &&
            consumer->survey == nullptr && is_due(consumer) && has_running_view(consumer))
            collection->consumers[collection->nconsumers++] = consumer;
}

void collect_for(Collection *collection, Consumer *consumer, Snapshot snapshot)
{
    *collection = {};
    collection->nconsumers = 1;
    collection->consumers[0] = consumer;
    if (consumer->id == InvalidOid)
        invite_laggards(collection);
    if (collect(collection, snapshot))
        return;
    // Too much for one tick: the laggards catch up on their own first.
    for (int i = 1; i < collection->nconsumers; i++)
        collection->consumers[i]->must_catch_up = true;
    *collection = {};
    collection->nconsumers = 1;
    collection->consumers[0] = consumer;
    if (!collect(collection, snapshot))
        elog(ERROR, "chunks of a single consumer do not fit");
}

/// A view that leaves the shared consumer goes on where that one stands.
void detach(Tick *tick, const FoldedView *view)
{
    spool::add_progress(view->query.view, view->consumer->progress);
    tick->catalog_changed = true;
}

/// Errors are retried after 100 ms, doubling up to 30 s. A lock is looked at again after 1 ms,
/// doubling up to 1 s: a session that commits CREATE VIEW holds its locks a moment longer than
/// its transaction runs.
void postpone(Consumer *consumer, ViewResult result)
{
    bool const is_blocked = result == ViewResult::kBlocked;
    int const shortest = is_blocked ? 1 : 100;
    int const longest = is_blocked ? 1000 : 30000;
    consumer->retry_delay = std::clamp(consumer->retry_delay * 2, shortest, longest);
    consumer->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), consumer->retry_delay);
}

void report(const FoldedView *view, const ViewOutcome &outcome)
{
    const char *const name = get_rel_name(view->query.view);
    if (outcome.result == ViewResult::kFailed)
        ereport(LOG, (errcode(outcome.sqlstate),
                      errmsg("continuous view \"%s\" stopped: %s", name, outcome.message),
                      errhint("Its rows are kept. Mend the cause, then run SELECT "
                              "pipelinedb.activate('%s').",
                              name)));
    else if (outcome.result == ViewResult::kRetry && view->consumer->retry_delay == 0)
        ereport(LOG, (errcode(outcome.sqlstate),
                      errmsg("continuous view \"%s\" is retried: %s", name, outcome.message)));
}

/// Paused, or failed by hand: it must leave before the shared set moves on, even over chunks
/// that nobody else wants.
bool has_stopped_view(const Consumer *consumer)
{
    if (consumer->id != InvalidOid)
        return false;
    for (auto *view : pg::each<FoldedView>(state().views))
        if (view->consumer == consumer && !view->runs())
            return true;
    return false;
}

/// A view that could not be folded keeps its backlog and stalls nobody. One that takes too long
/// again and again would stall the others at each try.
void set_aside(Tick *tick, int i, const FoldedView *view, ViewOutcome outcome)
{
    Consumer *const consumer = view->consumer;
    if (consumer->id != InvalidOid && outcome.sqlstate == ERRCODE_QUERY_CANCELED &&
        ++consumer->timeouts >= kMaxTimeouts)
        outcome.result = ViewResult::kFailed;
    report(view, outcome);
    if (consumer->id == InvalidOid) {
        detach(tick, view);
    } else {
        tick->held[i] = true;
        postpone(consumer, outcome.result);
    }
    if (outcome.result == ViewResult::kFailed) {
        view::mark_failed(view->query.view, outcome.sqlstate, outcome.message);
        tick->catalog_changed = true;
    }
}

void fold_views(Tick *tick)
{
    Collection &collection = tick->collection;
    bool const careful = collection.consumers[0]->careful;
    for (auto *view : pg::each<FoldedView>(state().views)) {
        for (int i = 0; i < collection.nconsumers; i++) {
            if (view->consumer != collection.consumers[i])
                continue;
            if (!view->runs()) {
                if (view->consumer->id == InvalidOid)
                    detach(tick, view);
                continue;
            }
            ViewOutcome const outcome = fold_view(view, collection, i, careful);
            if (outcome.result != ViewResult::kFolded)
                set_aside(tick, i, view, outcome);
        }
        CHECK_FOR_INTERRUPTS();
    }
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
            spool::delete_progress(collection.consumers[i]->id);
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
        consumer->retry_at = 0;
        consumer->retry_delay = 0;
        consumer->timeouts = 0;
        if (!collection.left_behind)
            consumer->must_catch_up = false;
    }
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

void remember_latest()
{
    if (latest.xip != nullptr)
        pfree(latest.xip);
    latest = spool::xid_set_of(GetActiveSnapshot(), state().context);
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
    if (!spool::hold_worker_lock())
        ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                        errmsg("another fold worker is active in this database")));
    spool::add_mark();
    pg::stop_point("fold_before_snapshot");
    PushActiveSnapshot(GetTransactionSnapshot());
    pg::stop_point("fold_after_snapshot");
    MemoryContextSwitchTo(context);
    if (id == InvalidOid)
        remember_latest();

    // The server sends a transaction's messages before it releases its locks (xact.c:
    // CommitTransaction): a row of a writer that saw the view is preceded by its message.
    AcceptInvalidationMessages();
    if (!refresh_state())
        outcome->extension_is_gone = true;
    Consumer *const consumer = outcome->extension_is_gone ? nullptr : find_consumer(id);
    auto *tick = static_cast<Tick *>(palloc0(sizeof(Tick)));
    if (consumer != nullptr) {
        fire_constraints_at_once();
        collect_for(&tick->collection, consumer, GetActiveSnapshot());
        pg::stop_point("fold_collected");
        if (tick->collection.nchunks > 0 || has_stopped_view(consumer))
            fold_views(tick);
        store_progress(tick);
    }
    PopActiveSnapshot();
    CommitTransactionCommand();
    pg::stop_point("fold_committed");
    if (consumer != nullptr) {
        MemoryContextSwitchTo(context);
        remember(tick);
        outcome->folded = tick->stored;
        outcome->left_behind = tick->collection.left_behind;
    }
}

} // namespace

TickOutcome run_tick(Oid id)
{
    TickOutcome outcome{};
    MemoryContext const context =
        AllocSetContextCreate(state().context, "tick", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(context); // a Failure's strings go there
    pg::Failure const failure = pg::top_level([&] { run_transaction(id, context, &outcome); });
    MemoryContextSwitchTo(TopMemoryContext);
    Consumer *const consumer = find_consumer(id);
    if (failure.failed) {
        clean_up();
        spool::forget_marks();
        forget_state();
        outcome.failed = true;
        outcome.sqlstate = failure.sqlstate;
        // The first failure may be one view's, and says so when each view has a subtransaction.
        if (consumer == nullptr || consumer->careful)
            ereport(LOG, (errcode(failure.sqlstate), errmsg("fold worker: %s", failure.message),
                          failure.context ? errcontext_msg("%s", failure.context) : 0));
    }
    if (consumer != nullptr)
        consumer->careful = failure.failed;
    MemoryContextDelete(context);
    pgstat_report_stat(false);
    return outcome;
}

const spool::XidSet &latest_set()
{
    return latest;
}

} // namespace pipeline::fold
