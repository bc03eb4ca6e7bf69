#include "fold/attempts.hpp"

#include "fold/setback.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "spool/progress.hpp"
#include "spool/rendezvous.hpp"

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

void mark(Consumer *consumer)
{
    spool::Attempt const former = spool::read_attempt(consumer->id);
    // Of the same start: the worker was ended, but nothing crashed.
    bool const crashed = former.started != spool::server_started();
    int const before = crashed ? former.number : former.number - 1;
    if (consumer->is_shared() && before >= kSecond) {
        suspect_all(consumer);
        consumer->marked = true;
    } else if (!consumer->is_shared() && before >= kThird) {
        stop_view(consumer);
    } else {
        bool const last = state().one_by_one || before >= kSecond;
        spool::write_attempt(consumer->id, {last ? kThird : kSecond, spool::server_started()});
        // Commits of this worker are asynchronous otherwise.
        ForceSyncCommit();
        consumer->marked = true;
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
    pg::Failure const failure = pg::top_level([&] {
        StartTransactionCommand();
        PushActiveSnapshot(GetTransactionSnapshot());
        if (refresh_state())
            for (auto *consumer : pg::each<Consumer>(state().consumers))
                if (consumer->id == id)
                    mark(consumer);
        PopActiveSnapshot();
        CommitTransactionCommand();
    });
    if (!failure.failed)
        return;
    forget_state();
    for (auto *consumer : pg::each<Consumer>(state().consumers))
        if (consumer->id == id)
            consumer->marked = false;
    ereport(LOG, (errcode(failure.sqlstate), errmsg("fold worker: %s", failure.message)));
}

void end_attempt(Consumer *consumer)
{
    if (consumer->marked)
        spool::delete_attempt(consumer->id);
}

void end_attempts()
{
    for (auto *consumer : pg::each<Consumer>(state().consumers))
        if (!consumer->is_shared() && has_running_view(consumer) && wants_mark(consumer))
            return;
    state().after_crash = state().one_by_one = false;
}

} // namespace pipeline::fold
