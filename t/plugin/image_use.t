#!/usr/bin/perl
# Disks of guests in use: how large, active or not, as streams, removed; and nobody waits for a lock.
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

$class->activate_storage('a', $scfg, {});
my @n;

# --- how large

set_volumes({ $disk => { size => 540_672 } });
is(scalar($class->volume_size_info($scfg, 'a', $disk, 5)), 540_672, 'a size is the exact one');
is_deeply(
    [$class->volume_size_info($scfg, 'a', $disk, 5)],
    [540_672, 'raw', 540_672, undef, 1_700_000_000], 'with all that goes with it'
);
is(scalar($class->volume_size_info($scfg, 'a', '100/x.raw')), undef, 'there is none if missing');
is(
    $class->volume_size_info($scfg, 'a', '100/vm-100-disk-0.qcow2'),
    'asked the base class', 'an image in a file is looked into'
);

asked();
$class->volume_resize($scfg, 'a', $disk, 1 << 20, 0);
is(volumes()->{$disk}->{size}, 1 << 20, 'a disk grows');
is($class->volume_resize($scfg, 'a', '1/x.qcow2', 1, 0), 'asked the base class', 'others by QEMU');
like(error_of(sub { $class->volume_resize($scfg, 'a', $disk, 1, 0, 's') }), qr/yet/, 'no snapshot');
behave('volume-resize' => refusal('INVALID', 'it would be smaller'));
like(error_of(sub { $class->volume_resize($scfg, 'a', $disk, 1, 0) }), qr/smaller/, 'or not');
behave();

# --- under a running machine

my sub node ($name, $export, $size, $socket = "$root/run/s3pve/a/nbd.sock") {
    return {
        'node-name' => $name,
        drv => 'nbd',
        file => "nbd+unix:///$export?socket=$socket",
        image => { 'virtual-size' => $size },
    };
}

my sub nodes () {
    return @PVE::QemuServer::Monitor::NODES = (
        node('e1', $disk, 1 << 20),
        node('e2', '1100/vm-100-disk-0.raw', 1 << 20),
        node('e3', $disk, 1 << 20, '/run/s3pve/b/nbd.sock'),
        { node('e4', $disk, 1 << 20)->%*, drv => 'file' },
    );
}

nodes();
$class->volume_resize($scfg, 'a', $disk, 2 << 20, 1);
is_deeply(
    \@PVE::QemuServer::Monitor::COMMANDS,
    [[100, 'qemu-io e1 "read 0 512"']],
    'QEMU is made to connect again'
);
@PVE::QemuServer::Monitor::COMMANDS = ();
nodes();
$class->volume_resize($scfg, 'a', $disk, 1 << 20, 1);
is_deeply(\@PVE::QemuServer::Monitor::COMMANDS, [], 'and left alone if it does');
$PVE::QemuServer::Monitor::SAYS = "Error: no\r\n";
like(
    error_of(sub { $class->volume_resize($scfg, 'a', $disk, 3 << 20, 1) }),
    qr{is larger now, but guest 100 does not see it - Error: no},
    'one that does not learn it is told'
);

# --- activated, and not

set_volumes({ $disk => { size => 1, dirty => 5000 } });
asked();
$class->activate_volume('a', $scfg, $disk, undef, {}, {});
is(volumes()->{$disk}->{active}, 1, 'a disk is activated');
$class->activate_volume('a', $scfg, $disk, undef, {}, {});
is(volumes()->{$disk}->{active}, 1, 'as often as one likes');
is(
    error_of(sub { $class->activate_volume('a', $scfg, '100/x.raw', undef, {}) }),
    "volume 'a:100/x.raw': there is no volume 100/x.raw\n",
    'if it is there'
);
behave('volume-activate' => refusal('CONFLICT', 'node pve2 has it open'));
is(
    error_of(sub { $class->activate_volume('a', $scfg, $disk, undef, {}) }),
    "volume 'a:$disk': node pve2 has it open\n", 'and nobody else has it'
);
behave();
like(
    error_of(sub { $class->activate_volume('a', $scfg, $disk, 'snap', {}) }),
    qr/not supported yet/, 'not a snapshot'
);
asked();
make_path("$mnt/template/iso");
spew("$mnt/template/iso/x.iso", '');
make_path("$mnt/images/100");
spew("$mnt/images/100/vm-100-disk-5.qcow2", '');
$class->activate_volume('a', $scfg, 'iso/x.iso', undef, {});
$class->activate_volume('a', $scfg, '100/vm-100-disk-5.qcow2', undef, {});
like(
    error_of(sub { $class->activate_volume('a', $scfg, 'iso/y.iso', undef, {}) }),
    qr/does not exist/, 'a file has to be there'
);
$class->deactivate_volume('a', $scfg, 'iso/x.iso', undef, {});
is(scalar(@n = asked()), 0, 'and that is all');

