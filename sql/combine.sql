-- combine(): aggregate columns of continuous views over a coarser grouping.
CREATE SCHEMA co;
SET search_path = co, public;
CREATE FOREIGN TABLE st (k int, g int, x int, n numeric, f float8, t text) SERVER pipelinedb;
CREATE TABLE pt AS
    SELECT i % 3 AS k, i % 10 AS g, CASE WHEN i % 4 > 0 THEN i * i % 1000 END AS x, i * i * 1.5 AS n,
           i::float8 / 4 AS f, chr(97 + i % 26) AS t
      FROM generate_series(1, 300) i;
CREATE VIEW v AS SELECT k, g, count(*), sum(x), avg(x), avg(n) AS avg_n, sum(n) AS sum_n,
    max(t), min(x), stddev(n), sum(x) / count(*) AS ratio FROM st GROUP BY k, g;
CREATE VIEW w WITH (sw = '1 hour') AS SELECT k, g, count(*), avg(n) FROM st GROUP BY k, g;
CREATE VIEW rows WITH (action = materialize) AS SELECT k, x FROM st;
INSERT INTO st SELECT * FROM pt;
SELECT pipelinedb.flush();

-- against the same over the rows themselves
SELECT k, combine(count), combine(sum), combine(avg), combine(avg_n), combine(sum_n), combine(max),
       combine(min), combine(stddev) FROM v GROUP BY k ORDER BY k;
SELECT k, count(*), sum(x), avg(x), avg(n), sum(n), max(t), min(x), stddev(n)
  FROM pt GROUP BY k ORDER BY k;
SELECT k, combine(count), combine(avg) FROM w GROUP BY k ORDER BY k;

-- all over; filtered; no rows; in expressions, HAVING and ORDER BY
SELECT combine(avg), combine(avg) FILTER (WHERE k = 1) AS one, combine(count) FILTER (WHERE k < 0) AS zero,
       combine(avg) FILTER (WHERE k < 0) AS none FROM v;
SELECT combine(count), combine(sum), combine(avg_n) FROM v WHERE k < 0;
SELECT k, combine(sum) / combine(count) AS ratio, (combine(avg) + 1)::int AS next FROM v
 GROUP BY k HAVING combine(count) >= 100 AND combine(avg) > 0 ORDER BY combine(avg_n) DESC, k;
SELECT g, k, combine(count) FROM v WHERE g < 2 GROUP BY GROUPING SETS ((g), (k), ()) ORDER BY 1, 2;

-- through joins, subqueries, WITH, LATERAL and ordinary views
CREATE TABLE names (g int, name text);
INSERT INTO names VALUES (1, 'one'), (2, 'two'), (77, 'no group');
SELECT name, combine(avg), combine(count) FROM names LEFT JOIN v USING (g) GROUP BY name ORDER BY name;
SELECT name, avg(x), count(pt.k) FROM names LEFT JOIN pt USING (g) GROUP BY name ORDER BY name;
SELECT combine(j.b) FROM (v JOIN names ON v.g = names.g) AS j (a, b1, b2, b3, b) WHERE name = 'one';
SELECT combine(avg) FROM (SELECT k + 1 AS key, avg FROM v ORDER BY k DESC, g LIMIT 10) AS last WHERE key > 0;
SELECT avg(x) FROM pt WHERE k = 2;
SELECT combine(c), combine(a) FROM (SELECT DISTINCT ON (k, g) k, count AS c, avg AS a FROM v ORDER BY k, g) d;
WITH a AS (SELECT * FROM v), b AS MATERIALIZED (SELECT g, avg AS average FROM a)
SELECT combine(average), (SELECT combine(average) FROM b WHERE g = 1) FROM b;
SELECT avg(x), avg(x) FILTER (WHERE g = 1) FROM pt;
SELECT combine(l.one) FROM v, LATERAL (SELECT v.avg AS one) l;
SELECT (SELECT combine(v.count) FROM v WHERE v.g = names.g) FROM names ORDER BY g;
SELECT (SELECT combine(v.count)) FROM v;
CREATE VIEW over_v AS SELECT g, avg AS average, count FROM v WHERE k > 0;
CREATE VIEW by_g AS SELECT g, combine(average) AS average, combine(count) AS rows FROM over_v GROUP BY g;
SELECT combine(average) FROM over_v;
TABLE by_g ORDER BY g LIMIT 3;
SELECT g, avg(x), count(*) FROM pt WHERE k > 0 GROUP BY g ORDER BY g LIMIT 3;
SELECT combine(average), combine(rows) FROM by_g;
SELECT combine(avg) FROM (SELECT k, avg, row_number() OVER (ORDER BY g) FROM v) numbered;
EXPLAIN (VERBOSE, COSTS OFF) SELECT combine(average) FROM over_v;

