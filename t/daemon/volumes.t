#!/usr/bin/perl
# Disks over the control socket and NBD: made, served, grown, handed back, renamed, deleted; and what
# is refused.
use v5.36;

use FindBin qw($RealBin);
use JSON::PP;
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
need_command(qw(qemu-io nbdinfo));
my $DISK = '100/vm-100-disk-0.raw';
my $FILE = '100/vm-100-disk-1.qcow2';
my $SIZE = 64 << 20;
my $rgw = rgw();
my $bucket = $rgw->bucket();
my $daemon = S3PVE::Test::Daemon->new($rgw, $bucket, node => 'n1');
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');

my sub good ($answer, $what) {
    ok($answer->{ok}, $what) or diag(encode_json($answer));
    return $answer;
}

my sub refused ($answer, $code, $what, $like = qr/./) {
    is($answer->{ok} ? 'nothing' : $answer->{code}, $code, $what) or diag(encode_json($answer));
    like($answer->{error}, $like, '... with the reason');
    return;
}

# --- made and listed

is_deeply($daemon->ask('volume-list')->{volumes}, [], 'there are no volumes');
good($daemon->volume('create', $DISK, size => $SIZE), 'one is made');
refused($daemon->volume('create', $DISK, size => $SIZE), 'CONFLICT', 'a second one of that name');
good($daemon->volume('create', $FILE), 'a file that grows is made');
my $stat = good($daemon->volume('stat', $DISK), 'stat tells of it');
cmp_ok(abs($stat->{created} - time()), '<', 60, '... when it was made');
delete($stat->@{qw(ok created)});
is_deeply(
    $stat,
    { name => $DISK, size => $SIZE, state => 'closed', node => '', file => JSON::PP::false },
    '... and what it is'
);
ok($daemon->volume('stat', $FILE)->{file}, '... or of the other, that it is a file');
good($daemon->volume('create', '101/vm-101-disk-0.raw', size => 512), 'the smallest there is');
is_deeply(
    [map { $_->{name} } $daemon->ask('volume-list')->{volumes}->@*],
    [$DISK, $FILE, '101/vm-101-disk-0.raw'], 'all are listed, in order'
);
is_deeply(
    [map { $_->{name} } $daemon->ask('volume-list', vmid => 101)->{volumes}->@*],
    ['101/vm-101-disk-0.raw'],
    '... or those of one guest'
);
is_deeply($daemon->ask('volumes')->{volumes}, [], 'nobody has one open');
is($daemon->ask('status')->{volumes}->{open}, 0, '... says status, too');

# --- served

my $active = good($daemon->volume('activate', $DISK), 'it is activated');
is($active->{socket}, "$daemon->{run}/nbd.sock", '... at a socket');
is($active->{export}, $DISK, '... under its name');
is(sprintf('%o', (stat($active->{socket}))[2] & 07777), '600', '... which is for root alone');
good($daemon->volume('activate', $DISK), 'once more does no harm');
my $uri = $daemon->nbd($DISK);
is((run_cmd('nbdinfo', '--size', $uri))[1], "$SIZE\n", 'it is served');
like(
    (run_cmd('nbdinfo', '--list', "nbd+unix://?socket=$active->{socket}"))[1], qr/\Q$DISK\E/,
    '... and listed'
);
run_ok(
    'qemu-io', '-f', 'raw', $uri, '-c', 'write -P 1 0 1M', '-c', 'write -P 2 513k 1k', '-c',
    'write -z 100k 64k', '-c', 'discard 256k 64k', '-c', 'flush', '-c', 'read -P 1 0 100k',
    '-c',
    'read -P 0 100k 64k', '-c', 'read -P 2 513k 1k', '-c', 'read -P 0 256k 64k',
);
like(
    (run_cmd('nbdinfo', '--map', $uri))[1], qr/^\s*262144\s+65536\s+3\s/m,
    'what is a hole is told'
);
my $open = $daemon->open_volume($DISK);
is($open->{node}, 'n1', 'it is open at this node');
is($open->{state}, 'open', '... by its state');
ok($open->{active}, '... and active');
is($open->{$_}, 0, "... with no $_") for qw(held users dirty);
cmp_ok($open->{$_}, '>', 0, "... which counts $_")
    for qw(reads writes flushes segments journal epoch);
