# The fold worker remembers where in its table it wrote a group. Whatever happens to the table
# between two ticks, no row may go to the wrong group, and none may be lost.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use StopPoints;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', log_statement => 'none', restart_after_crash => 'on',
    autovacuum => 'off', 'pipelinedb.fold_memory' => '16MB', 'pipelinedb.fold_batch' => '64MB');
sub sql { return $node->safe_psql('postgres', $_[0]) }

# ---- the same rows into a stream and into a table -----------------------------------------------

my %views = (
    word => 'SELECT k, count(*) AS n, sum(x) AS total FROM %s GROUP BY k',
    text => 'SELECT t, count(*) AS n, avg(x) AS mean FROM %s GROUP BY t',
    number => 'SELECT (k % 300 / 7.0)::numeric(9, 3) AS d, count(*) AS n FROM %s GROUP BY 1',
    sets => 'SELECT k % 50 AS a, t, grouping(t) AS g, count(*) AS n FROM %s GROUP BY ROLLUP (1, 2)',
    keys => 'SELECT DISTINCT k, t FROM %s',
    one => 'SELECT count(*) AS n, sum(x) AS total, max(t) AS most FROM %s',
    state => 'SELECT k, sum(x::numeric) AS total, stddev(x) AS spread FROM %s GROUP BY k');
my @views = sort keys %views;
my @tables = map { "v_${_}_mrel" } @views;

