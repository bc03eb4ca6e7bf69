// The serialized form of combine_state() and merge_states(): a state and whose it is.
//
// Owns: its bytes. May call: nothing. Invariants: the form is the same on every server major and
// machine, and in every database: objects go by qualified names. It may come from anybody
// (pipelinedb.aggregate_state has an input function), so whoever reads it trusts nothing in it.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::view {

// Byte by byte: 0 = version (1), 1 = CombinedKind, 2-5 = length of the header, little-endian, then
// the header and the state to the end. The header is strings that each end with a zero byte: the
// aggregate, the type of its result (empty: not known), and per input its type and, of a constant
// of type regprocedure, its value (else empty).

enum class CombinedKind : uint8 {
    kNone = 0,     ///< no state: NULL
    kEnvelope = 1, ///< a pipelinedb.aggregate_state
    kBinary = 2,   ///< as the type's send function writes it
    kText = 3      ///< as its output function does, zero byte included
};

struct CombinedBytes {
    CombinedKind kind;
    const char *header;
    Size header_size; ///< not 0: ends with a zero byte
    const char *state;
    Size state_size;
};

/// False if they are no such form, as far as that shows without the aggregate.
bool read_combined(const char *bytes, Size length, CombinedBytes *out);

bytea *write_combined(const CombinedBytes &parts);

} // namespace pipeline::view
