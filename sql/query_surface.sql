-- What is applied when a view is read (HAVING, ORDER BY, LIMIT), DISTINCT ON, SELECT *, WITH and
-- UNION ALL of streams. What is refused is at the end. Newer servers name columns with their table
-- less often: it is cut off.
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE FOREIGN TABLE qs_s (k int, v int, t text, ts timestamp) SERVER pipelinedb;
CREATE FOREIGN TABLE qs_s2 (a bigint, b text) SERVER pipelinedb;
CREATE TABLE qs_names (k int PRIMARY KEY, name text);
INSERT INTO qs_names VALUES (1, 'one'), (2, 'two'), (3, 'three');

-- HAVING: all groups are stored, a later row lets one pass
CREATE VIEW qs_having AS SELECT k, sum(v) FROM qs_s GROUP BY k HAVING count(*) > 1 AND avg(v) >= 2;
CREATE VIEW qs_having_total AS SELECT max(v) FROM qs_s HAVING count(*) > 2;
CREATE VIEW qs_having_key AS SELECT count(*) FROM qs_s GROUP BY k HAVING k > 1 AND k IN (SELECT n.k FROM qs_names n);
SELECT regexp_replace(pg_get_viewdef('qs_having'), '\m(qs_\w+|unioned|named)\.', '', 'g');
SELECT regexp_replace(pg_get_viewdef('qs_having_def'), '\m(qs_\w+|unioned|named)\.', '', 'g');

-- ORDER BY and LIMIT
CREATE VIEW qs_top AS SELECT k, avg(v) FROM qs_s GROUP BY k ORDER BY sum(v) DESC NULLS LAST, k LIMIT 2;
CREATE VIEW qs_ties AS SELECT v / 10 AS tens, count(*) FROM qs_s GROUP BY 1 ORDER BY count(*) DESC FETCH FIRST 1 ROW WITH TIES;
CREATE VIEW qs_latest AS SELECT t FROM qs_s ORDER BY ts DESC NULLS LAST, v + 1 OFFSET 1 LIMIT 1 + 2;
CREATE VIEW qs_distinct AS SELECT DISTINCT k FROM qs_s ORDER BY k DESC LIMIT 2;
CREATE VIEW qs_on_groups AS SELECT DISTINCT ON (k % 2) k, count(*) FROM qs_s GROUP BY k ORDER BY k % 2, count(*) DESC, k;
SELECT regexp_replace(pg_get_viewdef('qs_top'), '\m(qs_\w+|unioned|named)\.', '', 'g');
SELECT regexp_replace(pg_get_viewdef('qs_latest'), '\m(qs_\w+|unioned|named)\.', '', 'g');
SELECT regexp_replace(pg_get_viewdef('qs_latest_def'), '\m(qs_\w+|unioned|named)\.', '', 'g');
\d qs_latest_mrel

-- DISTINCT ON
CREATE VIEW qs_last AS SELECT DISTINCT ON (k) t, k, v FROM qs_s ORDER BY k, ts DESC NULLS LAST, v;
CREATE VIEW qs_first AS SELECT DISTINCT ON (lower(t)) * FROM qs_s ORDER BY lower(t), ts, v, k;
CREATE VIEW qs_any AS SELECT DISTINCT ON (k) k, (v = v) AS is_there FROM qs_s;
CREATE VIEW qs_last_joined AS SELECT DISTINCT ON (n.name) n.name, s.v FROM qs_s s JOIN qs_names n USING (k)
    WHERE s.v > 0 ORDER BY n.name DESC, s.v DESC LIMIT 2;
SELECT regexp_replace(pg_get_viewdef('qs_last'), '\m(qs_\w+|unioned|named)\.', '', 'g');
SELECT regexp_replace(pg_get_viewdef('qs_last_def'), '\m(qs_\w+|unioned|named)\.', '', 'g');
\d qs_last_mrel

-- SELECT *
CREATE VIEW qs_star AS SELECT * FROM qs_s;
CREATE VIEW qs_star_joined AS SELECT * FROM qs_s2 JOIN qs_names n ON n.k = a;

-- WITH
CREATE VIEW qs_with AS WITH big AS (SELECT k, v FROM qs_s WHERE v > 10),
    named (id, name, v) AS MATERIALIZED (SELECT b.k, n.name, b.v FROM big b LEFT JOIN qs_names n USING (k))
    SELECT name, count(*), sum(v) FROM named GROUP BY name;
