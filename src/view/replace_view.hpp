// CREATE OR REPLACE VIEW of a continuous view or transform.
//
// Owns: the statement. May call: pg/, spool/rendezvous, the other files of view/. Invariants: what
// is stored stays; a transaction is folded by the old query or by the new one as a whole
// (replace_seam.hpp says by which).
#pragma once

#include "pg/postgres.hpp"

#include "pg/utility_hook.hpp"
#include "view/catalog.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

/// True if the statement says OR REPLACE and there is something to replace.
bool is_replacement(const ViewStmt *statement);

/// For a statement without a stream: raises an error if it would replace one of ours.
void refuse_ordinary_replacement(const ViewStmt *statement);

/// `query` is the new one, as analysed.
void replace_query(pg::UtilityCall &call, pg::UtilityNext next, Query *query, QueryKind kind);

} // namespace pipeline::view
