#!/usr/bin/perl
# s3pve-format(5) says how a volume is kept: a reader written from it gets the disk that was written.
use v5.36;

use FindBin qw($RealBin);
use JSON::PP qw(decode_json);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Format;
use S3PVE::Test::Volume;

need_command(qw(qemu-io));
my $dir = scratch();
my $rgw = rgw();
my $SIZE = (32 << 20) + 512;

my $model = spew("$dir/model", '');
my $bucket = $rgw->bucket();
my $volume = S3PVE::Test::Volume->new($rgw, $bucket, "$dir/volume");

my sub write_both ($end, $create, @commands) {
    $volume->write($end, $create, @commands);
    truncate($model, $create) if $create;
    run_ok('qemu-io', '-f', 'raw', $model, map { ('-c', s/discard/write -z/r) } @commands);
    return;
}

my sub get ($key) {
    my ($code, $out, $err) = s3pve($rgw, $bucket, 'cat', $key);
    die $err if $code != 0;
    return $out;
}

my sub list ($prefix) {
    my (undef, $out) = s3pve($rgw, $bucket, 'ls', '-r', $prefix);
    return split(/\n/, $out);
}

my sub reader ($folder) {
    return S3PVE::Test::Format->new(\&get, \&list, $folder);
}

is(S3PVE::Test::Format::crc32c('123456789'), 0xe3069283, 'its CRC is that of RFC 3720');

write_both(
    'back', $SIZE, 'write -P 1 0 1M', 'write -P 2 513k 1k', 'write -z 100k 64k',
    'discard 256k 64k', 'write -P 3 17M 300k', 'write -P 4 33554432 512', 'flush',
);
my $folder = 'images/100/vm-100-disk-0';
my $read = reader($folder);
cmp_ok(scalar($read->{rows}->@*), '>', 3, 'closed: it has a checkpoint with rows');
is($read->{root}{owner}{state}, 'closed', '... and is nobody\'s');
ok($read->disk() eq slurp($model), '... and the disk is what was written');

write_both('kill', 0, 'write -P 5 2M 200k', 'write -z 0 64k', 'discard 512k 4k', 'flush');
write_both('kill', 0, 'write -P 6 2M 8k', 'write -P 7 5M 1k', 'flush');
$read = reader($folder);
is($read->{root}{owner}{state}, 'open', 'killed twice: it is somebody\'s');
cmp_ok($read->{seq} - $read->{root}{head}{seq}, '>', 2, '... and has a log');
ok($read->disk() eq slurp($model), '... and the disk is what was written');

# What only the journal has: nothing says that it has to be in the bucket.
write_both(['kill', '-d', 'node'], 0, 'write -P 8 3M 100k', 'discard 17M 4k', 'write -P 9 3M 1k');
my ($journal) = glob("$dir/volume/state/*/journal");
$read = reader($folder);
ok($read->disk() ne slurp($model), 'killed before it was stored: the bucket does not have it');
cmp_ok($read->replay(slurp($journal)), '>=', 3, '... but the journal has records');
ok($read->disk() eq slurp($model), '... with which the disk is what was written');

# --- other objects and members

my $node = decode_json(get('.s3pve/nodes/n1.json'));
is("$node->{format} $node->{version} $node->{node}", 'nodelease 1 n1', 'a node says that it lives');
is($node->{incarnation}, $read->{root}{owner}{incarnation}, '... in that boot');
like($node->{counter}, qr/^\d+$/, '... with a counter');

my sub volume (@args) {
    return run_ok('s3pve', 'volume', @args, '-c', $rgw->{config}, '-b', $bucket);
}
volume('create', '7/vm-7-disk-0.raw', '1M');
volume('mv', '7/vm-7-disk-0.raw', '8/vm-8-disk-3.raw');
$read = reader('images/8/vm-8-disk-3');
like($read->{data}, qr!^images/7/vm-7-disk-0/d-[0-9a-f]{8}$!, 'data stays where it was');
cmp_ok(abs($read->{root}{created} - time()), '<', 300, '... and it knows when it was made');
is($read->disk(), "\0" x (1 << 20), 'a volume without a checkpoint is all zeroes');
volume('create', '7/vm-7-disk-1.qcow2');
$read = reader('images/7/vm-7-disk-1.qcow2');
is($read->{root}{length}, 0, 'a file that grows has a length');

done_testing();
