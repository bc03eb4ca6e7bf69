# Chains of continuous queries under random writes: whatever holds up, fails, empties or creates a
# reader, the sum of the changes that it got is what the view behind it shows.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints qw(wait_until);
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{PIPELINE_SEED} || int(time * 1000) % 1_000_000_000;
srand($seed);
diag("PIPELINE_SEED=$seed");

my $node = new_node('main', log_statement => 'none', 'pipelinedb.spool_generation_size' => '1MB');
sub sql { return $node->safe_psql('postgres', $_[0]); }

# The change of the source's row, as two sums.
my $of_a = 'sum((new).n - coalesce((old).n, 0)) AS n, sum((new).s - coalesce((old).s, 0)) AS s';
my $chain = <<"SQL";
    CREATE FUNCTION share(k int) RETURNS int LANGUAGE plpgsql IMMUTABLE
        AS 'BEGIN RETURN CASE WHEN k = 13 THEN 1 / (k - 13) ELSE 1 END; END';
    CREATE TABLE ledger (n numeric, s numeric);
    CREATE TABLE dim (k int PRIMARY KEY, factor int);
    INSERT INTO dim SELECT g, 1 FROM generate_series(0, 39) g;
    CREATE FOREIGN TABLE st (k int, v int) SERVER pipelinedb;
    CREATE FOREIGN TABLE dest (n numeric, s numeric) SERVER pipelinedb;
    CREATE VIEW into_dest AS SELECT sum(n) AS n, sum(s) AS s FROM dest;
    CREATE VIEW a AS SELECT k, count(*) AS n, sum(v) AS s FROM st GROUP BY k;
    CREATE VIEW by_three AS SELECT (new).k % 3 AS k, $of_a FROM output_of('a') GROUP BY 1;
    CREATE VIEW whole AS SELECT $of_a FROM output_of('a');
    CREATE VIEW paused AS SELECT $of_a FROM output_of('a');
    CREATE VIEW strict AS SELECT sum(((new).n - coalesce((old).n, 0)) * share((new).k)) AS n,
        sum((new).s - coalesce((old).s, 0)) AS s FROM output_of('a');
    CREATE VIEW with_table AS SELECT sum(((new).n - coalesce((old).n, 0)) * factor) AS n,
        sum((new).s - coalesce((old).s, 0)) AS s FROM output_of('a') o JOIN dim ON dim.k = (o.new).k;
    CREATE VIEW third AS SELECT (new).k, $of_a FROM output_of('by_three') GROUP BY 1;
    CREATE VIEW fourth AS SELECT $of_a FROM output_of('third');
    CREATE VIEW appended AS SELECT (new).n - coalesce((old).n, 0) AS n,
        (new).s - coalesce((old).s, 0) AS s FROM output_of('whole');
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO w.ledger VALUES (NEW.n, NEW.s); RETURN NULL; END';
    CREATE VIEW noted WITH (action = transform, outputfunc = note) AS
        SELECT (new).n - coalesce((old).n, 0) AS n, (new).s - coalesce((old).s, 0) AS s
        FROM output_of('by_three');
    CREATE VIEW inserted WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('dest')) AS
        SELECT ((new).n - coalesce((old).n, 0))::numeric AS n, ((new).s - coalesce((old).s, 0))::numeric AS s
        FROM output_of('third');
    CREATE VIEW of_inserted AS SELECT sum(n) AS n, sum(s) AS s FROM output_of('inserted');
SQL
my @readers = qw(by_three whole paused strict with_table third fourth appended ledger into_dest of_inserted);

# What readers got less than the others, as [n, s], and what was in the source when it was emptied.
my (%base, $n, $s, @emptied);

sub rows {
    my ($count) = @_;
    return 'INSERT INTO st VALUES ' . join(', ', map {
        my ($k, $v) = (14 + int(rand(26)), int(rand(1000)) - 300); # 13 is for "strict"
        $n++; $s += $v;
        "($k, $v)" } 1 .. $count) . ';';
}

