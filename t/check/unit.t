#!/usr/bin/perl
# The daemon's unit must not give it a mount namespace: its mount would not be seen on the host.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

my $path = top() . '/debian/s3pve.s3pved@.service';
my @settings = map { [m/^([A-Za-z]+)=(.*)$/] } grep { !m/^(#|\[|$)/ } split(/\n/, slurp($path));
my %is = map { $_->[0] => $_->[1] } @settings;

# systemd's exec_needs_mount_namespace(): all that makes it answer yes.
my $namespacing = qr/^(?:Private(?!Network|Users).*|Protect(?!Clock|Hostname).*|ProcSubset
    |.*Paths|Bind.*|TemporaryFileSystem|Root(?:Directory|Image).*|Mount.*|Extension.*
    |DynamicUser|LogNamespace|JoinsNamespaceOf)$/x;
is_deeply([grep { m/$namespacing/ } map { $_->[0] } @settings], [], 'no mount namespace');

is($is{Type}, 'notify', 'it is ready when the mount is there');
is($is{KillMode}, 'mixed', 'systemd leaves the unmounting to the daemon');
is($is{LimitCORE}, 0, 'no core dumps');
like($is{$_}, qr/pve-storage\.target.*pve-guests\.service/, "$_ guests") for 'Before';
like($is{After}, qr/network-online\.target.*pve-cluster\.service/, 'After the network');
like($is{RestartPreventExitStatus}, qr/\b78\b/, 'a wrong configuration is not retried');
is($is{Restart}, 'on-failure', 'a crash is');
like($is{DeviceAllow}, qr!^/dev/fuse rw!, 'it can open /dev/fuse');

SKIP: {
    skip('systemd-analyze is not installed', 1) if !-x '/usr/bin/systemd-analyze';
    my $scratch = scratch();
    my $unit = slurp($path) =~ s!/usr/sbin/s3pved!/bin/true!r =~ s/^Documentation=.*\n//mr;
    spew("$scratch/s3pved\@store1.service", $unit, 0644);
    my ($code, $out, $err) =
        run_cmd('systemd-analyze', 'verify', "$scratch/s3pved\@store1.service");
    is($err, '', 'systemd finds nothing wrong with it');
}

done_testing();
