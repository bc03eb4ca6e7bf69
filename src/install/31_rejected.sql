-- Rows that a view could not fold. The fold worker writes them in the transaction that folds the
-- others. As members of the extension these tables are in no dump.
CREATE SEQUENCE pipelinedb.rejected_id;
COMMENT ON SEQUENCE pipelinedb.rejected_id IS 'numbers of pipelinedb.errors';

CREATE TABLE pipelinedb.rejected (
    id       int8 PRIMARY KEY,
    view     oid NOT NULL,
    time     timestamptz NOT NULL,
    sqlstate text NOT NULL,
    message  text NOT NULL,
    detail   text,
    "row"    jsonb,
    chunk    bytea NOT NULL,
    stream   oid NOT NULL
) USING heap;
CREATE INDEX rejected_view_idx ON pipelinedb.rejected (view, id);
COMMENT ON TABLE pipelinedb.rejected IS 'rows that raised an error; read pipelinedb.errors instead';
COMMENT ON COLUMN pipelinedb.rejected.id IS 'ascending in the order of rejection';
COMMENT ON COLUMN pipelinedb.rejected.view IS 'the continuous view that could not fold the row';
COMMENT ON COLUMN pipelinedb.rejected.time IS 'when that was';
COMMENT ON COLUMN pipelinedb.rejected.sqlstate IS 'the error';
COMMENT ON COLUMN pipelinedb.rejected.message IS 'its message, cut at 1000 bytes';
COMMENT ON COLUMN pipelinedb.rejected.detail IS 'its detail, cut at 1000 bytes';
COMMENT ON COLUMN pipelinedb.rejected."row" IS 'the columns that the owner of the view may read; NULL if they cannot be shown';
COMMENT ON COLUMN pipelinedb.rejected.chunk IS 'the row as it was spooled; pipelinedb.retry_errors() puts it back';
COMMENT ON COLUMN pipelinedb.rejected.stream IS 'the stream that the row was written to';

-- Only ever inserted to, but for the fold worker, which sums up what it sees: a session that
-- has put rows back and does not end must not keep the worker waiting.
CREATE TABLE pipelinedb.rejection (
    view oid NOT NULL,
    rows int8 NOT NULL
) USING heap;
CREATE INDEX rejection_view_idx ON pipelinedb.rejection (view);
COMMENT ON TABLE pipelinedb.rejection IS 'how many rows were rejected, less those put back; the sum per view counts';
COMMENT ON COLUMN pipelinedb.rejection.view IS 'a continuous view';
COMMENT ON COLUMN pipelinedb.rejection.rows IS 'rows rejected, or with a minus put back';

-- Empty while the server ends as it should.
CREATE TABLE pipelinedb.attempt (
    consumer oid PRIMARY KEY,
    number   int4 NOT NULL,
    started  timestamptz NOT NULL
) USING heap;
COMMENT ON TABLE pipelinedb.attempt IS 'after a crash: which attempt to fold is under way, in a row';
COMMENT ON COLUMN pipelinedb.attempt.consumer IS 'as in pipelinedb.progress';
COMMENT ON COLUMN pipelinedb.attempt.number IS 'at the third one views are folded one by one; who crashes the server then is stopped';

COMMENT ON COLUMN pipelinedb.attempt.started IS 'when the processes of the server had started: within one start there was no crash';

CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.rejected
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.rejected ENABLE REPLICA TRIGGER drop_replicated;
CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.rejection
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.rejection ENABLE REPLICA TRIGGER drop_replicated;
CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.attempt
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.attempt ENABLE REPLICA TRIGGER drop_replicated;