CREATE VIEW qs_with_twice AS WITH RECURSIVE x AS (SELECT k, v FROM qs_s), y AS (SELECT * FROM x WHERE v < 20)
    SELECT k, v FROM (SELECT * FROM x UNION ALL SELECT * FROM y) u;
CREATE VIEW qs_with_table AS WITH n AS (SELECT * FROM qs_names)
    SELECT n.name, count(*), (SELECT max(name) FROM n) AS last_name FROM qs_s JOIN n USING (k) GROUP BY n.name;
CREATE VIEW qs_with_inner AS SELECT k, count(*) FROM (WITH z AS (SELECT k FROM qs_s) SELECT k FROM z) u GROUP BY k;
SELECT regexp_replace(pg_get_viewdef('qs_with_def'), '\m(qs_\w+|unioned|named)\.', '', 'g');

-- UNION ALL
CREATE VIEW qs_union AS SELECT k, v::text AS what FROM qs_s UNION ALL SELECT a, b FROM qs_s2 ORDER BY what DESC, 1 LIMIT 4;
CREATE VIEW qs_union_groups AS SELECT src, n.name, count(*), sum(x) FROM (
    SELECT 's' AS src, k, v AS x FROM qs_s WHERE v > 5
    UNION ALL SELECT 's2', a, length(b) FROM qs_s2
    UNION ALL SELECT 'named', n.k, 0 FROM qs_s2 JOIN qs_names n ON n.name = b) u
    LEFT JOIN qs_names n ON n.k = u.k GROUP BY src, n.name;
CREATE VIEW qs_union_last AS SELECT DISTINCT ON (id) id, what FROM (SELECT k AS id, t AS what FROM qs_s
    UNION ALL SELECT a, b FROM qs_s2) u ORDER BY id, what DESC;
CREATE VIEW qs_union_names (key, "What") AS SELECT k, t FROM qs_s UNION ALL SELECT a, b FROM qs_s2 ORDER BY t;
CREATE VIEW qs_union_one AS SELECT k FROM qs_s WHERE false UNION ALL SELECT a FROM qs_s2;
CREATE VIEW qs_union_three AS (SELECT k FROM qs_s UNION ALL SELECT a FROM qs_s2) UNION ALL SELECT k FROM qs_s;
SELECT regexp_replace(pg_get_viewdef('qs_union'), '\m(qs_\w+|unioned|named)\.', '', 'g');
SELECT regexp_replace(pg_get_viewdef('qs_union_def'), '\m(qs_\w+|unioned|named)\.', '', 'g');
SELECT name, stream, streams FROM pipelinedb.views WHERE name LIKE 'qs\_union%' ORDER BY name;
SELECT name, queries FROM pipelinedb.streams WHERE name = 'qs_s2';

INSERT INTO qs_s VALUES (1, 10, 'a', '2024-01-01'), (1, 20, 'B', '2024-01-03'), (2, 1, 'b', '2024-01-02');
INSERT INTO qs_s2 VALUES (1, 'one'), (7, 'seven');
SELECT pipelinedb.flush();
SELECT * FROM qs_having;
SELECT * FROM qs_having_total;
SELECT * FROM qs_last;
INSERT INTO qs_s VALUES (2, 30, 'c', NULL), (3, 12, 'C', '2024-01-05'), (1, 5, 'late', '2024-01-02');
INSERT INTO qs_s2 VALUES (2, 'two'), (7, 'zzz');
SELECT pipelinedb.flush();
SELECT * FROM qs_having ORDER BY k;
SELECT * FROM qs_having_total;
SELECT * FROM qs_having_key ORDER BY 1;
SELECT * FROM qs_top;
SELECT * FROM qs_ties;
SELECT * FROM qs_latest;
SELECT * FROM qs_distinct;
SELECT * FROM qs_on_groups;
SELECT * FROM qs_last;
SELECT k, v, t, ts FROM qs_first;
SELECT * FROM qs_any ORDER BY k;
SELECT * FROM qs_last_joined;
SELECT k, v, t, ts, arrival_timestamp IS NOT NULL AS arrived FROM qs_star ORDER BY k, v;
SELECT a, b, k, name FROM qs_star_joined ORDER BY 1;
SELECT attname FROM pg_attribute WHERE attrelid = 'qs_star_joined'::regclass ORDER BY attnum;
SELECT * FROM qs_with ORDER BY name;
SELECT k, v, count(*) FROM qs_with_twice GROUP BY k, v ORDER BY k, v;
SELECT * FROM qs_with_table ORDER BY name;
SELECT * FROM qs_with_inner ORDER BY k;
SELECT * FROM qs_union;
SELECT * FROM qs_union_groups ORDER BY src, name;
SELECT * FROM qs_union_last;
SELECT key, "What" FROM qs_union_names LIMIT 3;
SELECT * FROM qs_union_one ORDER BY k;
SELECT k, count(*) FROM qs_union_three GROUP BY k ORDER BY k;

