#include "spool/reader.hpp"

#include "pg/list.hpp"
#include "spool/generations.hpp"

extern "C" {
#include "access/detoast.h"
#include "access/heapam.h"
#include "access/transam.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/xid8.h"
}

#include <cstring>

namespace pipeline::spool {
namespace {

enum SpoolColumn { kXid, kSeq, kStream, kRows, kBatch, kWide, kOrigin, kNumColumns };

struct Mark {
    uint64 next_xid;
    Position position;
};

constexpr int kMaxMarks = 1024;

/// Of this fold worker. `generations` lives in TopMemoryContext.
struct Reader {
    Mark marks[kMaxMarks]; ///< ascending in both members
    int nmarks;
    List *generations;
    Oid catalog;                  ///< of the generations
    int64 measured_ordinal;       ///< generation of the newest mark ...
    BlockNumber measured_nblocks; ///< ... and its size then
    bool list_stale;              ///< a generation was created or rotated
    uint64 epoch;                 ///< counts those messages
    bool marks_stale;             ///< some generation may have been cut or rewritten
};

constinit Reader reader{};

/// Any relcache message of a spool table may be VACUUM cutting its tail, or a rewrite: later
/// chunks may then lie before the marks. They are rare; without marks a scan begins at the
/// first block.
void note_message(Datum, Oid relid)
{
    bool ours = relid == InvalidOid;
    for (auto *generation : pg::each<Generation>(reader.generations))
        ours |= generation->relid == relid;
    // Another worker has rotated: what it wrote is seen before what was written thereafter.
    reader.list_stale |= ours || relid == reader.catalog;
    reader.marks_stale |= ours;
    reader.epoch += ours;
}

void thin_out_marks()
{
    int kept = 0;
    for (int i = 0; i < reader.nmarks; i += 2)
        reader.marks[kept++] = reader.marks[i];
    reader.nmarks = kept;
}

void read_generations()
{
    reader.list_stale = false;
    reader.catalog = generation_catalog();
    List *const read = list_generations();
    MemoryContext const old = MemoryContextSwitchTo(TopMemoryContext);
    List *fresh = NIL;
    for (auto *generation : pg::each<Generation>(read)) {
        auto *copy = static_cast<Generation *>(palloc(sizeof(Generation)));
        *copy = *generation;
        fresh = lappend(fresh, copy);
    }
    MemoryContextSwitchTo(old);
    list_free_deep(reader.generations);
    reader.generations = fresh;
}

/// The generations, fresh if a message came.
const List *generations()
{
    if (reader.list_stale || reader.generations == NIL)
        read_generations();
    return reader.generations;
}

void drop_stale_marks()
{
    if (!reader.marks_stale)
        return;
    reader.marks_stale = false;
    reader.nmarks = 0;
    reader.measured_nblocks = 0;
    reader.measured_ordinal = 0;
}

} // namespace

void note_rotation()
{
    reader.list_stale = true;
}

uint64 layout_epoch()
{
    return reader.epoch;
}

void forget_marks()
{
    reader.marks_stale = true;
}

void add_mark()
{
    // VACUUM FULL of an older generation must not end between the choice of a first block and
    // the scan. Taking the locks reads the messages of those that have ended.
    for (auto *generation : pg::each<Generation>(generations()))
        LockRelationOid(generation->relid, AccessShareLock);
    drop_stale_marks();
    const List *const all = generations();
    const auto *current = static_cast<const Generation *>(llast(all));
    Relation rel = table_open(current->relid, AccessShareLock);
    BlockNumber const nblocks = RelationGetNumberOfBlocks(rel);
    table_close(rel, NoLock);
    uint64 const next_xid = U64FromFullTransactionId(ReadNextFullTransactionId());

    // Cut by somebody: new chunks may lie before the marks.
    if (current->ordinal == reader.measured_ordinal && nblocks < reader.measured_nblocks) {
        forget_marks();
        drop_stale_marks();
    }
    reader.measured_ordinal = current->ordinal;
    reader.measured_nblocks = nblocks;

    Position const position{current->ordinal, nblocks > 0 ? nblocks - 1 : 0};
    if (reader.nmarks > 0) {
        Mark &last = reader.marks[reader.nmarks - 1];
        if (last.position.ordinal == position.ordinal && last.position.block == position.block)
            return; // the older xid makes the stronger mark
    }
    if (reader.nmarks == kMaxMarks)
        thin_out_marks();
    reader.marks[reader.nmarks++] = {next_xid, position};
}

Position position_of_xid(uint64 xid)
{
    drop_stale_marks();
    for (int i = reader.nmarks - 1; i >= 0; i--)
        if (reader.marks[i].next_xid <= xid)
            return reader.marks[i].position;
    return {};
}

static void read_columns(HeapTuple tuple, TupleDesc descriptor, StoredChunk *chunk)
{
    Datum values[kNumColumns];
    bool nulls[kNumColumns];
    heap_deform_tuple(tuple, descriptor, values, nulls);
    chunk->xid = U64FromFullTransactionId(DatumGetFullTransactionId(values[kXid]));
    chunk->seq = DatumGetInt64(values[kSeq]);
    chunk->stream = DatumGetObjectId(values[kStream]);
    chunk->nrows = DatumGetInt32(values[kRows]);
    chunk->origin = nulls[kOrigin] ? InvalidOid : DatumGetObjectId(values[kOrigin]);
    chunk->batch = nulls[kWide] ? values[kBatch] : values[kWide];
}

static bool scan_generation(const Generation &generation, Snapshot snapshot, BlockNumber from,
                            BlockNumber to, ChunkVisitor visit, void *arg)
{
    Relation rel = table_open(generation.relid, AccessShareLock);
    BlockNumber const nblocks = RelationGetNumberOfBlocks(rel);
    bool finished = true;
    if (from < nblocks) {
        TableScanDesc scan = table_beginscan_strat(rel, snapshot, 0, nullptr, true, false);
        BlockNumber const last = to < nblocks ? to : nblocks - 1;
        heap_setscanlimits(scan, from, last - from + 1);
        while (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection)) {
            StoredChunk chunk;
            read_columns(tuple, RelationGetDescr(rel), &chunk);
            chunk.position = {generation.ordinal, ItemPointerGetBlockNumber(&tuple->t_self)};
            CHECK_FOR_INTERRUPTS();
            if (visit(chunk, arg) == Visit::kStop) {
                finished = false;
                break;
            }
        }
        table_endscan(scan);
    }
    table_close(rel, NoLock);
    return finished;
}

