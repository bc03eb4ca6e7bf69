# Continuous views against the same SELECT over a plain table that holds the same rows.
#
# PIPELINE_SEED repeats a run. Creator, writer and server have different time zones.
use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/lib";
use OracleKeys;
use OracleRows;
use OracleViews;
use PipelineTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Sums of floats depend on the order of additions: 30,000 of them, each with a relative error of
# 1.1e-16, differ by much less.
my $tolerance = '1e-9';

my $seed = $ENV{PIPELINE_SEED} || time % 1_000_000;
note("PIPELINE_SEED=$seed");
seed_rows($seed);
push @queries, @key_queries;

my $node = new_node('oracle',
    TimeZone => 'UTC', max_prepared_transactions => 10, max_connections => 20,
    max_worker_processes => 8, log_statement => 'none', shared_buffers => '32MB');
my $columns = join ', ', map { "$_->[0] $_->[1]" } @columns;
my $names = join ', ', map { $_->[0] } @columns;

# ---- the objects ---------------------------------------------------------------------------

sub as_creator {
    my ($sql) = @_;
    return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'creator' ]);
}

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE creator LOGIN;
CREATE ROLE writer LOGIN;
CREATE SCHEMA work AUTHORIZATION creator;
GRANT USAGE ON SCHEMA work TO writer;
GRANT USAGE ON FOREIGN SERVER pipelinedb TO creator;
ALTER ROLE creator SET TimeZone = 'America/New_York';
ALTER ROLE writer SET TimeZone = 'Asia/Kolkata';
ALTER ROLE creator SET search_path = work;
ALTER ROLE writer SET search_path = work;
SQL
$node->safe_psql('postgres', $superuser_setup);
$node->safe_psql('postgres', 'ALTER AGGREGATE work.own_avg(numeric) OWNER TO creator');
as_creator($setup . $key_setup);
as_creator("CREATE FOREIGN TABLE s ($columns) SERVER pipelinedb;
    CREATE TABLE o ($columns);
    GRANT INSERT ON s, o TO writer;
    CREATE FUNCTION near(float8, float8) RETURNS bool IMMUTABLE LANGUAGE sql AS
        'SELECT \$1 IS NOT DISTINCT FROM \$2 OR
                abs(\$1 - \$2) <= $tolerance * greatest(abs(\$1), abs(\$2))';");
for my $query (@queries) {
    my ($name, $select) = @$query;
    for my $source ('s', 'o') {
        (my $sql = $select) =~ s/SOURCE/$source/;
        as_creator("CREATE VIEW ${source}_$name AS $sql");
    }
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM pipelinedb.views'), scalar @queries,
    'the views exist');
is(join(' ', $node->safe_psql('postgres', 'SHOW TimeZone'), as_creator('SHOW TimeZone'),
        $node->safe_psql('postgres', 'SHOW TimeZone', extra_params => [ '-U', 'writer' ])),
    'UTC America/New_York Asia/Kolkata', 'three time zones');

# ---- comparing -----------------------------------------------------------------------------

# SQL that is empty if the view is right, else says how many rows differ and shows some.
sub comparison {
    my ($name) = @_;
    my @all = split /\n/, as_creator("SELECT quote_ident(attname) FROM pg_attribute
        WHERE attrelid = 's_$name'::regclass AND attnum > 0 ORDER BY attnum");
    my @floats = grep { /_f$/ } @all;
    my $exact = join(', ', grep { !/_f$/ } @all) || '1';
    my $sql = "SELECT 'extra', x::text FROM (TABLE_S EXCEPT ALL TABLE_O) x
        UNION ALL SELECT 'missing', x::text FROM (TABLE_O EXCEPT ALL TABLE_S) x";
    $sql =~ s/TABLE_(\w)/SELECT $exact FROM \L$1\E_$name/g;
    if (@floats) {
        my $near = join ' AND ', map { "near(seen.$_, due.$_)" } @floats;
        $sql .= " UNION ALL SELECT 'not near', seen::text || ' / ' || due::text
            FROM (SELECT ROW($exact)::text AS exact, * FROM s_$name) seen
            JOIN (SELECT ROW($exact)::text AS exact, * FROM o_$name) due USING (exact)
            WHERE ($near) IS NOT TRUE";
    }
    return "SELECT * FROM ($sql) differences LIMIT 5";
}

my %comparison = map { $_->[0] => comparison($_->[0]) } @queries;

sub compare_all {
    my ($when) = @_;
    subtest $when => sub {
        plan tests => 1 + @queries;
        my $script = "SELECT pipelinedb.flush();\n";
        $script .= "\\echo == $_->[0]\n$comparison{$_->[0]};\n" for @queries;
        my ($stdout, @errors) = run_script($node, "$script\\echo == end\n", role => 'creator');
        my $script_ended = $stdout =~ s/== end\n\z//;
        ok($script_ended && !@errors, 'the comparison itself') or do {
            diag(@errors);
            BAIL_OUT('the server is gone') unless $script_ended;
        };
        my %differences = map { /^(\w+)\n(.*)/s ? ($1 => $2) : () } split /^== /m, $stdout;
        is($differences{ $_->[0] }, '', $_->[0]) for @queries;
    };
    views_are_active($node, "$when: no view has failed");
}

# ---- writing -------------------------------------------------------------------------------

sub insert_into { my ($table, @rows) = @_; return "INSERT INTO $table ($names) VALUES\n" . values_list(@rows) . ";\n"; }
sub copy_into { my ($table, @rows) = @_; return "COPY $table FROM STDIN;\n" . join('', map { copy_line($_) } @rows) . "\\.\n"; }
sub rows { return map { make_row() } 1 .. $_[0]; }
sub both { my @rows = rows($_[0]); return insert_into('s', @rows) . insert_into('o', @rows); }
sub lost { return insert_into('s', rows($_[0])); }

my $bad_line = join("\t", ('not a number') x @columns) . "\n";
my $too_far = "INSERT INTO s (i4, t) SELECT 100 / (3000 - g), 'lost' FROM generate_series(1, 4000) g;\n";
my $prepared = 0;

# Each returns SQL and how many errors it shall raise. What is rolled back goes to the stream only.
my @units = (
    sub { return both(1), 0 },
    sub { return both(1), 0 },
    sub { return both(1), 0 },
    sub { return both(7), 0 },
    sub { return both(7), 0 },
    sub { return 'BEGIN; ' . both(1) . both(7) . both(1) . 'COMMIT;', 0 },
    sub { return 'BEGIN; ' . lost(7) . lost(1) . 'ROLLBACK;', 0 },
    sub {
        return 'BEGIN; ' . both(1) . 'SAVEPOINT a; ' . lost(7) . 'ROLLBACK TO a; ' . both(1)
            . 'SAVEPOINT b; ' . both(7) . 'RELEASE b; SAVEPOINT c; ' . lost(1) . 'SAVEPOINT d; '
            . lost(7) . 'RELEASE d; ROLLBACK TO c; ' . both(1) . 'COMMIT;', 0;
    },
    sub {
        return 'BEGIN; SAVEPOINT a; ' . lost(1) . 'SAVEPOINT b; ' . lost(1) . 'RELEASE b; '
            . 'ROLLBACK TO a; ' . 'COMMIT;', 0;
    },
    sub { return $too_far, 1 },
    sub { return 'BEGIN; ' . both(1) . "SAVEPOINT a; $too_far ROLLBACK TO a; " . both(1) . 'COMMIT;', 1 },
    sub { return 'BEGIN; ' . lost(1) . $too_far . lost(1) . lost(1) . 'COMMIT;', 3 },
    sub {
        my $id = "'p" . ++$prepared . "'";
        return 'BEGIN; ' . both(7) . 'SAVEPOINT a; ' . lost(1) . 'ROLLBACK TO a; '
            . "PREPARE TRANSACTION $id; " . both(1) . "COMMIT PREPARED $id;", 0;
    },
    sub {
        my $id = "'p" . ++$prepared . "'";
        return 'BEGIN; ' . lost(7) . "PREPARE TRANSACTION $id; " . both(1)
            . "ROLLBACK PREPARED $id;", 0;
    },
    sub {
        my @rows = rows(1);
        return "DO \$do\$ BEGIN\n" . lost(7) . 'RAISE division_by_zero; EXCEPTION WHEN '
            . "division_by_zero THEN\n" . insert_into('s', @rows) . insert_into('o', @rows)
            . "END \$do\$;", 0;
    },
    sub {
        my $copy = copy_into('s', rows(50));
        $copy =~ s/\\\.\n$/$bad_line\\.\n/;
        return 'BEGIN; ' . both(1) . "SAVEPOINT a;\n$copy ROLLBACK TO a; " . both(1) . 'COMMIT;', 1;
    });

# A writer's script: units in random order.
sub some_units {
    my ($n) = @_;
    my ($script, $errors) = ('', 0);
    for (1 .. $n) {
        my ($sql, $raised) = pick(@units)->();
        $script .= "$sql\n";
        $errors += $raised;
    }
    return ($script, $errors);
}

sub big_copy {
    my @rows = rows($_[0]);
    return copy_into('s', @rows) . copy_into('o', @rows);
}

# Two writers at the same time, one with a COPY that fails after 3,000 rows and one of 10,000.
sub write_round {
    my ($when) = @_;
    my ($script1, $errors1) = some_units(70);
    my ($script2, $errors2) = some_units(70);
    my ($between, $errors3) = some_units(10);
    my $copy = copy_into('s', rows(3000));
    $copy =~ s/\\\.\n$/$bad_line\\.\n/;
    $script1 .= $copy . 'BEGIN; ' . both(1) . "SAVEPOINT a;\n" . copy_into('s', rows(500))
        . "ROLLBACK TO a;\n" . big_copy(10_000) . both(1) . "COMMIT;\n$between";
    $errors1 += 1 + $errors3;

    my @outcomes = run_scripts($node, [ $script1, $script2 ], role => 'writer');
    my @errors = map { my ($stdout, @raised) = @$_; @raised } @outcomes;
    is(scalar @errors, $errors1 + $errors2, "$when: as many errors as there should be")
        or diag(@errors[ 0 .. ($#errors < 9 ? $#errors : 9) ]);
}

my $rows_in_table = 'SELECT count(*) FROM work.o';
my $rows_in_view = 'SELECT n FROM work.s_no_key';

# ---- the rounds ----------------------------------------------------------------------------

compare_all('before the first row');

write_round('default settings');
compare_all('default settings');
cmp_ok($node->safe_psql('postgres', $rows_in_table), '>', 10_000, 'there were rows');

# Groups that one way of computing has begun are continued by the other.
set_server($node, 'pipelinedb.fold_batch' => '256kB', 'pipelinedb.vectorize' => 'off');
my $held = hold_worker($node, 'fold_before_snapshot');
write_round('a backlog in pieces');
release_worker($held);
compare_all('a backlog in pieces');

# A fold worker that waits after its first piece shows a part of one COPY.
my $before = $node->safe_psql('postgres', $rows_in_view);
$held = hold_worker($node, 'fold_before_snapshot', 'fold_committed');
my (undef, @errors) = run_script($node, big_copy(10_000), role => 'writer');
is("@errors", '', 'a COPY of 10,000 rows');
move_worker($held, 'fold_committed');
ok($node->poll_query_until('postgres',
    "SELECT n > $before AND n < $before + 10000 FROM work.s_no_key"),
    'one transaction becomes visible in pieces');
ok($node->poll_query_until('postgres',
    'SELECT bool_or(cardinality(big_xids) = 1) FROM pipelinedb.progress'),
    'and progress says so');
release_worker($held);
compare_all('after the pieces');

my $generation = 'SELECT max(ordinal) FROM pipelinedb.generation';
my $ordinal = $node->safe_psql('postgres', $generation);
set_server($node, 'pipelinedb.spool_generation_size' => '1MB', 'pipelinedb.fold_batch' => '16MB',
    'pipelinedb.vectorize' => 'on');
write_round('small generations');
compare_all('small generations');
cmp_ok($node->safe_psql('postgres', $generation), '>', $ordinal, 'generations were rotated');

set_server($node, 'pipelinedb.fold_batch' => '256kB', 'pipelinedb.vectorize' => 'off');
write_round('small generations and pieces, without vectors');
compare_all('small generations and pieces, without vectors');
set_server($node, 'pipelinedb.vectorize' => 'on');
write_round('small generations and pieces');
compare_all('small generations and pieces');

is($node->safe_psql('postgres', $rows_in_view), $node->safe_psql('postgres', $rows_in_table),
    'every row counts once');

# ---- reading in another zone ---------------------------------------------------------------

# What is stored was computed in the creator's zone, whoever reads it.
as_creator("CREATE TABLE days AS SELECT day, count FROM o_by_day");
for my $zone ('UTC', 'Asia/Kolkata', 'Pacific/Auckland') {
    is($node->safe_psql('postgres', "SET TimeZone = '$zone'; SELECT count(*) FROM
        ((TABLE work.s_by_day EXCEPT ALL TABLE work.days)
         UNION ALL (TABLE work.days EXCEPT ALL TABLE work.s_by_day)) x"),
        '0', "days read in $zone are those of the creator");
}

$node->stop;
done_testing();
