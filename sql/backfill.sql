-- pipelinedb.stream_targets, pipelinedb.backfill() and deactivate(discard => true): what they do in one
-- session, and what they refuse. Test 330 runs them beside writers.
CREATE SCHEMA bf;
SET search_path = bf;
CREATE FOREIGN TABLE st (k text, n int) SERVER pipelinedb;
CREATE FOREIGN TABLE elsewhere (k text, n int) SERVER pipelinedb;
CREATE VIEW one AS SELECT k, count(*), sum(n) FROM st GROUP BY k;
CREATE VIEW two AS SELECT count(*), sum(n) FROM st;
CREATE VIEW "Odd, one" AS SELECT sum(n) FROM st;
CREATE VIEW far AS SELECT sum(n) FROM elsewhere;

-- stream_targets: only these views, as far as they read the stream
SET pipelinedb.stream_targets = 'one, bf.one';
INSERT INTO st VALUES ('a', 1), ('b', 2);
COPY st FROM STDIN;
a	10
\.
SET pipelinedb.stream_targets = '"Odd, one" , BF.two, far';
INSERT INTO st VALUES ('c', 100);
INSERT INTO elsewhere VALUES ('c', 1000);
SET pipelinedb.stream_targets = one, far;
INSERT INTO elsewhere VALUES ('c', 5000);
SET pipelinedb.stream_targets = far;
INSERT INTO st SELECT 'z', 1 FROM generate_series(1, 5000);
RESET pipelinedb.stream_targets;
INSERT INTO st VALUES ('d', 10000);
TABLE one ORDER BY k;
TABLE two;
TABLE "Odd, one";
TABLE far;

-- writers aggregate for all views or not at all
SET pipelinedb.preaggregate_after = 0;
SET pipelinedb.stream_targets = 'two';
INSERT INTO st SELECT 'e', 1 FROM generate_series(1, 100);
RESET pipelinedb.stream_targets;
RESET pipelinedb.preaggregate_after;
TABLE one ORDER BY k;
TABLE two;

-- checked when it is used: the setting may come from anywhere
SET pipelinedb.stream_targets = 'one, bf.nothing';
INSERT INTO st VALUES ('x', 1);
SET pipelinedb.stream_targets = 'st';
INSERT INTO st VALUES ('x', 1);
SET pipelinedb.stream_targets = 'one_def';
INSERT INTO st VALUES ('x', 1);
SET pipelinedb.stream_targets = 'one,, two';
INSERT INTO st VALUES ('x', 1);
SET pipelinedb.stream_targets = '"one';
INSERT INTO st VALUES ('x', 1);
SET pipelinedb.stream_targets = 'a.b.c.d';
INSERT INTO st VALUES ('x', 1);

-- a function with the rights of another role writes for all
CREATE FUNCTION log_it() RETURNS void SECURITY DEFINER LANGUAGE sql
    BEGIN ATOMIC INSERT INTO bf.st VALUES ('f', 1); END;
CREATE FUNCTION log_own() RETURNS void LANGUAGE sql
    BEGIN ATOMIC INSERT INTO bf.st VALUES ('g', 1); END;
SET pipelinedb.stream_targets = 'two';
SELECT log_it(), log_own();
RESET pipelinedb.stream_targets;
TABLE one ORDER BY k;
TABLE two;

-- savepoints, rollback
SET pipelinedb.stream_targets = 'two';
BEGIN;
INSERT INTO st VALUES ('s', 1);
SAVEPOINT a;
INSERT INTO st VALUES ('s', 1);
ROLLBACK TO a;
COMMIT;
BEGIN;
INSERT INTO st VALUES ('s', 1);
ROLLBACK;
RESET pipelinedb.stream_targets;
TABLE two;

-- backfill: columns by name; the view is emptied; afterwards the stream goes on
CREATE TABLE history (extra date, n bigint, k text);
INSERT INTO history SELECT '2024-01-01', g, 'k' || g % 3 FROM generate_series(1, 3000) g;
CALL pipelinedb.backfill('bf.one', 'bf.history');
INSERT INTO st VALUES ('live', 1);
TABLE one ORDER BY k;
SELECT view, source, state, seam, pid, blocks_done = blocks_total AS complete, percent, rows, updated_rows, sqlstate, message
  FROM pipelinedb.backfills;
