# Reading a large continuous view by its key, and time zones.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $groups = $ENV{PIPELINE_GROUPS} // 1_000_000;

# Without autovacuum nobody but the test says when the tables have statistics.
my $node = new_node('main', autovacuum => 'off', timezone => 'Asia/Tokyo', max_wal_size => '2GB');

# ---- point reads ---------------------------------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
CREATE FOREIGN TABLE events (k1 int, k2 int, work_date date, worker varchar(20), n int) SERVER pipelinedb;
CREATE VIEW by_number AS SELECT k1, k2, count(*) AS cnt, sum(n) AS total, avg(n) AS mean
  FROM events GROUP BY k1, k2;
CREATE VIEW by_name AS SELECT work_date, worker, count(*) AS cnt, avg(n) AS mean
  FROM events GROUP BY work_date, worker;
SQL
my $half = $groups / 2;
for my $start (1, $half + 1) {
    my $stop = $start + $half - 1;
    $node->safe_psql('postgres', "INSERT INTO events SELECT i % 1000, i / 1000, DATE '2026-01-01' + i % 1000,
        'worker ' || i / 1000, i FROM generate_series($start, $stop) i");
}
wait_folded($node);
is($node->safe_psql('postgres', 'SELECT count(*), sum(cnt) FROM by_number'), "$groups|$groups", 'all groups by number');
is($node->safe_psql('postgres', 'SELECT count(*), sum(cnt) FROM by_name'), "$groups|$groups", 'all groups by name');

# A prepared statement of both keys, and the plan that it gets without knowing their values.
my %reads = (
    by_number => [ '(int, int)', 'k1 = $1 AND k2 = $2', '7, 3', 'k1 k2', '3007' ],
    by_name => [ '(date, text)', 'work_date = $1 AND worker = $2', "'2026-01-08', 'worker 3'", 'work_date worker', '3007' ],
);

sub nodes_of {
    my ($json) = @_;
    return $json =~ /"Node Type": "([^"]+)"/g;
}

