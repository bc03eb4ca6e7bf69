-- Streams as tables: columns and constraints, triggers, partitions, and what is refused how.
CREATE SCHEMA st;
SET search_path = st, public;
CREATE TYPE comp AS (x int, y text);
CREATE FOREIGN TABLE s (a int, b text DEFAULT 'none', c numeric) SERVER pipelinedb;
CREATE VIEW v AS SELECT a, max(b) AS b, count(*) AS n FROM s GROUP BY a;
COMMENT ON FOREIGN TABLE s IS 'a stream';
COMMENT ON COLUMN s.c IS 'a number';
\d+ s

-- ---- columns, while chunks wait ------------------------------------------------------------
SELECT pipelinedb.deactivate('v');
INSERT INTO s VALUES (1, DEFAULT, 2), (1, 'x', 1.5);
ALTER FOREIGN TABLE s ADD COLUMN d int DEFAULT 7;
INSERT INTO s (a) VALUES (2) RETURNING d;
ALTER FOREIGN TABLE s DROP COLUMN c;
ALTER FOREIGN TABLE s ADD COLUMN c text, ALTER COLUMN b SET DEFAULT 'other';
INSERT INTO s (a, c) VALUES (3, 'text');
ALTER FOREIGN TABLE s RENAME COLUMN a TO aa;
ALTER FOREIGN TABLE s ADD COLUMN k comp, ADD COLUMN serial_number serial;
INSERT INTO s (aa, k) VALUES (4, (1, 'one')) RETURNING serial_number;
ALTER FOREIGN TABLE s DROP COLUMN aa;
ALTER FOREIGN TABLE s ALTER COLUMN b TYPE varchar(5);
ALTER TABLE s ALTER COLUMN d TYPE bigint;
CREATE VIEW w AS SELECT d, c, k::text AS k, count(*) AS n, sum(serial_number) AS num FROM s GROUP BY d, c, k::text;
INSERT INTO s (aa, b, d, c, k) VALUES (5, 'five', 5, 'c', (5, 'five'));
SELECT pipelinedb.activate('v');
SELECT pipelinedb.flush();
SELECT * FROM v ORDER BY a;
SELECT * FROM w;
\d s

-- values of a composite type are found by the types of the fields before them
CREATE TABLE rowt (x int, y text);
CREATE DOMAIN dcomp AS comp;
CREATE TYPE outside AS (inner_ones dcomp[]);
CREATE TYPE of_table AS (x int);
CREATE TABLE typed OF of_table;
CREATE FOREIGN TABLE types (o outside, r rowt, t typed) SERVER pipelinedb;
ALTER TYPE comp ALTER ATTRIBUTE x TYPE text;
ALTER TABLE rowt ALTER COLUMN x TYPE text;
ALTER TYPE of_table ALTER ATTRIBUTE x TYPE text CASCADE;
ALTER TYPE comp ADD ATTRIBUTE z int, DROP ATTRIBUTE y;
ALTER TYPE comp RENAME ATTRIBUTE z TO zz;
ALTER FOREIGN TABLE s DROP COLUMN k CASCADE;
DROP FOREIGN TABLE types;
ALTER TYPE comp ALTER ATTRIBUTE x TYPE text;

-- arrival_timestamp
ALTER FOREIGN TABLE s RENAME COLUMN arrival_timestamp TO at;
ALTER FOREIGN TABLE s DROP COLUMN arrival_timestamp, ADD COLUMN arrival_timestamp timestamp;
CREATE FOREIGN TABLE bad (arrival_timestamp date) SERVER pipelinedb;
CREATE FOREIGN TABLE quiet (a int) SERVER pipelinedb OPTIONS (arrival_timestamp 'off');
\d quiet
CREATE FOREIGN TABLE dropped (a int) SERVER pipelinedb;
ALTER FOREIGN TABLE dropped DROP COLUMN arrival_timestamp;
\d dropped
-- the same by an event trigger
CREATE FOREIGN TABLE by_trigger (a int) SERVER pipelinedb;
CREATE FUNCTION drop_it() RETURNS event_trigger LANGUAGE plpgsql AS
    $$BEGIN ALTER FOREIGN TABLE by_trigger DROP COLUMN arrival_timestamp; END$$;