-- rows that have nothing to do with the stream: added
CALL pipelinedb.backfill('two', source => 'history', seam => false);
TABLE two;
CALL pipelinedb.backfill('two', 'history');
TABLE two;
-- a query
CALL pipelinedb.backfill('one', query => 'SELECT k, count(*)::int AS n FROM history GROUP BY k; -- that is all');
TABLE one ORDER BY k;
CALL pipelinedb.backfill('one', query => E'WITH q AS (SELECT k, 1 AS n FROM history) SELECT * FROM q -- all', seam => false);
TABLE one ORDER BY k;
SELECT view, source, state, seam, percent, rows FROM pipelinedb.backfills ORDER BY view::text;
-- nothing to read
CREATE TABLE empty (n int);
CALL pipelinedb.backfill('one', 'empty');
TABLE one ORDER BY k;
CALL pipelinedb.backfill('two', 'empty');
TABLE two;

-- partitions and children; the rows of each
CREATE TABLE parts (k text, n int) PARTITION BY LIST (k);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
CREATE TABLE parts_b (n int, gone int, k text);
ALTER TABLE parts_b DROP COLUMN gone;
ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES IN ('b');
INSERT INTO parts SELECT 'a', 1 FROM generate_series(1, 5000);
INSERT INTO parts SELECT 'b', 1 FROM generate_series(1, 50);
CREATE TABLE parent (n int, k text);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent VALUES (1, 'p');
INSERT INTO child VALUES (2, 'c');
CALL pipelinedb.backfill('one', 'parts');
TABLE one ORDER BY k;
CALL pipelinedb.backfill('one', 'parent');
TABLE one ORDER BY k;

-- time of arrival, generated columns, defaults, bad rows
CREATE FOREIGN TABLE rich (id int, doubled int GENERATED ALWAYS AS (id * 2) STORED, tag text DEFAULT 'none', divisor int CHECK (divisor < 100)) SERVER pipelinedb;
CREATE VIEW rich_view AS SELECT tag, sum(doubled) AS doubled, min(arrival_timestamp AT TIME ZONE 'UTC') AS first, sum(100 / divisor) AS q FROM rich GROUP BY tag;
CREATE TABLE rich_history (id int, doubled int, arrival_timestamp timestamptz, divisor int);
INSERT INTO rich_history VALUES (1, 7, '2020-01-01 00:00+00', 1), (2, 7, '2021-01-01 00:00+00', 0), (3, 7, '2022-01-01 00:00+00', 2);
CALL pipelinedb.backfill('rich_view', 'rich_history');
TABLE rich_view;
SELECT sqlstate, message, row ->> 'id' AS id FROM pipelinedb.errors WHERE view = 'rich_view'::regclass;
INSERT INTO rich_history VALUES (4, 7, '2022-01-01 00:00+00', 100);
CALL pipelinedb.backfill('rich_view', 'rich_history');
SELECT state, rows, sqlstate, message FROM pipelinedb.backfills WHERE view = 'rich_view'::regclass;
CALL pipelinedb.backfill('rich_view', 'rich_history');
DELETE FROM rich_history WHERE id = 4;
CALL pipelinedb.backfill('rich_view');
SELECT state, rows, sqlstate, message FROM pipelinedb.backfills WHERE view = 'rich_view'::regclass;

-- inside a transaction: all or nothing, and the own rows count once
CREATE FUNCTION write(k text, n int) RETURNS void LANGUAGE sql
    BEGIN ATOMIC INSERT INTO bf.history (k, n) VALUES (k, n); INSERT INTO bf.st VALUES (k, n); END;
TRUNCATE history;
SELECT write('old', 1);
BEGIN;
SELECT write('before', 10);
CALL pipelinedb.backfill('one', 'history');
SELECT write('after', 100);
COMMIT;
TABLE one ORDER BY k;
BEGIN;
CALL pipelinedb.backfill('one', 'history');
SELECT write('gone', 1000);
ROLLBACK;
TABLE one ORDER BY k;
DO $$ BEGIN CALL pipelinedb.backfill('two', 'history'); END $$;
TABLE two;
DO $$ BEGIN
    BEGIN
        CALL pipelinedb.backfill('two', query => 'SELECT 1 AS n');
        RAISE EXCEPTION 'changed my mind';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
