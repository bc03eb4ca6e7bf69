-- The rows that views could not fold, for the owner of the view and for those who watch the
-- server: rows and messages hold data.
CREATE VIEW pipelinedb.errors WITH (security_barrier) AS
    SELECT e.id,
           e.time,
           e.view::pg_catalog.regclass AS view,
           e.sqlstate,
           e.message,
           e.detail,
           e."row",
           e.stream::pg_catalog.regclass AS stream
      FROM pipelinedb.rejected e
      JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) e.view
     WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE')
        OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW pipelinedb.errors IS 'rows that a continuous view could not fold, the latest pipelinedb.max_errors of each; only for its owner and pg_monitor';
COMMENT ON COLUMN pipelinedb.errors.id IS 'ascending in the order of rejection';
COMMENT ON COLUMN pipelinedb.errors.stream IS 'the stream that the row was written to';
COMMENT ON COLUMN pipelinedb.errors."row" IS 'the columns that the owner of the view may read; above 64 kB long values are cut';
GRANT SELECT ON pipelinedb.errors TO PUBLIC;

CREATE FUNCTION pipelinedb.retry_errors(name text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pipeline_retry_errors' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pipelinedb.retry_errors(text) IS 'gives the rows in pipelinedb.errors to their continuous view once more; returns how many. A row that fails again comes back';

CREATE FUNCTION pipelinedb.clear_errors(name text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'pipeline_clear_errors' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pipelinedb.clear_errors(text) IS 'deletes the rows of a continuous view from pipelinedb.errors for good; returns how many';
