// Chunks of partial states: what a writer that aggregates leaves in the spool instead of its rows.
//
// Owns: their columns. May call: batch, spool/chunk, vector_run. Invariants: such a chunk names
// the version of the definition it was made for, and is refused by any other; merging it gives
// what its rows would have given.
//
// Columns, by attnum: 1 the version (int8, the same in all rows); then the keys (words as int8,
// texts as varlena, blocks as they are); then the words of each aggregate's state (int8).
#pragma once

#include "partial/vector_run.hpp"

#include "batch/batch.hpp"

namespace pipeline::partial {

/// Gets batches of groups that fit a page each (or hold one group that is wider).
using PartialSink = void (*)(const batch::Batch &groups, void *arg);

/// Hands all groups of a view to `sink`.
void write_partials(const VectorRun *run, int view, PartialSink sink, void *arg);

/// Adds the groups of a chunk to those of a view. ERRCODE_INVALID_OBJECT_DEFINITION if it was
/// made for another version.
void merge_partials(VectorRun *run, int view, const spool::Chunk &chunk);

} // namespace pipeline::partial
