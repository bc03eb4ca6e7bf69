# The marks: what each contender must reach and what is the goal (docs/performance.md). Everything
# that is measured is printed once more as one line per figure, for table.pl:
#
#   figure <TAB> workload <TAB> contender <TAB> measure <TAB> value <TAB> must <TAB> goal <TAB> holds
package BenchMarks;
use strict;
use warnings;

# [ workload, contender, measure, must, goal ]; measures are those that bench.pl and the workloads
# name: "x plain" is the speed as a multiple of plain's, "CPU x plain" the CPU time.
my @MARKS = (
    [ 'W1', 'stream sync_receive', 'x plain', '>= 1.1', '>= 1.4' ],
    [ 'W1', 'stream sync_receive', 'x parse', '', '>= 0.8' ],
    [ 'W1', 'stream sync_receive', 'CPU x plain', '<= 1.2', '' ],
    [ 'W2', 'stream', 'x plain', '>= 0.13', '>= 0.3' ],
    [ 'W2', 'stream', 'x trigger', '>= 1.5', '' ],
    [ 'W3', 'stream', 'x plain', '>= 1.3', '' ],
    [ 'W3', 'stream', 'x generate', '', '>= 0.9' ],
    (map { [ 'W4', "stream durable $_", 'x plain', '>= 0.8', '>= 0.95' ] } 1, 4, 16),
    (map { [ 'W4', "stream lossy $_", 'x plain', '>= 0.7', '>= 0.9' ] } 1, 4, 16),
    [ 'W5', 'stream durable 4', 'x plain', '>= 1.1', '>= 1.5' ],
    (map { ([ 'W6', $_, 'ms p50', '<= 3', '<= 1' ], [ 'W6', $_, 'ms p99', '<= 15', '' ]) }
        'visible, idle', 'visible, 5,000 tps'),
    [ 'W6', 'INSERT, sync_commit', 'ms p50', '<= 2', '<= 1' ],
    [ 'W7', 'stream, 10 views', 'x plain', '>= 0.6', '>= 1.0' ],
    [ 'W7', 'stream, 100 views', 'time per view x 10 views', '<= 1.0', '' ],
    (map { [ 'W8', $_, 'x plain', '>= 0.5', '>= 0.9' ] } 'count distinct', 'percentile', 'top-k'),
    [ 'W9', 'view', 'x primary key', '>= 0.8', '>= 0.95' ],
    [ 'W9', 'view, old snapshot', 'x primary key', '>= 0.5', '>= 0.8' ],
    [ 'W10', 'stream', 'time x plain', '<= 1.5', '<= 1.0' ],
    [ 'W11', 'stream', 'x plain', '>= 0.4', '>= 0.8' ],
    (map { [ 'W12', $_, 'x minimum', '<= 3', '' ] } 'small view', 'large view'),
    (map { [ 'W12', $_, '% per 10 minutes', '<= 1', '' ] } 'small view', 'large view', 'spool',
        'worker memory'),
    [ 'W12', 'worker memory', 'MB', '<= 256', '' ],
    [ 'W13', 'window', 'x plain', '>= 0.7', '' ]);

my (@lines, $missed);

sub holds {
    my ($mark, $value) = @_;
    return 1 if $mark eq '';
    my ($sense, $limit) = split / /, $mark;
    return $sense eq '>=' ? $value >= $limit : $value <= $limit;
}

# A figure; says whether its mark holds.
sub note_figure {
    my ($workload, $contender, $measure, $value) = @_;
    my ($mark) = grep { "@$_[0 .. 2]" eq "$workload $contender $measure" } @MARKS;
    my ($must, $goal) = $mark ? @$mark[3, 4] : ('', '');
    my $holds = !$mark ? ''
        : !holds($must, $value) ? 'missed'
        : $goal ne '' && holds($goal, $value) ? 'goal'
        : $must ne '' ? 'must'
        : 'below the goal';
    $missed++ if $holds eq 'missed';
    push @lines, join "\t", 'figure', $workload, $contender, $measure,
        sprintf('%.3g', $value), $must, $goal, $holds;
}

sub print_figures {
    print "$_\n" for @lines;
    printf "%d figures, %d marks missed\n", scalar @lines, $missed // 0;
}

1;
