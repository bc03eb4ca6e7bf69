// The hash of a group over its key columns: pipelinedb.hash_group() and the fold worker's own.
//
// Owns: how the hashes of columns are combined. May call: pg/. Invariants: equal groups have equal
// hashes, as each value is hashed by its type's default hash operator class with its column's
// collation, and NULL equals NULL; indexes hold these values, so they never change.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::view {

/// pg_proc has no function with more arguments; further keys are compared, not hashed.
constexpr int kMaxHashedKeys = FUNC_MAX_ARGS;

struct ColumnHash {
    FmgrInfo function; ///< looked up with the first value that is not NULL
    Oid type;
    Oid collation;
};

/// True if the type, its elements and its fields have a hash function that fits their equality.
bool is_hashable(Oid type);

/// hash_group() of `count` values. Lookups are kept in `context`, which `columns` live in.
int32 hash_group(ColumnHash *columns, const NullableDatum *values, int count,
                 MemoryContext context);

/// OID of pipelinedb.hash_group.
Oid hash_group_function();

} // namespace pipeline::view
