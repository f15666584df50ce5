#!/usr/bin/perl
# QEMU's reconnect-delay: the server is killed, restarted, grows a disk, and the guest sees a pause.
use v5.36;

use FindBin qw($RealBin);
use IO::Socket::UNIX;
use JSON::PP;
use Socket qw(SOCK_STREAM);
use Test::More;
use Time::HiRes qw(sleep);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Memory;

need_command(qw(qemu-storage-daemon qemu-io fio));
my $SIZE = 64 << 20;
my $KILLS = 5;
my $memory = S3PVE::Test::Memory->new(size => $SIZE, threads => 4, file => 1);
my $dir = scratch();

# QEMU's block layer alone, with our disk as its node and served again as "guest".
my sub start_qemu () {
    my $node = $memory->node('disk', 'reconnect-delay=60', 'node-name=disk');
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        open(STDOUT, '>', "$dir/qemu.log") or POSIX::_exit(126);
        open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
        exec(
            'qemu-storage-daemon',
            '--blockdev', $node,
            '--nbd-server', "addr.type=unix,addr.path=$dir/guest",
            '--export', 'type=nbd,id=guest,node-name=disk,name=guest,writable=on',
            '--chardev', "socket,id=qmp,path=$dir/qmp,server=on,wait=off",
            '--monitor', 'chardev=qmp',
        ) or POSIX::_exit(127);
    }
    wait_until(10, sub { -S "$dir/guest" && -S "$dir/qmp" }) or die slurp("$dir/qemu.log");
    return $pid;
}

my $qemu = start_qemu();
my $guest = "nbd+unix:///guest?socket=$dir/guest";

my %served = (type => 'nbd', id => 'guest', 'node-name' => 'disk', name => 'guest', writable => \1);

my sub qmp ($command, %arguments) {
    state $monitor;
    if (!$monitor) {
        $monitor = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => "$dir/qmp")
            or die "qmp: $!\n";
        readline($monitor);
        print {$monitor} qq({"execute": "qmp_capabilities"}\n);
        readline($monitor);
    }
    print {$monitor} encode_json({ execute => $command, arguments => \%arguments }), "\n";
    my $said = decode_json(scalar(readline($monitor)));
    $said = decode_json(scalar(readline($monitor))) while $said->{event};
    return $said;
}

my sub fio_verified ($seconds, %also) {
    return (
        'fio', '--name=x', '--ioengine=nbd', "--uri=$guest", '--rw=randwrite', '--bs=4k',
        '--iodepth=16', '--size=32m', '--time_based', "--runtime=$seconds", '--verify=crc32c',
        '--verify_state_save=0',
        '--verify_backlog=256', '--randrepeat=0'
    );
}

{
    my $fio = fork() // die "fork: $!\n";
    if (!$fio) {
        open(STDOUT, '>', "$dir/fio.log") or POSIX::_exit(126);
        open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
        exec(fio_verified($KILLS + 2)) or POSIX::_exit(127);
    }
    for (1 .. $KILLS) {
        sleep(0.7);
        $memory->crash();
        sleep(0.2);
        $memory->start();
    }
    waitpid($fio, 0);
    is($?, 0, "fio verifies all it wrote while the server was killed $KILLS times")
        or diag(slurp("$dir/fio.log"));
    my ($written) = slurp("$dir/fio.log") =~ m/issued rwts: total=\d+,(\d+)/;
    cmp_ok($written, '>', 100, "... $written blocks");
}

# QEMU's server lets nobody resize what it serves.  Return: what QEMU says against it.
my sub grow () {
    qmp('block-export-del', id => 'guest');
    wait_until(5, sub { !qmp('query-block-exports')->{return}->@* }) or die "still served\n";
    my $said = qmp('block_resize', 'node-name' => 'disk', size => 2 * $SIZE);
    qmp('block-export-add', %served);
    return $said->{error} ? $said->{error}->{desc} : '';
}

is($memory->ask('users disk'), 1, 'QEMU is connected');
like(grow(), qr/grow/, 'it cannot grow a disk');
is($memory->ask('resize disk ' . 2 * $SIZE), 0, 'the server can');
is($memory->ask('users disk'), 0, '... and hangs up');
run_ok('qemu-io', '-f', 'raw', $guest, '-c', 'read 0 4k');
is($memory->ask('users disk'), 1, 'with its next request QEMU is there again');
is(grow(), '', 'and can');
run_ok('qemu-io', '-f', 'raw', $guest, '-c', "write -P 9 @{[2 * $SIZE - 4096]} 4k");

$memory->ask('hold');
my $writer = fork() // die "fork: $!\n";
if (!$writer) {
    exec('qemu-io', '-f', 'raw', $guest, '-c', 'write -q -P 7 0 64k', '-c', 'flush')
        or POSIX::_exit(127);
}
sleep(0.5);
is($memory->ask('stop disk'), 0, 'an export is stopped while a guest writes');
$memory->ask('release');
is($memory->ask('free disk'), 0, '... and is gone');
sleep(0.5);
is(waitpid($writer, POSIX::WNOHANG), 0, 'the guest waits');
is($memory->ask('add disk'), 0, 'until it is there again');
waitpid($writer, 0);
is($?, 0, 'then it has written');
run_ok('qemu-io', '-f', 'raw', $guest, '-c', 'read -P 7 0 64k');

kill('TERM', $qemu);
waitpid($qemu, 0);
is($?, 0, 'QEMU ends well');
is($memory->stop(), 0, 'so does the server');

done_testing();
