#!/usr/bin/perl
# A new secret is taken without a new mount, whatever was wrong with the old one.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $fake = fakes3();
my $bucket = $fake->bucket();
my $scratch = scratch();
my $secret = spew("$scratch/secret", "secret-key = wrong\n");
my $daemon = S3PVE::Test::Daemon->new(
    $fake, $bucket,
    options => { 'secret-key' => undef, 'credentials-file' => $secret }
);

ok($daemon->start(), 'the daemon starts with a wrong secret') or diag($daemon->output());
ok(wait_until(15, sub { $daemon->ask('status')->{last_error} }), '... and says so');
like(
    $daemon->ask('status')->{last_error}, qr/SignatureDoesNotMatch|denied|signature/i,
    '... in the words of the store'
);
ok(!$daemon->ask('status')->{online}, '... it is offline');

spew($secret, "secret-key = $fake->{secret_key}\n");
ok($daemon->ask('reload')->{ok}, 'the right one is read again');
ok(wait_until(15, sub { $daemon->ask('refresh')->{online} }), '... and it is online');
spew("$daemon->{mnt}/snippets/a", 'text');
is(slurp("$daemon->{mnt}/snippets/a"), 'text', '... files are written and read');

spew($secret, "secret-key = wrong-again\n");
ok($daemon->ask('reload')->{ok}, 'a wrong one again');
open(my $fh, '>', "$daemon->{mnt}/snippets/b") or die "b: $!\n";
print {$fh} 'text';
ok(!close($fh), '... then a file cannot be closed');
unlink($secret);
is($daemon->ask('reload')->{code}, 'NOT_FOUND', 'a missing one is refused');
unlike($daemon->output(), qr/wrong/, 'no secret is in the log');
is(scalar($daemon->mounts()), 1, 'all on one mount');
is($daemon->stop(), 0, 'the daemon ends well');

done_testing();
