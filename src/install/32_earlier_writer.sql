-- Who had aggregated rows of a stream, and not ended, when a view of it was created: there are no
-- groups of these rows for the view, so it counts the whole transaction as an earlier one. Belongs
-- to this cluster's transaction ids, as progress does.
CREATE TABLE pipelinedb.earlier_writer (
    view  oid,
    xid   xid8,
    PRIMARY KEY (view, xid)
) USING heap;
COMMENT ON TABLE pipelinedb.earlier_writer IS 'transactions that ran when a view was created, and that it does not count: they had aggregated rows by then';
COMMENT ON COLUMN pipelinedb.earlier_writer.view IS 'the view that users read';
COMMENT ON COLUMN pipelinedb.earlier_writer.xid IS 'a transaction that wrote to its stream';
CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.earlier_writer
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.earlier_writer ENABLE REPLICA TRIGGER drop_replicated;
