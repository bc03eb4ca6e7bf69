-- CREATE OR REPLACE VIEW of a continuous view: what it may change, from when on, and what not.
CREATE SCHEMA rep;
SET search_path = rep;
CREATE FOREIGN TABLE s (k text, n int, x float8, at timestamptz) SERVER pipelinedb;
CREATE FOREIGN TABLE s2 (k text, n int) SERVER pipelinedb;
CREATE FUNCTION columns_of(regclass) RETURNS TABLE (columns text) LANGUAGE sql
    AS $$SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
         FROM pg_attribute WHERE attrelid = $1 AND attnum > 0$$;
CREATE FUNCTION definition(regclass) RETURNS text LANGUAGE sql
    AS $$SELECT regexp_replace(pg_get_viewdef($1), '\m(s|s2|dim|\w+_mrel)\.', '', 'g')$$;

-- OR REPLACE of nothing creates
CREATE OR REPLACE VIEW v AS SELECT k, count(*) FROM s GROUP BY k;
INSERT INTO s VALUES ('a', 1, 1), ('a', 2, 2), ('b', 3, 3);
SELECT pipelinedb.flush();

-- more aggregates: over no rows for the groups that are there
CREATE OR REPLACE VIEW v AS
    SELECT k, count(*), sum(n), count(*) FILTER (WHERE n > 1) AS many, avg(n), avg(n::numeric) AS exact,
        count(*) + 1 AS more, stddev(x)
    FROM s GROUP BY k;
SELECT * FROM columns_of('v_mrel');
SELECT * FROM columns_of('v_def');
SELECT adnum FROM pg_attrdef WHERE adrelid = 'v_mrel'::regclass;
SELECT * FROM v ORDER BY k;
INSERT INTO s VALUES ('a', 10, 10), ('c', 20, 20), ('a', 0, 4);
SELECT * FROM v ORDER BY k;
-- an equal aggregate has its column already
CREATE OR REPLACE VIEW v AS
    SELECT k, count(*), sum(n), count(*) FILTER (WHERE n > 1) AS many, avg(n), avg(n::numeric) AS exact,
        count(*) + 1 AS more, stddev(x), sum(n) * 2 AS twice
    FROM s GROUP BY k;
SELECT * FROM columns_of('v_mrel');
SELECT k, sum, twice FROM v ORDER BY k;

-- on reading only: no notice
CREATE VIEW r AS SELECT k, count(*), sum(n) FROM s GROUP BY k;
INSERT INTO s VALUES ('a', 1), ('a', 2), ('b', 3);
CREATE OR REPLACE VIEW r AS SELECT k, count(*), sum(n) FROM s GROUP BY k
    HAVING count(*) > 1 ORDER BY k DESC LIMIT 5;
TABLE r;
CREATE OR REPLACE VIEW r AS SELECT k, count(*), sum(n) + 100 AS sum FROM s GROUP BY k;
SELECT * FROM r ORDER BY k;
-- HAVING with an aggregate of its own, and without it again: its column stays
CREATE OR REPLACE VIEW r AS SELECT k, count(*), sum(n) FROM s GROUP BY k HAVING max(n) > 5;
SELECT * FROM columns_of('r_mrel');
INSERT INTO s VALUES ('a', 3), ('b', 7);
SELECT * FROM r ORDER BY k;
CREATE OR REPLACE VIEW r AS SELECT k, count(*), sum(n) FROM s GROUP BY k;
SELECT definition('r_def'), definition('r');
INSERT INTO s VALUES ('a', 9);
CREATE OR REPLACE VIEW r AS SELECT k, count(*), sum(n), max(n) FROM s GROUP BY k;
SELECT * FROM r ORDER BY k;
SELECT * FROM columns_of('r_mrel');

-- the filter
CREATE VIEW f AS SELECT k, count(*) FROM s WHERE n > 10 GROUP BY k;
INSERT INTO s VALUES ('a', 5), ('a', 11);
CREATE OR REPLACE VIEW f AS SELECT k, count(*) FROM s GROUP BY k;
INSERT INTO s VALUES ('a', 5);
CREATE OR REPLACE VIEW f(k, count) AS SELECT k, count(*) FROM s WHERE n < 0 GROUP BY k;
INSERT INTO s VALUES ('a', 5), ('a', -5);
TABLE f;
SELECT definition('f_def');

