# The scripts of docs/feeding.md, as they are: rows are soon visible, batches are committed by number
# and by time, a restart of the server or of the script loses nothing, and with the place in the file
# kept beside the rows nothing counts twice.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IO::Handle;
use IPC::Run;
use PipelineTest;
use StopPoints;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $source = $ENV{PIPELINE_SOURCE} // "$FindBin::RealBin/../..";
my $page = slurp_file("$source/docs/feeding.md");
for my $script (qw(feed.sh feed-file.sh)) {
    ok(index($page, "```sh\n" . slurp_file("$source/examples/$script") . "```\n") >= 0, "the page shows $script as it is");
}

my $node = new_node('main', log_statement => 'none', restart_after_crash => 'on');
sub sql { return $node->safe_psql('postgres', join '', @_); }
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
sql('CREATE FOREIGN TABLE hits (page text, ms int) SERVER pipelinedb;
    CREATE FOREIGN TABLE lines (line text) SERVER pipelinedb;
    CREATE VIEW per_page AS SELECT page, count(*) AS n, sum(ms) AS s FROM hits GROUP BY page;
    CREATE VIEW per_line AS SELECT line, count(*) AS n FROM lines GROUP BY line;
    CREATE VIEW batches AS SELECT arrival_timestamp, count(*) AS n FROM hits GROUP BY 1;
    CREATE TABLE feed (file text PRIMARY KEY, place bigint NOT NULL);');
sub shows { return sql("SELECT string_agg(page || ':' || n || ':' || s, ' ' ORDER BY page) FROM per_page"); }
sub soon { my ($wanted, $name) = @_;
    my $seconds = wait_until(sub { shows() eq $wanted });
    cmp_ok($seconds // 1e9, '<', 10, $name) or diag(shows() . " instead of $wanted"); }

# A file that grows; and scripts that feed from it.
my $folder = PostgreSQL::Test::Utils::tempdir();
my %file;
sub append {
    my ($name, $text) = @_;
    if (!$file{$name}) { open($file{$name}, '>>', "$folder/$name") or die "$name: $!"; $file{$name}->autoflush; }
    print { $file{$name} } $text;
}
sub start_script {
    my ($settings, @command) = @_;
    local @ENV{keys %$settings} = values %$settings;
    return IPC::Run::start(@command, '2>>', "$folder/errors");
}
sub end_script { my ($script, $signal) = @_; $script->signal($signal); eval { $script->finish; }; }
my ($feed, $feed_file) = map { "$source/examples/$_" } qw(feed.sh feed-file.sh);

# ---- the pipe ---------------------------------------------------------------------------------

append('log', "before\t1\n");
my $pipe = start_script({}, [ 'tail', '-n', '+1', '-F', "$folder/log" ], '|', [ $feed, 'hits (page, ms)' ]);
append('log', "a\t1\n" x 3);
soon('a:3:3 before:1:1', 'rows of a growing file are visible soon');
append('log', "a\t1\nb\t");
soon('a:4:4 before:1:1', 'a row that has begun is waited for');
append('log', "5\n\\.\nc\t1\n");
soon('a:4:4 b:1:5 before:1:1 c:1:1', 'its rest comes, and a line that would end the COPY ends nothing');
$node->stop('immediate');
append('log', "d\t1\n" x 100);
ok(defined wait_until(sub { slurp_file("$folder/errors") =~ /failed|refused|No such file/ }), 'the server is away');
$node->start;
ok(defined wait_until(sub { shows() eq 'a:4:4 b:1:5 before:1:1 c:1:1 d:100:100' }), 'the batch is sent when it is back') or diag(shows());
append('log', "e\tnone\n");
ok(defined wait_until(sub { slurp_file("$folder/errors") =~ /invalid input syntax for type integer: "none"/ }), 'a bad row is complained about');
end_script($pipe, 'TERM');

# Limits, and the end of the input.
sub run_feed { my ($settings, $input, @arguments) = @_;
    local @ENV{keys %$settings} = values %$settings;
    return IPC::Run::run([ $feed, @arguments ], '<', \$input); }
ok(run_feed({ ROWS => 100, MS => 3600000 }, join('', map { "f\t$_\n" } 1 .. 1049) . "f\t1050", 'hits (page, ms)'), 'the end of the input is the end of the feed');
is(flush($node), 't', 'all is folded');
is(sql("SELECT n, s FROM per_page WHERE page = 'f'"), '1050|551775', 'all rows are there, the unfinished last one included');
is(sql('SELECT max(n), count(*) FILTER (WHERE n = 100) FROM batches'), '100|11', 'in ten full batches (the d were one, too) and the rest');
ok(run_feed({}, '', 'hits'), 'an empty input');
ok(run_feed({}, qq(one "line"\nC:\\path\tand tab\n\none "line"\n), 'lines (line)', q{(FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')}), 'lines as they are');
is(flush($node), 't', 'all is folded');
is(sql(q{SELECT string_agg(coalesce(line, 'nothing') || ' ' || n, ', ' ORDER BY line) FROM per_line}), qq(C:\\path\tand tab 1, one "line" 2, nothing 1),
    'with quotes, backslashes and tabs');

# ---- the file ---------------------------------------------------------------------------------

sql(q{SELECT pipelinedb.truncate_continuous_view('per_page')});
sub start_feed { return start_script({ ROWS => 50, @_ }, [ $feed_file, "$folder/csv", 'hits (page, ms)', '(FORMAT csv)' ]); }
my ($rows, $sum) = (0, 0);
sub append_rows { my ($count) = @_;
    append('csv', join '', map { $rows++; $sum += $rows % 1000; 'p,' . $rows % 1000 . "\n" } 1 .. $count); }
sub all { return "p:$rows:$sum"; }
append_rows(7);
my $script = start_feed();
soon(all(), 'what is in the file already');
append_rows(120);
soon(all(), 'what comes');
append('csv', 'p,');
append_rows(0);
is(sql('SELECT place FROM feed'), (-s "$folder/csv") - 2, 'the place is behind the last whole line');
append('csv', "5\n\\.\n");
($rows, $sum) = ($rows + 1, $sum + 5);
soon(all(), 'its rest comes, and a line that would end the COPY');

# The server crashes while rows come in, the script at once or later.
for my $round (1 .. 3) {
    append_rows(500);
    $node->stop('immediate');
    append_rows(100);
    if ($round > 1) {
        end_script($script, $round == 2 ? 'KILL' : 'TERM');
        $script = start_feed();
    }
    $node->start;
    append_rows(100);
    ok(defined wait_until(sub { shows() eq all() }), "crash $round: every row once") or diag(shows() . ' instead of ' . all());
}
# Two of them for the same file, one of which is killed somewhere.
my $other = start_feed(MS => 1);
for my $round (1 .. 4) {
    append_rows(400);
    wait_until(sub { sql('SELECT place FROM feed') > (-s "$folder/csv") - 2000 });
    end_script($other, 'KILL');
    $other = start_feed(MS => 1);
}
ok(defined wait_until(sub { shows() eq all() }), 'two scripts for the same file: every row once') or diag(shows() . ' instead of ' . all());
end_script($_, 'TERM') for $script, $other;
is(sql('SELECT place FROM feed'), -s "$folder/csv", 'the place is the end of the file');
truncate("$folder/csv", 10);
ok(!IPC::Run::run([ $feed_file, "$folder/csv", 'hits' ], '2>', \my $complaint), 'a file that became shorter is refused');
views_are_active($node);

# ---- what the page has to say in SQL ----------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE page');
my $blocks = join '', $page =~ /^```sql\n(.*?)^```/msg;
is($node->safe_psql('page', $blocks), "t\nabout|1\nindex|100001", 'the SQL of the page runs as it stands');

$node->stop;
done_testing();
