#include "spool/writer.hpp"

#include "pg/stop_points.hpp"
#include "spool/gauge.hpp"
#include "spool/generations.hpp"
#include "spool/rendezvous.hpp"

extern "C" {
#include "access/heapam.h"
#include "utils/xid8.h"
}

namespace pipeline::spool {
namespace {

/// Columns of spool_<id>, in order.
enum SpoolColumn { kXid, kSeq, kStream, kRows, kBatch, kWide, kOrigin, kNumColumns };

constinit int64 chunk_counter = 0;

/// With its padding; where it is NULL, it takes nothing.
constexpr std::size_t kOriginSize = 2 * sizeof(Oid);

} // namespace

// Tuple header with its null bitmap, xid and seq (8 each), stream and nrows (4 each), the
// length word of "batch".
const std::size_t kMaxPageChunk =
    MaxHeapTupleSize - MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(kNumColumns)) - 24 - VARHDRSZ;

StatementWriter *begin_statement(Oid stream, MemoryContext context)
{
    auto *writer =
        static_cast<StatementWriter *>(MemoryContextAllocZero(context, sizeof(StatementWriter)));
    writer->stream = stream;
    writer->context = context;
    return writer;
}

/// Order matters: first the top xid, then the relation, then the page. With
/// HEAP_INSERT_SKIP_FSM hio.c:RelationGetBufferForTuple tries the target block, here the last
/// page, else extends; both lie at or behind nblocks - 1 as of the xid. A target block cached
/// by an earlier transaction of this backend could lie anywhere before. One of this transaction
/// is where its last chunk went, or has been forgotten, and then the server takes the last page.
static void open_generation(StatementWriter *writer)
{
    note_write(GetTopFullTransactionId(), writer->stream);
    bool is_first;
    writer->relation = open_generation_to_write(&is_first);
    writer->generation = RelationGetRelid(writer->relation);
    if (is_first) {
        BlockNumber const nblocks = RelationGetNumberOfBlocks(writer->relation);
        RelationSetTargetBlock(writer->relation, nblocks > 0 ? nblocks - 1 : InvalidBlockNumber);
    }
    pg::stop_point("spool_page_chosen");
}

/// The tuple is one allocation, too, with a header and the other columns.
void check_chunk_size(std::size_t size)
{
    constexpr std::size_t kOthers = 1024;
    if (!AllocSizeIsValid(size + kOthers))
        ereport(
            ERROR,
            (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("row of a stream is too large"),
             errdetail("It needs %zu bytes; a row of a stream is limited to 1 GB in all.", size)));
}

void *chunk_buffer(StatementWriter *writer, std::size_t size)
{
    check_chunk_size(size);
    // Of the usual statement, which has one small chunk, nothing is worth a context of its own.
    bool const is_only = writer->scratch == nullptr && writer->relation == nullptr;
    if (writer->scratch == nullptr && (!is_only || size > kMaxPageChunk))
        writer->scratch =
            AllocSetContextCreate(writer->context, "stream chunk", ALLOCSET_DEFAULT_SIZES);
    MemoryContext const place = writer->scratch != nullptr ? writer->scratch : writer->context;
    // The length word goes into the four bytes before the chunk, which is aligned to 8.
    char *const block = static_cast<char *>(MemoryContextAlloc(place, size + MAXIMUM_ALIGNOF));
    return block + MAXIMUM_ALIGNOF;
}

void write_chunk(StatementWriter *writer, Oid source, int32 nrows, void *chunk, std::size_t size,
                 Oid origin)
{
    check_room(size, writer->relation == nullptr);
    if (writer->relation == nullptr)
        open_generation(writer);
    void *const datum = static_cast<char *>(chunk) - VARHDRSZ;
    SET_VARSIZE(datum, size + VARHDRSZ);
    bool const is_wide = size > kMaxPageChunk - (OidIsValid(origin) ? kOriginSize : 0);

    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    values[kXid] = FullTransactionIdGetDatum(GetTopFullTransactionId());
    values[kSeq] = Int64GetDatum(++chunk_counter);
    values[kStream] = ObjectIdGetDatum(source);
    values[kRows] = Int32GetDatum(nrows);
    values[is_wide ? kWide : kBatch] = PointerGetDatum(datum);
    nulls[is_wide ? kBatch : kWide] = true;
    values[kOrigin] = ObjectIdGetDatum(origin);
    nulls[kOrigin] = !OidIsValid(origin);

    MemoryContext const old =
        MemoryContextSwitchTo(writer->scratch != nullptr ? writer->scratch : writer->context);
    HeapTuple tuple = heap_form_tuple(RelationGetDescr(writer->relation), values, nulls);
    heap_insert(writer->relation, tuple, GetCurrentCommandId(true), HEAP_INSERT_SKIP_FSM, nullptr);
    MemoryContextSwitchTo(old);
    if (writer->scratch != nullptr)
        MemoryContextReset(writer->scratch);
    pg::stop_point("spool_after_insert");
}

void end_statement(StatementWriter *writer)
{
    if (writer->relation != nullptr) {
        table_close(writer->relation, NoLock);
        writer->relation = nullptr;
    }
}

int64 last_chunk_seq()
{
    return chunk_counter;
}

} // namespace pipeline::spool
