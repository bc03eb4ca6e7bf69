// What the hash join in blocks needs to know of a planned HashJoin.
//
// Owns: the description, in the memory context that it was made in. May call: partial/vector_plan.
// Invariant: as those of partial/hash_join.
#pragma once

#include "partial/hash_join.hpp"

namespace pipeline::partial {

/// Where an input of the aggregation comes from.
struct JoinSource {
    bool from_table;
    int number; ///< input of `stream`, or column of the table, keys not counted
};

struct HashJoinPlan {
    const PlannedStmt *table; ///< reads the other side
    int nkeys;
    agg::KeyKind *key_kinds;
    int ncolumns; ///< of the table, without the keys
    agg::KeyKind *column_kinds;
    VectorInput *table_inputs; ///< the keys, then the columns, ...
    AttrNumber *table_columns; ///< ... and which columns of `table` they are
    VectorPlan *stream;        ///< inputs only
    int *stream_keys;          ///< inputs
    const VectorPlan *inputs;  ///< of the aggregation
    JoinSource *sources;       ///< where they come from
    bool keep;                 ///< rows of the stream without a match count (LEFT JOIN)
    bool too_large;            ///< the table did not fit
};

} // namespace pipeline::partial
