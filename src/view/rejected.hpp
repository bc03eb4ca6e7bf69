// Rows that a view could not fold: pipelinedb.rejected, and how many they were.
//
// Owns: access to pipelinedb.rejected and pipelinedb.rejection. May call: pg/, view/catalog.
// Invariants: the fold worker never waits for another session here; the sum of
// pipelinedb.rejection changes in the same transaction as what it counts.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::view {

struct RejectedRow {
    Oid view;
    int sqlstate;
    const char *message;
    const char *detail; ///< may be NULL
    Datum row;          ///< jsonb
    bool row_is_null;
    bytea *chunk;
    Oid stream;
};

/// Messages are kept to this length.
inline constexpr int kMaxErrorText = 1000;

/// A copy of `text`, cut at kMaxErrorText; nullptr of nullptr.
char *cut_error_text(const char *text);

void insert_rejected(const RejectedRow &row);

/// Adds `rows` to the count of the view: for those who are not the fold worker, too.
void note_rejected(Oid view, int64 rows);

/// For the fold worker: the same, and entries of others are summed up.
void count_rejected(Oid view, int64 rows);

/// For the fold worker: deletes the oldest of the view beyond `max`. What another session is
/// deleting stays for the next time.
void trim_rejected(Oid view, int max);

/// Deletes the rows of a view, waiting for others that do; `take` gets the chunk of each and its
/// stream. Returns how many.
using ChunkTaker = void (*)(bytea *chunk, Oid stream, void *arg);
int64 delete_rejected(Oid view, ChunkTaker take, void *arg);

/// DROP VIEW.
void forget_rejected(Oid view);

} // namespace pipeline::view
