CREATE EXTENSION pipeline_ext;
CREATE FOREIGN TABLE daily_stream (work_date date, worker varchar(20)) SERVER pipelinedb;
CREATE VIEW daily_view WITH (action=materialize) AS
    SELECT work_date, worker, count(*) AS cnt FROM daily_stream GROUP BY work_date, worker;
INSERT INTO daily_stream VALUES (CURRENT_DATE, 'jhon'), (CURRENT_DATE, 'tom'),
    (CURRENT_DATE, 'jhon'), (CURRENT_DATE, 'brown');
SELECT * FROM daily_view;
