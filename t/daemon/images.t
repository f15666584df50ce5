#!/usr/bin/perl
# A volume as a file, one operation after the other.
use v5.36;

use Errno qw(EEXIST EINVAL ENOSPC ENXIO EOPNOTSUPP EPERM);
use Fcntl qw(O_RDONLY O_RDWR O_WRONLY O_CREAT O_TRUNC O_APPEND SEEK_SET);
use FindBin qw($RealBin);
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
need_command('fallocate', 'losetup');

use constant { SEEK_DATA => 3, SEEK_HOLE => 4, KIB => 1024, MIB => 1 << 20 };

my $rgw = rgw();
my $daemon = S3PVE::Test::Daemon->new($rgw, $rgw->bucket());
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
my $images = "$daemon->{mnt}/images";

my sub make ($name, @size) {
    my $answer = $daemon->ask('volume-create', name => $name, @size ? (size => $size[0]) : ());
    die "volume-create: $answer->{error}\n" if !$answer->{ok};
    return "$images/$name";
}

my sub open_file ($path, $flags) {
    sysopen(my $fh, $path, $flags) or die "$path: $!\n";
    return $fh;
}

my sub put ($fh, $offset, $data) {
    sysseek($fh, $offset, SEEK_SET) // die "seek: $!\n";
    return syswrite($fh, $data);
}

my sub get ($fh, $offset, $length) {
    sysseek($fh, $offset, SEEK_SET) // die "seek: $!\n";
    sysread($fh, my $data, $length) // die "read: $!\n";
    return $data;
}

my sub seek_to ($fh, $offset, $whence) {
    local $! = 0;
    my $at = sysseek($fh, $offset, $whence);
    return defined($at) ? 0 + $at : $! + 0 == ENXIO ? 'none' : "$!";
}

my sub size_of ($path) { return (stat($path))[7] }

# --- a volume of a fixed size

my $SIZE = 8 * MIB + 512;
my $disk = make('100/vm-100-disk-0.raw', $SIZE);
is(size_of($disk), $SIZE, 'a new volume is there at once, with its size to the byte');
is((stat($disk))[2] & 07777, 0640, '... and not for everybody');
my $fh = open_file($disk, O_RDWR);
is(get($fh, 0, 10), "\0" x 10, 'it reads as zeroes');
is(get($fh, $SIZE - 100, 4096), "\0" x 100, '... up to its end');
is(get($fh, $SIZE, 10), '', '... and no further');
is(seek_to($fh, 0, SEEK_DATA), 'none', 'there is no data in it');
is(seek_to($fh, 5, SEEK_HOLE), 5, '... but a hole all over');

is(put($fh, 3 * MIB + 5, 'here'), 4, 'a few bytes in the middle of a block');
is(get($fh, 3 * MIB, 12), "\0" x 5 . 'here' . "\0" x 3, '... are read back with what is around');
is(put($fh, $SIZE - 4, 'at the end'), 4, 'a write over the end is cut');
is(put($fh, $SIZE, 'x'), undef, '... and one behind it');
is($! + 0, ENOSPC, '... is told that there is no space');
is(get($fh, $SIZE - 8, 100), "\0" x 4 . 'at t', '... as reading shows');
ok($fh->sync(), 'fsync');

my $model = "\0" x $SIZE;
substr($model, 3 * MIB + 5, 4) = 'here';
substr($model, $SIZE - 4, 4) = 'at t';
srand(7);
for (1 .. 200) {
    my $at = int(rand($SIZE - 70_000));
    my $data = chr(65 + rand(26)) x (1 + rand($_ % 5 ? 3000 : 70_000));
    put($fh, $at, $data) == length($data) or die "write: $!\n";
    substr($model, $at, length($data)) = $data;
}
ok(get($fh, 0, $SIZE) eq $model, 'two hundred writes here and there are all right');
my $other = open_file($disk, O_RDONLY);
ok(get($other, 0, $SIZE) eq $model, '... also for who opens it now');
close($other);

# --- holes

put($fh, MIB - 10, 'd' x 10);
put($fh, 3 * MIB, 'd');
substr($model, MIB - 10, 10) = 'd' x 10;
substr($model, 3 * MIB, 1) = 'd';
substr($model, 1 * MIB, 2 * MIB) = "\0" x (2 * MIB);
is((run_cmd('fallocate', '-p', '-o', MIB, '-l', 2 * MIB, $disk))[0], 0, 'a hole is punched');
is(seek_to($fh, 2 * MIB, SEEK_DATA), 3 * MIB, '... until where data goes on');
is(seek_to($fh, MIB - 1, SEEK_HOLE), MIB, '... and where it begins');
substr($model, 5 * MIB + 7, 9000) = "\0" x 9000;
is(
    (run_cmd('fallocate', '-z', '-o', 5 * MIB + 7, '-l', 9000, $disk))[0],
    0, 'a range of odd bytes is made zeroes'
);
ok(get($fh, 0, $SIZE) eq $model, '... and the rest is as it was');
is((run_cmd('fallocate', '-l', $SIZE, $disk))[0], 0, 'space for it is there already');
is((run_cmd('fallocate', '-n', '-l', 2 * $SIZE, $disk))[0], 0, '... and beyond, if none shows');
is(size_of($disk), $SIZE, '... which changes nothing');
is(
    (run_cmd('fallocate', '-p', '-o', $SIZE + 4096, '-l', 4096, $disk))[0],
    0, 'a hole behind the end is none'
);
isnt((run_cmd('fallocate', '-c', '-o', 0, '-l', 4096, $disk))[0], 0, 'nothing is cut out of it');

