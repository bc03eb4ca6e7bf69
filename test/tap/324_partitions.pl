# Views with a partitioned table: the same as a query over a plain table, on every path; partitions
# come in the tick that needs them, and go when their rows have expired, past readers; a dump brings
# all of it back; a crash in between loses nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints qw(crashed_at wait_until);
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('partitions', autovacuum => 'off', timezone => 'Australia/Lord_Howe', wal_level => 'replica',
    max_wal_senders => 4);
my %views = (
    hours  => [ q{date_trunc('hour', ts, 'UTC') AS at, k, count(*) AS n, sum(x) AS sum, avg(x) AS avg}, '1 hour', 'GROUP BY at, k' ],
    months => [ q{k, ts::date AS at, count(*) AS n}, '1 month', 'GROUP BY k, at' ],
    flat   => [ q{k, t AS at, x}, '3 hours', '' ],
);
my $script = q{CREATE FOREIGN TABLE s (k int, ts timestamptz, t timestamp, x int) SERVER pipelinedb;
    CREATE TABLE plain (k int, ts timestamptz, t timestamp, x int);};
$script .= "CREATE VIEW $_ WITH (partition_by = at, partition_duration = '$views{$_}[1]', ttl = '1 day', ttl_column = 'at')
    AS SELECT $views{$_}[0] FROM s $views{$_}[2];\n" for sort keys %views;
$node->safe_psql('postgres', $script);

# Without a time no row has a partition.
sub oracle {
    my ($name) = @_;
    my ($columns, undef, $group) = @{ $views{$name} };
    my $time = { hours => 'at', months => q{(at::timestamp AT TIME ZONE 'Australia/Lord_Howe')},
        flat => q{(at AT TIME ZONE 'Australia/Lord_Howe')} }->{$name};
    return "SELECT * FROM (SELECT $columns FROM plain WHERE ts IS NOT NULL $group) q WHERE $time > pipelinedb.clock() - interval '24 hours'";
}

