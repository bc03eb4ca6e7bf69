-- The spool: a queue of chunks in generations that rotate. No row is ever updated or deleted
-- there, so autovacuum has nothing to do. Progress and spool belong to this cluster's
-- transaction ids: they are extension members, so pg_dump leaves them out.
CREATE TABLE pipelinedb.generation (
    id      int4 PRIMARY KEY,
    ordinal int8 NOT NULL UNIQUE
) USING heap;
COMMENT ON TABLE pipelinedb.generation IS 'the spool tables spool_<id>; the highest ordinal is written now';
COMMENT ON COLUMN pipelinedb.generation.id IS 'number in the name of the spool table';
COMMENT ON COLUMN pipelinedb.generation.ordinal IS 'rotation count; all chunks of a transaction lie in one generation';

CREATE TABLE pipelinedb.progress (
    consumer  oid PRIMARY KEY,
    folded    pg_snapshot NOT NULL,
    big_xids  xid8[] NOT NULL DEFAULT '{}',
    big_seqs  int8[] NOT NULL DEFAULT '{}'
) USING heap WITH (fillfactor = 50);
COMMENT ON TABLE pipelinedb.progress IS 'which transactions have been folded; changed only in the transaction that folds them';
COMMENT ON COLUMN pipelinedb.progress.consumer IS '0 to 15 = shared by the views of that fold worker that have no row of their own, else the view';
COMMENT ON COLUMN pipelinedb.progress.folded IS 'a transaction is folded when it is visible in this snapshot';
COMMENT ON COLUMN pipelinedb.progress.big_xids IS 'transactions that are being folded in pieces; listed as running in folded';
COMMENT ON COLUMN pipelinedb.progress.big_seqs IS 'the last folded chunk of each of them';

-- Called by the install script and by the fold worker (as the extension's owner) when every
-- other generation is still needed. "batch" holds a chunk of at most one page and is never
-- moved out of line; "wide" holds a row that is wider than a page. "stream" is whose rows these are,
-- or the view that they are for alone; then "origin" may tell the stream. With the replication role
-- "replica" no event trigger of a user's fires, which might refuse DDL.
CREATE FUNCTION pipelinedb.create_generation(id int4) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    SET session_replication_role = replica AS $$
DECLARE
    spool text := format('pipelinedb.%I', 'spool_' || id);
BEGIN
    EXECUTE format('CREATE TABLE %s (
        xid xid8 NOT NULL, seq int8 NOT NULL, stream oid NOT NULL, nrows int4 NOT NULL,
        batch bytea, wide bytea, origin oid) USING heap
        WITH (autovacuum_enabled = off, vacuum_truncate = off,
              toast.autovacuum_enabled = off, toast.vacuum_truncate = off)', spool);
    EXECUTE format('ALTER TABLE %s ALTER batch SET STORAGE PLAIN, ALTER wide SET STORAGE EXTERNAL', spool);
    EXECUTE format('COMMENT ON TABLE %s IS %L', spool, 'chunks of stream rows that wait to be folded');
    -- A logical subscriber must not take over another cluster's chunks (FOR ALL TABLES
    -- publishes extension members too). Our own writes use heap_insert and fire no trigger.
    EXECUTE format('CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON %s
        FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated()', spool);
    EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER drop_replicated', spool);
    PERFORM pipelinedb.protect(spool::regclass);
    IF NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass
                   AND objid = spool::regclass AND deptype = 'e') THEN
        EXECUTE format('ALTER EXTENSION pipeline_ext ADD TABLE %s', spool);
    END IF;
END $$;
COMMENT ON FUNCTION pipelinedb.create_generation(int4) IS 'internal: creates the spool table spool_<id>';

CREATE FUNCTION pipelinedb.drop_replicated() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN NULL; END $$;
COMMENT ON FUNCTION pipelinedb.drop_replicated() IS 'internal: drops rows that logical replication delivers';

-- Before the triggers: with session_replication_role = replica they would drop these rows.
SELECT pipelinedb.create_generation(0), pipelinedb.create_generation(1);
INSERT INTO pipelinedb.generation (id, ordinal) VALUES (0, 1), (1, 0);
INSERT INTO pipelinedb.progress (consumer, folded) VALUES (0, pg_current_snapshot());

CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.generation
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.generation ENABLE REPLICA TRIGGER drop_replicated;
CREATE TRIGGER drop_replicated BEFORE INSERT OR UPDATE OR DELETE ON pipelinedb.progress
    FOR EACH ROW EXECUTE FUNCTION pipelinedb.drop_replicated();
ALTER TABLE pipelinedb.progress ENABLE REPLICA TRIGGER drop_replicated;
