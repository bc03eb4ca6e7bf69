// The writing end of the spool: chunks go into the current generation in the transaction of
// the statement that made them.
//
// Owns: the backend's chunk counter. May call: pg/, generations, rendezvous.
// Invariant (what the fold worker's scan rests on): every chunk of a transaction X lies at a
// block >= nblocks - 1 as it was when X got its xid. See begin_statement().
#pragma once

#include "pg/postgres.hpp"

#include <cstddef>

namespace pipeline::spool {

/// Chunks larger than this do not fit one heap page beside the other columns.
extern const std::size_t kMaxPageChunk;

/// What a chunk says that its rows are of: a stream, or a view that alone gets them.
struct Source {
    Oid id;
    Oid origin; ///< of a view: the stream, unless it is the view's first one
};

/// One statement's place in the spool.
struct StatementWriter {
    const Source *sources;
    int nsources;
    MemoryContext context; ///< of the statement
    MemoryContext scratch; ///< reset after each chunk; nullptr until the second one
    Oid generation;        ///< InvalidOid until the first chunk
    Relation relation;
};

/// `context` lives as long as the statement.
StatementWriter *begin_statement(Oid source, MemoryContext context);

/// The same for a statement whose rows are for some views alone. `sources` lives as long, too;
/// whoever calls holds a lock on each of the views to the end of the transaction, since a chunk
/// must not outlive the view that it names.
StatementWriter *begin_statement(const Source *sources, int nsources, MemoryContext context);

/// Raises the usual error if a chunk of `size` bytes cannot be stored: a row is too large.
void check_chunk_size(std::size_t size);

/// A buffer for a chunk of `size` bytes, aligned to 8 at the returned address.
void *chunk_buffer(StatementWriter *writer, std::size_t size);

/// Inserts the chunk that was encoded into chunk_buffer(). `source` is what it holds rows of: the
/// stream, or a definition whose groups were aggregated: then `nrows` is negative, and tells how
/// many rows they stand for, some of them in other chunks of the statement. Larger ones than
/// kMaxPageChunk go to the column "wide" (TOAST). Rows that are for one view alone have this view
/// as their source, and `origin` is the stream that they are rows of (default: the view's first).
void write_chunk(StatementWriter *writer, Oid source, int32 nrows, void *chunk, std::size_t size,
                 Oid origin = InvalidOid);

/// The same with rows of all sources of the statement: one chunk for each.
void write_rows(StatementWriter *writer, int32 nrows, void *chunk, std::size_t size);

/// Releases what the statement holds; locks stay to the end of the transaction.
void end_statement(StatementWriter *writer);

/// The number of the last chunk that this backend wrote; chunks of one transaction have
/// ascending numbers.
int64 last_chunk_seq();

/// The last transaction of this backend that wrote a chunk, if only to roll it back; 0 = none.
uint64 last_written_xid();

/// The bytes of all chunks that this backend wrote.
uint64 written_bytes();

} // namespace pipeline::spool
