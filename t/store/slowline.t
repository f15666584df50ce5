#!/usr/bin/perl
# A part over a slow line outlasts the timeout by far, also when the kernel has taken all of it at
# once; over one that stops it ends soon.
use v5.36;

use FindBin qw($RealBin);
use IO::Socket::INET;
use POSIX qw(_exit);
use Socket qw(SO_RCVBUF SOL_SOCKET);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;

my ($TIMEOUT, $SIZE, $RATE) = (2, 5 << 20, 1 << 20);

my $fake = fakes3();
my $scratch = scratch();
my $file = spew("$scratch/part", 'x' x $SIZE);
my ($server) = $fake->{endpoint} =~ m{^http://(.*)};

# What comes for the server, it passes on at $RATE bytes a second.
my sub pass ($client) {
    my $to = IO::Socket::INET->new(PeerAddr => $server) or _exit(1);
    if (!fork()) {
        my $back;
        syswrite($client, $back) while sysread($to, $back, 65536);
        _exit(0);
    }
    while (my $n = sysread($client, my $bytes, 16384)) {
        syswrite($to, $bytes);
        sleep($n / $RATE);
    }
    _exit(0);
}

my $line = IO::Socket::INET->new(Listen => 10, LocalAddr => '127.0.0.1') or die "listen: $!\n";
setsockopt($line, SOL_SOCKET, SO_RCVBUF, 32768);
my $pid = fork() // die "fork: $!\n";
if (!$pid) {
    setpgrp();
    local $SIG{CHLD} = 'IGNORE';
    while (my $client = $line->accept()) {
        pass($client) if !fork();
        close($client);
    }
    _exit(0);
}
my @slow = ('--endpoint', 'http://127.0.0.1:' . $line->sockport(), '--timeout', $TIMEOUT);

my sub put ($key) {
    my $since = time();
    my ($code, undef, $err) = s3pve($fake, 'slow', { timeout => 60 }, 'put', @slow, $file, $key);
    return ($code, time() - $since, $err);
}

is((s3pve($fake, 'slow', 'mb'))[0], 0, 'a bucket is made');
my ($code, $took, $err) = put('slow');
is($code, 0, "a part that takes $SIZE / $RATE s is stored with a timeout of $TIMEOUT s")
    or diag($err);
cmp_ok($took, '>', 2 * $TIMEOUT, '... although it took longer');

kill('STOP', -$pid);
($code, $took) = put('stopped');
is($code, 1, 'over a line that stands still it is not');
cmp_ok($took, '<', 3 * $TIMEOUT, '... and that is told soon');

kill('KILL', -$pid);
done_testing();
