#!/usr/bin/perl
# Histories of a volume in which everything goes wrong; S3PVE_SEEDS says how many.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

my $seeds = $ENV{S3PVE_SEEDS} // 20_000;
my $sim = build() . '/t/sim/sim';

# Half of them each, as there are two cores at least nearly everywhere.
my @halves = map {
    my $from = 1 + $_ * int($seeds / 2);
    open(my $out, '-|', $sim, '-s', $from, '-n', int($seeds / 2)) or die "$sim: $!\n";
    [$from, $out];
} 0 .. 1;
for my $half (@halves) {
    my ($from, $out) = @$half;
    my $said = join('', <$out>);
    ok(close($out), "seeds from $from on") or diag($said);
    my @counts =
        $said =~ m/ (\d+) (?:opens|refused|fenced|checkpoints|objects deleted|closed|grown)/g;
    is(scalar(grep { $_ > 9 } @counts), 7, '... were no idle talk') or diag($said);
}

my @twice = map { run_ok($sim, '-s', 4711, '-n', 20) } 1 .. 2;
is($twice[0], $twice[1], 'a seed is one history');

SKIP: {
    my $checked = top() . '/build-asan/t/sim/sim';
    skip('no build-asan/t/sim/sim', 1) if !-x $checked;
    my ($code, $out, $err) = run_cmd({ timeout => 300 }, $checked, '-s', 1, '-n', 500);
    is($code, 0, 'no access that is not allowed') or diag($out . $err);
}

done_testing();
