#include "fold/full_spool.hpp"

#include "fold/emptying.hpp"
#include "fold/fold_state.hpp"
#include "fold/holders.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "pg/stop_points.hpp"
#include "spool/gauge.hpp"
#include "spool/generations.hpp"
#include "spool/progress_store.hpp"
#include "spool/reader.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

#include <algorithm>
#include <cstdlib>

namespace pipeline::fold {
namespace {

constexpr int kWarningInterval = 60000; ///< ms
constexpr int kMaxNamed = 5;            ///< views in a message

/// A consumer that may lose its rows.
struct Claim {
    const Holder *holder;
    bool holds; ///< it lacks a chunk of the generation at hand
    int64 rows; ///< what it would lose

    /// nullptr: the views of a shared consumer.
    const FoldedView *view() const
    {
        return holder->is_shared() ? nullptr
                                   : static_cast<const FoldedView *>(linitial(holder->views));
    }
};

enum class Cause {
    kNone,         ///< it will be emptied soon
    kViews,        ///< only views with a progress of their own lack the oldest rows
    kFolding,      ///< the shared consumer lacks them: folding is slower than writing
    kTransactions, ///< nobody lacks them, but somebody holds a lock
};

/// Who claims which rows, as of one snapshot.
struct Claims {
    List *all; ///< Claim *
    Cause cause;
    Oid locked; ///< kTransactions: the spool table
};

constinit TimestampTz last_warning = 0;

/// Looking for the holders may read much; it gets a tenth of the worker's time at most.
constinit TimestampTz next_search = 0;

/// Read from the tables, in one snapshot: what another transaction does not see has not happened.
void list_claims(Snapshot snapshot, Claims *claims)
{
    *claims = {};
    for (auto *holder : pg::each<const Holder>(list_holders(snapshot))) {
        auto *claim = static_cast<Claim *>(palloc0(sizeof(Claim)));
        claim->holder = holder;
        claims->all = lappend(claims->all, claim);
    }
}

/// The scan of one generation: who lacks something there?
spool::Visit visit_oldest(const spool::StoredChunk &chunk, void *arg)
{
    auto *claims = static_cast<Claims *>(arg);
    for (auto *claim : pg::each<Claim>(claims->all)) {
        if (claim->holds || !lacks(claim->holder, chunk))
            continue;
        claim->holds = true;
        claims->cause = claim->view() == nullptr ? Cause::kFolding : Cause::kViews;
        if (claims->cause == Cause::kFolding)
            return spool::Visit::kStop; // whoever else goes, the generation stays
    }
    return spool::Visit::kNext;
}

/// Walks from the oldest generation on, until one is held by somebody's progress.
void find_cause(Snapshot snapshot, Claims *claims)
{
    List *const generations = spool::list_generations();
    for (auto *generation : pg::each<spool::Generation>(generations)) {
        if (pg::with_relation(generation->relid, AccessShareLock,
                              [](Relation rel) { return RelationGetNumberOfBlocks(rel); }) == 0)
            continue;
        spool::scan_spool(snapshot, {generation->ordinal, 0},
                          {generation->ordinal, InvalidBlockNumber}, visit_oldest, claims);
        if (claims->cause != Cause::kNone)
            return;
        if (!OidIsValid(claims->locked))
            claims->locked = generation->relid;
    }
    if (OidIsValid(claims->locked))
        claims->cause = Cause::kTransactions;
}

// ---- warning -------------------------------------------------------------------------

const char *pretty(uint64 bytes)
{
    return TextDatumGetCString(
        DirectFunctionCall1(pg_size_pretty, Int64GetDatum(static_cast<int64>(bytes))));
}

const char *names_of_holders(const Claims &claims)
{
    StringInfoData names;
    int count = 0;
    initStringInfo(&names);
    for (auto *claim : pg::each<Claim>(claims.all)) {
        if (!claim->holds || claim->view() == nullptr)
            continue;
        const char *const name = get_rel_name(claim->view()->query.view);
        if (name == nullptr || ++count > kMaxNamed)
            continue;
        appendStringInfo(&names, "%s\"%s\"", count > 1 ? ", " : "", name);
    }
    if (count > kMaxNamed)
        appendStringInfo(&names, " and %d more", count - kMaxNamed);
    return names.data;
}

/// Who keeps the table from being emptied, or (CREATE VIEW, by the lock of emptying.cpp) all of
/// them. NULL: nobody. The locks of a prepared transaction have no process, and the virtual
/// transaction of the session that prepared it (twophase.c, MarkAsPreparingGuts); the lock on
/// its xid tells which it is.
const char *lock_holders(Oid relid)
{
    constexpr char kQuery[] =
        "SELECT pg_catalog.string_agg(DISTINCT COALESCE("
        "'prepared transaction ' OPERATOR(pg_catalog.||) pg_catalog.quote_literal(p.gid), "
        "'process ' OPERATOR(pg_catalog.||) l.pid::pg_catalog.text), ', ') "
        "FROM pg_catalog.pg_locks l "
        "LEFT JOIN pg_catalog.pg_locks x ON l.pid IS NULL AND x.pid IS NULL "
        "AND x.locktype OPERATOR(pg_catalog.=) 'transactionid' "
        "AND x.virtualtransaction OPERATOR(pg_catalog.=) l.virtualtransaction "
        "LEFT JOIN pg_catalog.pg_prepared_xacts p "
        "ON p.transaction OPERATOR(pg_catalog.=) x.transactionid "
        "WHERE l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() "
        "AND l.database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database "
        "WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) "
        "AND (l.relation OPERATOR(pg_catalog.=) $1 "
        "OR l.locktype OPERATOR(pg_catalog.=) 'object' AND l.objsubid OPERATOR(pg_catalog.=) 1 "
        "AND l.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass "
        "AND l.objid OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_extension "
        "WHERE extname OPERATOR(pg_catalog.=) 'pipeline_ext'))";
    Oid type = OIDOID;
    Datum value = ObjectIdGetDatum(relid);
    MemoryContext const caller = CurrentMemoryContext;
    char *names = nullptr;
    if (SPI_connect() != SPI_OK_CONNECT)
        elog(ERROR, "SPI_connect failed");
    if (SPI_execute_with_args(kQuery, 1, &type, &value, nullptr, true, 1) == SPI_OK_SELECT &&
        SPI_processed == 1) {
        char *const found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
        names = found != nullptr ? MemoryContextStrdup(caller, found) : nullptr;
    }
    SPI_finish();
    return names;
}

const char *detail_of(const Claims &claims)
{
    switch (claims.cause) {
    case Cause::kViews:
        return psprintf("The oldest of them wait for continuous views that are paused, failed, "
                        "blocked or slow: %s.",
                        names_of_holders(claims));
    case Cause::kFolding:
        return "Rows are written faster than they are folded.";
    case Cause::kTransactions:
        if (const char *const holders = lock_holders(claims.locked); holders != nullptr)
            return psprintf("Nobody waits for the oldest of them, but their table is in use by "
                            "%s.",
                            holders);
        return "Nobody waits for them; their tables are about to be emptied.";
    default:
        return "No transaction that wrote them has ended.";
    }
}

const char *hint_of(const Claims &claims)
{
    if (claims.cause == Cause::kViews && settings::spool_full_action == settings::kDetach)
        return "Activate or drop them. At 100 percent they are detached, and lose the rows that "
               "wait for them.";
    return "At 100 percent, writes to streams fail.";
}

void warn(uint64 bytes, const Claims &claims)
{
    last_warning = GetCurrentTimestamp();
    ereport(WARNING,
            (errmsg("spool of database \"%s\" has %s of rows that wait to be folded, %d percent "
                    "of pipelinedb.max_spool_size",
                    get_database_name(MyDatabaseId), pretty(bytes),
                    static_cast<int>(bytes * 100 / spool::spool_limit())),
             errdetail("%s", detail_of(claims)), errhint("%s", hint_of(claims))));
}

// ---- losing --------------------------------------------------------------------------

spool::Visit visit_lost(const spool::StoredChunk &chunk, void *arg)
{
    auto *claims = static_cast<Claims *>(arg);
    for (auto *claim : pg::each<Claim>(claims->all))
        if (claim->holds && lacks(claim->holder, chunk))
            claim->rows += std::abs(chunk.nrows);
    return spool::Visit::kNext;
}

const char *streams_of(const view::ContinuousQuery &query)
{
    StringInfoData names;
    initStringInfo(&names);
    appendStringInfoString(&names, query.nstreams == 1 ? "stream " : "streams ");
    for (int i = 0; i < query.nstreams; i++) {
        const char *const name = get_rel_name(query.streams[i]);
        appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "", name != nullptr ? name : "");
    }
    return names.data;
}

/// Who changes the view's state or its progress at this moment keeps it for now.
bool lose(const Claim &claim)
{
    Oid const view = claim.view()->query.view;
    if (!view::lock_query_at_once(view) ||
        !spool::remove_progress(view, claim.holder->stored->version))
        return false;
    view::mark_lost(view, claim.rows);
    const char *const name = get_rel_name(view);
    ereport(WARNING, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                      errmsg("continuous view \"%s\" is detached from %s, since the spool is full",
                             name != nullptr ? name : "", streams_of(claim.view()->query)),
                      errdetail(UINT64_FORMAT " rows that waited for it are lost to it.",
                                static_cast<uint64>(claim.rows)),
                      errhint("It takes no rows until SELECT pipelinedb.activate('%s').",
                              name != nullptr ? name : "")));
    return true;
}

