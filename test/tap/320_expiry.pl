# Expired rows are removed by the fold worker: in pieces, without input, also when the worker has
# left; what somebody has locked comes later; an error stops nothing else; a crash in between
# loses nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints qw(bring_back crashed_at wait_until);
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('expiry', autovacuum => 'off', wal_level => 'replica');
$node->safe_psql('postgres', q{
    CREATE FOREIGN TABLE s (k int, ts timestamptz) SERVER pipelinedb;
    CREATE VIEW w WITH (sw = '1 hour', sw_column = 'ts') AS SELECT k, count(*) FROM s GROUP BY k;
    CREATE VIEW flat WITH (ttl = '1 hour', ttl_column = 'ts') AS SELECT k, ts FROM s;
    CREATE VIEW total AS SELECT count(*) FROM s});

sub stored { return $node->safe_psql('postgres', 'SELECT count(*) FROM w_mrel') + 0 }

# True if that many rows are left in both tables within ten seconds.
sub left_is {
    my ($n, $name) = @_;
    my $begun = time;
    $node->poll_query_until('postgres', "SELECT (SELECT count(*) FROM w_mrel) = $n AND
        (SELECT count(*) FROM flat_mrel) = $n");
    is(stored(), $n, $name);
    cmp_ok(time - $begun, '<', 10, 'within ten seconds');
}

# ---- in pieces ---------------------------------------------------------------------------

$node->safe_psql('postgres', q{INSERT INTO s SELECT i, now() - interval '10 minutes' FROM generate_series(1, 25000) i;
    INSERT INTO s SELECT i, now() + interval '1 day' FROM generate_series(1, 10) i;
    INSERT INTO s VALUES (0, 'infinity')});
wait_folded($node);
is(stored(), 25011, 'nothing is expired');
my $before = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
set_server($node, 'pipelinedb.clock_offset' => 3600);
is($node->safe_psql('postgres', 'SELECT count(*) FROM w'), 11, 'readers see at once that the clock has moved');
left_is(11, 'what is expired is removed');
my $after = $node->safe_psql('postgres', 'SELECT pg_switch_wal()');
my ($wal) = run_command([ 'pg_waldump', '-p', $node->data_dir . '/pg_wal', '-s', $before, '-e', $after, '-r', 'Heap' ]);
my %deleted;
for my $line (split /\n/, $wal) {
    $deleted{$1}++ if $line =~ /tx:\s+(\d+).*desc: DELETE /;
}
my @counts = sort { $b <=> $a } grep { $_ > 100 } values %deleted;
is_deeply([ @counts ], [ (10000) x 4, 5000, 5000 ], 'at most 10,000 rows in a transaction');
is($node->safe_psql('postgres', 'SELECT * FROM total'), 25011, 'other views are not concerned');

# Late rows are removed, too; the worker does not wait for its next look.
$node->safe_psql('postgres', q{INSERT INTO s VALUES (1, now() - interval '2 hours')});
wait_folded($node);
left_is(11, 'a row that is late');

# ---- locked rows, locked tables ----------------------------------------------------------------

$node->safe_psql('postgres', q{INSERT INTO s SELECT i, now() + interval '10 minutes' FROM generate_series(1, 100) i});
wait_folded($node);
my $session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; SELECT FROM w_mrel WHERE k = 50 AND ts < now() + interval '1 hour' FOR UPDATE;
    SELECT FROM flat_mrel WHERE k = 50 AND ts < now() + interval '1 hour' FOR UPDATE});
set_server($node, 'pipelinedb.clock_offset' => 7200);
left_is(12, 'all but the locked row are removed');
$node->safe_psql('postgres', q{INSERT INTO s VALUES (7, now() + interval '3 hours')});
wait_folded($node);
is($node->safe_psql('postgres', 'SELECT count FROM w WHERE k = 7'), 2, 'folding goes on meanwhile');
$session->query_safe('COMMIT');
left_is(12, 'the locked one follows');

$session->query_safe(q{BEGIN; LOCK TABLE w_mrel, flat_mrel IN SHARE MODE});
set_server($node, 'pipelinedb.clock_offset' => 4 * 3600);
$node->safe_psql('postgres', 'SELECT pg_sleep(0.2)');
is(stored(), 12, 'a locked table is left alone');
$session->query_safe('COMMIT');
left_is(11, 'and is served when it is free');

# ---- by hand ---------------------------------------------------------------------------------

$session->query_safe(q{SET pipelinedb.matrels_writable = on;
    UPDATE w_mrel SET ts = now() WHERE k = 1; UPDATE flat_mrel SET ts = now() WHERE k = 1});
left_is(10, 'rows that somebody has changed himself');

# ---- errors -----------------------------------------------------------------------------------

$node->safe_psql('postgres', q{CREATE TABLE ref (k int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RETURN OLD; END'; CREATE TRIGGER t BEFORE DELETE ON w_mrel FOR EACH ROW EXECUTE FUNCTION f()});
$session->query_safe(q{UPDATE w_mrel SET ts = now() WHERE k = 2; UPDATE flat_mrel SET ts = now() WHERE k = 2});
$node->poll_query_until('postgres', 'SELECT count(*) = 9 FROM flat_mrel') or die 'not removed';
is(stored(), 10, 'a table with a trigger is left alone, others are not');
$node->safe_psql('postgres', 'DROP TRIGGER t ON w_mrel');
left_is(9, 'it is served when the trigger is gone');
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /expired rows of .* are not removed/g), 1, 'the log has one line about it');

# ---- a worker that has left --------------------------------------------------------------------

set_server($node, 'pipelinedb.idle_exit' => 1);
$node->safe_psql('postgres', q{INSERT INTO s SELECT 1, pipelinedb.clock() - interval '1 hour' + interval '5 seconds' + interval '3 minutes' * (i - 1)
    FROM generate_series(1, 2) i});
wait_folded($node);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pipelinedb fold worker'}),
    'an idle worker leaves');
left_is(10, 'it comes back when rows expire');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pipelinedb fold worker'}),
    'and leaves again');
set_server($node, 'pipelinedb.clock_offset' => 4 * 3600 + 200);
left_is(9, 'the clock of the launcher moves, too');

# ---- crashes --------------------------------------------------------------------------------------

set_server($node, 'pipelinedb.idle_exit' => 300, 'pipelinedb.ttl_expiration_batch_size' => 30);
$node->safe_psql('postgres', q{INSERT INTO s SELECT i, pipelinedb.clock() - interval '30 minutes' FROM generate_series(1, 100) i});
wait_folded($node);
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
my $log_size = -s $node->logfile;
$node->safe_psql('postgres', q{ALTER SYSTEM SET pipelinedb.clock_offset = '6h';
    ALTER SYSTEM SET pipelinedb.stop_points = 'expiry_before_commit:crash, expiry_committed:crash'});
$node->reload;
$session->{run}->kill_kill;
crashed_at($node, $_, $log_size) or die "no crash at $_" for qw(expiry_before_commit expiry_committed);
wait_until(sub { (() = slurp_file($node->logfile, $log_size) =~ /was terminated by signal 9/g) == 2 }) // die 'no second crash';
bring_back($node);
left_is(9, 'after crashes in the middle all that is expired is removed, and nothing else');
is($node->safe_psql('postgres', 'SELECT count(*) FROM total'), 1, 'views are there');
views_are_active($node);
$node->stop;
done_testing();
