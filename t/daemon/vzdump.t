#!/usr/bin/perl
# vzdump's sequence of names: the archive is written as .dat and renamed, which costs one request;
# before that nobody sees it, and without it nothing stays.  Also: a directory of 10,000 objects.
use v5.36;

use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
need_command(qw(zstd));
my $fake = fakes3();
my $bucket = $fake->bucket();
my $daemon = S3PVE::Test::Daemon->new($fake, $bucket);
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
my $dump = "$daemon->{mnt}/dump";
my $name = 'vzdump-qemu-100-2026_01_01-00_00_00';

# All requests that change something, but for the recount and the heartbeat.
my sub changes () {
    return map { $_->{op} } grep { $_->{method} ne 'GET' && $_->{method} ne 'HEAD' } $fake->log();
}

# --- a backup

mkdir("$dump/$name.tmp") or die "$name.tmp: $!\n";
spew("$dump/$name.tmp/qemu-server.conf", "memory: 512\n");
is(slurp("$dump/$name.tmp/qemu-server.conf"), "memory: 512\n", 'the working directory works');
is_deeply([grep { m/tmp/ } keys $fake->objects($bucket)->%*], [], '... and is not in the bucket');

my $vma = "VMA\0" . join('', map { chr(rand(256)) } 1 .. 1 << 20);
spew("$daemon->{dir}/vma", $vma x 40);
is(system("zstd -q -c $daemon->{dir}/vma >$dump/$name.vma.dat"), 0, 'the archive is written');
my $size = -s "$dump/$name.vma.dat";
cmp_ok($size, '>', 1 << 20, '... and has a size');
is_deeply(
    [grep { m/vma/ } keys $fake->objects($bucket)->%*], [],
    '... but is not in the bucket yet'
);
ok(wait_until(5, sub { $daemon->ask('status')->{held} == 1 }), '... it is held');

$fake->forget();
ok(rename("$dump/$name.vma.dat", "$dump/$name.vma.zst"), 'the archive is renamed');
my @changes = changes();
is(scalar(@changes), 1, '... with one request') or diag("@changes");
is(-s "$dump/$name.vma.zst", $size, '... the size is there at once');
is($fake->objects($bucket)->{"dump/$name.vma.zst"}, $size, '... also in the bucket');
is(system("zstd -q -d -c $dump/$name.vma.zst | cmp - $daemon->{dir}/vma"), 0, '... whole');
is(system('rm', '-r', "$dump/$name.tmp"), 0, 'the working directory goes');
is($daemon->ask('status')->{held}, 0, 'nothing is held any more');

# --- without compression, larger than one part

spew("$daemon->{dir}/vma", $vma x 70);
is(system('cp', "$daemon->{dir}/vma", "$dump/$name.dat"), 0, 'an archive of 70 MiB');
cmp_ok($fake->stats()->{parts}, '>=', 4, '... is in the bucket as parts');
$fake->forget();
ok(rename("$dump/$name.dat", "$dump/$name.vma"), '... renamed');
is_deeply([changes()], ['CompleteMultipartUpload'], '... with the one request that completes it');
is(system('cmp', "$dump/$name.vma", "$daemon->{dir}/vma"), 0, '... whole');

# --- one that comes to nothing

is(system('cp', "$daemon->{dir}/vma", "$dump/$name.dat"), 0, 'another archive');
ok(unlink("$dump/$name.dat"), '... is removed');
ok(wait_until(5, sub { $fake->stats()->{uploads} == 0 }), '... no part is left');
ok(!-e "$dump/$name.dat", '... no name either');

# --- killed with parts in the bucket

is(system('cp', "$daemon->{dir}/vma", "$dump/$name.dat"), 0, 'an archive waits for its rename');
$daemon->signal('KILL');
is($daemon->wait_end(), 137, '... when the daemon is killed');
is($fake->stats()->{uploads}, 1, '... and leaves its parts');
ok($daemon->start(), 'the next daemon starts') or diag($daemon->output());
ok(wait_until(10, sub { $fake->stats()->{uploads} == 0 }), '... and aborts them');
ok(!-e "$dump/$name.dat", '... the archive is gone');
ok(-e "$dump/$name.vma", '... but not the one before');

# --- many

my $count = 10_000;
$fake->fill(bucket => $bucket, prefix => 'snippets/n', count => $count, size => 10);
$daemon->ask('refresh');
$fake->forget();
my $begin = time();
opendir(my $dir, "$daemon->{mnt}/snippets") or die "snippets: $!\n";
my @names = grep { m/^n/ } readdir($dir);
closedir($dir);
is(scalar(@names), $count, "$count names are listed");
my $sum = 0;
$sum += (stat("$daemon->{mnt}/snippets/$_"))[7] // 0 for @names;
is($sum, 10 * $count, '... and each has its size');
note(sprintf('%.2f s', time() - $begin));
is($fake->count('HeadObject') + $fake->count('GetObject'), 0, '... without a request for each');
cmp_ok($fake->count(), '<', 100, '... but one a page');

is($daemon->stop(), 0, 'the daemon ends well');
done_testing();
