#!/usr/bin/perl
# What is said again and again is said once, with the number of times; and what is in the daemon's
# memory stays there.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my sub core_limit ($pid) {
    my ($soft, $hard) = slurp("/proc/$pid/limits") =~ m/^Max core file size\s+(\S+)\s+(\S+)/m;
    return "$soft $hard";
}

run_ok('prlimit', '--pid', $$, '--core=1000000:1000000');
is(core_limit($$), '1000000 1000000', 'where a core is allowed');
my $daemon = S3PVE::Test::Daemon->new(undef, 'bucket');
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());

is(core_limit($daemon->{pid}), '0 0', '... it can leave none');

# A reload says so each time.
$daemon->ask('reload') for 1 .. 20;
my @said = $daemon->output() =~ m/config: read/g;
is(scalar(@said), 1, 'twenty times the same within seconds is one line');
$daemon->configure('state-dir' => "$daemon->{dir}/elsewhere");
$daemon->ask('reload') for 1 .. 3;
my @other = $daemon->output() =~ m/config: read; some of it needs a restart/g;
is(scalar(@other), 1, '... and something else is another');
is($daemon->stop(), 0, 'the daemon ends');
done_testing();
