// A matrel that is open for writing: its indexes and what the executor needs for them.
//
// Owns: which tables can be written below the executor, and the steps that ModifyTable would do.
// May call: pg/. Invariants: the table has no row triggers and foreign keys, so none is passed
// by; check constraints and indexes hold as after an ordinary INSERT or UPDATE.
#pragma once

#include "pg/postgres.hpp"

#include "pg/compat.hpp"

extern "C" {
#include "nodes/execnodes.h"
}

namespace pipeline::fold {

struct MatrelTarget {
    Relation matrel;
    EState *estate;
    ResultRelInfo *info;
};

/// Raises an error if the table has triggers or foreign keys that would be passed by.
void refuse_triggers(Relation matrel);

/// `matrel` is locked.
MatrelTarget open_target(Relation matrel);

/// Raises the error of a violated constraint. Before the row is written.
void check_row(MatrelTarget &target, TupleTableSlot *row);

/// After a row was inserted, or updated with this answer of the table access method.
void index_inserted(MatrelTarget &target, TupleTableSlot *row);
void index_updated(MatrelTarget &target, TupleTableSlot *row, pg::UpdateIndexes update);

void close_target(MatrelTarget &target);

} // namespace pipeline::fold
