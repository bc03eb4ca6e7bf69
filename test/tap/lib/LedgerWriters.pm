# Writers that keep a ledger: psql processes that run generated transactions against the stream
# "events" and print a line for each COMMIT that the server acknowledged. However they end, the
# ledger then says what continuous views must show: an acknowledged transaction counts exactly
# once, one in doubt wholly or not at all, a rolled-back one never.
package LedgerWriters;
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;

our $stream = 'CREATE FOREIGN TABLE events (txn int8, writer int, val int, pad text) SERVER pipelinedb';
our $per_txn = 'SELECT txn, count(*) AS n, sum(val) AS s FROM events GROUP BY txn';
our $per_writer = 'SELECT writer, count(*) AS n, sum(val) AS s FROM events GROUP BY writer';
our $total = 'SELECT count(*) AS n, sum(val) AS s FROM events';

# A row with this value belongs to what was rolled back: no sum may contain it.
my $poison = 1_000_000_000;

# expected: txn => [rows, sum, writer]; sure: txn => 1 when it was acknowledged, 0 when it must
# not count, missing when in doubt.
sub new {
    my ($class, $node, %options) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir();
    return bless { node => $node, folder => $folder, next => 1, round => 0, pad => 100,
        expected => {}, sure => {}, prepared => {}, running => [], %options }, $class;
}

sub values_of {
    my ($self, $txn, $writer, $rows, $bad) = @_;
    my @rows;
    for (1 .. $rows) {
        my $val = $bad ? $poison : int(rand(1000));
        unless ($bad) {
            $self->{expected}{$txn}[0]++;
            $self->{expected}{$txn}[1] += $val;
        }
        push @rows, [ $txn, $writer, $val, int(rand($self->{pad})) ];
    }
    return @rows;
}

sub insert {
    my ($self, @which) = @_;
    return 'INSERT INTO events VALUES '
      . join(', ', map { "($_->[0], $_->[1], $_->[2], repeat('x', $_->[3]))" } $self->values_of(@which))
      . ";\n";
}

sub copy {
    my ($self, @which) = @_;
    return "COPY events FROM STDIN;\n"
      . join('', map { "$_->[0]\t$_->[1]\t$_->[2]\t" . 'y' x $_->[3] . "\n" } $self->values_of(@which))
      . "\\.\n";
}

# One transaction as psql input; "ack" only where its commit was reported.
sub transaction {
    my ($self, $writer) = @_;
    my $txn = $self->{next}++;
    my $rows = 1 + int(rand(6));
    my $kind = int(rand(12));
    my $good = sub { $self->insert($txn, $writer, @_) };
    my $bad = sub { $self->insert($txn, $writer, 1 + int(rand(3)), 1) };
    my $ack = "\\echo ack $txn\n";
    $self->{expected}{$txn} = [ 0, 0, $writer ];
    return $good->(1) . $ack if $kind <= 2;
    return $good->($rows) . $ack if $kind <= 4;
    return $self->copy($txn, $writer, 1 + int(rand(80))) . $ack if $kind == 5;
    return "BEGIN;\n" . $good->($rows) . $good->(1) . "COMMIT;\n$ack" if $kind == 6;
    return "BEGIN;\n" . $good->(1) . "SAVEPOINT a;\n" . $bad->() . "ROLLBACK TO a;\n"
      . $good->($rows) . "SAVEPOINT b;\n" . $good->(1) . "RELEASE b;\nCOMMIT;\n$ack"
      if $kind == 7;
    return "BEGIN;\nSAVEPOINT a;\n" . $bad->() . "SAVEPOINT b;\n" . $bad->() . "RELEASE b;\n"
      . "ROLLBACK TO a;\n" . $self->copy($txn, $writer, $rows) . "COMMIT;\n$ack" if $kind == 8;
    if ($kind == 9) {
        return "BEGIN;\n" . $good->($rows) . "PREPARE TRANSACTION 'txn_$txn';\n"
          . "\\echo prepared $txn\nCOMMIT PREPARED 'txn_$txn';\n$ack";
    }
    $self->{sure}{$txn} = 0;
    return "BEGIN;\n" . $bad->() . "PREPARE TRANSACTION 'txn_$txn';\nROLLBACK PREPARED 'txn_$txn';\n"
      if $kind == 10;
    return "BEGIN;\n" . $bad->() . "ROLLBACK;\n";
}

