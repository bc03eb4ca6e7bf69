# The examples of the pages in docs/: every block of SQL runs as it stands, in order, in a fresh database
# per page. A block that begins with "-- fails" must fail. A block of text right after one of SQL is
# what psql shows, lines left out.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use PipelineTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Pages that show statements which are not to be run one after the other.
my %no_examples = map { $_ => 1 } qw(how-it-works performance pipelinedb-compatibility replication);

# What psql shows, errors and notices where they come.
sub shown {
    my ($node, $block, $db) = @_;
    my $out = '';
    IPC::Run::run([ $node->installed_command('psql'), '-Xq', '-d', $node->connstr($db) ],
        '<', \$block, '>', \$out, '2>&1');
    return $out;
}

# The lines of the page that do not come in what was shown, in their order.
sub lines_missing {
    my ($text, $shown) = @_;
    my @shown = map { s/\s+/ /gr =~ s/^ | $//gr } split /\n/, $shown;
    my @missing;
    for my $line (map { s/\s+/ /gr =~ s/^ | $//gr } grep { /\S/ } split /\n/, $text) {
        my ($i) = grep { $shown[$_] eq $line } 0 .. $#shown;
        if (defined $i) { splice @shown, 0, $i + 1 } else { push @missing, $line }
    }
    return @missing;
}

my $node = new_node('docs', 'wal_level' => 'replica');
my @pages = sort map { m{([^/]+)\.md$} } glob "$FindBin::RealBin/../../docs/*.md";
cmp_ok(scalar @pages, '>', 5, 'there are pages');

for my $page (grep { !$no_examples{$_} } @pages) {
    my $text = slurp_file("$FindBin::RealBin/../../docs/$page.md");
    my @blocks = $text =~ /^```sql\n(.*?)^```\n(?:```text\n(.*?)^```)?/gms;
    cmp_ok(scalar @blocks, '>', 0, "$page has examples");
    (my $db = "docs_$page") =~ tr/-/_/;
    $node->safe_psql('postgres', "CREATE DATABASE $db");
    $node->safe_psql($db, 'CREATE EXTENSION pipeline_ext') unless $text =~ /CREATE EXTENSION pipeline_ext/;
    for (my $i = 0; $i < @blocks; $i += 2) {
        my ($block, $text) = @blocks[ $i, $i + 1 ];
        my $name = "$page, example " . ($i / 2 + 1);
        my $out = shown($node, $block, $db);
        my @errors = grep { /^(?:ERROR|FATAL|PANIC):/ } split /\n/, $out;
        if ($block =~ /^-- fails/) {
            isnt("@errors", '', "$name: fails, as it says");
        } else {
            is("@errors", '', $name) or diag($block);
        }
        is(join("\n", lines_missing($text, $out)), '', "$name: shows what the page shows") or diag($out)
            if defined $text;
    }
    is($node->safe_psql($db, 'SELECT pipelinedb.flush()'), 't', "$page: all is folded");
    is($node->safe_psql($db, "SELECT name, message FROM pipelinedb.views WHERE state = 'failed'"), '',
        "$page: no view has failed");
}
$node->stop;
done_testing();
