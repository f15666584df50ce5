#!/usr/bin/perl
# Clients that are broken, or mean: the server does without them, and others notice nothing.
use v5.36;

use FindBin qw($RealBin);

BEGIN { # a crowd of clients takes more descriptors than a login has
    if (!$ENV{S3PVE_TEST_RAISED}) {
        local $ENV{S3PVE_TEST_RAISED} = 1;
        exec('sh', '-c', 'ulimit -Sn 4096; exec "$@"', 'sh', $^X, $0, @ARGV);
    }
}

use IO::Socket::UNIX;
use Socket qw(SOCK_STREAM MSG_DONTWAIT MSG_NOSIGNAL);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Memory;

my $SIZE = 256 << 20;
my $CONNECTIONS = 1024; # NBD_CONNECTIONS
my $FLAGS = pack('N', 3);
my $memory = S3PVE::Test::Memory->new(size => $SIZE, threads => 2);
my $descriptors = $memory->n_descriptors();
my $began = time();

my sub client ($of = $memory) {
    return IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $of->{socket});
}

my sub option ($option, $data, $len = length($data)) {
    return 'IHAVEOPT' . pack('N N', $option, $len) . $data;
}

my sub go ($export) { return option(7, pack('N/a* n', $export, 0)) }

my sub request ($type, $offset, $len, $flags = 0) {
    return pack('N n n Q> Q> N', 0x25609513, $flags, $type, 1, $offset, $len);
}

# All that comes until the other side hangs up, or the time is over; undef then.
my sub drain ($client, $seconds = 5) {
    my $said = '';
    my $until = time() + $seconds;
    $client->blocking(0);
    while (time() < $until) {
        my $n = sysread($client, my $piece, 1 << 20);
        return $said if defined($n) && $n == 0 || !defined($n) && $!{ECONNRESET};
        $said .= $piece if $n;
        sleep(0.01) if !$n;
    }
    return;
}

