#!/usr/bin/perl
# Disks on a server that ignores conditions: refused, or one node's at a time by the cluster's locks.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $DISK = '100/vm-100-disk-0.raw';
my $fake = fakes3('conditions=off');
my $bucket = $fake->bucket();

my sub daemon ($node, $locks) {
    my $daemon = S3PVE::Test::Daemon->new(
        $fake, $bucket,
        node => $node,
        options => { 'lock-dir' => $locks }
    );
    ok($daemon->start(), "the daemon of $node starts") or diag($daemon->output());
    ok($daemon->settle(), '... and is online');
    return $daemon;
}

my sub good ($answer, $what) {
    return ok($answer->{ok}, $what) || diag($answer->{error});
}

my $locks = scratch();
my $none = daemon('n0', undef);
my $answer = $none->volume('create', $DISK, size => 1 << 20);
is($answer->{code}, 'UNSUPPORTED', 'without locks no disk is made');
like($answer->{error}, qr/lock-dir/, '... and what to do is said');
is($none->stop(), 0, '(it ends)');

my ($one, $two) = map { daemon($_, "$locks") } qw(n1 n2);
good($one->volume('create', $DISK, size => 1 << 20), 'with locks one is made');
is($two->volume('create', $DISK, size => 1 << 20)->{code}, 'CONFLICT', '... once');
good($one->volume('activate', $DISK), 'a node has it');
$answer = $two->volume('activate', $DISK);
is($answer->{code}, 'CONFLICT', 'another cannot');
like($answer->{error}, qr/\bn1\b/, '... and hears who has it');
good($one->volume('deactivate', $DISK), 'handed back');
good($two->volume('activate', $DISK), '... it is the other one\'s');
rename("$locks", "$locks.away") or die "$locks: $!\n";
$answer = $two->volume('deactivate', $DISK, timeout => 3);
ok(!$answer->{ok}, 'without quorum it stays there');
like($answer->{error}, qr!\Q$locks\E/s3pve-vm-100-disk-0-!, '... since there are no locks');
rename("$locks.away", "$locks") or die "$locks: $!\n";
good($two->volume('deactivate', $DISK), 'then it is handed back');
good($two->volume('rename', $DISK, to => '101/vm-101-disk-0.raw'), 'and renamed');
good($one->volume('delete', '101/vm-101-disk-0.raw'), 'and deleted, by anybody');
is_deeply($two->ask('volume-list')->{volumes}, [], 'none is left');
is_deeply([glob("$locks/*")], [], '... and no lock');
is($_->stop(), 0, '(it ends)') for $one, $two;

done_testing();
