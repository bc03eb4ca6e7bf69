# The examples of the pages in docs/: every block of SQL runs as it stands, in order, in a fresh database
# per page. A block that begins with "-- fails" must fail.
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

my $node = new_node('docs', 'wal_level' => 'replica');
my @pages = sort map { m{([^/]+)\.md$} } glob "$FindBin::RealBin/../../docs/*.md";
cmp_ok(scalar @pages, '>', 5, 'there are pages');

for my $page (grep { !$no_examples{$_} } @pages) {
    my $text = slurp_file("$FindBin::RealBin/../../docs/$page.md");
    my @blocks = $text =~ /^```sql\n(.*?)^```/gms;
    cmp_ok(scalar @blocks, '>', 0, "$page has examples");
    (my $db = "docs_$page") =~ tr/-/_/;
    $node->safe_psql('postgres', "CREATE DATABASE $db");
    $node->safe_psql($db, 'CREATE EXTENSION pipeline_ext') unless $text =~ /CREATE EXTENSION pipeline_ext/;
    for my $i (0 .. $#blocks) {
        my ($out, @errors) = run_script($node, $blocks[$i], db => $db);
        if ($blocks[$i] =~ /^-- fails/) {
            isnt("@errors", '', "$page, example " . ($i + 1) . ': fails, as it says');
        } else {
            is("@errors", '', "$page, example " . ($i + 1)) or diag($blocks[$i]);
        }
    }
    is($node->safe_psql($db, 'SELECT pipelinedb.flush()'), 't', "$page: all is folded");
    is($node->safe_psql($db, "SELECT name, message FROM pipelinedb.views WHERE state = 'failed'"), '',
        "$page: no view has failed");
}
$node->stop;
done_testing();
