// CREATE VIEW … WITH (action = transform): a query whose rows are handed on, not stored.
//
// Owns: the refusals of transforms and the shape of their relations. May call: pg/, the other files
// of view/. Invariants: the view shows no rows and has the columns of the query; its function is
// an AFTER INSERT row trigger of its output stream, so that rights, renames, dependencies and dumps
// of it are the server's.
#pragma once

#include "pg/postgres.hpp"

#include "pg/utility_hook.hpp"

namespace pipeline::view {

/// `query` is analysed and names a stream.
void create_transform(pg::UtilityCall &call, pg::UtilityNext next, Query *query);

/// From a dump: WITH (action = transform, definition = …).
void restore_transform(pg::UtilityCall &call, pg::UtilityNext next);

/// The name of the trigger that calls the function.
inline constexpr char kOutputTrigger[] = "pipelinedb_output";

} // namespace pipeline::view
