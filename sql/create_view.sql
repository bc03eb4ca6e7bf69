-- Creating continuous views: what is created, for many shapes of queries, and that reading
-- gives the types and values of the plain query over the same rows.
CREATE SCHEMA cv;
SET search_path = cv, public;
CREATE FOREIGN TABLE s (a int, b text, c numeric(10,2), d float8, t timestamptz, i interval,
                        n int8, k varchar(5) COLLATE "C") SERVER pipelinedb;
\d s
-- from 16 on, columns of a single relation are not qualified
CREATE FUNCTION viewdef(regclass) RETURNS text LANGUAGE sql
    AS $$SELECT regexp_replace(pg_get_viewdef($1), '\m(s|\w+_mrel)\.', '', 'g')$$;
CREATE TABLE plain (LIKE s);

-- an action may be left out; columns, options and dependencies
CREATE VIEW simple WITH (action=materialize, fillfactor=80) AS
    SELECT a, count(*) AS cnt FROM s GROUP BY a;
SELECT c.relname, c.relkind, array_remove(c.reloptions, NULL) AS reloptions, c.relreplident
    FROM pg_class c WHERE relname LIKE 'simple%' AND relname <> 'simple_def' ORDER BY 1;
SELECT substring(option FROM '^[^=]*') AS option FROM pg_class, unnest(reloptions) option
    WHERE relname = 'simple_def' AND relnamespace = 'cv'::regnamespace;
SELECT option FROM pg_class, unnest(reloptions) option
    WHERE relname = 'simple_def' AND option ~ '^(action|search_path)=';
SELECT viewdef('simple'), viewdef('simple_def');
\d simple_mrel
SELECT pg_describe_object(refclassid, refobjid, refobjsubid) FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND objid = 'simple'::regclass ORDER BY 1;
SELECT schema, name, stream, matrel, active, state FROM pipelinedb.views WHERE schema = 'cv';
SELECT * FROM pipelinedb.streams WHERE schema = 'cv';

-- no GROUP BY: one row at once
CREATE VIEW totals AS SELECT count(*), sum(a), avg(a) AS avg_a, avg(c), stddev(d), sum(n) AS sn,
    min(b), max(t), bool_or(a > 3), count(*) + 1 AS more FROM s;
SELECT * FROM totals;
\d totals_mrel

-- aliases, hidden keys, expressions over aggregates, equal aggregates stored once
CREATE VIEW exprs (grp, total, ratio, total2) AS
    SELECT b || 'x', count(*), (sum(a) + 1)::float8 / count(*), count(*) FROM s
    WHERE a > 0 GROUP BY b || 'x', a % 3;
SELECT viewdef('exprs'), viewdef('exprs_def');
CREATE VIEW many AS
    SELECT date_trunc('hour', t) AS h, k, k AS k2, avg(i), count(*) FILTER (WHERE a > 2) AS f,
           variance(c), regr_slope(d, a), avg(c)::numeric(6,1) AS rounded,
           count(*) FILTER (WHERE a > 2) + 1 AS g, max(k COLLATE "POSIX") AS m
    FROM s GROUP BY 1, k;
SELECT attname, format_type(atttypid, atttypmod), collname FROM pg_attribute
    LEFT JOIN pg_collation c ON c.oid = attcollation
    WHERE attrelid = 'many'::regclass ORDER BY attnum;
-- avg(interval) has a state of type interval[] up to 16, an internal one since.
SELECT attname, replace(format_type(atttypid, atttypmod), 'interval[]', 'pipelinedb.aggregate_state')
    AS format_type, collname FROM pg_attribute
    LEFT JOIN pg_collation c ON c.oid = attcollation
    WHERE attrelid = 'many_mrel'::regclass AND attnum > 0 ORDER BY attnum;
CREATE VIEW only_keys AS SELECT a AS xmin, b AS "_0" FROM s GROUP BY a, b, n;
SELECT attname FROM pg_attribute WHERE attrelid = 'only_keys_mrel'::regclass AND attnum > 0;

-- names that are taken or long
CREATE TABLE taken_mrel ();
CREATE VIEW taken AS SELECT count(*) FROM s;
CREATE VIEW a_name_that_is_just_as_long_as_the_server_lets_a_name_be_______ AS SELECT count(*) FROM s;
SELECT relname FROM pg_class WHERE relname ~ '^(taken|a_name)' AND relnamespace = 'cv'::regnamespace
    ORDER BY 1;

-- a user's own aggregates, polymorphic ones too
CREATE AGGREGATE product(int8) (SFUNC = int8mul, COMBINEFUNC = int8mul, STYPE = int8, INITCOND = 1);
CREATE FUNCTION twice(int8) RETURNS int8 LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE AGGREGATE twice_product(int8) (SFUNC = int8mul, COMBINEFUNC = int8mul, STYPE = int8,
    FINALFUNC = twice, INITCOND = 1);
CREATE AGGREGATE collect(anycompatible) (SFUNC = array_append, COMBINEFUNC = array_cat,
    STYPE = anycompatiblearray, INITCOND = '{}');
CREATE FUNCTION array_max(anycompatiblearray, anycompatible) RETURNS anycompatible
    LANGUAGE sql IMMUTABLE AS 'SELECT max(x) FROM unnest($1) x';
