// A spooled row as jsonb, for people to look at.
//
// Owns: nothing. May call: pg/, spool/chunk. Invariants: only columns that the given role may
// read are in it; the text of the jsonb has about 64 kB at most.
#pragma once

#include "pg/postgres.hpp"

#include "spool/chunk.hpp"

namespace pipeline::fold {

/// {"column": value, …}. Runs output functions of the columns' types: call it as the owner of
/// the view. A row that is too large has its values as strings, those too long cut, with "..."
/// at the end.
Datum row_as_jsonb(Relation stream, const spool::Chunk &chunk, uint32 row, Oid reader);

} // namespace pipeline::fold
