#!/usr/bin/perl
# A guest's disk is a volume in a bucket: QEMU and fio write and verify while its daemon is killed,
# and another node has the same disk afterwards.
use v5.36;

use Digest::MD5;
use FindBin qw($RealBin);
use IPC::Open2 qw(open2);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;

need_command(qw(qemu-storage-daemon qemu-img qemu-io nbdinfo nbdcopy fio));
my $SIZE = 256 << 20;
my $KILLS = 4;
my $dir = scratch();
my $rgw = rgw();
my $bucket = $rgw->bucket();

# One daemon: [pid, its output, its input].
my sub start ($state, $socket, @options) {
    my $pid = open2(
        my $out, my $in, build() . '/t/nbd/volume',
        @options, "$rgw->{dir}/s3pve.conf", $bucket, $state, $socket,
    );
    my $began = time();
    my $said = readline($out) // '';
    return { pid => $pid, out => $out, in => $in, said => $said, took => time() - $began };
}

my sub end ($daemon, $word = undef) {
    print { $daemon->{in} } "$word\n" if $word;
    close($daemon->{in});
    my @said = readline($daemon->{out});
    waitpid($daemon->{pid}, 0);
    return $? == 0 && "@said" =~ m/closed/;
}

my sub crash ($daemon) {
    kill('KILL', $daemon->{pid});
    waitpid($daemon->{pid}, 0);
    return;
}

my sub md5 ($uri) {
    my ($code, $out) = run_cmd('nbdcopy', $uri, "$dir/copy");
    open(my $fh, '<:raw', "$dir/copy") or die "copy: $!\n";
    my $md5 = Digest::MD5->new()->addfile($fh)->hexdigest();
    unlink("$dir/copy");
    return $md5;
}

my $socket = "$dir/nbd";
my $uri = "nbd+unix:///disk?socket=$socket";

for my $durability ('bucket', 'node') {
    my $state = "$dir/state-$durability";
    $bucket = $rgw->bucket();
    my $daemon = start($state, $socket, -c => $SIZE, -d => $durability);
    is($daemon->{said}, "ready\n", "$durability: a new volume is served");
    my ($code, $out) = run_cmd('nbdinfo', '--size', $uri);
    is($out, "$SIZE\n", '... of its size');
    run_ok(
        'qemu-io', '-f', 'raw', $uri, '-c', 'write -P 1 0 1M', '-c', 'write -P 2 513k 1k',
        '-c', 'write -z 100k 64k', '-c', 'discard 256k 64k', '-c', 'flush', '-c',
        'read -P 1 0 100k',
        '-c', 'read -P 0 100k 64k', '-c', 'read -P 2 513k 1k', '-c', 'read -P 1 514k 1k',
        '-c', 'read -P 0 256k 64k',
    );
    (undef, $out) = run_cmd('nbdinfo', '--map', '--totals', $uri);
    like($out, qr/hole/, '... and what was never written takes no room');

    my $qemu = fork() // die "fork: $!\n";
    if (!$qemu) {
        exec(
            'qemu-storage-daemon',
            '--blockdev',
            "driver=nbd,server.type=unix,server.path=$socket,export=disk,reconnect-delay=60,node-name=d",
            '--nbd-server', "addr.type=unix,addr.path=$dir/guest",
            '--export', 'type=nbd,id=g,node-name=d,name=guest,writable=on',
        ) or POSIX::_exit(127);
    }
    wait_until(10, sub { -S "$dir/guest" }) or die "no qemu\n";
    my $guest = "nbd+unix:///guest?socket=$dir/guest";
    my $fio = fork() // die "fork: $!\n";
    if (!$fio) {
        open(STDOUT, '>', "$dir/fio.log") or POSIX::_exit(126);
        open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
        exec(
            'fio', '--name=x', '--ioengine=nbd', "--uri=$guest", '--rw=randwrite',
            '--bs=4k-64k',
            '--iodepth=16', '--size=128m', '--time_based', '--runtime=20', '--verify=crc32c',
            '--rate=,8m', # the store keeps all of it in memory
            '--verify_state_save=0', '--verify_backlog=256', '--randrepeat=0', '--fsync=64',
        ) or POSIX::_exit(127);
    }
    my @took;
    for (1 .. $KILLS) {
        sleep(2.5);
        crash($daemon);
        $daemon = start($state, $socket, -d => $durability);
        push(@took, sprintf('%.1f', $daemon->{took}));
    }
    waitpid($fio, 0);
    is($?, 0, "fio verifies all it wrote while the daemon was killed $KILLS times")
        or diag(slurp("$dir/fio.log"));
    my ($written) = slurp("$dir/fio.log") =~ m/issued rwts: total=\d+,(\d+)/;
    cmp_ok($written, '>', 100, "... $written writes; it was there again after @took s");
    kill('TERM', $qemu);
    waitpid($qemu, 0);
    unlink("$dir/guest");

    my $before = md5($uri);
    ok(end($daemon, 'back'), 'the volume is handed back');
    my $other = start("$dir/other-$durability", $socket, -n => 'n2', -d => $durability);
    is($other->{said}, "ready\n", 'another node opens it');
    cmp_ok(
        $other->{took}, '<', 6,
        sprintf('... without waiting for the first one, in %.1f s', $other->{took})
    );
    is(md5($uri), $before, '... and has the same disk');
    ok(end($other), '... and stops');
}

done_testing();
