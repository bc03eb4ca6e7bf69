# pipelinedb.max_spool_size: warnings, views that are detached and begin anew, writers that are
# refused; what is counted is exact at any point, and what is lost is known.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use StopPoints;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'pipelinedb.max_spool_size' => '8MB', restart_after_crash => 'on',
    log_statement => 'none');
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub refusal { return ($node->psql('postgres', $_[0], on_error_stop => 1))[2] }
sub state_of { return sql("SELECT state FROM pipelinedb.views WHERE name = '$_[0]'") }
sub becomes {
    my ($view, $state) = @_;
    ok($node->poll_query_until('postgres',
        "SELECT state = '$state' FROM pipelinedb.views WHERE name = '$view'"), "$view is $state");
}

# Waits for a line in the log that is younger than $from.
sub logged {
    my ($pattern, $from) = @_;
    return defined wait_until(sub { slurp_file($node->logfile, $from) =~ $pattern }, 60);
}
sub is_emptied { ok(defined wait_until(sub { spool_bytes($node) < 200_000 }, 30), "$_[0]: the spool is empty") }

# $n rows of about 1 kB of group $k; each is a chunk's eighth.
sub rows { return "INSERT INTO s SELECT $_[0], repeat('x', 1000) FROM generate_series(1, $_[1]);" }
my %written;
sub write_rows {
    my ($k, $n) = @_;
    sql(rows($k, $n));
    $written{$k} += $n;
}
sub a_is_exact {
    my $expected = join "\n", map { "$_|$written{$_}" } sort { $a <=> $b } keys %written;
    is(flush($node), 't', 'everybody who takes rows has them');
    is(sql('SELECT * FROM a ORDER BY 1'), $expected, "$_[0]: the view that folds is exact");
}

