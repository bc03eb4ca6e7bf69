# Interleavings in which rows were once lost, doubled or held up: each is forced, not waited for.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use StopPoints;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', log_statement => 'none', 'pipelinedb.fold_batch' => '256kB',
    'pipelinedb.spool_generation_size' => '1MB');
sub sql { return $node->safe_psql('postgres', $_[0]) }

sql("CREATE FOREIGN TABLE s (k int, x text) SERVER pipelinedb;
     CREATE VIEW v AS SELECT k, count(*) AS n FROM s GROUP BY k");

# ---- one transaction, two statements' writers open at once, a rotation between them -------------

sql("CREATE TABLE parted (k int, x text) PARTITION BY LIST (k);
     CREATE FOREIGN TABLE p1 PARTITION OF parted FOR VALUES IN (1) SERVER pipelinedb;
     CREATE FOREIGN TABLE p2 PARTITION OF parted FOR VALUES IN (2) SERVER pipelinedb;
     CREATE VIEW v1 AS SELECT count(*) AS n FROM p1;
     CREATE VIEW v2 AS SELECT count(*) AS n FROM p2");
is(flush($node), 't', 'the views of the partitions have caught up');
my $ordinal = sql('SELECT max(ordinal) FROM pipelinedb.generation');
my $writer = $node->background_psql('postgres');
my $gate = hold_at($node, 'edge');
$writer->query_until(qr/began/, "\\echo began
INSERT INTO parted SELECT CASE WHEN i <= 3000 THEN 1 ELSE 1 + i % 2 END, repeat('x', 1000)
  FROM (SELECT i, CASE WHEN i = 3001 THEN pg_advisory_lock_shared(1346981957, hashtext('edge')) END
        FROM generate_series(1, 12000) i OFFSET 0) q;
");
ok(held_at($node, 'edge'), 'the transaction has filled more than a generation and waits');
ok(wait_until(sub {
    sql("INSERT INTO s VALUES (3, 'row')");
    return sql('SELECT max(ordinal) FROM pipelinedb.generation') > $ordinal;
}), 'the spool rotates meanwhile');
release_all($gate);
$writer->query_safe('SELECT 1');
$writer->quit;
is(flush($node), 't', 'all is folded');
is(sql('SELECT v1.n, v2.n FROM v1, v2'), '7500|4500', 'both partitions have all rows');

# ---- a view that starts after the tick's snapshot -------------------------------------------------

my $holder = hold_at($node, 'fold_after_snapshot');
set_conf($node, 'pipelinedb.stop_points' => 'fold_after_snapshot:wait');
sql("INSERT INTO s VALUES (7, '')");
ok(held_at($node, 'fold_after_snapshot'), 'a tick has taken its snapshot');
sql("INSERT INTO s VALUES (99, '')");
sql('CREATE VIEW late AS SELECT k, count(*) AS n FROM s GROUP BY k');
set_conf($node, 'pipelinedb.stop_points' => '');
release_all($holder);
is(flush($node), 't', 'all is folded');
is(sql('SELECT * FROM late'), '', 'a new view has no row from before it');
is(sql('SELECT k, n FROM v WHERE k IN (7, 99) ORDER BY 1'), "7|1\n99|1", 'and the old one has them once');

# ---- VACUUM FULL of the spool while a backlog is worked off ------------------------------------------

sql("CREATE FOREIGN TABLE wide (k int, x text) SERVER pipelinedb;
     CREATE VIEW widths AS SELECT k, count(*) AS n FROM wide GROUP BY k");
is(flush($node), 't', 'the view has caught up');
set_conf($node, 'pipelinedb.spool_generation_size' => '64MB');
$holder = hold_at($node, 'fold_before_snapshot', 'fold_committed');
set_conf($node, 'pipelinedb.stop_points' => 'fold_before_snapshot:wait');
sql("INSERT INTO s VALUES (8, '')");
ok(held_at($node, 'fold_before_snapshot'), 'a tick waits before its snapshot');
sql("BEGIN; INSERT INTO wide SELECT 0, repeat('x', 1000) FROM generate_series(1, 3000); ROLLBACK");
sql("INSERT INTO wide SELECT $_, repeat('x', 1000) FROM generate_series(1, 100)") for 1 .. 10;
set_conf($node, 'pipelinedb.stop_points' => 'fold_committed:wait');
$holder->query_safe("SELECT pg_advisory_unlock(1346981957, hashtext('fold_before_snapshot'))");
ok(wait_until(sub { sql('SELECT count(*) FROM widths') > 0 }), 'the first group is folded');
cmp_ok(sql('SELECT sum(n) FROM widths'), '<', 1000, 'and not all of them');
sql('VACUUM FULL pipelinedb.spool_' . $_) for split /\n/, sql('SELECT id FROM pipelinedb.generation');
set_conf($node, 'pipelinedb.stop_points' => '');
release_all($holder);
is(flush($node), 't', 'all is folded');
is(sql('SELECT count(*), min(n), max(n) FROM widths'), '10|100|100', 'each row once');

# ---- sessions that hold what the fold worker wants to write ------------------------------------------

sql("CREATE FUNCTION not_five(k int) RETURNS int LANGUAGE plpgsql AS
     'BEGIN IF k = 5 THEN RAISE ''five'' USING ERRCODE = ''0A000''; END IF; RETURN k; END';
     CREATE VIEW bad AS SELECT sum(not_five(k)) FROM s");
is(flush($node), 't', 'the view has caught up');
my $user = $node->background_psql('postgres');
$user->query_safe("BEGIN; SELECT pipelinedb.deactivate('bad')");
sql("INSERT INTO s VALUES (5, '')");
ok(wait_until(sub { sql('SELECT n FROM v WHERE k = 5') eq '1' }, 20),
    'a failing view whose catalog row somebody has changed stalls no other view');
$user->query_safe('ROLLBACK');
ok(wait_until(sub { sql("SELECT state FROM pipelinedb.views WHERE name = 'bad'") eq 'failed' }),
    'and is stopped when that has ended');
$user->query_safe('SET pipelinedb.matrels_writable = on; BEGIN; INSERT INTO v_mrel VALUES (1000, 1)');
sql("INSERT INTO s VALUES (1000, ''), (1001, '')");
ok(wait_until(sub { sql('SELECT n FROM late WHERE k = 1001') eq '1' }, 20),
    'a group that somebody inserts by hand stalls its own view only');
$user->query_safe('COMMIT');
$user->quit;
ok(wait_until(sub { sql('SELECT n FROM v WHERE k = 1000') eq '2' }), 'and adds to it');
is(sql('SELECT count(*) FROM pipelinedb.views v FULL JOIN pipelinedb.progress p ON p.consumer = v.id
        WHERE v.id IS NULL AND p.consumer <> 0'), '0', 'no progress row without a view');
$node->stop;
done_testing();
