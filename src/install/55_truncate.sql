-- What pipelinedb.truncate_continuous_view() leaves: which transactions a view no longer counts.
-- The rows of these may wait in the spool still. Belongs to this cluster's transaction ids, as
-- progress does.
CREATE TABLE pipelinedb.truncation (
    view  oid PRIMARY KEY,
    seen  pg_snapshot NOT NULL,
    xid   xid8 NOT NULL,
    seq   int8 NOT NULL
) USING heap;
COMMENT ON TABLE pipelinedb.truncation IS 'the last truncation of each continuous view that was ever truncated';
COMMENT ON COLUMN pipelinedb.truncation.view IS 'the view that users read';
COMMENT ON COLUMN pipelinedb.truncation.seen IS 'a transaction that is visible in this snapshot does not count any more';
COMMENT ON COLUMN pipelinedb.truncation.xid IS 'the transaction that truncated the view';
COMMENT ON COLUMN pipelinedb.truncation.seq IS 'of that transaction, chunks after this number count';
CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.truncation
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.truncation ENABLE REPLICA TRIGGER drop_replicated;

CREATE FUNCTION pipelinedb.truncate_continuous_view(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'pipeline_truncate_continuous_view' LANGUAGE C STRICT;
COMMENT ON FUNCTION pipelinedb.truncate_continuous_view(text) IS 'empties a continuous view: no row that was committed before counts any more, folded or not';
