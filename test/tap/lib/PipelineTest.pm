# What several TAP tests share: a server with the extension, waits, running SQL as a role, held
# fold workers.
package PipelineTest;
use strict;
use warnings;
use Exporter qw(import);
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node wait_folded fold_worker_pid set_server views_are_active
    hold_worker move_worker release_worker run_scripts run_script best_of);

# A started server whose database "postgres" has the extension. The keys of %conf are settings.
sub new_node {
    my ($name, %conf) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init;
    $node->append_conf('postgresql.conf', "shared_preload_libraries = 'pipeline_ext'");
    $node->append_conf('postgresql.conf', "$_ = '$conf{$_}'") for sort keys %conf;
    $node->start;
    $node->safe_psql('postgres', 'CREATE EXTENSION pipeline_ext');
    return $node;
}

# All rows that were committed before are in the views.
sub wait_folded {
    my ($node, $db) = @_;
    is($node->safe_psql($db // 'postgres', 'SELECT pipelinedb.flush()'), 't', 'all is folded');
}

sub fold_worker_pid {
    my ($node, $db) = @_;
    $db //= 'postgres';
    return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity
        WHERE backend_type = 'pipelinedb fold worker' AND datname = '$db'");
}

# Changes server settings and waits until the fold worker of $db must have read them: a process
# reads its settings before it folds what comes later.
sub set_server {
    my ($node, %settings) = @_;
    $node->safe_psql('postgres', "ALTER SYSTEM SET $_ = '$settings{$_}'")
        for sort keys %settings;
    $node->reload;
    for my $name (sort keys %settings) {
        $node->poll_query_until('postgres', "SELECT setting = '$settings{$name}' OR
            current_setting(name) = '$settings{$name}' FROM pg_settings WHERE name = '$name'")
            or die "the server did not take $name";
    }
}

sub views_are_active {
    my ($node, $name) = @_;
    is($node->safe_psql('postgres', "SELECT name, state, sqlstate, message FROM pipelinedb.views
        WHERE state <> 'active'"), '', $name // 'no view has failed');
}

# The smallest of up to five measurements, the first one below $limit. A machine that does other
# things as well only makes times and sizes larger: what is too large five times is our fault.
sub best_of {
    my ($limit, $measure) = @_;
    my $best;
    for (1 .. 5) {
        my $now = $measure->();
        $best = $now if !defined $best || $now < $best;
        last if $best < $limit;
    }
    return $best;
}

# Lets the fold worker of database postgres stop at $point, as soon as there is something to
# fold; returns what move_worker() and release_worker() need. A worker that comes to one of
# @later passes until move_worker() goes there.
sub hold_worker {
    my ($node, $point, @later) = @_;
    my $holder = $node->background_psql('postgres');
    $holder->query_safe("SELECT pg_advisory_lock(1346981957, hashtext('$point'))");
    set_server($node, 'pipelinedb.stop_points' => join(', ', map { "$_:wait" } $point, @later));
    return { node => $node, holder => $holder, point => $point };
}

# Lets a worker that stands at one point run to another one.
sub move_worker {
    my ($held, $point) = @_;
    $held->{node}->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_locks
        WHERE locktype = 'advisory' AND NOT granted AND classid = 1346981957")
        or die "no fold worker stops at $held->{point}";
    $held->{holder}->query_safe("SELECT pg_advisory_lock(1346981957, hashtext('$point')),
        pg_advisory_unlock(1346981957, hashtext('$held->{point}'))");
    $held->{point} = $point;
}

sub release_worker {
    my ($held) = @_;
    set_server($held->{node}, 'pipelinedb.stop_points' => '');
    $held->{holder}->quit;
}

# Runs scripts by as many psql at the same time, errors included. Returns for each of them
# [ standard output, error lines... ].
sub run_scripts {
    my ($node, $scripts, %options) = @_;
    my (@started, @outcomes);
    local $ENV{PGCLIENTENCODING} = 'UTF8';
    for my $i (0 .. $#$scripts) {
        my $file = $node->basedir . "/script$i.sql";
        open(my $out, '>:encoding(UTF-8)', $file) or die "$file: $!";
        print $out $scripts->[$i];
        close($out) or die "$file: $!";
        my @command = ($node->installed_command('psql'), '-XAtq', '-f', $file,
            '-d', $node->connstr($options{db} // 'postgres'));
        push @command, '-U', $options{role} if defined $options{role};
        my ($stdout, $stderr) = ('', '');
        push @started, [ IPC::Run::start(\@command, '<', \undef, '>', \$stdout, '2>', \$stderr),
            \$stdout, \$stderr ];
    }
    for my $run (@started) {
        my ($process, $stdout, $stderr) = @$run;
        $process->finish;
        push @outcomes, [ $$stdout, grep { /(?:ERROR|FATAL|PANIC):/ } split /\n/, $$stderr ];
    }
    return @outcomes;
}

# One script: (standard output, error lines...).
sub run_script {
    my ($node, $script, %options) = @_;
    my ($outcome) = run_scripts($node, [$script], %options);
    return @$outcome;
}

1;
