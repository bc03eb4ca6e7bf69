#!/usr/bin/perl
# Checks the rules that a compiler cannot: who may include whom, what a longjmp forbids, that no
# test is forgotten. One line per check: "ok", "not ok" or "skipped"; findings come before it.
#
#   lint.pl [--self-test] [--library pipeline_ext.so] [--build-log build.log] ROOT
#
# With --self-test each check is first shown a small tree that breaks its rule: a check that
# stays silent there is itself reported.
use strict;
use warnings;
use File::Basename qw(basename dirname);
use File::Path qw(make_path);
use File::Temp qw(tempdir);

# Which folder may include which besides itself. A value with a slash allows one header, or one
# named part of a folder. "pure" files may not see the server at all.
my %may_include = (
    'pg'        => [],
    'batch'     => [],
    'sketch'    => [],
    'agg'       => [qw(batch sketch)],
    'chunk'     => [qw(batch)],
    'xid_set'   => [qw(batch)],
    'spool'     => [qw(pg batch view/catalog)],
    'view'      => [qw(pg sketch spool/progress spool/rendezvous spool/unfolded spool/view_lock spool/writer)],
    'partial'   => [qw(pg agg batch spool view/catalog view/state_form)],
    'fold'      => [qw(pg partial agg batch spool view)],
    'stream'    => [qw(pg agg batch partial spool view/catalog)],
    'reader'    => [qw(pg agg sketch view)],
    'dialect'   => [qw(pg view/catalog)], # emits SQL; asks only what kind a relation is
    'backfill'  => [qw(pg spool view)],
    'supervise' => [qw(pg spool/rendezvous fold/entry view/catalog)],
);
my %pure = map { $_ => 1 } qw(batch agg sketch chunk xid_set);

# ---- the tree ------------------------------------------------------------------------------

our %tree;   # path below ROOT => contents
our %library; # what nm says, or undef
our $build_log;

sub load_tree {
    my ($root) = @_;
    my %files;
    my @todo = ('');
    while (defined(my $folder = shift @todo)) {
        opendir(my $handle, "$root/$folder") or next;
        for my $name (sort grep { !/^\.\.?$/ && $_ ne '.git' } readdir $handle) {
            my $path = $folder eq '' ? $name : "$folder/$name";
            if (-d "$root/$path") { push @todo, $path; next; }
            next unless -f "$root/$path" && -T "$root/$path";
            open(my $in, '<', "$root/$path") or die "$path: $!";
            local $/;
            my $text = <$in>;
            $files{$path} = defined $text ? $text : '';
        }
    }
    return %files;
}

sub cpp_files { return sort grep { m{^src/.*\.[ch]pp$} } keys %tree; }

# The regime a file belongs to: its folder, "chunk" and "xid_set" for the pure pairs in spool, "module" above.
sub part_of {
    my ($path) = @_;
    return 'chunk' if $path =~ m{^src/spool/chunk\.};
    return 'xid_set' if $path =~ m{^src/spool/xid_set\.};
    return $path =~ m{^src/([^/]+)/} ? $1 : 'module';
}

