#!/usr/bin/perl
# Disks of guests as Proxmox asks the plugin for them: made, listed, named.
use v5.36;

use File::Path qw(make_path);
use FindBin qw($Bin);
use JSON::PP ();
use Test::More;

use lib "$Bin/../lib";
use PVE::Cluster;
use PVE::QemuServer::Monitor;
use PVE::Tools;
use S3PVE::Daemon;
use S3PVE::Test qw(slurp spew);
use S3PVE::Test::Plugin qw(plugin behave volumes set_volumes asked error_of refusal);

my ($class, $scfg, $root) = plugin();
my $mnt = $scfg->{path};
my $disk = '100/vm-100-disk-0.raw';

my sub alloc (@what) { return $class->alloc_image('a', $scfg, @what) }

is(
    error_of(sub { alloc(100, 'raw', undef, 1024) }),
    "storage 'a': the daemon s3pved does not run on this node\n",
    'without a daemon there are no disks'
);
$class->activate_storage('a', $scfg, {});
asked();

# --- made

is(alloc(100, 'raw', undef, 1024), $disk, 'a disk is named after its guest');
is(volumes()->{$disk}->{size}, 1 << 20, 'and as large as asked for');
for my $case ([528, 540_672], ['12.5', 13_312], ['4096.0', 4_194_304], [2**33, 2**43], [1, 1024]) {
    my ($kib, $bytes) = $case->@*;
    my $name = alloc(110, 'raw', undef, $kib);
    is(volumes()->{$name}->{size}, $bytes, "$kib KiB are $bytes bytes");
}
is(alloc(100, 'raw', undef, 1024), '100/vm-100-disk-1.raw', 'the next one has the next number');
is(alloc(100, 'raw', '', 1024), '100/vm-100-disk-2.raw', 'also for a name that is empty');
set_volumes({ '100/base-100-disk-0.raw' => { size => 1 } });
is(alloc(100, 'raw', undef, 1024), '100/vm-100-disk-1.raw', 'that of a base image is not free');

set_volumes({ map { ("100/vm-100-disk-$_.raw" => { size => 1, gone => 1 }) } 0 .. 2 });
is(
    alloc(100, 'raw', undef, 1024),
    '100/vm-100-disk-3.raw', 'nor one that another node has just taken'
);
set_volumes({});
is(
    alloc(9999, 'raw', 'vm-9999-pvc-0123abcd.raw', 1024),
    '9999/vm-9999-pvc-0123abcd.raw', 'a name may be given'
);
for my $name ('vm-100-state-Snap_1.raw', 'vm-100-state-suspend-2026-01-02.raw', 'odd.raw') {
    is(alloc(100, 'raw', $name, 1024), "100/$name", "such as $name");
}
is(
    error_of(sub { alloc(100, 'raw', 'odd.raw', 1024) }),
    "disk image 'a:100/odd.raw' already exists\n", 'but once'
);
for my $case (
    [['raw', 'vm-100-disk-0.qcow2'], qr/^illegal name .* - wrong extension for format/],
    [['raw', 'vm-100-disk-0'], qr/^unable to parse/],
    [['raw', '../x.raw'], qr/^unable to parse/],
    [['subvol', undef], qr/^S3 storages have no subvolumes/],
    [['qed', undef], qr/^unsupported format 'qed'/],
) {
    my ($what, $error) = $case->@*;
    like(error_of(sub { alloc(100, $what->@*, 1024) }), $error, join(' ', grep { $_ } $what->@*));
}
is(
    error_of(sub {
        $class->alloc_image('a', { $scfg->%*, content => { iso => 1 } }, 1, 'raw');
    }),
    "storage 'a' does not hold disk images; it holds: iso\n",
    'a storage without disks has none'
);
behave('volume-create' => refusal('IO', 'connection refused'));
is(
    error_of(sub { alloc(100, 'raw', 'x.raw', 1024) }),
    "volume 'a:100/x.raw': connection refused\n",
    'why there is none is told'
);
behave('volume-list' => refusal('TIMEOUT', 'no answer'));
is(
    error_of(sub { alloc(100, 'raw', undef, 1024) }),
    "storage 'a': no answer\n", 'a listing that fails is not an empty one'
);
behave();

