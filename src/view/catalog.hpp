// The extension's catalog as the rest of the code sees it: which continuous views there are.
//
// Owns: access to pipelinedb.query. May call: pg/. Invariants: rows are read with a fresh
// catalog snapshot; a Query is plain data in the caller's memory context.
#pragma once

#include "pg/postgres.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "foreign/foreign.h"
}

namespace pipeline::view {

enum class QueryKind : char { kView = 'v', kTransform = 't' };

/// More streams in one query are refused: a row of pipelinedb.query stays small.
inline constexpr int kMaxStreams = 64;

/// A row of pipelinedb.query.
struct ContinuousQuery {
    Oid view;
    Oid definition;
    Oid matrel;
    int nstreams;
    Oid streams[kMaxStreams]; ///< in the order of the query's text
    FullTransactionId created_xid;
    int64 created_seq;
    int worker; ///< number of the fold worker that has it
    bool active;
    bool failed;
    bool lost;     ///< detached from its stream; has no progress
    bool discards; ///< ... because somebody wanted it so
    QueryKind kind;
    AttrNumber expire_column; ///< of the matrel: rows expire by it; 0 = they stay
    Interval expire_after;    ///< so long after that time
    Oid output;               ///< its output stream, InvalidOid until a query reads it

    /// `source` is what a chunk names: a stream, a view to which rows are given once more, or a
    /// definition whose groups a writer has aggregated.
    bool reads(Oid source) const
    {
        return reads_stream(source) || view == source || definition == source;
    }

    bool reads_stream(Oid stream) const
    {
        for (int i = 0; i < nstreams; i++)
            if (streams[i] == stream)
                return true;
        return false;
    }
};

/// OID of relation `name` of schema pipelinedb; InvalidOid where the extension is not there.
Oid catalog_relation(const char *name);

/// True when the extension is installed in this database.
bool extension_installed();

/// All continuous queries, oldest first, as a List of ContinuousQuery *; as `snapshot` sees
/// them, by default a fresh one.
List *list_queries(Snapshot snapshot = nullptr);

/// The one whose view (or definition, or matrel) is `relid`; nullptr if there is none.
ContinuousQuery *find_query(Oid relid);

/// The one whose output stream this is; nullptr if it is a stream of another kind.
ContinuousQuery *find_query_of_output(Oid stream);

/// The partitioned table that `relid` is a partition of, else `relid` itself: what find_query() may
/// know.
Oid matrel_of_table(Oid relid);

/// Writers of pipelinedb.query: CREATE VIEW, DROP VIEW, activate and deactivate.
void insert_query(const ContinuousQuery &query);
void delete_query(Oid view);
/// InvalidOid: it has none any more.
void set_output(Oid view, Oid output);
/// Changes when rows of the view expire; `column` 0: they stay.
void set_expiry(Oid view, AttrNumber column, const Interval &after);
/// Returns whether the state changed; activating clears a failure.
bool set_active(Oid view, bool active);

/// The fold workers that have a view of `source`, a stream or the view itself (InvalidOid: any
/// view), bit n for number n.
uint32 workers_of_source(Oid source);

/// Gives the view to another fold worker, in the current transaction; false if it is gone or
/// another transaction has changed its row: try again later.
bool set_worker(Oid view, int worker);

/// Makes every backend that listens for relcache messages on pipelinedb.query look again.
void announce_change();

/// Marks a view as failed (fold worker) in the current transaction; false if another
/// transaction holds its row: try again later.
bool mark_failed(Oid view, int sqlstate, const char *message);

/// Locks the row of a view to the end of the transaction; false if it is gone, or another
/// transaction has changed it and not ended. Nobody is waited for.
bool lock_query_at_once(Oid view);

/// Marks a view, whose row is locked, as detached from its stream with `rows` unread.
void mark_lost(Oid view, int64 rows);
/// Marks a view as detached by its owner; waits for others who change its row. False if that was so
/// before, or the view is gone.
bool mark_discarding(Oid view);
/// The view begins anew, at the current place of the current transaction.
void mark_found(Oid view, int64 created_seq);

/// True if `relid` is a stream: a foreign table of this extension's foreign-data wrapper.
bool is_stream(Oid relid);

/// The same for a server: its foreign-data wrapper is this extension's.
bool is_stream_server(ForeignServer *server);

/// The settings that a query runs with are kept as reloptions of its definition; this applies
/// them (set_config_option, GUC_ACTION_SAVE) inside the caller's GUC nest level.
void apply_creation_settings(Relation definition);

/// The value of one of them, in CurrentMemoryContext; nullptr if it was not kept.
const char *creation_setting(Relation definition, const char *name);

} // namespace pipeline::view
