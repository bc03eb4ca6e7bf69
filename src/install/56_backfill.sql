-- History for continuous views. What is stored here belongs to this cluster's transaction ids, as
-- progress does.
CREATE TABLE pipelinedb.backfill_job (
    view           oid PRIMARY KEY,
    source         oid,
    stream         oid NOT NULL,
    seam           bool NOT NULL,
    view_created   xid8 NOT NULL,
    view_truncated xid8 NOT NULL,
    seen           pg_snapshot NOT NULL,
    seen_at        pg_lsn NOT NULL,
    tables         oid[] NOT NULL,
    files          oid[] NOT NULL,
    blocks         int8[] NOT NULL,
    position       int8 NOT NULL,
    blocks_done    int8 NOT NULL,
    blocks_total   int8 NOT NULL,
    rows           int8 NOT NULL,
    updated_rows   int8 NOT NULL,
    started        timestamptz NOT NULL,
    changed        timestamptz NOT NULL,
    finished       timestamptz,
    sqlstate       text,
    message        text
) USING heap WITH (fillfactor = 50);
COMMENT ON TABLE pipelinedb.backfill_job IS 'the last backfill of each continuous view; read pipelinedb.backfills instead';
COMMENT ON COLUMN pipelinedb.backfill_job.view IS 'the view that users read';
COMMENT ON COLUMN pipelinedb.backfill_job.source IS 'the table that is read; NULL = a query';
COMMENT ON COLUMN pipelinedb.backfill_job.stream IS 'the stream of the view through which the rows go';
COMMENT ON COLUMN pipelinedb.backfill_job.seam IS 'the view was emptied at the beginning';
COMMENT ON COLUMN pipelinedb.backfill_job.view_created IS 'pipelinedb.query.created_xid at the beginning';
COMMENT ON COLUMN pipelinedb.backfill_job.view_truncated IS 'pipelinedb.truncation.xid at the beginning, 0 = none';
COMMENT ON COLUMN pipelinedb.backfill_job.seen IS 'a row is history when its xmin is visible in this snapshot, subtransactions included';
COMMENT ON COLUMN pipelinedb.backfill_job.seen_at IS 'the end of the WAL when that was taken';
COMMENT ON COLUMN pipelinedb.backfill_job.tables IS 'the source, or its partitions, at the beginning';
COMMENT ON COLUMN pipelinedb.backfill_job.files IS 'the file of each of them: with another one its rows have moved';
COMMENT ON COLUMN pipelinedb.backfill_job.blocks IS 'the size of each of them';
COMMENT ON COLUMN pipelinedb.backfill_job.position IS 'the next block, the same in all tables';
COMMENT ON COLUMN pipelinedb.backfill_job.blocks_done IS 'blocks that were read, over all tables';
COMMENT ON COLUMN pipelinedb.backfill_job.blocks_total IS 'blocks to be read, over all tables';
COMMENT ON COLUMN pipelinedb.backfill_job.rows IS 'rows that went to the view';
COMMENT ON COLUMN pipelinedb.backfill_job.updated_rows IS 'rows that were met and had been updated after the beginning';
COMMENT ON COLUMN pipelinedb.backfill_job.started IS 'when it began';
COMMENT ON COLUMN pipelinedb.backfill_job.changed IS 'when the last piece was done';
COMMENT ON COLUMN pipelinedb.backfill_job.finished IS 'when all was done; NULL = not yet';
COMMENT ON COLUMN pipelinedb.backfill_job.sqlstate IS 'the error that ended the last attempt';
COMMENT ON COLUMN pipelinedb.backfill_job.message IS 'its message';
CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.backfill_job
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.backfill_job ENABLE REPLICA TRIGGER drop_replicated;

CREATE PROCEDURE pipelinedb.backfill(view text, source text DEFAULT NULL, query text DEFAULT NULL, seam bool DEFAULT true, stream text DEFAULT NULL)
    AS 'MODULE_PATHNAME', 'pipeline_backfill' LANGUAGE C;