CREATE EVENT TRIGGER streams_drop_it ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION drop_it();
CREATE TABLE fires_it ();
DROP EVENT TRIGGER streams_drop_it;
SELECT ftoptions FROM pg_foreign_table WHERE ftrelid = 'by_trigger'::regclass;
ALTER FOREIGN TABLE dropped ADD COLUMN arrival_timestamp timestamptz;
INSERT INTO dropped (a) VALUES (1) RETURNING arrival_timestamp IS NOT NULL AS stamped;
CREATE FOREIGN TABLE bad (a int) SERVER pipelinedb OPTIONS (arrival_timestamp 'maybe');
CREATE FOREIGN TABLE bad (a int) SERVER pipelinedb OPTIONS (size '1');
CREATE FOREIGN TABLE bad (a int OPTIONS (arrival_timestamp 'off')) SERVER pipelinedb;
ALTER FOREIGN TABLE s OPTIONS (ADD size '1');

-- no column at all, and as many as there can be
CREATE FOREIGN TABLE none () SERVER pipelinedb OPTIONS (arrival_timestamp 'off');
CREATE VIEW nones AS SELECT count(*) FROM none;
INSERT INTO none DEFAULT VALUES;
INSERT INTO none SELECT FROM generate_series(1, 70000);
SELECT format('CREATE FOREIGN TABLE too_many (%s) SERVER pipelinedb', string_agg('c' || g || ' int', ','))
    FROM generate_series(1, 1600) g \gexec
SELECT format('CREATE FOREIGN TABLE many (%s) SERVER pipelinedb', string_agg('c' || g || ' int', ','))
    FROM generate_series(1, 1599) g \gexec
CREATE VIEW manys AS SELECT sum(c1) AS a, sum(c1599) AS b, count(arrival_timestamp) AS n FROM many;
SELECT format('INSERT INTO many VALUES (%s)', string_agg(g::text, ',')) FROM generate_series(1, 1599) g \gexec
SELECT pipelinedb.flush();
SELECT * FROM nones, manys;

-- ---- constraints and defaults, in each way of writing --------------------------------------
CREATE FOREIGN TABLE strict (a int NOT NULL, b text DEFAULT 'dflt' CHECK (b <> 'bad'), n serial)
    SERVER pipelinedb;
CREATE VIEW strict_v AS SELECT a, b, count(*) AS c, max(n) AS n FROM strict GROUP BY a, b;
ALTER FOREIGN TABLE strict ADD CONSTRAINT positive CHECK (a > 0) NOT VALID,
    ADD CONSTRAINT here CHECK (tableoid IS NOT NULL AND tableoid <> 0);
ALTER FOREIGN TABLE strict VALIDATE CONSTRAINT positive;
\set VERBOSITY terse
INSERT INTO strict VALUES (NULL);
INSERT INTO strict VALUES (1, 'bad');
INSERT INTO strict SELECT g FROM generate_series(5, 0, -1) g;
PREPARE p (int, text) AS INSERT INTO strict VALUES ($1, $2) RETURNING a, b;
EXECUTE p (1, 'prepared');
EXECUTE p (0, 'prepared');
EXECUTE p (1, 'bad');
COPY strict FROM stdin;
2	copied	100
\.
COPY strict (a) FROM stdin;
3
\.
COPY strict (b) FROM stdin;
no a
\.
COPY strict (a) FROM stdin;
-1
\.
COPY strict (b, a) FROM stdin;
bad	1
\.
ALTER FOREIGN TABLE strict ALTER a DROP NOT NULL, DROP CONSTRAINT positive, ALTER b DROP DEFAULT;
EXECUTE p (0, NULL);
INSERT INTO strict DEFAULT VALUES RETURNING a, b;
ALTER FOREIGN TABLE strict ALTER a SET NOT NULL;
INSERT INTO strict DEFAULT VALUES;
\set VERBOSITY default
SELECT pipelinedb.flush();
SELECT a, b, c FROM strict_v ORDER BY a, b;
DEALLOCATE p;

