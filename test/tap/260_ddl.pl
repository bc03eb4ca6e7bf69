# DDL while rows stream: whatever is done to streams, views, their tables and the database, the
# totals are exact afterwards. Then truncation: under load, with the fold worker held at each
# step, and with a crash at each of its own.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run;
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints;
use Test::More;

my $node = new_node('main',
    log_statement => 'none',
    max_prepared_transactions => 20,
    restart_after_crash => 'on',
    'pipelinedb.spool_generation_size' => '1MB',
    'pipelinedb.fold_batch' => '256kB');
my $db = 'load';
sub sql { return $node->safe_psql($db, $_[0]); }

# "plain" gets every row in the same transaction, so it says what the views must show.
$node->safe_psql('postgres', 'DROP EXTENSION pipeline_ext');
$node->safe_psql('postgres', 'CREATE DATABASE load'); # only one fold worker
sql(<<'SQL');
CREATE EXTENSION pipeline_ext;
CREATE ROLE alice;
CREATE SCHEMA aside;
GRANT ALL ON SCHEMA public, aside TO alice;
CREATE FOREIGN TABLE st (k int, n int) SERVER pipelinedb;
GRANT SELECT ON st TO alice;
CREATE TABLE plain (xid xid8 DEFAULT pg_current_xact_id(), k int, n int);
CREATE TABLE going (on_and_on bool);
CREATE FUNCTION put(k int, n int) RETURNS void BEGIN ATOMIC
    INSERT INTO st VALUES (put.k, put.n);
    INSERT INTO plain (k, n) VALUES (put.k, put.n);
END;
CREATE PROCEDURE write_on(writer int) LANGUAGE plpgsql AS $$
DECLARE i int := 0;
BEGIN
    WHILE (SELECT on_and_on FROM public.going) LOOP
        i := i + 1;
        PERFORM public.put(i % 50, i);
        IF i % 3 = 0 THEN
            BEGIN
                PERFORM public.put(i % 50, 1000000);
                PERFORM 1 / 0;
            EXCEPTION WHEN division_by_zero THEN
                NULL;
            END;
        END IF;
        IF i % 7 = 0 THEN
            PERFORM public.put(g, writer) FROM generate_series(1, 60) g;
        END IF;
        IF i % 11 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
END $$;
CREATE VIEW control AS SELECT k, count(*), sum(n) FROM st GROUP BY k;
CREATE VIEW v AS SELECT k, count(*), sum(n) FROM st GROUP BY k;
CREATE VIEW cut AS SELECT k, count(*), sum(n) FROM st GROUP BY k;
CREATE VIEW cut_total AS SELECT count(*), sum(n) FROM st;
COMMENT ON VIEW v IS 'kept';
SQL

# ---- helpers ----------------------------------------------------------------------------------

my @writers;

sub start_writers {
    sql('TRUNCATE going; INSERT INTO going VALUES (true)');
    @writers = map { IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-d', $node->connstr($db),
        '-c', "CALL write_on($_)" ], '<', \undef, '>', \my $out, '2>', \my $err) } 1 .. 2;
}

sub stop_writers {
    sql('UPDATE going SET on_and_on = false');
    my @ends = map { $_->finish } @writers;
    is("@ends", '1 1', 'the writers saw no error');
}

