-- Retention: ttl, ttl_column, set_ttl(), ttl_expire().
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE FOREIGN TABLE r_stream (k int, ts timestamptz, t timestamp, d date, x int) SERVER pipelinedb;

-- What readers leave out; how the table is named there differs between majors.
CREATE FUNCTION condition_of(view regclass) RETURNS text LANGUAGE sql AS
    $$SELECT regexp_replace(substring(pg_get_viewdef(view), 'WHERE.*'), '\mr_\w+_mrel\.', '', 'g')$$;

-- What options say.
CREATE VIEW r_bad WITH (ttl = '1 hour') AS SELECT k, max(ts) AS ts FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (ttl_column = 'ts') AS SELECT k, max(ts) AS ts FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (ttl = 'x', ttl_column = 'ts') AS SELECT k, max(ts) AS ts FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (ttl = 10, ttl_column = 'ts') AS SELECT k, max(ts) AS ts FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (ttl = '0.9 s', ttl_column = 'ts') AS SELECT k, max(ts) AS ts FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (ttl = '100 years', ttl_column = 'ts') AS SELECT k, max(ts) AS ts FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (ttl = '1 hour', ttl_column = 'no') AS SELECT k, max(ts) AS ts FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (ttl = '1 hour', ttl_column = 'k') AS SELECT k, max(ts) AS ts FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (ttl = '1 hour', ttl_column = 'ts') AS SELECT k, max(ts) + interval '1 s' AS ts FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (ttl = '1 hour', ttl_column = 'ts', sw = '1 hour') AS SELECT ts, count(*) FROM r_stream GROUP BY ts;
CREATE VIEW r_bad WITH (ttl = '1 hour', ttl_column = 'ts') AS SELECT ts, count(*) FROM r_stream
    WHERE ts > clock_timestamp() - interval '1 hour' GROUP BY ts;

-- A key, an aggregate, each type, an append view.
CREATE VIEW r_key WITH (ttl = '1 day', ttl_column = minute) AS
    SELECT date_trunc('minute', ts, 'UTC') AS minute, k, count(*) FROM r_stream GROUP BY minute, k;
CREATE VIEW r_last WITH (ttl = '1 day', ttl_column = 'last') AS
    SELECT k, count(*), max(ts) AS last FROM r_stream GROUP BY k;
CREATE VIEW r_local WITH (ttl = '1 day', ttl_column = 't') AS SELECT k, t, count(*) FROM r_stream GROUP BY k, t;
CREATE VIEW r_date WITH (ttl = '1 mon 2 days 3 hours', ttl_column = 'd') AS SELECT d, count(*) FROM r_stream GROUP BY d;
CREATE VIEW r_rows WITH (ttl = '1 day', ttl_column = 'ts') AS SELECT k, ts FROM r_stream;
SELECT condition_of('r_key');
SELECT condition_of('r_last');
SELECT condition_of('r_local');
SELECT condition_of('r_date');
\d r_key_mrel
\d r_local_mrel
\d r_rows_mrel
SELECT relname, reloptions FROM pg_class WHERE relname ~ '^r_.*mrel$' ORDER BY 1;
SELECT v.view::regclass, expire_column, expire_after FROM pipelinedb.query v WHERE view::regclass::text ~ '^r_' ORDER BY 1;

INSERT INTO r_stream SELECT k, now() + i, now() + i, now() + i, 1
    FROM generate_series(1, 3) k, unnest('{0, -2 days, 1 day}'::interval[]) i;
INSERT INTO r_stream VALUES (4, NULL, NULL, NULL, 1), (5, 'infinity', 'infinity', 'infinity', 1),
    (6, '-infinity', '-infinity', '-infinity', 1);
SELECT pipelinedb.flush();
SELECT k, count(*), sum(count) FROM r_key GROUP BY k ORDER BY k;
SELECT k, count FROM r_last ORDER BY k;
SELECT k, count(*), sum(count) FROM r_local GROUP BY k ORDER BY k;
SELECT k, count(*) FROM r_rows GROUP BY k ORDER BY k;
SELECT count(*), sum(count) FROM r_date;
-- Wherever the reader is.
SET TimeZone = 'Pacific/Kiritimati';
SELECT count(*) FROM r_local;
SET TimeZone = 'UTC';

-- ALTER VIEW leaves it alone.
ALTER VIEW r_key SET (ttl = '1 hour');
ALTER VIEW r_key RESET (ttl);
ALTER VIEW r_key SET (security_barrier = true);
ALTER VIEW r_key RESET (security_barrier);
SELECT reloptions FROM pg_class WHERE relname = 'r_key';

-- set_ttl()
SELECT * FROM pipelinedb.set_ttl(NULL, '1 hour', 'x');
SELECT * FROM pipelinedb.set_ttl('r_no', '1 hour', 'x');
SELECT * FROM pipelinedb.set_ttl('r_stream', '1 hour', 'x');
SELECT * FROM pipelinedb.set_ttl('r_key', '1 hour', NULL);
SELECT * FROM pipelinedb.set_ttl('r_key', '1 hour', 'x');
SELECT * FROM pipelinedb.set_ttl('r_key', '1 hour', 'count');
SELECT * FROM pipelinedb.set_ttl('r_key', '0.1 s', 'minute');
SELECT * FROM pipelinedb.set_ttl('r_key', '1 hour', 'minute');
SELECT condition_of('r_key');
SELECT reloptions FROM pg_class WHERE relname = 'r_key';
SELECT * FROM pipelinedb.set_ttl('r_key', NULL, NULL);
SELECT condition_of('r_key');
SELECT reloptions FROM pg_class WHERE relname = 'r_key';
SELECT expire_column, expire_after FROM pipelinedb.query WHERE view = 'r_key'::regclass;
SELECT pipelinedb.ttl_expire('r_key');
BEGIN;
SELECT * FROM pipelinedb.set_ttl('r_key', '30 days', 'minute');
ROLLBACK;
SELECT pipelinedb.ttl_expire('r_key');
SELECT pipelinedb.ttl_expire('r_stream');
ALTER VIEW r_key RENAME COLUMN minute TO m;
SELECT * FROM pipelinedb.set_ttl('public.r_key', '30 days', 'm');
CREATE VIEW r_window WITH (sw = '1 hour', sw_column = 'ts') AS SELECT k, count(*) FROM r_stream GROUP BY k;
SELECT * FROM pipelinedb.set_ttl('r_window', '1 hour', 'k');
INSERT INTO r_stream SELECT 1, now() - interval '2 hours';
SELECT pipelinedb.flush();
SELECT pipelinedb.ttl_expire('r_window') BETWEEN 0 AND 5;
SELECT count(*) FROM r_window_mrel WHERE ts < now() - interval '61 minutes';

