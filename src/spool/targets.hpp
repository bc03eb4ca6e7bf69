// For whom the rows of a statement are: for all who read the stream, or for some views alone.
//
// Owns: what pipelinedb.stream_targets says, and the aim of the next statement (backfill). May
// call: pg/, view/catalog. Invariants: rows that are for a view alone go to the spool under its
// OID, and the view is locked to the end of the transaction, so that none outlives it; the setting
// is of the session that writes, so functions with the rights of others do not follow it.
#pragma once

#include "pg/postgres.hpp"

#include "spool/writer.hpp"

namespace pipeline::spool {

struct Targets {
    bool all;            ///< nobody in particular
    int count;           ///< else these views; none of those named may read the stream
    const Source *views; ///< in the context of the caller
};

/// To be called when a statement begins to write to `stream`. Names are resolved and the views
/// locked.
Targets targets_of_statement(Oid stream);

/// False if the next one is for all who read the stream.
bool has_targets(Oid stream);

/// The next statement of this transaction that begins to write to `stream` is for `view` alone,
/// which the caller has locked. If the (sub)transaction fails before, it is forgotten.
void aim_next_statement(Oid stream, Oid view);

/// After that statement: an error if it did not write to that stream.
void check_aim();

/// Registers the callbacks for that (from _PG_init).
void install_targets();

} // namespace pipeline::spool
