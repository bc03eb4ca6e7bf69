-- Output streams of continuous views: what they are, what they carry, and what is refused.
CREATE SCHEMA os;
SET search_path = os, public;
SET pipelinedb.stream_insert_level = sync_commit;
CREATE FOREIGN TABLE s (k int, v int) SERVER pipelinedb;
CREATE VIEW a AS SELECT k, count(*) AS n, sum(v) AS sv FROM s GROUP BY k;

-- the stream is made when it is first read
SELECT count(*) FROM pg_foreign_table JOIN pg_class c ON c.oid = ftrelid WHERE relname = 'a_osrel';
CREATE VIEW b AS SELECT (new).k % 2 AS parity, sum((new).n - COALESCE((old).n, 0)) AS total,
    count(*) AS changes, count(old) AS updates, sum((delta).n) AS added FROM output_of('a') GROUP BY 1;
\d a_osrel
CREATE VIEW c AS SELECT o.new AS row, o.old FROM os.a_osrel o;
CREATE VIEW d AS SELECT max((new).total) AS top, count(*) AS n, count(arrival_timestamp) AS times FROM b_osrel;
CREATE VIEW e AS WITH x AS (SELECT * FROM output_of('os.a') AS y) SELECT count(*), min((x.new).k) FROM x;
INSERT INTO s SELECT i % 10, i FROM generate_series(1, 1000) i;
TABLE a ORDER BY k;
TABLE b ORDER BY parity;
SELECT * FROM c ORDER BY (row).k;
TABLE d;
TABLE e;
INSERT INTO s VALUES (3, 1), (3, 1), (4, 1), (NULL, 1);
INSERT INTO s VALUES (NULL, 5);
TABLE b ORDER BY parity;
SELECT * FROM c WHERE old IS NOT NULL OR (row).k IS NULL ORDER BY (row).k, (row).n;
TABLE e;

-- a row that readers could not tell from the former one is no change
CREATE VIEW top AS SELECT k, max(v) AS m FROM s GROUP BY k;
CREATE VIEW tops AS SELECT (new).k, count(*) AS n FROM output_of('top') GROUP BY 1;
INSERT INTO s VALUES (1, 10), (1, 5);
INSERT INTO s VALUES (1, 7);
INSERT INTO s VALUES (1, 70);
TABLE tops;

-- views that append rows, that leave out groups, that order them
CREATE VIEW app AS SELECT k, v * 2 AS vv FROM s WHERE v < 0;
CREATE VIEW app_r AS SELECT count(*) AS n, count(old) AS olds, sum((new).vv) AS s, sum((delta).vv) AS d FROM output_of('app');
CREATE VIEW hav AS SELECT k, count(*) AS n FROM s WHERE v = 77 GROUP BY k HAVING count(*) BETWEEN 2 AND 3;
CREATE VIEW hav_r AS SELECT (old).n AS old, (new).n AS new FROM output_of('hav');
CREATE VIEW lim AS SELECT k, count(*) AS n FROM s WHERE v = 77 GROUP BY k ORDER BY n DESC LIMIT 1;
CREATE VIEW lim_r AS SELECT (new).k, max((new).n) AS n FROM lim_osrel GROUP BY 1;
CREATE VIEW glob AS SELECT count(*) AS n FROM s WHERE v = 77;
CREATE VIEW glob_r AS SELECT (old).n AS old, (new).n AS new FROM glob_osrel;
INSERT INTO s VALUES (1, -1), (2, -2);
INSERT INTO s VALUES (2, -2);
INSERT INTO s VALUES (1, 77), (2, 77);
INSERT INTO s VALUES (1, 77), (1, 77);
INSERT INTO s VALUES (2, 77);
INSERT INTO s VALUES (1, 77);
TABLE app_r;
SELECT * FROM hav_r ORDER BY old NULLS FIRST, new;
TABLE lim_r ORDER BY k;
SELECT * FROM glob_r ORDER BY new;