-- With what else a view does on reading.
CREATE VIEW r_top WITH (ttl = '1 day', ttl_column = 'last') AS SELECT k, count(*), max(ts) AS last FROM r_stream
    GROUP BY k HAVING count(*) > 1 ORDER BY count(*) DESC, k LIMIT 2;
INSERT INTO r_stream SELECT 20 + i % 3, now() - interval '1 day' * (i % 3), NULL, NULL, 1 FROM generate_series(1, 9) i;
INSERT INTO r_stream SELECT 30, now() FROM generate_series(1, 4) i;
SELECT pipelinedb.flush();
SELECT k, count FROM r_top;
SELECT * FROM pipelinedb.set_ttl('r_top', '10 days', 'last');
SELECT * FROM pipelinedb.set_ttl('r_top', NULL, NULL);
SELECT count(*) FROM r_top;

-- In the caller's transaction: rolled back with it.
CREATE VIEW r_later AS SELECT x, k, max(ts) AS last FROM r_stream GROUP BY x, k;
INSERT INTO r_stream SELECT k, now() - interval '1 hour', NULL, NULL, 0 FROM generate_series(1, 100) k;
SELECT pipelinedb.flush();
BEGIN;
SELECT * FROM pipelinedb.set_ttl('r_later', '30 minutes', 'last');
SELECT count(*) FROM r_later;
SELECT pipelinedb.ttl_expire('r_later');
SELECT count(*) FROM r_later_mrel;
ROLLBACK;
SELECT count(*) FROM r_later;
SELECT * FROM pipelinedb.set_ttl('r_later', '2 hours', 'last');
SELECT pipelinedb.ttl_expire('r_later');
SELECT count(*) FROM r_later;

-- A primary key: what violates it is a rejected row.
CREATE VIEW r_bad WITH (pk = k) AS SELECT k, count(*) FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (pk = 'no') AS SELECT k, count(*) FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (pk = 'c') AS SELECT k, avg(x) AS c FROM r_stream GROUP BY k;
CREATE VIEW r_bad WITH (pk = 'k', sw = '1 hour', sw_column = 'ts') AS SELECT k, count(*) FROM r_stream GROUP BY k;
CREATE VIEW r_pk WITH (pk = 'k', ttl = '1 day', ttl_column = 'last') AS
    SELECT k, count(*), max(ts) AS last FROM r_stream GROUP BY k;
CREATE VIEW r_pk2 WITH (pk = 'k') AS SELECT k, x, count(*) FROM r_stream GROUP BY k, x;
CREATE VIEW r_pk3 WITH (pk = 'x') AS SELECT k, x FROM r_stream;
\d r_pk_mrel
\d r_pk2_mrel
\d r_pk3_mrel
INSERT INTO r_stream VALUES (1, now(), NULL, NULL, 1), (2, now(), NULL, NULL, 2), (1, now() - interval '2 days', NULL, NULL, 1),
    (3, now() - interval '2 days', NULL, NULL, 3), (NULL, now(), NULL, NULL, 4), (2, now(), NULL, NULL, 5), (2, now(), NULL, NULL, 2);
INSERT INTO r_stream VALUES (2, now(), NULL, NULL, 6), (4, now(), NULL, NULL, NULL);
SELECT pipelinedb.flush();
SELECT k, count FROM r_pk ORDER BY k;
SELECT * FROM r_pk2 ORDER BY k;
SELECT * FROM r_pk3 ORDER BY x;
SELECT name, state, rejected FROM pipelinedb.views WHERE name ~ '^r_pk' ORDER BY name;
SELECT view, sqlstate, message, count(*) FROM pipelinedb.errors GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
-- Writers leave such rows to the fold worker.
SET pipelinedb.preaggregate_after = 0;
INSERT INTO r_stream SELECT nullif(i % 3, 0), now(), NULL, NULL, i % 3 FROM generate_series(1, 300) i;
SELECT pipelinedb.flush();
SELECT k, count FROM r_pk ORDER BY k;
SELECT name, state, rejected FROM pipelinedb.views WHERE name IN ('r_pk', 'r_pk2') ORDER BY name;
RESET pipelinedb.preaggregate_after;

-- Whose view it is.
CREATE ROLE regress_r_reader;
GRANT SELECT ON r_key TO regress_r_reader;
SET ROLE regress_r_reader;
SELECT count(*) > 0 FROM r_key;
SELECT * FROM pipelinedb.set_ttl('r_key', '1 hour', 'm');
SELECT pipelinedb.ttl_expire('r_key');
RESET ROLE;
DROP FOREIGN TABLE r_stream CASCADE;
DROP ROLE regress_r_reader;
DROP FUNCTION condition_of(regclass);
