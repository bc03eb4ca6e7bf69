# Seeded random rows for the oracle test, as text values, and how SQL and COPY write them down.
#
# Whatever is summed as a float comes from one sign and few magnitudes, so that the order of
# additions matters in the last digits only; extremes are in columns of their own. NaN and
# infinities of f8 come in some groups only, so that the others keep their numbers.
package OracleRows;
use strict;
use warnings;
use utf8;
use Exporter qw(import);

our @EXPORT = qw(@columns seed_rows chance pick make_row values_list copy_line);

our @columns = (
    [ i2    => 'int2' ],           [ i4   => 'int4' ],         [ i8   => 'int8' ],
    [ n     => 'numeric' ],        [ n2   => 'numeric(12,3)' ], [ nx   => 'numeric' ],
    [ f4    => 'float4' ],         [ f8   => 'float8' ],       [ fx   => 'float8' ],
    [ y     => 'float8' ],         [ t    => 'text' ],         [ v    => 'varchar(20)' ],
    [ c     => 'char(5)' ],        [ b    => 'bool' ],         [ u    => 'uuid' ],
    [ ts    => 'timestamptz' ],    [ lt   => 'timestamp' ],    [ d    => 'date' ],
    [ tod   => 'time' ],           [ iv   => 'interval' ],     [ j    => 'jsonb' ],
    [ e     => 'mood' ],           [ ia   => 'int4[]' ],       [ bits => 'bit(8)' ],
    [ ip    => 'inet' ],           [ wide => 'text' ]);

# xorshift: the same rows on every machine and Perl.
my $random;
sub seed_rows { $random = ($_[0] ^ 0x5DEECE6) & 0xFFFFFFFF || 1; chance(2) for 1 .. 20; }

sub chance {
    my ($n) = @_;
    $random ^= ($random << 13) & 0xFFFFFFFF;
    $random ^= $random >> 17;
    $random ^= ($random << 5) & 0xFFFFFFFF;
    return $random % $n;
}

sub pick { return $_[ chance(scalar @_) ]; }

my @words = ('', 'a', 'A', 'b', 'straße', 'STRASSE', 'Ünïcödé', 'ünïcödé', '日本語', "\x{1F600}",
    "e\x{301}", "\x{e9}", 'O\'Brien', 'back\\slash', "tab\there", "two\nlines", 'NULL', '\\N',
    '%_', '"quoted"', ' padded ', 'abcdefghijklmnopqrst', "\x{202e}rtl", '{}', '1');
my @zones = ('+00', '-05', '+05:30', '-08', '+14', '-12', '+12:45', ' Europe/Berlin',
    ' America/New_York', ' Asia/Tokyo', '');
my @days = ('2023-03-11', '2023-03-12', '2023-03-13', '2023-11-04', '2023-11-05', '2023-11-06',
    '2023-03-26', '2023-10-29', '2024-02-29', '1999-12-31', '2000-01-01');

sub timestamp_text {
    my ($zone) = @_;
    return pick('infinity', '-infinity') if chance(60) == 0;
    return pick('4713-01-01 00:00:00+00 BC', '1600-06-01 12:00:00+00', '9999-12-31 23:59:59+00')
        if $zone && chance(60) == 0;
    my $text = sprintf '%s %02d:%02d:%02d%s', pick(@days), chance(24), pick(0, 0, 30, 59),
        pick(0, 0, 1, 59), pick('', '', '.5', '.000001', '.999999');
    return $zone ? $text . pick(@zones) : $text;
}

sub interval_text {
    return pick('0', '1 day', '24 hours', '1 month', '30 days', '-1 mon +1 day', '00:00:00.000001',
        '1 year 2 mons 3 days 04:05:06.789', '-3 days -04:05:06', chance(1000) . ' minutes');
}

# Letters that no compression makes small.
sub noise { return join '', map { chr(97 + chance(26)) } 1 .. $_[0]; }

# A row of text values in the order of @columns, undef for NULL.
sub make_row {
    my $key = chance(20);
    my $x = 1 + chance(100_000) / 997;
    my $special = $key % 7 == 3 && chance(10) == 0;
    my %row = (
        i2 => chance(40) == 0 ? pick(-32768, 32767, 0) : $key,
        i4 => chance(30) == 0 ? pick(-2147483648, 2147483647, 0) : chance(200) - 100,
        i8 => chance(30) == 0 ? pick('-9223372036854775808', '9223372036854775807', 0)
            : chance(1_000_000_000) - 500_000_000,
        n  => pick(chance(1000), sprintf('%.2f', chance(100_000) / 100), '-0.5', '0.00', '0',
            '1e20', '12345678901234567890.123456789', '-1e-30', '1.10', '1.1'),
        n2 => sprintf('%.3f', chance(1_000_000) / 1000 - 500),
        nx => $key % 7 == 2 ? pick('NaN', 'Infinity', '-Infinity', 1)
            : pick('1e300', '-1e300', '1e-200', '99999.99999', '0', '3'),
        f4 => (chance(4000) - 2000) / 4,
        f8 => $special ? pick('NaN', 'Infinity', '-Infinity') : sprintf('%.12g', $x),
        fx => pick('NaN', 'Infinity', '-Infinity', '0', '-0', '1e308', '-1e308', '5e-324', '0.1',
            '0.30000000000000004', chance(50)),
        y  => sprintf('%.12g', 3 * $x + chance(1000) / 10),
        t  => pick(@words) . (chance(3) == 0 ? chance(10) : ''),
        v  => pick(@words[ 0 .. 8 ]),
        c  => pick('a', 'ab', 'ab   ', 'é', '', 'abcde'),
        b  => pick('t', 'f'),
        u  => sprintf('%08x-0000-4000-8000-%012x', chance(8), chance(4)),
        ts => timestamp_text(1),
        lt => timestamp_text(0),
        d  => chance(40) == 0 ? pick('infinity', '-infinity', '4713-01-01 BC') : pick(@days),
        tod => sprintf('%02d:%02d', chance(24), pick(0, 30)),
        iv => interval_text(),
        j  => pick('{}', '[]', 'null', '{"a": 1}', '{"a": 1.0, "b": [1, 2]}', '"x"',
            '{"a": "é"}', '{"a": {"b": ' . chance(4) . '}}'),
        e  => pick('sad', 'ok', 'happy'),
        ia => pick('{}', '{1}', '{1,NULL,3}', '{{1,2},{3,4}}', '[5:6]={7,8}',
            '{' . join(',', map { chance(5) } 1 .. chance(6)) . '}'),
        bits => sprintf('%08b', chance(256) | chance(4)),
        ip => pick('10.0.0.' . chance(4), '10.0.0.0/8', '::1', '2001:db8::/32'),
        wide => chance(400) == 0 ? noise(9000 + chance(12_000))
            : chance(50) == 0 ? 'x' x (3000 + chance(3000)) : noise(chance(8)),
    );
    for my $name (keys %row) {
        $row{$name} = undef if chance(12) == 0;
    }
    return [ map { $row{ $_->[0] } } @columns ];
}

sub literal {
    my ($value) = @_;
    return 'NULL' unless defined $value;
    $value =~ s/'/''/g;
    return "'$value'";
}

sub values_list {
    return join ",\n", map { '(' . join(', ', map { literal($_) } @$_) . ')' } @_;
}

my %escapes = ("\\" => '\\\\', "\t" => '\\t', "\n" => '\\n');

sub copy_line {
    return join("\t", map {
        my $value = $_;
        $value =~ s/([\\\t\n])/$escapes{$1}/g if defined $value;
        defined $value ? $value : '\\N';
    } @{ $_[0] }) . "\n";
}

1;
