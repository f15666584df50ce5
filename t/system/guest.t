#!/usr/bin/perl
# What a virtual machine takes from the storage: a disk to import, an ISO image to start from, a
# snippet to read.
use v5.36;

use Digest::SHA;
use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Harness;
use S3PVE::Test;

my $pve = S3PVE::Harness->start();
$pve->need_program(qw(qemu-system-x86_64 10), 'qemu-img');
my $rgw = rgw();
$pve->add($rgw, $rgw->bucket(), 'st', '--content', 'iso,snippets,import');
my $local = "$pve->{root}/local";
mkdir $local;
$pve->must('pvesm', 'add', 'dir', 'disks', '--path', $local, '--content', 'images');

my sub sum ($path) { return Digest::SHA->new(256)->addfile($path)->hexdigest }

# --- import

my $noise = join('', map { pack('N', rand(1 << 32)) } 1 .. 2_000_000);
my $raw = spew("$pve->{root}/disk.raw", $noise . "\0" x ((32 << 20) - length($noise)));
for my $format (qw(raw qcow2 vmdk)) {
    my $volname = "import/disk.$format";
    my $target = $pve->must('pvesm', 'path', "st:$volname") =~ s/\n//r;
    $pve->must('qemu-img', 'convert', '-q', '-O', $format, $raw, "$pve->{root}/disk.$format")
        if $format ne 'raw';
    $pve->must('cp', "$pve->{root}/disk.$format", $target);
    $pve->must(
        'qm', 'create', 100, '--kvm', 0, '--scsi0',
        "disks:0,import-from=st:$volname,format=raw"
    );
    is(sum("$local/images/100/vm-100-disk-0.raw"), sum($raw), "a disk is imported from $format");
    $pve->must('qm', 'destroy', 100);
}

# --- an ISO image, read while the machine runs

my $iso = spew("$pve->{root}/cd.iso", $noise);
$pve->must('cp', $iso, $pve->must('pvesm', 'path', 'st:iso/cd.iso') =~ s/\n//r);
$pve->must(
    qw(qm create 101 --kvm 0 --memory 64 --boot order=ide2 --ide2),
    'st:iso/cd.iso,media=cdrom',
);
$pve->must('qm', 'start', 101);
like($pve->must('qm', 'status', 101), qr/running/, 'a machine starts with an ISO image');
my (undef, @said) = $pve->run('pvesm', 'remove', 'st');
like("@said", qr/stays mounted/, 'a storage in use can be removed, and stays mounted till the end');
like($pve->must('qm', 'status', 101), qr/running/, 'so that the machine goes on');
$pve->must('qm', 'stop', 101);

done_testing();
