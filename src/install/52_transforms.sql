-- What transforms are made of.
CREATE FUNCTION pipelinedb.insert_into_stream() RETURNS trigger
    AS 'MODULE_PATHNAME', 'pipeline_insert_into_stream' LANGUAGE C;
COMMENT ON FUNCTION pipelinedb.insert_into_stream() IS 'trigger function: writes each row to the streams that its arguments name';

CREATE FUNCTION output_of(query text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'pipeline_output_of' LANGUAGE C STRICT;
COMMENT ON FUNCTION output_of(text) IS 'in FROM of a continuous query: the output stream of a continuous view or transform';

CREATE VIEW pipelinedb.transforms AS
    SELECT q.view AS id,
           n.nspname AS schema,
           c.relname AS name,
           pg_catalog.pg_get_userbyid(c.relowner) AS owner,
           q.streams[1]::pg_catalog.regclass AS stream,
           q.output::pg_catalog.regclass AS output,
           q.active,
           CASE WHEN q.discards THEN 'discarding'
                WHEN q.lost_since IS NOT NULL AND q.lost_until IS NULL THEN 'lost'
                WHEN NOT q.active THEN 'paused'
                WHEN q.sqlstate IS NOT NULL THEN 'failed'
                ELSE 'active' END AS state,
           t.tgfoid::pg_catalog.regproc AS tgfunc,
           CASE WHEN t.tgnargs OPERATOR(pg_catalog.>) 0 THEN
               pg_catalog.trim_array(pg_catalog.string_to_array(
                   pg_catalog.encode(t.tgargs, 'escape'), E'\\000'), 1) END AS tgargs,
           pipelinedb.query_text(q.definition) AS query,
           q.sqlstate,
           CASE WHEN pg_catalog.pg_has_role(c.relowner, 'USAGE')
                  OR pg_catalog.pg_has_role('pg_monitor', 'USAGE')
                THEN q.message END AS message,
           q.failed_at,
           q.lost_rows,
           COALESCE((SELECT pg_catalog.sum(r.rows) FROM pipelinedb.rejection r
                      WHERE r.view OPERATOR(pg_catalog.=) q.view), 0)::pg_catalog.int8 AS rejected,
           q.worker
      FROM pipelinedb.query q
      JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) q.view
      JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
      LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid OPERATOR(pg_catalog.=) q.output
           AND t.tgname OPERATOR(pg_catalog.=) 'pipelinedb_output'
     WHERE q.kind OPERATOR(pg_catalog.=) 't';
COMMENT ON VIEW pipelinedb.transforms IS 'continuous transforms and their state';
COMMENT ON COLUMN pipelinedb.transforms.output IS 'the output stream; NULL until a query reads it';
COMMENT ON COLUMN pipelinedb.transforms.tgfunc IS 'the function that is called for each row';
COMMENT ON COLUMN pipelinedb.transforms.tgargs IS 'its arguments';
COMMENT ON COLUMN pipelinedb.transforms.state IS 'as in pipelinedb.views';
GRANT SELECT ON pipelinedb.transforms TO PUBLIC;
