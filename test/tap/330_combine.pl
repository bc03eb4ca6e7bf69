# combine() over coarser groups, of every aggregate that can be combined, against the same aggregate
# over the rows themselves: of a view, of a sliding window, of a view over what another has changed
# by; also in parallel plans, after dump and restore, and after combine_table().
#
# PIPELINE_SEED repeats a run.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use OracleRows;
use OracleViews;
use PipelineTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PIPELINE_SEED} || time % 1_000_000;
note("PIPELINE_SEED=$seed");
seed_rows($seed);
my $tolerance = '1e-9';

my $node = new_node('combine', log_statement => 'none', TimeZone => 'UTC',
    search_path => 'work, public', jit => 'off', max_parallel_workers => 4);
my $db = 'postgres';
sub sql { return $node->safe_psql($db, $_[0]); }

my $columns = join ', ', map { "$_->[0] $_->[1]" } @columns;
my $names = join ', ', map { $_->[0] } @columns;
sql("CREATE SCHEMA work; $superuser_setup $setup
    CREATE FOREIGN TABLE s ($columns) SERVER pipelinedb;
    CREATE TABLE o ($columns);
    CREATE FUNCTION near(text, text) RETURNS bool IMMUTABLE LANGUAGE sql AS
        'SELECT coalesce(\$1 = \$2 OR abs(\$1::float8 - \$2::float8)
            <= $tolerance * greatest(abs(\$1::float8), abs(\$2::float8)), \$1 IS NULL AND \$2 IS NULL)'");

# ---- the aggregates ---------------------------------------------------------------------------

# What is given to an argument of that type.
my %input = (
    int2 => 'i2', int4 => 'i4', int8 => 'i8', numeric => 'n', float4 => 'f4', float8 => 'f8',
    text => 't', bpchar => 'c', date => 'd', timestamptz => 'ts', timestamp => 'lt', time => 'tod',
    timetz => 'tod::timetz', interval => 'iv', bool => 'b', bit => 'bits', inet => 'ip',
    money => 'i2::int::money', oid => 'abs(i2::int)::oid', tid => "('(' || abs(i2::int) || ',1)')::tid",
    xid8 => 'abs(i2::int)::text::xid8', pg_lsn => "('0/' || to_hex(abs(i2::int)))::pg_lsn",
    anyenum => 'e', anyarray => 'ia', anyelement => 'i4', any => 't', bytea => 'convert_to(t, \'UTF8\')');

# Those whose result depends on the order of rows are left out.
my @aggregates;
for my $line (split /\n/, sql(q{
    SELECT p.proname, array_to_string(ARRAY(SELECT typname FROM unnest(p.proargtypes::oid[])
               WITH ORDINALITY a (type, n) JOIN pg_type t ON t.oid = a.type ORDER BY n), ',')
      FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid
     WHERE p.pronamespace = 'pg_catalog'::regnamespace AND a.aggkind = 'n' AND a.aggcombinefn <> 0
       AND (a.aggtranstype <> 'internal'::regtype OR a.aggserialfn <> 0)
       AND p.proname NOT IN ('array_agg', 'string_agg', 'any_value') ORDER BY 1, 2})) {
    my ($name, $types) = split /\|/, $line;
    $types //= '';
    my @types = split /,/, $types;
    next if grep { !exists $input{$_} } @types;
    my @args = map { $input{$_} } @types;
    # Of equal values that look different, any may be the least.
    @args = ('n2') if $name =~ /^m(?:in|ax)$/ && $types eq 'numeric';
    @args = ('make_interval(secs => i4)') if $name =~ /^m(?:in|ax)$/ && $types eq 'interval';
    @args = ('y', 'f8') if $types eq 'float8,float8';
    my $inexact = grep { /^float/ } @types;
    $inexact = 0 if $name =~ /^(?:min|max|count|regr_count)$/;
    push @aggregates, [ "$name(" . (join(', ', @args) || '*') . ')', $inexact ];
}
cmp_ok(scalar @aggregates, '>=', 90, 'the aggregates of the server');
push @aggregates, map { [ $_, 0 ] } (
    'all_rows(t)', 'longest(t)', 'span_of(i4)', 'weighted(i4, i8)', 'own_avg(n)', 'set_of(i2)',
    'set_of(v COLLATE "C")', 'middle_of(i2)', 'middle_of(v COLLATE "C")', 'typed_rows(d)',
    'sum_all(i2, i4 % 10)', 'max(t COLLATE "C")', 'count(t) FILTER (WHERE b)',
    'avg(i4) FILTER (WHERE i4 > 0)', 'sum(nx)', 'avg(n2)');