-- joined with tables, and united with other streams
CREATE TABLE dim (k int, name text);
INSERT INTO dim VALUES (1, 'one'), (2, 'two');
CREATE VIEW joined AS SELECT name, sum((delta).n) AS n FROM output_of('glob') AS o, dim
    WHERE dim.k = (o.new).n % 2 + 1 GROUP BY name;
CREATE VIEW united AS SELECT w, count(*) AS n FROM (
    SELECT 'a' AS w FROM output_of('a') UNION ALL SELECT 's' FROM s UNION ALL SELECT 'glob' FROM glob_osrel) x GROUP BY w;
INSERT INTO s VALUES (8, 77);
INSERT INTO s VALUES (8, 77);
TABLE joined ORDER BY name;
TABLE united ORDER BY w;

-- what is refused
SELECT * FROM output_of('a');
SELECT * FROM a_osrel;
INSERT INTO a_osrel VALUES (NULL, NULL, NULL);
COPY a_osrel FROM STDIN;
\.
EXPLAIN INSERT INTO a_osrel VALUES (NULL, NULL, NULL);
-- but a reader can be told what was before it
SET pipelinedb.stream_targets = 'c';
INSERT INTO a_osrel SELECT NULL, a, NULL FROM a WHERE k = 9;
RESET pipelinedb.stream_targets;
SELECT * FROM c WHERE (row).k = 9 ORDER BY (row).n;
CREATE VIEW x AS SELECT count(*) FROM output_of('nothing');
CREATE VIEW x AS SELECT count(*) FROM output_of('dim');
CREATE VIEW x AS SELECT count(*) FROM output_of('s');
CREATE VIEW x AS SELECT count(*) FROM output_of('a' || '');
CREATE VIEW x AS SELECT count(*) FROM output_of(7);
CREATE VIEW x AS SELECT count(*) FROM output_of();
CREATE VIEW x AS SELECT count(*) FROM output_of('a.b.c.d');
CREATE VIEW x AS SELECT count(*) FROM nothing_osrel;
CREATE VIEW x AS SELECT count(*) FROM dim_osrel;
CREATE VIEW dist AS SELECT DISTINCT count(*) AS n FROM s GROUP BY k;
CREATE VIEW x AS SELECT count(*) FROM output_of('dist');
CREATE VIEW subq AS SELECT k, count(*) AS n, (SELECT max(name COLLATE "C") FROM dim) AS name FROM s GROUP BY k;
CREATE VIEW x AS SELECT count(*) FROM output_of('subq');
CREATE FOREIGN TABLE fake (a int) SERVER pipelinedb OPTIONS (output_of 'a');
CREATE FOREIGN TABLE fake (a int) SERVER pipelinedb OPTIONS (output_of 'top');
CREATE FOREIGN TABLE fake (a int) SERVER pipelinedb OPTIONS (output_of 'dist');
CREATE FOREIGN TABLE fake (a int) SERVER pipelinedb OPTIONS (output_of 'nothing');
ALTER FOREIGN TABLE s OPTIONS (ADD output_of 'dist');
ALTER FOREIGN TABLE s OPTIONS (DROP output_of);
ALTER FOREIGN TABLE a_osrel OPTIONS (SET output_of 'dist');
ALTER FOREIGN TABLE a_osrel OPTIONS (DROP output_of);
ALTER FOREIGN TABLE a_osrel ADD COLUMN more int;
ALTER FOREIGN TABLE a_osrel DROP COLUMN delta;
ALTER FOREIGN TABLE a_osrel ALTER COLUMN old TYPE text;
ALTER FOREIGN TABLE a_osrel RENAME COLUMN old TO older;
ALTER FOREIGN TABLE a_osrel RENAME TO other;
ALTER FOREIGN TABLE a_osrel SET SCHEMA public;
ALTER FOREIGN TABLE a_osrel OWNER TO pg_monitor;
ALTER FOREIGN TABLE a_osrel OWNER TO CURRENT_USER;
ALTER FOREIGN TABLE a_osrel ALTER COLUMN old SET NOT NULL;
ALTER FOREIGN TABLE a_osrel ALTER COLUMN old SET DEFAULT NULL;
TRUNCATE a_osrel;
-- of a view without readers, by hand
CREATE VIEW hand AS SELECT count(*) AS n FROM s;
CREATE FOREIGN TABLE hand_osrel (old hand, new hand, delta hand_mrel, arrival_timestamp timestamptz) SERVER pipelinedb OPTIONS (output_of 'hand');
CREATE FOREIGN TABLE hand_2 (old hand, new hand, delta hand_mrel, arrival_timestamp timestamptz) SERVER pipelinedb OPTIONS (output_of 'hand');
CREATE VIEW hand_r AS SELECT count(*) AS n FROM hand_osrel;
INSERT INTO s VALUES (0, 0);
TABLE hand_r;

