#!/usr/bin/perl
# A store that is gone: Proxmox goes on, says so, and finds it again.
use v5.36;

use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE::Harness;
use S3PVE::Test;

my $pve = S3PVE::Harness->start();
my $rgw = rgw(own => 1);
my $bucket = $rgw->bucket();
$pve->add($rgw, $bucket, 'st', '--content', 'iso,backup');
$pve->must('sh', '-c', 'echo data > /mnt/pve/st/template/iso/one.iso');

# What `pvesm status` says of it, and seconds that took.
my sub look () {
    my $begin = time();
    my $state = $pve->status('st')->{state};
    return ($state, time() - $begin);
}

my sub becomes ($wanted) {
    return wait_until(60, sub { (look())[0] eq $wanted });
}

is((look())[0], 'active', 'a storage is active');

for my $case (['kill', 'revive', 'refuses connections'], ['pause', 'resume', 'does not answer']) {
    my ($down, $up, $how) = $case->@*;
    $rgw->$down();
    ok(becomes('inactive'), "a store that $how is inactive before long");
    my ($state, $seconds) = look();
    cmp_ok($seconds, '<', 5, sprintf('... which is known at once (%.1f s)', $seconds));
    like($pve->{stderr}, qr/^connection check for storage 'st' failed - \S/m, '... with a reason');
    is($pve->status('local')->{state}, 'active', '... and other storages are not touched');

    my $begin = time();
    my $said = $pve->fails('vzdump', 999, '--storage', 'st');
    like($said, qr/connection check for storage 'st' failed - \S/, 'a backup fails, in words');
    cmp_ok(time() - $begin, '<', 20, 'at once');
    $said = $pve->fails('pvesm', 'list', 'st', '--content', 'backup');
    like($said, qr/^connection check for storage 'st' failed - \S/m, 'so does a listing, in words');
    cmp_ok(time() - $begin, '<', 40, 'and soon');
    $pve->fails('pvesm', 'set', 'st', '--s3-access-key', 'OTHER');
    cmp_ok(time() - $begin, '<', 70, 'and a change of what would have to be tried');
    $pve->must('pvesm', 'set', 'st', '--content', $how =~ m/refuse/ ? 'iso' : 'iso,backup');

    $rgw->$up();
    ok(becomes('active'), 'the store comes back, and the storage with it');
    is($pve->must('cat', '/mnt/pve/st/template/iso/one.iso'), "data\n", 'with the same mount');
}

# A node that starts while the store is gone.
$rgw->kill();
ok(becomes('inactive'), 'a store is gone');
my $pid = $pve->must('cat', '/run/s3pve/st/lock') + 0;
kill('KILL', $pid);
my $begin = time();
is((look())[0], 'inactive', 'a node starts meanwhile');
cmp_ok(time() - $begin, '<', 15, 'without waiting long');
like($pve->must('cat', '/proc/mounts'), qr!/mnt/pve/st!, 'and mounts the storage');
$rgw->revive();
ok(becomes('active'), 'which is there when the store is');
is($pve->must('cat', '/mnt/pve/st/template/iso/one.iso'), "data\n", 'and can be read');

# Removing a storage needs no store.
$rgw->kill();
ok(becomes('inactive'), 'a store is gone for good');
$begin = time();
$pve->must('pvesm', 'remove', 'st');
cmp_ok(time() - $begin, '<', 30, 'the storage can be removed all the same');
unlike($pve->must('cat', '/proc/mounts'), qr!/mnt/pve/st!, 'with its mount');

done_testing();
