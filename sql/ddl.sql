-- What is done to the parts of a continuous view: allowed where the view stays whole, refused
-- with a hint where it would break.
CREATE SCHEMA ddl;
SET search_path = ddl;
CREATE FOREIGN TABLE st (k text, d timestamp, n int, vc varchar(5)) SERVER pipelinedb;
CREATE VIEW v ("Key", day, "N o", s, a, more, vcx) AS
    SELECT k, d::date, count(*), sum(n), avg(n), count(*) + 1, vc::text FROM st GROUP BY k, d::date, vc;
CREATE VIEW total AS SELECT count(*), sum(n) FROM st;
CREATE FUNCTION put() RETURNS SETOF v LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ddl.st VALUES ('x', '2000-01-01', 1, 'c'), ('y', '2000-01-02', 2, 'c'), (NULL, NULL, 3, NULL);
END $$;
SELECT put();
TABLE v ORDER BY 1;

-- CREATE INDEX goes to the table; columns by the view's names
ALTER VIEW v RENAME COLUMN "Key" TO "KEY";
CREATE INDEX ON v ("KEY");
CREATE INDEX named ON v (day DESC NULLS LAST, "N o") INCLUDE (s) WITH (fillfactor = 60)
    WHERE "N o" > 1 AND v."KEY" <> 'x';
CREATE INDEX IF NOT EXISTS named ON v (s);
CREATE INDEX expr ON v (lower("KEY"), (s + "N o"), (ddl.v.day - date '2000-01-01'));
CREATE INDEX CONCURRENTLY conc ON v (s);
CREATE INDEX ON v (vcx);
CREATE UNIQUE INDEX uniq ON v (day, "KEY", vcx, s);
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'v_mrel'::regclass ORDER BY 1;
SELECT put();
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT "KEY" FROM v WHERE s = 4;
SELECT "KEY" FROM v WHERE s = 4;
SELECT "KEY" FROM v WHERE lower("KEY") = 'x' AND s + "N o" = 4 AND day - date '2000-01-01' = 0;
RESET enable_seqscan;
CREATE INDEX ON v (a);
CREATE INDEX ON v ((more + 1));
CREATE INDEX ON v (nothing);
CREATE INDEX ON v ((v));
CREATE INDEX ON v ((nothing."KEY"));
CREATE INDEX ON v_def (k);
CREATE UNIQUE INDEX ON v ("KEY");
CREATE UNIQUE INDEX ON v (lower("KEY"), day, vcx);
CREATE UNIQUE INDEX ON v ("KEY" COLLATE "C", day, vcx);
CREATE UNIQUE INDEX CONCURRENTLY ON v_mrel (s);
CREATE UNIQUE INDEX ON total (count);
BEGIN;
CREATE INDEX CONCURRENTLY ON v (s);
ROLLBACK;
DROP INDEX named, uniq;

-- VACUUM and ANALYZE too
SET client_min_messages = warning;
VACUUM (ANALYZE) v;
VACUUM FULL v;
ANALYZE v ("KEY", "N o");
RESET client_min_messages;
ANALYZE v (a);

-- maintenance of the table
VACUUM FULL v_mrel;
CLUSTER v_mrel USING v_mrel_key;
REINDEX TABLE v_mrel;
REINDEX INDEX v_mrel_key;
REINDEX TABLE CONCURRENTLY v_mrel;
REINDEX INDEX CONCURRENTLY total_mrel_key;
ALTER TABLE v_mrel SET TABLESPACE pg_default, SET (autovacuum_enabled = off), SET LOGGED,
    SET ACCESS METHOD heap, ALTER "N o" SET STATISTICS 10, CLUSTER ON conc, SET WITHOUT CLUSTER;
ALTER TABLE v_mrel ADD CHECK (s > 0);
ALTER TABLE v_mrel ADD CONSTRAINT groups UNIQUE ("Key", day, _0);
SELECT put();
TABLE v ORDER BY 1;
TABLE total;

-- what would break it
ALTER TABLE v_mrel ADD COLUMN x int;
ALTER TABLE v_mrel DROP COLUMN s;
ALTER TABLE v_mrel ALTER s TYPE numeric;
ALTER TABLE v_mrel SET UNLOGGED;
ALTER TABLE v_mrel OWNER TO CURRENT_USER;
ALTER TABLE v_mrel RENAME TO w_mrel;
ALTER TABLE v_mrel RENAME COLUMN s TO t;
ALTER TABLE v_mrel SET SCHEMA public;
ALTER TABLE v_mrel ADD UNIQUE (s);
ALTER TABLE v_mrel ADD PRIMARY KEY ("Key", day, _0);
ALTER TABLE v_mrel ADD EXCLUDE (s WITH =);
CREATE TABLE parent ("Key" text, day date, _0 varchar(5), "N o" bigint, s bigint, a bigint[])
    PARTITION BY LIST ("Key");
