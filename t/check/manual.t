#!/usr/bin/perl
# The manuals name everything there is.
use v5.36;

use Test::More;

sub slurp ($path) {
    open(my $fh, '<', $path) or die "$path: $!\n";
    local $/ = undef;
    return scalar(<$fh>);
}

# What C calls a function: a name before "(" outside of comments.
sub functions ($text) {
    $text =~ s!/\*.*?\*/!!gs;
    my %seen = map { $_ => 1 } $text =~ /\b(s3pve_\w+)\(/g;
    return sort(keys(%seen));
}

sub missing ($manual, @words) {
    return join(' ', grep { $manual !~ /(?<![\w-])\Q$_\E(?![\w-])/ } @words);
}

my $library = slurp('libs3pve/man/s3pve.3.pod');
my $program = slurp('libs3pve/man/s3pve.1.pod');

for my $header ('s3pve.h', 's3pve-volume.h') {
    my @functions = functions(slurp("libs3pve/include/$header"));
    cmp_ok(scalar(@functions), '>', 20, "$header has functions");
    is(missing($library, @functions), '', '... and s3pve(3) names them all');
}

my @codes = slurp('libs3pve/include/s3pve.h') =~ /\bS3PVE_E_(\w+)/g;
is(missing($library, @codes), '', 's3pve(3) names every error');

my @options = slurp('libs3pve/src/core/config_values.c') =~ /\{"([a-z-]+)",/g;
cmp_ok(scalar(@options), '>', 20, 'the library has options');
is(missing($library, @options), '', '... and s3pve(3) names them all');

my ($commands) = slurp('libs3pve/src/cli/main.c') =~ /commands\[\] = \{(.*?)^\};/ms;
my @commands = $commands =~ /^\s+\{"([\w ]+)",/gm;
cmp_ok(scalar(@commands), '>', 20, 'the program has commands');
is(missing($program, @commands), '', '... and s3pve(1) names them all');

# Those without a help text exist only to be refused.
my ($rows) = slurp('libs3pve/src/cli/options.c') =~ /rows\[\] = \{(.*?)^\};/ms;
my @rows = $rows =~ /^\s+\{"([\w-]+)"(?![^\n]*SECRET)/gm;
cmp_ok(scalar(@rows), '>', 25, 'the program has options');
is(missing($program, map { "--$_" } @rows), '', '... and s3pve(1) names them all');

done_testing();
