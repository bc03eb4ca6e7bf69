# Chains where much comes at once: what a tick hands on does not fill the memory, and takes no part
# of itself twice or not at all when rows are rejected meanwhile. What runs for long is tried with
# less. Readers that begin anew, and what the functions of transforms leave behind.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints qw(wait_until held_at);
use Test::More;

# Changes may take a quarter of fold_memory.
my $node = new_node('main', log_statement => 'none', shared_buffers => '16MB',
    'pipelinedb.fold_memory' => '16MB', 'pipelinedb.read_own_writes' => 'off');
sub sql { return $node->safe_psql('postgres', $_[0]); }

sub spooled_bytes {
    return sql("SELECT sum(pg_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname = 'pipelinedb' AND relname ~ '^spool_'");
}

sub peak_kb {
    my $status = '/proc/' . fold_worker_pid($node) . '/status';
    return 0 unless -r $status;
    my ($kb) = slurp_file($status) =~ /^VmHWM:\s+(\d+)/m;
    return $kb;
}

# ---- a transform that makes a thousand rows of one ------------------------------------------------

sql(q{
    CREATE FOREIGN TABLE st (k int) SERVER pipelinedb;
    CREATE TABLE ledger (k int, g int);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.ledger VALUES (NEW.k, NEW.g); RETURN NULL; END $$;
    CREATE VIEW fan WITH (action = transform) AS
        SELECT k, generate_series(1, 1000 + 0 / (k - 13)) AS g FROM st;
    CREATE VIEW fan_r AS SELECT count(*) AS n, sum(g) AS s FROM output_of('fan');
    CREATE VIEW fan_k AS SELECT k, count(*) AS n FROM output_of('fan') GROUP BY k;
    CREATE VIEW fan_rr AS SELECT sum((new).n - coalesce((old).n, 0)) AS n FROM output_of('fan_k');
    CREATE VIEW resting AS SELECT count(*) AS n, sum(g) AS s FROM output_of('fan');
    CREATE TRIGGER note AFTER INSERT ON fan_osrel FOR EACH ROW WHEN (NEW.g % 500 = 0) EXECUTE FUNCTION note();
    SELECT pipelinedb.deactivate('resting');
});
my $rows = 0;
sub fanned {
    my ($name, $add) = @_;
    wait_folded($node);
    $rows += $add;
    is(sql('SELECT n, s FROM fan_r'), $rows * 1000 . '|' . $rows * 500500, "$name: a reader has all rows");
    is(sql('SELECT sum(n), (SELECT n FROM fan_rr) FROM fan_k'), $rows * 1000 . '|' . $rows * 1000, "$name: and one behind it");
    is(sql('SELECT count(*), count(DISTINCT (k, g)) FROM ledger'), $rows * 2 . '|' . $rows * 2, "$name: triggers saw each once");
}

sql('INSERT INTO st SELECT generate_series(101, 110)');
fanned('few rows', 10);
my $spooled = spooled_bytes();
my $peak = peak_kb();
sql('INSERT INTO st SELECT generate_series(1001, 4000)');
fanned('many rows', 3000);
cmp_ok(spooled_bytes() - $spooled, '>', 20_000_000, 'many rows go by way of the spool');
cmp_ok(peak_kb() - $peak, '<', 60_000, 'and do not fill the memory');

# The turn of the transform fails in the middle, after rows have gone to the spool.
sql('INSERT INTO st SELECT g FROM generate_series(5001, 5600) g UNION ALL SELECT 13 UNION ALL SELECT generate_series(6001, 6100)');
fanned('a row that the query rejects', 700);
sql(q{CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.k = 7500 AND NEW.g = 500 THEN RAISE 'not this one'; END IF;
        INSERT INTO public.ledger VALUES (NEW.k, NEW.g); RETURN NULL;
    END $$});
sql('INSERT INTO st SELECT generate_series(7001, 8000)');
fanned('a row that a trigger rejects', 999);
is(sql("SELECT row ->> 'k', message FROM pipelinedb.errors ORDER BY id"), "13|division by zero\n7500|not this one",
    'the two rows are kept');
