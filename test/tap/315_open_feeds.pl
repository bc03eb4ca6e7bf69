# Views that are created beside transactions that do not end: nobody waits, and each transaction
# counts as a whole or not at all. One that had aggregated rows counts as an earlier one.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Handle;
use PipelineTest;
use StopPoints;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{PIPELINE_SEED} || int(time * 1000) % 1_000_000_000;
srand($seed);
diag("PIPELINE_SEED=$seed");

my $node = new_node('main', log_statement => 'none', max_connections => 60, max_prepared_transactions => 20,
    restart_after_crash => 'on', lock_timeout => '2s', statement_timeout => '60s');
sub sql { return $node->safe_psql('postgres', join '', @_); }
sub folded { is(flush($node), 't', $_[0] // 'all is folded'); }
sub view { return "CREATE VIEW $_[0] AS SELECT k, count(*) AS n, sum(v) AS s FROM st GROUP BY k;"; }
sub shows { my ($view, $wanted, $name) = @_;
    is(sql("SELECT string_agg(k || ':' || n || ':' || s, ' ' ORDER BY k) FROM $view"), $wanted, $name); }
sub marks { return sql("SELECT count(*) FROM pg_locks WHERE classid = 'st'::regclass AND mode = 'ShareLock'"); }
my $quick = "SET lock_timeout = '2s'; SET statement_timeout = '2s';";
my $aggregate = 'SET pipelinedb.preaggregate_after = 0;';
my $rows = 'SET pipelinedb.preaggregate_after = -1;';
sub insert { my ($k, $count) = @_; return "INSERT INTO st SELECT $k, 1 FROM generate_series(1, $count);"; }

sql('CREATE FOREIGN TABLE st (k int, v int) SERVER pipelinedb; CREATE TABLE done (k int);', view('old'), view('lost'));

# ---- an open COPY -----------------------------------------------------------------------------

# psql whose input stays open.
open(my $feed, '|-', $node->installed_command('psql'), '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'))
  or die "psql: $!";
$feed->autoflush;
sub give { print {$feed} $_[0] or die "psql: $!"; }

give("SET application_name = 'feed'; SET statement_timeout = 0; COPY st FROM STDIN;\n" . "1\t1\n" x 100_000);
ok(defined wait_until(sub { marks() == 1 }), 'a COPY that begins fast aggregates its rows');
sql($quick, view('beside'));
pass('CREATE VIEW does not wait for it');
sql($quick, insert(2, 10), $aggregate, insert(2, 1000));
pass('nor do other writers, be it with rows or with groups');
folded();
shows('beside', '2:1010:1010', 'the new view counts their rows');
sql(q{UPDATE pipelinedb.query SET lost_since = now() WHERE view = 'lost'::regclass;
    DELETE FROM pipelinedb.progress WHERE consumer = 'lost'::regclass});
sql($quick, q{SELECT pipelinedb.activate('lost')});
pass('a lost view begins anew without waiting');
give("1\t1\n" x 50_000);
sql($quick, "BEGIN;", view('undone'), insert(3, 5), 'ROLLBACK;', view('second'), insert(3, 5));
is(sql("SELECT state FROM pg_stat_activity WHERE application_name = 'feed'"), 'active', 'the COPY has not ended');
is(sql('SELECT count(*) FROM pipelinedb.earlier_writer'), 3, 'three views have begun beside it');
folded();
shows('second', '3:5:5', 'a second new view');
give("1\t1\n" x 7 . "\\.\n\\q\n");
ok(close($feed), 'the COPY ends');
sql(insert(1, 2));
folded();
shows('old', '1:150009:150009 2:1010:1010 3:5:5', 'the old view has all rows');
shows('beside', '1:2:2 2:1010:1010 3:5:5', 'the view that was created meanwhile has those of the others');
shows('second', '1:2:2 3:5:5', 'so has the second one');
shows('lost', '1:2:2 2:1010:1010 3:5:5', 'and the one that began anew');
is(sql('SELECT count(*) FROM pipelinedb.progress'), 1, 'all views go on together');
sql("DROP VIEW $_") for qw(beside second lost);
is(sql('SELECT count(*) FROM pipelinedb.earlier_writer'), 0, 'dropped views leave nothing behind');

# ---- prepared, over a crash -------------------------------------------------------------------

sql($aggregate, 'BEGIN;', insert(4, 100), q{PREPARE TRANSACTION 'w';});
$node->stop('immediate');
$node->start;
sql($quick, view('v'));
sql(insert(4, 1), q{COMMIT PREPARED 'w'});
folded();
shows('v', '4:1:1', 'a prepared transaction counts as an earlier one, also after a crash');
sql('DROP VIEW v');

# ---- interleavings ----------------------------------------------------------------------------

sub session {
    my $session = $node->background_psql('postgres');
    $session->query_safe($_) for @_;
    return $session;
}
sub stops_at { return map { "SET pipelinedb.stop_points = '$_:wait'" } @_; }
# Sends SQL and does not wait for its end; finish_sql() does.
sub send_sql { my ($session, $text) = @_; $session->{stdin} .= "$text\n"; $session->{run}->pump_nb; }
sub finish_sql { my ($session, $name) = @_; $session->query_safe('RESET pipelinedb.stop_points'); pass($name); }

# A writer stands in the gate.
my $holder = hold_at($node, 'aggregate_in_gate');
my $writer = session($aggregate, stops_at('aggregate_in_gate'), 'BEGIN');
send_sql($writer, insert(5, 10));
ok(held_at($node, 'aggregate_in_gate'), 'a writer stands in the gate');
my (undef, @refused) = run_script($node, "SET lock_timeout = '100ms';" . view('v'));
like("@refused", qr/canceling statement due to lock timeout/, 'CREATE VIEW obeys lock_timeout there');
sql($quick, $aggregate, insert(5, 100));
my $creator = session("SET lock_timeout = '60s'");
send_sql($creator, view('v'));
ok(defined wait_until(sub { sql("SELECT count(*) FROM pg_locks WHERE NOT granted AND objid = 'st'::regclass") == 1 }),
    'it waits for the writer to leave the gate');
sql($quick, $aggregate, insert(5, 1000));
pass('other writers wait for neither');
release_all($holder);
finish_sql($creator, 'then it goes on, though the writer has not ended');
finish_sql($writer, 'so does the writer');
$writer->query_safe(insert(5, 1));
$writer->query_safe('COMMIT');
sql(insert(5, 7));
folded();
shows('v', '5:7:7', 'the writer counts as an earlier one');
sql('DROP VIEW v');

# A writer has left the gate and not looked yet which views there are.
$holder = hold_at($node, 'aggregate_marked');
$writer->query_safe($_) for stops_at('aggregate_marked'), 'BEGIN';
send_sql($writer, insert(6, 10));
ok(held_at($node, 'aggregate_marked'), 'a writer stands behind the gate');
sql($quick, view('v'));
release_all($holder);
finish_sql($writer, 'it finds the view that was created meanwhile');
$writer->query_safe('COMMIT');
folded();
shows('v', '', 'and yet it counts as an earlier one');
$writer->query_safe($aggregate . insert(6, 3));
folded();
shows('v', '6:3:3', 'its next transaction counts');
sql('DROP VIEW v');

# All kinds of writers end between the look and the snapshot of the creator, or later.
my %kind = (aggregated => $aggregate, rows => $rows);
my %open;
for my $kind (keys %kind) {
    my $k = $kind eq 'rows' ? 7 : 8;
    $open{"$kind $_"} = session('BEGIN', $kind{$kind} . insert($k, 1), $rows . insert($k, 10)) for 'soon', 'late', 'never';
}
my $both = session($rows, 'BEGIN', insert(9, 1));
$holder = hold_at($node, 'create_looked');
$creator->query_safe($_) for stops_at('create_looked');
send_sql($creator, view('v'));
ok(held_at($node, 'create_looked'), 'a creator has looked for writers and has no snapshot yet');
$open{"$_ soon"}->query_safe('COMMIT') for keys %kind;
$open{"$_ never"}->query_safe('ROLLBACK') for keys %kind;
sql($quick, $aggregate, insert(10, 1)); # the gate is closed: as rows, and visible to the snapshot
$both->query_safe($aggregate . insert(9, 10)); # as rows, too
is(marks(), 1, 'nobody begins to aggregate meanwhile');
release_all($holder);
finish_sql($creator, 'the view is created');
$both->query_safe(insert(9, 100)); # now with groups, also for the new view
is(marks(), 2, 'then they do');
$_->query_safe('COMMIT') for $open{'aggregated late'}, $open{'rows late'}, $both;
$_->quit for values %open, $both;
folded();
shows('v', '7:11:11 9:111:111', 'what committed later counts, unless it had aggregated when the creator looked');
sql('DROP VIEW v');

# Errors between the two locks leave nothing locked.
my $failing = $node->background_psql('postgres', on_error_stop => 0);
for my $point ('aggregate_in_gate', 'aggregate_marked') {
    $failing->query_safe($_) for "SET pipelinedb.stop_points = '$point:error'", 'BEGIN', $rows . insert(11, 1), 'SAVEPOINT a';
    $failing->query($aggregate . insert(11, 100));
    like($failing->{stderr}, qr/stop point "$point" reached/, "$point: an error");
    $failing->{stderr} = '';
    $failing->query_safe($_) for 'ROLLBACK TO a', 'RESET pipelinedb.stop_points';
    is(marks(), 0, "$point: it takes the mark along");
    sql($quick, view('v'));
    $failing->query_safe($_) for $rows . insert(11, 1), 'COMMIT';
    folded();
    shows('v', '11:2:2', "$point: the rest of the transaction counts");
    sql('DROP VIEW v');
}
# Where a view cannot be served, rows are written, and nothing is marked.
$writer->query_safe($_) for 'CREATE VIEW general AS SELECT count(*) FROM st WHERE random() < 2', 'BEGIN', $aggregate . insert(12, 9);
is(marks(), 0, 'who could not aggregate is not marked');
sql($quick, view('v'));
$writer->query_safe('COMMIT');
folded();
shows('v', '12:9:9', 'and counts');
sql('DROP VIEW v, general');
$_->quit for $writer, $creator, $failing;

# ---- at random --------------------------------------------------------------------------------

# Each transaction notes what its rows are, and which views there were at its beginning.
sql('CREATE TABLE ledger (k int, xid xid8, n int, seen name[]); CREATE TABLE starts (view name, start pg_snapshot, before int[])');
my $next = 1000;
sub transaction {
    my $k = $next++;
    my ($n, $body) = (0, '');
    my $some = sub {
        my ($counts) = @_;
        my $count = 1 + int(rand(300));
        $n += $count if $counts;
        return 'SET pipelinedb.preaggregate_after = ' . (-1, 0, 0, 100)[int(rand(4))] . ';' . insert($k, $count) . "\n";
    };
    for (1 .. 1 + int(rand(4))) {
        my $what = rand();
        $body .= $what < 0.6 ? $some->(1)
          : $what < 0.8 ? 'SAVEPOINT a;' . $some->(0) . 'ROLLBACK TO a;' . $some->(1)
          : 'SAVEPOINT b;' . $some->(1) . 'RELEASE b;';
    }
    my $begin = "BEGIN; INSERT INTO ledger SELECT $k, pg_current_xact_id(), 0, array(SELECT name FROM pipelinedb.views);\n";
    my $end = "UPDATE ledger SET n = $n WHERE k = $k;\n"
      . (rand() < 0.2 ? "PREPARE TRANSACTION 'p$k'; COMMIT PREPARED 'p$k';" : rand() < 0.1 ? 'ROLLBACK;' : 'COMMIT;') . "\n";
    return $begin . $body . $end;
}
my @scripts = map { join '', map { transaction() } 1 .. 80 } 1 .. 5;
my $views = 0;
for my $creator (1 .. 2) {
    push @scripts, join '', map {
        my $v = 'r' . ++$views;
        'BEGIN; CREATE TEMP TABLE b ON COMMIT DROP AS SELECT array(SELECT k FROM ledger) AS before;' . view($v)
          . "INSERT INTO starts SELECT '$v', folded, before FROM pipelinedb.progress, b WHERE consumer = '$v'::regclass; COMMIT;\n"
    } 1 .. 12;
}
my @outcomes = run_scripts($node, \@scripts);
is(join("\n", map { my (undef, @found) = @$_; @found } @outcomes), '', 'no session has an error');
folded();
is(sql("SELECT string_agg(k::text, ' ') FROM old FULL JOIN ledger USING (k) WHERE k >= 1000 AND old.n IS DISTINCT FROM ledger.n"), '',
    'the old view has all');
my (@wrong, $earlier);
for my $v (map { "r$_" } 1 .. $views) {
    push @wrong, sql("SELECT '$v: ' || k || ' ' || coalesce(v.n, 0) || ' of ' || l.n FROM $v v FULL JOIN ledger l USING (k), starts t
        WHERE t.view = '$v' AND v.n IS DISTINCT FROM CASE WHEN pg_visible_in_snapshot(l.xid, t.start)
            OR l.xid IN (SELECT xid FROM pipelinedb.earlier_writer WHERE view = '$v'::regclass) THEN NULL ELSE l.n END");
    push @wrong, sql("SELECT '$v, before it: ' || k FROM $v JOIN starts ON view = '$v' AND k = ANY (before)");
    push @wrong, sql("SELECT '$v, after it: ' || k FROM ledger l LEFT JOIN $v v USING (k) WHERE '$v' = ANY (seen) AND v.n IS DISTINCT FROM l.n");
}
is(join("\n", grep { $_ ne '' } @wrong), '', "$views new views have each transaction as a whole or not at all, as they must");
cmp_ok(sql('SELECT count(*) FROM pipelinedb.earlier_writer'), '>', 0, 'some were created beside writers who had aggregated');
diag(sql("SELECT count(*) || ' earlier writers, ' || (SELECT count(*) FROM ledger) || ' transactions' FROM pipelinedb.earlier_writer"));
views_are_active($node);

$node->stop;
done_testing();
