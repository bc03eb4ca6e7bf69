// What a fold worker knows between two ticks: consumers, their views, their progress.
//
// Owns: the process-wide FoldState and the memory behind it; all of it can be thrown away and
// read again from the catalog. May call: spool, view, partial.
// Invariant: a Consumer's progress in memory equals the stored one, or is ahead of it by
// transactions that wrote no chunk for its views.
#pragma once

#include "pg/postgres.hpp"

#include "fold/expiry_rule.hpp"
#include "fold/first_row.hpp"
#include "fold/group_combine.hpp"
#include "partial/general.hpp"
#include "partial/vector_plan.hpp"
#include "spool/progress.hpp"
#include "spool/progress_store.hpp"
#include "spool/reader.hpp"
#include "view/catalog.hpp"
#include "view/earlier_writers.hpp"
#include "view/truncation.hpp"

#include <algorithm>

namespace pipeline::fold {

struct Consumer;
struct Emission;

/// What is needed to fold one view; built on first use, dropped when its plan is stale.
struct ViewMachine {
    MemoryContext context;
    partial::GeneralPlan *plan;
    partial::VectorPlan *vector_plan; ///< nullptr if the general one has to run
    MemoryContext combining;          ///< of what follows; nullptr = to be made anew
    CombineEnvironment environment;
    Oid owner;
    int ncolumns;           ///< of the definition, and so of the matrel
    int nkeys;              ///< they come first
    bool append;            ///< one stored row per row of the stream, no keys
    FirstRowOrder *first;   ///< one stored row per key: this says which; nullptr for all others
    CombineColumn *columns; ///< by column number; unused for keys

    // Of one turn of the view (matrel_writer.cpp).
    ExpiryRule expiry;
    TimestampTz expiry_cutoff;
    ExpiryKey first_written; ///< of the rows that were written; kNoKey = none that expires

    void note_written(const TupleTableSlot *row)
    {
        if (expiry.column != 0)
            first_written = std::min(first_written, key_in(expiry, row));
    }
};

struct FoldedView {
    view::ContinuousQuery query;
    bool reads_output;  ///< of another query
    List *readers;      ///< OIDs of the views that read its output, of this worker or not
    Emission *emission; ///< what it has changed in this tick; nullptr: nothing, or nobody reads it
    bool windowed;      ///< it has a window, and an output stream
    TimestampTz window_due; ///< when the window moves next; 0 = not before rows come
    bool folded;            ///< its turn in this tick went well
    List *handed;           ///< OIDs of the readers that got that for their turn in the same tick
    view::Truncation *truncation; ///< nullptr: it was never truncated
    spool::Transactions earlier;  ///< that had aggregated at its start (view/earlier_writers.hpp)
    Consumer *consumer;
    ViewMachine *machine; ///< may be nullptr
    bool endless;         ///< it did not end when it was canceled
    List *missing;        ///< of view::PartitionRange *: partitions that its turn has lacked ...
    MemoryContext missing_context; ///< ... of the tick
    bool troubled;                 ///< it failed or was blocked: folded alone until that goes well

    // Rejected rows that the log does not say yet, and what it will say. The line may come
    // outside of transactions.
    char name[NAMEDATALEN];
    int64 unreported;
    TimestampTz reported_at;       ///< the last line
    TimestampTz retry_reported_at; ///< the last one that says that the view is retried ...
    int retry_sqlstate;            ///< ... and why
    int last_sqlstate;
    char last_error[256];

    bool runs() const { return query.active && !query.failed; }

    /// Do the rows of a chunk count, as far as the transactions that created and truncated the
    /// view, or wrote beside its creation, go? Of the first two, what was written later; of the
    /// others nothing, but what was meant for this view, which they could name only later.
    bool counts(Oid source, uint64 xid, int64 seq) const
    {
        return (xid != U64FromFullTransactionId(query.created_xid) || seq > query.created_seq) &&
               (truncation == nullptr || !truncation->covers(xid, seq)) &&
               (source == query.view || !is_earlier(xid));
    }

    bool is_earlier(uint64 xid) const
    {
        for (int i = 0; i < earlier.count; i++)
            if (earlier.xids[i] == xid)
                return true;
        return false;
    }