END $$;
SELECT write('next', 1000);
TABLE two;
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL pipelinedb.backfill('two', 'history');
ROLLBACK;
SET default_transaction_isolation = 'repeatable read';
CALL pipelinedb.backfill('two', 'history');
RESET default_transaction_isolation;
TABLE two;

-- a trigger of the stream that writes to the stream: its rows are no history
CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.k = 'old' THEN INSERT INTO bf.st VALUES ('echo', 1); END IF; RETURN NEW; END $$;
CREATE TRIGGER echo BEFORE INSERT ON st FOR EACH ROW EXECUTE FUNCTION echo();
CALL pipelinedb.backfill('one', 'history');
TABLE one ORDER BY k;
TABLE two;
DROP TRIGGER echo ON st;

CALL pipelinedb.backfill('one', 'history', stream => 'st');
CALL pipelinedb.backfill('one', 'history', stream => 'elsewhere');

-- a view of several streams: whose rows they are has to be said; each way names the stream
CREATE FOREIGN TABLE second (n int, k text) SERVER pipelinedb;
CREATE VIEW merged AS SELECT k, sum(n) FROM (SELECT k, n FROM st UNION ALL SELECT upper(k), n FROM second) u GROUP BY k;
SET pipelinedb.stream_targets = 'merged';
INSERT INTO st VALUES ('a', 1);
INSERT INTO second VALUES (2, 'a');
RESET pipelinedb.stream_targets;
TABLE merged ORDER BY k;
CALL pipelinedb.backfill('merged', 'history');
CALL pipelinedb.backfill('merged', 'history', stream => 'elsewhere');
CALL pipelinedb.backfill('merged', 'history', stream => 'bf.second');
TABLE merged ORDER BY k;
CALL pipelinedb.backfill('merged', 'history', stream => 'st');
TABLE merged ORDER BY k;

-- refusals
CALL pipelinedb.backfill('st', 'history');
CALL pipelinedb.backfill('nothing', 'history');
CALL pipelinedb.backfill('one', 'nothing');
CALL pipelinedb.backfill('one', 'two');
CALL pipelinedb.backfill('one', 'st');
CALL pipelinedb.backfill('one', 'pg_stat_activity');
CALL pipelinedb.backfill('one', 'SELECT * FROM history');
CALL pipelinedb.backfill('one', 'history', 'SELECT 1');
CALL pipelinedb.backfill('one', query => 'DELETE FROM history');
CALL pipelinedb.backfill('one', query => 'SELECT 1 AS n; SELECT 2 AS n');
CALL pipelinedb.backfill('one', query => 'SELECT 1 AS n) q; DROP TABLE history; SELECT (1');
CALL pipelinedb.backfill('one', query => 'SELECT 1 AS other');
CALL pipelinedb.backfill('one', query => 'SELECT * INTO x FROM history');
CALL pipelinedb.backfill('one', query => 'SELECT now() AS n');
CALL pipelinedb.backfill('one', query => '');
CALL pipelinedb.backfill('one', query => 'SELECT 1/0 AS n');
CALL pipelinedb.backfill('one');
CALL pipelinedb.backfill('far');
CALL pipelinedb.backfill(NULL, 'history');
CREATE FOREIGN DATA WRAPPER bf_none;
CREATE SERVER bf_none FOREIGN DATA WRAPPER bf_none;
CREATE FOREIGN TABLE parts_c PARTITION OF parts FOR VALUES IN ('c') SERVER bf_none;
CALL pipelinedb.backfill('one', 'parts');
DROP FOREIGN DATA WRAPPER bf_none CASCADE;
SELECT pipelinedb.backfill_takes('history'::regclass, '(0,1)', '3');
SELECT pipelinedb.deactivate('one');
CALL pipelinedb.backfill('one', 'history');
SELECT pipelinedb.activate('one');
BEGIN READ ONLY;
CALL pipelinedb.backfill('one', 'history');
ROLLBACK;
TABLE one ORDER BY k;

