CREATE FOREIGN TABLE page_view_stream (
    at timestamptz, page text, country text, user_id int, ms int
) SERVER pipelinedb;
CREATE VIEW hits_per_minute AS
    SELECT date_trunc('minute', at) AS minute, page, count(*) AS hits
    FROM page_view_stream GROUP BY 1, 2;
CREATE VIEW latency_by_country AS
    SELECT country, count(*) AS views, avg(ms) AS avg_ms, max(ms) AS max_ms
    FROM page_view_stream GROUP BY country;
CREATE VIEW totals AS
    SELECT count(*) AS views, sum(ms) AS sum_ms, min(at) AS first, max(at) AS last
    FROM page_view_stream;
-- An ordinary table: which parts of the stream have been sent (see step.sql).
CREATE TABLE sent_steps (step int PRIMARY KEY);
