-- One row per continuous view. Derived from the reloptions of the view and its definition, so
-- pg_dump brings views back without this table.
CREATE TABLE pipelinedb.query (
    view         oid PRIMARY KEY,
    definition   oid NOT NULL UNIQUE,
    matrel       oid NOT NULL UNIQUE,
    streams      oid[] NOT NULL,
    created_xid  xid8 NOT NULL,
    created_seq  int8 NOT NULL,
    worker       int4 NOT NULL CHECK (worker BETWEEN 0 AND 15),
    active       bool NOT NULL DEFAULT true,
    sqlstate     text,
    message      text,
    failed_at    timestamptz,
    lost_since   timestamptz,
    lost_until   timestamptz,
    lost_rows    int8 NOT NULL DEFAULT 0,
    kind         "char" NOT NULL DEFAULT 'v',
    expire_column int2,
    expire_after interval,
    output       oid UNIQUE,
    discards     bool NOT NULL DEFAULT false
) USING heap;
COMMENT ON TABLE pipelinedb.query IS 'continuous views; read pipelinedb.views instead';
COMMENT ON COLUMN pipelinedb.query.view IS 'the view that users read';
COMMENT ON COLUMN pipelinedb.query.definition IS 'the hidden view that holds the query';
COMMENT ON COLUMN pipelinedb.query.matrel IS 'the table with one row per group';
COMMENT ON COLUMN pipelinedb.query.streams IS 'the streams that the query reads, in the order of its text';
COMMENT ON COLUMN pipelinedb.query.created_xid IS 'the transaction that created the view';
COMMENT ON COLUMN pipelinedb.query.created_seq IS 'of that transaction, chunks after this number count';
COMMENT ON COLUMN pipelinedb.query.worker IS 'number of the fold worker that has it; changed by this worker, or by worker 0 in its absence';
COMMENT ON COLUMN pipelinedb.query.active IS 'false after pipelinedb.deactivate()';
COMMENT ON COLUMN pipelinedb.query.sqlstate IS 'the error that stopped the view, NULL while it folds';
COMMENT ON COLUMN pipelinedb.query.message IS 'its message';
COMMENT ON COLUMN pipelinedb.query.failed_at IS 'when it stopped';
COMMENT ON COLUMN pipelinedb.query.lost_since IS 'when the view was last detached from its stream, since the spool was full';
COMMENT ON COLUMN pipelinedb.query.lost_until IS 'when pipelinedb.activate() ended that; NULL while it lasts';
COMMENT ON COLUMN pipelinedb.query.lost_rows IS 'rows that waited for the view when it was detached, of all times together';
COMMENT ON COLUMN pipelinedb.query.kind IS 'v = continuous view, t = continuous transform';
COMMENT ON COLUMN pipelinedb.query.expire_column IS 'column of the table by whose time rows expire; NULL = they stay';
COMMENT ON COLUMN pipelinedb.query.expire_after IS 'so long after that time: the size of a sliding window, or a ttl';
COMMENT ON COLUMN pipelinedb.query.output IS 'its output stream; NULL until a query reads it';
COMMENT ON COLUMN pipelinedb.query.discards IS 'deactivated with discard => true: detached from its stream, nothing waits for it';
CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.query
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.query ENABLE REPLICA TRIGGER drop_replicated;
