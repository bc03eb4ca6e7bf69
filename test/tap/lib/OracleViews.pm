# The queries of the oracle test: [ name, SELECT with SOURCE for the stream or the table ].
#
# A column whose name ends in _f is compared within a relative tolerance (OracleTest says which),
# all others exactly. "setup" is what the queries need besides the rows.
package OracleViews;
use strict;
use warnings;
use utf8;
use Exporter qw(import);

our @EXPORT = qw(@queries $setup $superuser_setup);

# A state of type internal asks for a superuser.
our $superuser_setup = <<'SQL';
CREATE AGGREGATE work.own_avg(numeric) (sfunc = numeric_avg_accum, stype = internal,
    finalfunc = numeric_avg, combinefunc = numeric_avg_combine,
    serialfunc = numeric_avg_serialize, deserialfunc = numeric_avg_deserialize);
SQL

our $setup = <<'SQL';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');

-- state of an ordinary type, functions not strict: NULLs are counted, too
CREATE FUNCTION rows_step(int8, anyelement) RETURNS int8 IMMUTABLE LANGUAGE sql
    AS 'SELECT $1 + 1';
CREATE AGGREGATE all_rows(anyelement) (sfunc = rows_step, stype = int8, initcond = '0',
    combinefunc = int8pl);

-- strict, no initial value: the first value becomes the state
CREATE FUNCTION longer(text, text) RETURNS text IMMUTABLE STRICT LANGUAGE sql
    AS 'SELECT CASE WHEN length($1) > length($2) THEN $1 WHEN length($1) < length($2) THEN $2
                    WHEN $1 COLLATE "C" > $2 COLLATE "C" THEN $1 ELSE $2 END';
CREATE AGGREGATE longest(text) (sfunc = longer, stype = text, combinefunc = longer);

-- two arguments, state of an array type, final function
CREATE FUNCTION weighted_step(numeric[], int4, int8) RETURNS numeric[] IMMUTABLE LANGUAGE sql
    AS 'SELECT ARRAY[$1[1] + coalesce($2, 0)::numeric * coalesce($3, 1), $1[2] + coalesce($3, 1)]';
CREATE FUNCTION weighted_both(numeric[], numeric[]) RETURNS numeric[] IMMUTABLE LANGUAGE sql
    AS 'SELECT ARRAY[$1[1] + $2[1], $1[2] + $2[2]]';
CREATE FUNCTION weighted_final(numeric[]) RETURNS numeric IMMUTABLE LANGUAGE sql
    AS 'SELECT $1[1] / nullif($1[2], 0)';
CREATE AGGREGATE weighted(int4, int8) (sfunc = weighted_step, stype = numeric[],
    initcond = '{0,0}', combinefunc = weighted_both, finalfunc = weighted_final);

-- state of a composite type
CREATE TYPE span AS (lo int4, hi int4, n int8, note text);
CREATE FUNCTION span_step(span, int4) RETURNS span IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN (least(($1).lo, $2), greatest(($1).hi, $2), coalesce(($1).n, 0) + 1, 'wörd')::span;
END $$;
CREATE FUNCTION span_both(span, span) RETURNS span IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    IF $1 IS NULL THEN RETURN $2; ELSIF $2 IS NULL THEN RETURN $1; END IF;
    RETURN (least(($1).lo, ($2).lo), greatest(($1).hi, ($2).hi),
            coalesce(($1).n, 0) + coalesce(($2).n, 0), coalesce(($1).note, ($2).note))::span;
END $$;
CREATE FUNCTION span_final(span) RETURNS text IMMUTABLE LANGUAGE plpgsql
    AS $$ BEGIN RETURN ($1).lo || '..' || ($1).hi || ' of ' || ($1).n || ($1).note; END $$;
CREATE AGGREGATE span_of(int4) (sfunc = span_step, stype = span, combinefunc = span_both,
    finalfunc = span_final);

-- polymorphic: the state is an array of whatever comes in
CREATE FUNCTION set_add(anyarray, anyelement) RETURNS anyarray IMMUTABLE LANGUAGE sql
    AS 'SELECT CASE WHEN $2 IS NULL OR $2 = ANY ($1) THEN $1 ELSE
        ARRAY(SELECT x FROM unnest(array_append($1, $2)) x ORDER BY x) END';
