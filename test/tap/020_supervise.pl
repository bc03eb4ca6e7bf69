# The launcher and the life of fold workers, waits for folding, statements about databases.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'pipeline_ext'
max_worker_processes = 8
max_prepared_transactions = 5
log_min_messages = warning
CONF

# ---- small tools ---------------------------------------------------------------------------

sub workers {
    my ($db) = @_;
    my $where = defined $db ? "AND datname = '$db'" : '';
    return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity
        WHERE backend_type = 'pipelinedb fold worker' $where ORDER BY pid");
}

# Polls finely, since some of the limits are about a second.
sub wait_until {
    my ($test, $seconds) = @_;
    my $begin = time;
    while (time - $begin < ($seconds // 30)) {
        return time - $begin if $test->();
        usleep(20_000);
    }
    return undef;
}

sub worker_comes { my ($db) = @_; return defined wait_until(sub { workers($db) ne '' }); }

sub reload {
    my ($setting) = @_;
    $node->safe_psql('postgres', "ALTER SYSTEM SET $setting");
    $node->reload;
    usleep(100_000);
}

# Runs SQL that connects as role $role and returns (status, output, errors).
sub psql_as {
    my ($role, $sql) = @_;
    return $node->psql('postgres', $sql, extra_params => [ '-U', $role ]);
}

my $create = 'CREATE FOREIGN TABLE s (x int) SERVER pipelinedb;
              CREATE VIEW v AS SELECT count(*) AS n FROM s;';

# Holds the fold worker of database postgres before its next snapshot while $code runs, or only
# for $seconds.
sub with_held_worker {
    my ($seconds, $code) = @_;
    my $holder = $node->background_psql('postgres');
    $holder->query_safe("SELECT pg_advisory_lock(1346981957, hashtext('fold_before_snapshot'))");
    reload("pipelinedb.stop_points = 'fold_before_snapshot:wait'");
    if (defined $seconds) {
        $holder->{stdin} .= "SELECT pg_sleep($seconds); SELECT pg_advisory_unlock_all();\n";
        $holder->{run}->pump_nb;
    }
    $code->();
    $holder->quit;
    reload("pipelinedb.stop_points = ''");
}

# ---- start ---------------------------------------------------------------------------------

$node->start;
$node->safe_psql('postgres', "CREATE DATABASE db$_") for 1 .. 3;
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'pipelinedb launcher'"), '1', 'the launcher runs');
is(workers(), '', 'no worker where the extension is not');

$node->safe_psql($_, 'CREATE EXTENSION pipeline_ext') for qw(postgres db1 db2);
ok(worker_comes($_), "CREATE EXTENSION brings a worker to $_") for qw(postgres db1 db2);
$node->safe_psql($_, $create) for qw(postgres db1 db2);
$node->restart;
ok(worker_comes($_), "a restart brings a worker to $_") for qw(postgres db1 db2);
is(workers('db3'), '', 'and none to a database without the extension');

$node->safe_psql('db1', 'INSERT INTO s VALUES (1)');
is($node->safe_psql('db1', 'SELECT pipelinedb.flush()'), 't', 'flush() returns true');
is($node->safe_psql('db1', 'SELECT n FROM v'), '1', 'a row is folded');

# ---- restart of workers --------------------------------------------------------------------

sub seconds_without_worker {
    my $pid = workers('postgres');
    $node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
    return wait_until(sub { my $now = workers('postgres'); $now ne '' && $now ne $pid }, 60) // 60;
}
for my $round (1 .. 3) {
    cmp_ok(best_of(1.5, \&seconds_without_worker), '<', 1.5, "ended by SIGTERM, a worker is back (round $round)");
}
usleep(500_000);

my $launcher = $node->safe_psql('postgres',
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pipelinedb launcher'");
my $worker = workers('postgres');
kill 'TERM', $launcher, $worker;
ok(defined wait_until(sub { my $now = workers('postgres'); $now ne '' && $now ne $worker }, 20),
    'launcher and worker ended together: both come back');

reload("pipelinedb.idle_exit = '1s'");
$node->safe_psql($_, 'SELECT pipelinedb.flush()') for qw(postgres db1 db2);
ok(defined wait_until(sub { workers() eq '' }, 20), 'idle workers exit');
$node->safe_psql('postgres', 'INSERT INTO s VALUES (1)');
is($node->safe_psql('postgres', 'SELECT pipelinedb.flush()'), 't', 'a write starts one again');
reload("pipelinedb.idle_exit = '300s'");
$node->safe_psql($_, 'SELECT pipelinedb.flush()') for qw(postgres db1 db2);

# ---- statements about databases ------------------------------------------------------------

sub runs { my ($sql) = @_; is($node->psql('postgres', $sql), 0, $sql); }

ok(worker_comes('db1'), 'there is a worker in db1');
runs('CREATE DATABASE db1copy TEMPLATE db1');
ok(worker_comes('db1'), 'the template has a worker again');
ok(worker_comes('db1copy'), 'the copy has a worker of its own');
is($node->safe_psql('db1copy', 'INSERT INTO s VALUES (1); SELECT pipelinedb.flush()'),
    't', 'the copy folds');
is($node->safe_psql('db1copy', 'SELECT n FROM v'), '2', 'on top of what was copied');
runs('ALTER DATABASE db1copy RENAME TO db1moved');
ok(worker_comes('db1moved'), 'the renamed database has a worker again');
my $folder = $node->basedir . '/space';
mkdir $folder;
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$folder'");
runs('ALTER DATABASE db1moved SET TABLESPACE space');
ok(worker_comes('db1moved'), 'the moved database has a worker again');
runs('DROP DATABASE db1moved');
$node->safe_psql('postgres', 'DROP TABLESPACE space');
is(workers('db1moved'), '', 'the dropped database has none');

$node->safe_psql('postgres', 'CREATE ROLE joe LOGIN');
$node->safe_psql('db2', 'SELECT pipelinedb.flush()');
my $before = workers('db2');
isnt((psql_as('joe', 'DROP DATABASE db2'))[0], 0, 'joe may not drop db2');
isnt((psql_as('joe', 'CREATE DATABASE x TEMPLATE db2'))[0], 0, 'joe may not copy db2');
isnt((psql_as('joe', 'ALTER DATABASE db2 RENAME TO x'))[0], 0, 'joe may not rename db2');
is(workers('db2'), $before, 'and cannot stop its worker');

my ($status) = $node->psql('postgres', 'BEGIN; DROP DATABASE db1; COMMIT');
isnt($status, 0, 'DROP DATABASE fails in a transaction block');
ok(worker_comes('db1'), 'and the worker comes back');

# ---- waits ---------------------------------------------------------------------------------

is($node->safe_psql('postgres', 'SELECT pipelinedb.flush()'), 't', 'flush() before the waits');
my $n = $node->safe_psql('postgres', 'SELECT n FROM v');
my %reads = (
    'a query' => 'SELECT n FROM v;',
    'a cached generic plan' => 'SET plan_cache_mode = force_generic_plan;
        PREPARE p AS SELECT n FROM v; EXECUTE p;',
    'a cursor' => 'BEGIN; DECLARE c CURSOR FOR SELECT n FROM v; FETCH c; COMMIT;',
    'COPY TO' => 'COPY (SELECT n FROM v) TO STDOUT;',
    'CREATE TABLE AS' => 'CREATE TEMP TABLE t AS SELECT n FROM v; SELECT n FROM t;',
    'a block that recovered from an error' => 'BEGIN; SAVEPOINT a;
        DO $$BEGIN PERFORM 1 / 0; END$$; ROLLBACK TO a; SELECT n FROM v; COMMIT;',
    'REPEATABLE READ' => 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT n FROM v; COMMIT;',
    'SET TRANSACTION' => 'BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;
        SELECT n FROM v; COMMIT;',
    'a STABLE function' => 'SELECT f();');
$node->safe_psql('postgres', q{CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql STABLE AS
    'BEGIN RETURN (SELECT n FROM v); END'});
for my $how (sort keys %reads) {
    with_held_worker(0.5, sub {
        my ($rc, $out) = $node->psql('postgres', "INSERT INTO s VALUES (1);\n$reads{$how}",
            on_error_stop => 0);
        is($out, ++$n, "$how sees the session's own write");
    });
}

with_held_worker(undef, sub {
    my $begin = time;
    my ($rc, $out, $err) = $node->psql('postgres', "SET pipelinedb.read_own_writes_timeout = '1s';
        INSERT INTO s VALUES (1);
        SELECT n FROM v; SELECT n FROM v; SELECT count(*) FROM pg_class WHERE oid = 0;");
    is($out, "$n\n$n\n0", 'read_own_writes gives up after its timeout');
    like($err, qr/WARNING: .*may not show all rows/, 'with a warning');
    cmp_ok(time - $begin, '<', 5, 'and waits only once');
    $n++;

    (undef, $out) = $node->psql('postgres', 'SET pipelinedb.read_own_writes = off;
        INSERT INTO s VALUES (1); SELECT n FROM v');
    cmp_ok($out, '<', $n + 1, 'with read_own_writes off nothing waits');
    $n++;

    isnt($node->psql('postgres',
        "SET statement_timeout = '500ms'; SELECT pipelinedb.flush()"), 0, 'flush() is cancelled');
});

# While a writer waits for sync_commit it holds no lock, and a cancel ends only the wait.
with_held_worker(undef, sub {
    $node->safe_psql('postgres', 'CREATE TABLE locked ()');
    my $writer = $node->background_psql('postgres', on_error_stop => 0);
    $writer->query_safe("SET pipelinedb.stream_insert_level = sync_commit;
        SET application_name = 'writer'");
    $writer->{stdin} .= "BEGIN; LOCK TABLE locked; INSERT INTO s VALUES (1); COMMIT;\n";
    $writer->{run}->pump_nb;
    my $waiting = "FROM pg_stat_activity WHERE application_name = 'writer' AND query = 'COMMIT;'
        AND wait_event_type = 'Extension'";
    ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $waiting"),
        'sync_commit waits after the commit');
    is($node->psql('postgres', "SET lock_timeout = '1s'; SELECT count(*) FROM locked"), 0,
        'it holds no lock meanwhile');
    $node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) $waiting");
    $writer->query_until(qr/done/, "SELECT 'done';\n");
    like($writer->{stderr}, qr/WARNING: .*canceling the wait for continuous views/,
        'a cancel ends the wait with a warning');
    $writer->quit;
    $n++;
});
is($node->safe_psql('postgres', 'SELECT pipelinedb.flush()'), 't', 'flush() after the cancel');
is($node->safe_psql('postgres', 'SELECT n FROM v'), $n, 'every committed row counts once');

with_held_worker(0.5, sub {
    is($node->safe_psql('postgres', "SET pipelinedb.stream_insert_level = sync_commit;
        SET pipelinedb.read_own_writes = off;
        BEGIN; INSERT INTO s VALUES (1); PREPARE TRANSACTION 'x'; COMMIT PREPARED 'x';
        SELECT n FROM v"), ++$n, 'COMMIT PREPARED waits, too');
});

# ---- idle ----------------------------------------------------------------------------------

SKIP: {
    skip 'no /proc', 1 unless -r '/proc/self/stat';
    my @pids = split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity
        WHERE backend_type LIKE 'pipelinedb %'");
    my $switches = sub {
        my $sum = 0;
        for my $pid (@pids) { $sum += $1 if slurp_file("/proc/$pid/status") =~ /^voluntary\w*:\s+(\d+)/m; }
        return $sum;
    };
    sleep 2;
    my $wakes = best_of(11, sub { my $then = $switches->(); sleep 5; return $switches->() - $then; });
    cmp_ok($wakes, '<=', 10, 'launcher and workers sleep when there is nothing to do');
}

# ---- standby -------------------------------------------------------------------------------

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity
    WHERE backend_type LIKE 'pipelinedb %'"), '0', 'a standby starts no process of ours');
is($standby->safe_psql('postgres', 'SELECT n FROM v'), $n, 'and shows the views');
my (undef, undef, $standby_error) = $standby->psql('postgres', 'SELECT pipelinedb.flush()');
like($standby_error, qr/during recovery/, 'flush() is refused there');
$standby->promote;
ok($standby->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE backend_type = 'pipelinedb fold worker'"), 'a promoted one folds');
$standby->stop;

# ---- too few processes ---------------------------------------------------------------------

$node->append_conf('postgresql.conf', 'max_worker_processes = 2');
$node->stop;
my $log_size = -s $node->logfile;
$node->start;
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT pipelinedb.flush()');
like($err, qr/no fold worker runs in this database/, 'flush() says that no worker can run');
($rc, $out, $err) = $node->psql('postgres', "SET pipelinedb.stream_insert_level = sync_commit;
    INSERT INTO s VALUES (1)");
is($rc, 0, 'a writer commits all the same');
like($err, qr/WARNING: .*no fold worker runs/, 'with a warning');
my @lines = slurp_file($node->logfile, $log_size) =~ /(HINT: .*max_worker_processes.*)/g;
@lines = grep { /Raise/ } @lines;
is(scalar @lines, 1, 'the log says once what to set');
like($lines[0], qr/by at least \d+ \(it is 2\)/, 'and by how much');

# With one process for all databases, idle workers make room for each other.
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->restart;
is($node->safe_psql($_, 'SELECT pipelinedb.flush()'), 't', "one process serves $_")
    for qw(postgres db1 postgres);

# ---- not preloaded -------------------------------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
(undef, undef, $err) = $node->psql('postgres', 'SELECT pipelinedb.flush()');
like($err, qr/must be loaded by the server at start.*shared_preload_libraries = 'pipeline_ext'/s,
    'without preloading the error says what to set');

$node->stop;
done_testing();
