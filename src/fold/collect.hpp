// Which chunks a tick folds: scan, set arithmetic, and the bound on memory.
//
// Owns: the chunks of one tick (in the tick's memory context) and the surveys of backlogs.
// May call: spool, fold_state. Invariants: a tick's chunks are exactly those whose tuple the
// tick's snapshot sees and whose transaction is in the new progress and not in the old one;
// big transactions by piece (`seq`). Memory: about twice settings::fold_batch, or one chunk
// if that is larger.
#pragma once

#include "fold/emission.hpp"
#include "fold/fold_state.hpp"

#include "spool/chunk.hpp"

namespace pipeline::fold {

struct TickChunk {
    uint64 xid;
    int64 seq;
    Oid stream;
    Oid origin;
    uint32 consumers; ///< bit i: counts for the i-th consumer of the tick
    int32 nrows;
    const void *bytes;
    Size size;
    const spool::Chunk *parsed; ///< nullptr before parsed_chunk()
};

/// Parsed on first use, so that damaged bytes are an error of the views that read the stream.
const spool::Chunk *parsed_chunk(TickChunk *chunk, MemoryContext context);

constexpr int kMaxConsumersPerTick = 32;

/// Chunks, and the progress that each consumer has when they are folded.
struct Collection {
    int nconsumers;
    Consumer *consumers[kMaxConsumersPerTick]; ///< the first is the one that the tick is for
    spool::XidSet folded[kMaxConsumersPerTick];
    spool::BigTransaction *big; ///< of the first consumer, after the tick
    int nbig;
    BigHint hints[kMaxBig];
    int nhints;
    TickChunk *chunks;
    int nchunks;
    int capacity;
    MemoryContext context; ///< of the chunks
    Size weight;           ///< sum of weight_of() the chunks
    bool left_behind;      ///< there is more to fold for the first consumer
};

/// Adds rows that a view of the tick has emitted, for the consumers of the mask.
void append_emitted(Collection *collection, Oid output, uint32 consumers,
                    const EmittedChunk &chunk);

/// What a chunk costs a tick, in bytes.
Size weight_of(const spool::StoredChunk &stored);

/// Fills `collection` (consumers are given) from the spool as `snapshot` sees it; `live` is
/// its set of transactions. False if the
/// chunks are too many and there are several consumers: try the first one alone.
bool collect(Collection *collection, Snapshot snapshot, const spool::XidSet &live);

} // namespace pipeline::fold
