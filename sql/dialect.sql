-- PipelineDB 0.9's statements: what they become, how they run, where their errors point.
CREATE SCHEMA dialect;
SET search_path = dialect;

-- what a script becomes, without running it
\pset format unaligned
\pset tuples_only on
SELECT line || ': ' || statement FROM pipelinedb.dialect_sql($script$
CREATE STREAM s (x int, y text DEFAULT 'a;b');
create stream if not exists "Odd; Name"."s -- 1" (x int) ; CREATE STREAM if (a int)OPTIONS (arrival_timestamp 'off')
;;
-- a comment; with a semicolon
CREATE CONTINUOUS VIEW v AS SELECT x /* a; /* nested; */ */, count(*) FROM s GROUP BY x; -- the end;
CREATE CONTINUOUS VIEW a.v (k, n) WITH (max_age = '1 hour', step_factor = 10, fillfactor=80) AS
    SELECT x, count(*) FROM s GROUP BY x;
CREATE CONTINUOUS VIEW v WITH ("max_age" = '1 day') AS SELECT max(max_age) FROM s;
CREATE CONTINUOUS VIEW v WITH (MAX_AGE='1 day')as select count(*) from only s window w as (order by 1);
CREATE CONTINUOUS VIEW v WITH (ttl = '1 month', ttl_column = 'm', pk = k, sw_column = max_age) AS SELECT 1;
CREATE OR REPLACE CONTINUOUS VIEW v AS SELECT count(*) FROM s;
CREATE CONTINUOUS VIEW v(k)AS(SELECT x FROM s);
CREATE CONTINUOUS TRANSFORM t AS SELECT CASE WHEN x > 1 THEN execute END, 'THEN EXECUTE PROCEDURE f()' FROM s;
CREATE CONTINUOUS TRANSFORM t AS SELECT x FROM s THEN EXECUTE PROCEDURE f();
CREATE CONTINUOUS TRANSFORM t WITH (a = b) AS SELECT x FROM s
    THEN EXECUTE PROCEDURE "S;1"."f'()" ('it''s', E'a\\b', 7, -- five
        1.50, word, "Word") /* done */;
CREATE CONTINUOUS TRANSFORM t AS SELECT x FROM s THEN EXECUTE FUNCTION pipeline_stream_insert('a.b', 'c');
CREATE CONTINUOUS TRANSFORM t AS SELECT x FROM s THEN EXECUTE PROCEDURE mine.pipeline_stream_insert('b');
CREATE CONTINUOUS TRANSFORM t AS SELECT x FROM s THEN EXECUTE PROCEDURE time(1);
DROP STREAM s; DROP STREAM IF EXISTS a, "b;c" CASCADE;
DROP CONTINUOUS VIEW IF EXISTS v, w CASCADE; DROP CONTINUOUS TRANSFORM t;
ALTER STREAM s ADD COLUMN z int; ALTER STREAM s ADD z int; ALTER CONTINUOUS VIEW v RENAME TO w;
ALTER CONTINUOUS TRANSFORM t SET SCHEMA a;
COMMENT ON STREAM s IS 'a;b'; COMMENT ON CONTINUOUS VIEW v IS NULL; COMMENT ON CONTINUOUS TRANSFORM t IS '';
ACTIVATE v; DEACTIVATE CONTINUOUS VIEW v; ACTIVATE CONTINUOUS TRANSFORM t; activate Continuous;
DEACTIVATE a.V, "B;c"."d'\e" /* ; */ , select1;
TRUNCATE CONTINUOUS VIEW v, a."W"; TRUNCATE continuous, other; TRUNCATE v;
SET stream_targets = 'v'; SET LOCAL stream_insert_level TO async; RESET stream_targets; SHOW sliding_window_step_factor;
SET SESSION continuous_query_materialization_table_updatable = on; SET timezone = 'UTC'; SET continuous_view_fillfactor = 50
$script$);

-- where statements end
SELECT line, statement FROM pipelinedb.dialect_sql($script$
SELECT 'a;b', E'c\';d', $$e;f$$, $x$g;$$;h$x$, "i;j", U&'k;\0041', B'1' FROM (SELECT 1) AS q(a); SELECT 2;
CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2); SELECT 3;
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END AS end; SELECT q.case FROM q; END; SELECT 4;
CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC END; SELECT 5;
CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$; SELECT (ARRAY[1])[1];
$script$);
SELECT count(*) FROM pipelinedb.dialect_sql('');
SELECT count(*) FROM pipelinedb.dialect_sql(' ; -- nothing');
\pset format aligned
\pset tuples_only off

