// CREATE VIEW over a stream, and what pg_dump makes of such a view.
//
// Owns: the handler of CREATE VIEW. May call: pg/, spool/progress, spool/rendezvous, the other
// files of view/. Invariant: a view is registered in the same transaction that creates its
// relations, after the extension's object lock is held in share mode.
#pragma once

#include "pg/postgres.hpp"

#include "pg/utility_hook.hpp"
#include "view/catalog.hpp"
#include "view/decompose.hpp"
#include "view/view_options.hpp"

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

/// What is refused for every continuous query, whatever it selects.
void check_kind_of_view(const ViewStmt *statement);

/// A query in the form in which it is taken apart, with the view's names for its columns; its
/// streams, and its parts.
struct PreparedQuery {
    Query *query;
    List *streams;
    Decomposition parts;
};
PreparedQuery prepare_view_query(const ViewStmt *statement, const ViewOptions &options,
                                 Query *query);
/// create_transform.cpp
PreparedQuery prepare_transform_query(const ViewStmt *statement, const ViewOptions &options,
                                      Query *query);
/// SELECT NULL::type AS column, … WHERE false: what a transform shows.
Query *empty_query(const Query *query);

/// As DefineView (view.c) does it with CREATE VIEW v(a, b).
void apply_aliases(Query *query, List *aliases);

/// Gives `relid` to the owner of `view`: a user's event trigger on ddl_command_end may have given
/// the view to somebody else by now.
void follow_owner(Oid view, Oid relid);

/// The options of a new definition.
List *definition_options();

/// For restores: the definition of that name, an error if it is none; and whether the current user
/// may link it to a view.
Oid find_definition(const char *name, Oid schema);
void check_definition(Oid definition);

/// Registers a query whose relations exist: catalog row, start progress, dependency. The matrel
/// of a transform is the transform itself.
void register_query(QueryKind kind, Oid view, Oid definition, Oid matrel, const List *streams);

} // namespace pipeline::view
