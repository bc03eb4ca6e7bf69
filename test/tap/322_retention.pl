# Views with a ttl: what readers see is the query over a plain table with the same condition,
# wherever the clock stands; what has expired is gone from the table soon, and its room is used
# again; an expired group begins anew; a dump brings the ttl back; a standby shows the same.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('retention', autovacuum => 'off', wal_level => 'replica', max_wal_senders => 4,
    hot_standby => 'on', timezone => 'America/New_York');

# name => [columns of the view, ttl in seconds, time as a timestamptz]
my %views = (
    by_minute => [ q{date_trunc('minute', ts) AS at, k, count(*) AS n, sum(x) AS sum}, 600, 'at', 'GROUP BY at, k' ],
    by_local  => [ q{k, t AS at, count(*) AS n, avg(x) AS avg}, 900, q{(at AT TIME ZONE 'America/New_York')}, 'GROUP BY k, at' ],
    by_date   => [ q{d AS at, count(*) AS n}, 86400, q{(at::timestamp AT TIME ZONE 'America/New_York')}, 'GROUP BY at' ],
    flat      => [ q{ts AS at, k, x}, 300, 'at', '' ],
);
my $script = q{CREATE FOREIGN TABLE s (k int, ts timestamptz, t timestamp, d date, x int) SERVER pipelinedb;
    CREATE TABLE plain (k int, ts timestamptz, t timestamp, d date, x int);};
for my $name (sort keys %views) {
    my ($columns, $ttl, undef, $group) = @{ $views{$name} };
    $script .= "CREATE VIEW $name WITH (ttl = '$ttl seconds', ttl_column = 'at') AS SELECT $columns FROM s $group;\n";
}
$node->safe_psql('postgres', $script);

sub oracle {
    my ($name) = @_;
    my ($columns, $ttl, $time, $group) = @{ $views{$name} };
    return "SELECT * FROM (SELECT $columns FROM plain $group) q
        WHERE ($time > pipelinedb.clock() - interval '$ttl seconds') IS NOT FALSE";
}

# All in one statement: the clock is the same.
sub views_are_right {
    my ($where, $on) = @_;
    $on //= $node;
    my $wrong = join ' UNION ALL ', map { my $oracle = oracle($_);
        "SELECT '$_', count(*) FROM ((TABLE $_ EXCEPT ALL $oracle) UNION ALL ($oracle EXCEPT ALL TABLE $_)) d" } sort keys %views;
    is($on->safe_psql('postgres', "SELECT * FROM ($wrong) w WHERE count > 0"), '', "views are right $where");
}

# Within ten seconds no table has an expired row.
sub nothing_is_left {
    my ($where) = @_;
    my $left = join ' + ', map { my (undef, $ttl, $time) = @{ $views{$_} };
        "(SELECT count(*) FROM ${_}_mrel WHERE $time <= pipelinedb.clock() - interval '$ttl seconds')" } sort keys %views;
    my $begun = time;
    ok($node->poll_query_until('postgres', "SELECT $left = 0"), "nothing expired is left $where");
    cmp_ok(time - $begun, '<', 10, 'after ten seconds');
}

