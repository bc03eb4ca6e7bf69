// Pages from which rows were deleted: pruned and entered in the free space map once nobody can see
// the rows any more, so that new groups go there without waiting for VACUUM.
//
// Owns: the list of such pages of one table, in memory only and of bounded length (VACUUM finds
// what is left out). May call: pg/. Invariant: a page is only pruned as any reader may prune it.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "storage/block.h"
}

namespace pipeline::fold {

struct FreedPages {
    List *batches; ///< of Batch *, oldest first
    int npages;
};

/// The pages of one transaction, which has just committed. `context` is where the list lives.
void add_freed(FreedPages *freed, TransactionId xid, BlockNumber *pages, int npages,
               MemoryContext context);

/// Prunes those of transactions that are behind the horizon, some at a time. Inside a
/// transaction, with the table locked. True if it went as far as the horizon lets it.
bool reuse_freed(FreedPages *freed, Relation matrel);

void forget_freed(FreedPages *freed);

} // namespace pipeline::fold