# As much as the server takes, without reading anything.
my sub pour ($client, $bytes, $times) {
    $client->blocking(0);
    my $sent = 0;
    for (my $i = 0; $i < 20 && $times > 0;) {
        my $n = send($client, $bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        if ($n) {
            substr($bytes, 0, 0) = '' if $n == length($bytes);
            $sent += $n;
            $times--;
            $bytes = substr($bytes, $n) . substr($bytes, 0, $n);
        } else {
            ++$i;
            sleep(0.02);
        }
    }
    return $sent;
}

# Whole conversations of one who behaves.
my sub works ($what) {
    state $n = 0;
    my $data = sprintf('%-512d', ++$n);
    my @said = map {
        my $client = client();
        print {$client} $FLAGS, go('disk'), $_, request(2, 0, 0);
        drain($client);
    } request(1, 4096, 512) . $data, request(0, 4096, 512);
    is(length($said[0] // ''), 18 + 86 + 16, "$what: others can write");
    is(substr($said[1] // '', 18 + 86 + 16), $data, '... and read it');
    return;
}

# Sends @pieces, then waits to be hung up on.
my sub refused ($what, @pieces) {
    my $client = client();
    print {$client} @pieces;
    ok(defined(drain($client)), "$what is hung up on");
    return;
}

works('at first');
my @silent = map { client() } 1 .. 20;
my $full = S3PVE::Test::Memory->new(size => $SIZE);
my @slow = map { client($full) } 1 .. 10;
my $waiting = client($full);
print {$_} $FLAGS, go('disk'), request(1, 0, 32 << 20), 'y' x 1000 for @slow;
wait_until(5, sub { $full->ask('users disk') == @slow });
print {$waiting} $FLAGS, go('disk'), request(3, 0, 0), request(0, 4096, 512), request(2, 0, 0);

srand(1);
my $garbage = join('', map { chr(int(rand(256))) } 1 .. 100000);
local $SIG{PIPE} = 'IGNORE';
refused('garbage', $garbage);
refused('garbage behind the flags', $FLAGS, $garbage);
refused('garbage behind GO', $FLAGS, go('disk'), $garbage);
refused('HTTP', "GET / HTTP/1.1\r\nHost: disk\r\n\r\n");
refused('an unknown flag', pack('N', 4));
refused('another magic', $FLAGS, 'IHAVEOPX', pack('N N', 3, 0));
refused('an option of 4 GiB', $FLAGS, option(3, '', 0xffffffff));
refused('an export that is not there', $FLAGS, option(1, 'nothing'));
refused('a write of 4 GiB', $FLAGS, go('disk'), request(1, 0, 0xfffffe00));
refused('a write of 32 MiB and a bit', $FLAGS, go('disk'), request(1, 0, (32 << 20) + 512));
works('after all this');

for my $n (0, 1, 3, 4, 5, 19, 20, 30) {
    my $client = client();
    print {$client} substr($FLAGS . go('disk'), 0, $n);
    close($client);
}
works('after short handshakes');

{
    my $client = client();
    print {$client} $FLAGS, go('disk'), request(1, 4096, 1 << 20), 'x' x 100000;
    sleep(0.1);
    close($client);
    $client = client();
    print {$client} $FLAGS, go('disk'), request(0, 4096, 512), request(2, 0, 0);
    like(drain($client), qr/\b\d+ +\z/, 'a write that was cut short wrote nothing');
}

{
    my $client = client();
    print {$client} $FLAGS, go('disk'), map { request($_, 0, 512, 0xffff) } 0, 3 .. 1000;
    is(drain($client, 0.5), undef, 'who asks for nonsense only is not hung up on');
    print {$client} request(2, 0, 0);
    ok(defined(drain($client)), '... before he says so');
}

for (1 .. 3000) {
    my $client = client() or last;
    print {$client} $FLAGS if $_ % 2;
}
works('after 3000 connections');

{
    my @crowd = map { my $c = client(); print {$c} $FLAGS; $c } 1 .. $CONNECTIONS - 100;
    works('among many who wait');
    my @more = map { client() } 1 .. 200;
    my $refused = grep { defined(drain($_, 0.01)) } @more;
    cmp_ok($refused, '>=', 100, 'there is a most of connections');
}
ok(
    wait_until(5, sub { $memory->n_descriptors() <= $descriptors + @silent }),
    'no descriptor is lost'
);
works('after the crowd');

{
    my $before = $memory->rss_kib();
    my @deaf = map { client() } 1 .. 4;
    for my $client (@deaf) {
        print {$client} $FLAGS, go('disk');
        pour($client, request(1, 0, 1 << 20) . 'd' x (1 << 20), 1);
        pour($client, request(0, 0, 1 << 20), 10000);
    }
    my ($requests, $bytes) = split(' ', $memory->ask('flight'));
    cmp_ok($requests, '<=', 4 * 128, 'who reads nothing gets no more than that');
    cmp_ok($bytes, '<=', 4 * (32 << 20), '... in bytes, too');
    cmp_ok($memory->rss_kib() - $before, '<', 250 << 10, '... which the memory shows');
    works('beside those who read nothing');
    my $lister = client();
    print {$lister} $FLAGS;
    my $sent = pour($lister, option(3, ''), 1000000);
    cmp_ok($sent, '<', 4 << 20, 'who asks for lists and reads none is not heard any more');
    works('beside him');
}

{
    my $few = S3PVE::Test::Memory->new(descriptors => 30);
    my @crowd = map { client($few) } 1 .. 60;
    is(drain($crowd[59], 0.5), undef, 'without descriptors the last ones have to wait');
    close($_) for @crowd[0 .. 49];
    print { $crowd[59] } $FLAGS, go('disk'), request(2, 0, 0);
    ok(defined(drain($crowd[59])), '... for others to leave');
    my ($user, $system) = (split(' ', slurp("/proc/$few->{pid}/stat")))[13, 14];
    cmp_ok($user + $system, '<', 20, '... and it is not busy meanwhile');
    is($few->stop(), 0, '... and ends well');
}

my $left = 12 - (time() - $began);
sleep($left) if $left > 0;
is(scalar(grep { defined(drain($_, 0.1)) } @silent), 20, 'who says nothing is hung up on');
@silent = ();
works('in the end');
ok(wait_until(5, sub { $memory->n_descriptors() == $descriptors }), 'nothing is left of all that');
is($full->ask('users disk'), 11, 'ten who hold all memory can make others wait');
is(length(drain($waiting, 30) // ''), 18 + 86 + 16 + 16 + 512, '... but not for ever');
is($full->stop(), 0, '... and that ends well');
is($memory->stop(), 0, 'it ends well');

done_testing();
