# Joins whose rows are joined and aggregated in blocks: the same SELECT over a table that holds the
# same rows, and the same views with vectorize = off. What is joined changes meanwhile, is large,
# empty, has NULLs and many matches per row.
#
# PIPELINE_SEED repeats a run.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PIPELINE_SEED} || time % 1_000_000;
note("PIPELINE_SEED=$seed");

my $node = new_node('joins_in_blocks', log_statement => 'none', shared_buffers => '32MB');
sub sql { return $node->safe_psql('postgres', $_[0]); }

my $columns = 'i int, k int, b bigint, g text, v varchar(20), d date, u uuid, f float8';
sql(<<"SQL");
CREATE FOREIGN TABLE s ($columns) SERVER pipelinedb;
CREATE TABLE o ($columns);
CREATE TABLE few (id int PRIMARY KEY, name text, x int);
CREATE TABLE pair (k int, g text, d date, big bigint, u uuid, label varchar(10), small smallint, toasted text);
CREATE TABLE nothing (k int, label text);
CREATE FUNCTION made(first int, last int) RETURNS SETOF o LANGUAGE sql STABLE AS \$\$
    SELECT i, CASE WHEN h % 17 > 0 THEN h % 60 END, CASE WHEN h % 11 > 0 THEN h % 90 END,
        CASE WHEN h % 13 > 0 THEN 'g' || h % 7 END, 'v' || h % 9, date '2026-01-01' + h % 5,
        md5((h % 40)::text)::uuid, h % 16 / 4.0
    FROM generate_series(first, last) i, LATERAL (SELECT abs(hashint8extended(i, $seed) % 1000000007)::int AS h) h \$\$;
CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS \$\$
    TRUNCATE few, pair;
    INSERT INTO few SELECT i, CASE WHEN i % 5 > 0 THEN 'n' || i % 6 END, i % 9 FROM generate_series(0, 40) i;
    INSERT INTO pair SELECT CASE WHEN i % 7 > 0 THEN i % 50 END, 'g' || i % 6, date '2026-01-01' + i % 6, i % 70,
        md5((i % 50)::text)::uuid, 'l' || i % 4, i % 30, repeat('t' || i % 3, 3000) FROM generate_series(1, 400) i \$\$;
SELECT fill();
ANALYZE;
SQL

my @queries = (
    [ inner_key => 'SELECT name, count(*), sum(f), max(few.x), min(i) AS first FROM SOURCE s JOIN few ON few.id = s.k GROUP BY name' ],
    [ both_sides => 'SELECT g, name, count(*), count(x) AS xs, avg(s.k) FROM SOURCE s JOIN few ON few.id = s.b GROUP BY g, name' ],
    [ left_key => 'SELECT name, count(*), count(few.id) AS found, sum(x) AS xs FROM SOURCE s LEFT JOIN few ON few.id = s.k GROUP BY name' ],
    [ many => 'SELECT label, count(*), sum(i) FROM SOURCE s JOIN pair p ON p.k = s.k GROUP BY label' ],
    [ left_many => 'SELECT p.small, count(*), sum(i), max(p.d) FROM SOURCE s LEFT JOIN pair p ON p.k = s.k GROUP BY p.small' ],
    [ two_keys => 'SELECT p.d, label, count(*) FROM SOURCE s JOIN pair p ON p.g = s.g AND p.d = s.d GROUP BY p.d, label' ],
    [ left_text => 'SELECT label, s.v, count(*), count(p.big) AS bigs FROM SOURCE s LEFT JOIN pair p ON p.g = s.g AND p.k = s.k GROUP BY 1, 2' ],
    [ varchar_key => 'SELECT label, count(*) FROM SOURCE s JOIN pair p ON p.label = s.v GROUP BY 1' ],
    [ mixed_width => 'SELECT p.g, count(*), sum(p.big) FROM SOURCE s JOIN pair p ON p.small = s.b GROUP BY 1' ],
    [ by_uuid => 'SELECT s.u, count(*) FROM SOURCE s JOIN pair p USING (u) GROUP BY 1' ],
    [ computed_key => 'SELECT name, count(*) FROM SOURCE s JOIN few ON few.id = s.k % 8 GROUP BY 1' ],
    [ computed_argument => 'SELECT name, sum(s.k + x) AS kx, count(*) FILTER (WHERE x > s.k) AS larger FROM SOURCE s JOIN few ON few.id = s.k GROUP BY 1' ],
    [ filtered => 'SELECT s.g, count(*), sum(x) FROM SOURCE s JOIN few ON few.id = s.k WHERE s.i % 3 > 0 AND few.x > 2 GROUP BY 1' ],
    [ left_condition => 'SELECT s.g, count(*), count(few.id) AS found FROM SOURCE s LEFT JOIN few ON few.id = s.k AND few.x > s.b % 9 GROUP BY 1' ],
    [ no_group => 'SELECT count(*), sum(x), max(i) FROM SOURCE s JOIN few ON few.id = s.k' ],
    [ no_match => 'SELECT count(*), sum(i) FROM SOURCE s JOIN nothing USING (k)' ],
    [ no_match_left => 'SELECT label, count(*), count(nothing.k) AS k FROM SOURCE s LEFT JOIN nothing USING (k) GROUP BY 1' ],
    [ no_columns => 'SELECT count(*) FROM SOURCE s JOIN pair p ON p.k = s.k' ],
    [ toasted => 'SELECT toasted, count(*) FROM SOURCE s JOIN pair p ON p.k = s.k GROUP BY 1' ],
    [ of_subquery => 'SELECT t.n, count(*), sum(s.i) FROM SOURCE s JOIN (SELECT k, count(*) AS n FROM pair GROUP BY k) t ON t.k = s.k GROUP BY 1' ],
    [ of_scalars => 'SELECT name, (SELECT max(x) FROM few) AS most, count(*), sum(i) FROM SOURCE s JOIN few ON few.id = s.k WHERE s.k + x > (SELECT min(id) + 9 FROM few) GROUP BY 1, 2' ],
    [ of_correlated => 'SELECT (SELECT label FROM pair WHERE pair.k = s.k ORDER BY 1 LIMIT 1) AS l, name, count(*) FROM SOURCE s JOIN few ON few.id = s.k GROUP BY 1, 2' ],
    [ three => 'SELECT name, label, count(*) FROM SOURCE s JOIN few ON few.id = s.k LEFT JOIN pair p ON p.big = few.x GROUP BY 1, 2' ],
    [ dependent => 'SELECT few.id, few.name, count(*) FROM SOURCE s JOIN few ON few.id = s.k GROUP BY few.id, few.name' ]);
