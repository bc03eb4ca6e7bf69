BEGIN;
INSERT INTO daily_stream SELECT CURRENT_DATE, 'jhon' FROM generate_series(1, 1000);
ROLLBACK;
SELECT pipelinedb.flush();
SELECT * FROM daily_view;
