# The crash loop: writers keep a ledger while a killer takes the fold worker, a backend, the
# postmaster or everything at random moments. PIPELINE_CRASH_ROUNDS (30) and PIPELINE_SEED steer.
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

my $rounds = $ENV{PIPELINE_CRASH_ROUNDS} || 30;
my $seed = $ENV{PIPELINE_SEED} || int(time * 1000) % 1_000_000_000;
srand($seed);
diag("PIPELINE_SEED=$seed PIPELINE_CRASH_ROUNDS=$rounds");

my $node = new_node('main',
    fsync => 'on',
    log_statement => 'none',
    max_connections => 40,
    max_prepared_transactions => 20,
    restart_after_crash => 'on');
$node->safe_psql('postgres', "$LedgerWriters::stream;
    CREATE VIEW per_txn AS $LedgerWriters::per_txn;
    CREATE VIEW per_writer AS $LedgerWriters::per_writer;
    CREATE VIEW total AS $LedgerWriters::total;");
my $ledger = LedgerWriters->new($node);

sub kill_one {
    my ($where) = @_;
    my $pid = $node->safe_psql('postgres',
        "SELECT pid FROM pg_stat_activity WHERE $where ORDER BY random() LIMIT 1");
    return 0 if $pid eq ''; # never kill 0, which is ourselves
    return kill 'KILL', $pid;
}
my $writer = "application_name = 'ledger writer'";
my $worker = "backend_type = 'pipelinedb fold worker'";

# Each ends the writers, too, and leaves a server that runs or is coming back.
my %kill = (
    'kill -9 of the fold worker' => sub { kill_one($worker) || kill_one($writer); },
    'kill -9 of a backend' => sub { kill_one($writer) || kill_one($worker); },
    'kill -9 of the postmaster' => sub { kill_hard($node); },
    'an immediate stop' => sub { $node->stop('immediate'); },
    'a fast stop' => sub { $node->stop('fast'); },
    'terminated writers and fold worker' => sub {
        $node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE $worker OR $writer");
    });
my @weighted = ((sort keys %kill)[0 .. 5], 'kill -9 of the fold worker', 'kill -9 of the fold worker',
    'kill -9 of the postmaster', 'an immediate stop');

# Small generations and ticks make rotation, emptying and pieces of transactions frequent.
sub random_settings {
    my $small = rand() < 0.6;
    $ledger->{pad} = $small ? 3000 : 100;
    set_conf($node,
        'pipelinedb.spool_generation_size' => $small ? '1MB' : '64MB',
        'pipelinedb.fold_batch' => $small ? '256kB' : '16MB',
        'pipelinedb.fold_interval' => (0, 2, 50)[int(rand(3))]);
    return $small ? 'small' : 'normal';
}

my ($late_from, $paused) = (undef, 0);
for my $round (1 .. $rounds) {
    my $sizes = random_settings();
    my $how = $weighted[ int(rand(@weighted)) ];
    $ledger->start(3, 1500,
        (rand() < 0.3 ? "SET pipelinedb.stream_insert_level = sync_commit;\n" : '')
          . (rand() < 0.4 ? "SET pipelinedb.preaggregate_after = 0;\n" : ''));
    usleep(100_000 + int(rand(900_000)));
    if ($round == int($rounds / 3) + 1) {
        $node->safe_psql('postgres', "CREATE VIEW late AS $LedgerWriters::per_txn");
        $late_from = $ledger->{next};
        usleep(100_000);
    }
    if ($round % 6 == 2) {
        $node->safe_psql('postgres', "SELECT pipelinedb.deactivate('per_writer')");
        $paused = 1;
    } elsif ($round % 6 == 5) {
        $node->safe_psql('postgres', "SELECT pipelinedb.activate('per_writer')");
        $paused = 0;
    }
    $kill{$how}->();
    my $acknowledged = $ledger->finish;
    bring_back($node);
    $ledger->settle;
    is(flush($node), 't', "round $round: folded again after $how ($sizes, $acknowledged acknowledged)");
    my @complaints = $ledger->complaints('per_txn', $ledger->{first});
    push @complaints, $ledger->complaints('late', $late_from)
      if defined $late_from && $late_from < $ledger->{next};
    my ($writers, $total) = $ledger->sums;
    my $got = $node->safe_psql('postgres', 'SELECT n, s FROM total');
    push @complaints, "total is $got, not $total" if $got ne $total;
    if (!$paused) {
        $got = $node->safe_psql('postgres', 'SELECT * FROM per_writer ORDER BY writer');
        push @complaints, "per_writer is\n$got\nnot\n$writers" if $got ne $writers;
    }
    ok(@complaints == 0, "round $round: every transaction counts exactly once");
    if (@complaints) {
        diag($_) for @complaints[0 .. (@complaints > 20 ? 19 : $#complaints)];
        diag(scalar(@complaints) . " complaints; PIPELINE_SEED=$seed, round $round, $how");
        last;
    }
}

$node->safe_psql('postgres', "SELECT pipelinedb.activate('per_writer')") if $paused;
is(flush($node), 't', 'all is folded');
is(join("\n", $ledger->complaints('per_txn', 1)), '', 'all rounds together');
my ($writers, $total) = $ledger->sums;
is($node->safe_psql('postgres', 'SELECT * FROM per_writer ORDER BY writer'), $writers,
    'the view that was paused now and then is complete');
is($node->safe_psql('postgres', "SELECT count(*) FROM late l LEFT JOIN per_txn p USING (txn)
    WHERE (l.n, l.s) IS DISTINCT FROM (p.n, p.s)"), '0',
    'a view created while writers ran counts their transactions wholly or not at all')
  if defined $late_from;
is($node->safe_psql('postgres', "SELECT string_agg(name || ' ' || state, ', ') FROM pipelinedb.views
    WHERE state <> 'active'"), '', 'no view has failed');
diag("$total rows|sum, " . scalar(keys %{ $ledger->{expected} }) . ' transactions planned');

$node->stop;
done_testing();
