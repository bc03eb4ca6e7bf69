#include "fold/assignment.hpp"

#include "fold/fold_state.hpp"
#include "pg/guard.hpp"
#include "pg/list.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "pg/stop_points.hpp"
#include "spool/rendezvous.hpp"

extern "C" {
#include "access/xact.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

using spool::kMaxWorkers;
using spool::WorkerSet;

/// A view and where it shall go.
struct Placement {
    Oid view;
    int from;
    int to;
    bool lost; ///< it has no progress
};

/// What the last look was based on.
struct Seen {
    int num_workers;
    uint64 roster;
    bool slots_short;
    bool others_called;
};

constinit Seen seen{};

constexpr WorkerSet bit_of(int number)
{
    return WorkerSet{1} << number;
}

constexpr bool has(WorkerSet workers, int number)
{
    return (workers >> number & 1) != 0;
}

/// The numbers that shall have views. Worker 0 is always among them. A database without any
/// worker comes before a further worker of this one.
WorkerSet wanted_workers(const spool::Roster &roster)
{
    if (seen.slots_short)
        return spool::kFirstWorker;
    WorkerSet const all = bit_of(settings::num_workers) - 1;
    return (all & ~roster.denied) | spool::kFirstWorker;
}

/// How many views each number shall have: as even as can be, and where some must have one more,
/// those that have most already. Views of unwanted numbers go.
void fill_quotas(const int *counts, int nviews, WorkerSet wanted, int *quotas)
{
    int numbers[kMaxWorkers];
    int count = 0;
    for (int number = 0; number < kMaxWorkers; number++) {
        quotas[number] = 0;
        if (has(wanted, number))
            numbers[count++] = number;
    }
    std::stable_sort(numbers, numbers + count, [&](int a, int b) { return counts[a] > counts[b]; });
    for (int i = 0; i < count; i++)
        quotas[numbers[i]] = nviews / count + (i < nviews % count ? 1 : 0);
}

/// Queries that read one another's output, on whatever way: they are folded in one tick if one
/// worker has them.
struct Tree {
    int home; ///< the number that has its oldest query
    int size;
};

struct Trees {
    int count;
    Tree *trees; ///< by the age of their oldest query
    int *of;     ///< of each query, the number of its tree
};

bool is_linked(const view::ContinuousQuery *one, const view::ContinuousQuery *other)
{
    return (OidIsValid(one->output) && other->reads_stream(one->output)) ||
           (OidIsValid(other->output) && one->reads_stream(other->output));
}

/// `queries` are the oldest first, and nobody reads the output of a younger one: each joins the
/// tree of what it reads.
Trees find_trees(const List *queries)
{
    int const nqueries = list_length(queries);
    auto const count = static_cast<Size>(nqueries) + 1;
    Trees trees{0, static_cast<Tree *>(palloc(sizeof(Tree) * count)),
                static_cast<int *>(palloc(sizeof(int) * count))};
    auto *const root = static_cast<int *>(palloc(sizeof(int) * count));
    auto const query = [&](int i) {
        return static_cast<const view::ContinuousQuery *>(list_nth(queries, i));
    };
    for (int i = 0; i < nqueries; i++) {
        root[i] = i;
        for (int j = 0; j < i; j++) {
            if (root[j] == root[i] || !is_linked(query(i), query(j)))
                continue;
            int const older = std::min(root[i], root[j]);
            int const younger = std::max(root[i], root[j]);
            for (int k = 0; k <= i; k++)
                root[k] = root[k] == younger ? older : root[k];
        }
    }
    for (int i = 0; i < nqueries; i++) {
        if (root[i] == i) {
            trees.of[i] = trees.count;
            trees.trees[trees.count++] = {query(i)->worker, 0};
        }
        trees.of[i] = trees.of[root[i]];
        trees.trees[trees.of[i]].size++;
    }
    return trees;
}

/// Where a tree goes that its home has no room for: the first number that has some, else the one
/// with the fewest, if that is fewer than `most`; -1 = nowhere.
int find_room(const int *counts, const int *quotas, WorkerSet wanted, int size, int most)
{
    int fewest = -1;
    for (int number = 0; number < kMaxWorkers; number++) {
        if (!has(wanted, number))
            continue;
        if (counts[number] + size <= quotas[number])
            return number;
        if (counts[number] < most && (fewest < 0 || counts[number] < counts[fewest]))
            fewest = number;
    }
    return fewest;
}

/// The same for everybody who sees the same catalog and the same workers: each then hands over
/// its own views only. As few moves as possible; the youngest trees go. A move leads to where less
/// is than where it came from, so none is taken back.
int make_plan(const List *queries, WorkerSet wanted, Placement *plan)
{
    int counts[kMaxWorkers]{};
    int quotas[kMaxWorkers];
    int kept[kMaxWorkers]{};
    Trees const trees = find_trees(queries);
    for (int t = 0; t < trees.count; t++)
        counts[trees.trees[t].home] += trees.trees[t].size;
    fill_quotas(counts, list_length(queries), wanted, quotas);
    for (int t = 0; t < trees.count; t++) {
        Tree &tree = trees.trees[t];
        bool const fits =
            has(wanted, tree.home) &&
            (kept[tree.home] == 0 || kept[tree.home] + tree.size <= quotas[tree.home]);
        int const most = has(wanted, tree.home) ? kept[tree.home] : INT_MAX;
        int const to = fits ? -1 : find_room(counts, quotas, wanted, tree.size, most);
        if (to >= 0) {
            counts[to] += tree.size;
            tree.home = to;
        } else {
            kept[tree.home] += tree.size;
        }
    }
    int moves = 0;
    int i = 0;
    for (auto *query : pg::each<view::ContinuousQuery>(queries)) {
        int const home = trees.trees[trees.of[i++]].home;
        if (home != query->worker)
            plan[moves++] = {query->view, query->worker, home, query->lost};
    }
    return moves;
}

/// One look: what is in the catalog, and what was done about it.
struct Look {
    spool::Roster roster;
    WorkerSet wanted;
    const List *queries;
    const List *stored;
    Placement *done;
    int ndone;
    WorkerSet wake;  ///< to be woken or started
    WorkerSet taken; ///< absent workers whose locks worker 0 holds
    bool again;
    bool leave;
    bool changed;
};

const spool::StoredProgress *find_row(const List *stored, Oid consumer)
{
    for (auto *row : pg::each<const spool::StoredProgress>(stored))
        if (row->consumer == consumer)
            return row;
    return nullptr;
}

/// The stored progress of the consumer that the view shares holds for it: whatever was in the
/// spool for its stream was folded in a tick that stored its progress.
void move_view(Look *look, const Placement &move)
{
    if (!view::set_worker(move.view, move.to)) {
        look->again = true; // somebody drops or pauses it
        return;
    }
    if (!move.lost && find_row(look->stored, move.view) == nullptr) {
        const spool::StoredProgress *const shared = find_row(look->stored, shared_id(move.from));
        if (shared == nullptr)
            ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                            errmsg("pipelinedb.progress has no row for view %u", move.view)));
        spool::add_progress(move.view, shared->progress);
    }
    look->done[look->ndone++] = move;
    look->changed = true;
    look->wake |= bit_of(move.to);
}

