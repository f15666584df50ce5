#!/usr/bin/perl
# The store is away while guests are at work: they go on, or wait, and see no error; a volume is not
# handed back, and goes on here; the daemon starts and ends in time.
use v5.36;

use FindBin qw($RealBin);
use POSIX qw(WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;
use S3PVE::Test::Guest;

need_fuse();
need_command(qw(qemu-storage-daemon qemu-io nbdinfo fio));
my $DISK = '100/vm-100-disk-0.raw';
my $rgw = rgw(own => 1);
my $daemon = S3PVE::Test::Daemon->new($rgw, $rgw->bucket(), durability => 'node');
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
ok($daemon->volume('create', $DISK, size => 128 << 20)->{ok}, 'a disk is made');
ok($daemon->volume('activate', $DISK)->{ok}, '... and active');
my $guest = S3PVE::Test::Guest->new($daemon, $DISK);

my sub guest_does (@what) {
    return run_ok('qemu-io', '-f', 'raw', $guest->uri(), map { (-c => $_) } @what);
}

# --- what a flush means

my $OTHER = '100/vm-100-disk-1.raw';
$daemon->configure(durability => 'bucket');
$daemon->ask('reload');
ok($daemon->volume('create', $OTHER, size => 1 << 20)->{ok}, 'after a reload another disk is made');
ok($daemon->volume('activate', $OTHER)->{ok}, '... and active');
$rgw->kill();
guest_does('write -P 1 0 64k', 'flush');
my $flusher = fork() // die "fork: $!\n";

if (!$flusher) {
    exec('qemu-io', '-f', 'raw', $daemon->nbd($OTHER), '-c', 'write -qP 1 0 64k', '-c', 'flush');
}
sleep(3);
is(waitpid($flusher, WNOHANG), 0, 'one means the bucket by then, the other still this node');
$rgw->revive();
waitpid($flusher, 0);
is($?, 0, '... and ends well once there is one');

# --- a guest at work

my $fio = $guest->fio(15);
sleep(3);
$rgw->kill();
ok(
    wait_until(60, sub { $daemon->open_volume($DISK)->{dirty} > 0 }),
    'the store is away: what is written stays here'
);
ok(
    wait_until(120, sub { $daemon->open_volume($DISK)->{waiting} }),
    '... and why is told'
);
my $begin = time();
my $answer = $daemon->volume('stat', $DISK, timeout => 2);
ok(!$answer->{ok}, 'a command that needs the store fails');
cmp_ok(time() - $begin, '<', 30, '... when its time is over');
is($guest->fio_end($fio), 0, 'the guest verifies what it wrote meanwhile')
    or diag($guest->fio_said());

# --- nothing is handed back

$begin = time();
$answer = $daemon->volume('deactivate', $DISK, timeout => 4);
is($answer->{code}, 'CONFLICT', 'with its guest it is not deactivated');
is($guest->stop(), 0, 'the guest ends');
$begin = time();
$answer = $daemon->volume('deactivate', $DISK, timeout => 4);
ok(!$answer->{ok}, 'nor without') or diag($answer->{error});
like($answer->{error}, qr/ MiB /, '... and it is told how much is missing');
cmp_ok(time() - $begin, '<', 30, '... in time');
$guest = S3PVE::Test::Guest->new($daemon, $DISK);
guest_does('write -P 5 100M 1M', 'flush', 'read -P 5 100M 1M');
ok($daemon->open_volume($DISK)->{active}, 'it is active, and a guest can go on');

# --- a daemon that starts now

my $pid = fork() // die "fork: $!\n";
if (!$pid) {
    sleep(1);
    exec('qemu-io', '-f', 'raw', $guest->uri(), '-c', 'write -qP 6 101M 1M', '-c', 'flush');
}
$daemon->crash();
$begin = time();
ok($daemon->start(), 'a daemon starts with the store away');
cmp_ok(time() - $begin, '<', 60, '... in time');
ok($daemon->ask('ping')->{ok}, '... and answers');
sleep(2);
is(waitpid($pid, WNOHANG), 0, '... while the guest waits');
$rgw->revive();
waitpid($pid, 0);
is($?, 0, 'the store is back, and the guest has written');
guest_does('read -P 5 100M 1M', 'read -P 6 101M 1M');
ok(
    wait_until(120, sub { $daemon->open_volume($DISK)->{dirty} == 0 }),
    'soon the bucket has all of it'
);

# --- requests under way

run_ok('sh', '-c', "rm -f $daemon->{dir}/cache/volumes*");
$daemon->crash();
ok($daemon->start(), 'a daemon starts without its cache');
ok(wait_until(120, sub { $daemon->open_volume($DISK) }), '... and has the volume');
$guest->stop();
$rgw->kill();
my $reader = fork() // die "fork: $!\n";
if (!$reader) {
    open(STDOUT, '>', '/dev/null');
    exec('qemu-io', '-f', 'raw', $daemon->nbd($DISK), '-c', 'read 100M 1M');
}
ok(wait_until(60, sub { $daemon->open_volume($DISK)->{users} }), 'a read needs the store');
sleep(1);
kill('KILL', $reader);
waitpid($reader, 0);
$begin = time();
$answer = $daemon->volume('deactivate', $DISK, timeout => 3);
ok(!$answer->{ok}, '... so the volume is not handed back, though the reader is gone');
cmp_ok(time() - $begin, '<', 30, '... in time');
is((run_cmd('nbdinfo', '--size', $daemon->nbd($DISK)))[1], (128 << 20) . "\n", '... and is served');
my $waiting = fork() // die "fork: $!\n";
POSIX::_exit($daemon->volume('deactivate', $DISK)->{code} eq 'CANCELLED' ? 0 : 1) if !$waiting;
wait_until(60, sub { (run_cmd('nbdinfo', '--size', $daemon->nbd($DISK)))[0] != 0 })
    or die "it is not being deactivated\n";
$begin = time();
is($daemon->stop(), 0, 'the daemon ends well with the store away');
cmp_ok(time() - $begin, '<', 40, '... in time');
waitpid($waiting, 0);
is($?, 0, '... and commands that wait are cancelled');
$rgw->revive();
ok($daemon->start(), 'with the store it starts again');
$answer = $daemon->volume('deactivate', $DISK);
ok($answer->{ok}, '... and hands the volume back') or diag($answer->{error});
is($daemon->stop(), 0, '... and ends');

done_testing();