-- one row; DISTINCT; grouping sets; the order of GROUP BY does not matter
CREATE VIEW total AS SELECT count(*) FROM s;
CREATE VIEW keys AS SELECT k, n, count(*) FROM s GROUP BY k, n;
CREATE VIEW sets AS SELECT k, n, count(*) FROM s GROUP BY ROLLUP (k, n);
CREATE VIEW kinds AS SELECT DISTINCT k FROM s;
INSERT INTO s VALUES ('a', 1);
CREATE OR REPLACE VIEW total AS SELECT count(*), sum(n), avg(n) FROM s;
CREATE OR REPLACE VIEW keys AS SELECT k, n, count(*), max(x) FROM s GROUP BY n, k;
CREATE OR REPLACE VIEW sets AS SELECT k, n, count(*), sum(x), grouping(k) FROM s GROUP BY ROLLUP (k, n);
CREATE OR REPLACE VIEW kinds AS SELECT DISTINCT k FROM s WHERE n > 1;
TABLE total;
INSERT INTO s VALUES ('a', 1, 4), ('z', 2, 5);
TABLE total;
SELECT * FROM keys ORDER BY k, n;
SELECT * FROM sets ORDER BY k, n, count;
SELECT * FROM kinds ORDER BY k;

-- rows as they come: other expressions, more columns
CREATE VIEW rows AS SELECT k, n FROM s ORDER BY x;
INSERT INTO s VALUES ('a', 1, 2);
CREATE OR REPLACE VIEW rows AS SELECT k, n * 10 AS n, x AS shown, n AS n2 FROM s WHERE n > 0 ORDER BY x;
INSERT INTO s VALUES ('b', 2, 1), ('b', 0, 1);
TABLE rows;
SELECT * FROM columns_of('rows_mrel');
CREATE OR REPLACE VIEW rows AS SELECT k, n, x AS shown, n AS n2, 1 AS one FROM s ORDER BY k DESC;
INSERT INTO s VALUES ('c', 3, 3);
TABLE rows;

-- the first row of a key
CREATE VIEW first AS SELECT DISTINCT ON (k) k, n FROM s ORDER BY k, n DESC;
INSERT INTO s VALUES ('a', 1, 2);
CREATE OR REPLACE VIEW first AS SELECT DISTINCT ON (k) k, n, x FROM s WHERE n < 100 ORDER BY k, n DESC;
INSERT INTO s VALUES ('a', 0, 3), ('b', 5, 4), ('b', 500, 4);
SELECT * FROM first ORDER BY k;
INSERT INTO s VALUES ('a', 7, 5);
SELECT * FROM first ORDER BY k;
CREATE OR REPLACE VIEW first AS SELECT DISTINCT ON (k) k, n, x FROM s ORDER BY k, n;
CREATE OR REPLACE VIEW first AS SELECT DISTINCT ON (n) k, n, x FROM s ORDER BY n;

-- windows
CREATE VIEW w WITH (sw = '1 hour', sw_column = at) AS SELECT k, count(*) FROM s GROUP BY k;
INSERT INTO s VALUES ('a', 1, 1, pipelinedb.clock());
CREATE OR REPLACE VIEW w WITH (sw = '60 minutes', sw_column = at) AS SELECT k, count(*), sum(n) FROM s GROUP BY k;
INSERT INTO s VALUES ('a', 2, 1, pipelinedb.clock());
TABLE w;
SELECT reloptions FROM pg_class WHERE oid = 'w'::regclass;
CREATE OR REPLACE VIEW w AS SELECT k, count(*), sum(n) FROM s GROUP BY k;
CREATE OR REPLACE VIEW w WITH (sw = '2 hours', sw_column = at) AS SELECT k, count(*), sum(n) FROM s GROUP BY k;
CREATE OR REPLACE VIEW w WITH (sw = '1 hour', sw_column = at, step_factor = 50) AS
    SELECT k, count(*), sum(n) FROM s GROUP BY k;