sql("CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.ledger VALUES (NEW.k, NEW.g); RETURN NULL; END'");
is(sql("SELECT pipelinedb.retry_errors('fan')"), '2', 'they are tried once more');
fanned('the second one is good now', 1);
sql("SELECT pipelinedb.activate('resting')");
wait_folded($node);
is(sql('TABLE resting'), sql('TABLE fan_r'), 'the reader that rested has all of it');
sql("SELECT pipelinedb.clear_errors('fan')");

# ---- a view with many groups --------------------------------------------------------------------

sql(q{
    CREATE FOREIGN TABLE big (k int, v int) SERVER pipelinedb;
    CREATE VIEW wide AS SELECT k, count(*) AS n, sum(v) AS s, avg(v) AS mean, max(v::text) AS t FROM big GROUP BY k;
    CREATE VIEW wide_r AS SELECT sum((new).n - coalesce((old).n, 0)) AS n, sum((new).s - coalesce((old).s, 0)) AS s,
        count(*) AS changes, count(old) AS updates FROM output_of('wide');
    INSERT INTO big SELECT g, g FROM generate_series(1, 150000) g;
});
wait_folded($node);
is(sql('TABLE wide_r'), sql('SELECT count(*), sum(g), count(*), 0 FROM generate_series(1, 150000) g'),
    'each of many new groups is one change');
sql('INSERT INTO big SELECT g, -1 FROM generate_series(1, 150000) g');
wait_folded($node);
is(sql('SELECT n, s, changes >= 300000, updates >= 150000 FROM wide_r'), sql("SELECT sum(n), sum(s), 't', 't' FROM wide"),
    'and each that changes, too');

# ---- a query that takes longer than it may ------------------------------------------------------

set_server($node, 'pipelinedb.view_timeout' => '600ms');
sql(q{
    CREATE FOREIGN TABLE slow_rows (k int, t text) SERVER pipelinedb;
    CREATE VIEW slow WITH (action = transform) AS SELECT k FROM slow_rows WHERE pg_sleep(0.005) IS NOT NULL;
    CREATE VIEW slow_r AS SELECT count(*) AS n, sum(k) AS s FROM output_of('slow');
    CREATE VIEW beside AS SELECT count(*) AS n FROM slow_rows;
    INSERT INTO slow_rows SELECT g, repeat(md5(g::text), 12) FROM generate_series(1, 200) g;
});
ok($node->poll_query_until('postgres', 'SELECT n = 200 FROM beside'), 'views beside a slow one go on');
ok($node->poll_query_until('postgres', 'SELECT n = 200 AND s = 20100 FROM slow_r'), 'which gets on in small pieces');
is(sql("SELECT state FROM pipelinedb.transforms WHERE name = 'slow'"), 'active', 'and is not stopped');
set_server($node, 'pipelinedb.view_timeout' => '30s');

# ---- a reader that begins anew while its source is folded ------------------------------------------

sql(q{
    CREATE FOREIGN TABLE counted (v int) SERVER pipelinedb;
    CREATE VIEW a AS SELECT count(*) AS n FROM counted;
    CREATE VIEW anew AS SELECT coalesce(sum((new).n - coalesce((old).n, 0)), 0) AS n FROM output_of('a');
    INSERT INTO counted VALUES (1);
    SELECT pipelinedb.flush();
    SELECT pipelinedb.deactivate('anew', true);
    SELECT pipelinedb.truncate_continuous_view('anew');
});
my $held = hold_worker($node, 'fold_before_progress');
sql('INSERT INTO counted VALUES (2), (3)');
ok(held_at($node, 'fold_before_progress'), 'a tick is about to commit what it changed');
my $session = $node->background_psql('postgres');
$session->query_until(qr/begun/, "BEGIN;\n\\echo begun\nSELECT pipelinedb.activate('anew');\nSELECT 'base ' || n FROM a;\nCOMMIT;\n");
ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'a_mrel'::regclass"),
    'who begins anew waits for it');
release_worker($held);
my ($base) = $session->query_until(qr/base \d+/, '') =~ /base (\d+)/;
$session->quit;
is($base, '3', 'and sees what it changed');
sql('INSERT INTO counted VALUES (4)');
wait_folded($node);
is(sql('SELECT n FROM anew'), '1', 'only what comes later is for the reader');

# ---- who waits for his rows finds them at the end of a chain -----------------------------------------

