-- Partitioned views: partition_by, partition_duration.
SET client_min_messages = warning;
SET TimeZone = 'America/New_York';
CREATE FOREIGN TABLE p_stream (k int, ts timestamptz, t timestamp, d date, x int) SERVER pipelinedb;

-- What options say.
CREATE VIEW p_bad WITH (partition_by = ts) AS SELECT ts, count(*) FROM p_stream GROUP BY ts;
CREATE VIEW p_bad WITH (partition_duration = '1 day') AS SELECT ts, count(*) FROM p_stream GROUP BY ts;
CREATE VIEW p_bad WITH (partition_by = 1, partition_duration = '1 day') AS SELECT ts, count(*) FROM p_stream GROUP BY ts;
CREATE VIEW p_bad WITH (partition_by = no, partition_duration = '1 day') AS SELECT ts, count(*) FROM p_stream GROUP BY ts;
CREATE VIEW p_bad WITH (partition_by = k, partition_duration = '1 day') AS SELECT k, ts, count(*) FROM p_stream GROUP BY k, ts;
CREATE VIEW p_bad WITH (partition_by = ts, partition_duration = '1 day') AS SELECT k, max(ts) AS ts FROM p_stream GROUP BY k;
CREATE VIEW p_bad WITH (partition_by = ts, partition_duration = '0.5 s') AS SELECT ts, count(*) FROM p_stream GROUP BY ts;
CREATE VIEW p_bad WITH (partition_by = ts, partition_duration = '1.5 s') AS SELECT ts, count(*) FROM p_stream GROUP BY ts;
CREATE VIEW p_bad WITH (partition_by = ts, partition_duration = '1 mon 1 day') AS SELECT ts, count(*) FROM p_stream GROUP BY ts;
CREATE VIEW p_bad WITH (partition_by = d, partition_duration = '1 hour') AS SELECT d, count(*) FROM p_stream GROUP BY d;
CREATE VIEW p_bad WITH (partition_by = ts, partition_duration = '1 day', sw = '1 day', sw_column = 'ts') AS SELECT ts, count(*) FROM p_stream GROUP BY ts;
CREATE VIEW p_bad WITH (partition_by = ts, partition_duration = '1 day', ttl = '1 day', ttl_column = 't') AS
    SELECT ts, t, count(*) FROM p_stream GROUP BY ts, t;

-- Bounds are those of the calendar, in UTC for timestamptz.
CREATE VIEW p_month WITH (partition_by = ts, partition_duration = '1 month', fillfactor = 70) AS
    SELECT k, ts, count(*), avg(x) FROM p_stream GROUP BY k, ts;
CREATE VIEW p_year WITH (partition_by = t, partition_duration = '1 year') AS SELECT t, count(*) FROM p_stream GROUP BY t;
CREATE VIEW p_week WITH (partition_by = 'd', partition_duration = '7 days') AS SELECT k, d FROM p_stream;
CREATE VIEW p_second WITH (partition_by = t, partition_duration = '1 second', pk = 'k') AS SELECT k, t FROM p_stream;
INSERT INTO p_stream VALUES
    (1, '2024-02-29 23:59:59.999999+00', '2024-02-29 23:59:59.5', '2024-02-29', 1),
    (2, '2024-03-01 00:00+00', '2024-12-31 23:59:59.999999', '2024-03-01', 2),
    (3, '1999-12-31 23:59+00', '1999-12-31 23:59', '1999-12-31', 3),
    (4, '0044-03-15 12:00+00 BC', '0044-03-15 12:00 BC', '0044-03-15 BC', 4),
    (1, '2024-02-29 23:59:59.999999+00', '2024-02-29 23:59:59.5', '2024-02-29', 5);
SELECT pipelinedb.flush();
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), reloptions FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
    WHERE c.relname ~ '^p_.*_mrel' AND c.relkind = 'r' ORDER BY inhparent::regclass::text, relname;
SELECT k, ts AT TIME ZONE 'UTC' AS ts, count, avg FROM p_month ORDER BY ts;
SELECT * FROM p_year ORDER BY t;
SELECT * FROM p_week ORDER BY d, k;
SELECT * FROM p_second ORDER BY t, k;
\d+ p_month_mrel
\d p_month_mrel_20240301
\d p_second_mrel_20240229_235959
SELECT reloptions FROM pg_class WHERE relname = 'p_month';

-- What has no place is a rejected row; so is a second key.
INSERT INTO p_stream VALUES (5, NULL, NULL, NULL, 1), (6, 'infinity', '-infinity', 'infinity', 1), (7, '2024-03-05 00:00+00', '2024-03-05', '2024-03-05', 7);
SELECT pipelinedb.flush();
SELECT view, sqlstate, message, count(*) FROM pipelinedb.errors GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT name, state FROM pipelinedb.views WHERE name ~ '^p_' ORDER BY 1;
SELECT k, count FROM p_month WHERE ts > '2024-03-01 00:00+00';

-- Nobody writes to a partition, as nobody writes to the table.
INSERT INTO p_month_mrel VALUES (9, '2024-03-01');
INSERT INTO p_month_mrel_20240301 VALUES (9, '2024-03-01');
TRUNCATE p_month_mrel_20240301;
SET pipelinedb.matrels_writable = on;
DELETE FROM p_month_mrel WHERE k = 2;
RESET pipelinedb.matrels_writable;
SELECT count(*) FROM p_month WHERE k = 2;