ALTER TABLE parent ATTACH PARTITION v_mrel DEFAULT;
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO total DO INSTEAD SELECT 1::bigint AS count, 1::bigint AS sum;
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO total_def DO INSTEAD SELECT 1::bigint AS count, 1::bigint AS sum;
CREATE OR REPLACE VIEW total AS SELECT 1::bigint AS count, 1::bigint AS sum;
CREATE OR REPLACE VIEW total_def AS SELECT 1::bigint AS count, 1::bigint AS sum;
ALTER VIEW total_def RENAME TO other;
ALTER VIEW v SET (action = transform);
ALTER VIEW v RESET (definition);

-- comments, options and names
COMMENT ON VIEW v IS 'mine';
COMMENT ON COLUMN v.s IS 'the sum';
ALTER VIEW v SET (security_barrier);
ALTER VIEW v RENAME TO w;
ALTER FOREIGN TABLE st RENAME COLUMN n TO m;
ALTER FOREIGN TABLE st RENAME TO renamed;
CREATE SCHEMA "ddl 2";
ALTER FOREIGN TABLE renamed SET SCHEMA "ddl 2";
ALTER VIEW w SET SCHEMA "ddl 2";
ALTER SCHEMA "ddl 2" RENAME TO "ddl 3";
SELECT obj_description('"ddl 3".w'::regclass), col_description('"ddl 3".w'::regclass, 4),
    pg_get_viewdef('"ddl 3".v_def'::regclass), reloptions FROM pg_class WHERE oid = '"ddl 3".w'::regclass;
INSERT INTO "ddl 3".renamed VALUES ('z', '2000-01-03', 9, 'c');
SELECT "KEY", s FROM "ddl 3".w ORDER BY 1;
\d "ddl 3".v_mrel
DROP SCHEMA "ddl 3" CASCADE;
SELECT relname FROM pg_class WHERE relnamespace = 'ddl'::regnamespace;
DROP TABLE parent;

-- made and dropped inside other statements
CREATE FOREIGN TABLE st (k text, n int) SERVER pipelinedb;
CREATE SCHEMA ddl4 CREATE VIEW inside AS SELECT count(*) FROM ddl.st;
DO $$
BEGIN
    BEGIN
        CREATE VIEW ddl.undone AS SELECT count(*) FROM ddl.st;
        INSERT INTO ddl.st VALUES ('x', 1);
        RAISE EXCEPTION 'changed my mind';
    EXCEPTION WHEN raise_exception THEN
        CREATE VIEW ddl.done AS SELECT count(*) FROM ddl.st;
    END;
    INSERT INTO ddl.st VALUES ('x', 1);
END $$;
CREATE FUNCTION make_view(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE VIEW %I AS SELECT k, sum(n) FROM ddl.st GROUP BY k', name);
END $$;
SELECT make_view('made %s "it"');
INSERT INTO st VALUES ('x', 7);
TABLE "made %s ""it""";
TABLE done;
TABLE ddl4.inside;
SELECT relname FROM pg_class WHERE relnamespace = 'ddl'::regnamespace AND relkind IN ('r', 'v', 'f') ORDER BY 1;

-- owners
CREATE ROLE regress_ddl_one;
CREATE ROLE regress_ddl_two;
GRANT CREATE, USAGE ON SCHEMA ddl TO regress_ddl_one, regress_ddl_two;
ALTER FOREIGN TABLE st OWNER TO regress_ddl_one;
SET ROLE regress_ddl_one;
CREATE VIEW owned AS SELECT count(*) FROM st;
RESET ROLE;
DROP ROLE regress_ddl_one;
REASSIGN OWNED BY regress_ddl_one TO regress_ddl_two;
SELECT relname, relowner::regrole FROM pg_class WHERE relname ~ '^(owned|st$)' ORDER BY 1;
INSERT INTO st VALUES ('x', 1);
TABLE owned;
DROP OWNED BY regress_ddl_one;
DROP ROLE regress_ddl_one;
CREATE VIEW over_it AS SELECT * FROM owned;
DROP OWNED BY regress_ddl_two;
DROP OWNED BY regress_ddl_two CASCADE;
SELECT relname FROM pg_class WHERE relnamespace = 'ddl'::regnamespace;
SELECT name FROM pipelinedb.views WHERE schema LIKE 'ddl%';
DROP ROLE regress_ddl_two;

-- the same with nothing else left to drop
SET client_min_messages = warning;
DROP SCHEMA ddl, ddl4 CASCADE;
SELECT count(*) FROM pipelinedb.query q WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = q.view);