# The query in the middle is folded alone, since it has bad rows.
sql(q{
    CREATE FOREIGN TABLE begins (k int) SERVER pipelinedb;
    CREATE FOREIGN TABLE ends (n int) SERVER pipelinedb;
    CREATE VIEW first AS SELECT k, count(*) AS n FROM begins GROUP BY k;
    CREATE VIEW second AS SELECT sum((new).n - coalesce((old).n, 0)) AS n, sum(1 / (new).k) FROM output_of('first');
    CREATE VIEW third WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('ends')) AS
        SELECT (new).n::int AS n FROM output_of('second');
    CREATE VIEW fourth AS SELECT max(n) AS n FROM ends;
});
for my $how ('SELECT pipelinedb.flush();', 'SET pipelinedb.read_own_writes = on;', 'SET pipelinedb.stream_insert_level = sync_commit;') {
    my $script = "SELECT coalesce(max(n), 0) FROM fourth;\n";
    my ($set) = $how =~ /^(SET.*)/;
    $script .= ($set // '') . "\n" . join "\n", map { "INSERT INTO begins VALUES (0);\nINSERT INTO begins VALUES (1);\n" . ($set ? '' : $how)
        . "\nSELECT n FROM fourth;" } 1 .. 8;
    my ($out, @errors) = run_script($node, $script);
    is("@errors", '', "$how no error");
    my ($before, @seen) = grep { /^\d+$/ } split /\n/, $out;
    is("@seen", join(' ', map { $before + $_ } 1 .. 8), "$how all of it is there");
}
sql("SELECT pipelinedb.clear_errors('second')");

# ---- what functions leave behind ----------------------------------------------------------------

sql(q{
    CREATE FOREIGN TABLE raw (k int, t text) SERVER pipelinedb;
    CREATE FOREIGN TABLE dest (k int, t text) SERVER pipelinedb;
    CREATE VIEW arrived AS SELECT count(*) AS n FROM dest;
    CREATE VIEW pass WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('dest')) AS SELECT k, t FROM raw;
    CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('raw', NEW.t); RETURN NULL; END $$;
    CREATE VIEW telling WITH (action = transform, outputfunc = tell) AS SELECT t FROM raw WHERE t IS NOT NULL;
});
sql("SET pipelinedb.stream_insert_level = sync_commit; " . join ' ', map { "INSERT INTO raw VALUES ($_);" } 1 .. 50) for 1 .. 2;
sql('SET pipelinedb.stream_insert_level = sync_commit; INSERT INTO raw VALUES (0)') for 1 .. 10;
wait_folded($node);
is(sql('TABLE arrived'), '110', 'each row is inserted into the other stream');
my $log = -s $node->logfile;
sql('SELECT pg_log_backend_memory_contexts(' . fold_worker_pid($node) . ')');
ok(wait_until(sub { slurp_file($node->logfile, $log) =~ /Grand total/ }, 20), 'the fold worker shows its memory');
my @plans = slurp_file($node->logfile, $log) =~ /(CachedPlanSource: .*INSERT INTO \S*dest.*)/g;
is(scalar(@plans), 0, 'no plan is left in it') or diag(join "\n", @plans);
my ($status, $out) = $node->psql('postgres', "LISTEN raw; INSERT INTO raw VALUES (1, 'told'); SELECT pipelinedb.flush(); SELECT 1");
like($out, qr/notification "raw" with payload "told"/, 'a transform can notify');

# What the worker wrote to the spool may be older than what a locked view lacks: that view is still
# left out, and flush() says so.
sql('CREATE FOREIGN TABLE calm (k int) SERVER pipelinedb; CREATE VIEW held AS SELECT count(*) AS n FROM calm');
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE held_mrel IN SHARE MODE');
sql('INSERT INTO calm VALUES (2)');
ok(wait_until(sub { sql('SELECT count(*) FROM pipelinedb.progress') == 2 }), 'a locked view is set aside');
ok(wait_until(sub { sql('SELECT pipelinedb.flush()') eq 'f' }, 20), 'flush() does not wait for it for long, and tells');
is(sql('SELECT pipelinedb.flush()'), 'f', 'again') for 1 .. 3;
$holder->query_safe('COMMIT');
$holder->quit;
ok(wait_until(sub { sql('SELECT pipelinedb.flush()') eq 't' }), 'then it goes on');
is(sql('TABLE held'), '1', 'and lacks nothing');

views_are_active($node);
$node->stop;
done_testing();