# --- a file with an image in it

@PVE::Tools::COMMANDS = ();
is(
    alloc(100, 'qcow2', 'vm-100-cloudinit.qcow2', 4096),
    '100/vm-100-cloudinit.qcow2', 'qcow2 is a file'
);
is_deeply(
    \@PVE::Tools::COMMANDS,
    [
        [
            qw(/usr/bin/qemu-img create -q -f qcow2),
            "$mnt/images/100/vm-100-cloudinit.qcow2", 4 << 20,
        ],
    ],
    'that QEMU makes an image of'
);
is(volumes()->{'100/vm-100-cloudinit.qcow2'}->{file}, 1, 'and that grows');
is(alloc(100, 'vmdk', undef, 1024), '100/vm-100-disk-0.vmdk', 'vmdk as well');
{
    local $PVE::Tools::RUN = sub { return 1 };
    like(error_of(sub { alloc(100, 'qcow2', 'x.qcow2', 1) }), qr/failed: exit code 1/, 'or fails');
    ok(!volumes()->{'100/x.qcow2'}, 'and leaves nothing');
}

# --- listed

set_volumes({
    $disk => { size => 1 << 30, node => 'pve2' },
    '100/vm-100-cloudinit.qcow2' => { size => 200_000, file => 1 },
    '100/vm-100-disk-5.qcow2' => { size => 200_000, file => 1 },
    '100/tmp_1' => { size => 5, file => 1 },
    '200/vm-200-disk-0.raw' => { size => 1 << 20 },
});
make_path("$mnt/images/100");
spew("$mnt/images/100/vm-100-disk-5.qcow2", 'x' x 12345);
my $one = {
    volid => "a:$disk",
    format => 'raw',
    vmid => 100,
    size => 1 << 30,
    ctime => 1_700_000_000,
};
is_deeply(
    $class->list_images('a', $scfg, 100),
    [
        {
            $one->%*,
            volid => 'a:100/vm-100-cloudinit.qcow2',
            format => 'qcow2',
            size => 200_000,
        },
        $one,
        { $one->%*, volid => 'a:100/vm-100-disk-5.qcow2', format => 'qcow2', size => 12345 },
    ],
    'those of a guest are listed'
);
is(scalar($class->list_images('a', $scfg)->@*), 4, 'or all');
is_deeply(
    [map { $_->{volid} } $class->list_images('a', $scfg, 999, ["a:$disk", 'a:1/x.raw'])->@*],
    ["a:$disk"],
    'or those that are named, whoever has them'
);
asked();
my $content = $class->list_volumes('a', $scfg, undef, [qw(images rootdir)]);
is_deeply(
    [map { "$_->{content} $_->{volid}" } $content->@*],
    [
        'images a:100/vm-100-cloudinit.qcow2', "images a:$disk",
        'images a:100/vm-100-disk-5.qcow2', 'rootdir a:200/vm-200-disk-0.raw',
    ],
    'by content'
);
is(scalar(my @n = asked()), 1, 'with one listing');

# --- where they are

is($class->path($scfg, $disk, 'a'), "$mnt/images/$disk", 'a disk has a path');
is_deeply([$class->path($scfg, $disk, 'a')], ["$mnt/images/$disk", 100, 'images'], 'an owner');
is($class->map_volume('a', $scfg, $disk), "$mnt/images/$disk", 'which is what others open');
is(
    $class->path({ $scfg->%*, 'content-dirs' => { images => 'x' } }, $disk, 'a'),
    "$mnt/images/$disk", 'the same whatever the storage says of directories'
);
like(
    error_of(sub { $class->path($scfg, $disk, 'a', 'snap') }),
    qr/^snapshots of disks such as '$disk' are not supported yet\n/,
    'that of a snapshot is none'
);
is_deeply(
    $class->qemu_blockdev_options($scfg, 'a', $disk, '10.0', {}),
    {
        driver => 'nbd',
        server => { type => 'unix', path => "$root/run/s3pve/a/nbd.sock" },
        export => $disk,
        'reconnect-delay' => 600,
        'open-timeout' => 60,
    },
    'QEMU connects to the daemon'
);
for my $case (
    ['iso/x.iso', 'template/iso/x.iso'],
    ['import/x.qcow2', 'import/x.qcow2'],
    ['100/vm-100-cloudinit.raw', 'images/100/vm-100-cloudinit.raw'],
    ['100/vm-100-cloudinit.qcow2', 'images/100/vm-100-cloudinit.qcow2'],
) {
    my ($volname, $path) = $case->@*;
    is_deeply(
        $class->qemu_blockdev_options($scfg, 'a', $volname, '10.0', {}),
        { driver => 'file', filename => "$mnt/$path" },
        "or opens the file, of $volname"
    );
}
like(
    error_of(sub {
        $class->qemu_blockdev_options($scfg, 'a', $disk, '10.0', { 'snapshot-name' => 's' });
    }),
    qr/not supported yet/,
    'but not a snapshot'
);
is(scalar(@n = asked()), 0, 'nobody is asked for any of that');