for my $analysed (0, 1) {
    my $when = $analysed ? 'with statistics' : 'without statistics';
    $node->safe_psql('postgres', 'ANALYZE') if $analysed;
    for my $view (sort keys %reads) {
        my ($types, $where, $values, $keys, $mean) = @{ $reads{$view} };
        my $plan = $node->safe_psql('postgres', "SET plan_cache_mode = force_generic_plan;
            PREPARE p $types AS SELECT cnt, mean FROM $view WHERE $where;
            EXPLAIN (FORMAT JSON) EXECUTE p ($values)");
        # Without statistics the server takes two keys for 50 rows and uses a bitmap of the index.
        my $scan = join ' ', grep { $_ ne 'Subquery Scan' } nodes_of($plan);
        like($scan, $analysed ? qr/^Index Scan$/ : qr/^(Bitmap Heap Scan Bitmap )?Index Scan$/,
            "$view $when: a generic plan is an index scan") or diag($plan);
        my ($condition) = $plan =~ /"Index Cond": "([^"]*)"/;
        like($condition // '', qr/\b$_\b.* = \$/, "$view $when: the index serves $_") for split / /, $keys;
        unlike($plan, qr/"Filter"/, "$view $when: nothing is left to filter");
        is($node->safe_psql('postgres', "SET plan_cache_mode = force_generic_plan;
            PREPARE p $types AS SELECT cnt, mean::int FROM $view WHERE $where; EXECUTE p ($values)"),
            "1|$mean", "$view $when: the right row");
    }
}

# Latency as a client sees it: prepared statements over the protocol, logged one by one.
my %scripts = (
    by_number => '\set k random(1, :groups)
SELECT 1 / (sum(cnt) = 1)::int FROM by_number WHERE k1 = :k % 1000 AND k2 = :k / 1000;',
    by_name => '\set k random(1, :groups)
SELECT 1 / (sum(cnt) = 1)::int FROM by_name WHERE work_date = DATE \'2026-01-01\' + (:k % 1000)::int AND worker = \'worker \' || (:k / 1000)::int;',
);
for my $view (sort keys %scripts) {
    my $folder = PostgreSQL::Test::Utils::tempdir();
    append_to_file("$folder/read.sql", $scripts{$view} . "\n");
    local $ENV{PGOPTIONS} = '-c plan_cache_mode=force_generic_plan';
    my $read = sub {
        my ($count) = @_;
        my ($out, $errors);
        unlink glob "$folder/log*";
        IPC::Run::run([ 'pgbench', '-n', '-M', 'prepared', '-t', $count, '-D', "groups=$groups", '-l',
            "--log-prefix=$folder/log", '-f', "$folder/read.sql", '-d', $node->connstr('postgres') ],
            '>', \$out, '2>', \$errors) or die "pgbench: $errors";
        my ($log) = glob "$folder/log*";
        return sort { $a <=> $b } map { (split)[2] } split /\n/, slurp_file($log);
    };
    is(scalar(() = $read->(5000)), 5000, "$view: 5000 reads, each of the right row"); # and caches are warm
    my @latencies;
    my $median = best_of(1000, sub { @latencies = $read->(1000); return $latencies[500] });
    is(scalar @latencies, 1000, "$view: 1000 latencies");
    cmp_ok($median, '<', 1000, "$view: p50 is under 1 ms");
    note("$view: p50 $median us, p99 $latencies[990] us, maximum $latencies[999] us");
}

# ---- time zones ------------------------------------------------------------------------------

# What the creator's settings decide is computed by the fold worker, or belongs to a key.
my $query = "SELECT ts::date AS day, extract(hour FROM ts)::int AS hour, to_char(ts, 'YYYY-MM-DD HH24 TZ') AS shown,
    date_trunc('day', ts) AS midnight, count(*), min(ts), max(ts), max(ts::text) AS latest, count(lt) AS local,
    count(*) FILTER (WHERE ts >= '2024-03-10 00:00') AS since, sum(extract(epoch FROM ts - lt)) AS away
  FROM SOURCE GROUP BY 1, 2, 3, 4";
my $creator = "SET TimeZone = 'America/New_York'; SET DateStyle = 'SQL, MDY'; SET IntervalStyle = 'sql_standard'";
my @writers = ("SET TimeZone = 'Australia/Adelaide'; SET DateStyle = 'ISO, DMY'",
    "SET TimeZone = 'UTC'; SET DateStyle = 'German'", "SET TimeZone = '+13'",
    "SET TimeZone = 'America/New_York'; SET IntervalStyle = 'iso_8601'", 'RESET ALL');

$node->safe_psql('postgres', 'CREATE FOREIGN TABLE st (ts timestamptz, lt timestamp) SERVER pipelinedb;
    CREATE TABLE tb (ts timestamptz, lt timestamp)');
$node->safe_psql('postgres', "$creator; CREATE VIEW zv AS " . $query =~ s/SOURCE/st/r);

sub write_rows {
    for my $writer (@writers) {
        for my $target (qw(st tb)) {
            # Around midnight and the change of clocks in New York; text, literals and casts that
            # depend on the writer's own settings.
            $node->safe_psql('postgres', "$writer; INSERT INTO $target
                SELECT t, t FROM generate_series('2024-03-09 12:00'::timestamptz, '2024-03-11 12:00', '3 hours 17 minutes') t;
                INSERT INTO $target VALUES ('2024-03-10 06:59:59.999999+00', '2024-03-10 02:30'),
                    ('10/03/2024 23:30', NULL), ('2024-11-03 01:30', '11/03/2024 01:30')");
        }
    }
    wait_folded($node);
}

sub zones_agree {
    my ($when) = @_;
    for my $reader ('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Pacific/Apia') {
        # The table's groups are formed with the creator's settings and shown with the reader's.
        my $expected = $node->safe_psql('postgres', "$creator; CREATE TEMP TABLE t AS " . $query =~ s/SOURCE/tb/r
            . "; RESET ALL; SET TimeZone = '$reader'; SELECT * FROM t ORDER BY t");
        my $shown = $node->safe_psql('postgres', "SET TimeZone = '$reader'; SELECT * FROM zv v ORDER BY v");
        is($shown, $expected, "$when, reader in $reader: view and table agree");
    }
}

write_rows();
zones_agree('server in Tokyo');
$node->append_conf('postgresql.conf', "timezone = 'Pacific/Marquesas'\ndatestyle = 'German'");
$node->restart;
write_rows();
zones_agree('server moved to the Marquesas');

# What is done to a result belongs to the reader, as in any view.
$node->safe_psql('postgres', "$creator; CREATE VIEW last AS SELECT max(ts)::date AS day, max(ts) AS ts FROM st;
    INSERT INTO st VALUES ('2024-06-01 23:30+00')");
is($node->safe_psql('postgres', "SET DateStyle = ISO; SET TimeZone = '$_'; SELECT day FROM last"),
    $node->safe_psql('postgres', "SET DateStyle = ISO; SET TimeZone = '$_'; SELECT '2024-06-01 23:30+00'::timestamptz::date"),
    "a cast of max() in $_") for qw(UTC Asia/Tokyo America/New_York);

# The time of writing is a point in time wherever the writer is.
$node->safe_psql('postgres', 'CREATE FOREIGN TABLE arrivals (x int) SERVER pipelinedb;
    CREATE VIEW arrived AS SELECT x, min(arrival_timestamp) AS first, max(arrival_timestamp) AS last FROM arrivals GROUP BY x');
for my $zone ('UTC', 'Asia/Tokyo', 'America/New_York') {
    my ($before, undef, $after) = split /\n/, $node->safe_psql('postgres', "SET TimeZone = '$zone'; SET DateStyle = ISO;
        SELECT clock_timestamp() AT TIME ZONE 'UTC'; INSERT INTO arrivals VALUES (1) RETURNING NULL; SELECT clock_timestamp() AT TIME ZONE 'UTC'");
    is($node->safe_psql('postgres', "SELECT last BETWEEN '$before Z' AND '$after Z' FROM arrived"), 't', "arrival_timestamp of a writer in $zone");
}

views_are_active($node);
$node->stop;
done_testing();
