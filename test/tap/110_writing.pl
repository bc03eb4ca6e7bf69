# All ways of writing to a stream, and what is refused.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use PipelineTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('writing', max_prepared_transactions => 5, max_connections => 20);

# ---- small tools ---------------------------------------------------------------------------

sub sql { my ($sql, @more) = @_; return $node->safe_psql('postgres', $sql, @more); }

# The output of psql with command tags: one line per result or tag.
sub tags {
    my ($sql, @more) = @_;
    my ($status, $stdout, $stderr) = $node->psql('postgres', "\\set QUIET off\n$sql", @more);
    return $stdout . $stderr;
}

# Runs SQL that shall write @_ as seen by "seen", a view with one row per value of the stream.
sub writes {
    my ($name, $sql, $due, @more) = @_;
    my $before = sql('SELECT n FROM total');
    sql($sql, @more);
    sql('SELECT pipelinedb.flush()');
    is(sql('SELECT n FROM total') - $before, $due, $name);
}

# SQL that fails with an error like $error and writes nothing.
sub refused {
    my ($name, $sql, $error, @more) = @_;
    my $before = sql('SELECT n FROM total');
    my ($status, $stdout, $stderr) =
        $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1, @more);
    isnt($status, 0, "$name: refused");
    like($stderr, $error, "$name: the error");
    sql('SELECT pipelinedb.flush()');
    is(sql('SELECT n FROM total'), $before, "$name: nothing is written");
}

sql(<<'SQL');
CREATE FOREIGN TABLE s (a int, b text, c numeric) SERVER pipelinedb;
CREATE TABLE plain (a int, b text, c numeric);
CREATE VIEW total AS SELECT count(*) AS n, sum(a) AS a, sum(length(b)) AS b, sum(c) AS c,
    count(arrival_timestamp) AS stamped FROM s;
CREATE VIEW rows AS SELECT a, b, c, count(*) AS n FROM s WHERE length(b) < 100 OR b IS NULL
    GROUP BY a, b, c;
SQL

# ---- INSERT --------------------------------------------------------------------------------