-- prepared, in functions, in other statements
PREPARE by_key (int) AS SELECT combine(avg_n) FROM v WHERE k = $1;
EXECUTE by_key (1);
CREATE FUNCTION in_sql(int) RETURNS numeric STABLE LANGUAGE sql AS 'SELECT combine(avg_n) FROM v WHERE k = $1';
CREATE FUNCTION inlined(int) RETURNS TABLE (a numeric) STABLE LANGUAGE sql AS 'SELECT combine(avg_n) FROM v WHERE k = $1';
CREATE FUNCTION in_plpgsql(int) RETURNS numeric LANGUAGE plpgsql AS
    $$ BEGIN RETURN (SELECT combine(avg_n) FROM v WHERE k = $1); END $$;
SELECT in_sql(1), in_plpgsql(1), a FROM inlined(1);
CREATE TABLE kept AS SELECT k, combine(avg) AS avg FROM v GROUP BY k;
TABLE kept ORDER BY k;
BEGIN;
DECLARE c CURSOR FOR SELECT combine(count) FROM v;
FETCH c;
COMMIT;
COPY (SELECT combine(count) FROM v) TO STDOUT;

-- parallel
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
ALTER TABLE v_mrel SET (parallel_workers = 2);
EXPLAIN (COSTS OFF) SELECT combine(avg_n), combine(count) FROM v;
SELECT combine(avg_n), combine(avg), combine(max), combine(count) FROM v;
SELECT combine(avg_n), combine(count) FROM v WHERE k < 0;
SELECT combine(count) FILTER (WHERE k < 0) FROM v;
-- an aggregate that is not parallel safe is not run in parallel
CREATE AGGREGATE serial_sum(int) (SFUNC = int4_sum, STYPE = int8, COMBINEFUNC = int8pl);
CREATE VIEW serial AS SELECT g, serial_sum(x) AS s FROM st GROUP BY g;
ALTER TABLE serial_mrel SET (parallel_workers = 2);
EXPLAIN (COSTS OFF) SELECT combine(s) FROM serial;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- what cannot be combined
SELECT combine(avg + 1) FROM v;
SELECT combine(ratio) FROM v;
SELECT combine(k) FROM v;
SELECT combine(k) FROM rows;
SELECT combine(x) FROM pt;
SELECT combine(1);
SELECT combine(v) FROM v;
SELECT combine(a) FROM (SELECT k, avg(avg_n) AS a FROM v GROUP BY k) q;
SELECT combine(count) FROM (SELECT DISTINCT k, count FROM v) q;
SELECT combine(count) FROM (SELECT count FROM v UNION ALL SELECT count FROM v) q;
WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 3) SELECT combine(a) FROM r;
SELECT combine(DISTINCT count) FROM v;
SELECT combine(count ORDER BY k) FROM v;
SELECT combine(count) OVER () FROM v;
SELECT combine(count) FROM v_mrel;
SELECT combine(avg) FROM v_mrel;
CREATE VIEW bad AS SELECT combine(x) FROM st;
CREATE VIEW barrier WITH (security_barrier) AS SELECT g, avg FROM v;
SELECT combine(avg) FROM barrier;

-- rights: whoever may read the view may combine its columns; the table itself stays closed
CREATE ROLE regress_combine_reader;
GRANT USAGE ON SCHEMA co TO regress_combine_reader;
GRANT SELECT ON v TO regress_combine_reader;
GRANT SELECT (g, count) ON over_v TO regress_combine_reader;
SET ROLE regress_combine_reader;
SELECT combine(avg) FROM v;
SELECT combine(count) FROM over_v;
SELECT combine(average) FROM over_v;
SELECT combine(count) FROM w;
SELECT count FROM v_mrel;
RESET ROLE;

-- combine_state() and merge_states() themselves
SELECT pipelinedb.combine_state('avg(int4)', avg, NULL::numeric), pipelinedb.merge_states('avg(int4)', avg) FROM v_mrel;
SELECT pipelinedb.combine_state('count()', count, NULL::int8), pipelinedb.merge_states('count()', count),
       pipelinedb.combine_state('avg(int4)', avg, NULL::numeric) FROM v_mrel WHERE false;
SELECT a::text, pipelinedb.combine_state(a, s, NULL::int8) FROM (VALUES ('count()'::regprocedure, 2::int8),
    ('sum(int4)', 3), ('count()', 4)) x (a, s) GROUP BY a ORDER BY a::text;
