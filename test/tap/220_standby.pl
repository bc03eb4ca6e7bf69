# A standby by the classic steps, over TCP with a password: its views agree with the primary's,
# reading it under load works, and after promotion what was spooled but not folded is folded.
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
use Time::HiRes qw(time usleep);

my $seed = $ENV{PIPELINE_SEED} || int(time * 1000) % 1_000_000_000;
srand($seed);
diag("PIPELINE_SEED=$seed");

my $address = '127.0.0.1';
my $password = 'a secret, with blanks';

# ---- the eight steps ---------------------------------------------------------------------------

# 2. Who may connect over TCP. Nothing else is left there, or "trust" would match first.
sub require_passwords {
    my ($node) = @_;
    my $file = $node->data_dir . '/pg_hba.conf';
    my @local = grep { /^local/ } split /^/, slurp_file($file);
    open my $hba, '>', $file or die "$file: $!";
    print $hba @local, "host replication replicator $address/32 scram-sha-256\n",
        "host all all $address/32 scram-sha-256\n";
    close $hba;
}

# 4. to 8.: slot, base backup, settings, signal file, start.
sub make_standby {
    my ($primary, $name) = @_;
    my $standby = PostgreSQL::Test::Cluster->new($name);
    my ($data, $port) = ($standby->data_dir, $primary->port);
    $primary->safe_psql('postgres', "SELECT pg_create_physical_replication_slot('standby_slot')");

    my @backup = ('pg_basebackup', '-h', $address, '-p', $port, '-U', 'replicator', '-w',
        '-X', 'stream', '-S', 'standby_slot', '-c', 'fast', '-D', $data);
    {
        local $ENV{PGPASSWORD} = 'wrong';
        command_fails_like(\@backup, qr/password authentication failed/, 'a wrong password is refused');
        local $ENV{PGPASSWORD} = $password;
        command_ok(\@backup, "$name: pg_basebackup -X stream over TCP with a password");
    }
    chmod 0700, $data;
    my $conninfo = "host=$address port=$port user=replicator "
        . "password=''$password'' application_name=$name";
    $standby->append_conf('postgresql.conf', $_) for
        "port = " . $standby->port,
        "unix_socket_directories = '" . $standby->host . "'",
        "primary_conninfo = '$conninfo'", # with quotes in it doubled
        "primary_slot_name = 'standby_slot'",
        "recovery_target_timeline = 'latest'",
        "hot_standby_feedback = on",
        "wal_receiver_status_interval = 1",
        "max_standby_streaming_delay = 0";
    append_to_file("$data/standby.signal", '');
    $standby->start;
    return $standby;
}

# 1. and 3.: role, settings of the server.
my $node = new_node('first',
    wal_level => 'replica',
    hot_standby => 'on',
    max_replication_slots => 1,
    max_wal_senders => 2,
    listen_addresses => $address,
    password_encryption => 'scram-sha-256',
    autovacuum_naptime => '1s',
    max_prepared_transactions => 20,
    log_statement => 'none',
    'pipelinedb.fold_batch' => '256kB',
    'pipelinedb.spool_generation_size' => '1MB');
$node->safe_psql('postgres', "CREATE ROLE replicator REPLICATION LOGIN PASSWORD '$password'");
require_passwords($node);
$node->reload;