-- generated, identity and serial columns; the time stamp is there when they are computed
CREATE FOREIGN TABLE gen (a int, twice int GENERATED ALWAYS AS (a * 2) STORED,
    day date GENERATED ALWAYS AS ((arrival_timestamp AT TIME ZONE 'UTC')::date) STORED,
    i int GENERATED ALWAYS AS IDENTITY, j int GENERATED BY DEFAULT AS IDENTITY,
    arrival_timestamp timestamptz NOT NULL CHECK (arrival_timestamp > '2020-01-01')) SERVER pipelinedb;
CREATE VIEW gen_v AS SELECT a, twice, count(day) AS days, i, j FROM gen GROUP BY a, twice, i, j;
INSERT INTO gen VALUES (1), (2) RETURNING a, twice, day = (arrival_timestamp AT TIME ZONE 'UTC')::date AS day, i, j;
INSERT INTO gen (a, twice) VALUES (3, 3);
INSERT INTO gen (a, i) VALUES (3, 3);
INSERT INTO gen (a, i, j) OVERRIDING SYSTEM VALUE VALUES (3, 30, 31);
COPY gen (a) FROM stdin;
4
\.
COPY gen FROM stdin;
5	50	51
\.
COPY gen (a, twice) FROM '/dev/null';
\set VERBOSITY terse
INSERT INTO gen (a, arrival_timestamp) VALUES (9, '2001-01-01');
\set VERBOSITY default
SELECT pipelinedb.flush();
SELECT * FROM gen_v ORDER BY a;

-- ---- triggers ------------------------------------------------------------------------------
CREATE FOREIGN TABLE t (a int, b text) SERVER pipelinedb;
CREATE VIEW tv AS SELECT a, b, count(*) AS n FROM t GROUP BY a, b;
CREATE TABLE log (n serial, what text, a int, b text, stamped bool);
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.a = 2 THEN RETURN NULL; END IF;
    IF NEW.a = 10 THEN INSERT INTO t VALUES (11, 'nested'), (12, 'nested'); END IF;
    NEW.b := NEW.b || '!';
    RETURN NEW;
END $$;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_LEVEL = 'ROW' THEN
        INSERT INTO log (what, a, b, stamped)
            VALUES (TG_NAME, NEW.a, NEW.b, NEW.arrival_timestamp IS NOT NULL);
    ELSE
        INSERT INTO log (what) VALUES (TG_NAME);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER change BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION change();
CREATE TRIGGER after_row AFTER INSERT ON t FOR EACH ROW WHEN (NEW.a < 20 AND NEW.arrival_timestamp IS NOT NULL)
    EXECUTE FUNCTION note();
CREATE TRIGGER before_statement BEFORE INSERT ON t EXECUTE FUNCTION note();
CREATE TRIGGER after_statement AFTER INSERT ON t EXECUTE FUNCTION note();
INSERT INTO t VALUES (1, 'x'), (2, 'y'), (20, 'z');
COPY t FROM stdin;
3	c
2	n
\.
INSERT INTO t VALUES (10, 'ten') RETURNING a, b;
SELECT what, a, b, stamped FROM log ORDER BY n;
ALTER FOREIGN TABLE t DISABLE TRIGGER change;
INSERT INTO t VALUES (2, 'disabled');
SELECT pipelinedb.flush();
SELECT * FROM tv ORDER BY a;
CREATE TRIGGER x AFTER INSERT ON t REFERENCING NEW TABLE AS n EXECUTE FUNCTION note();
CREATE TRIGGER x INSTEAD OF INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE CONSTRAINT TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER x BEFORE TRUNCATE ON t EXECUTE FUNCTION note();

