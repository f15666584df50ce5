#!/usr/bin/perl
# Programs at work on volumes as files: fio with verification, QEMU's tools, cp, and a mapping that
# is shared with the file, as swtpm has it.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
need_command(qw(fio qemu-img qemu-io cmp cp dd python3));

use constant { MIB => 1 << 20 };

my $rgw = rgw();
my $daemon = S3PVE::Test::Daemon->new($rgw, $rgw->bucket(), durability => 'node');
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
my $dir = "$daemon->{mnt}/images/100";
ok(mkdir($dir), 'a guest');

my sub make ($file, $size) {
    my $answer = $daemon->ask('volume-create', name => "100/$file", size => $size);
    die "volume-create: $answer->{error}\n" if !$answer->{ok};
    return "$dir/$file";
}

my sub works ($what, @cmd) {
    my ($code, $out, $err) = run_cmd({ timeout => 300 }, @cmd);
    is($code, 0, $what) or diag("@cmd\n$out$err");
    return $out;
}

# --- fio

my $disk = make('vm-100-disk-0.raw', 64 * MIB);
for my $engine (qw(psync libaio io_uring)) {
    for my $direct (0, 1) {
        works(
            "$engine, " . ($direct ? 'direct' : 'through pages') . ': fio reads what it wrote',
            'fio', '--name=t', "--filename=$disk", '--rw=randwrite', '--bsrange=512-64k',
            '--bs_unaligned=' . ($direct ? 0 : 1), '--size=64m', '--io_size=8m',
            "--ioengine=$engine", "--direct=$direct", '--iodepth=16', '--fsync=100',
            '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--group_reporting',
        );
    }
}
works(
    'four processes at once, each in its quarter', 'fio', '--name=t', "--filename=$disk",
    '--rw=randrw', '--bs=4k', '--size=16m', '--io_size=4m', '--offset_increment=16m',
    '--numjobs=4', '--ioengine=io_uring', '--direct=1', '--iodepth=16', '--verify=crc32c',
    '--verify_fatal=1', '--verify_state_save=0', '--group_reporting',
);

# --- QEMU's tools

my $raw = "$daemon->{dir}/source.raw";
open(my $out, '>', $raw) or die "$raw: $!\n";
open(my $random, '<', '/dev/urandom') or die "/dev/urandom: $!\n";
for my $at (0, 3, 4, 20, 31) {
    read($random, my $data, MIB - 7);
    seek($out, $at * MIB, 0);
    print {$out} $data;
}
truncate($out, 32 * MIB);
close($out) or die "$raw: $!\n";

my $copy = make('vm-100-disk-1.raw', 32 * MIB);
works(
    'qemu-img convert onto a volume', 'qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw',
    $raw, $copy
);
works('... has the same bytes', 'cmp', $raw, $copy);
works('... as QEMU sees it', 'qemu-img', 'compare', '-f', 'raw', '-F', 'raw', $raw, $copy);
my $map = works('... and its holes', 'qemu-img', 'map', '--output=json', '-f', 'raw', $copy);
like($map, qr/"data": false/, '... of which there are some');
works(
    'qemu-img convert past the cache', 'qemu-img', 'convert', '-n', '-t', 'none', '-T', 'none',
    '-f',
    'raw', '-O', 'raw', $raw, $copy,
);
works('... has the same bytes', 'cmp', $raw, $copy);
like(
    works('qemu-img info', 'qemu-img', 'info', '-f', 'raw', $copy),
    qr/virtual size: 32 MiB/, '... knows the size'
);

