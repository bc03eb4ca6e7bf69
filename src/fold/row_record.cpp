#include "fold/row_record.hpp"

#include "fold/row_json.hpp"
#include "pg/scope.hpp"
#include "pg/settings.hpp"
#include "pg/stop_points.hpp"
#include "spool/row_chunk.hpp"
#include "view/rejected.hpp"

#include <algorithm>

namespace pipeline::fold {

namespace {

struct RowRecord {
    uint64 row;
    int sqlstate;
    char *message;
    char *detail;
};

} // namespace

/// A ring: record n lies at n % max.
struct RowRecords {
    MemoryContext context;
    int max;
    int capacity;
    int64 count; ///< how many there were
    RowRecord *ring;
};

namespace {

void drop_strings(RowRecord *record)
{
    pfree(record->message);
    if (record->detail != nullptr)
        pfree(record->detail);
}

RowRecord *next_place(RowRecords *records)
{
    int64 const n = records->count++;
    if (n >= records->max) {
        RowRecord *const oldest = &records->ring[n % records->max];
        drop_strings(oldest);
        return oldest;
    }
    if (n == records->capacity) {
        records->capacity = std::min(std::max(64, records->capacity * 2), records->max);
        records->ring = static_cast<RowRecord *>(
            repalloc_huge(records->ring, sizeof(RowRecord) * static_cast<Size>(records->capacity)));
    }
    return &records->ring[n];
}

Oid stream_of(const spool::Feed &feed, int chunk)
{
    int i = 0;
    while (chunk >= feed.streams[i].end)
        i++;
    return feed.streams[i].stream;
}

/// NULL if the row cannot be shown: its types' output functions may fail, too.
void show_row(view::RejectedRow *rejected, Relation stream, const spool::Chunk &chunk, uint32 row)
{
    Oid const owner = GetUserId();
    pg::Failure const failure =
        pg::subtransaction([&] { rejected->row = row_as_jsonb(stream, chunk, row, owner); });
    rejected->row_is_null = failure.failed;
    if (failure.sqlstate == ERRCODE_QUERY_CANCELED)
        pg::raise_again(failure);
}

} // namespace

RowRecords *begin_records(MemoryContext context, int max)
{
    auto *records = static_cast<RowRecords *>(MemoryContextAllocZero(context, sizeof(RowRecords)));
    records->context = context;
    records->max = std::max(max, 1); // the log says the last one
    records->capacity = std::min(64, records->max);
    records->ring = static_cast<RowRecord *>(
        MemoryContextAlloc(context, sizeof(RowRecord) * static_cast<Size>(records->capacity)));
    return records;
}

void keep_record(RowRecords *records, uint64 row, const pg::Failure &failure)
{
    RowRecord *const record = next_place(records);
    pg::in_context(records->context, [&] {
        *record = {row, failure.sqlstate, view::cut_error_text(failure.message),
                   view::cut_error_text(failure.detail)};
    });
}

void store_records(const RowRecords *records, const FoldedView *view, const spool::Feed &feed,
                   const uint64 *starts, BadRows *result)
{
    MemoryContext const scratch =
        AllocSetContextCreate(CurrentMemoryContext, "rejected row", ALLOCSET_DEFAULT_SIZES);
    int64 const first = std::max(records->count - records->max, int64{0});
    for (int64 n = first; n < records->count; n++) {
        const RowRecord &record = records->ring[n % records->max];
        const uint64 *const end = starts + feed.nchunks + 1;
        auto const c = std::upper_bound(starts, end, record.row) - starts - 1;
        auto const row = static_cast<uint32>(record.row - starts[c]);
        pg::in_context(scratch, [&] {
            view::RejectedRow rejected{};
            rejected.view = view->query.view;
            rejected.sqlstate = record.sqlstate;
            rejected.message = record.message;
            rejected.detail = record.detail;
            rejected.stream = stream_of(feed, static_cast<int>(c));
            Relation stream = table_open(rejected.stream, NoLock);
            show_row(&rejected, stream, *feed.chunks[c], row);
            table_close(stream, NoLock);
            rejected.chunk = spool::chunk_of_row(*feed.chunks[c], row);
            view::insert_rejected(rejected);
        });
        MemoryContextReset(scratch);
        result->sqlstate = record.sqlstate;
        result->message = record.message;
        CHECK_FOR_INTERRUPTS();
    }
    MemoryContextDelete(scratch);
    view::count_rejected(view->query.view, result->rejected);
    view::trim_rejected(view->query.view, settings::max_errors);
    pg::stop_point("reject_recorded");
}

} // namespace pipeline::fold
