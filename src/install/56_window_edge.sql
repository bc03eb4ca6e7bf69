-- How far the windows have moved for those who read their output. Written in the transaction that
-- emits what has left the window since; not in a dump.
CREATE TABLE pipelinedb.window_edge (
    view oid PRIMARY KEY,
    edge timestamptz NOT NULL
) USING heap WITH (fillfactor = 50);
COMMENT ON TABLE pipelinedb.window_edge IS 'how far each sliding window with an output stream has moved';
COMMENT ON COLUMN pipelinedb.window_edge.view IS 'the view that users read';
COMMENT ON COLUMN pipelinedb.window_edge.edge IS 'readers of its output know that what is not later than this has left the window';
CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.window_edge
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.window_edge ENABLE REPLICA TRIGGER drop_replicated;
