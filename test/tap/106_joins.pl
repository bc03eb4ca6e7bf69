# Joined tables that change, are rewritten, forbidden or dumped while rows stream.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints qw(kill_hard bring_back);
use Test::More;

my $node = new_node('joins', log_statement => 'none');
my $folder = PostgreSQL::Test::Utils::tempdir();
sub sql { return $node->safe_psql($_[1] // 'postgres', $_[0]); }
sub flushed { wait_folded($node); return sql($_[0]); }

sql(<<'SQL');
CREATE FOREIGN TABLE st (k int, n int) SERVER pipelinedb;
CREATE TABLE dim (id int PRIMARY KEY, name text, size int DEFAULT 1);
INSERT INTO dim SELECT g, 'n' || g % 3 FROM generate_series(1, 9) g;
CREATE MATERIALIZED VIEW mat AS SELECT id, name FROM dim;
CREATE VIEW inner_view AS SELECT count(*), sum(n) FROM st JOIN dim ON id = k;
CREATE VIEW left_view AS SELECT name, count(*) FROM st LEFT JOIN dim ON id = k GROUP BY name;
CREATE VIEW mat_view AS SELECT name, count(*) FROM st JOIN mat ON id = k GROUP BY name;
CREATE VIEW plain_view AS SELECT count(*) FROM st;
SQL

# ---- commands that are not MVCC-safe ---------------------------------------------------------

# To the tick's snapshot, which is older, the new file of the table is empty.
my $rows = 0;
for my $case ([ 'ALTER TABLE' => 'ALTER TABLE dim ALTER size TYPE bigint' ],
    [ 'ALTER TABLE back' => 'ALTER TABLE dim ALTER size TYPE int' ],
    [ 'VACUUM FULL' => 'VACUUM FULL dim' ],
    [ 'CLUSTER' => 'CLUSTER dim USING dim_pkey' ],
    [ 'REFRESH' => 'REFRESH MATERIALIZED VIEW mat' ],
    [ 'TRUNCATE and INSERT' => "BEGIN; CREATE TEMP TABLE kept AS TABLE dim; TRUNCATE dim;
        INSERT INTO dim TABLE kept; COMMIT" ]) {
    my ($name, $command) = @$case;
    my $held = hold_worker($node, 'fold_before_snapshot', 'fold_after_snapshot');
    sql('INSERT INTO st SELECT g % 9 + 1, g FROM generate_series(1, 90) g');
    $rows += 90;
    move_worker($held, 'fold_after_snapshot');
    $node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted
        AND locktype = 'advisory' AND objid::int8 = hashtext('fold_after_snapshot')::int8 & 4294967295")
        or die 'the worker does not stop after its snapshot';
    sql($command);
    release_worker($held);
    is(flushed('SELECT i.count, l.count, m.count FROM inner_view i, (SELECT sum(count) AS count FROM
        left_view WHERE name IS NOT NULL) l, (SELECT sum(count) AS count FROM mat_view) m'),
        "$rows|$rows|$rows", "$name after the snapshot of a tick");
}

# ---- the table's content is that of the tick ---------------------------------------------------

sql('DROP MATERIALIZED VIEW mat CASCADE');
my $before = sql("SELECT count FROM left_view WHERE name = 'n1'");
sql("UPDATE dim SET name = 'new' WHERE name = 'n1'");
sql('INSERT INTO st VALUES (1, 0), (2, 0)');
is(flushed("SELECT string_agg(name || ' ' || count, ', ' ORDER BY name) FROM left_view
    WHERE name IN ('n1', 'new')"), "n1 $before, new 1", 'an UPDATE is for later rows only');
sql('DELETE FROM dim WHERE id = 1');
sql('INSERT INTO st VALUES (1, 0)');
is(flushed('SELECT count FROM left_view WHERE name IS NULL'), '1', 'and so is a DELETE');
sql("INSERT INTO dim VALUES (1, 'again')");

# ---- plans: index or hash, and what makes them stale ---------------------------------------------

sql(<<'SQL');
CREATE TABLE big (id int, grp int);
INSERT INTO big SELECT g, g % 10 FROM generate_series(1, 50000) g;
CREATE INDEX big_id ON big (id);
ANALYZE big;
CREATE FOREIGN TABLE events (id int) SERVER pipelinedb;
CREATE VIEW joined AS SELECT grp, count(*) FROM events JOIN big USING (id) GROUP BY grp;
SQL
sub scans {
    my ($kind) = @_;
    return sql("SELECT ${kind}_scan FROM pg_stat_user_tables WHERE relname = 'big'");
}
sub uses_scan {
    my ($kind, $rows, $name) = @_;
    my ($other) = grep { $_ ne $kind } 'idx', 'seq';
    my ($used, $unused) = (scans($kind), scans($other));
    sql("INSERT INTO events SELECT g FROM generate_series(1, $rows) g");
    wait_folded($node);
    ok($node->poll_query_until('postgres', "SELECT ${kind}_scan > $used FROM pg_stat_user_tables
        WHERE relname = 'big'"), "$name: $kind scan");
    is(scans($other), $unused, "$name: no other");
}
uses_scan('idx', 3, 'few rows');
uses_scan('seq', 40_000, 'many rows');
uses_scan('idx', 4, 'few rows again');
sql('DROP INDEX big_id');
uses_scan('seq', 5, 'the index is gone');
sql('CREATE INDEX CONCURRENTLY big_id2 ON big (id)');
uses_scan('idx', 6, 'there is a new one');
is(sql('SELECT sum(count) FROM joined'), 3 + 40_000 + 4 + 5 + 6, 'every row once');

sql(<<'SQL');
CREATE TABLE parts (id int, word text) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
INSERT INTO parts VALUES (1, 'one');
CREATE VIEW by_part AS SELECT word, count(*) FROM events JOIN parts USING (id) GROUP BY word;
INSERT INTO events VALUES (1), (2);
SQL
wait_folded($node);
sql("CREATE TABLE part_2 (word text, id int); INSERT INTO part_2 VALUES ('two', 2);
    ALTER TABLE parts ATTACH PARTITION part_2 FOR VALUES IN (2); INSERT INTO events VALUES (1), (2)");
is(flushed('SELECT count FROM by_part ORDER BY word'), "2\n1", 'ATTACH PARTITION');
sql('ALTER TABLE parts DETACH PARTITION part_1; INSERT INTO events VALUES (1), (2)');
is(flushed('SELECT count FROM by_part ORDER BY word'), "2\n2", 'DETACH PARTITION');
sql('ALTER TABLE parts RENAME COLUMN word TO "the word"; ALTER TABLE parts ADD COLUMN more int;
    ALTER TABLE parts RENAME TO pieces; INSERT INTO events VALUES (2)');
is(flushed('SELECT word, count FROM by_part ORDER BY word'), "one|2\ntwo|3", 'names change');

# ---- rights ---------------------------------------------------------------------------------------

sql(<<'SQL');
CREATE ROLE app LOGIN; CREATE ROLE other;
CREATE SCHEMA app AUTHORIZATION app;
GRANT USAGE ON FOREIGN SERVER pipelinedb TO app;
CREATE TABLE app.rules (k int, owner name, label text);
INSERT INTO app.rules VALUES (1, 'app', 'mine'), (1, 'postgres', 'theirs'), (2, 'app', 'mine');
ALTER TABLE app.rules ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.rules USING (owner = current_user);
GRANT SELECT ON app.rules TO app;
GRANT SELECT ON st TO app;
CREATE VIEW super_rules AS SELECT label, count(*) FROM st JOIN app.rules USING (k) GROUP BY label;
SET ROLE app;
CREATE VIEW app.app_rules AS SELECT label, count(*) FROM st JOIN app.rules USING (k) GROUP BY label;
CREATE VIEW app.app_reads AS SELECT k, count(*), (SELECT count(*) FROM app.rules) AS rules FROM st GROUP BY k;
RESET ROLE;
INSERT INTO st VALUES (1, 0), (2, 0);
SQL
is(flushed('SELECT * FROM super_rules ORDER BY 1'), "mine|2\ntheirs|1", 'a superuser sees every row');
is(sql('SELECT * FROM app.app_rules ORDER BY 1'), 'mine|2', 'the owner only what the policy lets through');
is(sql('SET ROLE app; SELECT rules FROM app.app_reads WHERE k = 2'), '2', 'also on reading');
# As in any view: the owner's policies, and current_user is the reader.
is(sql('SELECT rules FROM app.app_reads WHERE k = 2'), '1', 'on reading by a superuser, too');
sql("ALTER POLICY own ON app.rules USING (k = 2); INSERT INTO st VALUES (1, 0), (2, 0)");
is(flushed('SELECT * FROM app.app_rules ORDER BY 1'), 'mine|3', 'another policy, another plan');
sql('REVOKE SELECT ON app.rules FROM app; INSERT INTO st VALUES (2, 0)');
ok($node->poll_query_until('postgres',
    "SELECT state = 'failed' FROM pipelinedb.views WHERE name = 'app_rules'"), 'without the right it stops');
is(sql("SELECT message FROM pipelinedb.views WHERE name = 'app_rules'"),
    'permission denied for table rules', 'and says why');
sql("GRANT SELECT ON app.rules TO app; SELECT pipelinedb.activate('app.app_rules')");
is(flushed('SELECT * FROM app.app_rules ORDER BY 1'), 'mine|4', 'with the right again nothing is lost');

# ---- crash --------------------------------------------------------------------------------------------

my $start = sql('SELECT count FROM inner_view');
for my $round (1 .. 3) {
    sql('INSERT INTO st SELECT g % 9 + 1, g FROM generate_series(1, 9000) g');
    kill_hard($node);
    bring_back($node);
}
is(flushed('SELECT count FROM inner_view'), $start + 27_000, 'kill -9 of the server while it joins');

# ---- dump and restore ------------------------------------------------------------------------------------

sql(<<'SQL');
CREATE VIEW "Every thing" AS SELECT "D".name, x.m, (SELECT count(*) FROM dim WHERE size = x.m) AS s,
    count(*), avg(x.n) > (SELECT min(size) FROM dim WHERE id < max(x.n)) AS more
  FROM (SELECT k, k % 2 AS m, n FROM st WHERE EXISTS (SELECT FROM big WHERE id = n)) x
    LEFT JOIN dim "D" ON "D".id = x.k, LATERAL (SELECT max(grp) AS g FROM big WHERE id = x.k) b
  WHERE b.g > 0 GROUP BY "D".name, x.m, (SELECT size FROM dim WHERE id = x.m);
INSERT INTO st SELECT g % 11, g FROM generate_series(1, 100) g;
SQL
wait_folded($node);
my @views = qw("Every_thing" inner_view left_view joined by_part app.app_rules app.app_reads);
s/_thing/ thing/ for @views;
sub contents {
    my ($db) = @_;
    return join "\n", map { sql("SELECT to_jsonb(v) FROM $_ v ORDER BY 1", $db) } @views;
}
for my $options ([], ['--use-set-session-authorization'], ['--section=pre-data', '--section=data', '--section=post-data']) {
    my $db = 'target' . @$options . length "@$options";
    sql("CREATE DATABASE $db");
    sql("GRANT CREATE ON DATABASE $db TO app"); # who makes the schema there
    $node->command_ok([ 'pg_dump', @$options, '-f', "$folder/$db.sql", 'postgres' ], "pg_dump @$options");
    $node->command_ok([ 'psql', '-XqAt', '-o', "$folder/out", '-v', 'ON_ERROR_STOP=1', '-d', $db,
        '-f', "$folder/$db.sql" ], 'restored without an error');
    is(contents($db), contents('postgres'), 'the same results');
    sql($_, $db) for 'SET ROLE postgres', 'INSERT INTO st SELECT g % 11, g FROM generate_series(1, 100) g',
        'SELECT pipelinedb.flush()';
    is(sql("SELECT count(*) FROM pipelinedb.views WHERE state <> 'active'", $db), '0', 'every view is active');
    isnt(contents($db), contents('postgres'), 'and counts');
}
sql('INSERT INTO st SELECT g % 11, g FROM generate_series(1, 100) g');
wait_folded($node);
is(contents('target00'), contents('postgres'), 'exactly') or diag(contents('postgres'));

$node->stop;
done_testing();
