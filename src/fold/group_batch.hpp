// Groups that wait to be written together: each once, however often it came.
//
// Owns: copies of their rows, in at most three eighths of pipelinedb.fold_memory, and a hash table
// over them. May call: key_image, pg/settings. Invariants: states are as the partial step emits
// them; two rows of a batch differ in the image of their keys.
#pragma once

#include "pg/postgres.hpp"

#include "fold/key_image.hpp"

extern "C" {
#include "access/tupdesc.h"
}

namespace pipeline::fold {

struct GroupRow {
    uint32 hash; ///< of the keys' images
    Datum *values;
    bool *isnull;
};

struct GroupBatch;

/// In a context of its own below the current one.
/// It is full at one part in `share` of the memory for groups.
GroupBatch *make_batch(const KeyImage *keys, int share);

/// The row of the same keys, or nullptr.
GroupRow *find_in_batch(GroupBatch *batch, uint32 hash, const Datum *values, const bool *isnull);

/// Copies a group that is not in the batch; `types` describes the values.
void add_to_batch(GroupBatch *batch, uint32 hash, const Datum *values, const bool *isnull,
                  TupleDesc types);

/// Replaces a value by a copy of `value`.
void replace_in_batch(GroupBatch *batch, GroupRow *row, int column, NullableDatum value,
                      Form_pg_attribute type);

bool is_full(const GroupBatch *batch);

/// `count` rows.
GroupRow **rows_of(const GroupBatch *batch, uint32 *count);

void empty_batch(GroupBatch *batch);

} // namespace pipeline::fold
