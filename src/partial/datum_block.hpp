// Rows as columns of datums: what a statement's executor hands over, before it is encoded.
//
// Owns: nothing. May call: nothing. Invariant: a block has at most agg::kBlockRows rows; datums are
// as in a slot, and what they point to stays until the block is dropped.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::partial {

/// Arrays are indexed by attribute, from 0; those of dropped columns are nullptr.
struct DatumBlock {
    uint32 nrows;
    Datum **values;
    uint8 **nulls; ///< 1 = NULL
    bool *has_nulls;
};

} // namespace pipeline::partial