-- the key's index serves readers, and the order of DISTINCT ON
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM qs_last;
EXPLAIN (COSTS OFF) SELECT * FROM qs_last WHERE k = 1;
RESET enable_seqscan;
RESET enable_bitmapscan;

-- a column that the stream gets later is in no view
ALTER FOREIGN TABLE qs_s ADD COLUMN later int DEFAULT 5;
INSERT INTO qs_s (k, v, t, ts, later) VALUES (9, 9, 'latest', '2024-02-01', 1);
SELECT pipelinedb.flush();
SELECT k, v, t, ts FROM qs_star WHERE k = 9;
SELECT k, v, t, ts FROM qs_first WHERE k = 9;
SELECT attname FROM pg_attribute WHERE attrelid = 'qs_star'::regclass ORDER BY attnum;

-- a rejected row remembers its stream
CREATE VIEW qs_bad AS SELECT 100 / k AS x FROM qs_s UNION ALL SELECT 100 / (a - 1) FROM qs_s2;
INSERT INTO qs_s (k) VALUES (1), (0), (2);
INSERT INTO qs_s2 (a) VALUES (2), (1), (0);
SELECT pipelinedb.flush();
SELECT x, count(*) FROM qs_bad GROUP BY x ORDER BY x;
SELECT stream, message, "row" - 'arrival_timestamp' AS "row" FROM pipelinedb.errors WHERE view = 'qs_bad'::regclass ORDER BY stream;
SELECT pipelinedb.retry_errors('qs_bad');
SELECT pipelinedb.flush();
SELECT stream, message, "row" - 'arrival_timestamp' AS "row" FROM pipelinedb.errors WHERE view = 'qs_bad'::regclass ORDER BY stream;
SELECT rejected FROM pipelinedb.views WHERE name = 'qs_bad';

-- all of it over a sliding window: readers group, so that HAVING is HAVING again
CREATE FOREIGN TABLE qs_w (k int, v int, at timestamptz) SERVER pipelinedb;
CREATE VIEW qs_w_having AS SELECT k, count(*) FROM qs_w WHERE at > clock_timestamp() - interval '1 hour'
    GROUP BY k HAVING sum(v) > 10 ORDER BY max(v) DESC LIMIT 2;
CREATE VIEW qs_w_total AS SELECT count(*) FROM qs_w WHERE at > clock_timestamp() - interval '1 hour' HAVING count(*) > 2;
CREATE VIEW qs_w_rows AS SELECT k FROM qs_w WHERE at > clock_timestamp() - interval '1 hour' ORDER BY v DESC LIMIT 2;
CREATE VIEW qs_w_best WITH (step_factor = 1) AS SELECT DISTINCT ON (k) k, v FROM qs_w
    WHERE at > clock_timestamp() - interval '1 hour' ORDER BY k, v DESC, at;
CREATE VIEW qs_w_any AS SELECT DISTINCT ON (k) k FROM qs_w WHERE at > clock_timestamp() - interval '1 hour';
CREATE VIEW qs_w_union AS SELECT what, count(*) FROM (SELECT 'w' AS what, at FROM qs_w UNION ALL
    SELECT b, arrival_timestamp FROM qs_s2) u WHERE at > clock_timestamp() - interval '1 hour' GROUP BY what ORDER BY what;
