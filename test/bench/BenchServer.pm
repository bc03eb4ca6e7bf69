# A private server for the bench, and what is measured from outside: wall time, the CPU time of
# all its processes, WAL.
package BenchServer;
use strict;
use warnings;

use File::Path qw(make_path);
use Time::HiRes qw(time sleep);

# All contenders run in this one server. No setting favours any of them.
my $SETTINGS = <<'CONF';
shared_preload_libraries = 'pipeline_ext'
listen_addresses = ''
fsync = on
shared_buffers = 1GB
max_wal_size = 8GB
checkpoint_timeout = 30min
max_connections = 100
max_worker_processes = 16
CONF

sub new {
    my ($class, %arg) = @_;
    my $self = bless {bin => $arg{bin}, dir => $arg{dir}, port => 54320}, $class;
    make_path("$self->{dir}/data");
    chmod 0700, "$self->{dir}/data";
    $self->run_or_die("$self->{bin}/initdb", '-D', "$self->{dir}/data", '-U', 'postgres',
        '--auth=trust', '--no-sync', '-E', 'UTF8', '--locale=C.UTF-8');
    open my $conf, '>>', "$self->{dir}/data/postgresql.conf" or die $!;
    # The last line of a setting counts: what is for tests (fsync = off) comes first.
    print $conf "include '$arg{conf}'\n", $SETTINGS, "port = $self->{port}\n",
        "unix_socket_directories = '$self->{dir}'\n";
    close $conf;
    $self->run_or_die("$self->{bin}/pg_ctl", '-D', "$self->{dir}/data", '-l',
        "$self->{dir}/log", '-w', 'start');
    open my $pid, '<', "$self->{dir}/data/postmaster.pid" or die $!;
    chomp($self->{pid} = <$pid>);
    @ENV{qw(PGHOST PGPORT PGUSER PGDATABASE)} =
        ($self->{dir}, $self->{port}, 'postgres', 'postgres');
    return $self;
}

sub stop {
    my $self = shift;
    $self->run_or_die("$self->{bin}/pg_ctl", '-D', "$self->{dir}/data", '-m', 'fast', '-w', 'stop');
}

sub run_or_die {
    my ($self, @command) = @_;
    open my $out, '-|', 'sh', '-c', '"$@" 2>&1', 'sh', @command or die $!;
    my $text = do { local $/; <$out> };
    close $out or die "@command failed: $text\n";
    return $text;
}

# Runs SQL in one session; the last line of the result is returned.
sub sql {
    my ($self, $sql) = @_;
    my $file = "$self->{dir}/statement.sql";
    open my $out, '>', $file or die $!;
    print $out $sql;
    close $out;
    my $text = $self->run_or_die("$self->{bin}/psql", '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $file);
    return (split /\n/, $text)[-1];
}

# pgbench with a script; returns its output.
sub pgbench {
    my ($self, $script, @options) = @_;
    return $self->run_or_die($self->pgbench_command($script, @options));
}

sub pgbench_command {
    my ($self, $script, @options) = @_;
    $self->{scripts}++;
    my $file = "$self->{dir}/script$self->{scripts}.sql";
    open my $out, '>', $file or die $!;
    print $out "$script;\n"; # pgbench wants the last statement ended
    close $out;
    return ("$self->{bin}/pgbench", '-n', '-M', 'prepared', '-f', $file, @options);
}

# Starts a command in the background; its process id.
sub start {
    my ($self, @command) = @_;
    my $pid = fork() // die $!;
    return $pid if $pid;
    open STDOUT, '>', "$self->{dir}/background.log";
    open STDERR, '>&', \*STDOUT;
    exec @command or exit 127;
}

sub finish {
    my ($self, $pid) = @_;
    kill TERM => $pid;
    waitpid $pid, 0;
}

# Seconds of CPU of the postmaster, its living children and those that it has reaped.
sub cpu {
    my $self = shift;
    my $ticks = 0;
    for my $file (glob '/proc/[0-9]*/stat') {
        open my $in, '<', $file or next;
        my $line = <$in> // next;
        $line =~ /^(\d+) .*\) \S (\d+) (?:\S+ ){9}(\d+) (\d+) (\d+) (\d+)/ or next;
        my ($pid, $parent, @times) = ($1, $2, $3, $4, $5, $6);
        next unless $pid == $self->{pid} || $parent == $self->{pid};
        $ticks += $_ for @times;
    }
    return $ticks / 100;
}

# Resident memory of the fold workers in MB; shared buffers count as far as they were touched.
sub worker_memory {
    my ($self) = @_;
    my $most = 0;
    for my $pid (split /,/, $self->sql(
            "SELECT string_agg(pid::text, ',') FROM pg_stat_activity "
          . "WHERE backend_type = 'pipelinedb fold worker'") // '') {
        open my $in, '<', "/proc/$pid/status" or next;
        my ($anon) = map { /^RssAnon:\s+(\d+)/ ? $1 : () } <$in>;
        $most = $anon / 1024 if defined $anon && $anon / 1024 > $most;
    }
    return $most;
}

sub wal { return $_[0]->sql("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')") }

# Runs `code` and says what it took.
sub measure {
    my ($self, $code) = @_;
    my ($wal, $cpu, $begin) = ($self->wal, $self->cpu, time);
    $code->();
    my $seconds = time - $begin;
    sleep 0.2; # backends that have ended are counted when the postmaster has reaped them
    return {seconds => $seconds, cpu => $self->cpu - $cpu, wal => $self->wal - $wal};
}

1;
