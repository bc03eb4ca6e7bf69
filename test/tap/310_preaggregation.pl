# Large statements leave groups in the spool instead of rows: the views are the same, and what was
# said of rows holds for groups. The setting is in rows; 0 lets even a statement of one row do so.
use strict;
use warnings;
use File::Spec;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use StopPoints;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', TimeZone => 'UTC', log_statement => 'none',
    max_prepared_transactions => 10, max_worker_processes => 12, shared_buffers => '64MB');
sub sql { return $node->safe_psql('postgres', join '', @_); }
sub folded { is(flush($node), 't', $_[0] // 'all is folded'); }
sub state_of { return sql("SELECT state, sqlstate, rejected FROM pipelinedb.views WHERE name = '$_[0]'"); }
sub stop_folding {
    set_server($node, 'pipelinedb.folding' => 'off');
    $node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity
        WHERE backend_type = 'pipelinedb fold worker'") or die 'a fold worker goes on';
}
sub go_on_folding { set_server($node, 'pipelinedb.folding' => 'on'); folded($_[0]); }

# ---- the objects ------------------------------------------------------------------------------

# New York and Lord Howe have daylight saving time, the latter of half an hour.
my %zone = (alice => 'America/New_York', bob => 'Asia/Kolkata', writer => 'Australia/Lord_Howe');
my $columns = q{id int, i2 int2, i4 int, i8 int8, f4 float4, f8 float8, t text, vc varchar(20), u uuid,
    d date, b bool, e work.mood, ts timestamptz, ti timestamp, num numeric};
my $names = 'id, i2, i4, i8, f4, f8, t, vc, u, d, b, e, ts, ti, num';

# What waits in the spool of this transaction: names of the stream and of definitions.
sql("CREATE ROLE $_ LOGIN; ALTER ROLE $_ SET TimeZone = '$zone{$_}';") for sort keys %zone;
sql(q{CREATE SCHEMA work; GRANT USAGE, CREATE ON SCHEMA work TO alice, bob; GRANT USAGE ON SCHEMA work TO writer;
    GRANT USAGE ON FOREIGN SERVER pipelinedb TO alice;
    CREATE TYPE work.mood AS ENUM ('sad', 'ok', 'happy');
    ALTER DATABASE postgres SET search_path = work, public;
    CREATE FUNCTION public.spooled() RETURNS TABLE (source text) LANGUAGE plpgsql AS $$
      DECLARE id int; BEGIN
        FOR id IN SELECT g.id FROM pipelinedb.generation g LOOP
          RETURN QUERY EXECUTE format('SELECT coalesce(c.relname::text, s.stream::text) FROM pipelinedb.spool_%s s
            LEFT JOIN pg_class c ON c.oid = s.stream WHERE s.xid = pg_current_xact_id_if_assigned()', id);
        END LOOP; END $$;});

# Runs SQL, says what it left in the spool, and rolls it back.
my $sources = q{SELECT string_agg(DISTINCT source, ' ' ORDER BY source) FROM public.spooled()};
sub sources_of { return sql("SET pipelinedb.preaggregate_after = 0; BEGIN; $_[0]; $sources; ROLLBACK"); }
sub as_role { my ($role, @script) = @_; return $node->safe_psql('postgres', join('', @script), extra_params => [ '-U', $role ]); }

as_role('alice', qq{CREATE FOREIGN TABLE s ($columns) SERVER pipelinedb; GRANT SELECT ON s TO bob; GRANT INSERT ON s TO writer;
    CREATE TABLE o ($columns); GRANT SELECT ON o TO bob; GRANT INSERT ON o TO writer});
sql(q{CREATE FUNCTION rows_of(first int, last int) RETURNS SETOF o STABLE LANGUAGE sql AS $$
      SELECT g, CASE WHEN h % 11 <> 0 THEN h % 300 - 150 END, CASE WHEN h % 7 <> 0 THEN h % 100000 - 50000 END,
             CASE WHEN h % 5 <> 0 THEN h::int8 * 4000000000 END, CASE WHEN h % 6 <> 0 THEN h % 64 END,
             CASE WHEN h % 9 <> 0 THEN (h % 65536) / 16.0 END,
             CASE WHEN h % 13 <> 0 THEN repeat('text' || h % 4, 1 + h % 40) END, CASE WHEN h % 8 <> 0 THEN 'v' || h % 5 END,
             CASE WHEN h % 10 <> 0 THEN md5((h % 6)::text)::uuid END, CASE WHEN h % 12 <> 0 THEN date '2024-03-01' + h % 40 END,
             CASE WHEN h % 3 <> 0 THEN h % 2 = 0 END, (enum_range(NULL::work.mood))[h % 4],
             CASE WHEN h % 17 <> 0 THEN timestamptz '2024-03-09 00:00+00' + h % 90000 * interval '1 minute' END,
             timestamp '2024-01-01' + h % 1000 * interval '1 hour', h % 100 / 10.0
        FROM (SELECT g, abs(hashint4(g)) AS h FROM generate_series(first, last) g) x $$;
    GRANT EXECUTE ON FUNCTION rows_of TO PUBLIC});

# All of these are served. SOURCE is the stream, and the table beside it.
my @queries = (
    [ integers => alice => q{SELECT i2 % 5 AS k, count(*), count(i2) AS n2, sum(i2) AS s2, sum(i4) AS s4, sum(i8) AS s8, avg(i2) AS a2,
        avg(i4) AS a4, avg(i8) AS a8, min(i2) AS l2, max(i4) AS m4, min(i8) AS l8 FROM SOURCE GROUP BY 1} ],
    [ integers_too => bob => q{SELECT i2 % 5 AS k, sum(i4) AS s4, count(*), sum(i4) AS again, avg(i4) AS a4 FROM SOURCE GROUP BY 1} ],
    [ moments => alice => q{SELECT b, round(stddev(i2), 6) AS d2, round(variance(i4), 6) AS v4, round(stddev_pop(i4), 6) AS p4 FROM SOURCE GROUP BY b} ],
    [ floats => alice => q{SELECT e, sum(f4) AS s4, sum(f8) AS s8, avg(f8) AS a8, min(f4) AS l4, max(f8) AS m8,
        round(stddev(f8)::numeric, 6) AS d8, round(variance(f4)::numeric, 6) AS v4 FROM SOURCE GROUP BY e} ],
    [ no_key => alice => q{SELECT count(*) AS n, sum(i4) AS s, max(ts) AS t, min(d) AS d, avg(f8) AS a FROM SOURCE} ],
    [ no_key_filtered => bob => q{SELECT count(*) AS n, min(ti) AS t FROM SOURCE WHERE t IS NULL AND i4 > 0} ],
    [ nothing => bob => q{SELECT count(*) AS n, sum(i4) AS s FROM SOURCE WHERE id < 0} ],
    [ text => alice => q{SELECT t, count(*), max(id) AS m FROM SOURCE GROUP BY t} ],
    [ varchar => bob => q{SELECT vc, u, count(*), min(ts) AS l FROM SOURCE GROUP BY vc, u} ],
    [ many_keys => alice => q{SELECT d, b, e, vc, i2 % 2 AS odd, count(*) FROM SOURCE WHERE id % 3 = 0 GROUP BY 1, 2, 3, 4, 5} ],
    [ keys_only => alice => q{SELECT vc, b FROM SOURCE GROUP BY vc, b} ],
    [ expressions => bob => q{SELECT upper(substr(t, 1, 5)) AS k, CASE WHEN i4 > 0 THEN 'up' ELSE 'down' END AS way,
        sum(abs(i4) + 1) AS s, count(nullif(i2, 7)) AS n FROM SOURCE WHERE coalesce(i4, 1) <> 5 GROUP BY 1, 2} ],
    [ filters => alice => q{SELECT b, count(*) FILTER (WHERE i4 > 0) AS up, sum(i4) FILTER (WHERE i4 > 0) AS s,
        sum(1000 / i2) FILTER (WHERE i2 <> 0) AS q, count(i2) FILTER (WHERE b) AS n FROM SOURCE GROUP BY b} ],
    [ days_alice => alice => q{SELECT date_trunc('day', ts) AS day, count(*), sum(i4) AS s FROM SOURCE GROUP BY 1} ],
    [ days_bob => bob => q{SELECT date_trunc('day', ts) AS day, ts::date AS date, extract(hour FROM ts)::int AS hour, count(*) FROM SOURCE GROUP BY 1, 2, 3} ],
    [ no_zone => bob => q{SELECT date_trunc('month', ti) AS month, count(*) FROM SOURCE GROUP BY 1} ],
    [ since => alice => q{SELECT count(*) FROM SOURCE WHERE ts >= date '2024-03-20' AND ts::date < '2024-05-01'} ],
);
as_role($_->[1], "CREATE VIEW $_->[0] AS $_->[2]" =~ s/SOURCE/s/r) for @queries;
my $definitions = join ' ', sort map { "$_->[0]_def" } @queries;
my $all_but_nothing = join ' ', sort map { "$_->[0]_def" } grep { $_->[0] ne 'nothing' } @queries;

# The views against their queries over the table, each in its owner's zone.
sub compare {
    my ($name) = @_;
    folded("$name: folded");
    my $script = '';
    for my $query (@queries) {
        my ($view, $owner, $select) = @$query;
        $select =~ s/SOURCE/o/;
        $script .= "SET TimeZone = '$zone{$owner}'; SELECT '$view', x::text FROM
            ((TABLE $view EXCEPT ALL $select) UNION ALL (($select) EXCEPT ALL TABLE $view)) x LIMIT 3;\n";
    }
    is(sql($script), '', "$name: all views are right");
    views_are_active($node, "$name: no view has failed");
}

my $next = 1;
sub both { my $first = $next; my $last = ($next += $_[0]) - 1;
    return join '', map { "INSERT INTO $_ ($names) SELECT $names FROM rows_of($first, $last);\n" } 's', 'o'; }
sub lost { my $last = $next + $_[0] - 1; return "INSERT INTO s ($names) SELECT $names FROM rows_of($next, $last);\n"; }

# ---- the same views ---------------------------------------------------------------------------

is(sources_of(lost(3000)), $all_but_nothing, 'groups of all views wait, and no row');
is(sql("SET pipelinedb.preaggregate_after = 0; SET ROLE writer; BEGIN; " . lost(50) . "RESET ROLE; $sources; ROLLBACK"), $all_but_nothing,
    'so it is for a writer who may not read the stream');
is(sql("SET pipelinedb.preaggregate_after = -1; BEGIN; " . lost(3000) . "$sources; ROLLBACK"), 's', 'turned off, rows wait');
is(sql("SET pipelinedb.preaggregate_after = 2000; BEGIN; " . lost(2000) . "$sources; ROLLBACK"), 's', 'so do they in a small statement');
is(sql("SET pipelinedb.preaggregate_after = 2000; BEGIN; " . lost(3000) . "$sources; ROLLBACK"), join(' ', sort 's', split / /, $all_but_nothing),
    'a large one begins with rows');
is(sql('SHOW pipelinedb.preaggregate_after'), 65536, 'the default');

for my $after (0, -1, 1000) {
    as_role('writer', "SET pipelinedb.preaggregate_after = $after;", both(1), both(2500), both(1024), both(1025));
    compare("from row $after on");
}
# Rows and groups of the same keys in one tick; then by the general path.
for my $vectorize ('on', 'off') {
    stop_folding();
    sql("SET pipelinedb.preaggregate_after = 0;", both(1500), 'SET pipelinedb.preaggregate_after = -1;', both(100),
        'SET pipelinedb.preaggregate_after = 0;', both(700), both(5));
    set_server($node, 'pipelinedb.vectorize' => $vectorize);
    go_on_folding();
    compare("rows and groups together, vectorize = $vectorize");
}
set_server($node, 'pipelinedb.vectorize' => 'on');

# ---- exactly once -----------------------------------------------------------------------------

my $on = 'SET pipelinedb.preaggregate_after = 0; ';
sub run_units {
    my ($name, @units) = @_;
    my ($out, @errors) = run_script($node, $on . join '', map { "$_;\n" } @units);
    return @errors;
}
sql('CREATE FUNCTION put(first int, last int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO s (' . $names . ') SELECT ' . $names . ' FROM rows_of(first, last); END $$');
my $dir = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());
sql("COPY (SELECT * FROM rows_of(1, 2000)) TO '$dir/rows'");
my @errors = run_units('units',
    'BEGIN; ' . lost(2000) . 'ROLLBACK',
    'BEGIN; ' . both(1500) . 'SAVEPOINT a; ' . lost(1500) . 'ROLLBACK TO a; ' . both(10) . 'COMMIT',
    'BEGIN; SAVEPOINT a; ' . both(10) . 'RELEASE a; SAVEPOINT b; ' . lost(1500) . 'SAVEPOINT c; ' . lost(7) . 'ROLLBACK TO b; COMMIT',
    'BEGIN; ' . both(2000) . both(1) . 'SET LOCAL pipelinedb.preaggregate_after = -1; ' . both(2000) . 'COMMIT',
    'DO $$ BEGIN ' . lost(1500) . 'RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN ' . both(300) . 'END $$',
    "SELECT put(1, 1500); INSERT INTO o SELECT * FROM rows_of(1, 1500)",
    "SELECT put(1, 3 / (g - 1)) FROM generate_series(2, 1, -1) g",
    "COPY s ($names) FROM '$dir/rows'; COPY o FROM '$dir/rows'",
    "COPY s ($names) FROM PROGRAM 'cat $dir/rows; echo bad'",
    "SET statement_timeout = 200; " . lost(100_000_000) . "RESET statement_timeout; " . both(1100),
    "INSERT INTO s (id, i4, t) SELECT g, 10 / (3000 - g), 'lost' FROM generate_series(1, 4000) g",
    'BEGIN; ' . both(1100) . "PREPARE TRANSACTION 'p1'; BEGIN; " . lost(1100) . "PREPARE TRANSACTION 'p2'; COMMIT PREPARED 'p1'; ROLLBACK PREPARED 'p2'",
    'BEGIN; ' . both(1300) . "PREPARE TRANSACTION 'crash'; BEGIN; " . lost(1200) . "PREPARE TRANSACTION 'back'");
is(scalar(grep { /division by zero/ } @errors), 2, 'two statements failed');
is(scalar(grep { /missing data|invalid input/ } @errors), 1, 'so did a COPY');
is(scalar(grep { /statement timeout/ } @errors), 1, 'one was cancelled');
is(scalar @errors, 4, 'and no other') or diag(@errors);
folded();
$node->stop('immediate');
$node->start;
sql("COMMIT PREPARED 'crash'; ROLLBACK PREPARED 'back'");
compare('units, a crash with prepared transactions');
stop_folding();
sql($on, both(1500), both(3));
$node->stop('immediate');
$node->start;
go_on_folding();
compare('a crash between commit and fold');

# ---- many groups --------------------------------------------------------------------------------

sql('CREATE FOREIGN TABLE m (k int, v int) SERVER pipelinedb; CREATE VIEW m_v AS SELECT k, count(*) AS n, sum(v) AS s FROM m GROUP BY k');
is(sources_of('INSERT INTO m SELECT g, 1 FROM generate_series(1, 100000) g'), 'm m_v_def', 'so many groups that rows follow');
my $chunks = q{SELECT count(*) > 0, count(*) FROM public.spooled() WHERE source = 'm_v_def'};
my $m = 'INSERT INTO m SELECT g / 20 % 1500, g FROM generate_series(1, 120000) g';
my @written = map { sql("SET pipelinedb.preaggregate_after = 0; SET work_mem = '$_'; BEGIN; $m; $chunks; ROLLBACK") =~ s/^t\|//r } '64kB', '64MB';
cmp_ok($written[0], '>', 2 * $written[1], 'with little memory, groups are written in between');
is(sources_of("SET LOCAL work_mem = '64kB'; $m"), 'm_v_def', 'and no rows');
stop_folding();
set_server($node, 'pipelinedb.fold_batch' => '256kB');
sql($on, "INSERT INTO m SELECT g, 1 FROM generate_series(1, 100000) g; SET work_mem = '64kB'; $m; RESET work_mem;
    INSERT INTO m SELECT g % 16000, 1 FROM generate_series(1, 48000) g");
go_on_folding('more groups than a tick takes');
is(sql('SELECT count(*), sum(n), sum(s) FROM m_v'), sql('SELECT 100001, 268000, 100000 + 48000 + 120000::int8 * 120001 / 2'), 'all are there once');
set_server($node, 'pipelinedb.fold_batch' => '16MB');
sql('DROP FOREIGN TABLE m CASCADE');

# ---- what is not served -------------------------------------------------------------------------

sql(q{CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 2 * $1; END';
    CREATE AGGREGATE own_sum(int) (sfunc = int4pl, stype = int, initcond = 0, combinefunc = int4pl);
    CREATE TYPE pair AS (a int, b positive);
    CREATE TABLE dim (k int PRIMARY KEY, name text);
    CREATE FOREIGN TABLE x (k int, v int, p positive, f float8, iv interval, by bytea, num numeric, bp char(3), ts timestamptz, c pair, ck pair[], m work.mood) SERVER pipelinedb;
    CREATE VIEW x_v AS SELECT k, count(*), sum(v) AS s FROM x GROUP BY k});
sub sources_with {
    my ($view) = @_;
    return sql("SET pipelinedb.preaggregate_after = 0; BEGIN; CREATE VIEW x_w AS $view;
        INSERT INTO x (k, v, p, f, ts) SELECT 1, g, 1, 1, now() FROM generate_series(1, 10) g; $sources; ROLLBACK");
}
is(sources_with($_), 'x', "rows for: $_") for (
    'SELECT d.name, count(*) FROM x JOIN dim d USING (k) GROUP BY 1',
    'SELECT twice(k) AS k, count(*) FROM x GROUP BY 1',
    'SELECT k, count(*) FROM x WHERE twice(v) > 2 GROUP BY k',
    'SELECT k, sum(v) FILTER (WHERE twice(v) > 2) AS s FROM x GROUP BY k',
    'SELECT k, own_sum(v) AS s FROM x GROUP BY k',
    'SELECT k, count(*) FROM x WHERE random() > 2 GROUP BY k',
    'SELECT k, count(*) FROM x WHERE ts < now() GROUP BY k',
    'SELECT k, count(*) FROM x WHERE current_user = \'alice\' GROUP BY k',
    'SELECT current_setting(\'TimeZone\') AS z, count(*) FROM x GROUP BY 1',
    'SELECT v::positive AS p, count(*) FROM x GROUP BY 1',
    'SELECT f::text AS t, count(*) FROM x GROUP BY 1',
    'SELECT iv::text AS t, count(*) FROM x GROUP BY 1',
    'SELECT by::text AS t, count(*) FROM x GROUP BY 1',
    'SELECT ts::text AS t, count(*) FROM x GROUP BY 1',
    'SELECT to_char(ts, \'Month\') AS t, count(*) FROM x GROUP BY 1',
    'SELECT quote_ident(k::text) AS t, count(*) FROM x GROUP BY 1',
    'SELECT count(*) FROM x WHERE c = ROW(1, 2)::pair',
    'SELECT count(*) FROM x WHERE ck = ARRAY[]::pair[]',
    'SELECT f, count(*) FROM x GROUP BY f',
    'SELECT bp, count(*) FROM x GROUP BY bp',
    'SELECT k, sum(num) AS s FROM x GROUP BY k',
    'SELECT k, v, p FROM x');
is(sources_with($_), 'x_v_def x_w_def', "groups for: $_") for (
    'SELECT p, count(c) AS n FROM x GROUP BY p',
    'SELECT p + 1 AS q, count(*) FROM x GROUP BY 1',
    'SELECT m, count(*) FROM x WHERE m IS DISTINCT FROM \'sad\' GROUP BY m',
    'SELECT k::text AS t, count(*) FROM x GROUP BY 1',
    'SELECT k, count(*) FROM x WHERE v BETWEEN 1 AND 5 OR v IN (7, 8, 9) GROUP BY k');

# Settings of the writer that the view does not have.
sql("CREATE VIEW x_t AS SELECT f::text AS t, count(*) AS n FROM x GROUP BY 1; SET extra_float_digits = 0; $on
     INSERT INTO x (f) VALUES (1.0::float8 / 3); SET pipelinedb.preaggregate_after = -1; INSERT INTO x (f) VALUES (1.0::float8 / 3)");
folded();
is(sql('SELECT t, n FROM x_t'), '0.3333333333333333|2', 'a text of a float is that of the view');
sql('DROP FOREIGN TABLE x CASCADE');

# A partition is a stream of its own; text wider than a page; compressed text.
sql(q{CREATE TABLE parts (k int, v text) PARTITION BY LIST (k); CREATE TABLE part0 PARTITION OF parts FOR VALUES IN (0);
    CREATE FOREIGN TABLE part1 PARTITION OF parts FOR VALUES IN (1) SERVER pipelinedb;
    CREATE VIEW part_v AS SELECT v, count(*) AS n, max(k) AS m FROM part1 GROUP BY v;
    CREATE FUNCTION long(n int) RETURNS text IMMUTABLE LANGUAGE sql AS $$
      SELECT CASE WHEN n = 0 THEN repeat('x', 100000) ELSE string_agg(md5((n * 1000 + i)::text), '') END FROM generate_series(1, 600) i $$});
my $parts = 'INSERT INTO parts SELECT g % 2, CASE WHEN g % 10 = 1 THEN long(g % 3) ELSE (g % 20)::text END FROM generate_series(1, 3000) g';
is(sources_of($parts), 'part_v_def', 'rows routed into a partition');
sql($on, $parts);
folded();
is(sql(q{SELECT count(*), sum(n), max(length(v)), sum(n) FILTER (WHERE length(v) > 10000), max(m) FROM part_v}), '11|1500|100000|300|1', 'wide keys');
is(sql('SELECT count(*) FROM part0'), 1500, 'the others are in their table');
sql('DROP TABLE parts CASCADE');

# ---- rows with errors -----------------------------------------------------------------------------

sql('CREATE FOREIGN TABLE r (k int, v int, f float8) SERVER pipelinedb;
     CREATE VIEW r_q AS SELECT k, count(*) AS n, sum(100 / v) AS s FROM r GROUP BY k;
     CREATE VIEW r_o AS SELECT count(*) AS n, max(v + 1) AS m FROM r;
     CREATE VIEW r_f AS SELECT k, count(*) AS n, sum(f) AS s, max(f) AS m FROM r GROUP BY k');
my $r = 'INSERT INTO r SELECT g % 3, CASE g WHEN 2500 THEN 0 WHEN 4000 THEN 2147483647 ELSE 1 END, 1 FROM generate_series(1, 5000) g';
is(sources_of($r), 'r r_f_def r_o_def r_q_def', 'blocks with a bad row are left as rows');
is(sql("$on BEGIN; $r; SELECT count(*) FILTER (WHERE source = 'r') > 0 FROM public.spooled(); ROLLBACK"), 't', 'they are in the spool');
sql($on, $r);
folded();
is(sql(q{SELECT view::regclass, sqlstate, "row" ->> 'v' FROM pipelinedb.errors ORDER BY 1::text}), "r_q|22012|0\nr_o|22003|2147483647", 'two rows are rejected')
    or diag(sql('TABLE pipelinedb.errors'));
is(sql('SELECT sum(n), sum(s) FROM r_q; SELECT n, m FROM r_o; SELECT sum(n), sum(s), max(m) FROM r_f'), "4999|499800\n4999|2\n5000|5000|1", 'all others count');
is(sql("SELECT pipelinedb.retry_errors('r_q')"), 1, 'tried once more');
folded();
is(state_of('r_q') . ' ' . sql('SELECT sum(n), sum(s) FROM r_q'), 'active||1 4999|499800', 'it fails once more, and counts nothing');
is(sources_of("INSERT INTO r SELECT 1, 1, 1e300 FROM generate_series(1, 5) g"), 'r', 'huge numbers are left as rows');
is(sources_of("INSERT INTO r SELECT 1, 1, 'NaN'"), 'r', 'so is NaN');
sql($on, "INSERT INTO r SELECT 5, 1, CASE WHEN g <= 3 THEN 1.7e308 ELSE 1 END FROM generate_series(1, 3000) g");
folded();
is(state_of('r_f'), 'active||2', 'what overflows is rejected row by row');
is(sql('SELECT n, s, m FROM r_f WHERE k = 5'), '2998|1.7e+308|1.7e+308', 'the rest counts');
sql('DROP FOREIGN TABLE r CASCADE');

# ---- DDL while groups wait ------------------------------------------------------------------------

sql('CREATE FOREIGN TABLE w (k int, v int) SERVER pipelinedb;',
    map { "CREATE VIEW w$_ AS SELECT k, count(*) AS n, sum(v) AS s FROM w GROUP BY k;" } 1 .. 8);
my $w = 'INSERT INTO w SELECT g % 3, 1 FROM generate_series(1, 3000) g;';
my $total = "SELECT coalesce(sum(n), 0), count(*) FROM";
stop_folding();
sql($on, "SELECT pipelinedb.deactivate('w2');", $w, "DROP VIEW w1; ALTER VIEW w3 OWNER TO alice; GRANT SELECT ON w TO alice;
    ALTER VIEW w4 RENAME COLUMN n TO m; ALTER VIEW w4 RENAME TO w44; ALTER FOREIGN TABLE w RENAME COLUMN v TO val;
    ALTER FOREIGN TABLE w ADD COLUMN more int; SELECT pipelinedb.truncate_continuous_view('w5');
    ALTER TABLE w6_mrel ADD CONSTRAINT small CHECK (n < 1500);", $w);
go_on_folding('dropped, given away, renamed, truncated');
is(sql("$total w2"), '0|0', 'a paused view waits');
is(sql("$total w3"), '6000|3', 'a view with another owner');
is(sql("SELECT sum(m), count(*) FROM w44"), '6000|3', 'a view with other names');
is(sql("$total w5"), '3000|3', 'a view that was truncated in between');
is(sql("$total w7"), '6000|3', 'a view beside them');
is(state_of('w6'), 'failed|23514|0', 'a group that a constraint refuses stops the view');
is(sql("$total w6"), '0|0', 'nothing of it counts');
sql($on, $w, "ALTER TABLE w6_mrel DROP CONSTRAINT small; SELECT pipelinedb.activate('w6'), pipelinedb.activate('w2')");
folded();
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pipelinedb.progress WHERE consumer <> 0");
is(sql("$total $_"), '9000|3', "$_ has all its groups") for qw(w2 w3 w6 w7);
sql($on, "BEGIN; $w SELECT pipelinedb.truncate_continuous_view('w7'); $w CREATE VIEW w9 AS SELECT k, count(*) AS n FROM w GROUP BY k; $w COMMIT; $w");
folded();
is(sql("$total w7; $total w9; $total w8"), "9000|3\n6000|3\n21000|3", 'emptied and created in the middle of a transaction');

set_server($node, 'pipelinedb.num_workers' => 2);
$node->poll_query_until('postgres', 'SELECT count(DISTINCT worker) = 2 FROM pipelinedb.views') or die 'one worker has all views';
sql($on, $w, 'SET pipelinedb.preaggregate_after = -1;', $w) for 1 .. 3;
folded();
is(sql("$total w7; $total w9; $total w8"), "27000|3\n24000|3\n39000|3", 'two workers');
sql($on, both(2000));
compare('two workers');

$node->stop;
done_testing();
