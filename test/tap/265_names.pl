# Names and encodings: whatever a schema, stream, view, column, role or database is called, and in
# whatever encoding, rows are folded, messages name it rightly and a dump brings it back.
use strict;
use warnings;
use utf8;
use Encode qw(encode_utf8 decode_utf8);
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PGCLIENTENCODING} = 'UTF8';

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pipeline_ext'\nmax_worker_processes = 20");
$node->start;

sub name { my ($name) = @_; $name =~ s/"/""/g; return "\"$name\""; }
sub literal { my ($text) = @_; $text =~ s/'/''/g; return ($text =~ /\\/ ? 'E' : '') . "'" . $text =~ s/\\/\\\\/gr . "'"; }

my $db = 'postgres';
sub sql {
    my ($status, $out, $errors) = $node->psql($db, encode_utf8($_[0]));
    die decode_utf8($errors) . " in $_[0]" if $status != 0;
    return decode_utf8($out);
}
sub fails {
    my ($status, $out, $errors) = $node->psql($db, encode_utf8($_[0]));
    return decode_utf8($errors);
}

# ---- strange names everywhere ------------------------------------------------------------------

my %strange = (
    'quotes' => q{a "b" 'c'}, 'upper case' => 'UPPER lower', 'keyword' => 'select', 'dots' => 'a.b.c',
    'percent signs' => '%s%n %d%%', 'backslashes' => 'back\\slash\\', 'unicode' => "日本 ünïcödé e\x{301}",
    'an equals sign' => 'a=b, {c}', 'a leading digit' => '1st $1 $$', 'an emoji' => "\x{1F600} \x{202e}rtl",
    'blanks' => '  ', 'a comma' => 'a,b;c--d/*', '63 bytes' => 'x' x 63, '63 bytes of three each' => '日' x 21);

my $database = q{data "base" %s 'é' \\ 日};
sql('CREATE DATABASE ' . name($database) . " TEMPLATE template0");
$db = encode_utf8($database);
sql('CREATE EXTENSION pipeline_ext');
for my $what (sort keys %strange) {
    my $plain = $strange{$what};
    my ($role, $schema, $stream) = (name($plain)) x 3; # the column and a value are called so, too
    my $unquoted = length(encode_utf8($plain)) < 60 ? "$plain v" : ($plain =~ /日/ ? '本' : 'y') . substr($plain, 1);
    my $view = name($unquoted);
    sql("CREATE ROLE $role; CREATE SCHEMA $schema AUTHORIZATION $role;
         GRANT USAGE ON FOREIGN SERVER pipelinedb TO $role");
    sql("SET ROLE $role; SET search_path = $schema;
         CREATE FOREIGN TABLE $stream ($role text, n int) SERVER pipelinedb;
         CREATE VIEW $view AS SELECT $role, count(*), avg(n) AS $view, sum(n) FILTER (WHERE $role <> " . literal($plain) . ") AS f
             FROM $stream GROUP BY $role;
         COMMENT ON VIEW $view IS " . literal($plain));
    my $full = "$schema.$view";
    sql("INSERT INTO $schema.$stream VALUES (" . literal($plain) . ", 1), ('other', 3)");
    is(sql("SELECT pipelinedb.flush()"), 't', "$what: folded");
    is(sql("SELECT count(*), sum(count), max(f) FROM $full"), '2|2|3', "$what: read");
    is(sql("SELECT count FROM $full WHERE $role = " . literal($plain)), '1', "$what: as a value, too");
    is(sql("SELECT pipelinedb.deactivate(" . literal($full) . "), pipelinedb.activate(" . literal($full) . ")"), 't|t',
        "$what: deactivate and activate");
    sql("SELECT pipelinedb.truncate_continuous_view(" . literal($full) . ")");
    sql("CREATE INDEX ON $full ($role, f) WHERE $role <> 'x'; INSERT INTO $schema.$stream VALUES ('more', 5)");
    is(sql("SELECT pipelinedb.flush()"), 't', "$what: folded again");
    is(sql("SELECT $role, count, f FROM $full"), 'more|1|5', "$what: after truncation and CREATE INDEX");
    is(sql("SELECT name, schema, owner FROM pipelinedb.views WHERE name = " . literal($unquoted) . " AND owner = " . literal($plain)),
        "$unquoted|$plain|$plain", "$what: in the catalog view");
    is(sql("SELECT name, queries FROM pipelinedb.streams WHERE queries = ARRAY[" . literal($unquoted) . "]") ne '', 1,
        "$what: in the list of streams");
    my $matrel = sql("SELECT matrel FROM pipelinedb.views WHERE name = " . literal($unquoted));
    for my $statement ("ALTER TABLE $matrel ADD COLUMN x int", "DELETE FROM $matrel", "TRUNCATE $full", "SELECT * FROM $schema.$stream",
        "CREATE UNIQUE INDEX ON $full (f)", "CREATE INDEX ON $full ($view)") {
        my $errors = fails($statement);
        ok(index($errors, "\"$unquoted\"") >= 0 || index($errors, "\"$plain\"") >= 0, "$what: the message names it")
            or diag("$statement: $errors");
    }
}

# A view that stops: the hint in the log can be run as it is.
sql('CREATE SCHEMA "It\'s"; CREATE FOREIGN TABLE "It\'s".st (n int) SERVER pipelinedb;
     CREATE ROLE "r%s"; GRANT CREATE, USAGE ON SCHEMA "It\'s" TO "r%s"; GRANT SELECT ON "It\'s".st TO "r%s";
     SET ROLE "r%s"; CREATE VIEW "It\'s"."%s it""s" AS SELECT count(*) FROM "It\'s".st;
     RESET ROLE; REVOKE SELECT ON "It\'s".st FROM "r%s"');
my $log_size = -s $node->logfile;
sql('INSERT INTO "It\'s".st VALUES (1)');
sql('SELECT pipelinedb.flush()');
my $log = decode_utf8(slurp_file($node->logfile, $log_size));
like($log, qr/continuous view "%s it"s" stopped: permission denied for foreign table st/, 'the log names a view that stopped');
like($log, qr/SELECT (pipelinedb\.activate\('.*'\))\./, 'and says what to run') && $log =~ /SELECT (pipelinedb\.activate\('.*'\))\./;
my $hint = $1;
sql('GRANT SELECT ON "It\'s".st TO "r%s"');
is(sql("SELECT $hint"), 't', 'which can be run so');
is(sql('SELECT pipelinedb.flush(); SELECT * FROM "It\'s"."%s it""s"') =~ s/\n.*//sr, 't', 'and the view goes on');

# ---- names that are cut ------------------------------------------------------------------------

sql('CREATE SCHEMA long; SET search_path = long; CREATE FOREIGN TABLE st (k text, n int) SERVER pipelinedb');
my @long = map { ('a' x 61) . $_ } qw(01 02 03);
push @long, 'ä' x 31, ('ä' x 30) . 'xyz', ('日' x 20) . 'abc', ('日' x 20) . 'abd';
sql("CREATE VIEW long.\"$_\" AS SELECT k, count(*), sum(n) AS \"${\ substr($_, 0, 20)}\" FROM long.st GROUP BY k") for @long;
sql("INSERT INTO long.st SELECT 'k', g FROM generate_series(1, 10) g");
is(sql('SELECT pipelinedb.flush()'), 't', 'views with a common prefix are folded');
is(sql("SELECT count FROM long.\"$_\""), "10", "each is right") for @long;
is(sql("SELECT count(DISTINCT matrel), count(DISTINCT definition), count(*) FROM pipelinedb.query q
    JOIN pg_class c ON c.oid = q.view WHERE c.relnamespace = 'long'::regnamespace"), '7|7|7', 'each has its own table and definition');
is(sql("SELECT count(*) FROM pg_class v, unnest(v.reloptions) o JOIN pg_class d ON o = 'definition=' || d.relname
    JOIN pipelinedb.query q ON q.definition = d.oid WHERE v.oid = q.view AND v.relnamespace = 'long'::regnamespace"), '7',
    'and names it in its options');
sql("ALTER VIEW long.\"$long[0]\" RENAME TO short; CREATE VIEW long.\"$long[0]\" AS SELECT k, count(*) FROM long.st GROUP BY k;
    DROP VIEW long.\"$long[1]\"; ALTER VIEW long.short RENAME TO \"$long[1]\"");
sql("INSERT INTO long.st VALUES ('k', 1)");
sql('SELECT pipelinedb.flush()');
is(sql("SELECT v.count, w.count FROM long.\"$long[0]\" v, long.\"$long[1]\" w"), '1|11', 'renamed to and fro');

# ---- dump and restore --------------------------------------------------------------------------

my $views = "SELECT schema, name, owner, state, query FROM pipelinedb.views ORDER BY 1, 2";
my $before = sql($views);
sql('CREATE FUNCTION public.content(schema name, name name) RETURNS text LANGUAGE plpgsql AS $$
     DECLARE result text;
     BEGIN
         EXECUTE format($q$SELECT string_agg(x::text, $s$,$s$ ORDER BY x::text COLLATE "C") FROM %I.%I x$q$, schema, name) INTO result;
         RETURN result;
     END $$');
my $numbers = sub { sql("SELECT string_agg(public.content(schema, name), ' ' ORDER BY schema, name) FROM pipelinedb.views") };
my $sums = $numbers->();
my $dump = $node->basedir . '/dump.sql';
my $connection = $node->connstr($db);
$node->command_ok([ $node->installed_command('pg_dump'), '-d', $connection, '-f', $dump ], 'dump');
$db = 'postgres';
sql('CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ $node->installed_command('psql'), '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ],
    'restore');
$db = 'restored';
is(sql($views), $before, 'every view is back, with its names');
is($numbers->(), $sums, 'and its rows');
sql("INSERT INTO long.st VALUES ('k', 1)");
is(sql('SELECT pipelinedb.flush()'), 't', 'it folds');
is(sql("SELECT count FROM long.\"$long[1]\""), '12', 'and counts on');

# ---- other encodings ---------------------------------------------------------------------------

for my $encoding ('LATIN1', 'SQL_ASCII', 'EUC_JP') {
    $db = 'postgres';
    my $base = lc "db_$encoding";
    sql("CREATE DATABASE $base ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    $db = $base;
    my $word = $encoding eq 'EUC_JP' ? '日本' : 'üñé';
    sql('CREATE EXTENSION pipeline_ext');
    sql("CREATE FOREIGN TABLE \"s$word\" (\"k$word\" text, n int) SERVER pipelinedb;
        CREATE VIEW \"v$word\" AS SELECT \"k$word\", count(*), max(\"k$word\") AS m FROM \"s$word\" GROUP BY 1;
        CREATE VIEW \"d$word\" AS SELECT (\"k$word\" || n)::int AS \"k$word\", count(*) FROM \"s$word\" GROUP BY 1");
    sql("INSERT INTO \"s$word\" VALUES ('$word', 1), ('$word', 2), ('x', 3)");
    sql('SELECT pipelinedb.flush()');
    is(sql("SELECT * FROM \"v$word\" ORDER BY count"), "x|1|x\n$word|2|$word", "$encoding: folded and read");
    is(sql("SELECT octet_length(\"k$word\") FROM \"v${word}_mrel\" WHERE count = 2"),
        { LATIN1 => 3, SQL_ASCII => length(encode_utf8($word)), EUC_JP => 4 }->{$encoding}, "$encoding: stored in the encoding of the database");
    like(sql("SELECT string_agg(message, ' ') FROM pipelinedb.errors"), qr/invalid input syntax for type integer: "(?:$word(?:1|2)|x3)"/,
        "$encoding: what could not be folded is named");
    is(sql("SELECT name, stream FROM pipelinedb.views WHERE name = 'v$word'"),
        "v$word|" . ($encoding eq 'SQL_ASCII' || $word =~ /[^a-z]/ ? "\"s$word\"" : "s$word"), "$encoding: names");
    sql("SELECT pipelinedb.truncate_continuous_view('\"v$word\"')");
    is(sql("SELECT count(*) FROM \"v$word\""), '0', "$encoding: truncated");
    # An error that is longer than what is kept, cut between two characters.
    sql("INSERT INTO \"s$word\" VALUES (repeat('$word', 2000), 1)") ;
    is(sql('SELECT pipelinedb.flush()'), 't', "$encoding: a long value");
    is(sql("SELECT bool_and(length(message) <= 1000) FROM pipelinedb.errors"), 't', "$encoding: its message is cut");
}

# ---- the extension in other circumstances ------------------------------------------------------

$db = 'postgres';
sql('CREATE DATABASE elsewhere TEMPLATE template0');
$db = 'elsewhere';
sql('CREATE SCHEMA "S %s"; CREATE ROLE plain_user LOGIN');
like(fails('SET ROLE plain_user; CREATE EXTENSION pipeline_ext'), qr/permission denied to create extension "pipeline_ext"/,
    'only superusers create the extension');
sql('ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
     ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC; ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO plain_user;
     CREATE EXTENSION pipeline_ext SCHEMA "S %s"');
is(sql("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pipeline_ext'"), '"S %s"',
    'CREATE EXTENSION with SCHEMA: it says so');
is(sql("SELECT count(*) FROM pg_class WHERE relnamespace = '\"S %s\"'::regnamespace"), '0', 'its objects are in pipelinedb all the same');
like(fails('ALTER EXTENSION pipeline_ext SET SCHEMA public'), qr/does not support SET SCHEMA/, 'and it stays there');
is(sql("SELECT c.relname, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'pipelinedb'::regnamespace
    AND a.grantee <> c.relowner AND NOT (c.relkind = 'v' AND a.privilege_type = 'SELECT' AND a.grantee = 0)"), '',
    'default privileges open none of its tables');
like(fails('SET ROLE plain_user; CREATE TABLE pipelinedb.mine (x int)'), qr/permission denied for schema pipelinedb/, 'nor its schema');
sql('CREATE FOREIGN TABLE st (n int) SERVER pipelinedb; CREATE VIEW v AS SELECT count(*), avg(n) FROM st;
     GRANT SELECT ON v TO plain_user; GRANT USAGE ON SCHEMA public TO plain_user; INSERT INTO st VALUES (1), (3)');
sql('SELECT pipelinedb.flush()');
is(sql('SET ROLE plain_user; SELECT count, avg::int FROM v'), '2|2', 'and a reader can read');
sql('SET client_min_messages = warning; DROP SCHEMA "S %s" CASCADE');
is(sql("SELECT count(*) FROM pg_extension WHERE extname = 'pipeline_ext'") . sql("SELECT count(*) FROM pg_class WHERE relname ~ '^(v|st)(_|\$)'"),
    '00', 'with its schema it goes, as any extension does');

$node->stop;
done_testing();
