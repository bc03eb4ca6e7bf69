#include "fold/collect.hpp"

#include "fold/survey.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/memory.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "spool/xid_sets.hpp"

#include <algorithm>

namespace pipeline::fold {
namespace {

/// The changes of views that others read are kept in memory until they are handed on: for a row
/// that comes, three rows of the view in the worst case.
bool keeps_changes(const Collection *collection)
{
    for (auto *view : pg::each<FoldedView>(state().views))
        for (int i = 0; i < collection->nconsumers; i++)
            if (view->consumer == collection->consumers[i] && view->readers != NIL)
                return true;
    return false;
}

/// A consumer with bad rows may need smaller ticks (bad_rows.hpp).
Size budget(const Collection *collection)
{
    Size const whole = static_cast<Size>(settings::fold_batch) * 1024;
    Size const batch = keeps_changes(collection) ? whole / 8 : whole;
    Size const piece = collection->consumers[0]->piece;
    return piece > 0 ? std::min(piece, batch) : batch;
}

/// Later than any transaction: rows that a tick emits count for every query that it folds.
constexpr uint64 kThisTick = UINT64_MAX;

TickChunk *new_chunk(Collection *collection)
{
    if (collection->nchunks == collection->capacity) {
        collection->capacity = std::max(64, collection->capacity * 2);
        Size const bytes = sizeof(TickChunk) * static_cast<Size>(collection->capacity);
        collection->chunks = static_cast<TickChunk *>(
            collection->chunks == nullptr ? palloc(bytes)
                                          : repalloc_huge(collection->chunks, bytes));
    }
    return &collection->chunks[collection->nchunks++];
}

void append_chunk(Collection *collection, const spool::StoredChunk &stored, uint32 consumers)
{
    void *bytes;
    Size size;
    spool::copy_chunk_bytes(stored, &bytes, &size);
    *new_chunk(collection) = {stored.xid,   stored.seq, stored.stream, stored.origin, consumers,
                              stored.nrows, bytes,      size,          nullptr};
    collection->weight += weight_of(stored);
}

/// The scan for transactions that are folded whole.
struct WholeScan {
    Collection *collection;
    Size limit;
    uint64 xid; ///< the last one seen, and who lacks it
    uint32 consumers;
    Oid stream; ///< the last one seen, and who reads it
    uint32 readers;
    bool overflow;
};

/// Which consumers lack `xid` and shall have it after this tick?
uint32 consumers_of(const Collection *collection, uint64 xid)
{
    uint32 mask = 0;
    for (int i = 0; i < collection->nconsumers; i++)
        if (collection->folded[i].contains(xid) &&
            !collection->consumers[i]->progress.folded.contains(xid))
            mask |= 1u << i;
    return mask;
}

uint32 readers_of(const Collection *collection, Oid stream)
{
    uint32 mask = 0;
    for (int i = 0; i < collection->nconsumers; i++)
        if (is_wanted(collection->consumers[i], stream))
            mask |= 1u << i;
    return mask;
}

spool::Visit visit_whole(const spool::StoredChunk &stored, void *arg)
{
    auto *scan = static_cast<WholeScan *>(arg);
    Collection *const collection = scan->collection;
    if (stored.xid != scan->xid) {
        scan->xid = stored.xid;
        scan->consumers = consumers_of(collection, stored.xid);
    }
    if (scan->consumers == 0)
        return spool::Visit::kNext;
    if (stored.stream != scan->stream) {
        scan->stream = stored.stream;
        scan->readers = readers_of(collection, stored.stream);
    }
    uint32 const mask = scan->consumers & scan->readers;
    if (mask == 0)
        return spool::Visit::kNext;
    if (collection->nchunks > 0 && collection->weight + weight_of(stored) > scan->limit) {
        scan->overflow = true;
        return spool::Visit::kStop;
    }
    append_chunk(collection, stored, mask);
    return spool::Visit::kNext;
}

/// Collects whole transactions between two positions; false on overflow.
bool collect_whole(Collection *collection, Snapshot snapshot, spool::Position from,
                   spool::Position to)
{
    WholeScan scan{collection, budget(collection), spool::kNoXid, 0, InvalidOid, 0, false};
    spool::scan_spool(snapshot, from, to, visit_whole, &scan);
    return !scan.overflow;
}

void drop_chunks(Collection *collection)
{
    collection->nchunks = 0;
    collection->weight = 0;
}

/// The scan for the next piece of one big transaction. A piece ends at a page border: within
/// a page, line pointers that a VACUUM freed may put chunks out of order; pages of one
/// transaction are in order (spool/writer.hpp).
struct PieceScan {
    Collection *collection;
    spool::BigTransaction *big;
    int64 last_seq;
    Size limit;
    spool::Position resume;
    bool full;
};

spool::Visit visit_piece(const spool::StoredChunk &stored, void *arg)
{
    auto *scan = static_cast<PieceScan *>(arg);
    if (stored.xid != scan->big->xid || stored.seq <= scan->big->seq)
        return spool::Visit::kNext;
    bool const same_page = stored.position.ordinal == scan->resume.ordinal &&
                           stored.position.block == scan->resume.block;
    if (scan->full && !same_page) {
        scan->resume = stored.position;
        return spool::Visit::kStop;
    }
    scan->resume = stored.position;
    scan->last_seq = std::max(scan->last_seq, stored.seq);
    if (is_wanted(scan->collection->consumers[0], stored.stream))
        append_chunk(scan->collection, stored, 1);
    scan->full = scan->collection->weight >= scan->limit;
    return spool::Visit::kNext;
}

spool::Position resume_of(const Collection *collection, uint64 xid)
{
    const Consumer *const consumer = collection->consumers[0];
    for (int i = 0; i < collection->nhints; i++)
        if (collection->hints[i].xid == xid)
            return collection->hints[i].resume;
    for (int i = 0; i < consumer->nhints; i++)
        if (consumer->hints[i].xid == xid)
            return consumer->hints[i].resume;
    return spool::position_of_xid(xid);
}

/// Pieces of the big transactions, as far as the budget goes; finished ones join the set.
void collect_pieces(Collection *collection, Snapshot snapshot)
{
    Size const limit = std::max(budget(collection), collection->weight + budget(collection) / 4);
    BigHint hints[kMaxBig];
    int kept = 0;
    for (int i = 0; i < collection->nbig; i++) {
        spool::BigTransaction big = collection->big[i];
        spool::Position const from = resume_of(collection, big.xid);
        PieceScan scan{collection, &big, big.seq, limit, from, false};
        bool finished = false;
        if (collection->weight < limit)
            finished = spool::scan_spool(snapshot, from, spool::kSpoolEnd, visit_piece, &scan);
        if (finished) {
            collection->folded[0] = spool::with(collection->folded[0], big.xid);
            continue;
        }
        hints[kept] = {big.xid, scan.resume};
        collection->big[kept++] = {big.xid, scan.last_seq};
    }
    std::copy_n(hints, kept, collection->hints);
    collection->nhints = kept;
    collection->nbig = kept;
    collection->left_behind |= kept > 0;
}

/// Big transactions are members of no set until they are finished.
spool::XidSet hide_big(const Collection *collection, const spool::XidSet &set)
{
    uint64 xids[kMaxBig];
    for (int i = 0; i < collection->nbig; i++)
        xids[i] = collection->big[i].xid;
    return spool::without(set, xids, collection->nbig);
}

spool::Position scan_start(const Collection *collection)
{
    uint64 oldest = spool::kNoXid;
    for (int i = 0; i < collection->nconsumers; i++)
        oldest = std::min(oldest, spool::first_new(collection->consumers[i]->progress.folded,
                                                   collection->folded[i]));
    return oldest == spool::kNoXid ? spool::kSpoolEnd : spool::position_of_xid(oldest);
}

/// The next transactions of the first consumer's survey.
void collect_surveyed(Collection *collection, Snapshot snapshot)
{
    Consumer *const consumer = collection->consumers[0];
    SurveyedGroup const group =
        next_group(consumer, budget(collection), kMaxBig - collection->nbig);
    for (int i = 0; i < group.nbig; i++) {
        collection->hints[collection->nhints++] = {group.big[i].xid, group.big[i].first};
        collection->big[collection->nbig++] = {group.big[i].xid, -1};
    }
    collection->folded[0] =
        hide_big(collection,
                 spool::advance(consumer->progress.folded, consumer->survey->target, group.limit));
    if (!collect_whole(collection, snapshot, group.from, group.to))
        elog(ERROR, "a surveyed group of transactions is larger than it was");
    collection->left_behind |= !group.last;
}

} // namespace

void append_emitted(Collection *collection, Oid output, uint32 consumers, const EmittedChunk &chunk)
{
    pg::in_context(collection->context, [&] {
        *new_chunk(collection) = {kThisTick,   0,           output,     InvalidOid, consumers,
                                  chunk.nrows, chunk.bytes, chunk.size, nullptr};
    });
}

/// Rows of constant columns take no bytes in a chunk but as much time as others.
Size weight_of(const spool::StoredChunk &stored)
{
    Size const rows = stored.nrows > 0 ? static_cast<Size>(stored.nrows) : 0;
    return std::max(spool::chunk_size(stored), rows * 16);
}

const spool::Chunk *parsed_chunk(TickChunk *chunk, MemoryContext context)
{
    if (chunk->parsed != nullptr)
        return chunk->parsed;
    void *const place = MemoryContextAlloc(context, sizeof(spool::Chunk));
    chunk->parsed = pg::enter([&] {
        pg::ContextResource memory(context);
        return new (place) spool::Chunk(spool::Chunk::parse(
            {static_cast<const std::byte *>(chunk->bytes), chunk->size}, &memory));
    });
    return chunk->parsed;
}

bool collect(Collection *collection, Snapshot snapshot, const spool::XidSet &live)
{
    Consumer *const consumer = collection->consumers[0];

    collection->context = CurrentMemoryContext;
    collection->nbig = consumer->progress.nbig;
    collection->big =
        static_cast<spool::BigTransaction *>(palloc(sizeof(spool::BigTransaction) * (kMaxBig + 1)));
    std::copy_n(consumer->progress.big, collection->nbig, collection->big);
    for (int i = 0; i < collection->nconsumers; i++) {
        const spool::XidSet &from = collection->consumers[i]->progress.folded;
        collection->folded[i] = spool::advance(from, live, spool::kNoXid);
    }
    collection->folded[0] = hide_big(collection, collection->folded[0]);

    if (consumer->survey != nullptr && is_finished(consumer))
        drop_survey(consumer);
    if (consumer->survey == nullptr &&
        !collect_whole(collection, snapshot, scan_start(collection), spool::kSpoolEnd)) {
        drop_chunks(collection);
        if (collection->nconsumers > 1)
            return false;
        make_survey(consumer, collection->folded[0], scan_start(collection), snapshot);
    }
    if (consumer->survey != nullptr)
        collect_surveyed(collection, snapshot);
    collect_pieces(collection, snapshot);
    return true;
}

} // namespace pipeline::fold
