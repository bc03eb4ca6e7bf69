#include "fold/setback.hpp"

#include "pg/list.hpp"
#include "pg/settings.hpp"
#include "spool/progress_store.hpp"

extern "C" {
#include "utils/builtins.h"
#include "mb/pg_wchar.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

/// A view is stopped after so many strikes in a row.
constexpr int kMaxStrikes = 3;

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

/// One line a minute and view about rejected rows, and one about failures.
constexpr int kReportInterval = 60000;

/// A view with bad rows goes with the others again when there was none for so long.
constexpr int kAloneAfterBadRows = 3000;

/// Its pieces grow again while all goes well.
void grow_piece(Consumer *consumer)
{
    consumer->piece *= 2;
    if (consumer->piece >= static_cast<Size>(settings::fold_batch) * 1024)
        consumer->piece = 0;
}

/// When the next line may come.
TimestampTz report_due(const FoldedView *view)
{
    return view->reported_at == 0 ? 0
                                  : TimestampTzPlusMilliseconds(view->reported_at, kReportInterval);
}

void report_rows(FoldedView *view, TimestampTz now)
{
    const char *const name = view->name;
    ereport(LOG, (errcode(view->last_sqlstate),
                  errmsg_plural("continuous view \"%s\" rejected %lld row: %s",
                                "continuous view \"%s\" rejected %lld rows, the last one with: %s",
                                static_cast<unsigned long>(view->unreported), name,
                                static_cast<long long>(view->unreported), view->last_error),
                  errhint("See pipelinedb.errors. When the cause is mended, "
                          "pipelinedb.retry_errors() folds them.")));
    view->unreported = 0;
    view->reported_at = now;
}

void report_stop(const FoldedView *view, const ViewOutcome &outcome)
{
    Oid const relid = view->query.view;
    const char *const name = quote_qualified_identifier(
        get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
    ereport(LOG,
            (errcode(outcome.sqlstate),
             errmsg("continuous view \"%s\" stopped: %s", get_rel_name(relid), outcome.message),
             errhint("Its rows are kept. Mend the cause, then run SELECT "
                     "pipelinedb.activate(%s).",
                     quote_literal_cstr(name))));
}

/// Once per series of failures, and of the same error once a minute: a view that gets on in small
/// pieces only fails now and then, when it tries a larger one. A lock that somebody holds is not
/// worth a line.
void report_retry(FoldedView *view, const ViewOutcome &outcome)
{
    TimestampTz const now = GetCurrentTimestamp();
    if (outcome.result == ViewResult::kBlocked || view->consumer->retry_delay >= 100 ||
        (view->retry_sqlstate == outcome.sqlstate &&
         now < TimestampTzPlusMilliseconds(view->retry_reported_at, kReportInterval)))
        return;
    view->retry_reported_at = now;
    view->retry_sqlstate = outcome.sqlstate;
    ereport(LOG,
            (errcode(outcome.sqlstate), errmsg("continuous view \"%s\" is retried: %s",
                                               get_rel_name(view->query.view), outcome.message)));
}

} // namespace

bool must_leave(const FoldedView *view)
{
    return view->consumer->is_shared() && (!view->runs() || view->troubled);
}

bool has_view_that_must_leave(const Consumer *consumer)
{
    for (auto *view : pg::each<FoldedView>(state().views))
        if (view->consumer == consumer && must_leave(view))
            return true;
    return false;
}

void detach(const FoldedView *view)
{
    spool::add_progress(view->query.view, view->consumer->progress);
}

bool set_back(FoldedView *view, ViewOutcome outcome)
{
    Consumer *const consumer = view->consumer;
    view->troubled = true;
    if (outcome.result == ViewResult::kStrike && ++consumer->strikes >= kMaxStrikes)
        outcome.result = ViewResult::kFailed;
    if (outcome.result == ViewResult::kFailed &&
        view::mark_failed(view->query.view, outcome.sqlstate, outcome.message)) {
        report_stop(view, outcome);
        return true;
    }
    report_retry(view, outcome);
    postpone(consumer, outcome.result);
    return false;
}

void forgive(Consumer *consumer)
{
    consumer->retry_at = 0;
    consumer->retry_delay = 0;
    consumer->strikes = 0;
    grow_piece(consumer);
    if (FoldedView *const view = view_of(consumer); view != nullptr)
        view->troubled = false;
}

void note_rejected(FoldedView *view, const ViewOutcome &outcome)
{
    TimestampTz const now = GetCurrentTimestamp();
    view->consumer->alone_until = TimestampTzPlusMilliseconds(now, kAloneAfterBadRows);
    view->unreported += outcome.rejected;
    view->last_sqlstate = outcome.sqlstate;
    int const length = static_cast<int>(strlen(outcome.message));
    int const kept = pg_mbcliplen(outcome.message, length, sizeof(view->last_error) - 1);
    strlcpy(view->last_error, outcome.message, static_cast<Size>(kept) + 1);
    (void) report_rejected(now);
}

long report_rejected(TimestampTz now)
{
    long next = -1;
    for (auto *view : pg::each<FoldedView>(state().views)) {
        if (view->unreported == 0)
            continue;
        TimestampTz const due = report_due(view);
        if (due <= now) {
            report_rows(view, now);
            continue;
        }
        long const wait = std::max(1L, TimestampDifferenceMilliseconds(now, due));
        next = next < 0 ? wait : std::min(next, wait);
    }
    return next;
}

} // namespace pipeline::fold