/// A surplus view goes only where somebody is; one that must go, anywhere.
void hand_over(Look *look, Placement move)
{
    if (!has(look->roster.running, move.to)) {
        look->wake |= bit_of(move.to);
        if (has(look->wanted, move.from))
            return;
        move.to = 0;
    }
    move_view(look, move);
}

bool has_views(const Look *look, int number)
{
    int count = 0;
    for (auto *query : pg::each<view::ContinuousQuery>(look->queries))
        count += query->worker == number;
    for (int i = 0; i < look->ndone; i++)
        count -= look->done[i].from == number;
    return count > 0;
}

/// A shared consumer without views; the worker makes another when it gets one.
void drop_shared_row(Look *look, int number)
{
    if (find_row(look->stored, shared_id(number)) != nullptr && !has_views(look, number)) {
        spool::delete_progress(shared_id(number));
        look->changed = true;
    }
}

/// For worker 0: those that shall have no views but have some. Their locks keep them from
/// folding until this transaction ends.
void lock_absent_workers(Look *look)
{
    for (int number = 1; number < kMaxWorkers; number++) {
        if (has(look->wanted | look->roster.running, number) ||
            (!has_views(look, number) && find_row(look->stored, shared_id(number)) == nullptr))
            continue;
        if (spool::lock_absent_worker(number))
            look->taken |= bit_of(number);
        else
            look->again = true; // it comes, or goes
    }
}

