// The time by which windows move and rows expire: the server's clock, which tests can put forward.
//
// Owns: nothing. May call: settings. Invariant: all that compares arrival_timestamp with the time
// uses this clock, never the server's directly.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::pg {

/// clock_timestamp() plus pipelinedb.clock_offset.
TimestampTz now();

/// The same as of the start of the statement, or of the fold worker's transaction: one value for
/// all rows that a query looks at, also in parallel workers.
TimestampTz statement_time();

} // namespace pipeline::pg
