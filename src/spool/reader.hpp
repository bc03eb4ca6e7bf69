// The reading end of the spool: which blocks a tick has to look at, and the chunks there.
//
// Owns: the marks (nextXid, block) of this fold worker. May call: pg/, generations, progress.
// Invariant: a chunk of transaction X lies at or behind every mark whose next_xid <= X.
//
// Why marks are keyed by nextXid and not by a snapshot's xmax: xmax is latestCompletedXid + 1,
// so a running transaction above it may have written long before. Chunks of a transaction lie
// at a block >= nblocks - 1 as of the moment when it got its xid (writer.hpp), and nextXid is
// read after nblocks: every later xid was assigned after the measurement.
#pragma once

#include "spool/progress.hpp"

namespace pipeline::spool {

/// A place in the spool.
struct Position {
    int64 ordinal = 0; ///< of the generation; 0 = before all
    BlockNumber block = 0;
};

/// What the columns of a chunk say, before its bytes are looked at.
struct StoredChunk {
    uint64 xid;
    int64 seq;
    Oid stream;  ///< or whose rows they are for (spool/writer.hpp)
    Oid origin;  ///< then the stream, or InvalidOid
    int32 nrows; ///< negative: groups stand for so many rows (spool/writer.hpp)
    Position position;
    Datum batch; ///< the bytea, in the page or toasted: valid during the visit only
};

enum class Visit { kNext, kStop };
using ChunkVisitor = Visit (*)(const StoredChunk &chunk, void *arg);

/// Locks the generations, so that no block moves while the tick lasts, measures the spool and
/// reads nextXid. To be called before the tick takes its snapshot.
void add_mark();

/// Forgets all marks: the next scan begins at the first block of every generation. Needed
/// when a generation was cut or rewritten.
void forget_marks();

/// Raised whenever a spool table may have been cut or rewritten by somebody: positions from
/// before are worth nothing.
uint64 layout_epoch();

/// Where chunks of `xid` and of every later transaction begin at the earliest.
Position position_of_xid(uint64 xid);

/// Visits every chunk visible to `snapshot` at or behind `from`, up to and including block
/// `to` (default: the end), in ascending order of position. False if the visitor stopped.
bool scan_spool(Snapshot snapshot, Position from, Position to, ChunkVisitor visit, void *arg);

inline constexpr Position kSpoolEnd{INT64_MAX, InvalidBlockNumber};

/// The chunk's bytes in an 8-aligned copy in CurrentMemoryContext.
void copy_chunk_bytes(const StoredChunk &chunk, void **bytes, Size *size);

/// Bytes of the chunk without fetching them.
Size chunk_size(const StoredChunk &chunk);

/// After a rotation: the list of generations is read again at the next scan.
void note_rotation();

/// Registers the relcache callback of the fold worker.
void install_reader();

} // namespace pipeline::spool
