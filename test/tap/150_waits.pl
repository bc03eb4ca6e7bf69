# Waiting for the fold: sync_commit, a session's own writes, and all that can come in between.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', max_prepared_transactions => 10);
$node->safe_psql('postgres', <<'SQL');
CREATE FOREIGN TABLE daily_stream (work_date date, worker varchar(20)) SERVER pipelinedb;
CREATE VIEW daily_view WITH (action=materialize) AS
  SELECT work_date, worker, count(*) AS cnt FROM daily_stream GROUP BY work_date, worker;
CREATE FOREIGN TABLE st (k int) SERVER pipelinedb;
CREATE VIEW v AS SELECT k, count(*) AS cnt FROM st GROUP BY k;
CREATE VIEW total AS SELECT count(*) AS cnt FROM st;
CREATE TABLE done (k int PRIMARY KEY);
CREATE FUNCTION read_total() RETURNS int8 LANGUAGE sql AS 'SELECT cnt FROM total';
CREATE FUNCTION read_plpgsql() RETURNS int8 LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT cnt FROM total); END';
SQL
wait_folded($node);

# ---- the classic example, and its like ---------------------------------------------------------

# One connection, each statement a message of its own.
my $rounds = 1000;
sub each_seen {
    my ($name, $setup, $write, $read, $count) = @_;
    $count //= $rounds;
    my $start = $node->safe_psql('postgres', 'SELECT cnt FROM total');
    $write .= ";\n" unless $write =~ /\n$/;
    my $script = $setup . "\n" . "$write$read;\n" x $count;
    my ($out, @errors) = run_script($node, $script);
    is("@errors", '', "$name: no error");
    my @seen = grep { /^\d+$/ } split /\n/, $out;
    my $wrong = grep { $seen[ $_ - 1 ] != $start + $_ } 1 .. @seen;
    is(scalar(@seen) . " reads, $wrong wrong", "$count reads, 0 wrong", $name);
    wait_folded($node);
}

my ($out, @errors) = run_script($node, <<'SQL' x $rounds);
CREATE FOREIGN TABLE own_stream (work_date date, worker varchar(20)) SERVER pipelinedb;
CREATE VIEW own_view WITH (action=materialize) AS
  SELECT work_date, worker, count(*) AS cnt FROM own_stream GROUP BY work_date, worker;
INSERT INTO own_stream VALUES (CURRENT_DATE,'jhon'),(CURRENT_DATE,'tom'),(CURRENT_DATE,'jhon'),(CURRENT_DATE,'brown');
SELECT string_agg(worker || ' ' || cnt, ', ' ORDER BY worker) FROM own_view;
BEGIN; INSERT INTO own_stream VALUES (CURRENT_DATE,'tom'); ROLLBACK;
SELECT string_agg(worker || ' ' || cnt, ', ' ORDER BY worker) FROM own_view;
SET client_min_messages = error; DROP FOREIGN TABLE own_stream CASCADE; RESET client_min_messages;
SQL
is("@errors", '', 'the classic example, typed 1000 times: no error');
my $right = () = $out =~ /^brown 1, jhon 2, tom 1$/mg;
is($right, 2 * $rounds, 'and it shows what it should each time');

# A view made and filled by one transaction.
($out, @errors) = run_script($node, <<'SQL' x $rounds);
CREATE FOREIGN TABLE own_stream (k int) SERVER pipelinedb;
BEGIN;
INSERT INTO own_stream VALUES (1);
CREATE VIEW own_view AS SELECT count(*) FROM own_stream;
INSERT INTO own_stream VALUES (2), (3);
COMMIT;
SELECT 'own ' || count FROM own_view;
SELECT pipelinedb.flush();
SELECT 'flushed ' || count FROM own_view;
SET client_min_messages = error; DROP FOREIGN TABLE own_stream CASCADE; RESET client_min_messages;
SQL
is("@errors", '', 'CREATE VIEW and INSERT in one transaction, 1000 times: no error');
$right = () = $out =~ /^own 2$/mg;
is($right, $rounds, 'the next SELECT shows the rows');
$right = () = $out =~ /^flushed 2$/mg;
is($right, $rounds, 'and so does whoever called flush()');

# ---- own writes -----------------------------------------------------------------------------

my $insert = 'INSERT INTO st VALUES (0)';
my $select = 'SELECT cnt FROM total';
each_seen('plain statements', '', $insert, $select);
each_seen('EXECUTE with generic plans', "SET plan_cache_mode = force_generic_plan;
    PREPARE w (int) AS INSERT INTO st VALUES (\$1); PREPARE r (int) AS SELECT cnt FROM total WHERE \$1 = 0;",
    'EXECUTE w (0)', 'EXECUTE r (0)');