# --- other names

set_volumes({ $disk => { size => 1, active => 1 }, '101/vm-101-disk-0.raw' => { size => 2 } });
is(
    $class->rename_volume($scfg, 'a', $disk, 101),
    'a:101/vm-101-disk-1.raw', 'a disk goes to another guest, under a free name'
);
is_deeply(
    [sort keys volumes()->%*],
    ['101/vm-101-disk-0.raw', '101/vm-101-disk-1.raw'], 'and is not where it was'
);
is(
    $class->rename_volume($scfg, 'a', '101/vm-101-disk-1.raw', undef, 'vm-101-disk-7.raw'),
    'a:101/vm-101-disk-7.raw', 'a name may be given'
);
is(
    error_of(sub {
        $class->rename_volume($scfg, 'a', '101/vm-101-disk-7.raw', 101, 'vm-101-disk-0.raw');
    }),
    "target volume 'vm-101-disk-0.raw' already exists\n",
    'if it is free'
);
like(
    error_of(sub { $class->rename_volume($scfg, 'a', '1/x.raw', 101, 'vm-101-disk-9.raw') }),
    qr/^volume 'a:1\/x.raw' is not renamed: there is no volume/, 'one that is not there is told'
);
like(
    error_of(sub { $class->rename_volume($scfg, 'a', 'iso/x.iso', 101) }),
    qr/is no disk/, 'a file is not renamed'
);
is(
    $class->create_base('a', $scfg, '101/vm-101-disk-0.raw'),
    '101/base-101-disk-0.raw', 'a disk becomes a base image'
);
ok(volumes()->{'101/base-101-disk-0.raw'}, 'of that name');
for my $name ('101/base-101-disk-0.raw', '101/odd.raw') {
    like(
        error_of(sub { $class->create_base('a', $scfg, $name) }),
        qr/cannot be made a base image/, "$name does not"
    );
}

# --- what they can do

for my $case (
    ['100/vm-100-disk-0.raw', undef, [qw(copy rename sparseinit template)]],
    ['100/vm-100-disk-0.qcow2', undef, [qw(copy rename sparseinit template)]],
    ['100/base-100-disk-0.raw', undef, [qw(copy sparseinit)]],
    ['100/vm-100-disk-0.raw', 'snap', []],
    ['100/vm-100-cloudinit.qcow2', 'snap', ['copy']],
    ['100/vm-100-cloudinit.raw', 'snap', ['copy']],
) {
    my ($volname, $snapname, $expected) = $case->@*;
    my @can = grep { $class->volume_has_feature($scfg, $_, 'a', $volname, $snapname) }
        qw(clone copy rename replicate snapshot sparseinit template none);
    is_deeply(\@can, $expected, "$volname " . ($snapname // 'itself') . ": @can");
}
for my $method (qw(volume_snapshot volume_snapshot_delete volume_snapshot_rollback clone_image)) {
    like(error_of(sub { $class->$method($scfg, 'a', $disk, 's') }), qr/yet\n$/, "no $method");
}
ok($class->volume_snapshot_needs_fsfreeze(), 'a snapshot will need the file system frozen');

done_testing();
