-- The n-th page view is always the same one, so that rows can be sent again and compared.
CREATE OR REPLACE FUNCTION pg_temp.pick(n int8, seed int, choices int) RETURNS int
    LANGUAGE sql IMMUTABLE
    AS 'SELECT ((hashint8extended(n, seed) & 9223372036854775807) % choices)::int';
CREATE OR REPLACE FUNCTION pg_temp.page_views(first int8, last int8)
    RETURNS TABLE (at timestamptz, page text, country text, user_id int, ms int)
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT timestamptz '2026-01-01 00:00:00+00' + n / 300 * interval '1 second',
           '/page/' || pg_temp.pick(n, 1, 100),
           ('{AT,BR,DE,FR,IN,JP,KR,PL,UK,US}'::text[])[1 + pg_temp.pick(n, 2, 10)],
           pg_temp.pick(n, 3, 50000),
           5 + pg_temp.pick(n, 4, 500)
    FROM generate_series(first, last) AS n $$;