-- what expires, partitions, primary keys
CREATE VIEW ex WITH (ttl = '1 hour', ttl_column = 'last') AS SELECT k, max(at) AS last FROM s GROUP BY k;
INSERT INTO s VALUES ('a', 1, 1, pipelinedb.clock()), ('old', 1, 1, pipelinedb.clock() - interval '50 min');
CREATE OR REPLACE VIEW ex WITH (ttl = '60 min', ttl_column = 'last') AS
    SELECT k, max(at) AS last, count(*) FROM s GROUP BY k HAVING count(*) < 9;
SELECT regexp_replace(pg_get_viewdef('ex'), '.*WHERE', 'WHERE');
SELECT k, count FROM ex ORDER BY k;
CREATE OR REPLACE VIEW ex AS SELECT k, max(at) AS last, count(*) FROM s GROUP BY k;
SELECT regexp_replace(pg_get_viewdef('ex'), '.*WHERE', 'WHERE'), reloptions FROM pg_class WHERE oid = 'ex'::regclass;
CREATE OR REPLACE VIEW ex WITH (ttl = '2 hours', ttl_column = 'last') AS SELECT k, max(at) AS last, count(*) FROM s GROUP BY k;
CREATE VIEW parts WITH (partition_by = at, partition_duration = '1 day') AS SELECT at, count(*) FROM s GROUP BY at;
INSERT INTO s VALUES ('a', 1, 1, '2024-01-01 12:00'), ('b', 2, 1, '2024-01-02 12:00');
SELECT pipelinedb.flush();
CREATE OR REPLACE VIEW parts WITH (partition_by = at, partition_duration = '1 day') AS
    SELECT at, count(*), count(n) AS count2, sum(n) FROM s GROUP BY at;
INSERT INTO s VALUES ('a', 3, 1, '2024-01-01 12:00'), ('b', 4, 1, '2024-01-03 12:00');
SELECT pipelinedb.flush();
SELECT count, count2, sum FROM parts ORDER BY at LIMIT 3;
CREATE OR REPLACE VIEW parts WITH (partition_by = at, partition_duration = '2 days') AS
    SELECT at, count(*), count(n) AS count2, sum(n) FROM s GROUP BY at;
CREATE VIEW pkv WITH (pk = 'k') AS SELECT k, count(*) FROM s GROUP BY k;
INSERT INTO s VALUES ('a', 1);
CREATE OR REPLACE VIEW pkv WITH (pk = 'k') AS SELECT k, count(*), sum(n) FROM s GROUP BY k;
INSERT INTO s VALUES ('a', 1);
TABLE pkv;
CREATE OR REPLACE VIEW pkv WITH (pk = 'sum') AS SELECT k, count(*), sum(n) FROM s GROUP BY k;

-- joins: conditions may change, and tables be added
CREATE TABLE dim (k text PRIMARY KEY, name text);
CREATE TABLE dim2 (k text PRIMARY KEY, factor int);
INSERT INTO dim VALUES ('a', 'A'), ('b', 'B');
INSERT INTO dim2 VALUES ('a', 10), ('b', 20);
CREATE VIEW j AS SELECT name, count(*) FROM s JOIN dim USING (k) GROUP BY name;
INSERT INTO s VALUES ('a', 1), ('b', 1);
CREATE OR REPLACE VIEW j AS
    SELECT name, count(*), sum(n * factor) FROM s JOIN dim USING (k) JOIN dim2 USING (k) GROUP BY name;
INSERT INTO s VALUES ('a', 2);
SELECT * FROM j ORDER BY name;
CREATE OR REPLACE VIEW j AS SELECT name, count(*), sum(n) FROM s LEFT JOIN dim USING (k) GROUP BY name;

-- UNION ALL
CREATE VIEW u AS SELECT k, count(*) FROM (SELECT k, n FROM s UNION ALL SELECT k, n FROM s2) x GROUP BY k;
INSERT INTO s2 VALUES ('u', 1);
CREATE OR REPLACE VIEW u AS
    SELECT k, count(*), sum(n) FROM (SELECT k, n FROM s UNION ALL SELECT k, n FROM s2 WHERE n > 1) x GROUP BY k;
INSERT INTO s2 VALUES ('u', 1), ('u', 2);
TABLE u;

