# The Markdown table of docs/performance.md from what the bench printed:
#   perl test/bench/table.pl < output
use strict;
use warnings;

my %verdict = (goal => 'goal', must => 'yes', missed => '**no**', 'below the goal' => 'not the goal');
sub readable { my ($mark) = @_; $mark =~ s/>=/≥/; $mark =~ s/<=/≤/; return $mark }

print "| workload | contender | measure | value | must | goal | reached |\n";
print "|---|---|---|--:|---|---|---|\n";
while (my $line = <STDIN>) {
    next unless $line =~ /^figure\t/;
    chomp $line;
    my (undef, $workload, $contender, $measure, $value, $must, $goal, $holds) =
        split /\t/, $line, -1;
    printf "| %s |\n", join ' | ', $workload, $contender, $measure, $value, readable($must),
        readable($goal), $verdict{$holds} // '';
}