-- rules of views and tables
CREATE VIEW entry AS SELECT 1 AS a, 'x'::text AS b;
CREATE RULE r AS ON INSERT TO entry DO INSTEAD INSERT INTO t VALUES (NEW.a, NEW.b);
INSERT INTO entry VALUES (77, 'rule'), (78, 'rule');
CREATE TABLE noted (a int);
CREATE RULE r AS ON INSERT TO noted DO ALSO INSERT INTO t VALUES (NEW.a, 'also');
INSERT INTO noted VALUES (79);
SELECT pipelinedb.flush();
SELECT * FROM tv WHERE a > 70 ORDER BY a;
CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING;

-- ---- partitions ----------------------------------------------------------------------------
CREATE TABLE par (id int, v text, n int DEFAULT 1) PARTITION BY LIST (id);
CREATE TABLE par2 PARTITION OF par FOR VALUES IN (2);
CREATE FOREIGN TABLE par1 PARTITION OF par (CHECK (v <> 'bad')) FOR VALUES IN (1) SERVER pipelinedb;
\d+ par1
-- columns in another order, an attribute dropped, one level deeper
CREATE TABLE deep PARTITION OF par FOR VALUES IN (3, 4) PARTITION BY LIST (n);
CREATE FOREIGN TABLE deep1 (n int, gone int, v text DEFAULT 'own', id int) SERVER pipelinedb;
ALTER FOREIGN TABLE deep1 DROP COLUMN gone;
ALTER TABLE deep ATTACH PARTITION deep1 FOR VALUES IN (1);
ALTER FOREIGN TABLE deep1 DROP COLUMN arrival_timestamp;
ALTER TABLE deep ATTACH PARTITION deep1 FOR VALUES IN (1);
CREATE VIEW par1_v AS SELECT id, v, sum(n) AS n, count(*) AS c FROM par1 GROUP BY id, v;
CREATE VIEW deep1_v AS SELECT id, v, sum(n) AS n, count(*) AS c FROM deep1 GROUP BY id, v;
INSERT INTO par VALUES (1, 'insert'), (2, 'insert'), (3, 'insert'), (4, 'insert');
INSERT INTO par (v, id) SELECT 'select', g FROM generate_series(1, 4) g RETURNING tableoid::regclass, *;
INSERT INTO par (id) VALUES (3) ON CONFLICT DO NOTHING;
COPY par (v, id) FROM stdin;
copy	1
copy	2
copy	3
\.
INSERT INTO par1 VALUES (1, 'direct');
INSERT INTO deep1 (id, n) VALUES (4, 1);
INSERT INTO par1 VALUES (2, 'direct');
INSERT INTO deep1 (id, n) VALUES (4, 2);
INSERT INTO par VALUES (1, 'bad');
COPY par (v, id) FROM stdin;
bad	1
\.
-- rows that move
UPDATE par SET id = 1 WHERE id = 2 AND v = 'insert';
UPDATE par SET id = 1;
DELETE FROM par;
DELETE FROM par WHERE id = 2 AND v = 'copy';
MERGE INTO par USING (VALUES (3)) x (i) ON par.id = x.i WHEN NOT MATCHED THEN INSERT VALUES (3, 'merged');
-- reading
SELECT * FROM par;
SELECT count(*) FROM deep;
SELECT * FROM par WHERE id = 2;
SELECT count(*) FROM par a JOIN par2 b USING (id) WHERE a.id = 2;
EXPLAIN (COSTS OFF) SELECT * FROM par WHERE id < 3;
-- a generic plan is made at the sixth execution; only the executor knows what it leaves out
PREPARE q (int) AS SELECT count(*) FROM par WHERE id = $1;
PREPARE u (int) AS UPDATE par SET n = n WHERE id = $1;
DO $$ BEGIN FOR i IN 1 .. 8 LOOP EXECUTE 'EXECUTE q (2)'; EXECUTE 'EXECUTE u (2)'; END LOOP; END $$;
EXECUTE q (2);
EXECUTE q (1);
EXECUTE u (1);
SET plan_cache_mode = force_generic_plan;
EXECUTE q (2);
EXECUTE q (1);
RESET plan_cache_mode;
TRUNCATE par;
-- a BEFORE trigger of the partition changes the key
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN IF NEW.v = 'move' THEN NEW.id := 2; END IF; RETURN NEW; END$$;
CREATE TRIGGER move BEFORE INSERT ON par1 FOR EACH ROW EXECUTE FUNCTION move();
INSERT INTO par VALUES (1, 'move');
INSERT INTO par1 VALUES (1, 'move');
DROP TRIGGER move ON par1;
-- columns come from the parent
ALTER TABLE par ADD COLUMN added int DEFAULT 4;
ALTER TABLE par RENAME COLUMN v TO value;
INSERT INTO par (id, value) VALUES (1, 'added'), (3, 'added') RETURNING *;
ALTER TABLE par ALTER COLUMN value TYPE varchar(10);
ALTER TABLE par ADD CHECK (value <> 'never');
INSERT INTO par VALUES (1, 'never');
ALTER TABLE par DROP COLUMN value;
-- the parent's policies and a check option
ALTER TABLE par ENABLE ROW LEVEL SECURITY;
CREATE ROLE regress_streams_user;
GRANT USAGE ON SCHEMA st TO regress_streams_user;
GRANT ALL ON par TO regress_streams_user;
CREATE POLICY p ON par FOR INSERT TO regress_streams_user WITH CHECK (value <> 'secret');
CREATE POLICY q ON par FOR SELECT TO regress_streams_user USING (true);
CREATE POLICY r ON par FOR UPDATE TO regress_streams_user USING (true) WITH CHECK (value <> 'changed');
SET ROLE regress_streams_user;
INSERT INTO par VALUES (1, 'secret');
INSERT INTO par VALUES (1, 'open'), (2, 'open');
UPDATE par SET id = 1, value = 'changed' WHERE id = 2;
UPDATE par SET id = 1, value = 'secret' WHERE id = 2 AND value = 'open';
RESET ROLE;
CREATE VIEW par_checked AS SELECT * FROM par WHERE value <> 'hidden' WITH CHECK OPTION;
INSERT INTO par_checked VALUES (1, 'hidden');
INSERT INTO par_checked VALUES (1, 'shown');
-- detached, it is a stream as before
ALTER TABLE par DETACH PARTITION par1;
INSERT INTO par1 VALUES (99, 'detached');
INSERT INTO par VALUES (1, 'nowhere');
SELECT pipelinedb.flush();
SELECT * FROM par1_v ORDER BY id, v COLLATE "C";
SELECT * FROM deep1_v ORDER BY id, v COLLATE "C";
ANALYZE par;
DROP TABLE par;
SET client_min_messages = warning;
DROP TABLE par CASCADE;
RESET client_min_messages;
SELECT relname FROM pg_class WHERE relname ~ '^(par|deep)' AND relnamespace = 'st'::regnamespace
    ORDER BY relname COLLATE "C";
