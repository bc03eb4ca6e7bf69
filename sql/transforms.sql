-- Continuous transforms: what they hand on, to whom, and what is refused.
CREATE SCHEMA tf;
SET search_path = tf, public;
SET pipelinedb.stream_insert_level = sync_commit;
CREATE FOREIGN TABLE s (k int, t text) SERVER pipelinedb;
CREATE FOREIGN TABLE d1 (k int, t text) SERVER pipelinedb;
CREATE FOREIGN TABLE d2 (number int, word text) SERVER pipelinedb;
CREATE FOREIGN TABLE d3 (k int NOT NULL, t text DEFAULT 'none', at timestamptz) SERVER pipelinedb;
CREATE FOREIGN TABLE other (t text) SERVER pipelinedb;
CREATE TABLE log (id serial, what text);
CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO tf.log (what) VALUES (concat_ws(' ', TG_NAME, TG_OP, TG_ARGV[0], NEW.k, NEW.t)); RETURN NEW; END $$;
CREATE VIEW v1 AS SELECT k, count(*) AS n FROM d1 GROUP BY k;
CREATE VIEW v2 AS SELECT number, word, arrival_timestamp IS NOT NULL AS timed FROM d2;

-- only for those who read its output
CREATE VIEW plain WITH (action = transform) AS SELECT k + 1 AS k, upper(t) AS t FROM s WHERE k >= 0;
\d+ plain
TABLE plain;
CREATE VIEW plain_r AS SELECT k, t, count(*) AS n FROM output_of('plain') GROUP BY k, t;
\d plain_osrel
INSERT INTO s VALUES (1, 'a'), (2, 'b'), (-1, 'c'), (NULL, 'd');
TABLE plain_r ORDER BY k, t;
TABLE plain;

-- a function for each row
CREATE VIEW logs WITH (action = transform, outputfunc = tf.log_row('arg')) AS SELECT k, t FROM s WHERE k < 10;
CREATE VIEW logs2 WITH (action = transform, outputfunc = 'log_row') AS SELECT k * 100 AS k, t FROM s WHERE k < 10;
CREATE VIEW logs3 WITH (action = 'transform', outputfunc = 'tf.log_row(7, 2.5)') AS SELECT k * 1000 AS k, t FROM s WHERE k < 10;
INSERT INTO s VALUES (5, 'five'), (6, NULL), (50, 'fifty');
SELECT what FROM log ORDER BY what COLLATE "C";
SELECT name, stream, output, active, state, tgfunc, tgargs, query FROM pipelinedb.transforms ORDER BY name;
SELECT name FROM pipelinedb.views ORDER BY name;

-- into streams, several at once
CREATE VIEW into_two WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('d1', 'tf.d2')) AS
    SELECT k, t FROM s WHERE k > 100;
CREATE VIEW stamped WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('d3', 'd1')) AS
    SELECT k, t, arrival_timestamp AS at FROM s WHERE k < -100;
CREATE VIEW into_three WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('d3')) AS
    SELECT k, t, '2020-01-01 UTC'::timestamptz AS at FROM s WHERE k < -100;
CREATE VIEW v3 AS SELECT k, t, extract(year FROM at AT TIME ZONE 'UTC') AS year FROM d3;
INSERT INTO s VALUES (101, 'x'), (101, 'y'), (102, NULL), (-101, 'z'), (-102, NULL);
SELECT pipelinedb.flush();
TABLE v1 ORDER BY k;
TABLE v2 ORDER BY number, word;
TABLE v3 ORDER BY k;

-- set-returning functions, joins, several streams
CREATE TABLE dim (k int PRIMARY KEY, name text);
INSERT INTO dim VALUES (1, 'one'), (2, 'two'), (2000, 'big');
CREATE VIEW srf WITH (action = transform, outputfunc = log_row('srf')) AS SELECT k, unnest(string_to_array(t, ' ')) AS t FROM s WHERE k = 2000;
CREATE VIEW joins WITH (action = transform, outputfunc = log_row('join')) AS SELECT k, name || t AS t FROM s JOIN dim USING (k) WHERE k = 2000;
CREATE VIEW outer_join WITH (action = transform, outputfunc = log_row('left')) AS SELECT s.k, name AS t FROM s LEFT JOIN dim d ON d.k = s.k AND d.name > 'x' WHERE s.k = 2000;
CREATE VIEW two WITH (action = transform, outputfunc = log_row('two')) AS
    SELECT k, t FROM s WHERE k = 2000 UNION ALL SELECT 1, t FROM other;
TRUNCATE log;
INSERT INTO s VALUES (2000, 'many small words');
INSERT INTO other VALUES ('from the other');
SELECT what FROM log ORDER BY what COLLATE "C";

