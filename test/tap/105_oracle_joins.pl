# Continuous views with joins and subqueries against the same SELECT over a table that holds the
# same rows, with feeds of every size and with every kind of join. The joined tables do not change.
#
# PIPELINE_SEED repeats a run.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use OracleJoins;
use OracleRows qw(seed_rows chance pick);
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PIPELINE_SEED} || time % 1_000_000;
note("PIPELINE_SEED=$seed");
seed_rows($seed);

my $node = new_node('oracle_joins',
    max_prepared_transactions => 10, log_statement => 'none', shared_buffers => '32MB');
sub sql { return $node->safe_psql('postgres', $_[0]); }

my $columns = 'id int, k int, g text, n numeric, ia int[], j jsonb';
sql(<<"SQL");
CREATE SCHEMA work;
ALTER DATABASE postgres SET search_path = work;
SET search_path = work;
$join_setup
CREATE FOREIGN TABLE s ($columns) SERVER pipelinedb;
CREATE TABLE o ($columns);
-- rows that look random, the same for the same numbers
CREATE FUNCTION made(int, int) RETURNS SETOF o LANGUAGE sql STABLE AS \$\$
    SELECT i, CASE WHEN h % 17 <> 0 THEN (h / 17) % 50 END, CASE WHEN h % 13 <> 0 THEN 'g' || h % 5 END,
        CASE WHEN h % 19 <> 0 THEN ((h / 7) % 1000)::numeric / 10 END,
        CASE h % 4 WHEN 0 THEN NULL WHEN 1 THEN '{}' WHEN 2 THEN ARRAY[h % 3, NULL] ELSE ARRAY[h % 7, h % 5, h % 3] END,
        CASE h % 3 WHEN 0 THEN jsonb_build_object('a', h % 4, 'k' || h % 3, NULL) WHEN 1 THEN '{}' END
    FROM generate_series(\$1, \$2) i, LATERAL (SELECT abs(hashint8extended(i, $seed) % 1000000007)::int AS h) h \$\$;
ANALYZE;
SQL
for my $query (@join_queries) {
    my ($name, $select) = @$query;
    for my $source ('s', 'o') {
        (my $view = $select) =~ s/SOURCE/$source/;
        sql("CREATE VIEW ${source}_$name AS $view");
    }
}
is(sql('SELECT count(*) FROM pipelinedb.views'), 1 + @join_queries, 'the views exist');

my $next = 1;
# The same $n rows for the stream and the table.
sub both {
    my ($n) = @_;
    my $made = "(" . join(', ', $next, $next + $n - 1) . ")";
    $next += $n;
    return join '', map { "INSERT INTO $_ SELECT * FROM made$made;\n" } 's', 'o';
}
sub lost { return 'INSERT INTO s SELECT * FROM made(1, ' . $_[0] . ");\n"; }

my $prepared = 0;
my @units = (
    sub { return both(1) },
    sub { return both(1) },
    sub { return both(5) },
    sub { return both(40) },
    sub { return both(300) },
    sub { return 'BEGIN; ' . both(1) . both(3) . 'COMMIT;' },
    sub { return 'BEGIN; ' . lost(50) . 'ROLLBACK;' },
    sub { return 'BEGIN; ' . both(1) . 'SAVEPOINT a; ' . lost(7) . 'ROLLBACK TO a; ' . both(2) . 'COMMIT;' },
    sub {
        my $id = "'p" . ++$prepared . "'";
        return 'BEGIN; ' . both(7) . "PREPARE TRANSACTION $id; " . both(1) . "COMMIT PREPARED $id;";
    });

sub write_round {
    my ($when, $units) = @_;
    my @scripts = map { join "\n", map { pick(@units)->() } 1 .. $units } 1, 2;
    my @outcomes = run_scripts($node, \@scripts);
    is(join("\n", map { my ($out, @errors) = @$_; @errors } @outcomes), '', "$when: no error");
}

my @kinds_of_plan = map { "enable_$_" } qw(hashjoin mergejoin nestloop memoize material hashagg
    indexscan bitmapscan);

sub compare_all {
    my ($when) = @_;
    subtest $when => sub {
        plan tests => 1 + @join_queries;
        # The server's settings are for the fold worker.
        my $script = join '', map { "SET $_ = on;\n" } @kinds_of_plan;
        $script .= "SELECT pipelinedb.flush();\n";
        for (map { $_->[0] } @join_queries) {
            $script .= "\\echo == $_\nSELECT * FROM (
                SELECT 'extra', x::text FROM (TABLE s_$_ EXCEPT ALL TABLE o_$_) x UNION ALL
                SELECT 'missing', x::text FROM (TABLE o_$_ EXCEPT ALL TABLE s_$_) x) d LIMIT 5;\n";
        }
        my ($out, @errors) = run_script($node, $script);
        is("@errors", '', 'the comparison itself');
        my %differences = map { /^(\w+)\n(.*)/s ? ($1 => $2) : () } split /^== /m, $out;
        is($differences{ $_->[0] }, '', $_->[0]) for @join_queries;
    };
    views_are_active($node, "$when: no view has failed");
}

# New plans: a message about a table makes those that read it stale; the stream is read by all.
sub plan_again { sql('ANALYZE; COMMENT ON FOREIGN TABLE s IS NULL; ALTER FOREIGN TABLE s ALTER k SET STATISTICS 10'); }

compare_all('before the first row');
write_round('rows as they come', 60);
compare_all('rows as they come');
sql(both(25_000));
compare_all('many rows in one tick');
is(sql('SELECT count(*) > 0 FROM o_inner_big'), 't', 'there were matches');

# The feed in pieces: every size of feed, some views get pieces of one transaction.
set_server($node, 'pipelinedb.fold_batch' => '256kB');
my $held = hold_worker($node, 'fold_before_snapshot');
write_round('a backlog', 60);
sql(both(8_000));
release_worker($held);
compare_all('a backlog in pieces');
set_server($node, 'pipelinedb.fold_batch' => '16MB');

# Whatever kind of join the planner chooses: the stream is outer or inner, scanned once or for
# each row of the other side.
my %off = map { $_ => 'off' } grep { !/nestloop|hashagg/ } @kinds_of_plan;
set_server($node, %off);
plan_again();
write_round('nested loops', 10);
compare_all('nested loops');
$off{enable_nestloop} = $off{enable_hashagg} = 'off';
set_server($node, %off, enable_hashjoin => 'on');
plan_again();
write_round('hash joins', 20);
sql(both(2_000));
compare_all('hash joins');
set_server($node, %off, enable_mergejoin => 'on');
plan_again();
write_round('merge joins', 20);
sql(both(2_000));
compare_all('merge joins');

is(sql('SELECT sum(count) FROM s_left_unused'), sql('SELECT count(*) FROM o'), 'every row counts once');
$node->stop;
done_testing();