SELECT pipelinedb.combine_state(a, s, NULL::int8) FROM (VALUES ('count()'::regprocedure, 2::int8), ('sum(int4)', 3)) x (a, s);
SELECT pipelinedb.combine_state(NULL, 1::int8, NULL::int8);
SELECT pipelinedb.combine_state('count()', 'x'::text, NULL::int8);
SELECT pipelinedb.combine_state('count()', 1::int8, NULL::text);
SELECT pipelinedb.combine_state('lower(text)', 1::int8, NULL::text);
SELECT pipelinedb.combine_state('percentile_disc(float8, anyelement)', 1::int8, NULL::int8);
SELECT pipelinedb.combine_state('avg(float8)', '{1,2}'::float8[], NULL::float8) FROM generate_series(1, 2);
SELECT pipelinedb.combine_state('count()', 1::int8, NULL::int8) OVER ();
SELECT pipelinedb.combine_state('avg(numeric)', avg, NULL::numeric) FROM v_mrel;
CREATE AGGREGATE hidden_sum(int) (SFUNC = int4_sum, STYPE = int8, COMBINEFUNC = int8pl, PARALLEL = SAFE);
REVOKE EXECUTE ON FUNCTION hidden_sum(int) FROM PUBLIC;
SET ROLE regress_combine_reader;
SELECT pipelinedb.combine_state('co.hidden_sum(int)', 1::int8, NULL::int8);
RESET ROLE;

-- deltas: of an output stream, and of any stream with a column of the row type
CREATE VIEW d AS SELECT (new).k, combine((delta).count) AS c, combine((delta).avg) AS a,
    combine((delta).avg_n)::int / 2 AS half, combine((delta).max),
    combine((delta).count) FILTER (WHERE (new).k < 0) AS zero FROM output_of('v') GROUP BY (new).k;
CREATE VIEW dd AS SELECT combine((delta).c) AS c, combine((delta).a) AS a FROM output_of('d');
CREATE FOREIGN TABLE ds (m v_mrel) SERVER pipelinedb;
CREATE VIEW e AS SELECT (m).k, combine((m).count) AS c, combine((m).avg_n) AS a FROM ds GROUP BY (m).k;
SELECT pipelinedb.query_text('e_def'::regclass);
TABLE dd;
CREATE VIEW bad AS SELECT combine((delta).k) FROM output_of('v');
INSERT INTO st SELECT * FROM pt WHERE k < 2;
INSERT INTO ds SELECT m FROM v_mrel m;
INSERT INTO ds SELECT m FROM v_mrel m;
SELECT pipelinedb.flush();
TABLE d ORDER BY k;
SELECT k, count(*), avg(x), avg(n)::int / 2, max(t) FROM pt WHERE k < 2 GROUP BY k ORDER BY k;
TABLE dd;
SELECT count(*), avg(x) FROM pt WHERE k < 2;
TABLE e ORDER BY k;
SELECT combine(c), combine(a) FROM e;
SELECT combine(count) * 2, combine(avg_n) FROM v;

-- a stored state says whose it is, but what runs is what the caller names
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)', c, NULL::int8, 'count()'::regprocedure, NULL::int8, NULL::int8) FROM e_mrel WHERE k = 0;
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)', c, NULL::int8, 'sum(int4)'::regprocedure, NULL::int8, NULL::int8) FROM e_mrel WHERE k = 0;
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)', c, NULL::numeric, 'avg(int4)'::regprocedure, NULL::int8[], NULL::numeric) FROM e_mrel WHERE k = 0;
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)', c, NULL::text, 'max(text)'::regprocedure, NULL::text, NULL::text) FROM e_mrel WHERE k = 0;
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)', c, NULL::int8, NULL::regprocedure, NULL::int8, NULL::int8) FROM e_mrel WHERE k = 0;
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)', c, NULL::int8) FROM e_mrel WHERE k = 0;
SET ROLE regress_combine_reader;
CREATE FUNCTION pg_temp.forged(header text, kind text, state text) RETURNS pipelinedb.aggregate_state LANGUAGE sql AS
    $$ SELECT ('\x0101060001' || kind || encode(set_byte('\x00000000', 0, octet_length(decode(header, 'escape'))), 'hex')
               || encode(decode(header, 'escape'), 'hex') || state)::pipelinedb.aggregate_state $$;
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)',
    pg_temp.forged('pg_catalog.count()\000bigint\000', '02', '0000000000000007'), NULL::int8, 'count()'::regprocedure, NULL::int8, NULL::int8);
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)',
    pg_temp.forged('co.renamed(integer)\000bigint\000', '02', '0000000000000007'), NULL::int8, 'count()'::regprocedure, NULL::int8, NULL::int8);
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)',
    pg_temp.forged('pg_catalog.count()\000text\000', '03', '37003800'), NULL::int8, 'count()'::regprocedure, NULL::int8, NULL::int8);