# --- length

ok(!truncate($disk, 100), 'it does not shrink');
is($! + 0, EPERM, '... which is not permitted');
ok(!truncate($fh, $SIZE - 1), '... nor by a descriptor');
ok(!truncate($fh, $SIZE + 1), 'it does not grow by a byte');
is($! + 0, EINVAL, '... as sectors are whole');
ok(truncate($fh, $SIZE), 'its own length is nothing new');
ok(truncate($fh, $SIZE + 512), 'it grows by a sector');
is(size_of($disk), $SIZE + 512, '... exactly');
is(
    $daemon->ask('volume-stat', name => '100/vm-100-disk-0.raw')->{size}, $SIZE + 512,
    '... for all'
);
is(put($fh, $SIZE, 'x' x 600), 512, '... and can be written there');
is((run_cmd('fallocate', '-l', 9 * MIB, $disk))[0], 0, 'it grows as space is asked for');
is(size_of($disk), 9 * MIB, '... to that size');
my $answer = $daemon->ask('volume-resize', name => '100/vm-100-disk-0.raw', size => 10 * MIB);
ok($answer->{ok}, 'it grows by command') or diag($answer->{error});
is(size_of($disk), 10 * MIB, '... which shows at once');
is((stat($fh))[7], 10 * MIB, '... also where it is open');
is(put($fh, 10 * MIB - 3, 'end'), 3, '... and can be written there');
$model = substr($model . 'x' x 512 . "\0" x (2 * MIB), 0, 10 * MIB - 3) . 'end';
ok(get($fh, 0, 11 * MIB) eq $model, 'all of it is as it should be');

my $cut = open_file($disk, O_WRONLY | O_TRUNC);
close($cut) or die "close: $!\n";
is(size_of($disk), 10 * MIB, 'O_TRUNC leaves the length');
ok(get($fh, 0, 11 * MIB) eq "\0" x (10 * MIB), '... and zeroes');
close($fh) or die "close: $!\n";

# --- attributes

ok(chmod(0600, $disk), 'chmod');
is((stat($disk))[2] & 07777, 0600, '... is remembered');
ok(chown(1000, 1001, $disk), 'chown');
is_deeply([(stat($disk))[4, 5]], [1000, 1001], '... is remembered');
ok(utime(1_600_000_000, 1_600_000_001, $disk), 'utimes');
is((stat($disk))[9], 1_600_000_001, '... is remembered');
my $base = make('100/base-100-disk-0.raw', MIB);
is((stat($base))[2] & 07777, 0444, 'a base image is not to be written');

# --- the same volume by NBD

my $activated = $daemon->ask('volume-activate', name => '100/vm-100-disk-0.raw');
ok($activated->{ok}, 'it is active') or diag($activated->{error});
SKIP: {
    skip('no qemu-io', 4) if !grep { -x "$_/qemu-io" } split(/:/, $ENV{PATH});
    my $uri = "nbd+unix:///$activated->{export}?socket=$activated->{socket}";
    spew("$daemon->{dir}/pattern", 'p' x 65536);
    run_ok('dd', "if=$daemon->{dir}/pattern", "of=$disk", 'bs=64k', 'seek=3', 'conv=notrunc');
    my $read = run_ok('qemu-io', '-f', 'raw', '-c', 'read -P 0x70 192k 64k', $uri);
    unlike($read, qr/Pattern verification failed/, 'NBD reads what the file got');
    run_ok('qemu-io', '-f', 'raw', '-c', 'write -P 0x71 256k 64k', $uri);
    my $got = open_file($disk, O_RDONLY);
    ok(get($got, 256 * KIB, 64 * KIB) eq 'q' x 65536, 'who opens the file reads what NBD wrote');
    run_ok('qemu-io', '-f', 'raw', '-c', 'write -P 0x72 256k 64k', $uri);
    my $direct = run_ok('dd', "if=$disk", 'bs=64k', 'skip=4', 'count=1', 'iflag=direct');
    ok($direct eq 'r' x 65536, 'who has no use for pages reads it whenever he opened');
    close($got);
    $got = open_file($disk, O_RDONLY);
    ok(get($got, 256 * KIB, 64 * KIB) eq 'r' x 65536, '... and who opens it again, too');
}
$answer = $daemon->ask('volume-deactivate', name => '100/vm-100-disk-0.raw');
ok($answer->{ok}, 'it is handed back') or diag($answer->{error});

is($daemon->stop(), 0, 'the daemon ends well') or diag($daemon->output());
done_testing();
