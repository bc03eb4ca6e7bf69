-- Messages about settings. What they do is tested in test/tap/280_spool_size.pl, 285_settings.pl.
SHOW pipelinedb.max_spool_size;
SHOW pipelinedb.spool_full_action;
SET pipelinedb.max_spool_size = '1GB';
SET pipelinedb.spool_full_action = 'reject';
ALTER DATABASE contrib_regression SET pipelinedb.max_spool_size = '1GB';
ALTER SYSTEM SET pipelinedb.max_spool_size = -1;
ALTER SYSTEM SET pipelinedb.max_spool_size = 'much';
ALTER SYSTEM SET pipelinedb.spool_full_action = 'delete';
SET pipelinedb.stream_insert_level = 'soon';
SET pipelinedb.fillfactor = 5;

-- Of PipelineDB, without a meaning here.
SET pipelinedb.num_combiners = 4;
SHOW pipelinedb.num_combiners;
SET LOCAL pipelinedb.batch_mem = '256MB';
RESET pipelinedb.num_combiners;
SELECT set_config('pipelinedb.commit_interval', '50', false);
SET pipelinedb.num_queues = 1;
SET pipelinedb.num_reapers = 1;
SET pipelinedb.batch_size = 10000;
SET pipelinedb.max_wait = 10;
SET pipelinedb.combiner_work_mem = '256MB';
SET pipelinedb.queue_mem = 262144;
SET pipelinedb.ipc_hwm = 10;
SET pipelinedb.index_fillfactor = 50;
SET pipelinedb.log_partitions = off;
SET pipelinedb.anonymous_update_checks = off;
SET pipelinedb.continuous_queries_enabled = off;
SET pipelinedb.ttl_expiration_threshold = 10;
SELECT name FROM pg_settings WHERE name IN ('pipelinedb.num_combiners', 'pipelinedb.batch_size');

-- Not of anybody.
SET pipelinedb.num_combiner = 4;
ALTER DATABASE contrib_regression SET pipelinedb.max_weight = 10;

-- A lost view is activated as the owner; nothing is lost here.
CREATE FOREIGN TABLE settings_stream (k int) SERVER pipelinedb;
CREATE VIEW settings_view AS SELECT count(*) AS n FROM settings_stream;
SELECT name, state, lost_since, lost_until, lost_rows FROM pipelinedb.views WHERE name = 'settings_view';
SELECT pipelinedb.activate('settings_view');
DROP FOREIGN TABLE settings_stream CASCADE;
