# A script of PipelineDB 0.9 as an old application ships it: run from a file; errors name the line
# of the file; the database is dumped and restored as any other, the language left out.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'pipelinedb.idle_exit' => '1min');
my $folder = PostgreSQL::Test::Utils::tempdir();
sub sql { return $node->safe_psql($_[0], $_[1]); }

$node->safe_psql('postgres', 'CREATE DATABASE source');
sql('source', 'CREATE EXTENSION pipeline_ext');

my $old_script = <<'SQL';
-- schema of an old application; with comments
CREATE STREAM IF NOT EXISTS impressions (ad int, cost numeric, seen timestamptz);
CREATE TABLE ads (id int PRIMARY KEY, campaign text);
INSERT INTO ads SELECT i, 'c' || i % 3 FROM generate_series(1, 9) AS i;
CREATE FUNCTION label(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN 'campaign; ' || $1;
END $$;
CREATE CONTINUOUS VIEW per_campaign WITH (fillfactor = 60) AS
    SELECT label(campaign) AS name, count(*), sum(cost::numeric), avg(cost) AS mean
    FROM impressions JOIN ads ON ads.id = impressions.ad::integer
    GROUP BY name;
CREATE CONTINUOUS VIEW total AS SELECT count(*) FROM impressions;
INSERT INTO impressions (ad, cost) SELECT i % 9 + 1, i FROM generate_series(1, 900) AS i;
SQL

# Returns psql's standard error for a script in a file.
sub run_file {
    my ($db, $text) = @_;
    my $file = "$folder/script.sql";
    open(my $out, '>', $file) or die "$file: $!";
    print $out "DO LANGUAGE pipelinedb \$script\$\n$text\$script\$;\n";
    close($out);
    my ($stdout, $stderr) = ('', '');
    IPC::Run::run([ $node->installed_command('psql'), '-XAtq', '-f', $file, '-d', $node->connstr($db) ],
        '<', \undef, '>', \$stdout, '2>', \$stderr);
    is($stdout, '', 'no row comes back');
    return $stderr;
}

# ---- errors leave nothing behind, and tell the line of the file that psql also counts --------------

(my $wrong = $old_script) =~ s/GROUP BY name;/GROUP BY BY name;/;
my $error = run_file('source', $wrong);
like($error, qr/syntax error at or near "name"\nLINE 13:     GROUP BY BY name;\n {25}\^/, 'LINE and caret: a syntax error');
like($error, qr/statement at line 10 of the script: CREATE CONTINUOUS VIEW per_campaign/, 'and its statement');
($wrong = $old_script) =~ s/count\(\*\) FROM impressions/count(*) FROM impression/;
like(run_file('source', $wrong), qr/relation "impression" does not exist\nLINE 14: .*\n +\^\nHINT:  If it is meant to be a stream/,
    'LINE and caret: a name');
($wrong = $old_script) =~ s/SELECT i % 9 \+ 1, i/SELECT i % 9 + 1, 1 \/ (i - 500)/;
like(run_file('source', $wrong), qr/division by zero\n.*statement at line 15 of the script: INSERT INTO impressions/,
    'the statement that failed while it ran');
is(sql('source', "SELECT count(*) FROM pg_class WHERE relname ~ 'impressions|ads|per_campaign|total'"), '0',
    'nothing is left of scripts that failed');

# ---- positions are counted in characters -----------------------------------------------------------

$node->safe_psql('postgres', q{CREATE DATABASE wide ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0});
sql('wide', 'CREATE EXTENSION pipeline_ext');
{
    local $ENV{PGCLIENTENCODING} = 'UTF8';
    my ($stdout, $stderr) = ('', '');
    IPC::Run::run([ $node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('wide') ],
        '<', \"DO LANGUAGE pipelinedb \$\$ SELECT '\xc3\xa4\xe2\x82\xac;';
CREATE CONTINUOUS VIEW \"\xc3\xa4\" WITH (max_age = '1 \xe2\x82\xac') AS SELECT '\xc3\xa4', count(*) FROM FROM s; \$\$;\n",
        '>', \$stdout, '2>', \$stderr);
    my ($line, $caret) = $stderr =~ /^LINE 2: (.*)\n(.*)\^/m or diag($stderr);
    utf8::decode($line);
    is(substr($line, length($caret) - length('LINE 2: '), 6), 'FROM s', 'the caret stands below the second FROM');
}

# ---- the script runs, and its views count ----------------------------------------------------------

is(run_file('source', $old_script), '', 'the script runs');
wait_folded($node, 'source');
my $counts = 'SELECT * FROM per_campaign, total ORDER BY name';
my $expected = "campaign; c0|300|135150|450.5000000000000000|900
campaign; c1|300|135450|451.5000000000000000|900
campaign; c2|300|134850|449.5000000000000000|900";
is(sql('source', $counts), $expected, 'its views count');

# ---- dump and restore ------------------------------------------------------------------------------

sub dump_and_restore {
    my ($target) = @_;
    $node->command_ok([ 'pg_dump', '-f', "$folder/dump.sql", '-d', $node->connstr('source') ], 'pg_dump');
    $node->safe_psql('postgres', "CREATE DATABASE $target");
    $node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$folder/dump.sql", '-d', $node->connstr($target) ],
        'the dump is restored');
    is(sql($target, $counts), $expected, 'all counts are back');
    is(run_file($target, "INSERT INTO impressions (ad, cost) VALUES (1, 1);\n"), '', 'the language is back');
    wait_folded($node, $target);
    is(sql($target, 'SELECT * FROM total'), '901', 'and counting goes on');
    return slurp_file("$folder/dump.sql");
}

unlike(dump_and_restore('copy'), qr/LANGUAGE pipelinedb|dialect/i, 'a dump has nothing of the language');
sql('source', 'REVOKE USAGE ON LANGUAGE pipelinedb FROM PUBLIC; CREATE ROLE trusted;
    GRANT USAGE ON LANGUAGE pipelinedb TO trusted');
like(dump_and_restore('restricted'), qr/^REVOKE .*LANGUAGE pipelinedb/m, 'but rights that somebody changed');
is(sql('restricted', "SELECT has_language_privilege('trusted', 'pipelinedb', 'USAGE'),
    has_language_privilege('pg_monitor', 'pipelinedb', 'USAGE')"), 't|f', 'which are restored');

sql('copy', 'DROP EXTENSION pipeline_ext CASCADE');
is(sql('copy', "SELECT count(*) FROM pg_language WHERE lanname = 'pipelinedb'"), '0', 'it goes with the extension');
sql('copy', 'CREATE EXTENSION pipeline_ext');
is(run_file('copy', "CREATE STREAM s (a int);\n"), '', 'and comes with it');

done_testing();
