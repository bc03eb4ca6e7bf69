# Generated expressions over rows with edge values: what a view has of each row is what the
# server computes for it, and the rows that it rejects are those for which the server raises an
# error, with the same error.
#
# PIPELINE_SEED repeats a run.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use OracleRows qw(seed_rows chance pick);
use PipelineTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PIPELINE_SEED} || time % 1_000_000;
note("PIPELINE_SEED=$seed");
seed_rows($seed);
my ($views, $rows, $copies) = (20, 400, 16);

my $node = new_node('expressions', log_statement => 'none', TimeZone => 'UTC',
    'pipelinedb.max_errors' => 100000);
sub sql { return $node->safe_psql('postgres', $_[0]); }

# ---- expressions ------------------------------------------------------------------------------

# Columns and constants by type. A column is named after its type; those with "x" have the edges.
my %leaf = (
    int2 => [ qw(i2 i2 i2x), map { "int2 '$_'" } qw(0 1 -1 7 32767) ],
    int4 => [ qw(i4 i4 i4x), map { "int4 '$_'" } qw(0 1 -1 7 100 -2147483648) ],
    int8 => [ qw(i8 i8 i8x), map { "int8 '$_'" } qw(0 1 -1 7 100000 9223372036854775807) ],
    float4 => [ qw(f4 f4 f4x), map { "float4 '$_'" } qw(0 -0 1.5 -2 1e30 NaN) ],
    float8 => [ qw(f8 f8 f8x), map { "float8 '$_'" } qw(0 -0 1.5 -2 1e200 1e-200 Infinity) ],
    bool => [ qw(b b true) ],
    date => [ qw(d d dx), "date '2020-02-29'", "date 'infinity'" ],
    timestamp => [ qw(ts ts tsx), "timestamp '2000-01-01 00:00:00'" ],
    timestamptz => [ qw(tz tz tzx), "timestamptz '2000-01-01 00:00:00+00'" ],
    text => [ qw(t t v), "text ''", "text 'abc'", "text 'long enough for a header of four bytes'" ],
    uuid => [ qw(u), "uuid '00000000-0000-0000-0000-000000000001'" ],
    mood => [ qw(e), "mood 'sad'", "mood 'happy'" ]);
my @ints = qw(int2 int4 int8);
my @floats = qw(float4 float8);
my %wider = (int2 => 0, int4 => 1, int8 => 2);