CREATE FUNCTION set_both(anyarray, anyarray) RETURNS anyarray IMMUTABLE LANGUAGE sql
    AS 'SELECT ARRAY(SELECT DISTINCT x FROM unnest(array_cat($1, $2)) x ORDER BY x)';
CREATE AGGREGATE set_of(anyelement) (sfunc = set_add, stype = anyarray, initcond = '{}',
    combinefunc = set_both);

-- the final function needs the types of the inputs
CREATE FUNCTION set_middle(anyarray, anyelement) RETURNS anyelement IMMUTABLE LANGUAGE sql
    AS 'SELECT $1[1 + cardinality($1) / 2]';
CREATE AGGREGATE middle_of(anyelement) (sfunc = set_add, stype = anyarray, initcond = '{}',
    combinefunc = set_both, finalfunc = set_middle, finalfunc_extra);
CREATE FUNCTION first_of_type(int8, anyelement) RETURNS text IMMUTABLE LANGUAGE sql
    AS 'SELECT pg_typeof($2) || '' x '' || $1';
CREATE AGGREGATE typed_rows(anyelement) (sfunc = rows_step, stype = int8, initcond = '0',
    combinefunc = int8pl, finalfunc = first_of_type, finalfunc_extra);

CREATE FUNCTION variadic_step(int8, VARIADIC int4[]) RETURNS int8 IMMUTABLE LANGUAGE sql
    AS 'SELECT $1 + (SELECT coalesce(sum(x), 0) FROM unnest($2) x)';
CREATE AGGREGATE sum_all(VARIADIC int4[]) (sfunc = variadic_step, stype = int8, initcond = '0',
    combinefunc = int8pl);

CREATE FUNCTION scaled(int4) RETURNS int8 STABLE LANGUAGE plpgsql
    AS 'BEGIN RETURN $1::int8 * 10; END';
SQL