each_seen('COPY', '', "COPY st FROM STDIN;\n0\n\\.\n", $select, 100);
each_seen('an SQL function', '', $insert, 'SELECT read_total()', 100);
each_seen('a PL/pgSQL function', '', $insert, 'SELECT read_plpgsql()', 100);
each_seen('a writer inside DO', '', "DO 'BEGIN INSERT INTO st VALUES (0); END'", $select, 100);
each_seen('explicit transactions', '', "BEGIN; $insert; COMMIT", "BEGIN; $select; COMMIT", 200);
each_seen('BEGIN ISOLATION LEVEL REPEATABLE READ', '', $insert,
    "BEGIN ISOLATION LEVEL REPEATABLE READ; $select; COMMIT", 200);
each_seen('SET TRANSACTION', '', $insert, "BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; $select; COMMIT", 200);
each_seen("default_transaction_isolation = '$_'", "SET default_transaction_isolation = '$_';", $insert, $select, 300)
    for 'repeatable read', 'serializable';
each_seen('two-phase commit', '', "BEGIN; $insert; PREPARE TRANSACTION 'own'; COMMIT PREPARED 'own'", $select, 100);
each_seen('CREATE TABLE AS', '', $insert, "CREATE TEMP TABLE t AS SELECT cnt FROM total; SELECT cnt FROM t; DROP TABLE t", 50);

# ---- sync_commit ------------------------------------------------------------------------------

# Without own writes, a session is to itself like any other.
my $sync = 'SET pipelinedb.read_own_writes = off; SET pipelinedb.stream_insert_level = sync_commit;';
each_seen('sync_commit', $sync, $insert, $select);
each_seen('sync_commit, explicit transactions', $sync, "BEGIN; SAVEPOINT a; INSERT INTO st VALUES (1), (2); ROLLBACK TO a; $insert; COMMIT", $select, 200);
each_seen('sync_commit, COMMIT PREPARED', $sync, "BEGIN; $insert; PREPARE TRANSACTION 'own'; COMMIT PREPARED 'own'", $select, 200);
each_seen('sync_commit, COPY', $sync, "COPY st FROM STDIN;\n0\n\\.\n", $select, 200);
{
    # Two connections in turn.
    my $writer = $node->background_psql('postgres');
    my $reader = $node->background_psql('postgres');
    $writer->query_safe("SET pipelinedb.stream_insert_level = sync_commit");
    my $start = $reader->query_safe($select);
    my $wrong = 0;
    no warnings 'redefine';
    local *PostgreSQL::Test::BackgroundPsql::note = sub { };
    for my $i (1 .. 200) {
        $writer->query_safe($insert);
        $wrong++ if $reader->query_safe($select) != $start + $i;
    }
    is($wrong, 0, 'after a sync_commit another session sees the row, 200 of 200 times');
    $writer->quit;
    $reader->quit;
}

# ---- the extended protocol and many clients -----------------------------------------------------

