-- Keys of every width and type, DISTINCT, views without groups, grouping sets: what is created,
-- how it is read, and what is refused.
CREATE SCHEMA keys;
SET search_path = keys, public;
CREATE FOREIGN TABLE ks (a int, b text, c varchar(20), m money, x xid, bits bit(8), vb varbit,
                         w bytea, d date, n numeric) SERVER pipelinedb;
\d+ ks
CREATE TABLE plain (LIKE ks);
CREATE FUNCTION viewdef(regclass) RETURNS text LANGUAGE sql
    AS $$SELECT regexp_replace(pg_get_viewdef($1), '\m(ks|\w+_mrel)\.', '', 'g')$$;

-- hash_group(): its values are in indexes and never change
SELECT pipelinedb.hash_group(NULL), pipelinedb.hash_group(0, 0, 0, 0),
       pipelinedb.hash_group(1::int8, 2::int4) = pipelinedb.hash_group(1::int4, 2::int8) AS int48,
       pipelinedb.hash_group(13362) = pipelinedb.hash_group(41950) AS collision;
SELECT pipelinedb.hash_group(1.0) = pipelinedb.hash_group(1.00),
       pipelinedb.hash_group('-0'::float8) = pipelinedb.hash_group(0::float8),
       pipelinedb.hash_group('a'::text COLLATE "C") = pipelinedb.hash_group('a'::varchar),
       pipelinedb.hash_group('a'::char(5)) = pipelinedb.hash_group('a'::char(2)),
       pipelinedb.hash_group(1, NULL::text) = pipelinedb.hash_group(NULL::text, 1) AS other;
SELECT pipelinedb.hash_group('{}'::json);
SELECT pipelinedb.hash_group(VARIADIC ARRAY[1, 2]);
SELECT provolatile, proisstrict, proparallel FROM pg_proc WHERE oid = 'pipelinedb.hash_group'::regproc;

-- bounded in sum: one unique btree
CREATE VIEW bounded AS SELECT a, c, m, bits, n::numeric(10,2) AS n, count(*) FROM ks GROUP BY a, c, m, bits, 5;
\d bounded_mrel
-- not bounded: a btree on a hash, after the columns before it; an index for queries
CREATE VIEW one_text AS SELECT b, count(*) FROM ks GROUP BY b;
\d one_text_mrel
CREATE VIEW by_day AS SELECT d, b, w, count(*), max(n) FROM ks GROUP BY d, b, w;
\d+ by_day_mrel
\d+ by_day
CREATE VIEW hidden AS SELECT count(*) FROM ks GROUP BY b, m, d, lower(b) || d::text;
\d hidden_mrel
CREATE VIEW only_hashed AS SELECT x, b, count(*) FROM ks GROUP BY x, b;
\d only_hashed_mrel
CREATE VIEW wide_chars AS SELECT c::char(3000), b::varchar(3000) AS b, count(*) FROM ks GROUP BY 1, 2;
\d wide_chars_mrel
SELECT opcname, opcintype::regtype, opckeytype::regtype, amvalidate(oid) FROM pg_opclass
    WHERE opcname LIKE '%key_ops' ORDER BY 1;

-- DISTINCT
CREATE VIEW distinct_rows AS SELECT DISTINCT a, c, a AS again FROM ks;
\d distinct_rows_mrel
SELECT viewdef('distinct_rows'), viewdef('distinct_rows_def');
CREATE VIEW distinct_counts AS SELECT DISTINCT count(*) AS n, a % 2 AS odd FROM ks GROUP BY a;
SELECT viewdef('distinct_counts'), viewdef('distinct_counts_def');
CREATE VIEW distinct_total AS SELECT DISTINCT count(*) AS n FROM ks;
SELECT * FROM distinct_total;

-- a row per row
CREATE VIEW rows AS SELECT a, b || '!' AS "B", n AS xmin, random() < 2 AS r1, random() < 2 AS r2 FROM ks WHERE a > 0;
\d+ rows_mrel
\d+ rows
SELECT viewdef('rows_def');
SELECT relname, reloptions FROM pg_class WHERE relname IN ('rows_mrel', 'one_text_mrel') ORDER BY 1;
CREATE VIEW rows_half WITH (fillfactor = 50) AS SELECT * FROM ks;
SELECT reloptions FROM pg_class WHERE relname = 'rows_half_mrel';

-- grouping sets: the total is there at once, rolled-up NULLs are not the real ones
CREATE VIEW rolled AS SELECT a, c, count(*), sum(n), grouping(c) AS gc, grouping(c, a) AS gca FROM ks GROUP BY ROLLUP (a, c);
\d rolled_mrel
SELECT viewdef('rolled'), viewdef('rolled_def');
SELECT * FROM rolled;
CREATE VIEW cube_all AS SELECT b, d, grouping(b, d) AS g, count(*) FROM ks GROUP BY CUBE (b, d);
\d cube_all_mrel
SELECT viewdef('cube_all');
CREATE VIEW one_set AS SELECT a, grouping(a) AS g, count(*) FROM ks GROUP BY GROUPING SETS ((a));
SELECT viewdef('one_set'), viewdef('one_set_def');
CREATE VIEW twice AS SELECT a, count(*) FROM ks GROUP BY DISTINCT ROLLUP (a), CUBE (a);
SELECT viewdef('twice_def');
CREATE VIEW empty_set AS SELECT count(*) FROM ks GROUP BY ();
SELECT viewdef('empty_set_def');