-- of the output of a view, and in turn
CREATE VIEW counts AS SELECT k, count(*) AS n FROM s WHERE k > 3000 GROUP BY k;
CREATE VIEW alarm WITH (action = transform, outputfunc = log_row('alarm')) AS
    SELECT (new).k, (new).n::text AS t FROM output_of('counts') WHERE (new).n >= 2;
CREATE VIEW alarms AS SELECT k, max(t) AS t, count(*) AS n FROM output_of('alarm') GROUP BY k;
TRUNCATE log;
INSERT INTO s VALUES (3001, ''), (3002, '');
INSERT INTO s VALUES (3001, '');
INSERT INTO s VALUES (3001, '');
SELECT what FROM log ORDER BY id;
TABLE alarms;

-- a row that a target refuses
CREATE VIEW nulls WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('d3')) AS
    SELECT NULLIF(k, 4001) AS k, t, arrival_timestamp + interval '0' AS at FROM s WHERE k > 4000;
INSERT INTO s VALUES (4001, 'null'), (4002, 'good');
SELECT pipelinedb.flush();
SELECT k, t FROM v3 WHERE k > 4000;
SELECT name, state, sqlstate, message, rejected FROM pipelinedb.transforms WHERE name = 'nulls';
-- a function that fails
CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.k = 5001 THEN RAISE 'not this one'; END IF; INSERT INTO tf.log (what) VALUES ('fails ' || NEW.k); RETURN NULL; END $$;
CREATE VIEW failing WITH (action = transform, outputfunc = fails) AS SELECT k FROM s WHERE k > 5000 AND k < 6000;
CREATE VIEW failing_r AS SELECT k FROM output_of('failing');
TRUNCATE log;
INSERT INTO s VALUES (5001, ''), (5002, '');
SELECT pipelinedb.flush();
SELECT what FROM log;
SELECT name, state, sqlstate, message, rejected FROM pipelinedb.transforms WHERE name = 'failing';
TABLE failing_r;
DROP VIEW failing CASCADE;

-- refused: what a transform cannot be
CREATE VIEW x WITH (action = transform) AS SELECT count(*) FROM s;
CREATE VIEW x WITH (action = transform) AS SELECT k FROM s GROUP BY k;
CREATE VIEW x WITH (action = transform) AS SELECT 1 AS a FROM s HAVING true;
CREATE VIEW x WITH (action = transform) AS SELECT k, row_number() OVER () FROM s;
CREATE VIEW x WITH (action = transform) AS SELECT DISTINCT k FROM s;
CREATE VIEW x WITH (action = transform) AS SELECT k FROM s ORDER BY k;
CREATE VIEW x WITH (action = transform) AS SELECT k FROM s LIMIT 1;
CREATE VIEW x WITH (action = transform) AS SELECT k FROM s OFFSET 1;
CREATE VIEW x WITH (action = transform) AS SELECT k FROM s FOR UPDATE;
CREATE VIEW x WITH (action = transform) AS SELECT k FROM dim;
CREATE VIEW x WITH (action = transform, fillfactor = 50) AS SELECT k FROM s;
CREATE VIEW x WITH (action = transform, tablespace = pg_default) AS SELECT k FROM s;
CREATE VIEW x WITH (action = transform, sw = '1 hour') AS SELECT k FROM s;
CREATE VIEW x WITH (action = transform, step_factor = 5) AS SELECT k FROM s;
CREATE VIEW x WITH (action = transform, ttl = '1 hour', ttl_column = 'arrival_timestamp') AS SELECT k FROM s;
CREATE VIEW x WITH (action = transform, pk = k) AS SELECT k FROM s;
CREATE VIEW x WITH (action = transform, partition_by = k) AS SELECT k FROM s;
CREATE VIEW x WITH (action = nothing) AS SELECT k FROM s;
CREATE VIEW x WITH (action = materialize, outputfunc = log_row) AS SELECT k FROM s;
CREATE VIEW x WITH (outputfunc = log_row) AS SELECT count(*) FROM s;
CREATE MATERIALIZED VIEW x WITH (action = transform) AS SELECT k FROM s;
CREATE OR REPLACE VIEW plain WITH (action = transform) AS SELECT k FROM s;
CREATE TEMP VIEW x WITH (action = transform) AS SELECT k FROM s;
-- refused: functions
CREATE VIEW x WITH (action = transform, outputfunc) AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = 3) AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = nothing) AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = 'now()') AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = '1 + 1') AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = fails()) AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = 'log_row(1 + 1)') AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = 'log_row(NULL)') AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = 'log_row(true)') AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = log_row(a)) AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = '') AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = 'log_row; DROP TABLE log') AS SELECT k, t FROM s;
-- refused: streams
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream) AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('nothing')) AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('dim')) AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('d1')) AS SELECT t, k FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('d1')) AS SELECT k FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('d1')) AS SELECT k, t, 1 AS more FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('d1', 'other')) AS SELECT k, t FROM s;
-- refused: cycles
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('s')) AS SELECT k, t FROM s;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('s')) AS SELECT k, t FROM d1;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('s')) AS SELECT k, t FROM output_of('plain');
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('s')) AS SELECT k, t FROM output_of('alarm');
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('s')) AS SELECT k, NULL::text FROM output_of('v1') o, LATERAL (SELECT (o.new).k) y;
CREATE TRIGGER back AFTER INSERT ON plain_osrel FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('d1', 's');
CREATE TRIGGER back AFTER INSERT ON plain_osrel FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('nothing', 'plain_osrel');
-- one that becomes a cycle later
CREATE FOREIGN TABLE away (k int, t text) SERVER pipelinedb;
CREATE TRIGGER back AFTER INSERT ON plain_osrel FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('tf.away');
ALTER FOREIGN TABLE away RENAME TO away_no_more;
ALTER FOREIGN TABLE s RENAME TO away;
INSERT INTO away VALUES (7000, 'never back');
SELECT pipelinedb.flush();
SELECT name, state, sqlstate, message FROM pipelinedb.transforms WHERE name = 'plain';
ALTER FOREIGN TABLE away RENAME TO s;
DROP TRIGGER back ON plain_osrel;
SELECT pipelinedb.activate('plain');
SELECT pipelinedb.flush();
TABLE plain_r ORDER BY k, t;