sql('CREATE FOREIGN TABLE s (k int8, t text, x int4) SERVER pipelinedb;
    CREATE TABLE o (k int8, t text, x int4)');
sql("CREATE VIEW v_$_ AS " . sprintf($views{$_}, 's')) for @views;

my $next = 0;

# Some keys are old, some new, some NULL. Odd calls go by the executor, even ones by the
# vectorised path; both find what the other one has left.
sub add_rows {
    my ($count) = @_;
    my $rows = "SELECT nullif(g * 7919 % (200 + $next), 17), nullif('t' || g % 301, 't33')
        || CASE WHEN g % 97 = 0 THEN repeat(md5(g::text), 100) ELSE '' END, g % 1000
        FROM generate_series($next + 1, $next + $count) g";
    sql("INSERT INTO s $rows; INSERT INTO o $rows");
    $next += $count;
    return;
}

sub all_right {
    my ($name) = @_;
    wait_folded($node);
    my @wrong = grep {
        my $plain = sprintf($views{$_}, 'o');
        sql("SELECT count(*) FROM ((TABLE v_$_ EXCEPT ALL $plain)
            UNION ALL ($plain EXCEPT ALL TABLE v_$_)) d") ne '0';
    } @views;
    is("@wrong", '', "$name: the views equal the queries");
    return;
}

sub after {
    my ($name, $event) = @_;
    $event->();
    for my $vectorize ('on', 'off') {
        set_server($node, 'pipelinedb.vectorize' => $vectorize);
        add_rows(700);
        wait_folded($node);
    }
    all_right($name);
    return;
}

after('at first', sub { });
after('a second time', sub { });

# ---- what moves rows ----------------------------------------------------------------------------

sub on_tables {
    my ($format) = @_;
    return sub { sql(sprintf $format, $_) for @tables };
}

after('VACUUM', on_tables('VACUUM %s'));
after('VACUUM (FREEZE)', on_tables('VACUUM (FREEZE) %s'));
after('ANALYZE', on_tables('ANALYZE %s'));
after('VACUUM FULL', on_tables('VACUUM FULL %s'));
after('REINDEX', on_tables('REINDEX TABLE %s'));
after('CLUSTER', sub {
    sql("CREATE INDEX by_n ON v_word (n); CLUSTER v_word_mrel USING by_n");
});
after('updates that are not HOT', sub { });
after('DROP INDEX', sub { sql('DROP INDEX by_n') });
after('another tablespace', sub {
    sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE elsewhere LOCATION ''");
    on_tables('ALTER TABLE %s SET TABLESPACE elsewhere')->();
});

# Afterwards each place has the row of another group: first the old rows are gone for good, so
# that their line pointers are used again.
sub reverse_rows {
    my $writable = 'SET pipelinedb.matrels_writable = on;';
    for my $table (@tables) {
        sql("CREATE TABLE saved AS SELECT * FROM $table ORDER BY ctid DESC");
        sql("$writable DELETE FROM $table");
        sql("VACUUM (TRUNCATE off) $table");
        sql("$writable INSERT INTO $table SELECT * FROM saved; DROP TABLE saved");
    }
}
after('places with other groups', \&reverse_rows);
after('places with other groups once more', \&reverse_rows);
after('rows changed by hand', sub {
    sql("SET pipelinedb.matrels_writable = on; UPDATE v_word_mrel SET n = n WHERE k % 3 = 0;
        UPDATE v_text_mrel SET t = t; DELETE FROM v_keys_mrel WHERE k % 2 = 0");
    sql("DELETE FROM o WHERE false"); # the keys come back with the next rows
    sql("SET pipelinedb.matrels_writable = on;
        INSERT INTO v_keys_mrel SELECT DISTINCT k, t FROM o
            EXCEPT SELECT k, t FROM v_keys_mrel");
});
after('truncation', sub {
    sql("SELECT pipelinedb.truncate_continuous_view('v_$_')") for @views;
    sql('TRUNCATE o');
});

# ---- what takes rows back -----------------------------------------------------------------------

# A tick writes new groups and is rolled back; then their places are given to others.
sub fail_one_tick {
    my ($point) = @_;
    my $log = -s $node->logfile;
    set_server($node, 'pipelinedb.stop_points' => "$point:error");
    add_rows(600);
    $node->wait_for_log(qr/stop point/, $log);
    on_tables('VACUUM %s')->();
    set_server($node, 'pipelinedb.stop_points' => '');
}
after("an error at $_", sub { fail_one_tick($_) }) for 'fold_before_progress', 'fold_before_view';

after('rows that fail', sub {
    sql('ALTER TABLE v_word_mrel ADD CONSTRAINT small CHECK (n < 1000000)');
    sql('CREATE FOREIGN TABLE f (k int8, x int4) SERVER pipelinedb;
        CREATE VIEW v_fail AS SELECT k, count(*) AS n, sum(100 / x) AS total FROM f GROUP BY k');
    for my $round (1 .. 3) {
        sql('INSERT INTO f SELECT g % (200 * ' . $round . '), g % 40 FROM generate_series(1, 2000) g');
        wait_folded($node);
    }
    is(sql('SELECT count(*), sum(n), sum(total) FROM v_fail'),
        sql('SELECT count(DISTINCT k), count(*), sum(100 / x) FROM (SELECT g % (200 * r) AS k, g % 40 AS x
            FROM generate_series(1, 3) r, generate_series(1, 2000) g) rows WHERE x <> 0'),
        'each good row counts once beside bad ones');
    sql('ALTER TABLE v_word_mrel DROP CONSTRAINT small');
});

after('a crash', sub {
    add_rows(500);
    $node->stop('immediate');
    $node->start;
});

# ---- groups that come twice in a tick ---------------------------------------------------------------

# A large statement is spooled as rows first, as groups of its writer then. Without the vectorised
# path they come from two runs.
sql('CREATE FOREIGN TABLE twice (k int8, x int8) SERVER pipelinedb;
    CREATE VIEW v_twice AS SELECT k, count(*) AS n, sum(x) AS total, avg(x::int4) AS mean, max(x) AS most
        FROM twice GROUP BY k');
for my $round (1 .. 3) {
    set_server($node, 'pipelinedb.vectorize' => $round == 2 ? 'on' : 'off');
    sql('SET pipelinedb.preaggregate_after = 1000;
        INSERT INTO twice SELECT nullif(g % 40, 7), g FROM generate_series(1, 20000) g');
    wait_folded($node);
    is(sql('SELECT count(*), sum(n), sum(total), round(sum(mean)), max(most) FROM v_twice'),
        sql("SELECT count(*), $round * sum(n), $round * sum(total), round(sum(mean)), max(most) FROM
            (SELECT count(*) AS n, sum(g) AS total, avg(g) AS mean, max(g) AS most
             FROM generate_series(1, 20000) g GROUP BY nullif(g % 40, 7)) groups"),
        "round $round: rows and groups of one statement");
}

# ---- more groups than fit into memory -------------------------------------------------------------

set_server($node, 'pipelinedb.vectorize' => 'on');
sql('CREATE FOREIGN TABLE many (k int8, t text, x int4) SERVER pipelinedb;
    CREATE VIEW by_key AS SELECT k, count(*) AS n, sum(x) AS total FROM many GROUP BY k;
    CREATE VIEW by_text AS SELECT t, count(*) AS n, avg(x) AS mean FROM many GROUP BY t');
for my $round (1, 2) {
    sql("INSERT INTO many SELECT g::int8 * 7919 % 250000, 'text ' || g * 31 % 120000, $round
        FROM generate_series(1, 300000) g");
    wait_folded($node);
    is(sql('SELECT count(*), sum(n), sum(total), max(n) FROM by_key'),
        join('|', 250_000, 300_000 * $round, 300_000 * $round * ($round + 1) / 2, 2 * $round),
        "round $round: all keys");
    is(sql('SELECT count(*), sum(n), round(sum(n * mean)) FROM by_text'),
        join('|', 120_000, 300_000 * $round, 300_000 * $round * ($round + 1) / 2),
        "round $round: all texts");
}

# ---- updates stay in their pages --------------------------------------------------------------------

sql('CREATE FOREIGN TABLE hot (k int8) SERVER pipelinedb;
    CREATE VIEW v_hot AS SELECT k, count(*) AS n FROM hot GROUP BY k');
sub pump { sql('INSERT INTO hot SELECT g FROM generate_series(1, 2000) g'); wait_folded($node) }
pump() for 1 .. 5;
my $size = sql("SELECT pg_relation_size('v_hot_mrel')");
pump() for 1 .. 15;
is(sql("SELECT pg_relation_size('v_hot_mrel')"), $size, 'the table does not grow');
$node->poll_query_until('postgres', "SELECT pg_stat_clear_snapshot() IS NOT NULL AND n_tup_upd >= 38000
    FROM pg_stat_user_tables WHERE relname = 'v_hot_mrel'") or die 'no numbers';
is(sql("SELECT n_tup_hot_upd >= 0.95 * n_tup_upd FROM pg_stat_user_tables
    WHERE relname = 'v_hot_mrel'"), 't', 'nearly all updates are HOT');

views_are_active($node);
$node->stop;
done_testing();
