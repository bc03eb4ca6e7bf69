-- Views of the catalog, and what may be done to a continuous view.
CREATE FUNCTION pipelinedb.guard_matrel() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pipeline_guard_matrel' LANGUAGE C;
COMMENT ON FUNCTION pipelinedb.guard_matrel() IS 'refuses changes to the table behind a continuous view, unless pipelinedb.matrels_writable is on';

CREATE FUNCTION pipelinedb.activate(name text) RETURNS bool
    AS 'MODULE_PATHNAME', 'pipeline_activate' LANGUAGE C STRICT;
COMMENT ON FUNCTION pipelinedb.activate(text) IS 'lets a paused, discarding, failed or lost continuous view fold again; true if its state changed';

CREATE FUNCTION pipelinedb.deactivate(name text, discard bool DEFAULT false) RETURNS bool
    AS 'MODULE_PATHNAME', 'pipeline_deactivate' LANGUAGE C STRICT;
COMMENT ON FUNCTION pipelinedb.deactivate(text, bool) IS 'pauses a continuous view; its rows wait in the spool, or with discard are lost to it; true if its state changed';

-- Both views are readable by everybody; an error message may quote data, so it is shown only
-- to the view's owner and to those who watch the server.
CREATE VIEW pipelinedb.views AS
    SELECT q.view AS id,
           n.nspname AS schema,
           c.relname AS name,
           pg_catalog.pg_get_userbyid(c.relowner) AS owner,
           q.streams[1]::pg_catalog.regclass AS stream,
           q.matrel::pg_catalog.regclass AS matrel,
           q.active,
           CASE WHEN q.discards THEN 'discarding'
                WHEN q.lost_since IS NOT NULL AND q.lost_until IS NULL THEN 'lost'
                WHEN NOT q.active THEN 'paused'
                WHEN q.sqlstate IS NOT NULL THEN 'failed'
                ELSE 'active' END AS state,
           pipelinedb.query_text(q.definition) AS query,
           q.sqlstate,
           CASE WHEN pg_catalog.pg_has_role(c.relowner, 'USAGE')
                  OR pg_catalog.pg_has_role('pg_monitor', 'USAGE')
                THEN q.message END AS message,
           q.failed_at,
           q.lost_since,
           q.lost_until,
           q.lost_rows,
           COALESCE((SELECT pg_catalog.sum(r.rows) FROM pipelinedb.rejection r
                      WHERE r.view OPERATOR(pg_catalog.=) q.view), 0)::pg_catalog.int8 AS rejected,
           q.worker,
           q.streams::pg_catalog.regclass[] AS streams
      FROM pipelinedb.query q
      JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) q.view
      JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
     WHERE q.kind OPERATOR(pg_catalog.=) 'v';
COMMENT ON VIEW pipelinedb.views IS 'continuous views and their state';
COMMENT ON COLUMN pipelinedb.views.state IS 'active, paused (deactivate), discarding (deactivate with discard), failed, or lost (detached, since the spool was full)';
COMMENT ON COLUMN pipelinedb.views.stream IS 'the stream that it reads; of several the first';
COMMENT ON COLUMN pipelinedb.views.streams IS 'all streams that it reads';
COMMENT ON COLUMN pipelinedb.views.worker IS 'number of the fold worker that has it (pipelinedb.num_workers)';
COMMENT ON COLUMN pipelinedb.views.query IS 'what the fold worker computes';
COMMENT ON COLUMN pipelinedb.views.message IS 'the error that stopped it; only for its owner and pg_monitor';
COMMENT ON COLUMN pipelinedb.views.lost_since IS 'when it was last detached from its stream: it takes no rows from then on';
COMMENT ON COLUMN pipelinedb.views.lost_until IS 'when pipelinedb.activate() ended that';
COMMENT ON COLUMN pipelinedb.views.lost_rows IS 'rows of its stream that were discarded unread when it was detached, in all';
COMMENT ON COLUMN pipelinedb.views.rejected IS 'rows that are not in the view because they raised an error; those put back for a retry are taken off';

CREATE VIEW pipelinedb.streams AS
    SELECT n.nspname AS schema,
           c.relname AS name,
           ARRAY(SELECT r.relname::pg_catalog.text
                   FROM pipelinedb.query q
                   JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) q.view
                  WHERE c.oid OPERATOR(pg_catalog.=) ANY (q.streams)
                  ORDER BY r.relname) AS queries
      FROM pg_catalog.pg_foreign_table f
      JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) f.ftrelid
      JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
      JOIN pg_catalog.pg_foreign_server s ON s.oid OPERATOR(pg_catalog.=) f.ftserver
      JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid OPERATOR(pg_catalog.=) s.srvfdw
     WHERE w.fdwname OPERATOR(pg_catalog.=) 'stream_fdw';
COMMENT ON VIEW pipelinedb.streams IS 'streams and the continuous views that read them';

GRANT SELECT ON pipelinedb.views, pipelinedb.streams TO PUBLIC;
