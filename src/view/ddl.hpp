// The handlers of single statement kinds; see the .cpp files named beside them.
//
// Owns: nothing. May call: pg/. Invariant: a handler that finds nothing of ours in a statement
// runs it unchanged.
#pragma once

#include "pg/postgres.hpp"

#include "pg/utility_hook.hpp"
#include "view/catalog.hpp"

namespace pipeline::view {

// alter_view.cpp
void handle_alter_table(pg::UtilityCall &call, pg::UtilityNext next);
void handle_rename(pg::UtilityCall &call, pg::UtilityNext next);
void handle_set_schema(pg::UtilityCall &call, pg::UtilityNext next);

void handle_create_trigger(pg::UtilityCall &call, pg::UtilityNext next);
void handle_create_rule(pg::UtilityCall &call, pg::UtilityNext next);

// index_ddl.cpp
void handle_create_index(pg::UtilityCall &call, pg::UtilityNext next);
void handle_vacuum(pg::UtilityCall &call, pg::UtilityNext next);
/// Raises an error unless the table's columns `names` (Strings) contain all of the view's keys.
void check_unique(const ContinuousQuery *query, List *names);

// drop_view.cpp
void install_drop_hook();
void handle_drop(pg::UtilityCall &call, pg::UtilityNext next);
void handle_drop_owned(pg::UtilityCall &call, pg::UtilityNext next);

// functions.cpp: the continuous view of that name; an error unless the current user owns it
Oid own_continuous_view(text *name);

// stream_ddl.cpp
void handle_create_stream(pg::UtilityCall &call, pg::UtilityNext next);
void handle_create_table(pg::UtilityCall &call, pg::UtilityNext next);
void handle_create_table_as(pg::UtilityCall &call, pg::UtilityNext next);
void handle_copy(pg::UtilityCall &call, pg::UtilityNext next);
void handle_create_extension(pg::UtilityCall &call, pg::UtilityNext next);

// stream_dml.cpp
void install_dml_checks();

} // namespace pipeline::view
