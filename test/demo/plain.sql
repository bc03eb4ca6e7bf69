-- What one does without streams: keep :rows page views and ask them each time.
\ir generate.sql
SET client_min_messages = warning;
CREATE TABLE IF NOT EXISTS page_views (
    at timestamptz, page text, country text, user_id int, ms int
);
INSERT INTO page_views SELECT * FROM pg_temp.page_views(1, :rows);
CREATE OR REPLACE VIEW hits_per_minute_rows AS
    SELECT date_trunc('minute', at) AS minute, page, count(*) AS hits
    FROM page_views GROUP BY 1, 2;
CREATE OR REPLACE VIEW latency_by_country_rows AS
    SELECT country, count(*) AS views, avg(ms) AS avg_ms, max(ms) AS max_ms
    FROM page_views GROUP BY country;
CREATE OR REPLACE VIEW totals_rows AS
    SELECT count(*) AS views, sum(ms) AS sum_ms, min(at) AS first, max(at) AS last
    FROM page_views;
