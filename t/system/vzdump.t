#!/usr/bin/perl
# Backups of a virtual machine and of a container straight into the bucket, with every compression, and
# back again.
use v5.36;

use Digest::SHA;
use FindBin qw($RealBin);
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE;
use S3PVE::Harness;
use S3PVE::Test;

my $pve = S3PVE::Harness->start();
$pve->need_program(qw(qemu-system-x86_64 10), 'lxc-start', 'zstd', 'lzop', 'gzip');
my $rgw = rgw();
my $bucket = "vzdump-$$-" . int(time());
my $client = S3PVE::Client->open({
    endpoint => $rgw->{endpoint},
    bucket => $bucket,
    'access-key' => $rgw->{access_key},
    'secret-key' => $rgw->{secret_key},
});
$pve->add($rgw, $bucket, 'st', '--content', 'backup,vztmpl');

my $local = "$pve->{root}/local"; # where the guests have their disks
mkdir $local;
$pve->must('pvesm', 'add', 'dir', 'disks', '--path', $local, '--content', 'images,rootdir');

my sub dumped () { # what is in the bucket below dump/, with sizes
    my $list = $client->list('dump/', undef, undef);
    return { map { $_->{key} =~ m!^dump/(.+)$! ? ($1 => $_->{size}) : () } $list->@* };
}

my sub sum ($path) { return Digest::SHA->new(256)->addfile($path)->hexdigest }

# The one backup that is new since $before.
my sub new_backup ($before) {
    my @new =
        grep { !exists($before->{$_}) && !m/\.(?:log|notes|protected)$/ } sort keys dumped()->%*;
    is(scalar(@new), 1, 'one object is new') or diag("@new");
    return $new[0] // '';
}

# vzdump, and what can be said of any backup.
my sub backup ($vmid, $compress, $extension, @options) {
    my $before = dumped();
    my $log = $pve->must('vzdump', $vmid, '--storage', 'st', '--compress', $compress, @options);
    like(
        $log, qr/Backup job finished successfully/,
        "$vmid, compression $compress: it is backed up"
    );
    my $name = new_backup($before);
    like($name, qr/^vzdump-(?:qemu|lxc)-$vmid-[\d_-]+\Q$extension\E$/, "as $name");
    my $base = $name =~ s/\Q$extension\E$//r;
    ok(dumped()->{"$base.log"}, 'its log is beside it');
    is(join(' ', grep { m/\.(?:dat|tmp)\b/ } keys dumped()->%*), '', 'nothing else is left');
    like(
        $pve->must('pvesm', 'list', 'st', '--vmid', $vmid), qr/backup\/\Q$name\E/,
        'Proxmox lists it'
    );
    my $size = $pve->must('stat', '-c', '%s', "/mnt/pve/st/dump/$name");
    is($size, dumped()->{$name} . "\n", 'with its size');
    return $name;
}

# --- a virtual machine: some data, and nothing after it

$pve->must(
    'qm', 'create', 100, '--memory', 64, '--kvm', 0, '--scsi0', 'disks:0.1', '--name',
    'one'
);
my $disk = "$local/images/100/vm-100-disk-0.raw";
my $noise = join('', map { pack('N', rand(1 << 32)) } 1 .. 6_000_000); # 24 MB
open(my $fh, '+<:raw', $disk) or die "$disk: $!\n";
print {$fh} $noise;
close($fh) or die "$disk: $!\n";
my $sum = sum($disk);

my @compressions = (['0', ''], ['gzip', '.gz'], ['lzo', '.lzo'], ['zstd', '.zst']);
for my $case (@compressions) {
    my ($compress, $suffix) = $case->@*;
    my $name = backup(100, $compress, ".vma$suffix", '--mode', 'stop');
    like(
        $pve->must('pvesm', 'extractconfig', "st:backup/$name"),
        qr/^memory: 64$/m, 'its configuration can be seen'
    );
    $pve->must('qmrestore', "st:backup/$name", 101, '--storage', 'disks');
    is(sum("$local/images/101/vm-101-disk-0.raw"), $sum, 'and it comes back as it was');
    $pve->must('qm', 'destroy', 101);
}

$pve->must('qm', 'start', 100);
my $name = backup(
    100, 'zstd', '.vma.zst', '--mode', 'snapshot', '--notes-template', '{{guestname}} at night',
    '--protected', 1
);
like($pve->must('qm', 'status', 100), qr/running/, 'a running machine goes on');
is($client->get("dump/$name.notes"), 'one at night', 'its backup has notes');
is(dumped()->{"$name.protected"}, 0, 'and is protected');
$pve->must('qm', 'stop', 100);

# --- a backup that fails

my $before = dumped();
$pve->must('qm', 'set', 100, '--scsi1', 'disks:0.1');
unlink("$local/images/100/vm-100-disk-1.raw");
$pve->fails('vzdump', 100, '--storage', 'st', '--compress', 'zstd', '--mode', 'stop');
my @left = grep { !exists($before->{$_}) && !m/\.log$/ } keys dumped()->%*;
is("@left", '', 'a backup that fails leaves nothing but its log');
$pve->must('qm', 'set', 100, '--delete', 'scsi1');

# --- retention

$pve->must(
    'vzdump', 100, '--storage', 'st', '--compress', 'zstd', '--mode', 'stop', '--prune-backups',
    'keep-last=1'
);
my @kept =
    grep { m/^vzdump-qemu-100-.*\.vma/ && !m/\.(?:notes|protected)$/ } sort keys dumped()->%*;
is(scalar(@kept), 2, 'old backups are pruned') or diag("@kept");
is($kept[0], $name, 'but for the protected one');

# --- a container, from a template in the bucket

my $rootfs = "$pve->{root}/rootfs";
run_ok('mkdir', '-p', map { "$rootfs/$_" } qw(etc sbin bin dev proc sys tmp root var));
spew("$rootfs/etc/data", $noise);
run_ok('tar', '-C', $rootfs, '--zstd', '-cf', "$pve->{root}/t.tar.zst", '.');
$pve->must('cp', "$pve->{root}/t.tar.zst", '/mnt/pve/st/template/cache/mini_1.0_amd64.tar.zst');
$pve->must(
    qw(pct create 200 st:vztmpl/mini_1.0_amd64.tar.zst --ostype unmanaged --memory 64),
    '--rootfs', 'disks:0.1'
);

for my $case (@compressions) {
    my ($compress, $suffix) = $case->@*;
    my $archive = backup(200, $compress, ".tar$suffix", '--mode', 'stop');
    like(
        $pve->must('pvesm', 'extractconfig', "st:backup/$archive"),
        qr/^memory: 64$/m, 'its configuration can be seen'
    );
    $pve->must(
        'pct', 'restore', 201, "st:backup/$archive", '--storage', 'disks', '--rootfs',
        'disks:0.1'
    );
    $pve->must('pct', 'mount', 201);
    my $got = $pve->must('sha256sum', '/var/lib/lxc/201/rootfs/etc/data');
    is(substr($got, 0, 64), sum("$rootfs/etc/data"), 'and it comes back as it was');
    $pve->must('pct', 'unmount', 201);
    $pve->must('pct', 'destroy', 201);
}

# --- in the end

my $uploads = $client->sweep('', 0);
is($uploads, 0, 'no upload was left behind');
$pve->must('pvesm', 'remove', 'st');

done_testing();
