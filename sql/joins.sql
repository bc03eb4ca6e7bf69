-- The FROM clause of continuous views: joins, subqueries, and what is said about them.
\set VERBOSITY default
CREATE FOREIGN TABLE join_s (k int, b text, n numeric) SERVER pipelinedb;
CREATE FOREIGN TABLE join_s2 (k int) SERVER pipelinedb;
CREATE TABLE dim (id int PRIMARY KEY, name text, rate numeric, region int);
CREATE TABLE "Region" (region int, "Label" text);
CREATE VIEW dim_view AS SELECT id, name || '!' AS loud FROM dim WHERE rate > 1;
INSERT INTO dim SELECT g, 'name ' || g % 3, g * 0.5, g % 2 FROM generate_series(1, 9) g;
INSERT INTO "Region" VALUES (0, 'even'), (1, 'odd'), (1, 'uneven');

-- NOTICE: once per column without an index, along the way of a row; no word about indexed ones
CREATE VIEW by_name AS SELECT name, count(*), sum(n * rate) AS worth
  FROM join_s JOIN dim ON dim.id = join_s.k GROUP BY name;
CREATE VIEW by_label AS SELECT "Label", count(*) FROM "Region" r
  RIGHT JOIN (join_s LEFT JOIN dim d ON d.id = k) ON r.region = d.region AND r.region = k % 2
  GROUP BY "Label";
CREATE VIEW by_using AS SELECT region, x.n > 2 AS many, count(*)
  FROM (SELECT k % 2 AS region, n FROM join_s) x JOIN "Region" USING (region) GROUP BY region, many;
CREATE VIEW by_where AS SELECT b, count(*) FROM join_s, dim, "Region"
  WHERE join_s.b = dim.name AND "Region".region = dim.region AND upper("Label") = upper(b) GROUP BY b;
CREATE VIEW by_view AS SELECT loud, count(*) FROM join_s JOIN dim_view v ON v.id = k GROUP BY loud;

-- subqueries: in WHERE and in aggregates they are folded, beside aggregates they are read
CREATE VIEW sub_where AS SELECT b, count(*) FROM join_s
  WHERE k IN (SELECT id FROM dim WHERE rate < 4)
    AND NOT EXISTS (SELECT FROM "Region" WHERE region = k) GROUP BY b;
CREATE VIEW sub_key AS SELECT (SELECT name FROM dim WHERE id = k) AS name,
  sum((SELECT rate FROM dim WHERE id = k)) AS rates FROM join_s GROUP BY 1;
CREATE VIEW sub_read AS SELECT k % 3 AS m, b, count(*),
    (SELECT name FROM dim WHERE dim.name = join_s.b) AS now_called,
    avg(n) > (SELECT min(rate) FROM dim WHERE rate > avg(join_s.n) - 3) AS above,
    (WITH x AS (SELECT max(id) FROM dim) SELECT * FROM x) AS highest
  FROM join_s GROUP BY k % 3, b;
CREATE VIEW lateral_top AS SELECT top.name, count(*) FROM join_s,
  LATERAL (SELECT name FROM dim WHERE region = k % 2 ORDER BY rate DESC LIMIT 1) top,
  unnest(ARRAY[1, 2]) copies GROUP BY top.name;
\d+ by_label_def
\d+ sub_key_def
\d+ sub_key
\d+ sub_read_def
\d+ sub_read
\d+ sub_read_mrel

INSERT INTO join_s SELECT g % 11, 'name ' || g % 2, g % 7 FROM generate_series(1, 77) g;
SELECT pipelinedb.flush();
SELECT * FROM by_name ORDER BY 1;
SELECT * FROM by_label ORDER BY 1;
SELECT * FROM by_using ORDER BY 1, 2;
SELECT * FROM by_where ORDER BY 1;
SELECT * FROM by_view ORDER BY 1;
SELECT * FROM sub_where ORDER BY 1;
SELECT * FROM sub_key ORDER BY 1;
\set VERBOSITY terse
SELECT * FROM sub_read ORDER BY 1, 2; -- as in any query: two rows for one value
\set VERBOSITY default
SELECT * FROM lateral_top ORDER BY 1;

-- what is folded stays, what is read follows the table
DELETE FROM dim WHERE id NOT IN (1, 2);
SELECT * FROM by_name ORDER BY 1;
SELECT m, b, count, now_called, above, highest FROM sub_read ORDER BY 1, 2;
INSERT INTO join_s VALUES (1, 'name 1', 100);
SELECT pipelinedb.flush();
SELECT * FROM by_name ORDER BY 1;

-- the time: of folding where it is folded (one NOTICE), of reading where it is read (none)
CREATE VIEW of_now AS SELECT now() - arrival_timestamp < interval '1 hour' AS fresh, count(*)
  FROM join_s WHERE clock_timestamp() > arrival_timestamp GROUP BY 1;
CREATE VIEW of_today AS SELECT max(CURRENT_DATE), min(LOCALTIME(0)) FROM join_s;
CREATE VIEW of_age AS SELECT count(*) FROM join_s WHERE age(arrival_timestamp) < '1 day';
CREATE VIEW of_reading AS SELECT now() > max(arrival_timestamp) AS past, count(*),
  CURRENT_USER = b AS mine FROM join_s WHERE b <> CURRENT_USER GROUP BY b;

