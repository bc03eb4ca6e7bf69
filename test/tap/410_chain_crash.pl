# A chain of continuous queries whose server crashes at each step of a tick, whose fold worker is
# killed, and that goes on with a promoted standby: each change reaches each reader exactly once.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{PIPELINE_SEED} || int(time * 1000) % 1_000_000_000;
srand($seed);
diag("PIPELINE_SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', $_) for "shared_preload_libraries = 'pipeline_ext'",
    'restart_after_crash = on', 'log_statement = none', "pipelinedb.spool_generation_size = '1MB'";
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]); }

my $change = '(new).n - coalesce((old).n, 0) AS n, (new).s - coalesce((old).s, 0) AS s';
my $changes = 'sum((new).n - coalesce((old).n, 0)) AS n, sum((new).s - coalesce((old).s, 0)) AS s';
sql("CREATE EXTENSION pipeline_ext;
    CREATE TABLE ledger (n numeric, s numeric);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.ledger VALUES (NEW.n, NEW.s); RETURN NULL; END';
    CREATE FOREIGN TABLE written (txn int, k int, v int) SERVER pipelinedb;
    CREATE FOREIGN TABLE dest (n numeric, s numeric) SERVER pipelinedb;
    CREATE VIEW txns AS SELECT txn, count(*) AS n, sum(v) AS s FROM written GROUP BY txn;
    CREATE VIEW a AS SELECT k, count(*) AS n, sum(v) AS s FROM written GROUP BY k;
    CREATE VIEW b AS SELECT (new).k % 3 AS k, $changes FROM output_of('a') GROUP BY 1;
    CREATE VIEW c AS SELECT $changes FROM output_of('b');
    CREATE VIEW resting AS SELECT $changes FROM output_of('a');
    CREATE VIEW noted WITH (action = transform, outputfunc = note) AS SELECT $change FROM output_of('b');
    CREATE VIEW passed WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('dest')) AS
        SELECT ((new).n - coalesce((old).n, 0))::numeric AS n,
            ((new).s - coalesce((old).s, 0))::numeric AS s FROM output_of('b');
    CREATE VIEW arrived AS SELECT sum(n) AS n, sum(s) AS s FROM dest;
    CREATE VIEW of_passed AS SELECT sum(n) AS n, sum(s) AS s FROM output_of('passed');");
my @all = qw(a b c ledger arrived of_passed resting);

# What transactions that were acknowledged must count; one whose end nobody reported is in doubt,
# and the view "txns" then decides.
my ($next, %sum) = (1);
sub write_some {
    my ($count) = @_;
    for (1 .. $count) {
        my $txn = $next++;
        my @values = map { int(rand(100)) } 1 .. 1 + int(rand(20));
        my $sum = 0;
        $sum += $_ for @values;
        $sum{$txn} = scalar(@values) . "|$sum";
        my $rows = join ', ', map { "($txn, " . int(rand(12)) . ", $_)" } @values;
        my $status = eval { $node->psql('postgres', "INSERT INTO written VALUES $rows") };
        return if !defined $status || $status != 0;
    }
}

sub exact {
    my ($name, @readers) = @_;
    is(flush($node), 't', "$name: folded");
    # Two rounds: what goes through "dest" is folded by a later tick.
    is(flush($node), 't', "$name: and again");
    my ($n, $s, %seen) = (0, 0);
    for (split /\n/, sql('SELECT txn, n, s FROM txns')) {
        my ($txn, $sum) = /^(\d+)\|(.*)$/;
        $seen{$txn} = $sum;
        my ($rows, $values) = split /\|/, $sum;
        $n += $rows;
        $s += $values;
    }
    my @wrong = map { "transaction $_ counts " . ($seen{$_} // 'nothing') . ", not $sum{$_}" }
        grep { ($seen{$_} // 'nothing') ne $sum{$_} && (defined $seen{$_} || $_ != $next - 1) } keys %sum;
    for my $reader (@readers) {
        my $got = sql("SELECT sum(n), sum(s) FROM $reader");
        push @wrong, "$reader is $got, not $n|$s" if $got ne "$n|$s";
    }
    is(join("\n", @wrong), '', "$name: exactly once everywhere");
    # The one in doubt is decided.
    delete $sum{ $next - 1 } if $next > 1 && !defined $seen{ $next - 1 };
}

sub back {
    bring_back($node);
    set_conf($node, 'pipelinedb.stop_points' => '');
    # Of processes that read the setting before, none is left.
    ok($node->poll_query_until('postgres', "SELECT current_setting('pipelinedb.stop_points') = ''"),
        'the server is back');
}

write_some(5);
exact('at first', @all);

# ---- a crash at each step ----------------------------------------------------------------------

for my $point (qw(fold_before_progress fold_after_progress fold_committed fold_leftovers spool_after_insert)) {
    my $mark = $node->data_dir . "/pipelinedb_stop_$point";
    unlink $mark;
    # With a paused reader each tick has leftovers for the spool.
    sql("SELECT pipelinedb.deactivate('resting')");
    write_some(3);
    is(flush($node), 't', 'a tick with a reader that rests');
    my $log = -s $node->logfile;
    eval { set_conf($node, 'pipelinedb.stop_points' => "$point:crash") };
    for (1 .. 20) {
        write_some(1);
        last if -e $mark;
    }
    ok(crashed_at($node, $point, $log), "$point: crashed there");
    back();
    exact("crash at $point", grep { $_ ne 'resting' } @all);
    write_some(2);
    sql("SELECT pipelinedb.activate('resting')");
    exact("then all of it", @all);
}

# ---- kill -9 of the fold worker ----------------------------------------------------------------

my $life = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
my $former = sql($life);
write_some(3);
kill 'KILL', fold_worker_pid($node);
write_some(3);
wait_until(sub {
    my ($status, $now) = eval { $node->psql('postgres', $life) };
    return defined $status && $status == 0 && $now ne '' && $now ne $former;
}, 20);
back();
exact('after kill -9 of the fold worker', @all);

# ---- a standby is promoted ---------------------------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sql("SELECT pipelinedb.deactivate('resting')");
my $held = hold_worker($node, 'fold_before_progress');
write_some(4);
ok(held_at($node, 'fold_before_progress'), 'the fold worker stands before a commit');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$node->stop('immediate');
eval { $held->{holder}->quit };
$standby->promote;
$node = $standby;
set_conf($node, 'pipelinedb.stop_points' => '');
exact('a promoted standby', grep { $_ ne 'resting' } @all);
sql("SELECT pipelinedb.activate('resting')");
write_some(4);
exact('which goes on', @all);
views_are_active($node);

$node->stop;
done_testing();
