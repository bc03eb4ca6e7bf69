-- Sliding windows: their forms, what is refused, and what a view shows as its window moves. Times are
-- relative to the clock, so that results do not depend on when the test runs.
SET client_min_messages = warning;
CREATE FOREIGN TABLE win_s (ts timestamptz, lt timestamp, d date, k int, x float8, t text) SERVER pipelinedb;
CREATE FOREIGN TABLE win_other (k int) SERVER pipelinedb;
CREATE TABLE win_dim (k int PRIMARY KEY, name text);
INSERT INTO win_dim VALUES (0, 'even'), (1, 'odd');

-- options
CREATE VIEW wv WITH (sw = 'nonsense') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = 5) AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '0.5 seconds') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '-1 hour') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1001 years') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '170000000 years') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw_column = 'ts') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', sw_column = 'nothing') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', sw_column = 5) AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', sw_column = 'k') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (step_factor = 5) AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', step_factor = 51) AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', step_factor = 0) AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', step_factor = -1) AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', step_factor = 0.51) AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', step_factor = 'NaN') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', step_factor = '') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', step_factor = '5 %') AS SELECT count(*) FROM win_s;
CREATE VIEW wv WITH (sw = '1 hour', sw_column = 'ts') AS SELECT count(*) FROM win_s
    WHERE ts > clock_timestamp() - interval '1 hour';
CREATE VIEW wv WITH (sw = '1 hour') AS SELECT k FROM win_s UNION ALL SELECT k FROM win_other;
CREATE VIEW wv WITH (action = transform, sw = '1 hour') AS SELECT k FROM win_s;

-- conditions
CREATE VIEW wv AS SELECT count(*) FROM win_s WHERE ts > clock_timestamp() - interval '0.9 seconds';
CREATE VIEW wv AS SELECT count(*) FROM win_s WHERE ts > clock_timestamp() - interval '1001 years';
CREATE VIEW wv AS SELECT count(*) FROM win_s WHERE ts > clock_timestamp() - NULL::interval;
CREATE VIEW wv AS SELECT count(*) FROM win_s WHERE ts > clock_timestamp() - k * interval '1 second';
CREATE VIEW wv AS SELECT count(*) FROM win_s WHERE ts > clock_timestamp() - interval '1 hour' OR k > 0;
CREATE VIEW wv AS SELECT count(*) FROM win_s WHERE NOT (ts > clock_timestamp() - interval '1 hour');
CREATE VIEW wv AS SELECT count(*) FROM win_s WHERE ts < clock_timestamp() - interval '1 hour';
CREATE VIEW wv AS SELECT count(*) FROM win_s WHERE ts = clock_timestamp() - interval '1 hour';
CREATE VIEW wv AS SELECT count(*) FROM win_s
    WHERE ts > clock_timestamp() - interval '1 hour' AND lt > clock_timestamp() - interval '2 hours';
CREATE VIEW wv AS SELECT count(*) FROM win_s
    JOIN win_dim ON win_dim.k = win_s.k AND ts > clock_timestamp() - interval '1 hour';
CREATE VIEW wv AS SELECT count(*) FROM (SELECT * FROM win_s WHERE ts > clock_timestamp() - interval '1 hour') x;
CREATE VIEW wv AS SELECT count(*) FROM win_s WHERE t > clock_timestamp() - interval '1 hour';

-- all of these are the same view
CREATE VIEW wv_option WITH (sw = '1 hour', sw_column = 'ts') AS
    SELECT k, count(*) AS n, sum(x) AS total FROM win_s GROUP BY k;
CREATE VIEW wv_after AS SELECT k, count(*) AS n, sum(x) AS total FROM win_s
    WHERE ts > clock_timestamp() - interval '1 hour' GROUP BY k;
CREATE VIEW wv_from AS SELECT k, count(*) AS n, sum(x) AS total FROM win_s
    WHERE ts >= clock_timestamp() - interval '60 minutes' AND true GROUP BY k;