-- refused
CREATE VIEW rv AS SELECT count(*) FROM join_s, join_s2;
CREATE VIEW rv AS SELECT count(*) FROM join_s a JOIN join_s b USING (k);
CREATE VIEW rv AS SELECT count(*) FROM join_s, (SELECT * FROM join_s2) x;
CREATE VIEW rv AS SELECT count(*) FROM dim LEFT JOIN join_s ON k = id;
CREATE VIEW rv AS SELECT count(*) FROM join_s RIGHT JOIN dim ON k = id;
CREATE VIEW rv AS SELECT count(*) FROM dim LEFT JOIN (dim d2 JOIN join_s ON k = id) ON d2.id = dim.id;
CREATE VIEW rv AS SELECT count(*) FROM join_s FULL JOIN dim ON k = id;
CREATE VIEW rv AS SELECT count(*) FROM dim WHERE id IN (SELECT k FROM join_s);
CREATE VIEW rv AS SELECT count(*) FROM join_s WHERE k IN (SELECT k FROM join_s2);
CREATE VIEW rv AS SELECT count(*), (SELECT count(*) FROM join_s2) FROM join_s;
CREATE VIEW rv AS SELECT sum(c) FROM (SELECT count(*) AS c FROM join_s) x;
CREATE VIEW rv AS SELECT count(*) FROM (SELECT k FROM join_s GROUP BY k) x;
CREATE VIEW rv AS SELECT count(*) FROM (SELECT DISTINCT k FROM join_s) x;
CREATE VIEW rv AS SELECT count(*) FROM (SELECT k FROM join_s LIMIT 1) x;
CREATE VIEW rv AS SELECT count(*) FROM (SELECT k FROM join_s ORDER BY k) x;
CREATE VIEW rv AS SELECT count(*) FROM (SELECT row_number() OVER () FROM join_s) x;
CREATE VIEW rv AS SELECT count(*) FROM (SELECT generate_series(1, k) FROM join_s) x;
CREATE VIEW rv AS SELECT count(*) FROM join_s, (SELECT * FROM dim FOR UPDATE) x;
CREATE VIEW locking AS SELECT * FROM dim FOR SHARE;
CREATE VIEW rv AS SELECT count(*) FROM join_s, locking;
CREATE VIEW rv AS SELECT count(*) FROM join_s JOIN by_name_def d ON d.name = b;
CREATE TABLE parent (k int) PARTITION BY LIST (k);
CREATE TABLE parent_1 PARTITION OF parent FOR VALUES IN (1);
CREATE FOREIGN TABLE parent_2 PARTITION OF parent FOR VALUES IN (2) SERVER pipelinedb;
CREATE VIEW rv AS SELECT count(*) FROM join_s JOIN parent USING (k);
CREATE VIEW rv AS SELECT count(*) FROM join_s JOIN parent_1 USING (k) WHERE join_s IS NOT NULL;
CREATE VIEW rv AS SELECT (SELECT join_s.ctid FROM dim LIMIT 1), count(*) FROM join_s GROUP BY 1;
CREATE VIEW rv AS SELECT dim.id, dim.name, count(*) FROM join_s JOIN dim ON id = k GROUP BY dim.id;
CREATE VIEW rv AS SELECT dim.id, (SELECT 'x' || name), count(*) FROM join_s JOIN dim ON id = k GROUP BY dim.id;
CREATE TEMP TABLE join_temp (k int);
CREATE VIEW rv AS SELECT count(*) FROM join_s JOIN join_temp USING (k);
SELECT relname FROM pg_class WHERE relname LIKE 'rv%';

-- rights: those of the creator, now and later
CREATE ROLE regress_join_user;
GRANT CREATE ON SCHEMA public TO regress_join_user;
GRANT SELECT ON join_s TO regress_join_user;
GRANT SELECT (id, name) ON dim TO regress_join_user;
SET ROLE regress_join_user;
CREATE VIEW rv AS SELECT count(*) FROM join_s, "Region";
CREATE VIEW rv AS SELECT sum(rate) FROM join_s, dim WHERE id = k;
CREATE VIEW rv AS SELECT count(*) FROM join_s WHERE k IN (SELECT id FROM dim WHERE rate > 1);
CREATE VIEW rv AS SELECT count(*), (SELECT max(rate) FROM dim) FROM join_s;
CREATE VIEW rv AS SELECT count(*) FROM join_s JOIN dim_view ON id = k;
CREATE VIEW rv AS SELECT name, count(*) FROM join_s, dim WHERE id = k GROUP BY name;
RESET ROLE;
DROP VIEW rv;

-- columns of joined tables
ALTER TABLE dim RENAME COLUMN name TO called;
ALTER TABLE dim RENAME TO dimension;
\set VERBOSITY terse
ALTER TABLE dimension ALTER COLUMN rate TYPE float8;
ALTER TABLE dimension DROP COLUMN region;
INSERT INTO join_s VALUES (2, 'name 0', 1);
SELECT pipelinedb.flush();
SELECT * FROM by_name ORDER BY 1;
TRUNCATE dimension;
INSERT INTO join_s VALUES (2, 'name 0', 1);
SELECT pipelinedb.flush();
SELECT * FROM by_name ORDER BY 1;
DROP TABLE dimension;
SET client_min_messages = warning;
DROP TABLE dimension CASCADE;
SELECT name, state, message FROM pipelinedb.views ORDER BY name;
SELECT relname FROM pg_class WHERE relname ~ '^(by|sub|lateral)_' ORDER BY 1;

DROP FOREIGN TABLE join_s, join_s2 CASCADE;
DROP TABLE "Region", parent, join_temp;
REVOKE CREATE ON SCHEMA public FROM regress_join_user;
DROP ROLE regress_join_user;
