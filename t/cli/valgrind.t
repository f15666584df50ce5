#!/usr/bin/perl
# The command line under valgrind: no bad access, nothing leaked, when all is well and when it is not.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

need_command('valgrind');
my $fake = fakes3('min-part=1');
my $scratch = scratch();
my $big =
    spew("$scratch/big", join('', map { pack('N', $_) x 1024 } 1 .. 3072)); # 12 MiB
my $BAD = 99;

# The exit code, and what valgrind said if it found something.
my sub checked (@args) {
    my @valgrind = (
        'valgrind', '-q', "--error-exitcode=$BAD", '--leak-check=full',
        '--errors-for-leak-kinds=definite', '--child-silent-after-fork=yes', build() . '/s3pve',
    );
    my ($code, $out, $err) = run_cmd(
        { timeout => 300 }, @valgrind, '--config', $fake->{config}, '--bucket', 'grind',
        @args
    );
    diag(substr($err, 0, 3000)) if $code == $BAD;
    return $code;
}

my sub fine ($what, @args) {
    is(checked(@args), 0, $what);
    return;
}

my sub fails ($what, @args) {
    my $code = checked(@args);
    ok($code != 0 && $code != $BAD && $code < 128, "$what: it fails, and cleanly")
        or diag("exit $code");
    return;
}

fine('a bucket is made', 'mb');
fine('a file goes up in parts', 'put', '--part-size', 5, $big, 'dir/big');
fine('it comes back', 'get', 'dir/big', "$scratch/back");
ok(slurp("$scratch/back") eq slurp($big), '... as it was');
fine('it is listed', 'ls', '-l', '-r');
fine('it is looked at', 'head', 'dir/big');
fine('it is copied', 'cp', 'dir/big', 'dir/copy');
fine('the server is probed', 'probe');

my $disk = '1/vm-1-disk-0.raw';
fine('a disk is made', qw(volume create), $disk, '5M');
fine("... $_", 'volume', $_, $disk) for qw(stat dump fsck);
fine('... listed', qw(volume ls -l));
fine('... exported', qw(volume export), $disk, "$scratch/disk");
fine('... renamed', qw(volume mv), $disk, '1/vm-1-disk-1.raw');
fine('... removed', qw(volume rm -y), '1/vm-1-disk-1.raw');
fails('a missing disk', qw(volume fsck), $disk);

fails('a missing object', 'get', 'none', "$scratch/none");
fails('a bad name', 'get', "a\xff", "$scratch/none");
$fake->rule(op => 'GetObject', do => 'cut', after => 1000, times => 3);
fine('a get whose connection is reset', 'cat', 'dir/big');
$fake->rule(op => 'UploadPart', do => 'reset', after => 100_000, times => 2);
fine('a put whose connection is reset', 'put', '--part-size', 5, $big, 'dir/again');
$fake->rule(
    op => 'ListObjectsV2', do => 'body', text => '<ListBucketResult><Contents><Key>',
    times => 0
);
fails('a list that ends too early', 'ls', '--timeout', 5);
$fake->clear();
$fake->set(deny => 'CompleteMultipartUpload');
fails('an upload that may not be completed', 'put', '--part-size', 5, $big, 'dir/denied');
is($fake->stats()->{uploads}, 0, '... and leaves no parts behind');
$fake->set(deny => '');
fine('all of it is removed', 'rm', '-r', '--yes', 'dir');
is($fake->stats()->{objects}, 0, '... and nothing is left, the probe\'s keys neither');

done_testing();
