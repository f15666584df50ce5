#!/usr/bin/perl
# A file under 500 lines, a function under 60: past that, a noun is missing.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

my $FILE = 500;
my $FUNCTION = 60;

# s3pve.h is a table of contents with its manual, DESIGN.md is prose.
my $exempt = { 'libs3pve/include/s3pve.h' => 1 };

# [name, lines] of each function: from a line that opens one in column 0 to the brace that closes it.
my sub functions ($text) {
    my ($name, $began, @found);
    my $n = 0;
    for my $line (split(/\n/, $text)) {
        ++$n;
        if (!defined($name) && $line =~ m/^(?:my )?sub (\w+).*[^}]$/) {
            ($name, $began) = ($1, $n);
        } elsif (!defined($name) && $line =~ m/^[a-z][\w *]*?\b\**(\w+)\(/ && $line !~ m/;\s*$/) {
            ($name, $began) = ($1, $n);
        } elsif (defined($name) && $line =~ m/^}/) {
            push(@found, [$name, $n - $began - 1]);
            $name = undef;
        } elsif (defined($name) && $line =~ m/^\).*;$/) { # a prototype over several lines
            $name = undef;
        }
    }
    return @found;
}

my $n_functions = 0;
for my $file (tracked('*.c', '*.h', '*.xs', '*.pm', '*.pl', '*.t', 't/lib', 'perl')) {
    next if $file =~ m!^t/data/!;
    my $text = slurp(top() . "/$file");
    my $code = $text =~
        s/^=(?:pod|head1 NAME).*?(?:^=cut\n|\z)//gmsr; # a manual may be as long as it needs
    my $lines = () = $code =~ m/\n/g;
    cmp_ok($lines, '<', $FILE, "$file is short enough") if !$exempt->{$file} && $lines >= $FILE;
    for my $function (functions($code)) {
        my ($name, $length) = @$function;
        ++$n_functions;
        cmp_ok($length, '<', $FUNCTION, "$file: $name is short enough") if $length >= $FUNCTION;
    }
}
cmp_ok($n_functions, '>', 100, 'functions were found and measured');
is_deeply(
    [
        functions(
            "static int f(void) {\n}\nint s_x(\n    int a\n) {\n    return 1;\n}\nint p(\n    int a\n);\nsub q {\n    1;\n}\nsub one () { 1 }\n"
        )
    ],
    [['f', 0], ['s_x', 3], ['q', 1]], 'and measured right',
);

done_testing();
