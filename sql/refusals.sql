-- What a continuous view cannot be: each refusal names the thing and says what instead.
\set VERBOSITY default
CREATE FOREIGN TABLE refuse_s (a int, b text, c numeric, d money, e json) SERVER pipelinedb;
CREATE FOREIGN TABLE refuse_s2 (a int) SERVER pipelinedb;
CREATE TABLE refuse_t (a int, b text);

-- shape of the query
CREATE VIEW rv AS SELECT count(*) FROM refuse_s, refuse_s2;
CREATE VIEW rv AS SELECT count(*) FROM refuse_t WHERE a IN (SELECT a FROM refuse_s);
CREATE VIEW rv AS SELECT count(*) FROM refuse_s UNION ALL SELECT count(*) FROM refuse_s2;
CREATE VIEW rv AS SELECT a, row_number() OVER (), count(*) FROM refuse_s GROUP BY a;
CREATE VIEW rv AS SELECT a, generate_series(1, 2), count(*) FROM refuse_s GROUP BY a;
CREATE VIEW rv AS SELECT a FROM refuse_s FOR UPDATE;
CREATE VIEW rv AS SELECT count(refuse_s) FROM refuse_s;
CREATE VIEW rv AS SELECT count(tableoid) FROM refuse_s;

-- aggregates
CREATE VIEW rv AS SELECT count(DISTINCT a) FROM refuse_s;
CREATE VIEW rv AS SELECT sum(a ORDER BY a) FROM refuse_s;
CREATE VIEW rv AS SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM refuse_s;
CREATE VIEW rv AS SELECT json_agg(a) FROM refuse_s;
CREATE AGGREGATE refuse_agg (int) (SFUNC = int4larger, STYPE = int);
CREATE VIEW rv AS SELECT 1 + refuse_agg(a) FROM refuse_s;

-- keys: more in keys.sql
CREATE VIEW rv AS SELECT to_tsvector(b), count(*) FROM refuse_s GROUP BY 1;

-- kinds of views and options
CREATE TEMPORARY VIEW rv AS SELECT count(*) FROM refuse_s;
CREATE VIEW pg_temp.rv AS SELECT count(*) FROM refuse_s;
CREATE VIEW rv AS SELECT a, count(*) FROM refuse_s GROUP BY a WITH CHECK OPTION;
CREATE VIEW rv WITH (action=materialize) AS SELECT count(*) FROM refuse_t;
CREATE VIEW rv WITH (action=transform) AS SELECT a, count(*) FROM refuse_s GROUP BY a;
CREATE VIEW rv WITH (action=nonsense) AS SELECT count(*) FROM refuse_s;
CREATE VIEW rv WITH (fillfactor=5) AS SELECT count(*) FROM refuse_s;
CREATE VIEW rv WITH (action=materialize, no_such_option=1) AS SELECT count(*) FROM refuse_s;
CREATE VIEW rv WITH (fillfactor=50) AS SELECT count(*) FROM refuse_t;
CREATE VIEW refuse_t AS SELECT count(*) FROM refuse_s;
CREATE VIEW rv AS SELECT a AS x, count(*) AS x FROM refuse_s GROUP BY a;
CREATE VIEW rv (x, y, z) AS SELECT a, count(*) FROM refuse_s GROUP BY a;

-- temporary objects
CREATE FUNCTION pg_temp.refuse_f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
\set VERBOSITY terse
CREATE VIEW rv AS SELECT sum(pg_temp.refuse_f(a)) FROM refuse_s;
\set VERBOSITY default

-- nothing of all that is left
SELECT relname FROM pg_class WHERE relname LIKE 'rv%';
SELECT count(*) FROM pipelinedb.views WHERE name LIKE 'rv%';

-- a view that exists
CREATE VIEW refuse_v AS SELECT a, count(*) FROM refuse_s GROUP BY a;
CREATE OR REPLACE VIEW refuse_v AS SELECT a, count FROM refuse_v_mrel;
CREATE OR REPLACE VIEW refuse_v_def AS SELECT a, b AS count FROM refuse_t;
ALTER VIEW refuse_v_def RENAME TO refuse_x;
ALTER TABLE refuse_v_mrel RENAME TO refuse_x;
ALTER TABLE refuse_v_mrel RENAME COLUMN a TO x;
ALTER TABLE refuse_v_mrel ADD COLUMN x int;
ALTER TABLE refuse_v_mrel DROP COLUMN count;
ALTER TABLE refuse_v_mrel ALTER COLUMN count TYPE numeric;
ALTER TABLE refuse_v_mrel SET UNLOGGED;
ALTER TABLE refuse_v_mrel SET SCHEMA pipelinedb;
ALTER VIEW refuse_v_def SET SCHEMA pipelinedb;
ALTER VIEW refuse_v_def OWNER TO CURRENT_USER;
ALTER VIEW refuse_v SET (action = transform);
ALTER VIEW refuse_v RESET (definition);
ALTER VIEW refuse_v_def SET (search_path = pg_temp);
DROP VIEW refuse_v_def;
DROP TABLE refuse_v_mrel;
INSERT INTO refuse_v_mrel VALUES (1, 1);
DELETE FROM refuse_v_mrel;
TRUNCATE refuse_v_mrel;