-- refused: no meaning for what is stored
CREATE OR REPLACE VIEW f AS SELECT n AS k, count(*) FROM s GROUP BY n;
CREATE OR REPLACE VIEW f AS SELECT upper(k) AS k, count(*) FROM s GROUP BY upper(k);
CREATE OR REPLACE VIEW f AS SELECT k, count(*), n FROM s GROUP BY k, n;
CREATE OR REPLACE VIEW f AS SELECT 'x' AS k, count(*) FROM s;
CREATE OR REPLACE VIEW f AS SELECT k, n::bigint AS count FROM s;
CREATE OR REPLACE VIEW rows AS SELECT k, count(*)::int AS n FROM s GROUP BY k;
CREATE OR REPLACE VIEW f AS SELECT k, count(*) FROM s2 GROUP BY k;
CREATE OR REPLACE VIEW f AS SELECT k, count(*) FROM s GROUP BY ROLLUP (k);
CREATE OR REPLACE VIEW sets AS SELECT k, n, count(*), sum(x), grouping(k) FROM s GROUP BY CUBE (k, n);
CREATE OR REPLACE VIEW rows AS SELECT k, n::bigint AS n, x AS shown, n AS n2, 1 AS one FROM s;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE OR REPLACE VIEW rows AS SELECT k, n, x AS shown, n AS n2, 1 AS one, n::positive AS p FROM s;
-- the server's own rules
CREATE OR REPLACE VIEW f AS SELECT k FROM s GROUP BY k;
CREATE OR REPLACE VIEW f AS SELECT k, sum(x) AS count FROM s GROUP BY k;
CREATE OR REPLACE VIEW f AS SELECT k, count(*) AS other FROM s GROUP BY k;
CREATE OR REPLACE VIEW f AS SELECT k, count(*), sum(nonsense) FROM s GROUP BY k;
-- kinds
CREATE VIEW plain AS SELECT 1 AS a;
CREATE OR REPLACE VIEW plain AS SELECT n AS a FROM s;
CREATE OR REPLACE VIEW f AS SELECT 'a'::text AS k, 1::bigint AS count;
CREATE OR REPLACE VIEW f WITH (action = transform) AS SELECT k, n::bigint AS count FROM s;
CREATE OR REPLACE VIEW f_def AS SELECT k, count(*) FROM s GROUP BY k;
CREATE OR REPLACE VIEW f_mrel AS SELECT k, count(*) FROM s GROUP BY k;
CREATE OR REPLACE TEMPORARY VIEW f AS SELECT k, count(*) FROM s GROUP BY k;
-- options
CREATE OR REPLACE VIEW f WITH (fillfactor = 12) AS SELECT k, count(*) FROM s GROUP BY k;
CREATE OR REPLACE VIEW f WITH (action = materialize, security_barrier, fillfactor = 50) AS
    SELECT k, count(*) FROM s WHERE n < 0 GROUP BY k;
CREATE OR REPLACE VIEW f WITH (action = materialize, security_barrier) AS
    SELECT k, count(*) FROM s WHERE n < 0 GROUP BY k;
SELECT reloptions FROM pg_class WHERE oid = 'f'::regclass;
TABLE f;

-- rights
CREATE ROLE regress_rep;
GRANT USAGE, CREATE ON SCHEMA rep TO regress_rep;
GRANT SELECT ON s TO regress_rep;
SET ROLE regress_rep;
CREATE OR REPLACE VIEW f AS SELECT k, count(*), sum(n) FROM s GROUP BY k;
RESET ROLE;

-- transactions
BEGIN;
INSERT INTO s VALUES ('t', 1);
CREATE OR REPLACE VIEW total AS SELECT count(*), sum(n), avg(n), max(n) FROM s;
ROLLBACK;
BEGIN;
CREATE OR REPLACE VIEW total AS SELECT count(*), sum(n), avg(n), max(n) FROM s;
CREATE OR REPLACE VIEW total AS SELECT count(*), sum(n), avg(n), max(n), min(n) FROM s;
INSERT INTO s VALUES ('t', -8);
ROLLBACK;
TABLE total;
SELECT * FROM columns_of('total_mrel');
BEGIN;
CREATE VIEW fresh AS SELECT count(*) FROM s;
CREATE OR REPLACE VIEW fresh AS SELECT count(*), sum(n) FROM s;
CREATE OR REPLACE VIEW total AS SELECT count(*), sum(n), avg(n), max(n) FROM s;
SAVEPOINT a;
CREATE OR REPLACE VIEW total AS SELECT count(*), sum(n), avg(n), max(n), min(n) FROM s;
ROLLBACK TO a;
INSERT INTO s VALUES ('t', 100);
COMMIT;
TABLE total;
TABLE fresh;

