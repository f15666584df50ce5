#!/usr/bin/perl
# A container that has its file systems on the storage: Proxmox's pct, up to the mount.
use v5.36;

use Digest::SHA;
use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Harness;
use S3PVE::Test;

my $pve = S3PVE::Harness->start();
$pve->need_program('lxc-start', 'zstd');
my $rgw = rgw();
my $bucket = $pve->add_disks($rgw);

my sub config ($vmid, $key) { return $pve->config('pct', $vmid, $key) // '' }

# A template that is little but data.
my $noise = join('', map { pack('N', rand(1 << 32)) } 1 .. 1_000_000); # 4 MB
my $rootfs = "$pve->{root}/rootfs";
run_ok('mkdir', '-p', map { "$rootfs/$_" } qw(etc sbin bin dev proc sys tmp root var));
spew("$rootfs/etc/data", $noise);
run_ok('tar', '-C', $rootfs, '--zstd', '-cf', "$pve->{root}/t.tar.zst", '.');
$pve->must('cp', "$pve->{root}/t.tar.zst", '/mnt/pve/st/template/cache/mini_1.0_amd64.tar.zst');
my $sum = Digest::SHA::sha256_hex($noise);

# What is in the container, while it is mounted; and run something there.
my sub data ($vmid, $shell = 'true') {
    $pve->must('pct', 'mount', $vmid);
    my $root = "/var/lib/lxc/$vmid/rootfs";
    my $got = $pve->must('sh', '-c', "cd $root && $shell && sha256sum etc/data");
    $pve->must('pct', 'unmount', $vmid);
    return substr($got, 0, 64);
}

$pve->must(
    qw(pct create 200 st:vztmpl/mini_1.0_amd64.tar.zst --ostype unmanaged --memory 64),
    '--rootfs', 'st:0.125', '--mp0', 'st:0.0625,mp=/data,backup=1'
);
my $disk = '200/vm-200-disk-0.raw';
is(config(200, 'rootfs'), "st:$disk,size=128M", 'a container has its root on the storage');
is(data(200, 'echo more >data/file'), $sum, 'a file system is on it, and mounted');
is_deeply(
    [$pve->list('st', '--content', 'rootdir')],
    [$disk, '200/vm-200-disk-1.raw'],
    'its disks are listed as those of a container'
);
is(config(200, 'mp0'), 'st:200/vm-200-disk-1.raw,mp=/data,backup=1,size=64M', 'with all it has');

# --- larger

$pve->must('pct', 'resize', 200, 'rootfs', '192M');
like(config(200, 'rootfs'), qr/size=192M/, 'its root grows');
is(data(200, 'dd if=/dev/zero of=big bs=1M count=150 2>/dev/null'), $sum, 'with the file system');
is(data(200, 'rm big'), $sum, 'and is what it was');

# --- backed up

for my $mode (qw(stop suspend)) {
    $pve->must('vzdump', 200, '--storage', 'st', '--compress', 'zstd', '--mode', $mode);
    my ($archive) = $pve->list('st', '--content', 'backup');
    $pve->must('pct', 'restore', 201, "st:$archive", '--storage', 'st');
    is(data(201, 'grep -q more data/file'), $sum, "it is backed up in mode $mode, and restored");
    $pve->must('pct', 'destroy', 201);
    $pve->must('pvesm', 'free', "st:$archive");
}

# --- copied and moved

$pve->must(qw(pct clone 200 202 --full 1 --storage st));
is(data(202), $sum, 'it is cloned');
$pve->must(qw(pct move-volume 202 rootfs disks --delete 1));
$pve->must(qw(pct move-volume 202 rootfs st --delete 1));
is(config(202, 'rootfs') =~ s/,.*//r, 'st:202/vm-202-disk-0.raw', 'moved away and back');
is(data(202), $sum, 'and is what it was');
$pve->must('pct', 'template', 202);
like(config(202, 'rootfs'), qr/^st:202\/base-202-disk-0.raw/, 'it becomes a template');
$pve->must(qw(pct clone 202 203 --full 1 --storage st));
is(data(203), $sum, 'which is cloned');

# --- in use, and not

$pve->must('pct', 'mount', 200);
ok($pve->open_volume($disk)->{active}, 'a mounted one is in use');
my (undef, @said) = $pve->run('pvesm', 'free', "st:$disk"); # a task: its exit is 0
like("@said", qr/held|in use|open/, 'and is not removed');
$pve->must('pct', 'unmount', 200);
is(data(200), $sum, 'nor harmed');

$pve->must('pct', 'destroy', $_) for 200, 202, 203;
is_deeply(
    [$pve->list('st', '--content', 'rootdir')], [],
    'containers are removed with their disks'
);
my $left = sub {
    join(' ', grep { m!^images/! } keys $rgw->objects($bucket)->%*);
};
ok(wait_until(60, sub { $left->() eq '' }), 'and all that was in the bucket') or diag($left->());
unlike($pve->must('losetup', '-a'), qr!/mnt/pve/st/!, 'no loop device is left');

done_testing();