-- rights: the view's owner, INSERT on the stream, SELECT on the source, its policies
CREATE ROLE bf_owner;
CREATE ROLE bf_other;
GRANT USAGE, CREATE ON SCHEMA bf TO bf_owner, bf_other;
GRANT SELECT ON st TO bf_owner;
SET ROLE bf_owner;
CREATE VIEW own AS SELECT k, sum(n) FROM st GROUP BY k;
CALL pipelinedb.backfill('one', 'history');
SELECT pipelinedb.cancel_backfill('one');
CALL pipelinedb.backfill('own', 'history');
RESET ROLE;
GRANT SELECT ON history TO bf_owner;
SET ROLE bf_owner;
CALL pipelinedb.backfill('own', 'history');
TABLE own;
RESET ROLE;
GRANT INSERT ON st TO bf_owner;
CREATE POLICY not_old ON history FOR SELECT TO bf_owner USING (k <> 'old');
ALTER TABLE history ENABLE ROW LEVEL SECURITY;
SET ROLE bf_owner;
CALL pipelinedb.backfill('own', 'history');
TABLE own ORDER BY k;
SELECT pipelinedb.cancel_backfill('own'), pipelinedb.cancel_backfill('own');
TABLE own ORDER BY k;
RESET ROLE;

-- the row of a view goes with it
SELECT count(*) FROM pipelinedb.backfills WHERE view = 'one'::regclass;
DROP VIEW one;
SELECT count(*) FROM pipelinedb.backfill_job j WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = j.view);

-- deactivate(discard => true): what was committed before counts, what comes while it lasts does not
INSERT INTO st VALUES ('x', 1);
SELECT sum FROM own WHERE k = 'x';
INSERT INTO st VALUES ('x', 1);
SELECT pipelinedb.deactivate('own', discard => true);
SELECT name, state, active, lost_since, lost_rows FROM pipelinedb.views WHERE name = 'own';
INSERT INTO st VALUES ('x', 10);
SELECT pipelinedb.flush();
SELECT sum FROM own WHERE k = 'x';
SELECT count(*) FROM pipelinedb.progress WHERE consumer = 'own'::regclass;
SELECT pipelinedb.deactivate('own', true), pipelinedb.deactivate('own');
SELECT pipelinedb.retry_errors('own');
CALL pipelinedb.backfill('own', 'history');
SELECT pipelinedb.activate('own'), pipelinedb.activate('own');
SELECT name, state, active, lost_since, lost_rows FROM pipelinedb.views WHERE name = 'own';
INSERT INTO st VALUES ('x', 100);
SELECT sum FROM own WHERE k = 'x';
-- rolled back
BEGIN;
SELECT pipelinedb.deactivate('own', true);
ROLLBACK;
INSERT INTO st VALUES ('x', 1000);
SELECT sum FROM own WHERE k = 'x';
-- of a paused view: what has waited is lost to it
SELECT pipelinedb.deactivate('own');
INSERT INTO st VALUES ('x', 20000);
SELECT pipelinedb.deactivate('own', true);
SELECT state FROM pipelinedb.views WHERE name = 'own';
SELECT pipelinedb.activate('own');
INSERT INTO st VALUES ('x', 100000);
SELECT sum FROM own WHERE k = 'x';
-- of a failed one
CREATE FUNCTION bomb(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF n = 666 THEN RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'bomb'; END IF; RETURN n; END $$;
CREATE VIEW fails AS SELECT sum(bomb(n)) FROM st;
INSERT INTO st VALUES ('y', 666);
SELECT pipelinedb.flush();
SELECT state, sqlstate FROM pipelinedb.views WHERE name = 'fails';
SELECT pipelinedb.deactivate('fails', true);
SELECT state FROM pipelinedb.views WHERE name = 'fails';
SELECT pipelinedb.activate('fails');
INSERT INTO st VALUES ('y', 6);
TABLE fails;
-- targets that are discarding lose the row as others do
SELECT pipelinedb.deactivate('fails', true);
SET pipelinedb.stream_targets = 'fails';
INSERT INTO st VALUES ('y', 7);
RESET pipelinedb.stream_targets;
SELECT pipelinedb.activate('fails'), pipelinedb.flush();
TABLE fails;
SET ROLE bf_other;
SELECT pipelinedb.deactivate('fails', true);
RESET ROLE;
SELECT pipelinedb.flush();

SET client_min_messages = warning;
DROP SCHEMA bf CASCADE;
DROP OWNED BY bf_owner, bf_other;
DROP ROLE bf_owner, bf_other;
SELECT count(*) FROM pipelinedb.backfill_job;