our @queries = (
    # keys
    [ one_key => 'SELECT i2, count(*) AS n, count(t) AS nt, sum(i4) AS s FROM SOURCE GROUP BY i2' ],
    [ many_keys => 'SELECT e, b, v, u, count(*), min(d) AS first, max(d) AS last
        FROM SOURCE GROUP BY e, b, v, u' ],
    [ no_aggregate => 'SELECT i2, b FROM SOURCE GROUP BY i2, b' ],
    [ no_aggregate_where => 'SELECT e FROM SOURCE WHERE i4 > 0 GROUP BY 1' ],
    [ no_key => 'SELECT count(*) AS n, count(i4) AS ni, sum(i8) AS s, avg(i8)::text AS a,
        min(ts) AS first, max(ts) AS last, bool_and(b) AS every_b FROM SOURCE' ],
    [ no_key_no_row => 'SELECT count(*), sum(i4), max(t), avg(n) FROM SOURCE WHERE false' ],
    [ keys_only_where_empty => 'SELECT i2, count(*) FROM SOURCE WHERE i2 = 12345 GROUP BY i2' ],
    [ text_key => 'SELECT t, count(*), min(i4), max(i4) FROM SOURCE GROUP BY t' ],
    [ numeric_key => 'SELECT n, count(*) FROM SOURCE GROUP BY n' ],
    [ numeric_special_key => 'SELECT nx, count(*), sum(i4) FROM SOURCE GROUP BY nx' ],
    [ float_key => 'SELECT fx, count(*) FROM SOURCE GROUP BY fx' ],
    [ timestamp_key => 'SELECT ts, lt, count(*) FROM SOURCE GROUP BY ts, lt' ],
    [ interval_key => 'SELECT iv, count(*) FROM SOURCE GROUP BY iv' ],
    [ jsonb_array_key => 'SELECT j, ia, count(*) FROM SOURCE GROUP BY j, ia' ],
    [ char_inet_time_key => 'SELECT c, ip, tod, count(*) FROM SOURCE GROUP BY c, ip, tod' ],
    [ key_twice => 'SELECT i2 AS a, i2 AS b, count(*) AS x, count(*) AS y FROM SOURCE GROUP BY i2' ],
    [ key_order => 'SELECT count(*) AS n, b, sum(i4) AS s, e FROM SOURCE GROUP BY e, b' ],

    # key expressions, hidden keys, positions and aliases
    [ by_day => 'SELECT date_trunc(\'day\', ts) AS day, count(*) FROM SOURCE GROUP BY day' ],
    [ by_date => 'SELECT ts::date AS day, lt::timestamptz AS lt, count(*) FROM SOURCE GROUP BY 1, 2' ],
    [ by_hour_text => 'SELECT to_char(ts, \'YYYY-MM-DD HH24 TZ\') AS hour, count(*), sum(i2)
        FROM SOURCE GROUP BY 1' ],
    [ by_case => 'SELECT CASE WHEN i4 < 0 THEN \'neg\' WHEN i4 = 0 THEN \'zero\'
        WHEN i4 > 0 THEN \'pos\' END AS sign, count(*) FROM SOURCE GROUP BY 1' ],
    [ by_arithmetic => 'SELECT i8 / 100000000 AS bucket, i2 % 3 AS m, count(*), max(i8) FROM SOURCE
        GROUP BY i8 / 100000000, i2 % 3' ],
    [ by_lower => 'SELECT lower(v) AS word, count(*) FROM SOURCE GROUP BY lower(v)' ],
    [ by_collated => 'SELECT upper(t COLLATE "C") AS word, max(t COLLATE "C") FROM SOURCE GROUP BY 1' ],
    [ by_json => 'SELECT j -> \'a\' AS a, jsonb_typeof(j) AS kind, count(*) FROM SOURCE GROUP BY 1, 2' ],
    [ by_function => 'SELECT scaled(i2) AS ten, count(*) FROM SOURCE GROUP BY scaled(i2)' ],
    [ over_key => 'SELECT (i4 % 10) * 2 + 1 AS x, count(*) FROM SOURCE GROUP BY i4 % 10' ],
    [ hidden_key => 'SELECT count(*) AS n, sum(i4) AS s FROM SOURCE GROUP BY i2' ],
    [ hidden_expression => 'SELECT b, count(*) FROM SOURCE GROUP BY b, extract(dow FROM ts), i4 % 7' ],
    [ hidden_only => 'SELECT max(d) FROM SOURCE GROUP BY date_trunc(\'month\', lt)' ],
    [ constants => 'SELECT 1 AS one, \'x\' AS word, NULL::int AS nothing, e, count(*), 2.50 AS rate
        FROM SOURCE GROUP BY e' ],
    [ constant_key => 'SELECT \'all\'::text AS label, count(*) FROM SOURCE GROUP BY label' ],
    [ constant_no_key => 'SELECT \'all\' AS label, count(*), now() IS NULL AS no FROM SOURCE' ],

    # WHERE
    [ where_null => 'SELECT i2, count(*) FROM SOURCE WHERE t IS NULL OR n IS NULL GROUP BY i2' ],
    [ where_like => 'SELECT count(*), min(t COLLATE "C") FROM SOURCE
        WHERE t LIKE \'%s%\' OR t ~ \'^[[:upper:]]\' OR t ILIKE \'ü%\'' ],
    [ where_in => 'SELECT e, count(*) FROM SOURCE WHERE i2 IN (1, 2, 3, 5, 8, 13, -32768)
        AND v = ANY (ARRAY[\'a\', \'b\', \'straße\']) AND e <> ALL (ARRAY[\'sad\']::mood[]) GROUP BY e' ],
    [ where_between => 'SELECT count(*), sum(n2) FROM SOURCE WHERE n2 BETWEEN -100 AND 250.5
        AND NOT b AND iv < \'1 mon\'' ],
    [ where_zone => 'SELECT ts::date AS day, count(*) FROM SOURCE WHERE ts >= \'2023-03-12 00:00\'
        AND ts < timestamptz \'2023-03-13\' + interval \'1 day\' AND extract(hour FROM ts) < 12
        GROUP BY day' ],
    [ where_row => 'SELECT (i2, b) < (10::int2, true) AS less, count(*) FROM SOURCE
        WHERE (i2, i4) >= (2, -50) AND i4 IS DISTINCT FROM 0 AND b IS NOT FALSE GROUP BY 1' ],
    [ where_json => 'SELECT count(*), count(j) AS nj FROM SOURCE WHERE j @> \'{"a": 1}\' OR 3 = ANY (ia)
        OR ip << \'10.0.0.0/8\' OR j ? \'b\'' ],
    [ where_float => 'SELECT count(*), count(fx) AS nf, min(fx), max(fx) FROM SOURCE
        WHERE fx = \'NaN\' OR fx > 0.1 OR fx = 0' ],

    # aggregates of the server
    [ int_sums => 'SELECT i2 AS k, sum(i2) AS s2, sum(i4) AS s4, sum(i8) AS s8, avg(i2)::text AS a2,
        avg(i4)::text AS a4, avg(i8)::text AS a8 FROM SOURCE GROUP BY i2' ],
    [ numeric_sums => 'SELECT i2, sum(n)::text AS s, avg(n)::text AS a, sum(n2)::text AS s2,
        avg(n2)::text AS a2, sum(nx)::text AS sx, avg(nx)::text AS ax FROM SOURCE GROUP BY i2' ],
    [ exact_floats => 'SELECT e, sum(f4) AS s4, count(f4), sum(f4::float8) AS s8, min(f4), max(f8)
        FROM SOURCE GROUP BY e' ],
    [ float_sums => 'SELECT i2, sum(f8) AS s_f, avg(f8) AS a_f, avg(f4) AS a4_f, count(f8)
        FROM SOURCE GROUP BY i2' ],
    [ interval_sums => 'SELECT e, sum(iv)::text AS s, avg(iv)::text AS a, min(iv), max(iv)
        FROM SOURCE GROUP BY e' ],
    [ minmax => 'SELECT b, min(i2) AS a1, max(i8) AS a2, min(n) AS a3, max(nx) AS a4, min(fx) AS a5,
        max(fx) AS a6, min(t COLLATE "C") AS a7, max(v COLLATE "C") AS a8, min(c) AS a9, max(lt) AS b1,
        min(ts) AS b2, max(d) AS b3, min(tod) AS b4, max(iv) AS b5, min(e) AS b6, max(e) AS b7,
        max(ia) AS b8, max(ip) AS b9, length(max(wide COLLATE "C")) AS c1, md5(min(wide COLLATE "C")) AS c2
        FROM SOURCE GROUP BY b' ],
    [ minmax_default_collation => 'SELECT i2, min(t), max(t), min(v) AS v1, max(v) AS v2 FROM SOURCE GROUP BY i2' ],
    [ booleans => 'SELECT i2, bool_and(b), bool_or(b), every(i4 > 0) AS ev, bool_or(t IS NULL) AS tn
        FROM SOURCE GROUP BY i2' ],
    [ bits => 'SELECT i2, bit_and(i4) AS a, bit_or(i4) AS o, bit_xor(i4) AS x, bit_and(i8) AS a8,
        bit_xor(i8) AS x8, bit_or(i2) AS o2, bit_and(bits) AS ab, bit_or(bits) AS ob,
        bit_xor(bits) AS xb FROM SOURCE GROUP BY i2' ],
    [ exact_spread => 'SELECT i2, stddev(i4)::text AS a, stddev_pop(i8)::text AS b,
        var_samp(n2)::text AS c, variance(i2)::text AS d, var_pop(n)::text AS e, stddev_samp(nx)::text AS f
        FROM SOURCE GROUP BY i2' ],
    [ float_spread => 'SELECT i2, stddev(f8) AS a_f, stddev_pop(f8) AS b_f, var_samp(f8) AS c_f,
        variance(f4) AS d_f, var_pop(y) AS e_f FROM SOURCE GROUP BY i2' ],
    [ regression => 'SELECT e, corr(y, f8) AS a_f, covar_pop(y, f8) AS b_f, covar_samp(y, f8) AS c_f,
        regr_slope(y, f8) AS d_f, regr_intercept(y, f8) AS e_f, regr_r2(y, f8) AS f_f,
        regr_avgx(y, f8) AS g_f, regr_avgy(y, f8) AS h_f, regr_sxx(y, f8) AS i_f, regr_sxy(y, f8) AS j_f,
        regr_syy(y, f8) AS k_f, regr_count(y, f8) FROM SOURCE WHERE f8 < 1000 AND f8 > 0 GROUP BY e' ],
    [ filters => 'SELECT i2, count(*) FILTER (WHERE b) AS yes, count(*) FILTER (WHERE NOT b) AS no,
        sum(i4) FILTER (WHERE i4 > 0) AS pos, avg(n2) FILTER (WHERE e = \'ok\') AS ok,
        max(t COLLATE "C") FILTER (WHERE t > \'a\') AS t FROM SOURCE GROUP BY i2' ],
    [ filter_guards => 'SELECT e, sum(1000 / i2) FILTER (WHERE i2 <> 0) AS s, avg(i4) FILTER (WHERE b)::text AS a,
        max(i8) FILTER (WHERE i4 % 2 = 0), count(t) FILTER (WHERE i2 > 0) FROM SOURCE GROUP BY e' ],
    [ wide_keys => 'SELECT wide, u, e, tod, count(*), stddev(i2)::text AS d FROM SOURCE GROUP BY wide, u, e, tod' ],
    [ filter_none => 'SELECT count(*) FILTER (WHERE false) AS never, sum(i4) FILTER (WHERE i2 > 100),
        max(d) FILTER (WHERE ts > \'2023-11-05 01:30\') FROM SOURCE' ],

    # expressions over aggregates
    [ over_aggregates => 'SELECT e, sum(i8) / nullif(count(t), 0) AS per_t, max(i4)::int8 - min(i4) AS width,
        count(*) + 1 AS more, coalesce(max(t COLLATE "C"), \'none\') AS t,
        count(*) FILTER (WHERE b)::numeric / count(*) AS share FROM SOURCE GROUP BY e' ],
    [ key_and_aggregate => 'SELECT coalesce(v, \'nobody\') || \': \' || count(*) AS line,
        i2 + count(*) AS more, CASE WHEN i2 > 5 THEN sum(i4) ELSE avg(i4) END AS either
        FROM SOURCE GROUP BY v, i2' ],
    [ many_per_column => 'SELECT ARRAY[count(*), sum(i4), max(i8)] AS three,
        jsonb_build_object(\'n\', count(*), \'avg\', avg(i4), \'key\', e) AS doc,
        row(min(i2), max(i2))::text AS pair, greatest(max(i2), count(b)) AS g FROM SOURCE GROUP BY e' ],
    [ shared_states => 'SELECT avg(i4) AS a, sum(i4) AS s, count(i4) AS n, stddev(i4) AS d,
        avg(i4) + sum(i4) AS b, avg(i4) AS a2, avg(f8) AS f_f, var_pop(f8) AS v_f, sum(f8) AS s_f
        FROM SOURCE' ],
    [ over_inputs => 'SELECT i2, sum(i4::int8 * 2 + coalesce(i2, 0)) AS a, sum(length(t)) AS b,
        count(nullif(i4 % 5, 0)) AS c, max(ts - \'2023-03-12\') FILTER (WHERE isfinite(ts)) AS d, sum(length(wide)) AS w,
        sum(extract(hour FROM ts)) FILTER (WHERE isfinite(ts)) AS h FROM SOURCE GROUP BY i2' ],

    # aggregates of users
    [ user_plain => 'SELECT i2, all_rows(t), longest(t), longest(v || \'!\') AS lv FROM SOURCE GROUP BY i2' ],
    [ user_no_key => 'SELECT all_rows(i4) AS n, longest(t) AS t, span_of(i4) AS s, set_of(i2) AS set
        FROM SOURCE' ],
    [ user_array => 'SELECT e, weighted(i4, i8), weighted(i2, 3) AS w3 FROM SOURCE GROUP BY e' ],
    [ user_composite => 'SELECT b, span_of(i4), span_of(i2) FILTER (WHERE i4 > 0) AS pos FROM SOURCE GROUP BY b' ],
    [ user_internal => 'SELECT i2, own_avg(n)::text AS a, own_avg(n2)::text AS b FROM SOURCE GROUP BY i2' ],
    [ user_polymorphic => 'SELECT e, set_of(i2) AS numbers, set_of(v COLLATE "C") AS words, set_of(d) AS days
        FROM SOURCE GROUP BY e' ],
    [ user_final_extra => 'SELECT b, middle_of(i2) AS i, middle_of(v COLLATE "C") AS v, typed_rows(d) AS d,
        typed_rows(v) AS tv, upper(middle_of(v COLLATE "C")) AS up FROM SOURCE GROUP BY b' ],
    [ user_variadic => 'SELECT b, sum_all(i2) AS one, sum_all(i2, i4 % 10) AS two,
        sum_all(VARIADIC coalesce(ia, \'{}\')) AS many FROM SOURCE GROUP BY b' ],
);

1;