-- renamed and moved with the view
CREATE SCHEMA os2;
ALTER VIEW hand RENAME TO hand2;
ALTER VIEW hand2 SET SCHEMA os2;
SELECT c.oid::regclass, ftoptions FROM pg_foreign_table JOIN pg_class c ON c.oid = ftrelid WHERE relname LIKE 'hand%';
CREATE VIEW hand_r2 AS SELECT count(*) AS n FROM output_of('os2.hand2');
CREATE VIEW hand_r3 AS SELECT hand2_osrel.new FROM os2.hand2_osrel;
INSERT INTO s VALUES (0, 0);
TABLE hand_r;
TABLE hand_r2;
TABLE hand_r3;
SELECT name, streams, state FROM pipelinedb.views WHERE name LIKE 'hand%' ORDER BY name;

-- rights: who reads the output may read the view
CREATE ROLE os_owner;
CREATE ROLE os_reader;
GRANT USAGE, CREATE ON SCHEMA os TO os_owner, os_reader;
CREATE FOREIGN TABLE rs (k int, v int) SERVER pipelinedb;
GRANT SELECT, INSERT ON rs TO os_owner;
SET ROLE os_owner;
CREATE VIEW own AS SELECT k, count(*) AS n FROM rs GROUP BY k;
SET ROLE os_reader;
CREATE VIEW peep AS SELECT count(*) AS n FROM output_of('own');
CREATE VIEW peep AS SELECT count(*) AS n FROM own_osrel;
SET ROLE os_owner;
CREATE VIEW mine AS SELECT count(*) AS n FROM own_osrel;
SET ROLE os_reader;
CREATE VIEW peep AS SELECT count(*) AS n FROM own_osrel;
RESET ROLE;
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'own_osrel';
GRANT SELECT ON own TO os_reader;
SET ROLE os_reader;
CREATE VIEW peep AS SELECT count(*) AS n FROM own_osrel;
CREATE FOREIGN TABLE fake (a int) SERVER pipelinedb OPTIONS (output_of 'own');
RESET ROLE;
INSERT INTO rs VALUES (1, 1);
TABLE peep;
REVOKE SELECT ON own FROM os_reader;
INSERT INTO rs VALUES (1, 1);
SELECT pipelinedb.flush();
SELECT name, state, sqlstate, message FROM pipelinedb.views WHERE name IN ('own', 'mine', 'peep') ORDER BY name;
TABLE mine;
GRANT SELECT ON own TO os_reader;
SELECT pipelinedb.activate('peep');
SELECT pipelinedb.flush();
TABLE peep;
ALTER VIEW own OWNER TO os_reader;
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'own_osrel';
DROP VIEW own CASCADE;
DROP OWNED BY os_owner, os_reader;
DROP ROLE os_owner, os_reader;

-- paused readers get what they missed
SELECT pipelinedb.deactivate('b');
INSERT INTO s VALUES (3, 100), (4, 100);
SELECT pipelinedb.flush();
SELECT * FROM b ORDER BY parity;
SELECT pipelinedb.activate('b');
SELECT pipelinedb.flush();
SELECT * FROM b ORDER BY parity;
SELECT sum(total) = (SELECT sum(n) FROM a) AS same FROM b;

