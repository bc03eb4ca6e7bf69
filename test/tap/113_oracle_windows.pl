# Sliding windows against SQL over a table with the same rows: random views, random rows around the
# clock, the clock moved on step by step; both ways to compute, rows and groups in the spool; the
# edge itself; and a window that moves by real time.
#
# PIPELINE_SEED repeats a run.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use OracleRows qw(seed_rows chance pick);
use PipelineTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{PIPELINE_SEED} || time % 1_000_000;
note("PIPELINE_SEED=$seed");
seed_rows($seed);

# A zone with daylight saving time: columns without a zone are read as the view's creator did.
my $zone = pick('UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe');
my $node = new_node('windows', log_statement => 'none', TimeZone => $zone);
sub sql { return $node->safe_psql('postgres', join '', @_); }

# ---- views ------------------------------------------------------------------------------------

my $columns = 'ts timestamptz, lt timestamp, d date, i2 int2, i4 int4, i8 int8, num numeric,
    f8 float8, b bool, t text, bits bit(8)';
sql("CREATE FOREIGN TABLE s ($columns) SERVER pipelinedb; CREATE TABLE o ($columns);
    CREATE TABLE dim (k int, name text); INSERT INTO dim SELECT g, 'n' || g % 3 FROM generate_series(-3, 5) g");

my @aggregates = ('count(*)', 'count(i4)',
    (map { my $column = $_; map { "$_($column)" } qw(sum avg min max) } qw(i2 i4 i8 num f8)),
    (map { my $column = $_; map { "round($_($column), 6)" } qw(stddev variance stddev_pop var_pop) }
        qw(i2 i4 i8 num)),
    'round(stddev(i4 * 0.5::float8)::numeric, 6)', 'round(corr(i4, i2)::numeric, 6)',
    'round(regr_slope(i4, i2)::numeric, 6)', 'regr_count(f8, i2)',
    'bool_and(b)', 'bool_or(b)', 'every(b)', 'bit_and(i4)', 'bit_or(i8)', 'bit_or(bits)', 'max(t)',
    'min(ts)', 'max(d)', 'sum(i4) FILTER (WHERE b)', 'count(*) FILTER (WHERE i2 > 0)',
    'coalesce(sum(i4), 0) + count(*)', 'max(i4) - min(i4)');
# [ GROUP BY, what of it is shown ]
my @keys = (
    (map { [ $_, $_ ] } 'i2', 'b', 't', 'b, t', 'num', 'd'),
    [ 'i2 % 3', 'i2 % 3 AS m' ],
    [ 'upper(t), b', 'b, upper(t) AS u' ],
    [ "date_trunc('hour', ts)", "date_trunc('hour', ts) AS h" ],
    [ 'i2, b', 'i2' ],
    [ 'ROLLUP (b, t)', 'b, t, GROUPING(b, t) AS g' ],
    [ 'CUBE (i2, b)', 'i2, b' ],
    [ 'GROUPING SETS ((b), (t), ())', 'b, t' ],
    [ 'GROUPING SETS ((i2, b), (t))', 'GROUPING(t) AS g, i2, b, t' ],
    [ 'b, ROLLUP (t)', 'b, t' ]);
my @windows = ('10 seconds', '1 minute', '1 hour', '1 day', '2 days 1 hour', '1 month', '2 months 3 days', '01:30:07.25', '1.5 seconds');
my %length = map { $_ => sql("SELECT round(extract(epoch FROM interval '$_') * 1000000)") } @windows;
my @times = ('ts', 'ts', 'ts', 'lt', 'd', 'to_timestamp(f8)', "ts + interval '5 minutes'");
# An integer is in percent, a number with a point a share of one.
my %percent = ('' => 5, 'step_factor=1' => 1, 'step_factor=50' => 50, "step_factor='12'" => 12,
    'step_factor=0.25' => 25, "step_factor='0.3'" => 30);
my @factors = sort keys %percent;

# [ name, statement that creates the view, query over the table ]
sub select_and_group {
    my $kind = chance(8);
    return ('SELECT ts, i4, t', '') if $kind == 0;
    return ('SELECT DISTINCT b, i2', '') if $kind == 1;
    my ($group, $shown) = $kind == 2 ? () : @{pick(@keys)};
    my $n = 0;
    my @columns = map { "$_ AS a" . $n++ } map { pick(@aggregates) } 0 .. 1 + chance(5);
    return ('SELECT ' . join(', ', $shown // (), @columns), $group ? "GROUP BY $group" : '');
}

sub from {
    return 'SOURCE' if chance(5);
    return pick('SOURCE JOIN dim ON dim.k = SOURCE.i2', 'SOURCE LEFT JOIN dim ON dim.k = SOURCE.i2',
        '(SELECT * FROM SOURCE WHERE i2 IS NOT NULL) SOURCE');
}

my @views;
for my $i (1 .. 24) {
    my ($window, $time, $factor) = (pick(@windows), pick(@times), pick(@factors));
    my $size = "interval '$window'";
    # A day of a window is 24 hours.
    my $hours = $window =~ /month/ ? $size : "interval '$length{$window} microseconds'";
    my $step = int($length{$window} * $percent{$factor} / 100);
    $step = 1_000_000 if $step < 1_000_000;
    my ($select, $group) = select_and_group();
    my $begin = "$select FROM " . from() . ' WHERE ' . pick('i4 > -40', 'true');
    my @conditions = ("$time > clock_timestamp() - $size", "clock_timestamp() - $size < $time",
        "$time >= clock_timestamp() - $size");
    my @options = $factor ne '' ? $factor : ();
    if ($time =~ /^\w+$/ && chance(2)) {
        push @options, "sw='$window'", 'sw_column=' . pick($time, "'$time'");
        @conditions = ('true');
    }
    my $with = @options ? 'WITH (' . join(', ', @options) . ')' : '';
    # Rows that are not aggregated are kept with their own time.
    my $in = $select =~ /^SELECT ts, i4/ ? "($time)::timestamptz"
        : "date_bin('$step microseconds', ($time)::timestamptz, '2000-01-01 00:00:00+00')";
    push @views, [ "w$i",
        "CREATE VIEW w$i $with AS $begin AND " . pick(@conditions) . " $group",
        "$begin AND $in > pipelinedb.clock() - $hours $group" ];
    $views[-1][1] =~ s/SOURCE/s/g;
    $views[-1][2] =~ s/SOURCE/o/g;
}
for my $view (@views) {
    my ($out, @errors) = run_script($node, "SET client_min_messages = warning; $view->[1];");
    die "$view->[1]: @errors" if @errors;
}

# ---- rows -------------------------------------------------------------------------------------

sub rows {
    my ($n, $reach) = @_;
    my $time = "pipelinedb.clock() + (random() * 2 - 1.5) * interval '$reach'";
    return "INSERT INTO o SELECT CASE WHEN r < 0.01 THEN NULL WHEN r < 0.02 THEN 'infinity'
            WHEN r < 0.03 THEN '-infinity' ELSE tz END,
        CASE WHEN r BETWEEN 0.05 AND 0.06 THEN 'infinity' WHEN r > 0.07 THEN tz::timestamp END,
        CASE WHEN r > 0.1 THEN tz::date END,
        (array[0, 1, 2, 3, -3, NULL])[1 + random() * 5], (random() * 100 - 50)::int,
        (random() * 1e12)::int8, round((random() * 10)::numeric, 0) / 2,
        CASE WHEN r > 0.05 THEN round(extract(epoch FROM tz)) END, random() < 0.5,
        (array['a', 'b', 'C', '', NULL])[1 + random() * 4], (random() * 255)::int::bit(8)
        FROM (SELECT random() AS r, $time AS tz FROM generate_series(1, $n)) x;\n";
}

# The rows that are new in the table go to the stream, in statements of their own.
my $sent = 0;
sql('ALTER TABLE o ADD COLUMN n serial');
sub send_rows {
    my ($after, $n, $reach) = @_;
    my $names = 'ts, lt, d, i2, i4, i8, num, f8, b, t, bits';
    sql(rows($n, $reach));
    my $half = $sent + int($n / 3);
    sql("SET pipelinedb.preaggregate_after = $after; INSERT INTO s SELECT $names FROM o WHERE n > $sent AND n <= $half;
        INSERT INTO s SELECT $names FROM o WHERE n > $half;");
    $sent = sql('SELECT max(n) FROM o');
}

sub compare {
    my ($name) = @_;
    wait_folded($node);
    my $script = '';
    for my $view (@views) {
        my ($name, undef, $query) = @$view;
        $script .= "SELECT '$name', x::text FROM ((TABLE $name EXCEPT ALL $query) UNION ALL (($query) EXCEPT ALL TABLE $name)) x LIMIT 3;\n";
    }
    # By psql -f: statements of one message would share a clock, and what expires meanwhile is removed.
    my ($differing, @errors) = run_script($node, $script);
    chomp $differing;
    is("$differing@errors", '', $name);
    if ($differing =~ /^(w\d+)/) {
        my ($view) = grep { $_->[0] eq $1 } @views;
        diag("PIPELINE_SEED=$seed\n$view->[1]\n$view->[2]");
    }
}

# A window of months goes by the calendar and stands still at the end of a month, where what is expired
# is not what readers a day later leave out. So the test begins on the third.
my $offset = 0;
sub move_clock { $offset += $_[0]; set_server($node, 'pipelinedb.clock_offset' => $offset); }

move_clock(sql("SELECT extract(epoch FROM date_trunc('month', now()) + interval '1 month 2 days 12 hours' - now())::int"));
compare('no row yet');
my @turns = ([ -1, 400, '10 seconds', 3 ], [ 0, 2000, '1 minute', 20 ], [ 0, 1500, '1 hour', 1800 ], [ -1, 300, '1 day', 3600 ],
    [ -1, 1500, '20 seconds', 2 ], [ 0, 300, '3 months', 86400 * 3 ], [ -1, 2000, '1 month', 86400 * 20 ], [ 0, 100, '5 seconds', 1 ]);
for my $turn (0 .. $#turns) {
    my ($after, $n, $reach, $on) = @{$turns[$turn]};
    set_server($node, 'pipelinedb.vectorize' => $turn % 3 == 1 ? 'off' : 'on');
    send_rows($after, $n, $reach);
    compare("turn $turn: rows around the clock");
    move_clock($on);
    compare("turn $turn: $on seconds later");
}
move_clock(86400 * 200);
compare('everything is behind the windows');
views_are_active($node);
is(sql('SELECT count(*) FROM pipelinedb.errors'), '0', 'no row was rejected');

# ---- a dump and its restore ---------------------------------------------------------------------

# Rows that are still in a window of the views, and one whose total is of no row.
send_rows(-1, 300, '1 hour');
wait_folded($node);
sub dump_to { my ($database, @options) = @_;
    my $file = $node->basedir . "/$database.dump";
    sql("CREATE DATABASE $database");
    $node->command_ok([ 'pg_dump', '-Fc', '-f', $file, @options, $node->connstr('postgres') ], "$database: dumped");
    $node->command_ok([ 'pg_restore', '-j', 2, '-d', $node->connstr($database), $file ], "$database: restored"); }
sub read_all { my ($database) = @_;
    return $node->safe_psql($database, join '', map { "SELECT '$_->[0]', x::text FROM $_->[0] x ORDER BY 2;\n" } @views); }
# A step may end between the two readings.
sub same {
    my ($database) = @_;
    my $same = 0;
    for (1 .. 20) {
        last if $same = read_all('postgres') eq read_all($database);
    }
    ok($same, "$database: the same windows") or diag("PIPELINE_SEED=$seed");
}
dump_to('copy');
same('copy');
my $row = "INSERT INTO s (ts, lt, d, i2, i4, f8, b, t) SELECT c, c, c, 1, 2, extract(epoch FROM c), true, 'new'
    FROM (SELECT date_trunc('second', pipelinedb.clock()) - interval '1 second' AS c) x; SELECT pipelinedb.flush()";
sub in_both { $node->safe_psql($_, $_[0]) for 'postgres', 'copy'; }
in_both($row);
# Views over rows show when these came, which is not quite the same.
is($node->safe_psql('copy', "SELECT state FROM pipelinedb.views WHERE state <> 'active'"), '', 'restored views are folded');
is($node->safe_psql('copy', 'SELECT count(*) FROM pipelinedb.query WHERE expire_after IS NULL'), 0, 'and expire');
move_clock(86400 * 200);
$node->poll_query_until('copy', "SELECT count(*) = 0 FROM w1_mrel WHERE $_ < now()") for
    $node->safe_psql('copy', "SELECT quote_ident(attname) FROM pg_attribute a JOIN pipelinedb.query q
        ON (a.attrelid, a.attnum) = (q.matrel, q.expire_column) WHERE q.view = 'w1'::regclass");
compare('after the dump');

# ---- as blocks, and by the writer -----------------------------------------------------------------

sql('DROP FOREIGN TABLE s CASCADE; CREATE FOREIGN TABLE s (ts timestamptz, lt timestamp, k int) SERVER pipelinedb;
    CREATE VIEW f1 WITH (sw = \'1 hour\', sw_column = ts) AS SELECT k, count(*) FROM s GROUP BY k;
    CREATE VIEW f2 AS SELECT k, count(*) FROM s WHERE lt > clock_timestamp() - interval \'1 day\' GROUP BY k;
    CREATE VIEW f3 WITH (sw = \'1 hour\') AS SELECT sum(k) FROM s');
my $spooled = q{DO $$ DECLARE id int; BEGIN FOR id IN SELECT g.id FROM pipelinedb.generation g LOOP
    EXECUTE format('INSERT INTO sources SELECT coalesce(c.relname::text, s.stream::text) FROM pipelinedb.spool_%s s
        LEFT JOIN pg_class c ON c.oid = s.stream WHERE s.xid = pg_current_xact_id_if_assigned()', id); END LOOP; END $$;
    SELECT string_agg(DISTINCT source, ' ' ORDER BY source) FROM sources;};
is(sql("SET pipelinedb.preaggregate_after = 0; CREATE TEMP TABLE sources (source text); BEGIN;
    INSERT INTO s SELECT now() - g * interval '1 second', localtimestamp, g % 7 FROM generate_series(1, 3000) g; $spooled ROLLBACK"),
    'f1_def f2_def f3_def', 'a writer leaves groups by step');

# ---- the edge -----------------------------------------------------------------------------------

# Steps of 6 minutes. What is in the window of the reader is all that is younger than the window
# less a step, and nothing that is older than the window.
sql('CREATE VIEW edge WITH (sw = \'1 hour\', sw_column = ts, step_factor = 10) AS SELECT count(*), min(ts), max(ts) FROM s;
    INSERT INTO s SELECT date_trunc(\'minute\', pipelinedb.clock()) + g * interval \'1 second\' FROM generate_series(-7200, 600) g');
wait_folded($node);
my $exact = q{SELECT bool_and(min > pipelinedb.clock() - interval '1 hour' AND min <= pipelinedb.clock() - interval '54 minutes 1 second' + interval '2 seconds'
    AND extract(epoch FROM min)::int8 % 360 = 0 AND max >= pipelinedb.clock()
    AND count = extract(epoch FROM max - min)::int8 + 1) FROM edge};
for (1 .. 5) {
    is(sql($exact), 't', "exact to one step after $offset seconds");
    move_clock(131);
}

# ---- real time ------------------------------------------------------------------------------------

sql('CREATE VIEW live WITH (sw = \'2 seconds\') AS SELECT count(*) FROM s; CREATE VIEW live_rows WITH (sw = \'2 seconds\') AS SELECT k FROM s;
    SELECT pipelinedb.flush(); INSERT INTO s (k) VALUES (1)');
my $begun = time;
is(sql('SELECT count(*) FROM live_rows'), 1, 'a row that has just come is in the window');
$node->poll_query_until('postgres', 'SELECT count = 0 FROM live') or die 'the window does not move';
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM live_rows') or die 'the rows stay';
my $took = time - $begun;
cmp_ok($took, '>=', 1.0, 'it stays as long as the window less a step');
cmp_ok($took, '<', 20, 'and leaves with it');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM live_mrel') or die 'expired rows stay';
views_are_active($node);

$node->stop;
done_testing();