is($open->{$_}, '', "... without $_") for qw(waiting failure);
my $sum = $daemon->ask('status')->{volumes};
is($sum->{$_}, 1, "status counts what is $_") for qw(open active);
is($sum->{$_}, 0, "status counts what is $_") for qw(failed dirty);
is($daemon->volume('stat', $DISK)->{node}, 'n1', 'stat says who has it');

my $file = good($daemon->volume('activate', $FILE), 'a file that grows is activated');
ok(!defined($file->{socket}), '... without a socket');
isnt((run_cmd('nbdinfo', $daemon->nbd($FILE)))[0], 0, '... and not served');
good($daemon->volume('deactivate', $FILE), '... and deactivated');

# --- in use

my sub client () {
    my $pid = open(my $to, '|-', "qemu-io -f raw '$uri' >/dev/null") // die "fork: $!\n";
    $to->autoflush(1);
    print {$to} "read 0 4k\n";
    wait_until(60, sub { $daemon->open_volume($DISK)->{users} == 1 }) or die "no client\n";
    return $to;
}
my $to = client();
my $begin = time();
refused(
    $daemon->volume('deactivate', $DISK), 'CONFLICT', 'with a client it is not deactivated',
    qr/NBD clients: 1$/
);
cmp_ok(time() - $begin, '<', 60, '... after a few seconds');
refused($daemon->volume('delete', $DISK), 'CONFLICT', 'nor deleted', qr/in use/);
refused($daemon->volume('rename', $DISK, to => '102/x.raw'), 'CONFLICT', 'nor renamed', qr/active/);
my $stop = $daemon->ask('stop');
ok($stop->{busy} && $stop->{volumes} == 1, 'nor does the daemon stop');
print {$to} "write -P 7 4k 4k\nflush\n";
good($daemon->volume('resize', $DISK, size => 2 * $SIZE), 'but it is grown');
is((run_cmd('nbdinfo', '--size', $uri))[1], 2 * $SIZE . "\n", '... clients see it');
close($to);
refused($daemon->volume('resize', $DISK, size => $SIZE), 'INVALID', 'it does not shrink');
run_ok(
    'qemu-io', '-f', 'raw', $uri, '-c', "write -P 9 @{[2 * $SIZE - 4096]} 4k", '-c',
    'read -P 7 4k 4k'
);

# --- handed back

good($daemon->volume('deactivate', $DISK), 'without clients it is deactivated');
isnt((run_cmd('nbdinfo', $uri))[0], 0, '... and not served any more');
is($daemon->open_volume($DISK), undef, '... nor open');
is($daemon->volume('stat', $DISK)->{state}, 'closed', '... and anybody may open it');
good($daemon->volume('deactivate', $DISK), 'once more does no harm');
good($daemon->volume('resize', $DISK, size => 3 * $SIZE), 'it grows while nobody has it open');
good($daemon->volume('rename', $DISK, to => '102/vm-102-disk-3.raw'), 'and is renamed');
refused($daemon->volume('stat', $DISK), 'NOT_FOUND', '... so the old name is free');
refused(
    $daemon->volume('rename', '102/vm-102-disk-3.raw', to => $FILE), 'CONFLICT',
    'not over another'
);
my $moved = $daemon->nbd('102/vm-102-disk-3.raw');
good($daemon->volume('activate', '102/vm-102-disk-3.raw'), 'it is served under the new one');
is((run_cmd('nbdinfo', '--size', $moved))[1], 3 * $SIZE . "\n", '... with its new size');
run_ok(
    'qemu-io', '-f', 'raw', $moved, '-c', 'read -P 7 4k 4k', '-c',
    "read -P 9 @{[2 * $SIZE - 4096]} 4k"
);
good($daemon->volume('delete', '102/vm-102-disk-3.raw'), 'an active one is deleted');
refused($daemon->volume('stat', '102/vm-102-disk-3.raw'), 'NOT_FOUND', '... and gone');
isnt((run_cmd('nbdinfo', $moved))[0], 0, '... from NBD as well');
good($daemon->volume('delete', $_), "$_ is deleted") for $FILE, '101/vm-101-disk-0.raw';
ok(
    wait_until(
        30,
        sub {
            !grep { !m!^\.s3pve/nodes/! } keys $rgw->objects($bucket)->%*;
        }
    ),
    'soon no object is left'
) or diag(join("\n", keys $rgw->objects($bucket)->%*));

# --- wrong commands