-- streams
CREATE FOREIGN TABLE refuse_s3 (a int, arrival_timestamp timestamp) SERVER pipelinedb;
CREATE FOREIGN TABLE refuse_s3 (a int) SERVER pipelinedb OPTIONS (x '1');
ALTER FOREIGN TABLE refuse_s ALTER COLUMN a TYPE bigint;
ALTER TABLE refuse_s ALTER COLUMN a TYPE bigint;
SELECT pipelinedb.activate('refuse_s');
SELECT pipelinedb.deactivate('refuse_v_mrel');
SELECT pipelinedb.activate('no_such_view');

-- hand-written parts of a dump
CREATE VIEW refuse_d WITH (action=definition) AS SELECT a, 1 + count(*) AS count FROM refuse_s GROUP BY a;
CREATE VIEW refuse_d WITH (action=definition, work_mem='1GB') AS SELECT a, count(*) FROM refuse_s GROUP BY a;
CREATE VIEW refuse_d WITH (action=definition) AS SELECT a, count(*) FROM refuse_s GROUP BY a;
CREATE VIEW rv WITH (action=materialize, definition=no_such_view) AS SELECT * FROM ONLY refuse_t;
CREATE VIEW rv WITH (action=materialize, definition=refuse_v) AS SELECT * FROM ONLY refuse_t;
CREATE VIEW rv WITH (action=materialize, definition=refuse_d) AS SELECT * FROM ONLY refuse_t;
CREATE VIEW rv WITH (action=materialize, definition=refuse_d) AS SELECT * FROM ONLY refuse_v_mrel;
CREATE VIEW rv WITH (action=materialize, definition=refuse_d) AS SELECT 1;
DROP VIEW refuse_d;

-- rights
CREATE ROLE regress_refuse_user;
GRANT CREATE ON SCHEMA public TO regress_refuse_user;
SET ROLE regress_refuse_user;
CREATE VIEW rv AS SELECT count(*) FROM refuse_s;
SELECT pipelinedb.deactivate('refuse_v');
RESET ROLE;
GRANT SELECT (a) ON refuse_s TO regress_refuse_user;
SET ROLE regress_refuse_user;
CREATE VIEW rv AS SELECT count(b) FROM refuse_s;
CREATE VIEW rv AS SELECT count(*), sum(a) FROM refuse_s;
SELECT name, owner, state FROM pipelinedb.views WHERE name = 'rv';
SELECT pipelinedb.deactivate('rv'), pipelinedb.deactivate('rv'), pipelinedb.activate('rv');
SELECT name, state FROM pipelinedb.views WHERE name = 'rv';
DROP VIEW rv;
RESET ROLE;

-- stored states: no forged bytes reach a deserial function
SELECT pipelinedb.finalize('sum(bigint)'::regprocedure, '\x00'::bytea, NULL::numeric);
SELECT '\x0101040000000000'::pipelinedb.aggregate_state;
SELECT pipelinedb.finalize('sum(bigint)'::regprocedure, '\x01010400000000000000000a00000001000000000000000000000000000a'::pipelinedb.aggregate_state, NULL::numeric);
SELECT pipelinedb.finalize('avg(numeric)'::regprocedure, '\x01010400000000000000000a00000001000000000000000000000000000a'::pipelinedb.aggregate_state, NULL::numeric);
SELECT '\x01010400000000000000000a00000001000000000000000000000000ffff'::pipelinedb.aggregate_state;
SELECT '\x01010400000000000000000a7fffffff000000000000000000000000000a'::pipelinedb.aggregate_state;
SELECT pipelinedb.finalize('avg(int)'::regprocedure, '{2,5}'::int8[], NULL::numeric);
SELECT pipelinedb.finalize('avg(int)'::regprocedure, '{2}'::int8[], NULL::numeric);
SELECT pipelinedb.finalize('avg(int)'::regprocedure, 5, NULL::numeric);
SELECT pipelinedb.finalize('avg(int)'::regprocedure, '{2,5}'::int8[], NULL::text);
SELECT pipelinedb.finalize('avg(int)'::regprocedure, NULL::int8[], NULL::numeric);
SELECT pipelinedb.finalize('lower(text)'::regprocedure, 'x'::text, NULL::text);
SELECT pipelinedb.finalize('json_agg(anyelement)'::regprocedure, 'x'::text, NULL::json);
SET ROLE regress_refuse_user;
SELECT '\x01020f0000000000ff'::pipelinedb.aggregate_state;
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM regress_refuse_user;

DROP FOREIGN TABLE refuse_s, refuse_s2 CASCADE;
DROP TABLE refuse_t;
DROP AGGREGATE refuse_agg(int);
DROP ROLE regress_refuse_user;
