// A single row of a chunk as a chunk of its own.
//
// Owns: nothing. May call: pg/, batch, chunk.
// Invariant: the new chunk has the columns and the values of the row, byte by byte.
#pragma once

#include "pg/postgres.hpp"

#include "spool/chunk.hpp"

namespace pipeline::spool {

/// The encoded chunk as a bytea in CurrentMemoryContext.
bytea *chunk_of_row(const Chunk &chunk, uint32 row);

} // namespace pipeline::spool
