# Streams that change while rows wait or come in: columns, constraints, partitions, a crash; dump
# and restore of what only streams have; a server without the library.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run;
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('streams', max_prepared_transactions => 5, autovacuum_naptime => '1s',
    TimeZone => 'UTC');
sub sql { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql); }

# ---- columns come and go while chunks wait -----------------------------------------------------

# Writes go to the stream and to a table with the same rows. The first view is paused all the
# while; others are created over columns that come later, and paused at once. In the end each must
# equal its query over the rows that were written since it was created.
sub random_columns {
    my ($seed, $steps) = @_;
    srand($seed);
    my %types = (int => sub { int(rand(100)) }, text => sub { "'t" . int(rand(10)) . "'" },
        numeric => sub { int(rand(1000)) / 8 }, 'int[]' => sub { "'{1," . int(rand(9)) . "}'" },
        pair => sub { '(' . int(rand(9)) . ",'p')::pair" });
    my (%columns, %views, $n, $rows);
    sql("CREATE TYPE pair AS (x int, y text);
        CREATE FOREIGN TABLE moving (id int, v int) SERVER pipelinedb;
        CREATE TABLE kept (id int, v int);
        CREATE VIEW paused AS SELECT v, count(*) AS n, sum(id) AS ids FROM moving GROUP BY v;
        SELECT pipelinedb.deactivate('paused')");
    $views{paused} = [ 0, 'SELECT v, count(*) AS n, sum(id) AS ids FROM kept WHERE id > 0 GROUP BY v' ];
    my $both = sub { sql(join ';', map { (my $sql = $_[0]) =~ s/TABLE/$_/; $sql }
        'FOREIGN TABLE moving', 'TABLE kept') };
    for my $step (1 .. $steps) {
        my $choice = rand();
        my @free = grep { !$columns{$_}{used} } sort keys %columns;
        if ($choice < 0.2) {
            my $name = 'c' . int(rand(4)); # a name that was dropped comes again, with another type
            next if $columns{$name};
            my $type = (sort keys %types)[rand(keys %types)];
            my $default = $types{$type}->();
            $default = '' if $type eq 'pair';
            $both->("ALTER TABLE ADD COLUMN $name $type" . ($default ne '' ? " DEFAULT $default" : ''));
            $columns{$name} = { type => $type };
        } elsif ($choice < 0.35 && @free) {
            my $name = $free[ rand(@free) ];
            $both->("ALTER TABLE DROP COLUMN $name");
            delete $columns{$name};
        } elsif ($choice < 0.45 && @free) {
            my $name = $free[ rand(@free) ];
            my $new = "r" . $step;
            $both->("ALTER TABLE RENAME COLUMN $name TO $new");
            $columns{$new} = delete $columns{$name};
        } elsif ($choice < 0.5) {
            sql("ALTER FOREIGN TABLE moving ADD CONSTRAINT c CHECK (v < 1000) NOT VALID;
                ALTER FOREIGN TABLE moving ALTER v SET NOT NULL");
            sql("ALTER FOREIGN TABLE moving DROP CONSTRAINT c, ALTER v DROP NOT NULL");
        } elsif ($choice < 0.6 && %columns && keys %views < 6) {
            my $name = (sort keys %columns)[rand(keys %columns)];
            my $view = 'later' . ++$n;
            my $query = "SELECT $name" . "::text AS x, count(*) AS n, sum(id) AS ids FROM";
            sql("CREATE VIEW $view AS $query moving GROUP BY $name" . "::text;
                SELECT pipelinedb.deactivate('$view')");
            $columns{$name}{used} = 1;
            $views{$view} = [ $rows // 0, "$query kept WHERE id > " . ($rows // 0) . ' GROUP BY 1' ];
        } elsif ($choice < 0.63) {
            $node->stop('immediate');
            $node->start;
        } else {
            my @names = grep { rand() < 0.7 } sort keys %columns;
            my $values = sub { join ', ', ++$rows, int(rand(5)), map { $types{ $columns{$_}{type} }->() } @names };
            my $list = join ', ', 'id', 'v', @names;
            my @rows = map { '(' . $values->() . ')' } 1 .. 1 + int(rand(rand() < 0.1 ? 3000 : 5));
            # One statement for both: the defaults may differ from NULL.
            sql("WITH w AS (INSERT INTO kept ($list) VALUES " . join(', ', @rows) . ' RETURNING ' .
                (join ', ', 'id', 'v', sort keys %columns) . ') INSERT INTO moving (' .
                (join ', ', 'id', 'v', sort keys %columns) . ') SELECT * FROM w');
        }
    }
    sql("SELECT pipelinedb.activate(name) FROM pipelinedb.views WHERE NOT active");
    wait_folded($node);
    views_are_active($node);
    for my $view (sort keys %views) {
        my $due = $views{$view}[1];
        is(sql("SELECT count(*) FROM ((TABLE $view EXCEPT ALL $due) UNION ALL ($due EXCEPT ALL TABLE $view)) x"),
            '0', "seed $seed: view $view over rows after $views{$view}[0] of $rows");
    }
    sql('DROP FOREIGN TABLE moving CASCADE; DROP TABLE kept; DROP TYPE pair');
}
random_columns($_, 60) for 1 .. 4;

# ---- an ALTER waits for a prepared writer, whose rows are then folded ----------------------------

sql(q{CREATE FOREIGN TABLE waits (a int, b int) SERVER pipelinedb;
    CREATE VIEW waits_v AS SELECT count(*) AS n, sum(a) AS a FROM waits;
    BEGIN; INSERT INTO waits VALUES (1, 1), (2, 2); PREPARE TRANSACTION 'writer'});
my ($status, undef, $error) = $node->psql('postgres',
    q{SET lock_timeout = '50ms'; ALTER FOREIGN TABLE waits DROP COLUMN b});
like($error, qr/canceling statement due to lock timeout/, 'a prepared writer holds off ALTER');
sql(q{COMMIT PREPARED 'writer'; ALTER FOREIGN TABLE waits DROP COLUMN b, ADD COLUMN b text;
    INSERT INTO waits (a, b) VALUES (3, 'x')});
wait_folded($node);
is(sql('TABLE waits_v'), '3|6', 'its rows count');

# ---- partitions come and go while rows stream ----------------------------------------------------

sql(q{
    CREATE TABLE par (id int, x int, note text) PARTITION BY LIST (id);
    CREATE TABLE par0 PARTITION OF par FOR VALUES IN (0);
    CREATE FOREIGN TABLE par1 (note text, gone int, x int, id int) SERVER pipelinedb;
    ALTER FOREIGN TABLE par1 DROP COLUMN gone;
    ALTER FOREIGN TABLE par1 DROP COLUMN arrival_timestamp;
    CREATE VIEW par1_v AS SELECT id, count(*) AS n, sum(x) AS x, count(note) AS notes FROM par1 GROUP BY id;
    CREATE TABLE written (id int, x int, note text);
    -- Where no partition takes the row, it is written nowhere.
    CREATE FUNCTION write(id int, x int) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO par (id, x, note) VALUES (id, x, nullif(x % 3, 0)::text);
        IF x % 7 = 0 THEN RAISE division_by_zero; END IF;
        INSERT INTO written VALUES (id, x, nullif(x % 3, 0)::text);
    EXCEPTION WHEN check_violation OR division_by_zero THEN NULL;
    END $$;
    -- A row that moves into the stream.
    CREATE FUNCTION move(n int) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO par0 VALUES (0, n, 'moved');
        WITH moved AS (UPDATE par SET id = 1 WHERE id = 0 AND x = n RETURNING *)
            INSERT INTO written SELECT id, x, note FROM moved;
    EXCEPTION WHEN check_violation THEN NULL;
    END $$;
});
my $script = $node->basedir . '/write.pgbench';
append_to_file($script, <<'SQL');
\set x random(1, 1000000)
BEGIN;
SELECT write(1, :x);
SELECT move(:x);
SELECT write(1, :x + 1);
COMMIT;
SQL
my ($out, $err) = ('', '');
my $bench = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', 4, '-t', 700, '-f', $script,
    $node->connstr('postgres') ], '<', \undef, '>', \$out, '2>', \$err);
my $rounds = 0;
while ($bench->pumpable) {
    $bench->pump_nb;
    sql('ALTER TABLE par ATTACH PARTITION par1 FOR VALUES IN (1)');
    sql("ALTER TABLE par ADD COLUMN extra$rounds text DEFAULT 'x'");
    sql('ALTER FOREIGN TABLE par1 ADD CONSTRAINT positive CHECK (x > 0) NOT VALID, ALTER x SET NOT NULL');
    sql("ALTER TABLE par DROP COLUMN extra$rounds");
    sql('ALTER FOREIGN TABLE par1 DROP CONSTRAINT positive, ALTER x DROP NOT NULL; ANALYZE par');
    sql($rounds % 2 ? 'ALTER TABLE par DETACH PARTITION par1'
        : 'ALTER TABLE par DETACH PARTITION par1 CONCURRENTLY');
    $rounds++;
}
$bench->finish;
unlike($err, qr/ERROR/, "no writer fails, in $rounds rounds of DDL");
wait_folded($node);
cmp_ok(sql('SELECT count(*) FROM written'), '>', 100, 'rows were written meanwhile');
is(sql('SELECT * FROM par1_v'), sql('SELECT id, count(*), sum(x), count(note) FROM written GROUP BY id'),
    'each row counts once');
views_are_active($node);

# ---- autovacuum analyzes a parent ----------------------------------------------------------------

sql(q{CREATE TABLE parent (a int) WITH (autovacuum_analyze_threshold = 10, autovacuum_analyze_scale_factor = 0);
    CREATE FOREIGN TABLE child () INHERITS (parent) SERVER pipelinedb;
    INSERT INTO parent SELECT generate_series(1, 1000)});
ok($node->poll_query_until('postgres',
    q{SELECT autoanalyze_count > 0 FROM pg_stat_user_tables WHERE relname = 'parent'}),
    'autovacuum analyzes a table with a stream below it');
unlike(slurp_file($node->logfile), qr/autovacuum.*ERROR|ERROR.*automatic analyze/, 'silently');

# ---- dump and restore ----------------------------------------------------------------------------

sql('CREATE DATABASE source; CREATE DATABASE target');
sql(q{
    CREATE EXTENSION pipeline_ext;
    CREATE SCHEMA app;
    SET search_path = app;
    CREATE TABLE par (id int, v text) PARTITION BY LIST (id);
    CREATE FOREIGN TABLE par1 PARTITION OF par (v DEFAULT 'own', CHECK (v <> 'bad')) FOR VALUES IN (1) SERVER pipelinedb;
    CREATE FOREIGN TABLE par2 (v text, gone int, id int) SERVER pipelinedb;
    ALTER FOREIGN TABLE par2 DROP COLUMN gone, DROP COLUMN arrival_timestamp;
    ALTER TABLE par ATTACH PARTITION par2 FOR VALUES IN (2);
    CREATE TABLE par3 PARTITION OF par FOR VALUES IN (3);
    CREATE TABLE top (a int, arrival_timestamp timestamptz);
    CREATE FOREIGN TABLE below (b serial NOT NULL) INHERITS (top) SERVER pipelinedb;
    CREATE TABLE plain_top (a int);
    CREATE FOREIGN TABLE plain_below (b int) INHERITS (plain_top) SERVER pipelinedb;
    CREATE FOREIGN TABLE full_one (a int, twice int GENERATED ALWAYS AS (a * 2) STORED,
        i int GENERATED ALWAYS AS IDENTITY, b text DEFAULT 'none' NOT NULL, CHECK (b <> 'bad')) SERVER pipelinedb;
    COMMENT ON FOREIGN TABLE full_one IS 'a stream';
    COMMENT ON COLUMN full_one.a IS 'its column';
    CREATE FOREIGN TABLE quiet (a int) SERVER pipelinedb OPTIONS (arrival_timestamp 'off');
    CREATE FUNCTION upper_b() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.b := upper(NEW.b); RETURN NEW; END';
    CREATE TRIGGER upper_b BEFORE INSERT ON full_one FOR EACH ROW EXECUTE FUNCTION upper_b();
    CREATE VIEW par1_v AS SELECT v, count(*) AS n FROM par1 GROUP BY v;
    CREATE VIEW par2_v AS SELECT v, count(*) AS n FROM par2 GROUP BY v;
    CREATE VIEW below_v AS SELECT count(*) AS n, sum(b) AS b, count(arrival_timestamp) AS t FROM below;
    CREATE VIEW full_v AS SELECT b, max(twice) AS twice, max(i) AS i, count(*) AS n FROM full_one GROUP BY b;
}, 'source');
my $write = q{
    SET search_path = app;
    INSERT INTO par VALUES (1, DEFAULT), (1, 'v'), (2, 'v'), (3, 'v');
    INSERT INTO par1 (id) VALUES (1);
    INSERT INTO below (a) VALUES (1), (2);
    INSERT INTO full_one (a) VALUES (7);
    SELECT pipelinedb.flush();
};
my $show = q{SET search_path = app; TABLE par1_v ORDER BY 1; TABLE par2_v; TABLE below_v; TABLE full_v};
sql($write, 'source');
my $dump = $node->basedir . '/streams.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('source') ], 'pg_dump');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('target'), $dump ], 'pg_restore');
is(sql('\d+ app.*', 'target'), sql('\d+ app.*', 'source'), 'streams, partitions and children are the same');
is(sql($show, 'target'), sql($show, 'source'), 'with the same counts');
is(sql("$write $show", 'target'), sql("$write $show", 'source'), 'and count on');

# ---- a server that does not load the library at its start ----------------------------------------

$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
my $says_so = qr/pipeline_ext.*shared_preload_libraries/s;
# Each in a session of its own: the first use loads the library, and its hooks say so from then on.
for my $statement ('CREATE FOREIGN TABLE x (a int) SERVER pipelinedb', 'INSERT INTO waits VALUES (1)',
    "COPY waits FROM '/dev/null'", 'SELECT * FROM waits',
    'SELECT pipelinedb.flush(); CREATE VIEW x AS SELECT count(*) FROM waits') {
    my (undef, undef, $stderr) = $node->psql('postgres', $statement);
    like($stderr, $says_so, "without preload: $statement");
}
# Nothing of ours sees the first CREATE VIEW of a session; reading that view says so.
sql('CREATE VIEW unseen AS SELECT count(*) FROM waits');
my (undef, undef, $stderr) = $node->psql('postgres', 'SELECT * FROM unseen');
like($stderr, $says_so, 'a view that was created without preload');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'pipeline_ext'");
$node->restart;
(undef, undef, $stderr) = $node->psql('postgres', 'SELECT * FROM unseen');
like($stderr, qr/"waits" is a stream.*HINT:.*CREATE VIEW/s, 'and is no continuous view later');
sql("INSERT INTO waits (a, b) VALUES (4, 'y')");
is(sql('TABLE waits_v'), '4|10', 'the others go on');

$node->stop;
done_testing();
