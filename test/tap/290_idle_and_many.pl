# A server with nothing to do does nothing, and many of everything costs what it must: 20
# databases, 200 views on a stream, 500 streams, 1,000 times create and drop.
# PIPELINE_IDLE_SECONDS (20) is how long the idle servers are watched, at least.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints qw(wait_until);
use Test::More;
use Time::HiRes qw(time sleep);

plan skip_all => 'CPU time is read from /proc' unless -r '/proc/self/schedstat';
my $idle_seconds = $ENV{PIPELINE_IDLE_SECONDS} || 20;

# ---- what the kernel knows ---------------------------------------------------------------------

# Milliseconds on a processor; 0 for a process that has ended. (The numbers of "stat" come in
# steps of 10 ms.)
sub cpu_ms {
    my $sum = 0;
    for my $pid (@_) {
        open(my $file, '<', "/proc/$pid/schedstat") or next;
        $sum += $1 / 1e6 if <$file> =~ /^(\d+)/;
    }
    return $sum;
}

sub children_of {
    my ($parent) = @_;
    my @children;
    for my $file (glob '/proc/[0-9]*/stat') {
        open(my $stat, '<', $file) or next;
        my $line = <$stat> // next;
        push @children, $1 if $line =~ /^(\d+) \(.*\) \S $parent /;
    }
    return @children;
}

# Private memory in kB.
sub memory_kb {
    my ($pid) = @_;
    return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : undef;
}

sub open_files { my ($pid) = @_; return scalar(() = glob "/proc/$pid/fd/*"); }

# ---- two idle servers, watched while another one works -----------------------------------------

