# HAVING, ORDER BY, LIMIT, DISTINCT ON, WITH and UNION ALL of streams against the same SELECT over
# plain tables that hold the same rows, with rows in between that some views reject; and once more
# in a database that pg_dump has made.
#
# PIPELINE_SEED repeats a run.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use OracleRows qw(seed_rows pick);
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PIPELINE_SEED} || time % 1_000_000;
note("PIPELINE_SEED=$seed");
seed_rows($seed);

my $node = new_node('oracle_surface', log_statement => 'none', shared_buffers => '32MB');
my $db = 'postgres';
sub sql { return $node->safe_psql($db, $_[0]); }

# S1 and S2 are the streams or the tables. GOOD leaves out bad rows, which are an error in some views:
# each of those costs the fold worker a tick. Where there is an ORDER BY, it is total and the order
# counts.
my $union = 'SELECT id, k, g AS t, n FROM S1 WHERE GOOD UNION ALL SELECT id, k, t, x FROM S2 WHERE GOOD';
my @queries = (
    [ having => 'SELECT k, count(*), sum(n) FROM S1 WHERE GOOD GROUP BY k HAVING count(*) > 3 AND avg(n) > 40' ],
    [ having_total => 'SELECT max(n) FROM S1 WHERE GOOD HAVING count(*) % 2 = 0' ],
    [ having_rolled => 'SELECT k % 3 AS m, g, count(*), avg(n) FROM S1 WHERE GOOD GROUP BY ROLLUP (k % 3, g)
        HAVING grouping(k % 3, g) > 0 OR sum(id) > 1000 ORDER BY grouping(k % 3, g) DESC, k % 3, g' ],
    [ having_sub => 'SELECT g, count(*) FROM S1 WHERE GOOD GROUP BY g HAVING min(k) IN (SELECT k FROM dim)
        ORDER BY (SELECT name FROM dim WHERE dim.k = max(S1.k) % 20), g' ],
    [ top => 'SELECT k, avg(n) FROM S1 WHERE GOOD GROUP BY k ORDER BY sum(n) DESC NULLS LAST, k LIMIT 5 OFFSET 1' ],
    [ ties => 'SELECT g, count(*) / 50 AS c FROM S1 WHERE GOOD GROUP BY g ORDER BY 2 DESC, g FETCH FIRST 3 ROWS WITH TIES' ],
    [ latest => 'SELECT id, g FROM S1 WHERE GOOD ORDER BY ts DESC NULLS LAST, n, id LIMIT 30' ],
    [ distinct_top => 'SELECT DISTINCT k, g FROM S1 WHERE GOOD ORDER BY g NULLS FIRST, k DESC LIMIT 12' ],
    [ on_groups => 'SELECT DISTINCT ON (k % 5) k, count(*) FROM S1 WHERE GOOD GROUP BY k
        ORDER BY k % 5, count(*) DESC, k' ],
    [ last => 'SELECT DISTINCT ON (k) k, g, n, id FROM S1 WHERE GOOD ORDER BY k, ts DESC, id' ],
    [ last_nulls => 'SELECT DISTINCT ON (k) g, wide, k FROM S1 WHERE GOOD ORDER BY k NULLS FIRST, ts DESC NULLS LAST, id DESC' ],
    [ first_text => 'SELECT DISTINCT ON (g) k, g FROM S1 WHERE GOOD ORDER BY g DESC, wide COLLATE "C", id' ],
    [ on_numeric => 'SELECT DISTINCT ON (n) n, id, g FROM S1 WHERE GOOD ORDER BY n, g DESC NULLS FIRST, id' ],
    [ on_hidden => 'SELECT DISTINCT ON (k % 4, length(g)) id, n FROM S1 WHERE GOOD ORDER BY length(g), k % 4, -n, id' ],
    [ on_wide => 'SELECT DISTINCT ON (wide) wide, id FROM S1 WHERE GOOD ORDER BY wide, id DESC' ],
    [ on_array => 'SELECT DISTINCT ON (ARRAY[k % 3, length(g)]) ARRAY[id, k] AS a, ARRAY[k % 3, length(g)] AS key FROM S1
        WHERE GOOD ORDER BY ARRAY[k % 3, length(g)], ts USING >, id' ],
    [ on_joined => 'SELECT DISTINCT ON (name) name, id FROM S1 LEFT JOIN dim USING (k) WHERE GOOD
        ORDER BY name, n DESC NULLS LAST, id LIMIT 8' ],
    [ on_nothing => 'SELECT DISTINCT ON (k) k, k IS NULL AS is_null FROM S1 WHERE GOOD ORDER BY k' ],
    [ in_with => 'WITH a AS (SELECT k, n, g FROM S1 WHERE GOOD), b (key, n, name) AS (SELECT a.k, n, name FROM a
        JOIN dim USING (k)) SELECT name, count(*), sum(n) FROM b GROUP BY name' ],
    [ with_twice => 'WITH a AS (SELECT id, k FROM S1 WHERE GOOD) SELECT * FROM a UNION ALL SELECT -id, k + 1 FROM a WHERE k > 3' ],
    [ unioned => "$union" ],
    [ union_top => "$union ORDER BY t DESC NULLS LAST, n, id LIMIT 25" ],
    [ union_groups => "SELECT t, count(*), sum(n), avg(n) FROM ($union) u GROUP BY t" ],
    [ union_joined => "SELECT name, count(*), min(t) FROM (SELECT k, t FROM ($union) v UNION ALL SELECT dim.k, name FROM S2
        JOIN dim ON dim.k = S2.k WHERE GOOD) u LEFT JOIN dim USING (k) GROUP BY name" ],
    [ union_last => "SELECT DISTINCT ON (k) k, t, n, id FROM ($union) u ORDER BY k, n DESC NULLS LAST, id DESC" ],
    [ union_same => 'SELECT sign, count(*), sum(k) FROM (SELECT 1 AS sign, k FROM S1 WHERE GOOD AND k > 2 UNION ALL
        SELECT 2, k + n::int FROM S1 WHERE GOOD) u GROUP BY sign ORDER BY sign' ],
);
my %rejects = map { $_ => 1 } qw(last unioned union_last);
my %order_counts = map { $_->[0] => scalar($_->[1] =~ /ORDER BY/) } @queries;

# ---- the objects ---------------------------------------------------------------------------

my $columns1 = 'id int, k int, g text, n numeric, ts timestamp, wide text, d int';
my $columns2 = 'id int, k bigint, t text, x numeric, d int';
sql(<<"SQL");
CREATE TABLE dim (k int PRIMARY KEY, name text);
INSERT INTO dim SELECT i, 'name ' || i % 7 FROM generate_series(0, 19) i;
CREATE FOREIGN TABLE s1 ($columns1) SERVER pipelinedb;
CREATE FOREIGN TABLE s2 ($columns2) SERVER pipelinedb;
CREATE TABLE o1 ($columns1);
CREATE TABLE o2 ($columns2);
-- rows that look random, the same for the same numbers
CREATE FUNCTION made1(int, int) RETURNS SETOF o1 LANGUAGE sql STABLE AS \$\$
    SELECT i, CASE WHEN h % 11 <> 0 THEN h / 11 % 25 END, CASE WHEN h % 13 <> 0 THEN repeat('g', h % 3) || h / 13 % 6 END,
        CASE h % 4 WHEN 0 THEN h / 7 % 90 WHEN 1 THEN (h / 7 % 90)::numeric(9,2) WHEN 2 THEN h / 7 % 1000 / 10.0 END,
        CASE WHEN h % 17 <> 0 THEN timestamp '2024-01-01' + h / 3 % 60 * interval '1 min' END,
        CASE WHEN h % 5 = 0 THEN repeat('wide ', 100 * (h / 5 % 9)) WHEN h % 5 < 4 THEN 'w' || h / 5 % 40 END, 1
    FROM generate_series(\$1, \$2) i, LATERAL (SELECT abs(hashint8extended(i, $seed) % 1000000007)::int AS h) h \$\$;
CREATE FUNCTION made2(int, int) RETURNS SETOF o2 LANGUAGE sql STABLE AS \$\$
    SELECT -i, CASE WHEN h % 11 <> 0 THEN h / 11 % 30 END, CASE WHEN h % 13 <> 0 THEN 't' || h / 13 % 9 END, h % 50 / 4.0, 1
    FROM generate_series(\$1, \$2) i, LATERAL (SELECT abs(hashint8extended(i, $seed + 1) % 1000000007)::int AS h) h \$\$;
SQL
for my $query (@queries) {
    my ($name, $select) = @$query;
    for my $kind ('s', 'o') {
        (my $text = $select) =~ s/\bS([12])\b/$kind$1/g;
        my $good = $rejects{$name} ? '1 / d = 1' : 'd = 1';
        $text =~ s/\bGOOD\b/$good/g;
        sql("CREATE VIEW ${kind}_$name AS $text");
    }
}
is(sql('SELECT count(*) FROM pipelinedb.views'), scalar @queries, 'the views exist');
# Only its definition is looked at.
sql("CREATE VIEW windowed AS SELECT DISTINCT ON (k) k, n FROM s1 WHERE ts > clock_timestamp() - interval '1 hour'
    ORDER BY k, n DESC, id LIMIT 3");

# ---- comparing -----------------------------------------------------------------------------

sub compare_all {
    my ($when) = @_;
    subtest $when => sub {
        plan tests => 1 + @queries;
        my $script = "SELECT pipelinedb.flush();\n";
        for my $name (map { $_->[0] } @queries) {
            my $row = $order_counts{$name} ? 'row_number() OVER () AS "#", *' : '*';
            my ($s, $o) = map { "SELECT $row FROM ${_}_$name" } 's', 'o';
            $script .= "\\echo == $name\nSELECT * FROM (SELECT 'extra', x::text FROM ($s EXCEPT ALL $o) x UNION ALL
                SELECT 'missing', x::text FROM ($o EXCEPT ALL $s) x) d LIMIT 5;\n";
        }
        my ($out, @errors) = run_script($node, $script, db => $db);
        is("@errors", '', 'the comparison itself');
        my %differences = map { /^(\w+)\n(.*)/s ? ($1 => $2) : () } split /^== /m, $out;
        is($differences{ $_->[0] }, '', $_->[0]) for @queries;
    };
    is(sql("SELECT name, state, message FROM pipelinedb.views WHERE state <> 'active'"), '', "$when: no view has failed");
}

# ---- writing -------------------------------------------------------------------------------

my $next = 1;
# The same rows for a stream and its table.
sub both {
    my ($n, $which) = @_;
    $which //= pick(1, 2);
    my $made = "made$which($next, " . ($next += $n) . ' - 1)';
    return join '', map { "INSERT INTO $_$which SELECT * FROM $made;\n" } 's', 'o';
}
my @bad = (0, 0, 0);
sub bad {
    my $which = pick(1, 2);
    $bad[$which]++;
    return "INSERT INTO s$which SELECT (made).* FROM (SELECT made$which(1, 1) AS made) x WHERE false
        UNION ALL SELECT " . ($which == 1 ? "0, 1, 'bad', 1, NULL, NULL, 0" : "0, 1, 'bad', 1, 0") . ";\n";
}

my @units = (sub { both(1) }, sub { both(1) }, sub { both(4) }, sub { both(30) }, \&bad,
    sub { 'BEGIN; ' . both(3, 1) . both(3, 2) . bad() . both(5, 1) . 'COMMIT;' });
sub write_round {
    my ($when, $n) = @_;
    my ($out, @errors) = run_script($node, join("\n", map { pick(@units)->() } 1 .. $n), db => $db);
    is("@errors", '', "$when: no error");
}

compare_all('before the first row');
write_round('ticks as they come', 60);
compare_all('ticks as they come');

# Many chunks of both streams in one tick, in pieces.
set_server($node, 'pipelinedb.fold_batch' => '256kB', 'pipelinedb.vectorize' => 'off');
my $held = hold_worker($node, 'fold_before_snapshot');
write_round('a backlog, without vectors', 60);
sql(both(6000, 1) . both(6000, 2) . bad());
release_worker($held);
compare_all('a backlog, without vectors');

set_server($node, 'pipelinedb.fold_batch' => '16MB', 'pipelinedb.vectorize' => 'on');
$held = hold_worker($node, 'fold_before_snapshot');
write_round('a backlog', 60);
sql(both(6000, 1) . both(6000, 2) . bad());
release_worker($held);
compare_all('a backlog');

# ---- bad rows ------------------------------------------------------------------------------

sub rejections {
    return sql("SELECT string_agg(name || ' ' || rejected, ', ' ORDER BY name) FROM pipelinedb.views WHERE rejected > 0");
}
my $all = $bad[1] + $bad[2];
my $rejections = "s_last $bad[1], s_union_last $all, s_unioned $all";
cmp_ok($bad[1], '>', 0, 'there were bad rows in one stream');
cmp_ok($bad[2], '>', 0, 'and in the other');
is(rejections(), $rejections, 'views have rejected them');
is(sql("SELECT count(DISTINCT stream) FROM pipelinedb.errors WHERE view = 's_union_last'::regclass"), 2,
    'an entry says which stream the row is of');
is(sql("SELECT pipelinedb.retry_errors('s_union_last') = $all"), 't', 'given once more');
compare_all('rows given once more');
is(rejections(), $rejections, 'they were rejected again');

# ---- writers that aggregate ----------------------------------------------------------------

# As long as all views of a stream are simple; a view over a union is not.
sql("SET pipelinedb.preaggregate_after = 0;
    CREATE FOREIGN TABLE s3 ($columns2) SERVER pipelinedb;
    CREATE FOREIGN TABLE s4 ($columns2) SERVER pipelinedb;
    CREATE VIEW simple AS SELECT k, count(*) FROM s3 GROUP BY k HAVING count(*) > 0;
    INSERT INTO s3 SELECT * FROM made2(1, 3000);
    CREATE VIEW over_two AS SELECT k, count(*) FROM (SELECT k FROM s4 UNION ALL SELECT k FROM s3) u GROUP BY k;
    INSERT INTO s3 SELECT * FROM made2(1, 2000);
    INSERT INTO s4 SELECT * FROM made2(1, 500)");
wait_folded($node);
is(sql('SELECT sum(count) FROM simple'), 5000, 'a view of one stream has all its rows');
is(sql('SELECT sum(count) FROM over_two'), 2500, 'and a view of two streams those after it');
is(sql('SELECT count(*) FROM (TABLE over_two EXCEPT SELECT k, count(*) FROM (SELECT k FROM made2(1, 2000)
    UNION ALL SELECT k FROM made2(1, 500)) u GROUP BY k) d'), 0, 'in the right groups');
is(sql("SELECT pipelinedb.deactivate('over_two')"), 't', 'it is paused');
sql("INSERT INTO s3 (k) VALUES (1), (2); INSERT INTO s4 (k) VALUES (3); SELECT pipelinedb.activate('over_two')");
wait_folded($node);
is(sql('SELECT sum(count) FROM over_two'), 2503, 'and gets the rows of both streams afterwards');
sql('DROP VIEW over_two; DROP VIEW simple; DROP FOREIGN TABLE s3, s4');

# ---- dump and restore ----------------------------------------------------------------------

my $file = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $file, '-d', $node->connstr('postgres') ], 'a dump');
my $definitions = q{SELECT name, streams, query, pg_get_viewdef(id) FROM pipelinedb.views ORDER BY name};
my $before = sql($definitions);
sql('CREATE DATABASE copy');
$db = 'copy';
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr('copy') ],
    'it can be restored');
is(sql($definitions), $before, 'the same definitions');
compare_all('restored');
write_round('in the copy', 40);
compare_all('in the copy');

$node->stop;
done_testing();
