# pg_dump brings streams, continuous views and their counts back, in every form that it has, and
# counting goes on there; dropping leaves nothing behind.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use LedgerWriters;
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints;
use Test::More;

my $node = new_node('main',
    log_statement => 'none',
    TimeZone => 'UTC',
    'pipelinedb.spool_generation_size' => '1MB');
my $folder = PostgreSQL::Test::Utils::tempdir();
sub sql { return $node->safe_psql($_[0], $_[1]); }

sub new_database {
    my ($name) = @_;
    sql('postgres', "CREATE DATABASE $name");
    return $name;
}

# ---- a database with every shape of view -------------------------------------------------------

sql('postgres', 'CREATE ROLE owner LOGIN; CREATE ROLE reader; CREATE ROLE helper');
new_database('source');
sql('source', q{
    CREATE EXTENSION pipeline_ext;
    CREATE SCHEMA app AUTHORIZATION owner;
    CREATE SCHEMA "other schema" AUTHORIZATION owner;
    GRANT USAGE ON FOREIGN SERVER pipelinedb TO owner;
    SET ROLE owner;
    SET search_path = app;
    SET TimeZone = 'Europe/Berlin';
    SET DateStyle = 'German';
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
    CREATE AGGREGATE product(numeric) (sfunc = numeric_mul, stype = numeric,
        combinefunc = numeric_mul, initcond = '1');
    CREATE FUNCTION seen(int[], int) RETURNS int[] LANGUAGE sql IMMUTABLE
        AS 'SELECT ARRAY[$1[1] + 1, $1[2] | $2]';
    CREATE FUNCTION both_seen(int[], int[]) RETURNS int[] LANGUAGE sql IMMUTABLE
        AS 'SELECT ARRAY[$1[1] + $2[1], $1[2] | $2[2]]';
    CREATE FUNCTION seen_text(int[]) RETURNS text LANGUAGE sql IMMUTABLE
        AS $$SELECT $1[1] || ' with bits ' || $1[2]$$;
    CREATE AGGREGATE seen_bits(int) (sfunc = seen, stype = int[], combinefunc = both_seen,
        finalfunc = seen_text, initcond = '{0,0}');

    CREATE FOREIGN TABLE st (a int, b text, c numeric, d float8, t timestamptz, m mood)
        SERVER pipelinedb;
    CREATE FOREIGN TABLE "other schema"."Odd Stream" ("Key" varchar(10), "n n" int8)
        SERVER pipelinedb;
    CREATE VIEW daily_view WITH (action=materialize) AS
        SELECT date_trunc('day', t) AS day, b, count(*), sum(a) + 1 AS more, max(t::text) AS last
        FROM st GROUP BY 1, 2, a % 2;
    CREATE VIEW no_keys AS SELECT count(*), avg(a) AS mean, min(b) AS low, sum(c) FROM st;
    CREATE VIEW states AS SELECT b, avg(a) AS ma, avg(c) AS mc, avg(d) AS md, stddev(c) AS dc,
        stddev(d) AS dd, variance(a::int8) AS va, regr_slope(d, a) AS slope,
        avg(c) FILTER (WHERE a > 5) AS some, sum(a::int8) AS s8, avg(t - '2020-01-01') AS age
        FROM st GROUP BY b;
    CREATE VIEW users_aggregates AS SELECT m, product(1 + a / 1000.0) AS p, seen_bits(twice(a)) AS bits
        FROM st GROUP BY m;
    CREATE VIEW guarded WITH (security_barrier) AS SELECT m, count(*) AS n FROM st
        WHERE b <> 'b0' AND t > '31.12.2019' GROUP BY m;
    CREATE VIEW "other schema"."Odd View" ("Key of ""it""", total) AS
        SELECT "Key", sum("n n") FROM "other schema"."Odd Stream" GROUP BY "Key";
    CREATE VIEW by_text AS SELECT b || repeat('x', 3000) AS wide, a % 2 AS odd, count(*) FROM st GROUP BY 1, 2;
    CREATE VIEW rolled AS SELECT m, b, grouping(b, m) AS g, count(*), avg(c) AS mean FROM st GROUP BY CUBE (m, b);
    CREATE VIEW appended AS SELECT a, b, c * 2 AS twice, t::text AS "arrived at" FROM st WHERE a % 3 = 0;
    CREATE VIEW distinct_rows AS SELECT DISTINCT m, b FROM st;
    CREATE VIEW distinct_counts AS SELECT DISTINCT count(*) AS n FROM st GROUP BY b, m;
    COMMENT ON VIEW daily_view IS 'per day';
    GRANT SELECT ON daily_view TO reader;
    GRANT INSERT ON st TO reader;
    ALTER VIEW daily_view RENAME COLUMN more TO "More";
    CREATE INDEX ON no_keys_mrel (count);
    CREATE VIEW over_it AS SELECT day, sum("More") FROM daily_view GROUP BY day;
});
my @shapes = ('app.daily_view', 'app.no_keys', 'app.states', 'app.users_aggregates', 'app.guarded',
    'app.by_text', 'app.rolled', 'app.appended', 'app.distinct_rows', 'app.distinct_counts',
    '"other schema"."Odd View"', 'app.over_it');

