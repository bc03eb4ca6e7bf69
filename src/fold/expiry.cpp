#include "fold/expiry.hpp"

#include "fold/expired_partitions.hpp"
#include "fold/expired_rows.hpp"
#include "fold/fold_state.hpp"
#include "fold/freed_pages.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "pg/stop_points.hpp"
#include "view/matrel.hpp"
#include "view/window_edge.hpp"

extern "C" {
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

constexpr int kMostRows = 10000;    ///< in one transaction
constexpr int kBlocksAtOnce = 8192; ///< of a scan

/// In ms. Rows expire one by one, and are removed together.
constexpr int kPauseWithIndex = 200;
constexpr int kLongestPause = 5000;
/// A table without such an index is scanned for a tenth of the time, or if it is that large, for a
/// third.
constexpr int kPausePerScan = 9;
constexpr int kLeastPausePerScan = 2;

/// A locked table or row; an ERROR, which doubles; a table whose restore has not come to its end.
constexpr int kPauseAfterLock = 1000;
constexpr int kLongestBackOff = 60000;
/// Of a partitioned table: in one transaction, and after so many refused locks one is waited for.
constexpr int kPartitionsAtOnce = 16;
constexpr int kRefusals = 3;

constexpr int kFirstLookAtHorizon = 200;

struct Expiring {
    Oid view;
    Oid definition;
    Oid matrel;
    AttrNumber column;
    Interval after;

    ExpiryKey earliest;     ///< no row has an earlier key
    TimestampTz due;        ///< by the clock: when the first one expires; DT_NOEND = never
    TimestampTz not_before; ///< by the server's time
    int back_off;           ///< ms, after an ERROR
    int refusals;           ///< of locks, in a row
    uint32 news;            ///< counts what came from elsewhere
    uint32 news_seen;       ///< ... before the look that is under way

    BlockNumber block; ///< where the scan goes on; 0 = none is under way
    ExpiryKey scanned; ///< the earliest key that it has seen
    ExpiryKey written; ///< ... or that was written since it began
    long scan_us;      ///< that it took so far

    FreedPages freed;
    TimestampTz reuse_at; ///< by the server's time: when to look whether pages can be reused
    int reuse_delay;      ///< ms
};

/// What a piece found out; applied after its commit.
struct Piece {
    Removal removal;
    ExpiryRule rule;
    TimestampTz clock;
    TransactionId xid;
    bool locked_out;
    bool scanned;
    bool reused;
};

constinit Expiring *last_served = nullptr;

bool has_work(const Expiring *one, TimestampTz now, TimestampTz clock)
{
    return one->not_before <= now && (one->due <= clock || one->block != 0);
}

bool may_reuse(const Expiring *one, TimestampTz now)
{
    return one->freed.batches != NIL && one->reuse_at <= now;
}

TimestampTz in_ms(long ms)
{
    return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

void forget(Expiring *one)
{
    one->earliest = kFirstKey;
    one->due = 0;
    one->news++;
}

Expiring *find(Oid view)
{
    for (auto *one : pg::each<Expiring>(state().expiring))
        if (one->view == view)
            return one;
    return nullptr;
}

void update(Expiring *one, const view::ContinuousQuery &query)
{
    bool const same = one->matrel == query.matrel && one->column == query.expire_column &&
                      memcmp(&one->after, &query.expire_after, sizeof(Interval)) == 0;
    if (same)
        return;
    one->view = query.view;
    one->definition = query.definition;
    one->matrel = query.matrel;
    one->column = query.expire_column;
    one->after = query.expire_after;
    one->block = 0;
    one->not_before = 0;
    forget(one);
}

// ---- one piece -------------------------------------------------------------------------

bool lock(const Expiring *one)
{
    return ConditionalLockRelationOid(one->view, AccessShareLock) &&
           ConditionalLockRelationOid(one->definition, AccessShareLock) &&
           ConditionalLockRelationOid(one->matrel, RowExclusiveLock) &&
           SearchSysCacheExists1(RELOID, ObjectIdGetDatum(one->definition)) &&
           SearchSysCacheExists1(RELOID, ObjectIdGetDatum(one->matrel));
}

int64 batch_size()
{
    int const size = settings::ttl_expiration_batch_size;
    return size == 0 ? kMostRows : std::min(size, kMostRows);
}

/// What has left a window stays until those who read the view's output have been told.
TimestampTz told_until(Oid relid)
{
    for (auto *view : pg::each<FoldedView>(state().views))
        if (view->query.view == relid && view->windowed &&
            (view->readers != NIL || view->window_due != 0))
            return view::read_edge(relid);
    return DT_NOEND;
}

/// Not before the guard is there: a restore is under way, which creates it in the end, and
/// indexes before it.
void remove_from(const Expiring *one, Relation matrel, Piece *piece)
{
    if (!view::has_guard(matrel)) {
        piece->locked_out = true;
        return;
    }
    Removal &removal = piece->removal;
    piece->rule = make_rule(matrel, one->column, one->after);
    removal.matrel = matrel;
    removal.rule = piece->rule;
    removal.cutoff = std::min(cutoff_at(piece->rule, piece->clock), told_until(one->view));
    removal.snapshot = GetActiveSnapshot();
    removal.limit = batch_size();
    removal.pages = static_cast<BlockNumber *>(MemoryContextAlloc(
        state().context, sizeof(BlockNumber) * static_cast<Size>(removal.limit)));
    removal.first = one->earliest;
    removal.block = one->block;
    Oid const index = find_time_index(matrel, piece->rule);
    piece->scanned = !OidIsValid(index);
    if (piece->scanned)
        remove_by_scan(&removal, kBlocksAtOnce);
    else
        remove_by_index(&removal, index);
    piece->xid = GetCurrentTransactionIdIfAny();
}

/// Partitions that expire are tried without waiting at first. Who reads the view all the time would
/// keep them for ever, so in the end readers may have to wait for a moment.
void drop_from(const Expiring *one, Relation matrel, Piece *piece)
{
    PartitionRemoval partitions{};
    piece->rule = make_rule(matrel, one->column, one->after);
    partitions.matrel = matrel;
    partitions.rule = piece->rule;
    partitions.cutoff = cutoff_at(piece->rule, piece->clock);
    partitions.limit = kPartitionsAtOnce;
    partitions.wait = one->refusals >= kRefusals;
    (void) set_config_option("lock_timeout", "100ms", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
                             true, 0, false);
    drop_expired_partitions(&partitions);
    piece->locked_out = partitions.locked_out;
    piece->removal.matrel = matrel;
    piece->removal.cutoff = partitions.cutoff;
    piece->removal.left = partitions.left;
    piece->removal.more = partitions.more;
}

/// In the time zone of the view, as its owner: the comparison with a timestamp depends on it.
void run_as_owner(Expiring *one, Piece *piece)
{
    Relation definition = table_open(one->definition, NoLock);
    Relation matrel = table_open(one->matrel, NoLock);
    pg::as_user(definition->rd_rel->relowner, SECURITY_RESTRICTED_OPERATION, [&] {
        int const level = NewGUCNestLevel();
        view::apply_creation_settings(definition);
        if (has_work(one, GetCurrentTimestamp(), piece->clock)) {
            if (matrel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
                drop_from(one, matrel, piece);
            else
                remove_from(one, matrel, piece);
        }
        if (may_reuse(one, GetCurrentTimestamp()))
            piece->reused = reuse_freed(&one->freed, matrel);
        AtEOXact_GUC(false, level);
    });
    table_close(matrel, NoLock);
    table_close(definition, NoLock);
}

void run_transaction(Expiring *one, Piece *piece)
{
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    AcceptInvalidationMessages();
    bool const locked = lock(one);
    // With a lock comes the news of what others did: set_ttl() holds one on the table to its end.
    if (locked && state().valid) {
        if (one->block == 0) {
            one->scanned = one->written = kNoKey;
            one->news_seen = one->news;
        }
        PushActiveSnapshot(GetTransactionSnapshot());
        piece->clock = pg::statement_time();
        run_as_owner(one, piece);
        PopActiveSnapshot();
        pg::stop_point("expiry_before_commit");
    }
    piece->locked_out |= !locked;
    CommitTransactionCommand();
    pg::stop_point("expiry_committed");
}

// ---- after it --------------------------------------------------------------------------

/// After a round over the table, or along the index to the first row that stays.
void round_ended(Expiring *one, const Piece &piece)
{
    ExpiryKey const left =
        std::min({piece.removal.left, one->scanned, piece.scanned ? one->written : kNoKey});
    if (one->news != one->news_seen) {
        forget(one);
    } else {
        one->earliest = left;
        one->due = is_expired(piece.rule, left, piece.removal.cutoff)
                       ? piece.clock
                       : expires_at(piece.rule, left, piece.clock);
    }
    long pause = kPauseWithIndex;
    if (piece.scanned) {
        long const took = one->scan_us / 1000;
        pause =
            std::max(std::clamp(took * kPausePerScan, long{kPauseWithIndex}, long{kLongestPause}),
                     took * kLeastPausePerScan);
    }
    // Where months are subtracted the estimate can be early.
    if (one->due <= piece.clock)
        pause = std::max(pause, long{kPauseAfterLock});
    one->not_before = in_ms(pause);
    one->block = 0;
    one->scan_us = 0;
}

void apply(Expiring *one, const Piece &piece, long took_us)
{
    const Removal &removal = piece.removal;
    if (removal.matrel == nullptr)
        return;
    if (TransactionIdIsValid(piece.xid)) {
        add_freed(&one->freed, piece.xid, removal.pages, removal.npages, state().context);
        one->reuse_delay = kFirstLookAtHorizon;
        one->reuse_at = in_ms(one->reuse_delay);
    }
    one->scan_us += took_us;
    if (!removal.more) {
        round_ended(one, piece);
    } else if (piece.scanned) {
        one->block = removal.block;
        one->scanned = std::min(one->scanned, removal.left);
    } else {
        one->earliest = removal.left;
    }
}

void look_later(Expiring *one, const Piece &piece)
{
    if (one->freed.batches == NIL)
        return;
    TimestampTz const now = GetCurrentTimestamp();
    if (piece.reused || one->reuse_at > now)
        return;
    // More pages than one piece takes, or the horizon lags.
    one->reuse_delay = std::min(one->reuse_delay * 2, kLongestBackOff);
    one->reuse_at = in_ms(one->reuse_delay);
}

void report(const Expiring *one, const pg::Failure &failure)
{
    ereport(LOG,
            (errcode(failure.sqlstate),
             errmsg("expired rows of table %u are not removed: %s", one->matrel, failure.message),
             failure.hint ? errhint("%s", failure.hint) : 0));
}

void set_back(Expiring *one, const pg::Failure &failure)
{
    if (one->back_off == 0)
        report(one, failure);
    one->back_off = std::clamp(one->back_off * 2, kPauseAfterLock, kLongestBackOff);
    one->not_before = one->reuse_at = in_ms(one->back_off);
    one->block = 0;
    forget(one);
}

void serve(Expiring *one)
{
    MemoryContext const context =
        AllocSetContextCreate(state().context, "expiry", ALLOCSET_DEFAULT_SIZES);
    MemoryContextSwitchTo(context);
    TimestampTz const begun = GetCurrentTimestamp();
    Piece piece{};
    pg::Failure const failure = pg::top_level([&] { run_transaction(one, &piece); });
    MemoryContextSwitchTo(TopMemoryContext);
    if (failure.failed && failure.sqlstate != ERRCODE_LOCK_NOT_AVAILABLE) {
        set_back(one, failure);
    } else if (failure.failed || piece.locked_out) {
        one->refusals++;
        one->not_before = in_ms(kPauseAfterLock);
        one->reuse_at = one->not_before;
    } else {
        one->back_off = one->refusals = 0;
        apply(one, piece, static_cast<long>(GetCurrentTimestamp() - begun));
        look_later(one, piece);
    }
    if (piece.removal.pages != nullptr)
        pfree(piece.removal.pages);
    MemoryContextDelete(context);
    pgstat_report_stat(false);
}

/// The next one in turn that has something to do.
Expiring *next_in_turn()
{
    TimestampTz const now = GetCurrentTimestamp();
    TimestampTz const clock = pg::now();
    Expiring *first = nullptr;
    bool passed = false;
    for (auto *one : pg::each<Expiring>(state().expiring)) {
        if (has_work(one, now, clock) || (may_reuse(one, now) && one->not_before <= now)) {
            if (passed)
                return one;
            first = first != nullptr ? first : one;
        }
        passed |= one == last_served;
    }
    return first;
}

} // namespace

void refresh_expiring(const List *queries)
{
    List *fresh = NIL;
    for (auto *query : pg::each<view::ContinuousQuery>(queries)) {
        if (query->expire_column == 0)
            continue;
        Expiring *one = find(query->view);
        if (one != nullptr)
            state().expiring = list_delete_ptr(state().expiring, one);
        else
            one = static_cast<Expiring *>(palloc0(sizeof(Expiring)));
        update(one, *query);
        fresh = lappend(fresh, one);
    }
    for (auto *gone : pg::each<Expiring>(state().expiring)) {
        forget_freed(&gone->freed);
        if (last_served == gone)
            last_served = nullptr;
        pfree(gone);
    }
    list_free(state().expiring);
    state().expiring = fresh;
}

void forget_expiry_of(Oid matrel)
{
    for (auto *one : pg::each<Expiring>(state().expiring))
        if (matrel == InvalidOid || one->matrel == matrel)
            forget(one);
}

void note_expiring(Oid matrel, const ExpiryRule &rule, ExpiryKey key)
{
    for (auto *one : pg::each<Expiring>(state().expiring)) {
        if (one->matrel != matrel)
            continue;
        one->written = std::min(one->written, key);
        if (key >= one->earliest)
            continue;
        one->earliest = key;
        one->due = std::min(one->due, expires_at(rule, key, pg::now()));
    }
}

bool remove_expired()
{
    if (state().expiring == NIL || !state().valid)
        return false;
    Expiring *const one = next_in_turn();
    if (one == nullptr)
        return false;
    last_served = one;
    serve(one);
    return state().valid && next_in_turn() != nullptr;
}

long next_expiry()
{
    TimestampTz const now = GetCurrentTimestamp();
    TimestampTz const clock = pg::now();
    long shortest = -1;
    auto const consider = [&](TimestampTz from, TimestampTz to) {
        long const wait = std::max(1L, TimestampDifferenceMilliseconds(from, to));
        shortest = shortest < 0 ? wait : std::min(shortest, wait);
    };
    for (auto *one : pg::each<Expiring>(state().expiring)) {
        if (one->freed.batches != NIL)
            consider(now, one->reuse_at);
        if (one->block != 0)
            consider(now, one->not_before);
        else if (one->due != DT_NOEND)
            consider(std::min(now - one->not_before, clock - one->due), TimestampTz{0});
    }
    return shortest;
}

TimestampTz expiry_wake_time()
{
    TimestampTz earliest = DT_NOEND;
    for (auto *one : pg::each<Expiring>(state().expiring))
        earliest = std::min(earliest, one->due);
    return earliest == DT_NOEND ? 0 : std::max(earliest, TimestampTz{1});
}

} // namespace pipeline::fold
