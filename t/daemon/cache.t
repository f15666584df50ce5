#!/usr/bin/perl
# The cache may be removed at any time, folder and all.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $fake = fakes3();
my $bucket = $fake->bucket();
my $daemon = S3PVE::Test::Daemon->new($fake, $bucket);
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
my $cache = "$daemon->{dir}/cache";
my @iso = map { "$daemon->{mnt}/template/iso/$_.iso" } 0 .. 3;
spew($_, join('', map { pack('N', $_) x 1024 } 1 .. 2000)) for @iso;

# Bytes here and there, past the kernel's pages, as a guest's CD drive reads them.
my sub read_some ($file) {
    return run_ok(
        'dd', "if=$file", 'bs=4k', 'count=1', 'skip=' . (1 + int(rand(1500))), 'iflag=direct',
        'status=none'
    );
}

my sub cached () { return $daemon->ask('status')->{cache}->{used} }

is(length(read_some($iso[0])), 4096, 'a file is read');
ok(wait_until(5, \&cached), '... and kept on the node');
run_ok('rm', '-rf', $cache);
is(length(read_some($iso[1])), 4096, 'the folder is removed: another is read');
ok(wait_until(5, sub { glob("$cache/blocks/*.blk") }), '... and kept in a new one');
is(length(read_some($iso[$_])), 4096, '... and so on') for 0, 2, 3;
is(scalar(() = $daemon->output() =~ m/the folder was removed/g), 1, '... which is said once');
unlike($daemon->output(), qr/error|failed/i, '... and is no failure');
is($daemon->stop(), 0, 'the daemon ends well');

done_testing();