CREATE VIEW wv_mirrored AS SELECT k, count(*) AS n, sum(x) AS total FROM win_s
    WHERE clock_timestamp() - interval '1 hour' < ts GROUP BY k;
CREATE VIEW wv_mirrored_from AS SELECT k, count(*) AS n, sum(x) AS total FROM win_s
    WHERE clock_timestamp() - interval '1 hour' <= ts GROUP BY k;
CREATE VIEW wv_cast AS SELECT k, count(*) AS n, sum(x) AS total FROM win_s
    WHERE lt > clock_timestamp() - interval '1 hour' GROUP BY k;
CREATE VIEW wv_expression AS SELECT k, count(*) AS n, sum(x) AS total FROM win_s
    WHERE ts - interval '10 days' + interval '240 hours' > clock_timestamp() - interval '1 hour' GROUP BY k;
CREATE VIEW wv_union AS SELECT k, count(*) AS n, sum(x) AS total FROM
    (SELECT k, ts, x FROM win_s UNION ALL SELECT k, NULL, 0 FROM win_other) s
    WHERE ts > clock_timestamp() - interval '1 hour' GROUP BY k;
CREATE VIEW wv_arrival (k, n, total) WITH (sw = '1 hour') AS
    SELECT k, count(*), sum(x) FROM win_s WHERE ts > '2001-01-01' GROUP BY k;
SELECT indexdef FROM pg_indexes WHERE tablename = 'wv_option_mrel' ORDER BY 1;

-- steps: 5 percent of the window, a second at least; a month has 30 days
CREATE VIEW wv_small WITH (sw = '2 seconds') AS SELECT count(*) FROM win_s;
CREATE VIEW wv_percent WITH (sw = '1 hour', step_factor = 10) AS SELECT count(*) FROM win_s;
CREATE VIEW wv_share WITH (sw = '1 hour', step_factor = 0.25) AS SELECT count(*) FROM win_s;
CREATE VIEW wv_text WITH (sw = '1 hour', step_factor = '50') AS SELECT count(*) FROM win_s;
CREATE VIEW wv_month WITH (sw = '1 month') AS SELECT count(*) FROM win_s;
CREATE VIEW wv_days WITH (sw = '2 days 1 hour') AS SELECT count(*) FROM win_s;
SET pipelinedb.sliding_window_step_factor = 20;
CREATE VIEW wv_setting WITH (sw = '1 hour') AS SELECT count(*) FROM win_s;
RESET pipelinedb.sliding_window_step_factor;
SELECT v.relname, substring(pg_get_viewdef(v.oid) FROM 'clock\(\) - ''(.*?)''') AS window,
       substring(pg_get_viewdef(d.oid) FROM 'date_bin\(''(.*?)''') AS step
    FROM pg_class v JOIN pg_class d ON d.relname = v.relname || '_def'
    WHERE v.relname ~ '^wv_(small|percent|share|text|month|days|setting)$' ORDER BY 1;

-- other queries
CREATE VIEW wv_total WITH (sw = '1 hour', sw_column = ts) AS
    SELECT count(*) AS n, sum(x) AS total, coalesce(max(x), -1) AS largest, 5 AS five FROM win_s;
CREATE VIEW wv_rollup WITH (sw = '1 hour', sw_column = ts) AS
    SELECT k, t, GROUPING(k, t) AS g, count(*) AS n, sum(x) AS total FROM win_s GROUP BY ROLLUP (k, t);
CREATE VIEW wv_sets WITH (sw = '1 hour', sw_column = ts) AS
    SELECT k, count(*) AS n, avg(x) AS mean FROM win_s GROUP BY GROUPING SETS ((k), ());
