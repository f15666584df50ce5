#!/usr/bin/perl
# Every header compiles alone: it includes what it needs.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

my $cc = $ENV{CC} // 'cc';
my @flags = map { "-I" . top() . "/$_" } qw(libs3pve/include libs3pve/src t/lib);
push(@flags, split(' ', run_ok(qw(pkg-config --cflags libcurl openssl libxml-2.0 jansson fuse3))));
my $scratch = scratch();

for my $header (tracked('libs3pve/*.h', 't/lib/*.h')) {
    my $name = $header =~ s!^(?:libs3pve/include|libs3pve/src|t/lib)/!!r;
    my $source = spew("$scratch/one.c", qq{#include "$name"\nextern int unused;\n});
    my @cc = (
        $cc, '-std=gnu11', '-D_GNU_SOURCE', '-D_FILE_OFFSET_BITS=64', '-DFUSE_USE_VERSION=312',
        '-fsyntax-only', '-Wall', '-Werror'
    );
    my ($code, undef, $err) = run_cmd(@cc, @flags, $source);
    is($code, 0, "$name stands alone") or diag($err);
    like(slurp(top() . "/$header"), qr/^#ifndef \w+_H$/m, "$name may be included twice");
}

for my $header ('s3pve.h', 's3pve-volume.h') {
    my $strict = spew("$scratch/strict.c", "#include <$header>\nint main(void) { return 0; }\n");
    my ($code, undef, $err) = run_cmd(
        $cc,
        qw(-std=c99 -pedantic -Wall -Wextra -Werror -D_POSIX_C_SOURCE=200809L -fsyntax-only),
        @flags,
        $strict
    );
    is($code, 0, "$header is plain C99, for any program") or diag($err);
}

done_testing();
