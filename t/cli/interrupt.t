#!/usr/bin/perl
# What is broken off leaves nothing behind, or what --resume goes on with.
use v5.36;

use Digest::SHA qw(sha256_hex);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

use S3PVE::Test;

my $PART = 5 << 20;
my $dir = scratch();
$ENV{XDG_STATE_HOME} = "$dir/state";

my $server = fakes3();
my $bucket = "interrupt-$$";
my @common = ('--config', $server->{config}, '--bucket', $bucket, '--part-size', 5);
run_ok('s3pve', 'mb', @common);

my $data = join('', map { chr(ord('a') + $_) x $PART } 0 .. 4) . 'the end';
my $file = spew("$dir/in", $data);

# Starts it; standard input is what the handle that is returned writes.
sub start (@args) {
    pipe(my $read, my $write) or die "pipe: $!\n";
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        close($write);
        POSIX::dup2(fileno($read), 0);
        open(STDERR, '>', "$dir/err");
        exec('s3pve', @args) or POSIX::_exit(127);
    }
    close($read);
    return ($pid, $write);
}

sub finish ($pid) {
    ok(wait_until(20, sub { waitpid($pid, POSIX::WNOHANG) == $pid }), '... it ends soon');
    return $?;
}

sub exists_key ($key) {
    return (run_cmd('s3pve', 'head', $key, @common))[0] == 0;
}

# --- signals

for my $signal (qw(INT TERM HUP)) {
    my ($pid, $write) = start('put', '-', "by-$signal", @common);
    local $SIG{PIPE} = 'IGNORE';
    syswrite($write, $data, 3 * $PART);
    ok(wait_until(20, sub { $server->stats()->{parts} >= 2 }), "SIG$signal while parts are there");
    kill($signal, $pid);
    is(finish($pid) & 127, { INT => 2, TERM => 15, HUP => 1 }->{$signal}, '... by that signal');
    is($server->stats()->{uploads}, 0, '... and leaves no upload');
    ok(!exists_key("by-$signal"), '... and no object');
    close($write);
}

# The pipe is quiet and the program waits in read(2).
{
    my ($pid, $write) = start('put', '-', 'quiet', @common);
    sleep(0.5);
    kill('INT', $pid);
    is(finish($pid) & 127, 2, 'a signal while nothing comes from the pipe');
    close($write);
}

# A server that does not answer.
{
    $server->rule(do => 'hang', op => 'UploadPart', times => 0);
    my ($pid, $write) = start('put', $file, 'hangs', @common);
    ok(wait_until(20, sub { $server->stats()->{uploads} == 1 }), 'a signal while the server hangs');
    kill('INT', $pid);
    is(finish($pid) & 127, 2, '... by that signal');
    is($server->stats()->{uploads}, 0, '... and leaves no upload');
    $server->clear();
}

# A failure in the middle.
{
    $server->rule(
        do => 'status', status => 403, code => 'AccessDenied', op => 'UploadPart',
        skip => 2
    );
    my ($status) = run_cmd('s3pve', 'put', $file, 'fails', @common);
    is($status, 4, 'a refused part fails');
    is($server->stats()->{uploads}, 0, '... and leaves no upload');
    ok(!exists_key('fails'), '... and no object');
    $server->clear();
}

# --- put --resume

{
    $server->rule(do => 'hang', op => 'UploadPart', skip => 3, times => 0);
    my ($pid, $write) = start('put', '--resume', $file, 'resumed', '--connections', 1, @common);
    ok(wait_until(20, sub { $server->stats()->{parts} == 3 }), 'three parts are stored');
    sleep(0.3);
    kill('KILL', $pid);
    finish($pid);
    is($server->stats()->{uploads}, 1, 'after SIGKILL the upload stays');
    $server->clear();
    $server->forget();

    my ($status, undef, $err) = run_cmd('s3pve', 'put', '--resume', $file, 'resumed', @common);
    is($status, 0, 'put --resume goes on') or diag($err);
    is($server->count('UploadPart'), 3, '... with what was missing');
    is($server->count('CreateMultipartUpload'), 0, '... in the same upload');
    is(
        sha256_hex((run_cmd('s3pve', 'cat', 'resumed', @common))[1]), sha256_hex($data),
        '... whole'
    );
    is(scalar(glob("$dir/state/s3pve/*")), undef, '... and nothing is left to remember');
}

