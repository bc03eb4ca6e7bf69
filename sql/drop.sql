-- Dropping a continuous view, or anything below it, leaves nothing behind.
CREATE SCHEMA drop_here;
SET search_path = drop_here, public;
-- what there is of views named d*
CREATE VIEW leftovers AS
    SELECT relname::text AS thing FROM pg_class WHERE relname ~ '^d_'
    UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typname ~ '^_?d_'
    UNION ALL SELECT 'query ' || view FROM pipelinedb.query q
        WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = q.view)
    UNION ALL SELECT 'progress ' || consumer FROM pipelinedb.progress p
        WHERE consumer <> 0 AND NOT EXISTS (SELECT FROM pg_class WHERE oid = consumer)
    UNION ALL SELECT 'dependency ' || d.objid || ' ' || d.refobjid FROM pg_depend d
        WHERE (classid = 'pg_class'::regclass AND NOT EXISTS (SELECT FROM pg_class WHERE oid = objid))
           OR (refclassid = 'pg_class'::regclass AND NOT EXISTS (SELECT FROM pg_class WHERE oid = refobjid));
CREATE FUNCTION left_of_it() RETURNS SETOF text LANGUAGE sql
    AS 'SELECT thing FROM drop_here.leftovers WHERE thing !~ ''d_stream'' ORDER BY thing COLLATE "C"';

CREATE FOREIGN TABLE d_stream (a int, b text) SERVER pipelinedb;
CREATE VIEW d_v AS SELECT a, count(*), avg(a) FROM d_stream GROUP BY a;
SELECT * FROM left_of_it();
DROP VIEW d_v;
SELECT * FROM left_of_it();

-- RESTRICT and CASCADE with a view of the user's over it
CREATE VIEW d_v AS SELECT a, count(*), avg(a) FROM d_stream GROUP BY a;
CREATE VIEW dependent AS SELECT * FROM d_v;
DROP VIEW d_v;
DROP VIEW d_v CASCADE;
SELECT * FROM left_of_it();
CREATE VIEW d_v AS SELECT a, count(*), avg(a) FROM d_stream GROUP BY a;
CREATE VIEW dependent AS SELECT * FROM d_v_mrel;
DROP VIEW d_v;
SELECT count(*) FROM pipelinedb.views WHERE name = 'd_v';
DROP VIEW d_v CASCADE;
SELECT * FROM left_of_it();

-- parts of it, by CASCADE
CREATE VIEW d_v AS SELECT a, count(*), avg(a) FROM d_stream GROUP BY a;
DROP TABLE d_v_mrel CASCADE;
SELECT * FROM left_of_it();
CREATE VIEW d_v AS SELECT a, count(*), avg(a) FROM d_stream GROUP BY a;
DROP VIEW d_v_def CASCADE;
SELECT * FROM left_of_it();
CREATE VIEW d_v AS SELECT b, count(*), avg(a) FROM d_stream GROUP BY b;
ALTER FOREIGN TABLE d_stream DROP COLUMN b;
ALTER FOREIGN TABLE d_stream DROP COLUMN b CASCADE;
SELECT * FROM left_of_it();

-- several at once, in one statement; IF EXISTS
CREATE VIEW d_v1 AS SELECT a, count(*) FROM d_stream GROUP BY a;
CREATE VIEW d_v2 AS SELECT count(*) FROM d_stream;
DROP VIEW IF EXISTS d_v1, d_v2, d_v3;
SELECT * FROM left_of_it();

-- rolled back: it is all there, and works
CREATE VIEW d_v AS SELECT count(*) FROM d_stream;
BEGIN;
SAVEPOINT a;
DROP VIEW d_v;
ROLLBACK TO a;
SELECT count(*) FROM pipelinedb.views WHERE name = 'd_v';
COMMIT;
BEGIN;
DROP VIEW d_v;
ROLLBACK;
INSERT INTO d_stream VALUES (1), (2);
SELECT pipelinedb.flush();
SELECT * FROM d_v;

-- in functions, with an exception caught around it
DO $$
BEGIN
    BEGIN
        DROP VIEW d_v;
        RAISE EXCEPTION 'changed my mind';
    EXCEPTION WHEN raise_exception THEN
        NULL;
    END;
    CREATE VIEW d_other AS SELECT sum(a) FROM d_stream;
    DROP VIEW d_other;
END $$;
SELECT * FROM left_of_it();
DO $$ BEGIN EXECUTE 'DROP VIEW d_v'; END $$;
SELECT * FROM left_of_it();

-- a view that was created in the same transaction
BEGIN;
CREATE VIEW d_v AS SELECT count(*) FROM d_stream;
DROP VIEW d_v;
COMMIT;
SELECT * FROM left_of_it();
BEGIN;
CREATE VIEW d_v AS SELECT count(*) FROM d_stream;
ROLLBACK;
SELECT * FROM left_of_it();

-- the stream
CREATE VIEW d_v AS SELECT count(*) FROM d_stream;
DROP FOREIGN TABLE d_stream;
DROP FOREIGN TABLE d_stream CASCADE;
SELECT * FROM left_of_it();

-- the owner
CREATE ROLE regress_drop_user;
GRANT CREATE, USAGE ON SCHEMA drop_here TO regress_drop_user;
CREATE FOREIGN TABLE d_stream (a int, b text) SERVER pipelinedb;
GRANT SELECT ON d_stream TO regress_drop_user;
SET ROLE regress_drop_user;
CREATE VIEW d_v AS SELECT a, avg(a) FROM d_stream GROUP BY a;
RESET ROLE;
CREATE VIEW d_mine AS SELECT count(*) FROM d_stream;
DROP OWNED BY regress_drop_user;
DROP ROLE regress_drop_user;
SELECT * FROM left_of_it();
SELECT name FROM pipelinedb.views WHERE name LIKE 'd\_%';

-- the schema, with stream and views in it
DROP VIEW leftovers;
SET client_min_messages = warning;
DROP SCHEMA drop_here CASCADE;
RESET client_min_messages;
RESET search_path;
SELECT relname FROM pg_class WHERE relname ~ '^d_';
SELECT count(*) FROM pipelinedb.query WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = view);
SELECT count(*) FROM pipelinedb.progress WHERE consumer <> 0
    AND NOT EXISTS (SELECT FROM pg_class WHERE oid = consumer);
