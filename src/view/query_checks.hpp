// What a continuous query may be: everything else is refused with a message that names it.
//
// Owns: the refusals of CREATE VIEW. May call: pg/, view/from_checks. Invariant: a query that
// passes has one stream in FROM, or one per branch of UNION ALL, bare keys and aggregates that can
// be combined, and touches no temporary object.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

/// Raises ERRCODE_FEATURE_NOT_SUPPORTED: continuous views do not support `what`.
[[noreturn]] void refuse(const char *what, const char *hint);

/// Refuses what cannot be a continuous query; returns its streams, a List of OIDs. The query comes
/// from parse analysis and is not changed.
List *check_query(Query *query);

/// The part of it that concerns expressions.
void check_expressions(Query *query);

/// Raises an error if the stored query of `view` depends on a temporary object of any kind.
void check_no_temporary_objects(Oid view);

/// The range table entry of the only FROM item of a stored or analysed query; nullptr if the
/// query has another shape.
RangeTblEntry *single_from_entry(Query *query);

} // namespace pipeline::view
