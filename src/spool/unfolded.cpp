#include "spool/unfolded.hpp"

#include "pg/list.hpp"
#include "spool/progress_store.hpp"
#include "spool/reader.hpp"

extern "C" {
#include "utils/snapmgr.h"
}

namespace pipeline::spool {
namespace {

struct Search {
    const view::ContinuousQuery *query;
    const XidSet *before;
    const Progress *progress; ///< nullptr: the worker has never begun
    Unfolded found;
};

const BigTransaction *find_big(const Progress *progress, uint64 xid)
{
    for (int i = 0; i < progress->nbig; i++)
        if (progress->big[i].xid == xid)
            return &progress->big[i];
    return nullptr;
}

Visit look_at(const StoredChunk &chunk, void *arg)
{
    auto &search = *static_cast<Search *>(arg);
    const view::ContinuousQuery &query = *search.query;
    if (!query.reads(chunk.stream))
        return Visit::kNext;
    if (search.progress != nullptr) {
        if (search.progress->folded.contains(chunk.xid))
            return Visit::kNext;
        const BigTransaction *const big = find_big(search.progress, chunk.xid);
        search.found.in_pieces |= big != nullptr && big->seq >= 0;
        if (big != nullptr && chunk.seq <= big->seq)
            return Visit::kNext;
    }
    search.found.rows |= search.before->contains(chunk.xid);
    search.found.groups |= chunk.stream == query.definition;
    return Visit::kNext;
}

/// A view that has no row of its own goes with the others of its worker.
const Progress *progress_of(const view::ContinuousQuery &query, Snapshot snapshot)
{
    const Progress *shared = nullptr;
    for (auto *row : pg::each<StoredProgress>(list_progress(snapshot))) {
        if (row->consumer == query.view)
            return &row->progress;
        if (row->consumer == static_cast<Oid>(query.worker))
            shared = &row->progress;
    }
    return shared;
}

} // namespace

Unfolded unfolded_by(const view::ContinuousQuery &query, const XidSet &before)
{
    Snapshot const snapshot = RegisterSnapshot(GetLatestSnapshot());
    Search search{&query, &before, progress_of(query, snapshot), {}};
    note_rotation(); // the list of generations is kept fresh in fold workers only
    (void) scan_spool(snapshot, {}, kSpoolEnd, look_at, &search);
    UnregisterSnapshot(snapshot);
    return search.found;
}

} // namespace pipeline::spool
