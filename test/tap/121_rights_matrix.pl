# Who may do what, as a table: one row per action, one column per role. Then what grants, default
# privileges, row-level security and settings of a database change about it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StopPoints qw(wait_until);
use Test::More;

my $node = new_node('matrix');

sub psql_as {
    my ($role, $sql, $db) = @_;
    return $node->psql($db // 'postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
}

# The SQLSTATE of the first error, or 'yes'.
sub outcome {
    my ($role, $sql, $db) = @_;
    my ($status, undef, $errors) = psql_as($role, $sql, $db);
    return $errors =~ /ERROR:  (\w{5}): / ? $1 : $status == 0 ? 'yes' : "status $status";
}

sub allowed {
    my ($role, $sql, $name, $expected) = @_;
    my ($status, $out, $errors) = psql_as($role, $sql);
    is($status, 0, $name) or diag($errors);
    is($out, $expected, "$name: result") if defined $expected;
}

sub refused { my ($role, $sql, $name) = @_; is(outcome($role, $sql), '42501', $name); }

# deputy is a member of the owner's role, gina has been granted what can be.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alice LOGIN;
CREATE ROLE deputy LOGIN IN ROLE alice;
CREATE ROLE gina LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE ROLE all_read LOGIN IN ROLE pg_read_all_data;
CREATE ROLE all_write LOGIN IN ROLE pg_write_all_data;
CREATE ROLE other LOGIN;
CREATE SCHEMA alice AUTHORIZATION alice;
CREATE SCHEMA gina AUTHORIZATION gina;
GRANT USAGE ON SCHEMA alice TO PUBLIC;
CREATE SCHEMA open;
GRANT ALL ON SCHEMA open TO PUBLIC;
GRANT USAGE ON FOREIGN SERVER pipelinedb TO alice, gina;
SET ROLE alice;
CREATE FOREIGN TABLE alice.s (k text, n int) SERVER pipelinedb;
CREATE VIEW alice.v AS SELECT k, count(*), avg(n) FROM alice.s GROUP BY k;
CREATE FUNCTION alice.stop(n int) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN IF n = 0 THEN RAISE EXCEPTION 'pa55word' USING ERRCODE = '42000'; END IF; RETURN n; END $$;
CREATE VIEW alice.fails AS SELECT alice.stop(n) AS k, count(*) FROM alice.s GROUP BY 1;
CREATE VIEW alice.rejects AS SELECT 1 / n AS k, count(*) FROM alice.s GROUP BY 1;
CREATE VIEW alice.paused AS SELECT count(*) FROM alice.s;
GRANT INSERT, SELECT ON alice.s TO gina;
GRANT SELECT ON alice.v, alice.fails TO gina;
RESET ROLE;
SELECT pipelinedb.deactivate('alice.paused');
INSERT INTO alice.s VALUES ('a', 1), ('b', 2);
INSERT INTO alice.s VALUES ('secret', 0);
SQL
wait_folded($node);

# ---- the table -----------------------------------------------------------------------------

my @roles = qw(alice deputy gina watcher all_read all_write other postgres);
# One letter per role, in that order: y = may, n = insufficient privilege. What is no statement
# but an answer (a query that returns true or false) begins with "?". Rows that need a function
# or relation of the extension which is not there are left out.
my $owner = 'yynnnnny';
my @matrix = (
    [ 'create a stream',         'yyynnnny', 'CREATE FOREIGN TABLE open.x (i int) SERVER pipelinedb' ],
    [ 'create a view',           'yyynynny', 'CREATE VIEW open.x AS SELECT k, count(*) FROM alice.s GROUP BY k' ],
    [ 'write by INSERT',         'yyynnyny', "INSERT INTO alice.s VALUES ('x', 1)" ],
    [ 'write by COPY',           'yyynnyny', "COPY alice.s FROM STDIN;\nx\t1\n\\.\n" ],
    [ 'write, RETURNING',        'yyynnnny', "INSERT INTO alice.s VALUES ('x', 1) RETURNING k" ],
    [ 'lock the stream',         'nnnnnnnn', 'LOCK TABLE alice.s', '42809' ],
    [ 'truncate the stream',     'nnnnnnnn', 'TRUNCATE alice.s', { map({ $_ => '42501' } qw(gina watcher all_read all_write other)),
        map({ $_ => '42809' } qw(alice deputy postgres)) } ],
    [ 'read the view',           'yyynynny', 'SELECT * FROM alice.v' ],
    [ 'read its table',          'yynnynny', 'SELECT * FROM alice.v_mrel' ],
    [ 'read its definition',     'nnnnnnnn', 'SELECT * FROM alice.v_def', { map({ $_ => '42501' } qw(gina watcher all_write other)),
        map({ $_ => '42809' } qw(alice deputy all_read postgres)) } ],
    [ 'read the stream',         'nnnnnnnn', 'SELECT * FROM alice.s', '42809' ],
    [ 'drop the view',           $owner,     'DROP VIEW alice.v' ],
    [ 'drop its table',          $owner,     'DROP TABLE alice.v_mrel CASCADE' ],
    [ 'drop the stream',         $owner,     'DROP FOREIGN TABLE alice.s CASCADE' ],
    [ 'rename the view',         $owner,     'ALTER VIEW alice.v RENAME TO w' ],
    [ 'set options',             $owner,     'ALTER VIEW alice.v SET (security_barrier = true)' ],
    [ 'move it',                 $owner,     'ALTER VIEW alice.v SET SCHEMA open' ],
    [ 'give it away',            'nnnnnnny', 'ALTER VIEW alice.v OWNER TO gina' ],
    [ 'add a column',            $owner,     'ALTER FOREIGN TABLE alice.s ADD COLUMN z int' ],
    [ 'comment',                 $owner,     "COMMENT ON VIEW alice.v IS 'x'" ],
    [ 'make an index',           $owner,     'CREATE INDEX ON alice.v_mrel (count)' ],
    [ 'make an index on the view', $owner,   'CREATE INDEX ON alice.v (count)' ],
    [ 'add a constraint',        $owner,     'ALTER TABLE alice.v_mrel ADD CHECK (count > 0)' ],
    [ 'pause',                   $owner,     "SELECT pipelinedb.deactivate('alice.v')" ],
    [ 'activate',                $owner,     "SELECT pipelinedb.activate('alice.paused')" ],
    [ 'activate a failed one',   $owner,     "SELECT pipelinedb.activate('alice.fails')" ],
    [ 'empty it',                $owner,     "SELECT pipelinedb.truncate_continuous_view('alice.v')" ],
    [ 'retry errors',            $owner,     "SELECT pipelinedb.retry_errors('alice.v')" ],
    [ 'clear errors',            $owner,     "SELECT pipelinedb.clear_errors('alice.v')" ],
    [ 'wait for the fold',       'yyyyyyyy', 'SELECT pipelinedb.flush()' ],
    [ 'see views',               'yyyyyyyy', "? SELECT count(*) = 4 FROM pipelinedb.views WHERE schema = 'alice'" ],
    [ 'see states',              'yyyyyyyy', "? SELECT state <> 'active' FROM pipelinedb.views WHERE name = 'paused'" ],
    [ 'see streams',             'yyyyyyyy', '? SELECT count(*) = 1 FROM pipelinedb.streams' ],
    [ 'see messages of errors',  'yynynnny', "? SELECT message = 'pa55word' FROM pipelinedb.views WHERE name = 'fails'" ],
    [ 'see rejected rows',       'yynynnny', '? SELECT count(*) > 0 FROM pipelinedb.errors' ],
    [ 'read raw rows',           'nnnnynny', 'SELECT * FROM pipelinedb.spool_0' ],
    [ 'read rejected raw rows',  'nnnnynny', 'SELECT * FROM pipelinedb.rejected' ],
    [ 'forge rejected rows',     'nnnnnnny', 'DELETE FROM pipelinedb.rejected' ],
    [ 'read the catalog',        'nnnnynny', 'SELECT * FROM pipelinedb.query' ],
    [ 'read progress',           'nnnnynny', 'SELECT * FROM pipelinedb.progress' ],
    [ 'change the catalog',      'nnnnnnny', 'UPDATE pipelinedb.query SET active = active' ],
    [ 'add to the catalog',      'nnnnnnny', 'INSERT INTO pipelinedb.query SELECT * FROM pipelinedb.query WHERE false' ],
    [ 'change progress',         'nnnnnnny', 'DELETE FROM pipelinedb.progress' ],
    [ 'change generations',      'nnnnnnny', 'UPDATE pipelinedb.generation SET ordinal = ordinal' ],
    [ 'forge raw rows',          'nnnnnnny', "INSERT INTO pipelinedb.spool_0 SELECT '1', 1, 1, 1 WHERE false" ],
    [ 'forge groups',            'nnnnnnnn', 'UPDATE alice.v_mrel SET count = 9', { map({ $_ => '42501' } qw(gina watcher all_read other)),
        map({ $_ => '55000' } qw(alice deputy all_write postgres)) } ],
    [ 'create a spool table',    'nnnnnnny', 'SELECT pipelinedb.create_generation(9)' ],
    [ 'set rights anew',         'nnnnnnny', 'SELECT pipelinedb.set_rights()' ],
    [ 'put things beside ours',  'nnnnnnny', 'CREATE TABLE pipelinedb.x (i int)' ],
    [ 'set how a write waits',   'yyyyyyyy', 'SET pipelinedb.stream_insert_level = async' ],
    [ 'stop processes',          'nnnnnnny', "SET pipelinedb.stop_points = 'spool_after_insert:error'" ],
    [ 'set for all',             'nnnnnnny', "ALTER SYSTEM SET pipelinedb.fold_interval = '2ms'" ],
    [ 'drop the extension',      'nnnnnnny', 'DROP EXTENSION pipeline_ext CASCADE' ]);

sub is_there {
    my ($sql) = @_;
    my ($object, $call) = $sql =~ /pipelinedb\.(\w+)(\(?)/ or return 1;
    return 1 if $sql =~ /SET pipelinedb|CREATE TABLE/;
    return $node->safe_psql('postgres', $call ? "SELECT count(*) FROM pg_proc WHERE proname = '$object'"
        : "SELECT count(to_regclass('pipelinedb.$object'))") > 0;
}

for my $row (@matrix) {
    my ($action, $may, $sql, $state) = @$row;
    next unless is_there($sql);
    my @letters = split //, $may;
    my (%got, %due);
    for my $i (0 .. $#roles) {
        my $role = $roles[$i];
        $due{$role} = $letters[$i] eq 'y' ? 'yes' : ref $state ? $state->{$role} : $state // '42501';
        if ($sql =~ /^\? (.*)/s) {
            my (undef, $out) = psql_as($role, $1);
            $got{$role} = $out eq 't' ? 'yes' : '42501';
        } elsif ($sql =~ /^ALTER SYSTEM/) {
            $got{$role} = outcome($role, $sql);
        } else { # nothing stays
            $got{$role} = outcome($role, "BEGIN;\n$sql;\nROLLBACK");
        }
    }
    is_deeply(\%got, \%due, $action);
}
is($node->safe_psql('postgres', "SELECT name, state FROM pipelinedb.views WHERE name <> 'rejects' ORDER BY 1"),
    "fails|failed\npaused|paused\nv|active", 'nothing of it has stayed');

# ---- grants and revokes after creation -------------------------------------------------------

allowed('alice', 'REVOKE SELECT ON alice.v FROM gina; GRANT SELECT (k) ON alice.v TO other', 'the owner changes grants');
refused('gina', 'SELECT * FROM alice.v', 'who lost SELECT reads nothing');
allowed('other', 'SELECT k FROM alice.v ORDER BY k', 'SELECT on a column', "a\nb\nsecret");
refused('other', 'SELECT count FROM alice.v', 'is not SELECT on another');
allowed('alice', 'REVOKE ALL ON alice.s FROM gina; GRANT INSERT (n) ON alice.s TO gina', 'INSERT on a column only');
allowed('gina', 'INSERT INTO alice.s (n) VALUES (1)', 'lets one write it');
allowed('gina', "COPY alice.s (n) FROM STDIN;\n1\n\\.\n", 'by COPY, too');
refused('gina', "INSERT INTO alice.s (k, n) VALUES ('x', 1)", 'and no other');
refused('gina', "COPY alice.s FROM STDIN;\nx\t1\n\\.\n", 'nor by COPY without a list');
refused('gina', 'INSERT INTO alice.s (n, arrival_timestamp) VALUES (1, now())', 'nor the arrival time');
wait_folded($node);
is($node->safe_psql('postgres', 'SELECT count FROM alice.v WHERE k IS NULL'), '2', 'what was refused does not count');

# A view of gina's over a stream that she may not read any more stops; nothing is lost.
$node->safe_psql('postgres', 'GRANT SELECT ON alice.s TO gina');
allowed('gina', 'CREATE VIEW gina.v AS SELECT count(*) FROM alice.s', 'a view over a stream of another');
allowed('alice', "INSERT INTO alice.s VALUES ('x', 1)", 'a row');
wait_folded($node);
allowed('alice', 'REVOKE SELECT ON alice.s FROM gina', 'the right to read is taken back');
allowed('alice', "INSERT INTO alice.s VALUES ('x', 1)", 'a row');
ok($node->poll_query_until('postgres', "SELECT sqlstate = '42501' FROM pipelinedb.views WHERE schema = 'gina'"),
    'then the view stops');
allowed('gina', 'SELECT count FROM gina.v', 'at what it was', '1');
allowed('alice', 'GRANT SELECT ON alice.s TO gina', 'with the right');
allowed('gina', "SELECT pipelinedb.activate('gina.v')", 'it is activated', 't');
wait_folded($node);
allowed('gina', 'SELECT count FROM gina.v', 'and has missed nothing', '2');
allowed('gina', 'DROP VIEW gina.v', 'it goes');

# ---- an aggregate whose parts its owner may not use any more ---------------------------------

allowed('gina', "CREATE FUNCTION gina.plus(int8, int8) RETURNS int8 LANGUAGE sql IMMUTABLE AS 'SELECT \$1 + \$2'", 'a function');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA gina TO PUBLIC');
allowed('alice', 'CREATE AGGREGATE alice.total(int8) (SFUNC = int8pl, STYPE = int8, INITCOND = 0, COMBINEFUNC = gina.plus);
    CREATE VIEW alice.totals AS SELECT alice.total(n) FROM alice.s', 'an aggregate over it');
allowed('gina', 'REVOKE EXECUTE ON FUNCTION gina.plus FROM PUBLIC', 'the function is closed');
$node->restart; # a fold worker asks when it makes its plan
allowed('alice', "INSERT INTO alice.s VALUES ('x', 5)", 'a row');
ok($node->poll_query_until('postgres', "SELECT sqlstate = '42501' FROM pipelinedb.views WHERE name = 'totals'"),
    'the view stops: the owner of the aggregate may not call its combine function');
allowed('alice', 'DROP VIEW alice.totals; DROP AGGREGATE alice.total(int8)', 'it goes');

# ---- row-level security ------------------------------------------------------------------------

# The server's rules for views: policies of the table behind a view are those for the view's
# owner, whom they bind with FORCE only; in a security_invoker view those for the reader.
allowed('alice', <<'SQL', 'policies on the tables behind two views');
CREATE FOREIGN TABLE alice.r (who text, n int) SERVER pipelinedb;
CREATE VIEW alice.of_owner AS SELECT who, count(*), avg(n)::int AS avg FROM alice.r GROUP BY who;
CREATE VIEW alice.of_reader WITH (security_invoker = true) AS SELECT who, count(*), avg(n)::int AS avg FROM alice.r GROUP BY who;
GRANT SELECT ON alice.of_owner, alice.of_reader TO gina;
INSERT INTO alice.r VALUES ('gina', 1), ('alice', 2);
ALTER TABLE alice.of_owner_mrel ENABLE ROW LEVEL SECURITY;
ALTER TABLE alice.of_reader_mrel ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON alice.of_owner_mrel USING (who = current_user);
CREATE POLICY own ON alice.of_reader_mrel USING (who = current_user);
SQL
wait_folded($node);
my ($owners, $readers) = map { "SELECT who, count, avg FROM alice.$_ ORDER BY who" } qw(of_owner of_reader);
allowed('gina', $owners, 'policies do not bind the owner, so the view shows all', "alice|1|2\ngina|1|1");
refused('gina', $readers, 'a security_invoker view needs SELECT on its table');
$node->safe_psql('postgres', 'GRANT SELECT ON alice.of_reader_mrel TO gina');
allowed('gina', $readers, 'and shows what the reader may see', 'gina|1|1');
allowed('alice', $readers, 'to its owner all', "alice|1|2\ngina|1|1");
allowed('alice', 'ALTER TABLE alice.of_owner_mrel FORCE ROW LEVEL SECURITY;
    ALTER TABLE alice.of_reader_mrel FORCE ROW LEVEL SECURITY', 'FORCE');
allowed($_, $owners, "with FORCE $_ sees one group", "$_|1|" . ($_ eq 'alice' ? 2 : 1)) for qw(alice gina);
allowed('alice', "INSERT INTO alice.r VALUES ('gina', 3), ('alice', 4), ('other', 5)", 'more rows');
wait_folded($node);
is($node->safe_psql('postgres', "SELECT who, count FROM alice.of_${_}_mrel ORDER BY who"), "alice|2\ngina|2\nother|1",
    "the fold is not bound by policies: of_$_") for qw(owner reader);
allowed('gina', "$_", 'it shows', 'gina|2|2') for $owners, $readers;
allowed('alice', 'ALTER VIEW alice.of_owner SET (security_invoker = true)', 'the option can be set later');
refused('gina', $owners, 'and holds at once');
allowed('alice', 'ALTER VIEW alice.of_owner RESET (security_invoker)', 'and be reset');
allowed('gina', $owners, 'which holds, too', 'gina|2|2');
allowed('alice', 'DROP FOREIGN TABLE alice.r CASCADE', 'it goes');

# ---- joined tables -----------------------------------------------------------------------------

allowed('alice', <<'SQL', 'a view over a joined table, also in a subquery that readers evaluate');
CREATE TABLE alice.names (k text, name text);
INSERT INTO alice.names VALUES ('x', 'the x'), ('y', 'the y');
CREATE VIEW alice.named AS SELECT name, count(*), count(*) * (SELECT count(*) FROM alice.names) AS of_all
    FROM alice.s JOIN alice.names USING (k) GROUP BY name;
GRANT SELECT ON alice.named TO gina;
INSERT INTO alice.s VALUES ('x', 1), ('z', 1);
SQL
wait_folded($node);
allowed('gina', 'SELECT name, count, of_all FROM alice.named', 'a reader needs no right to them', 'the x|1|2');
refused('gina', 'SELECT * FROM alice.names', 'and has none');
refused('gina', 'CREATE VIEW gina.named AS SELECT name, count(*) FROM alice.s JOIN alice.names USING (k) GROUP BY name',
    'nor may a view be made over them');
allowed('alice', 'DROP VIEW alice.named', 'it goes');

# ---- default privileges ------------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE hardened');
$node->safe_psql('hardened', <<'SQL');
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO other, PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO other;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO other;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO other;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC;
CREATE EXTENSION pipeline_ext;
SELECT pipelinedb.create_generation(5);
CREATE SCHEMA alice AUTHORIZATION alice;
GRANT USAGE ON SCHEMA alice TO PUBLIC;
GRANT USAGE ON FOREIGN SERVER pipelinedb TO alice;
SQL
is(outcome('other', $_, 'hardened'), '42501', "default privileges open nothing: $_") for
    map({ ("SELECT * FROM pipelinedb.$_", "DELETE FROM pipelinedb.$_") } split /\n/, $node->safe_psql('hardened',
        "SELECT relname FROM pg_class WHERE relnamespace = 'pipelinedb'::regnamespace AND relkind = 'r' ORDER BY 1")),
    'CREATE TABLE pipelinedb.x (i int)', 'SELECT pipelinedb.create_generation(9)', 'SELECT pipelinedb.set_rights()';
is(outcome('alice', <<'SQL', 'hardened'), 'yes', 'and close nothing that an owner needs');
CREATE FOREIGN TABLE alice.s (k text, n int) SERVER pipelinedb;
CREATE VIEW alice.v AS SELECT k, count(*), avg(n), sum(n::numeric) FROM alice.s GROUP BY k;
GRANT SELECT ON alice.v TO gina;
INSERT INTO alice.s VALUES ('a', 1);
SELECT pipelinedb.flush();
SQL
is((psql_as('gina', 'SELECT k, count, avg::int, sum FROM alice.v', 'hardened'))[1], 'a|1|1|1', 'or a reader');
$node->safe_psql('hardened', 'DROP EXTENSION pipeline_ext CASCADE');

# ---- settings of the database that its owner may make -----------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE odd OWNER alice');
$node->safe_psql('odd', 'CREATE EXTENSION pipeline_ext; GRANT USAGE ON FOREIGN SERVER pipelinedb TO alice');
for my $setting ("role = 'alice'", "session_authorization = 'alice'") {
    is(outcome('alice', "ALTER DATABASE odd SET $setting", 'odd'), 'yes', "a database's owner sets $setting");
}
$node->restart;
# A paused view keeps two spool tables full, so that a third one is needed.
set_server($node, 'pipelinedb.spool_generation_size' => '1MB');
is(outcome('alice', <<'SQL', 'odd'), 'yes', 'a view there');
CREATE SCHEMA IF NOT EXISTS alice;
CREATE FOREIGN TABLE alice.s (k text, n int) SERVER pipelinedb;
CREATE FUNCTION alice.who() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_user || '/' || session_user $$;
CREATE VIEW alice.v AS SELECT alice.who() AS who, count(*) FROM alice.s GROUP BY 1;
CREATE VIEW alice.paused AS SELECT count(*) FROM alice.s;
SELECT pipelinedb.deactivate('alice.paused');
SQL
my $spools = "SELECT count(*) FROM pg_class WHERE relname ~ '^spool_' AND relkind = 'r'";
wait_until(sub {
    psql_as('alice', "INSERT INTO alice.s SELECT repeat('x', 100) || i, i FROM generate_series(1, 12000) i", 'odd');
    return (psql_as('alice', $spools, 'odd'))[1] >= 3;
}, 60);
cmp_ok((psql_as('alice', $spools, 'odd'))[1], '>=', 3, 'the fold worker has made a third spool table');
is((psql_as('alice', 'SELECT DISTINCT who FROM alice.v', 'odd'))[1], 'alice/postgres',
    'its session is the superuser, and the view runs as its owner');
unlike(slurp_file($node->logfile), qr/fold worker could not|terminated by signal|TRAP:|PANIC/, 'the log says nothing of it');
$node->stop;
done_testing();