# Several transactions; some rows are rolled back.
sub write_rows {
    my ($times) = @_;
    for (1 .. $times // 5) {
        my $kept = rows(1 + int(rand(30)));
        my $undone = 'INSERT INTO st SELECT g % 13, 100000 FROM generate_series(1, 50) g;';
        sql(rand() < 0.3 ? "BEGIN; SAVEPOINT x; $undone ROLLBACK TO x; $kept COMMIT" : $kept);
    }
}

# So many that a tick takes only a piece.
sub write_many {
    my ($rows) = @_;
    my $many = "INSERT INTO st SELECT 14 + g % 26, g % 7 FROM generate_series(1, $rows) g;";
    sql(rand() < 0.5 ? $many : "BEGIN; SAVEPOINT x; $many ROLLBACK TO x; $many COMMIT");
    $n += $rows;
    $s += $_ % 7 for 1 .. $rows;
}

sub settled {
    my $done = wait_until(sub {
        return sql("SELECT pipelinedb.flush() AND count(*) = 0 FROM pipelinedb.views WHERE state <> 'active'") eq 't';
    }, 30);
    ok(defined $done, "$_[0]: folded");
}

sub exact {
    my ($name, @without) = @_;
    settled($name) unless @without;
    is(sql("SELECT sum(n) + $emptied[0], sum(s) + $emptied[1] FROM a"), "$n|$s", "$name: the source is exact");
    my @wrong;
    for my $reader (grep { my $r = $_; !grep { $_ eq $r } @without } @readers, grep { /late/ } keys %base) {
        my ($less_n, $less_s) = @{ $base{$reader} // [ 0, 0 ] };
        my $got = sql("SELECT coalesce(sum(n), 0) + $less_n, coalesce(sum(s), 0) + $less_s FROM $reader");
        push @wrong, "$reader is $got, not $n|$s" if $got ne "$n|$s";
    }
    is(join("\n", @wrong), '', "$name: every reader has the sum of all changes");
}

# Holds a lock while rows come; the views named go on meanwhile.
sub lock_for_a_while {
    my ($table, @go_on) = @_;
    my $session = $node->background_psql('postgres');
    $session->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE");
    write_rows(5);
    for my $view (@go_on) {
        ok($node->poll_query_until('postgres', "SELECT sum(n) = $n FROM $view"),
            "$view goes on while $table is locked");
    }
    write_rows(3);
    $session->query_safe('COMMIT');
    $session->quit;
    exact("after a lock on $table");
}

sub writer_beside {
    my ($test) = @_;
    my $script = join "\n", map { rows(3) } 1 .. 300;
    my $run = IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1',
        '-d', $node->connstr('postgres') ], '<', \$script);
    $test->();
    ok($run->finish, 'the writer beside succeeds');
}