SELECT pipelinedb.finalize('pipelinedb.combine_state(regprocedure,"any",anyelement)',
    pg_temp.forged('pg_catalog.count()\000bigint\000', '02', '000000000000000700'), NULL::int8, 'count()'::regprocedure, NULL::int8, NULL::int8);
\set VERBOSITY terse
SELECT pg_temp.forged('co.any(integer)\000bigint\000', '01', '0102' || '0f000000000000');
SELECT pg_temp.forged('co.any(integer)\000bigint\000', '01', '010101');
SELECT pg_temp.forged('no zero byte', '02', '');
SELECT pg_temp.forged('', '02', '');
SELECT pg_temp.forged('x\000', '04', '');
\set VERBOSITY default
RESET ROLE;

-- combine_table()
CREATE TABLE archive (LIKE v_mrel);
INSERT INTO archive SELECT * FROM v_mrel;
SELECT combine(count), combine(avg), combine(avg_n), combine(max) FROM v;
SELECT pipelinedb.combine_table('v', 'archive');
SELECT combine(count), combine(avg), combine(avg_n), combine(max), count(*) FROM v;
SELECT pipelinedb.flush();
SELECT sum(c) FROM d;
UPDATE archive SET k = k + 100;
BEGIN;
SELECT pipelinedb.combine_table('co.v', 'co.archive');
SELECT combine(count), count(*) FROM v;
ROLLBACK;
SELECT combine(count), count(*) FROM v;
CREATE TABLE moved (x int, k int);
INSERT INTO moved VALUES (1000, 1), (2000, 2);
SELECT pipelinedb.combine_table('rows', 'moved');
SELECT * FROM rows WHERE x >= 1000 ORDER BY x;
SELECT pipelinedb.combine_table('v', 'pt');
ALTER TABLE archive ADD COLUMN more int;
SELECT pipelinedb.combine_table('v', 'archive');
ALTER TABLE archive DROP COLUMN more;
SELECT pipelinedb.combine_table('pt', 'archive');
SELECT pipelinedb.combine_table('v', 'nothing');
ALTER TABLE v_mrel ADD CONSTRAINT few CHECK (count < 1000);
UPDATE archive SET count = 1000 WHERE k = 100 AND g = 1;
SELECT pipelinedb.combine_table('v', 'archive');
SELECT combine(count), count(*) FROM v;
GRANT SELECT ON archive TO regress_combine_reader;
SET ROLE regress_combine_reader;
SELECT pipelinedb.combine_table('v', 'archive');
RESET ROLE;
DROP FUNCTION pg_temp.forged;
ALTER VIEW rows OWNER TO regress_combine_reader;
SET ROLE regress_combine_reader;
SELECT pipelinedb.combine_table('rows', 'moved');
RESET ROLE;

-- a partitioned view gets the partitions that it lacks; HAVING and LIMIT leave out groups
CREATE FOREIGN TABLE days (day date, k int, n numeric) SERVER pipelinedb;
CREATE VIEW by_day WITH (partition_by = day, partition_duration = '1 month') AS
    SELECT day, k, count(*), avg(n) FROM days GROUP BY day, k;
INSERT INTO days SELECT date '2024-01-01' + i, i % 2, i FROM generate_series(1, 50) i;
SELECT pipelinedb.flush();
CREATE TABLE other_year AS SELECT (day + interval '1 year')::date AS day, k, count, avg FROM by_day_mrel;
SELECT pipelinedb.combine_table('by_day', 'other_year');
SELECT k, combine(count), combine(avg) FROM by_day GROUP BY k ORDER BY k;
SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'by_day_mrel'::regclass ORDER BY inhrelid::regclass::text;
UPDATE other_year SET day = 'infinity' WHERE k = 1 AND day = '2025-01-02';
SELECT pipelinedb.combine_table('by_day', 'other_year');
CREATE VIEW most AS SELECT k, count(*), avg(n) FROM days GROUP BY k HAVING count(*) > 1 ORDER BY k DESC LIMIT 1;
INSERT INTO days VALUES ('2024-01-01', 1, 1), ('2024-01-01', 1, 2), ('2024-01-01', 2, 3), ('2024-01-01', 2, 5), ('2024-01-01', 3, 8);
SELECT pipelinedb.flush();
SELECT combine(count), combine(avg) FROM most;

SET client_min_messages = warning;
DROP SCHEMA co CASCADE;
DROP ROLE regress_combine_reader;
