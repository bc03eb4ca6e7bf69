// CREATE VIEW over a stream, and what pg_dump makes of such a view.
//
// Owns: the handler of CREATE VIEW. May call: pg/, spool/progress, spool/rendezvous, the other
// files of view/. Invariant: a view is registered in the same transaction that creates its
// relations, after the extension's object lock is held in share mode.
#pragma once

#include "pg/postgres.hpp"

#include "pg/utility_hook.hpp"
#include "view/catalog.hpp"

namespace pipeline::view {

/// The handler of T_ViewStmt.
void handle_create_view(pg::UtilityCall &call, pg::UtilityNext next);

/// The restore paths (restore.cpp): CREATE VIEW … WITH (action=definition) and
/// WITH (action=materialize, definition=…).
void restore_definition(pg::UtilityCall &call, pg::UtilityNext next, Query *query);
void restore_view(pg::UtilityCall &call, pg::UtilityNext next);

/// Analyses a copy of the statement's query, as DefineView will do again.
Query *analyse_view_query(pg::UtilityCall &call);

/// The view that the statement has just created.
Oid created_view(const ViewStmt *statement, Oid schema);
/// The schema in which it will be created; takes the usual locks and checks the right to.
Oid creation_schema(const ViewStmt *statement);

/// The view counts from here on: its start progress, and the lock that keeps what it needs.
void start_counting(const ContinuousQuery &query);

/// A copy of the query that a view or a definition stores.
Query *stored_query(Oid view);

/// Registers a view whose relations exist: catalog row, start progress, dependency.
void register_view(Oid view, Oid definition, Oid matrel, const List *streams);

} // namespace pipeline::view