writes('one row', "INSERT INTO s VALUES (1, 'one', 1.5)", 1);
writes('many rows', "INSERT INTO s VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)", 3);
writes('INSERT ... SELECT', "INSERT INTO s SELECT g, 'g', g FROM generate_series(1, 2500) g", 2500);
writes('no rows', "INSERT INTO s SELECT 1, 'x', 1 WHERE false", 0);
writes('DEFAULT VALUES', 'INSERT INTO s DEFAULT VALUES', 1);
writes('NULLs only', 'INSERT INTO s VALUES (NULL, NULL, NULL), (NULL, NULL, NULL)', 2);
writes('fewer values than columns', 'INSERT INTO s VALUES (7)', 1);
writes('columns in another order', "INSERT INTO s (c, a, b) VALUES (70.5, 71, 'order')", 1);
is(sql("SELECT a, c, n FROM rows WHERE b = 'order'"), '71|70.5|1', 'each value in its column');
is(sql('SELECT n FROM rows WHERE a IS NULL AND b IS NULL AND c IS NULL'), '3', 'the NULL group');
writes('a prepared statement', "PREPARE p (int, text) AS INSERT INTO s VALUES (\$1, \$2);
    EXECUTE p (1, 'x'); EXECUTE p (2, 'y');" . ' EXECUTE p (3, NULL);' x 8, 10);
writes('a generic plan', "SET plan_cache_mode = force_generic_plan;
    PREPARE p (int) AS INSERT INTO s SELECT g FROM generate_series(1, \$1) g;
    EXECUTE p (3); EXECUTE p (4); EXECUTE p (0)", 7);
writes('ON CONFLICT DO NOTHING', 'INSERT INTO s VALUES (1), (1) ON CONFLICT DO NOTHING', 2);
writes('a data-modifying WITH', "WITH x AS (INSERT INTO s VALUES (1, 'w'), (2, 'w') RETURNING *)
    INSERT INTO plain SELECT a, b, c FROM x", 2);
writes('two writers in one WITH', 'WITH x AS (INSERT INTO s VALUES (1)),
    y AS (INSERT INTO s VALUES (2), (3)) INSERT INTO s VALUES (4)', 4);
writes('EXPLAIN ANALYZE', 'EXPLAIN (ANALYZE) INSERT INTO s VALUES (1), (2)', 2);
writes('EXPLAIN alone', 'EXPLAIN INSERT INTO s VALUES (1), (2)', 0);
writes('several statements in one message', 'INSERT INTO s VALUES (1)\; INSERT INTO s VALUES (2);', 2);
writes('a transaction with a cursor', "BEGIN; INSERT INTO s VALUES (1);
    DECLARE c CURSOR FOR SELECT * FROM plain; FETCH 1 FROM c; INSERT INTO s VALUES (2);
    FETCH 1 FROM c; COMMIT", 2);
writes('serializable', 'BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO s VALUES (1); COMMIT', 1);
writes('a row constructor over the stream type', "INSERT INTO s SELECT (r).* FROM
    (SELECT ROW(5, 'r', 1, NULL)::s AS r) x", 1);

is(tags('INSERT INTO s VALUES (1)'), 'INSERT 0 1', 'the tag of one row');
is(tags("INSERT INTO s SELECT g FROM generate_series(1, 1234) g"), 'INSERT 0 1234', 'of many');
is(tags('INSERT INTO s SELECT 1 WHERE false'), 'INSERT 0 0', 'of none');
writes('\gdesc of an INSERT', 'INSERT INTO s VALUES (1) \gdesc', 0);
like(tags("INSERT INTO s VALUES (1) RETURNING a, arrival_timestamp \\gdesc"),
    qr/a\|integer\narrival_timestamp\|timestamp with time zone/, '\gdesc');
is(sql("INSERT INTO s VALUES (1, 'x', 2.50), (2, 'y', NULL) RETURNING a + 1, upper(b), c,
    arrival_timestamp IS NOT NULL"), "2|X|2.50|t\n3|Y||t", 'RETURNING');
is(sql("INSERT INTO s (b) VALUES ('z') RETURNING a, b, c"), '|z|', 'RETURNING of a column list');

# ---- protocol ------------------------------------------------------------------------------

for my $mode (qw(simple extended prepared)) {
    my $before = sql('SELECT n, a FROM total');
    $node->pgbench("--no-vacuum --client=2 --transactions=50 --protocol=$mode", 0,
        [qr{actually processed: 100/100}], [qr{^$}], "pgbench, $mode protocol",
        { "110_$mode" => "\\set x random(5, 5)\nINSERT INTO s VALUES (:x, 'bench', :x), (:x, NULL, NULL);\n" });
    sql('SELECT pipelinedb.flush()');
    my ($n, $a) = split /\|/, $before;
    is(sql('SELECT n, a FROM total'), ($n + 200) . '|' . ($a + 1000), "$mode protocol: all rows");
}

# ---- arrival_timestamp ---------------------------------------------------------------------

sql('CREATE VIEW times AS SELECT b, min(arrival_timestamp) AS first, max(arrival_timestamp) AS last,
    count(*) - count(arrival_timestamp) AS missing FROM s GROUP BY b');
my %ways = (
    'INSERT' => "INSERT INTO s (b) VALUES ('LABEL')",
    'COPY' => "COPY s (b) FROM STDIN;\nLABEL\n\\.\n",
    'INSERT SELECT' => "INSERT INTO s (b) SELECT 'LABEL' FROM generate_series(1, 5000)");
for my $label (sort keys %ways) {
    (my $sql = $ways{$label}) =~ s/LABEL/$label/;
    my $from = sql('SELECT clock_timestamp()');
    sql("BEGIN; SELECT 1; $sql; COMMIT");
    my $to = sql('SELECT clock_timestamp()');
    is(sql("SELECT first BETWEEN '$from' AND '$to', last BETWEEN '$from' AND '$to', missing
        FROM times WHERE b = '$label'"), 't|t|0', "the time of writing: $label");
}
is(sql("BEGIN; SELECT 1; INSERT INTO s VALUES (1)
    RETURNING arrival_timestamp > now(); COMMIT"), "1\nt", 'not the time of BEGIN');
sql("INSERT INTO s (b, arrival_timestamp) VALUES ('given', '2001-02-03 04:05:06+00')");
sql("COPY s (b, arrival_timestamp) FROM STDIN;\ngiven too\t2001-02-03 04:05:06+00\n\\.\n");
is(sql("SELECT bool_and(first = '2001-02-03 04:05:06+00' AND last = first) FROM times
    WHERE b LIKE 'given%'"), 't', 'a time that the writer gives is kept');
is(sql('SELECT n - stamped FROM total'), '0', 'every row has a time');

# ---- COPY ----------------------------------------------------------------------------------

is(tags("COPY s FROM STDIN;\n1\tx\t2\n2\t\\N\t\\N\n\\.\n"), 'COPY 2', 'COPY and its tag');
writes('COPY with a column list', "COPY s (c, a) FROM STDIN;\n1.25\t90001\n\\.\n", 1);
is(sql('SELECT c FROM rows WHERE a = 90001'), '1.25', 'each value in its column');
writes('COPY of nothing', "COPY s FROM STDIN;\n\\.\n", 0);
writes('COPY CSV', "COPY s FROM STDIN (FORMAT csv, HEADER, NULL 'nil');\na,b,c\n90002,\"x, \"\"y\"\"\",nil\n\\.\n", 1);
is(sql("SELECT b FROM rows WHERE a = 90002"), 'x, "y"', 'CSV quotes');
writes('COPY WHERE', "COPY s FROM STDIN WHERE a > 90003 AND b IS NOT NULL;
90003\tx\t1
90004\tx\t1
90005\t\\N\t1
\\.
", 1);
refused('COPY with too many columns', "COPY s FROM STDIN;\n1\tx\t2\t2001-01-01\n\\.\n",
    qr/22P04.*extra data after last expected column/);
refused('COPY with a bad value', "COPY s FROM STDIN;\n" . "1\tx\t1\n" x 5000 . "x\tx\t1\n\\.\n",
    qr/22P02.*invalid input syntax for type integer/);

my $file = $node->basedir . '/copy.bin';
sql("TRUNCATE plain; INSERT INTO plain SELECT g, 'bin' || g, g / 8.0 FROM generate_series(1, 3000) g;
    INSERT INTO plain VALUES (NULL, NULL, 'NaN'); COPY plain TO '$file' (FORMAT binary)");
my $before = sql('SELECT n FROM total');
is(tags("COPY s FROM '$file' (FORMAT binary)"), 'COPY 3001', 'COPY binary');
sql('SELECT pipelinedb.flush()');
is(sql('SELECT n FROM total') - $before, 3001, 'COPY binary: all rows');
is(sql("SELECT count(*) FROM rows r JOIN plain p ON r.a = p.a AND r.b = p.b AND r.c = p.c
    WHERE r.n = 1"), '3000', 'COPY binary: the values');
sql("COPY plain (c, a) TO '$file' (FORMAT binary)");
writes('COPY binary with a column list', "COPY s (c, a) FROM '$file' (FORMAT binary)", 3001);
refused('COPY FREEZE', "COPY s FROM STDIN (FREEZE);\n1\tx\t1\n\\.\n", qr/FREEZE/);

# ---- functions, triggers, procedures -------------------------------------------------------

sql(<<'SQL');
CREATE FUNCTION write_loop(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1 .. n LOOP INSERT INTO s VALUES (i, 'loop'); END LOOP; END $$;
CREATE FUNCTION write_sql(n int) RETURNS SETOF int LANGUAGE sql AS
    'INSERT INTO s SELECT g, ''sql'' FROM generate_series(1, n) g RETURNING a';
CREATE FUNCTION write_or_not(x int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO s VALUES (x, 'try');
    IF x % 2 = 0 THEN RAISE division_by_zero; END IF;
    RETURN 1;
EXCEPTION WHEN division_by_zero THEN
    INSERT INTO s VALUES (x, 'caught');
    RETURN 2;
END $$;
CREATE PROCEDURE write_commit(n int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. n LOOP
        INSERT INTO s VALUES (i, 'procedure');
        INSERT INTO s VALUES (i, 'procedure');
        IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
END $$;
SQL
writes('a function with a loop', 'SELECT write_loop(250)', 250);
writes('an SQL function', 'SELECT count(*) FROM write_sql(30)', 30);
writes('a function per row of a query', 'SELECT write_loop(2) FROM generate_series(1, 10)', 20);
writes('subtransactions of exceptions', 'SELECT write_or_not(g) FROM generate_series(1, 100) g', 100);
is(sql("SELECT b, sum(n) FROM rows WHERE b IN ('try', 'caught') GROUP BY b ORDER BY b"),
    "caught|50\ntry|50", 'what was rolled back is not there');
writes('a procedure with COMMIT and ROLLBACK', 'CALL write_commit(10)', 14);
writes('a DO block', "DO \$\$ BEGIN INSERT INTO s VALUES (1); PERFORM write_loop(3); END \$\$", 4);
writes('a DO block with COMMIT', "DO \$\$ BEGIN FOR i IN 1 .. 4 LOOP INSERT INTO s VALUES (i); COMMIT;
    END LOOP; END \$\$", 4);
writes('a function that writes while a stream is written',
    "INSERT INTO s SELECT 1, 'outer', write_or_not(g) FROM generate_series(1, 400) g", 800);
writes('a function in RETURNING', "INSERT INTO s SELECT 1 FROM generate_series(1, 400)
    RETURNING write_or_not(1)", 800);

sql(<<'SQL');
CREATE TABLE source (a int PRIMARY KEY, b text);
CREATE FUNCTION to_stream() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO s VALUES (coalesce(NEW.a, OLD.a), TG_OP || TG_LEVEL);
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER each BEFORE INSERT OR UPDATE OR DELETE ON source FOR EACH ROW EXECUTE FUNCTION to_stream();
CREATE FUNCTION all_to_stream() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO s SELECT a, 'transition' FROM new_rows; RETURN NULL; END $$;
CREATE TRIGGER together AFTER INSERT ON source REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION all_to_stream();
SQL
writes('triggers of a table', "INSERT INTO source SELECT g, 'x' FROM generate_series(1, 100) g", 200);
writes('UPDATE and DELETE triggers', "UPDATE source SET b = 'y' WHERE a <= 10; DELETE FROM source
    WHERE a > 95", 15);
writes('COPY into a table with triggers', "COPY source FROM STDIN;\n201\tx\n202\ty\n\\.\n", 4);
writes('a deferred trigger', "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON source DEFERRABLE
    INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION to_stream();
    BEGIN; INSERT INTO source VALUES (301), (302); COMMIT; DROP TRIGGER late ON source", 6);

# A table whose trigger writes to a stream, itself filled while another stream is written.
sql(<<'SQL');
CREATE FOREIGN TABLE s2 (a int) SERVER pipelinedb;
CREATE VIEW total2 AS SELECT count(*) AS n, sum(a) AS a FROM s2;
CREATE FUNCTION fill(x int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN INSERT INTO source VALUES (x); RETURN x; END $$;
SQL
writes('nested: stream, table, trigger, other stream',
    'INSERT INTO s2 SELECT fill(g) FROM generate_series(1001, 1500) g', 1000);
is(sql('SELECT n, a FROM total2'), '500|625250', 'and the outer stream has its rows');

sql(<<'SQL');
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.a = 13 THEN RETURN NULL; END IF;
    NEW.a := NEW.a + 1000;
    RETURN NEW;
END $$;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO plain VALUES (NEW.a, 'noted'); RETURN NULL; END $$;
CREATE FUNCTION to_same_stream() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.a < 2003 THEN INSERT INTO s2 VALUES (NEW.a + 1); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER change BEFORE INSERT ON s2 FOR EACH ROW EXECUTE FUNCTION change();
CREATE TRIGGER note AFTER INSERT ON s2 FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER noted AFTER INSERT ON s2 EXECUTE FUNCTION pipelinedb.drop_replicated();
SQL
is(sql('INSERT INTO s2 VALUES (12), (13), (14) RETURNING a, arrival_timestamp IS NOT NULL'),
    "1012|t\n1014|t", 'a BEFORE trigger changes and drops rows');
is(sql("SELECT array_agg(a ORDER BY a) FROM plain WHERE b = 'noted'"), '{1012,1014}', 'AFTER triggers');
is(tags("COPY s2 FROM STDIN;\n13\n15\n\\.\n"), 'COPY 1', 'COPY fires them, too');
is(sql('SELECT n, a FROM total2'), '503|' . (625250 + 1012 + 1014 + 1015), 'the view has what was written');
sql('DROP TRIGGER change ON s2; DROP TRIGGER note ON s2; CREATE TRIGGER again BEFORE INSERT ON s2
    FOR EACH ROW EXECUTE FUNCTION to_same_stream()');
sql('INSERT INTO s2 SELECT 2000 FROM generate_series(1, 50)');
is(sql('SELECT n FROM total2'), 503 + 200, 'a trigger that writes the same stream');

# ---- what is refused -----------------------------------------------------------------------

refused('SELECT', 'SELECT * FROM s', qr/42809.*"s" is a stream.*HINT:  Streams can be read only in/s);
refused('SELECT count', 'SELECT count(*) FROM s', qr/42809.*"s" is a stream.*HINT:/s);
refused('a join', 'SELECT 1 FROM plain JOIN s USING (a)', qr/42809.*"s" is a stream.*HINT:/s);
refused('INSERT from itself', 'INSERT INTO s SELECT a FROM s', qr/42809.*"s" is a stream.*HINT:/s);
refused('UPDATE', 'UPDATE s SET a = 1', qr/42809.*cannot update stream "s".*HINT:/s);
refused('UPDATE RETURNING', 'UPDATE s SET a = 1 WHERE a = 2 RETURNING b', qr/42809.*stream "s".*HINT:/s);
refused('DELETE', 'DELETE FROM s', qr/42809.*cannot delete from stream "s".*HINT:/s);
refused('DELETE USING', 'DELETE FROM s USING plain p WHERE p.a = s.a', qr/42809.*stream "s".*HINT:/s);
refused('MERGE', 'MERGE INTO s USING plain p ON s.a = p.a WHEN NOT MATCHED THEN INSERT VALUES (1)',
    qr/cannot execute MERGE|cannot merge into/);
refused('TRUNCATE', 'TRUNCATE s', qr/42809.*cannot truncate stream "s".*HINT:/s);
refused('COPY TO', 'COPY s TO STDOUT', qr/42809.*cannot copy from stream "s".*HINT:/s);
refused('COPY query TO', 'COPY (SELECT a FROM s) TO STDOUT', qr/42809.*"s" is a stream.*HINT:/s);
refused('SELECT FOR UPDATE', 'SELECT * FROM s FOR UPDATE', qr/42809.*"s" is a stream.*HINT:/s);
refused('a cursor', 'BEGIN; DECLARE c CURSOR FOR SELECT * FROM s', qr/42809.*"s" is a stream.*HINT:/s);
refused('ON CONFLICT DO UPDATE', 'INSERT INTO s VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2',
    qr/0A000.*ON CONFLICT is not supported for stream "s".*HINT:/s);
refused('a bad row in the middle', "INSERT INTO s SELECT 100 / (2000 - g) FROM generate_series(1, 3000) g",
    qr/22012/);
refused('a column that is not there', 'INSERT INTO s (nothing) VALUES (1)', qr/42703/);

# ---- rights --------------------------------------------------------------------------------

sql('CREATE ROLE pen LOGIN; GRANT INSERT ON s TO pen');
my @pen = (extra_params => [ '-U', 'pen' ]);
writes('INSERT with the right to INSERT', "INSERT INTO s VALUES (1, 'pen'), (2, 'pen')", 2, @pen);
writes('COPY with it', "COPY s FROM STDIN;\n1\tpen\t1\n\\.\n", 1, @pen);
writes('a prepared transaction with it', "BEGIN; INSERT INTO s VALUES (3, 'pen'); PREPARE TRANSACTION 'pen';
    COMMIT PREPARED 'pen'", 1, @pen);
refused('reading the view without a right', 'SELECT * FROM total', qr/42501/, @pen);
refused('reading its table', 'SELECT * FROM total_mrel', qr/42501/, @pen);
refused('reading the spool', 'SELECT * FROM pipelinedb.spool_0', qr/42501/, @pen);
refused('writing the spool', 'INSERT INTO pipelinedb.spool_0 (xid, seq) SELECT $$0$$, 0', qr/42501/, @pen);
refused('RETURNING without the right to SELECT', 'INSERT INTO s VALUES (1) RETURNING a', qr/42501/, @pen);
refused('another stream', 'INSERT INTO s2 VALUES (1)', qr/42501/, @pen);
sql('REVOKE INSERT ON s FROM pen; GRANT INSERT (a) ON s TO pen');
writes('a right on one column', 'INSERT INTO s (a) VALUES (1)', 1, @pen);
refused('but not on the other', "INSERT INTO s (b) VALUES ('x')", qr/42501/, @pen);

# ---- wide, many, toasted and expanded ------------------------------------------------------

sql(<<'SQL');
CREATE FOREIGN TABLE wide (k int, t text, u text, arr int[]) SERVER pipelinedb;
CREATE VIEW widths AS SELECT k, count(*) AS n, sum(length(t)) AS t, sum(length(u)) AS u,
    bit_xor(hashtext(t)::int8) AS ht, bit_xor(hashtext(u)::int8) AS hu,
    sum(cardinality(arr)) AS len, sum(arr[1]) AS first, bit_xor(hashtext(arr::text)) AS ha
    FROM wide GROUP BY k;
CREATE TABLE kept (k int, t text, u text, arr int[]);
ALTER TABLE kept ALTER u SET STORAGE EXTERNAL;
CREATE FUNCTION noise(n int) RETURNS text LANGUAGE sql AS
    'SELECT string_agg(md5(random()::text), '''') FROM generate_series(1, n / 32)';
CREATE FUNCTION grown(n int) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE a int[] := '{}';
BEGIN FOR i IN 1 .. n LOOP a[i] := i * 7; END LOOP; RETURN a; END $$;
-- around the border between short and long headers, and around a page
INSERT INTO kept SELECT 1, repeat('s', g) FROM generate_series(0, 300) g;
INSERT INTO kept SELECT 2, noise(g), noise(g) FROM generate_series(3600, 4500, 10) g;
INSERT INTO kept SELECT 2, noise(g) FROM generate_series(7800, 8400, 8) g;
INSERT INTO kept VALUES (3, noise(10240), NULL), (3, NULL, noise(10240)), (3, 'after', 'it');
INSERT INTO kept VALUES (4, noise(5000000), noise(100)), (4, repeat('c', 5000000), repeat('c', 5000000));
INSERT INTO kept SELECT 5, NULL, repeat('x', g * 1000), grown(g * 200) FROM generate_series(1, 20) g;
INSERT INTO kept SELECT 6, NULL, NULL, '[5:7]={1,NULL,3}';
INSERT INTO kept SELECT 7 FROM generate_series(1, 10000);
INSERT INTO wide SELECT * FROM kept;
SQL
my $compare = 'SELECT count(*) FROM widths FULL JOIN (SELECT k, count(*) AS n, sum(length(t)) AS t,
    sum(length(u)) AS u, bit_xor(hashtext(t)::int8) AS ht, bit_xor(hashtext(u)::int8) AS hu,
    sum(cardinality(arr)) AS len, sum(arr[1]) AS first, bit_xor(hashtext(arr::text)) AS ha
    FROM kept GROUP BY k) due USING (k) WHERE to_jsonb(widths) IS DISTINCT FROM to_jsonb(due)';
sql('SELECT pipelinedb.flush()');
is(sql($compare), '0', 'toasted, compressed, wide and empty rows by INSERT ... SELECT');
my $copy = $node->basedir . '/wide.copy';
sql("COPY kept TO '$copy'; COPY wide FROM '$copy'; INSERT INTO kept SELECT * FROM kept");
sql('SELECT pipelinedb.flush()');
is(sql($compare), '0', 'and by COPY');
sql(<<'SQL');
DO $$
DECLARE a int[]; t text; one kept;
BEGIN
    a := grown(3000); a[1] := 99;
    t := noise(9000);
    INSERT INTO wide VALUES (8, t, repeat('u', 10000), a);
    INSERT INTO kept VALUES (8, t, repeat('u', 10000), a);
    FOR one IN SELECT * FROM kept WHERE k = 3 LOOP
        one.k := 9; one.arr[3] := 5;
        INSERT INTO wide SELECT (one).*;
        INSERT INTO kept SELECT (one).*;
    END LOOP;
END $$;
SELECT pipelinedb.flush();
SQL
is(sql($compare), '0', 'expanded arrays of plpgsql');

my $many = join ', ', map { "c$_ int" } 1 .. 200;
my $values = join ', ', map { $_ % 3 ? $_ : 'NULL' } 1 .. 200;
my $sums = join ', ', map { "sum(c$_) AS c$_" } 1, 3, 8, 9, 64, 100, 199, 200;
sql("CREATE FOREIGN TABLE many ($many) SERVER pipelinedb;
    CREATE VIEW sums AS SELECT $sums, count(*) AS n FROM many;
    INSERT INTO many SELECT $values FROM generate_series(1, 1000);
    INSERT INTO many (c200) VALUES (5); SELECT pipelinedb.flush()");
is(sql('SELECT * FROM sums'), '1000||8000||64000|100000|199000|200005|1001', '200 columns');
my $texts = join ', ', map { "c$_ text" } 1 .. 1500;
my $text_values = join ', ', map { "'value $_'" } 1 .. 1500;
sql("CREATE FOREIGN TABLE texts ($texts) SERVER pipelinedb;
    CREATE VIEW last_text AS SELECT max(c1500) AS c, min(c1) AS d, count(c750) AS n FROM texts;
    INSERT INTO texts VALUES ($text_values); INSERT INTO texts (c1500) VALUES ('x');
    SELECT pipelinedb.flush()");
is(sql('SELECT * FROM last_text'), 'x|value 1|1', '1,500 columns in a row wider than a page');

# ---- defaults and constraints --------------------------------------------------------------

sql(<<'SQL');
CREATE SEQUENCE numbers;
CREATE FOREIGN TABLE strict (a int NOT NULL DEFAULT nextval('numbers'), b text DEFAULT 'none',
    c int CHECK (c > 0), d int GENERATED ALWAYS AS (c * 2) STORED, CHECK (b <> 'bad')) SERVER pipelinedb;
CREATE VIEW strict_rows AS SELECT a, b, c, d, count(*) AS n FROM strict GROUP BY a, b, c, d;
INSERT INTO strict (c) VALUES (5);
INSERT INTO strict VALUES (DEFAULT, DEFAULT, 6), (DEFAULT, NULL, NULL);
COPY strict (b) FROM STDIN;
copied
\.
SELECT pipelinedb.flush();
SQL
is(sql('SELECT * FROM strict_rows ORDER BY a'), "1|none|5|10|1\n2|none|6|12|1\n3||||1\n4|copied|||1",
    'DEFAULT and generated columns');
for my $bad ([ 'NOT NULL', 'INSERT INTO strict (a, c) VALUES (9, 1), (NULL, 1)', qr/23502/ ],
    [ 'CHECK of a column', 'INSERT INTO strict (c) VALUES (1), (0)', qr/23514/ ],
    [ 'CHECK of the table', "INSERT INTO strict (b) VALUES ('bad')", qr/23514/ ],
    [ 'NOT NULL in COPY', "COPY strict (a) FROM STDIN;\n9\n\\N\n\\.\n", qr/23502/ ],
    [ 'CHECK in COPY', "COPY strict (c) FROM STDIN;\n1\n-1\n\\.\n", qr/23514/ ]) {
    my ($name, $sql, $error) = @$bad;
    refused($name, $sql, $error);
}
sql('SELECT pipelinedb.flush()');
is(sql('SELECT count(*), sum(n) FROM strict_rows'), '4|4', 'a statement with one bad row writes none');

# ---- dropped and added columns, a stream that nobody reads ---------------------------------

sql(<<'SQL');
CREATE FOREIGN TABLE changing (a int, gone text, b int) SERVER pipelinedb;
CREATE VIEW changing_v AS SELECT b, count(*) AS n, sum(a) AS a FROM changing GROUP BY b;
INSERT INTO changing VALUES (1, 'x', 2);
ALTER FOREIGN TABLE changing DROP COLUMN gone;
INSERT INTO changing VALUES (1, 2);
ALTER FOREIGN TABLE changing ADD COLUMN extra text;
INSERT INTO changing (extra, b, a) VALUES ('new', 2, 1);
COPY changing (a, b, extra) FROM STDIN;
1	2	x
\.
ALTER FOREIGN TABLE changing RENAME COLUMN a TO renamed;
INSERT INTO changing (renamed, b) VALUES (1, 2);
SELECT pipelinedb.flush();
CREATE FOREIGN TABLE unread (a int) SERVER pipelinedb;
INSERT INTO unread SELECT generate_series(1, 1000);
CREATE VIEW unread_v AS SELECT count(*) FROM unread;
INSERT INTO unread VALUES (1);
SELECT pipelinedb.flush();
SQL
is(sql('SELECT * FROM changing_v'), '2|5|5', 'columns dropped, added and renamed between writes');
is(sql('SELECT * FROM unread_v'), '1', 'a view counts from its creation on');
views_are_active($node);

$node->stop;
done_testing();