-- refused
CREATE VIEW rv AS SELECT vb, count(*) FROM ks GROUP BY vb;
CREATE VIEW rv AS SELECT bits::bit(30000), count(*) FROM ks GROUP BY 1;
CREATE VIEW rv AS SELECT bits::bit(12000) AS k, bits::bit(12001) AS l, count(*) FROM ks GROUP BY 1, 2;
CREATE VIEW rv AS SELECT ARRAY[m] AS ms, count(*) FROM ks GROUP BY 1;
CREATE VIEW rv AS SELECT count(*) FROM ks GROUP BY ROW(a, b);
CREATE VIEW rv AS SELECT x, m, count(*) FROM ks GROUP BY x, m;
CREATE VIEW rv AS SELECT b::json, count(*) FROM ks GROUP BY 1;
CREATE VIEW rv AS SELECT count(*) FROM ks GROUP BY (b COLLATE "C") || (c COLLATE "POSIX");
CREATE FOREIGN TABLE ks2 (p text COLLATE "C", q text COLLATE "POSIX") SERVER pipelinedb;
CREATE VIEW rv AS SELECT count(*) FROM ks2 GROUP BY p || q;
CREATE VIEW rv AS SELECT a, count(*) FROM ks GROUP BY ROLLUP (a), CUBE (a);
CREATE VIEW rv AS SELECT count(*) FROM ks GROUP BY GROUPING SETS ((), ());
CREATE VIEW rv AS SELECT 1 AS one FROM ks GROUP BY ();
CREATE VIEW rv AS SELECT 'all' AS label, a, count(*) FROM ks GROUP BY ROLLUP (label, a);
CREATE VIEW rv AS SELECT unnest(ARRAY[a, a]) FROM ks;
CREATE VIEW rv_def WITH (action=definition) AS SELECT a, count(*) FROM ks GROUP BY ROLLUP (a);
CREATE VIEW rv_def WITH (action=definition) AS SELECT a, c, grouping(c) AS _0, count(*) FROM ks GROUP BY ROLLUP (a, c);
SELECT relname FROM pg_class WHERE relname LIKE 'rv%';

-- the rows
INSERT INTO plain SELECT g % 5, CASE WHEN g % 7 > 0 THEN 'b' || g % 3 END,
    CASE WHEN g % 4 > 0 THEN 'c' || g % 2 END, (g % 2)::text::money, (g % 4)::text::xid, (g % 4)::bit(8),
    NULL, NULL, date '2026-01-01' + g % 2, (g % 3 || CASE WHEN g % 2 = 0 THEN '.0' ELSE '.00' END)::numeric
    FROM generate_series(1, 60) g;
INSERT INTO plain (a, b) VALUES (7, repeat('x', 9000) || '1'), (7, repeat('x', 9000) || '2'),
    (8, repeat('long ', 200000)), (8, repeat('long ', 200000));
INSERT INTO ks SELECT * FROM plain WHERE a <= 2;
INSERT INTO ks SELECT * FROM plain WHERE a > 2;
SELECT pipelinedb.flush();
CREATE FUNCTION differs(a text, b text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE result bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL TABLE %1$s)) x', a, b)
        INTO result;
    RETURN result;
END $$;
SELECT differs('bounded', 'SELECT a, c, m, bits, n::numeric(10,2) AS n, count(*) FROM plain GROUP BY a, c, m, bits, 5'),
       differs('one_text', 'SELECT b, count(*) FROM plain GROUP BY b'),
       differs('by_day', 'SELECT d, b, w, count(*), max(n) FROM plain GROUP BY d, b, w'),
       differs('hidden', 'SELECT count(*) FROM plain GROUP BY b, m, d, lower(b) || d::text'),
       differs('only_hashed', 'SELECT x, b, count(*) FROM plain GROUP BY x, b'),
       differs('wide_chars', 'SELECT c::char(3000), b::varchar(3000) AS b, count(*) FROM plain GROUP BY 1, 2');