-- a whole script, ordinary SQL in between included
DO LANGUAGE pipelinedb $script$
CREATE STREAM IF NOT EXISTS clicks (url text, cookie text, latency int);
CREATE STREAM IF NOT EXISTS clicks (url text);
CREATE TABLE sites (url text PRIMARY KEY, name text);
INSERT INTO sites VALUES ('a;b', 'A'), ('c', 'C') RETURNING name;
CREATE FUNCTION shorten(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN left($1, 1); -- the body has semicolons
END
$$;
CREATE FUNCTION twice(int) RETURNS int IMMUTABLE BEGIN ATOMIC SELECT 2 * $1; END;
CREATE CONTINUOUS VIEW per_site WITH (fillfactor = 70) AS
    SELECT s.name, count(*), sum(twice(latency)) FROM clicks c JOIN sites s USING (url) GROUP BY s.name;
CREATE CONTINUOUS VIEW "Per; ""cookie""" ("Key", n) AS SELECT shorten(cookie), count(*) FROM clicks GROUP BY 1;
COMMENT ON CONTINUOUS VIEW per_site IS 'clicks; per site';
ALTER STREAM clicks ADD COLUMN agent text;
INSERT INTO clicks (url, cookie, latency) VALUES ('a;b', 'xyz', 1), ('a;b', 'xy', 2), ('c', 'z', 3);
SELECT url::text, pg_catalog.set_config('dialect.seen', url, false) FROM sites WHERE name = 'A';
TABLE sites
$script$;
SELECT pipelinedb.flush();
SELECT * FROM per_site ORDER BY name;
SELECT * FROM "Per; ""cookie""" ORDER BY 1;
SELECT current_setting('dialect.seen'), obj_description('per_site'::regclass),
    (SELECT reloptions FROM pg_class WHERE oid = 'per_site_mrel'::regclass);

-- states
DO LANGUAGE pipelinedb 'DEACTIVATE per_site, dialect . "Per; ""cookie"""';
SELECT name, state FROM pipelinedb.views WHERE schema = 'dialect' ORDER BY 1;
DO LANGUAGE pipelinedb $$ ACTIVATE CONTINUOUS VIEW per_site; TRUNCATE CONTINUOUS VIEW per_site; $$;
SELECT name, state FROM pipelinedb.views WHERE schema = 'dialect' ORDER BY 1;
SELECT * FROM per_site;

-- what statements of 0.9 change must be what they say
CREATE VIEW plain AS SELECT 1 AS a;
CREATE FOREIGN DATA WRAPPER dialect_fdw;
CREATE SERVER dialect_server FOREIGN DATA WRAPPER dialect_fdw;
CREATE FOREIGN TABLE foreign_table (a int) SERVER dialect_server;
DO LANGUAGE pipelinedb 'DROP STREAM foreign_table';
DO LANGUAGE pipelinedb 'DROP STREAM IF EXISTS none, sites';
DO LANGUAGE pipelinedb 'DROP CONTINUOUS VIEW per_site, plain';
DO LANGUAGE pipelinedb 'DROP CONTINUOUS TRANSFORM plain';
DO LANGUAGE pipelinedb 'DROP CONTINUOUS TRANSFORM per_site';
DO LANGUAGE pipelinedb 'ALTER STREAM foreign_table ADD b int';
DO LANGUAGE pipelinedb 'ALTER CONTINUOUS VIEW plain RENAME TO other';
DO LANGUAGE pipelinedb 'ALTER CONTINUOUS VIEW plain SET SCHEMA public';
DO LANGUAGE pipelinedb 'COMMENT ON STREAM foreign_table IS ''x''';
DO LANGUAGE pipelinedb 'DROP STREAM none';
DO LANGUAGE pipelinedb 'ACTIVATE plain';
DROP FOREIGN DATA WRAPPER dialect_fdw CASCADE;
DROP VIEW plain;

-- an error undoes what went before, in the script; before it nothing was run if it is of syntax
DO LANGUAGE pipelinedb $$
CREATE STREAM undone (a int);
CREATE CONTINUOUS VIEW undone_view AS SELECT count(*) FROM undone;
SELECT 1 / 0;
CREATE TABLE undone_table ();
$$;
SELECT to_regclass('undone'), to_regclass('undone_view'), to_regclass('undone_view_mrel');
BEGIN;
CREATE TABLE kept (a int);
SAVEPOINT a;
DO LANGUAGE pipelinedb 'INSERT INTO kept VALUES (1); INSERT INTO kept VALUES (1 / (SELECT 0))';
ROLLBACK TO a;
DO LANGUAGE pipelinedb 'INSERT INTO kept VALUES (2)';
SELECT * FROM kept;
ROLLBACK;

-- errors point into the script: of the scanner
DO LANGUAGE pipelinedb $$
SELECT 1;
SELECT 'never closed;
$$;
DO LANGUAGE pipelinedb $$
/* never closed;
$$;
DO LANGUAGE pipelinedb $$
SELECT 'a', 12e;
$$;
-- of the dialect
DO LANGUAGE pipelinedb $$
CREATE STREAM s1 (a int);
CREATE STREAM inferred;
$$;
DO LANGUAGE pipelinedb $$
CREATE CONTINUOUS VIEW IF NOT EXISTS v1 AS SELECT count(*) FROM clicks;
$$;
DO LANGUAGE pipelinedb $$
CREATE CONTINUOUS VIEW v1 WITH (max_age = '1 hour', sw = '1 hour') AS SELECT count(*) FROM clicks;
$$;
DO LANGUAGE pipelinedb 'CREATE CONTINUOUS VIEW v1 WITH (action = transform) AS SELECT count(*) FROM clicks';
DO LANGUAGE pipelinedb $$
CREATE CONTINUOUS TRANSFORM t1 WITH (outputfunc = f) AS SELECT url FROM clicks THEN EXECUTE PROCEDURE f();
$$;
DO LANGUAGE pipelinedb $$
CREATE CONTINUOUS TRANSFORM t1 AS SELECT url FROM clicks THEN EXECUTE PROCEDURE f(1 + 2);
$$;
DO LANGUAGE pipelinedb 'CREATE CONTINUOUS TRANSFORM t1 AS SELECT url FROM clicks THEN EXECUTE PROCEDURE f';
DO LANGUAGE pipelinedb 'CREATE CONTINUOUS TRANSFORM t1 AS SELECT url FROM clicks THEN EXECUTE PROCEDURE f() x';
DO LANGUAGE pipelinedb 'CREATE CONTINUOUS TRANSFORM t1 AS SELECT url FROM clicks THEN EXECUTE PROCEDURE f(''a'',';
DO LANGUAGE pipelinedb $$ SELECT 1;
   ACTIVATE per_site nonsense; $$;
DO LANGUAGE pipelinedb 'ACTIVATE';
DO LANGUAGE pipelinedb 'DEACTIVATE U&"\0061"';
DO LANGUAGE pipelinedb 'TRUNCATE CONTINUOUS VIEW per_site CASCADE';
DO LANGUAGE pipelinedb $$ EXPLAIN CONTINUOUS VIEW per_site $$;
-- of the server's parser, in a statement of 0.9 and in another one
DO LANGUAGE pipelinedb $$
CREATE TABLE not_created ();
CREATE STREAM s1 (a int, b int, c d e);
$$;
DO LANGUAGE pipelinedb $$ CREATE STREAM s1 (a int $$;
DO LANGUAGE pipelinedb $$
CREATE CONTINUOUS VIEW v1 WITH (max_age = '1 hour') AS
    SELECT 'a', count(*) FROM FROM clicks;
$$;
DO LANGUAGE pipelinedb $$ CREATE CONTINUOUS VIEW AS SELECT 1 $$;
DO LANGUAGE pipelinedb 'CREATE CONTINUOUS QUERY q AS SELECT 1';
DO LANGUAGE pipelinedb $$
SELECT 'a', $q$ ; $q$;
SELEC 1;
$$;
SELECT to_regclass('not_created');
SELECT * FROM pipelinedb.dialect_sql($$
CREATE CONTINUOUS VIEW v1 AS SELECT count(*) FROM FROM clicks;
$$);
-- of analysis
DO LANGUAGE pipelinedb $$ CREATE CONTINUOUS VIEW v1 AS
    SELECT x::integer, count(*)
    FROM not_declared GROUP BY x $$;
DO LANGUAGE pipelinedb $$ CREATE CONTINUOUS VIEW v1 WITH (fillfactor = 50) AS SELECT nothing FROM clicks $$;
DO LANGUAGE pipelinedb $$ INSERT INTO not_declared (x) VALUES (1) $$;
DO LANGUAGE pipelinedb $$ SELECT * FROM pipeline_views() $$;
DO LANGUAGE pipelinedb $$ SELECT * FROM pipeline_streams $$;
DO LANGUAGE pipelinedb 'SELECT no_such_function(''it''''s'')';
-- while it runs, in functions too, which show a place of their own
DO LANGUAGE pipelinedb $$
INSERT INTO sites
    VALUES ('c', 'again');
$$;
CREATE FUNCTION failing() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN no_such_column; END $$;
DO LANGUAGE pipelinedb $$ SELECT 1;
SELECT failing() $$;
DO LANGUAGE pipelinedb $script$ SELECT 1;
CREATE FUNCTION bad() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN 1 +;
END $$;
$script$;
-- a script that is not literally in the client's statement
DO $outer$ BEGIN
    EXECUTE format('DO LANGUAGE pipelinedb %L', E'CREATE STREAM s1 (a int);\nCREATE STREAM s2 (a b c);');
END $outer$;

-- errors of scripts can be caught, and what scripts call may catch its own
DO $outer$ BEGIN
    BEGIN
        EXECUTE 'DO LANGUAGE pipelinedb $$ CREATE STREAM caught (a int); SELECT 1 / 0 $$';
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'caught: %', to_regclass('caught');
    END;
    EXECUTE 'DO LANGUAGE pipelinedb $$ CREATE STREAM caught (a int); INSERT INTO caught VALUES (1) $$';
END $outer$;
CREATE FUNCTION catching() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE 'DO LANGUAGE pipelinedb ''DROP STREAM caught; SELEC''';
EXCEPTION WHEN syntax_error THEN
    RETURN format('caught: %s', to_regclass('caught'));
END $$;
CREATE TABLE answers (a text);
DO LANGUAGE pipelinedb $$
INSERT INTO answers SELECT catching() UNION ALL SELECT 'and it goes on';
DROP STREAM caught;
$$;
SELECT * FROM answers;

-- what a script cannot do
DO LANGUAGE pipelinedb $$ SELECT 1;
COMMIT; $$;
DO LANGUAGE pipelinedb 'BEGIN';
DO LANGUAGE pipelinedb 'SAVEPOINT a';
DO LANGUAGE pipelinedb 'COPY sites FROM STDIN';
DO LANGUAGE pipelinedb 'COPY sites TO STDOUT';
DO LANGUAGE pipelinedb 'VACUUM sites';
DO LANGUAGE pipelinedb $$
\d sites
$$;
CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
DO LANGUAGE pipelinedb 'CALL committing()';
CREATE FUNCTION in_dialect() RETURNS int LANGUAGE pipelinedb AS 'SELECT 1';
-- notices are given once
DO LANGUAGE pipelinedb $$ CREATE TABLE a123456789b123456789c123456789d123456789e123456789f123456789g123456789 () $$;
SET standard_conforming_strings = off;
DO LANGUAGE pipelinedb $$ SELECT 'a\'b;'; $$;
RESET standard_conforming_strings;
-- scripts may contain scripts, rows of all kinds of statements are discarded
DO LANGUAGE pipelinedb $a$
    DO LANGUAGE pipelinedb $b$ CREATE STREAM inner_stream (a int); SHOW search_path; $b$;
    DROP STREAM inner_stream; EXPLAIN SELECT 1; VALUES (1);
    DECLARE c CURSOR FOR SELECT 1; FETCH c; CLOSE c;
    PREPARE p AS SELECT 1; EXECUTE p; DEALLOCATE p;
$a$;
SELECT count(*) FROM pg_cursors;

-- rights are those of the caller
CREATE ROLE regress_dialect;
GRANT USAGE, CREATE ON SCHEMA dialect TO regress_dialect;
SET ROLE regress_dialect;
DO LANGUAGE pipelinedb 'CREATE STREAM theirs (a int)';
DO LANGUAGE pipelinedb 'DROP CONTINUOUS VIEW per_site';
DO LANGUAGE pipelinedb 'DEACTIVATE per_site';
DO LANGUAGE pipelinedb $$ SELECT 1; SELECT * FROM sites $$;
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER pipelinedb TO regress_dialect;
SET ROLE regress_dialect;
DO LANGUAGE pipelinedb $$
CREATE STREAM theirs (a int);
CREATE CONTINUOUS VIEW their_view AS SELECT count(*) FROM theirs;
INSERT INTO theirs VALUES (1);
$$;
SELECT * FROM their_view;
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname ~ '^their' ORDER BY 1;
DO LANGUAGE pipelinedb 'DROP STREAM theirs CASCADE';
RESET ROLE;
REVOKE USAGE ON LANGUAGE pipelinedb FROM PUBLIC;
SET ROLE regress_dialect;
DO LANGUAGE pipelinedb 'SELECT 1';
RESET ROLE;
GRANT USAGE ON LANGUAGE pipelinedb TO PUBLIC;
DROP OWNED BY regress_dialect;
DROP ROLE regress_dialect;

-- event triggers see the statements
CREATE FUNCTION report() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', tg_tag; END $$;
CREATE EVENT TRIGGER dialect_report ON ddl_command_start EXECUTE FUNCTION report();
DO LANGUAGE pipelinedb 'CREATE STREAM seen (a int); DROP STREAM seen';
DROP EVENT TRIGGER dialect_report;

DO LANGUAGE pipelinedb $$
DROP CONTINUOUS VIEW per_site, "Per; ""cookie""";
DROP STREAM clicks;
DROP STREAM IF EXISTS clicks;
$$;
SELECT count(*) FROM pipelinedb.views WHERE schema = 'dialect';
SET client_min_messages = warning;
DROP SCHEMA dialect CASCADE;
