#include "fold/bad_rows.hpp"

#include "fold/matrel_writer.hpp"
#include "fold/row_record.hpp"
#include "fold/view_machine.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "utils/relcache.h"
#include "utils/timestamp.h"
}

#include <algorithm>

namespace pipeline::fold {
namespace {

/// Other views wait meanwhile.
constexpr int kLongestTurn = 1000;

/// Each part that is written costs an xid. With more than 64 in a transaction, all snapshots of
/// the server become slower (proc.h, PGPROC_MAX_CACHED_SUBXIDS).
constexpr int kMostParts = 50;

enum class Mode {
    kCompute, ///< the partial states only: writes nothing, whatever happens
    kCheck,   ///< also combine with the stored groups and check the new rows
    kWrite
};

/// Rows are named by their number in the feed.
struct Search {
    FoldedView *view;
    Relation definition;
    Relation matrel;
    const spool::Feed *feed;
    uint64 *starts; ///< number of the first row of each chunk, and of the row after the last
    uint64 *skip;   ///< the bad rows so far
    bool smaller;
    TimestampTz deadline;
    int parts;
    MemoryContext scratch; ///< of one attempt
    spool::FeedTrace trace;
    bool running; ///< an error now may be a row's
    RowRecords *records;
    BadRows *result;

    uint64 nrows() const { return starts[feed->nchunks]; }
};

bool is_row_class(int sqlstate)
{
    switch (ERRCODE_TO_CATEGORY(sqlstate)) {
    case MAKE_SQLSTATE('2', '1', '0', '0', '0'):
    case MAKE_SQLSTATE('2', '2', '0', '0', '0'):
    case MAKE_SQLSTATE('2', '3', '0', '0', '0'):
    case MAKE_SQLSTATE('3', '8', '0', '0', '0'):
    case MAKE_SQLSTATE('3', '9', '0', '0', '0'):
    case MAKE_SQLSTATE('P', '0', '0', '0', '0'):
        return true;
    default:
        return false;
    }
}

void begin_search(Search *search)
{
    const spool::Feed &feed = *search->feed;
    search->starts = static_cast<uint64 *>(MemoryContextAllocHuge(
        CurrentMemoryContext, sizeof(uint64) * (static_cast<Size>(feed.nchunks) + 1)));
    search->starts[0] = 0;
    for (int c = 0; c < feed.nchunks; c++)
        search->starts[c + 1] = search->starts[c] + feed.chunks[c]->nrows();
    Size const bytes = sizeof(uint64) * (search->nrows() / 64 + 1);
    search->skip = static_cast<uint64 *>(
        MemoryContextAllocExtended(CurrentMemoryContext, bytes, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
    search->scratch =
        AllocSetContextCreate(CurrentMemoryContext, "search for bad rows", ALLOCSET_DEFAULT_SIZES);
    search->records = begin_records(CurrentMemoryContext, settings::max_errors);
    int const longest = settings::view_timeout > 0
                            ? std::min(kLongestTurn, settings::view_timeout / 2)
                            : kLongestTurn;
    search->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), longest);
}

int chunk_of(const Search &search, uint64 row)
{
    const uint64 *const starts = search.starts;
    const uint64 *const end = starts + search.feed->nchunks + 1;
    return static_cast<int>(std::upper_bound(starts, end, row) - starts) - 1;
}

spool::Feed part_of(Search *search, uint64 begin, uint64 end, Mode mode)
{
    spool::Feed part = *search->feed;
    part.first_chunk = chunk_of(*search, begin);
    part.first_row = static_cast<uint32>(begin - search->starts[part.first_chunk]);
    part.first = begin;
    part.end = end;
    part.rows = static_cast<double>(end - begin);
    part.skip = mode == Mode::kCompute ? nullptr : search->skip;
    part.trace = &search->trace;
    part.npartials = 0;
    return part;
}

void ignore_group(TupleTableSlot *, void *) {}

void run(Search *search, Mode mode)
{
    search->running = false;
    ready_machine(search->view, search->definition);
    if (mode == Mode::kCompute) {
        search->running = true;
        partial::run_plan(search->view->machine->plan, ignore_group, nullptr);
        return;
    }
    // What the parts before have written is to be seen.
    PushCopiedSnapshot(GetActiveSnapshot());
    UpdateActiveSnapshotCommandId();
    MatrelWriter const writer = open_matrel(search->matrel, search->view, mode == Mode::kWrite);
    search->running = true;
    fold_into(writer);
    close_matrel(writer);
    PopActiveSnapshot();
}

[[noreturn]] void give_up(Search *search)
{
    search->result->gave_up = true;
    ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED),
                    errmsg("too many bad rows for one turn of the view")));
}

/// Looks whether the rows from `begin` to `end` can be folded; false if some row is to blame.
/// The failure's strings are there until the next attempt.
bool attempt(Search *search, uint64 begin, uint64 end, Mode mode, pg::Failure *failure)
{
    CHECK_FOR_INTERRUPTS();
    if (search->smaller &&
        (GetCurrentTimestamp() >= search->deadline || search->parts > kMostParts))
        give_up(search);
    MemoryContextReset(search->scratch);
    spool::Feed const part = part_of(search, begin, end, mode);
    search->trace = {};
    Emission *const emission = mode != Mode::kCompute ? search->view->emission : nullptr;
    EmissionMark const mark = emission != nullptr ? mark_emission(emission) : EmissionMark{};
    const spool::Feed *const former = spool::set_feed(&part);
    auto fold = [&] { run(search, mode); };
    *failure = pg::in_context(search->scratch, [&] {
        return mode == Mode::kWrite ? pg::subtransaction(fold) : pg::trial(fold);
    });
    spool::set_feed(former);
    if (mode == Mode::kWrite)
        search->parts++;
    if (emission != nullptr && (failure->failed || mode == Mode::kCheck))
        roll_back_emission(emission, mark);
    if (!failure->failed)
        return true;
    if (mode != Mode::kCompute)
        renew_combining(search->view);
    if (failure->sqlstate == ERRCODE_QUERY_CANCELED && search->smaller)
        give_up(search);
    if (!search->running || !is_row_fault(*failure, search->view->query.matrel))
        pg::raise_again(*failure);
    return false;
}

