#!/usr/bin/perl
# Two nodes: one has a volume at a time, and knows who; it moves when it is handed back, or after its
# node died; what was flushed to the bucket is there without the node's folder.
use v5.36;

use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;
use S3PVE::Test::Guest;

need_fuse();
need_command(qw(qemu-storage-daemon qemu-io nbdcopy fio));
my $DISK = '100/vm-100-disk-0.raw';
my $rgw = rgw();
my $bucket = $rgw->bucket();
my ($one, $two) = map { S3PVE::Test::Daemon->new($rgw, $bucket, node => $_) } qw(n1 n2);
ok($_->start(), 'a daemon starts') or diag($_->output()) for $one, $two;

my sub good ($answer, $what) {
    return ok($answer->{ok}, $what) || diag($answer->{error});
}

my sub md5 ($daemon) {
    my ($code, $out) = run_cmd('sh', '-c', "nbdcopy '@{[$daemon->nbd($DISK)]}' - | md5sum");
    return $out;
}

my sub io ($daemon, @what) {
    return run_ok('qemu-io', '-f', 'raw', $daemon->nbd($DISK), map { (-c => $_) } @what);
}

# --- moving

good($one->volume('create', $DISK, size => 64 << 20), 'one makes a disk');
good($one->volume('activate', $DISK), '... and has it');
my $guest = S3PVE::Test::Guest->new($one, $DISK);
my $fio = $guest->fio(4, 32);
my $answer = $two->volume('activate', $DISK);
is($answer->{code}, 'CONFLICT', 'the other cannot have it');
like($answer->{error}, qr/\bn1\b/, '... and is told who has it');
$answer = $two->volume($_->[0], $DISK, $_->[1]->%*),
    is($answer->{code}, 'CONFLICT', "... nor $_->[0] it")
    for ['delete', {}], ['rename', { to => '1/b.raw' }], ['resize', { size => 128 << 20 }];
is($guest->fio_end($fio), 0, 'which disturbs nobody') or diag($guest->fio_said());
$guest->stop();
my $md5 = md5($one);
good($one->volume('deactivate', $DISK), 'it is handed back');
my $begin = time();
good($two->volume('activate', $DISK), 'now the other has it');
cmp_ok(time() - $begin, '<', 30, '... at once');
is(md5($two), $md5, '... and it is the same disk');
good($two->volume('deactivate', $DISK), '... and hands it back');

# --- a node that loses its folder

good($one->volume('activate', $DISK), 'the first one has it again');
io($one, 'write -P 11 0 8M', 'flush');
$one->crash();
run_ok('rm', '-rf', "$one->{dir}/state");
ok($one->start(), 'its daemon is killed, and its folder gone') or diag($one->output());
good($one->volume('activate', $DISK), '... but not the disk');
io($one, 'read -P 11 0 8M', 'write -P 12 8M 1M', 'flush');

# --- a node that dies

io($one, 'write -P 13 9M 1M', 'flush');
$one->crash();
$begin = time();
$answer = $two->volume('activate', $DISK, timeout => 3);
isnt($answer->{code} // 'OK', 'OK', 'the other does not have it at once');
good($two->volume('activate', $DISK, timeout => 300), 'but after a while');
cmp_ok(time() - $begin, '>', 20, sprintf('... of %.0f s', time() - $begin));
io($two, 'read -P 11 0 8M', 'read -P 12 8M 1M', 'read -P 13 9M 1M', 'write -P 14 0 1M', 'flush');
ok($one->start(), 'the first one lives after all');
my ($had, $served) = (0, 0);
my sub told () {
    my $volume = $one->open_volume($DISK) // {};
    $had ||= $volume->{name} && !$volume->{failure} && !$volume->{waiting};
    my ($code) = run_cmd('qemu-io', '-f', 'raw', $one->nbd($DISK), '-c', 'read 0 4k');
    $served ||= $code == 0;
    return $volume->{failure};
}
my $failure = wait_until(120, \&told);
like($failure, qr/\bn2\b/, '... and hears who has the disk') or diag($one->output());
ok(!$had, '... and did not say before that it had it');
ok(!$served, '... nor served it');
io($two, 'read -P 14 0 1M');

# --- one that was only still

good($two->volume('deactivate', $DISK), 'it moves on');
good($one->volume('activate', $DISK), '... to the first');
io($one, 'write -P 15 0 1M', 'flush');
kill('STOP', $one->{pid});
good($two->volume('activate', $DISK, timeout => 300), 'which stands still until the other has it');
io($two, 'write -P 16 0 1M', 'flush');
kill('CONT', $one->{pid});
my @late = ('qemu-io', '-f', 'raw', $one->nbd($DISK), '-c', 'write -P 17 0 1M', '-c', 'flush');
isnt((run_cmd(@late))[0], 0, '... and can promise nothing any more');
ok(
    wait_until(60, sub { $one->output() =~ m/volumes: \Q$DISK\E has failed/ }),
    '... which is logged'
);
diag(grep { m/has failed/ } split(/^/m, $one->output()));
isnt((run_cmd(@late[0 .. 3], '-c', 'read 0 4k'))[0], 0, 'it serves it to nobody');
is($one->ask('status')->{volumes}->{failed}, 1, '... which status tells');
sleep(5);
is(scalar(() = $one->output() =~ m/has failed/g), 1, '... and is logged once');
io($two, 'read -P 16 0 1M');
is($one->volume('activate', $DISK)->{code}, 'CONFLICT', 'nor can it have it again');
io($two, 'read -P 16 0 1M');
good($two->volume('deactivate', $DISK), '... until the other hands it back');
good($one->volume('activate', $DISK), 'then it can');
io($one, 'read -P 16 0 1M', 'write -P 18 0 1M', 'flush');
is($one->ask('status')->{volumes}->{failed}, 0, '... and has forgotten that it failed');
good($one->volume('deactivate', $DISK), '... and hands it back');
is($_->stop(), 0, 'a daemon ends well') for $one, $two;

done_testing();
