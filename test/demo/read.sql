SELECT * FROM totals;
SELECT country, views, round(avg_ms, 2) AS avg_ms, max_ms FROM latency_by_country ORDER BY country;
SELECT * FROM hits_per_minute ORDER BY hits DESC, minute, page LIMIT 5;
SELECT count(*) AS groups, sum(hits) AS hits FROM hits_per_minute;
