# The workload of minutes: does anything grow?
package BenchEndurance;
use strict;
use warnings;

use BenchMarks;
use Time::HiRes qw(sleep time);

my $server;

sub sql { return $server->sql(@_) }

# Bytes on disk of tables, by relation. Without a lock: neither pg_relation_filepath() nor a look
# at the files waits for anybody, whereas pg_table_size() would wait for TRUNCATE.
sub disk_sizes {
    my %size;
    for my $line (split /,/, sql("SELECT string_agg(relname || '=' || pg_relation_filepath(oid), ',')
        FROM pg_class WHERE relkind = 'r' AND relname ~ '^(view[01]_mrel|spool_.*)\$'") // '') {
        my ($name, $path) = split /=/, $line;
        $name = 'spool' if $name =~ /^spool_/;
        $size{$name} += -s $_ // 0
            for grep { m{/\d+(_fsm|_vm)?(\.\d+)?$} } glob("$server->{dir}/data/$path*");
    }
    return \%size;
}

# Slope in percent of the mean per 10 minutes, by least squares over [ minute, value ].
sub slope {
    my @points = @_;
    my ($sx, $sy, $sxx, $sxy) = (0, 0, 0, 0);
    for my $point (@points) {
        my ($x, $y) = @$point;
        $sx += $x; $sy += $y; $sxx += $x * $x; $sxy += $x * $y;
    }
    my $n = @points;
    my $spread = $n * $sxx - $sx * $sx;
    return 0 if $spread == 0 || $sy == 0;
    return ($n * $sxy - $sx * $sy) / $spread * 10 / ($sy / $n) * 100;
}

my $ONE_ROW = "\\set k random(1, 1000)\nINSERT INTO target VALUES (:k, 1)";
sub many_rows {
    my ($keys) = @_;
    return "INSERT INTO many SELECT random() * $keys, 1 FROM generate_series(1, 5000)";
}

# Both loads as fast as they go, until all is folded: one-row INSERTs and statements per second.
sub peak_rates {
    my ($keys) = @_;
    my $count = sub { return map { split /\|/, sql("SELECT (SELECT sum(n) FROM view0), (SELECT sum(n) FROM view1)") } 1 };
    my @before = $count->();
    my $begin = time;
    my @load = map { $server->start($server->pgbench_command(@$_)) }
        [ $ONE_ROW, '-c', 16, '-j', 1, '-T', 10 ], [ many_rows($keys), '-c', 1, '-T', 10 ];
    waitpid $_, 0 for @load;
    sql('SELECT pipelinedb.flush()');
    my $seconds = time - $begin;
    my @after = $count->();
    return (($after[0] - ($before[0] || 0)) / $seconds, ($after[1] - $before[1]) / 5000 / $seconds);
}

# Each group once.
sub fill {
    my ($keys) = @_;
    sql("INSERT INTO target SELECT i, 1 FROM generate_series(1, 1000) i;
         INSERT INTO many SELECT i, 1 FROM generate_series(0, $keys) i;
         SELECT pipelinedb.flush()");
}

sub w12 {
    ($server, my $scale, my $query, my $make_keyed_stream) = @_;
    my $minutes = $ENV{MINUTES} || 5;
    my $keys = int(1_000_000 * $scale) || 1;
    my (@half, @samples, %least);
    my %table = ('small view' => 'view0_mrel', 'large view' => 'view1_mrel', spool => 'spool',
        'worker memory' => 'memory');
    return {name => 'W12', title => "$minutes minutes at half the peak rate", runs => 1,
        contenders => [{name => 'stream',
            setup => sub {
                $make_keyed_stream->();
                sql('CREATE FOREIGN TABLE many (k int8, x int4) SERVER pipelinedb;
                     CREATE VIEW view1 AS ' . sprintf($query, 'many'));
                fill($keys);
                @half = map { $_ / 2 } peak_rates($keys);
                # The peak leaves a backlog, and whoever waits for its end in flush() has a
                # snapshot: what that does to the tables is not the load that is measured.
                sql(join ';', 'DROP VIEW view0, view1',
                    map { "CREATE VIEW $_->[0] AS " . sprintf($query, $_->[1]) }
                        [ 'view0', 'target' ], [ 'view1', 'many' ]);
                fill($keys);
            },
            run => sub {
                my $begin = time;
                my $seconds = $minutes * 60;
                my @load = map { $server->start($server->pgbench_command(@$_)) }
                    [ $ONE_ROW, '-c', 16, '-j', 1, '-R', $half[0], '-T', $seconds + 60 ],
                    [ many_rows($keys), '-c', 1, '-R', $half[1], '-T', $seconds + 60 ];
                while ((my $now = time - $begin) <= $seconds) {
                    push @samples, {%{disk_sizes()}, memory => $server->worker_memory * 1048576,
                        minute => $now / 60};
                    sleep 5;
                }
                $server->finish($_) for @load;
                sql('SELECT pipelinedb.flush()');
            },
            check => sub {
                # The least that the same rows need: freshly written, with the view's fillfactor
                # and without free space.
                for my $view (0, 1) {
                    my $name = "view${view}_mrel";
                    my $fill = sql("SELECT regexp_replace(reloptions::text, '.*(fillfactor=\\d+).*', '\\1')
                                      FROM pg_class WHERE relname = '$name'");
                    sql("CREATE TABLE copy$view WITH ($fill) AS TABLE $name;
                         CREATE TABLE packed$view AS TABLE $name");
                    $least{$name} = [split /\|/, sql("SELECT pg_table_size('copy$view'), pg_table_size('packed$view')")];
                }
                return '';
            },
            cleanup => sub {
                sql('DROP TABLE latency, copy0, copy1, packed0, packed1;
                     DROP FOREIGN TABLE target, many CASCADE');
            }}],
        report => sub {
            printf "  rate: %.0f one-row inserts/s, %.0f rows/s over %d keys\n", $half[0],
                $half[1] * 5000, $keys;
            # The first 10 minutes may still grow; a shorter run can only show its second half.
            my $from = $minutes > 10 ? 10 : $minutes / 2;
            my @late = grep { $_->{minute} >= $from } @samples;
            printf "  %-14s %9s %9s %9s %11s %12s %10s\n", 'MB', 'at first', 'at most', 'at last',
                'x minimum', 'x unfilled', '%/10 min';
            for my $name ('small view', 'large view', 'spool', 'worker memory') {
                my $key = $table{$name};
                my @sizes = map { ($_->{$key} // 0) / 1048576 } @samples;
                my ($most) = sort { $b <=> $a } @sizes;
                my $slope = slope(map { [ $_->{minute}, $_->{$key} // 0 ] } @late);
                printf "  %-14s %9.2f %9.2f %9.2f %11s %12s %10.1f\n", $name, $sizes[0], $most,
                    $sizes[-1], (map { $least{$key} ? sprintf('%.2f', $sizes[-1] * 1048576 / $least{$key}[$_]) : '' } 0, 1),
                    $slope;
                BenchMarks::note_figure('W12', $name, 'x minimum', $most * 1048576 / $least{$key}[0])
                    if $least{$key};
                BenchMarks::note_figure('W12', $name, 'MB', $most) unless $least{$key};
                BenchMarks::note_figure('W12', $name, '% per 10 minutes', $slope) if $minutes > 10;
            }
        }};
}

1;
