# Views are replaced again and again while writers run. Each transaction is counted by exactly one
# of the queries: whether a new column counts it follows from the view's progress under the lock of
# the statement, which has all that was committed before it and nothing that came after. Then a crash in the
# middle of a replacement, a worker that is busy, and a dump.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints;
use Test::More;

my $seed = $ENV{PIPELINE_SEED} // time;
srand($seed);
note("PIPELINE_SEED=$seed");

my $node = new_node('replace_view', restart_after_crash => 'on', max_prepared_transactions => 10,
    log_statement => 'none', 'pipelinedb.fold_batch' => '256kB');
sub sql { return $node->safe_psql('postgres', $_[0]); }

# What the writers committed stands in the ledger, by transaction.
sql(q{
    CREATE FOREIGN TABLE s (k int, n int, pad text) SERVER pipelinedb;
    CREATE TABLE ledger (xid xid8, k int, rows int);
    CREATE TABLE seam (number int, before pg_snapshot, progress pg_snapshot, after pg_snapshot);
    CREATE FUNCTION write_rows(int, text) RETURNS void LANGUAGE sql AS $$
        INSERT INTO s SELECT i % 5, 1, $2 FROM generate_series(1, $1) i;
        INSERT INTO ledger SELECT pg_current_xact_id(), i % 5, count(*) FROM generate_series(1, $1) i GROUP BY 2;
    $$;
    CREATE VIEW v AS SELECT k, count(*) FROM s GROUP BY k;
});

# Rows one by one, in pieces, aggregated, rolled back, prepared.
sub writer {
    my ($number) = @_;
    my $script = '';
    for my $i (1 .. 150) {
        my $kind = int(rand 8);
        my $rows = $kind < 5 ? 1 + int(rand 3) : 200;
        my $pad = $kind == 5 ? "repeat('x', 3000)" : 'NULL';
        $script .= 'SET pipelinedb.preaggregate_after = ' . ($kind == 6 ? 0 : -1) . ";\n";
        $script .= "BEGIN; SELECT write_rows($rows, $pad); ";
        $script .= "SAVEPOINT a; SELECT write_rows(3, NULL); ROLLBACK TO a; " if rand() < 0.2;
        my $gid = "w$number-$i";
        $script .=
            $kind == 7 ? "PREPARE TRANSACTION '$gid'; COMMIT PREPARED '$gid';\n"
          : rand() < 0.1 ? "ROLLBACK;\n"
          : "COMMIT;\n";
    }
    return $script;
}

sub columns { return join '', map { ", count(*) FILTER (WHERE n > -$_) AS c$_" } 1 .. $_[0]; }

# The progress under the lock is the one from which the new query will count.
sub replacements {
    my ($from, $to) = @_;
    my $script = "SET client_min_messages = warning;\n";
    for my $i ($from .. $to) {
        my $columns = columns($i);
        $script .= "SELECT pg_current_snapshot() AS before \\gset
            BEGIN;
            CREATE OR REPLACE VIEW v AS SELECT k, count(*)$columns FROM s GROUP BY k;
            INSERT INTO seam SELECT $i, :'before', folded FROM pipelinedb.progress
                WHERE consumer IN (0, 'v'::regclass) ORDER BY consumer DESC LIMIT 1;
            COMMIT;
            UPDATE seam SET after = pg_current_snapshot() WHERE number = $i;
            SELECT pg_sleep(0.03);\n";
    }
    return $script;
}

