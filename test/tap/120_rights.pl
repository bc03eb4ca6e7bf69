# Who may do what; and a view's owner who uses its functions to get at what is not his.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');

sub psql_as {
    my ($role, $sql) = @_;
    my ($rc, $out, $err) = $node->psql('postgres', $sql,
        extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
    return ($rc, $out, $err);
}

sub allowed {
    my ($role, $sql, $name, $expected) = @_;
    my ($rc, $out, $err) = psql_as($role, $sql);
    is($rc, 0, $name) or diag($err);
    is($out, $expected, "$name: result") if defined $expected;
}

sub refused {
    my ($role, $sql, $state, $name) = @_;
    my ($rc, $out, $err) = psql_as($role, $sql);
    like($err, qr/ERROR:  $state: /, $name);
}

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice LOGIN;   -- owns streams and views
CREATE ROLE mallory LOGIN; -- owns views and means harm
CREATE ROLE bob LOGIN;     -- owns a view that comes after mallory's
CREATE ROLE writer LOGIN;
CREATE ROLE reader LOGIN;
CREATE ROLE nobody LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE SCHEMA alice AUTHORIZATION alice;
CREATE SCHEMA mallory AUTHORIZATION mallory;
CREATE SCHEMA bob AUTHORIZATION bob;
GRANT USAGE ON SCHEMA alice, bob TO PUBLIC;
GRANT USAGE ON FOREIGN SERVER pipelinedb TO alice;
SQL

# ---- what each needs -----------------------------------------------------------------------

refused('nobody', 'CREATE SCHEMA AUTHORIZATION nobody', 42501, 'nobody may create no schema');
refused('mallory', 'CREATE FOREIGN TABLE mallory.s (x int) SERVER pipelinedb', 42501,
    'a stream needs USAGE on the server');
allowed('alice', 'CREATE FOREIGN TABLE alice.s (k text, n int, secret text) SERVER pipelinedb',
    'with it a stream can be made');
refused('mallory', 'CREATE VIEW mallory.v AS SELECT count(*) FROM alice.s', 42501,
    'a view needs SELECT on the stream');
allowed('alice', 'GRANT SELECT (k, n) ON alice.s TO mallory, bob', 'SELECT on columns');
refused('mallory', 'CREATE VIEW mallory.v AS SELECT secret, count(*) FROM alice.s GROUP BY 1', 42501,
    'a view needs SELECT on the columns that it reads');
refused('mallory', 'CREATE VIEW mallory.v AS SELECT count(*) FROM alice.s WHERE secret IS NULL', 42501,
    'in WHERE, too');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relnamespace = 'mallory'::regnamespace"),
    '0', 'what was refused has left nothing');

