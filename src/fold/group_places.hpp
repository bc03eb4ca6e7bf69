// Where in their tables the groups are that were written last: hash of a group -> tuple id.
//
// Owns: one cache for all views of a fold worker, of at most a quarter of
// pipelinedb.fold_memory. May call: pg/settings. Invariants: an entry is a hint that may be wrong
// in any way (rolled back, vacuumed, truncated, another group of the same hash): whoever uses it
// looks at the tuple, so nothing has to be taken back; the least recently added entry goes first.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "storage/itemptr.h"
}

namespace pipeline::fold {

bool find_place(uint32 hash, ItemPointer place);

/// find_place() or remember_place() of that hash is near: what they read is fetched meanwhile.
void expect_place(uint32 hash);

void remember_place(uint32 hash, const ItemPointerData &place);

/// Frees the memory: in a session that is no fold worker.
void forget_places();

} // namespace pipeline::fold
