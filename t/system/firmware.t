#!/usr/bin/perl
# What a virtual machine has beside its disks: EFI variables, a TPM, cloud-init.
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
$pve->add_disks($rgw);

my sub path ($volid) { return $pve->must('pvesm', 'path', $volid) =~ s/\n//r }

my sub config ($vmid, $key) { return $pve->config('qm', $vmid, $key) // '' }

my sub has ($command) {
    my ($code) = $pve->run('sh', '-c', "command -v $command");
    return $code == 0;
}

my $create = [qw(--kvm 0 --memory 64)];

# --- EFI

SKIP: {
    my ($code) = $pve->run('test', '-e', '/usr/share/pve-edk2-firmware/OVMF_VARS_4M.fd');
    skip('there is no firmware to start', 5) if $code != 0;

    $pve->must(
        'qm', 'create', 100, $create->@*, qw(--bios ovmf --efidisk0),
        'st:1,efitype=4m,pre-enrolled-keys=0'
    );
    like(
        config(100, 'efidisk0'), qr/^st:100\/vm-100-disk-0.raw,.*size=(?:528K|540672)/,
        'EFI variables have a disk of their own'
    );
    my $sum = $pve->sum('st:100/vm-100-disk-0.raw');
    is(
        $sum,
        substr($pve->must('sha256sum', '/usr/share/pve-edk2-firmware/OVMF_VARS_4M.fd'), 0, 64),
        'as they come with the firmware'
    );
    $pve->must('qm', 'start', 100);
    like($pve->must('qm', 'status', 100), qr/running/, 'a machine starts with them');
    ok(
        wait_until(60, sub { $pve->sum('st:100/vm-100-disk-0.raw') ne $sum }),
        'and the firmware writes them'
    );
    $pve->stop_vm(100);
    $pve->must(qw(qm clone 100 101 --full 1));
    is(
        $pve->sum('st:101/vm-101-disk-0.raw'),
        $pve->sum('st:100/vm-100-disk-0.raw'),
        'they are cloned'
    );
    $pve->must('qm', 'destroy', $_) for 100, 101;
}

# --- TPM

SKIP: {
    skip('there is no swtpm', 5) if !has('swtpm_setup');

    $pve->must('qm', 'create', 110, $create->@*, '--tpmstate0', 'st:1,version=v2.0');
    my $state = '110/vm-110-disk-0.raw';
    like(config(110, 'tpmstate0'), qr/^st:$state,size=4M/, 'a TPM keeps its state on the storage');
    $pve->must('qm', 'start', 110);
    my $sum = $pve->sum("st:$state");
    isnt($sum, Digest::SHA::sha256_hex("\0" x (4 << 20)), 'which is written');
    $pve->stop_vm(110);
    is($pve->must('stat', '-c', '%s', path("st:$state")), (4 << 20) . "\n", 'it stays as large');
    $pve->must('qm', 'start', 110);
    $pve->must(qw(vzdump 110 --storage st --compress zstd --mode snapshot));
    my ($archive) = $pve->list('st', '--content', 'backup');
    $pve->stop_vm(110);
    $pve->must('qmrestore', "st:$archive", 111, '--storage', 'st');
    isnt(
        $pve->sum('st:111/vm-111-disk-0.raw'), Digest::SHA::sha256_hex("\0" x (4 << 20)),
        'it is backed up and restored'
    );
    $pve->must('qm', 'start', 111);
    $pve->stop_vm(111);
    pass('and starts a machine');
    $pve->must('qm', 'destroy', $_) for 110, 111;
}

# --- cloud-init

SKIP: {
    skip('there is no genisoimage', 12) if !has('genisoimage');

    my $vmid = 120;
    for my $format (qw(qcow2 raw)) {
        my $name = "$vmid/vm-$vmid-cloudinit.$format";
        $pve->must(
            'qm', 'create', $vmid, $create->@*, '--ciuser', 'somebody', '--ide2',
            'st:cloudinit' . ($format eq 'raw' ? ',format=raw' : ''),
        );
        like(config($vmid, 'ide2'), qr/^st:$name,media=cdrom/, "cloud-init has an image, $format");
        $pve->must('qm', 'start', $vmid);
        like($pve->must('qm', 'status', $vmid), qr/running/, 'a machine starts with it');
        $pve->must('qemu-img', 'convert', '-U', '-O', 'raw', path("st:$name"), "$pve->{root}/ci");
        like(slurp("$pve->{root}/ci"), qr/^user: somebody$/m, 'in which is what it is told');
        $pve->must('qm', 'set', $vmid, '--ciuser', 'other');
        $pve->stop_vm($vmid);
        $pve->must('qm', 'start', $vmid);
        $pve->must('qemu-img', 'convert', '-U', '-O', 'raw', path("st:$name"), "$pve->{root}/ci");
        like(slurp("$pve->{root}/ci"), qr/^user: other$/m, 'it is made anew at the next start');
        $pve->stop_vm($vmid);
        $pve->must('qm', 'clone', $vmid, $vmid + 5, '--full', 1, '--storage', 'st');
        like(config($vmid + 5, 'ide2'), qr/vm-@{[$vmid + 5]}-cloudinit/, 'a clone has its own');
        $pve->must('qm', 'destroy', $_) for $vmid, $vmid + 5;
        $vmid++;
    }
}

is_deeply([$pve->list('st', '--content', 'images')], [], 'all of it goes with the machines');

done_testing();