void reject(Search *search, uint64 row, const pg::Failure &failure)
{
    search->skip[row / 64] |= uint64{1} << (row % 64);
    search->result->rejected++;
    keep_record(search->records, row, failure);
}

/// Nothing was handed out: the query fails without rows as well.
void require_row(const Search &search, const pg::Failure &failure)
{
    if (search.trace.count == 0)
        pg::raise_again(failure);
}

/// Rejects the rows that fail by themselves. A filter, a key or an argument is computed when its
/// row has just been handed out, so that the last row is looked at first: then one attempt, or
/// two, find a bad row. Only where the plan reads all rows before it computes (a sort), the
/// rows are halved.
void find_bad(Search *search, uint64 begin, uint64 end)
{
    pg::Failure failure;
    while (begin < end) {
        search->result->done = static_cast<double>(begin) / static_cast<double>(search->nrows());
        if (attempt(search, begin, end, Mode::kCompute, &failure))
            return;
        require_row(*search, failure);
        uint64 const last = search->trace.last;
        if (end - begin == 1 || (search->trace.count == 1 && !search->trace.ended)) {
            reject(search, last, failure);
            begin = last + 1;
        } else if (search->trace.ended) {
            uint64 const middle = begin + (end - begin) / 2;
            find_bad(search, begin, middle);
            begin = middle;
        } else if (attempt(search, last, last + 1, Mode::kCompute, &failure)) {
            // Only together with those before it: fold_part() will tell. More than one row was
            // handed out, so `last` is beyond `begin`.
            begin = std::max(last, begin + 1);
        } else {
            reject(search, last, failure);
            begin = last + 1;
        }
    }
}

uint64 count_left(const Search &search, uint64 begin, uint64 end, uint64 *first)
{
    uint64 count = 0;
    for (uint64 row = begin; row < end; row++)
        if (!spool::is_skipped(search.skip, row) && count++ == 0)
            *first = row;
    return count;
}

/// Folds what is left of the rows, in their order; a row that fails on top of what is folded
/// then (a sum overflows, a constraint of the table says no) is rejected.
void fold_part(Search *search, uint64 begin, uint64 end, bool try_first)
{
    uint64 row = begin;
    uint64 const left = count_left(*search, begin, end, &row);
    if (left == 0)
        return;
    pg::Failure failure;
    if ((!try_first || attempt(search, begin, end, Mode::kCheck, &failure)) &&
        attempt(search, begin, end, Mode::kWrite, &failure))
        return;
    if (left == 1) {
        reject(search, row, failure);
        return;
    }
    uint64 const middle = begin + (end - begin) / 2;
    fold_part(search, begin, middle, true);
    fold_part(search, middle, end, true);
}

/// Groups from writers that aggregated: the rows behind them are gone, so none can be named.
/// The view stops, and the groups wait.
void fold_partials(Search *search)
{
    spool::Feed part = *search->feed;
    part.nchunks = 0;
    const spool::Feed *const former = spool::set_feed(&part);
    pg::Failure const failure = pg::subtransaction([&] { run(search, Mode::kWrite); });
    spool::set_feed(former);
    if (!failure.failed)
        return;
    renew_combining(search->view);
    pg::raise_again(failure);
}

} // namespace

/// A primary key that other columns tell groups apart than: two groups can have the same. Only a
/// race with a change by hand violates an index over just the groups.
static bool is_own_key(Oid table, const char *constraint)
{
    if (constraint == nullptr)
        return false;
    return pg::with_relation(table, AccessShareLock, [constraint](Relation rel) {
        (void) RelationGetIndexList(rel); // looks for the primary key
        const char *const name =
            OidIsValid(rel->rd_pkindex) ? get_rel_name(rel->rd_pkindex) : nullptr;
        return name != nullptr && strcmp(name, constraint) == 0;
    });
}

bool is_row_fault(const pg::Failure &failure, Oid matrel)
{
    if (failure.sqlstate != ERRCODE_UNIQUE_VIOLATION)
        return is_row_class(failure.sqlstate);
    Oid const table = failure.table != nullptr
                          ? get_relname_relid(failure.table, get_rel_namespace(matrel))
                          : InvalidOid;
    return !OidIsValid(table) || view::matrel_of_table(table) != matrel ||
           is_own_key(table, failure.constraint);
}

void fold_but_bad_rows(FoldedView *view, Relation definition, Relation matrel,
                       const spool::Feed &feed, bool smaller, BadRows *result)
{
    *result = {};
    Search search{};
    search.view = view;
    search.definition = definition;
    search.matrel = matrel;
    search.feed = &feed;
    search.smaller = smaller;
    search.result = result;
    begin_search(&search);
    find_bad(&search, 0, search.nrows());
    fold_part(&search, 0, search.nrows(), false);
    if (feed.npartials > 0)
        fold_partials(&search);
    if (result->rejected > 0)
        store_records(search.records, view, feed, search.starts, result);
}

} // namespace pipeline::fold
