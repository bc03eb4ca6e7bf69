// Which indexes a matrel gets over its key columns.
//
// Owns: how wide a key may be, and the refusal of types that cannot be keys. May call: pg/,
// view/decompose, view/group_hash. Invariant: with a unique index no key can be wider than a
// btree entry; without one every key column is in the index by itself or in the hash.
#pragma once

#include "pg/postgres.hpp"

#include "view/decompose.hpp"

namespace pipeline::view {

/// The indexes of one matrel. Lists are of MatrelColumn *.
struct KeyIndexes {
    bool unique;       ///< a unique btree over `plain`, which are all keys
    List *plain;       ///< columns of the btree
    List *hashed;      ///< arguments of its last column, hash_group(); NIL with `unique`
    List *readers;     ///< of these, each has an index of its own for queries
    List *behind_step; ///< of a window: a btree for queries of one group, in whatever step
};

/// Raises ERRCODE_FEATURE_NOT_SUPPORTED if no index could hold these keys.
KeyIndexes choose_key_indexes(const Decomposition &parts);

/// The operator class of schema pipelinedb by which GIN finds values of any width; nullptr for
/// types that only a hash index serves.
const char *key_operator_class(Oid type);

/// Raises the error of choose_key_indexes() for a key that no index could hold.
void check_key_type(const Node *key);

} // namespace pipeline::view