-- insert_into_stream() as the trigger of a table
CREATE TABLE t (id int PRIMARY KEY, gone int, k int, t text, twice int GENERATED ALWAYS AS (k * 2) STORED);
ALTER TABLE t DROP COLUMN gone, DROP COLUMN id;
CREATE TRIGGER copied AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('tf.d1', 'tf.d2');
INSERT INTO t VALUES (9001, 'a'), (9002, 'b'), (9001, NULL);
UPDATE t SET k = k + 10 WHERE k = 9001;
DELETE FROM t;
BEGIN;
INSERT INTO t VALUES (9100, 'rolled back');
ROLLBACK;
SELECT pipelinedb.flush();
SELECT * FROM v1 WHERE k > 9000 ORDER BY k;
SELECT * FROM v2 WHERE number > 9000 ORDER BY number, word;
DROP TRIGGER copied ON t;
-- and each way to call it wrongly
SELECT pipelinedb.insert_into_stream();
CREATE TRIGGER wrong BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('d1');
INSERT INTO t VALUES (1, 'x');
DROP TRIGGER wrong ON t;
CREATE TRIGGER wrong AFTER INSERT ON t EXECUTE FUNCTION pipelinedb.insert_into_stream('d1');
INSERT INTO t VALUES (1, 'x');
DROP TRIGGER wrong ON t;
CREATE TRIGGER wrong AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('d1');
INSERT INTO t VALUES (1, 'x');
DELETE FROM t;
DROP TRIGGER wrong ON t;
TRUNCATE t;
CREATE TRIGGER wrong AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream();
INSERT INTO t VALUES (1, 'x');
DROP TRIGGER wrong ON t;
CREATE TRIGGER wrong AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('other');
INSERT INTO t VALUES (1, 'x');
DROP TRIGGER wrong ON t;
CREATE TRIGGER wrong AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('dim');
INSERT INTO t VALUES (1, 'x');
DROP TRIGGER wrong ON t;
CREATE TRIGGER wrong AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('nothing');
INSERT INTO t VALUES (1, 'x');
DROP TRIGGER wrong ON t;

-- rights
CREATE ROLE tf_owner;
GRANT USAGE, CREATE ON SCHEMA tf TO tf_owner;
GRANT SELECT ON s TO tf_owner;
REVOKE EXECUTE ON FUNCTION log_row() FROM PUBLIC;
SET ROLE tf_owner;
CREATE VIEW x WITH (action = transform, outputfunc = log_row) AS SELECT k, t FROM s WHERE k > 10000;
CREATE VIEW theirs WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('d1')) AS SELECT k, t FROM s WHERE k > 10000;
RESET ROLE;
INSERT INTO s VALUES (10001, 'no right');
SELECT pipelinedb.flush();
SELECT state, sqlstate, message FROM pipelinedb.transforms WHERE name = 'theirs';
GRANT INSERT ON d1 TO tf_owner;
SELECT pipelinedb.activate('theirs');
SELECT pipelinedb.flush();
SELECT * FROM v1 WHERE k > 10000;