sub views_are_right {
    my ($where, $db) = @_;
    my $wrong = join ' UNION ALL ', map { my $oracle = oracle($_);
        "SELECT '$_', count(*) FROM ((TABLE $_ EXCEPT ALL $oracle) UNION ALL ($oracle EXCEPT ALL TABLE $_)) d" } sort keys %views;
    is($node->safe_psql($db // 'postgres', "SELECT * FROM ($wrong) w WHERE count > 0"), '', "views are right $where");
}

my $round = 0;
sub write_rows {
    my ($count, $setting) = @_;
    $round++;
    my $target = $setting // '';
    $node->safe_psql('postgres', "$target BEGIN;
        SELECT setseed(0.0$round);
        CREATE TEMP TABLE fresh ON COMMIT DROP AS
            SELECT (random() * 20)::int AS k, pipelinedb.clock() + (random() * 86400 * 1.5 - 86400) * interval '1 second' AS ts, (random() * 1000)::int AS x
            FROM generate_series(1, $count);
        UPDATE fresh SET ts = NULL WHERE random() < 0.003;
        INSERT INTO s SELECT k, ts, ts, x FROM fresh;
        INSERT INTO plain SELECT k, ts, ts, x FROM fresh;
        COMMIT");
    wait_folded($node);
}

sub partitions { my ($name, $db) = @_; return $node->safe_psql($db // 'postgres', "SELECT count(*) FROM pg_inherits WHERE inhparent = '${name}_mrel'::regclass") }

my $offset = 0;
write_rows(3000);
views_are_right('after the first rows');
cmp_ok(partitions('hours'), '>', 30, 'there are partitions');
set_server($node, 'pipelinedb.vectorize' => 'off');
write_rows(2000);
views_are_right('without the vectorised path');
set_server($node, 'pipelinedb.vectorize' => 'on');
write_rows(3000, 'SET pipelinedb.preaggregate_after = 0;');
views_are_right('from a writer that may aggregate');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT sqlstate, ' ') FROM pipelinedb.errors}), '23502', 'rows without a time are rejected');

# ---- other views are not held up, one that is locked comes later ---------------------------------

$node->safe_psql('postgres', 'CREATE VIEW total AS SELECT count(*) AS n FROM s');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE hours_mrel IN SHARE UPDATE EXCLUSIVE MODE');
$node->safe_psql('postgres', q{INSERT INTO s SELECT 1, pipelinedb.clock() + interval '3 days', NULL, 1});ok($node->poll_query_until('postgres', 'SELECT n = 1 FROM total'), 'others are folded while no partition can be made');
$session->query_safe('COMMIT');
wait_folded($node);
is($node->safe_psql('postgres', q{SELECT count(*) FROM hours WHERE at > pipelinedb.clock() + interval '2 days'}), 1, 'then it is made');
$node->safe_psql('postgres', 'TRUNCATE plain');
$node->safe_psql('postgres', "SELECT pipelinedb.truncate_continuous_view('$_')") for sort keys %views;
write_rows(1000);
views_are_right('after a truncation');

# ---- retention, past a reader -------------------------------------------------------------------

my $before = partitions('hours');
$session->query_safe('BEGIN; SELECT count(*) FROM flat');
set_server($node, 'pipelinedb.clock_offset' => $offset += 20 * 3600);
views_are_right('when the clock has moved');
ok($node->poll_query_until('postgres', q{SELECT count(*) < 25 FROM pg_inherits WHERE inhparent = 'hours_mrel'::regclass}), 'partitions are dropped');
cmp_ok(partitions('flat'), '>', 8, 'but for those that somebody reads');
my $begun = time;
$node->safe_psql('postgres', 'SELECT count(*) FROM flat') for 1 .. 50;
cmp_ok(time - $begun, '<', 15, 'other readers are not held up');
$session->query_safe('COMMIT');
ok($node->poll_query_until('postgres', q{SELECT count(*) <= 9 FROM pg_inherits WHERE inhparent = 'flat_mrel'::regclass}), 'they follow');
$session->quit;
views_are_right('then');
write_rows(1000);
views_are_right('and later');
views_are_active($node);

# ---- crash, dump ---------------------------------------------------------------------------------

$node->append_conf('postgresql.conf', 'restart_after_crash = on');
my $log = -s $node->logfile;
$node->safe_psql('postgres', q{ALTER SYSTEM SET pipelinedb.stop_points = 'fold_after_progress:crash'});
$node->reload;
eval { $node->psql('postgres', q{INSERT INTO s SELECT 5, pipelinedb.clock() + interval '5 days', pipelinedb.clock() + interval '5 days', 1}) };
crashed_at($node, 'fold_after_progress', $log) or die 'no crash';
wait_folded($node);
is($node->safe_psql('postgres', q{SELECT n FROM hours WHERE k = 5 AND at > pipelinedb.clock() + interval '4 days'}), 1, 'a crash loses nothing');
$node->safe_psql('postgres', q{INSERT INTO plain SELECT 5, at, at, 1 FROM flat WHERE at > pipelinedb.clock() + interval '4 days'});

my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', $dump, 'postgres' ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', 'restored', '-j2', '--exit-on-error', $dump ], 'restore');
my $bounds = q{SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), (SELECT count(*) FROM pg_trigger WHERE tgrelid = c.oid), relreplident
    FROM pg_class c WHERE relispartition AND relkind = 'r' ORDER BY 1};
is($node->safe_psql('restored', $bounds), $node->safe_psql('postgres', $bounds), 'partitions are as they were');
is($node->safe_psql('restored', "SELECT * FROM $_ ORDER BY $_"), $node->safe_psql('postgres', "SELECT * FROM $_ ORDER BY $_"), "$_ is there")
    for sort keys %views;
$node->safe_psql('restored', q{INSERT INTO s SELECT 9, pipelinedb.clock() + interval '50 days', pipelinedb.clock() + interval '50 days', 1; SELECT pipelinedb.flush()});
is($node->safe_psql('restored', 'SELECT (SELECT count(*) FROM hours WHERE k = 9) > 0, (SELECT count(*) FROM flat WHERE k = 9) > 0'), 't|t', 'and counting goes on');
set_server($node, 'pipelinedb.clock_offset' => $offset += 100 * 86400);
ok($node->poll_query_until('restored', q{SELECT count(*) = 0 FROM pg_inherits WHERE inhparent = 'hours_mrel'::regclass}), 'also expiring');
views_are_active($node);
$node->stop;
done_testing();