int lose_holders(Snapshot snapshot, Claims *claims)
{
    int count = 0;
    spool::scan_spool(snapshot, {}, spool::kSpoolEnd, visit_lost, claims);
    pg::stop_point("lost_counted");
    for (auto *claim : pg::each<Claim>(claims->all))
        if (claim->holds && claim->view() != nullptr && lose(*claim))
            count++;
    pg::stop_point("lost_marked");
    return count;
}

// ---- the look ------------------------------------------------------------------------

bool is_warning_due()
{
    return last_warning == 0 ||
           TimestampDifferenceExceeds(last_warning, GetCurrentTimestamp(), kWarningInterval);
}

/// Runs `fn` in a transaction of its own; false if it failed, which is logged.
template <typename Fn> bool run_transaction(Fn &&fn)
{
    pg::Failure const failure = pg::top_level([&] {
        SetCurrentStatementStartTimestamp();
        StartTransactionCommand();
        PushActiveSnapshot(GetLatestSnapshot());
        fn(GetActiveSnapshot());
        PopActiveSnapshot();
        CommitTransactionCommand();
    });
    if (failure.failed)
        ereport(LOG, (errcode(failure.sqlstate),
                      errmsg("fold worker could not look after the spool: %s", failure.message)));
    return !failure.failed;
}

