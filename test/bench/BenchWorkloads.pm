# The workloads: what is written, into what, and how the result is checked.
#
# A contender has: name; setup, run, check (returns a complaint or ''), value and cleanup as
# code; rows where they differ from the workload's; limit = the contender it is compared with.
package BenchWorkloads;
use strict;
use warnings;

use BenchEndurance;
use BenchMarks;
use Time::HiRes qw(sleep);

my ($server, $scale);

sub all {
    ($server, $scale) = @_;
    return (w1(), w2(), w3(), w4(), w5(), w6(), w7(), w8(), w9(), w10(), w11(), w12(), w13());
}

sub sql { return $server->sql(@_) }
sub scaled { my ($rows) = @_; return int($rows * $scale) || 1 }

# ---- pieces ---------------------------------------------------------------------------------

my $EVENT = 'day date, worker varchar(20), amount int, rate float8';

# A file of events: 10 days, 1,000 workers, so 10,000 groups.
sub event_file {
    my ($rows) = @_;
    my $file = "$server->{dir}/events_$rows.copy";
    sql("COPY (SELECT date '2026-01-01' + (i % 10)::int4, 'worker' || (i * 7919 / 10 % 1000),
               (i % 97)::int4, (i % 1013) / 8.0 FROM generate_series(1::int8, $rows) i)
         TO '$file'") unless -e $file;
    return $file;
}

