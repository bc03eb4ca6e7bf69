// How the state of an aggregate is kept in a column of a matrel.
//
// Owns: the choice of the column's type and the envelope around serialized states. May call:
// pg/, view/combined_form. Invariant: a stored form is readable by every later version on the same
// server major; forms of kind kResult, kTransition and native kSerialized on any major.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/primnodes.h"
}

namespace pipeline::view {

enum class StateKind : uint8 {
    kResult,     ///< state and result are the same: the column can be read directly
    kTransition, ///< the transition state, of an ordinary type; the final function reads it
    kSerialized  ///< pipelinedb.aggregate_state: envelope + what the serial function returned
};

/// Serial functions whose layout is the same from PostgreSQL 14 on: the server's own, and ours.
enum class NativeLayout : uint8 {
    kNone = 0,
    kNumericAvg = 1,  ///< numeric_avg_serialize
    kNumeric = 2,     ///< numeric_serialize
    kNumericPoly = 3, ///< numeric_poly_serialize
    kInt8Avg = 4,     ///< int8_avg_serialize
    kIntervalAvg = 5, ///< interval_avg_serialize
    kCombined = 6     ///< combine_state_serialize, ours: view/combined_form.hpp
};

struct StateForm {
    StateKind kind;
    NativeLayout native;
    bool finalextra;  ///< the final function gets NULLs for the aggregate's inputs
    bool polymorphic; ///< the transition type follows from the inputs' types
    Oid aggregate;
    Oid transtype; ///< resolved, INTERNALOID for kSerialized
    Oid column_type;
    Oid column_collation;
    Oid combinefn;
    Oid serialfn;    ///< InvalidOid unless kSerialized
    Oid deserialfn;  ///< InvalidOid unless kSerialized
    Oid finalfn;     ///< InvalidOid for kResult
    uint32 identity; ///< of a foreign serialized form: whose bytes they are
};

/// The form of one aggregate call. Raises ERRCODE_FEATURE_NOT_SUPPORTED, naming the
/// aggregate, if its state cannot be stored and combined.
StateForm state_form_of(const Aggref *aggref);

/// The same for an aggregate and its input types. With `input_types` == nullptr the inputs are
/// not known: raises an error if the transition type follows from them.
StateForm state_form_of(Oid aggregate, Oid result_type, Oid collation, Oid *input_types,
                        int num_inputs);

/// What the column holds before the first row.
Datum initial_state(const StateForm &form, bool *isnull);

/// OID of pipelinedb.aggregate_state.
Oid aggregate_state_type();

/// kSerialized only. `serialized` is what the serial function returned; the result is the
/// value of the column.
bytea *wrap_state(const StateForm &form, const bytea *serialized);

/// The inverse: a bytea for the deserial function, in the current memory context. Raises an
/// error if the bytes belong to another aggregate, or to another major where it matters.
bytea *unwrap_state(const StateForm &form, Datum stored);

/// Raises ERRCODE_INVALID_BINARY_REPRESENTATION if `stored` is no well-formed envelope, or
/// native bytes in it that the server's deserial functions could not be trusted with.
/// Returns true for a native form, whose bytes were checked to the end.
bool check_envelope(const bytea *stored);

} // namespace pipeline::view