-- a stopped view: what waits is for the new query
SELECT pipelinedb.deactivate('fresh');
INSERT INTO s VALUES ('t', 1);
CREATE OR REPLACE VIEW fresh AS SELECT count(*), sum(n), max(n) FROM s;
SELECT pipelinedb.activate('fresh');
SELECT pipelinedb.flush();
TABLE fresh;

-- readers of the view, and of its output
CREATE VIEW over AS SELECT sum(count) FROM total;
CREATE VIEW out AS SELECT count(*), max((new).count) AS max FROM pipelinedb.output_of('total');
CREATE OR REPLACE VIEW total AS SELECT count(*), sum(n), avg(n), max(n), min(n) FROM s;
CREATE VIEW lowest AS SELECT min((new).min) AS new, min((old).min) AS old, sum((delta).count) AS count
    FROM pipelinedb.output_of('total');
INSERT INTO s VALUES ('o', 1);
SELECT pipelinedb.flush();
INSERT INTO s VALUES ('o', -1000);
TABLE over;
TABLE out;
TABLE lowest;
CREATE OR REPLACE VIEW total AS SELECT DISTINCT count(*), sum(n), avg(n), max(n), min(n) FROM s;
CREATE OR REPLACE VIEW out AS SELECT count(*), max((new).count) AS max, max((new).max) AS max_max
    FROM pipelinedb.output_of('total');
INSERT INTO s VALUES ('o', 2000);
TABLE out;

-- transforms: the query may change, its columns not
CREATE VIEW t WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('rep.s2')) AS
    SELECT k, n FROM s WHERE k = 'x';
CREATE VIEW behind AS SELECT k, count(*), sum(n) FROM s2 GROUP BY k;
INSERT INTO s VALUES ('x', 1), ('y', 1);
CREATE OR REPLACE VIEW t WITH (action = transform) AS SELECT k, n * 10 AS n FROM s WHERE k = 'y';
INSERT INTO s VALUES ('x', 2), ('y', 2);
CREATE OR REPLACE VIEW t WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('rep.s2')) AS
    SELECT k, n FROM s WHERE k IN ('x', 'y');
INSERT INTO s VALUES ('x', 3), ('y', 3);
SELECT pipelinedb.flush();
SELECT * FROM behind ORDER BY k;
CREATE OR REPLACE VIEW t WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('rep.s')) AS
    SELECT k, n FROM s;
CREATE OR REPLACE VIEW t WITH (action = transform) AS SELECT k, n, x FROM s;
CREATE OR REPLACE VIEW t WITH (action = transform) AS SELECT k, n::bigint AS n FROM s;
CREATE OR REPLACE VIEW t WITH (action = transform) AS SELECT k, n FROM s2;
CREATE OR REPLACE VIEW t AS SELECT k, n FROM s;

-- what ALTER VIEW can do
ALTER VIEW r RENAME COLUMN count TO number;
ALTER VIEW r RENAME TO renamed;
SELECT * FROM columns_of('r_mrel');
CREATE OR REPLACE VIEW renamed AS SELECT k, count(*) AS number, sum(n), max(n), min(n) FROM s GROUP BY k;
ALTER VIEW renamed ALTER COLUMN number SET DEFAULT 7;
ALTER VIEW renamed SET (security_barrier);
CREATE SCHEMA rep2;
ALTER VIEW renamed SET SCHEMA rep2;
CREATE OR REPLACE VIEW rep2.renamed AS
    SELECT k, count(*) AS number, sum(n), max(n), min(n), count(n) AS number2 FROM s GROUP BY k;
INSERT INTO s VALUES ('r', 1);
SELECT * FROM rep2.renamed WHERE k = 'r';
SELECT * FROM columns_of('rep2.r_mrel');
ALTER VIEW rep2.renamed ALTER COLUMN number DROP DEFAULT;

SELECT name, state FROM pipelinedb.views WHERE schema LIKE 'rep%' AND state <> 'active';
SET client_min_messages = warning;
DROP SCHEMA rep, rep2 CASCADE;
DROP ROLE regress_rep;