my $round = 0;
sub write_rows {
    my ($count) = @_;
    $round++;
    # Around the clock, on both sides of what expires; some without a time, or with an endless one.
    $node->safe_psql('postgres', "BEGIN;
        SELECT setseed(0.$round);
        CREATE TEMP TABLE fresh ON COMMIT DROP AS
            SELECT (random() * 20)::int AS k, pipelinedb.clock() + (random() * 2400 - 1200) * interval '1 second' AS ts, (random() * 1000)::int AS x
            FROM generate_series(1, $count);
        UPDATE fresh SET ts = CASE WHEN random() < 0.5 THEN NULL ELSE CASE WHEN random() < 0.5 THEN 'infinity'::timestamptz ELSE '-infinity' END END
            WHERE random() < 0.02;
        INSERT INTO s SELECT k, ts, ts, ts, x FROM fresh;
        INSERT INTO plain SELECT k, ts, ts, ts, x FROM fresh;
        COMMIT");
    wait_folded($node);
}

my $offset = 0;
for my $step (0, 200, 500, 3600, 90000) {
    $offset += $step;
    set_server($node, 'pipelinedb.clock_offset' => $offset);
    views_are_right("when the clock has moved $step s");
    write_rows(2000);
    views_are_right('after more rows');
    nothing_is_left('then') if $step;
    views_are_right('when it is removed');
}
set_server($node, 'pipelinedb.vectorize' => 'off');
write_rows(2000);
views_are_right('without the vectorised path');
set_server($node, 'pipelinedb.vectorize' => 'on');
$node->safe_psql('postgres', 'SET pipelinedb.preaggregate_after = 0;' . q{
    INSERT INTO s SELECT 1, pipelinedb.clock(), NULL, NULL, 1 FROM generate_series(1, 1000)});
$node->safe_psql('postgres', 'TRUNCATE plain');
$node->safe_psql('postgres', "SELECT pipelinedb.truncate_continuous_view('$_')") for sort keys %views;
write_rows(500);
views_are_right('after a truncation');

# ---- a group that has expired begins anew -------------------------------------------------------

$node->safe_psql('postgres', q{CREATE VIEW sessions WITH (ttl = '10 minutes', ttl_column = 'last') AS
    SELECT k, count(*) AS n, min(ts) AS first, max(ts) AS last FROM s WHERE k >= 1000 GROUP BY k});
for my $vectorize (qw(on off)) {
    set_server($node, 'pipelinedb.vectorize' => $vectorize);
    $node->safe_psql('postgres', q{INSERT INTO s SELECT 1000, pipelinedb.clock() FROM generate_series(1, 5);
        INSERT INTO s SELECT 1001, pipelinedb.clock() + interval '5 minutes' FROM generate_series(1, 5)});
    wait_folded($node);
    # Whether the row is still there when the next event comes makes no difference: first it is.
    my $session = $node->background_psql('postgres');
    $session->query_safe('BEGIN; SELECT FROM sessions_mrel WHERE k = 1000 FOR KEY SHARE');
    set_server($node, 'pipelinedb.clock_offset' => $offset += 660);
    is($node->safe_psql('postgres', 'SELECT k, n FROM sessions'), '1001|5', 'an expired group is not seen');
    is($node->safe_psql('postgres', 'SELECT count(*) FROM sessions_mrel WHERE k = 1000'), 1, '... but there');
    $session->query_safe('COMMIT; BEGIN; LOCK TABLE sessions_mrel IN SHARE MODE');
    $node->safe_psql('postgres', 'INSERT INTO s SELECT k, pipelinedb.clock() FROM generate_series(1000, 1001) k');
    $session->query_safe('COMMIT');
    $session->quit;
    wait_folded($node);
    is($node->safe_psql('postgres', 'SELECT k, n FROM sessions ORDER BY k'), "1000|1\n1001|6", 'it begins anew');
    set_server($node, 'pipelinedb.clock_offset' => $offset += 1000);
    ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM sessions_mrel'), 'and expires again');
}
views_are_active($node);

# ---- bloat -----------------------------------------------------------------------------------------

# Twenty times what is kept goes through; VACUUM comes often, as it does where there is load.
$node->safe_psql('postgres', q{CREATE VIEW stream_of_groups WITH (ttl = '100 seconds', ttl_column = 'at') AS
    SELECT ts AS at, k, count(*) FROM s GROUP BY at, k});
set_server($node, autovacuum_naptime => '1s', autovacuum => 'on');
sub size_of { return map { $_ / 1024 } split /\|/, $node->safe_psql('postgres',
    "SELECT pg_relation_size('stream_of_groups_mrel'), pg_indexes_size('stream_of_groups_mrel')") }
my @steady;
for my $i (1 .. 41) {
    set_server($node, 'pipelinedb.clock_offset' => $offset += 50);
    $node->safe_psql('postgres', q{INSERT INTO s SELECT i, pipelinedb.clock() + interval '1 ms' * i FROM generate_series(1, 3000) i;
        SELECT pipelinedb.flush()});
    $node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM stream_of_groups_mrel WHERE at < pipelinedb.clock() - interval '100 seconds'});
    @steady = size_of() if $i == 4;
}
my @size = size_of();
diag(sprintf 'kB of table and index after 2 and 20 lengths of the ttl: %d + %d and %d + %d', @steady, @size);
cmp_ok($size[$_], '<', 2.5 * $steady[$_], (qw(table index))[$_] . ': room is used again') for 0 .. 1;
set_server($node, autovacuum => 'off');
$node->safe_psql('postgres', 'DROP VIEW stream_of_groups');

# ---- dump and standby ------------------------------------------------------------------------------

$node->safe_psql('postgres', 'TRUNCATE plain');
$node->safe_psql('postgres', "SELECT pipelinedb.truncate_continuous_view('$_')") for sort keys %views;
write_rows(1000);
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
write_rows(1000);
$node->wait_for_catchup($standby);
views_are_right('on a standby', $standby);

$node->safe_psql('postgres', q{CREATE VIEW keyed WITH (pk = 'k', ttl = '1 hour', ttl_column = 'last') AS
        SELECT k, max(ts) AS last, count(*) FROM s GROUP BY k;
    CREATE VIEW keyed_rows WITH (pk = 'x') AS SELECT k, x FROM s});
write_rows(100);
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fd', '-j2', '-f', $dump, 'postgres' ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', 'restored', '-j2', '--exit-on-error', $dump ], 'restore');
my $rules = 'SELECT view::regclass, expire_column, expire_after FROM pipelinedb.query ORDER BY view::regclass::text';
is($node->safe_psql('restored', $rules), $node->safe_psql('postgres', $rules), 'every ttl is there again');
my $content = 'SELECT * FROM by_minute ORDER BY at, k';
is($node->safe_psql('restored', $content), $node->safe_psql('postgres', $content), 'and all rows');
my $keys = q{SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' AND conname ~ 'keyed' ORDER BY 2};
like($node->safe_psql('postgres', $keys), qr/keyed_mrel\|keyed_mrel_pkey\|PRIMARY KEY \(k\)/, 'there are primary keys');
is($node->safe_psql('restored', $keys), $node->safe_psql('postgres', $keys), 'also in the restored database');
$node->safe_psql('restored', q{INSERT INTO s VALUES (1, now(), NULL, NULL, -1), (NULL, now(), NULL, NULL, -1); SELECT pipelinedb.flush()});
is($node->safe_psql('restored', q{SELECT name, state, rejected FROM pipelinedb.views WHERE name ~ 'keyed' ORDER BY 1}),
    "keyed|active|1\nkeyed_rows|active|1", 'where they reject rows as before');
set_server($node, 'pipelinedb.clock_offset' => $offset += 7 * 86400);
ok($node->poll_query_until('restored', 'SELECT count(*) = 0 FROM by_minute_mrel WHERE at < pipelinedb.clock()'),
    'they expire there, too');
$standby->stop;
$node->stop;
done_testing();
