# Keys that only some servers have (ICU, citext), very wide keys and rows, crashes while rows are
# appended, and rows that wait for the end of a restore.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use StopPoints;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', log_statement => 'none', restart_after_crash => 'on');
my $db = 'postgres';
sub sql { return $node->safe_psql($db, $_[0]) }

# ---- equality that is not that of bytes ----------------------------------------------------------

# Rows that differ in case only are one group; which spelling it shows is not said.
sub folds_case {
    my ($name, $type, $where) = @_;
    sql("CREATE FOREIGN TABLE s_$name (t $type, k int) SERVER pipelinedb;
        CREATE TABLE o_$name (t $type, k int);
        CREATE VIEW v_$name AS SELECT t, count(*) AS n FROM s_$name GROUP BY t;
        CREATE VIEW w_$name AS SELECT k, t, count(*) AS n FROM s_$name GROUP BY t, k;
        CREATE VIEW r_$name AS SELECT k, t, count(*) AS n FROM s_$name GROUP BY ROLLUP (t, k);
        CREATE VIEW d_$name AS SELECT DISTINCT t, k % 2 AS odd FROM s_$name");
    my $word = "(ARRAY['Word', 'word', 'WORD', 'other', 'Other', NULL, 'STRASSE', ''])[1 + g % 8]::text"
        . " || CASE WHEN g % 3 = 0 THEN repeat('Long ', 2000 + g % 2) ELSE '' END";
    for my $part ('1, 40', '41, 41', '42, 90') {
        sql("INSERT INTO $_ SELECT $word, g % 5 FROM generate_series($part) g")
            for "s_$name", "o_$name";
    }
    is(flush($node, $db), 't', "$name: all is folded");
    for my $pair ([ 'v', 't, count(*)', 't' ], [ 'w', 'k, t, count(*)', 't, k' ],
        [ 'r', 'k, t, count(*)', 'ROLLUP (t, k)' ], [ 'd', 't, k % 2', 't, k % 2' ]) {
        my ($view, $select, $keys) = @$pair;
        my $plain = "(SELECT $select FROM o_$name GROUP BY $keys)";
        is(sql("SELECT (SELECT count(*) FROM ${view}_$name), (SELECT count(*) FROM
            ((TABLE ${view}_$name EXCEPT ALL $plain) UNION ALL
             ($plain EXCEPT ALL TABLE ${view}_$name)) x)"),
            sql("SELECT count(*), 0 FROM $plain x"), "$name: $keys gives what the plain query gives");
    }
    my $plan = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan;
        PREPARE p($type) AS SELECT n FROM v_$name WHERE t = \$1 $where;";
    like(sql("$plan EXPLAIN EXECUTE p('wORD')"), qr/v_${name}_mrel_t_idx/, "$name: a reader uses the index");
    is(sql("$plan EXECUTE p('wORD')"),
        sql("SELECT count(*) FROM o_$name WHERE t = 'wORD'::$type $where"), "$name: and finds the group");
    like(sql("SET enable_seqscan = off; EXPLAIN SELECT n FROM w_$name WHERE t = 'wORD'::$type $where"),
        qr/w_${name}_mrel_t_idx/, "$name: beside another key, too");
    is(sql("SET enable_seqscan = off; SELECT sum(n) FROM w_$name WHERE t = 'wORD'::$type $where"),
        sql("SELECT count(*) FROM o_$name WHERE t = 'wORD'::$type $where"), "$name: and finds the groups");
}

sql("CREATE DATABASE utf8 TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'");
$db = 'utf8';
sql('CREATE EXTENSION pipeline_ext');
SKIP: {
    skip 'the server has no ICU', 9
        if sql("SELECT count(*) FROM pg_collation WHERE collprovider = 'i'") eq '0';
    sql("CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE DOMAIN folded AS text COLLATE nocase");
    folds_case('icu', 'folded', '');
}
SKIP: {
    skip 'citext is not installed', 9
        if sql("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'") eq '0';
    sql('CREATE EXTENSION citext');
    folds_case('citext', 'citext', '');
}

$db = 'postgres';

# ---- wide keys and rows ----------------------------------------------------------------------------

sql("CREATE FOREIGN TABLE wide (k text, v text) SERVER pipelinedb;
    CREATE VIEW by_wide AS SELECT k, count(*) AS n FROM wide GROUP BY k;
    CREATE VIEW by_bytes AS SELECT v::bytea AS v, length(k) AS l, count(*) AS n FROM wide GROUP BY 1, 2;
    CREATE VIEW widest AS SELECT count(*) AS n, max(v COLLATE \"C\") FILTER (WHERE k = 'huge') AS v FROM wide;
    CREATE VIEW all_wide AS SELECT k, v FROM wide");
# Does not compress, so that it is stored as wide as it is.
my $noise = "(SELECT string_agg(encode(sha512((g || 'x')::bytea), 'hex'), '') FROM generate_series(1, 8192) g)";
for (1 .. 3) {
    sql("INSERT INTO wide SELECT n || t, 'v' FROM $noise a(n), (VALUES ('1'), ('2'), ('')) b(t);
        INSERT INTO wide SELECT 'short', 'v' FROM generate_series(1, 10)");
}
is(flush($node), 't', 'keys of 1 MB are folded');
is(sql('SELECT length(k), n, count(*) OVER () FROM by_wide ORDER BY 1, k'),
    "5|30|4\n1048576|3|4\n1048577|3|4\n1048577|3|4", 'beside short ones');
is(sql("SELECT n FROM by_wide WHERE k = $noise || '2'"), '3', 'and are found');
my $worker = fold_worker_pid($node);
sub peak_mb { return slurp_file("/proc/$worker/status") =~ /VmHWM:\s+(\d+) kB/ ? $1 / 1024 : undef; }
for my $g (1 .. 3) {
    sql("INSERT INTO wide SELECT 'huge', repeat(md5('$g'), 1638400)");
    sql("INSERT INTO wide SELECT 'more', 'v' FROM generate_series(1, 10)");
    is(flush($node), 't', "a row of 50 MB is folded, $g");
}
is(sql("SELECT length(v), n FROM widest"), '52428800|72', 'by an aggregate');
is(sql("SELECT k, max(length(v)), count(*) FROM all_wide WHERE k IN ('huge', 'more') GROUP BY k ORDER BY k"),
    "huge|52428800|3\nmore|1|30", 'by an append view');
is(sql("SELECT l, count(*), sum(n) FROM by_bytes WHERE length(v) > 1000 GROUP BY l"), '4|3|3', 'and as a key');
is(fold_worker_pid($node), $worker, 'all by one fold worker');
SKIP: {
    skip 'no /proc', 1 unless -r "/proc/$worker/status";
    cmp_ok(peak_mb(), '<', 1000, 'which needed ' . int(peak_mb()) . ' MB at most');
}
views_are_active($node);

# ---- each row is appended once, whatever happens -----------------------------------------------------

sql("CREATE FOREIGN TABLE s (k int, t text) SERVER pipelinedb;
    CREATE VIEW appended AS SELECT k, t FROM s WHERE k >= 0;
    CREATE INDEX ON appended_mrel (k);
    CREATE VIEW by_text AS SELECT t, count(*) AS n FROM s GROUP BY t;
    CREATE VIEW rolled AS SELECT k % 3 AS m, t, count(*) AS n FROM s GROUP BY ROLLUP (1, t)");
sql('CREATE TABLE written (first int)');
my $rows = 0;
# A crash may come before the commit or after it: a table says which.
sub is_written {
    my $out;
    wait_until(sub {
        bring_back($node);
        my $query = "SELECT count(*) FROM written WHERE first = $rows";
        return (eval { $node->psql('postgres', $query, stdout => \$out) } // 1) == 0;
    }) // die 'the server is not back';
    return $out > 0;
}
sub write_rows {
    until (is_written()) {
        eval { $node->psql('postgres', "BEGIN; INSERT INTO written VALUES ($rows);
            INSERT INTO s SELECT g, 't' || g % 50 FROM generate_series($rows, $rows + 2999) g;
            SAVEPOINT a; INSERT INTO s SELECT -1, 'lost' FROM generate_series(1, 100); ROLLBACK TO a; COMMIT") };
    }
    $rows += 3000;
}
sub exact {
    my ($when) = @_;
    is(flush($node), 't', "$when: all is folded");
    is(sql('SELECT count(*), count(DISTINCT k), min(k), max(k) FROM appended'),
        join('|', $rows, $rows, 0, $rows - 1), "$when: each row is there once");
    is(sql('SET enable_seqscan = off; SELECT count(*) FROM appended WHERE k >= 0'), $rows,
        "$when: in the index, too");
    is(sql('SELECT count(*), sum(n) FROM by_text'), "50|$rows", "$when: by text");
    is(sql('SELECT count(*), sum(n), max(n) FROM rolled'), join('|', 154, 3 * $rows, $rows), "$when: rolled up");
}
write_rows();
exact('at first');
for my $point (qw(fold_before_progress fold_after_progress fold_committed)) {
    my $log = -s $node->logfile;
    set_conf($node, 'pipelinedb.stop_points' => "$point:crash");
    write_rows();
    crashed_at($node, $point, $log) or die "no crash at $point";
    set_conf($node, 'pipelinedb.stop_points' => '');
    exact("crash at $point");
}
set_conf($node, 'pipelinedb.fold_batch' => '256kB');
write_rows();
kill_hard($node);
bring_back($node);
exact('kill -9');

# ---- rows wait until a restore has come to its end -------------------------------------------------

# Until then, COPY loads what had been folded, and pg_restore may empty the table first.
sql("DROP TRIGGER pipelinedb_guard ON appended_mrel; DROP INDEX by_text_mrel_key");
write_rows();
is(flush($node), 'f', 'flush leaves blocked views out');
is(sql('SELECT (SELECT count(*) FROM appended) - (SELECT max(n) FROM rolled), (SELECT sum(n) FROM by_text)'),
    '-3000|' . ($rows - 3000), 'rows wait for the guard of an append view, and for the index of groups');
is(sql("SELECT string_agg(name, ',') FROM pipelinedb.views WHERE state <> 'active'"), '', 'no view has failed');
sql("CREATE TRIGGER pipelinedb_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON appended_mrel
        FOR EACH STATEMENT EXECUTE FUNCTION pipelinedb.guard_matrel();
    CREATE INDEX ON by_text_mrel (pipelinedb.hash_group(t))");
ok(wait_until(sub { flush($node) eq 't' }), 'then they are folded');
exact('after the end of a restore');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP/, 'the server is well');
$node->stop;
done_testing();