# Comments and literals blanked, lines kept, so that prose cannot break a rule.
sub code_of {
    my ($text) = @_;
    $text =~ s{(//[^\n]*)|(/\*.*?\*/)|("(?:\\.|[^"\\\n])*")|('(?:\\.|[^'\\\n])+')}
              {my $all = $&; my $breaks = $all =~ tr/\n//; ($3 ? '""' : '') . "\n" x $breaks}gse;
    return $text;
}

# Lines of the code that match, as "path:line: text".
sub grep_code {
    my ($path, $pattern, $complaint) = @_;
    my $number = 0;
    my @found;
    for my $line (split /\n/, code_of($tree{$path})) {
        $number++;
        push @found, "$path:$number: $complaint" if $line =~ $pattern;
    }
    return @found;
}

sub includes_of {
    my ($path, $pattern) = @_;
    my $number = 0;
    my @found;
    for my $line (split /\n/, $tree{$path}) {
        $number++;
        push @found, [$number, $1] if $line =~ $pattern;
    }
    return @found;
}

# ---- checks: each returns its findings -----------------------------------------------------

sub check_include_direction {
    my @found;
    for my $path (cpp_files()) {
        my $part = part_of($path);
        next if $part eq 'module';
        if (!$may_include{$part}) { push @found, "$path: no rule for folder $part"; next; }
        for my $include (includes_of($path, qr/^\s*#\s*include\s+"([^"]+\/[^"]+)"/)) {
            my ($line, $header) = @$include;
            next unless $tree{"src/$header"} || $header =~ m{^(?:$part|module)/};
            my $target = part_of("src/$header");
            (my $stem = $header) =~ s/\.hpp$//;
            next if $target eq $part;
            next if $target =~ /^(chunk|xid_set)$/ && grep { $_ eq 'spool' } @{ $may_include{$part} }, $part;
            next if grep { $_ eq $target || $_ eq $stem } @{ $may_include{$part} };
            push @found, "$path:$line: $part may not include $header";
        }
    }
    return @found;
}

sub check_pure_files {
    my @found;
    for my $path (grep { $pure{ part_of($_) } } cpp_files()) {
        for my $include (includes_of($path, qr/^\s*#\s*include\s+["<]([^">]+)[">]/)) {
            my ($line, $header) = @$include;
            push @found, "$path:$line: a pure file may not include $header"
                if $header =~ m{^(?:pg/|postgres\.h|c\.h|fmgr\.h|utils/|access/|storage/)};
        }
    }
    return @found;
}

sub check_std_types {
    my @found;
    for my $path (grep { !$pure{ part_of($_) } } cpp_files()) {
        for my $include (includes_of($path,
            qr/^\s*#\s*include\s+<(string|vector|map|memory|functional|mutex|iostream)>/)) {
            push @found, "$path:$include->[0]: <$include->[1]>: its destructors would be "
                . "skipped by a longjmp";
        }
    }
    return @found;
}

sub check_crossings {
    return map {
        grep_code($_, qr/\b(?:PG_TRY|PG_CATCH|PG_FINALLY|PG_END_TRY|sigsetjmp|PG_exception_stack)\b|\bcatch\s*\(/,
            'only src/pg/guard.* may catch')
    } grep { !$pure{ part_of($_) } && !m{^src/pg/guard\.} } cpp_files();
}

sub check_throw {
    return map { grep_code($_, qr/\bthrow\b/, 'a file of the pg regime may not throw') }
        grep { !$pure{ part_of($_) } && !m{^src/pg/(?:guard|memory)\.} } cpp_files();
}

sub check_version_tests {
    return map { grep_code($_, qr/\bPG_VERSION_NUM\b|\bPG_MAJORVERSION/, 'belongs to src/pg/compat.hpp') }
        grep { !m{^src/(?:pg/compat|batch/pure_only)\.hpp$} } cpp_files();
}

sub check_headers {
    my @found;
    for my $path (grep { /\.hpp$/ } cpp_files()) {
        push @found, "$path: no #pragma once" unless $tree{$path} =~ /^#pragma once$/m;
        push @found, "$path: does not begin with a comment" unless $tree{$path} =~ m{\A//};
        push @found, grep_code($path, qr/\busing\s+namespace\b/, 'using namespace in a header');
    }
    return @found;
}

sub check_own_header_first {
    my @found;
    for my $path (grep { /\.cpp$/ } cpp_files()) {
        (my $own = $path) =~ s{^src/(.*)\.cpp$}{$1.hpp};
        next unless $tree{"src/$own"};
        my ($first) = includes_of($path, qr/^\s*#\s*include\s+["<]([^">]+)[">]/);
        push @found, "$path: the first include is not $own" if !$first || $first->[1] ne $own;
    }
    return @found;
}

sub check_basenames {
    my (%seen, @found);
    for my $path (grep { /\.cpp$/ } cpp_files()) {
        my $name = basename($path);
        push @found, "$path: same name as $seen{$name}" if $seen{$name};
        $seen{$name} = $path;
    }
    return @found;
}

sub check_sizes {
    my @found;
    for my $path (grep { m{^(?:src|test|demo)/} && /\.(?:[ch]pp|pl|pm|sh|java|mk)$/ } sort keys %tree) {
        my $lines = $tree{$path} =~ tr/\n//;
        push @found, "$path: $lines lines, 600 are the most" if $lines > 600;
    }
    return @found;
}

sub check_markers {
    my @found;
    my $marker = qr/\b(?:TO[D]O|FIX[M]E|X[X]X)\b/;
    for my $path (sort keys %tree) {
        my $number = 0;
        for my $line (split /\n/, $tree{$path}) {
            $number++;
            push @found, "$path:$number: unfinished work is not left in comments" if $line =~ $marker;
        }
    }
    return @found;
}

sub check_machine_paths {
    my @found;
    my $machine = qr{(?<![\w.\$\}])/(?:work|root|home/\w+)/};
    for my $path (sort keys %tree) {
        my $number = 0;
        for my $line (split /\n/, $tree{$path}) {
            $number++;
            push @found, "$path:$number: path of somebody's machine" if $line =~ $machine;
        }
    }
    return @found;
}

sub check_schedule {
    my @found;
    my %scheduled;
    for my $line (split /\n/, $tree{'test/schedule'} // '') {
        next unless $line =~ /^\s*test:\s*(.*?)\s*$/;
        for my $name (split ' ', $1) {
            push @found, "test/schedule: $name is listed twice" if $scheduled{$name}++;
            push @found, "test/schedule: there is no sql/$name.sql" unless defined $tree{"sql/$name.sql"};
        }
    }
    for my $path (grep { m{^sql/[^/]+\.sql$} } sort keys %tree) {
        my $name = basename($path, '.sql');
        push @found, "$path: not in test/schedule" unless $scheduled{$name};
        push @found, "$path: no expected/$name.out" unless defined $tree{"expected/$name.out"};
    }
    for my $path (grep { m{^expected/[^/]+\.out$} } sort keys %tree) {
        (my $name = basename($path, '.out')) =~ s/_\d$//;
        push @found, "$path: no sql/$name.sql" unless defined $tree{"sql/$name.sql"};
    }
    return @found;
}

sub check_isolation {
    my @found;
    for my $path (grep { m{^test/isolation/specs/[^/]+\.spec$} } sort keys %tree) {
        my $name = basename($path, '.spec');
        push @found, "$path: no expected/$name.out"
            unless defined $tree{"test/isolation/expected/$name.out"};
    }
    return @found;
}

sub check_sql_functions {
    my @found;
    my $sources = join "\n", map { code_of($tree{$_}) } cpp_files();
    for my $path (grep { m{^src/install/.*\.sql$} } sort keys %tree) {
        while ($tree{$path} =~ /'MODULE_PATHNAME'\s*,\s*'(\w+)'/g) {
            my $name = $1;
            push @found, "$path: $name does not begin with pipeline_" unless $name =~ /^pipeline_/;
            push @found, "$path: no PG_FUNCTION_INFO_V1($name)"
                unless $sources =~ /PG_FUNCTION_INFO_V1\(\s*\Q$name\E\s*\)/;
        }
    }
    return @found;
}

sub check_scripts {
    my @found;
    for my $path (grep { /\.sh$/ || $_ eq '.ci/run' } sort keys %tree) {
        my $shell = $tree{$path} =~ /\A#!\s*(\/bin\/(?:ba)?sh)\b/ ? $1 : '/bin/bash';
        open(my $check, '|-', "$shell -n 2>/dev/null") or next;
        print $check $tree{$path};
        push @found, "$path: $shell cannot parse it" unless close $check;
    }
    return @found;
}

sub check_exports {
    return 'skip: no library was given' unless $library{names};
    return map { "the library exports $_" }
        grep { !/^(?:Pg_magic_func|_PG_init|pg_finfo_\w+|pipeline_\w+)$/ } @{ $library{names} };
}

# New compilers bring new warnings; the build is kept clean with the one named here.
sub check_warnings {
    return 'skip: no build log was given' unless defined $build_log;
    my ($major) = `g++ -dumpversion` =~ /^(\d+)/;
    return "skip: kept clean with g++ 12, this is g++ $major" if !$library{always} && $major != 12;
    return grep { /: warning:/ } split /\n/, $build_log;
}

sub check_format {
    my ($root) = @_;
    my $script = dirname(__FILE__) . '/format.sh';
    my $output = `bash '$script' --check '$root' 2>&1`;
    return "skip: clang-format 14 is not installed" if $? >> 8 == 77;
    return $? == 0 ? () : split /\n/, $output;
}

# ---- each check with a tree that must make it speak ----------------------------------------

my $h = "// A header.\n#pragma once\n";
my @checks = (
    ['include direction', \&check_include_direction,
        { 'src/stream/a.cpp' => qq(#include "fold/b.hpp"\n), 'src/fold/b.hpp' => $h }],
    ['pure files do not see the server', \&check_pure_files,
        { 'src/spool/chunk.cpp' => qq(#include "pg/postgres.hpp"\n), 'src/pg/postgres.hpp' => $h }],
    ['no std types with destructors in pg folders', \&check_std_types,
        { 'src/fold/a.cpp' => "#include <vector>\n" }],
    ['errors are caught in one place', \&check_crossings,
        { 'src/fold/a.cpp' => "void f() { try { g(); } catch (...) { } }\n" }],
    ['pg folders do not throw', \&check_throw, { 'src/fold/a.cpp' => "void f() { throw 1; }\n" }],
    ['version tests in one place', \&check_version_tests,
        { 'src/fold/a.cpp' => "#if PG_VERSION_NUM >= 170000\n#endif\n" }],
    ['headers', \&check_headers, { 'src/fold/a.hpp' => "// A header.\nint f();\n" }],
    ['own header first', \&check_own_header_first,
        { 'src/fold/a.hpp' => $h, 'src/fold/a.cpp' => qq(#include <cstdint>\n#include "fold/a.hpp"\n) }],
    ['unique basenames', \&check_basenames, { 'src/fold/a.cpp' => "\n", 'src/view/a.cpp' => "\n" }],
    ['file sizes', \&check_sizes, { 'src/fold/a.cpp' => "\n" x 601 }],
    ['no unfinished work', \&check_markers, { 'src/fold/a.cpp' => '// TO' . "DO: later\n" }],
    ['no paths of a machine', \&check_machine_paths, { 'README' => 'see /wo' . "rk/main\n" }],
    ['regression tests are scheduled', \&check_schedule,
        { 'test/schedule' => "test: a\n", 'sql/a.sql' => "\n", 'expected/a.out' => "\n", 'sql/b.sql' => "\n" }],
    ['isolation tests have an expected file', \&check_isolation,
        { 'test/isolation/specs/a.spec' => "\n" }],
    ['SQL functions exist', \&check_sql_functions,
        { 'src/install/10_a.sql' => "AS 'MODULE_PATHNAME', 'pipeline_none'" }],
    ['scripts parse', \&check_scripts, { 'test/a.sh' => "#!/bin/sh\nif true; then\n" }],
    ['exports', \&check_exports, {}, sub { $library{names} = ['_PG_init', '_ZNSs4_RepE'] }],
    ['no compiler warnings', \&check_warnings, {},
        sub { $library{always} = 1; $build_log = "a.cpp:1:2: warning: unused\n" }],
    ['format', \&check_format, { 'src/fold/a.cpp' => "int   f( ){return 1 ;}\n" }],
);

# Returns true when the check complains about its bad tree.
sub speaks {
    my (undef, $check, $bad, $prepare) = @{ $_[0] };
    local %tree = %$bad;
    local %library = ();
    local $build_log = undef;
    $prepare->() if $prepare;
    my $root = tempdir(CLEANUP => 1);
    for my $path (keys %$bad) {
        make_path(dirname("$root/$path"));
        open(my $out, '>', "$root/$path") or die "$path: $!";
        print $out $bad->{$path};
        close $out;
    }
    system('cp', dirname(__FILE__) . '/../../.clang-format', $root);
    my @found = $check->($root);
    return 1 if @found && $found[0] =~ m{^skip: };
    return @found > 0;
}

# ---- main ----------------------------------------------------------------------------------

my ($self_test, $root);
while (my $argument = shift @ARGV) {
    if ($argument eq '--self-test') { $self_test = 1; }
    elsif ($argument eq '--library') {
        my $file = shift @ARGV;
        $library{names} = [map { (split ' ')[-1] } `nm -D --defined-only '$file'`] if -f $file;
    }
    elsif ($argument eq '--build-log') {
        my $file = shift @ARGV;
        open(my $in, '<', $file) or die "$file: $!";
        local $/;
        $build_log = <$in>;
    }
    else { $root = $argument; }
}
die "usage: lint.pl [--self-test] [--library FILE] [--build-log FILE] ROOT\n"
    unless defined $root && -f "$root/Makefile";
%tree = load_tree($root);
my @sources = cpp_files();
die "no sources below $root/src\n" unless @sources;

my $bad = 0;
for my $entry (@checks) {
    my ($name, $check) = @$entry;
    if ($self_test && !speaks($entry)) {
        print "not ok self-test: \"$name\" is silent about a tree that breaks its rule\n";
        $bad++;
    }
    elsif ($self_test) { print "ok self-test: $name\n"; }
    my @found = $check->($root);
    if (@found && $found[0] =~ /^skip: (.*)/) { print "skipped $name: $1\n"; next; }
    print "    $_\n" for @found;
    print @found ? "not ok $name\n" : "ok $name\n";
    $bad++ if @found;
}
exit($bad ? 1 : 0);
