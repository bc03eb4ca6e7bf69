# The output of sliding windows: what readers add up is at all times what the window shows, as rows
# come, as time goes by without rows, over locks, crashes and restarts.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $seed = $ENV{PIPELINE_SEED} // time;
srand($seed);
note("PIPELINE_SEED=$seed");

my $node = new_node('window_output', 'pipelinedb.clock_offset' => '0', autovacuum => 'off',
    restart_after_crash => 'off', wal_level => 'replica', max_wal_senders => '4', hot_standby => 'on');
sub sql { return $node->safe_psql('postgres', $_[0]); }

# Views over windows of 100 s in steps of 10 s; each has a reader that adds up all changes.
sql(q{
    CREATE FOREIGN TABLE s (k int, name text, x numeric) SERVER pipelinedb;
    CREATE VIEW per_key WITH (sw = '100 s', step_factor = 10) AS
        SELECT k, count(*) AS n, sum(x) AS total FROM s GROUP BY k;
    CREATE VIEW hidden_key WITH (sw = '100 s', step_factor = 10) AS
        SELECT k % 3 AS class, count(*) AS n, sum(x) AS total FROM s GROUP BY k, name;
    CREATE VIEW everything WITH (sw = '100 s', step_factor = 10) AS
        SELECT count(*) AS n, sum(x) AS total FROM s;
    CREATE VIEW kept WITH (sw = '100 s') AS SELECT k, x AS total, 1::bigint AS n FROM s;
    CREATE VIEW cubed WITH (sw = '100 s', step_factor = 10) AS
        SELECT k, name, grouping(k, name) AS level, count(*) AS n, sum(x) AS total
        FROM s GROUP BY CUBE (k, name);
});
my @views = qw(per_key hidden_key everything kept cubed);
for my $view (@views) {
    sql(qq{CREATE VIEW of_$view AS
        SELECT sum(coalesce((new).n, 0) - coalesce((old).n, 0)) AS n,
               sum(coalesce((new).total, 0) - coalesce((old).total, 0)) AS total,
               count((new).n) - count((old).n) AS groups, count(*) AS changes
        FROM output_of('$view')});
}

my $offset = 0;
# The worker has seen the clock when it has moved the edges of all windows.
sub move_clock {
    my ($by) = @_;
    $offset += $by;
    set_server($node, 'pipelinedb.clock_offset' => $offset);
}

# A total has its one row always, so that neither old nor new is ever NULL.
sub is_in_step {
    my ($view) = @_;
    my $rows = $view =~ /everything|cubed/ ? 'count(*) - 1' : 'count(*)';
    return "(SELECT coalesce(sum(n), 0) = coalesce((SELECT n FROM of_$view), 0)
        AND coalesce(sum(total), 0) = coalesce((SELECT total FROM of_$view), 0)
        AND $rows = coalesce((SELECT groups FROM of_$view), 0) FROM $view)";
}

# Time goes by while we look, so a view and its reader are compared until they are in step.
sub check {
    my ($name) = @_;
    sql('SELECT pipelinedb.flush()');
    for my $view (@views) {
        my $tries = 50;
        sleep 0.1 while sql('SELECT ' . is_in_step($view)) ne 't' && --$tries > 0;
        cmp_ok($tries, '>', 0, "$name: $view and the reader of its output")
            or diag(sql("SELECT sum(n), sum(total), count(*) FROM $view"),
                sql("SELECT * FROM of_$view"));
    }
}

sub insert_rows {
    my ($count) = @_;
    sql("INSERT INTO s SELECT (random() * 20)::int, nullif('n' || (random() * 3)::int, 'n0'),
        (random() * 100)::int / 10.0 FROM generate_series(1, $count)");
}

insert_rows(200);
check('rows');
is(sql('SELECT changes > 0 FROM of_everything'), 't', 'there are changes');

for my $round (1 .. 8) {
    insert_rows(1 + int(rand(100))) if rand() < 0.7;
    move_clock(1 + int(rand(40)));
    insert_rows(1 + int(rand(100))) if rand() < 0.7;
    check("round $round");
}

# Everything leaves, without a row that comes.
my $before = sql('SELECT changes FROM of_per_key');
isnt(sql('SELECT count(*) FROM per_key'), 0, 'something is in the window');
move_clock(200);
check('an empty window');
is(sql('SELECT count(*) FROM per_key'), 0, 'all has left the window');
cmp_ok(sql('SELECT changes FROM of_per_key'), '>', $before, 'its readers were told');
is(sql('SELECT n, groups FROM of_kept'), '0|0', 'also row by row');
ok($node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM per_key_mrel)
    AND NOT EXISTS (SELECT FROM kept_mrel)'), 'what readers know is removed');

# A crash between the writes and the commit, and one after it.
for my $point (qw(fold_before_progress fold_committed)) {
    insert_rows(50);
    check("before a crash at $point");
    my $log = -s $node->logfile;
    sql("ALTER SYSTEM SET pipelinedb.stop_points = '$point:crash'");
    $node->reload; # the crash may come at once
    $node->psql('postgres', 'INSERT INTO s VALUES (1, NULL, 1.5)');
    ok($node->wait_for_log(qr/terminated by signal/, $log), "a crash at $point");
    $node->append_conf('postgresql.auto.conf', "pipelinedb.stop_points = ''");
    $node->stop('immediate', fail_ok => 1); # it may have ended by itself
    $node->_update_pid(0);
    $node->start;
    check("after a crash at $point");
}

# The time goes on while the server is down.
insert_rows(100);
check('before a restart');
$node->stop;
$offset += 55;
$node->append_conf('postgresql.auto.conf', "pipelinedb.clock_offset = $offset");
$node->start;
check('after a restart that took a while');

# A reader that is paused gets what it lacks later; the view itself is held up by a lock.
sql(q{SELECT pipelinedb.deactivate('of_per_key')});
insert_rows(50);
move_clock(30);
sql('SELECT pipelinedb.flush()');
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE cubed_mrel IN SHARE MODE');
insert_rows(50);
move_clock(30);
sql('SELECT pipelinedb.flush()');
$holder->query_safe('COMMIT');
$holder->quit;
sql(q{SELECT pipelinedb.activate('of_per_key')});
check('after a pause and a lock');

# A second reader begins where the window is.
sql(q{CREATE VIEW late AS SELECT sum(coalesce((new).n, 0) - coalesce((old).n, 0)) AS n
    FROM output_of('everything')});
my $then = sql('SELECT n FROM of_everything');
insert_rows(30);
move_clock(40);
check('with a late reader');
is(sql("SELECT coalesce(l.n, 0) + $then = o.n FROM late l, of_everything o"), 't',
    'a late reader gets what changes after it');
views_are_active($node);

# A standby that takes over goes on where the edges of the windows were.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
insert_rows(100);
check('before the primary is lost');
$node->wait_for_catchup($standby);
my $shown = sql('SELECT n FROM of_per_key');
$node->stop('immediate');
$node = $standby;
is(sql('SELECT n FROM of_per_key'), $shown, 'a standby shows the same');
$node->promote;
move_clock(35);
insert_rows(60);
check('after a promotion');
move_clock(200);
check('an empty window after a promotion');
views_are_active($node);
$node->stop;
done_testing();
