// The server's functions that agg/kernels and agg/comparisons repeat.
//
// Owns: the table. May call: agg/expression. Invariants: all are strict and immutable, belong to
// the server itself, and take one or two arguments; those of text need a deterministic collation
// to be what they are here.
#pragma once

#include "pg/postgres.hpp"

#include "agg/expression.hpp"

namespace pipeline::partial {

struct KnownFunction {
    agg::ExpressionOp op;
    agg::ValueType result;
};

/// nullptr if it is not in the table.
const KnownFunction *known_function(Oid function);

} // namespace pipeline::partial