-- DDL goes to the partitions.
CREATE INDEX p_index ON p_month (count);
SELECT count(*) FROM pg_inherits WHERE inhparent = 'p_index'::regclass;
VACUUM ANALYZE p_month;
CREATE ROLE regress_p_owner;
CREATE SCHEMA p_schema AUTHORIZATION regress_p_owner;
GRANT SELECT ON p_stream TO regress_p_owner;
GRANT USAGE ON FOREIGN SERVER pipelinedb TO regress_p_owner;
ALTER VIEW p_month SET SCHEMA p_schema;
ALTER VIEW p_schema.p_month OWNER TO regress_p_owner;
SELECT relname, relnamespace::regnamespace, relowner::regrole FROM pg_class WHERE relname ~ '^p_month' AND relkind IN ('r', 'p', 'v') ORDER BY 1;
INSERT INTO p_stream VALUES (1, '2024-03-01 00:00+00', NULL, NULL, 1), (1, '2025-03-01 00:00+00', NULL, NULL, 1);
SELECT pipelinedb.flush();
SELECT tablename, tableowner FROM pg_tables WHERE tablename = 'p_month_mrel_20250301';

-- A partition may be taken away, kept, and given back.
ALTER TABLE p_schema.p_month_mrel DETACH PARTITION p_schema.p_month_mrel_20240301;
SELECT count(*) FROM p_schema.p_month WHERE ts >= '2024-03-01' AND ts < '2024-04-01';
SELECT count(*) FROM p_schema.p_month_mrel_20240301;
ALTER TABLE p_schema.p_month_mrel ATTACH PARTITION p_schema.p_month_mrel_20240301 FOR VALUES FROM ('2024-03-01+00') TO ('2024-04-01+00');
SELECT count(*) FROM p_schema.p_month WHERE ts >= '2024-03-01' AND ts < '2024-04-01';
-- One with other bounds is used for what lies in it; a new one goes beside it.
CREATE TABLE p_schema.odd (LIKE p_schema.p_month_mrel);
ALTER TABLE p_schema.p_month_mrel ATTACH PARTITION p_schema.odd FOR VALUES FROM ('2024-05-10+00') TO ('2024-05-20+00');
ALTER TABLE p_schema.odd OWNER TO regress_p_owner;
ALTER TABLE p_schema.p_month_mrel ATTACH PARTITION p_schema.odd FOR VALUES FROM ('2024-05-10+00') TO ('2024-05-20+00');
CREATE TABLE p_schema.other (ts timestamptz, k int, count int8, avg int8[]);
ALTER TABLE p_schema.p_month_mrel ATTACH PARTITION p_schema.other FOR VALUES FROM ('2023-05-10+00') TO ('2023-05-20+00');
INSERT INTO p_stream SELECT 8, t, NULL, NULL, 1 FROM unnest('{2024-05-09, 2024-05-11, 2024-05-21}'::timestamptz[]) t;
SELECT pipelinedb.flush();
SELECT tableoid::regclass, k, ts FROM p_schema.p_month_mrel WHERE k = 8 ORDER BY ts;
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c WHERE relname ~ '^(odd|p_month_mrel_202405)' AND relkind = 'r' ORDER BY 1;
INSERT INTO p_schema.odd VALUES (1);

-- Retention.
SELECT * FROM pipelinedb.set_ttl('p_schema.p_month', '1 day', 'count');
SELECT * FROM pipelinedb.set_ttl('p_schema.p_month', '365 days', 'ts');
SELECT pipelinedb.ttl_expire('p_schema.p_month') >= 0;
SELECT count(*) FROM pg_inherits WHERE inhparent = 'p_schema.p_month_mrel'::regclass;
SELECT pipelinedb.truncate_continuous_view('p_schema.p_month');
SELECT count(*) FROM p_schema.p_month;
SELECT name, state FROM pipelinedb.views WHERE name ~ '^p_' ORDER BY 1;

-- Many at once, more than are open at a time; what changes is emitted.
CREATE FOREIGN TABLE p_times (t timestamp) SERVER pipelinedb;
CREATE VIEW p_many WITH (partition_by = t, partition_duration = '1 hour') AS SELECT t, count(*) FROM p_times GROUP BY t;
CREATE VIEW p_changes AS SELECT count(*) AS changes, sum((new).count) AS sum FROM output_of('p_many');
INSERT INTO p_times SELECT timestamp '2024-01-01' + i % 300 * interval '1 hour' FROM generate_series(1, 1200) i;
SELECT pipelinedb.flush();
SELECT count(*), sum(count) FROM p_many;
SELECT count(*) FROM pg_inherits WHERE inhparent = 'p_many_mrel'::regclass;
SELECT * FROM p_changes;
SELECT name, state FROM pipelinedb.views WHERE name ~ '^p_' ORDER BY 1;

DROP VIEW p_changes;
DROP FOREIGN TABLE p_times CASCADE;
DROP VIEW p_week;
DROP TABLE p_year_mrel;
SELECT count(*) FROM pg_class WHERE relname ~ '^p_(week|year)';
DROP FOREIGN TABLE p_stream CASCADE;
SELECT count(*) FROM pg_class WHERE relname ~ '^p_.*(mrel|def)';
DROP SCHEMA p_schema CASCADE;
DROP OWNED BY regress_p_owner;
DROP ROLE regress_p_owner;