CREATE VIEW wv_distinct WITH (sw = '1 hour', sw_column = ts) AS SELECT DISTINCT t FROM win_s;
CREATE VIEW wv_rows WITH (sw = '1 hour', sw_column = ts) AS SELECT k, x FROM win_s;
CREATE VIEW wv_hidden WITH (sw = '1 hour', sw_column = ts) AS SELECT count(*) AS n FROM win_s GROUP BY k;
CREATE VIEW wv_step_key WITH (sw = '1 hour', sw_column = ts) AS
    SELECT date_bin('3 minutes', ts, '2000-01-01 00:00:00+00') + interval '1 second' > clock_timestamp() + interval '1 hour' AS future,
           count(*) AS n
    FROM win_s GROUP BY date_bin('3 minutes', ts, '2000-01-01 00:00:00+00');
CREATE VIEW wv_join WITH (sw = '1 hour', sw_column = ts) AS
    SELECT name, count(*) AS n FROM win_s LEFT JOIN win_dim ON win_dim.k = win_s.k % 2 GROUP BY name;
CREATE VIEW wv_filter WITH (sw = '1 hour', sw_column = ts) AS
    SELECT k, count(*) FILTER (WHERE x > 1) AS n, (SELECT name FROM win_dim WHERE win_dim.k = win_s.k) AS name
    FROM win_s GROUP BY k;
CREATE VIEW wv_top WITH (sw = '1 hour', sw_column = ts) AS
    SELECT k, sum(x) AS total FROM win_s GROUP BY k HAVING count(*) > 1 ORDER BY sum(x) DESC, k LIMIT 2;
CREATE VIEW wv_volatile WITH (sw = '1 hour', sw_column = ts) AS
    SELECT random() < 2 AS yes, k, count(*) AS n FROM win_s GROUP BY 1, 2;

-- an empty window is an empty table
SELECT * FROM wv_total;
SELECT * FROM wv_rollup;
SELECT * FROM wv_sets;
SELECT count(*) FROM wv_option;
SELECT pipelinedb.truncate_continuous_view('wv_rollup'), pipelinedb.truncate_continuous_view('wv_total');
SELECT * FROM wv_rollup;
SELECT * FROM wv_total;

-- older than the window, in it, in the future, without a time, at the ends of time
INSERT INTO win_s SELECT v.ts, v.ts, v.ts, v.k, v.x, v.t FROM (VALUES
    (clock_timestamp() - interval '2 hours', 1, 100, 'old'), (clock_timestamp() - interval '30 minutes', 1, 1, 'a'),
    (clock_timestamp() - interval '50 minutes', 2, 2, 'b'), (clock_timestamp(), 1, 4, 'b'),
    (clock_timestamp() + interval '3 hours', 3, 8, 'a'), (NULL, 4, 1000, 'none'), ('infinity', 5, 16, 'c'),
    ('-infinity', 6, 2000, 'first')) AS v (ts, k, x, t);
SELECT pipelinedb.flush();
SELECT * FROM wv_option ORDER BY k;
SELECT 'wv_after', * FROM (TABLE wv_after EXCEPT ALL TABLE wv_option) x UNION ALL
SELECT 'wv_from', * FROM (TABLE wv_from EXCEPT ALL TABLE wv_option) x UNION ALL
SELECT 'wv_mirrored', * FROM (TABLE wv_mirrored EXCEPT ALL TABLE wv_option) x UNION ALL
SELECT 'wv_mirrored_from', * FROM (TABLE wv_mirrored_from EXCEPT ALL TABLE wv_option) x UNION ALL
SELECT 'wv_cast', * FROM (TABLE wv_cast EXCEPT ALL TABLE wv_option) x UNION ALL
SELECT 'wv_expression', * FROM (TABLE wv_expression EXCEPT ALL TABLE wv_option) x UNION ALL
SELECT 'wv_union', * FROM (TABLE wv_union EXCEPT ALL TABLE wv_option) x;
SELECT * FROM wv_arrival ORDER BY k;
SELECT * FROM wv_total;
SELECT * FROM wv_rollup ORDER BY g, k, t;
SELECT * FROM wv_sets ORDER BY k;
SELECT * FROM wv_distinct ORDER BY t;
SELECT * FROM wv_rows ORDER BY k, x;
SELECT * FROM wv_hidden ORDER BY n;
SELECT future, sum(n) FROM wv_step_key GROUP BY 1 ORDER BY 1;
SELECT * FROM wv_join ORDER BY name;
SELECT * FROM wv_filter ORDER BY k;
SELECT * FROM wv_top;
SELECT yes, k, n FROM wv_volatile ORDER BY k;

