#!/usr/bin/perl
# Call after call, and no more memory: pvestatd restarts itself when it grows.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE;
use S3PVE::Test;

use constant {
    CALLS => 20_000, # of each: a leak of 16 bytes a call is seen
    GROWTH => 256, # KiB that an allocator may take to settle
    WARM_UP => 500,
};

# TEST_LEAK_CALLS=1000000 for as many of those that do not ask the server.
my $local_calls = $ENV{TEST_LEAK_CALLS} // CALLS;

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

# None of these asks the server.
my $local = {
    'open and drop' => sub { S3PVE::Client->open(\%settings) },
    'open, refused' => sub {
        fails(sub { S3PVE::Client->open({ %settings, bucket => 'X' }) });
    },
    'open, no bucket' => sub {
        fails(sub { S3PVE::Client->open({}) });
    },
    'a bad key' => sub {
        fails(sub { $client->head("a\0") });
    },
    'a bad option' => sub {
        fails(sub { $client->head('a', b => 1) });
    },
    'a bad key among keys' => sub {
        fails(sub { $client->delete_many(['a', undef]) });
    },
    setting => sub { $client->setting('endpoint') },
    counters => sub { $client->counters() },
    warnings => sub { my @warnings = $client->warnings() },
    providers => sub { my @providers = S3PVE::providers() },
    presign => sub { $client->presign('key1', 60) },
};
my $remote = {
    head => sub { $client->head('key1') },
    get => sub { $client->get('key1') },
    put => sub { $client->put('key1', 'x' x 1000) },
    list => sub { $client->list('', '/', undef) },
    'a missing key' => sub {
        fails(sub { $client->head('none') });
    },
};

my sub check ($name, $n, $code) {
    $code->() for 1 .. WARM_UP; # what is kept on purpose is there then
    my $before = rss_kib();
    $code->() for 1 .. $n;
    my $grown = rss_kib() - $before;
    note("$name: $grown KiB");
    cmp_ok($grown, '<', GROWTH, "$name: KiB more after $n calls");
    $fake->forget();
    return;
}

check($_, $local_calls, $local->{$_}) for sort keys $local->%*;
check($_, CALLS, $remote->{$_}) for sort keys $remote->%*;
done_testing();
