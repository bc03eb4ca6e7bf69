#include "fold/answers.hpp"

#include "fold/fold_state.hpp"
#include "fold/tick.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "spool/rendezvous.hpp"
#include "spool/writer.hpp"
#include "spool/xid_sets.hpp"

#include <algorithm>

namespace pipeline::fold {
namespace {

/// A request whose own rows are folded, while what came of them may be in the spool.
struct Pending {
    uint64 request;
    spool::Folded answer; ///< for what it asked about, and for the horizons before
    uint64 horizon;       ///< what has a smaller xid is to be folded, too
    int rounds;           ///< so often the horizon may move
};

struct Pass {
    bool delayed; ///< somebody is not answered because of what is in the spool
    List *pending;
};

constinit List *all_pending = NIL;

bool has_folded(const Consumer *consumer, spool::WaitKind kind, uint64 xid)
{
    const spool::XidSet &folded = consumer->progress.folded;
    return kind == spool::WaitKind::kXid ? folded.contains(xid)
                                         : spool::first_new(folded, latest_set()) >= xid;
}

/// Views that are paused or failed do not count. Nobody waits for a view that has been set aside
/// for longer than a passing lock: it may take hours.
spool::Folded are_folded(spool::WaitKind kind, uint64 xid)
{
    spool::Folded answer = spool::Folded::kYes;
    for (auto *consumer : pg::each<Consumer>(state().consumers)) {
        bool const counts = consumer->is_shared() || has_running_view(consumer);
        if (!counts || has_folded(consumer, kind, xid))
            continue;
        if (!is_stuck(consumer))
            return spool::Folded::kNo;
        answer = spool::Folded::kPartly;
    }
    return answer;
}

/// The last snapshot must show everything before the horizon.
spool::Folded are_folded_until(uint64 horizon)
{
    return latest_set().xmax >= horizon ? are_folded(spool::WaitKind::kFlush, horizon)
                                        : spool::Folded::kNo;
}

/// Of a request and what came of it, one may be there only partly.
spool::Folded both(spool::Folded one, spool::Folded other)
{
    return std::min(one, other);
}

/// No chain is longer. Without a bound, nobody would be answered while others write and a reader is
/// folded alone.
int longest_way()
{
    int length = 1;
    for (auto *view : pg::each<FoldedView>(state().views))
        length += OidIsValid(view->query.output) ? 1 : 0;
    return length;
}

const Pending *find_pending(uint64 request)
{
    for (auto *pending : pg::each<Pending>(all_pending))
        if (pending->request == request)
            return pending;
    return nullptr;
}

void keep(Pass *pass, const Pending &pending)
{
    pg::in_context(state().context, [&] {
        auto *copy = static_cast<Pending *>(palloc(sizeof(Pending)));
        *copy = pending;
        pass->pending = lappend(pass->pending, copy);
    });
}

/// spool::FoldedTest
spool::Folded test_request(uint64 request, spool::WaitKind kind, FullTransactionId xid, void *arg)
{
    auto *const pass = static_cast<Pass *>(arg);
    const Pending *const former = find_pending(request);
    spool::Folded const answer = former != nullptr
                                     ? both(former->answer, are_folded_until(former->horizon))
                                     : are_folded(kind, U64FromFullTransactionId(xid));
    if (answer == spool::Folded::kNo) {
        if (former != nullptr)
            keep(pass, *former);
        return answer;
    }
    uint64 const known = former != nullptr ? former->horizon : 0;
    int const rounds = former != nullptr ? former->rounds : longest_way();
    // What this worker wrote to the spool last, whatever for.
    uint64 const horizon = spool::last_written_xid() + 1;
    if (horizon == 1 || horizon <= known || rounds == 0)
        return answer;
    // The horizon may be older than what was asked about: it says nothing about that.
    if (spool::Folded const all = both(answer, are_folded_until(horizon));
        all != spool::Folded::kNo)
        return all;
    pass->delayed = true;
    keep(pass, {request, answer, horizon, rounds - 1});
    return spool::Folded::kNo;
}

} // namespace

bool answer_requests(bool sure)
{
    if (!sure)
        return false;
    if (state().number == 0)
        spool::extend_requests(state().other_workers, state().other_epoch);
    Pass pass{false, NIL};
    spool::answer_waiters(test_request, &pass);
    list_free_deep(all_pending);
    all_pending = pass.pending;
    return pass.delayed;
}

} // namespace pipeline::fold