sub rows_from {
    my ($from, $to) = @_;
    return "INSERT INTO app.st SELECT g, 'b' || g % 3, g * 1.5, g / 7.0,
            '2020-01-01 20:00+00'::timestamptz + g * interval '7 hours',
            (ARRAY['sad', 'ok', 'happy', NULL]::app.mood[])[1 + g % 4]
            FROM generate_series($from, $to) g;
        INSERT INTO \"other schema\".\"Odd Stream\" SELECT CASE WHEN g % 5 > 0 THEN g % 5 END, g
            FROM generate_series($from, $to) g;";
}
sub contents {
    my ($db, @views) = @_;
    return join "\n", map { "$_:\n" . sql($db, "SET TimeZone = 'UTC';
        SELECT to_jsonb(v) FROM $_ v ORDER BY to_jsonb(v)::text") } @views ? @views : @shapes;
}

# Settings of the reading, writing and restoring sessions do not change what a view computes.
sub goes_on {
    my ($db, $name, @views) = @_;
    sql('source', rows_from(41, 60));
    wait_folded($node, 'source');
    sql($db, "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'US'; " . rows_from(41, 60));
    wait_folded($node, $db);
    is(contents($db, @views), contents('source', @views), "$name: counting goes on");
    is(sql($db, "SELECT name, state, message FROM pipelinedb.views WHERE state <> 'active'"), '',
        "$name: every view is active");
}

sql('source', rows_from(1, 40));
wait_folded($node, 'source');
unlike(contents('source'), qr/:\n\n|:\n$/, 'every view has rows');

# A third generation of the spool is not dumped either.
sql('source', q{SET ROLE owner; CREATE FOREIGN TABLE app.bulk (k int, pad text) SERVER pipelinedb;
    CREATE VIEW app.bulk_view AS SELECT k, count(*) AS n FROM app.bulk GROUP BY k;
    CREATE VIEW app.paused AS SELECT k, count(*) AS n FROM app.bulk GROUP BY k;
    INSERT INTO app.bulk VALUES (1, 'before')});
wait_folded($node, 'source');
sql('source', "SELECT pipelinedb.deactivate('app.paused')");
my $written = 1;
ok(defined wait_until(sub {
    sql('source', q{INSERT INTO app.bulk
        SELECT 1, string_agg(md5(random()::text), '') FROM generate_series(1, 200) g,
            generate_series(1, 200) h GROUP BY g});
    $written += 200;
    return sql('source', 'SELECT count(*) > 2 FROM pipelinedb.generation') eq 't';
}), 'a third generation of the spool while a view is paused');
wait_folded($node, 'source');
is(sql('source', 'SELECT n FROM app.bulk_view'), $written, 'rows over three generations');

# ---- pg_dump | psql ----------------------------------------------------------------------------

sub dump_to {
    my ($db, $file, @options) = @_;
    $node->command_ok([ 'pg_dump', '-f', "$folder/$file", @options, $db ],
        join ' ', 'pg_dump', @options, $db);
    return "$folder/$file";
}
sub run_file {
    my ($db, $file, @options) = @_;
    $node->command_ok([ 'psql', '-XqAt', '-o', "$folder/out", '-v', 'ON_ERROR_STOP=1', @options, '-d', $db,
        '-f', $file ], "psql $db without an error");
}

my $dump = dump_to('source', 'source.sql');
unlike(slurp_file($dump), qr/spool_\d|pipelinedb\.(progress|generation|query)/,
    'spool and progress are not in a dump');
new_database('target');
sql('postgres', "ALTER DATABASE target SET TimeZone = 'America/New_York'");
run_file('target', $dump);
is(contents('target'), contents('source'), 'psql: the same results');
is(sql('target', 'SELECT n FROM app.paused'), '1', 'a paused view comes with what it had folded');
is(sql('target', 'SELECT schema, name, owner, stream FROM pipelinedb.views ORDER BY 1, 2'),
    sql('source', 'SELECT schema, name, owner, stream FROM pipelinedb.views ORDER BY 1, 2'),
    'psql: the same views');
is(sql('target', 'SELECT * FROM pipelinedb.streams ORDER BY 1, 2'),
    sql('source', 'SELECT * FROM pipelinedb.streams ORDER BY 1, 2'), 'psql: the same streams');
is(sql('target', "SELECT obj_description('app.daily_view'::regclass)
    || has_table_privilege('reader', 'app.daily_view', 'select')"), 'per daytrue',
    'comments and privileges');
my ($status, $out, $errors) = $node->psql('target', 'DELETE FROM app.daily_view_mrel');
like($errors, qr/ERROR/, 'the tables behind restored views are guarded');
goes_on('target', 'psql');

sub schema_of {
    my ($db) = @_;
    local $ENV{PGTZ} = 'UTC'; # constants are printed in the session's time zone
    my $text = slurp_file(dump_to($db, "$db.schema", '--schema-only'));
    return join '', grep { !/^\\(un)?restrict/ } split /^/, $text; # a random word in newer versions
}
my ($first, $second) = (schema_of('source'), schema_of('target'));
ok($first eq $second, 'a dump of the restored database is the same')
    or do { append_to_file("$folder/1", $first); append_to_file("$folder/2", $second);
        diag(scalar `diff $folder/1 $folder/2`); };

# ---- custom format, in parallel, again and over itself -----------------------------------------

$dump = dump_to('source', 'source.dump', '-Fc');
new_database('parallel');
$node->command_ok([ 'pg_restore', '-j2', '-e', '-d', 'parallel', $dump ], 'pg_restore -j2');
is(contents('parallel'), contents('source'), 'pg_restore: the same results');
goes_on('parallel', 'pg_restore');

$dump = dump_to('parallel', 'parallel.dump', '-Fd', '-j2');
new_database('second');
$node->command_ok([ 'pg_restore', '-j2', '-e', '-d', 'second', $dump ], 'a dump of what was restored');
is(contents('second'), contents('source'), 'the second generation has the same results');
goes_on('second', 'second generation');

$dump = dump_to('source', 'clean.dump', '-Fc');
for my $time ('first', 'second') {
    $node->command_ok([ 'pg_restore', '--clean', '--if-exists', '-e', '-d', 'second', $dump ],
        "pg_restore --clean, $time time");
    is(contents('second'), contents('source'), "--clean, $time time: the same results");
    goes_on('second', "--clean, $time time");
    $dump = dump_to('source', 'clean.dump', '-Fc');
}

# ---- one view ----------------------------------------------------------------------------------

my $stream = q{CREATE SCHEMA app AUTHORIZATION owner; CREATE SCHEMA "other schema";
    CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
    CREATE FOREIGN TABLE app.st (a int, b text, c numeric, d float8, t timestamptz, m app.mood)
        SERVER pipelinedb;
    CREATE FOREIGN TABLE "other schema"."Odd Stream" ("Key" varchar(10), "n n" int8)
        SERVER pipelinedb;
    ALTER FOREIGN TABLE app.st OWNER TO owner;};
for my $format ('-Fp', '-Fc') {
    my $db = new_database($format eq '-Fp' ? 'one_plain' : 'one_custom');
    sql($db, "CREATE EXTENSION pipeline_ext; $stream");
    $dump = dump_to('source', "one$format", $format, '-t', 'app.daily_view*');
    if ($format eq '-Fp') {
        run_file($db, $dump);
    } else {
        $node->command_ok([ 'pg_restore', '-e', '-j2', '-d', $db, $dump ], 'pg_restore of one view');
    }
    is(contents($db, 'app.daily_view'), contents('source', 'app.daily_view'),
        "-t 'daily_view*' $format: the same results");
    goes_on($db, "-t 'daily_view*' $format", 'app.daily_view');
    is(sql($db, 'SELECT name FROM pipelinedb.views'), 'daily_view', 'and no other view');
}

# ---- schema and data by themselves -------------------------------------------------------------

new_database('halves');
run_file('halves', dump_to('source', 'schema.sql', '--schema-only'));
is(sql('halves', 'SELECT count(*) FROM app.daily_view'), '0', '--schema-only: no groups');
is(sql('halves', 'SELECT count(*) FROM pipelinedb.views'),
    sql('source', 'SELECT count(*) FROM pipelinedb.views'), '--schema-only: all views');
sql('halves', rows_from(1, 9));
wait_folded($node, 'halves');
is(sql('halves', 'SELECT sum(count), (SELECT count FROM app.no_keys) FROM app.daily_view'), '9|9',
    '--schema-only: counting begins');
$dump = dump_to('source', 'data.sql', '--data-only');
sql('halves', 'SET pipelinedb.matrels_writable = on; ' . join ' ',
    map { "DELETE FROM $_;" } split /\n/, sql('halves', 'SELECT matrel FROM pipelinedb.views'));
$node->command_fails([ 'psql', '-XqAt', '-o', "$folder/out", '-v', 'ON_ERROR_STOP=1', '-d', 'halves',
    '-f', $dump ], '--data-only is refused by the guard of the tables');
{
    local $ENV{PGOPTIONS} = '-c pipelinedb.matrels_writable=on';
    run_file('halves', $dump, '-1');
}
is(contents('halves'), contents('source'), '--data-only with matrels_writable: the same results');
goes_on('halves', '--data-only');

# ---- an ordinary role restores its schema ------------------------------------------------------

new_database('owned');
sql('owned', 'CREATE EXTENSION pipeline_ext; GRANT CREATE ON DATABASE owned TO owner;
    GRANT USAGE ON FOREIGN SERVER pipelinedb TO owner');
run_file('owned', dump_to('source', 'owned.sql', '-n', 'app', '-n', '"other schema"'), '-U', 'owner');
is(contents('owned'), contents('source'), 'restored by its owner, not a superuser: the same results');
goes_on('owned', 'restored by its owner');

# ---- states whose bytes only their own functions can judge -------------------------------------

# The server's functions under other names: for us an aggregate of somebody else.
new_database('foreign_states');
my $aggregate = q{CREATE EXTENSION pipeline_ext;
    CREATE FUNCTION state_out(internal) RETURNS bytea LANGUAGE internal
        STRICT IMMUTABLE PARALLEL SAFE AS 'numeric_avg_serialize';
    CREATE FUNCTION state_in(bytea, internal) RETURNS internal LANGUAGE internal
        STRICT IMMUTABLE PARALLEL SAFE AS 'numeric_avg_deserialize';
    CREATE AGGREGATE mean(numeric) (sfunc = numeric_avg_accum, stype = internal,
        finalfunc = numeric_avg, combinefunc = numeric_avg_combine, serialfunc = state_out,
        deserialfunc = state_in, parallel = safe);};
sql('foreign_states', qq{$aggregate
    CREATE SCHEMA app AUTHORIZATION owner; GRANT USAGE ON FOREIGN SERVER pipelinedb TO owner;
    SET ROLE owner;
    CREATE FOREIGN TABLE app.s (k int, n numeric) SERVER pipelinedb;
    CREATE VIEW app.means AS SELECT k, mean(n), count(*) FROM app.s GROUP BY k;
    INSERT INTO app.s SELECT g % 3, g * 1.1 FROM generate_series(1, 10) g});
wait_folded($node, 'foreign_states');
my $means = 'SELECT * FROM app.means ORDER BY k';
new_database('by_superuser');
run_file('by_superuser', dump_to('foreign_states', 'foreign.sql'));
is(sql('by_superuser', $means), sql('foreign_states', $means), 'a superuser restores foreign states');
for my $db ('by_superuser', 'foreign_states') {
    sql($db, 'INSERT INTO app.s SELECT g % 3, g * 1.1 FROM generate_series(11, 20) g');
    wait_folded($node, $db);
}
is(sql('by_superuser', $means), sql('foreign_states', $means), 'and counting goes on');
is(sql('by_superuser', $means), sql('by_superuser', 'SELECT g % 3, avg(g * 1.1), count(*)
    FROM generate_series(1, 20) g GROUP BY 1 ORDER BY 1'), 'with the right results');
new_database('by_owner');
sql('by_owner', "$aggregate GRANT CREATE ON DATABASE by_owner TO owner;
    GRANT USAGE ON FOREIGN SERVER pipelinedb TO owner");
$node->command_checks_all(
    [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-U', 'owner', '-d', 'by_owner', '-o', "$folder/out", '-f',
        dump_to('foreign_states', 'foreign.sql', '-n', 'app') ], 3, [],
    [qr/permission denied to read a serialized state of a foreign aggregate/],
    'others are refused: its functions trust the bytes');

# ---- a dump while rows are folded --------------------------------------------------------------

sql('postgres', "$LedgerWriters::stream;
    CREATE VIEW per_txn AS $LedgerWriters::per_txn;
    CREATE VIEW per_writer AS $LedgerWriters::per_writer;
    CREATE VIEW total AS $LedgerWriters::total;");
my $ledger = LedgerWriters->new($node);
$ledger->start(3, 2000);
ok($node->poll_query_until('postgres', 'SELECT coalesce(sum(n), 0) > 500 FROM total'), 'rows are folded');
$dump = dump_to('postgres', 'live.sql');
$ledger->finish;
$ledger->settle;
new_database('live');
run_file('live', $dump);
my $sums = "SELECT count(DISTINCT sums) FROM (SELECT concat(sum(n), ' ', sum(s)) AS sums FROM per_writer
    UNION ALL SELECT concat(sum(n), ' ', sum(s)) FROM per_txn
    UNION ALL SELECT concat(n, ' ', s) FROM total) x";
is(sql('live', $sums), '1', 'the views of a dump under load agree');
my $half = sql('live', 'SELECT n FROM total');
wait_folded($node, 'postgres');
my ($writers, $total) = $ledger->sums;
cmp_ok($half, '<', (split /\|/, $total)[0], "it was taken while writers wrote ($half rows of $total)");
is(join("\n", $ledger->complaints('per_txn', 1)), '', 'which it did not disturb');
my %dumped = map { split /\|/, $_, 2 } split /\n/, sql('live', 'SELECT txn, n, s FROM per_txn');
my @wrong = grep { $dumped{$_} ne join '|', @{ $ledger->{expected}{$_} }[0, 1] } sort keys %dumped;
is("@wrong", '', 'in the dump a transaction is whole or not there');
sql('live', "INSERT INTO events VALUES (-1, 1, 100, '')");
wait_folded($node, 'live');
is(sql('live', $sums), '1', 'and counting goes on');
is(sql('live', 'SELECT n FROM total'), $half + 1, 'once');

# ---- dropping leaves nothing -------------------------------------------------------------------

my @catalogs = qw(pg_class pg_type pg_proc pg_depend pg_attribute pg_attrdef pg_rewrite
    pg_trigger pg_index pg_constraint pg_description pg_foreign_table pg_init_privs pg_aggregate
    pg_namespace pg_operator pg_default_acl pg_event_trigger pg_sequence pg_opclass);
sub counts {
    my ($db) = @_;
    my $own = sql($db, "SELECT to_regclass('pipelinedb.query') IS NOT NULL") eq 't';
    return sql($db, join ' UNION ALL ', (map { "SELECT '$_', count(*) FROM $_" } @catalogs),
        q{SELECT 'pg_shdepend', count(*) FROM pg_shdepend JOIN pg_database d ON dbid = d.oid
            WHERE datname = current_database()},
        $own ? (map { "SELECT '$_', count(*) FROM pipelinedb.$_" } qw(query progress)) : ());
}
sub settled_counts {
    my ($db) = @_;
    $node->poll_query_until($db, 'SELECT count(*) = 1 FROM pipelinedb.progress')
        or die 'a view does not rejoin the others';
    return counts($db);
}

new_database('drops');
my $empty = counts('drops');
sql('drops', 'CREATE EXTENSION pipeline_ext');
my $installed = counts('drops');
isnt($installed, $empty, 'the counts show an extension');

sql('drops', $stream . q{CREATE FUNCTION public.one() RETURNS int LANGUAGE sql AS 'SELECT 1';});
my $streams = settled_counts('drops');
my $make = q{SET search_path = app;
    CREATE VIEW v1 AS SELECT b, count(*), avg(c), stddev(d) FROM st GROUP BY b;
    CREATE VIEW v2 AS SELECT count(*) FROM st;
    CREATE VIEW v3 AS SELECT b || 'x' AS x, a % 3 AS y, t, max(c) FROM st GROUP BY 1, 2, 3;
    COMMENT ON VIEW v1 IS 'something'; GRANT SELECT ON v1, v1_mrel TO reader;
    CREATE INDEX ON v2_mrel (count); CREATE VIEW over_it AS SELECT * FROM v1;
    GRANT INSERT ON st TO reader};
my @ways = (
    [ 'DROP VIEW', 'DROP VIEW app.over_it; DROP VIEW app.v1, app.v3; DROP VIEW app.v2' ],
    [ 'DROP VIEW CASCADE', 'DROP VIEW app.v1, app.v3 CASCADE; DROP VIEW app.v2' ],
    [ 'DROP of the definitions', 'DROP VIEW app.v1_def, app.v2_def, app.v3_def CASCADE' ],
    [ 'DROP of the tables', 'DROP TABLE app.v1_mrel, app.v2_mrel, app.v3_mrel CASCADE' ]);
for my $way (@ways) {
    my ($name, $drop) = @$way;
    sql('drops', $make);
    sql('drops', rows_from(1, 50));
    wait_folded($node, 'drops');
    sql('drops', "SELECT pipelinedb.deactivate('app.v3')");
    sql('drops', rows_from(1, 50));
    sql('drops', "$drop; REVOKE INSERT ON app.st FROM reader");
    wait_folded($node, 'drops');
    is(settled_counts('drops'), $streams, "$name leaves nothing");
}
sql('drops', $make);
sql('drops', rows_from(1, 50));
sql('drops', "BEGIN; DROP VIEW app.v1 CASCADE; DROP FOREIGN TABLE app.st CASCADE; ROLLBACK");
sql('drops', rows_from(1, 50));
wait_folded($node, 'drops');
is(sql('drops', 'SELECT * FROM app.v2'), '100', 'a DROP that is rolled back changes nothing');
sql('drops', 'DROP FOREIGN TABLE app.st, "other schema"."Odd Stream" CASCADE');
is(sql('drops', "SELECT count(*) FROM pg_class WHERE relnamespace = 'app'::regnamespace"), '0',
    'DROP FOREIGN TABLE CASCADE takes the views along');
sql('drops', 'DROP SCHEMA app CASCADE; DROP SCHEMA "other schema"; DROP FUNCTION public.one()');
wait_folded($node, 'drops');
is(settled_counts('drops'), $installed, 'DROP FOREIGN TABLE CASCADE leaves nothing');

sql('drops', "$stream; $make");
sql('drops', rows_from(1, 50));
sql('drops', 'DROP SCHEMA app CASCADE; DROP SCHEMA "other schema" CASCADE');
wait_folded($node, 'drops');
is(settled_counts('drops'), $installed, 'DROP SCHEMA CASCADE leaves nothing');

sql('drops', 'GRANT CREATE ON DATABASE drops TO helper; GRANT USAGE ON FOREIGN SERVER pipelinedb TO helper');
my $granted = settled_counts('drops');
sql('drops', "SET ROLE helper; CREATE SCHEMA mine; CREATE FOREIGN TABLE mine.s (k int) SERVER pipelinedb;
    CREATE VIEW mine.v AS SELECT k, count(*) FROM mine.s GROUP BY k; INSERT INTO mine.s VALUES (1)");
wait_folded($node, 'drops');
sql('drops', 'REASSIGN OWNED BY helper TO owner; DROP OWNED BY helper; INSERT INTO mine.s VALUES (1)');
wait_folded($node, 'drops');
is(sql('drops', 'SELECT * FROM mine.v'), '1|2', 'REASSIGN OWNED: counting goes on');
sql('drops', 'DROP OWNED BY owner');
wait_folded($node, 'drops');
is(settled_counts('drops'), $installed, 'DROP OWNED leaves nothing');

# Also what the spool still holds, and a generation that was made later.
sql('drops', "$stream; $make");
sql('drops', "SELECT pipelinedb.deactivate('app.v1')");
sql('drops', rows_from(1, 50));
sql('drops', 'SELECT pipelinedb.create_generation(2); DROP EXTENSION pipeline_ext CASCADE');
is(sql('drops', 'SELECT count(*) FROM pg_class WHERE relnamespace IN (
        SELECT oid FROM pg_namespace WHERE nspname IN (\'app\', \'other schema\'))'), '0',
    'DROP EXTENSION CASCADE takes streams and views along');
sql('drops', 'DROP SCHEMA app CASCADE; DROP SCHEMA "other schema"');
is(counts('drops'), $empty, 'and leaves nothing');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity
    WHERE backend_type = 'pipelinedb fold worker' AND datname = 'drops'"), 'its fold worker leaves');
sql('drops', "CREATE EXTENSION pipeline_ext; $stream; $make");
sql('drops', rows_from(1, 50));
wait_folded($node, 'drops');
is(sql('drops', 'SELECT * FROM app.v2'), '50', 'and it can be created again');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'the server is well');
$node->stop;
done_testing();
