# Every step of writing, folding, rotating and emptying is crashed and failed once while writers
# run; then the interleavings that could pass over a chunk or count it twice are built one by one.
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
    max_connections => 60,
    max_prepared_transactions => 20,
    restart_after_crash => 'on',
    'pipelinedb.spool_generation_size' => '1MB',
    'pipelinedb.fold_batch' => '256kB',
    'pipelinedb.preaggregate_after' => -1); # large transactions are folded in pieces here
sub sql { return $node->safe_psql('postgres', $_[0]); }
sql("$LedgerWriters::stream;
    CREATE VIEW per_txn AS $LedgerWriters::per_txn;
    CREATE VIEW total AS $LedgerWriters::total;");
my $ledger = LedgerWriters->new($node, pad => 3000);

# Also the views that went on as consumers of their own are up to date.
sub caught_up {
    flush($node) eq 't' or return 0;
    return $node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pipelinedb.progress')
      && flush($node) eq 't';
}

sub is_exact {
    my ($name) = @_;
    $ledger->settle;
    ok(caught_up(), "$name: folded");
    my @complaints = $ledger->complaints('per_txn', $ledger->{first});
    my ($writers, $total) = $ledger->sums;
    my $got = sql('SELECT n, s FROM total');
    push @complaints, "total is $got, not $total" if $got ne $total;
    is(join("\n", @complaints[0 .. ($#complaints > 20 ? 20 : $#complaints)]), '', "$name: exact");
}

# ---- a crash and an error at every stop point ------------------------------------------------

# Those of a full spool, of truncation, of rejected rows, of backfills, of chains, of expiry, of views that
# are created beside writers who aggregate, of views that are replaced, and of combine_table() are not
# on this way: 280_spool_size.pl, 260_ddl.pl, 240_bad_rows.pl, 360_backfill.pl, 410_chain_crash.pl,
# 320_expiry.pl, 315_open_feeds.pl, 350_replace_view.pl, 330_combine.pl.
my $others = qr/(?:lost|truncate|reject|aggregate|create|backfill|discard|replace|expiry|combine)_|fold_leftovers/;
my @points = grep { !/^(?:$others)/ } all_stop_points();
cmp_ok(scalar @points, '>=', 10, 'the sources have stop points');
for my $point (@points) {
    unlink $node->data_dir . "/pipelinedb_stop_$point";
    my $log = -s $node->logfile;
    # The crash may come at once, and take this session along.
    eval { set_conf($node, 'pipelinedb.stop_points' => "$point:crash") };
    $ledger->start(2, 700);
    ok(crashed_at($node, $point, $log), "$point: crashed there");
    $ledger->finish;
    set_conf($node, 'pipelinedb.stop_points' => '');
    is_exact("crash at $point");
}
for my $point (@points) {
    my $log_size = -s $node->logfile;
    set_conf($node, 'pipelinedb.stop_points' => "$point:error");
    $ledger->start(2, 700);
    ok(defined wait_until(sub {
        return index(slurp_file($node->logfile, $log_size), qq(stop point "$point" reached)) >= 0;
    }, 60), "$point: failed there");
    set_conf($node, 'pipelinedb.stop_points' => '');
    $ledger->finish;
    is_exact("error at $point");
}

# ---- writers commit while the fold worker stands still ---------------------------------------

for my $point (qw(fold_before_snapshot fold_after_snapshot fold_before_progress fold_committed)) {
    my $holder = hold_at($node, $point);
    set_conf($node, 'pipelinedb.stop_points' => "$point:wait");
    $ledger->start(16, 10);
    ok(held_at($node, $point), "$point: the fold worker waits there");
    $ledger->finish;
    set_conf($node, 'pipelinedb.stop_points' => '');
    release_all($holder);
    is_exact("commits at $point");
}

# ---- a writer that has chosen its page, and 16 that push the spool on ------------------------

# Background psql: sends SQL and does not wait for its end; done() does.
sub send_sql {
    my ($session, $text) = @_;
    $session->{stdin} .= "$text\n";
    $session->{run}->pump_nb;
}
sub done { return $_[0]->query_safe('SELECT 1'); }

sql('CREATE FOREIGN TABLE pushed (who text, pad text) SERVER pipelinedb;
     CREATE VIEW pushed_view AS SELECT who, count(*) AS n FROM pushed GROUP BY who');
my $push = "INSERT INTO pushed SELECT 'others', repeat('x', 3500) FROM generate_series(1, 40);\n";
my %pushed = (others => 0);

sub push_on {
    my ($writers, $times) = @_;
    my @runs;
    my @scripts = ($push x $times) x $writers; # each psql eats its own
    push @runs, IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-v',
        'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ], '<', \$_) for @scripts;
    my $good = grep { $_->finish } @runs;
    $pushed{others} += 40 * $times * $good;
    return $good;
}

# Writes more than a generation shall hold, and waits until the fold worker has gone on to the next.
sub rotate {
    my ($name) = @_;
    my $newest = 'SELECT max(ordinal) FROM pipelinedb.generation';
    my $before = sql($newest);
    push_on(1, 10);
    ok($node->poll_query_until('postgres', "SELECT ($newest) > $before"), "the spool rotates $name");
}
sub pushed_now { return sql('SELECT who, n FROM pushed_view ORDER BY who'); }
sub pushed_expected { return join "\n", map { "$_|$pushed{$_}" } sort keys %pushed; }

for my $size ('64MB', '1MB') {
    set_conf($node, 'pipelinedb.spool_generation_size' => $size);
    for my $how ('INSERT', 'COPY', 'second statement', 'savepoint') {
        my $who = "$how with generations of $size";
        my $insert = "INSERT INTO pushed VALUES ('$who', 'p');";
        my $session = $node->background_psql('postgres');
        $session->query_safe("BEGIN; $insert") if $how eq 'second statement';
        $session->query_safe("BEGIN; SAVEPOINT a; $insert ROLLBACK TO a") if $how eq 'savepoint';
        $session->query_safe("SET pipelinedb.stop_points = 'spool_page_chosen:wait'");
        my $holder = hold_at($node, 'spool_page_chosen');
        send_sql($session, $how eq 'COPY' ? "COPY pushed FROM STDIN;\n$who\tp\n\\." : $insert);
        ok(held_at($node, 'spool_page_chosen'), "$who: a page is chosen");
        is(push_on(16, 16), 16, '16 writers push on');
        is(flush($node), 't', 'and are folded') if $how eq 'INSERT' || $how eq 'COPY';
        release_all($holder);
        done($session);
        $session->query_safe('COMMIT') if $how =~ /second|savepoint/;
        $session->quit;
        $pushed{$who} = $how eq 'second statement' ? 2 : 1;
        is(flush($node), 't', 'all is folded');
        is(pushed_now(), pushed_expected(), 'every row counts exactly once');
    }
}

# ---- a session that wrote before a rotation and writes again after it -------------------------

# It must not go on in the former generation: the fold worker looks there no more.
set_conf($node, 'pipelinedb.spool_generation_size' => '1MB');
my @old_sessions = map { $node->background_psql('postgres') } 1 .. 3;
$old_sessions[1]->query_safe('PREPARE again AS INSERT INTO pushed VALUES (\'prepared statement\', NULL)');
# A transaction keeps its lock on the former generation, and nobody may empty that before its end.
$old_sessions[2]->query_safe('BEGIN');
for my $round (1 .. 4) {
    $old_sessions[2]->query_safe("INSERT INTO pushed VALUES ('old transaction', NULL)") for 1 .. 2;
    for (1 .. 3) {
        $old_sessions[0]->query_safe("INSERT INTO pushed VALUES ('old session', NULL)");
        $old_sessions[1]->query_safe('EXECUTE again');
        $pushed{$_}++ for 'old session', 'prepared statement';
    }
    is(flush($node), 't', 'folded');
    is(pushed_now(), pushed_expected(), "sessions from before a rotation, round $round");
    last if $round == 4;
    rotate('beside old sessions');
    sql("INSERT INTO pushed VALUES ('others', NULL)"); # in the new generation
    $pushed{others}++;
    is(flush($node), 't', 'folded');
}
$old_sessions[2]->query_safe('COMMIT');
$pushed{'old transaction'} = 8;
is(flush($node), 't', 'folded');
is(pushed_now(), pushed_expected(), 'a transaction that wrote across rotations counts exactly once');
$_->quit for @old_sessions;

# ---- CREATE VIEW held open -------------------------------------------------------------------

sql('CREATE FOREIGN TABLE seen (txn text) SERVER pipelinedb;
     CREATE VIEW seen_all AS SELECT txn, count(*) AS n FROM seen GROUP BY txn');
for my $round ('idle', 'rotation', 'new worker') {
    my $view = 'seen_' . ($round =~ s/ /_/gr);
    my $write = sub { sql("INSERT INTO seen VALUES ('$round: $_[0]')"); };
    my @sessions = map { $node->background_psql('postgres') } 1 .. 3;
    my ($creator, $older, $rolled_back) = @sessions;
    my $idle = sub {
        is(flush($node), 't', 'folded');
        push_on(4, 10) if $round eq 'rotation';
        sql("SELECT pg_terminate_backend($_)") for grep { $round eq 'new worker' } fold_worker_pid($node);
        usleep(1_600_000); # an idle worker looks after 1 s whether the spool can be emptied
    };
    $write->('before');
    $older->query_safe("BEGIN; INSERT INTO seen VALUES ('$round: open before')");
    $rolled_back->query_safe("BEGIN; INSERT INTO seen VALUES ('$round: rolled back')");
    $creator->query_safe("BEGIN; INSERT INTO seen VALUES ('$round: own, before')");
    $write->('before, while the creator has an xid');
    $creator->query_safe("CREATE VIEW $view AS SELECT txn, count(*) AS n FROM seen GROUP BY txn");
    $creator->query_safe("INSERT INTO seen VALUES ('$round: own, after'), ('$round: own, after')");
    $write->('while open');
    $older->query_safe('COMMIT');
    $rolled_back->query_safe('ROLLBACK');
    $idle->();
    $write->('while open, later');
    $creator->query_safe("SAVEPOINT a; INSERT INTO seen VALUES ('$round: own, undone'); ROLLBACK TO a;
        INSERT INTO seen VALUES ('$round: own, after')");
    $idle->();
    $creator->query_safe('COMMIT');
    $write->('after');
    $_->quit for @sessions;
    is(flush($node), 't', 'folded');
    ok(caught_up(), 'the new view goes with the others');
    is(sql("SELECT txn, n FROM $view ORDER BY txn COLLATE \"C\""), join("\n", map { "$round: $_" }
        'after|1', 'open before|1', 'own, after|3', 'while open|1', 'while open, later|1'),
        "CREATE VIEW held open ($round): counts what committed after its start");
    is(sql("SELECT txn FROM seen_all WHERE txn LIKE '$round: %' EXCEPT SELECT txn FROM $view
        ORDER BY txn"), join("\n", map { "$round: $_" } 'before',
        'before, while the creator has an xid', 'own, before'), 'and a view beside it all');
}

# ---- one big transaction in pieces -----------------------------------------------------------

# Lets a fold worker that waits at "fold_committed" make at least one tick more.
sub step {
    my ($holder) = @_;
    # In one message: the worker is first in the queue for the lock, and makes few ticks meanwhile.
    $holder->query_safe("SELECT pg_advisory_unlock(1346981957, hashtext('fold_committed'))\\;
        SELECT pg_advisory_lock(1346981957, hashtext('fold_committed'))");
    # The next tick needs a reason if the worker has just gone to sleep.
    sql("INSERT INTO seen VALUES ('step')");
    held_at($node, 'fold_committed') or die 'the fold worker does not come';
}

my $big_rows = 300_000;
my $first_big = sql('CREATE FOREIGN TABLE big (x int, pad text) SERVER pipelinedb;
    CREATE VIEW big_view AS SELECT count(*) AS n, sum(x::int8) AS s FROM big;
    CREATE VIEW small_view AS SELECT x, count(*) AS n FROM big WHERE x < 0 GROUP BY x');
sub big_now { return sql('SELECT n FROM big_view') || 0; }
my $copied = $node->basedir . '/big.copy';
open my $out, '>', $copied or die "$copied: $!";
print $out "$_\tpadding of row $_\n" for 1 .. $big_rows;
close $out;
my ($n, $s) = (0, 0);
for my $end ('by itself', 'after kill -9 of the fold worker', 'after an immediate stop') {
    is(flush($node), 't', 'folded');
    my $before = big_now();
    my $holder = hold_at($node, 'fold_committed');
    set_conf($node, 'pipelinedb.stop_points' => 'fold_committed:wait');
    sql("COPY big FROM '$copied'");
    $n += $big_rows; $s += $big_rows * ($big_rows + 1) / 2;
    for (1 .. 30) {
        step($holder);
        last if big_now() > $before;
    }
    my $piece = big_now() - $before;
    cmp_ok($piece, '>', 0, "a big transaction ($end) becomes visible in pieces: the first");
    cmp_ok($piece, '<', $big_rows / 2, 'is not all of it');
    my $small = -1 - $n;
    sql("INSERT INTO big VALUES ($small, 'small')");
    $n++; $s += $small;
    for (1 .. 3) {
        step($holder);
        last if sql("SELECT n FROM small_view WHERE x = $small");
    }
    is(sql("SELECT n FROM small_view WHERE x = $small"), '1', 'a small transaction does not wait for it');
    cmp_ok(big_now() - $before, '<', $big_rows, 'though it is under way');
    if ($end =~ /kill/) {
        my $life = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
        my $former = $node->safe_psql('postgres', $life);
        kill 'KILL', fold_worker_pid($node);
        eval { $holder->quit };
        # Until the postmaster notices, the server still takes connections.
        wait_until(sub {
            my ($status, $now) = eval { $node->psql('postgres', $life) };
            return defined $status && $status == 0 && $now ne '' && $now ne $former;
        });
        bring_back($node);
    } elsif ($end =~ /stop/) {
        $node->stop('immediate');
        eval { $holder->quit };
        $node->start;
    } else {
        set_conf($node, 'pipelinedb.stop_points' => '');
        release_all($holder);
    }
    set_conf($node, 'pipelinedb.stop_points' => '');
    is(flush($node), 't', 'folded');
    is(sql('SELECT n, s FROM big_view'), "$n|$s", "a big transaction ($end) counts exactly once");
}

# ---- a prepared transaction while generations rotate -----------------------------------------

sql("BEGIN; INSERT INTO pushed VALUES ('prepared', 'p'); PREPARE TRANSACTION 'stays';
     BEGIN; INSERT INTO pushed VALUES ('never', 'p'); PREPARE TRANSACTION 'goes'");
is(push_on(4, 30), 4, 'writers go on beside a prepared transaction');
rotate('beside a prepared transaction');
rotate('into a third generation');
is(flush($node), 't', 'folded');
is(pushed_now(), pushed_expected(), 'it does not count and holds nobody up');
$node->restart;
rotate('beside a prepared transaction after a restart');
$node->stop('immediate');
$node->start;
rotate('and after a crash');
is(flush($node), 't', 'folded');
is(pushed_now(), pushed_expected(), 'also after restarts');
sql("COMMIT PREPARED 'stays'; ROLLBACK PREPARED 'goes'");
$pushed{prepared} = 1;
push_on(1, 5);
is(flush($node), 't', 'folded');
is(pushed_now(), pushed_expected(), 'then it counts exactly once');

# ---- paused and failed views -----------------------------------------------------------------

sql("CREATE FUNCTION share(v int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN
        IF v = 0 THEN RAISE ''no share'' USING ERRCODE = ''0A000''; END IF; RETURN 1000 / v; END';
     CREATE FOREIGN TABLE shares (x int, pad text) SERVER pipelinedb;
     CREATE VIEW plain AS SELECT count(*) AS n, sum(x) AS s FROM shares;
     CREATE VIEW resting AS SELECT count(*) AS n, sum(x) AS s FROM shares;
     CREATE VIEW failing AS SELECT count(*) AS n, sum(x) AS s, sum(share(x)) AS t FROM shares;");
my $shares = "INSERT INTO shares SELECT g % 10, repeat('x', 3000) FROM generate_series(%d, %d) g;";
sub write_shares { sql(sprintf($shares, $_[0] + 100 * $_, $_[0] + 100 * $_ + 99)) for 0 .. 9; }
sub show { return sql("SELECT n, s FROM $_[0]"); }
my $states = "SELECT name, state, sqlstate, message FROM pipelinedb.views
    WHERE name IN ('plain', 'resting', 'failing') ORDER BY name";

sql("INSERT INTO shares SELECT 1, '' FROM generate_series(1, 100); SELECT pipelinedb.deactivate('resting')");
is(flush($node), 't', 'folded');
my $before = show('resting');
write_shares(0);
rotate('beside the backlog of a paused view');
is(flush($node), 't', 'folded');
$node->restart;
write_shares(1000);
rotate('and after a restart');
is(flush($node), 't', 'folded');
is(show('resting'), $before, 'a paused view rests');
is(show('plain'), '2100|9100', 'the others go on');
is(sql($states), "failing|failed|0A000|no share\nplain|active||\nresting|paused||",
    'a view with an error that is no row\'s has failed');
$node->stop('immediate');
$node->start;
rotate('and after a crash');
is(flush($node), 't', 'folded');
is(sql("SELECT pipelinedb.activate('resting')"), 't', 'activate() the paused one');
ok($node->poll_query_until('postgres', "SELECT (SELECT (n, s) FROM resting) = (SELECT (n, s) FROM plain)"),
    'it has folded its backlog');
sql("SELECT pipelinedb.activate('failing')");
ok($node->poll_query_until('postgres', "SELECT state = 'failed' FROM pipelinedb.views
    WHERE name = 'failing'"), 'not mended, it fails again');
sql("CREATE OR REPLACE FUNCTION share(v int) RETURNS int LANGUAGE plpgsql IMMUTABLE
     AS 'BEGIN RETURN 1000 / nullif(v, 0); END'; SELECT pipelinedb.activate('failing')");
ok($node->poll_query_until('postgres', "SELECT n > 100 FROM failing"), 'mended, it folds its backlog');
sql('INSERT INTO shares VALUES (5, NULL)');
ok(caught_up(), 'all views go together again');
is(show($_), '2101|9105', "$_ is exact") for qw(plain resting failing);
is(sql('SELECT t FROM failing'), 100 * 1000 + 200 * (1000 + 500 + 333 + 250 + 200 + 166 + 142 + 125 + 111) + 200,
    'the failed one has computed every row once');
is(sql("SELECT count(*) FROM pipelinedb.views WHERE state <> 'active'"), '0', 'all views are active');

# ---- what is left when all is folded ---------------------------------------------------------

my $matrels = q{SELECT sum(pg_total_relation_size(matrel)) FROM pipelinedb.views};
ok(defined wait_until(sub { spool_bytes($node) < 500_000 }, 10), 'the spool is empty within 10 s');
my ($size, $matrel_size) = (sql('SELECT pg_database_size(current_database())'), sql($matrels));
$ledger->start(8, 500);
push_on(8, 40);
sql("INSERT INTO pushed SELECT 'others', string_agg(md5(random()::text), '')
     FROM generate_series(1, 100) a, generate_series(1, 6000) b GROUP BY a");
$pushed{others} += 100;
$ledger->finish;
is_exact('many writers');
is(pushed_now(), pushed_expected(), 'rows wider than a page, too');
my $seconds = wait_until(sub { spool_bytes($node) < 500_000 }, 10);
ok(defined $seconds, 'the spool is empty within 10 s') or diag(spool_bytes($node));
my $growth = sql('SELECT pg_database_size(current_database())') - $size - (sql($matrels) - $matrel_size);
cmp_ok($growth, '<', 2 * 1024 * 1024, 'the database has grown by the matrels and less than 2 MB');
diag(sprintf 'spool empty after %.1f s, %d bytes left, growth beside the matrels %d bytes',
    $seconds // -1, spool_bytes($node), $growth);

$node->stop;
done_testing();
