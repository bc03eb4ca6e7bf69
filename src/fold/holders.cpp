#include "fold/holders.hpp"

#include "pg/list.hpp"
#include "spool/progress_store.hpp"
#include "spool/xid_sets.hpp"

namespace pipeline::fold {
namespace {

Holder *find_holder(const List *holders, Oid consumer)
{
    for (auto *holder : pg::each<Holder>(holders))
        if (holder->stored->consumer == consumer)
            return holder;
    return nullptr;
}

Holder *holder_of(const List *holders, const view::ContinuousQuery *query)
{
    Holder *const own = find_holder(holders, query->view);
    Holder *const found = own != nullptr ? own : find_holder(holders, shared_id(query->worker));
    if (found == nullptr)
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                        errmsg("pipelinedb.progress has no row for view %u", query->view)));
    return found;
}

FoldedView *make_view(const view::ContinuousQuery *query, const List *truncations,
                      const List *earlier)
{
    auto *view = static_cast<FoldedView *>(palloc0(sizeof(FoldedView)));
    view->query = *query;
    for (auto *truncation : pg::each<view::Truncation>(truncations))
        if (truncation->view == query->view)
            view->truncation = truncation;
    view->earlier = earlier_writers_of(query->view, earlier);
    return view;
}

} // namespace

List *list_holders(Snapshot snapshot)
{
    List *const stored = spool::list_progress(snapshot);
    List *const truncations = view::list_truncations(snapshot);
    const List *const earlier = view::list_earlier_writers(snapshot);
    List *all = NIL;
    for (auto *row : pg::each<spool::StoredProgress>(stored)) {
        auto *holder = static_cast<Holder *>(palloc0(sizeof(Holder)));
        holder->stored = row;
        holder->progress = known_progress(row);
        all = lappend(all, holder);
    }
    for (auto *query : pg::each<view::ContinuousQuery>(view::list_queries(snapshot))) {
        if (query->lost)
            continue;
        Holder *const holder = holder_of(all, query);
        holder->views = lappend(holder->views, make_view(query, truncations, earlier));
    }
    List *holders = NIL;
    for (auto *holder : pg::each<Holder>(all))
        if (holder->views != NIL)
            holders = lappend(holders, holder);
    return holders;
}

bool lacks(const Holder *holder, const spool::StoredChunk &chunk)
{
    const spool::Progress &progress = holder->progress;
    if (progress.folded.contains(chunk.xid))
        return false;
    for (int i = 0; i < progress.nbig; i++)
        if (progress.big[i].xid == chunk.xid && chunk.seq <= progress.big[i].seq)
            return false;
    for (auto *view : pg::each<FoldedView>(holder->views))
        if (view->reads(chunk.stream) && view->counts(chunk.stream, chunk.xid, chunk.seq))
            return true;
    return false;
}

} // namespace pipeline::fold