for my $format (qw(qcow2 vmdk)) {
    my $image = "$dir/vm-100-disk-2.$format";
    works("qemu-img create $format", 'qemu-img', 'create', '-f', $format, $image, '40M');
    works(
        '... and qemu-io writes to it', 'qemu-io', '-f', $format, '-c', 'write -P 7 1M 3M',
        '-c',
        'write -z 2M 64k', '-c', 'flush', $image,
    );
    works('... and it is sound', 'qemu-img', 'check', '-f', $format, $image) if $format eq 'qcow2';
    my $read = works(
        '... and it is read', 'qemu-io', '-f', $format, '-c', 'read -P 7 1M 1M', '-c',
        'read -P 0 2M 64k', $image,
    );
    unlike($read, qr/verification failed/, '... rightly');
    cmp_ok(-s $image, '<', 10 * MIB, '... and it is no larger than need be');
    my $whole = "$dir/vm-100-disk-3.$format";
    works("qemu-img convert to $format", 'qemu-img', 'convert', '-O', $format, $raw, $whole);
    works('... is the same disk', 'qemu-img', 'compare', '-f', 'raw', $raw, $whole);
    works(
        '... also as raw again', 'qemu-img', 'convert', '-O', 'raw', $whole,
        "$dir/vm-100-disk-4.raw"
    );
    works('... with the same bytes', 'cmp', $raw, "$dir/vm-100-disk-4.raw");
    ok(unlink($image, $whole, "$dir/vm-100-disk-4.raw") == 3, '... and all go');
}
works('qemu-img create raw', 'qemu-img', 'create', '-f', 'raw', "$dir/vm-100-disk-5.raw", '5M');
is(-s "$dir/vm-100-disk-5.raw", 5 * MIB, '... makes a file of that length');
works('qemu-img resize', 'qemu-img', 'resize', '-f', 'raw', "$dir/vm-100-disk-5.raw", '7M');
is(-s "$dir/vm-100-disk-5.raw", 7 * MIB, '... makes it longer');
works(
    '... and shorter', 'qemu-img', 'resize', '--shrink', '-f', 'raw', "$dir/vm-100-disk-5.raw",
    '3M'
);
is(-s "$dir/vm-100-disk-5.raw", 3 * MIB, '... as it is a file');
works('qemu-img resize of a volume', 'qemu-img', 'resize', '-f', 'raw', $copy, '33M');
is(-s $copy, 33 * MIB, '... makes it larger');

# --- cp, dd

works('cp out of images', 'cp', $copy, "$daemon->{dir}/copy.raw");
works('... has the same bytes', 'cmp', $copy, "$daemon->{dir}/copy.raw");
cmp_ok((stat("$daemon->{dir}/copy.raw"))[12] * 512, '<', 8 * MIB, '... and the same holes');
works('cp --sparse=always', 'cp', '--sparse=always', $raw, "$dir/vm-100-disk-6.raw");
works('... has the same bytes', 'cmp', $raw, "$dir/vm-100-disk-6.raw");
is(-s "$dir/vm-100-disk-6.raw", 32 * MIB, '... and length');
works('dd conv=sparse', 'dd', "if=$raw", "of=$copy", 'bs=64k', 'conv=sparse', 'status=none');
is(-s $copy, 33 * MIB, '... onto a volume leaves its length');
works('... and has the same bytes', 'cmp', '-n', 32 * MIB, $raw, $copy);
works('dd oflag=direct', 'dd', "if=$raw", "of=$copy", 'bs=1M', 'oflag=direct', 'conv=notrunc');
works('... has the same bytes', 'cmp', '-n', 32 * MIB, $raw, $copy);

# --- a shared mapping

my $tpm = make('vm-100-disk-7.raw', 4 * MIB);
spew("$daemon->{dir}/map.py", <<'EOP');
import fcntl, mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
try:
    os.ftruncate(f, 300000)
    sys.exit('it shrank')
except OSError:
    pass
m = mmap.mmap(f, 4 << 20, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
for i in range(0, 4 << 20, 5000):
    m[i:i + 8] = b'%08d' % i
m.flush()
assert os.pread(f, 8, 5000) == b'00005000', 'a read does not see it'
os.pwrite(f, b'by write', 10000)
assert m[10000:10008] == b'by write', 'the mapping does not see a write'
m[15000:15008] = b'not yet.'
m.close()
os.close(f)
EOP
works('a shared mapping works', 'python3', "$daemon->{dir}/map.py", $tpm);
my $mapped = slurp($tpm);
is(substr($mapped, 20000, 8), '00020000', '... and what was written through it is there');
is(substr($mapped, 15000, 8), 'not yet.', '... even what was not synced');
is(substr($mapped, 10000, 8), 'by write', '... and what was written beside it');

# --- it is all in the bucket

is($daemon->stop(), 0, 'the daemon ends well') or diag($daemon->output());
ok($daemon->start() && $daemon->settle(), '... and starts again') or diag($daemon->output());
works('the volume is as it was', 'cmp', '-n', 32 * MIB, $raw, $copy);
works('... and the file', 'cmp', $raw, "$dir/vm-100-disk-6.raw");
is($daemon->stop(), 0, 'the daemon ends well') or diag($daemon->output());
done_testing();