{
    $server->rule(do => 'hang', op => 'UploadPart', skip => 2, times => 0);
    my ($pid, $write) = start('put', '--resume', $file, 'resumed2', '--connections', 1, @common);
    ok(wait_until(20, sub { $server->stats()->{parts} == 2 }), 'two parts are stored');
    kill('INT', $pid);
    is(finish($pid) & 127, 2, 'SIGINT ends put --resume');
    is($server->stats()->{uploads}, 1, '... and keeps the upload');
    $server->clear();

    spew("$dir/in2", $data . '!');
    rename("$dir/in2", $file);
    $server->forget();
    is((run_cmd('s3pve', 'put', '--resume', $file, 'resumed2', @common))[0], 0, 'a changed file');
    is($server->count('CreateMultipartUpload'), 1, '... is a new upload');
    is(
        sha256_hex((run_cmd('s3pve', 'cat', 'resumed2', @common))[1]), sha256_hex($data . '!'),
        '... and whole'
    );
    my ($status, $out) = run_cmd('s3pve', 'sweep', '--older', '0', @common);
    like($out, qr/^1 upload aborted/, 'sweep finds what was left');
    is($server->stats()->{uploads}, 0, '... and aborts it');
}

# An upload that somebody swept.
{
    $server->rule(do => 'hang', op => 'UploadPart', skip => 2, times => 0);
    my ($pid, $write) = start('put', '--resume', $file, 'swept', '--connections', 1, @common);
    ok(wait_until(20, sub { $server->stats()->{parts} == 2 }), 'two parts are stored');
    kill('KILL', $pid);
    finish($pid);
    $server->clear();
    run_cmd('s3pve', 'sweep', '--older', '0', @common);
    is(
        (run_cmd('s3pve', 'put', '--resume', $file, 'swept', @common))[0], 0,
        'an upload that is gone begins anew'
    );
    ok(exists_key('swept'), '... and ends well');
}

is(
    (run_cmd({ stdin => 'x' }, 's3pve', 'put', '--resume', '-', 'k', @common))[0], 2,
    'a pipe cannot be resumed'
);

# --- get

{
    spew("$dir/target", 'as it was');
    $server->rule(do => 'cut', op => 'GetObject', after => 1000, times => 0);
    my ($status) = run_cmd('s3pve', 'get', 'resumed', "$dir/target", '--timeout', 2, @common);
    isnt($status, 0, 'a get that breaks off fails');
    is(slurp("$dir/target"), 'as it was', '... and leaves the file as it was');
    ok(!-e "$dir/target.part", '... and no .part');
    $server->clear();
}

{
    $server->rule(do => 'stall', op => 'GetObject', after => 2_000_000, times => 0);
    my ($pid) = start('get', '--resume', 'resumed', "$dir/big", '--connections', 1, @common);
    ok(wait_until(20, sub { (-s "$dir/big.part" // 0) >= 1_000_000 }), 'some of it is there');
    kill('KILL', $pid);
    finish($pid);
    my $had = -s "$dir/big.part";
    $server->clear();
    $server->forget();
    my ($status, undef, $err) = run_cmd('s3pve', 'get', '--resume', 'resumed', "$dir/big", @common);
    is($status, 0, 'get --resume goes on') or diag($err);
    is(sha256_hex(slurp("$dir/big")), sha256_hex($data), '... and has it whole');
    my ($first) = sort { $a <=> $b }
        map { $_->{headers}->{range} =~ m/^bytes=(\d+)-/ ? $1 : 0 } $server->log('GetObject');
    is($first, $had, '... asking for the rest only');
    ok(!-e "$dir/big.part", '... and no .part is left');
}

{
    $server->rule(do => 'stall', op => 'GetObject', after => 2_000_000, times => 0);
    my ($pid) = start('get', '--resume', 'resumed', "$dir/big2", '--connections', 1, @common);
    ok(wait_until(20, sub { (-s "$dir/big2.part" // 0) >= 1_000_000 }), 'some of it is there');
    kill('INT', $pid);
    is(finish($pid) & 127, 2, 'SIGINT ends get --resume');
    ok(-s "$dir/big2.part", '... and keeps the .part');
    $server->clear();
    run_ok({ stdin => 'another' }, 's3pve', 'put', '-', 'resumed', @common);
    is(
        (run_cmd('s3pve', 'get', '--resume', 'resumed', "$dir/big2", @common))[0], 0,
        'an object that was replaced'
    );
    is(slurp("$dir/big2"), 'another', '... is fetched from its start');
}

# --- a reader that stands still, or goes away

for my $connections (1, 4) {
    pipe(my $read, my $write) or die "pipe: $!\n";
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        POSIX::dup2(fileno($write), 1);
        exec('s3pve', 'cat', 'swept', '--connections', $connections, @common) or POSIX::_exit(127);
    }
    close($write);
    sleep(0.7);
    kill('TERM', $pid);
    is(finish($pid) & 127, 15, "SIGTERM while nobody reads, $connections connections");
    close($read);
}

{
    my $status = system(
        'bash', '-c', 's3pve cat swept "$@" | head -c 10 >/dev/null; exit ${PIPESTATUS[0]}',
        'x', @common
    );
    is($status >> 8, 128 + 13, 'cat dies of SIGPIPE like any other');
}

done_testing();