allowed('alice', 'CREATE VIEW alice.v AS SELECT k, count(*), avg(n), stddev(n) FROM alice.s GROUP BY k;
    GRANT INSERT ON alice.s TO writer; GRANT SELECT ON alice.v TO reader', 'a view with grants');
allowed('writer', "INSERT INTO alice.s VALUES ('a', 1, 'x'), ('a', 3, 'y')", 'a writer needs INSERT only');
allowed('writer', "COPY alice.s (k, n) FROM STDIN;\na\t5\n\\.\n", 'COPY by a writer');
allowed('writer', "PREPARE p AS INSERT INTO alice.s VALUES (\$1, \$2); EXECUTE p('b', 7)", 'EXECUTE by a writer');
allowed('writer', 'SELECT pipelinedb.flush()', 'flush() is for everybody', 't');
allowed('reader', 'SELECT k, count, avg::int, stddev::int FROM alice.v ORDER BY k',
    'a reader needs SELECT on the view only', "a|3|3|2\nb|1|7|");
refused('writer', 'SELECT * FROM alice.v', 42501, 'a writer reads nothing');
refused('reader', "INSERT INTO alice.s VALUES ('a', 1, '')", 42501, 'a reader writes nothing');
refused('reader', 'SELECT * FROM alice.v_mrel', 42501, 'nor does it see the table behind the view');
refused('nobody', 'SELECT * FROM alice.v', 42501, 'nobody reads nothing');
refused('nobody', "SELECT pipelinedb.deactivate('alice.v')", 42501, 'only the owner pauses a view');
refused('nobody', "SELECT pipelinedb.activate('alice.v')", 42501, 'only the owner activates a view');
allowed('alice', "SELECT pipelinedb.deactivate('alice.v')", 'the owner pauses it', 't');
allowed('alice', "SELECT pipelinedb.activate('alice.v')", 'the owner activates it', 't');
refused('nobody', 'DROP VIEW alice.v', 42501, 'only the owner drops it');

# ---- the table behind a view ---------------------------------------------------------------

my %changes = (INSERT => "INSERT INTO alice.v_mrel SELECT * FROM alice.v_mrel WHERE false",
    UPDATE => 'UPDATE alice.v_mrel SET k = k', DELETE => 'DELETE FROM alice.v_mrel WHERE false',
    TRUNCATE => 'TRUNCATE alice.v_mrel', 'INSERT INTO the view' => "INSERT INTO alice.v (k) VALUES ('x')",
    'DELETE FROM the view' => 'DELETE FROM alice.v',
    'MERGE' => 'MERGE INTO alice.v_mrel m USING (SELECT 1) x ON false WHEN NOT MATCHED THEN INSERT (k) VALUES (NULL)');
for my $change (sort keys %changes) {
    my $viewed = $change =~ /view/;
    refused('alice', $changes{$change}, '5\w{4}', "$change by the owner is refused");
    refused('nobody', "SET pipelinedb.matrels_writable = on; $changes{$change}", $viewed ? '\w{5}' : 42501,
        "$change by others is refused, whatever they set");
}
refused('alice', "COPY alice.v_mrel FROM STDIN;\n\\.\n", 55000, 'COPY by the owner is refused');
allowed('alice', "SET pipelinedb.matrels_writable = on; DELETE FROM alice.v_mrel WHERE k = 'b';
    SELECT count(*) FROM alice.v", 'with matrels_writable the owner may', '1');
allowed('writer', "INSERT INTO alice.s VALUES ('a', 1), ('b', 1)", 'writing goes on');
wait_folded($node);
allowed('reader', 'SELECT k, count FROM alice.v ORDER BY k', 'and folding', "a|4\nb|1");

# ---- the catalog ---------------------------------------------------------------------------

for my $role (qw(nobody alice)) {
    refused($role, "$_", '(?:42501|42809|55000|0A000)', "$role: $_") for
        'SELECT * FROM pipelinedb.query', 'UPDATE pipelinedb.progress SET consumer = 0',
        'INSERT INTO pipelinedb.spool_0 SELECT', 'SELECT * FROM pipelinedb.spool_0',
        'TRUNCATE pipelinedb.generation', 'UPDATE pipelinedb.views SET active = true',
        'SELECT pipelinedb.create_generation(7)', 'CREATE TABLE pipelinedb.x (i int)',
        "SET pipelinedb.stop_points = 'fold_before_view:crash'";
}
is($node->safe_psql('postgres', "SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d
    ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pipeline_ext'
    JOIN pg_language l ON l.oid = p.prolang
    WHERE l.lanname <> 'c' AND p.prokind <> 'a' AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c
        WHERE c ~ '^search_path=pg_catalog, ?pg_temp\$')
       OR p.prosecdef"), '', 'every function of the extension is C or pins search_path; none is SECURITY DEFINER');

# ---- views run as their owner ---------------------------------------------------------------

# "Immutable" is a lie, to be asked once per row by the fold worker.
my $who = 'RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN current_user; END $$';
allowed('mallory', "CREATE FUNCTION mallory.who() $who;
    CREATE VIEW mallory.who_v AS SELECT mallory.who() AS key, count(*), max(mallory.who()) AS inside,
        count(*) FILTER (WHERE mallory.who() = 'mallory') AS filtered
        FROM alice.s WHERE mallory.who() <> 'postgres' GROUP BY 1", 'a view that asks who runs it');
allowed('writer', "INSERT INTO alice.s VALUES ('a', 1)", 'a row');
wait_folded($node);
is($node->safe_psql('postgres', 'TABLE mallory.who_v'), 'mallory|1|mallory|1', 'its owner runs it');
$node->safe_psql('postgres', 'ALTER VIEW mallory.who_v OWNER TO bob; GRANT USAGE ON SCHEMA mallory TO bob');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT relowner::regrole::text, ',') FROM pg_class
    WHERE relname LIKE 'who\\_v%'"), 'bob', 'ALTER VIEW OWNER takes all of the view along');
allowed('writer', "INSERT INTO alice.s VALUES ('a', 1)", 'another row');
wait_folded($node);
is($node->safe_psql('postgres', "SELECT key, count, inside, filtered FROM mallory.who_v WHERE key <> 'mallory'"),
    'bob|1|bob|0', 'then the new owner runs it');
$node->safe_psql('postgres', 'DROP VIEW mallory.who_v');

# ---- a malicious owner -----------------------------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE public.prey (x int);
GRANT CREATE ON SCHEMA public TO mallory;
CREATE FUNCTION public.sees() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT concat_ws('|', current_user, current_setting('work_mem'), current_setting('TimeZone'),
    current_setting('DateStyle'), current_setting('statement_timeout'), current_setting('lock_timeout'),
    current_setting('search_path'), current_setting('session_replication_role'),
    current_setting('pipelinedb.matrels_writable'), current_setting('application_name') = 'x',
    current_setting('bytea_output'), current_setting('enable_seqscan'), nullif(current_setting('mallory.x', true), ''),
    (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
       AND objid IN (42, 43, 44)),
    pg_my_temp_schema(), (SELECT count(*) FROM pg_listening_channels()),
    (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors WHERE name = 'mine'))
$$;
SQL

# Each attempt is made in a block of its own; what is not refused is written down.
my @attempts = (
    "SELECT set_config('work_mem', '999MB', false)", "SET TimeZone = 'Asia/Tokyo'",
    "SELECT set_config('DateStyle', 'German', false)", "SET statement_timeout = '1ms'",
    "SET lock_timeout = '1ms'", "SET search_path = mallory", "SET pipelinedb.matrels_writable = on",
    "SET application_name = 'x'", "SET bytea_output = 'escape'", 'SET enable_seqscan = off',
    "SELECT set_config('mallory.x', 'y', false)", 'SELECT pg_advisory_unlock_all()',
    'SELECT pg_advisory_lock(42)', 'SELECT pg_advisory_lock_shared(43)',
    'SELECT pg_advisory_lock(1346981957, 44)');
my @attacks = (
    "SET session_replication_role = replica", 'SET ROLE postgres', 'SET ROLE NONE', 'RESET ROLE',
    "SELECT set_config('role', 'postgres', false)", 'SET SESSION AUTHORIZATION postgres',
    'RESET SESSION AUTHORIZATION', "SELECT set_config('session_authorization', 'postgres', false)",
    "SET pipelinedb.stop_points = 'fold_before_view:crash'", "ALTER SYSTEM SET work_mem = '1MB'",
    'CREATE TEMP TABLE grip (x int)', 'SELECT 1 INTO TEMP grip', 'CREATE TEMP VIEW grip AS SELECT 1',
    'INSERT INTO public.prey VALUES (1)', 'UPDATE public.prey SET x = 0', 'SELECT * FROM public.prey',
    'DROP TABLE public.prey', "INSERT INTO alice.s VALUES ('forged')", 'UPDATE alice.v_mrel SET k = k',
    'SELECT * FROM alice.v', 'DELETE FROM pipelinedb.query', 'UPDATE pipelinedb.progress SET consumer = 1',
    'TRUNCATE pipelinedb.spool_0', 'DELETE FROM pipelinedb.spool_0', 'SELECT count(*) FROM pipelinedb.spool_0',
    "SELECT pipelinedb.deactivate('bob.sees_v')", 'DROP VIEW bob.sees_v', 'LISTEN mallory',
    'ALTER ROLE mallory SUPERUSER', 'CREATE ROLE gained SUPERUSER', 'GRANT postgres TO mallory',
    "COPY (SELECT 1) TO PROGRAM 'true'", "COPY mallory.log FROM '/etc/hostname'",
    "SELECT pg_read_file('PG_VERSION')", 'SELECT pg_reload_conf()', "LOAD 'auto_explain'",
    'SELECT pg_terminate_backend(pg_backend_pid())', 'SELECT pg_cancel_backend(pg_backend_pid())',
    'PREPARE held AS SELECT 1', 'DECLARE mine CURSOR WITH HOLD FOR SELECT 1', 'DISCARD ALL', 'COMMIT',
    'SAVEPOINT a', 'LOCK TABLE pipelinedb.progress', 'LOCK TABLE bob.sees_v_mrel', 'VACUUM',
    'SELECT pipelinedb.flush()',
    'SET CONSTRAINTS ALL DEFERRED; INSERT INTO mallory.later VALUES (1)',
    'SELECT lo_import(\'/etc/passwd\')', 'CREATE EXTENSION plperlu', 'CREATE FUNCTION mallory.c() RETURNS int LANGUAGE c AS $c$x$c$');

sub try_all { return join '', map { my $sql = $_; $sql =~ s/'/''/g; "PERFORM mallory.try(k, '$sql');\n" } @_; }

allowed('mallory', <<"SQL" . <<'SQL', 'mallory makes his tools');
CREATE TABLE mallory.log (round text, attempt text, outcome text, as_user text);
CREATE TABLE mallory.later (x int);
SQL
CREATE FUNCTION mallory.grab() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER grab AFTER INSERT ON mallory.later DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION mallory.grab();
CREATE FUNCTION mallory.try(round text, attempt text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE outcome text := 'done';
BEGIN
  BEGIN EXECUTE attempt; EXCEPTION WHEN OTHERS THEN outcome := SQLSTATE; END;
  INSERT INTO mallory.log VALUES (round, attempt, outcome, current_user);
END $$;
SQL
allowed('mallory', "CREATE FUNCTION mallory.evil(k text) RETURNS text LANGUAGE plpgsql STABLE AS \$\$
    BEGIN IF k = 'quiet' THEN RETURN k; END IF; PERFORM mallory.all_of_it(k);
    IF k = 'raise' THEN RAISE division_by_zero; END IF; RETURN k; END \$\$;
    CREATE FUNCTION mallory.all_of_it(k text) RETURNS void LANGUAGE plpgsql AS \$body\$ BEGIN\n"
    . try_all(@attempts, @attacks) . 'END $body$', 'and his function');
# STABLE functions may not write by themselves; the tool that does is volatile.
allowed('mallory', 'ALTER FUNCTION mallory.evil VOLATILE;
    CREATE VIEW mallory.evil_v AS SELECT mallory.evil(k) AS k, count(*) FROM alice.s GROUP BY 1', 'and his view');
allowed('bob', 'SET TimeZone = \'Europe/Berlin\';
    CREATE VIEW bob.sees_v AS SELECT public.sees() AS seen, count(*) FROM alice.s GROUP BY 1',
    'bob makes a view that notes what it sees');

# With nothing tried: what bob's view should see.
allowed('writer', "INSERT INTO alice.s VALUES ('quiet')", 'a row before the attack');
wait_folded($node);
my $clean = $node->safe_psql('postgres', 'SELECT seen FROM bob.sees_v');
like($clean, qr/^bob\|[^|]+\|Europe\/Berlin\|[^|]+\|0\|/, 'it runs as bob with its own settings');
unlike($clean, qr/999MB|mallory/, 'and no others');

sub nothing_gained {
    my ($round) = @_;
    wait_folded($node);
    is($node->safe_psql('postgres', "SELECT seen FROM bob.sees_v WHERE seen <> '" . $clean =~ s/'/''/gr . "'"), '',
        "$round: the next view sees nothing of it");
    is($node->safe_psql('postgres', "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'
        UNION ALL SELECT rolsuper FROM pg_roles WHERE rolname = 'gained'"), 'f', "$round: no new superuser");
    is($node->safe_psql('postgres', 'SELECT count(*) FROM public.prey'), '0', "$round: the prey is untouched");
    is($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid IN (42, 43, 44)"),
        '0', "$round: no advisory lock is left");
    is($node->safe_psql('postgres', "SELECT name, state FROM pipelinedb.views WHERE state <> 'active'
        AND name <> 'evil_v'"), '', "$round: the others are active");
}

my $worker = fold_worker_pid($node);
allowed('writer', "INSERT INTO alice.s VALUES ('attack')", 'the attack');
nothing_gained('attack');
my $made = $node->safe_psql('postgres', "SELECT count(*), count(DISTINCT as_user), max(as_user) FROM mallory.log
    WHERE round = 'attack'");
is($made, (@attempts + @attacks) . '|1|mallory', 'every attempt was made, as mallory');
for my $attack (@attacks) {
    my $outcome = $node->safe_psql('postgres', "SELECT outcome FROM mallory.log WHERE round = 'attack'
        AND attempt = '" . $attack =~ s/'/''/gr . "'");
    isnt($outcome, 'done', "refused ($outcome): $attack");
}
is(fold_worker_pid($node), $worker, 'the fold worker has survived');

# The same through SECURITY DEFINER, and from a function with settings of its own.
allowed('mallory', "ALTER FUNCTION mallory.all_of_it SECURITY DEFINER SET work_mem = '777MB'; TRUNCATE mallory.log",
    'as SECURITY DEFINER');
allowed('writer', "INSERT INTO alice.s VALUES ('definer')", 'the attack');
nothing_gained('definer');
is($node->safe_psql('postgres', "SELECT string_agg(attempt, '; ') FROM mallory.log WHERE outcome = 'done'
    AND attempt NOT IN (" . join(', ', map { "'" . s/'/''/gr . "'" } @attempts) . ')'), '', 'definer: all is refused');

# An error after the attempts: the row is rejected, and its rollback covers everything.
allowed('mallory', 'ALTER FUNCTION mallory.all_of_it SECURITY INVOKER RESET ALL', 'as it was');
allowed('writer', "INSERT INTO alice.s VALUES ('raise')", 'the attack');
nothing_gained('raise');
is($node->safe_psql('postgres', "SELECT e.sqlstate, e.row ->> 'k' FROM pipelinedb.errors e
    JOIN pipelinedb.views v ON e.view = v.id WHERE v.name = 'evil_v'"),
    '22012|raise', 'the row that raised an error has been rejected');
allowed('mallory', "DROP VIEW mallory.evil_v", 'it can be dropped');
wait_folded($node);

# What lies in the schemas that others search: exact matches that a careless caller would take.
allowed('mallory', <<'SQL', 'mallory puts functions and operators into public');
CREATE FUNCTION public.trap() RETURNS void LANGUAGE plpgsql AS $$
BEGIN INSERT INTO mallory.log VALUES ('trap', 'sprung', current_user); END $$;
CREATE FUNCTION public.int8inc(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT public.trap(); SELECT 100::bigint';
CREATE FUNCTION public.int8pl(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT public.trap(); SELECT 100::bigint';
CREATE FUNCTION public.texteq(text, text) RETURNS bool LANGUAGE sql AS 'SELECT public.trap(); SELECT true';
CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql AS 'SELECT public.trap(); SELECT $1';
CREATE OPERATOR public.= (FUNCTION = public.texteq, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR public.+ (FUNCTION = public.int8pl, LEFTARG = bigint, RIGHTARG = bigint);
CREATE FUNCTION public.flush() RETURNS bool LANGUAGE sql AS 'SELECT public.trap(); SELECT true';
CREATE AGGREGATE public.count(*) (SFUNC = public.int8inc, STYPE = bigint, INITCOND = '0', COMBINEFUNC = public.int8pl);
TRUNCATE mallory.log;
SQL
# bob searches public first, and pg_catalog only then.
allowed('bob', "SET search_path = public, pg_catalog; CREATE VIEW bob.plain AS SELECT pg_catalog.lower(k) AS k,
    pg_catalog.count(*) FROM alice.s GROUP BY 1", 'bob makes one more view');
allowed('writer', "SET search_path = public, pg_catalog; INSERT INTO alice.s VALUES ('A'), ('a')", 'rows');
wait_folded($node);
is($node->safe_psql('postgres', "SELECT k, count FROM bob.plain"), 'a|2', 'it counts with the right functions');
is($node->safe_psql('postgres', "SET search_path = public, pg_catalog; SELECT pipelinedb.create_generation(9);
    SELECT pg_catalog.count(*) FROM pg_catalog.pg_class WHERE relname OPERATOR(pg_catalog.=) 'spool_9'"), "\n1",
    'the functions of the extension find their own');
is($node->safe_psql('postgres', 'SELECT * FROM mallory.log'), '', 'nobody stepped into a trap');
$node->safe_psql('postgres', 'DROP FUNCTION public.trap CASCADE; DROP AGGREGATE public.count(*);
    DROP OPERATOR public.= (text, text); DROP OPERATOR public.+ (bigint, bigint)');

# ---- messages -----------------------------------------------------------------------------------

allowed('alice', q{CREATE FUNCTION alice.stop(s text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'cannot take "%"', s USING ERRCODE = '0A000'; END $$;
    CREATE VIEW alice.bad AS SELECT sum(alice.stop(secret)) FROM alice.s}, 'a view that can fail');
allowed('writer', "INSERT INTO alice.s VALUES ('a', 1, 'pa55word')", 'a row that makes it fail');
wait_folded($node);
my $message = "SELECT state, sqlstate, message FROM pipelinedb.views WHERE name = 'bad'";
my $whole = 'failed|0A000|cannot take "pa55word"';
allowed('alice', $message, 'its owner sees the message', $whole);
allowed('watcher', $message, 'so does who watches the server', $whole);
allowed($_, $message, "$_ sees that it failed, but not the data", 'failed|0A000|') for qw(mallory nobody reader);
allowed('nobody', 'SELECT count(*) > 0 FROM pipelinedb.streams', 'the streams are for all to see', 't');

# ---- finalize() with anything ---------------------------------------------------------------------

my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $connected = $node->background_psql('postgres');
$connected->query_safe('SELECT 1');
my ($status, undef, $notices) = psql_as('nobody', <<'SQL');
DO $do$
DECLARE
  aggregate regprocedure; state text; result text; extra text; calls int := 0; fine int := 0;
  states text[] := ARRAY['NULL::bytea', '''\x''::bytea', '''\x00''::bytea', '''\x0101010101010101''::bytea',
    '''\xffffffffffffffffffffffffffffffffffffffff''::bytea', 'decode(repeat(''7f000001'', 100), ''hex'')',
    'NULL::int8', '1::int8', '-1::int4', '''x''::text', '''{}''::int8[]', '''{1}''::int8[]',
    '''{1,2,3}''::int8[]', '''{{1,2},{3,4}}''::int8[]', '''[5:6]={-1,NULL}''::int8[]', '''{}''::float8[]',
    '''{1,2}''::float8[]', '''{NaN,NaN,NaN}''::float8[]', '''{3,NULL,1}''::float8[]', '''{0,0,0,0,0,0}''::float8[]',
    '''{-1,2,3,4,5,6}''::float8[]', '''{1,2,3,4,5,6,7,8}''::float8[]', '''NaN''::numeric', '''1e1000''::numeric',
    '''{}''::interval[]', '''{1 s}''::interval[]', '''{1 s,0 s}''::interval[]', '''{1,2}''::numeric[]', 'NULL', '0.5::float8',
    'row(1,2)', '''{}''::text[]', 'true', 'current_date', '''1 day''::interval'];
  results text[] := ARRAY['NULL::int8', 'NULL::numeric', 'NULL::float8', 'NULL::text', 'NULL::bytea', 'NULL::interval',
    'NULL::int4[]', 'NULL::jsonb'];
BEGIN
  FOR aggregate IN SELECT a.aggfnoid FROM pg_aggregate a ORDER BY 1 LOOP
    FOREACH state IN ARRAY states LOOP
      FOREACH result IN ARRAY results LOOP
        FOREACH extra IN ARRAY ARRAY['', ', NULL::int4'] LOOP
          calls := calls + 1;
          CONTINUE WHEN calls % 3 <> 0 AND state NOT LIKE '%float8[]' AND state NOT LIKE '%int8[]'
            AND state NOT LIKE '%bytea';
          BEGIN
            EXECUTE format('SELECT pipelinedb.finalize(%L::regprocedure, %s, %s%s)::text', aggregate::oid::text, state, result, extra);
            fine := fine + 1;
          EXCEPTION WHEN OTHERS THEN
            -- The server's own final functions say the latter.
            IF SQLSTATE LIKE 'XX%' AND SQLERRM !~ '^(float8_\w+: )?expected [0-9]+-element [a-z0-9]+ array' THEN
              RAISE NOTICE '% % % %: % %', aggregate, state, result, extra, SQLSTATE, SQLERRM;
            END IF;
          END;
        END LOOP;
      END LOOP;
    END LOOP;
  END LOOP;
  RAISE NOTICE '% calls, % gave a result', calls, fine;
END $do$;
SQL
is($status, 0, 'finalize() of every aggregate with any state raises errors at most');
like($notices, qr/ calls, [1-9]\d* gave a result/, 'and some states are right by chance');
unlike($notices, qr/: XX\d{3} /, 'no error is an internal one');
refused('nobody', "SELECT pipelinedb.finalize($_)", '\w{5}', "finalize($_)") for
    "0, ''::bytea, NULL::int8", "'lower(text)'::regprocedure, ''::text, NULL::text",
    "'rank()'::regprocedure, 1::int8, NULL::int8", "4294967295::regprocedure, 1::int8, NULL::int8";

# A state of the extension's own type, as text, in all lengths and with each byte changed.
allowed('nobody', <<'SQL', 'states that were never written by us raise errors at most');
DO $do$
DECLARE good text; spoilt bytea; whole bytea; i int;
  aggregates text[] := ARRAY['avg(numeric)', 'avg(bigint)', 'sum(numeric)', 'sum(bigint)', 'stddev(bigint)', 'variance(numeric)',
    'avg(integer)', 'avg(interval)', 'string_agg(text,text)', 'array_agg(anynonarray)', 'stddev(float8)'];
  aggregate text;
BEGIN
  FOR i IN 0 .. 300 LOOP
    whole := decode(substr(repeat(md5(i::text), 8), 1, 2 * (i % 90)), 'hex');
    FOREACH aggregate IN ARRAY aggregates LOOP
      BEGIN
        EXECUTE format('SELECT pipelinedb.finalize(%L::regprocedure, %L::pipelinedb.aggregate_state, NULL::%s)', aggregate,
          whole::text, CASE WHEN aggregate ~ 'interval' THEN 'interval' WHEN aggregate ~ 'string' THEN 'text' ELSE 'numeric' END);
      EXCEPTION WHEN OTHERS THEN NULL;
      END;
    END LOOP;
  END LOOP;
END $do$;
SQL
is($connected->query_safe('SELECT 1'), '1', 'no process has died of it');
$connected->quit;
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'nor has the server');

# ---- views that never end ----------------------------------------------------------------------

set_server($node, 'pipelinedb.view_timeout' => '200ms');
my %endless = (
    'a view that never ends' => 'LOOP PERFORM 1; END LOOP',
    'a view that catches its cancellation and goes on' =>
        'LOOP BEGIN LOOP PERFORM 1; END LOOP; EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP');
for my $name (sort { $b cmp $a } keys %endless) {
    my $key = length $name;
    allowed('mallory', "CREATE FUNCTION mallory.spin(k text) RETURNS text LANGUAGE plpgsql STABLE AS
        \$\$ BEGIN $endless{$name}; END \$\$;
        CREATE VIEW mallory.spin_v AS SELECT mallory.spin(k) AS k, count(*) FROM alice.s GROUP BY 1", $name);
    allowed('writer', "INSERT INTO alice.s VALUES ('after $key')", 'a row');
    ok($node->poll_query_until('postgres', "SELECT count = 1 FROM alice.v WHERE k = 'after $key'"),
        'it stalls nobody else');
    ok($node->poll_query_until('postgres', "SELECT state = 'failed' FROM pipelinedb.views WHERE name = 'spin_v'"),
        'and is stopped');
    allowed('mallory', 'SET lock_timeout = \'60s\'; DROP VIEW mallory.spin_v; DROP FUNCTION mallory.spin',
        'it can be dropped');
}
unlike(slurp_file($node->logfile), qr/terminated by signal|TRAP:|PANIC/, 'nothing crashed in the whole test');
$node->stop('immediate');
done_testing();
