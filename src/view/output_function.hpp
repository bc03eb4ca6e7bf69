// The function of a transform: what is called for each row that it hands on.
//
// Owns: option outputfunc, and the search for cycles. May call: pg/, view/catalog, view/output.
// Invariant: what pipelinedb.insert_into_stream() of a transform writes does not come back to it.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::view {

struct OutputFunction {
    Oid function; ///< InvalidOid = none
    List *name;   ///< as the grammar has it
    List *args;   ///< of String
};

/// Reads outputfunc = name('arg', …), also as a string. `option` may be nullptr.
OutputFunction parse_output_function(const DefElem *option);

/// Makes it the trigger of the transform's output stream.
void call_for_output(const OutputFunction &function, Oid output);

/// True if it is that already.
bool is_called_for_output(const OutputFunction &function, Oid output);

/// Raises an error if the rows that the function of a transform over `streams` writes would come
/// back to it.
void check_no_cycle(const OutputFunction &function, const List *streams);

/// Raises an error if what a trigger of `source` inserts into `stream` would come back to `source`.
void check_trigger(Oid stream, Oid source);

/// The same for a trigger that is being created. What it names and is not there is left to its
/// first call: a dump may have such a trigger.
void check_trigger(const CreateTrigStmt *statement, Oid source);

/// True if rows of `stream` come, by views, transforms and their outputs, to one of `goals`.
bool leads_to(Oid stream, const List *goals);

/// Raises an error unless rows of `given` can be inserted into `stream` as they are.
void check_target(Oid stream, TupleDesc given);

/// OID of pipelinedb.insert_into_stream().
Oid insert_into_stream_function();

/// The stream of that name. Raises an error if it is none.
Oid named_stream(const char *name);

} // namespace pipeline::view
