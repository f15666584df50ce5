#!/usr/bin/perl
# The POD of every manual and module is sound.
use v5.36;

use FindBin qw($RealBin);
use Pod::Checker;
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

my @manuals = tracked('libs3pve/man/*.pod');

for my $file (@manuals, tracked('perl/*.pm', 'xs/*.pm')) {
    my $checker = Pod::Checker->new(-warnings => 1);
    open(my $said, '>', \my $text) or die "memory: $!\n";
    $checker->parse_from_file(top() . "/$file", $said);
    cmp_ok($checker->num_errors(), '<=', 0, "$file has no error") or diag($text); # -1: no POD
    is($checker->num_warnings(), 0, '... nor a warning') or diag($text);
}
for my $name (qw(s3pve.1 s3pve.3 s3pved.8)) {
    ok((grep { $_ eq "libs3pve/man/$name.pod" } @manuals), "$name is written");
}

done_testing();
