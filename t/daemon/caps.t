#!/usr/bin/perl
# What the server can do is found out once a week, not at every start.
use v5.36;

use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(sleep);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $WEEK = 7 * 86400;
my $PROBE_WAIT = 1; # seconds: the daemon looks that often whether it could probe
my $fake = fakes3();
my $bucket = $fake->bucket();
my $daemon = S3PVE::Test::Daemon->new($fake, $bucket);
my $file = "$daemon->{dir}/state/caps";

# The writes of a start that brings nothing to write; with $expected, as soon as there are some.
my sub writes_of_start ($expected) {
    $fake->forget();
    ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
    ok(wait_until(20, sub { $daemon->ask('status')->{online} }), '... and is online');
    $expected ? wait_until(20, sub { $fake->count('PutObject') }) : sleep(3 * $PROBE_WAIT);
    my $n = $fake->count('PutObject');
    wait_until(20, sub { -e $file && slurp($file) =~ m/probed/ && !-e "$file.new" });
    is($daemon->stop(), 0, '... and ends');
    return $n;
}

cmp_ok(writes_of_start(1), '>', 0, 'the first start finds out what the server can do');
ok(-s $file, '... and writes it down');
my $text = slurp($file);
like($text, qr/^\Q$fake->{endpoint} $bucket\E\n/, '... of which bucket it is');
is(writes_of_start(0), 0, 'the next start believes it');

my ($probed) = $text =~ m/probed\D*(\d+)/ or BAIL_OUT("no time in: $text");
my sub with_age ($s) {
    spew($file, $text =~ s/\Q$probed\E/time() - $s/er);
    return;
}
with_age($WEEK - 3600);
is(writes_of_start(0), 0, 'almost a week later it still does');
with_age($WEEK + 3600);
cmp_ok(writes_of_start(1), '>', 0, 'later than that it looks again');
with_age(-3600);
cmp_ok(writes_of_start(1), '>', 0, 'a time to come is none');
spew($file, $text =~ s/\Q$bucket\E/another/r);
cmp_ok(writes_of_start(1), '>', 0, "another bucket's is not ours");
spew($file, substr($text, 0, length($text) / 2));
cmp_ok(writes_of_start(1), '>', 0, 'half of it is nothing');

done_testing();
