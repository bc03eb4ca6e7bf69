# Backfill beside writers who write each row to a table and to a stream in one transaction: whatever
# happens, the view is what the query says over the table. Cancelled, crashed, resumed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run;
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', log_statement => 'none', max_prepared_transactions => 10,
    restart_after_crash => 'on', max_connections => 40, autovacuum => 'off');
sub sql { return $node->safe_psql('postgres', join '', @_); }
sub state_of { return sql("SELECT state, percent, sqlstate FROM pipelinedb.backfills WHERE view = '$_[0]'::regclass"); }

sql(q{CREATE TABLE log (txn int, val int, pad text);
    CREATE FOREIGN TABLE events (txn int, val int) SERVER pipelinedb;
    CREATE FUNCTION add(t int, n int) RETURNS void LANGUAGE sql BEGIN ATOMIC
      INSERT INTO log SELECT t, g, '' FROM generate_series(1, n) g;
      INSERT INTO events SELECT t, g FROM generate_series(1, n) g; END;
    CREATE FUNCTION add_in_many_subtransactions(t int, n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
      FOR i IN 1..n LOOP
        BEGIN PERFORM add(t, 1); EXCEPTION WHEN division_by_zero THEN NULL; END;
        BEGIN PERFORM add(t, 5); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
      END LOOP; END $$;
    CREATE VIEW v AS SELECT txn, count(*) AS n, sum(val) AS s FROM events GROUP BY txn;
    INSERT INTO log SELECT g % 1000, g, repeat('x', 200) FROM generate_series(1, 60000) g});

sub is_exact {
    my ($name) = @_;
    is(flush($node), 't', "$name: folded");
    is(sql('SELECT count(*), sum(n), sum(s) FROM (SELECT * FROM v EXCEPT
        SELECT txn, count(*), sum(val) FROM log GROUP BY txn) d'), '0||', "$name: nothing too much");
    is(sql('SELECT sum(n), sum(s) FROM v'), sql('SELECT count(*), sum(val) FROM log'), "$name: exact");
}

# A session that runs CALL with stop points of its own; its errors are in ${ $run->{err} }.
sub start_call {
    my ($call, $points) = @_;
    my ($out, $err) = ('', '');
    my $process = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'),
        '-c', "SET application_name = 'backfill'", '-c', 'SET pipelinedb.stop_points = ' . "'" . ($points // '') . "'",
        '-c', $call ], '<', \undef, '>', \$out, '2>', \$err);
    return { process => $process, err => \$err };
}
sub finish_call { my ($run) = @_; $run->{process}->finish; return ${ $run->{err} }; }
my $pid_of_call = "SELECT pid FROM pg_stat_activity WHERE application_name = 'backfill'";

# ---- what is under way at the seam --------------------------------------------------------------

my $txn = 10_000;
for my $point (qw(truncate_emptied truncate_stored backfill_seam)) {
    my @open = map { $node->background_psql('postgres') } 1 .. 6;
    my ($plain, $saved, $back, $many, $late, $last) = @open;
    $plain->query_safe('SET pipelinedb.preaggregate_after = 0; BEGIN; SELECT add(' . $txn++ . ', 10)');
    $saved->query_safe('BEGIN; SAVEPOINT a; SELECT add(' . $txn . ', 10); SAVEPOINT b; SELECT add(' . $txn++
        . ', 10); ROLLBACK TO b; SELECT add(' . $txn++ . ', 3); RELEASE a');
    $back->query_safe('BEGIN; SELECT add(' . $txn++ . ', 10)');
    $many->query_safe('BEGIN; SELECT add_in_many_subtransactions(' . $txn . ', 200)');
    $late->query_safe('BEGIN; SELECT pg_current_xact_id()');
    $last->query_safe('BEGIN; SAVEPOINT a; SELECT add(' . ++$txn . ', 10)');
    sql("BEGIN; SELECT add($txn, 7); SAVEPOINT a; SELECT add($txn, 8); PREPARE TRANSACTION 'p1'");
    my $holder = hold_at($node, $point);
    my $run = start_call("CALL pipelinedb.backfill('v', 'log')", "$point:wait");
    ok(held_at($node, $point), "$point: reached");
    # Writers wait for nothing; some of these commit before their rows are passed.
    $txn++;
    sql('SELECT add(' . $txn++ . ', 5)');
    $plain->query_safe('SELECT add(' . $txn++ . ', 5); COMMIT');
    $late->query_safe('SAVEPOINT x; SELECT add(' . $txn++ . ', 9); COMMIT');
    $many->query_safe('SELECT add_in_many_subtransactions(' . $txn++ . ', 20); COMMIT');
    $saved->query_safe('COMMIT');
    sql("COMMIT PREPARED 'p1'");
    release_all($holder);
    is(finish_call($run), '', "$point: complete");
    $back->query_safe('ROLLBACK');
    $last->query_safe('COMMIT');
    $_->quit for @open;
    is_exact("under way at $point");
}

# A writer who aggregated when the view was created does not count in it: his rows are history.
{
    my $feed = $node->background_psql('postgres');
    $feed->query_safe("SET pipelinedb.preaggregate_after = 0; BEGIN; SELECT add($txn, 10)");
    sql('CREATE VIEW late AS SELECT count(*) AS n, sum(val) AS s FROM events');
    my $run = start_call("CALL pipelinedb.backfill('late', 'log')");
    ok($node->poll_query_until('postgres', "SELECT wait_event = 'transactionid' FROM pg_stat_activity
        WHERE application_name = 'backfill'"), 'a writer of before the view is waited for');
    sql('SELECT add(' . ++$txn . ', 5)');
    $feed->query_safe("SELECT add($txn, 10); COMMIT");
    is(finish_call($run), '', 'then it is complete');
    $feed->quit;
    $txn++;
    is(sql('SELECT n, s FROM late'), sql('SELECT count(*), sum(val) FROM log'), 'exact beside an earlier writer');
    sql('DROP VIEW late');
}

# ---- writers all the time, and how long they wait -----------------------------------------------

sql(q{INSERT INTO log SELECT g % 1000, g, '' FROM generate_series(1, 300000) g});
my $run = start_call("CALL pipelinedb.backfill('v', 'log')");
my $writer = $node->background_psql('postgres');
my ($writes, $longest, $sum) = (0, 0, 0);
while ($run->{process}->pumpable && $writes < 100_000) {
    $run->{process}->pump_nb;
    my $begin = time;
    my $kind = $writes % 5;
    my $t = $txn++;
    $writer->query_safe(
          $kind == 0 ? "BEGIN; SELECT add($t, 1); SAVEPOINT a; SELECT add($t, 1); ROLLBACK TO a; SELECT add($t, 2); COMMIT"
        : $kind == 1 ? "BEGIN; SELECT add($t, 3); ROLLBACK"
        : $kind == 2 ? "BEGIN; SELECT add($t, 3); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'"
        : 'SET pipelinedb.preaggregate_after = ' . ($kind == 4 ? 0 : -1) . "; SELECT add($t, 1 + $t % 7)");
    my $took = time - $begin;
    $longest = $took if $took > $longest;
    $sum += $took;
    $writes++;
}
is(finish_call($run), '', "complete beside $writes transactions of a writer");
$writer->quit;
cmp_ok($longest, '<', 1, sprintf('the longest of %d transactions took %.0f ms, the mean %.1f ms', $writes, $longest * 1000,
    $sum * 1000 / $writes));
diag(sprintf('writer: %d transactions, longest %.0f ms, mean %.1f ms', $writes, $longest * 1000, $sum * 1000 / $writes));
is_exact('beside a writer');

# ---- cancelled, failed, crashed, restarted: resumed --------------------------------------------

sub stop_at {
    my ($point, $call) = @_;
    my $holder = hold_at($node, $point);
    my $stopped = start_call($call // "CALL pipelinedb.backfill('v', 'log')", "$point:wait");
    held_at($node, $point) or die "not at $point";
    return ($holder, $stopped);
}

for my $point (qw(backfill_seam backfill_written backfill_committed)) {
    my ($holder, $stopped) = stop_at($point);
    my $state = sql("SELECT state, pid = ($pid_of_call) FROM pipelinedb.backfills");
    is($state, 'running|t', "$point: running");
    if ($point eq 'backfill_committed') {
        my (undef, undef, $busy) = $node->psql('postgres', "CALL pipelinedb.backfill('v')");
        like($busy, qr/a backfill of continuous view "v" is running/, 'one at a time');
    }
    sql('SELECT add(' . $txn++ . ', 5)');
    sql("SELECT pg_cancel_backend(($pid_of_call))");
    like(finish_call($stopped), qr/canceling statement due to user request/, "$point: cancelled");
    release_all($holder);
    sql('SELECT add(' . $txn++ . ', 5)');
    like(state_of('v'), $point eq 'backfill_seam' ? qr/^done/ : qr/^interrupted/, "$point: its state");
    sql("CALL pipelinedb.backfill('v'" . ($point eq 'backfill_seam' ? ", 'log'" : '') . ')');
    like(state_of('v'), qr/^done\|100.0/, "$point: resumed");
    is_exact("cancelled at $point");
}
{
    my $out = $node->psql('postgres', "SET statement_timeout = '30ms'; CALL pipelinedb.backfill('v', 'log')");
    sql("CALL pipelinedb.backfill('v'" . (state_of('v') =~ /^done/ ? ", 'log'" : '') . ')');
    is_exact('after statement_timeout');
}
for my $point (qw(backfill_seam backfill_written backfill_committed)) {
    my $mark = $node->data_dir . "/pipelinedb_stop_$point";
    my $dead = start_call("CALL pipelinedb.backfill('v', 'log')", "$point:crash");
    like(finish_call($dead), qr/server closed the connection|crash/, "$point: crashed");
    ok(-e $mark, "$point: there");
    bring_back($node);
    my $job = state_of('v');
    sql('SELECT add(' . $txn++ . ', 5)');
    sql("CALL pipelinedb.backfill('v'" . ($job =~ /^done/ ? ", 'log'" : '') . ')');
    is_exact("crash at $point");
}
{
    my ($holder, $stopped) = stop_at('backfill_committed');
    sql("SELECT add($txn, 5)"); $txn++;
    kill_hard($node);
    finish_call($stopped);
    eval { $holder->quit };
    bring_back($node);
    like(state_of('v'), qr/^interrupted/, 'kill -9 of the server: interrupted');
    $node->restart;
    sql("CALL pipelinedb.backfill('v')");
    is_exact('kill -9 and restart');
}

# Freezing rows that came after the seam does not make them history.
{
    my ($holder, $stopped) = stop_at('backfill_committed');
    sql('SELECT add(' . $txn++ . ', 5) FROM generate_series(1, 20)');
    sql('VACUUM FREEZE log');
    release_all($holder);
    is(finish_call($stopped), '', 'frozen meanwhile');
    is_exact('frozen meanwhile');
}

# ---- what ends it for good ---------------------------------------------------------------------

sub resume_error { my (undef, undef, $err) = $node->psql('postgres', "CALL pipelinedb.backfill('v')"); return $err; }
sub stop_then {
    my (@sql) = @_;
    my ($holder, $stopped) = stop_at('backfill_committed');
    $node->psql('postgres', $_) for @sql;
    release_all($holder);
    return finish_call($stopped);
}
like(stop_then("SELECT pipelinedb.cancel_backfill('v')"), qr/was cancelled by somebody/, 'cancel_backfill()');
is(state_of('v'), '', 'forgotten');
like(stop_then('VACUUM FULL log'), qr/truncated or rewritten/, 'the table is rewritten');
like(state_of('v'), qr/^failed\|.*\|55000/, 'failed');
like(resume_error(), qr/truncated or rewritten/, 'cannot go on');
sql("SELECT pipelinedb.cancel_backfill('v')");
like(stop_then("SELECT pipelinedb.truncate_continuous_view('v')"), qr/was truncated, or detached/, 'the view is emptied');
sql("SELECT pipelinedb.cancel_backfill('v')");
like(stop_then("SELECT pipelinedb.deactivate('v')"), qr/is not active/, 'the view is paused');
sql("SELECT pipelinedb.activate('v')");
sql("CALL pipelinedb.backfill('v')");
is_exact('paused and activated');
like(stop_then("SELECT pipelinedb.deactivate('v', discard => true)"), qr/is not active/, 'the view discards');
sql("SELECT pipelinedb.activate('v')");
like(resume_error(), qr/was truncated, or detached/, 'what went to it may be lost');
sql("SELECT pipelinedb.cancel_backfill('v')");
sql("CALL pipelinedb.backfill('v', 'log')");
is_exact('begun anew');
like(stop_then("UPDATE log SET val = val WHERE txn = 999"), qr/WARNING:  rows of "log" were updated/, 'updated rows are noticed');
sql("CREATE VIEW w AS SELECT count(*) FROM events");
{
    my ($holder, $stopped) = stop_at('backfill_committed', "CALL pipelinedb.backfill('w', 'log')");
    sql('DROP VIEW w');
    release_all($holder);
    like(finish_call($stopped), qr/was dropped while it was filled/, 'DROP VIEW');
    is(sql("SELECT count(*) FROM pipelinedb.backfill_job"), '1', 'with its job');
}

# ---- partitions come and go -------------------------------------------------------------------

sql(q{CREATE TABLE plog (txn int, val int, pad text) PARTITION BY RANGE (txn);
    CREATE TABLE plog1 PARTITION OF plog FOR VALUES FROM (0) TO (1000);
    CREATE TABLE plog2 PARTITION OF plog FOR VALUES FROM (1000) TO (2000);
    INSERT INTO plog SELECT g % 2000, g, repeat('x', 200) FROM generate_series(1, 40000) g;
    CREATE TABLE plog3 (LIKE plog); INSERT INTO plog3 VALUES (2500, 1, '')});
{
    my ($holder, $stopped) = stop_at('backfill_committed', "CALL pipelinedb.backfill('v', 'plog')");
    sql('ALTER TABLE plog ATTACH PARTITION plog3 FOR VALUES FROM (2000) TO (3000)');
    release_all($holder);
    is(finish_call($stopped), '', 'a partition is attached meanwhile');
    is(flush($node), 't', 'folded');
    is(sql('SELECT count(*), sum(n), sum(s) FROM v'), '2000|40000|800020000', 'it was no part of the source');
}

# ---- a full spool --------------------------------------------------------------------------------

ok(defined wait_until(sub { spool_bytes($node) < 100_000 }, 30), 'the spool is empty');
set_server($node, 'pipelinedb.max_spool_size' => '2MB');
set_server($node, 'pipelinedb.folding' => 'off');
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity
    WHERE backend_type = 'pipelinedb fold worker'") or die 'a fold worker goes on';
$run = start_call("CALL pipelinedb.backfill('v', 'log')");
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE application_name = 'backfill' AND wait_event = 'Extension' AND backend_xmin IS NULL
      AND (SELECT sum(pg_relation_size(oid)) > 1000000 FROM pg_class WHERE relname LIKE 'spool\\_%' AND relkind = 'r')"),
    'a backfill waits for room, without a snapshot');
sql('SELECT add(' . $txn++ . ', 5)');
set_server($node, 'pipelinedb.folding' => 'on');
is(finish_call($run), '', 'and goes on');
is_exact('through a small spool');

# ---- deactivate(discard => true) ---------------------------------------------------------------

sql('CREATE VIEW d AS SELECT count(*) AS n, sum(val) AS s FROM events');
for my $point (qw(discard_folded discard_marked)) {
    my $n = sql("SELECT n FROM d");
    my ($holder, $stopped) = stop_at($point, "SELECT pipelinedb.deactivate('d', discard => true)");
    sql("INSERT INTO events VALUES (1, 1)");
    sql("SELECT pg_cancel_backend(($pid_of_call))");
    like(finish_call($stopped), qr/canceling/, "$point: cancelled");
    release_all($holder);
    is(flush($node), 't', "$point: folded");
    is(sql("SELECT state, n FROM d, pipelinedb.views WHERE name = 'd'"), 'active|' . ($n + 1), "$point: still active");
    my $dead = start_call("SELECT pipelinedb.deactivate('d', discard => true)", "$point:crash");
    finish_call($dead);
    bring_back($node);
    sql("INSERT INTO events VALUES (1, 1)");
    is(flush($node), 't', "$point: folded after a crash");
    is(sql("SELECT state, n FROM d, pipelinedb.views WHERE name = 'd'"), 'active|' . ($n + 2), "$point: a crash leaves it active");
}
{
    my $n = sql("SELECT n FROM d");
    sql("INSERT INTO events VALUES (1, 1)");
    sql("SELECT pipelinedb.deactivate('d', discard => true)");
    sql("INSERT INTO events SELECT 1, g FROM generate_series(1, 20000) g");
    $node->restart('immediate');
    is(flush($node), 't', 'folded');
    is(sql("SELECT state, n FROM d, pipelinedb.views WHERE name = 'd'"), 'discarding|' . ($n + 1), 'what comes is lost to it');
    ok(defined wait_until(sub { spool_bytes($node) < 100_000 }, 30), 'nothing waits for it');
    sql("SELECT pipelinedb.activate('d'); INSERT INTO events VALUES (1, 1)");
    is(flush($node), 't', 'folded');
    is(sql("SELECT state, n FROM d, pipelinedb.views WHERE name = 'd'"), 'active|' . ($n + 2), 'it begins anew');
}
{
    my $locker = $node->background_psql('postgres');
    $locker->query_safe('BEGIN; LOCK d_mrel IN SHARE MODE');
    sql("INSERT INTO events VALUES (1, 1)");
    ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pipelinedb.progress WHERE consumer = 'd'::regclass"), 'set aside');
    my (undef, undef, $err) = $node->psql('postgres', "SELECT pipelinedb.deactivate('d', discard => true)");
    like($err, qr/could not be folded/, 'rows that cannot be folded now are not given up by accident');
    $locker->quit;
}
views_are_active($node);
done_testing();
