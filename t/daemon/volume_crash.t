#!/usr/bin/perl
# A guest whose daemon is killed again and again loses nothing, in either durability; nor does one
# that is told to end, and then has the store away when it starts.
use v5.36;

use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;
use S3PVE::Test::Guest;

need_fuse();
need_command(qw(qemu-storage-daemon qemu-io nbdinfo fio));
my $KILLS = 3;
my $DISK = '100/vm-100-disk-0.raw';
my $IDLE = '100/vm-100-disk-1.raw';
my $rgw = rgw();

for my $durability (qw(bucket node)) {
    my $bucket = $rgw->bucket();
    my $daemon = S3PVE::Test::Daemon->new($rgw, $bucket, durability => $durability);
    ok($daemon->start(), "$durability: the daemon starts") or diag($daemon->output());
    ok($daemon->volume('create', $_, size => 128 << 20)->{ok}, "... and makes $_") for $DISK, $IDLE;
    ok($daemon->volume('activate', $_)->{ok}, "... and serves $_") for $DISK, $IDLE;
    run_ok('qemu-io', '-f', 'raw', $daemon->nbd($IDLE), '-c', 'write -P 3 0 64k');

    my $guest = S3PVE::Test::Guest->new($daemon, $DISK);
    my $fio = $guest->fio(14);
    my @took;
    for (1 .. $KILLS) {
        sleep(3);
        $daemon->crash();
        my $begin = time();
        ok($daemon->start(), 'killed, it starts again') or diag($daemon->output());
        push(@took, sprintf('%.1f', time() - $begin));
    }
    is($guest->fio_end($fio), 0, 'the guest verifies all it wrote') or diag($guest->fio_said());
    cmp_ok($guest->fio_writes(), '>', 100, "... much; the daemon was there again after @took s");
    ok($daemon->open_volume($_)->{active}, "$_ is active still") for $DISK, $IDLE;
    run_ok('qemu-io', '-f', 'raw', $daemon->nbd($IDLE), '-c', 'read -P 3 0 64k');

    $fio = $guest->fio(8);
    sleep(2);
    is($daemon->stop(), 0, 'told to end under load it does');
    sleep(1);
    ok($daemon->start(), '... and is started again');
    is($guest->fio_end($fio), 0, '... of which the guest saw nothing') or diag($guest->fio_said());
    is($guest->stop(), 0, 'the guest ends');
    my $answer = $daemon->volume('deactivate', $DISK);
    ok($answer->{ok}, '... and its disk is handed back') or diag($answer->{error});
    unlike($daemon->output(), qr/has failed/, 'no volume has failed');
    is($daemon->stop(), 0, 'the daemon ends well');
}

done_testing();