my @numbers = 0 .. $#aggregates;

my $keys = 'i2 % 5 AS a, b AS k, e';
my $list = join ', ', map { "$aggregates[$_][0] AS c$_" } @numbers;
my $over_columns = join ', ', map { "combine((delta).c$_) AS c$_" } @numbers;
sql("CREATE VIEW v AS SELECT $keys, $list FROM s GROUP BY 1, 2, 3;
    CREATE VIEW w WITH (sw = '1 hour') AS SELECT $keys, $list FROM s GROUP BY 1, 2, 3;
    CREATE VIEW d AS SELECT (new).a, (new).k, $over_columns FROM output_of('v') GROUP BY 1, 2;
    CREATE VIEW dt AS SELECT $over_columns FROM output_of('v')");

# ---- comparing --------------------------------------------------------------------------------

# $seen and $due have the columns key, c0, c1 ...
sub differences {
    my ($seen, $due) = @_;
    my $values = join ', ', map { "('$_', seen.c$_\::text, due.c$_\::text)" } @numbers;
    my $inexact = join ', ', grep { $aggregates[$_][1] } @numbers;
    # By itself it gets the plan that a user's query would get.
    my $found = sql("CREATE TEMP TABLE seen AS $seen;
        SELECT coalesce(seen.key, due.key), number, x.seen, x.due
        FROM seen FULL JOIN ($due) due ON seen.key = due.key,
        LATERAL (VALUES ('key', seen.key, due.key), $values) x (number, seen, due)
        WHERE CASE WHEN number = ANY ('{$inexact}') THEN NOT near(x.seen, x.due)
                   ELSE x.seen IS DISTINCT FROM x.due END LIMIT 5");
    $found =~ s/^([^|]*)\|(\d+)\|/$1: $aggregates[$2][0]: /mg;
    return $found;
}

sub calls {
    my ($call) = @_;
    return join ', ', map { sprintf("$call AS c%d", $_, $_) } @numbers;
}

# Of the rows, each aggregate with a condition beside its own.
sub over_rows {
    my ($key, $filter) = @_;
    my $all = join ', ', map {
        my $call = $aggregates[$_][0];
        $filter ? ($call =~ s/WHERE (.*)\)$/WHERE ($1) AND $filter)/ or $call .= " FILTER (WHERE $filter)") : ();
        "$call AS c$_";
    } @numbers;
    return "SELECT $key AS key, $all FROM (SELECT *, i2 % 5 AS a, b AS k FROM o) rows";
}

my @groupings = ([ 'by one key', 'ROW(a)::text', 'GROUP BY a' ], [ 'by two keys', 'ROW(k, e)::text', 'GROUP BY k, e' ],
    [ 'by an expression', 'ROW(a IS NULL, e)::text', 'GROUP BY a IS NULL, e' ], [ 'all of it', "'all'", '' ]);

sub compare {
    my ($name, $from) = @_;
    for my $grouping (@groupings) {
        my ($title, $key, $group) = @$grouping;
        is(differences("SELECT $key AS key, " . calls('combine(c%d)') . " FROM $from $group",
            over_rows($key) . " $group"), '', "$name, $title");
    }
    is(differences("SELECT ROW(a)::text AS key, " . calls('combine(c%d) FILTER (WHERE k)') . " FROM $from GROUP BY a",
        over_rows('ROW(a)::text', 'k') . ' GROUP BY a'), '', "$name, filtered");
}

sub compare_deltas {
    my ($when) = @_;
    is(differences('SELECT ROW(a, k)::text AS key, ' . calls('c%d') . ' FROM d',
        over_rows('ROW(a, k)::text') . ' GROUP BY a, k'), '', "$when: deltas");
    is(differences("SELECT 'all' AS key, " . calls('c%d') . ' FROM dt', over_rows("'all'")), '',
        "$when: deltas, all of them");
    is(differences('SELECT ROW(k)::text AS key, ' . calls('combine(c%d)') . ' FROM d GROUP BY k',
        over_rows('ROW(k)::text') . ' GROUP BY k'), '', "$when: combined deltas");
}

