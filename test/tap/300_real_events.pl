# Real events: file changes of open-source projects (commits.tsv.gz, in COPY's text format) go
# through COPY into a stream, in pieces, while the fold worker is ended in every way. Each view
# equals the plain query over a table with the same rows.
# The folder is named by PIPELINE_DATA, or lies beside the checkout; without it: skipped.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Uncompress::Gunzip qw($GunzipError);
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints qw(wait_until bring_back);
use Test::More;

my $folder = $ENV{PIPELINE_DATA} || "$FindBin::RealBin/../../../shared/data";
my $source = "$folder/commits.tsv.gz";
plan skip_all => 'the events are not here: set PIPELINE_DATA to the folder of commits.tsv.gz' unless -r $source;

my $node = new_node('events', restart_after_crash => 'on', max_prepared_transactions => 2,
    'pipelinedb.fold_batch' => '256kB', 'pipelinedb.spool_generation_size' => '1MB');
my $columns = 'committed timestamptz, project text, developer text, commit text, path text, added int, deleted int';
my $day = q{(committed AT TIME ZONE 'UTC')::date};

# Name, query, and how its answer is asked for: a query over the view, and the same over the rows.
my @views = (
    [ 'per_day', "SELECT developer, $day AS day, count(*) AS changes, count(added) AS of_text, sum(added) AS added,
            sum(deleted) AS deleted FROM %s GROUP BY 1, 2",
        'the busiest days of a developer', 'SELECT * FROM %s WHERE changes > 500' ],
    [ 'per_month', "SELECT project, date_trunc('month', committed AT TIME ZONE 'UTC') AS month, count(*) AS changes,
            sum(added) AS added, sum(deleted) AS deleted, avg(added) AS mean, stddev_samp(added) AS spread,
            min(committed) AS first, max(committed) AS last FROM %s GROUP BY 1, 2",
        'lines per project and year', q{SELECT project, date_part('year', month), sum(changes), sum(added), sum(deleted),
            max(last) FROM %s GROUP BY 1, 2} ],
    [ 'active', "SELECT date_trunc('week', committed AT TIME ZONE 'UTC') AS week, project, developer, count(*)
            FROM %s GROUP BY 1, 2, 3",
        'distinct developers per week', 'SELECT week, count(DISTINCT developer), count(DISTINCT project) FROM %s GROUP BY 1' ],
    [ 'paths', 'SELECT project, path, count(*) AS changes, sum(added - deleted) AS grown, max(committed) AS last,
            count(*) FILTER (WHERE added IS NULL) AS as_binary FROM %s GROUP BY project, path',
        'the most changed paths', 'SELECT * FROM %s ORDER BY changes DESC, project, path LIMIT 100' ],
    [ 'sizes', 'SELECT project, ceil(log(2, 1 + added + deleted))::int AS power, count(*) AS changes,
            max(added + deleted) AS largest, bool_or(deleted = 0) AS only_added FROM %s
            WHERE added IS NOT NULL GROUP BY 1, 2',
        'percentiles of the size of a change', 'SELECT project, power, largest, round(100.0 *
            sum(changes) OVER (PARTITION BY project ORDER BY power) / sum(changes) OVER (PARTITION BY project), 3) FROM %s' ]);

$node->safe_psql('postgres', "CREATE FOREIGN TABLE stream ($columns) SERVER pipelinedb;
    CREATE TABLE events ($columns); CREATE TABLE pieces (piece int, rows int)");
$node->safe_psql('postgres', "CREATE VIEW $_->[0] AS " . sprintf($_->[1], 'stream')) for @views;

# ---- pieces ------------------------------------------------------------------------------------

my @sizes = (1, 4999, 20_000, 10_000, 30_000, 15_000, 5_000, 25_000);
my (@pieces, $lines);
{
    my $events = IO::Uncompress::Gunzip->new($source) or die "$source: $GunzipError";
    my ($out, $left) = (undef, 0);
    while (my $line = <$events>) {
        if ($left == 0) {
            push @pieces, $node->basedir . '/piece' . @pieces;
            open($out, '>', $pieces[-1]) or die "$pieces[-1]: $!";
            $left = $sizes[$#pieces] // 1e9;
        }
        print $out $line;
        $lines++;
        $left--;
    }
    close $out;
}

# One transaction: both COPYs and a note of it, so that it shows what became of a piece whose
# commit was not answered.
sub copy_piece {
    my ($n, $end) = @_;
    my $copy = sub { "\\copy $_[0] FROM '$pieces[$n]'\n" };
    return "BEGIN;\n" . $copy->('stream') . $copy->('events')
        . "INSERT INTO pieces SELECT $n, count(*) FROM events;\n" . ($end // 'COMMIT') . ";\n";
}

sub is_in { my ($n) = @_; return $node->safe_psql('postgres', "SELECT count(*) FROM pieces WHERE piece = $n"); }

my $in_the_midst = 0;
sub end_worker {
    my ($signal) = @_;
    my ($pid, $is_behind) = split /\|/, $node->safe_psql('postgres', "SET pipelinedb.read_own_writes = off;
        SELECT pid, (SELECT sum(changes) FROM per_day) < (SELECT count(*) FROM events) FROM pg_stat_activity
        WHERE backend_type = 'pipelinedb fold worker'");
    $in_the_midst++ if ($is_behind // '') eq 't';
    my $log = -s $node->logfile;
    return 0 unless $pid && kill($signal, $pid);
    # Until the postmaster has noticed, the server still takes connections.
    wait_until(sub { index(slurp_file($node->logfile, $log), 'was terminated by signal 9') >= 0 }) if $signal eq 'KILL';
    return 1;
}

# What happens to the fold worker or the server as soon as a piece is committed, or while it is
# copied.
my @blows = (
    sub { 1 },
    sub { end_worker('TERM') },
    sub { end_worker('KILL') && bring_back($node) },
    sub { end_worker('INT') || 1 },
    sub { $node->stop('immediate'); $node->start },
    sub { end_worker('KILL') && bring_back($node) },
    sub { $node->restart || 1 },
    sub { end_worker('TERM') });

for my $n (0 .. $#pieces) {
    # A piece that is rolled back, a savepoint that is, and a prepared transaction that is, first.
    $node->psql('postgres', copy_piece($n, 'ROLLBACK')) if $n % 3 == 1;
    $node->psql('postgres', "BEGIN;\n\\copy stream FROM '$pieces[$n]'\nPREPARE TRANSACTION 'not this'; ROLLBACK PREPARED 'not this'")
        if $n % 3 == 2;
    $node->psql('postgres', "BEGIN; SAVEPOINT a;\n\\copy stream FROM '$pieces[$n]'\nROLLBACK TO a; COMMIT") if $n % 3 == 0;

    my ($committed) = run_scripts($node, [ copy_piece($n) ]);
    is_deeply([ @$committed[1 .. $#$committed] ], [], "piece $n is committed");
    ok($blows[$n % @blows]->(), "what comes then, $n");
}

# The last: the worker dies while a piece is being copied. The client's session goes with the
# server, so the piece may have to be sent again.
{
    my $again = $node->basedir . '/again';
    $node->safe_psql('postgres', "COPY (SELECT * FROM events LIMIT 20000) TO '$again'");
    push @pieces, $again;
    my $n = $#pieces;
    my $script = $node->basedir . '/last.sql';
    append_to_file($script, copy_piece($n));
    my $copying = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-f', $script, '-d', $node->connstr('postgres') ],
        '<', \undef, '>', \my $out, '2>', \my $err);
    wait_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_progress_copy") ne '0' || !$copying->pumpable }, 10);
    end_worker('KILL');
    $copying->finish;
    bring_back($node);
    $node->safe_psql('postgres', copy_piece($n)) if is_in($n) eq '0';
    is(is_in($n), '1', 'a piece that was interrupted is in, once');
    $lines += 20_000;
}
wait_folded($node);

# ---- the answers -------------------------------------------------------------------------------

is($node->safe_psql('postgres', 'SELECT count(*) FROM events'), $lines, 'all events are in the table');
is($node->safe_psql('postgres', 'SELECT sum(changes) FROM per_day'), $lines, 'and counted by the stream');
for my $view (@views) {
    my ($name, $query, $question, $answer) = @$view;
    my $plain = sprintf $query, 'events';
    cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM $name"), '>', 10, "$name has groups");
    is($node->safe_psql('postgres', "SELECT count(*) FROM ((TABLE $name EXCEPT ALL $plain) UNION ALL
        ($plain EXCEPT ALL TABLE $name)) d"), '0', "$name equals the plain query");
    my ($from_view, $from_rows) = map { $node->safe_psql('postgres', "SELECT * FROM (" . sprintf($answer, $_) . ") a ORDER BY a") }
        $name, "($plain) e";
    is($from_view, $from_rows, $question);
    isnt($from_view, '', "$question: there are some");
}
cmp_ok($in_the_midst, '>=', 1, "the worker was ended with rows still to fold: $in_the_midst times");
views_are_active($node);
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:/, 'nothing went wrong that the server would tell');
$node->stop;
done_testing();
