// Retention: rows of a continuous view expire so long after the time in one of their columns.
//
// Owns: options ttl and ttl_column, pipelinedb.set_ttl(), and the condition by which readers leave
// out what has expired. May call: pg/, the other files of view/. Invariants: the condition is the
// one by which the fold worker removes rows (fold/expiry_rule), the same in every time zone; NULL
// never expires; the column is stored as readers see it.
#pragma once

#include "pg/postgres.hpp"

#include "view/catalog.hpp"
#include "view/view_options.hpp"

namespace pipeline::view {

/// What WITH (ttl = …, ttl_column = …) asks for, of a view that has just been registered.
void add_ttl(Oid view, const ViewOptions &options);

/// For set_ttl() and ttl_expire(): the continuous view of that name, locked against other changes
/// of it, and its table. Raises an error unless the current user owns it.
const ContinuousQuery *lock_expiring_view(text *name, LOCKMODE table_lock);

/// add_ttl() from the stored options, when a dump is restored: the view has the condition already.
void restore_ttl(Oid view, Oid matrel, List *options);

/// The condition by which a view's own query leaves out what has expired; nullptr: there is none.
Node *ttl_condition(const Query *reading);

/// Those of `options` that restore_ttl() needs.
List *ttl_options(List *options);

} // namespace pipeline::view