SELECT regexp_replace(pg_get_viewdef('qs_w_having'), '\m(qs_\w+|unioned|named)\.', '', 'g');
SELECT regexp_replace(pg_get_viewdef('qs_w_best'), '\m(qs_\w+|unioned|named)\.', '', 'g');
SELECT regexp_replace(pg_get_viewdef('qs_w_best_def'), '\m(qs_\w+|unioned|named)\.', '', 'g');
SELECT regexp_replace(pg_get_viewdef('qs_w_any_def'), '\m(qs_\w+|unioned|named)\.', '', 'g');
INSERT INTO qs_w SELECT k, v, now() - ago * interval '1 min' FROM (VALUES (1, 100, 90), (1, 50, 30), (1, 7, 1),
    (2, 5, 5), (2, 9, 2), (3, 1, 1), (4, 20, 50)) r (k, v, ago);
INSERT INTO qs_s2 (b) VALUES ('late');
SELECT pipelinedb.flush();
SELECT * FROM qs_w_having;
SELECT * FROM qs_w_total;
SELECT * FROM qs_w_rows;
SELECT * FROM qs_w_best;
SELECT * FROM qs_w_any ORDER BY k;
SELECT * FROM qs_w_union;
SET pipelinedb.clock_offset = 1860;
SELECT * FROM qs_w_having;
SELECT * FROM qs_w_rows;
SELECT * FROM qs_w_best;
RESET pipelinedb.clock_offset;

-- the output of such views: HAVING says which rows are shown, ORDER BY and LIMIT say nothing
CREATE VIEW qs_changes AS
    SELECT 'last' AS source, (old).t AS before, (new).t AS after FROM output_of('qs_last') UNION ALL
    SELECT 'having', (old).sum::text, (new).sum::text FROM output_of('qs_having') UNION ALL
    SELECT 'top', (old).avg::int::text, (new).avg::int::text FROM output_of('qs_top') ORDER BY source, after;
INSERT INTO qs_s (k, v, t, ts) VALUES (50, 7, 'old', '2025-01-01');
SELECT pipelinedb.flush();
INSERT INTO qs_s (k, v, t, ts) VALUES (50, 9, 'older', '2024-01-01');
SELECT pipelinedb.flush();
INSERT INTO qs_s (k, v, t, ts) VALUES (50, 11, 'new', '2026-01-01');
SELECT pipelinedb.flush();
SELECT * FROM qs_changes;

-- a transform may be a union and have WITH queries
CREATE VIEW qs_both WITH (action = transform) AS
    WITH x AS (SELECT k, t FROM qs_s WHERE k > 60) SELECT k, t FROM x UNION ALL SELECT a, b FROM qs_s2;
CREATE VIEW qs_both_rows AS SELECT k, t FROM output_of('qs_both') ORDER BY k;
INSERT INTO qs_s (k, t) VALUES (60, 'filtered'), (61, 'one');
INSERT INTO qs_s2 VALUES (62, 'other');
SELECT pipelinedb.flush();
SELECT * FROM qs_both_rows;

-- what depends on a stream
DROP FOREIGN TABLE qs_s2;
SELECT pipelinedb.truncate_continuous_view('qs_last');
SELECT * FROM qs_last;