void carry_out(Look *look, const Placement *plan, int moves)
{
    int const me = state().number;
    for (int i = 0; i < moves; i++) {
        const Placement &move = plan[i];
        if (move.from == me || has(look->taken, move.from))
            hand_over(look, move);
    }
    for (int number = 1; number < kMaxWorkers; number++)
        if (number == me || has(look->taken, number))
            drop_shared_row(look, number);
}

/// Rows of a former life of the server wait for workers that nobody has asked for yet.
void call_others(Look *look)
{
    for (auto *query : pg::each<view::ContinuousQuery>(look->queries))
        if (query->worker != 0 && has(look->wanted, query->worker))
            look->wake |= bit_of(query->worker);
    seen.others_called = true;
}

void read_catalog(Look *look)
{
    Snapshot const snapshot = RegisterSnapshot(GetLatestSnapshot());
    look->stored = spool::list_progress(snapshot);
    look->queries = view::list_queries(snapshot);
    UnregisterSnapshot(snapshot);
}

void run_transaction(Look *look)
{
    MemoryContext const context = CurrentMemoryContext;
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    MemoryContextSwitchTo(context);
    // To be there when a long progress is deleted that is out of line (toast_internals.c,
    // init_toast_snapshot).
    PushActiveSnapshot(GetTransactionSnapshot());
    if (view::extension_installed() && spool::hold_worker_lock()) {
        read_catalog(look);
        if (state().number == 0)
            lock_absent_workers(look);
        if (look->taken != 0)
            read_catalog(look); // they may have folded until we had their locks
        Size const room = sizeof(Placement) * static_cast<Size>(list_length(look->queries) + 1);
        auto *const plan = static_cast<Placement *>(palloc(room));
        look->done = static_cast<Placement *>(palloc(room));
        carry_out(look, plan, make_plan(look->queries, look->wanted, plan));
        look->leave = !has(look->wanted, state().number) && !has_views(look, state().number);
        if (state().number == 0 && !seen.others_called)
            call_others(look);
    }
    if (look->ndone > 0)
        pg::stop_point("views_handed_over");
    PopActiveSnapshot();
    CommitTransactionCommand();
    MemoryContextSwitchTo(context);
}

/// After the commit: first the epoch, then those who wait, then the new workers (rendezvous.hpp).
void announce(const Look *look)
{
    if (look->changed)
        state().valid = false;
    if (look->ndone > 0) {
        pg::stop_point("views_handed_over_committed");
        spool::assignment_changed();
    }
    for (int from = 0; from < kMaxWorkers; from++) {
        WorkerSet to = 0;
        for (int i = 0; i < look->ndone; i++)
            to |= look->done[i].from == from ? bit_of(look->done[i].to) : 0;
        if (to != 0)
            spool::forward_requests(from, to, has(look->taken, from));
    }
    if (look->wake != 0 || look->ndone > 0)
        spool::wake_workers(MyDatabaseId, look->wake & ~bit_of(state().number), look->ndone > 0);
}

PlacementOutcome look()
{
    Look look{};
    look.roster = spool::roster();
    look.wanted = wanted_workers(look.roster);
    pg::Failure const failure = pg::top_level([&] { run_transaction(&look); });
    if (failure.failed) {
        forget_state();
        ereport(LOG, (errcode(failure.sqlstate),
                      errmsg("fold worker could not hand views over: %s", failure.message)));
        return {false, false, true};
    }
    announce(&look);
    return {look.ndone > 0, look.leave, look.again};
}

} // namespace

bool placement_is_due()
{
    return state().placement_due || seen.num_workers != settings::num_workers ||
           seen.roster != spool::roster_epoch() || seen.slots_short != spool::slots_are_short();
}

PlacementOutcome place_views()
{
    state().placement_due = false;
    seen.num_workers = settings::num_workers;
    seen.roster = spool::roster_epoch();
    seen.slots_short = spool::slots_are_short();
    MemoryContext const context =
        AllocSetContextCreate(TopMemoryContext, "placing views", ALLOCSET_DEFAULT_SIZES);
    PlacementOutcome const outcome = pg::in_context(context, [] { return look(); });
    MemoryContextDelete(context);
    if (outcome.again)
        state().placement_due = true;
    return outcome;
}

} // namespace pipeline::fold