    bool reads(Oid source) const { return query.reads(source); }
};

/// Transactions of a backlog that is too large for one tick, by ascending xid.
struct SurveyedTransaction {
    uint64 xid; // first: the hash key
    Size bytes;
    spool::Position first;
    spool::Position last;
};

struct Survey {
    MemoryContext context; ///< of everything here
    spool::XidSet target;
    SurveyedTransaction *transactions;
    int count;
    int next;
    uint64 limit; ///< xids from here on were not looked at (kNoXid: all were)
};

/// Where the next piece of a big transaction begins; known to this process only.
struct BigHint {
    uint64 xid;
    spool::Position resume;
};

constexpr int kMaxBig = 64;

/// The id of the consumer that the views of a fold worker share.
constexpr Oid shared_id(int worker)
{
    return static_cast<Oid>(worker);
}

/// A group of views with one progress: shared by all of this worker's views that keep up, else
/// of one view.
struct Consumer {
    Oid id;
    TransactionId version; ///< of the stored row
    MemoryContext context; ///< of `progress`
    spool::Progress progress;
    Survey *survey; ///< nullptr unless a backlog is being worked off
    BigHint hints[kMaxBig];
    int nhints;
    bool must_catch_up;      ///< too far behind to be folded together with the shared consumer
    TimestampTz retry_at;    ///< 0 = now
    int strikes;             ///< failures in a row of a kind that is forgiven only so often
    int retry_delay;         ///< ms, of the last failure
    Size piece;              ///< bytes that a tick takes at most; 0 = settings::fold_batch
    TimestampTz alone_until; ///< it had bad rows a moment ago
    int attempt;             ///< after a crash: the number of the last one (attempts.hpp)
    bool marked;             ///< it is under way, and in pipelinedb.attempt
    bool survived;           ///< one has ended well

    bool is_shared() const { return id < FirstNormalObjectId; }
};

struct FoldState {
    MemoryContext context; ///< of the lists; lives as long as the worker
    int number;            ///< of this fold worker: only its views are listed
    List *consumers;       ///< Consumer *, the shared one first, if there is one
    List *views;           ///< FoldedView *
    List *expiring;        ///< what expiry.cpp knows of the tables whose rows expire
    uint32 other_workers;  ///< that have running views, bit n for number n ...
    uint64 other_epoch;    ///< ... as of this spool::assignment_epoch()
    Oid blamed;            ///< the view that ended the former worker
    FoldedView *at_work;   ///< whose turn it is: it gets the blame for an ERROR
    uint64 layout_epoch;   ///< of the positions in surveys and hints
    bool valid;            ///< false: read the catalog before the next tick
    bool after_crash;      ///< attempts to fold are marked (attempts.hpp)
    bool one_by_one;       ///< ... and this is the third in a row
    bool placement_due;    ///< who folds what has to be looked at (assignment.hpp)
};

FoldState &state();

/// What the view does not count, of `rows` (EarlierWriter *); in CurrentMemoryContext.
spool::Transactions earlier_writers_of(Oid view, const List *rows);

/// Registers the relcache callback and makes the contexts. Once per worker.
void init_state();

/// Surveys and hints whose positions may be wrong (spool::layout_epoch) are dropped.
void drop_stale_positions();

/// Brings the lists up to date with the catalog, in the current transaction and after its
/// snapshot was taken: a view whose CREATE committed before a row did is then listed.
/// False if the extension is gone.
bool refresh_state();

/// Forget everything that an aborted transaction may have invented.
void forget_state();

/// Raises an ERROR if there is none.
Consumer *shared_consumer();

/// Gives a worker that has views its shared consumer, which begins at `live`: its views rejoin
/// it from their own ones. Not for worker 0, whose is always there.
void add_shared_consumer(const spool::XidSet &live);

/// What is known of a stored row: this worker's own consumers can be ahead of it.
const spool::Progress &known_progress(const spool::StoredProgress *stored);

/// Replaces the consumer's progress in memory.
void set_progress(Consumer *consumer, const spool::Progress &progress);

void drop_survey(Consumer *consumer);

/// The view whose own consumer this is; nullptr for the shared one.
FoldedView *view_of(const Consumer *consumer);

/// True if a running view of the consumer reads `source`, a stream or the view itself.
bool is_wanted(const Consumer *consumer, Oid source);
bool has_running_view(const Consumer *consumer);

/// Something leaves the window of a view whose output is read: it has a turn without rows, too.
bool is_window_due(const FoldedView *view);
bool has_window_due(const Consumer *consumer);

/// In how many ms that is next, -1 = not before rows come.
long next_window_move();

/// Set aside for longer than a passing lock: nobody waits for it to see his own rows.
bool is_stuck(const Consumer *consumer);

} // namespace pipeline::fold
