// Who may run the functions that an aggregate is made of.
//
// Owns: nothing. May call: pg/. Invariant: wherever a component function of an aggregate is
// called without an Agg node, this was asked first.
#pragma once

#include "pg/postgres.hpp"

namespace pipeline::view {

/// Raises the usual error unless `role` may execute `function`.
void check_may_execute(Oid function, Oid role, ObjectType kind);

/// As ExecInitAgg (nodeAgg.c): the owner of the aggregate needs the right to its functions.
/// InvalidOid among them is passed over.
void check_component_functions(Oid aggregate, const Oid *functions, int count);

} // namespace pipeline::view
