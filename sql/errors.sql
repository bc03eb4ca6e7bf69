-- pipelinedb.errors: its shape, and what its functions say.
\set VERBOSITY default
\d+ pipelinedb.errors
\d pipelinedb.rejected
\d pipelinedb.rejection
\d pipelinedb.attempt
\df pipelinedb.*_errors
SHOW pipelinedb.max_errors;
SET pipelinedb.max_errors = 5;

CREATE FOREIGN TABLE errors_s (k int, v text, d date, a int[]) SERVER pipelinedb;
CREATE VIEW errors_v AS SELECT k, sum(v::int) AS s, count(*) AS n FROM errors_s GROUP BY k;
CREATE VIEW errors_plain AS SELECT 1 AS one;
INSERT INTO errors_s (k, v, d, a, arrival_timestamp)
    VALUES (1, '1', NULL, NULL, NULL), (1, 'one', '2026-01-31', '{1,2}', '2026-01-31 12:00Z'),
           (2, '2', NULL, NULL, NULL), (3, '99999999999', NULL, NULL, '2026-01-31 12:00Z');
SELECT pipelinedb.flush();
SELECT * FROM errors_v ORDER BY k;
SELECT view, sqlstate, message, detail, "row" FROM pipelinedb.errors WHERE view = 'errors_v'::regclass ORDER BY id;
SELECT name, state, rejected FROM pipelinedb.views WHERE name = 'errors_v';

SELECT pipelinedb.retry_errors('errors_none');
SELECT pipelinedb.retry_errors('errors_plain');
SELECT pipelinedb.clear_errors('errors_s');
SELECT pipelinedb.retry_errors(NULL) IS NULL AS is_null;
BEGIN READ ONLY;
SELECT pipelinedb.retry_errors('errors_v');
ROLLBACK;
BEGIN READ ONLY;
SELECT pipelinedb.clear_errors('errors_v');
ROLLBACK;
CREATE ROLE errors_other;
SET ROLE errors_other;
SELECT count(*) FROM pipelinedb.errors;
SELECT pipelinedb.retry_errors('errors_v');
SELECT pipelinedb.clear_errors('errors_v');
SELECT * FROM pipelinedb.rejected;
RESET ROLE;
DROP ROLE errors_other;

-- not mended: they come back
SELECT pipelinedb.retry_errors('errors_v');
SELECT count(*) FROM pipelinedb.errors WHERE view = 'errors_v'::regclass;
SELECT pipelinedb.flush();
SELECT sqlstate, "row" ->> 'v' AS v FROM pipelinedb.errors WHERE view = 'errors_v'::regclass ORDER BY id;
SELECT pipelinedb.clear_errors('errors_v');
SELECT pipelinedb.retry_errors('errors_v');
SELECT name, rejected FROM pipelinedb.views WHERE name = 'errors_v';

-- what is said of a table's constraint
ALTER TABLE errors_v_mrel ADD CONSTRAINT few CHECK (n < 2);
INSERT INTO errors_s VALUES (1, '7'), (4, '4');
SELECT pipelinedb.flush();
SELECT sqlstate, message, detail FROM pipelinedb.errors WHERE view = 'errors_v'::regclass;
ALTER TABLE errors_v_mrel DROP CONSTRAINT few;
SELECT pipelinedb.retry_errors('errors_v');
SELECT pipelinedb.flush();
SELECT * FROM errors_v ORDER BY k;
DROP VIEW errors_v, errors_plain;
DROP FOREIGN TABLE errors_s;
SELECT count(*) FROM pipelinedb.rejected WHERE view NOT IN (SELECT oid FROM pg_class);
SELECT count(*) FROM pipelinedb.rejection WHERE view NOT IN (SELECT oid FROM pg_class);