-- the key is the time of writing: the row is routed before it has one
CREATE TABLE times (a int, arrival_timestamp timestamptz) PARTITION BY RANGE (arrival_timestamp);
CREATE FOREIGN TABLE times_d PARTITION OF times DEFAULT SERVER pipelinedb;
INSERT INTO times VALUES (1) RETURNING arrival_timestamp IS NOT NULL AS stamped;
SET client_min_messages = error;
CREATE TABLE times_now PARTITION OF times FOR VALUES FROM ('2020-01-01') TO ('2900-01-01');
RESET client_min_messages;
\set VERBOSITY terse
INSERT INTO times VALUES (1);
\set VERBOSITY default
-- what the server refuses
CREATE TABLE with_key (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE FOREIGN TABLE x PARTITION OF with_key FOR VALUES IN (1) SERVER pipelinedb;
CREATE UNIQUE INDEX ON times (arrival_timestamp);

-- ---- inheritance ---------------------------------------------------------------------------
CREATE TABLE parent (a int, arrival_timestamp timestamptz);
CREATE FOREIGN TABLE child (b int) INHERITS (parent) SERVER pipelinedb;
CREATE VIEW child_v AS SELECT a, sum(b) AS b, count(*) AS n FROM child GROUP BY a;
INSERT INTO child (a, b) VALUES (1, 2) RETURNING arrival_timestamp IS NOT NULL AS stamped;
ALTER TABLE parent ADD COLUMN c int DEFAULT 3 NOT NULL, ADD CHECK (a > 0);
INSERT INTO child (a, b) VALUES (1, 3) RETURNING a, b, c;
\set VERBOSITY terse
INSERT INTO child (a) VALUES (-1);
\set VERBOSITY default
SELECT * FROM parent;
SELECT count(*) FROM ONLY parent;
UPDATE parent SET a = 1;
UPDATE ONLY parent SET a = 1;
ALTER TABLE parent RENAME COLUMN arrival_timestamp TO at;
ALTER TABLE parent ALTER COLUMN a TYPE bigint;
ALTER TABLE parent DROP COLUMN arrival_timestamp;
\d child
ANALYZE parent;
ANALYZE child;
SELECT pipelinedb.flush();
SELECT * FROM child_v;
CREATE TABLE below () INHERITS (s);
CREATE FOREIGN TABLE below () INHERITS (s) SERVER pipelinedb;
CREATE TABLE below (LIKE s);
ALTER TABLE below INHERIT s;

-- ---- what is refused -----------------------------------------------------------------------
-- reading
SELECT * FROM s;
SELECT a FROM noted UNION ALL SELECT aa FROM s;
EXPLAIN SELECT * FROM s;
PREPARE p AS SELECT * FROM s;
EXECUTE p;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM s;
ROLLBACK;
COPY s TO stdout;
COPY (SELECT * FROM s) TO stdout;
CREATE TABLE x AS SELECT * FROM s;
SELECT * INTO x FROM s;
CREATE TABLE like_s AS SELECT aa, b FROM s WITH NO DATA;
CREATE TEMP VIEW x AS SELECT count(*) FROM s;
CREATE MATERIALIZED VIEW x AS SELECT count(*) FROM s;
CREATE MATERIALIZED VIEW x AS SELECT count(*) FROM s WITH NO DATA;
CREATE RECURSIVE VIEW x (n) AS SELECT count(*) FROM s;
-- writing
EXPLAIN (COSTS OFF) INSERT INTO s (aa) VALUES (1);
INSERT INTO s (aa) VALUES (1) ON CONFLICT (aa) DO NOTHING;
INSERT INTO s (aa) VALUES (1) ON CONFLICT (aa) DO UPDATE SET b = 'x';
WITH x AS (INSERT INTO s (aa) VALUES (1) ON CONFLICT (aa) DO NOTHING RETURNING 1) SELECT * FROM x;
MERGE INTO s USING noted n ON n.a = s.aa WHEN NOT MATCHED THEN INSERT (aa) VALUES (1);
UPDATE s SET b = 'x';
DELETE FROM s;
TRUNCATE s;
INSERT INTO v VALUES (1, 'x', 1);
-- and the rest
CREATE INDEX ON s (aa);
ALTER FOREIGN TABLE s ADD PRIMARY KEY (aa);
ALTER FOREIGN TABLE s ADD UNIQUE (aa);
ALTER FOREIGN TABLE s ADD FOREIGN KEY (aa) REFERENCES with_key;
CREATE TABLE x (a int REFERENCES s (aa));
CREATE FOREIGN TABLE x (LIKE s) SERVER pipelinedb;
CREATE FOREIGN TABLE pg_temp.x (a int) SERVER pipelinedb;
IMPORT FOREIGN SCHEMA x FROM SERVER pipelinedb INTO st;
BEGIN;
LOCK TABLE s;
ROLLBACK;
VACUUM s;
CLUSTER s;
REINDEX TABLE s;
ALTER FOREIGN TABLE s ENABLE ROW LEVEL SECURITY;

SELECT name, state, message FROM pipelinedb.views WHERE schema = 'st' AND state <> 'active';
SET client_min_messages = warning;
DROP SCHEMA st CASCADE;
DROP ROLE regress_streams_user;
