// Which queries the vectorised path serves, and how: inputs, keys and aggregates of one query.
//
// Owns: the description, in a memory context of its caller's. May call: agg, view/state_form.
// Invariants: a query that it serves has the same answer by the general path; everything in it
// comes from the planned statement, so it is stale when that is.
#pragma once

#include "pg/postgres.hpp"

#include "agg/group_table.hpp"
#include "agg/states.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pipeline::partial {

/// How the values of an input become a lane.
enum class LaneForm : uint8 {
    kWord,   ///< a by-value type; the word is the datum
    kFloat4, ///< as the bits of a double
    kText,   ///< varlena whose equality is that of its content
    kBlock,  ///< fixed length by reference, equality bytewise (uuid)
    kNulls   ///< only whether it is NULL
};

/// A distinct expression over a row of the stream.
struct VectorInput {
    Expr *expr;
    AttrNumber attnum; ///< of a plain column, else 0
    LaneForm form;
    int16 length;
    bool byval;
};

/// How a state becomes the datum that the general path emits.
enum class EmittedAs : uint8 {
    kInt8,        ///< count, sum of int2 and int4
    kInt8Pair,    ///< int8[2] of avg
    kInt8Avg,     ///< numeric.c, int8_avg_serialize
    kNumericPoly, ///< numeric.c, numeric_poly_serialize
    kFloat4,
    kFloat8,
    kFloat8Triple, ///< float8[3] of avg and stddev
    kWord          ///< min and max of integers and times
};

struct VectorAggregate {
    Oid function;
    agg::StateKind kind;
    EmittedAs emitted;
    int input;  ///< -1 for count(*)
    int filter; ///< input of type bool, -1 for none
};

/// A column of the result: a key or an aggregate.
struct VectorColumn {
    bool is_key;
    int number; ///< of the key or the aggregate
};

struct MergedPlan;

struct VectorPlan {
    uint64 version; ///< of the definition: the same for all processes that know the same one
    const PlannedStmt *statement;
    const ForeignScan *scan;
    List *result_types; ///< the target list of the top node
    int ninputs;
    VectorInput *inputs;
    int nkeys;
    int *keys; ///< inputs
    agg::KeyKind *key_kinds;
    int naggregates;
    VectorAggregate *aggregates;
    int ncolumns;
    VectorColumn *columns;
    const MergedPlan *alone; ///< the plan by itself
};

/// nullptr if the query is not served. `statement`, the planned query of `definition`, must outlive
/// the plan.
VectorPlan *make_vector_plan(const PlannedStmt *statement, Relation definition);

} // namespace pipeline::partial