my $late = refusal('TIMEOUT', '5000 bytes are missing in the bucket');
my sub left ($dirty) {
    return { ok => JSON::PP::true, volumes => [{ name => $disk, dirty => $dirty }] };
}
behave('volume-deactivate' => [$late, $late], volumes => [left(5000), left(4000)]);
$class->deactivate_volume('a', $scfg, $disk, undef, {});
ok(!volumes()->{$disk}->{active}, 'one that is slow to leave is waited for');
S3PVE::Daemon::stop('a', $scfg, 5);
behave('volume-deactivate' => $late, volumes => left(5000));
$class->activate_storage('a', $scfg, {});
is(
    error_of(sub { $class->deactivate_volume('a', $scfg, $disk, undef, {}) }),
    "volume 'a:$disk' stays open on this node: 5000 bytes are missing in the bucket\n",
    'as long as it gets on'
);
behave('volume-deactivate' => refusal('CONFLICT', 'it is in use'));
like(
    error_of(sub { $class->deactivate_volume('a', $scfg, $disk, undef, {}) }),
    qr/stays open on this node: it is in use/, 'one in use stays'
);
behave();
$class->deactivate_volume('a', $scfg, '100/never.raw', undef, {});
pass('one that never was active is fine');

# --- streams

make_path("$mnt/images/100", "$mnt/images/101");
set_volumes({ $disk => { size => 3 << 20 } });
my $data = join('', map { pack('N', $_) } 1 .. 262_144) . "\0" x (2 << 20);
spew("$mnt/images/$disk", $data);
open(my $out, '>:raw', "$root/stream") or die;
$class->volume_export($scfg, 'a', $out, $disk, 'raw+size');
close($out);
ok(slurp("$root/stream") eq pack('Q<', 3 << 20) . $data, 'a disk is exported, with its size');
like(
    error_of(sub { $class->volume_export($scfg, 'a', $out, $disk, 'raw+size', 'snap') }),
    qr/base class/, 'no snapshot of it'
);

my sub import_of ($volname, @how) {
    open(my $in, '<:raw', "$root/stream") or die;
    return $class->volume_import($scfg, 'a', $in, $volname, 'raw+size', undef, undef, 0, @how);
}
is(import_of('101/vm-101-disk-0.raw'), 'a:101/vm-101-disk-0.raw', 'and imported');
ok(slurp("$mnt/images/101/vm-101-disk-0.raw") eq $data, 'as it was');
is(volumes()->{'101/vm-101-disk-0.raw'}->{size}, 3 << 20, 'as large as it was');
is((stat("$mnt/images/101/vm-101-disk-0.raw"))[12] < 3000 ? 1 : 0, 1, 'without writing zeroes');
is(
    error_of(sub { import_of('101/vm-101-disk-0.raw') }),
    "volume 'a:101/vm-101-disk-0.raw' already exists\n", 'but not over one that is there'
);
{
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is(import_of('101/vm-101-disk-0.raw', 1), 'a:101/vm-101-disk-1.raw', 'unless renamed');
    like("@warnings", qr/already exists - importing with a different name/, 'which is told');
}
truncate("$root/stream", 1 << 20);
like(
    error_of(sub { import_of('101/vm-101-disk-5.raw') }),
    qr/^the stream ended early: 2097160 bytes are missing/, 'half a stream is no disk'
);
ok(!volumes()->{'101/vm-101-disk-5.raw'}, 'and none is left');

# --- removed

is($class->free_image('a', $scfg, $disk, undef, 'raw'), undef, 'a disk is removed');
ok(!volumes()->{$disk}, 'and gone');
{
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is($class->free_image('a', $scfg, $disk, undef, 'raw'), undef, 'removing it again');
    is("@warnings", "volume 'a:$disk' does not exist\n", 'only warns');
}
behave('volume-delete' => refusal('CONFLICT', 'node pve2 has it open'));
like(
    error_of(sub { $class->free_image('a', $scfg, $disk, undef, 'raw') }),
    qr/node pve2 has it open/, 'one that another node has is not removed'
);
behave();

# --- one at a time

is($class->cluster_lock_storage('a', 1, undef, sub { return "@_" }, 'x', 'y'), 'x y', 'no lock');
is(
    error_of(sub {
        $class->cluster_lock_storage('a', 1, undef, sub { die { a => 1 } });
    })->{a},
    1,
    'an error is what it was'
);
{
    local $PVE::Cluster::QUORUM = 0;
    is(
        error_of(sub {
            $class->cluster_lock_storage('a', 1, undef, sub { return 1 });
        }),
        "no quorum\n",
        'nothing is done without a quorum'
    );
}

done_testing();
