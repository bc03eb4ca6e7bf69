# Streaming rows against storing them, on one machine, in one run: see docs/performance.md.
#
# Each workload has contenders. They are run in turn, RUNS times; the median counts. After each
# run the result is compared with what was written. Only ratios within one run mean anything.
use strict;
use warnings;

use BenchServer;
use BenchWorkloads;

my $scale = $ENV{SCALE} || 1;
my $runs = $ENV{RUNS} || 5;
my $work = $ENV{WORK} or die "run it by: make bench\n";
my %wanted = map { lc $_ => 1 } split /[,\s]+/, $ENV{BENCH} // '';

my ($bin) = map { chomp; $_ } `$ENV{PG_CONFIG} --bindir`;
my $server = BenchServer->new(bin => $bin, dir => "$work/bench", conf => "$work/server.conf");
$server->sql('CREATE EXTENSION pipeline_ext');
printf "%s; %d cores; scale %s, median of %d runs\n\n", $server->sql('SHOW server_version'),
    scalar(grep { /^processor/ } do { open my $f, '<', '/proc/cpuinfo'; <$f> }), $scale, $runs;

my $wrong = 0;
for my $workload (BenchWorkloads::all($server, $scale)) {
    next if %wanted && !$wanted{lc $workload->{name}};
    if ($workload->{skip}) {
        print "$workload->{name}  $workload->{title}: skipped, $workload->{skip}\n\n";
        next;
    }
    run_workload($workload);
}
$server->stop;
print $wrong ? "$wrong wrong results\n" : "all results were right\n";
exit($wrong ? 1 : 0);

sub median {
    my @sorted = sort { $a <=> $b } @_;
    my $middle = int(@sorted / 2);
    return @sorted % 2 ? $sorted[$middle] : ($sorted[$middle - 1] + $sorted[$middle]) / 2;
}

sub run_workload {
    my ($workload) = @_;
    $_->() for grep { $_ } $workload->{prepare};
    my @contenders = @{$workload->{contenders}};
    my %results;
    for my $run (1 .. ($workload->{runs} || $runs)) {
        for my $contender (@contenders) {
            $_->() for grep { $_ } $contender->{setup};
            $server->sql('CHECKPOINT');
            my $result = $server->measure($contender->{run});
            my $check = $contender->{check} ? $contender->{check}->() : '';
            if ($check) {
                $wrong++;
                print "WRONG: $workload->{name} $contender->{name}: $check\n";
            }
            $result->{value} = $contender->{value}->() if $contender->{value};
            push @{$results{$contender->{name}}}, $result;
            $_->() for grep { $_ } $contender->{cleanup};
        }
    }
    $_->() for grep { $_ } $workload->{cleanup};
    report($workload, \%results);
}

sub report {
    my ($workload, $results) = @_;
    print "$workload->{name}  $workload->{title}\n";
    if ($workload->{report}) {
        $workload->{report}->($results, \&median);
        print "\n";
        return;
    }
    my $of = sub {
        my ($name, $what) = @_;
        return median(map { $_->{$what} } @{$results->{$name}});
    };
    printf "  %-24s %10s %10s %10s %8s %8s\n", '', 'rows/s', 'CPU s/M', 'WAL B/row', 'x limit',
        'x CPU';
    for my $contender (@{$workload->{contenders}}) {
        my ($name, $rows) = ($contender->{name}, $contender->{rows} // $workload->{rows});
        my $limit = $contender->{limit} // $workload->{limit} // 'plain';
        my $seconds = $of->($name, 'seconds');
        my $has_limit = exists $results->{$limit};
        printf "  %-24s %10.0f %10.2f %10.1f %8s %8s\n", $name, $rows / $seconds,
            $of->($name, 'cpu') / $rows * 1e6, $of->($name, 'wal') / $rows,
            $has_limit ? sprintf('%.2f', $of->($limit, 'seconds') / $seconds) : '',
            $has_limit ? sprintf('%.2f', $of->($name, 'cpu') / ($of->($limit, 'cpu') || 0.01)) : '';
    }
    print "\n";
}
