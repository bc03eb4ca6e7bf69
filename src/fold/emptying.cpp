#include "fold/emptying.hpp"

#include "fold/fold_state.hpp"
#include "fold/holders.hpp"
#include "pg/compat.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "pg/stop_points.hpp"
#include "spool/gauge.hpp"
#include "spool/generations.hpp"
#include "spool/rendezvous.hpp"
#include "spool/xid_sets.hpp"

extern "C" {
#include "access/multixact.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "postmaster/autovacuum.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

/// More generations than this are not created: then the current one grows.
constexpr int kMaxGenerations = 16;

constexpr int kFailureInterval = 60000; ///< ms

struct LastFailure {
    char message[128];
    TimestampTz logged;
};

constinit LastFailure last_failure{};

/// After other fold workers were waited for in vain: so long, in ms, they are not again.
constexpr int kPauseAfterTimeout = 10000;
constinit TimestampTz no_wait_before = 0;

BlockNumber blocks_of(Oid relid)
{
    Relation rel = table_open(relid, AccessShareLock);
    BlockNumber const nblocks = RelationGetNumberOfBlocks(rel);
    table_close(rel, NoLock);
    return nblocks;
}

Size bytes_of(Oid relid)
{
    Relation rel = table_open(relid, AccessShareLock);
    Size bytes = static_cast<Size>(RelationGetNumberOfBlocks(rel)) * BLCKSZ;
    Oid const toast = rel->rd_rel->reltoastrelid;
    table_close(rel, NoLock);
    if (OidIsValid(toast))
        bytes += static_cast<Size>(blocks_of(toast)) * BLCKSZ;
    return bytes;
}

/// CREATE VIEW holds the same tag shared to its end: chunks that a view needs which is not yet
/// committed must stay (view/create_view.cpp).
bool lock_emptying()
{
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ExtensionRelationId,
                       get_extension_oid("pipeline_ext", false), 1);
    return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/// The last look: is there a chunk in the generation that some consumer lacks?
struct LastLook {
    const spool::XidSet *live;
    const List *holders;
    bool found;
};

spool::Visit look(const spool::StoredChunk &chunk, void *arg)
{
    auto *last_look = static_cast<LastLook *>(arg);
    if (!last_look->live->contains(chunk.xid))
        elog(ERROR, "a chunk of a running transaction is in a locked spool generation");
    for (auto *holder : pg::each<Holder>(last_look->holders))
        if (lacks(holder, chunk)) {
            last_look->found = true;
            return spool::Visit::kStop;
        }
    return spool::Visit::kNext;
}

/// Where chunks can lie that some consumer lacks.
spool::Position oldest_lack(const List *holders, const spool::XidSet &live)
{
    spool::Position oldest = spool::kSpoolEnd;
    for (auto *holder : pg::each<Holder>(holders)) {
        if (holder->progress.nbig > 0)
            return {};
        uint64 const xid = spool::first_new(holder->progress.folded, live);
        if (xid == spool::kNoXid)
            continue;
        spool::Position const position = spool::position_of_xid(xid);
        if (position.ordinal < oldest.ordinal ||
            (position.ordinal == oldest.ordinal && position.block < oldest.block))
            oldest = position;
    }
    return oldest;
}

bool is_drained(const spool::Generation &generation)
{
    PushActiveSnapshot(GetLatestSnapshot());
    spool::XidSet const live = spool::xid_set_of(GetActiveSnapshot(), CurrentMemoryContext);
    LastLook last_look{&live, list_holders(GetActiveSnapshot()), false};
    spool::Position from = oldest_lack(last_look.holders, live);
    bool drained = true;
    if (from.ordinal <= generation.ordinal) {
        if (from.ordinal < generation.ordinal)
            from = {generation.ordinal, 0};
        spool::scan_spool(GetActiveSnapshot(), from, {generation.ordinal, InvalidBlockNumber}, look,
                          &last_look);
        drained = !last_look.found;
    }
    PopActiveSnapshot();
    return drained;
}

/// Cutting in place does not advance relfrozenxid. Long before the anti-wraparound vacuum
/// would come (and hold up rotation), the table gets a new file instead.
bool is_old(Relation rel)
{
    TransactionId const next = XidFromFullTransactionId(ReadNextFullTransactionId());
    int32 const age = static_cast<int32>(next - rel->rd_rel->relfrozenxid);
    return age > autovacuum_freeze_max_age / 2;
}

void cut(Relation rel)
{
    Oid const toast = rel->rd_rel->reltoastrelid;
    if (!is_old(rel)) {
        heap_truncate_one_rel(rel);
        return;
    }
    pg::new_relation_file(rel);
    if (OidIsValid(toast)) {
        Relation toast_rel = table_open(toast, AccessExclusiveLock);
        pg::new_relation_file(toast_rel);
        table_close(toast_rel, NoLock);
        pg::rebuild_toast_index(RelationGetRelid(rel));
    }
}

/// Where the next record goes is behind the header of a fresh page, up to which nothing can be
/// flushed yet (xlog.c: XLogFlush, "xlog flush request is not satisfied").
XLogRecPtr end_of_wal()
{
    XLogRecPtr const next = GetXLogInsertRecPtr();
    auto const in_segment = static_cast<uint32>(next % static_cast<uint64>(wal_segment_size));
    auto const in_page = static_cast<uint32>(next % XLOG_BLCKSZ);
    bool const after_header = in_segment == SizeOfXLogLongPHD ||
                              (in_segment > XLOG_BLCKSZ && in_page == SizeOfXLogShortPHD);
    return after_header ? next - in_page : next;
}

/// Other fold workers hold a lock on each generation nearly all the time while they have much to
/// do; a try that does not wait may never find all of them between two ticks. They may be kept
/// waiting for a moment, now and then; a writer may not.
bool lock_behind_workers(Oid relid)
{
    LOCKTAG tag;
    TimestampTz const now = GetCurrentTimestamp();
    if (now < no_wait_before)
        return false;
    int count;
    SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
    const VirtualTransactionId *const holders = GetLockConflicts(&tag, AccessExclusiveLock, &count);
    for (int i = 0; i < count; i++)
        if (!spool::is_of_fold_worker(holders[i]))
            return false;
    no_wait_before = TimestampTzPlusMilliseconds(now, kPauseAfterTimeout);
    (void) set_config_option("lock_timeout", "500ms", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
                             true, 0, false);
    LockRelationOid(relid, AccessExclusiveLock);
    no_wait_before = 0; // it was worth it
    return true;
}

/// The generation's TOAST table too, which heap_truncate_one_rel would wait for.
bool lock_generation(Oid relid, bool is_current)
{
    if (!ConditionalLockRelationOid(relid, AccessExclusiveLock) &&
        (is_current || !lock_behind_workers(relid)))
        return false;
    Relation rel = table_open(relid, NoLock);
    Oid const toast = rel->rd_rel->reltoastrelid;
    table_close(rel, NoLock);
    return !OidIsValid(toast) || ConditionalLockRelationOid(toast, AccessExclusiveLock);
}

/// One generation, in a transaction of its own. True if it was emptied.
bool empty_generation(const spool::Generation &generation, bool is_current)
{
    // A first look without locks: an AccessExclusiveLock costs an xid and a WAL record
    // (lock.c: LogAccessExclusiveLockPrepare), again and again while a view is paused.
    AcceptInvalidationMessages();
    if (!refresh_state() || !is_drained(generation))
        return false;
    pg::stop_point("empty_before_lock");
    if (!lock_generation(generation.relid, is_current) || !lock_emptying())
        return false;
    pg::stop_point("empty_locked");
    // Views that committed up to now must be in the list; later ones wait for our lock.
    AcceptInvalidationMessages();
    if (!refresh_state() || !is_drained(generation))
        return false;

    // Progress is committed asynchronously. RelationTruncate flushes its own record in some
    // minors only under conditions, so this does not rest on it: if the cut survives a crash,
    // so does every progress before it.
    XLogFlush(end_of_wal());
    pg::stop_point("empty_before_truncate");
    Relation rel = table_open(generation.relid, NoLock);
    cut(rel);
    // The positions that other fold workers remember are worth nothing now (spool/reader.hpp).
    CacheInvalidateRelcache(rel);
    table_close(rel, NoLock);
    pg::stop_point("empty_truncated");
    return true;
}

/// What keeps failing (an event trigger that is always enabled and refuses DDL, say) is tried again
/// every second, but logged once a minute.
bool is_news(const char *message)
{
    TimestampTz const now = GetCurrentTimestamp();
    if (strncmp(last_failure.message, message, sizeof(last_failure.message) - 1) == 0 &&
        !TimestampDifferenceExceeds(last_failure.logged, now, kFailureInterval))
        return false;
    strlcpy(last_failure.message, message, sizeof(last_failure.message));
    last_failure.logged = now;
    return true;
}

template <typename Fn> bool run_transaction(const char *what, Fn &&fn)
{
    pg::Failure const failure = pg::top_level([&] {
        SetCurrentStatementStartTimestamp();
        StartTransactionCommand();
        fn();
        CommitTransactionCommand();
    });
    if (failure.failed) {
        spool::forget_marks();
        forget_state();
    }
    // Not if it was only that another worker took longer than we wait.
    if (failure.failed && failure.sqlstate != ERRCODE_LOCK_NOT_AVAILABLE &&
        is_news(failure.message))
        ereport(LOG, (errcode(failure.sqlstate),
                      errmsg("fold worker could not %s: %s", what, failure.message)));
    return !failure.failed;
}

/// Under a small limit the current generation must not be all that there is: it is not emptied
/// while somebody writes.
Size rotation_size()
{
    Size const chosen = static_cast<Size>(settings::spool_generation_size) * 1024 * 1024;
    Size const limit = spool::spool_limit();
    return limit == 0 ? chosen : std::min(chosen, std::max(limit / 8, Size{256 * 1024}));
}

struct Plan {
    bool rotate;
    int32 rotate_to;
    int32 current;
    int ncandidates;
    spool::Generation candidates[kMaxGenerations];
};

/// What there is to do; reads sizes only.
void look_around(bool idle, Plan *plan)
{
    List *const generations = spool::list_generations();
    auto *current = static_cast<spool::Generation *>(llast(generations));
    *plan = {};
    plan->rotate_to = -1;
    plan->current = current->id;
    bool empty_one_found = false;
    for (auto *generation : pg::each<spool::Generation>(generations)) {
        bool const is_empty = bytes_of(generation->relid) == 0;
        if (generation != current && is_empty) {
            plan->rotate_to = generation->id;
            empty_one_found = true;
        }
        if (!is_empty && (generation != current || idle) && plan->ncandidates < kMaxGenerations)
            plan->candidates[plan->ncandidates++] = *generation;
    }
    plan->rotate = bytes_of(current->relid) >= rotation_size() &&
                   (empty_one_found || list_length(generations) < kMaxGenerations);
}

} // namespace

static bool tend(bool idle)
{
    Plan plan{};
    if (!run_transaction("look at the spool", [&] { look_around(idle, &plan); }))
        return true;
    if (plan.rotate) {
        if (run_transaction("rotate the spool", [&] {
                spool::rotate_to(plan.rotate_to);
                pg::stop_point("rotate_before_commit");
            }))
            spool::note_rotation();
        pg::stop_point("rotate_committed");
    }
    bool left = false;
    for (int i = 0; i < plan.ncandidates; i++) {
        bool emptied = false;
        bool const ran = run_transaction("empty a spool generation", [&] {
            emptied = empty_generation(plan.candidates[i], plan.candidates[i].id == plan.current);
        });
        pg::stop_point("empty_committed");
        if (ran && emptied)
            spool::forget_marks();
        else
            left = true;
    }
    return left || plan.rotate;
}

bool tend_generations(bool idle)
{
    MemoryContext const context =
        AllocSetContextCreate(TopMemoryContext, "tending the spool", ALLOCSET_DEFAULT_SIZES);
    bool const left = pg::in_context(context, [&] { return tend(idle); });
    MemoryContextDelete(context);
    return left;
}

} // namespace pipeline::fold