# Lets the writers go on for a while.
sub rows_come { my $n = sql('SELECT count(*) FROM plain') + ($_[0] // 40);
    $node->poll_query_until($db, "SELECT count(*) > $n FROM plain") or die 'no rows come'; }

sub caught_up {
    my $together = 'SELECT count(*) = 1 FROM pipelinedb.progress';
    return $node->poll_query_until($db, $together) && flush($node, $db) eq 't'
      && $node->poll_query_until($db, $together);
}

# As hold_at() of StopPoints: advisory locks are those of a database.
sub hold {
    my ($point) = @_;
    my $holder = $node->background_psql($db);
    $holder->query_safe("SELECT pg_advisory_lock(1346981957, hashtext('$point'))");
    return $holder;
}

sub differs {
    my ($view, $expected) = @_;
    return sql("SELECT count(*) FROM ((TABLE $view EXCEPT ALL $expected) UNION ALL
        ($expected EXCEPT ALL TABLE $view)) x");
}

sub is_exact {
    my ($name, %names) = @_;
    ok(caught_up(), "$name: folded") or diag(sql('TABLE pipelinedb.views'));
    my $counts = sub { "SELECT k, count(*), sum(n) FROM plain $_[0] GROUP BY k" };
    my $after = sub { "WHERE NOT EXISTS (SELECT FROM pipelinedb.truncation
        WHERE view = '$_[0]'::regclass AND pg_visible_in_snapshot(plain.xid, seen))" };
    is(differs('control', $counts->('')), '0', "$name: control is exact");
    is(differs($names{v} // 'v', $counts->('')), '0', "$name: the view is exact");
    is(differs('cut', $counts->($after->('cut'))), '0', "$name: the truncated one is exact");
    is(differs('cut_total', 'SELECT count(*), sum(n) FROM plain ' . $after->('cut_total')), '0',
        "$name: so is the one without groups");
}

# Runs statements one by one while rows come in between.
sub under_load {
    my ($name, @statements) = @_;
    start_writers();
    rows_come();
    for my $statement (@statements) {
        my ($status, $out, $errors) = $node->psql($db, $statement);
        is($status, 0, $statement) or diag($errors);
        rows_come();
    }
    stop_writers();
    is_exact($name);
}

# ---- names, schemas, owners -------------------------------------------------------------------

under_load('names',
    'ALTER VIEW v RENAME TO w', 'ALTER VIEW w RENAME COLUMN count TO how_many', 'ALTER VIEW w SET SCHEMA aside',
    'ALTER VIEW aside.w OWNER TO alice', 'ALTER FOREIGN TABLE st RENAME TO river',
    'ALTER FOREIGN TABLE river RENAME COLUMN n TO number', 'ALTER FOREIGN TABLE river SET SCHEMA aside',
    'ALTER FOREIGN TABLE aside.river OWNER TO alice', 'ALTER SCHEMA aside RENAME TO elsewhere',
    'REASSIGN OWNED BY alice TO CURRENT_USER', 'ALTER FOREIGN TABLE elsewhere.river SET SCHEMA public',
    'ALTER FOREIGN TABLE river RENAME TO st', 'ALTER FOREIGN TABLE st RENAME COLUMN number TO n', 'ALTER VIEW elsewhere.w SET (security_barrier)',
    'ALTER VIEW elsewhere.w RESET (security_barrier)', 'ALTER VIEW elsewhere.w SET SCHEMA public',
    'ALTER VIEW w RENAME TO v');
is(sql("SELECT obj_description('v'::regclass)"), 'kept', 'the comment is kept');
is(sql("SELECT DISTINCT relowner::regrole FROM pg_class WHERE relname IN ('v', 'v_def', 'v_mrel', 'st')"),
    'postgres', 'owners are as before');

# ---- maintenance of the table -----------------------------------------------------------------

sql("SET allow_in_place_tablespaces = on; CREATE TABLESPACE there LOCATION ''")
    if eval { $node->safe_psql($db, "SET allow_in_place_tablespaces = on"); 1 };
under_load('maintenance',
    'VACUUM FULL v', 'CREATE INDEX CONCURRENTLY by_count ON v (how_many)', 'CLUSTER v_mrel USING v_mrel_key',
    'REINDEX TABLE v_mrel', 'REINDEX TABLE CONCURRENTLY v_mrel', 'REINDEX INDEX CONCURRENTLY v_mrel_key',
    'ALTER TABLE v_mrel SET TABLESPACE there', 'CREATE INDEX by_sum ON v (sum) WHERE sum > 0', 'VACUUM (ANALYZE) v',
    'ALTER TABLE v_mrel SET (fillfactor = 80)', 'DROP INDEX CONCURRENTLY by_count', 'ALTER TABLE v_mrel SET TABLESPACE pg_default',
    'ALTER TABLE v_mrel ADD CHECK (how_many > 0) NOT VALID' =~ s/how_many/count/r,
    'CREATE UNIQUE INDEX CONCURRENTLY uniq ON v (k, sum)', 'VACUUM FULL pipelinedb.progress', 'VACUUM pipelinedb.query');
is(sql('SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM v WHERE sum > 0'), sql('SELECT count(*) FROM control WHERE sum > 0'),
    "the user's index has every group");
is(sql("SELECT count(*) FROM pg_class c JOIN pg_stat_user_indexes i ON i.indexrelid = c.oid WHERE i.relname = 'v_mrel'
    AND NOT (SELECT indisvalid FROM pg_index x WHERE x.indexrelid = c.oid)"), '0', 'every index is valid');

# ---- views and roles come and go --------------------------------------------------------------

# A file whose name is no relation's. An empty one stays to the next checkpoint (md.c, mdunlinkfork).
my $orphans = "SELECT f FROM pg_ls_dir('base/' || (SELECT oid FROM pg_database
    WHERE datname = current_database())) f WHERE f ~ '^[0-9]+\$' AND pg_filenode_relation(0, f::oid) IS NULL";
sql('BEGIN; CREATE VIEW gone AS SELECT k, count(*), avg(n) FROM st GROUP BY k; ROLLBACK;
     DO $$ BEGIN CREATE VIEW gone AS SELECT count(*) FROM st; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END $$');
sql('CHECKPOINT');
is(sql($orphans), '', 'a CREATE VIEW that is rolled back leaves no file');
is(sql("SELECT count(*) FROM pipelinedb.progress WHERE consumer <> 0"), '0', 'and no progress');

under_load('comings and goings',
    'CREATE SCHEMA brief; CREATE VIEW brief.a AS SELECT count(*) FROM st; CREATE VIEW brief.b AS SELECT k, sum(n) FROM st GROUP BY k',
    'BEGIN; DROP VIEW v; ROLLBACK', 'BEGIN; CREATE VIEW brief.c AS SELECT count(*) FROM st; SAVEPOINT a; DROP SCHEMA brief CASCADE; ROLLBACK TO a; COMMIT',
    'DROP SCHEMA brief CASCADE', "BEGIN; CREATE VIEW p AS SELECT count(*) FROM st; PREPARE TRANSACTION 'p'", "ROLLBACK PREPARED 'p'",
    'GRANT SELECT ON st TO alice; SET ROLE alice; CREATE VIEW hers AS SELECT count(*) FROM st; RESET ROLE; DROP OWNED BY alice CASCADE; DROP ROLE alice',
    "SELECT pipelinedb.deactivate('v')", "SELECT pipelinedb.activate('v')", 'BEGIN; LOCK TABLE v_mrel; SELECT pg_current_xact_id(); COMMIT');
is(sql('SELECT count(*) FROM pg_class WHERE relname ~ \'^(hers|p|a|b|c)(_|$)\''), '0', 'what went has left nothing');

# ---- event triggers that refuse DDL, and a table that is locked for long ------------------------

sql(<<'SQL');
CREATE FOREIGN TABLE other (pad text) SERVER pipelinedb;
CREATE VIEW other_count AS SELECT count(*) FROM other;
CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('ddl.allowed', true) IS DISTINCT FROM 'yes' THEN RAISE 'no DDL'; END IF; END $$;
SET ddl.allowed = 'yes';
CREATE EVENT TRIGGER no_ddl_start ON ddl_command_start EXECUTE FUNCTION no_ddl();
CREATE EVENT TRIGGER no_ddl_end ON ddl_command_end EXECUTE FUNCTION no_ddl();
CREATE EVENT TRIGGER no_ddl_rewrite ON table_rewrite EXECUTE FUNCTION no_ddl();
CREATE EVENT TRIGGER no_ddl_drop ON sql_drop EXECUTE FUNCTION no_ddl();
SQL
my $log_size = -s $node->logfile;
my $locker = $node->background_psql($db);
$locker->query_safe('BEGIN; LOCK TABLE v_mrel IN ACCESS EXCLUSIVE MODE');
sql('SELECT put(1, 1)');
sql("INSERT INTO other SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 1500) a,
    generate_series(1, 100) b GROUP BY a") for 1 .. 6;
ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_class WHERE relkind = 'r'
    AND relnamespace = 'pipelinedb'::regnamespace AND relname ~ '^spool_' AND pg_total_relation_size(oid) > 100000"),
    'a locked table keeps one spool table from being emptied, where its rows are');
cmp_ok(sql('SELECT count(*) FROM pipelinedb.generation'), '>', 2, 'the others went on in new ones');
is(sql('SELECT count FROM other_count'), '9000', 'whose views go on');
is(sql("SELECT count(*) FROM pipelinedb.progress WHERE consumer = 'v'::regclass"), '1', 'it alone was set aside');
$locker->quit;
unlike(slurp_file($node->logfile, $log_size), qr/no DDL/, 'the fold worker fires no event trigger');
sql("SET ddl.allowed = 'yes'; DROP EVENT TRIGGER no_ddl_start; DROP EVENT TRIGGER no_ddl_end;
    DROP EVENT TRIGGER no_ddl_rewrite; DROP EVENT TRIGGER no_ddl_drop");
is_exact('after the lock');

# ---- the database, with rows that wait ----------------------------------------------------------

sub hold_back { # rows that no worker has folded
    sql("SELECT pipelinedb.deactivate('v')");
    sql('SELECT put(g % 50, g) FROM generate_series(1, 2000) g');
}
for my $statement ('ALTER DATABASE load RENAME TO renamed', 'ALTER DATABASE renamed RENAME TO load',
    'ALTER DATABASE load SET TABLESPACE there', 'CREATE DATABASE copy TEMPLATE load') {
    sql('SELECT put(g % 50, g) FROM generate_series(1, 2000) g') if $db eq 'load' && $statement !~ /renamed RENAME/;
    my ($status, $out, $errors) = $node->psql('postgres', $statement);
    is($status, 0, $statement) or diag($errors);
}
hold_back();
$node->safe_psql('postgres', 'CREATE DATABASE second_copy TEMPLATE load');
sql("SELECT pipelinedb.activate('v')");
is_exact('after database commands');
for my $copy ('copy', 'second_copy') {
    $db = $copy;
    sql("SELECT pipelinedb.activate('v'), put(3, 3)");
    is_exact("in $copy");
    $db = 'load';
    $node->safe_psql('postgres', "DROP DATABASE $copy");
}

# ---- truncation ---------------------------------------------------------------------------------

my $truncate = "SELECT pipelinedb.truncate_continuous_view('cut'); SELECT pipelinedb.truncate_continuous_view('cut_total')";
under_load('truncation', ($truncate) x 8, "BEGIN; $truncate; ROLLBACK", $truncate,
    "BEGIN; $truncate; PREPARE TRANSACTION 't'", "COMMIT PREPARED 't'", 'ALTER VIEW cut RENAME TO c; ALTER VIEW c RENAME TO cut');

# The worker stands still while the view is truncated, before, while and after it folds it.
for my $point (qw(fold_after_snapshot fold_collected fold_before_view fold_before_progress fold_after_progress fold_committed)) {
    # One alone: a tick that meets the new row of the one without groups ends with an error.
    my $one = "SELECT pipelinedb.truncate_continuous_view('cut')";
    # First before its snapshot, so that the tick that comes to the point has the rows.
    my $holder = hold('fold_before_snapshot');
    set_server($node, 'pipelinedb.stop_points' => "fold_before_snapshot:wait, $point:wait");
    ok(held_at($node, 'fold_before_snapshot'), 'the fold worker begins a tick');
    sql('SELECT put(g % 50, g) FROM generate_series(1, 100) g');
    $holder->query_safe("SELECT pg_advisory_lock(1346981957, hashtext('$point')),
        pg_advisory_unlock(1346981957, hashtext('fold_before_snapshot'))");
    ok(held_at($node, $point), "and stands still at $point");
    my $waits = $point =~ /_progress$/; # it has the lock of the table
    my ($out, $errors, $run) = ('', '');
    if ($waits) {
        $run = IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-d', $node->connstr($db), '-c', $one ],
            '<', \undef, '>', \$out, '2>', \$errors);
        ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'
            AND query LIKE '%truncate_continuous_view%' AND pid <> pg_backend_pid()"), 'the truncation waits for it');
    } else {
        sql($one);
    }
    set_server($node, 'pipelinedb.stop_points' => '');
    release_all($holder);
    ok($run->finish, 'and goes through') or diag($errors) if $waits;
    sql('SELECT put(g % 50, g) FROM generate_series(1, 10) g');
    is_exact("truncated at $point");
}

# A large transaction of which a part has been folded; a view that lags behind; one that failed.
{
    set_server($node, 'pipelinedb.stop_points' => 'fold_after_progress:wait');
    my $holder = hold('fold_after_progress');
    sql('SELECT count(*) FROM (SELECT put(g % 50, g) FROM generate_series(1, 60000) g) x');
    ok(held_at($node, 'fold_after_progress'), 'the first piece is folded');
    set_server($node, 'pipelinedb.stop_points' => 'fold_before_snapshot:wait');
    my $second = hold('fold_before_snapshot');
    release_all($holder);
    ok(held_at($node, 'fold_before_snapshot'), 'the worker stands between two pieces');
    cmp_ok(sql("SELECT coalesce(cardinality(big_xids), 0) FROM pipelinedb.progress WHERE consumer = 0"), '>', 0,
        'a transaction is half folded');
    sql($truncate);
    set_server($node, 'pipelinedb.stop_points' => '');
    release_all($second);
    sql('SELECT put(7, 7)');
    is_exact('half of a large transaction');
}
sql("SELECT pipelinedb.deactivate('cut')");
sql('SELECT put(g % 50, g) FROM generate_series(1, 3000) g');
sql($truncate);
sql('SELECT put(g % 50, g) FROM generate_series(1, 50) g');
sql("SELECT pipelinedb.activate('cut')");
is_exact('a paused view');

# Crashes and errors on the way.
for my $point (grep { /^truncate_/ } all_stop_points()) {
    for my $action ('error', 'crash') {
        sql('SELECT put(g % 50, g) FROM generate_series(1, 500) g');
        my $before = sql('SELECT array_agg((view, seen, seq) ORDER BY view) FROM pipelinedb.truncation');
        eval { $node->psql($db, "SET pipelinedb.stop_points = '$point:$action';
            BEGIN; INSERT INTO st VALUES (1, 1); $truncate; COMMIT") };
        bring_back($node);
        is(sql('SELECT array_agg((view, seen, seq) ORDER BY view) FROM pipelinedb.truncation'), $before, "$point: $action, and nothing was truncated");
        is_exact("$action at $point");
    }
}
start_writers();
rows_come();
sql($truncate);
# Not the postmaster: its end is nothing that a running procedure would notice.
kill 'KILL', fold_worker_pid($node, $db);
$_->finish for @writers;
bring_back($node);
is_exact('kill -9 after a truncation under load');

# ---- the extension ------------------------------------------------------------------------------

my ($status, $out, $errors) = $node->psql($db, 'DROP EXTENSION pipeline_ext');
like($errors, qr/cannot drop extension pipeline_ext because other objects depend on it/, 'DROP EXTENSION says what depends on it');
sql('SET client_min_messages = warning; DROP EXTENSION pipeline_ext CASCADE');
is(sql("SELECT count(*) FROM pg_class WHERE relname ~ '^(v|cut|control|st|other)(_|\$)'"), '0', 'CASCADE leaves no view, table or stream');
sql('CREATE EXTENSION pipeline_ext; CREATE FOREIGN TABLE st (k int, n int) SERVER pipelinedb;
    CREATE VIEW v AS SELECT count(*), sum(n) FROM st');
sql('INSERT INTO st VALUES (1, 2)');
is(flush($node, $db), 't', 'created again, it folds');
is(sql('TABLE v'), '1|2', 'and counts from there');

$node->stop;
done_testing();
