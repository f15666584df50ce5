#!/usr/bin/perl
# A million calls, and no more memory: pvestatd restarts itself when it grows.
use v5.36;

use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE;
use S3PVE::Test;

use constant {
    CALLS => 1_000_000,
    SECONDS => 60, # of them at most
    GROWTH => 2048, # KiB that an allocator may take to settle
};

my sub rss_kib () { return slurp('/proc/self/status') =~ m/^VmRSS:\s+(\d+) kB/m ? $1 : die }

my $fake = fakes3();
my %settings = (
    endpoint => $fake->{endpoint},
    bucket => 'xs-leak',
    'access-key' => $fake->{access_key},
    'secret-key' => $fake->{secret_key},
);
my $client = S3PVE::Client->open(\%settings);
$client->bucket_create();
$client->put("key$_", 'x' x 1000) for 1 .. 3;
$client->put('more/key', '');

my sub fails ($code) {
    return eval { $code->(); 1 } ? die 'no failure' : $@;
}

my $calls = {
    'open and drop' => [40, sub { S3PVE::Client->open(\%settings) }],
    'open, refused' => [
        100,
        sub {
            fails(sub { S3PVE::Client->open({ %settings, bucket => 'X' }) });
        }
    ],
    'open, no bucket' => [
        100,
        sub {
            fails(sub { S3PVE::Client->open({}) });
        }
    ],
    'a bad key' => [
        200,
        sub {
            fails(sub { $client->head("a\0") });
        }
    ],
    'a bad option' => [
        200,
        sub {
            fails(sub { $client->head('a', b => 1) });
        }
    ],
    'a bad key among keys' => [
        200,
        sub {
            fails(sub { $client->delete_many(['a', undef]) });
        }
    ],
    setting => [200, sub { $client->setting('endpoint') }],
    counters => [200, sub { $client->counters() }],
    warnings => [200, sub { my @warnings = $client->warnings() }],
    providers => [20, sub { my @providers = S3PVE::providers() }],
    presign => [40, sub { $client->presign('key1', 60) }],
    head => [1, sub { $client->head('key1') }],
    get => [1, sub { $client->get('key1') }],
    put => [1, sub { $client->put('key1', 'x' x 1000) }],
    list => [1, sub { $client->list('', '/', undef) }],
    'a missing key' => [
        1,
        sub {
            fails(sub { $client->head('none') });
        }
    ],
};

my sub one_round () {
    my $n = 0;
    for my $name (keys $calls->%*) {
        my ($times, $code) = $calls->{$name}->@*;
        $code->() for 1 .. $times;
        $n += $times;
    }
    return $n;
}

# Everything that is kept on purpose is there after some rounds.
one_round() for 1 .. 20;
my $before = rss_kib();

my ($n, $begin) = (0, time());
while ($n < CALLS && time() - $begin < SECONDS) {
    $n += one_round();
}
my $grown = rss_kib() - $before;
note("$n calls in " . int(time() - $begin) . " s; $before KiB and $grown more");
cmp_ok($n, '>', 20_000, 'enough calls to see');
cmp_ok($grown, '<', GROWTH, 'memory does not grow with calls');

# Which one, if so.
if ($grown >= GROWTH) {
    for my $name (sort keys $calls->%*) {
        my ($times, $code) = $calls->{$name}->@*;
        my $rss = rss_kib();
        $code->() for 1 .. 100 * $times;
        diag("$name: " . (rss_kib() - $rss) . ' KiB in ' . 100 * $times);
    }
}

done_testing();