COMMENT ON PROCEDURE pipelinedb.backfill(text, text, text, bool, text) IS 'fills a continuous view with the rows of a table or query from before, while its stream goes on; without both it resumes';

CREATE FUNCTION pipelinedb.cancel_backfill(view text) RETURNS bool
    AS 'MODULE_PATHNAME', 'pipeline_cancel_backfill' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pipelinedb.cancel_backfill(text) IS 'forgets the backfill of a continuous view, which keeps what it has; true if there was one';

CREATE FUNCTION pipelinedb.backfill_takes(table_id oid, row_id tid, row_xmin xid) RETURNS bool
    AS 'MODULE_PATHNAME', 'pipeline_backfill_takes' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION pipelinedb.backfill_takes(oid, tid, xid) IS 'for the statements of pipelinedb.backfill() alone: is this row history?';

-- Who runs a backfill holds a lock on its view, under the number of the table above.
CREATE VIEW pipelinedb.backfills AS
    SELECT COALESCE(j.view, l.view)::pg_catalog.regclass AS view,
           j.source::pg_catalog.regclass AS source,
           CASE WHEN l.view IS NOT NULL THEN 'running'
                WHEN j.finished IS NOT NULL THEN 'done'
                WHEN j.sqlstate IS NOT NULL THEN 'failed'
                ELSE 'interrupted' END AS state,
           j.seam,
           l.pid,
           j.blocks_done,
           j.blocks_total,
           CASE WHEN j.finished IS NOT NULL THEN 100.0
                WHEN j.blocks_total OPERATOR(pg_catalog.>) 0
                THEN pg_catalog.round(100.0 OPERATOR(pg_catalog.*) j.blocks_done OPERATOR(pg_catalog./) j.blocks_total, 1)
                END AS percent,
           j.rows,
           j.updated_rows,
           j.started,
           j.changed,
           j.finished,
           j.sqlstate,
           CASE WHEN pg_catalog.pg_has_role(c.relowner, 'USAGE')
                  OR pg_catalog.pg_has_role('pg_monitor', 'USAGE')
                THEN j.message END AS message
      FROM pipelinedb.backfill_job j
      FULL JOIN (SELECT k.objid AS view, k.pid
                   FROM pg_catalog.pg_locks k
                  WHERE k.locktype OPERATOR(pg_catalog.=) 'object' AND k.granted
                    AND k.classid OPERATOR(pg_catalog.=) 'pipelinedb.backfill_job'::pg_catalog.regclass
                    AND k.database OPERATOR(pg_catalog.=)
                        (SELECT d.oid FROM pg_catalog.pg_database d
                          WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())) l
        ON l.view OPERATOR(pg_catalog.=) j.view
      LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) COALESCE(j.view, l.view);
COMMENT ON VIEW pipelinedb.backfills IS 'the last backfill of each continuous view, and how far it is; one that runs in a single transaction shows its numbers when it has committed';
COMMENT ON COLUMN pipelinedb.backfills.source IS 'the table that is read; NULL = a query';
COMMENT ON COLUMN pipelinedb.backfills.state IS 'running, interrupted or failed (CALL pipelinedb.backfill(view) goes on), or done';
COMMENT ON COLUMN pipelinedb.backfills.seam IS 'the view was emptied at the beginning';
COMMENT ON COLUMN pipelinedb.backfills.percent IS 'of the blocks';
COMMENT ON COLUMN pipelinedb.backfills.rows IS 'rows that went to the view';
COMMENT ON COLUMN pipelinedb.backfills.updated_rows IS 'rows that were updated after the beginning, as far as they were met: they may be missing or twice in the view';
COMMENT ON COLUMN pipelinedb.backfills.message IS 'the error that ended the last attempt; only for the owner of the view and pg_monitor';
GRANT SELECT ON pipelinedb.backfills TO PUBLIC;
