#include "backfill/pace.hpp"

#include "pg/settings.hpp"
#include "spool/gauge.hpp"
#include "spool/rendezvous.hpp"
#include "spool/stream_workers.hpp"
#include "spool/writer.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

#include <algorithm>

namespace pipeline::backfill {
namespace {

constexpr int64 kFirstBlocks = 64;
constexpr int64 kMostBlocks = 8192;

/// A piece should take so long, in ms: what a cancellation loses, and little beside a commit.
constexpr long kShortPiece = 100;
constexpr long kLongPiece = 400;

/// How long a piece waits for the one before the last, in ms. If that takes longer, the rows may
/// wait in the spool: somebody else's view may hold the worker up.
constexpr int kPatience = 2000;

constexpr long kLookInterval = 200;

bool is_folding(Oid view)
{
    const view::ContinuousQuery *const query = view::find_query(view);
    return query != nullptr && query->active && !query->failed && !query->lost;
}

spool::WaitResult wait_for(FullTransactionId piece, Oid view, int timeout_ms)
{
    InvalidateCatalogSnapshot(); // it holds back the removal of old rows
    return spool::wait_for_fold(spool::WaitKind::kXid, piece, spool::workers_of_stream(view),
                                timeout_ms, true);
}

/// What a piece should write at most: the fold worker takes it in one tick then, as a larger
/// transaction is folded in pieces itself; and a small spool has room for several.
uint64 most_bytes()
{
    uint64 const half_tick = static_cast<uint64>(settings::fold_batch) * 1024 / 2;
    uint64 const limit = spool::spool_limit();
    return limit == 0 ? half_tick : std::min(half_tick, limit / 16);
}

bool has_room()
{
    uint64 const limit = spool::spool_limit();
    return limit == 0 || spool::measure_spool() < limit / 2;
}

} // namespace

Pace first_pace()
{
    Pace pace{};
    pace.blocks = kFirstBlocks;
    return pace;
}

void begin_piece(Pace *pace)
{
    pace->begun = GetCurrentTimestamp();
    pace->bytes = spool::written_bytes();
}

void end_piece(Pace *pace)
{
    long const ms = TimestampDifferenceMilliseconds(pace->begun, GetCurrentTimestamp());
    uint64 const bytes = spool::written_bytes() - pace->bytes;
    if (ms > kLongPiece || bytes > most_bytes())
        pace->blocks = std::max(int64{1}, pace->blocks / 2);
    else if (ms < kShortPiece && bytes < most_bytes() / 4)
        pace->blocks = std::min(kMostBlocks, pace->blocks * 2);
    pace->last_but_one = pace->last;
    pace->last = GetTopFullTransactionIdIfAny();
}

void wait_for_room(const Pace &pace, Oid view)
{
    if (FullTransactionIdIsValid(pace.last_but_one))
        (void) wait_for(pace.last_but_one, view, kPatience);
    while (!has_room() && is_folding(view)) {
        spool::wake_workers(MyDatabaseId, spool::kFirstWorker, false);
        InvalidateCatalogSnapshot();
        (void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, kLookInterval,
                         PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

void wait_until_folded(const Pace &pace, Oid view)
{
    if (!FullTransactionIdIsValid(pace.last))
        return;
    while (is_folding(view) && wait_for(pace.last, view, kPatience) == spool::WaitResult::kTimeout)
        ;
}

} // namespace pipeline::backfill