bool is_high(uint64 bytes)
{
    return bytes >= spool::spool_limit() / 10 * 8;
}

bool is_full(uint64 bytes)
{
    return bytes >= spool::spool_limit();
}

bool measure(uint64 *bytes)
{
    return run_transaction([&](Snapshot) { *bytes = spool::measure_spool(); });
}

/// Finds out who holds the oldest rows, warns, and at the limit makes them lose. True if somebody
/// was detached.
bool deal_with(uint64 bytes)
{
    bool const may_detach = is_full(bytes) && settings::spool_full_action == settings::kDetach;
    bool const warns = is_warning_due();
    TimestampTz const begin = GetCurrentTimestamp();
    if (!warns && !(may_detach && begin >= next_search))
        return false;
    int count = 0;
    bool const ran = run_transaction([&](Snapshot snapshot) {
        Claims claims;
        list_claims(snapshot, &claims);
        find_cause(snapshot, &claims);
        if (warns)
            warn(bytes, claims);
        if (may_detach && claims.cause == Cause::kViews)
            count = lose_holders(snapshot, &claims);
    });
    TimestampTz const end = GetCurrentTimestamp();
    next_search = end + (end - begin) * 10;
    return ran && count > 0;
}

bool look()
{
    uint64 bytes = 0;
    if (!measure(&bytes))
        return false;
    // Also what an idle worker empties only after a while.
    if (is_full(bytes)) {
        (void) tend_generations(true);
        if (!measure(&bytes))
            return true;
    }
    while (is_high(bytes) && deal_with(bytes)) {
        pg::stop_point("lost_committed");
        (void) tend_generations(true);
        if (!measure(&bytes))
            return true;
        next_search = 0;
    }
    spool::publish_spool_size(bytes);
    return is_full(bytes);
}

} // namespace

bool limit_spool()
{
    if (settings::max_spool_size == 0)
        return false;
    MemoryContext const context =
        AllocSetContextCreate(TopMemoryContext, "limit of the spool", ALLOCSET_DEFAULT_SIZES);
    bool const full = pg::in_context(context, [] { return look(); });
    MemoryContextDelete(context);
    return full;
}

} // namespace pipeline::fold