CREATE AGGREGATE largest(anycompatible) (SFUNC = array_append, COMBINEFUNC = array_cat,
    STYPE = anycompatiblearray, FINALFUNC = array_max, FINALFUNC_EXTRA, INITCOND = '{}');
CREATE VIEW own AS SELECT product(n), twice_product(n), largest(a) AS la, largest(b) AS lb,
    largest(k) || '!' AS lk, array_length(collect(a), 1) AS n FROM s;
SELECT * FROM own;
SELECT viewdef('own');

-- the rows
INSERT INTO plain SELECT g, 'b' || g % 3, g * 1.5, g / 2.0,
    '2020-01-01'::timestamptz + g * interval '20 min', g * interval '1 h', g, 'k' || g % 2
    FROM generate_series(1, 12) g;
INSERT INTO plain DEFAULT VALUES;
INSERT INTO s SELECT a, b, c, d, t, i, n, k FROM plain;
SELECT pipelinedb.flush();
CREATE FUNCTION differs(a text, b text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE result bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL TABLE %1$s)) x', a, b)
        INTO result;
    RETURN result;
END $$;
SELECT differs('simple', 'SELECT a, count(*) AS cnt FROM plain GROUP BY a');
SELECT differs('totals', 'SELECT count(*), sum(a), avg(a) AS avg_a, avg(c), stddev(d), sum(n) AS sn,
    min(b), max(t), bool_or(a > 3), count(*) + 1 AS more FROM plain');
SELECT differs('exprs', $$SELECT b || 'x', count(*), (sum(a) + 1)::float8 / count(*), count(*) FROM plain
    WHERE a > 0 GROUP BY b || 'x', a % 3$$);
SELECT differs('many', $$SELECT date_trunc('hour', t) AS h, k, k AS k2, avg(i), count(*) FILTER (WHERE a > 2) AS f,
    variance(c), regr_slope(d, a), avg(c)::numeric(6,1) AS rounded,
    count(*) FILTER (WHERE a > 2) + 1 AS g, max(k COLLATE "POSIX") AS m FROM plain GROUP BY 1, k$$);
SELECT differs('only_keys', 'SELECT a AS xmin, b AS "_0" FROM plain GROUP BY a, b, n');
SELECT differs('own', $$SELECT product(n), twice_product(n), largest(a) AS la, largest(b) AS lb,
    largest(k) || '!' AS lk, array_length(collect(a), 1) AS n FROM plain$$);
SELECT * FROM totals;

-- COPY without a column list leaves arrival_timestamp out
COPY s FROM stdin;
100	b1	1.00	1	2020-01-01 00:00:00+00	1 h	100	k1
\.
COPY s (a) FROM stdin;
100
\.
SELECT pipelinedb.flush();
SELECT * FROM simple WHERE a = 100;

-- rows of the creating transaction: those written after CREATE VIEW count
BEGIN;
INSERT INTO s (a) VALUES (1);
CREATE VIEW seam AS SELECT count(*) FROM s;
INSERT INTO s (a) VALUES (1), (2);
COMMIT;
INSERT INTO s (a) VALUES (3);
SELECT pipelinedb.flush();
SELECT * FROM seam;

-- ALTER: options are the server's, the rest goes along
ALTER VIEW simple SET (security_barrier = true);
SELECT reloptions FROM pg_class WHERE oid = 'simple'::regclass;
ALTER VIEW simple RESET (security_barrier);
SELECT reloptions FROM pg_class WHERE oid = 'simple'::regclass;
ALTER VIEW simple RENAME COLUMN cnt TO number;
ALTER VIEW simple RENAME TO renamed;
CREATE SCHEMA cv2;
CREATE ROLE regress_cv_user;
GRANT CREATE, USAGE ON SCHEMA cv, cv2 TO regress_cv_user;
GRANT SELECT ON s TO regress_cv_user;
ALTER VIEW renamed SET SCHEMA cv2;
ALTER VIEW cv2.renamed OWNER TO regress_cv_user;
SELECT relname, relnamespace::regnamespace, relowner::regrole FROM pg_class
    WHERE relname ~ '^(simple|renamed)' AND relkind IN ('r', 'v') ORDER BY 1;
INSERT INTO s (a) VALUES (100);
SELECT pipelinedb.flush();
SELECT number FROM cv2.renamed WHERE a = 100;
DROP VIEW cv2.renamed;
SELECT relname FROM pg_class WHERE relname ~ '^(simple|renamed)';

-- pause and go on: nothing is lost
SELECT pipelinedb.deactivate('totals'), pipelinedb.deactivate('cv.totals');
SELECT name, active, state FROM pipelinedb.views WHERE name = 'totals';
INSERT INTO s (a) VALUES (1000);
SELECT pipelinedb.activate('totals'), pipelinedb.activate('totals');
SELECT pipelinedb.flush();
SELECT count, sum FROM totals;

-- a matrel may be changed on request
BEGIN;
SET LOCAL pipelinedb.matrels_writable = on;
DELETE FROM exprs_mrel;
SELECT * FROM exprs;
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA cv, cv2 CASCADE;
DROP ROLE regress_cv_user;
