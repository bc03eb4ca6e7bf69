// What may stand beside the stream in FROM, and in subqueries of every kind.
//
// Owns: the refusals that concern joins and subqueries, and the rights to what a query reads.
// May call: pg/, view/catalog, view/query_checks, view/union_streams. Invariant: a query that
// passes has one stream in each branch of UNION ALL, on the side of every outer join whose rows are
// all kept, below no aggregation but the top one.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace pipeline::view {

/// True if a stream is named anywhere in the query, on any level.
bool names_a_stream(Query *query);

/// Refuses a FROM clause or a subquery that cannot be folded; returns the query's streams.
List *check_from(Query *query);

/// The streams of a query that check_from() has accepted, each once, as a List of OIDs.
List *streams_of(Query *query);

/// Rewrites a copy of the query as the fold will do, and raises the server's error unless the
/// current user may read all that it reads, views taken apart. Refuses a view that reads a
/// stream itself, or locks rows.
void check_expansion(Query *query);

} // namespace pipeline::view
