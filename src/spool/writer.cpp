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
constinit uint64 byte_counter = 0;
constinit FullTransactionId last_writer{};

} // namespace

// Tuple header with its null bitmap, xid and seq (8 each), stream and nrows (4 each), the
// length word of "batch", and "origin" with its padding: whoever encodes rows does not know yet
// whether they will be for one view alone.
const std::size_t kMaxPageChunk = MaxHeapTupleSize -
                                  MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(kNumColumns)) - 24 -
                                  VARHDRSZ - 2 * sizeof(Oid);

StatementWriter *begin_statement(const Source *sources, int nsources, MemoryContext context)
{
    auto *writer =
        static_cast<StatementWriter *>(MemoryContextAllocZero(context, sizeof(StatementWriter)));
    writer->sources = sources;
    writer->nsources = nsources;
    writer->context = context;
    return writer;
}

StatementWriter *begin_statement(Oid source, MemoryContext context)
{
    auto *const only = static_cast<Source *>(MemoryContextAlloc(context, sizeof(Source)));
    *only = {source, InvalidOid};
    return begin_statement(only, 1, context);
}

/// Order matters: first the top xid, then the relation, then the page. With
/// HEAP_INSERT_SKIP_FSM hio.c:RelationGetBufferForTuple tries the target block, here the last
/// page, else extends; both lie at or behind nblocks - 1 as of the xid. A target block cached
/// by an earlier transaction of this backend could lie anywhere before. One of this transaction
/// is where its last chunk went, or has been forgotten, and then the server takes the last page.
static void open_generation(StatementWriter *writer)
{
    for (int i = 0; i < writer->nsources; i++)
        note_write(GetTopFullTransactionId(), writer->sources[i].id);
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

/// `datum` is the chunk with its length word.
static void insert_chunk(const StatementWriter *writer, const Source &source, int32 nrows,
                         void *datum)
{
    bool const has_origin = OidIsValid(source.origin);
    bool const is_wide = VARSIZE(datum) - VARHDRSZ > kMaxPageChunk;
    Datum values[kNumColumns] = {};
    bool nulls[kNumColumns] = {};
    last_writer = GetTopFullTransactionId();
    values[kXid] = FullTransactionIdGetDatum(last_writer);
    values[kSeq] = Int64GetDatum(++chunk_counter);
    values[kStream] = ObjectIdGetDatum(source.id);
    values[kRows] = Int32GetDatum(nrows);
    values[is_wide ? kWide : kBatch] = PointerGetDatum(datum);
    nulls[is_wide ? kBatch : kWide] = true;
    values[kOrigin] = ObjectIdGetDatum(source.origin);
    nulls[kOrigin] = !has_origin;
    HeapTuple tuple = heap_form_tuple(RelationGetDescr(writer->relation), values, nulls);
    heap_insert(writer->relation, tuple, GetCurrentCommandId(true), HEAP_INSERT_SKIP_FSM, nullptr);
    byte_counter += VARSIZE(datum);
    pg::stop_point("spool_after_insert");
}

static void write_for(StatementWriter *writer, const Source *sources, int nsources, int32 nrows,
                      void *chunk, std::size_t size)
{
    void *const datum = static_cast<char *>(chunk) - VARHDRSZ;
    SET_VARSIZE(datum, size + VARHDRSZ);
    MemoryContext const old =
        MemoryContextSwitchTo(writer->scratch != nullptr ? writer->scratch : writer->context);
    for (int i = 0; i < nsources; i++) {
        check_room(size, writer->relation == nullptr);
        if (writer->relation == nullptr)
            open_generation(writer);
        insert_chunk(writer, sources[i], nrows, datum);
    }
    MemoryContextSwitchTo(old);
    if (writer->scratch != nullptr)
        MemoryContextReset(writer->scratch);
}

void write_chunk(StatementWriter *writer, Oid source, int32 nrows, void *chunk, std::size_t size,
                 Oid origin)
{
    Source const only{source, origin};
    write_for(writer, &only, 1, nrows, chunk, size);
}

void write_rows(StatementWriter *writer, int32 nrows, void *chunk, std::size_t size)
{
    write_for(writer, writer->sources, writer->nsources, nrows, chunk, size);
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

uint64 last_written_xid()
{
    return U64FromFullTransactionId(last_writer);
}

uint64 written_bytes()
{
    return byte_counter;
}

} // namespace pipeline::spool
