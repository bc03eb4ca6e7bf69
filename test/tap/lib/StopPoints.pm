# Holding, failing and crashing processes at stop points (src/pg/stop_points.hpp), and waits
# that do not depend on psql's speed.
package StopPoints;
use strict;
use warnings;
use Exporter qw(import);
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(set_conf all_stop_points flush wait_until hold_at held_at release_all bring_back
    after_kill crashed_at kill_hard spool_bytes);

# Changes settings of the running server; every process takes them at its next turn.
sub set_conf {
    my ($node, %conf) = @_;
    my $sql = join '', map { "ALTER SYSTEM SET $_ = '$conf{$_}';\n" } sort keys %conf;
    $node->safe_psql('postgres', "$sql SELECT pg_reload_conf()");
}

# The names in the sources, so that a new one is tested without being listed here. A single fold
# worker does not come to those of views that change their worker (270_workers.pl).
sub all_stop_points {
    my $source = $ENV{PIPELINE_SOURCE} // "$FindBin::RealBin/../..";
    my %names;
    for my $file (glob "$source/src/*/*.cpp") {
        $names{$_} = 1 for slurp_file($file) =~ /stop_point\("(\w+)"\)/g;
    }
    return sort grep { !/^views_handed_over/ } keys %names;
}

# Everything committed so far is in the views: 't', or what went wrong.
sub flush {
    my ($node, $db) = @_;
    my ($status, $out, $errors) = $node->psql($db // 'postgres', 'SELECT pipelinedb.flush()');
    return $status == 0 ? $out : $errors;
}

# Polls finely; the seconds it took, or undef after $seconds.
sub wait_until {
    my ($test, $seconds) = @_;
    my $begin = time;
    while (time - $begin < ($seconds // $PostgreSQL::Test::Utils::timeout_default)) {
        return time - $begin if $test->();
        usleep(20_000);
    }
    return undef;
}

# Takes the locks of stop points: a process whose stop_points say name:wait waits there until
# release_all($holder).
sub hold_at {
    my ($node, @points) = @_;
    my $holder = $node->background_psql('postgres');
    $holder->query_safe("SELECT pg_advisory_lock(1346981957, hashtext('$_'))") for @points;
    return $holder;
}

sub release_all {
    my ($holder) = @_;
    $holder->query_safe('SELECT pg_advisory_unlock_all()');
    $holder->quit;
}

# Waits until $count processes wait at a stop point; false if they do not come.
sub held_at {
    my ($node, $point, $count) = @_;
    $count //= 1;
    return $node->poll_query_until('postgres', "SELECT count(*) >= $count FROM pg_locks
        WHERE locktype = 'advisory' AND classid = 1346981957 AND NOT granted
          AND objid::int8 = (hashtext('$point')::int8 & 4294967295)");
}

# kill -9 of the postmaster. A new one is refused while a child still uses the shared memory.
sub kill_hard {
    my ($node) = @_;
    my @children = split /\n/, $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity');
    $node->kill9;
    wait_until(sub { !grep { kill 0, $_ } @children }) // die 'a child of the postmaster lives on';
}

# After any kind of end: a server that takes connections.
sub bring_back {
    my ($node) = @_;
    $node->start unless defined $node->{_pid};
    # A psql that is refused may be gone before its input is written: then psql() dies.
    wait_until(sub { (eval { $node->psql('postgres', 'SELECT 1') } // 1) == 0 })
      // die 'the server is not back';
}

# After kill -9 of a child of the postmaster: the server is back. $log is the size of the log before.
# Until the postmaster has noticed, it takes connections, which it ends soon after.
sub after_kill {
    my ($node, $log) = @_;
    wait_until(sub { index(slurp_file($node->logfile, $log), 'was terminated by signal 9') >= 0 })
      // die 'the postmaster does not notice';
    bring_back($node);
}

# True when a process has crashed at $point, and then the server is back.
sub crashed_at {
    my ($node, $point, $log) = @_;
    my $mark = $node->data_dir . "/pipelinedb_stop_$point";
    wait_until(sub { -e $mark }, 60) // return 0;
    after_kill($node, $log);
    return 1;
}

sub spool_bytes {
    my ($node) = @_;
    return $node->safe_psql('postgres', "SELECT sum(pg_total_relation_size(oid)) FROM pg_class
        WHERE relnamespace = 'pipelinedb'::regnamespace AND relname LIKE 'spool\\_%'
          AND relkind = 'r'");
}

1;
