#!/usr/bin/perl
# A small read takes what the server takes.  The gateway keeps an answer's body back until its head
# is acknowledged, and kernels like to do that 40 ms later.
use v5.36;

use FindBin qw($RealBin);
use List::Util qw(min);
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE;
use S3PVE::Test;

my $rgw = rgw();
my $client = S3PVE::Client->open({
    endpoint => $rgw->{endpoint},
    bucket => $rgw->bucket(),
    'access-key' => $rgw->{access_key},
    'secret-key' => $rgw->{secret_key},
});
$client->put('small', 'x' x 100);

my @took = map {
    my $begin = time();
    $client->get('small');
    time() - $begin
} 1 .. 20;
my $least = min(@took);
cmp_ok($least, '<', 0.030, sprintf('the quickest of 20 reads took %.1f ms', $least * 1000));

done_testing();
