#!/usr/bin/perl
# Disks on the command line of Proxmox VE: made, listed, written, copied, removed.
use v5.36;

use Digest::SHA;
use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Harness;
use S3PVE::Test;

my $pve = S3PVE::Harness->start();
my $rgw = rgw();
my $bucket = $pve->add_disks($rgw);

my sub sum ($data) { return Digest::SHA::sha256_hex($data) }

my sub path ($volid) { return $pve->must('pvesm', 'path', $volid) =~ s/\n//r }

my sub objects () {
    return join(' ', sort grep { m!^images/! } keys $rgw->objects($bucket)->%*);
}

# --- made

my $disk = '100/vm-100-disk-0.raw';
my $made = $pve->must('pvesm', 'alloc', 'st', 100, '', '8M');
like($made, qr/^successfully created 'st:$disk'$/m, 'a disk is made');
is($pve->must('pvesm', 'path', "st:$disk"), "/mnt/pve/st/images/$disk\n", 'and has a path');
like(objects(), qr!images/100/vm-100-disk-0/!, 'it is in the bucket');
$pve->must('pvesm', 'alloc', 'st', 100, '', '528');
$pve->must('pvesm', 'alloc', 'st', 9999, 'vm-9999-pvc-0123.raw', '1M');
my $list = $pve->must('pvesm', 'list', 'st');
like($list, qr/^st:$disk\s+raw\s+images\s+8388608\s+100$/m, 'it is listed with its size');
like($list, qr/^st:100\/vm-100-disk-1.raw\s+raw\s+images\s+540672\s+100$/m, 'the exact one');
like($list, qr/^st:9999\/vm-9999-pvc-0123.raw\s/m, 'whatever its name');
is(scalar(my @n = $pve->list('st', '--vmid', 9999)), 1, 'by guest');
like(
    $pve->fails(qw(pvesm alloc st 100 vm-100-disk-0.raw 1M)),
    qr/disk image 'st:100\/vm-100-disk-0.raw' already exists/, 'not twice'
);
like(
    $pve->fails(qw(pvesm alloc st 100 vm-100-disk-9 1M)),
    qr/unable to parse/, 'nor under a name that is none'
);
is(
    $pve->must('stat', '-c', '%s', path('st:100/vm-100-disk-1.raw')),
    "540672\n", 'the file is as large'
);
is(sum("\0" x 540_672), $pve->sum('st:100/vm-100-disk-1.raw'), 'and all zeroes');

# --- written

my $noise = join('', map { pack('N', rand(1 << 32)) } 1 .. 500_000); # 2 MB
my $content = $noise . "\0" x (4 << 20) . $noise;
$content .= "\0" x ((8 << 20) - length($content));
spew("$pve->{root}/disk.raw", $content);
$pve->must(
    'dd', "if=$pve->{root}/disk.raw", 'of=' . path("st:$disk"),
    'bs=1M', 'conv=notrunc,fsync'
);
is($pve->sum("st:$disk"), sum($content), 'what is written is read');
$pve->must(
    'qemu-img', 'compare', '-f', 'raw', '-F', 'raw', "$pve->{root}/disk.raw",
    path("st:$disk")
);
pass('by QEMU too');

# --- a stream

$pve->must('pvesm', 'export', "st:$disk", 'raw+size', "$pve->{root}/stream");
ok(slurp("$pve->{root}/stream") eq pack('Q<', 8 << 20) . $content, 'a disk is exported');
$pve->must('pvesm', 'import', 'st:101/vm-101-disk-0.raw', 'raw+size', "$pve->{root}/stream");
is($pve->sum('st:101/vm-101-disk-0.raw'), sum($content), 'and imported');
like(
    $pve->fails(
        'pvesm', 'import', 'st:101/vm-101-disk-0.raw', 'raw+size', "$pve->{root}/stream"
    ),
    qr/already exists/,
    'not over one that is there'
);
my $renamed = $pve->must(
    'pvesm', 'import', 'st:101/vm-101-disk-0.raw', 'raw+size', "$pve->{root}/stream",
    '--allow-rename', 1
);
like($renamed, qr/successfully imported 'st:101\/vm-101-disk-1.raw'/, 'unless it may be renamed');
truncate("$pve->{root}/stream", 5_000_000);
like(
    $pve->fails(
        'pvesm', 'import', 'st:102/vm-102-disk-0.raw', 'raw+size', "$pve->{root}/stream"
    ),
    qr/ended early/,
    'half a stream is no disk'
);
is_deeply([$pve->list('st', '--vmid', 102)], [], 'and none is left');
my $to = $pve->must('pvesm', 'export', 'st:101/vm-101-disk-1.raw', 'raw+size', '-');
$pve->must({ stdin => $to }, qw(pvesm import disks:101/vm-101-disk-0.raw raw+size -));
is($pve->sum('disks:101/vm-101-disk-0.raw'), sum($content), 'another storage takes it');
my $from = $pve->must(qw(pvesm export disks:101/vm-101-disk-0.raw raw+size -));
$pve->must({ stdin => $from }, qw(pvesm import st:103/vm-103-disk-0.raw raw+size -));
is($pve->sum('st:103/vm-103-disk-0.raw'), sum($content), 'and gives it back');

# --- an image in a file

for my $format (qw(qcow2 vmdk)) {
    my $volid = "st:104/vm-104-disk-0.$format";
    $pve->must('pvesm', 'alloc', 'st', 104, "vm-104-disk-0.$format", '8M', '--format', $format);
    $pve->must(qw(qemu-img convert -n -f raw -O), $format, "$pve->{root}/disk.raw", path($volid));
    $pve->must(
        'qemu-img', 'compare', '-f', 'raw', '-F', $format, "$pve->{root}/disk.raw",
        path($volid)
    );
    pass("a file in format $format holds a disk");
    like(
        $pve->must('pvesm', 'list', 'st', '--vmid', 104),
        qr/^\Q$volid\E\s+$format\s+images\s+8388608\s/m, 'whose size is told'
    );
    $pve->must('pvesm', 'free', $volid);
}

# --- removed

my @all = $pve->list('st', '--content', 'images');
$pve->must('pvesm', 'free', "st:$_") for @all;
is_deeply([$pve->list('st', '--content', 'images')], [], 'disks are removed');
ok(wait_until(30, sub { objects() eq '' }), 'with all that was in the bucket') or diag(objects());
$pve->must('pvesm', 'remove', 'st');
unlike($pve->must('cat', '/proc/mounts'), qr!/mnt/pve/st!, 'and the storage, too');

done_testing();
