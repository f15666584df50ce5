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

# --- what the file says is acted upon: here, that there is only the old way of listing

my $old_way = $text =~ s/"list-v2": ?"\w+"/"list-v2":"no"/r;
isnt($old_way, $text, '(a file that says otherwise than the server does)');

# The requests that list a directory nobody has looked at, once @file has what $like matches.
my sub lists_with ($content, $like) {
    spew($file, $content);
    ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
    ok($daemon->settle(), '... and is online');
    ok(wait_until(20, sub { slurp($file) =~ $like && !-e "$file.new" }), '... and knows');
    sleep(0.5); # what is written down is in force a moment before or after
    $fake->forget();
    run_ok('ls', "$daemon->{mnt}/import");
    my @ops = map { $_->{op} } grep { $_->{query} =~ m/prefix=import%2F/ } $fake->log();
    is($daemon->stop(), 0, '... and ends');
    return "@ops";
}
is(lists_with($old_way, qr/"no"/), 'ListObjects', 'it lists in the way that is written down');
is(
    lists_with($old_way =~ s/\Q$probed\E/time() - $WEEK - 3600/er, qr/list-v2": ?"yes"/),
    'ListObjectsV2', '... and once it has found out better, in that'
);

done_testing();