bool scan_spool(Snapshot snapshot, Position from, Position to, ChunkVisitor visit, void *arg)
{
    for (const Generation *generation : pg::each<const Generation>(generations())) {
        if (generation->ordinal < from.ordinal || generation->ordinal > to.ordinal)
            continue;
        BlockNumber const first = generation->ordinal == from.ordinal ? from.block : 0;
        BlockNumber const last = generation->ordinal == to.ordinal ? to.block : InvalidBlockNumber;
        if (!scan_generation(*generation, snapshot, first, last, visit, arg))
            return false;
    }
    return true;
}

Size chunk_size(const StoredChunk &chunk)
{
    return toast_raw_datum_size(chunk.batch) - VARHDRSZ;
}

void copy_chunk_bytes(const StoredChunk &chunk, void **bytes, Size *size)
{
    auto *stored = reinterpret_cast<varlena *>(DatumGetPointer(chunk.batch));
    varlena *const whole = detoast_attr(stored);
    *size = VARSIZE_ANY_EXHDR(whole);
    *bytes = palloc(*size > 0 ? *size : 1);
    std::memcpy(*bytes, VARDATA_ANY(whole), *size);
    if (whole != stored)
        pfree(whole);
}

void install_reader()
{
    CacheRegisterRelcacheCallback(note_message, static_cast<Datum>(0));
}

} // namespace pipeline::spool
