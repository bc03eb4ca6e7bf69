-- Sends the page views :first to :last and notes the step, in one transaction.
\ir generate.sql
BEGIN;
INSERT INTO page_view_stream SELECT * FROM pg_temp.page_views(:first, :last);
INSERT INTO sent_steps VALUES (:step);
SELECT pg_sleep(:pause);
COMMIT;
