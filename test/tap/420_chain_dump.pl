# pg_dump of chains of continuous queries: the restored database has them all, and counts on.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', log_statement => 'none');
my $folder = PostgreSQL::Test::Utils::tempdir();
sub sql { return $node->safe_psql($_[0], $_[1]); }

sql('postgres', 'CREATE ROLE owner LOGIN; CREATE ROLE reader; CREATE DATABASE source');
sql('source', q{
    CREATE EXTENSION pipeline_ext;
    GRANT USAGE ON FOREIGN SERVER pipelinedb TO owner, reader;
    CREATE SCHEMA app AUTHORIZATION owner;
    CREATE SCHEMA "Z first" AUTHORIZATION owner;
    CREATE SCHEMA theirs AUTHORIZATION reader;
    SET ROLE owner;
    SET search_path = app, public;
    CREATE FOREIGN TABLE written (k int, v int) SERVER pipelinedb;
    CREATE FOREIGN TABLE dest (n numeric) SERVER pipelinedb;
    CREATE TABLE ledger (what text, n numeric);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO app.ledger VALUES (TG_ARGV[0], NEW.n); RETURN NULL; END $$;
    CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO app.ledger VALUES ('change', (NEW.new).n); RETURN NULL; END $$;
    CREATE VIEW a AS SELECT k, count(*) AS n, avg(v) AS mean, sum(v) AS s FROM written GROUP BY k;
    CREATE VIEW "Z first"."b ""1""" AS SELECT (new).k % 3 AS k, sum((new).n - coalesce((old).n, 0)) AS n
        FROM output_of('a') GROUP BY 1;
    CREATE VIEW c AS SELECT sum((new).n - coalesce((old).n, 0)) AS n FROM output_of('"Z first"."b ""1"""');
    CREATE VIEW appended AS SELECT k, v FROM written WHERE v % 7 = 0;
    CREATE VIEW of_appended AS SELECT count(*) AS n, sum((new).v) AS s FROM output_of('appended');
    CREATE VIEW noted WITH (action = transform, outputfunc = note('it''s', '')) AS
        SELECT (new).n - coalesce((old).n, 0) AS n FROM output_of('a');
    CREATE VIEW of_noted AS SELECT sum(n) AS n, count(*) AS rows FROM output_of('noted');
    CREATE VIEW passed WITH (action = transform, outputfunc = pipelinedb.insert_into_stream('dest')) AS
        SELECT (new).n::numeric AS n FROM output_of('c') WHERE (new).n > 0;
    CREATE VIEW arrived AS SELECT max(n) AS n FROM dest;
    CREATE VIEW unread WITH (action = transform) AS SELECT k, v FROM written;
    CREATE TRIGGER beside AFTER INSERT ON c_osrel FOR EACH ROW WHEN ((NEW.new).n > 100)
        EXECUTE FUNCTION note_change();
    GRANT USAGE ON SCHEMA app TO reader;
    GRANT SELECT ON a TO reader;
    RESET ROLE;
    SET ROLE reader;
    CREATE VIEW theirs.sums AS SELECT sum((new).s - coalesce((old).s, 0)) AS s FROM app.a_osrel;
    RESET ROLE;
    SET ROLE owner;
    ALTER VIEW a RENAME TO renamed;
    ALTER VIEW noted RENAME TO still_noted;
    COMMENT ON VIEW still_noted IS 'per change';
    SELECT pipelinedb.deactivate('of_appended');
});
my %order = ('app.renamed' => 'k', '"Z first"."b ""1"""' => 'k', 'app.c' => 'n', 'app.appended' => 'v, k',
    'app.of_appended' => 'n', 'app.of_noted' => 'n', 'app.arrived' => 'n', 'theirs.sums' => 's',
    'app.ledger' => 'what, n');
sub contents {
    my ($db) = @_;
    return join "\n", map { "$_:\n" . sql($db, "SELECT * FROM $_ ORDER BY $order{$_}") } sort keys %order;
}
sub shapes {
    my ($db) = @_;
    return sql($db, 'SELECT name, owner, streams, state FROM pipelinedb.views ORDER BY name')
      . "\n" . sql($db, 'SELECT name, owner, stream, output, state, tgfunc, tgargs FROM pipelinedb.transforms ORDER BY name')
      . "\n" . sql($db, "SELECT c.oid::regclass, relowner::regrole, ftoptions FROM pg_foreign_table
          JOIN pg_class c ON c.oid = ftrelid ORDER BY c.oid::regclass::text COLLATE \"C\"");
}
# One transaction is one tick's: the number of changes is the same everywhere.
sub write_rows {
    my ($db, $from, $to) = @_;
    sql($db, "INSERT INTO app.written SELECT g % 10, g FROM generate_series($from, $to) g");
    wait_folded($node, $db) for 1 .. 2;
}

write_rows('source', 1, 200);
is(sql('source', 'SELECT n FROM app.arrived'), '200', 'the chain counts to its end');
my %restored = (
    plain => sub {
        my ($db) = @_;
        command_ok([ 'pg_dump', '-f', "$folder/plain.sql", '-d', $node->connstr('source') ], 'pg_dump');
        command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$folder/plain.sql", '-d', $node->connstr($db) ],
            'restored by psql');
    },
    parallel => sub {
        my ($db) = @_;
        command_ok([ 'pg_dump', '-Fc', '-f', "$folder/custom", '-d', $node->connstr('source') ], 'pg_dump -Fc');
        command_ok([ 'pg_restore', '-j', '2', '-e', '-d', $node->connstr($db), "$folder/custom" ], 'pg_restore -j 2');
    },
    one_transaction => sub {
        my ($db) = @_;
        command_ok([ 'pg_restore', '-1', '-d', $node->connstr($db), "$folder/custom" ], 'pg_restore -1');
    });
my $former = shapes('source');
my $contents = contents('source');
for my $how (qw(plain parallel one_transaction)) {
    sql('postgres', "CREATE DATABASE $how");
    $restored{$how}->($how);
    is(contents($how), $contents, "$how: has the same rows");
    (my $expected = $former) =~ s/paused/active/; # a restored view is active
    is(shapes($how), $expected, "$how: and the same queries");
}
sql('source', "SELECT pipelinedb.activate('app.of_appended')");
wait_folded($node, 'source');
# Rows that waited for a paused view are not dumped: it goes on from what it showed.
for my $db (qw(source plain parallel one_transaction)) {
    write_rows($db, 201, 260);
    write_rows($db, 261, 300);
}
delete $order{'app.of_appended'};
for my $how (qw(plain parallel one_transaction)) {
    is(contents($how), contents('source'), "$how: counting goes on");
    is(sql($how, 'SELECT n FROM app.of_appended'), '14', "$how: also where a view was paused");
}
is(sql('source', 'SELECT n FROM app.of_appended'), '42', 'whose rows wait in the old database');

# A restored database is dumped like the first one.
command_ok([ 'pg_dump', '-s', '-f', "$folder/second.sql", '-d', $node->connstr('plain') ], 'a second dump');
command_ok([ 'pg_dump', '-s', '-f', "$folder/first.sql", '-d', $node->connstr('source') ], 'and one of the first');
my @dumps = map { join '', grep { !/^\\(?:un)?restrict/ } split /^/, slurp_file("$folder/$_.sql") } qw(first second);
is($dumps[1], $dumps[0], 'are the same');

# What belongs together goes together.
sql('plain', 'DROP SCHEMA app CASCADE');
is(sql('plain', 'SELECT count(*) FROM pipelinedb.query'), '0', 'a chain is dropped as a whole');

$node->stop;
done_testing();