sub write_rows {
    my ($count) = @_;
    my $values = values_list(map { make_row() } 1 .. $count);
    my ($out, @errors) = run_script($node, "SET client_encoding = 'UTF8'; BEGIN;
        INSERT INTO o ($names) VALUES $values; INSERT INTO s ($names) VALUES $values; COMMIT;", db => $db);
    is("@errors", '', "$count rows");
    wait_folded($node, $db);
}

# ---- the runs ---------------------------------------------------------------------------------

is(differences("SELECT 'all' AS key, " . calls('combine(c%d)') . ' FROM v', over_rows("'all'")), '', 'no rows');
compare_deltas('no rows');
write_rows($_) for 1, 100, 600;
compare('a view', 'v');
compare('a sliding window', 'w');
compare('a subquery', '(SELECT *, random() FROM v ORDER BY a LIMIT 100000) q');
compare_deltas('three times');

sql("ALTER TABLE v_mrel SET (parallel_workers = 2);
    ALTER DATABASE postgres SET parallel_setup_cost = 0;
    ALTER DATABASE postgres SET parallel_tuple_cost = 0;
    ALTER DATABASE postgres SET min_parallel_table_scan_size = 0;
    ALTER DATABASE postgres SET enable_indexscan = off;
    ALTER DATABASE postgres SET enable_indexonlyscan = off;
    ALTER DATABASE postgres SET enable_bitmapscan = off;
    ALTER DATABASE postgres SET enable_sort = off;
    ANALYZE v_mrel;
    UPDATE pg_class SET reltuples = 1e6 WHERE oid = 'v_mrel'::regclass;
    UPDATE pg_proc SET proparallel = 's' WHERE pronamespace = 'work'::regnamespace");
like(sql("EXPLAIN CREATE TEMP TABLE seen AS SELECT " . calls('combine(c%d)') . " FROM v $_"),
    qr/Gather.*Partial/s, "a parallel plan $_") for 'GROUP BY a', '';
compare('in parallel', 'v');
is(differences("SELECT 'all' AS key, " . calls('combine(c%d) FILTER (WHERE a > 1000)') . ' FROM v',
    over_rows("'all'", 'a > 1000')), '', 'in parallel, no rows');

# A table like that of the view is merged into an empty view of the same definition, twice.
sql("CREATE VIEW copy AS SELECT $keys, $list FROM s GROUP BY 1, 2, 3;
    CREATE TABLE archive AS TABLE v_mrel;
    SELECT pipelinedb.combine_table('copy', 'archive')");
is(differences('SELECT ROW(a, k, e)::text AS key, ' . calls('c%d') . ' FROM copy',
    'SELECT ROW(a, k, e)::text AS key, ' . calls('c%d') . ' FROM v'), '', 'a copy by combine_table');
sql("SELECT pipelinedb.combine_table('copy', 'archive'); CREATE TABLE once AS TABLE o; INSERT INTO o TABLE once");
compare('merged twice', 'copy');
sql('TRUNCATE o; INSERT INTO o TABLE once');

my $dump = $node->basedir . '/dump.sql';
command_ok([ 'pg_dump', '--no-owner', '-f', $dump, $node->connstr($db) ], 'dump');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
$db = 'restored';
compare_deltas('restored');
write_rows(200);
compare('restored', 'v');
compare_deltas('restored and more');
views_are_active($node);

# What is kept is in the encoding of the database: a parallel worker knows no other, a reader's client
# may have another one.
sql("CREATE DATABASE letters ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0");
$db = 'letters';
sql("CREATE EXTENSION pipeline_ext;
    CREATE FOREIGN TABLE st (a int, t text) SERVER pipelinedb;
    CREATE VIEW by_a AS SELECT a, max(t) AS last FROM st GROUP BY a;
    CREATE VIEW over_a AS SELECT combine((delta).last) AS last FROM output_of('by_a');
    INSERT INTO st SELECT i, chr(228) || 'z' FROM generate_series(1, 100) i;
    SELECT pipelinedb.flush(); ALTER TABLE by_a_mrel SET (parallel_workers = 2)");
my $parallel = "SET parallel_setup_cost = 0; SET min_parallel_table_scan_size = 0;
    SET parallel_leader_participation = off; SET client_encoding = 'LATIN1'";
like(sql("$parallel; EXPLAIN SELECT combine(last) FROM by_a"), qr/Gather/, 'a parallel plan');
is(sql("$parallel; SELECT convert_to(combine(last), 'UTF8') FROM by_a"), '\\xc3a47a', 'from a parallel worker');
is(sql("$parallel; SELECT convert_to(last, 'UTF8') FROM over_a"), '\\xc3a47a', 'from a table');
done_testing();