sub key_file {
    my ($rows, $keys) = @_;
    my $file = "$server->{dir}/keys_${rows}_$keys.copy";
    sql("COPY (SELECT i * 7919 % $keys, i % 1000 FROM generate_series(1::int8, $rows) i)
         TO '$file'") unless -e $file;
    return $file;
}

# Compares two queries that return one line each.
sub same {
    my ($actual, $expected) = @_;
    return sub {
        my ($got, $want) = (sql($actual), ref $expected ? $expected->() : sql($expected));
        return $got eq $want ? '' : "got $got instead of $want";
    };
}

# A target for rows: a stream with a view, a table, … `queries` are the views' queries with %s
# for the source, `with` their options; `load` writes into the target named by its argument.
sub target {
    my ($kind, %arg) = @_;
    my ($columns, $load) = @arg{qw(columns load)};
    my @queries = @{$arg{queries}};
    my ($settings, $with) = ($arg{settings} // '', $arg{with} // '');
    if ($kind eq 'stream') {
        return {
            name => $arg{name} // 'stream',
            setup => sub {
                my $n = 0;
                sql(join '', "CREATE FOREIGN TABLE target ($columns) SERVER pipelinedb;",
                    map { sprintf "CREATE VIEW view%d $with AS $_;", $n++, 'target' } @queries);
                sql('SELECT pipelinedb.flush()');
            },
            run => sub { $load->('target', $settings, 'SELECT pipelinedb.flush();') },
            cleanup => sub { sql('DROP FOREIGN TABLE target CASCADE') },
        };
    }
    my $unlogged = $kind eq 'unlogged' ? 'UNLOGGED' : '';
    return {
        name => $arg{name} // $kind,
        setup => sub {
            sql("CREATE $unlogged TABLE target ($columns)");
            $arg{prepare}->() if $arg{prepare};
        },
        run => sub { $load->('target', $settings, $arg{after} // '') },
        cleanup => sub { sql('DROP TABLE target CASCADE; DROP TABLE IF EXISTS summary') },
    };
}

# A table with a statement trigger that keeps a summary by upsert, in the order of the keys:
# otherwise writers deadlock. Its check reads the summary.
sub summary_trigger {
    my (%arg) = @_;
    return sub {
        sql("CREATE TABLE summary ($arg{summary}, PRIMARY KEY ($arg{keys})) WITH (fillfactor = 50);
             CREATE OR REPLACE FUNCTION summarise() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
               INSERT INTO summary $arg{query} ORDER BY $arg{keys}
                 ON CONFLICT ($arg{keys}) DO UPDATE SET $arg{merge};
               RETURN NULL; END \$\$;
             CREATE TRIGGER summarise AFTER INSERT ON target REFERENCING NEW TABLE AS fresh
               FOR EACH STATEMENT EXECUTE FUNCTION summarise()");
    };
}

sub copy_from {
    my ($file) = @_;
    return sub {
        my ($target, $settings, $after) = @_;
        sql("$settings COPY $target FROM '$file'; $after");
    };
}

# ---- bulk -----------------------------------------------------------------------------------

my $W1_QUERY = 'SELECT day, worker, count(*) AS n, sum(amount) AS total, avg(rate) AS mean, '
    . 'max(amount) AS most FROM %s GROUP BY day, worker';
my %W1_SUMMARY = (
    summary => 'day date, worker varchar(20), n int8, total int8, rates float8, most int4',
    keys => 'day, worker',
    query => 'SELECT day, worker, count(*), sum(amount), sum(rate), max(amount) FROM fresh '
        . 'GROUP BY day, worker',
    merge => 'n = summary.n + excluded.n, total = summary.total + excluded.total, '
        . 'rates = summary.rates + excluded.rates, most = greatest(summary.most, excluded.most)');

sub events_check {
    my ($view, $rows) = @_;
    return same("SELECT count(*), sum(n), sum(total), max(most) FROM $view", sub {
        return sql("SELECT (SELECT count(DISTINCT (i % 10, i * 7919 / 10 % 1000))
                              FROM generate_series(1::int8, least($rows, 100000)) i),
                           $rows, sum(i % 97), max(i % 97) FROM generate_series(1::int8, $rows) i");
    });
}

sub w1 {
    my $rows = scaled(5_000_000);
    my %common = (columns => $EVENT, queries => [$W1_QUERY], load => copy_from(''));
    my $check = events_check('view0', $rows);
    my @contenders;
    my $add = sub {
        my ($kind, %more) = @_;
        my $contender = target($kind, %common, load => sub {
            my ($target, $settings, $after) = @_;
            my $where = $kind eq 'parse' ? 'WHERE false' : '';
            sql("$settings COPY $target FROM '" . event_file($rows) . "' $where; $after");
        }, %more);
        $contender->{check} = $more{check} if $more{check};
        push @contenders, $contender;
    };
    $add->('parse');
    $add->('plain');
    $add->('unlogged');
    $add->('query', after => sprintf("$W1_QUERY \\g /dev/null\n", 'target'));
    $add->('trigger', prepare => summary_trigger(%W1_SUMMARY),
        check => events_check('summary', $rows));
    $add->('stream', name => "stream $_", check => $check,
        settings => "SET pipelinedb.stream_insert_level = $_;") for qw(async sync_receive sync_commit);
    return {name => 'W1', title => "COPY of $rows rows, 10,000 groups, until all is visible",
        rows => $rows, prepare => sub { event_file($rows) }, contenders => \@contenders};
}

sub w2 {
    my ($rows, $keys) = (scaled(2_000_000), scaled(1_000_000));
    my $file = "$server->{dir}/keys_${rows}_$keys.copy";
    my %common = (columns => 'k int8, x int4', load => copy_from($file),
        queries => ['SELECT k, count(*) AS n, sum(x) AS total FROM %s GROUP BY k']);
    my $expected = "SELECT count(DISTINCT i * 7919 % $keys), count(*), sum(i % 1000) "
        . "FROM generate_series(1::int8, $rows) i";
    my $check = sub { same("SELECT count(*), sum(n), sum(total) FROM $_[0]", $expected) };
    return {name => 'W2', title => "COPY of $rows rows over $keys keys", rows => $rows,
        prepare => sub { key_file($rows, $keys) },
        contenders => [
            target('plain', %common),
            {%{target('trigger', %common, prepare => summary_trigger(
                summary => 'k int8, n int8, total int8', keys => 'k',
                query => 'SELECT k, count(*), sum(x) FROM fresh GROUP BY k',
                merge => 'n = summary.n + excluded.n, total = summary.total + excluded.total'))},
                check => $check->('summary')},
            {%{target('stream', %common)}, check => $check->('view0')},
        ]};
}

sub w3 {
    my $rows = scaled(5_000_000);
    my $source = "SELECT i % 1000, i % 77 FROM generate_series(1, $rows) i";
    my %common = (columns => 'k int4, x int4',
        load => sub { my ($t, $s, $after) = @_; sql("$s INSERT INTO $t $source; $after") },
        queries => ['SELECT k, count(*) AS n, sum(x) AS total FROM %s GROUP BY k']);
    my $expected = "SELECT least(1000, $rows), $rows, sum(i % 77) FROM generate_series(1, $rows) i";
    my $check = sub { same("SELECT count(*), sum(n), sum(total) FROM $_[0]", $expected) };
    return {name => 'W3', title => "INSERT ... SELECT of $rows rows, 1,000 groups", rows => $rows,
        contenders => [
            {name => 'generate', run => sub { sql("SELECT count(*), sum(x) FROM ($source) s(k, x)") }},
            target('plain', %common),
            {%{target('trigger', %common, prepare => summary_trigger(
                summary => 'k int4, n int8, total int8', keys => 'k',
                query => 'SELECT k, count(*), sum(x) FROM fresh GROUP BY k',
                merge => 'n = summary.n + excluded.n, total = summary.total + excluded.total'))},
                check => $check->('summary')},
            {%{target('stream', %common)}, check => $check->('view0')},
        ]};
}

# ---- small transactions ---------------------------------------------------------------------

my $KEYED = 'SELECT k, count(*) AS n, sum(x) AS total FROM %s GROUP BY k';
my %KEYED_SUMMARY = (summary => 'k int4, n int8, total int8', keys => 'k',
    query => 'SELECT k, count(*), sum(x) FROM fresh GROUP BY k',
    merge => 'n = summary.n + excluded.n, total = summary.total + excluded.total');

# pgbench with a fixed number of transactions, then all rows folded.
sub insert_load {
    my ($clients, $each, $statement) = @_;
    return sub {
        my ($target, $settings, $after) = @_;
        local $ENV{PGOPTIONS} = $settings;
        $server->pgbench("\\set k random(1, 1000)\n" . sprintf($statement, $target),
            '-c', $clients, '-j', 2, '-t', $each);
        sql($after) if $after;
    };
}

sub insert_contenders {
    my ($clients, $each, $statement, $rows_each) = @_;
    my %common = (columns => 'k int4, x int4', queries => [$KEYED],
        load => insert_load($clients, $each, $statement));
    my $rows = $clients * $each * $rows_each;
    my @contenders;
    for my $commit ('on', 'off') {
        my $settings = "-c synchronous_commit=$commit";
        my $word = $commit eq 'on' ? 'durable' : 'lossy';
        my $limit = "plain $word $clients";
        push @contenders, map { {%$_, limit => $limit, rows => $rows} }
            target('plain', %common, name => $limit, settings => $settings),
            {%{target('trigger', %common, name => "trigger $word $clients", settings => $settings,
                prepare => summary_trigger(%KEYED_SUMMARY))},
                check => same('SELECT sum(n) FROM summary', sub { $rows })},
            {%{target('stream', %common, name => "stream $word $clients", settings => $settings)},
                check => same('SELECT sum(n) FROM view0', sub { $rows })};
    }
    return @contenders;
}

sub w4 {
    my $insert = 'INSERT INTO %s VALUES (:k, 1)';
    return {name => 'W4', title => 'one-row INSERTs, prepared; 1, 4 and 16 clients',
        contenders => [map { insert_contenders($_->[0], scaled($_->[1]), $insert, 1) }
                [1, 10_000], [4, 10_000], [16, 5_000]]};
}

sub w5 {
    my $insert = 'INSERT INTO %s VALUES ' . join ', ', map { "(:k + $_, $_)" } 1 .. 100;
    return {name => 'W5', title => '100-row INSERTs, 4 clients',
        contenders => [insert_contenders(4, scaled(5_000), $insert, 100)]};
}

# ---- latency --------------------------------------------------------------------------------

sub percentile {
    my ($share, @values) = @_;
    @values = sort { $a <=> $b } @values;
    return $values[int($share * $#values)];
}

my $PROBE = <<'SQL';
CREATE OR REPLACE PROCEDURE probe(rounds int, pause float8) LANGUAGE plpgsql AS $$
DECLARE committed timestamptz; shown int8; before int8;
BEGIN
  FOR i IN 1 .. rounds LOOP
    PERFORM pg_sleep(pause);
    SELECT coalesce((SELECT n FROM view0 WHERE k = -1), 0) INTO before;
    INSERT INTO target VALUES (-1, 1);
    COMMIT;
    committed := clock_timestamp();
    LOOP
      SELECT n FROM view0 WHERE k = -1 INTO shown;
      EXIT WHEN shown > before;
    END LOOP;
    INSERT INTO latency VALUES (extract(epoch FROM clock_timestamp() - committed) * 1000);
    COMMIT;
  END LOOP;
END $$;
SQL

# Rows at a steady rate in the background while `code` runs.
sub with_load {
    my ($target, $code) = @_;
    my $load = $server->start($server->pgbench_command(
        "\\set k random(1, 1000)\nINSERT INTO $target VALUES (:k, 1)",
        '-c', 8, '-j', 1, '-R', 5000, '-T', 3600));
    sleep 2;
    my $result = eval { $code->() };
    my $error = $@;
    $server->finish($load);
    die $error if $error;
    return $result;
}

sub make_keyed_stream {
    sql("CREATE FOREIGN TABLE target (k int4, x int4) SERVER pipelinedb;
         CREATE VIEW view0 AS " . sprintf($KEYED, 'target') . ";
         CREATE TABLE latency (ms float8)");
    sql($PROBE);
}

sub visible_latency {
    my $rounds = scaled(1000);
    sql("TRUNCATE latency");
    sql("SET pipelinedb.read_own_writes = off; CALL probe($rounds, 0.005)");
    my ($p50, $p99) = split /\|/, sql('SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), '
        . 'percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) FROM latency');
    return [$p50, $p99];
}

sub insert_latency {
    my ($level) = @_;
    local $ENV{PGOPTIONS} = "-c pipelinedb.stream_insert_level=$level";
    unlink glob "$server->{dir}/latency.*";
    $server->pgbench("\\set k random(1, 1000)\nINSERT INTO target VALUES (:k, 1)",
        '-c', 1, '-t', scaled(2000), '-l', "--log-prefix=$server->{dir}/latency");
    my @times;
    for my $file (glob "$server->{dir}/latency.*") {
        open my $in, '<', $file or die $!;
        push @times, map { (split)[2] / 1000 } <$in>;
    }
    return [percentile(0.5, @times), percentile(0.99, @times)];
}

sub w6 {
    my $value;
    my $measured = sub {
        my ($name, $code) = @_;
        return {name => $name, setup => \&make_keyed_stream, run => sub { $value = $code->() },
            value => sub { $value },
            cleanup => sub { sql('DROP TABLE latency; DROP FOREIGN TABLE target CASCADE') }};
    };
    return {name => 'W6', title => 'latency in ms: p50, p99', contenders => [
            $measured->('visible, idle', \&visible_latency),
            $measured->('visible, 5,000 tps', sub { with_load('target', \&visible_latency) }),
            $measured->('INSERT, sync_receive', sub { insert_latency('sync_receive') }),
            $measured->('INSERT, sync_commit', sub { insert_latency('sync_commit') }),
        ],
        report => \&report_percentiles};
}

sub report_percentiles {
    my ($results, $median) = @_;
    for my $name (sort keys %$results) {
        my @values = map { $_->{value} } @{$results->{$name}};
        my @both = ($median->(map { $_->[0] } @values), $median->(map { $_->[1] } @values));
        printf "  %-24s p50 %8.2f   p99 %8.2f\n", $name, @both;
        BenchMarks::note_figure('W6', $name, 'ms p50', $both[0]);
        BenchMarks::note_figure('W6', $name, 'ms p99', $both[1]);
    }
}

# ---- many views, harder aggregates ----------------------------------------------------------

sub w7 {
    my $rows = scaled(1_000_000);
    my $load = sub {
        my ($target, $settings, $after) = @_;
        sql("COPY $target FROM '" . event_file($rows) . "'; $after");
    };
    my @contenders = target('plain', columns => $EVENT, queries => [], load => $load);
    for my $views (1, 10, 100) {
        # Different queries, so that nothing can be shared that users would not share.
        my @queries = map { "SELECT day, worker, count(*) AS n, sum(amount + $_) AS total, "
                . "avg(rate) AS mean, max(amount) AS most FROM %s GROUP BY day, worker" } 1 .. $views;
        my $last = $views - 1;
        push @contenders, {%{target('stream', name => "stream, $views views", columns => $EVENT,
            queries => \@queries, load => $load)},
            check => same("SELECT sum(n), sum(total) FROM view$last", sub {
                return sql("SELECT $rows, sum(i % 97 + $views) FROM generate_series(1, $rows) i");
            })};
    }
    return {name => 'W7', title => "COPY of $rows rows, many views", rows => $rows,
        prepare => sub { event_file($rows) }, contenders => \@contenders,
        further => sub {
            my ($of) = @_;
            my %each = map { $_ => $of->("stream, $_ views", 'seconds') / $_ } 10, 100;
            printf "  seconds per view: %.3f of 10 views, %.3f of 100\n", $each{10}, $each{100};
            BenchMarks::note_figure('W7', 'stream, 100 views', 'time per view x 10 views',
                $each{100} / $each{10});
        }};
}

# What the extension says to a view with such a query; '' if it takes it.
sub refusal {
    my ($columns, $query, $with) = @_;
    my $answer = eval {
        sql("BEGIN; CREATE FOREIGN TABLE trial ($columns) SERVER pipelinedb;
             CREATE VIEW trial_view $with AS " . sprintf($query, 'trial') . '; ROLLBACK');
        1;
    };
    return '' if $answer;
    return $@ =~ /ERROR:\s+(.*)/ ? $1 : $@;
}

sub w8 {
    my ($rows, $users) = (scaled(2_000_000), scaled(1_000_000));
    my $columns = 'day date, u int8, x float8';
    my $file = "$server->{dir}/users_$rows.copy";
    my $load = sub {
        my ($target, $settings, $after) = @_;
        sql("COPY $target FROM '$file'; $after");
    };
    my @contenders = target('plain', columns => $columns, queries => [], load => $load);
    for my $feature (
        [ 'count distinct', 'SELECT day, count(DISTINCT u) AS n FROM %s GROUP BY day' ],
        [ 'percentile', 'SELECT day, percentile_cont(0.9) WITHIN GROUP (ORDER BY x) AS p FROM %s GROUP BY day' ],
        [ 'top-k', 'SELECT day, topk_agg(u, 10) AS t FROM %s GROUP BY day' ])
    {
        my ($name, $query) = @$feature;
        push @contenders, {%{target('stream', name => $name, columns => $columns,
            queries => [$query], load => $load)},
            missing => sub { refusal($columns, $query, '') },
            check => same('SELECT count(*) FROM view0', sub { 10 })};
    }
    return {name => 'W8', title => "COPY of $rows rows, harder aggregates by day", rows => $rows,
        prepare => sub {
            sql("COPY (SELECT date '2026-01-01' + (i % 10)::int4, i * 7919 % $users, i % 1013 / 8.0
                 FROM generate_series(1::int8, $rows) i) TO '$file'") unless -e $file;
        },
        contenders => \@contenders};
}

sub w13 {
    my $rows = scaled(5_000_000);
    my $load = sub {
        my ($target, $settings, $after) = @_;
        sql("COPY $target FROM '" . event_file($rows) . "'; $after");
    };
    my $with = "WITH (sw = '1 hour')";
    return {name => 'W13', title => "sliding window over COPY of $rows rows", rows => $rows,
        prepare => sub { event_file($rows) },
        contenders => [
            target('plain', columns => $EVENT, queries => [], load => $load),
            {%{target('stream', name => 'window', columns => $EVENT, queries => [$W1_QUERY],
                with => $with, load => $load)},
                missing => sub { refusal($EVENT, $W1_QUERY, $with) },
                check => events_check('view0', $rows)},
        ]};
}

# ---- reading, triggers, joins ---------------------------------------------------------------

sub read_rate {
    my ($relation) = @_;
    my $output = $server->pgbench(
        "\\set k random(1, 1000)\nSELECT k, n, total FROM $relation WHERE k = :k",
        '-c', 1, '-T', $scale < 1 ? 3 : 10);
    return $output =~ /tps = ([\d.]+)/ ? $1 : die "no rate: $output";
}

sub w9 {
    my $value;
    my $point_read = sub {
        my ($name, $write, $read, $old_snapshot) = @_;
        return {name => $name, run => sub {
            my $holder = $old_snapshot && $server->start("$server->{bin}/psql", '-Xc',
                'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SELECT pg_sleep(3600)');
            $value = with_load($write, sub { read_rate($read) });
            $server->finish($holder) if $holder;
            sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                . "WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()");
        }, value => sub { $value }};
    };
    return {name => 'W9', title => 'point reads per second while rows come in at 5,000 tps',
        prepare => sub {
            make_keyed_stream();
            sql("INSERT INTO target SELECT i, 1 FROM generate_series(1, 1000) i;
                 SELECT pipelinedb.flush();
                 CREATE TABLE rows_table (k int4, x int4);
                 CREATE TABLE keyed (k int4 PRIMARY KEY, n int8, total int8);
                 INSERT INTO keyed SELECT i, 1, 1 FROM generate_series(1, 1000) i; VACUUM ANALYZE");
        },
        contenders => [
            $point_read->('primary key', 'rows_table', 'keyed'),
            $point_read->('view', 'target', 'view0'),
            $point_read->('view, old snapshot', 'target', 'view0', 1),
        ],
        cleanup => sub {
            sql('DROP TABLE rows_table, keyed, latency; DROP FOREIGN TABLE target CASCADE');
        },
        report => sub {
            my ($results, $median) = @_;
            my %rate = map { my $n = $_; $n => $median->(map { $_->{value} } @{$results->{$n}}) }
                keys %$results;
            for my $name (sort keys %rate) {
                my $share = $rate{$name} / $rate{'primary key'};
                printf "  %-24s %10.0f/s   x primary key %.2f\n", $name, $rate{$name}, $share;
                BenchMarks::note_figure('W9', $name, 'x primary key', $share)
                    if $name ne 'primary key';
            }
        }};
}

sub w10 {
    my $rows = scaled(100_000);
    my $contender = sub {
        my ($name, $create, $after, $check) = @_;
        return {name => $name,
            setup => sub {
                sql("CREATE TABLE source (k int4, x int4); $create
                     CREATE FUNCTION forward() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
                       INSERT INTO target VALUES (NEW.k, NEW.x); RETURN NULL; END \$\$;
                     CREATE TRIGGER forward AFTER INSERT ON source FOR EACH ROW
                       EXECUTE FUNCTION forward()");
            },
            run => sub {
                sql("INSERT INTO source SELECT i % 1000, 1 FROM generate_series(1, $rows) i; $after");
            },
            check => same($check, sub { $rows }),
            cleanup => sub {
                sql("DROP TABLE source; DROP FUNCTION forward;
                     DROP " . ($name eq 'stream' ? 'FOREIGN' : '') . " TABLE target CASCADE");
            }};
    };
    return {name => 'W10', title => "row trigger that writes $rows rows", rows => $rows,
        contenders => [
            $contender->('plain', 'CREATE TABLE target (k int4, x int4);', '',
                'SELECT count(*) FROM target'),
            $contender->('stream', 'CREATE FOREIGN TABLE target (k int4, x int4) SERVER pipelinedb;
                CREATE VIEW view0 AS ' . sprintf($KEYED, 'target') . ';',
                'SELECT pipelinedb.flush();', 'SELECT sum(n) FROM view0'),
        ],
        further => sub {
            my ($of) = @_;
            BenchMarks::note_figure('W10', 'stream', 'time x plain',
                $of->('stream', 'seconds') / $of->('plain', 'seconds'));
        }};
}

sub w11 {
    my ($rows, $people) = (scaled(2_000_000), scaled(100_000));
    my $load = sub {
        my ($target, $settings, $after) = @_;
        sql("COPY $target FROM '" . key_file($rows, $people) . "'; $after");
    };
    my $query = 'SELECT p.city, count(*) AS n, sum(x) AS total FROM %s s JOIN people p ON p.id = s.k '
        . 'GROUP BY p.city';
    return {name => 'W11', title => "join with a table of $people rows, $rows rows", rows => $rows,
        prepare => sub {
            key_file($rows, $people);
            sql("CREATE TABLE people (id int8 PRIMARY KEY, city text);
                 INSERT INTO people SELECT i, 'city' || i % 100 FROM generate_series(0, $people - 1) i;
                 VACUUM ANALYZE people");
        },
        contenders => [
            target('plain', columns => 'k int8, x int4', queries => [], load => $load),
            {%{target('stream', columns => 'k int8, x int4', queries => [$query], load => $load)},
                check => same('SELECT sum(n), sum(total) FROM view0', sub {
                    return sql("SELECT $rows, sum(i % 1000) FROM generate_series(1, $rows) i");
                })},
        ],
        cleanup => sub { sql('DROP TABLE people') }};
}

sub w12 { return BenchEndurance::w12($server, $scale, $KEYED, \&make_keyed_stream) }

1;
