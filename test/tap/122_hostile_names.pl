# A schema that is searched before pg_catalog and holds copies of operators, functions, types and
# catalogs that note who calls them; schemas of others where the extension's should be; functions
# of views, indexes and constraints that try to get out of what they are allowed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hostile');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pipeline_ext'\nclient_min_messages = error");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE mallory LOGIN;
CREATE ROLE bob LOGIN;
GRANT CREATE ON DATABASE postgres TO mallory, bob;
SQL

# Statements one by one; the result of the last that has one.
sub as {
    my ($role, $sql, $db) = @_;
    my ($status, $out, $errors) = $node->psql($db // 'postgres', $sql, on_error_stop => 1,
        extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
    return $errors =~ /(ERROR|FATAL): +(\w{5}: .*)/ ? $2 : $out;
}

# What was noted in the log: "what as whom", once each.
sub noted {
    my ($word) = @_;
    my %seen = map { $_ => 1 } slurp_file($node->logfile) =~ /LOG:  $word: (.*)/g;
    return join "\n", sort keys %seen;
}

# ---- a schema before pg_catalog ------------------------------------------------------------------

is(as('postgres', <<'SQL'), '', 'a schema full of traps');
CREATE SCHEMA evil;
CREATE FUNCTION evil.trap(what text) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog AS
    $$ BEGIN RAISE LOG 'SPRUNG: % as %', what, current_user; RETURN 1; END $$;
CREATE PROCEDURE evil.make_operator(number int, name text, l text, r text, result text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE FUNCTION evil.op%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS
        $b$ BEGIN PERFORM evil.trap(%L); RETURN NULL; END $b$', number, l, r, result, 'operator ' || name);
    EXECUTE format('CREATE OPERATOR evil.%s (FUNCTION = evil.op%s, LEFTARG = %s, RIGHTARG = %s)', name, number, l, r);
EXCEPTION WHEN duplicate_function OR undefined_object OR invalid_function_definition THEN NULL;
END $$;
DO $do$
DECLARE o record; n int := 0;
BEGIN
    -- Copies, and then what would be preferred where the types of the original do not fit exactly.
    FOR o IN SELECT oprname AS name, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r, format_type(oprresult, NULL) AS result
               FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprcode <> 0 AND oprleft <> 0
                AND 'any' <> ALL (ARRAY[left(format_type(oprright, NULL), 3), left(format_type(oprresult, NULL), 3)])
                AND (oprleft::regtype::text IN ('text', 'name', 'oid', 'integer', 'bigint', 'boolean', '"char"', 'regclass', 'pg_snapshot', 'xid8')
                  OR oprright::regtype::text IN ('text', 'name', 'oid', 'integer', 'bigint'))
             UNION ALL
             SELECT * FROM (VALUES ('=', 'oid', 'regclass', 'bool'), ('=', 'oid', 'regnamespace', 'bool'),
                ('=', 'name', 'text', 'bool'), ('=', 'regclass', 'regclass', 'bool'), ('=', 'regclass', 'oid', 'bool'),
                ('~~', 'name', 'text', 'bool'), ('||', 'text', 'int4', 'text'), ('=', 'oid', 'int4', 'bool'),
                ('=', '"char"', 'text', 'bool'), ('||', 'text', 'regprocedure', 'text')) v LOOP
        n := n + 1;
        CALL evil.make_operator(n, o.name, o.l, o.r, o.result);
    END LOOP;
END $do$;
DO $do$
DECLARE f record; r text;
BEGIN
    FOR f IN SELECT proname, pg_get_function_identity_arguments(oid) AS arguments, proretset, pg_get_function_result(oid) AS result
               FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
                AND proname IN ('acldefault', 'aclexplode', 'format', 'obj_description', 'pg_current_snapshot',
                    'pg_get_userbyid', 'pg_get_viewdef', 'pg_has_role', 'quote_ident', 'lower', 'concat', 'now', 'oideq',
                    'texteq', 'nameeq', 'int4eq', 'int8inc', 'int8pl', 'numeric_add', 'hashtext', 'btint4cmp')
                AND pg_get_function_identity_arguments(oid) !~ '"any"|internal' LOOP
        EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS
            $b$ BEGIN PERFORM evil.trap(%L); RETURN %s; END $b$', f.proname, f.arguments, f.result,
            'function ' || f.proname, CASE WHEN f.proretset THEN '' ELSE 'NULL' END);
    END LOOP;
    FOREACH r IN ARRAY ARRAY['text, text', 'text, int4', 'text, regclass', 'text, regclass, text', 'text, text, text',
        'text, regprocedure', 'text, regtype'] LOOP
        EXECUTE format('CREATE FUNCTION evil.format(%s) RETURNS text LANGUAGE plpgsql AS
            $b$ BEGIN PERFORM evil.trap(%L); RETURN NULL; END $b$', r, 'function format');
    END LOOP;
    FOREACH r IN ARRAY ARRAY['pg_class', 'pg_depend', 'pg_proc', 'pg_namespace', 'pg_type', 'pg_trigger', 'pg_roles',
        'pg_foreign_table', 'pg_foreign_server', 'pg_foreign_data_wrapper', 'pg_extension', 'pg_aggregate',
        'pg_rewrite', 'pg_database'] LOOP
        EXECUTE format('CREATE VIEW evil.%I AS SELECT c.*, evil.trap(%L) FROM pg_catalog.%I c', r, 'catalog ' || r, r);
    END LOOP;
    FOREACH r IN ARRAY ARRAY['text', 'int4', 'int8', 'oid', 'name', 'bool', 'bytea', 'regclass', 'timestamptz', 'xid8',
        'pg_snapshot', 'regprocedure', 'numeric'] LOOP
        EXECUTE format('CREATE FUNCTION evil.check_%s(pg_catalog.%s) RETURNS pg_catalog.bool LANGUAGE plpgsql AS
            $b$ BEGIN PERFORM evil.trap(%L); RETURN true; END $b$', r, r, 'type ' || r);
        EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.%I CHECK (evil.check_%s(VALUE))', r, r, r);
    END LOOP;
END $do$;
ALTER SCHEMA evil OWNER TO mallory;
ALTER DATABASE postgres SET search_path = evil, pg_catalog;
SQL
cmp_ok(as('postgres', "SET search_path = pg_catalog; SELECT count(*) FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace"),
    '>', 150, 'with many operators');
like(as('postgres', "SELECT 'a'::pg_catalog.text = 'a'::pg_catalog.text"), qr/^$/, 'they are what this database finds first');
is(noted('SPRUNG'), 'operator = as postgres', 'and note it');

# From here on nothing may call one; the superuser's statements name what they mean.
my $seen = -s $node->logfile;
sub sprung { my ($name) = @_; is(join("\n", slurp_file($node->logfile, $seen) =~ /LOG:  (SPRUNG: .*)/g), '', $name); }

is(as('postgres', 'CREATE EXTENSION pipeline_ext'), '', 'the extension is created in the midst of them');
sprung('CREATE EXTENSION calls none');
is(as('postgres', <<'SQL'), "t\na|2|4|4", 'a stream and a view');
CREATE FOREIGN TABLE public.s (k pg_catalog.text, n pg_catalog.int4) SERVER pipelinedb;
CREATE VIEW public.v AS SELECT k, pg_catalog.count(*), pg_catalog.sum(n), pg_catalog.sum(n::pg_catalog.numeric) AS sum2,
    pg_catalog.avg(n) FROM public.s GROUP BY k;
INSERT INTO public.s VALUES ('a', 1);
COPY public.s FROM STDIN;
a	3
\.
SELECT pipelinedb.flush();
SELECT k, count, sum, sum2 FROM public.v;
SQL
sprung('nor do writing, folding, reading');
is(as('postgres', 'SELECT name, owner, state FROM pipelinedb.views'), 'v|postgres|active', 'the view of views');
like(as('postgres', 'SELECT query FROM pipelinedb.views'), qr/FROM public\.s\s+GROUP BY/, 'the text of the query');
is(as('postgres', 'SELECT name, queries FROM pipelinedb.streams'), 's|{v}', 'the view of streams');
my @others = split /\n/, as('postgres', "SELECT pg_catalog.format('%I', c.relname) FROM pg_catalog.pg_class c
    WHERE c.relkind OPERATOR(pg_catalog.=) 'v'::pg_catalog.\"char\"
      AND c.relnamespace OPERATOR(pg_catalog.=) 'pipelinedb'::pg_catalog.regnamespace::pg_catalog.oid ORDER BY 1");
unlike(as('postgres', "SELECT pg_catalog.count(x) FROM pipelinedb.$_ x"), qr/:/, "pipelinedb.$_ can be read") for @others;
sprung('nor what the views of the extension call');
is(as('postgres', <<'SQL'), "t\nt\nt", 'functions and DDL');
SELECT pipelinedb.deactivate('public.v');
SELECT pipelinedb.activate('public.v');
SELECT FROM pipelinedb.create_generation(7), pipelinedb.set_rights() LIMIT 0;
UPDATE pipelinedb.query SET active = active;
CREATE INDEX ON public.v_mrel (count);
ALTER VIEW public.v RENAME TO w;
ALTER VIEW public.w SET SCHEMA evil;
ALTER VIEW evil.w SET SCHEMA public;
ALTER VIEW public.w OWNER TO mallory;
GRANT SELECT ON public.s TO mallory;
INSERT INTO public.s VALUES ('b', 1);
SELECT pipelinedb.flush();
SQL
like(as('mallory', 'UPDATE pipelinedb.query SET active = active'), qr/^42501/, 'what is refused');
sprung('nor functions, DDL, triggers');
# The fold worker comes new, and creates a spool table.
$node->append_conf('postgresql.conf', "pipelinedb.spool_generation_size = '1MB'");
$node->restart;
is(as('postgres', <<'SQL'), 't', 'a new fold worker');
SELECT pipelinedb.flush();
SQL
is(as('postgres', "DROP VIEW public.w; DROP FOREIGN TABLE public.s CASCADE; DROP EXTENSION pipeline_ext CASCADE"), '', 'all goes');
sprung('nor what drops it');
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET search_path');
$node->safe_psql('postgres', 'SET search_path = pg_catalog; DROP SCHEMA evil CASCADE');

# ---- objects of others where the extension's should be -------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE taken OWNER mallory');
is(as('mallory', <<'SQL', 'taken'), '', 'mallory makes a schema of that name');
CREATE SCHEMA pipelinedb;
CREATE FUNCTION pipelinedb.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'SPRUNG: trap as %', current_user; RETURN NULL; END $$;
CREATE FUNCTION pipelinedb.create_generation(id int4) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'SPRUNG: create_generation as %', current_user; END $$;
CREATE FUNCTION pipelinedb.guard_matrel() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'SPRUNG: guard_matrel as %', current_user; RETURN NULL; END $$;
CREATE TABLE pipelinedb.query (view oid PRIMARY KEY, definition oid UNIQUE, matrel oid UNIQUE, stream oid);
CREATE TABLE pipelinedb.progress (consumer oid PRIMARY KEY);
CREATE TABLE pipelinedb.generation (id int4 PRIMARY KEY, ordinal int8);
INSERT INTO pipelinedb.query SELECT oid, oid, oid, oid FROM pg_class;
CREATE TRIGGER trap BEFORE DELETE ON pipelinedb.query FOR EACH STATEMENT EXECUTE FUNCTION pipelinedb.trap();
SQL
$seen = -s $node->logfile;
is(as('postgres', <<'SQL', 'taken'), 't', 'statements that we look at go their way there');
CREATE TABLE t (x int); CREATE VIEW v AS SELECT count(*) FROM t; ALTER VIEW v RENAME TO w; INSERT INTO t VALUES (1);
DROP VIEW w; SELECT x = 1 FROM t; DROP TABLE t;
SQL
like(as('postgres', $_, 'taken'), qr/^42P06: schema "pipelinedb" already exists/, "$_ is refused") for
    'CREATE EXTENSION pipeline_ext', 'CREATE EXTENSION IF NOT EXISTS pipeline_ext', 'CREATE EXTENSION pipeline_ext SCHEMA public';
is(as('postgres', "SELECT count(*) FROM pg_extension WHERE extname = 'pipeline_ext'
    UNION ALL SELECT count(*) FROM pg_foreign_data_wrapper", 'taken'), "0\n0", 'and leaves nothing');
is(as('mallory', 'DROP SCHEMA pipelinedb CASCADE', 'taken'), '', 'without the schema');
$node->safe_psql('taken', 'CREATE FOREIGN DATA WRAPPER other; GRANT USAGE ON FOREIGN DATA WRAPPER other TO mallory');
is(as('mallory', 'CREATE SERVER pipelinedb FOREIGN DATA WRAPPER other', 'taken'), '', 'a server of that name');
like(as('postgres', 'CREATE EXTENSION pipeline_ext', 'taken'), qr/^42710: server "pipelinedb" already exists/, 'is not taken over');
is(as('mallory', 'DROP SERVER pipelinedb', 'taken'), '', 'without that');
is(as('postgres', 'CREATE EXTENSION pipeline_ext', 'taken'), '', 'the extension is created');
is(as('mallory', "SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pipeline_ext'
    JOIN pg_shdepend s ON s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o'", 'taken'), '0',
    'and all of it belongs to the superuser');
like(as('mallory', $_, 'taken'), qr/^(42501|2BP01)/, "the owner of the database may not: $_") for
    'DROP EXTENSION pipeline_ext CASCADE', 'ALTER SCHEMA pipelinedb RENAME TO x', 'DROP SCHEMA pipelinedb CASCADE',
    'ALTER SERVER pipelinedb OWNER TO mallory', 'ALTER FOREIGN DATA WRAPPER stream_fdw NO VALIDATOR';
sprung('nothing of mallory\'s was called');

# ---- functions of the table behind a view ---------------------------------------------------------

$node->safe_psql('postgres', 'CREATE EXTENSION pipeline_ext; GRANT USAGE ON FOREIGN SERVER pipelinedb TO mallory');
my $says = sub { my ($what) = @_; return "LANGUAGE plpgsql IMMUTABLE AS \$\$ BEGIN
    RAISE LOG 'RUNS: $what as %, restricted %', current_user, (SELECT count(*) FROM pg_class WHERE relname = 'x') = 0; RETURN true; END \$\$" };
is(as('mallory', <<"SQL"), "t\n2\ndivision by zero|1", 'functions in an index, its condition, a constraint, a domain, a policy, statistics, a cast for messages');
CREATE SCHEMA mallory;
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
CREATE FUNCTION mallory.in_index(text) RETURNS bool ${\$says->('index')};
CREATE FUNCTION mallory.in_condition(text) RETURNS bool ${\$says->('condition')};
CREATE FUNCTION mallory.in_check(text) RETURNS bool ${\$says->('check')};
CREATE FUNCTION mallory.in_policy(text) RETURNS bool ${\$says->('policy')};
CREATE FUNCTION mallory.in_statistics(text) RETURNS bool ${\$says->('statistics')};
CREATE FUNCTION mallory.in_domain(text) RETURNS bool ${\$says->('domain')};
CREATE DOMAIN mallory.d AS text CHECK (mallory.in_domain(VALUE));
CREATE FOREIGN TABLE mallory.s (k text) SERVER pipelinedb;
GRANT INSERT ON mallory.s TO bob;
CREATE VIEW mallory.v AS SELECT k, k::mallory.d AS d, count(*) FROM mallory.s GROUP BY 1, 2;
CREATE INDEX ON mallory.v_mrel (mallory.in_index(k));
CREATE INDEX ON mallory.v_mrel (count) WHERE mallory.in_condition(k);
ALTER TABLE mallory.v_mrel ADD CHECK (mallory.in_check(k));
CREATE STATISTICS mallory.st ON (mallory.in_statistics(k)) FROM mallory.v_mrel;
ALTER TABLE mallory.v_mrel ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON mallory.v_mrel USING (mallory.in_policy(k));
CREATE TYPE mallory.e AS ENUM ('x');
CREATE FUNCTION mallory.as_json(mallory.e) RETURNS json LANGUAGE plpgsql AS \$\$ BEGIN
    PERFORM mallory.in_cast(\$1::text); PERFORM set_config('work_mem', '999MB', false);
    BEGIN SET ROLE postgres; RAISE LOG 'RUNS: free'; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
    RETURN '1'; END \$\$;
CREATE FUNCTION mallory.in_cast(text) RETURNS bool ${\$says->('cast')};
CREATE CAST (mallory.e AS json) WITH FUNCTION mallory.as_json(mallory.e);
CREATE FOREIGN TABLE mallory.bad (e mallory.e, n int) SERVER pipelinedb;
CREATE VIEW mallory.rejects AS SELECT 1 / n AS k, count(*) FROM mallory.bad GROUP BY 1;
INSERT INTO mallory.bad VALUES ('x', 0), ('x', 1);
INSERT INTO mallory.s VALUES ('a'), ('b');
SELECT pipelinedb.flush();
SELECT sum(count) FROM mallory.v;
SELECT message, "row" -> 'e' FROM pipelinedb.errors;
SQL
is(as('bob', "INSERT INTO mallory.s VALUES ('c'); SELECT pipelinedb.flush()"), 't', 'somebody else writes');
$node->safe_psql('postgres', 'ANALYZE mallory.v_mrel; REINDEX TABLE mallory.v_mrel; VACUUM FULL mallory.v_mrel');
is(noted('RUNS') =~ s/, restricted t//gr, join("\n", map { "$_ as mallory" } qw(cast check condition domain index statistics)),
    'each runs as the owner of the table, whoever writes or maintains');

# ---- what a function may not do in the fold --------------------------------------------------------

is(as('mallory', <<'SQL'), '', 'a function that does what its row says');
CREATE TABLE mallory.log (attempt text, outcome text, as_user text);
CREATE PROCEDURE mallory.commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
CREATE FUNCTION mallory.attempt(k text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE outcome text := 'done';
BEGIN
    BEGIN EXECUTE k; EXCEPTION WHEN OTHERS THEN outcome := SQLSTATE; END;
    INSERT INTO mallory.log VALUES (k, outcome, current_user);
    RETURN outcome;
END $$;
CREATE FOREIGN TABLE mallory.t (k text) SERVER pipelinedb;
GRANT SELECT ON mallory.t TO bob;
SQL
is(as('bob', 'CREATE SCHEMA bob; CREATE VIEW bob.before AS SELECT count(*) FROM mallory.t'), '', 'a view of another before');
my $make = 'CREATE VIEW mallory.v1 AS SELECT mallory.attempt(k) AS k, count(*) FROM mallory.t GROUP BY 1;
    CREATE VIEW mallory.v2 AS SELECT k, count(*) FROM mallory.t GROUP BY 1;';
is(as('mallory', $make), '', "mallory's views");
is(as('bob', 'CREATE FUNCTION bob.sees() RETURNS text LANGUAGE sql STABLE AS $$ SELECT concat_ws(\'|\', current_user,
        current_setting(\'transaction_read_only\'), current_setting(\'default_transaction_read_only\'),
        current_setting(\'row_security\'), current_setting(\'synchronous_commit\'), current_setting(\'role\')) $$;
    CREATE VIEW bob.after AS SELECT bob.sees() AS seen, count(*) FROM mallory.t GROUP BY 1'), '', 'and one after them');

# Own objects may be changed, if they are not in use; in none of these cases may another's view
# miss a row, count it twice, stop, or see anything of it.
my %attempts = (
    'DROP VIEW mallory.v1' => '55006', 'DROP VIEW mallory.v2' => 'done',
    'DROP FOREIGN TABLE mallory.t CASCADE' => '55006', 'DROP SCHEMA mallory CASCADE' => '55006',
    'CREATE VIEW mallory.v3 AS SELECT count(*) FROM mallory.t' => 'done', 'DROP VIEW bob.after' => '42501',
    'ALTER FOREIGN TABLE mallory.t ADD COLUMN y int' => '55006', 'ALTER VIEW mallory.v1 RENAME TO v4' => 'done',
    'TRUNCATE mallory.v1_mrel' => undef, 'ALTER TABLE mallory.v1_mrel ADD CHECK (k > k)' => '55006',
    'ALTER TABLE mallory.v2_mrel ADD CHECK (k IS NOT NULL)' => 'done', "SELECT pipelinedb.deactivate('mallory.v1')" => 'done',
    "SELECT pipelinedb.deactivate('mallory.v2')" => 'done', "SELECT pipelinedb.deactivate('bob.after')" => '42501',
    'SET pipelinedb.matrels_writable = on; DELETE FROM mallory.v2_mrel' => 'done',
    'CREATE INDEX ON mallory.v1_mrel (count)' => '55006', 'CREATE INDEX ON mallory.v2_mrel (count)' => 'done',
    'REINDEX TABLE mallory.v2_mrel' => 'done', 'DROP INDEX mallory.v1_mrel_key' => undef,
    'CLUSTER mallory.v1_mrel USING v1_mrel_key' => undef, 'CALL mallory.commits()' => '2D000',
    'SET TRANSACTION READ ONLY' => 'done', 'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY' => 'done',
    'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE' => '25001', 'SET row_security = off' => 'done',
    'SET synchronous_commit = on' => 'done', "SET role = 'bob'" => '42501', 'SET SESSION AUTHORIZATION DEFAULT' => '42501',
    'SELECT pg_export_snapshot()' => '25001', 'LOCK TABLE bob.after_mrel' => '42501', 'LOCK TABLE mallory.v2_mrel' => 'done',
    'SELECT pg_advisory_xact_lock(7)' => 'done', 'SELECT lo_create(0)' => 'done', "NOTIFY x, 'y'" => 'done', 'LISTEN x' => '42501',
    'DROP OWNED BY mallory CASCADE' => '55006', 'REASSIGN OWNED BY mallory TO bob' => '42501', 'ALTER VIEW mallory.v2 OWNER TO bob' => '42501',
    'GRANT ALL ON mallory.v1 TO PUBLIC' => 'done', 'SELECT pipelinedb.create_generation(8)' => '42501',
    'SET debug_parallel_query = on; SELECT count(*) FROM mallory.log' => undef,
    'CREATE MATERIALIZED VIEW mallory.mv AS SELECT current_user' => 'done', 'CREATE TEMP TABLE mallory_temp (x int)' => '42501',
    'ALTER EXTENSION pipeline_ext DROP TABLE pipelinedb.query' => '42501', 'ALTER SERVER pipelinedb OWNER TO mallory' => '42501',
    'INSERT INTO pipelinedb.spool_0 SELECT' => '42501', 'SELECT set_config($$is_superuser$$, $$on$$, false)' => '55P02');
my $rows = 0;
for my $attempt (sort keys %attempts) {
    is(as('mallory', "INSERT INTO mallory.t VALUES (" . '$q$' . $attempt . '$q$' . ")"), '', "attempt: $attempt");
    $rows++;
    wait_folded($node);
    my $outcome = as('mallory', 'SELECT outcome, as_user FROM mallory.log WHERE attempt = $q$' . $attempt . '$q$');
    is($outcome, "$attempts{$attempt}|mallory", 'its outcome') if defined $attempts{$attempt};
    is(as('bob', "SELECT (SELECT count FROM bob.before), (SELECT sum(count) FROM bob.after), (SELECT count(*) FROM bob.after)"),
        "$rows|$rows|1", "bob's views are exact");
    is(as('mallory', "DROP VIEW IF EXISTS mallory.v1, mallory.v2, mallory.v3, mallory.v4; $make"), '', 'once more');
}
is(as('bob', 'SELECT seen FROM bob.after'), 'bob|off|off|on|off|none', "what bob's view has seen each time");
views_are_active($node);
unlike(slurp_file($node->logfile), qr/terminated by signal|TRAP:|PANIC/, 'nothing crashed in the whole test');
$node->stop('immediate');
done_testing();