sub is_exact {
    my ($name, $last) = @_;
    ok($node->poll_query_until('postgres',
        'SELECT pipelinedb.flush() AND count(*) = 1 FROM pipelinedb.progress'), "$name: folded");
    is(sql("SELECT string_agg(state, ',') FROM pipelinedb.views WHERE state <> 'active'"), '',
        "$name: nothing stopped");
    is(sql('SELECT sum(count) FROM v'), sql('SELECT sum(rows) FROM ledger'), "$name: the old column");
    my $sums = join ', ', map { "($_, (SELECT sum(c$_) FROM v))" } 1 .. $last;
    is(sql("WITH counted(number, got) AS (VALUES $sums)
        SELECT number, got, exact, least, most FROM counted JOIN seam USING (number), LATERAL (
            SELECT coalesce(sum(rows) FILTER (WHERE NOT pg_visible_in_snapshot(xid, progress)), 0) AS exact,
                coalesce(sum(rows) FILTER (WHERE NOT pg_visible_in_snapshot(xid, after)), 0) AS least,
                coalesce(sum(rows) FILTER (WHERE NOT pg_visible_in_snapshot(xid, before)), 0) AS most
            FROM ledger) l
        WHERE got <> exact OR exact < least OR exact > most"), '', "$name: each new column");
    is(sql("SELECT count(*) FROM seam WHERE progress IS NULL OR after IS NULL"), 0, "$name: all seams");
}

my $last = 12;
my @outcomes = run_scripts($node, [ replacements(1, $last), map { writer($_) } 1 .. 3 ]);
is(join("\n", map { @$_[1 .. $#$_] } @outcomes), '', 'no errors');
is_exact('writers', $last);
is(sql("SELECT count(DISTINCT got) > 3 FROM (VALUES " .
    join(', ', map { "((SELECT sum(c$_) FROM v))" } 1 .. $last) . ") x(got)"), 't',
    'replaced while they ran');

# ---- a crash between --------------------------------------------------------------------------

my $columns_before = sql(q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'v_mrel'::regclass AND attnum > 0});
$last++;
my $columns = columns($last);
for my $point (qw(replace_locked replace_stored)) {
    my ($status, $out, $errors) = $node->psql('postgres', "SET pipelinedb.stop_points = '$point:crash';
        CREATE OR REPLACE VIEW v AS SELECT k, count(*)$columns FROM s GROUP BY k;");
    isnt($status, 0, "crashed at $point");
    bring_back($node);
    is(sql(q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'v_mrel'::regclass AND attnum > 0}),
        $columns_before, "$point: nothing has happened");
    sql("SELECT write_rows(100, NULL)");
    is_exact("crash at $point", $last - 1);
}

# ---- a worker that has folded less than was committed -----------------------------------------

my $held = hold_worker($node, 'fold_before_snapshot');
sql('SELECT write_rows(10, NULL)');
my ($status, $out, $errors) = $node->psql('postgres', "SET statement_timeout = '300ms';
    CREATE OR REPLACE VIEW v AS SELECT k, count(*)$columns FROM s GROUP BY k;");
like($errors, qr/statement timeout/, 'the old query is waited for, interruptibly');
release_worker($held);
my @replaced = run_script($node, replacements($last, $last));
is(join("\n", @replaced[1 .. $#replaced]), '', 'it goes on');
sql('SELECT write_rows(10, NULL)');
is_exact('a busy worker', $last);

# ---- what is dumped is a view like others -----------------------------------------------------

sql(q{CREATE OR REPLACE VIEW v AS SELECT k, count(*)} . $columns . q{, sum(n) FROM s GROUP BY k HAVING max(n) < 7});
sql('SELECT write_rows(10, NULL)');
sql('SELECT pipelinedb.flush()');
my $rows = sql('SELECT * FROM v ORDER BY k');
my $file = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $file, '-d', $node->connstr('postgres') ], 'dumped');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr('restored') ],
    'restored');
is($node->safe_psql('restored', 'SELECT * FROM v ORDER BY k'), $rows, 'the same rows');
$node->safe_psql('restored', "CREATE OR REPLACE VIEW v AS
    SELECT k, count(*)$columns, sum(n), min(n) FROM s GROUP BY k HAVING max(n) < 7");
$node->safe_psql('restored', 'SELECT write_rows(5, NULL)');
is($node->safe_psql('restored', 'SELECT pipelinedb.flush()'), 't', 'folded there');
is($node->safe_psql('restored', 'SELECT sum(count) FROM v'), sql('SELECT sum(count) + 5 FROM v'), 'counts on');
is($node->safe_psql('restored', 'SELECT DISTINCT min FROM v'), '1', 'and the new column, too');

done_testing();
