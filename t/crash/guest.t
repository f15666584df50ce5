#!/usr/bin/perl
# A Debian guest starts from a volume, and writes and verifies while s3pved is killed again and again,
# and the store is away for S3PVE_OUTAGE_S (10) seconds.  Then it starts on a second node, which loses
# its folder: what was flushed is there with durability `bucket`, an older disk with `node`.
use v5.36;

use Digest::SHA;
use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;
use S3PVE::Test::Machine;

need_fuse();
need_command(qw(nbdcopy qemu-img));
my $OUTAGE_S = $ENV{S3PVE_OUTAGE_S} // 10;
my $KILLS = 4;
my $SEALED_S = 12; # after this a write is in the bucket, with two seconds to spare
my $SIZE = 384 << 20;
my $DISK = '100/vm-100-disk-0.raw';
my $guest = S3PVE::Test::Machine->new();
my $rgw = rgw(own => 1, size => 4);
my $scratch = scratch();
my $debian = "$scratch/debian.raw";
$guest->make_disk($debian, $SIZE);

my sub node ($name, $bucket, $durability) {
    my $daemon = S3PVE::Test::Daemon->new($rgw, $bucket, node => $name, durability => $durability);
    ok($daemon->start(), "$durability: node $name has a daemon") or diag($daemon->output());
    return $daemon;
}

my sub good ($answer, $what) {
    return ok($answer->{ok}, $what) || diag($answer->{error} // 'no answer');
}

my sub install ($daemon) {
    good($daemon->volume('create', $DISK, size => $SIZE), '... it makes a volume');
    good($daemon->volume('activate', $DISK), '... and serves it');
    run_ok(qw(qemu-img convert -n -f raw -O raw), $debian, $daemon->nbd($DISK));
    return pass('... onto which Debian is installed');
}

my sub boot ($daemon, $job) {
    $guest->boot(
              "driver=nbd,server.type=unix,server.path=$daemon->{run}/nbd.sock,export=$DISK,"
            . 'reconnect-delay=120',
        $job
    );
    like($guest->said(qr/guest: e2fsck/) // '', qr/e2fsck 0$/, 'a guest finds a sound file system');
    ok($guest->said(qr/started from/), '... and starts from it') or diag($guest->console());
    return;
}

my sub sum ($daemon) {
    run_ok('nbdcopy', $daemon->nbd($DISK), "$scratch/copy");
    my $sum = Digest::SHA->new(256)->addfile("$scratch/copy")->hexdigest();
    unlink("$scratch/copy");
    return $sum;
}

# How many files the guest found, of which none may be wrong.
my sub verified () {
    my ($n, $bad) = ($guest->said(qr/verified/) // '') =~ m/verified (\d+) files, (\d+) are wrong/;
    is($bad, 0, '... and finds no file that is not as it was written') or diag($guest->console());
    return $n // 0;
}

my sub again ($daemon) {
    $daemon->crash();
    return $daemon->start();
}

# The node loses its power and its folder.  Return: how many flushes the guest had an answer to.
my sub lose_folder ($daemon, $least, $seconds) {
    ok($guest->said(qr/flushed $least$/m, 120), "... and flushes $least times and more");
    sleep($seconds);
    $guest->kill();
    $daemon->crash();
    my ($flushed) = reverse($guest->console() =~ m/flushed (\d+)$/mg);
    run_ok('rm', '-r', "$daemon->{dir}/state", "$daemon->{dir}/cache");
    ok($daemon->start(), '... until its node loses all it has') or diag($daemon->output());
    good($daemon->volume('activate', $DISK, timeout => 100), '... but not the volume');
    return $flushed;
}

my $bucket = $rgw->bucket();
my $one = node('n1', $bucket, 'bucket');
install($one);
boot($one, 'write,' . (2 * $KILLS + $OUTAGE_S + 5));
my $started = grep { sleep(2); again($one) } 1 .. $KILLS;
is($started, $KILLS, "... $KILLS times its daemon is killed, and starts again");
$rgw->kill();
sleep($OUTAGE_S);
$rgw->revive();
ok($guest->alive(), "... the store is away for $OUTAGE_S s");
ok($guest->said(qr/fio is content/, 120), '... and fio has read what it wrote, all the time')
    or diag($guest->console());
my ($n_files) = ($guest->said(qr/wrote \d+ files/) // '') =~ m/wrote (\d+) files/;
$n_files = 20 if $n_files > 20; # it begins anew
ok($guest->wait_end(), '... it is turned off');
my $sum = sum($one);
good($one->volume('deactivate', $DISK), '... the volume is handed back');

my $two = node('n2', $bucket, 'bucket');
good($two->volume('activate', $DISK), '... it has the volume');
is(sum($two), $sum, '... which is the same disk');
boot($two, 'verify,flush');
is(verified(), $n_files, '... all of them are there');
my $flushed = lose_folder($two, 10, 0);
boot($two, 'verify');
cmp_ok(verified(), '>=', $n_files + $flushed, "... all $flushed that it flushed are there");
ok($guest->wait_end(), '... it is turned off');
is($_->stop(), 0, 'a daemon ends') for $one, $two;

my $three = node('n3', $rgw->bucket(), 'node');
install($three);
boot($three, 'flush');
$flushed = lose_folder($three, 1, $SEALED_S);
boot($three, 'verify');
my $kept = verified();
cmp_ok($kept, '>', 0, "... older than it was: $kept of $flushed that it flushed are there");
ok($guest->wait_end(), '... it is turned off');
good($three->volume('deactivate', $DISK), '... the volume is handed back');
is($three->stop(), 0, 'a daemon ends');

done_testing();
