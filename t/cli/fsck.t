#!/usr/bin/perl
# s3pve volume fsck: what is whole is clean, and damage of any kind is found, named, and nothing else.
use v5.36;

use FindBin qw($RealBin);
use JSON::PP qw(decode_json);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Volume;

need_command(qw(qemu-io));
my $SIZE = 64 << 20;
my $dir = scratch();
my $rgw = rgw();
my $bucket = $rgw->bucket();
my $volume = S3PVE::Test::Volume->new($rgw, $bucket, "$dir/closed");
my $name = $volume->name();

# What it finds: the exit status, and "name: what" of each.
my sub fsck ($v, @options) {
    my ($status, $out) = $v->run('volume', 'fsck', '--json', @options, $v->name());
    my @said = map { decode_json($_) } split(/\n/, $out);
    my $health = pop(@said);
    my $data = $v->data();
    return ($status, $health, map { ($_->{key} =~ s!^\Q$data\E/!!r) . ": $_->{finding}" } @said);
}

# Do it, look, and undo it.
my sub found ($v, $what, $names, $code, $pattern, @options) {
    my %before = map { $_ => $v->get($_) } @$names;
    $code->();
    my ($status, $health, @findings) = fsck($v, @options);
    is($status, 1, "$what: status 1");
    is(scalar(@findings), ref($pattern) ? 1 : $pattern, '... one finding') if ref($pattern);
    like($findings[0] // '', $pattern, '... which names it') or diag(join("\n", @findings));
    is($health->{clean}, JSON::PP::false, '... not clean') if $health->{name};
    $v->put($_, $before{$_}) for @$names;
    return;
}

# --- one that was closed: everything is in a checkpoint

$volume->write(
    'back', $SIZE, 'write -P 1 0 20M', 'write -P 2 513k 1k', 'write -z 100k 64k',
    'discard 256k 64k', 'write -P 3 40M 3M', 'flush',
);
my ($status, $health, @findings) = fsck($volume, '--data');
is("$status@findings", '0', 'what was handed back is clean');
is($health->{garbage}{objects}, 0, '... without garbage');
is($health->{data}, (23 << 20) - (128 << 10), '... and it knows how much of the disk is data');
my ($code, $out, $err) = $volume->run('volume', 'fsck', $name);
like($out, qr/^\Q$name\E: clean$/m, '... in words');
is($code . $err, '0', '... and silence');

my $objects = $volume->objects();
my ($first) = $volume->log();
my $checkpoint = $volume->root()->{head}{checkpoint};
my $pages = $checkpoint =~ s/0001$/0000/r;
my $data_at = unpack('V', substr($volume->get($first), 12, 4));

found(
    $volume, 'a segment is missing', [$first],
    sub { $volume->remove($first) }, qr/^\Q$first\E: it is missing/
);
found(
    $volume, 'a byte of a header', [$first],
    sub { $volume->damage($first, 300) }, qr/^\Q$first\E: the header's sum is wrong/
);
found(
    $volume, 'no header', [$first],
    sub { $volume->damage($first, 0, 8) }, qr/^\Q$first\E: no header/
);
found(
    $volume, 'a segment that is cut', [$first],
    sub { $volume->cut($first, $objects->{$first} - 4096) },
    qr/^\Q$first\E: it has \d+ bytes instead of $objects->{$first}/
);
found(
    $volume, 'another one with its name', [$first],
    sub { $volume->put($first, $volume->get(($volume->log())[1])) },
    qr/^\Q$first\E: (?:of another name|it has)/
);
found(
    $volume, 'a byte of data', [$first],
    sub { $volume->damage($first, $data_at + 5 * 4096 + 17) },
    qr/^\Q$first\E: 1 of its 2048 blocks of data .* block 5, of the disk's block 5$/, '--data'
);
found(
    $volume, 'many of them', [$first],
    sub { $volume->damage($first, $data_at + 1500 * 4096, 40 * 4096) },
    qr/^\Q$first\E: 40 of its 2048 .* block 1500,/, '--data'
);
$volume->damage($first, $data_at + 5 * 4096);
is((fsck($volume))[0], 0, 'without --data nobody looks at it');
$volume->damage($first, $data_at + 5 * 4096);

found(
    $volume, 'an object of the map is missing', [$pages],
    sub { $volume->remove($pages) }, qr/^\Q$pages\E: it is missing/
);
found(
    $volume, 'a byte of its header', [$pages],
    sub { $volume->damage($pages, 130) }, qr/^\Q$pages\E: the header's sum is wrong/
);
my $header_len = unpack('V', substr($volume->get($pages), 12, 4));
found(
    $volume, 'a byte of a leaf', [$pages],
    sub { $volume->damage($pages, $header_len + 8) },
    qr/^\Q$pages\E: leaf 0 of the map: its sum is wrong/
);
found(
    $volume, 'a byte of a node', [$pages],
    sub { $volume->damage($pages, $objects->{$pages} - 1) },
    qr/^\Q$pages\E: node 0 of the map: its sum is wrong/
);
{
    my %before = map { $_ => $volume->get($_) } $pages;
    $volume->cut($pages, $objects->{$pages} - 1);
    ($status, $health, @findings) = fsck($volume);
    is($status, 1, 'pages that are cut: status 1');
    like($findings[0], qr/^\Q$pages\E: it has \d+ bytes instead of $objects->{$pages}/, '... size');
    like($findings[1], qr/^\Q$pages\E: node 0 of the map: it ends at/, '... and the page');
    is(scalar(@findings), 2, '... and no more');
    $volume->put($pages, $before{$pages});
}
found(
    $volume, 'a byte of the root page', [$checkpoint],
    sub { $volume->damage($checkpoint, $objects->{$checkpoint} - 3) },
    qr/^\Q$checkpoint\E: .*root page is not whole/
);
found(
    $volume, 'the root page is missing', [$checkpoint],
    sub { $volume->remove($checkpoint) }, qr/^\Q$checkpoint\E: it is missing, and with it/
);

# --- what has all its sums, and cannot be

my $root_row = sub ($bytes, $row) { # where it is in the root page
    return 40 + 20 * unpack('V', substr($bytes, 32, 4)) + 48 * $row;
};
found(
    $volume, 'a wrong count',
    [$pages, $checkpoint],
    sub {
        $volume->change_page(
            'root', 0,
            sub ($bytes) {
                my $at = $root_row->($bytes, 0) + 24;
                substr($bytes, $at, 4) = pack('V', unpack('V', substr($bytes, $at, 4)) - 1);
                return $bytes;
            }
        );
    },
    qr/^\Q$first\E: the map points to \d+ of its blocks, and says to \d+/
);
found(
    $volume, 'a place beyond its segment',
    [$pages, $checkpoint],
    sub {
        $volume->change_page(
            'leaf', 1,
            sub ($bytes) {
                substr($bytes, 4 + 4 + 2, 2) = pack('v', 2047 * 8);
                return $bytes;
            }
        );
    },
    qr/^\Q$pages\E: the disk's block 1024 is beyond its segment's end/
);
found(
    $volume, 'a place in no object',
    [$pages, $checkpoint],
    sub {
        $volume->change_page(
            'leaf', 1,
            sub ($bytes) {
                substr($bytes, 4 + 4 + 4, 4) = pack('V', 4711);
                return $bytes;
            }
        );
    },
    qr/^\Q$pages\E: the disk's block 1024 is in an object that there is not/
);

# --- the root

my $root = $volume->get('volume.json');
for my $case (
    ['no JSON', 'hello', qr/volume\.json is not one/],
    ['half of it', substr($root, 0, 100), qr/volume\.json is not one/],
    ['no size', $root =~ s/"size":\d+/"size":-1/r, qr/members that cannot be/],
    ['an epoch less', $root =~ s/"epochs":\[.*?\]/"epochs":[]/r, qr/it has no epoch/],
    [
        'an open epoch', $root =~ s/,"last":(\d+)//r,
        qr/it is closed, and its last epoch is not over/
    ],
) {
    my ($what, $text, $pattern) = @$case;
    $volume->data();
    $volume->put('volume.json', $text);
    ($code, $out) = $volume->run('volume', 'fsck', $name);
    is($code, 1, "the root has $what: status 1");
    like($out, qr!^images/100/vm-100-disk-0/volume\.json: .*$pattern!m, '... and says so');
    $volume->put('volume.json', $root);
}
$volume->put('volume.json', $root =~ s/"version":1/"version":2/r);
($code, $out, $err) = $volume->run('volume', 'fsck', $name);
is($code, 1, 'a newer version: status 1');
like($err, qr/newer version/, '... which is no finding');
$volume->put('volume.json', $root);

# --- what nothing names

$volume->put($first =~ s/-[0-9a-f]{8}$/-00000bad/r, 'x' x 5000);
$volume->put($pages =~ s/0000$/7777/r, 'x' x 100);
$volume->put('log/hello', 'x');
($status, $health, @findings) = fsck($volume, '--data');
is("$status@findings", '0', 'garbage is no damage');
is_deeply($health->{garbage}, { objects => 3, bytes => 5101 }, '... but counted');
is(($volume->run('volume', 'fsck', '100/vm-100-disk-9.raw'))[0], 3, 'no volume: status 3');

# --- one whose node died twice: its log is not in a checkpoint

my $other = S3PVE::Test::Volume->new($rgw, $rgw->bucket(), "$dir/open");
$other->write('kill', $SIZE, 'write -P 1 0 20M', 'flush');
$other->write('kill', 0, 'write -P 2 1M 10M', 'flush');
($status, $health, @findings) = fsck($other, '--data');
is("$status@findings", '0', 'what was killed is clean');
is($health->{state} . $health->{node}, 'openn1', '... and said to be in use, by whom');
like(($other->run('volume', 'fsck', $name))[1], qr/is open, by node n1/, '... in words, too');

my @log = $other->log();
my $last = $log[-1];
found(
    $other, 'a segment of an epoch that is over', [$log[1]],
    sub { $other->remove($log[1]) }, qr/^\Q$log[1]\E: it is missing/
);
found(
    $other, 'the header of one in the log', [$log[1]],
    sub { $other->damage($log[1], 300) }, qr/^\Q$log[1]\E: the header's sum is wrong/
);
found(
    $other, 'one in the log that is cut', [$log[1]],
    sub { $other->cut($log[1], 400_000) }, qr/^\Q$log[1]\E: it has 400000 bytes instead of/
);
found(
    $other, 'data in the log', [$last],
    sub { $other->damage($last, $other->objects()->{$last} - 10) },
    qr/^\Q$last\E: 1 of its \d+ blocks of data are damaged/, '--data'
);
found(
    $other, 'epochs that do not meet',
    ['volume.json'],
    sub {
        my $epochs = $other->root()->{epochs};
        shift(@$epochs);
        $other->set_root(epochs => $epochs);
    },
    qr/volume\.json: no epoch has segment 1/
);

# --- two nodes had it at once

my $stranger = $last =~ s/-[0-9a-f]{8}$/-00000bad/r;
$other->put($stranger, 'x' x 5000);
($status, $health, @findings) = fsck($other);
is($status, 1, 'a segment of a stranger: status 1');
is("@findings", "$stranger: it is of an owner whom volume.json does not know", '... is found');
$other->remove($stranger);

# --- the last of an epoch that is not over may have been on its way

$other->remove($last);
($status, $health, @findings) = fsck($other);
is("$status@findings", '0', 'the last segment of who died may never have been stored');

done_testing();
