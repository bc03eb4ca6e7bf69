# When a fold worker folds: rows that come one by one at once, many rows after a pause that they
# do not end, and rows that somebody waits for at once again.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('pacing', autovacuum => 'off');
my $session = $node->background_psql('postgres');
$session->query_safe(q{
    CREATE FOREIGN TABLE s (x int) SERVER pipelinedb;
    CREATE VIEW v AS SELECT count(*) AS n FROM s;
    SELECT pipelinedb.flush();
    SET pipelinedb.read_own_writes = off});

sub count { return $session->query_safe('SELECT n FROM v'); }

# True if the view shows `n` rows within ten seconds.
sub shows {
    my ($n) = @_;
    return $node->poll_query_until('postgres', "SELECT n = $n FROM v");
}

set_server($node, 'pipelinedb.fold_interval' => '60000');
my $begin = time;
$session->query_safe('INSERT INTO s VALUES (1)');
ok(shows(1), 'a row is folded');
cmp_ok(time - $begin, '<', 30, 'a row that comes to a sleeping worker is folded at once');

# It did not come after a rest of a minute, so now there is a pause. What is committed in it is
# left alone, however much it is.
$session->query_safe('INSERT INTO s VALUES (1)') for 1 .. 50;
is(count(), 1, 'rows do not end a pause') for 1 .. 3;

# Waiters do.
$begin = time;
$session->query_safe(q{SET pipelinedb.read_own_writes = on});
is(count(), 51, 'who reads his own writes ends it');
$session->query_safe(q{SET pipelinedb.stream_insert_level = sync_commit});
$session->query_safe('INSERT INTO s VALUES (1)') for 1 .. 5;
is(count(), 56, 'and so does sync_commit');
$session->query_safe(q{SET pipelinedb.stream_insert_level = sync_receive});
$session->query_safe('INSERT INTO s VALUES (1)');
$node->safe_psql('postgres', 'SELECT pipelinedb.flush()');
is($node->safe_psql('postgres', 'SELECT n FROM v'), 57, 'and flush()');
cmp_ok(time - $begin, '<', 30, 'nobody waits for the pause to end');

# A view that is created in the pause is noticed at once, and so is the end of the worker.
$begin = time;
$session->query_safe(q{CREATE VIEW w AS SELECT count(*) AS n FROM s});
$session->query_safe('INSERT INTO s VALUES (1)');
is($session->query_safe('SELECT n FROM w'), 1, 'a new view is folded');
my $pid = fold_worker_pid($node);
$session->query_safe("SELECT pg_terminate_backend($pid, 20000)");
$session->query_safe('INSERT INTO s VALUES (1)');
is(count(), 59, 'the next worker has folded');
isnt(fold_worker_pid($node), $pid, 'it is another one');
cmp_ok(time - $begin, '<', 30, 'all that in the middle of a pause');

# Under load the pause is short: whoever looks sees his row soon.
set_server($node, 'pipelinedb.fold_interval' => '2');
my $load = $node->background_psql('postgres');
$load->query_until(qr/started/, q{\echo started
    DO $$ BEGIN FOR i IN 1 .. 20000 LOOP INSERT INTO s VALUES (1); COMMIT; END LOOP; END $$;
});
my $slowest = 0;
for my $round (1 .. 20) {
    $session->query_safe('SET pipelinedb.read_own_writes = off');
    my $before = count();
    $begin = time;
    for (;;) { last if count() > $before || time - $begin > 10; }
    $slowest = time - $begin if time - $begin > $slowest;
}
cmp_ok($slowest, '<', 5, 'views move on under load');
$load->quit;
$node->safe_psql('postgres', 'SELECT pipelinedb.flush()');
is($node->safe_psql('postgres', 'SELECT n FROM v'), 20059, 'every row counts once');
$session->quit;
$node->stop;
done_testing();
