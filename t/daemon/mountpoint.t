#!/usr/bin/perl
# Who may mount where: one daemon a storage, never over somebody's files, and over one's own dead
# mount without help.
use v5.36;

use Errno qw(ENOTCONN);
use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $daemon = S3PVE::Test::Daemon->new(undef, 'bucket');
my $mnt = $daemon->{mnt};

my sub refused ($what, $like) {
    my $before = length($daemon->output());
    ok(!$daemon->start(), "$what: the daemon does not start");
    isnt($daemon->wait_end(), 0, '... and fails');
    like(substr($daemon->output(), $before), $like, '... saying why');
    return;
}

ok($daemon->start(), 'the mountpoint is made when it is missing') or diag($daemon->output());
is(scalar($daemon->mounts()), 1, '... and mounted on');

# --- two of them

my $pid = $daemon->{pid};
my ($code, $out, $err) = run_cmd({ timeout => 20 }, $daemon->command());
isnt($code, 0, 'a second daemon of the storage ends');
like($err, qr/process $pid serves this storage already/, '... naming the first');
ok($daemon->ask('ping')->{ok}, '... which does not mind');
is(scalar($daemon->mounts()), 1, '... nor does its mount');

# --- a dead one

$daemon->signal('KILL');
is($daemon->wait_end(), 137, 'a daemon is killed');
ok(!stat($mnt), 'its mount is dead');
is($! + 0, ENOTCONN, '... with the usual error');
ok($daemon->start(), 'the next one starts') or diag($daemon->output());
is(scalar($daemon->mounts()), 1, '... instead of the dead mount');
ok(-d $mnt, '... and the mountpoint answers');
like($daemon->output(), qr/removing the stale mount/, '... and the log tells');
is($daemon->stop(), 0, 'SIGTERM ends it well');
is_deeply([$daemon->mounts()], [], '... and unmounts');

ok($daemon->start(), 'it starts again') or diag($daemon->output());
is(system('umount', $mnt), 0, 'the admin unmounts by hand');
is($daemon->wait_end(), 0, '... and the daemon ends well');

# --- other people's things

spew("$mnt/notes.txt", 'mine');
refused('a file in the mountpoint', qr/is not empty \('notes\.txt'\)/);
unlink("$mnt/notes.txt");
mkdir("$mnt/$_") for qw(dump template template/iso);
spew("$mnt/template/iso/a.iso", 'mine');
refused('a file below it', qr/is not empty \('a\.iso'\)/);
unlink("$mnt/template/iso/a.iso");
symlink('/etc', "$mnt/dump/etc");
refused('a symbolic link', qr/is not empty \('etc'\)/);
unlink("$mnt/dump/etc");
ok($daemon->start(), 'empty folders, as Proxmox VE makes them, may be mounted over')
    or diag($daemon->output());
is($daemon->stop(), 0, '... and left again');

run_ok('mount', '-t', 'tmpfs', 'somebody', $mnt);
refused('another mount', qr/somebody \(tmpfs\) is mounted there already/);
is(scalar($daemon->mounts()), 1, '... which stays');
run_ok('umount', $mnt);

run_cmd('rm', '-r', $mnt);
spew($mnt, 'mine');
refused('a file instead of the mountpoint', qr/Not a directory/);
unlink($mnt);

# --- folders that are made

$daemon->configure(mountpoint => "$daemon->{dir}/above/mnt");
$daemon->{mnt} = "$daemon->{dir}/above/mnt";
ok($daemon->start(), 'the folder above it may be missing too') or diag($daemon->output());
is($daemon->stop(), 0, '... and it is left again');
my @modes = map { sprintf('%o', (stat("$daemon->{dir}/$_"))[2] & 07777) } qw(above above/mnt state);
is("@modes", '755 755 700', '... what was made of it is for all, unlike our state');

# --- odd names

mkdir("$daemon->{dir}/real");
symlink("$daemon->{dir}/real", "$daemon->{dir}/link");
$daemon->configure(mountpoint => "$daemon->{dir}/link/a b");
$daemon->{mnt} = "$daemon->{dir}/real/a\\040b";
ok($daemon->start(), 'a mountpoint may have blanks and links in its path')
    or diag($daemon->output());
is(scalar($daemon->mounts()), 1, '... and is mounted on');
$daemon->signal('KILL');
$daemon->wait_end();
ok($daemon->start(), '... also after a crash') or diag($daemon->output());
is(scalar($daemon->mounts()), 1, '... without a pile of dead mounts');
is($daemon->stop(), 0, '... and left again');

my $long = 'l' . 'o' x 98 . 'ng';
$daemon->{name} = substr($long, 0, 47) . '-' . '0123456789abcdef' x 2;
$daemon->configure(storage => $long);
ok($daemon->start(), 'a storage id longer than paths allow has another name in them')
    or diag($daemon->output());
is($daemon->ask('ping')->{storage}, $long, '... and is still itself');
is($daemon->stop(), 0, '... to its end');
ok(!-e "$daemon->{run}/control.sock", 'the socket goes with the daemon');

done_testing();
