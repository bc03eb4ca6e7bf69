# Several fold workers per database, and folding turned off: every row counts exactly once while
# views go from one worker to another, whoever ends meanwhile; waits answer for all workers.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use LedgerWriters;
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{PIPELINE_SEED} || int(time * 1000) % 1_000_000_000;
srand($seed);
diag("PIPELINE_SEED=$seed");

my $node = new_node('main',
    log_statement => 'none',
    max_connections => 40,
    max_worker_processes => 12,
    max_prepared_transactions => 20,
    restart_after_crash => 'on',
    'pipelinedb.spool_generation_size' => '1MB',
    'pipelinedb.fold_batch' => '256kB');
sub sql { return $node->safe_psql('postgres', $_[0]); }

my $is_worker = "backend_type = 'pipelinedb fold worker' AND datname = 'postgres'";
sub running { return sql("SELECT count(*) FROM pg_stat_activity WHERE $is_worker"); }
sub spread {
    return sql("SELECT string_agg(n::text, ' ' ORDER BY worker)
        FROM (SELECT worker, count(*) AS n FROM pipelinedb.views GROUP BY worker) w");
}
sub becomes { my ($test, $name) = @_; ok(defined wait_until($test), $name); }
sub set_workers { set_conf($node, 'pipelinedb.num_workers' => $_[0]); }

# ---- spreading -------------------------------------------------------------------------------

sql("$LedgerWriters::stream;
    CREATE VIEW txn_1 AS $LedgerWriters::per_txn; CREATE VIEW writer_1 AS $LedgerWriters::per_writer;
    CREATE VIEW txn_2 AS $LedgerWriters::per_txn; CREATE VIEW writer_2 AS $LedgerWriters::per_writer;
    CREATE VIEW txn_3 AS $LedgerWriters::per_txn; CREATE VIEW total_1 AS $LedgerWriters::total;
    CREATE VIEW txn_4 AS $LedgerWriters::per_txn; CREATE VIEW total_2 AS $LedgerWriters::total;");
is(spread(), '8', 'one worker has all views');
is(running(), 1, 'and is alone');
set_workers(4);
becomes(sub { spread() eq '2 2 2 2' }, 'four workers share eight views');
is(running(), 4, 'four run');
set_workers(3);
becomes(sub { spread() eq '3 3 2' }, 'three');
becomes(sub { running() == 3 }, 'the fourth has gone');
sql('DROP VIEW total_2');
sql("CREATE VIEW total_2 AS $LedgerWriters::total");
wait_folded($node);
becomes(sub { spread() eq '3 3 2' }, 'a new view goes where there are fewest');
set_workers(1);
becomes(sub { spread() eq '8' }, 'one');
becomes(sub { running() == 1 }, 'the others have gone');
wait_folded($node);
becomes(sub { sql('SELECT string_agg(consumer::text, $$,$$) FROM pipelinedb.progress') eq '0' },
    'and left no progress behind');

# ---- exact, whatever happens -----------------------------------------------------------------

my $ledger = LedgerWriters->new($node, pad => 2000);

sub is_exact {
    my ($name) = @_;
    $ledger->settle;
    is(flush($node), 't', "$name: folded");
    my @complaints = map { $ledger->complaints("txn_$_", $ledger->{first}) } 1 .. 4;
    my ($writers, $total) = $ledger->sums;
    for my $i (1, 2) {
        my $got = sql("SELECT n, s FROM total_$i");
        push @complaints, "total_$i is $got, not $total" if $got ne $total;
        $got = sql("SELECT * FROM writer_$i ORDER BY writer");
        push @complaints, "writer_$i is\n$got\nnot\n$writers" if $got ne $writers;
    }
    is(join("\n", @complaints[0 .. ($#complaints > 20 ? 20 : $#complaints)]), '', "$name: exact");
}

sub writers_run { return sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ledger writer'"); }
sub writers_come { wait_until(\&writers_run) // die 'no writer comes'; }

$ledger->start(4, 5000);
writers_come();
my @numbers = (4, 2, 3, 1, 4, 1);
my $changes = 0;
while (writers_run()) {
    set_workers($numbers[ $changes++ % @numbers ]);
    usleep(20_000 + int(rand(120_000)));
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $is_worker
        ORDER BY random() LIMIT 1") if $changes % 6 == 0;
    usleep(20_000);
}
cmp_ok($ledger->finish, '>', 1000, "writers went on through $changes changes of num_workers");
is_exact('1 to 4 to 1 under load, workers terminated');

# Commits that wait for their rows, of views that wander.
$ledger->start(3, 1200, "SET pipelinedb.stream_insert_level = sync_commit;\n");
writers_come();
while (writers_run()) {
    set_workers($numbers[ $changes++ % @numbers ]);
    usleep(int(rand(100_000)));
}
$ledger->finish;
cmp_ok($changes, '>', 15, "$changes changes in all");
unlike($ledger->{errors}, qr/no fold worker|WARNING:.*folding/, 'sync_commit was answered throughout');
is_exact('sync_commit while views wander');

# kill -9 with four workers, then a start with one: it takes the views of the others.
for my $next (1, 4) {
    set_workers($next == 1 ? 4 : 1);
    wait_until(sub { spread() eq ($next == 1 ? '2 2 2 2' : '8') });
    $ledger->start(3, 3000);
    usleep(700_000);
    kill 'KILL', sql("SELECT pid FROM pg_stat_activity WHERE $is_worker ORDER BY random() LIMIT 1")
        if $next == 1;
    kill_hard($node) if $next == 4;
    $ledger->finish;
    bring_back($node);
    $node->stop;
    $node->append_conf('postgresql.auto.conf', "pipelinedb.num_workers = $next");
    $node->start;
    is_exact("kill -9, then a start with num_workers = $next");
    becomes(sub { spread() eq ($next == 1 ? '8' : '2 2 2 2') }, 'the views are where they belong');
}

# Crashes and errors in the middle of handing over.
for my $point (qw(views_handed_over views_handed_over_committed)) {
    my $mark = $node->data_dir . "/pipelinedb_stop_$point";
    for my $action (qw(crash error)) {
        my $log_size = -s $node->logfile;
        $ledger->start(2, 700);
        eval { set_conf($node, 'pipelinedb.stop_points' => "$point:$action") };
        my $workers = 1;
        becomes(sub {
            eval { set_workers($workers = 4 - $workers + 1); };
            usleep(100_000);
            return $action eq 'crash' ? -e $mark
              : index(slurp_file($node->logfile, $log_size), qq(stop point "$point" reached)) >= 0;
        }, "$point: $action there");
        die "no crash at $point" if $action eq 'crash' && !crashed_at($node, $point, $log_size);
        $ledger->finish;
        set_conf($node, 'pipelinedb.stop_points' => '');
        is_exact("$action at $point");
    }
}

# ---- views created, dropped, paused and held while they wander -----------------------------------

set_workers(4);
becomes(sub { spread() eq '2 2 2 2' }, 'four workers again');
sql('CREATE VIEW paused AS SELECT count(*) AS n FROM events;
    CREATE VIEW held AS SELECT count(*) AS n FROM events');
is(flush($node), 't', 'folded');
my $before = sql('SELECT n FROM total_1');
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE held_mrel');
my $dropper = $node->background_psql('postgres');
$dropper->query_safe('BEGIN; DROP VIEW txn_4');
sql("SELECT pipelinedb.deactivate('paused')");
$ledger->start(3, 4000);
writers_come();
my $round = 0;
while (writers_run()) {
    set_workers($numbers[ $round++ % @numbers ]);
    sql("CREATE VIEW fleeting_$round AS SELECT writer, count(*) AS n FROM events GROUP BY writer");
    sql("SELECT pipelinedb.deactivate('fleeting_$round')") if $round % 3 == 0;
    sql("SELECT pipelinedb.activate('fleeting_$round')") if $round % 3 == 0;
    sql('DROP VIEW fleeting_' . ($round - 2)) if $round > 2;
    usleep(int(rand(100_000)));
}
$ledger->finish;
$ledger->settle;
set_workers(2);
is(flush($node), 'f', 'flush() leaves out what is held');
$dropper->query_safe('ROLLBACK');
$holder->query_safe('ROLLBACK');
$_->quit for $dropper, $holder;
sql("SELECT pipelinedb.activate('paused')");
becomes(sub { flush($node) eq 't' }, 'all go on');
is_exact('views created, dropped and paused');
my $gained = sql('SELECT n FROM total_1') - $before;
is(sql('SELECT n FROM paused') . ' ' . sql('SELECT n FROM held'), "$gained $gained",
    'a paused view and a locked one lack nothing');
cmp_ok($round, '>', 5, "others came and went ($round)");
sql("DROP VIEW paused, held, fleeting_$round, fleeting_" . ($round - 1));
views_are_active($node);

# ---- waits -----------------------------------------------------------------------------------

# Streams of their own, so that each view has another worker and nobody else is woken.
set_workers(4);
sql('DROP VIEW txn_1, txn_2, txn_3, txn_4, writer_1, writer_2, total_1, total_2');
sql(join ';', map { "CREATE FOREIGN TABLE s$_ (x int) SERVER pipelinedb; CREATE VIEW c$_ AS SELECT count(*) AS n FROM s$_" } 1 .. 4);
sql('CREATE VIEW far AS SELECT count(*) AS n FROM s1');
becomes(sub { flush($node) eq 't' && spread() =~ /^[12] [12] [12] [12]$/ }, 'four views, four workers');
my $all = join ' || $$ $$ || ', map { "(SELECT n FROM c$_)" } 1 .. 4;
my $n = 0;
for my $how ('own writes', 'sync_commit', 'flush()', 'while views wander') {
    my $script = $how eq 'own writes' ? '' : "SET pipelinedb.read_own_writes = off;\n";
    $script .= "SET pipelinedb.stream_insert_level = sync_commit;\n" if $how eq 'sync_commit';
    my $flush = $how =~ /flush|wander/ ? "SELECT pipelinedb.flush();\n" : '';
    my $count = 150;
    for my $i (1 .. $count) {
        $script .= "ALTER SYSTEM SET pipelinedb.num_workers = @{[ 1 + $i % 4 ]}; SELECT pg_reload_conf();\n"
            if $how =~ /wander/;
        $script .= join('', map { "INSERT INTO s$_ VALUES (1);\n" } 1 .. 4) . "$flush" . "SELECT 'seen ' || $all;\n";
    }
    my ($out, @errors) = run_script($node, $script);
    is("@errors", '', "$how: no error");
    my @seen = $out =~ /^seen (.*)$/mg;
    my $wrong = grep { my $k = $n + $_; $seen[ $_ - 1 ] ne "$k $k $k $k" } 1 .. @seen;
    is(scalar(@seen) . " reads, $wrong wrong", "$count reads, 0 wrong", "$how: all four views show each row at once");
    $n += $count;
}

set_workers(4);
becomes(sub { flush($node) eq 't' && spread() =~ /^[12] [12] [12] [12]$/ }, 'four workers again');

# A commit waits for a view that is being handed over: the former worker answers, the next one has
# yet to fold.
{
    my ($wanderer) = grep { sql("SELECT worker FROM pipelinedb.views WHERE name = 'c$_'") } 2 .. 4;
    my $before = sql("SELECT n FROM c$wanderer");
    my $first = hold_at($node, 'views_handed_over');
    my $second = hold_at($node, 'fold_collected');
    set_conf($node, 'pipelinedb.num_workers' => 1, 'pipelinedb.stop_points' => 'views_handed_over:wait');
    ok(held_at($node, 'views_handed_over', 3), 'three workers are handing their views over');
    set_conf($node, 'pipelinedb.stop_points' => 'views_handed_over:wait, fold_collected:wait');
    ok(held_at($node, 'fold_collected'), 'the one that gets them stands still');
    my $writer = $node->background_psql('postgres');
    $writer->query_safe('SET pipelinedb.stream_insert_level = sync_commit');
    $writer->query_until(qr/begun/, "\\echo begun\nINSERT INTO s$wanderer VALUES (1);\n");
    my $waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO s%' AND state = 'active' AND wait_event_type = 'Extension'";
    becomes(sub { sql($waits) }, 'a commit waits');
    release_all($first);
    becomes(sub { running() == 1 }, 'the former workers have answered and gone');
    is(sql($waits), 1, 'the commit still waits');
    set_conf($node, 'pipelinedb.stop_points' => '');
    release_all($second);
    $writer->query_safe('SELECT 1');
    $writer->quit;
    is(sql("SELECT n FROM c$wanderer"), $before + 1, 'until its row is to be seen');
}

# Worker 0 cuts the spool while another one remembers where its rows would begin.
set_workers(4);
becomes(sub { flush($node) eq 't' && spread() =~ /^[12] [12] [12] [12]$/ }, 'four workers');
{
    my ($mine, $other) = sort { sql("SELECT worker FROM pipelinedb.views WHERE name = 'c$b'")
        <=> sql("SELECT worker FROM pipelinedb.views WHERE name = 'c$a'") } 2 .. 4;
    my $fill = sub { sql("BEGIN; INSERT INTO s$other SELECT $_ FROM generate_series(1, 20000); COMMIT") for 1 .. 4; };
    my $old = sql("SELECT n FROM c$mine");
    $fill->();
    sql("INSERT INTO s$mine VALUES (1)");
    is(flush($node), 't', 'folded');
    becomes(sub { sql("SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relname ~ '^spool_' AND relkind = 'r'") == 0 },
        'the spool is emptied');
    my $writer = $node->background_psql('postgres');
    $writer->query_safe("BEGIN; INSERT INTO s$mine VALUES (1)");
    $fill->() for 1 .. 2;
    $writer->query_safe('COMMIT');
    $writer->quit;
    is(flush($node), 't', 'folded');
    is(sql("SELECT n FROM c$mine"), $old + 2, 'a row at its new beginning is not passed over');
}

# A worker whose streams are quiet is left alone.
set_workers(4);
becomes(sub { flush($node) eq 't' && spread() =~ /^[12] [12] [12] [12]$/ }, 'four workers');
SKIP: {
    skip 'no /proc', 1 unless -r '/proc/self/status';
    my $name = sub { my $number = sql("SELECT worker FROM pipelinedb.views WHERE name = '$_[0]'");
        return $number ? "pipelinedb fold worker $number" : 'pipelinedb fold worker' };
    my $pid_of = sub { return sql("SELECT pid FROM pg_stat_activity WHERE $is_worker AND application_name = '$_[0]'") };
    my $far = sql("SELECT worker FROM pipelinedb.views WHERE name = 'far'");
    my $near = sql("SELECT worker FROM pipelinedb.views WHERE name = 'c1'");
    my ($quiet) = grep { my $number = sql("SELECT worker FROM pipelinedb.views WHERE name = 'c$_'");
        $number != 0 && $number != $far && $number != $near } 2 .. 4;
    my $switches = sub {
        return slurp_file('/proc/' . $pid_of->($name->("c$quiet")) . '/status') =~ /^voluntary\w*:\s+(\d+)/m ? $1 : die;
    };
    usleep(1_500_000);
    my $wakes = best_of(30, sub {
        my $then = $switches->();
        run_script($node, "INSERT INTO s1 VALUES (1);\n" x 300);
        return $switches->() - $then;
    });
    cmp_ok($wakes, '<', 30, 'a worker sleeps while rows come for others only');
    is(flush($node), 't', 'folded');
}

# ---- folding off -------------------------------------------------------------------------------

set_conf($node, 'pipelinedb.folding' => 'off');
becomes(sub { running() == 0 }, 'folding = off: all workers end');
my $seen = sql('SELECT n FROM c1');
my $begin = time;
my ($status, $out, $err) = $node->psql('postgres', 'SELECT pipelinedb.flush()');
is("$status $out", '0 f', 'flush() returns false');
like($err, qr/WARNING:  folding is turned off\nDETAIL:  Rows that were written are kept.*\nHINT:  Set pipelinedb.folding to on/, 'and says why');
($status, $out, $err) = $node->psql('postgres', "SET pipelinedb.stream_insert_level = sync_commit;\nINSERT INTO s1 SELECT 1 FROM generate_series(1, 10)");
is($status, 0, 'writers go on');
like($err, qr/WARNING:  folding is turned off/, 'sync_commit does not wait');
($status, $out, $err) = $node->psql('postgres', "INSERT INTO s1 VALUES (1);\nSELECT n FROM c1");
is($out, $seen, 'the view stays as it is');
like($err, qr/WARNING:  continuous views may not show all rows.*\nDETAIL:  Folding is turned off/, 'a reader of his own rows is told');
cmp_ok(time - $begin, '<', 4, 'none of this waits');
sql('CREATE VIEW later AS SELECT count(*) AS n FROM s1');
sql('INSERT INTO s1 VALUES (1)');
is(running(), 0, 'no worker has come');
$node->restart;
is(running(), 0, 'nor after a restart');
set_conf($node, 'pipelinedb.folding' => 'on');
wait_folded($node);
is(sql('SELECT c.n, f.n - c.n, l.n FROM c1 c, far f, later l'), ($seen + 12) . '|0|1', 'folding = on: all is counted');

# A wait that is under way when folding is turned off.
my $gate = hold_at($node, 'fold_before_snapshot');
set_conf($node, 'pipelinedb.stop_points' => 'fold_before_snapshot:wait');
my $session = $node->background_psql('postgres');
$session->query_safe('INSERT INTO s1 VALUES (1)');
ok(held_at($node, 'fold_before_snapshot'), 'a worker stands still');
$session->query_until(qr/begun/, "\\echo begun\nSELECT pipelinedb.flush();\n");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%flush%' AND wait_event_type = 'Extension'");
set_conf($node, 'pipelinedb.folding' => 'off', 'pipelinedb.stop_points' => '');
my $begun = time;
like($session->query('SELECT 1'), qr/^f$/m, 'flush() ends when folding is turned off');
cmp_ok(time - $begun, '<', 4, 'soon');
$session->quit;
release_all($gate);
set_conf($node, 'pipelinedb.folding' => 'on');
wait_folded($node);

# ---- too few processes ---------------------------------------------------------------------------

# The launchers of logical replication and ours, and one fold worker or two.
sql('DROP VIEW later');
for my $processes (3, 4) {
    $node->append_conf('postgresql.conf', "max_worker_processes = $processes");
    my $log_size = -s $node->logfile;
    $node->restart;
    my $old = sql('SELECT n FROM c4');
    sql("INSERT INTO s$_ VALUES (1)") for 1 .. 4;
    wait_folded($node);
    is(sql('SELECT n FROM c4'), $old + 1, "$processes processes: views without a worker are folded by another");
    sql("CREATE VIEW late_$processes AS SELECT count(*) AS n FROM s4");
    sql("INSERT INTO s$_ VALUES (1)") for 1 .. 4;
    wait_folded($node);
    is(sql("SELECT n FROM late_$processes"), '1', 'a new one, too');
    my @lines = slurp_file($node->logfile, $log_size) =~ /(no background process is free.*)/g;
    is(scalar(@lines), 1, 'the log says it once') or diag(@lines) if $processes == 3;
}

# ---- throughput ----------------------------------------------------------------------------------

$node->append_conf('postgresql.conf', 'max_worker_processes = 12');
$node->append_conf('postgresql.conf', "pipelinedb.fold_batch = '16MB'");
$node->append_conf('postgresql.conf', "pipelinedb.spool_generation_size = '64MB'");
$node->restart;
set_conf($node, 'pipelinedb.num_workers' => 1);
sql('DROP VIEW c1, c2, c3, c4, far, late_3, late_4');
sql('CREATE FOREIGN TABLE load (k int, x int) SERVER pipelinedb');
sql("CREATE VIEW load_$_ AS SELECT k % (1000 * $_) AS k, count(*) AS n, sum(x) AS s, avg(x) AS a, max(x) AS m FROM load GROUP BY 1") for 1 .. 8;
my %seconds;
for my $workers (1, 2) {
    set_workers($workers);
    becomes(sub { flush($node) eq 't' && spread() eq ($workers == 1 ? '8' : '4 4') }, "$workers worker(s)");
    for my $vectorize ('on', 'off') {
        set_conf($node, 'pipelinedb.folding' => 'off', 'pipelinedb.vectorize' => $vectorize);
        becomes(sub { running() == 0 }, 'folding is off');
        sql('INSERT INTO load SELECT i, i % 1000 FROM generate_series(1, 400000) i') for 1 .. ($vectorize eq 'on' ? 8 : 1);
        set_conf($node, 'pipelinedb.folding' => 'on');
        becomes(sub { running() == $workers }, 'and on');
        my $from = time;
        becomes(sub { flush($node) eq 't' }, 'the backlog is folded');
        $seconds{$vectorize}[$workers] = time - $from;
    }
}
diag(sprintf '3,200,000 rows into 8 cheap views: %.2f s with one worker, %.2f s with two', @{ $seconds{on} }[1, 2]);
diag(sprintf '400,000 rows into 8 costly views: %.2f s with one worker, %.2f s with two', @{ $seconds{off} }[1, 2]);
is(sql(join ' UNION ALL ', map { "SELECT sum(n) FROM load_$_" } 1 .. 8), join("\n", (7_200_000) x 8), 'all are counted');
views_are_active($node);
unlike(slurp_file($node->logfile), qr/TRAP:|PANIC/, 'nothing broke');
$node->stop;
done_testing();