-- refused
CREATE VIEW qv AS WITH RECURSIVE r AS (SELECT k FROM qs_s UNION ALL SELECT k + 1 FROM r WHERE k < 3) SELECT k FROM r;
CREATE VIEW qv AS WITH RECURSIVE r AS (SELECT 1 AS k UNION ALL SELECT k + 1 FROM r WHERE k < 3) SELECT count(*) FROM qs_s JOIN r USING (k);
CREATE VIEW qv AS WITH d AS (DELETE FROM qs_names RETURNING k) SELECT count(*) FROM qs_s JOIN d USING (k);
CREATE VIEW qv AS WITH x AS (SELECT random() AS r FROM qs_s) SELECT r FROM x UNION ALL SELECT r FROM x;
CREATE VIEW qv AS WITH x AS (SELECT k FROM qs_s), y AS (SELECT a FROM qs_s2) SELECT count(*) FROM x, y;
CREATE VIEW qv AS WITH x AS (SELECT k FROM qs_s) SELECT count(*) FROM x a JOIN x b USING (k);
CREATE VIEW qv WITH (action=materialize) AS WITH x AS (SELECT k FROM qs_s) SELECT count(*) FROM qs_names;
CREATE VIEW qv AS WITH x AS (SELECT k, count(*) FROM qs_s GROUP BY k) SELECT k FROM x;
CREATE VIEW qv AS SELECT k FROM qs_s UNION SELECT a FROM qs_s2;
CREATE VIEW qv AS SELECT k FROM qs_s INTERSECT SELECT a FROM qs_s2;
CREATE VIEW qv AS SELECT count(*) FROM (SELECT k FROM qs_s EXCEPT ALL SELECT a FROM qs_s2) u;
CREATE VIEW qv AS SELECT k FROM qs_s UNION ALL (SELECT k FROM qs_s INTERSECT SELECT a FROM qs_s2);
CREATE VIEW qv AS SELECT k FROM qs_s UNION ALL SELECT k FROM qs_names;
CREATE VIEW qv AS SELECT count(*) FROM qs_s UNION ALL SELECT count(*) FROM qs_s2;
CREATE VIEW qv AS SELECT k FROM qs_s UNION ALL (SELECT a FROM qs_s2 LIMIT 1);
CREATE VIEW qv AS SELECT count(*) FROM (SELECT k FROM qs_s UNION ALL SELECT a FROM qs_s2 ORDER BY 1) u;
CREATE VIEW qv AS SELECT count(*) FROM (SELECT k FROM qs_s UNION ALL SELECT a FROM qs_s2) u, qs_s;
CREATE VIEW qv AS SELECT count(*) FROM qs_names LEFT JOIN (SELECT k FROM qs_s UNION ALL SELECT a FROM qs_s2) u USING (k);
CREATE VIEW qv AS SELECT count(*) FROM (SELECT DISTINCT ON (k) k, v FROM qs_s) u;
CREATE VIEW qv AS SELECT k FROM qs_s UNION ALL VALUES (1);
BEGIN;
DO $$ BEGIN
    FOR i IN 1 .. 65 LOOP EXECUTE format('CREATE FOREIGN TABLE qs_many_%s (k int) SERVER pipelinedb', i); END LOOP;
    EXECUTE (SELECT 'CREATE VIEW qs_many AS ' || string_agg('SELECT k FROM qs_many_' || i, ' UNION ALL ' ORDER BY i) FROM generate_series(1, 64) i);
END $$;
SELECT cardinality(streams), stream FROM pipelinedb.views WHERE name = 'qs_many';
DO $$ BEGIN
    EXECUTE (SELECT 'CREATE VIEW qv AS ' || string_agg('SELECT k FROM qs_many_' || i, ' UNION ALL ' ORDER BY i) FROM generate_series(1, 65) i);
END $$;
ROLLBACK;
CREATE VIEW qv AS SELECT 1 FROM qs_s HAVING true;
CREATE VIEW qv AS SELECT DISTINCT 1 FROM qs_s HAVING true;
CREATE VIEW qv AS SELECT DISTINCT ON (k::text::xid) k FROM qs_s;
CREATE VIEW qv AS SELECT DISTINCT ON (ROW(k, v)) k FROM qs_s ORDER BY ROW(k, v) USING *<;
CREATE VIEW qv AS SELECT k, count(*) FROM qs_s GROUP BY k ORDER BY rank() OVER (ORDER BY k);
CREATE VIEW qv AS SELECT k, count(*) FROM qs_s GROUP BY k LIMIT (SELECT count(*) FROM qs_s2);
CREATE VIEW qv WITH (action=transform) AS SELECT k FROM qs_s ORDER BY k LIMIT 1;
CREATE VIEW qv WITH (action=transform) AS SELECT DISTINCT ON (k) k FROM qs_s;
CREATE VIEW qv WITH (action=transform) AS SELECT k FROM qs_s UNION SELECT a FROM qs_s2;
CREATE VIEW qv WITH (action=definition) AS SELECT k, v FROM qs_s ORDER BY v;
CREATE VIEW qv WITH (action=definition) AS SELECT k, count(*) FROM qs_s GROUP BY k HAVING count(*) > 1;
CREATE VIEW qv WITH (action=definition) AS SELECT DISTINCT ON (k) v, k FROM qs_s ORDER BY k, v;
SELECT relname FROM pg_class WHERE relname LIKE 'qv%';

SET client_min_messages = warning;
DROP FOREIGN TABLE qs_s, qs_s2, qs_w CASCADE;
DROP TABLE qs_names;
RESET client_min_messages;
SELECT relname FROM pg_class WHERE relname LIKE 'qs\_%';
