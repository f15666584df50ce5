#!/usr/bin/perl
# The same clients, while every access of the server is watched, and every lock.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

for my $build (qw(build-asan build-tsan)) {
    for my $test (qw(clients hostile reconnect)) {
    SKIP: {
            my $b = top() . "/$build";
            skip("$build is not built", 1) if !-x "$b/t/nbd/memory";
            my $how = { timeout => 300, env => { B => $b } };
            my ($code, $out, $err) = run_cmd($how, $^X, "$RealBin/$test.t");
            is($code, 0, "$test, $build") or diag($out, $err);
        }
    }
}

done_testing();