-- the window is that of the clock, which is the same for a whole statement
SET pipelinedb.clock_offset = 7500;
SELECT * FROM wv_option ORDER BY k;
SELECT * FROM wv_total;
SELECT * FROM wv_rollup ORDER BY g, k, t;
SELECT * FROM wv_rows ORDER BY k, x;
SET pipelinedb.clock_offset = 100000;
SELECT * FROM wv_option;
SELECT n, total FROM wv_total;
SELECT * FROM wv_sets ORDER BY k;
RESET pipelinedb.clock_offset;

-- what is in the window is found by index
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS off) SELECT k, n FROM wv_option_mrel WHERE ts > pipelinedb.clock() - interval '1 hour';
EXPLAIN (COSTS off) SELECT * FROM wv_rows;
RESET enable_seqscan;
RESET enable_bitmapscan;

-- indexes of users
CREATE INDEX ON wv_option (n);
CREATE INDEX ON wv_option (nothing);
CREATE UNIQUE INDEX ON wv_option (k);
CREATE INDEX wv_own ON wv_option (k) WHERE k > 1;

-- names
CREATE SCHEMA win_schema;
ALTER VIEW wv_rollup RENAME TO wv_renamed;
ALTER VIEW wv_renamed SET SCHEMA win_schema;
SELECT pipelinedb.truncate_continuous_view('win_schema.wv_renamed');
SELECT * FROM win_schema.wv_renamed;
INSERT INTO win_s (ts, k, t, x) VALUES (clock_timestamp(), 7, 'z', 1);
SELECT pipelinedb.flush();
SELECT * FROM win_schema.wv_renamed ORDER BY g, k, t;

-- statements of a dump, written by hand
CREATE TABLE win_table (ts timestamptz, k int, n int8);
CREATE VIEW win_def WITH (action = definition) AS SELECT date_bin('3 minutes', ts, '2000-01-01') AS ts, k, count(*) AS n
    FROM win_s GROUP BY 1, 2;
CREATE VIEW win_view WITH (action = materialize, definition = win_def, sw = 'nonsense', sw_column = ts) AS SELECT * FROM win_table;
CREATE VIEW win_view WITH (action = materialize, definition = win_def, sw = '0 s', sw_column = ts) AS SELECT * FROM win_table;
CREATE VIEW win_view WITH (action = materialize, definition = win_def, sw = '1 hour') AS SELECT * FROM win_table;
CREATE VIEW win_view WITH (action = materialize, definition = win_def, sw_column = ts) AS SELECT * FROM win_table;
CREATE VIEW win_view WITH (action = materialize, definition = win_def, sw = '1 hour', sw_column = k) AS SELECT * FROM win_table;
CREATE VIEW win_view WITH (action = materialize, definition = win_def, sw = '1 hour', sw_column = nothing) AS SELECT * FROM win_table;
CREATE TABLE win_table2 (k text, ts timestamptz, _0 int, n int8);
CREATE VIEW win_def2 WITH (action = definition) AS SELECT t AS k, ts, GROUPING(t, ts) AS _0, count(*) AS n
    FROM win_s GROUP BY t, ROLLUP (ts);
CREATE VIEW win_view WITH (action = materialize, definition = win_def2, sw = '1 hour', sw_column = ts) AS SELECT k, n FROM win_table2;

DROP FOREIGN TABLE win_s, win_other CASCADE;
DROP SCHEMA win_schema;
DROP TABLE win_dim, win_table, win_table2;
