#!/usr/bin/perl
# s3pve volume fsck and export, while the store or the volume's owner does something: no finding that
# is none, no disk that is none, and an end.
use v5.36;

use FindBin qw($RealBin);
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Volume;

need_command(qw(qemu-io));
my $dir = scratch();
my $fake = fakes3();
my $bucket = 'volumes';
$ENV{XDG_STATE_HOME} = "$dir/state";
s3pve($fake, $bucket, 'mb');
my $volume = S3PVE::Test::Volume->new($fake, $bucket, "$dir/volume");
my $name = $volume->name();

# In the background; what it said when it is over.
my sub begin (@args) {
    my $pid = fork() // die "fork: $!\n";
    return $pid if $pid;
    open(STDOUT, '>', "$dir/out") or die "out: $!\n";
    open(STDERR, '>', "$dir/err") or die "err: $!\n";
    exec('s3pve', 'volume', @args, '--config', $fake->{config}, '--bucket', $bucket)
        or die "s3pve: $!\n";
}

my sub end ($pid) {
    waitpid($pid, 0);
    return ($? & 127 ? 'signal ' . ($? & 127) : $? >> 8, slurp("$dir/out"), slurp("$dir/err"));
}

$volume->write('back', 32 << 20, 'write -P 1 0 9M', 'write -P 2 20M 1M', 'flush');
my ($status, $out, $err) = $volume->run('volume', 'fsck', '--data', $name);
is("$status$err", '0', 'it is clean');
my ($first) = $volume->log();

# --- the store

$fake->rule(op => 'GetObject', key => '/log/', do => 'corrupt', at => 5000, times => 1);
is(($volume->run('volume', 'fsck', '--data', $name))[0], 0, 'broken on its way once: no finding');
$fake->rule(op => 'GetObject', key => '/log/', do => 'corrupt', at => 5000, times => 1);
is(($volume->run('volume', 'export', $name, "$dir/disk"))[0], 0, '... and exported');
run_ok('qemu-io', '-f', 'raw', "$dir/disk", '-c', 'read -P 1 0 9M', '-c', 'read -P 0 9M 11M');

for my $what ('/log/', '/map/', 'volume.json') {
    $fake->rule(
        op => 'GetObject', key => $what, do => 'status', status => 403,
        code => 'AccessDenied', times => 0
    );
    ($status, $out, $err) = $volume->run('volume', 'fsck', '--data', $name);
    is("$status$out", '4', "$what may not be read: status 4, and no finding");
    like($err, qr/AccessDenied|denied/i, '... but why');
    ($status, $out) = $volume->run('volume', 'export', '--salvage', $name, "$dir/none");
    is($status, 4, '... and no export, as nothing is known to be damaged');
    ok(!-e "$dir/none" && !-e "$dir/none.part", '... nor a file');
    $fake->clear();
}
$fake->rule(
    op => 'ListObjectsV2', do => 'status', status => 403, code => 'AccessDenied',
    times => 0
);
is(($volume->run('volume', 'fsck', $name))[0], 4, 'no listing: status 4');
$fake->clear();

# --- the user

for my $args (['export', $name, "$dir/none"], ['fsck', '--data', $name], ['dump', $name]) {
    $fake->rule(op => 'GetObject', key => '/log/', do => 'hang', times => 0);
    my $pid = begin(@$args);
    sleep(1.5);
    my $began = time();
    kill('INT', $pid);
    ($status) = end($pid);
    is($status, 'signal 2', "$args->[0] ends when it is interrupted");
    cmp_ok(time() - $began, '<', 5, '... soon');
    ok(!-e "$dir/none" && !-e "$dir/none.part", '... and leaves no file');
    $fake->clear();
}

# --- a node that takes it

my $idle_root = $volume->get('volume.json');
$volume->write('kill', 0, 'write -P 7 1M 64k', 'flush');
my $taken_root = $volume->get('volume.json');
$volume->put('volume.json', $idle_root);
is(($volume->run('volume', 'fsck', $name))[0], 1, 'a segment of whom the root does not know');
$fake->rule(op => 'ListObjectsV2', do => 'delay', delay => 2, times => 1);
my $check = begin('fsck', '--data', $name);
sleep(1);
$volume->put('volume.json', $taken_root);
($status, $out, $err) = end($check);
is($status, 0, '... is none of a stranger, if it does meanwhile') or diag($out . $err);
$volume->write('back', 0);

# --- its owner, who publishes a checkpoint and deletes what that does not need

my $old_root = $volume->get('volume.json');
my $old_checkpoint = $volume->root()->{head}{checkpoint};
my %old = $volume->objects()->%*;
$volume->write('back', 0, 'write -P 3 0 24M', 'flush');
my $new_root = $volume->get('volume.json');
$volume->remove($_) for grep { $_ ne $old_checkpoint } keys %old;
($status, $out, $err) = $volume->run('volume', 'fsck', '--data', $name);
is("$status$err", '0', 'what a newer checkpoint does not need may be gone');

my sub meanwhile (@args) {
    $volume->put('volume.json', $old_root);
    $fake->rule(op => 'ListObjectsV2', do => 'delay', delay => 2, times => 1);
    my $pid = begin(@args);
    sleep(1);
    $volume->put('volume.json', $new_root);
    my @result = end($pid);
    $fake->clear();
    return @result;
}
($status, $out, $err) = meanwhile('fsck', '--data', $name, '--json');
is($status, 0, '... also when that is published while it is looked at') or diag($out . $err);
is(decode_json($out)->{findings}, 0, '... without a finding');
($status, $out, $err) = meanwhile('export', $name, "$dir/none");
is($status, 5, 'an export needs what is gone: status 5');
like($err, qr/was deleted meanwhile, as the volume is in use/, '... and says why');
ok(!-e "$dir/none" && !-e "$dir/none.part", '... and leaves no file');
$volume->put('volume.json', $old_root);
($status, $out) = $volume->run('volume', 'fsck', $name);
is($status, 1, 'with the old root it would be missing');
like($out, qr/\Q$first\E: it is missing/, '... and found');

done_testing();
