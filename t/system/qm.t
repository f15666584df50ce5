#!/usr/bin/perl
# A virtual machine that has its disks on the storage, by Proxmox's own programs, from its making to its
# end.
use v5.36;

use Digest::SHA;
use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Harness;
use S3PVE::Test;

my $pve = S3PVE::Harness->start();
$pve->need_program(qw(qemu-system-x86_64 10), 'qemu-img', 'zstd');
my $rgw = rgw();
my $bucket = $pve->add_disks($rgw);

my sub path ($volid) { return $pve->must('pvesm', 'path', $volid) =~ s/\n//r }

my sub config ($vmid, $key) { return $pve->config('qm', $vmid, $key) // '' }

my sub volid ($vmid, $key) { return config($vmid, $key) =~ s/,.*//r }

# A picture of what should be on a disk: MiB => byte, the rest is zeroes.
my $picture = {};

my sub sum_of ($size, $bytes) {
    my $sha = Digest::SHA->new(256);
    $sha->add(($bytes->{$_} // "\0") x (1 << 20)) for 0 .. $size - 1;
    return $sha->hexdigest();
}

# Written by the running machine's QEMU, as the guest would.
my sub write_mib ($vmid, $drive, $mib, $byte) {
    my $write = sprintf('write -P 0x%02x %dM 1M', ord($byte), $mib);
    my $line = qq{qemu-io -d $drive "$write"};
    is($pve->qmp($vmid, 'human-monitor-command', { 'command-line' => $line }), '', $write);
    $picture->{$mib} = $byte;
    return;
}

# --- made and started

my $create = [qw(--kvm 0 --memory 64 --scsihw virtio-scsi-single)];
$pve->must('qm', 'create', 100, $create->@*, '--scsi0', 'st:0.03125,discard=on,iothread=1');
my $disk = '100/vm-100-disk-0.raw';
is(
    config(100, 'scsi0'),
    "st:$disk,discard=on,iothread=1,size=32M", 'a machine has a disk on the storage'
);
is($pve->open_volume($disk), undef, 'which is nobody\'s');
like($pve->must('qm', 'showcmd', 100), qr/"driver":"nbd".*"export":"$disk"/, 'over NBD');

$pve->must('qm', 'start', 100);
my $volume = $pve->open_volume($disk);
ok($volume->{active}, 'a machine that starts activates its disk');
is($volume->{users}, 1, 'and uses it');
write_mib(100, 'scsi0', 0, 'a');
write_mib(100, 'scsi0', 31, 'b');
$pve->stop_vm(100);
ok(wait_until(20, sub { !$pve->open_volume($disk) }), 'one that stops hands it back');
is($pve->sum("st:$disk"), sum_of(32, $picture), 'what it wrote is there');

# --- larger

$pve->must('qm', 'resize', 100, 'scsi0', '+16M');
like(config(100, 'scsi0'), qr/size=48M/, 'a disk grows');
is($pve->sum("st:$disk"), sum_of(48, $picture), 'by zeroes');
$pve->must('qm', 'start', 100);
$pve->must('qm', 'resize', 100, 'scsi0', '64M');
like(config(100, 'scsi0'), qr/size=64M/, 'also under a running machine');
write_mib(100, 'scsi0', 63, 'c');
my ($seen) = grep { $_->{qdev} eq 'scsi0' } $pve->qmp(100, 'query-block')->@*;
is($seen->{inserted}->{image}->{'virtual-size'}, 64 << 20, 'which sees it');
is(
    $pve->must('stat', '-c', '%s', path("st:$disk")), (64 << 20) . "\n",
    'and so does who looks at the file'
);
is($pve->sum("st:$disk"), sum_of(64, $picture), 'what it writes there can be read at once');

# --- a daemon that dies

my ($pid) = $pve->ask({ cmd => 'ping' })->{pid};
kill('KILL', $pid);
write_mib(100, 'scsi0', 40, 'd') if $pve->status('st')->{state} eq 'active';
isnt($pve->ask({ cmd => 'ping' })->{pid}, $pid, 'a daemon that was killed is replaced');
like($pve->must('qm', 'status', 100), qr/running/, 'and the machine goes on');
is($pve->sum("st:$disk"), sum_of(64, $picture), 'with all that it wrote');

# --- copied and moved

$pve->must(qw(qm clone 100 101 --full 1 --storage st));
is(volid(101, 'scsi0'), 'st:101/vm-101-disk-0.raw', 'a running machine is cloned');
my $cloned = sum_of(64, $picture);
is($pve->sum(volid(101, 'scsi0')), $cloned, 'with its disk as it was');
for my $to (qw(disks st)) {
    my @format = $to eq 'disks' ? ('--format', 'raw') : ();
    $pve->must('qm', 'move-disk', 100, 'scsi0', $to, @format, '--delete', 1);
    is(volid(100, 'scsi0'), "$to:$disk", "its disk is moved to $to while it runs");
}
write_mib(100, 'scsi0', 20, 'e');
$pve->stop_vm(100);
is($pve->sum("st:$disk"), sum_of(64, $picture), 'and is what it was');
is_deeply([$pve->list(qw(st --content images --vmid 100))], [$disk], 'without anything left over');
for my $to (qw(disks st)) {
    my @format = $to eq 'disks' ? ('--format', 'qcow2') : ();
    $pve->must('qm', 'move-disk', 100, 'scsi0', $to, @format, '--delete', 1);
}
is($pve->sum("st:$disk"), sum_of(64, $picture), 'so it is after moves while it is off');
$pve->must(qw(qm clone 100 102 --full 1 --storage disks --format qcow2));
$pve->must('qemu-img', 'compare', path("st:$disk"), path(volid(102, 'scsi0')));
pass('a clone may go to another storage');

$pve->must(qw(qm disk move 101 scsi0 --target-vmid 102 --target-disk scsi3));
is(volid(102, 'scsi3'), 'st:102/vm-102-disk-0.raw', 'a disk goes to another machine');
is($pve->sum(volid(102, 'scsi3')), $cloned, 'as it is');

# --- a template

$pve->must(qw(qm clone 100 103 --full 1 --storage st));
$pve->must(qw(qm template 103));
is(volid(103, 'scsi0'), 'st:103/base-103-disk-0.raw', 'a machine becomes a template');
like(
    $pve->fails(qw(qm clone 103 104)), qr/[Ll]inked clone feature is not supported/,
    'of which there is no linked clone'
);
$pve->must(qw(qm clone 103 104 --full 1 --storage st));
is($pve->sum(volid(104, 'scsi0')), sum_of(64, $picture), 'but a full one');

# --- imported

$pve->must(qw(qm disk import 104), path("st:$disk"), 'st');
is(config(104, 'unused0'), 'st:104/vm-104-disk-1.raw', 'an image is imported');
is($pve->sum('st:104/vm-104-disk-1.raw'), sum_of(64, $picture), 'as it is');
$pve->must('qemu-img', 'convert', '-O', 'qcow2', path("st:$disk"), '/mnt/pve/st/import/d.qcow2');
$pve->must('qm', 'set', 104, '--scsi2', 'st:0,import-from=st:import/d.qcow2');
is($pve->sum(volid(104, 'scsi2')), sum_of(64, $picture), 'also from the storage itself');
$pve->must(qw(pvesm alloc st 104 vm-104-disk-9.raw 1M));
$pve->must('qm', 'rescan', '--vmid', 104);
like(
    $pve->must('qm', 'config', 104), qr/^unused1: st:104\/vm-104-disk-9.raw$/m,
    'a disk of nobody is found'
);
is(volid(104, 'scsi0'), 'st:104/vm-104-disk-0.raw', 'the others stay what they were');

# --- suspended

$pve->must('qm', 'start', 100);
write_mib(100, 'scsi0', 21, 'f');
$pve->stop_vm(100, qw(suspend 100 --todisk 1 --statestorage st));
my ($state) = grep { m/state-suspend/ } $pve->list('st', '--vmid', 100);
like(
    $state, qr/^100\/vm-100-state-suspend-[\d-]+\.raw$/,
    'a machine is suspended, its memory kept'
);
like(
    $pve->must(qw(cat /etc/pve/qemu-server/100.conf)), qr/^vmstate: st:\Q$state\E$/m,
    'on the storage'
);
$pve->must('qm', 'resume', 100);
like($pve->must('qm', 'status', 100), qr/running/, 'and goes on');
write_mib(100, 'scsi0', 22, 'g');
is_deeply([$pve->list(qw(st --content images --vmid 100))], [$disk], 'its memory goes');
like(
    $pve->fails(qw(qm snapshot 100 one)), qr/snapshot feature is not available/,
    'no snapshots yet'
);

# --- backed up and restored

$pve->must(qw(vzdump 100 --storage st --compress zstd --mode snapshot));
my ($archive) = $pve->list('st', '--content', 'backup');
$pve->stop_vm(100);
$pve->must('qmrestore', "st:$archive", 105, '--storage', 'st');
is(
    $pve->sum(volid(105, 'scsi0')), sum_of(64, $picture),
    'a running machine is backed up, restored'
);
$pve->must(qw(vzdump 105 --storage st --compress zstd --mode stop));
like($pve->must('qm', 'status', 105), qr/stopped/, 'one that is off, too');

# --- removed

$pve->must('qm', 'destroy', $_, '--purge', 1) for 100 .. 105;
is_deeply([$pve->list('st', '--content', 'images')], [], 'machines are removed with their disks');
my $left = sub {
    join(' ', grep { m!^images/! } keys $rgw->objects($bucket)->%*);
};
ok(wait_until(60, sub { $left->() eq '' }), 'and all that was in the bucket') or diag($left->());
$pve->must('pvesm', 'remove', 'st');

done_testing();