for my $query (@queries) {
    my ($name, $select) = @$query;
    for my $source ('s', 'o') {
        (my $view = $select) =~ s/SOURCE/$source/;
        sql("CREATE VIEW ${source}_$name AS $view");
    }
}

my $next = 1;
sub both {
    my ($n) = @_;
    my $made = "($next, " . ($next + $n - 1) . ')';
    $next += $n;
    sql(join '', map { "INSERT INTO $_ SELECT * FROM made$made;\n" } 's', 'o');
}

sub compare_all {
    my ($when) = @_;
    my $differences = sql("SELECT pipelinedb.flush();\n" . join("\nUNION ALL\n", map {
        my $name = $_->[0];
        "SELECT * FROM (SELECT '$name', 'extra', x::text FROM (TABLE s_$name EXCEPT ALL TABLE o_$name) x UNION ALL
         SELECT '$name', 'missing', x::text FROM (TABLE o_$name EXCEPT ALL TABLE s_$name) x LIMIT 3) $name" } @queries));
    $differences =~ s/^t\n?//; # of flush()
    is($differences, '', $when);
    views_are_active($node, "$when: no view has failed");
}
# New plans, since a message came about each table.
sub plan_again { sql('ANALYZE; COMMENT ON FOREIGN TABLE s IS NULL; ALTER FOREIGN TABLE s ALTER k SET STATISTICS 10'); }

compare_all('no rows');
both(3000);
compare_all('rows in blocks');
set_server($node, 'pipelinedb.vectorize' => 'off');
both(2000);
compare_all('the general path');
set_server($node, 'pipelinedb.vectorize' => 'on');

# Whatever the planner prefers for so few rows: the table is looked up in memory.
my @others = map { "enable_$_" } qw(mergejoin nestloop sort);
set_server($node, map { $_ => 'off' } @others);
plan_again();
both(5000);
both(200);
both(1);
compare_all('hash joins');
both(30_000);
compare_all('many blocks');

# Other rows in the tables: the views and the oracle begin again.
sql('TRUNCATE o');
sql(join '', map { "SELECT pipelinedb.truncate_continuous_view('s_$_->[0]');" } @queries);
sql("DELETE FROM few WHERE id % 3 = 0; DELETE FROM pair WHERE k % 4 = 1; UPDATE pair SET label = NULL WHERE small < 5");
both(4000);
compare_all('after changes of the tables');
sql('TRUNCATE few, pair, o; ' . join '', map { "SELECT pipelinedb.truncate_continuous_view('s_$_->[0]');" } @queries);
both(2000);
compare_all('empty tables');

# A table beyond work_mem is left to the executor, then fits again.
sql("SELECT fill(); TRUNCATE o; " . join '', map { "SELECT pipelinedb.truncate_continuous_view('s_$_->[0]');" } @queries);
sql("INSERT INTO few SELECT i, repeat('wide' || i, 30), i FROM generate_series(41, 30000) i");
sql("CREATE VIEW s_large AS SELECT name, count(*) FROM s JOIN few ON few.id = s.i GROUP BY name;
     CREATE VIEW o_large AS SELECT name, count(*) FROM o JOIN few ON few.id = o.i GROUP BY name");
push @queries, ['large'];
$next = 1;
set_server($node, work_mem => '1MB');
both(35_000);
compare_all('a table that is too large for the memory');

# More groups than memory.
set_server($node, 'pipelinedb.fold_memory' => '16MB');
sql("CREATE VIEW s_spread AS SELECT s.i % 14000 AS i, p.small, count(*), sum(p.big), min(p.d) FROM s JOIN pair p ON p.k = s.k % 2 GROUP BY 1, 2;
     CREATE VIEW o_spread AS SELECT o.i % 14000 AS i, p.small, count(*), sum(p.big), min(p.d) FROM o JOIN pair p ON p.k = o.k % 2 AND o.i >= $next GROUP BY 1, 2");
push @queries, ['spread'];
both(15_000);
compare_all('more groups than memory');

$node->stop;
done_testing();
