#!/usr/bin/perl
# C is as clang-format leaves it, Perl as perltidy does: `make tidy` mends it.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

need_command(qw(clang-format perltidy));
chdir(top()) or die "chdir: $!\n";

SKIP: {
    my ($version) = run_ok('clang-format', '--version') =~ m/version (\d+)/;
    skip("clang-format $version breaks lines in other places than 14", 1) if $version != 14;
    my ($code, $out, $err) = run_cmd(
        'clang-format', '--dry-run', '-Werror',
        grep { !m!^t/data/! } tracked('*.c', '*.h')
    );
    my %wrong = map { $_ => 1 } $err =~ m/^([^:\n]+):\d+:\d+: error/mg;
    is(join(' ', sort keys %wrong), '', 'clang-format would change no file');
    is($code, 0, '... and found nothing else to say') or diag(substr($err, 0, 2000));
}

my @perl = grep { m/\.p[lm]$/ || slurp($_) =~ m/^#!.*perl/ } tracked('perl', 't', 'xs');
my @wrong = grep { run_ok('perltidy', '-st', $_) ne slurp($_) } grep { !m!^t/data/! } @perl;
cmp_ok(scalar(@perl), '>', 10, 'Perl was found');
is("@wrong", '', 'perltidy would change no file');

done_testing();
