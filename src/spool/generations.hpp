// Spool generations: which spool tables there are, in which order, and which is written now.
//
// Owns: access to pipelinedb.generation and the tables spool_<id>; a per-backend cache of the
// current one, dropped by the relcache message that a rotation sends.
// May call: pg/, view/catalog. Invariant: all chunks of a transaction lie in one generation, in
// ascending order of their blocks: the position of a transaction that is folded in pieces is a
// single number (fold/collect.cpp).
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::spool {

struct Generation {
    int32 id;
    int64 ordinal;
    Oid relid;
};

/// Opens the generation of this transaction with RowExclusiveLock, held to the end of the
/// transaction: the current one at its first chunk, the same ever after. `is_first` says which.
Relation open_generation_to_write(bool *is_first);

/// All generations, ascending by ordinal, as a List of Generation *; read fresh.
List *list_generations();

/// The catalog of generations; every change of it sends a relcache message.
Oid generation_catalog();

/// Makes another generation the current one: `id` of an empty one, or -1 to create a table.
/// For the fold worker, in a transaction of its own.
void rotate_to(int32 id);

/// Registers the invalidation callback (from _PG_init).
void install_generations();

} // namespace pipeline::spool