my $folder = PostgreSQL::Test::Utils::tempdir();
sub bench {
    my ($name, $mode, $clients, $transactions, $options, %scripts) = @_;
    my @files;
    for my $script (sort keys %scripts) {
        my ($title, $weight) = split /@/, $script;
        append_to_file("$folder/$title.sql", $scripts{$script});
        push @files, '-f', "$folder/$title.sql\@" . ($weight // 1);
    }
    # A client counts from nothing.
    $node->safe_psql('postgres', 'DROP VIEW v; CREATE VIEW v AS SELECT k, count(*) AS cnt FROM st GROUP BY k');
    wait_folded($node);
    local $ENV{PGOPTIONS} = $options;
    $node->command_ok([ 'pgbench', '-n', '-M', $mode, '-c', $clients, '-j', 2, '-t', $transactions, '-D', 'n=0', @files, 'postgres' ], $name);
    unlink glob "$folder/*.sql";
}

# n is what this client has committed; a division by zero ends the run.
my $check = "SELECT 1 / ((SELECT cnt FROM v WHERE k = :client_id) IS NOT DISTINCT FROM nullif(:n::int8, 0))::int;\n";
my $one = "INSERT INTO st VALUES (:client_id);\n\\set n :n + 1\n$check";
bench('own writes, prepared statements', 'prepared', 1, 1000, '', one => $one);
bench('own writes, generic plans', 'prepared', 1, 500, '-c plan_cache_mode=force_generic_plan', one => $one);
bench('own writes, extended protocol', 'extended', 1, 500, '', one => $one);
bench('own writes under REPEATABLE READ', 'prepared', 1, 500, '-c default_transaction_isolation=repeatable\\ read', one => $one);
bench('eight clients with a mixture of writes', 'prepared', 8, 200, '', 'one@4' => $one,
    'rollback@1' => "BEGIN;\nINSERT INTO st VALUES (:client_id);\n$check" . "ROLLBACK;\n$check",
    'savepoint@2' => "BEGIN;\nINSERT INTO st VALUES (:client_id);\nSAVEPOINT a;\nINSERT INTO st VALUES (:client_id), (:client_id);\n"
        . "ROLLBACK TO a;\nINSERT INTO st SELECT :client_id FROM generate_series(1, 100);\nCOMMIT;\n\\set n :n + 101\n$check",
    'snapshot@2' => "INSERT INTO st VALUES (:client_id);\n\\set n :n + 1\nBEGIN ISOLATION LEVEL REPEATABLE READ;\n$check" . "COMMIT;\n",
    'sync@1' => "SET pipelinedb.stream_insert_level = sync_commit;\nINSERT INTO st VALUES (:client_id);\n\\set n :n + 1\n"
        . "SET pipelinedb.read_own_writes = off;\n$check" . "RESET pipelinedb.read_own_writes;\nRESET pipelinedb.stream_insert_level;\n",
    'quiet@1' => "SET pipelinedb.read_own_writes = off;\nINSERT INTO st VALUES (:client_id);\n\\set n :n + 1\nRESET pipelinedb.read_own_writes;\n$check");

# With sync_commit, what a writer did after its stream rows proves that they are visible: no
# session ever sees a key in "done" that the view lacks.
bench('eight clients with sync_commit: others never see an effect before its cause', 'prepared', 8, 250,
    '-c pipelinedb.stream_insert_level=sync_commit -c pipelinedb.read_own_writes=off',
    'cause' => "\\set n :n + 1\nINSERT INTO st VALUES (1000000 * (:client_id + 1) + :n);\nINSERT INTO done VALUES (1000000 * (:client_id + 1) + :n);\n"
        . "SELECT 1 / (NOT EXISTS (SELECT FROM done WHERE NOT EXISTS (SELECT FROM v WHERE v.k = done.k)))::int;\n");

# ---- while the fold is held ----------------------------------------------------------------------

# Runs $sql in $session without waiting for its end.
sub begin_query {
    my ($session, $sql) = @_;
    $session->query_until(qr/begun/, "\\echo begun\n$sql;\n");
}

# What begin_query() wrote, with its errors and warnings.
sub end_query {
    my ($session) = @_;
    my $out = $session->query('SELECT 1 AS ended');
    my $err = $session->{stderr};
    $session->{stderr} = '';
    return ($out, $err);
}

sub session {
    my (%conf) = @_;
    my $session = $node->background_psql('postgres', on_error_stop => 0);
    my $pid = $session->query_safe('SELECT pg_backend_pid()');
    $session->query_safe("SET $_ = $conf{$_}") for sort keys %conf;
    return ($session, $pid);
}

sub waits {
    my ($pid) = @_;
    return $node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' AND state = 'active'
        FROM pg_stat_activity WHERE pid = $pid");
}

my $held;
sub hold { $held = hold_worker($node, 'fold_before_snapshot'); }
sub release { release_worker($held); wait_folded($node); }
sub total { return $node->safe_psql('postgres', $select); }

hold();
my $before = total();
my ($session, $pid) = session();
my $begin = time;
$session->query_safe($insert);
cmp_ok(time - $begin, '<', 5, 'a writer does not wait for a fold that is held');
is($session->query_safe('SELECT 1 + 1'), '2', 'nor does a query that reads no view');
is($session->query_safe('SELECT count(*) FROM done'), '2000', 'or another table');
$session->query_safe('SET pipelinedb.read_own_writes = off');
is($session->query_safe($select), $before, 'with read_own_writes = off a reader does not wait either');
$session->query_safe('RESET pipelinedb.read_own_writes');
is(total(), $before, 'nor does another session');

begin_query($session, $select);
ok(waits($pid), 'a reader of its own rows waits');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
my ($text, $error) = end_query($session);
like($error, qr/canceling statement due to user request/, 'the wait can be cancelled');
begin_query($session, $select);
ok(waits($pid), 'it waits again');
release();
($text) = end_query($session);
like($text, qr/^@{[ $before + 1 ]}\n1$/, 'and gets the right answer when the fold goes on');

hold();
$session->query_safe($insert);
$session->query_safe("SET statement_timeout = '300ms'");
begin_query($session, $select);
($text, $error) = end_query($session);
like($error, qr/canceling statement due to statement timeout/, 'statement_timeout ends the wait');
$session->query_safe('RESET statement_timeout');
$session->query_safe("SET pipelinedb.read_own_writes_timeout = '3s'");
$begin = time;
begin_query($session, $select);
($text, $error) = end_query($session);
my $took = time - $begin;
like($text, qr/^@{[ $before + 1 ]}\n1$/, 'the wait is bounded: then the old answer comes');
like($error, qr/WARNING: .*continuous views may not show all rows that this session wrote/, 'with a warning');
cmp_ok($took, '>', 2.9, 'not before the timeout');
cmp_ok($took, '<', 20, 'and not long after it');
$begin = time;
is($session->query_safe($select), $before + 1, 'the same rows are not waited for twice');
cmp_ok(time - $begin, '<', 2.5, 'so that is quick');
release();
is($session->query_safe($select), $before + 2, 'nothing was lost');

# BEGIN above READ COMMITTED waits as a query would.
hold();
$session->query_safe($insert);
begin_query($session, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
($text, $error) = end_query($session);
like($error, qr/WARNING: .*may not show all rows/, 'BEGIN ISOLATION LEVEL REPEATABLE READ is bounded, too');
$session->query_safe('ROLLBACK');
release();
$session->quit;

# sync_commit: the row is committed, whatever ends the wait.
$before = total();
($session, $pid) = session('pipelinedb.stream_insert_level' => 'sync_commit');
hold();
for my $transaction ($insert, "BEGIN; $insert; COMMIT", "BEGIN; $insert; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'") {
    begin_query($session, $transaction);
    ok(waits($pid), "sync_commit waits: $transaction");
    $node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
    ($text, $error) = end_query($session);
    like($error, qr/WARNING:  canceling the wait for continuous views due to user request/, 'cancelled, it says so');
    unlike($error, qr/ERROR|FATAL|PANIC/, 'it raises no error');
}
$session->query_safe("SET statement_timeout = '200ms'");
begin_query($session, $insert);
ok(waits($pid), 'a commit that waits');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'can be terminated');
$session->{run}->finish;
release();
is(total(), $before + 4, 'all four rows are there');

# A fold worker that is terminated is replaced, and the wait goes on.
($session, $pid) = session('pipelinedb.stream_insert_level' => 'sync_commit');
my ($reader, $reader_pid) = session();
hold();
$reader->query_safe($insert);
begin_query($reader, $select);
begin_query($session, $insert);
ok(waits($pid) && waits($reader_pid), 'a writer and a reader wait');
my $worker = fold_worker_pid($node);
set_server($node, 'pipelinedb.stop_points' => '');
ok($node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)"), 'the fold worker is terminated');
my (undef, $writer_said) = end_query($session);
my ($read, $reader_said) = end_query($reader);
unlike($writer_said . $reader_said, qr/ERROR|FATAL|PANIC/, 'neither fails');
ok($read =~ /^@{[ $before + 5 ]}$/m || $read =~ /^@{[ $before + 6 ]}$/m || $reader_said =~ /WARNING/, 'the reader has its rows, or was told')
    or diag($read, $reader_said);
isnt(fold_worker_pid($node), $worker, 'another worker has come');
release();
is(total(), $before + 6, 'nothing lost, nothing doubled');
$_->quit for $session, $reader;

# ---- DROP VIEW in an open transaction stalls nobody ----------------------------------------------

hold();
my ($dropper) = session();
$dropper->query_safe('CREATE VIEW fresh AS SELECT count(*) FROM st');
$dropper->query_safe('BEGIN');
$dropper->query_safe('DROP VIEW fresh');
set_server($node, 'pipelinedb.stop_points' => '');
$held->{holder}->quit;
$node->safe_psql('postgres', $insert);
my ($rc, undef, $err) = $node->psql('postgres', "SET statement_timeout = '20s'; SELECT pipelinedb.flush()");
is($rc, 0, 'others are folded while the drop of a fresh view is not committed') or diag($err);
is(total(), $before + 7, 'and counted');
$dropper->query_safe('COMMIT');
$dropper->quit;
wait_folded($node);

# The same while the worker is in the middle of that view.
$node->safe_psql('postgres', 'CREATE VIEW fresh AS SELECT count(*) FROM st');
wait_folded($node);
$held = hold_worker($node, 'fold_collected');
$node->safe_psql('postgres', $insert);
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = 1346981957");
($dropper, $pid) = session();
begin_query($dropper, 'BEGIN; DROP VIEW fresh');
set_server($node, 'pipelinedb.stop_points' => '');
$held->{holder}->quit;
($text, $error) = end_query($dropper);
unlike($error, qr/ERROR/, 'DROP VIEW amid a tick raises no error');
($rc, undef, $err) = $node->psql('postgres', "SET statement_timeout = '20s'; SELECT pipelinedb.flush()");
is($rc, 0, 'others are folded while it is not committed') or diag($err);
$dropper->query_safe('ROLLBACK');
$dropper->quit;
ok($node->poll_query_until('postgres', 'SELECT count = 1 FROM fresh'), 'rolled back, the view has its row');
wait_folded($node);
is(total(), $before + 8, 'and the others have it once');

views_are_active($node);
unlike(slurp_file($node->logfile), qr/terminated by signal|TRAP:|PANIC/, 'nothing crashed');
$node->stop;
done_testing();
