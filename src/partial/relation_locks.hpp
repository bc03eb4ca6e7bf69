// Locks on what a query reads beside the stream, taken without waiting.
//
// Owns: the walk over a query's relations. May call: pg/. Invariants: nobody's lock is waited
// for; a relation whose file may have been replaced after the active snapshot was taken counts
// as locked by somebody, since that snapshot would see it empty.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pipeline::partial {

/// A relation that could not be locked; InvalidOid if all could.
Oid lock_query_relations(Oid definition);
Oid lock_statement_relations(const PlannedStmt *statement);

} // namespace pipeline::partial
