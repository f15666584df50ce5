#!/usr/bin/perl
# One stream needs less than 128 MiB of the daemon: of all it did so far, not only of what it does.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Measure qw(usage_of);
use S3PVE::Test;
use S3PVE::Test::Daemon;

my $MIB = 200; # more than all buffers together
my $MOST = 128;

need_fuse();
my $rgw = rgw();
my $daemon = S3PVE::Test::Daemon->new($rgw, $rgw->bucket());
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
my $source = "$daemon->{dir}/source";
my $base = "$daemon->{mnt}/dump/vzdump-qemu-100-2026_01_01-00_00_00";
my $iso = "$daemon->{mnt}/template/iso/large.iso";
run_ok('sh', '-c', 'head -c "$1" /dev/urandom >"$0"', $source, $MIB << 20);

my sub is_small ($what) {
    my (undef, $peak) = usage_of($daemon->{pid});
    cmp_ok($peak >> 10, '<', $MOST, "$what: no more than $MOST MiB so far");
    return;
}

is(system('cp', $source, "$base.dat"), 0, 'a backup is written');
ok(rename("$base.dat", "$base.vma"), '... and renamed');
is_small('written');
is(system('cmp', $source, "$base.vma"), 0, 'it is read, whole');
is_small('read');
for my $at (1 .. 30) { # out of order, so that blocks are kept in memory too
    run_ok(
        'dd', "if=$base.vma", 'of=/dev/null', 'bs=4k', 'count=1', 'skip=' . $at * 1601,
        'iflag=direct', 'status=none'
    );
}
is(system('cp', $source, $iso), 0, 'another file is written');
is_small('read and written');
is(system('cmp', $source, $iso), 0, '... and read, whole');
is_small('both again');

done_testing();
