-- truncate_continuous_view(): what was committed before does not count, folded or not; what is
-- committed after does; of its own transaction, what is written after.
CREATE SCHEMA tr;
SET search_path = tr;
CREATE FOREIGN TABLE st (k text, n int) SERVER pipelinedb;
CREATE VIEW grouped AS SELECT k, count(*), sum(n), avg(n) FROM st GROUP BY k;
CREATE VIEW total AS SELECT count(*), sum(n), avg(n) FROM st;
CREATE VIEW other AS SELECT count(*), sum(n) FROM st;
INSERT INTO st VALUES ('a', 1), ('b', 2), (NULL, 3);
SELECT pipelinedb.flush();

-- folded rows
SELECT pipelinedb.truncate_continuous_view('grouped'), pipelinedb.truncate_continuous_view('tr.total');
TABLE grouped;
TABLE total;
TABLE other;
INSERT INTO st VALUES ('a', 10);
TABLE grouped;
TABLE total;

-- its own transaction: by order; twice; rolled back, also to a savepoint
BEGIN;
INSERT INTO st VALUES ('a', 20);
SELECT pipelinedb.truncate_continuous_view('total');
INSERT INTO st VALUES ('a', 30);
SELECT pipelinedb.truncate_continuous_view('total');
INSERT INTO st VALUES ('a', 40);
COMMIT;
TABLE total;
BEGIN;
INSERT INTO st VALUES ('a', 100);
SELECT pipelinedb.truncate_continuous_view('total');
TABLE total;
INSERT INTO st VALUES ('a', 200);
ROLLBACK;
TABLE total;
BEGIN;
INSERT INTO st VALUES ('a', 1);
SAVEPOINT a;
SELECT pipelinedb.truncate_continuous_view('total');
INSERT INTO st VALUES ('a', 300);
ROLLBACK TO a;
INSERT INTO st VALUES ('a', 1);
COMMIT;
TABLE total;
BEGIN;
SELECT pipelinedb.truncate_continuous_view('total');
SAVEPOINT a;
INSERT INTO st VALUES ('a', 400);
ROLLBACK TO a;
INSERT INTO st VALUES ('a', 2);
COMMIT;
TABLE total;
DO $$
BEGIN
    BEGIN
        PERFORM pipelinedb.truncate_continuous_view('total');
        RAISE EXCEPTION 'changed my mind';
    EXCEPTION WHEN raise_exception THEN
        NULL;
    END;
END $$;
INSERT INTO st VALUES ('a', 3);
TABLE total;

-- in the transaction that creates the view
BEGIN;
CREATE VIEW fresh AS SELECT count(*), sum(n) FROM st;
INSERT INTO st VALUES ('a', 500);
SELECT pipelinedb.truncate_continuous_view('fresh');
INSERT INTO st VALUES ('a', 4);
COMMIT;
TABLE fresh;
BEGIN;
INSERT INTO st VALUES ('a', 5);
SELECT pipelinedb.truncate_continuous_view('fresh');
DROP VIEW fresh;
COMMIT;

-- a paused view: its backlog does not count, and keeps nothing in the spool
SELECT pipelinedb.deactivate('total');
INSERT INTO st SELECT 'x', 600 FROM generate_series(1, 1000);
SELECT pipelinedb.truncate_continuous_view('total');
INSERT INTO st VALUES ('a', 6);
TABLE total;
SELECT pipelinedb.activate('total');
SELECT pipelinedb.flush();
TABLE total;

-- a failed view: the row that stopped it does not count any more
CREATE FUNCTION not_zero(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF n = 0 THEN RAISE EXCEPTION 'may not be zero' USING ERRCODE = '42501'; END IF;
    RETURN n;
END $$;
CREATE VIEW failing AS SELECT sum(not_zero(n)) FROM st;
INSERT INTO st VALUES ('a', 0), ('a', 1);
SELECT pipelinedb.flush();
SELECT pipelinedb.truncate_continuous_view('failing');
SELECT pipelinedb.activate('failing');
INSERT INTO st VALUES ('a', 5);
TABLE failing;

-- a rejected row does not come back by a retry
CREATE VIEW rejecting AS SELECT sum(10 / n) FROM st;
INSERT INTO st VALUES ('b', 0), ('b', 1);
SELECT pipelinedb.flush();
SELECT rejected FROM pipelinedb.views WHERE name = 'rejecting';
SELECT pipelinedb.truncate_continuous_view('rejecting');
SELECT rejected FROM pipelinedb.views WHERE name = 'rejecting';
SELECT pipelinedb.retry_errors('rejecting');
TABLE rejecting;

-- everything was counted by the view that was left alone
TABLE other;

-- indexes of the user; not while it is read
CREATE INDEX ON total (count);
CREATE INDEX ON total ((count + 1));
SELECT pipelinedb.truncate_continuous_view('total');
SET enable_seqscan = off;
SELECT * FROM total WHERE count = 0;
SELECT * FROM total WHERE count + 1 = 1;
RESET enable_seqscan;
SELECT pipelinedb.truncate_continuous_view('grouped') FROM grouped;

-- refusals
SELECT pipelinedb.truncate_continuous_view('no_such_view');
SELECT pipelinedb.truncate_continuous_view('st');
SELECT pipelinedb.truncate_continuous_view('total_mrel');
SELECT pipelinedb.truncate_continuous_view('total_def');
SELECT pipelinedb.truncate_continuous_view(NULL);
TRUNCATE total;
TRUNCATE total_mrel;
BEGIN READ ONLY;
SELECT pipelinedb.truncate_continuous_view('total');
ROLLBACK;
CREATE ROLE regress_truncate_user;
GRANT USAGE ON SCHEMA tr TO regress_truncate_user;
GRANT ALL ON total TO regress_truncate_user;
SET ROLE regress_truncate_user;
SELECT pipelinedb.truncate_continuous_view('total');
RESET ROLE;
ALTER VIEW total OWNER TO regress_truncate_user;
SET ROLE regress_truncate_user;
SELECT pipelinedb.truncate_continuous_view('total');
RESET ROLE;

-- dropped: nothing is left
SET client_min_messages = warning;
DROP SCHEMA tr CASCADE;
DROP ROLE regress_truncate_user;
SELECT count(*) FROM pipelinedb.truncation;
