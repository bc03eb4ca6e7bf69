#include "fold/attempts.hpp"

#include "fold/setback.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "spool/progress.hpp"
#include "spool/rendezvous.hpp"

extern "C" {
#include "utils/wait_event.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

/// The crash may have been anybody's: the first attempt after it is the second in a row, the
/// next one the last that is made as if nothing was.
constexpr int kSecond = 2;
constexpr int kThird = 3;

void suspect_all(const Consumer *consumer)
{
    for (auto *view : pg::each<FoldedView>(state().views))
        if (view->consumer == consumer)
            view->troubled = true;
    state().one_by_one = true;
}

void stop_view(Consumer *consumer)
{
    FoldedView *const view = view_of(consumer);
    if (view == nullptr || !view->runs())
        return;
    ViewOutcome const outcome{ViewResult::kFailed, ERRCODE_CRASH_SHUTDOWN,
                              "the server crashed each time it was folded", 0};
    if (!set_back(view, outcome))
        return; // again when its row is free
    spool::delete_attempt(consumer->id);
    state().valid = false;
}

/// The attempt that comes next, in a row with those that crashed.
int next_attempt(const Consumer *consumer)
{
    spool::Attempt const former = spool::read_attempt(consumer->id);
    // Of the same start: the worker was ended, but nothing crashed.
    bool const crashed = former.started != spool::server_started();
    int const number = std::max(crashed ? former.number + 1 : former.number, kSecond);
    return std::max({number, consumer->attempt, state().one_by_one ? kThird : kSecond});
}

void mark(Consumer *consumer)
{
    int const number = next_attempt(consumer);
    if (consumer->is_shared() && number >= kThird) {
        suspect_all(consumer);
        consumer->marked = true; // the tick folds nothing, it lets them go
    } else if (number > kThird) {
        stop_view(consumer);
    } else {
        spool::write_attempt(consumer->id, {number, spool::server_started()});
        // Commits of this worker are asynchronous otherwise.
        ForceSyncCommit();
        consumer->attempt = number;
        consumer->marked = true;
    }
}

Consumer *find_consumer(Oid id)
{
    for (auto *consumer : pg::each<Consumer>(state().consumers))
        if (consumer->id == id)
            return consumer;
    return nullptr;
}

/// Calls `fn(consumer)` in a transaction of its own, if it is still there; false if that failed.
template <typename Fn> bool in_transaction(Oid id, Fn &&fn)
{
    pg::Failure const failure = pg::top_level([&] {
        StartTransactionCommand();
        PushActiveSnapshot(GetTransactionSnapshot());
        if (refresh_state())
            if (Consumer *const consumer = find_consumer(id); consumer != nullptr)
                fn(consumer);
        PopActiveSnapshot();
        CommitTransactionCommand();
    });
    if (!failure.failed)
        return true;
    forget_state();
    ereport(LOG, (errcode(failure.sqlstate), errmsg("fold worker: %s", failure.message)));
    return false;
}

/// A last attempt is made while no other worker makes any: a crash would blame both.
void wait_for_turn(bool alone)
{
    while (!spool::begin_attempt(alone)) {
        (void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
                         PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

} // namespace

void begin_attempts()
{
    state().after_crash = spool::started_after_crash();
}

bool wants_mark(const Consumer *consumer)
{
    return state().after_crash && !consumer->marked && !consumer->survived;
}

void mark_attempt(Oid id)
{
    bool alone = false;
    bool const known = in_transaction(id, [&](const Consumer *consumer) {
        alone = !consumer->is_shared() && next_attempt(consumer) >= kThird;
    });
    if (!known)
        return;
    wait_for_turn(alone);
    (void) in_transaction(id, mark);
    const Consumer *const consumer = find_consumer(id);
    if (consumer == nullptr || !consumer->marked)
        spool::end_attempt();
}

void end_attempt(const Consumer *consumer)
{
    if (!consumer->marked)
        return;
    spool::delete_attempt(consumer->id);
    // What has been folded is not to be lost with the next crash, or it would never come to the
    // row that is to blame.
    ForceSyncCommit();
}

void attempt_ended(Consumer *consumer, bool folded)
{
    if (consumer->marked)
        spool::end_attempt();
    consumer->marked = false;
    consumer->survived |= folded;
}

void forget_attempt()
{
    if (!state().after_crash)
        return;
    for (auto *consumer : pg::each<Consumer>(state().consumers))
        consumer->marked = false;
    spool::end_attempt();
}

void end_attempts()
{
    for (auto *consumer : pg::each<Consumer>(state().consumers))
        if (!consumer->is_shared() && has_running_view(consumer) && wants_mark(consumer))
            return;
    state().after_crash = state().one_by_one = false;
}

} // namespace pipeline::fold