-- a trigger on the output of a view
CREATE TABLE log (id serial, what text);
CREATE FUNCTION log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO os.log (what) VALUES (TG_ARGV[0] || ' ' || (NEW.old).n || ' -> ' || (NEW.new).n); RETURN NULL; END $$;
CREATE TRIGGER fives AFTER INSERT ON glob_osrel FOR EACH ROW WHEN ((NEW.new).n % 5 = 0)
    EXECUTE FUNCTION log_change('glob');
CREATE TRIGGER refused BEFORE INSERT ON glob_osrel FOR EACH ROW EXECUTE FUNCTION log_change('x');
CREATE TRIGGER refused AFTER UPDATE ON glob_osrel FOR EACH ROW EXECUTE FUNCTION log_change('x');
CREATE TRIGGER refused AFTER INSERT ON glob_osrel FOR EACH STATEMENT EXECUTE FUNCTION log_change('x');
CREATE TRIGGER refused AFTER INSERT ON glob_osrel REFERENCING NEW TABLE AS t FOR EACH STATEMENT EXECUTE FUNCTION log_change('x');
TABLE glob;
INSERT INTO s VALUES (5, 77);
INSERT INTO s VALUES (5, 77);
INSERT INTO s VALUES (5, 77);
INSERT INTO s VALUES (5, 77);
INSERT INTO s VALUES (5, 77);
TABLE glob;
SELECT what FROM log ORDER BY id;
ALTER FOREIGN TABLE glob_osrel DISABLE TRIGGER fives;
INSERT INTO s VALUES (5, 77);
INSERT INTO s VALUES (5, 77);
ALTER FOREIGN TABLE glob_osrel ENABLE TRIGGER fives;
SELECT what FROM log ORDER BY id;

-- dropping
DROP VIEW a;
DROP FOREIGN TABLE a_osrel;
DROP VIEW d;
DROP FOREIGN TABLE b_osrel;
INSERT INTO s VALUES (3, 1);
SELECT sum(total) = (SELECT sum(n) FROM a) AS same FROM b;
CREATE VIEW d AS SELECT sum((new).total - (old).total) AS sum FROM b_osrel;
INSERT INTO s VALUES (3, 1);
TABLE d;
DROP FOREIGN TABLE b_osrel CASCADE;
DROP VIEW top RESTRICT;
DROP VIEW top CASCADE;
DROP VIEW glob, hav, hav_r CASCADE;
SELECT relname FROM pg_class WHERE relnamespace = 'os'::regnamespace AND relname ~ '^(glob|hav|top)';
-- what is the same is no change, however it is stored
CREATE FOREIGN TABLE more (k int, t text, p point, at timestamptz) SERVER pipelinedb;
CREATE TYPE pair AS (a int, b text);
CREATE VIEW longest AS SELECT k, max(t) AS t, count(*) FILTER (WHERE t = 'x') AS x FROM more GROUP BY k;
CREATE VIEW longest_r AS SELECT (new).k, count(*) AS changes, count(old) AS updates, max(length((old).t)) AS old,
    max(length((new).t)) AS new FROM output_of('longest') GROUP BY 1;
INSERT INTO more VALUES (1, repeat('zyx', 3000)), (2, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i));
INSERT INTO more VALUES (1, 'a'), (2, '');
INSERT INTO more VALUES (1, 'b'), (2, '');
TABLE longest_r ORDER BY k;
INSERT INTO more VALUES (1, 'x'), (2, 'x');
TABLE longest_r ORDER BY k;