sql("CREATE FOREIGN TABLE s (k int, x text) SERVER pipelinedb;
     CREATE VIEW a AS SELECT k, count(*) AS n FROM s GROUP BY k;
     CREATE VIEW b AS SELECT k, count(*) AS n FROM s GROUP BY k");
write_rows(1, 10);
a_is_exact('start');
is(sql("SELECT lost_since, lost_until, lost_rows FROM pipelinedb.views WHERE name = 'b'"), '||0',
    'a view has lost nothing');

# ---- a paused view: the warning, the loss ----------------------------------------------------------

my $log = -s $node->logfile;
sql("SELECT pipelinedb.deactivate('b')");
write_rows(2, 6900);
ok(logged(qr/WARNING:  spool of database "postgres" has \d+ kB of rows that wait to be folded, 8\d percent of pipelinedb.max_spool_size/, $log),
    'a warning comes at 80 percent');
like(slurp_file($node->logfile, $log), qr/DETAIL:  The oldest of them wait for continuous views that are paused, failed, blocked or slow: "b"\..*HINT:  Activate or drop them\. At 100 percent they are detached/s,
    'it says who and what to do');
is(state_of('b'), 'paused', 'nothing is lost yet');
write_rows(2, 2500);
becomes('b', 'lost');
is(sql("SELECT active, lost_since IS NOT NULL, lost_until IS NULL, lost_rows FROM pipelinedb.views
        WHERE name = 'b'"), 'f|t|t|9400', 'the rows that waited for it are counted');
ok(logged(qr/continuous view "b" is detached from stream "s", since the spool is full.*9400 rows that waited for it are lost to it.*pipelinedb.activate\('b'\)/s, $log),
    'and named in the log');
is(() = slurp_file($node->logfile, $log) =~ /WARNING:  spool of database/g, 1,
    'within a minute there is one warning');
a_is_exact('loss');
is_emptied('loss');
is(sql('SELECT * FROM b'), '1|10', 'what the lost view had folded stays');

# ---- activate begins anew: exactly what commits later ------------------------------------------------

write_rows(3, 10); # not for b
my $before = $node->background_psql('postgres');
$before->query_safe("BEGIN; INSERT INTO s VALUES (4, 'open when b begins')");
sql("BEGIN; SELECT pipelinedb.activate('b'); ROLLBACK");
is(state_of('b'), 'lost', 'activate() can be rolled back');
sql("BEGIN; INSERT INTO s VALUES (5, 'before'); SELECT pipelinedb.activate('b');
     INSERT INTO s VALUES (6, 'after'); COMMIT");
is(state_of('b'), 'active', 'a lost view is active again');
is(sql("SELECT pipelinedb.activate('b')"), 'f', 'once');
$before->query_safe('COMMIT');
$before->quit;
$written{$_} = 1 for 4 .. 6;
write_rows(7, 3);
a_is_exact('activate');
is(sql('SELECT * FROM b ORDER BY 1'), "1|10\n4|1\n6|1\n7|3",
    'b has what committed after it began, of its own transaction what came after');
is(sql("SELECT lost_since < lost_until, lost_rows FROM pipelinedb.views WHERE name = 'b'"), 't|9400',
    'the gap stays on record');

# ---- failed and blocked views lose, too; a view that was created meanwhile does not ----------------

sql("CREATE FUNCTION picky(k int) RETURNS int LANGUAGE plpgsql AS \$\$ BEGIN
       IF k = 8 THEN RAISE 'not eight' USING ERRCODE = 'undefined_object'; END IF; RETURN k; END \$\$;
     CREATE VIEW bad AS SELECT picky(k) AS q, count(*) AS n FROM s GROUP BY 1;
     CREATE VIEW blocked AS SELECT k, count(*) AS n FROM s GROUP BY k;
     CREATE VIEW dropped AS SELECT count(*) AS n FROM s");
a_is_exact('more views');
my $blocker = $node->background_psql('postgres');
$blocker->query_safe('BEGIN; LOCK TABLE blocked_mrel IN ACCESS EXCLUSIVE MODE');
sql("SELECT pipelinedb.deactivate('dropped')");
write_rows(8, 4000);
becomes('bad', 'failed');
write_rows(9, 5500);
becomes($_, 'lost') for qw(bad blocked dropped);
is(sql("SELECT name, lost_rows FROM pipelinedb.views WHERE state = 'lost' ORDER BY 1"),
    "bad|9500\nblocked|9500\ndropped|9500", 'each lost its own rows');
$blocker->query_safe('COMMIT');
$blocker->quit;
sql('DROP VIEW dropped');
a_is_exact('several views');
is(sql("SELECT pipelinedb.activate('bad'), pipelinedb.deactivate('blocked')"), 't|t', 'states change');
is(state_of('blocked'), 'lost', 'a lost view that is paused is lost still');
is(sql("SELECT pipelinedb.activate('blocked')"), 't', 'until it is activated');
write_rows(10, 5);
a_is_exact('several views');
is(sql("SELECT n FROM blocked WHERE k IN (8, 9, 10)"), '5', 'then it counts');
views_are_active($node);

# ---- a crash in the middle: detached or not, nothing between ----------------------------------------

sub load { write_rows(11, 4700) for 1 .. 2 }
for my $point (qw(lost_counted lost_marked lost_committed)) {
    for my $action (qw(error crash)) {
        my $lost = sql("SELECT lost_rows FROM pipelinedb.views WHERE name = 'b'");
        my $n = sql('SELECT sum(n) FROM b');
        my $from = -s $node->logfile;
        sql("SELECT pipelinedb.deactivate('b')");
        unlink $node->data_dir . "/pipelinedb_stop_$point";
        set_conf($node, 'pipelinedb.stop_points' => "$point:$action");
        load();
        ok($action eq 'crash' ? crashed_at($node, $point, $from)
              : defined wait_until(sub { slurp_file($node->logfile, $from) =~ /stop point "$point" reached/ }, 60),
            "$point: $action");
        set_conf($node, 'pipelinedb.stop_points' => '');
        becomes('b', 'lost');
        is(sql("SELECT lost_rows - $lost FROM pipelinedb.views WHERE name = 'b'"), 9400,
            "$point, $action: lost once");
        sql("SELECT pipelinedb.activate('b')");
        a_is_exact("$point, $action");
        is(sql("SELECT sum(n) FROM b"), $n, "$point, $action: b has none of the lost rows");
        is_emptied("$point, $action");
    }
}

# ---- reject: nobody loses, writers fail -------------------------------------------------------------

sql('DROP VIEW bad; DROP VIEW blocked');
set_server($node, 'pipelinedb.spool_full_action' => 'reject');
sql("SELECT pipelinedb.deactivate('b')");
my $kept = sql('SELECT sum(n) FROM b');
write_rows(12, 9400);
my $error;
ok(defined wait_until(sub {
    $error = refusal(rows(12, 1));
    $written{12}++ unless $error;
    return $error;
}, 30), 'a full spool takes no rows');
like($error, qr/ERROR:  spool of database "postgres" is full\nDETAIL:  Rows that wait to be folded take \d+ kB; pipelinedb.max_spool_size is 8192 kB\.\nHINT:  The server log says what holds them\. Try again later, or raise pipelinedb\.max_spool_size\./,
    'the error says why and what to do');
like(refusal("\\set VERBOSITY sqlstate\n" . rows(12, 1)), qr/ERROR:  53400/, 'its SQLSTATE');
like(refusal("COPY s (k, x) FROM stdin;\n13\tx\n\\.\n"), qr/spool of database "postgres" is full/, 'COPY');
sql("DO \$\$ BEGIN INSERT INTO s VALUES (13, 'x');
     EXCEPTION WHEN configuration_limit_exceeded THEN NULL; END \$\$");
a_is_exact('reject');
is(state_of('b'), 'paused', 'nobody is detached');
sql("SELECT pipelinedb.activate('b')");
ok(defined wait_until(sub { !refusal(rows(14, 1)) }, 30), 'it takes rows when the view has folded');
$written{14} = 1;
a_is_exact('after reject');
is(sql('SELECT sum(n) FROM b') - $kept, $written{12} + 1, 'b has all rows');
set_server($node, 'pipelinedb.spool_full_action' => 'detach');

# ---- nobody can be detached: writers fail -----------------------------------------------------------

# Folding itself stands still: the views that share a progress never lose, nor does one that waits
# for the same rows.
sql("SELECT pipelinedb.deactivate('b')");
$kept = sql('SELECT sum(n) FROM b');
is(flush($node), 't', 'the paused view has left the others');
set_conf($node, 'pipelinedb.stop_points' => 'fold_collected:error');
write_rows(15, 9400);
ok(defined wait_until(sub {
    $error = refusal(rows(15, 1));
    $written{15}++ unless $error;
    return $error;
}, 60), 'folding is behind: writers are refused');
is(state_of('b'), 'paused', 'and no view is lost');
set_conf($node, 'pipelinedb.stop_points' => '');
sql("SELECT pipelinedb.activate('b')");
a_is_exact('folding goes on');
is(sql('SELECT sum(n) FROM b') - $kept, $written{15}, 'b has all rows');

# The fold worker does not come to look: the writers do.
is_emptied('before');
my $holder = hold_at($node, 'fold_collected');
set_conf($node, 'pipelinedb.stop_points' => 'fold_collected:wait');
write_rows(16, 1);
ok(held_at($node, 'fold_collected'), 'the fold worker stands still');
write_rows(16, 9400);
ok(defined wait_until(sub {
    $error = refusal(rows(16, 1));
    $written{16}++ unless $error;
    return $error;
}, 60), 'writers are refused');
set_conf($node, 'pipelinedb.stop_points' => '');
release_all($holder);
a_is_exact('the worker goes on');

# A transaction larger than the limit; it is refused before it commits.
is_emptied('before');
$log = -s $node->logfile;
like(refusal('DO $$ BEGIN LOOP ' . rows(17, 100) . ' END LOOP; END $$'),
    qr/spool of database "postgres" is full/, 'a transaction larger than the limit fails');
a_is_exact('after it');

# A CREATE VIEW that does not end holds all chunks: it is named, and nobody is detached.
$node->restart; # the last warning is forgotten
is_emptied('before');
$log = -s $node->logfile;
my $creator = $node->background_psql('postgres');
$creator->query_safe('BEGIN; CREATE VIEW endless AS SELECT count(*) AS n FROM s');
my $pid = $creator->query_safe('SELECT pg_backend_pid()');
write_rows(18, 6900);
ok(logged(qr/Nobody waits for the oldest of them, but their table is in use by process $pid\./, $log),
    'a transaction that holds the spool is named');
write_rows(18, 2500);
ok(defined wait_until(sub {
    $error = refusal(rows(18, 1));
    $written{18}++ unless $error;
    return $error;
}, 30), 'writers are refused');
views_are_active($node, 'and no view is lost');
$creator->query_safe('COMMIT');
$creator->quit;
ok(defined wait_until(sub { !refusal(rows(19, 1)) }, 30), 'until it ends');
$written{19} = 1;
a_is_exact('after it');

# A prepared transaction.
$node->restart;
is_emptied('before');
$log = -s $node->logfile;
sql("BEGIN; CREATE VIEW prepared AS SELECT count(*) AS n FROM s; PREPARE TRANSACTION 'it''s'");
write_rows(20, 6900);
ok(logged(qr/in use by prepared transaction 'it''s'\./, $log), 'so is a prepared transaction');
sql("ROLLBACK PREPARED 'it''s'");
is_emptied('after it');
a_is_exact('after it');

# ---- no limit, and a stream without readers ---------------------------------------------------------

set_server($node, 'pipelinedb.max_spool_size' => '0');
sql("SELECT pipelinedb.deactivate('b')");
write_rows(21, 9400);
write_rows(21, 1);
is(state_of('b'), 'paused', 'without a limit nobody is detached');
sql("SELECT pipelinedb.activate('b')");
a_is_exact('no limit');
set_server($node, 'pipelinedb.max_spool_size' => '8MB');

is_emptied('before');
sql('CREATE FOREIGN TABLE unread (x text) SERVER pipelinedb');
# The first round may find a worker that has to look at the spool anyway, and so does a rotation.
for my $round (1 .. 3) {
    sql("INSERT INTO unread SELECT repeat('x', 1000) FROM generate_series(1, 500)");
    cmp_ok(spool_bytes($node), '>', 500_000, 'rows that nobody reads are in the spool');
    is_emptied('a stream without a view');
}

$node->stop;
done_testing();
