#include "fold/entry.hpp"

#include "fold/answers.hpp"
#include "fold/assignment.hpp"
#include "fold/attempts.hpp"
#include "fold/emptying.hpp"
#include "fold/expiry.hpp"
#include "fold/fold_state.hpp"
#include "fold/full_spool.hpp"
#include "fold/setback.hpp"
#include "fold/tick.hpp"
#include "fold/view_fold.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "spool/reader.hpp"
#include "spool/rendezvous.hpp"
#include "spool/xid_sets.hpp"

extern "C" {
#include "access/transam.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

#include <algorithm>
#include <ctime>

namespace pipeline::fold {
namespace {

/// The current generation is emptied in place after so long without a row. If that fails
/// (a view is paused, a writer has not ended), the next try comes later and later.
constexpr int kIdleBeforeEmptying = 1000;
constexpr int kLongestTendDelay = 60000;

/// Generations are looked at so often under load.
constexpr int kTendInterval = 1000;

/// After a tick the worker pauses for this many times the processor time of the tick, so that it
/// leaves the processors to those who write: a group that many rows are for is then changed once
/// for many of them. In ms at most, unless fold_interval is longer.
constexpr int kPauseShare = 4;
constexpr int kLongestPause = 20;

/// Views that could not be handed over are tried again after so long; workers for which no
/// process was free are asked for again after kLookInterval, if there is anything to do.
constexpr int kPlacementRetry = 200;
constexpr int kLookInterval = 60000;

/// The loop's own memory.
struct Pace {
    TimestampTz last_work; ///< when something was folded
    TimestampTz last_tend;
    TimestampTz last_horizon;
    int stretch;      ///< ms added while the removable horizon lags
    int failures;     ///< ticks that failed in a row
    bool spool_clean; ///< nothing to empty since the last look
    uint64 wakes;     ///< seen so far: each may mean chunks, also some that no view reads
    int tend_delay;   ///< ms until an idle worker tries again to empty generations
    TimestampTz last_placement;
    bool placement_failed; ///< some view could not be handed over then
    bool unwanted;         ///< fewer workers are wanted, and this one has no view any more
    bool rested;           ///< it slept for fold_interval at least before this tick
};

/// Worker 0 alone rotates and empties generations.
bool tends_spool()
{
    return state().number == 0;
}

/// Row versions pile up while something holds the removable horizon back (pg_dump, an idle
/// transaction): then fewer ticks make fewer versions. Looked at ten times a second.
void look_at_horizon(Pace *pace, TimestampTz now)
{
    if (!TimestampDifferenceExceeds(pace->last_horizon, now, 100))
        return;
    pace->last_horizon = now;
    TransactionId const horizon = GetOldestNonRemovableTransactionId(nullptr);
    TransactionId const next = XidFromFullTransactionId(ReadNextFullTransactionId());
    int32 const lag = static_cast<int32>(next - horizon);
    pace->stretch = std::clamp((lag - 2000) / 20, 0, 1000);
}

struct RoundOutcome {
    bool folded;
    bool left_behind;
    bool failed;
    bool extension_is_gone;
    bool consumers_changed;
};

void add(RoundOutcome *round, const TickOutcome &tick)
{
    round->folded |= tick.folded;
    round->left_behind |= tick.left_behind;
    round->failed |= tick.failed;
    round->extension_is_gone |= tick.extension_is_gone;
    round->consumers_changed |= tick.consumers_changed;
}

bool is_laggard_due(const Consumer *consumer, TimestampTz now)
{
    return !consumer->is_shared() && has_running_view(consumer) &&
           (consumer->retry_at == 0 || consumer->retry_at <= now);
}

/// The shared consumer, then one tick for each laggard that could not come along.
RoundOutcome run_round()
{
    RoundOutcome round{};
    TickOutcome const shared = run_tick(shared_id(state().number));
    add(&round, shared);
    if (shared.extension_is_gone)
        return round;

    // run_tick may replace the list: walk over a copy of the ids.
    List *laggards = NIL;
    TimestampTz const now = GetCurrentTimestamp();
    pg::in_context(state().context, [&] {
        for (auto *consumer : pg::each<Consumer>(state().consumers))
            if (is_laggard_due(consumer, now))
                laggards = lappend_oid(laggards, consumer->id);
    });
    for (Oid const id : pg::each_oid(laggards))
        add(&round, run_tick(id));
    list_free(laggards);
    return round;
}

/// When the next laggard is due, in ms; -1 = none.
long next_retry(TimestampTz now)
{
    long shortest = -1;
    for (auto *consumer : pg::each<Consumer>(state().consumers)) {
        if (consumer->is_shared() || !has_running_view(consumer))
            continue;
        TimestampTz const due = std::max({now, consumer->retry_at, consumer->alone_until});
        long const wait = std::max(1L, TimestampDifferenceMilliseconds(now, due));
        shortest = shortest < 0 ? wait : std::min(shortest, wait);
    }
    return shortest;
}

void wait_ms(long timeout)
{
    int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
    if (timeout >= 0)
        events |= WL_TIMEOUT;
    (void) WaitLatch(MyLatch, events, timeout, PG_WAIT_EXTENSION);
}

/// Not the time that has gone by: on a busy machine a tick takes longer, and would make the views
/// lag even more by a longer pause.
long processor_us()
{
    timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return static_cast<long>(used.tv_sec) * 1000000 + used.tv_nsec / 1000;
}

/// In ms.
long pause_after(const Pace &pace, long used_us)
{
    if (settings::fold_interval == 0)
        return pace.stretch;
    long const share = std::min(used_us * kPauseShare / 1000, long{kLongestPause});
    return std::max(long{settings::fold_interval}, share) + pace.stretch;
}

/// After a tick: a short pause lets rows gather. Rows do not end it (announce_rows), but whoever
/// waits for them does. A failed tick pauses longer and longer.
void pause_between_ticks(const Pace &pace, const RoundOutcome &round, long used_us)
{
    if (round.failed) {
        wait_ms(pace.failures <= 1 ? 1 : std::min(100L << (pace.failures - 2), 30000L));
        return;
    }
    long pause = pause_after(pace, used_us);
    if (long const wait = next_expiry(); wait >= 0 && pause > kLongestPause)
        pause = std::max(std::min(pause, wait), long{kLongestPause});
    // The latch of a waiter may have been reset by the server's own waits during the tick.
    if (!round.left_behind && pause > 0 && !spool::has_waiters())
        wait_ms(pause);
}

/// Rows that come one by one, some time apart: each is folded at once and the worker goes to sleep
/// again without a pause, in which the next one would wait, and an empty tick after it. Whoever
/// has committed since the tick began has counted up the wakes.
bool may_sleep_at_once(const Pace &pace, const RoundOutcome &round, uint64 wakes)
{
    return pace.rested && !round.failed && !round.left_behind && !round.consumers_changed &&
           !state().after_crash && pace.stretch == 0 && spool::count_wakes() == wakes;
}

int elapsed_ms(TimestampTz since, TimestampTz now)
{
    return static_cast<int>(
        std::min(TimestampDifferenceMilliseconds(since, now), static_cast<long>(INT_MAX)));
}

/// How long to sleep on the latch; -1 = for ever, 0 = do not.
long sleep_time(const Pace &pace, TimestampTz now)
{
    long timeout = settings::idle_exit * 1000L - elapsed_ms(pace.last_work, now);
    if (!pace.spool_clean) // then it does not exit
        timeout = pace.tend_delay - elapsed_ms(std::max(pace.last_work, pace.last_tend), now);
    timeout = std::max(timeout, 1L);
    for (long const wait :
         {next_retry(now), report_rejected(now), next_window_move(), next_expiry()})
        if (wait >= 0)
            timeout = std::min(timeout, wait);
    if (pace.placement_failed)
        timeout = std::min(timeout, long{kPlacementRetry});
    return timeout;
}

/// Another worker than 0 lets worker 0 know that there is something to tend.
void tend(Pace *pace, bool idle)
{
    if (!tends_spool()) {
        pace->last_tend = GetCurrentTimestamp();
        spool::wake_workers(MyDatabaseId, spool::kFirstWorker, false);
        return;
    }
    pace->spool_clean = !tend_generations(idle) && idle;
    pace->last_tend = GetCurrentTimestamp();
    if (idle)
        pace->tend_delay = std::min(pace->tend_delay * 2, kLongestTendDelay);
    if (limit_spool()) {
        pace->spool_clean = false;
        pace->tend_delay = kIdleBeforeEmptying;
    }
}

void take_interrupts()
{
    CHECK_FOR_INTERRUPTS();
    if (ConfigReloadPending) {
        ConfigReloadPending = false;
        ProcessConfigFile(PGC_SIGHUP);
    }
}

void look_at_placement(Pace *pace, RoundOutcome *round, TimestampTz now)
{
    bool const retries =
        pace->placement_failed && elapsed_ms(pace->last_placement, now) >= kPlacementRetry;
    bool const is_new = placement_is_due() && !pace->placement_failed;
    if (!retries && !is_new && elapsed_ms(pace->last_placement, now) < kLookInterval)
        return;
    PlacementOutcome const outcome = place_views();
    pace->last_placement = now;
    pace->placement_failed = outcome.again;
    pace->unwanted = outcome.leave;
    round->consumers_changed |= outcome.changed;
}

/// True if the worker may end: nobody waits for it, and no view of it has to be tried again.
bool is_idle(TimestampTz now)
{
    return !spool::has_waiters() && next_retry(now) < 0 && next_window_move() < 0;
}

/// Starting another one in a moment would cost more than to wait.
bool expires_soon()
{
    long const wait = next_expiry();
    return wait >= 0 && wait < settings::idle_exit * 1000L;
}

} // namespace

WorkerEnd run_worker()
{
    init_state();
    spool::install_reader();
    partial::install_plans();
    init_timer();
    state().blamed = spool::take_blamed();
    begin_attempts();
    Pace pace{};
    pace.last_work = pace.last_tend = GetCurrentTimestamp();
    pace.tend_delay = kIdleBeforeEmptying;
    pace.spool_clean = !tends_spool();

    for (;;) {
        ResetLatch(MyLatch);
        uint64 const wakes = spool::count_wakes();
        take_interrupts();
        if (!settings::folding)
            return {wakes, true, 0};
        pgstat_report_activity(STATE_RUNNING, "folding");
        long const used = processor_us();
        spool::note_requests();
        RoundOutcome round = run_round();
        if (round.extension_is_gone)
            return {wakes, false, 0};
        TimestampTz now = GetCurrentTimestamp();
        look_at_placement(&pace, &round, now);
        // Until the list of consumers is read again, one that was set aside is not in it.
        round.left_behind |= answer_requests(!round.failed && !round.consumers_changed);
        pace.failures = round.failed ? pace.failures + 1 : 0;
        bool const more_expired = remove_expired();
        if (pace.unwanted && !spool::has_waiters())
            return {wakes, false, 0};

        if (round.folded)
            pace.last_work = now;
        if (round.folded || pace.wakes != wakes) {
            pace.wakes = wakes;
            pace.spool_clean = !tends_spool();
            pace.tend_delay = kIdleBeforeEmptying;
        }
        if (round.folded || round.failed || round.left_behind) {
            look_at_horizon(&pace, now);
            if (TimestampDifferenceExceeds(pace.last_tend, now, kTendInterval))
                tend(&pace, false);
            if (!may_sleep_at_once(pace, round, wakes)) {
                pause_between_ticks(pace, round, processor_us() - used);
                pace.rested = false;
                continue;
            }
        }

        end_attempts();
        if (!pace.spool_clean &&
            elapsed_ms(std::max(pace.last_work, pace.last_tend), now) >= pace.tend_delay)
            tend(&pace, true);
        now = GetCurrentTimestamp();
        bool const idle = is_idle(now);
        if (idle && spool::slots_are_short())
            return {wakes, false, expiry_wake_time()}; // another database waits for a process
        if (idle && pace.spool_clean &&
            elapsed_ms(pace.last_work, now) >= settings::idle_exit * 1000L && !expires_soon())
            return {wakes, false, expiry_wake_time()};
        if (more_expired || round.consumers_changed || !state().valid ||
            spool::count_wakes() != wakes)
            continue;
        pgstat_report_stat(true); // autovacuum decides by these numbers
        pgstat_report_activity(STATE_IDLE, nullptr);
        if (!spool::fall_asleep(wakes))
            continue;
        wait_ms(sleep_time(pace, now));
        spool::wake_up();
        pace.rested = elapsed_ms(now, GetCurrentTimestamp()) >= settings::fold_interval;
    }
}

} // namespace pipeline::fold
