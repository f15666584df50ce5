#!/usr/bin/perl
# The bucket is removed under a running mount, and made again.
use v5.36;

use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $fake = fakes3();
my $bucket = $fake->bucket();
my $TIMEOUT = 6;
my $daemon = S3PVE::Test::Daemon->new($fake, $bucket, options => { timeout => $TIMEOUT });
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
my $mnt = $daemon->{mnt};
spew("$mnt/template/iso/a.iso", 'a' x 3_000_000);
spew("$mnt/snippets/small", 'small');

# A command's success, and the seconds it took; one that hangs is killed.
my sub timed (@command) {
    my $begin = time();
    my ($code) = run_cmd({ timeout => 60 }, @command);
    return ($code == 0, time() - $begin);
}

my sub fails ($what, @command) {
    my ($good, $s) = timed(@command);
    ok(!$good, "$what fails");
    cmp_ok($s, '<', 2 * $TIMEOUT, '... in time');
    return;
}

my sub works ($what, @command) {
    my ($good, $s) = timed(@command);
    ok($good, "$what works");
    cmp_ok($s, '<', $TIMEOUT / 2, '... at once');
    return;
}

run_cmd('sh', '-c', "rm -rf $daemon->{dir}/cache/*");
$fake->s3cmd('rb', '--force', '--recursive', "s3://$bucket");
fails('writing to a bucket that was removed', 'cp', '/etc/passwd', "$mnt/snippets/new");
fails(
    'reading what is not on the node', 'dd', "if=$mnt/template/iso/a.iso", 'of=/dev/null',
    'bs=1M', 'iflag=direct'
);
fails('renaming', 'mv', "$mnt/snippets/small", "$mnt/snippets/moved");
fails('a new directory', 'mkdir', "$mnt/import/d");
ok(wait_until(30, sub { !$daemon->ask('status')->{online} }), 'the storage is offline');
like($daemon->ask('status')->{last_error}, qr/bucket/, '... and says that it is the bucket');
works('df', 'df', $mnt);
works('ls', 'ls', "$mnt/snippets");
works('stat', 'stat', "$mnt/template/iso/a.iso");
fails('writing still', 'cp', '/etc/passwd', "$mnt/snippets/new");
ok(vanishes("$mnt/snippets/new"), '... and leaves no name');
ok($daemon->alive(), 'the daemon stays');

$fake->s3cmd('mb', "s3://$bucket");
ok(wait_until(30, sub { $daemon->ask('status')->{online} }), 'the bucket is back: online');
spew("$mnt/snippets/after", 'after');
is(slurp("$mnt/snippets/after"), 'after', '... files are written and read');
is_deeply($fake->objects($bucket), { 'snippets/after' => 5 }, '... and in the bucket');
ok(wait_until(10, sub { !-e "$mnt/template/iso/a.iso" }), 'what went with the old one is gone');
is(scalar($daemon->mounts()), 1, 'all on one mount');
is($daemon->stop(), 0, 'the daemon ends well');

done_testing();
