# Settings: the README lists them all; those of PipelineDB are taken; and whatever a server, a
# database or a role sets, rows are written, folded and read exactly.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use StopPoints;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', log_statement => 'none');
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub errors { return ($node->psql('postgres', $_[0]))[2] }

# ---- README ----------------------------------------------------------------------------------------

my $readme = slurp_file(($ENV{PIPELINE_SOURCE} // "$FindBin::RealBin/../..") . '/README.md');
my ($table) = $readme =~ /^## Settings$(.*?)^## /ms;
my %documented;
for my $line ($table =~ /^\| `(pipelinedb\.\w+` \|.*)$/mg) {
    my ($name, $default, $unit, $context) = split /\s*\|\s*/, $line;
    s/`//g for $name, $default;
    $unit = '' unless $unit =~ /^(?:[kMGT]?B|ms|s|min|h|d)$/; # the server has no other units
    $documented{$name} = join '|', $default eq 'empty' ? '' : $default, $unit, $context;
}
my %words = (sighup => 'reload', user => 'session', superuser => 'superuser', postmaster => 'restart');
my %defined;
for my $line (split /\n/, sql("SELECT name, boot_val, unit, context FROM pg_settings
        WHERE name LIKE 'pipelinedb.%'")) {
    my ($name, $default, $unit, $context) = split /\|/, $line, -1;
    $defined{$name} = join '|', $default, $unit, $words{$context};
}
is_deeply(\%documented, \%defined, 'README lists every setting with its default, unit and context');

# ---- settings of PipelineDB ------------------------------------------------------------------------

$node->append_conf('postgresql.conf', "pipelinedb.num_combiners = 4
pipelinedb.batch_mem = 256MB
pipelinedb.no_such_setting = 1");
my $log = -s $node->logfile;
$node->restart;
my $lines = slurp_file($node->logfile, $log);
is(() = $lines =~ /WARNING:  setting "pipelinedb.num_combiners" has no effect in pipeline_ext/g, 1,
    'one warning at the start');
like($lines, qr/"pipelinedb.batch_mem" has no effect in pipeline_ext.*HINT:  Use pipelinedb.fold_batch/s,
    'with what to use');
like($lines, qr/invalid configuration parameter name "pipelinedb.no_such_setting", removing it/,
    'a wrong name is reported');
$log = -s $node->logfile;
$node->reload;
ok(defined wait_until(sub { slurp_file($node->logfile, $log) =~ /"pipelinedb.batch_mem" has no effect/ }, 60),
    'a reload warns again');
is(sql('SELECT 1; SELECT 2'), "1\n2", 'a session is told nothing');
is(() = slurp_file($node->logfile, $log) =~ /"pipelinedb.num_combiners" has no effect/g, 1, 'once');
is(sql('SHOW pipelinedb.num_combiners'), '4', 'the value can be read');
$node->append_conf('postgresql.conf', "pipelinedb.num_combiners = ''");
like(errors('ALTER SYSTEM SET pipelinedb.max_wait = 10'),
    qr/WARNING:  setting "pipelinedb.max_wait" has no effect.*HINT:  Use pipelinedb.fold_interval/s,
    'ALTER SYSTEM warns');
like(errors('ALTER SYSTEM SET pipelinedb.max_weight = 10'), qr/ERROR:  unrecognized/, 'but knows wrong names');
sql('ALTER SYSTEM RESET pipelinedb.max_wait');

# ---- every database has its own settings -----------------------------------------------------------

$node->adjust_conf('postgresql.conf', $_, undef)
  for qw(pipelinedb.num_combiners pipelinedb.batch_mem pipelinedb.no_such_setting);
$node->reload;

# The statements of the test's own sessions must not fail of what is meant for the worker.
my $sane = join ' ', map { "-c $_" } 'statement_timeout=0', 'lock_timeout=0',
  'idle_in_transaction_session_timeout=0', 'default_transaction_read_only=off',
  'default_transaction_deferrable=off', 'client_min_messages=warning', 'exit_on_error=off', 'role=none';

# What the plain query says of two times the rows below.
my $expected = sql("WITH rows AS (SELECT i % 500 AS k, i AS x, 0.1 * i AS f FROM generate_series(1, 5000) i, generate_series(1, 2)
      UNION ALL SELECT k, k, k FROM (VALUES (1), (3)) AS v (k), generate_series(1, 2)
      UNION ALL SELECT k, 1, 1 FROM (VALUES (1), (2)) AS v (k)),
    groups AS (SELECT k, count(*) AS n, sum(x) AS sx, avg(f) AS ax FROM rows GROUP BY k)
  SELECT count(*), sum(n), sum(sx), sum(ax)::numeric(20, 2), (SELECT count(*) FROM rows) FROM groups");

# Writes from several sessions, with savepoints, several statements and wide rows; reads and
# compares. $setup runs before the extension is created.
sub exercise {
    my ($name, $db) = @_;
    my @scripts = map { "SET search_path = public;
        INSERT INTO s SELECT i % 500, i, 0.1 * i, repeat(i::text, 3) FROM generate_series(1, 5000) i;
        BEGIN; INSERT INTO s VALUES (1, 1, 1, 'a'); SAVEPOINT a; INSERT INTO s VALUES (2, 2, 2, 'b');
        ROLLBACK TO a; INSERT INTO s VALUES (3, 3, 3, 'c'); COMMIT;
        INSERT INTO s VALUES ($_, 1, 1, repeat('wide', 5000));" } 1 .. 2;
    my @outcomes = run_scripts($node, \@scripts, db => $db);
    is_deeply([ map { $#$_ } @outcomes ], [ 0, 0 ], "$name: rows are written")
      or diag explain \@outcomes;
    is($node->safe_psql($db, 'SELECT pipelinedb.flush()'), 't', "$name: and folded");
    is($node->safe_psql($db, 'SELECT count(*), sum(n), sum(sx), sum(ax)::numeric(20, 2), (SELECT n FROM public.total)
        FROM public.v'), $expected, "$name: exactly");
    # A session that reads what it wrote.
    is($node->safe_psql($db, "INSERT INTO public.s VALUES (1000, 1, 1, 'own');\n
        SELECT n FROM public.v WHERE k = 1000"), '1', "$name: and read by the writer");
    is($node->safe_psql($db, "SELECT state, message FROM pipelinedb.views WHERE state <> 'active'"), '',
        "$name: no view has stopped");
}

sub with_database {
    my ($name, $settings, $setup) = @_;
    local $ENV{PGOPTIONS} = $sane;
    sql('CREATE DATABASE odd');
    sql("ALTER DATABASE odd SET $_") for @$settings;
    $node->safe_psql('odd', $setup) if defined $setup;
    $node->safe_psql('odd', "CREATE EXTENSION pipeline_ext SCHEMA public;
        CREATE FOREIGN TABLE public.s (k int, x int8, f numeric, t text) SERVER pipelinedb;
        CREATE VIEW public.v AS SELECT k, count(*) AS n, sum(x) AS sx, avg(f) AS ax, max(t) AS t
          FROM public.s GROUP BY k;
        CREATE VIEW public.total AS SELECT count(*) AS n FROM public.s");
    exercise($name, 'odd');
    yield_to($name);
    sql('DROP DATABASE odd');
}

my %also; # what else is looked at in a database before it is dropped
sub yield_to { my ($name) = @_; $also{$name}->() if $also{$name} }

my $tablespace = $node->basedir . '/odd_space';
mkdir $tablespace or die "$tablespace: $!";
sql("CREATE TABLESPACE odd_space LOCATION '$tablespace'; CREATE ROLE odd_role");

$also{'another tablespace'} = sub {
    is($node->safe_psql('odd', "SELECT count(*) FROM pg_class WHERE relname IN ('v_mrel', 'spool_0', 'spool_1')
        AND reltablespace = (SELECT oid FROM pg_tablespace WHERE spcname = 'odd_space')"), 3,
        'tables of views and the spool go to the default tablespace, as all tables do');
};
$also{'another table access method'} = sub {
    is($node->safe_psql('odd', "SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = relam
        WHERE amname <> 'heap' AND relkind = 'r'"), 0, 'our tables are heap tables');
};
$also{'another role, errors end the session'} = sub {
    $node->safe_psql('odd', "CREATE FUNCTION public.picky(k int) RETURNS int LANGUAGE plpgsql AS \$\$ BEGIN
          RAISE 'no' USING ERRCODE = 'undefined_object'; END \$\$;
        CREATE VIEW public.bad AS SELECT public.picky(k) AS q, count(*) AS n
        FROM public.s GROUP BY 1; INSERT INTO public.s VALUES (7777, 1, 1, '')");
    my $worker = fold_worker_pid($node, 'odd');
    ok($node->poll_query_until('odd', "SELECT state = 'failed' FROM pipelinedb.views WHERE name = 'bad'"),
        'a view fails');
    is($node->safe_psql('odd', "SELECT n FROM public.v WHERE k = 7777"), 1, 'the others go on');
    is(fold_worker_pid($node, 'odd'), $worker, 'in the same process');
};
# A user's event trigger that refuses tables does not refuse ours. One that is always enabled does:
# then the current spool table grows.
$also{'event triggers'} = sub {
    set_server($node, 'pipelinedb.spool_generation_size' => '1MB');
    my $from = -s $node->logfile;
    my $refused = qr/could not rotate the spool: no tables here/;
    $node->safe_psql('odd', "CREATE OR REPLACE FUNCTION public.told() RETURNS event_trigger LANGUAGE plpgsql
        AS \$\$ BEGIN IF tg_tag = 'CREATE TABLE' THEN RAISE 'no tables here'; END IF; END \$\$;
        SELECT pipelinedb.deactivate('public.total')");
    my $rows = 0;
    my $write = sub {
        $node->safe_psql('odd', "INSERT INTO public.s SELECT 2000, 1, 1, repeat('x', 1000) FROM generate_series(1, 500)");
        $rows += 500;
    };
    ok(defined wait_until(sub {
        $write->();
        return $node->safe_psql('odd', 'SELECT count(*) FROM pipelinedb.generation') > 2;
    }, 60), 'a third spool table is created');
    unlike(slurp_file($node->logfile, $from), $refused, 'at once');
    $node->safe_psql('odd', 'ALTER EVENT TRIGGER told ENABLE ALWAYS');
    ok(defined wait_until(sub {
        $write->();
        return slurp_file($node->logfile, $from) =~ $refused;
    }, 60), 'another one is not');
    my $failed_at = time;
    $write->() while time < $failed_at + 2; # the worker tries again every second
    $node->safe_psql('odd', "SELECT pipelinedb.activate('public.total')");
    is($node->safe_psql('odd', 'SELECT pipelinedb.flush()'), 't', 'nothing stands still');
    is($node->safe_psql('odd', 'SELECT n FROM public.total'), 10006 + 1 + $rows, 'or is lost');
    is(() = slurp_file($node->logfile, $from) =~ /$refused/g, 1, 'the log has one line of it');
    set_server($node, 'pipelinedb.spool_generation_size' => '64MB');
};

my @cases = (
    [ 'the usual', [] ],
    [ 'serializable', [ 'default_transaction_isolation = serializable', 'default_transaction_deferrable = on' ] ],
    [ 'repeatable read', [ "default_transaction_isolation = 'repeatable read'" ] ],
    [ 'read only', [ 'default_transaction_read_only = on' ] ],
    [ 'timeouts', [ 'statement_timeout = 1', 'lock_timeout = 1', 'idle_in_transaction_session_timeout = 1' ] ],
    [ 'replica', [ 'session_replication_role = replica' ] ],
    [ 'another tablespace', [ 'default_tablespace = odd_space', 'temp_tablespaces = odd_space' ] ],
    [ 'another table access method', [ 'default_table_access_method = heap2' ],
        'CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler' ],
    [ 'toast compression', [ "default_toast_compression = 'lz4'" ] ],
    [ 'search path', [ q(search_path = 'nowhere', '$user') ] ],
    [ 'row security off, quiet', [ 'row_security = off', 'client_min_messages = error', 'track_activities = off' ] ],
    [ 'plans', [ 'jit = on', 'jit_above_cost = 0', 'enable_seqscan = off', 'enable_hashagg = off', 'enable_sort = off',
        'enable_indexscan = off', 'enable_bitmapscan = off', 'enable_nestloop = off', 'enable_hashjoin = off',
        'enable_mergejoin = off', 'max_parallel_workers_per_gather = 4', 'parallel_setup_cost = 0',
        'parallel_tuple_cost = 0', 'min_parallel_table_scan_size = 0' ] ],
    [ 'little memory', [ "work_mem = '64kB'", 'hash_mem_multiplier = 1', "maintenance_work_mem = '1MB'" ] ],
    [ 'strings and dates', [ 'standard_conforming_strings = off', 'backslash_quote = off', "datestyle = 'SQL, DMY'",
        "intervalstyle = 'iso_8601'", "timezone = 'Asia/Tokyo'", 'extra_float_digits = -15', "bytea_output = 'escape'",
        "lc_messages = 'C'", "lc_numeric = 'C'" ] ],
    [ 'commit remotely', [ 'synchronous_commit = remote_apply' ] ],
    [ 'commit locally', [ 'synchronous_commit = local' ] ],
    [ 'commit later', [ 'synchronous_commit = off' ] ],
    [ 'another role, errors end the session', [ 'role = odd_role', 'exit_on_error = on' ] ],
    [ 'event triggers', [], "CREATE FUNCTION public.told() RETURNS event_trigger LANGUAGE plpgsql
          AS \$\$ BEGIN RAISE NOTICE '%', tg_tag; END \$\$;
        CREATE EVENT TRIGGER told ON ddl_command_end EXECUTE FUNCTION public.told();
        CREATE EVENT TRIGGER told_first ON ddl_command_start EXECUTE FUNCTION public.told()" ],
);
with_database(@$_) for @cases;

# ---- settings of the writer's session --------------------------------------------------------------

sql("CREATE FOREIGN TABLE s (k int) SERVER pipelinedb;
     CREATE VIEW c AS SELECT k, count(*) AS n FROM s GROUP BY k;
     CREATE TABLE seen (k int);
     CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
       INSERT INTO seen VALUES (new.k); RETURN new; END \$\$;
     CREATE TRIGGER see AFTER INSERT ON s FOR EACH ROW EXECUTE FUNCTION see()");
{
    local $ENV{PGOPTIONS} = '-c session_replication_role=replica -c default_transaction_isolation=serializable';
    is(sql("INSERT INTO s VALUES (1);\n SELECT n FROM c"), 1, 'a row is folded that a replica session wrote');
    like(errors('DELETE FROM c_mrel; INSERT INTO s VALUES (2)'), qr/^$/, 'there triggers are silent');
}
is(sql('SELECT count(*) FROM seen'), 0, 'also those of the stream, as those of a table');
{
    local $ENV{PGOPTIONS} = '-c default_transaction_read_only=on';
    like(errors('INSERT INTO s VALUES (3)'), qr/cannot execute INSERT in a read-only transaction/, 'a read-only session writes nothing');
    is(sql('SELECT pipelinedb.flush()'), 't', 'but may wait');
    like(errors("SELECT pipelinedb.activate('c')"), qr/cannot execute pipelinedb.activate\(\) in a read-only transaction/,
        'and changes no view');
}

# ---- the whole server ------------------------------------------------------------------------------

sub with_server {
    my ($name, $conf, $before) = @_;
    open(my $out, '>', $node->data_dir . '/odd.conf') or die;
    print $out "$conf\n";
    close $out;
    $node->restart;
    my $held = $before ? $before->() : undef;
    with_database($name, []);
    $held->quit if $held;
}
$node->append_conf('postgresql.conf', "include 'odd.conf'");

# A snapshot that is serializable, read only and deferrable waits for such a session: the launcher
# must not, which starts while it is there.
sub restart_launcher {
    local $ENV{PGOPTIONS} = $sane;
    my $session = $node->background_psql('postgres');
    $session->query_safe('BEGIN; INSERT INTO seen VALUES (1); SELECT count(*) FROM seen');
    my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pipelinedb launcher'");
    sql("SELECT pg_terminate_backend($pid)");
    $node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity
        WHERE backend_type = 'pipelinedb launcher' AND pid <> $pid") or die 'no launcher';
    return $session;
}

with_server('all of it for everybody', 'statement_timeout = 1
lock_timeout = 1
idle_in_transaction_session_timeout = 1
default_transaction_isolation = serializable
default_transaction_read_only = on
default_transaction_deferrable = on
session_replication_role = replica
row_security = off', \&restart_launcher);
with_server('without replication', 'wal_level = minimal
max_wal_senders = 0
full_page_writes = off
track_commit_timestamp = on
log_statement = all
log_min_duration_statement = 0');

SKIP: {
    my $libdir = `'$ENV{PG_CONFIG}' --pkglibdir`;
    chomp $libdir;
    skip 'there is no auto_explain here', 1 unless -e "$libdir/auto_explain.so" && -e "$libdir/pg_stat_statements.so";
    my $explain = "auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_verbose = on
auto_explain.log_nested_statements = on
pg_stat_statements.track = all
log_min_messages = log";
    my $from = -s $node->logfile;
    with_server('after other libraries', "$explain
shared_preload_libraries = 'auto_explain, pg_stat_statements, pipeline_ext'");
    with_server('before other libraries', "$explain
shared_preload_libraries = 'pipeline_ext, pg_stat_statements, auto_explain'");
    like(slurp_file($node->logfile, $from), qr/duration: .*plan:.*Foreign Scan on public\.s/s,
        'auto_explain shows what the fold worker runs');
}

$node->stop;
done_testing();