sub create_late {
    my ($name) = @_;
    my ($now) = grep { /\|/ } split /\n/, sql("BEGIN; CREATE VIEW $name AS SELECT $of_a FROM output_of('a');
        SELECT sum(n), sum(s) FROM a; COMMIT");
    $base{$name} = [ split /\|/, $now ];
}

sub scenario {
    my ($name, %settings) = @_;
    set_server($node, %settings);
    $node->restart;
    sql("CREATE SCHEMA w; ALTER DATABASE postgres SET search_path = w, public");
    sql($chain);
    %base = ();
    ($n, $s, @emptied) = (0, 0, 0, 0);
    note("---- $name");
    write_rows(10);
    exact("$name: at first");

    sql("SELECT pipelinedb.deactivate('paused'), pipelinedb.deactivate('by_three')");
    write_rows(5);
    sql('SELECT pipelinedb.flush()');
    isnt(sql('SELECT n FROM paused'), $n, "$name: a paused reader rests");
    exact("$name: beside paused readers", qw(paused by_three third fourth ledger into_dest of_inserted));
    sql("SELECT pipelinedb.activate('paused'), pipelinedb.activate('by_three')");
    write_rows(2);
    exact("$name: after a pause");

    lock_for_a_while('whole_mrel', qw(a by_three fourth ledger));
    lock_for_a_while('a_mrel');

    # A row that a reader cannot take is kept for it alone.
    sql('INSERT INTO st VALUES (13, 7)');
    ($n, $s) = ($n + 1, $s + 7);
    sql("CREATE OR REPLACE FUNCTION share(k int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END'");
    sql("SELECT pipelinedb.flush()");
    exact("$name: rows that a reader rejects", 'strict');
    cmp_ok(sql("SELECT sum(rejected) FROM pipelinedb.views WHERE name = 'strict'"), '>', 0, 'are kept');
    sql("SELECT pipelinedb.retry_errors('strict')");
    exact("$name: once they are mended");

    # So is one that its table does not take.
    sql('ALTER TABLE by_three_mrel ADD CONSTRAINT no_one CHECK (k <> 1) NOT VALID');
    write_rows(3);
    sql('SELECT pipelinedb.flush()');
    exact("$name: rows that the table of a reader rejects", qw(by_three third fourth ledger into_dest of_inserted));
    sql('ALTER TABLE by_three_mrel DROP CONSTRAINT no_one');
    cmp_ok(sql("SELECT pipelinedb.retry_errors('by_three')"), '>', 0, 'are kept, too');
    exact("$name: and come when it does");

    write_many(20000);
    exact("$name: after a large transaction");

    sql("SELECT pipelinedb.truncate_continuous_view('whole')");
    $base{whole} = [ $n, $s ];
    write_rows(5);
    exact("$name: an emptied reader begins anew", 'appended');
    # The row of the view that was emptied is a new one to those who read it.
    $base{appended} = [ 0, 0 ];
    exact("$name: and so do its own readers");

    writer_beside(sub {
        create_late("late$_") for 1 .. 4;
        # One that goes on, and one whose rows go to the spool.
        sql("SELECT pipelinedb.deactivate('late4')");
        sql("DROP VIEW late2; DROP VIEW late4");
    });
    delete @base{qw(late2 late4)};
    exact("$name: readers created and dropped while rows come");

    sql("SELECT pipelinedb.truncate_continuous_view('a')");
    @emptied = ($n, $s);
    write_rows(5);
    exact("$name: the source is emptied, those who read it are not");

    # A function that fails stops its transform, and nothing else.
    sql("CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO w.ledger VALUES (NEW.n, NEW.s); RAISE ''not now'' USING ERRCODE = ''0A000''; END'");
    write_rows(3);
    sql('SELECT pipelinedb.flush()');
    is(sql("SELECT state, message FROM pipelinedb.transforms WHERE name = 'noted'"), 'failed|not now',
        "$name: an output function that fails stops its transform");
    exact("$name: the others go on", 'ledger');
    sql("CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO w.ledger VALUES (NEW.n, NEW.s); RETURN NULL; END'; SELECT pipelinedb.activate('noted')");
    write_rows(2);
    exact("$name: mended, it hands on what it missed");
    sql('DROP VIEW a CASCADE');
    is(sql("SELECT count(*) FROM pipelinedb.query"), '1', 'only what reads another stream stays');
    sql("SET client_min_messages = warning; DROP SCHEMA w CASCADE");
}

scenario('one worker', 'pipelinedb.num_workers' => 1, 'pipelinedb.vectorize' => 'on');
scenario('two workers, small ticks', 'pipelinedb.num_workers' => 2, 'pipelinedb.vectorize' => 'off',
    'pipelinedb.fold_batch' => '256kB');
scenario('three workers, writers that aggregate', 'pipelinedb.num_workers' => 3, 'pipelinedb.vectorize' => 'on',
    'pipelinedb.fold_batch' => '256kB', 'pipelinedb.preaggregate_after' => 0);

$node->stop;
done_testing();