SELECT differs('distinct_rows', 'SELECT DISTINCT a, c, a AS again FROM plain'),
       differs('distinct_counts', 'SELECT DISTINCT count(*) AS n, a % 2 AS odd FROM plain GROUP BY a'),
       differs('rows', 'SELECT a, b || ''!'', n, true, true FROM plain WHERE a > 0'),
       (SELECT count(*) FROM rows_half),
       differs('rolled', 'SELECT a, c, count(*), sum(n), grouping(c) AS gc, grouping(c, a) AS gca FROM plain GROUP BY ROLLUP (a, c)'),
       differs('cube_all', 'SELECT b, d, grouping(b, d) AS g, count(*) FROM plain GROUP BY CUBE (b, d)'),
       differs('one_set', 'SELECT a, 0, count(*) FROM plain GROUP BY a'),
       differs('twice', 'SELECT a, count(*) FROM plain GROUP BY DISTINCT ROLLUP (a), CUBE (a)'),
       differs('empty_set', 'SELECT count(*) FROM plain');
SELECT name, state, message FROM pipelinedb.views WHERE schema = 'keys' AND state <> 'active';
SELECT * FROM rolled WHERE a IS NULL OR a = 1 ORDER BY gca, a, c;
SELECT a, count(*), length(b) FROM plain JOIN one_text USING (b) WHERE length(b) > 3000 GROUP BY a, b ORDER BY 1, 2;

-- equal hashes are still two groups, in one tick and in several
CREATE VIEW colliding AS SELECT b, a, count(*) FROM ks WHERE a IN (13362, 41950) GROUP BY b, a;
SELECT pg_get_indexdef('colliding_mrel_key'::regclass);
INSERT INTO ks (a, b) VALUES (13362, 'same'), (13362, NULL);
SELECT pipelinedb.flush();
INSERT INTO ks (a, b) VALUES (41950, 'same'), (41950, NULL), (41950, 'same');
SELECT pipelinedb.flush();
INSERT INTO ks (a, b) VALUES (13362, 'same'), (41950, 'same'), (13362, NULL);
SELECT pipelinedb.flush();
SELECT * FROM colliding ORDER BY b, a;
SELECT count(DISTINCT pipelinedb.hash_group(b, a)), count(*) FROM colliding;

-- readers look a key up by an index, with a generic plan too
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM one_text WHERE b = 'b1';
EXPLAIN (COSTS OFF) SELECT * FROM by_day WHERE b = 'b1' AND w = '\x01';
EXPLAIN (COSTS OFF) SELECT * FROM by_day WHERE d = '2026-01-01';
SET plan_cache_mode = force_generic_plan;
PREPARE by_text(text) AS SELECT count FROM one_text WHERE b = $1;
EXPLAIN (COSTS OFF) EXECUTE by_text('b1');
EXECUTE by_text('b1');
SELECT repeat('long ', 200000) AS long \gset
EXECUTE by_text(:'long');
PREPARE by_day_text(text) AS SELECT d, b, count FROM by_day WHERE b = $1 ORDER BY d;
EXPLAIN (COSTS OFF) EXECUTE by_day_text('b1');
EXECUTE by_day_text('b1');
PREPARE by_two(int, text) AS SELECT count FROM bounded WHERE a = $1 AND c = $2;
EXPLAIN (COSTS OFF) EXECUTE by_two(1, 'c1');
RESET plan_cache_mode;
RESET enable_seqscan;

-- an index that a user makes on an append view; a key index of a user's own
CREATE INDEX ON rows_mrel (a);
CREATE UNIQUE INDEX ON distinct_rows_mrel (c, a) NULLS NOT DISTINCT;
DROP INDEX distinct_rows_mrel_key;
INSERT INTO ks (a, b) VALUES (70, 'new'), (70, 'new'), (71, NULL);
SELECT pipelinedb.flush();
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM rows WHERE a = 70;
SELECT * FROM rows WHERE a = 70;
RESET enable_seqscan;
SELECT * FROM distinct_rows WHERE a >= 70 ORDER BY a;

-- a check constraint holds for appended rows, too
ALTER TABLE rows_mrel ADD CHECK (a < 1000) NOT VALID;
INSERT INTO ks (a) VALUES (1000);
SELECT pipelinedb.flush() IS NOT NULL AS flushed;
SELECT count(*) FROM rows WHERE a = 1000;

-- emptied: the total is there again, and counting goes on
SELECT pipelinedb.truncate_continuous_view('rows'), pipelinedb.truncate_continuous_view('rolled'),
       pipelinedb.truncate_continuous_view('by_day'), pipelinedb.truncate_continuous_view('distinct_rows');
SELECT * FROM rolled;
ALTER TABLE rows_mrel DROP CONSTRAINT rows_mrel_a_check;
INSERT INTO ks (a, b, d) VALUES (5, 'after', '2026-01-01'), (NULL, 'after', '2026-01-01');
SELECT pipelinedb.flush();
SELECT a, "B" FROM rows;
SELECT * FROM rolled ORDER BY gca, a;
SELECT d, b, count FROM by_day;
SELECT * FROM distinct_rows ORDER BY a;

-- unique are groups: not the rows of an append view, nor groups without their grouping set
CREATE UNIQUE INDEX ON rows (a);
CREATE UNIQUE INDEX ON rolled (a, c);
CREATE INDEX ON rows (a, "B");

SET client_min_messages = warning;
DROP SCHEMA keys CASCADE;
