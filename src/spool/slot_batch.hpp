// Rows of the executor on their way into chunks: datums -> cells -> batch -> encoded chunk.
//
// Owns: the batch, and copies of the values of the row at hand. May call: pg/, batch, chunk.
// Invariants: datums in a chunk are self-contained (nothing external, nothing expanded); a chunk
// fits one page unless a single row does not.
#pragma once

#include "pg/postgres.hpp"

#include <cstddef>

namespace pipeline::spool {

struct SlotBatch;

/// Where full chunks go: `place` gives a buffer of `bound` bytes, aligned to 8, `take` gets the
/// chunk that was encoded there.
struct ChunkSink {
    void *(*place)(void *arg, std::size_t bound);
    void (*take)(void *arg, int32 nrows, void *chunk, std::size_t size);
    void *arg;
};

/// For rows of `descriptor`; all its memory comes from `context`, in which `descriptor` lives too.
SlotBatch *make_slot_batch(TupleDesc descriptor, MemoryContext context, const ChunkSink &sink);

/// Adds the row, after the rows so far have gone to the sink if the chunk would not fit a page.
void add_slot(SlotBatch *batch, TupleTableSlot *slot);

/// The same for values as they lie in columns: `values[i][row]` of attribute i + 1.
void add_values(SlotBatch *batch, Datum *const *values, const uint8 *const *nulls, uint32 row);

/// Gives the rows that wait to the sink.
void flush_batch(SlotBatch *batch);

/// Forgets the rows that wait.
void clear_batch(SlotBatch *batch);

uint32 rows_waiting(const SlotBatch *batch);

} // namespace pipeline::spool
