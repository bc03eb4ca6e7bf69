// One lane of a block: where its values come from, and the arrays that hold them.
//
// Owns: the arrays, in the context that was current at make_room(). May call: agg, spool/chunk.
// Invariant: the word of a value is the same, sign-extended, whoever made it (a chunk, the server's
// executor, a compiled expression): keys are compared by it.
#pragma once

#include "pg/postgres.hpp"

#include "agg/expression.hpp"
#include "partial/datum_block.hpp"
#include "partial/vector_plan.hpp"
#include "spool/chunk.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pipeline::partial {

/// The lane of an input, or of a column that an expression reads, and where its values come from.
struct LaneSource {
    AttrNumber attnum; ///< 0 for an expression
    LaneForm form;
    int16 length;
    ExprState *state;          ///< of an expression: the server's
    agg::Expression *compiled; ///< the same; nullptr if the server evaluates it
    int column;                ///< in the chunk at hand; -1 = absent
    agg::Lane lane;
    int64 *words;
    const std::byte **starts;
    uint32 *sizes;
    uint8 *nulls;
};

void make_room(LaneSource *source);

/// The values are, or will be, in the source's own arrays; any may be NULL.
void point_to_room(LaneSource *source);

/// Rows of a chunk's column. What has to be decompressed is copied to `values`.
void fill_column(LaneSource *source, const spool::Chunk &chunk, uint32 first, uint32 nrows,
                 MemoryContext values);

/// The same from rows that are in no chunk, from the first one on.
void fill_from_block(LaneSource *source, const DatumBlock &block, uint32 nrows,
                     MemoryContext memory);

/// Row `i` gets the value of the server's expression, copied to `values` if it is a pointer.
void set_value(LaneSource *source, uint32 i, Datum value, bool isnull, MemoryContext values);

/// All rows get the results of the compiled expression.
void point_to_result(LaneSource *source, uint32 nrows);

/// As fill_column() has it, whatever the server leaves in the upper bits.
inline int64 word_of(Datum value, int16 length)
{
    switch (length) {
    case 1:
        return static_cast<int8>(value);
    case 2:
        return static_cast<int16>(value);
    case 4:
        return static_cast<int32>(value);
    default:
        return static_cast<int64>(value);
    }
}

} // namespace pipeline::partial