# No autovacuum and no checkpoint by time: what is left is the server's own idling, which the
# second server, without the extension, shows.
my @quiet = (autovacuum => 'off', checkpoint_timeout => '1d', max_worker_processes => 8);
my $idle = new_node('idle', @quiet, wal_level => 'replica', max_wal_senders => 2);
for my $i (1 .. 19) { $idle->safe_psql('postgres', "CREATE DATABASE db$i"); }
$idle->safe_psql('db1', 'CREATE EXTENSION pipeline_ext');
for my $db (qw(postgres db1)) {
    $idle->safe_psql($db, q{
        CREATE FOREIGN TABLE s (x int) SERVER pipelinedb;
        CREATE VIEW v AS SELECT x % 10 AS k, count(*) FROM s GROUP BY 1;
        CREATE VIEW paused AS SELECT x % 10 AS k, count(*) FROM s GROUP BY 1;
        INSERT INTO s SELECT generate_series(1, 1000)});
    wait_folded($idle, $db);
}
# A server's start has looked into every database.
$idle->restart;
$idle->safe_psql($_, 'INSERT INTO s VALUES (1)') for qw(postgres db1);
wait_folded($idle, $_) for qw(postgres db1);
$idle->poll_query_until($_, "SELECT sum(pg_relation_size(c.oid)) = 0 FROM pg_class c
    WHERE relnamespace = 'pipelinedb'::regnamespace AND relname ~ '^spool_'")
    or die 'the spool is not emptied' for qw(postgres db1);
# A paused view keeps its rows in the spool: an idle worker looks again now and then.
$idle->safe_psql('db1', "SELECT pipelinedb.deactivate('paused'); INSERT INTO s VALUES (1)");
wait_folded($idle, 'db1');
is($idle->safe_psql('postgres', "SELECT string_agg(backend_type || ' ' || coalesce(datname, '-'), ', '
        ORDER BY backend_type, datname) FROM pg_stat_activity WHERE backend_type LIKE 'pipelinedb%'"),
    'pipelinedb fold worker db1, pipelinedb fold worker postgres, pipelinedb launcher -',
    'of 20 databases two have a fold worker');

my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->append_conf('postgresql.conf', "shared_preload_libraries = ''");
for (my $i = 0; $i < @quiet; $i += 2) { $plain->append_conf('postgresql.conf', "$quiet[$i] = '$quiet[$i + 1]'"); }
$plain->append_conf('postgresql.conf', "wal_level = replica\nmax_wal_senders = 2");
$plain->start;

sub pid_of { my ($node) = @_; return slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/ ? $1 : die; }

# Empty if the process is ending, or has.
sub command_of {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/cmdline" or return '';
    return do { local $/; <$in> } // '';
}

# Where the server stands, and its processes as they are without our own session.
sub look_at {
    my ($node) = @_;
    my ($lsn, $next) = split /\|/, $node->safe_psql('postgres',
        'SELECT pg_current_wal_insert_lsn(), pg_snapshot_xmax(pg_current_snapshot())');
    my @ours = split /\n/, $node->safe_psql('postgres',
        "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pipelinedb%' ORDER BY pid");
    my $postmaster = pid_of($node);
    my $is_alone = sub { my @all = children_of($postmaster);
        return !grep { command_of($_) =~ /\[local\]|^$/ } @all; };
    wait_until($is_alone) // die 'sessions do not end';
    my @all = children_of($postmaster);
    return { lsn => $lsn, next => $next, ours => [@ours], all => [@all],
        ours_ms => cpu_ms(@ours), all_ms => cpu_ms(@all), time => time };
}

# The same processes again, before a session can disturb them.
sub look_again {
    my ($node, $then) = @_;
    my %now = (ours_ms => cpu_ms(@{ $then->{ours} }), all_ms => cpu_ms(@{ $then->{all} }), time => time);
    ($now{lsn}, $now{next}) = split /\|/, $node->safe_psql('postgres',
        'SELECT pg_current_wal_insert_lsn(), pg_snapshot_xmax(pg_current_snapshot())');
    $now{gone} = grep { !-e "/proc/$_" } @{ $then->{all} };
    return \%now;
}

sleep 2; # the last looks of workers and of the server's own processes
$_->safe_psql('postgres', 'CHECKPOINT') for $idle, $plain;
my ($idle_then, $plain_then) = (look_at($idle), look_at($plain));

# ---- many views on one stream ------------------------------------------------------------------

my $node = new_node('many', autovacuum => 'off');
my $session = $node->background_psql('postgres');

# CPU of the fold worker for a tick, in ms: the best of five rounds. Each row is waited for, so
# it has a tick of its own.
sub tick_ms {
    my ($stream, $values) = @_;
    my $worker = fold_worker_pid($node);
    my $best;
    my $ticks = 30;
    my $rows = join '', map { "INSERT INTO $stream VALUES ($values); SELECT pipelinedb.flush();\n" } 1 .. $ticks;
    $session->query_safe($rows) for 1 .. 2; # warm
    for my $round (1 .. 5) {
        my $then = cpu_ms($worker);
        $session->query_safe($rows);
        my $cost = (cpu_ms($worker) - $then) / $ticks;
        $best = $cost if !defined $best || $cost < $best;
    }
    return $best;
}

sub create_views {
    my ($from, $to) = @_;
    $session->query_safe(join '', map { "CREATE VIEW v$_ AS SELECT k % $_ AS k, count(*), sum(x) FROM s GROUP BY 1;\n" }
        $from .. $to);
}

$session->query_safe('CREATE FOREIGN TABLE s (k int, x int) SERVER pipelinedb');
create_views(1, 1);
my %cost = (1 => tick_ms('s', '1, 1'));
create_views(2, 20);
$cost{20} = tick_ms('s', '1, 1');
create_views(21, 200);
$cost{200} = tick_ms('s', '1, 1');
my ($few, $many) = (($cost{20} - $cost{1}) / 19, ($cost{200} - $cost{20}) / 180);
diag(sprintf 'CPU of a tick: %.3f ms with 1 view, %.3f with 20, %.3f with 200; per view %.1f and %.1f us',
    @cost{1, 20, 200}, 1000 * $few, 1000 * $many);
# Were it quadratic, the 200th would cost ten times as much as the 20th, and more than a tick.
cmp_ok($many, '<', 0.4 * $cost{1} + 2.5 * $few, 'a view costs no more among 200 views');

$node->safe_psql('postgres', 'CREATE TABLE t (k int, x int)');
$session->query_safe(join '', map { "CREATE VIEW w$_ AS SELECT k % $_ AS k, count(*), sum(x), max(x) FROM s GROUP BY 1;\n" }
    1 .. 200);
my $write = join '', map { my $n = $_; my $end = $n % 5 == 0 ? 'ROLLBACK' : 'COMMIT';
    "BEGIN; INSERT INTO s SELECT i, i * $n FROM generate_series(1, 300 * $n) i;
     INSERT INTO t SELECT i, i * $n FROM generate_series(1, 300 * $n) i; $end;\n" } 1 .. 12;
my @outcomes = run_scripts($node, [ ($write) x 3 ]);
is_deeply([ map { @$_[1 .. $#$_] } @outcomes ], [], 'three sessions write');
wait_folded($node);

# The views whose content is not that of the plain query over the same rows.
sub wrong_views {
    my ($numbers, $view, $query) = @_;
    return $node->safe_psql('postgres', "DO \$\$
        DECLARE i int; wrong int;
        BEGIN
          FOR i IN $numbers LOOP
            EXECUTE format('SELECT count(*) FROM ((TABLE %1\$s EXCEPT ALL %2\$s) UNION ALL (%2\$s EXCEPT ALL TABLE %1\$s)) d',
              format('$view', i), format('$query', i)) INTO wrong;
            IF wrong > 0 THEN RAISE EXCEPTION 'view %: % rows differ', i, wrong; END IF;
          END LOOP;
        END \$\$; SELECT 'none'");
}
is(wrong_views('1 .. 200', 'w%s', 'SELECT k %% %1$s AS k, count(*), sum(x), max(x) FROM t GROUP BY 1'), 'none',
    'each of 400 views on one stream is exact');
views_are_active($node);

my $worker = fold_worker_pid($node);
my $memory;
my $growth = best_of(2048, sub {
    $memory = memory_kb($worker);
    $session->query_safe(join '', ("INSERT INTO s VALUES (1, 1); SELECT pipelinedb.flush();\n") x 200);
    return memory_kb($worker) - $memory;
});
diag("memory of the fold worker with 400 views: $memory kB, after 200 more ticks $growth kB more");
cmp_ok($growth, '<', 2048, 'more ticks need no more memory');
cmp_ok($memory, '<', 200 * 1024, 'and 400 views a bounded amount');
$session->query_safe('SET client_min_messages = error; DROP FOREIGN TABLE s CASCADE; DROP TABLE t');

# ---- many streams ------------------------------------------------------------------------------

sub create_streams {
    my ($from, $to) = @_;
    $session->query_safe(join '', map { "CREATE FOREIGN TABLE s$_ (k int, x int) SERVER pipelinedb;
        CREATE VIEW v$_ AS SELECT k, count(*), sum(x) FROM s$_ GROUP BY 1;\n" } $from .. $to);
}
create_streams(1, 1);
my $alone = tick_ms('s1', '0, 0');
create_streams(2, 500);
my $files = open_files($worker);
my $among = tick_ms('s1', '0, 0');
diag(sprintf 'CPU of a tick for one row: %.3f ms with 1 stream, %.3f with 500', $alone, $among);
# A look at each view in memory is less than half a microsecond, one into a catalog is more.
cmp_ok($among - $alone, '<', 500 * 0.0005 + $alone, 'a row in one stream costs as much with 500 streams');
$session->query_safe(join '', map { "INSERT INTO s$_ SELECT i % 3, $_ FROM generate_series(1, 30) i;\n" } 1 .. 500);
$session->query_safe(join '', 'BEGIN;', map({ "INSERT INTO s$_ VALUES (7, 7);\n" } 1 .. 500), 'COMMIT');
wait_folded($node);
is(wrong_views('2 .. 500', 'v%s',
    'SELECT * FROM (VALUES (0, 10::bigint, 10 * %1$s::bigint), (1, 10, 10 * %1$s), (2, 10, 10 * %1$s), (7, 1, 7)) x'),
    'none', 'the view of each of 500 streams is exact');
is(fold_worker_pid($node), $worker, 'by one worker that has lived through all of it');
$session->query_safe(join '', map { "DROP FOREIGN TABLE s$_ CASCADE;\n" } 1 .. 500);

# ---- create and drop, again and again ----------------------------------------------------------

# One cycle in seven ways: folded or not, dropped by the stream, the view, the schema, rolled back,
# with a bad row, truncated.
my $cycle = 0;
sub cycles {
    my ($count) = @_;
    my @ways = (
        'SELECT pipelinedb.flush(); DROP FOREIGN TABLE c.s CASCADE; DROP SCHEMA c',
        'DROP SCHEMA c CASCADE',
        'DROP VIEW c.v; SELECT pipelinedb.flush(); DROP SCHEMA c CASCADE',
        "SELECT pipelinedb.deactivate('c.v'); INSERT INTO c.s VALUES (2, 2); DROP SCHEMA c CASCADE",
        'BEGIN; CREATE VIEW c.w AS SELECT count(*) FROM c.s; INSERT INTO c.s VALUES (3, 3); ROLLBACK;
         SELECT pipelinedb.flush(); DROP SCHEMA c CASCADE',
        "CREATE VIEW c.w AS SELECT 1 / x AS k, count(*) FROM c.s GROUP BY 1; INSERT INTO c.s VALUES (4, 0), (5, 1);
         SELECT pipelinedb.flush(), pipelinedb.truncate_continuous_view('c.v'); DROP SCHEMA c CASCADE",
        "SELECT pipelinedb.truncate_continuous_view('c.v'); INSERT INTO c.s VALUES (6, 6); SELECT pipelinedb.flush();
         DROP SCHEMA c CASCADE");
    $session->query_safe(join '', map { "SET client_min_messages = error; CREATE SCHEMA c; CREATE FOREIGN TABLE c.s (k int, x int) SERVER pipelinedb;
        CREATE VIEW c.v AS SELECT k, count(*), avg(x) FROM c.s GROUP BY k;
        INSERT INTO c.s VALUES (1, 1); $ways[$cycle++ % @ways];\n" } 1 .. $count);
    wait_folded($node);
}

my @kept = qw(pg_class pg_attribute pg_type pg_depend pg_shdepend pg_rewrite pg_trigger pg_index
    pg_attrdef pg_foreign_table pg_namespace pg_description pg_init_privs);
sub what_is_left {
    my @own = split /\n/, $node->safe_psql('postgres',
        "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'pipelinedb'::regnamespace AND relkind = 'r' ORDER BY 1");
    $node->safe_psql('postgres', join '', map { "VACUUM $_;\n" } @own);
    $node->safe_psql('postgres', 'CHECKPOINT'); # files of dropped tables go with it
    return join '', map { "$_: " . $node->safe_psql('postgres', "SELECT count(*) FROM $_") . "\n" }
        @kept, grep({ !/spool/ } @own), "pg_locks WHERE pid = $worker AND locktype <> 'virtualxid'";
}
# Files of no relation.
sub orphans {
    return $node->safe_psql('postgres', "SELECT f FROM pg_database d, pg_ls_dir('base/' || d.oid) f
        WHERE datname = 'postgres' AND f ~ '^\\d' AND pg_filenode_relation(0, substring(f, '^\\d+')::oid) IS NULL");
}
sub pages {
    return $node->safe_psql('postgres', "SELECT string_agg(relname || ' ' || pg_relation_size(oid), ', ' ORDER BY relname)
        FROM pg_class WHERE relnamespace = 'pipelinedb'::regnamespace AND relkind IN ('r', 'i') AND relname !~ '^spool'");
}
cycles(250);
my $left = what_is_left();
cycles(250);
is(what_is_left(), $left, 'a stream and a view, created and dropped 500 times, leave nothing in the catalogs');
my $pages = pages();
$memory = memory_kb($worker);
$files = open_files($worker);
for (1 .. 2) { cycles(250); is(what_is_left(), $left, 'and again'); }
is(orphans(), '', 'nor files');
$growth = memory_kb($worker) - $memory;
diag("memory of the fold worker: $memory kB, after 500 more cycles $growth kB more");
cmp_ok($growth, '<', 1024, 'nor in the memory of the fold worker');
cmp_ok(open_files($worker) - $files, '<', 10, 'nor open files');
is(pages(), $pages, "nor in the extension's own tables");
is(fold_worker_pid($node), $worker, 'it is the same worker');
$session->quit;
is($node->safe_psql('postgres', 'SELECT count(*) FROM pipelinedb.query'), '0', 'no view is left');
$node->stop;

# ---- the idle servers again ----------------------------------------------------------------------

sleep $idle_then->{time} + $idle_seconds - time if time < $idle_then->{time} + $idle_seconds;
my ($idle_now, $plain_now) = (look_again($idle, $idle_then), look_again($plain, $plain_then));
my $watched = $idle_now->{time} - $idle_then->{time};
my %used = (ours => $idle_now->{ours_ms} - $idle_then->{ours_ms}, idle => $idle_now->{all_ms} - $idle_then->{all_ms},
    plain => $plain_now->{all_ms} - $plain_then->{all_ms});
diag(sprintf 'idle for %.0f s: launcher and fold workers used %.2f ms of CPU; all processes of the server %.2f ms, '
    . 'without the extension %.2f ms', $watched, @used{qw(ours idle plain)});
is($idle_now->{gone} + $plain_now->{gone}, 0, 'no process has ended meanwhile');
cmp_ok($used{ours}, '<', 20, 'our processes use no CPU when idle');
cmp_ok($used{idle} - $used{plain}, '<', 20, 'nor do others on their behalf');
is($idle_now->{next}, $idle_then->{next}, 'no transaction id is taken');

# The background writer logs the running transactions once after other records; nothing else is new.
my $records = '';
if ($idle_now->{lsn} ne $idle_then->{lsn}) {
    my ($stdout, $stderr) = ('', '');
    my $wal = $idle->data_dir . '/pg_wal';
    IPC::Run::run([ 'pg_waldump', '-p', $wal, '-s', $idle_then->{lsn}, '-e', $idle_now->{lsn} ], '>', \$stdout, '2>', \$stderr)
        or die $stderr;
    $records = join "\n", grep { !/desc: RUNNING_XACTS/ } split /\n/, $stdout;
}
is($records, '', 'nothing is written to the WAL');
$_->stop for $idle, $plain;
done_testing();
