# Streaming rows against storing them, on one machine, in one run: see docs/performance.md.
#
# Each workload has contenders. They are run in turn, RUNS times; the median counts. After each
# run the result is compared with what was written. Only ratios within one run mean anything.
use strict;
use warnings;

use BenchMarks;
use BenchServer;
use BenchWorkloads;
use Time::HiRes qw(time);

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
    run_workload($workload);
}
$server->stop;
BenchMarks::print_figures();
print $wrong ? "$wrong wrong results\n" : "all results were right\n";
exit($wrong ? 1 : 0);

sub median {
    my @sorted = sort { $a <=> $b } @_;
    my $middle = int(@sorted / 2);
    return @sorted % 2 ? $sorted[$middle] : ($sorted[$middle - 1] + $sorted[$middle]) / 2;
}

# Contenders that this version of the extension, or this server, does not have.
sub available {
    my ($workload) = @_;
    my (@able, $some);
    for my $contender (@{$workload->{contenders}}) {
        my $reason = $contender->{missing} ? $contender->{missing}->() : '';
        print "$workload->{name}  $contender->{name}: skipped, $reason\n" if $reason;
        next if $reason;
        push @able, $contender;
        $some ||= $contender->{name} ne 'plain';
    }
    return $some ? @able : ();
}

sub run_once {
    my ($workload, $contender) = @_;
    $contender->{setup}->() if $contender->{setup};
    $server->sql('CHECKPOINT');
    my $result = $server->measure($contender->{run});
    my $check = $contender->{check} ? $contender->{check}->() : '';
    if ($check) {
        $wrong++;
        print "WRONG: $workload->{name} $contender->{name}: $check\n";
    }
    $result->{value} = $contender->{value}->() if $contender->{value};
    $contender->{cleanup}->() if $contender->{cleanup};
    return $result;
}

sub run_workload {
    my ($workload) = @_;
    my $begin = time;
    my @contenders = available($workload) or return;
    $workload->{prepare}->() if $workload->{prepare};
    my %results;
    for (1 .. ($workload->{runs} || $runs)) {
        push @{$results{$_->{name}}}, run_once($workload, $_) for @contenders;
    }
    $workload->{cleanup}->() if $workload->{cleanup};
    print "$workload->{name}  $workload->{title}\n";
    if ($workload->{report}) {
        $workload->{report}->(\%results, \&median);
    } else {
        report($workload, \@contenders, \%results);
    }
    printf "  (%.0f s)\n\n", time - $begin;
}

sub report {
    my ($workload, $contenders, $results) = @_;
    my $of = sub {
        my ($name, $what) = @_;
        return median(map { $_->{$what} } @{$results->{$name}});
    };
    printf "  %-24s %10s %10s %10s %8s %8s\n", '', 'rows/s', 'CPU s/M', 'WAL B/row', 'x limit',
        'x CPU';
    for my $contender (@$contenders) {
        my ($name, $rows) = ($contender->{name}, $contender->{rows} // $workload->{rows});
        my $limit = $contender->{limit} // 'plain';
        my ($seconds, $cpu) = ($of->($name, 'seconds'), $of->($name, 'cpu'));
        my $speed = $of->($limit, 'seconds') / $seconds;
        my $cost = $cpu / ($of->($limit, 'cpu') || 0.01);
        printf "  %-24s %10.0f %10.2f %10.1f %8.2f %8.2f\n", $name, $rows / $seconds,
            $cpu / $rows * 1e6, $of->($name, 'wal') / $rows, $speed, $cost;
        next if $name eq $limit;
        BenchMarks::note_figure($workload->{name}, $name, 'x plain', $speed);
        next unless $name =~ /^stream/;
        BenchMarks::note_figure($workload->{name}, $name, 'CPU x plain', $cost);
        for my $other (grep { $results->{$_} } qw(parse generate trigger)) {
            BenchMarks::note_figure($workload->{name}, $name, "x $other",
                $of->($other, 'seconds') / $seconds);
        }
    }
    $workload->{further}->($of) if $workload->{further};
}
