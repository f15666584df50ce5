#!/usr/bin/perl
# What must not stand in a file of the project, and what must.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

my %text = map { $_ => slurp(top() . "/$_") } grep { !m!^(?:LICENSE|t/data/)! } tracked();

my sub clean ($what, $pattern, @allowed) {
    my %allowed = map { $_ => 1 } @allowed, 't/check/tree.t';
    my @found = grep { !$allowed{$_} && $text{$_} =~ $pattern } sort keys %text;
    is("@found", '', $what);
    return;
}

clean('no path of some machine', qr!(?:^|[\s"'=:(])/(?:work|home|root|mnt/data)/!m);
clean(
    'no package registry',
    qr!\b(?:deb\.debian\.org|download\.proxmox\.com|pypi\.org|npmjs\.|crates\.io|cpan\.org)!
);
clean(
    'only t/lib/deps installs',
    qr{\b(?:apt-get|apt|pip3?|npm|cpanm?)\s+(?:-\S+\s+)*install\b(?!.*\.deb)}, 't/lib/deps',
);
clean('nothing is left to do', qr!\b(?:TODO|FIXME|XXX)\b!);
clean(
    'no tab outside a Makefile', qr!\t!, 'Makefile', 'debian/rules',
    grep { m/typemap|\.xs$/ } keys %text
);
clean('no blank at the end of a line', qr![ \t]$!m);
clean('no conflict left', qr!^(?:<{7}|>{7}) !m);

my @c = grep { m/\.[ch]$/ } sort keys %text;
my @unlicensed =
    grep { $text{$_} !~ m!\A/\* SPDX-License-Identifier: AGPL-3\.0-or-later \*/\n! } @c;
is("@unlicensed", '', 'every C file says its licence first');

my $limits = delete($text{'libs3pve/src/base/limits.h'}) =~ s!/\*.*?\*/!!gsr;
my @names = grep { !m/_H$/ } $limits =~ m/^#define (\w+)/mg;
my $everything = join('', map { $text{$_} } grep { m!^libs3pve/src/! } keys %text);
my @unused = grep { $everything !~ m/\b$_\b/ && $limits !~ m/\b$_\b.*\b$_\b/s } @names;
is("@unused", '', 'every limit is kept somewhere');

done_testing();
