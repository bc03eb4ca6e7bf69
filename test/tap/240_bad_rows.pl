# Rows that make a view's query fail: each is rejected once, all others fold once, whatever
# crashes meanwhile; and they are given to the view again when the cause is mended.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use StopPoints;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', log_statement => 'none', max_prepared_transactions => 10,
    restart_after_crash => 'on');
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub folded { is(flush($node), 't', $_[0] // 'all is folded'); }
sub errors_of { return sql("SELECT sqlstate, message FROM pipelinedb.errors WHERE view = '$_[0]'::regclass ORDER BY id"); }
sub state_of { return sql("SELECT state, sqlstate, rejected FROM pipelinedb.views WHERE name = '$_[0]'"); }

# ---- classes of errors ------------------------------------------------------------------------

sql(q{CREATE FOREIGN TABLE c (k int, code text) SERVER pipelinedb;
    CREATE FUNCTION fail(code text) RETURNS int LANGUAGE plpgsql AS $$
      BEGIN IF code IS NOT NULL THEN RAISE 'code %', code USING ERRCODE = code, DETAIL = 'a detail'; END IF; RETURN 1; END $$;
    CREATE VIEW classes AS SELECT k, count(*) AS n, sum(fail(code)) AS s FROM c GROUP BY k;
    CREATE VIEW beside AS SELECT k, count(*) AS n FROM c GROUP BY k;});
my @row_codes = qw(21000 22012 23514 23505 38000 39000 P0001 P0004);
sql("INSERT INTO c SELECT 1, NULL FROM generate_series(1, 10);
     INSERT INTO c VALUES " . join(', ', map { "(1, NULL), (2, '$_')" } @row_codes));
folded();
is(errors_of('classes'), join("\n", map { "$_|code $_" } @row_codes), 'a row is rejected for each class of a row');
is(sql('SELECT k, n, s FROM classes'), '1|18|18', 'the others are folded');
is(sql('SELECT k, n FROM beside ORDER BY k'), "1|18\n2|8", 'a view beside it has them all');
is(state_of('classes'), 'active||8', 'the view is active and says how many');
is(sql(q{SELECT count(*) FROM pipelinedb.errors WHERE detail = 'a detail' AND time > now() - interval '1 hour'
    AND "row" @> '{"k": 2}' AND "row" ? 'arrival_timestamp' AND "row" ->> 'code' = sqlstate}), '8', 'what is kept of them');

for my $code (qw(42704 0A000 28000)) {
    sql("INSERT INTO c VALUES (3, '$code')");
    ok($node->poll_query_until('postgres', "SELECT state = 'failed' FROM pipelinedb.views WHERE name = 'classes'"),
        "$code stops the view");
    is(state_of('classes'), "failed|$code|8", 'no row is rejected');
    my $body = sql("SELECT prosrc FROM pg_proc WHERE proname = 'fail'");
    sql("CREATE OR REPLACE FUNCTION fail(code text) RETURNS int LANGUAGE sql AS 'SELECT 1';
         SELECT pipelinedb.activate('classes')");
    ok($node->poll_query_until('postgres', "SELECT (SELECT sum(n) FROM classes) + 8 = (SELECT sum(n) FROM beside)"),
        'mended, its row is folded');
    sql("CREATE OR REPLACE FUNCTION fail(code text) RETURNS int LANGUAGE plpgsql AS \$\$$body\$\$");
}
for my $code (qw(08006 40001 53200 55000 57000 58030 XX000)) {
    sql("CREATE OR REPLACE FUNCTION fail(code text) RETURNS int LANGUAGE plpgsql AS \$\$
         BEGIN IF code IS NOT NULL THEN RAISE 'code %', code USING ERRCODE = code; END IF; RETURN 1; END \$\$");
    my $log = -s $node->logfile;
    sql("INSERT INTO c VALUES (4, '$code')");
    ok(wait_until(sub { index(slurp_file($node->logfile, $log), "is retried: code $code") >= 0 }, 20), "$code is retried");
    sql("CREATE OR REPLACE FUNCTION fail(code text) RETURNS int LANGUAGE sql AS 'SELECT 1'");
    ok($node->poll_query_until('postgres', 'SELECT (SELECT sum(n) FROM classes) + 8 = (SELECT sum(n) FROM beside)'),
        'and folded when it is over');
}
is(state_of('classes'), 'active||8', 'no more rows were rejected');
is(sql('SELECT sum(n) + 8 FROM classes'), sql('SELECT sum(n) FROM beside'), 'rows in = folded + rejected');

# A query that fails whatever the rows are: while it is planned.
sql("CREATE FUNCTION konst() RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
     CREATE VIEW planned AS SELECT sum(k / konst()) AS s FROM c;
     INSERT INTO c VALUES (10, NULL)");
folded();
sql("CREATE OR REPLACE FUNCTION konst() RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1 / 0; END';
     SELECT pg_terminate_backend(" . fold_worker_pid($node) . '); INSERT INTO c VALUES (20, NULL)');
ok($node->poll_query_until('postgres', "SELECT state = 'failed' FROM pipelinedb.views WHERE name = 'planned'"),
    'a query that cannot be planned stops');
is(state_of('planned'), 'failed|22012|0', 'and rejects nothing');
sql('DROP VIEW planned');

# ---- places of errors ---------------------------------------------------------------------------

my $places = q{CREATE VIEW in_filter AS SELECT count(*) AS n FROM p WHERE v::int > 0;
    CREATE VIEW in_key AS SELECT v::int AS key, count(*) AS n FROM p GROUP BY 1;
    CREATE VIEW in_argument AS SELECT id % 5 AS k, sum(v::int) AS s, count(*) AS n FROM p GROUP BY 1;
    CREATE VIEW in_agg_filter AS SELECT count(*) FILTER (WHERE v::int = 7) AS n, count(*) AS all FROM p;
    CREATE VIEW grouped AS SELECT v::int / 10 AS d, id % 2 AS k FROM p GROUP BY 1, 2};
sql("CREATE FOREIGN TABLE p (id int, v text) SERVER pipelinedb; $places");
my $bad_sql = "SELECT i, CASE WHEN i % 50 = 3 THEN 'bad ' || i ELSE (i % 10)::text END FROM generate_series(1, 500) i";
sub check_places {
    my ($name, $times) = @_;
    my $n = 490 * $times;
    is(sql('SELECT n FROM in_filter'), 440 * $times, "$name: error in WHERE");
    is(sql('SELECT sum(n), count(*) FROM in_key'), "$n|10", "$name: error in a key");
    is(sql('SELECT sum(n), count(*) FROM in_argument'), "$n|5", "$name: error in an argument");
    is(sql('SELECT n, "all" FROM in_agg_filter'), 50 * $times . "|$n", "$name: error in FILTER");
    is(sql("SELECT name, rejected FROM pipelinedb.views WHERE name LIKE 'in\\_%' OR name = 'grouped' ORDER BY 1"),
        join("\n", map { "$_|" . 10 * $times } qw(grouped in_agg_filter in_argument in_filter in_key)), "$name: all counted");
}
sql("INSERT INTO p $bad_sql");
folded();
check_places('hashed groups', 1);
is(sql(q{SELECT string_agg("row" ->> 'id', ' ' ORDER BY id) FROM pipelinedb.errors WHERE view = 'in_key'::regclass}),
    join(' ', map { 50 * $_ + 3 } 0 .. 9), 'just the guilty rows');
# Joined: the plan for many rows reads them otherwise than the one for few. And rows kept one by one.
sql(q{CREATE TABLE dim (k int PRIMARY KEY, name text);
    INSERT INTO dim SELECT i, 'name ' || i % 3 FROM generate_series(0, 999) i; ANALYZE dim;
    CREATE VIEW joined AS SELECT d.name, count(*) AS n, sum(p.v::int) AS s FROM p JOIN dim d ON p.id % 1000 = d.k GROUP BY 1;
    CREATE VIEW join_failing AS SELECT count(*) AS n FROM p JOIN dim d ON d.k = p.v::int;
    CREATE VIEW one_by_one AS SELECT id, v::int AS v FROM p});
for my $rows (20, 50_000) {
    my ($bad, $good) = ($rows / 10, $rows * 9 / 10);
    sql("INSERT INTO p SELECT i, CASE WHEN i % 10 = 3 THEN 'bad' ELSE '1' END FROM generate_series(1, $rows) i");
    folded();
    is(sql('SELECT (SELECT sum(n) FROM joined), (SELECT sum(s) FROM joined), (SELECT n FROM join_failing),
        (SELECT count(*) FROM one_by_one)'), join('|', ($good) x 4), "$rows rows, joined and one by one") if $rows == 20;
    is(sql("SELECT string_agg(rejected::text, ' ') FROM pipelinedb.views WHERE name IN ('joined', 'join_failing', 'one_by_one')"),
        join(' ', ($bad + ($rows > 20 ? 2 : 0)) x 3), "$bad of $rows are rejected");
}
is(sql('SELECT (SELECT sum(n) FROM joined), (SELECT sum(s) FROM joined), (SELECT n FROM join_failing),
    (SELECT count(*) FROM one_by_one)'), join('|', (45_018) x 4), 'the others are there once');
sql('DROP VIEW joined, join_failing, one_by_one, in_filter, in_key, in_argument, in_agg_filter, grouped');
sql($places);
# A plan that sorts has read all rows when it fails: they are halved.
set_server($node, enable_hashagg => 'off');
sql("SELECT pg_terminate_backend($_)") for fold_worker_pid($node);
sql("INSERT INTO p $bad_sql");
folded();
check_places('sorted groups', 1);
set_server($node, enable_hashagg => 'on');

# What only tried whether rows can be folded has happened to nobody.
sql(q{CREATE TABLE notes (v text);
    CREATE FUNCTION noted(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO notes VALUES (v); RETURN v::int; END';
    CREATE FOREIGN TABLE n (v text) SERVER pipelinedb;
    CREATE VIEW noted_v AS SELECT count(*) AS n, sum(noted(v)) AS s FROM n;
    INSERT INTO n SELECT CASE WHEN i % 7 = 0 THEN 'bad' ELSE i::text END FROM generate_series(1, 100) i});
folded();
is(sql('SELECT n, s FROM noted_v'), '86|4315', 'a query with side effects');
is(sql('SELECT count(*), count(DISTINCT v) FROM notes'), '86|86', 'which come about once');

# ---- errors that come from rows together ---------------------------------------------------------

sql(q{CREATE FOREIGN TABLE t (k int, f float8) SERVER pipelinedb;
    CREATE VIEW sums AS SELECT k, sum(f) AS s, count(*) AS n FROM t GROUP BY k;
    INSERT INTO t SELECT 1, 1e308 FROM generate_series(1, 5);
    INSERT INTO t SELECT i, 1 FROM generate_series(1, 100) i});
folded();
is(sql('SELECT n, s FROM sums WHERE k = 1'), '2|1e+308', 'of rows that overflow together one is folded');
is(state_of('sums'), 'active||4', 'the others are rejected');
is(errors_of('sums'), join("\n", ('22003|value out of range: overflow') x 4), 'with their error');
sql('INSERT INTO t VALUES (1, 1e308), (1, -1e308), (1, 1e308), (2, 5)');
folded();
is(sql('SELECT n, s FROM sums WHERE k < 3 ORDER BY k'), "4|1e+308\n2|6", 'so are those that overflow with the stored group');
is(state_of('sums'), 'active||5', 'in their order');
sql('ALTER TABLE sums_mrel ADD CHECK (n < 10)');
sql('INSERT INTO t SELECT 3 + i % 2, 1 FROM generate_series(1, 100) i');
folded();
is(sql('SELECT k, n FROM sums WHERE k IN (3, 4) ORDER BY k'), "3|9\n4|9", 'a CHECK of the table: groups are filled up to it');
is(state_of('sums'), 'active||89', 'other rows are rejected');
like(errors_of('sums'), qr/^23514\|new row for relation "sums_mrel" violates check constraint/m, 'with its error');
sql('ALTER TABLE sums_mrel DROP CONSTRAINT sums_mrel_n_check; SELECT pipelinedb.retry_errors(\'sums\')');
folded();
is(sql('SELECT k, n FROM sums WHERE k IN (3, 4) ORDER BY k'), "3|51\n4|51", 'without the CHECK they are folded');
is(sql('SELECT sum(n) + (SELECT rejected FROM pipelinedb.views WHERE name = \'sums\') FROM sums'), 5 + 100 + 4 + 100, 'rows in = folded + rejected');
# An index of the owner's fails after rows were written.
sql('CREATE FUNCTION under(n int8) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \'BEGIN ASSERT n < 60; RETURN 1; END\';
     CREATE INDEX ON sums_mrel (under(n))');
sql('INSERT INTO t SELECT 3 + i % 2, 1 FROM generate_series(1, 100) i');
folded();
is(sql('SELECT k, n FROM sums WHERE k IN (3, 4) ORDER BY k'), "3|59\n4|59", 'an index expression that fails');
sql('DROP FUNCTION under CASCADE; SELECT pipelinedb.clear_errors(\'sums\')');
is(sql("SELECT count(*) FROM pipelinedb.errors WHERE view = 'sums'::regclass"), '0', 'clear_errors()');
is(sql('SELECT sum(n) + (SELECT rejected FROM pipelinedb.views WHERE name = \'sums\') FROM sums'), 5 + 100 + 4 + 100 + 100,
    'those cleared stay counted');

# ---- many rows ----------------------------------------------------------------------------------

# Every row has a number of its own: it is in the view once or among the rejected once.
sql(q{CREATE FOREIGN TABLE m (id int, v text) SERVER pipelinedb;
    CREATE FUNCTION num(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN v::int; END';
    CREATE VIEW ids AS SELECT id, count(*) AS n, sum(num(v)) AS s FROM m GROUP BY id;
    CREATE VIEW all_ids AS SELECT count(*) AS n, sum(id::int8) AS s FROM m;});
my $last = 0;
sub is_exact {
    my ($name) = @_;
    is(sql('SELECT n, s FROM all_ids'), "$last|" . $last * ($last + 1) / 2, "$name: the view beside it is exact");
    is(sql(qq{SELECT count(*), coalesce(sum(seen), 0), coalesce(max(seen), 0), min(id), max(id)
        FROM (SELECT id, sum(n) AS seen FROM (SELECT id, n FROM ids UNION ALL
            SELECT ("row" ->> 'id')::int, 1 FROM pipelinedb.errors WHERE view = 'ids'::regclass) x GROUP BY id) y}),
        "$last|$last|1|1|$last", "$name: each row is folded once or rejected once");
    is(sql("SELECT count(*) FROM pipelinedb.errors WHERE view = 'ids'::regclass"), sql("SELECT rejected FROM pipelinedb.views WHERE name = 'ids'"),
        "$name: the count is right");
}
sub rows { # their SELECT; every $nth one is bad
    my ($count, $nth) = @_;
    my ($from, $to) = ($last + 1, $last + $count);
    $last = $to;
    return "SELECT i, CASE WHEN i % $nth = 0 THEN 'bad' ELSE '1' END FROM generate_series($from, $to) i";
}
sub forget { sql("SELECT pipelinedb.clear_errors('ids'); DROP VIEW ids; DROP VIEW all_ids;
    CREATE VIEW ids AS SELECT id, count(*) AS n, sum(num(v)) AS s FROM m GROUP BY id;
    CREATE VIEW all_ids AS SELECT count(*) AS n, sum(id::int8) AS s FROM m"); $last = 0; }
sub next_xid { return sql('SELECT txid_snapshot_xmax(txid_current_snapshot())'); }
set_server($node, 'pipelinedb.max_errors' => 200000);
my ($begin, $xid) = (time, next_xid());
sql('INSERT INTO m ' . rows(100_000, 77_777));
folded();
diag(sprintf '1 bad row among 100,000: %.2f s, %d xids', time - $begin, next_xid() - $xid);
is_exact('1 bad row among 100,000');
($begin, $xid) = (time, next_xid());
sql('INSERT INTO m ' . rows(50_000, 1));
folded();
diag(sprintf '50,000 bad rows: %.2f s, %d xids', time - $begin, next_xid() - $xid);
cmp_ok(next_xid() - $xid, '<', 500, 'rows that are all bad cost few xids');
is_exact('all bad');

# A big transaction in pieces, a prepared one, savepoints.
set_server($node, 'pipelinedb.fold_batch' => '256kB');
sql("BEGIN; INSERT INTO m " . rows(60_000, 1000) . "; COMMIT");
sql("BEGIN; INSERT INTO m " . rows(1000, 10) . "; PREPARE TRANSACTION 'p'");
sql("BEGIN; INSERT INTO m VALUES (-1, 'bad'); PREPARE TRANSACTION 'never'; ROLLBACK PREPARED 'never'");
sql("COMMIT PREPARED 'p'");
sql("BEGIN; SAVEPOINT a; INSERT INTO m VALUES (-1, 'bad'), (-2, '1'); ROLLBACK TO a; INSERT INTO m " . rows(100, 7) . '; COMMIT');
folded();
is_exact('in pieces and prepared');
set_server($node, 'pipelinedb.fold_batch' => '16MB', 'pipelinedb.max_errors' => 1000);

# Slow bad rows: a turn ends after a second, and the other views go on.
sql(q{CREATE FOREIGN TABLE slow (id int, pad text) SERVER pipelinedb;
    CREATE FUNCTION slow_fail(id int) RETURNS int LANGUAGE plpgsql AS
      'BEGIN PERFORM pg_sleep(0.002); IF id % 2 = 0 THEN RAISE ''even''; END IF; RETURN id; END';
    CREATE VIEW slow_v AS SELECT count(slow_fail(id)) AS n FROM slow});
sql("INSERT INTO slow SELECT i, repeat('x', 100) FROM generate_series(1, 1500) i");
my $longest = 0;
while (sql('SELECT coalesce(sum(n), 0) FROM slow_v') < 750) {
    sql('INSERT INTO m ' . rows(1, 1_000_000_000));
    my $took = wait_until(sub { sql('SELECT n FROM all_ids') == $last }) // 1000;
    $longest = $took if $took > $longest;
}
folded();
is(sql('SELECT n FROM slow_v') . '|' . state_of('slow_v'), '750|active||750', 'slow bad rows');
cmp_ok($longest, '<', 5, 'do not keep the other views waiting');
diag(sprintf 'a row of another view waited %.1f s at most', $longest);
sql('DROP VIEW slow_v');

# ---- crashes while rows are rejected ------------------------------------------------------------

forget();
sub crash_at {
    my ($point, $write, $done) = @_;
    $done //= "SELECT n = $last FROM all_ids";
    unlink $node->data_dir . "/pipelinedb_stop_$point";
    my $log = -s $node->logfile;
    eval { set_conf($node, 'pipelinedb.stop_points' => "$point:crash") };
    # The crash may come before its commit, or after it and before the session hears of it.
    my $sure = eval { sql($write); 1 };
    ok(crashed_at($node, $point, $log), "$point: crashed there");
    set_conf($node, 'pipelinedb.stop_points' => '');
    folded();
    sql($write) if !$sure && sql($done) ne 't';
}
my @reject_points = grep { /^reject_/ && $_ ne 'reject_put_back' } all_stop_points();
ok(@reject_points > 0, 'there are stop points');
for my $point (@reject_points, qw(fold_before_progress fold_after_progress fold_committed)) {
    crash_at($point, 'INSERT INTO m ' . rows(2000, 100));
    folded();
    is_exact("crash at $point");
}
for my $point (@reject_points) {
    my $log = -s $node->logfile;
    set_conf($node, 'pipelinedb.stop_points' => "$point:error");
    sql('INSERT INTO m ' . rows(2000, 100));
    ok(wait_until(sub { index(slurp_file($node->logfile, $log), qq(stop point "$point" reached)) >= 0 }, 30), "$point: failed there");
    set_conf($node, 'pipelinedb.stop_points' => '');
    folded();
    is_exact("error at $point");
}
for (1 .. 3) {
    sql('INSERT INTO m ' . rows(3000, 50));
    my $log = -s $node->logfile;
    ok(kill('KILL', fold_worker_pid($node)), 'kill -9 of the fold worker');
    after_kill($node, $log);
    folded();
    is_exact("kill -9, round $_");
}

# ---- a retry ------------------------------------------------------------------------------------

sub rejected { return sql("SELECT rejected FROM pipelinedb.views WHERE name = 'ids'"); }
my $count = rejected();
is(sql("SELECT pipelinedb.retry_errors('ids')"), $count, 'retry_errors() gives the rows back');
folded();
is(rejected(), $count, 'not mended, they are rejected again');
is_exact('rejected twice');
sql("CREATE OR REPLACE FUNCTION num(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN CASE v WHEN ''bad'' THEN -1 ELSE v::int END; END'");
sql("BEGIN; SELECT pipelinedb.retry_errors('ids'); ROLLBACK;
     BEGIN; SAVEPOINT a; SELECT pipelinedb.retry_errors('ids'); ROLLBACK TO a; COMMIT;
     BEGIN; SELECT pipelinedb.retry_errors('ids'); PREPARE TRANSACTION 'retry'");
folded();
is(sql('SELECT count(*) FROM ids WHERE s = -1'), '0', 'a retry that is not committed folds nothing');
sql("ROLLBACK PREPARED 'retry'");
folded();
is_exact('after retries that were rolled back');

# A crash of the session, and one of the fold worker after its commit.
crash_at('reject_put_back', "SELECT pipelinedb.retry_errors('ids')", 'SELECT true');
folded();
is_exact('crash in retry_errors()');
is(rejected(), $count, 'nothing was given back');
my ($one, $two) = map { $node->background_psql('postgres') } 1 .. 2;
$one->query_safe("BEGIN; SELECT pipelinedb.retry_errors('ids')");
sql('INSERT INTO m ' . rows(10, 5)); # nobody waits: 'bad' is no error any more
folded('the view folds while a retry is open');
$two->query_until(qr/begun/, "\\echo begun\nSELECT 'second', pipelinedb.retry_errors('ids');\n");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"), 'a second retry waits');
$one->query_safe('ROLLBACK');
like($two->query_safe('SELECT 1'), qr/^second\|$count$/m, 'and takes the rows when the first is rolled back');
$_->quit for $one, $two;
folded();
is(rejected(), '0', 'all rows are folded');
is(sql('SELECT count(*) FROM ids WHERE s = -1'), $count + 2, 'once');
is_exact('retried');

sql("CREATE OR REPLACE FUNCTION num(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN v::int; END'");
sql('INSERT INTO m ' . rows(1000, 10));
folded();
is(rejected(), '100', 'rejected');
sql("CREATE OR REPLACE FUNCTION num(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN CASE v WHEN ''bad'' THEN -1 ELSE v::int END; END'");
for my $point (qw(fold_before_view fold_before_progress)) {
    crash_at($point, "SELECT pipelinedb.retry_errors('ids')", "SELECT rejected = 0 FROM pipelinedb.views WHERE name = 'ids'");
    folded();
    is(rejected(), '0', "a crash at $point of the fold of a retry");
    is_exact('retried');
    sql("CREATE OR REPLACE FUNCTION num(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN v::int; END'");
    sql('INSERT INTO m ' . rows(100, 10));
    folded();
    sql("CREATE OR REPLACE FUNCTION num(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN CASE v WHEN ''bad'' THEN -1 ELSE v::int END; END'");
}
# Paused meanwhile; then its columns change.
sql("SELECT pipelinedb.deactivate('ids')");
sql("SELECT pipelinedb.retry_errors('ids');
     ALTER FOREIGN TABLE m ADD COLUMN more int");
$node->restart;
sql("SELECT pipelinedb.activate('ids')");
ok($node->poll_query_until('postgres', "SELECT (SELECT count(*) FROM ids) = $last"), 'rows given back to a paused view wait for it');
is_exact('paused');

sql("SELECT pipelinedb.deactivate('ids')");
sql("CREATE OR REPLACE FUNCTION num(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN v::int; END'");
sql("SELECT pipelinedb.activate('ids'); INSERT INTO m VALUES (-1, 'bad'), (-2, 'bad')");
folded();
# Not in one transaction: a tick may see its rows before it hears that the view is paused.
sql("SELECT pipelinedb.deactivate('ids')");
sql("SELECT pipelinedb.retry_errors('ids')");
sql("INSERT INTO m VALUES (-3, 'bad')");
sql("CREATE OR REPLACE FUNCTION num(v text) RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT pipelinedb.activate('ids')");
ok($node->poll_query_until('postgres', 'SELECT count(*) = 3 FROM ids WHERE id < 0'), 'those of a paused view are folded with its backlog');
sql("CREATE OR REPLACE FUNCTION num(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN v::int; END'; INSERT INTO m VALUES (-4, 'bad'), (-5, 'bad')");
folded();
sql("BEGIN; SELECT pipelinedb.truncate_continuous_view('ids'); ROLLBACK");
is(rejected(), '2', 'a truncation that is rolled back');
sql("SELECT pipelinedb.deactivate('ids')");
sql("SELECT pipelinedb.retry_errors('ids')");
sql("SELECT pipelinedb.truncate_continuous_view('ids')");
sql("INSERT INTO m VALUES (-6, '6')");
sql("SELECT pipelinedb.activate('ids')");
ok($node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM ids'), 'a truncated view folds');
folded();
is(sql('SELECT id FROM ids') . '|' . rejected(), '-6|0', 'rows that were given back before count no more');
sql("INSERT INTO m VALUES (-7, 'bad')");
folded();
sql("SELECT pipelinedb.truncate_continuous_view('ids')");
is(rejected() . sql("SELECT count(*) FROM pipelinedb.errors WHERE view = 'ids'::regclass"), '00', 'nor do those rejected');

# ---- wide rows, columns that come and go --------------------------------------------------------

sql(q{CREATE FOREIGN TABLE wide (a int, gone text, v text, b bytea) SERVER pipelinedb;
    CREATE FUNCTION len(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN IF v LIKE ''x%'' THEN RAISE ''no''; END IF; RETURN octet_length(v); END';
    CREATE VIEW widths AS SELECT count(*) AS n, sum(len(v)) AS s, sum(octet_length(b)) AS b FROM wide;
    INSERT INTO wide VALUES (1, 'g', repeat('xü', 300000), repeat('b', 100)::bytea), (2, E'q"\\\\', 'x', repeat('b', 3000000)::bytea), (3, NULL, 'fine', NULL)});
folded();
is(sql('SELECT n, s FROM widths'), '1|4', 'wide rows are rejected');
is(sql(q{SELECT max(octet_length("row"::text)) < 70000, count(*), min(octet_length("row" ->> 'v')),
    bool_and(jsonb_typeof("row") = 'object') FROM pipelinedb.errors WHERE view = 'widths'::regclass}), 't|2|1|t', 'and shown cut');
is(sql(q{SELECT "row" ->> 'a', "row" ->> 'gone', right("row" ->> 'v', 3), "row" ->> 'b' LIKE '%bytes%' FROM pipelinedb.errors
    WHERE view = 'widths'::regclass ORDER BY id}), "1|g|...|f\n2|q\"\\|x|t", 'as far as it goes');
sql(q{CREATE OR REPLACE FUNCTION len(v text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN octet_length(v); END';
    ALTER FOREIGN TABLE wide DROP COLUMN gone; ALTER FOREIGN TABLE wide ADD COLUMN gone int;
    SELECT pipelinedb.retry_errors('widths')});
folded();
is(sql('SELECT n, s, b FROM widths'), '3|900005|3000100', 'given back, they are whole');

# ---- a view that is paused before its own tick -----------------------------------------------------

# A view with bad rows stays alone for a moment: it has a tick of its own after the shared one.
sub step { # to the next time that a worker comes to the point
    my ($holder, $point) = @_;
    # In one statement: the lock is asked for before the worker that gets it lets it go.
    $holder->query_safe("SELECT pg_advisory_unlock(1346981957, hashtext('$point')),
        pg_advisory_lock(1346981957, hashtext('$point'))");
    return held_at($node, $point);
}
sql(q{CREATE FOREIGN TABLE q (v text) SERVER pipelinedb;
    CREATE VIEW qv AS SELECT count(*) AS n, sum(v::int) AS s FROM q; INSERT INTO q VALUES ('bad')});
folded();
my $holder = hold_at($node, 'fold_before_snapshot');
set_conf($node, 'pipelinedb.stop_points' => 'fold_before_snapshot:wait');
sql("INSERT INTO q VALUES ('1')");
ok(held_at($node, 'fold_before_snapshot') && step($holder, 'fold_before_snapshot'), 'the tick of the view alone begins');
sql("SELECT pipelinedb.deactivate('qv')");
set_conf($node, 'pipelinedb.stop_points' => '');
release_all($holder);
folded();
sql("SELECT pipelinedb.activate('qv')");
ok($node->poll_query_until('postgres', 'SELECT n = 1 FROM qv'), 'its row is folded when it is activated');

# ---- how many are kept, what the log says -------------------------------------------------------

set_server($node, 'pipelinedb.max_errors' => 10);
sql(q{CREATE FOREIGN TABLE l (id int, v text) SERVER pipelinedb;
    CREATE VIEW logged AS SELECT count(*) AS n, sum(v::int) AS s FROM l;});
for my $i (1 .. 20) {
    sql("INSERT INTO l VALUES ($i, 'bad'), ($i, 'bad'), ($i, '1')");
    folded();
}
is(state_of('logged'), 'active||40', 'all are counted');
is(sql(q{SELECT string_agg("row" ->> 'id', ' ' ORDER BY id) FROM pipelinedb.errors WHERE view = 'logged'::regclass}),
    '16 16 17 17 18 18 19 19 20 20', 'the latest are kept');
my @lines = slurp_file($node->logfile) =~ /continuous view "logged" rejected.*/g;
is(scalar @lines, 1, 'one line in the log');
like($lines[0], qr/rejected 2 rows, the last one with: invalid input syntax for type integer: "bad"/, 'that says it all');
set_server($node, 'pipelinedb.max_errors' => 0);
sql("INSERT INTO l VALUES (0, 'bad')");
folded();
is(state_of('logged') . sql("SELECT count(*) FROM pipelinedb.errors WHERE view = 'logged'::regclass"), 'active||410', 'none is kept');
set_server($node, 'pipelinedb.max_errors' => 1000);
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pipelinedb.progress'), 'views with bad rows go with the others again');

# ---- rights -------------------------------------------------------------------------------------

sql(q{CREATE ROLE owner LOGIN; CREATE ROLE other LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
    CREATE SCHEMA s AUTHORIZATION owner; GRANT USAGE ON SCHEMA s TO PUBLIC;
    CREATE FOREIGN TABLE s.r (k text, secret text) SERVER pipelinedb; GRANT SELECT (k) ON s.r TO owner;
    SET ROLE owner; CREATE VIEW s.v AS SELECT sum(k::int) AS s FROM s.r; RESET ROLE;
    INSERT INTO s.r VALUES ('one', 'hush')});
folded();
sub as { my ($role, $query) = @_; return $node->psql('postgres', $query, extra_params => [ '-U', $role ]); }
my $seen = "SELECT message, \"row\" - 'arrival_timestamp' FROM pipelinedb.errors WHERE view = 's.v'::regclass";
for my $role (qw(owner watcher)) {
    my ($rc, $out) = as($role, $seen);
    is($out, 'invalid input syntax for type integer: "one"|{"k": "one"}', "$role sees the row, but not what the owner may not read");
}
my ($rc, $out, $err) = as('other', 'SELECT * FROM pipelinedb.errors');
is("$rc$out", '0', 'others see nothing');
for my $role (qw(other watcher)) {
    for my $call (qw(retry_errors clear_errors)) {
        ($rc, $out, $err) = as($role, "SELECT pipelinedb.$call('s.v')");
        like($err, qr/must be owner of view v/, "$call() is not for $role");
    }
    for my $table (qw(rejected rejection attempt)) {
        ($rc, $out, $err) = as($role, "SELECT * FROM pipelinedb.$table");
        like($err, qr/permission denied/, "nor is the table $table");
    }
}
($rc, $out) = as('owner', "SELECT pipelinedb.retry_errors('s.v'), pipelinedb.clear_errors('s.v')");
is($out, '1|0', 'but for its owner');
folded();
sql('SET ROLE owner; DROP VIEW s.v');
is(sql('SELECT count(*) FROM pipelinedb.rejected r WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.view)')
    . sql('SELECT count(*) FROM pipelinedb.rejection r WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.view)'), '00', 'DROP VIEW takes them along');
unlike(`@{[ $node->installed_command('pg_dump') ]} -d '@{[ $node->connstr('postgres') ]}'`,
    qr/pipelinedb\.(?:rejected|errors)/, 'they are in no dump');

# ---- rows that crash the server -------------------------------------------------------------------

sql(q{CREATE FOREIGN TABLE x (k int) SERVER pipelinedb;
    CREATE FUNCTION boom(k int) RETURNS int LANGUAGE plpgsql AS
      $$ BEGIN IF k = 666 THEN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''kill -9 $PPID'''; END IF; RETURN k; END $$;
    CREATE VIEW x1 AS SELECT k, count(*) AS n FROM x GROUP BY k;
    CREATE VIEW x2 AS SELECT boom(k) AS k, count(*) AS n FROM x GROUP BY 1;
    CREATE VIEW x3 AS SELECT count(*) AS n FROM x;});
$node->restart; # a clean one
sql('INSERT INTO x VALUES (1), (2)');
folded();
# The table was written after the crashes above: a new database tells.
$node->safe_psql('postgres', 'CREATE DATABASE clean');
$node->safe_psql('clean', 'CREATE EXTENSION pipeline_ext; CREATE FOREIGN TABLE x (k int) SERVER pipelinedb;
    CREATE VIEW v AS SELECT count(*) FROM x; INSERT INTO x VALUES (1)');
is(flush($node, 'clean'), 't', 'folded');
is($node->safe_psql('clean', "SELECT pg_relation_size('pipelinedb.attempt')"), '0', 'after a clean end no attempt is marked');
# Another database folds at the same time, and takes its time: it is not to blame.
$node->safe_psql('clean', q{CREATE FUNCTION slow(k int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN k; END';
    CREATE VIEW slow_v AS SELECT sum(slow(k)) AS s, count(*) AS n FROM x;
    SELECT pipelinedb.deactivate('slow_v')});
$node->safe_psql('clean', 'INSERT INTO x VALUES (1), (2)');
$node->safe_psql('clean', "SELECT pipelinedb.activate('slow_v')");
my $log = -s $node->logfile;
eval { sql('INSERT INTO x VALUES (666), (3)') };
ok(wait_until(sub { (eval { sql("SELECT state FROM pipelinedb.views WHERE name = 'x2'") } // '') eq 'failed' }, 60), 'a view that crashes the server is stopped');
bring_back($node);
folded('the others go on');
is(sql('SELECT k, n FROM x1 ORDER BY k'), "1|1\n2|1\n3|1\n666|1", 'each row once');
is(sql('SELECT n FROM x3'), '4', 'in all of them');
is(sql("SELECT sqlstate, message FROM pipelinedb.views WHERE name = 'x2'"), '57P02|the server crashed each time it was folded', 'it says why');
my $crashes = () = slurp_file($node->logfile, $log) =~ /was terminated by signal 9/g;
is($crashes, 3, 'after three crashes');
ok($node->poll_query_until('clean', 'SELECT n = 2 AND s = 3 FROM slow_v'), 'the view of another database has its rows');
is($node->safe_psql('clean', "SELECT state FROM pipelinedb.views WHERE name = 'slow_v'"), 'active', 'and was not stopped');
is(sql('SELECT count(*) FROM pipelinedb.attempt') . $node->safe_psql('clean', 'SELECT count(*) FROM pipelinedb.attempt'), '00',
    'no mark is left');
sql(q{CREATE OR REPLACE FUNCTION boom(k int) RETURNS int LANGUAGE sql AS 'SELECT k'; SELECT pipelinedb.activate('x2')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 4 FROM x2'), 'mended, it folds its backlog');
is(sql('SELECT sum(n) FROM x2'), '4', 'each row once');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pipelinedb.progress'), 'and goes with the others');

views_are_active($node);
$node->stop;
done_testing();