# Starts $count writers of $transactions each; they end by themselves or with their connection.
sub start {
    my ($self, $count, $transactions, $settings) = @_;
    $self->{round}++;
    $self->{first} = $self->{next};
    for my $writer (1 .. $count) {
        my $path = "$self->{folder}/$self->{round}_$writer";
        open my $script, '>', "$path.sql" or die "$path.sql: $!";
        print $script "SET application_name = 'ledger writer';\n", $settings // '';
        print $script $self->transaction($writer) for 1 .. $transactions;
        close $script;
        my $run = IPC::Run::start(
            [ $self->{node}->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1',
                '-d', $self->{node}->connstr('postgres'), '-f', "$path.sql" ],
            '<', \undef, '>', "$path.out", '2>', "$path.err");
        push @{ $self->{running} }, [ $run, $path ];
    }
}

# Waits for the end of all writers and reads their ledgers. Returns the number of
# acknowledged transactions.
sub finish {
    my ($self) = @_;
    my $acknowledged = 0;
    for my $running (@{ $self->{running} }) {
        my ($run, $path) = @$running;
        eval { $run->finish; };
        for (split /\n/, slurp_file("$path.out")) {
            if (/^ack (\d+)$/) { $self->{sure}{$1} = 1; $acknowledged++; }
            $self->{prepared}{$1} = 1 if /^prepared (\d+)$/;
        }
        my $errors = slurp_file("$path.err");
        $self->{errors} .= $errors;
        unlink "$path.sql", "$path.out", "$path.err";
    }
    $self->{running} = [];
    return $acknowledged;
}

# What a crash left prepared is committed or rolled back, as chance will have it. A transaction
# whose PREPARE was acknowledged and that is no longer there has been committed.
sub settle {
    my ($self) = @_;
    my $node = $self->{node};
    my %left = map { /^txn_(\d+)$/ ? ($1 => 1) : () }
      split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts ORDER BY gid');
    $self->{sure}{$_} = 1 for grep { !$left{$_} } keys %{ $self->{prepared} };
    for my $txn (sort { $a <=> $b } keys %left) {
        my $poisoned = defined $self->{sure}{$txn} && $self->{sure}{$txn} == 0;
        my $commit = !$poisoned && rand() < 0.5;
        $node->safe_psql('postgres', ($commit ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'txn_$txn'");
        $self->{sure}{$txn} = $commit ? 1 : 0;
    }
    $self->{prepared} = {};
}

# Compares a per-transaction view with the ledger, from transaction $first on; afterwards what
# was in doubt is decided. Returns a list of complaints.
sub complaints {
    my ($self, $view, $first) = @_;
    my %seen;
    my $rows = $self->{node}->safe_psql('postgres', "SELECT txn, n, s FROM $view WHERE txn >= $first");
    $seen{$1} = [ $2, $3 ] while $rows =~ /^(\d+)\|(\d+)\|(-?\d+)$/mg;
    my @complaints;
    for my $txn ($first .. $self->{next} - 1) {
        my ($n, $s) = @{ $self->{expected}{$txn} };
        my $got = delete $seen{$txn};
        my $sure = $self->{sure}{$txn};
        if (!defined $got) {
            push @complaints, "$view: transaction $txn is missing" if $sure;
            $self->{sure}{$txn} = 0;
        } elsif (defined $sure && !$sure) {
            push @complaints, "$view: transaction $txn counts $got->[0], but was rolled back";
        } elsif ($got->[0] != $n || $got->[1] != $s) {
            push @complaints, "$view: transaction $txn is ($got->[0], $got->[1]), not ($n, $s)";
        } else {
            $self->{sure}{$txn} = 1;
        }
    }
    push @complaints, "$view: transaction $_ is unknown" for sort keys %seen;
    return @complaints;
}

# What the views over everything must show now: "writer|n|s" lines and "n|s".
sub sums {
    my ($self) = @_;
    my ($n, $s, %writers) = (0, 0);
    for my $txn (grep { $self->{sure}{$_} } keys %{ $self->{sure} }) {
        my ($rows, $sum, $writer) = @{ $self->{expected}{$txn} };
        $n += $rows; $s += $sum;
        $writers{$writer}[0] += $rows; $writers{$writer}[1] += $sum;
    }
    my $lines = join "\n", map { "$_|$writers{$_}[0]|$writers{$_}[1]" } sort { $a <=> $b } keys %writers;
    return ($lines, "$n|$s");
}

1;
