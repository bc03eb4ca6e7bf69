// The way of emitted rows by the spool, to a query that is not folded in the tick that emits them.
//
// Owns: nothing. May call: pg/, spool/writer. Invariants: a chunk names its reader, which is locked
// to the end of the transaction; the spool's rules hold: the chunk is rolled back with the
// transaction, and the reader's next tick folds it, since its set does not contain this
// transaction, which began after the snapshot of its last one.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::fold {

struct EmittedChunk {
    int32 nrows;
    void *bytes;
    Size size;
};

/// Writes rows of `output` for one of the queries that read it. False if the reader is gone.
bool spool_changes(Oid reader, Oid output, const EmittedChunk *chunks, int count);

} // namespace pipeline::fold
