# More queries of the oracle test, see OracleViews: the shapes that a group's key can have, and
# views without groups.
package OracleKeys;
use strict;
use warnings;
use utf8;
use Exporter qw(import);

our @EXPORT = qw(@key_queries $key_setup);

our $key_setup = <<'SQL';
CREATE DOMAIN word AS text;
CREATE TYPE pair AS (a int2, b text);
CREATE FUNCTION pair_of(int2, text) RETURNS pair IMMUTABLE LANGUAGE sql AS 'SELECT $1, $2';
SQL

# More keys than a btree has columns, or GROUPING() has bits.
my $many = join ', ', map { "i2 + $_" } 1 .. 33;
my $many_as = join ', ', map { "i2 + $_ AS k$_" } 1 .. 33;

our @key_queries = (
    # types with a btree operator class and no hash function, and the reverse
    [ money_key => 'SELECT n2::money AS m, count(*), sum(i4) FROM SOURCE GROUP BY m' ],
    [ bit_key => 'SELECT bits, count(*) FROM SOURCE GROUP BY bits' ],
    [ money_bit_text_key => 'SELECT t, n2::int::money AS m, bits, count(*) FROM SOURCE GROUP BY t, m, bits' ],
    [ xid_key => 'SELECT (i4 & 255)::text::xid AS x, count(*), max(d) FROM SOURCE GROUP BY 1' ],
    [ xid_text_key => 'SELECT i2::text::xid8 AS x8, abs(i2)::text::xid AS x, v, count(*) FROM SOURCE
        WHERE i2 >= 0 GROUP BY 1, 2, v' ],

    # without a bounded width
    [ wide_key => 'SELECT wide, count(*), sum(i4) AS s FROM SOURCE GROUP BY wide' ],
    [ date_wide_key => 'SELECT d, wide, count(*) FROM SOURCE GROUP BY d, wide' ],
    [ wide_date_key => 'SELECT wide, d, e, count(*), avg(n2)::text AS a FROM SOURCE GROUP BY wide, d, e' ],
    [ wide_twice_key => 'SELECT wide AS a, wide || \'!\' AS b, count(*) FROM SOURCE GROUP BY 1, 2' ],
    [ varchar_key => 'SELECT wide::varchar(1000) AS w, count(*) FROM SOURCE GROUP BY w' ],
    [ chars_key => 'SELECT v::char(700) AS c1, t::char(700) AS c2, count(*) FROM SOURCE GROUP BY c1, c2' ],
    [ bytea_key => 'SELECT convert_to(t, \'UTF8\') AS bytes, b, count(*) FROM SOURCE GROUP BY 1, 2' ],
    [ date_text_key => 'SELECT d, t, count(*), min(i4) FROM SOURCE GROUP BY d, t' ],
    [ text_float_key => 'SELECT t, fx, count(*) FROM SOURCE GROUP BY t, fx' ],
    [ text_numeric_key => 'SELECT v || b::text AS vb, nx, count(*) FROM SOURCE GROUP BY 1, nx' ],
    [ text_interval_key => 'SELECT v COLLATE "C" AS v, iv, count(*) FROM SOURCE GROUP BY 1, 2' ],
    [ text_inet_key => 'SELECT ip, t, u, count(*) FROM SOURCE GROUP BY ip, t, u' ],
    [ jsonb_text_key => 'SELECT j, t, count(*) FROM SOURCE GROUP BY j, t' ],
    [ arrays_key => 'SELECT string_to_array(t, \' \') AS ts, ia, count(*) FROM SOURCE GROUP BY 1, 2' ],
    [ range_key => 'SELECT int4range(i2, i2 + 5) AS r, numrange(least(n, n2), greatest(n, n2)) AS nr, count(*)
        FROM SOURCE WHERE i2 < 100 AND (n = n) IS NOT FALSE GROUP BY 1, 2' ],
    [ multirange_key => 'SELECT int4multirange(int4range(0, i2 & 7)) AS r, count(*) FROM SOURCE GROUP BY 1' ],
    [ composite_key => 'SELECT pair_of(i2, t) AS p, count(*) FROM SOURCE GROUP BY 1' ],
    [ composite_array_key => 'SELECT ARRAY[pair_of(i2, v)] AS p, b, count(*) FROM SOURCE GROUP BY 1, 2' ],
    [ domain_key => 'SELECT t::word AS w, e, count(*) FROM SOURCE GROUP BY 1, 2' ],
    [ name_char_key => 'SELECT left(t, 10)::name AS n, c::"char" AS c, count(*) FROM SOURCE GROUP BY 1, 2' ],
    [ many_columns_key => 'SELECT i2, b, e, d, v, c, bits, u, ip, count(*), count(t) AS nt FROM SOURCE
        GROUP BY t, i2, b, e, d, v, c, bits, u, ip' ],
    [ thirty_three_keys => "SELECT $many_as, count(*) FROM SOURCE WHERE i2 < 1000 GROUP BY $many" ],
    [ hidden_wide_key => 'SELECT count(*), sum(i4) AS s FROM SOURCE GROUP BY left(wide, 4000), b' ],

    # DISTINCT
    [ distinct_text => 'SELECT DISTINCT t, b FROM SOURCE' ],
    [ distinct_number => 'SELECT DISTINCT i2, i2 + 1 AS more, i2 AS again FROM SOURCE WHERE b' ],
    [ distinct_constant => 'SELECT DISTINCT upper(v) AS u, 1 AS one FROM SOURCE' ],
    [ distinct_counts => 'SELECT DISTINCT count(*) % 5 AS n, max(b::int) AS b FROM SOURCE GROUP BY i2' ],
    [ distinct_of_groups => 'SELECT DISTINCT b, e FROM SOURCE GROUP BY b, e, i2' ],
    [ distinct_total => 'SELECT DISTINCT count(*), sum(i4) AS s FROM SOURCE' ],

    # one row per row
    [ append_some => 'SELECT i4, t, b, ts FROM SOURCE WHERE i2 = 3' ],
    [ append_expressions => 'SELECT i4 * 2 AS twice, t || \'!\' AS t, upper(v), CASE WHEN b THEN d END AS d,
        e, j -> \'a\' AS a, ia[1] AS first FROM SOURCE WHERE i4 BETWEEN 10 AND 30' ],
    [ append_wide => 'SELECT wide, length(wide) AS n FROM SOURCE WHERE length(wide) > 2000' ],
    [ append_constant => 'SELECT 1 AS one, NULL::text AS nothing FROM SOURCE WHERE b' ],
    [ append_all => 'SELECT i2, i4, i8, n, n2, nx, f4, f8, fx, y, t, v, c, b, u, ts, lt, d, tod, iv, j, e,
        ia, bits, ip, wide FROM SOURCE WHERE i8 % 10 = 0' ],
    [ append_nothing => 'SELECT i2 FROM SOURCE WHERE false' ],

    # grouping sets
    [ rollup => 'SELECT b, e, count(*), sum(i4) AS s FROM SOURCE GROUP BY ROLLUP (b, e)' ],
    [ cube => 'SELECT b, e, i4 % 3 AS m, count(*), min(d), avg(n2)::text AS a FROM SOURCE GROUP BY CUBE (b, e, 3)' ],
    [ grouping_sets => 'SELECT b, e, max(t COLLATE "C") AS t, stddev(i4)::text AS sd FROM SOURCE
        GROUP BY GROUPING SETS ((b), (e), ())' ],
    [ no_total => 'SELECT b, e, count(*) FROM SOURCE GROUP BY GROUPING SETS ((b, e), (b))' ],
    [ rollup_text => 'SELECT t, v, count(*), grouping(t, v) AS g FROM SOURCE GROUP BY ROLLUP (t, v)' ],
    [ rollup_wide => 'SELECT wide, b, count(*) FROM SOURCE GROUP BY CUBE (wide, b)' ],
    [ grouping_calls => 'SELECT i2, b, e, grouping(i2) AS a, grouping(e, i2) AS b2, grouping(b, e, i2) + 1 AS c,
        CASE WHEN grouping(b) = 1 THEN \'all\' ELSE b::text END AS label, grouping(e, e, b) AS d, count(*)
        FROM SOURCE GROUP BY CUBE (i2, b, e)' ],
    [ grouping_products => 'SELECT b, e, i2 % 2 AS odd, count(*) FROM SOURCE GROUP BY b, ROLLUP (e, i2 % 2)' ],
    [ grouping_distinct => 'SELECT b, e, count(*) FROM SOURCE GROUP BY DISTINCT ROLLUP (b, e), CUBE (b)' ],
    [ grouping_keys_only => 'SELECT b, e FROM SOURCE GROUP BY ROLLUP (b, e)' ],
    [ grouping_one_set => 'SELECT b, e, grouping(b, e) AS g, count(*) FROM SOURCE GROUP BY GROUPING SETS ((b, e))' ],
    [ grouping_empty => 'SELECT count(*), max(i4) FROM SOURCE GROUP BY ()' ],
    [ grouping_many => "SELECT grouping(i2 + 1, i2 + 33, i2 + 32) AS g, count(*) FROM SOURCE WHERE i2 < 1000
        GROUP BY GROUPING SETS (($many), (i2 + 33, i2 + 2), ())" ],
    [ grouping_no_row => 'SELECT b, count(*), sum(i4) FROM SOURCE WHERE false GROUP BY ROLLUP (b)' ],
    [ grouping_distinct_rows => 'SELECT DISTINCT b, count(*) > 10 AS many FROM SOURCE GROUP BY ROLLUP (b, i2)' ],
    [ grouping_sort_and_hash => 'SELECT n2::int::money::numeric AS m, (i4 & 255)::text::xid AS x, count(*) FROM SOURCE
        GROUP BY GROUPING SETS ((n2::int::money), (2), ())' ],
    [ grouping_over_keys => 'SELECT coalesce(i2, -1) + 1 AS x, i2 + coalesce(count(t), 0) AS y, b IS NULL AS nob,
        count(*) FILTER (WHERE i4 > 0) AS pos FROM SOURCE GROUP BY ROLLUP (i2, b)' ],
);

1;