my sub invalid ($cmd, $fields, $like) {
    my $answer = $daemon->ask($cmd, %$fields);
    my $what = "$cmd " . JSON::PP->new->canonical->encode($fields);
    is($answer->{ok} ? 'nothing' : $answer->{code}, 'INVALID', "$what is refused");
    like($answer->{error}, $like, '... with the reason');
    return;
}
for my $verb (qw(stat create delete rename resize activate deactivate)) {
    my $more = { rename => { to => '1/b.raw' }, resize => { size => 512 } };
    my %more = ($more->{$verb} // {})->%*;
    invalid("volume-$verb", {%more}, qr/"volume-$verb" needs name/);
    invalid("volume-$verb", { %more, name => $_ }, qr/"name" must be a text/) for 7, '', undef, [];
    invalid("volume-$verb", { %more, name => $_ }, qr/./)
        for 'a', '/a', '100/', '100/../x', 'x/y.raw', '100/a/b.raw', "100/a\0b", '100/' . 'x' x 300;
    invalid("volume-$verb", { %more, name => '1/a.raw', colour => 1 }, qr/unknown key/);
    invalid(
        "volume-$verb", { %more, name => '1/a.raw', timeout => $_ },
        qr/"timeout" must be seconds/
    ) for 0, -1, 3601, '5', JSON::PP::true;
}
invalid('volume-create', { name => '1/a.raw', size => $_ }, qr/"size" must be a number of bytes/)
    for -1, 1.5, '512', JSON::PP::null;
invalid('volume-create', { name => '1/a.raw', size => $_ }, qr/size must be whole sectors/)
    for 0, 511, 513;
invalid('volume-resize', { name => '1/a.raw' }, qr/needs size/);
invalid('volume-rename', { name => '1/a.raw' }, qr/needs to/);
invalid('volume-rename', { name => '1/a.raw', to => '../b' }, qr/./);
invalid('volume-rename', { name => '1/a.raw', to => '1/a.raw' }, qr/that name already/);
invalid('volume-list', { vmid => $_ }, qr/"vmid" must be a number/) for 0, -1, '100', 1.5;
invalid('volumes', { timeout => 5 }, qr/"volumes" has an unknown key/);
refused($daemon->volume($_->[0], '1/a.raw', $_->[1]->%*), 'NOT_FOUND', "$_->[0] of nothing")
    for ['stat', {}], ['delete', {}], ['activate', {}], ['rename', { to => '1/b.raw' }],
    ['resize', { size => 512 }];
is(scalar($daemon->ask('volume-list')->{volumes}->@*), 0, 'none of that made a volume');

# --- the end

good($daemon->volume('create', $DISK, size => $SIZE), 'one more');
good($daemon->volume('activate', $DISK), '... is activated');
run_ok('qemu-io', '-f', 'raw', $uri, '-c', 'write -P 5 0 1M');
$stop = $daemon->ask('stop');
ok($stop->{ok} && !$stop->{busy}, 'the daemon stops while a volume is active that nobody uses');
is($daemon->wait_end(), 0, '... well');
ok(!-e "$daemon->{run}/nbd.sock", '... without its socket');
my $other = S3PVE::Test::Daemon->new(
    $rgw, $bucket,
    node => 'n2',
    args => ['--watch-interval', '0.3'],
);
ok($other->start(), 'another node') or diag($other->output());
good($other->volume('activate', $DISK, timeout => 40), '... can have it at once');
run_ok('qemu-io', '-f', 'raw', $other->nbd($DISK), '-c', 'read -P 5 0 1M');

# --- a storage that is not wanted here any more

$uri = $other->nbd($DISK);
$daemon = $other;
$to = client();
spew("$other->{dir}/storage.cfg", "dir: local\n");
ok(
    wait_until(60, sub { $other->output() =~ m/staying for now: files or volumes are in use/ }),
    'a daemon that is not wanted any more stays while a guest has a disk'
);
ok($other->open_volume($DISK)->{active}, '... which goes on');
close($to);
is($other->wait_end(), 0, '... and ends when it is gone');
unlink("$other->{dir}/storage.cfg");
ok($daemon->start(), 'started again') or diag($daemon->output());
is($daemon->volume('stat', $DISK)->{state}, 'closed', '... it finds that the disk was handed back');
good($daemon->volume('delete', $DISK), '... and deletes it');
is($daemon->stop(), 0, '... and ends well');

done_testing();
