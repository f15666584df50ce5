#!/usr/bin/perl
# File systems on loop devices on volumes, as containers have them; also when the daemon dies.
use v5.36;

use FindBin qw($RealBin);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
need_command(qw(losetup mkfs.ext4 e2fsck fstrim));

use constant { MIB => 1 << 20 };

my $probe = (run_cmd('losetup', '-f'))[1];
plan(skip_all => 'there are no loop devices') if $probe !~ m!^/dev/loop!;

my $rgw = rgw();
my $daemon = S3PVE::Test::Daemon->new($rgw, $rgw->bucket());
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
my $at = "$daemon->{dir}/fs";
mkdir($at) or die "$at: $!\n";
my (@loops, $mounted);

my sub works ($what, @cmd) {
    my ($code, $out, $err) = run_cmd({ timeout => 120 }, @cmd);
    is($code, 0, $what) or diag("@cmd\n$out$err");
    return $out;
}

my sub make ($file, $size) {
    my $answer = $daemon->ask('volume-create', name => "100/$file", size => $size);
    die "volume-create: $answer->{error}\n" if !$answer->{ok};
    return "$daemon->{mnt}/images/100/$file";
}

my sub attach ($file, @options) {
    chomp(my $loop = run_ok('losetup', '--show', '-f', @options, $file));
    push(@loops, $loop);
    return $loop;
}

my sub detach ($loop) {
    run_cmd('losetup', '-d', $loop);
    @loops = grep { $_ ne $loop } @loops;
    return;
}

my sub mount_it ($loop, @options) {
    $mounted = 1;
    return works("... is mounted", 'mount', @options, $loop, $at);
}

my sub umount_it () {
    works('... is unmounted', 'umount', $at);
    $mounted = 0;
    return;
}

END {
    local $?;
    run_cmd('umount', '-l', $at) if $mounted;
    run_cmd('losetup', '-d', $_) for @loops;
}

my $tree = top() . '/libs3pve';

for my $case (
    ['ext4', 'off', 64, ['mkfs.ext4', '-q', '-O', 'mmp', '-E', 'root_owner=1000:1000']],
    ['ext4', 'on', 64, ['mkfs.ext4', '-q']],
    ['xfs', 'off', 320, ['mkfs.xfs', '-q']],
) {
    my ($type, $direct, $size, $mkfs) = @$case;
    my $name = "vm-100-$type-$direct.raw";
SKIP: {
        skip("no $mkfs->[0]", 1) if !grep { -x "$_/$mkfs->[0]" } split(/:/, $ENV{PATH});
        my $file = make($name, $size * MIB);
        my $loop;
        if ($direct eq 'on') {
            $loop = attach($file, '--direct-io=on');
            works("$type is made on a device", @$mkfs, $loop);
        } else {
            works("$type is made on the file", @$mkfs, $file);
            $loop = attach($file);
        }
        mount_it($loop);
        works('... and filled', 'cp', '-r', $tree, "$at/tree");
        works('... and trimmed', 'fstrim', $at);
        umount_it();
        my @check = $type eq 'ext4' ? ('e2fsck', '-fn') : ('xfs_repair', '-n');
        works('... is sound', @check, $loop);
        mount_it($loop, '-o', 'ro');
        works('... and has all files', 'diff', '-r', $tree, "$at/tree");
        umount_it();

        if ($type eq 'ext4' && $direct eq 'off') {
            my $bytes = ($size + 32) * MIB;
            my $answer = $daemon->ask('volume-resize', name => "100/$name", size => $bytes);
            ok($answer->{ok}, 'it is made larger by command') or diag($answer->{error});
            is(-s $file, $bytes, '... which shows');
            works('... also to the device', 'losetup', '-c', $loop);
            chomp(my $sees = run_ok('blockdev', '--getsize64', $loop));
            is($sees, $bytes, '... when it looks');
        }
        detach($loop);
        ok(
            wait_until(
                10,
                sub {
                    !grep { $_->{held} } $daemon->ask('volumes')->{volumes}->@*;
                }
            ),
            '... and nobody holds it any more'
        );
    }
}

my sub is_whole ($path, $n) {
    return -e $path && slurp($path) eq "$n\n" x (500 + $n % 1000);
}

# --- the daemon dies while a file system is written

my $file = make('vm-100-crash.raw', 128 * MIB);
works('a file system', 'mkfs.ext4', '-q', $file);
for my $round (1 .. 3) {
    my $loop = attach($file);
    mount_it($loop);
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        for my $n (1 .. 100_000) {
            my $path = sprintf('%s/round%d-%06d', $at, $round, $n);
            open(my $fh, '>', $path) or POSIX::_exit(1);
            syswrite($fh, "$n\n" x (500 + $n % 1000)) or POSIX::_exit(1);
            $fh->sync() or POSIX::_exit(1) if $n % 10 == 0;
            close($fh) or POSIX::_exit(1);
            spew("$daemon->{dir}/synced", "$round $n") if $n % 10 == 0;
        }
        POSIX::_exit(0);
    }
    sleep(1.5 + $round / 3);
    $daemon->signal('KILL');
    is($daemon->wait_end(), 128 + 9, 'the daemon is killed');
    waitpid($pid, 0);
    run_cmd('umount', '-l', $at);
    $mounted = 0;
    detach($loop);
    run_cmd('umount', '-l', $daemon->{mnt});

    ok($daemon->start() && $daemon->settle(), '... and the next one starts')
        or diag($daemon->output());
    ok(wait_until(20, sub { -e $file }), '... and has the volume');
    my ($code, $out) = run_cmd('e2fsck', '-fy', $file);
    cmp_ok($code, '<', 2, '... whose file system replays its journal') or diag($out);
    works('... and is sound', 'e2fsck', '-fn', $file);
    my ($in, $n) = split(/ /, slurp("$daemon->{dir}/synced"));
    is($in, $round, 'it was written in this round');
    $loop = attach($file);
    mount_it($loop, '-o', 'ro');
    my @lost = grep { !is_whole(sprintf('%s/round%d-%06d', $at, $round, $_), $_) }
        map { 10 * $_ } 1 .. $n / 10;
    is("@lost", '', '... and of what was synced everything is there');
    umount_it();
    detach($loop);
}

is($daemon->stop(), 0, 'the daemon ends well') or diag($daemon->output());
done_testing();