-- grouping sets, composite keys, the first rows of a key, columns named as those of the stream
CREATE VIEW sets AS SELECT k, t, grouping(k, t) AS g, count(*) AS n FROM more GROUP BY GROUPING SETS ((k), (t), ());
CREATE VIEW sets_r AS SELECT (new).k, (new).t, (new).g, sum((new).n - coalesce((old).n, 0)) AS n FROM output_of('sets') GROUP BY 1, 2, 3;
CREATE VIEW pairs AS SELECT ROW(k, t)::pair AS p, count(*) AS n FROM more GROUP BY 1;
CREATE VIEW pairs_r AS SELECT ((new).p).a, max((new).n) AS n, count(*) AS changes FROM output_of('pairs') GROUP BY 1;
CREATE VIEW latest AS SELECT DISTINCT ON (k) k, t, at FROM more ORDER BY k, at DESC NULLS LAST;
CREATE VIEW latest_r AS SELECT (old).t AS old, (new).t AS new FROM output_of('latest') WHERE (new).at IS NOT NULL;
CREATE VIEW dist_k AS SELECT DISTINCT k FROM more;
CREATE VIEW dist_r AS SELECT (new).k, count(*) AS n, count(old) AS olds FROM output_of('dist_k') GROUP BY 1;
CREATE VIEW timed AS SELECT true AS old, max(arrival_timestamp) AS arrival_timestamp, count(*) AS new FROM more;
CREATE VIEW timed_r AS SELECT (new).new, (new).arrival_timestamp <= arrival_timestamp AS later FROM output_of('timed');
INSERT INTO more VALUES (1, 'a', NULL, '2020-01-01 UTC'), (1, 'b', NULL, NULL), (NULL, 'a', NULL, NULL), (NULL, NULL, NULL, NULL);
INSERT INTO more VALUES (1, 'a', NULL, '2019-01-01 UTC');
INSERT INTO more VALUES (1, 'c', NULL, '2021-01-01 UTC');
SELECT count(*) FROM ((TABLE sets EXCEPT TABLE sets_r) UNION (TABLE sets_r EXCEPT TABLE sets)) x;
TABLE pairs_r ORDER BY a;
TABLE latest_r ORDER BY new;
TABLE dist_r ORDER BY k;
TABLE timed_r ORDER BY new;

-- names
CREATE TABLE taken_osrel (n int);
CREATE VIEW taken AS SELECT count(*) AS n FROM more;
CREATE VIEW taken_r AS SELECT (new).n FROM output_of('taken');
CREATE VIEW x AS SELECT (new).n FROM taken_osrel;
CREATE VIEW "Ha ""ha'; x" AS SELECT k AS "select", count(*) AS "n""n" FROM more GROUP BY 1;
CREATE VIEW ha_r AS SELECT (new)."select" AS k, (new)."n""n" AS n FROM output_of('os."Ha ""ha''; x"');
CREATE VIEW ha_r2 AS SELECT count(*) AS n FROM os."Ha ""ha'; x_osrel";
CREATE VIEW z_osrel AS SELECT count(*) AS n FROM more;
CREATE VIEW z_r AS SELECT (new).n FROM z_osrel_osrel;
CREATE VIEW abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk AS SELECT count(*) AS n FROM more;
CREATE VIEW abc_r AS SELECT (new).n FROM output_of('abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk');
INSERT INTO more VALUES (1, 'a');
SELECT t.n, ha_r.*, ha_r2.n, z_r.n, abc_r.n FROM taken_r t, ha_r, ha_r2, z_r, abc_r;
SELECT name, streams FROM pipelinedb.views WHERE name ~ '(taken|ha|z|abc)_r' ORDER BY name;

-- FROM items that are none
CREATE VIEW x AS SELECT count(*) FROM output_of('dist_k') a JOIN output_of('dist_k') b ON true;
CREATE VIEW x AS SELECT count(*) FROM output_of('dist_k') a, more;
CREATE VIEW x AS SELECT count(*) FROM more WHERE k IN (SELECT (new).k FROM output_of('dist_k'));
CREATE VIEW x AS SELECT o FROM output_of('dist_k') o;

-- a reader that discards rows begins anew
SELECT pipelinedb.deactivate('dist_r', true);
INSERT INTO more VALUES (50, 'lost');
SELECT pipelinedb.activate('dist_r');
INSERT INTO more VALUES (51, 'seen');
SELECT * FROM dist_r WHERE k >= 50;
SET client_min_messages = warning;
DROP SCHEMA os, os2 CASCADE;
RESET client_min_messages;
SELECT count(*) FROM pipelinedb.query;
