// Groups compared by the bytes of their keys.
//
// Owns: the hash and the equality of key columns by image. May call: pg/ only. Invariants: keys of
// the same image are equal by their types' own equality; the reverse holds if `exact`, as
// the operator classes say (nbtree: equalimage).
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "utils/rel.h"
}

namespace pipeline::fold {

struct KeyColumn {
    int16 length; ///< as in pg_attribute
    bool byval;
};

struct KeyImage {
    int nkeys;
    bool exact;  ///< equal keys have equal images
    uint32 seed; ///< differs between tables, and between files of a table
    KeyColumn *columns;
};

/// The keys are the first `nkeys` columns.
KeyImage describe_keys(Relation matrel, int nkeys);

uint32 hash_image(const KeyImage &keys, const Datum *values, const bool *isnull);

bool same_image(const KeyImage &keys, const Datum *left, const bool *left_null, const Datum *right,
                const bool *right_null);

} // namespace pipeline::fold