-- the names of targets do not depend on who looks
SET search_path = public;
CREATE VIEW tf.far WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('tf.d2')) AS SELECT k, t FROM tf.s WHERE k > 20000;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('tf.s')) AS SELECT number, word FROM tf.d2;
SET search_path = tf, public;
SELECT name, tgargs FROM pipelinedb.transforms WHERE tgfunc = 'pipelinedb.insert_into_stream'::regproc ORDER BY name;

-- renamed, moved, paused, dropped
ALTER VIEW theirs RENAME TO moved;
CREATE SCHEMA tf2;
ALTER VIEW moved SET SCHEMA tf2;
ALTER FUNCTION log_row() RENAME TO log_any;
GRANT INSERT ON log TO tf_owner;
GRANT USAGE ON SEQUENCE log_id_seq TO tf_owner;
ALTER VIEW logs OWNER TO tf_owner;
SELECT schema, name, owner, output, tgfunc, state FROM pipelinedb.transforms WHERE name IN ('moved', 'logs') ORDER BY name;
GRANT EXECUTE ON FUNCTION log_any() TO PUBLIC;
SELECT pipelinedb.deactivate('tf2.moved');
INSERT INTO s VALUES (10002, 'later');
SELECT pipelinedb.flush();
SELECT * FROM v1 WHERE k > 10000;
SELECT pipelinedb.activate('tf2.moved');
SELECT pipelinedb.flush();
SELECT * FROM v1 WHERE k > 10000 ORDER BY k;
CREATE VIEW moved_r AS SELECT k FROM tf2.moved_osrel;
INSERT INTO s VALUES (10003, 'owned');
TABLE moved_r;
SELECT what FROM log WHERE what ~ 'arg';
DROP FUNCTION log_any();
DROP VIEW plain;
DROP VIEW plain CASCADE;
INSERT INTO s VALUES (3, 'of its owner');
SELECT what FROM log WHERE what ~ 'arg';
DROP TRIGGER pipelinedb_output ON tf2.theirs_osrel;
DROP TRIGGER pipelinedb_output ON logs_osrel;
DROP VIEW logs, logs2;
SELECT relname FROM pg_class WHERE relname ~ '^(logs|plain)' ORDER BY 1;

-- what the streams themselves demand
CREATE FOREIGN TABLE demanding (k int CHECK (k < 60002), t text DEFAULT 'unnamed', id serial, twice int GENERATED ALWAYS AS (k * 2) STORED) SERVER pipelinedb;
CREATE VIEW demanded AS SELECT k, t, id, twice FROM demanding;
CREATE VIEW demands WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('demanding')) AS
    SELECT k, t, k - 60000 AS id FROM s WHERE k > 60000 AND k < 70000;
CREATE VIEW x WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('demanding')) AS SELECT k, t FROM s;
INSERT INTO s VALUES (60001, NULL), (60002, 'too much');
SELECT pipelinedb.flush();
TABLE demanded;
SELECT state, rejected FROM pipelinedb.transforms WHERE name = 'demands';
SELECT sqlstate, message, row - 'arrival_timestamp' AS row FROM pipelinedb.errors WHERE view = 'demands'::regclass;

-- a statement's plans do not outlive it
CREATE TABLE t2 (k int, t text);
CREATE TRIGGER copied AFTER INSERT ON t2 FOR EACH ROW EXECUTE FUNCTION pipelinedb.insert_into_stream('tf.d1', 'tf.d2');
INSERT INTO t2 VALUES (80001, 'a'), (80002, 'b');
INSERT INTO t2 VALUES (80001, 'a');
DO $$ BEGIN INSERT INTO tf.t2 VALUES (80003, 'rolled back'); RAISE 'now'; EXCEPTION WHEN raise_exception THEN NULL; END $$;
SELECT count(*) FROM pg_backend_memory_contexts WHERE ident ~ '^INSERT INTO tf';
SELECT pipelinedb.flush();
SELECT * FROM v1 WHERE k > 80000 ORDER BY k;
DROP VIEW demands;

-- a function that waits for its own worker
CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pipelinedb.flush(); RETURN NULL; END $$;
CREATE VIEW waiting WITH (action = transform, outputfunc = waits) AS SELECT k FROM s WHERE k = 90000;
INSERT INTO s VALUES (90000, '');
SELECT pipelinedb.flush();
SELECT state, sqlstate, message FROM pipelinedb.transforms WHERE name = 'waiting';
SET client_min_messages = warning;
DROP SCHEMA tf, tf2 CASCADE;
RESET client_min_messages;
DROP ROLE tf_owner;
SELECT count(*) FROM pipelinedb.query;