my $ledger = LedgerWriters->new($node);
$node->safe_psql('postgres', "$LedgerWriters::stream;
    CREATE VIEW per_txn AS $LedgerWriters::per_txn;
    CREATE VIEW per_writer AS $LedgerWriters::per_writer;
    CREATE VIEW total AS $LedgerWriters::total;
    CREATE VIEW later AS $LedgerWriters::per_txn;
    CREATE VIEW states AS SELECT writer, avg(val) AS mean, stddev(val) AS deviation,
        count(pad) FILTER (WHERE val > 500) AS n, max(pad COLLATE \"C\") AS longest
        FROM events GROUP BY writer;");
$ledger->start(2, 50);
$ledger->finish;

my $standby = make_standby($node, 'second');

# ---- the standby follows and serves reads ------------------------------------------------------

my %all = (
    per_txn => 'txn', per_writer => 'writer', total => 'n', states => 'writer');
sub contents {
    my ($of) = @_;
    return join "\n", map { $of->safe_psql('postgres', "SELECT * FROM $_ ORDER BY $all{$_}") }
        sort keys %all;
}

# Compares with what the ledger says.
sub is_exact {
    my ($of, $name) = @_;
    my @complaints = $ledger->complaints('per_txn', 1);
    my ($writers, $total) = $ledger->sums;
    my $got = $of->safe_psql('postgres', 'SELECT n, s FROM total');
    push @complaints, "total is $got, not $total" if $got ne $total;
    $got = $of->safe_psql('postgres', 'SELECT * FROM per_writer ORDER BY writer');
    push @complaints, "per_writer is\n$got\nnot\n$writers" if $got ne $writers;
    is(join("\n", @complaints[0 .. ($#complaints > 20 ? 20 : $#complaints)]), '', "$name: exact");
}

is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'the standby recovers');
is($node->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 'f', 'the primary does not');
ok($node->poll_query_until('postgres', "SELECT application_name || ' ' || usename || ' ' || state
        || ' ' || host(client_addr) FROM pg_stat_replication",
    "second replicator streaming $address"), 'pg_stat_replication shows the standby');
is($node->safe_psql('postgres', 'SELECT slot_name, slot_type, active FROM pg_replication_slots'),
    'standby_slot|physical|t', 'which uses its slot');

$ledger->start(3, 150);
$ledger->finish;
$ledger->settle;
wait_folded($node);
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(contents($standby), contents($node), 'at the same position the views are equal');
is_exact($node, 'primary');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity
    WHERE backend_type LIKE 'pipelinedb%'"), '0', 'no process of ours runs on the standby');
is($standby->safe_psql('postgres', "SELECT name, state FROM pipelinedb.views WHERE name = 'total'"),
    'total|active', 'the lists of views and streams are readable there');
my $combined = 'SELECT combine(mean), combine(deviation), combine(n), combine(longest) FROM states';
is($standby->safe_psql('postgres', $combined), $node->safe_psql('postgres', $combined), 'combine() works there');
for my $sql ("INSERT INTO events VALUES (1, 1, 1, '')", 'COPY events FROM STDIN',
    'CREATE VIEW refused AS SELECT count(*) FROM events', 'DROP VIEW total',
    "SELECT pipelinedb.combine_table('states', 'states_mrel')",
    "SELECT pipelinedb.deactivate('total')", 'SELECT pipelinedb.flush()') {
    my ($status, $out, $errors) = $standby->psql('postgres', $sql);
    isnt($status, 0, "refused on the standby: $sql");
    like($errors, qr/read-only transaction|during recovery/, 'because it is read-only');
}

# Every snapshot of the standby is a state that the primary's views had: views that folded the
# same ticks agree in it.
my ($differences, $changes, $last, $looks) = (0, 0, '', 0);
sub look {
    $looks++;
    my ($differs, $now) = split /\|/, $standby->safe_psql('postgres',
        "SELECT count(DISTINCT sums), max(sums) FROM (
            SELECT concat(sum(n), ' ', sum(s)) AS sums FROM per_writer
            UNION ALL SELECT concat(sum(n), ' ', sum(s)) FROM per_txn
            UNION ALL SELECT concat(n, ' ', s) FROM total) x");
    $differences++ if $differs != 1;
    $changes++ if $now ne $last;
    $last = $now;
}
# How many changes a look can see depends on how the processors are shared among all.
for (1 .. 10) {
    $ledger->start(3, 1500);
    look() for 1 .. 50;
    $ledger->finish;
    last if $changes > 10;
}
is($differences, 0, "views agree in every snapshot of the standby ($looks)");
cmp_ok($changes, '>', 10, "while they change ($changes times)");

# ---- long reads under load ---------------------------------------------------------------------

my $writing;
sub begin_load {
    my $folder = PostgreSQL::Test::Utils::tempdir();
    append_to_file("$folder/load.sql",
        "INSERT INTO load VALUES (1), (2);\n" x 200_000);
    $writing = IPC::Run::start([ $node->installed_command('psql'), '-XqAt',
        '-d', $node->connstr('postgres'), '-f', "$folder/load.sql" ], '>', '/dev/null', '2>', '/dev/null');
}
$node->safe_psql('postgres', 'CREATE FOREIGN TABLE load (k int) SERVER pipelinedb;
    CREATE VIEW load_view AS SELECT k, count(*) AS n FROM load GROUP BY k;
    ALTER TABLE load_view_mrel SET (vacuum_truncate = off);');
begin_load();
ok($standby->poll_query_until('postgres',
    "SELECT count(*) = 1 FROM pg_class WHERE relname = 'load_view_mrel'"), 'the view is replicated');
my $read = 'SELECT count(*), sum(n) FROM load_view';
sub read_for {
    my ($seconds) = @_;
    my ($status, $out, $errors) = $standby->psql('postgres', "BEGIN ISOLATION LEVEL REPEATABLE READ;
        $read; SELECT pg_sleep($seconds); $read; COMMIT");
    my @rows = grep { /\|/ } split /\n/, $out;
    return ($status, $errors, @rows);
}
# Feedback counts once it has reached the primary.
ok($node->poll_query_until('postgres', "SELECT xmin IS NOT NULL FROM pg_replication_slots"),
    'the standby reports what its readers need');
my $before = $standby->safe_psql('postgres', $read);
my ($status, $errors, @rows) = read_for(5);
is($status, 0, 'a read of 5 s under load survives with hot_standby_feedback') or diag($errors);
is($rows[0], $rows[1], 'and sees one state');
isnt($standby->safe_psql('postgres', $read), $before, 'while the view went on');

$standby->safe_psql('postgres', 'ALTER SYSTEM SET hot_standby_feedback = off');
$standby->reload;
ok($node->poll_query_until('postgres', "SELECT xmin IS NULL FROM pg_replication_slots"),
    'without feedback');
my $cancelled;
for (1 .. 10) {
    ($status, $errors) = read_for(5);
    last if $cancelled = $status != 0;
}
ok($cancelled, 'such a read is cancelled sooner or later');
like($errors, qr/conflict with recovery/, 'by a conflict with recovery');
$writing->kill_kill;

# ---- promotion with rows unfolded --------------------------------------------------------------

$ledger->start(3, 100);
$ledger->finish;
$ledger->settle;
wait_folded($node);
$node->safe_psql('postgres', "SELECT pipelinedb.deactivate('later');
    CREATE FOREIGN TABLE bulk (k int) SERVER pipelinedb;
    CREATE VIEW bulk_view AS SELECT count(*) AS n, sum(k) AS s FROM bulk");

# The worker stands just before the commit of a later piece of a large transaction. A tick for
# something else may come before.
my $held = hold_worker($node, 'fold_before_progress', 'fold_committed');
$node->safe_psql('postgres', 'INSERT INTO bulk SELECT generate_series(1, 300000)');
my $n;
for (1 .. 3) {
    move_worker($held, 'fold_committed');
    move_worker($held, 'fold_before_progress');
    ok(held_at($node, 'fold_before_progress'), 'the fold worker stands before a commit');
    ($n) = split /\|/, $node->safe_psql('postgres', 'SELECT * FROM bulk_view');
    last if $n > 0;
}
cmp_ok($n, '>', 0, "a part of it is folded ($n rows)");
cmp_ok($n, '<', 300000, 'another part is not');

my $folded = contents($node);
$ledger->start(3, 200);
my $acknowledged = $ledger->finish;
my $open = $node->background_psql('postgres');
$open->query_safe('BEGIN; INSERT INTO bulk VALUES (7000000)');
$node->safe_psql('postgres', "BEGIN; INSERT INTO bulk VALUES (1000), (2000);
    PREPARE TRANSACTION 'goes_on'; BEGIN; INSERT INTO bulk VALUES (5000000);
    PREPARE TRANSACTION 'undone'");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is(contents($node), $folded, "$acknowledged transactions wait unfolded");
is(contents($standby), $folded, 'and are not counted on the standby either');
$node->stop('immediate');
eval { $held->{holder}->quit; };
eval { $open->quit; };

$standby->promote;
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 'f', 'the standby is promoted');
$ledger->{node} = $standby;
wait_folded($standby);
isnt(fold_worker_pid($standby), '', 'a fold worker runs there now');
$ledger->settle;
wait_folded($standby);
is_exact($standby, 'after promotion');
is($standby->safe_psql('postgres', 'SELECT * FROM bulk_view'), '300000|45000150000',
    'the large transaction is whole, open and prepared ones do not count');
$standby->safe_psql('postgres', "COMMIT PREPARED 'goes_on'");
$standby->safe_psql('postgres', "ROLLBACK PREPARED 'undone'");
wait_folded($standby);
is($standby->safe_psql('postgres', 'SELECT * FROM bulk_view'), '300002|45000153000',
    'a prepared transaction counts when it is committed on the new primary');
is($standby->safe_psql('postgres', "SELECT pipelinedb.activate('later')"), 't',
    'the view that was paused on the old primary goes on');

sub later_is_complete {
    my ($of) = @_;
    return $of->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pipelinedb.progress')
        && $of->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM per_txn p
            FULL JOIN later l USING (txn) WHERE (p.n, p.s) IS DISTINCT FROM (l.n, l.s))');
}
ok(later_is_complete($standby), 'its backlog counts exactly once');

$ledger->start(3, 100);
$ledger->finish;
$ledger->settle;
wait_folded($standby);
is_exact($standby, 'writing goes on');
views_are_active($standby);

# ---- a synchronous standby of the new primary, which dies under load ---------------------------

$standby->safe_psql('postgres', 'ALTER SYSTEM RESET ALL');
my $third = make_standby($standby, 'third');
$standby->append_conf('postgresql.conf', "synchronous_standby_names = 'third'");
$standby->reload;
ok($standby->poll_query_until('postgres', "SELECT application_name || ' ' || sync_state
    FROM pg_stat_replication", 'third sync'), 'a synchronous standby');
$ledger->start(3, 2000);
my $enough = $standby->safe_psql('postgres', 'SELECT n + 1000 FROM total');
ok($third->poll_query_until('postgres', "SELECT n > $enough FROM total"), 'it follows the writers');
kill_hard($standby);
$acknowledged = $ledger->finish;
cmp_ok($acknowledged, '<', 6000, "the primary died while they wrote ($acknowledged acknowledged)");
$third->promote;
$ledger->{node} = $third;
$ledger->settle;
wait_folded($third);
is_exact($third, 'every acknowledged transaction after failover to a synchronous standby');
ok(later_is_complete($third), 'in all views');
views_are_active($third);

$third->stop;
done_testing();
