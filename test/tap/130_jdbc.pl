# A Java service: writes to a stream and reads a continuous view by JDBC, in the driver's modes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $jar = '/usr/share/java/postgresql.jar';
my ($javac) = grep { -x } map { "$_/javac" } split /:/, $ENV{PATH};
plan skip_all => 'skipped: javac is not installed' unless $javac;
plan skip_all => "skipped: $jar is not installed (libpostgresql-jdbc-java)" unless -f $jar;

my $classes = PostgreSQL::Test::Utils::tempdir();
command_ok([ $javac, '-Xlint:all', '-Werror', '-encoding', 'UTF-8', '-cp', $jar, '-d', $classes,
    "$FindBin::RealBin/../jdbc/StreamClient.java" ], 'the client compiles');

my $node = new_node('main', listen_addresses => '127.0.0.1');
$node->safe_psql('postgres', <<'SQL');
CREATE FOREIGN TABLE jdbc_stream (work_date date, worker varchar, amount numeric) SERVER pipelinedb;
CREATE VIEW jdbc_view WITH (action=materialize) AS
  SELECT work_date, worker, count(*) AS cnt, sum(amount) AS total, max(worker)::varchar AS last
    FROM jdbc_stream GROUP BY work_date, worker;
CREATE ROLE service LOGIN;
GRANT ALL ON jdbc_stream, jdbc_view TO service; -- RETURNING needs SELECT
SQL

my %modes = (
    default         => '',
    prepared        => '&prepareThreshold=1',
    rewritten       => '&prepareThreshold=1&reWriteBatchedInserts=true',
    binary          => '&prepareThreshold=-1',
    simple          => '&preferQueryMode=simple',
    sync_commit     => '&prepareThreshold=1&options=-c%20pipelinedb.stream_insert_level=sync_commit',
    generic         => '&prepareThreshold=1&options=-c%20plan_cache_mode=force_generic_plan',
    serializable    => '&options=-c%20default_transaction_isolation=serializable',
);

for my $mode (sort keys %modes) {
    my $rounds = $mode =~ /^(prepared|rewritten)$/ ? 200 : 40;
    my $url = 'jdbc:postgresql://127.0.0.1:' . $node->port . "/postgres?user=service$modes{$mode}";
    my ($out, $err) = run_command([ 'java', '-cp', "$jar:$classes", '-Dfile.encoding=UTF-8',
        'StreamClient', $url, $mode, $rounds ]);
    my $checks = 0;
    for (split /\n/, $out) {
        if (/^(not )?ok - (.*)/) { ok(!$1, $2); $checks++; }
        else { diag($_); }
    }
    is($checks, 14, "$mode: the client ran to its end") or diag($err);
}

views_are_active($node);
$node->stop;
done_testing();