sub leaf {
    my ($type) = @_;
    my $constants = chance(4) == 0;
    return pick(grep { /'|true/ ? $constants : !$constants } @{$leaf{$type}});
}

# Most divisions are guarded: else most rows were rejected.
sub arithmetic {
    my ($type, $depth) = @_;
    my ($a, $b) = (expression($type, $depth), expression($type, $depth));
    my $operator = pick('+', '-', '*', '/', $type =~ /int/ ? '%' : '-');
    return "($a $operator $b)" if $operator !~ m{[/%]} || chance(4) == 0;
    return "(CASE WHEN $b <> 0 THEN $a $operator $b END)";
}

sub number {
    my ($type, $depth) = @_;
    my $kind = chance(12);
    return arithmetic($type, $depth) if $kind < 5;
    return '(- ' . expression($type, $depth) . ')' if $kind == 5;
    return '(@ ' . expression($type, $depth) . ')' if $kind == 6;
    return 'abs(' . expression($type, $depth) . ')' if $kind == 7;
    return $type . '(' . expression(pick(@ints, @floats), $depth) . ')' if $kind == 8;
    return 'int4(' . condition($depth) . ')' if $kind == 9 && $type eq 'int4';
    return "($1 int2 '3')" if $kind == 9 && expression('int4', $depth) =~ /^(i4 [-+*])/;
    return 'int8(' . expression('int4', $depth) . ' ' . pick('+', '-', '*') . ' '
        . expression('int2', $depth) . ')' if $kind == 10 && $type eq 'int8';
    return choice($type, $depth);
}

# CASE in both forms, COALESCE.
sub choice {
    my ($type, $depth) = @_;
    my $kind = chance(4);
    return 'coalesce(' . expression($type, $depth) . ', ' . expression($type, $depth) . ')'
        if $kind == 0;
    return '(CASE ' . expression('int4', $depth) . ' WHEN 1 THEN ' . expression($type, $depth)
        . ' WHEN ' . expression('int4', 0) . ' THEN ' . expression($type, 0) . ' END)' if $kind == 1;
    return '(CASE WHEN ' . condition($depth) . ' THEN ' . expression($type, $depth)
        . (chance(2) ? ' WHEN ' . condition($depth) . ' THEN ' . expression($type, 0) : '')
        . (chance(2) ? ' ELSE ' . expression($type, $depth) : '') . ' END)';
}

sub comparison {
    my ($depth) = @_;
    my $type = pick(@ints, @ints, @floats, 'date', 'timestamp', 'timestamptz', 'text', 'text',
        'uuid', 'mood', 'bool');
    my @operators = $type =~ /^(text|uuid|mood|bool)$/ ? qw(= <>) : qw(= <> < <= > >=);
    my $value = expression($type, $depth);
    return "($value " . pick('= ANY', '<> ALL') . ' (ARRAY['
        . join(', ', map { chance(8) ? leaf_constant($type) : "NULL::$type" } 0 .. chance(4)) . ']))'
        if chance(4) == 0 && $type ne 'bool';
    my $other = $type =~ /^int/ ? pick(@ints) : $type =~ /^float/ ? pick(@floats) : $type;
    return "($value " . pick(@operators) . ' ' . expression($other, $depth) . ')';
}

sub leaf_constant {
    my ($type) = @_;
    return pick(grep { /'/ } @{$leaf{$type}});
}

sub condition {
    my ($depth) = @_;
    return leaf('bool') if $depth <= 0 && chance(3) == 0;
    my $kind = $depth <= 0 ? 9 : chance(10);
    my $next = $depth - 1;
    return '(' . condition($next) . pick(' AND ', ' OR ') . condition($next)
        . pick('', ' AND ', ' OR ') =~ s/(AND|OR) $/"$1 " . condition($next)/er . ')' if $kind < 3;
    return '(NOT ' . condition($next) . ')' if $kind == 3;
    return '(' . expression(pick(keys_of_leaf()), $next) . pick(' IS NULL', ' IS NOT NULL') . ')'
        if $kind == 4;
    return '(' . condition($next) . ' IS ' . pick('', 'NOT ') . pick('TRUE', 'FALSE', 'UNKNOWN') . ')'
        if $kind == 5;
    return choice('bool', $next) if $kind == 6;
    return comparison($next);
}

sub keys_of_leaf { return sort keys %leaf; }

sub expression {
    my ($type, $depth) = @_;
    return condition($depth) if $type eq 'bool';
    return leaf($type) if $depth <= 0;
    my $next = $depth - 1;
    return number($type, $next) if $type =~ /^(int|float)/;
    return 'date(' . expression('timestamp', $next) . ')' if $type eq 'date' && chance(2);
    return "date_trunc('" . pick(qw(second minute hour day month)) . "', "
        . expression('timestamp', $next) . ')' if $type eq 'timestamp' && chance(2);
    return 'date_bin(' . pick("'90 seconds'", "'1 hour 0.5 seconds'", "'2 days'") . ', '
        . expression($type, $next) . ", $type '" . pick('2000-01-01 00:00:00', '2022-07-05 01:02:03.4') . "')"
        if $type =~ /^timestamp/ && chance(3) == 0;
    return $type =~ /^(date|timestamp|timestamptz|text|uuid)$/ ? choice($type, $next) : leaf($type);
}

# ---- views ------------------------------------------------------------------------------------

# One row per row of the source, so that each value can be seen.
sub query {
    my @columns;
    for my $i (1 .. 6) {
        my $type = pick(@ints, @ints, @floats, @floats, 'date', 'timestamp', 'timestamptz');
        push @columns, "max(" . expression($type, 1 + chance(3)) . ") AS m$i";
    }
    my $filter = condition(2);
    push @columns, 'sum(' . expression('int4', 2) . ") FILTER (WHERE $filter) AS s",
        "max(" . expression('float8', 2) . ") FILTER (WHERE $filter) AS f",
        'count(' . expression('text', 2) . ') AS c',
        'count(*) FILTER (WHERE ' . condition(3) . ') AS n';
    my $key = expression(pick(qw(int4 text date uuid bool)), 2);
    my $where = chance(3) ? 'WHERE ' . condition(2) . ' OR ' . condition(1) : '';
    return ("SELECT id, $key AS k, " . join(', ', @columns) . ' FROM', "$where GROUP BY 1, 2");
}

my $columns = 'id int8, i2 int2, i2x int2, i4 int4, i4x int4, i8 int8, i8x int8, f4 float4,
    f4x float4, f8 float8, f8x float8, b bool, d date, dx date, ts timestamp, tsx timestamp,
    tz timestamptz, tzx timestamptz, t text, v varchar(20), u uuid, e mood';
sql("CREATE TYPE mood AS ENUM ('sad', 'happy', 'angry');
     CREATE TABLE o ($columns)");

# A NULL in about 10 of 100 rows, an edge value in few rows.
sub any_of {
    my ($type, @values) = @_;
    return "(ARRAY[" . join(', ', map { "'$_'" } @values) . "])[1 + floor(random() * 1.1 * "
        . @values . ")::int4]::$type";
}
sub rarely {
    my ($type, $edges, $otherwise) = @_;
    return "CASE WHEN random() < 0.03 THEN " . any_of($type, @$edges)
        . " WHEN random() < 0.95 THEN ($otherwise)::$type END";
}
my @int2 = qw(-32768 32767);
my @int4 = (@int2, qw(-2147483648 2147483647));
my @int8 = (@int4, qw(-9223372036854775808 9223372036854775807));
my @number = qw(NaN Infinity -Infinity -0);
sql('SELECT setseed(' . ($seed % 1000) / 1000 . "); INSERT INTO o SELECT i, "
    . join(', ',
        any_of('int2', qw(0 1 -1 2 7 -50)), rarely('int2', \@int2, 'random() * 100'),
        any_of('int4', qw(0 1 -1 2 7 -50)), rarely('int4', \@int4, 'random() * 100'),
        any_of('int8', qw(0 1 -1 2 7 -50)), rarely('int8', \@int8, 'random() * 100'),
        any_of('float4', qw(0 1 -0 0.1 7.25 -50)),
        rarely('float4', [ @number, qw(3e38 -3e38 1e-45) ], 'random() * 100'),
        any_of('float8', qw(0 1 -0 0.1 7.25 -50)),
        rarely('float8', [ @number, qw(1e308 -1e308 5e-324) ], 'random() * 100'),
        any_of('bool', qw(true false)),
        any_of('date', qw(2020-02-29 1999-12-31 2000-01-01)),
        rarely('date', [ qw(infinity -infinity 5874897-12-31), '4713-01-01 BC' ],
            "date '2000-01-01' + (random() * 100)::int4"),
        any_of('timestamp', '2000-01-01', '1999-12-31 23:59:59.999999', '2020-02-29 12:34:56.789'),
        rarely('timestamp', [ qw(infinity -infinity), '294276-12-31 23:59:59.999999', '4713-01-01 BC' ],
            "timestamp '2000-01-01' + (random() - 0.5) * interval '100 years'"),
        any_of('timestamptz', '2000-01-01 00:00+00', '1999-12-31 23:59:59.999999+00', 'infinity'),
        rarely('timestamptz', [ qw(infinity -infinity), '294276-12-31 23:59:59.999999+00', '4714-11-24 00:00:01+00 BC' ],
            "timestamptz '2000-01-01 00:00+00' + (random() - 0.5) * interval '100 years'"),
        any_of('text', '', 'abc', 'abd', 'ABC', 'long enough for a header of four bytes' . 'x' x 120),
        any_of('varchar(20)', '', 'abc', 'v'),
        any_of('uuid', '00000000-0000-0000-0000-000000000001', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
        any_of('mood', qw(sad happy angry)))
    . " FROM generate_series(1, $rows) i");

# What is due: each row's own result, or its error.
sql(q{CREATE TABLE due_errors (view text, id int8, sqlstate text, message text);
    CREATE PROCEDURE compute(view text, head text, tail text) LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format('CREATE TABLE due_%s AS TABLE %s', view, view);
        EXECUTE format($x$CREATE FUNCTION add_%s(row_id int8) RETURNS void LANGUAGE plpgsql AS $y$
            BEGIN
                INSERT INTO due_%s %s (SELECT * FROM o WHERE id = row_id) o %s;
            EXCEPTION WHEN OTHERS THEN
                INSERT INTO due_errors VALUES ('%s', row_id, sqlstate, sqlerrm);
            END $y$ $x$, view, view, head, tail, view);
        EXECUTE format('SELECT count(add_%s(id)) FROM o', view);
    END $$});

my %query;
for my $i (1 .. $views) {
    my ($head, $tail) = query();
    # Constants may raise an error in the planner already.
    my ($stdout, @errors) = run_script($node, "EXPLAIN $head o $tail;");
    redo if @errors;
    $query{"v$i"} = "$head s$i $tail";
    sql("CREATE FOREIGN TABLE s$i ($columns) SERVER pipelinedb; CREATE VIEW v$i AS $head s$i $tail;
         CALL compute('v$i', \$q\$$head\$q\$, \$q\$$tail\$q\$)");
}

# ---- comparing --------------------------------------------------------------------------------

# Without an error nothing is computed a second time, so these are the loops' own results: of the
# fold worker for half of the rows, and of a writer that aggregates for the others.
my @settings = map { "SET pipelinedb.preaggregate_after = $_;" } -1, 0;
for my $half (0, 1) {
    sql($settings[$half] . join ' ', map { "INSERT INTO s$_ SELECT * FROM o WHERE id % 2 = $half
        AND id NOT IN (SELECT id FROM due_errors WHERE view = 'v$_') ORDER BY id;" } 1 .. $views);
}
wait_folded($node);
views_are_active($node);
is(sql('SELECT count(*) FROM pipelinedb.errors'), '0', 'no row was rejected');
for my $view (sort keys %query) {
    is(sql("SELECT 'extra', x::text FROM (TABLE $view EXCEPT ALL TABLE due_$view) x UNION ALL
            SELECT 'missing', x::text FROM (TABLE due_$view EXCEPT ALL TABLE $view) x LIMIT 5"),
        '', "$view has what is due") or diag($query{$view});
}

# A row with an error, alone in its block: a loop that does not notice it is found out.
my $errors = "SELECT view::text AS view, (\"row\" ->> 'id')::int8 AS id,
    sqlstate, message FROM pipelinedb.errors";
for my $nth (1 .. 8) {
    for my $i (1 .. $views) {
        sql($settings[$nth % 2] . "INSERT INTO s$i SELECT o.* FROM o, generate_series(1, $copies)
            WHERE id = (SELECT id FROM due_errors WHERE view = 'v$i' ORDER BY id OFFSET $nth LIMIT 1)");
    }
    wait_folded($node);
}
views_are_active($node);
is(sql("SELECT * FROM (SELECT DISTINCT * FROM ($errors) r
        EXCEPT SELECT view, id, sqlstate, message FROM due_errors) x"),
    '', 'rows were rejected with the error that is due');
is(sql("SELECT view, id, count(*) FROM ($errors) r GROUP BY view, id HAVING count(*) <> $copies"),
    '', 'each time');
is(sql("SELECT count(*) FROM ($errors) r"),
    sql("SELECT $copies * sum(least(greatest(n - 1, 0), 8)) FROM
        (SELECT count(*) AS n FROM due_errors GROUP BY view) x"), 'no other was');
is(sql("SELECT count(DISTINCT sqlstate) > 1 FROM ($errors) r"), 't', 'errors of several kinds');

$node->stop;
done_testing();
