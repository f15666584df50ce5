#!/usr/bin/perl
# A store that does not answer: after two seconds one line says what is waited for, and no other.
use v5.36;

use IO::Pty;
use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

use S3PVE::Test;

my $dir = scratch();
$ENV{XDG_STATE_HOME} = "$dir/state";
my $NOBODY = 'http://127.0.0.1:1';
my $WAIT = 4; # seconds: more than two, less than the library's deadline

# What it says on standard error in that time; it is ended then.
my sub says (@args) {
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        open(STDERR, '>', "$dir/err");
        open(STDOUT, '>', '/dev/null');
        exec('s3pve', @args) or POSIX::_exit(127);
    }
    my $ended = wait_until($WAIT, sub { waitpid($pid, POSIX::WNOHANG) == $pid });
    if (!$ended) {
        kill('TERM', $pid);
        waitpid($pid, 0);
    }
    return slurp("$dir/err");
}

my @nobody = ('-e', $NOBODY, '-b', 'bucket', '--credentials', 'anonymous');
my @lines = split(/\n/, says(@nobody, 'ls'));
is(scalar(@lines), 1, 'nobody listens: one line');
like($lines[0], qr/^s3pve: waiting for \Q$NOBODY\E: .*connect/i, '... with endpoint and reason');
is(says(@nobody, '-q', 'ls'), '', '... and none with --quiet');
my $json = decode_json(says(@nobody, '--json', 'ls'));
is($json->{waiting_for}, $NOBODY, '... or JSON');

my $fake = fakes3();
my @fake = ('--config', $fake->{config}, '-b', 'waiting');
run_ok('s3pve', @fake, 'mb');
$fake->rule(do => 'hang', op => 'ListObjectsV2');
like(
    says(@fake, 'ls'), qr/^s3pve: waiting for \Q$fake->{endpoint}\E: no answer yet\n\z/,
    'somebody listens and says nothing: one line'
);
$fake->clear();
is(says(@fake, 'ls'), '', 'a store that answers is not spoken of');
$fake->rule(do => 'delay', op => 'PutObject', delay => 3);
spew("$dir/in", 'data');
is(says(@fake, 'put', "$dir/in"), '', 'nor is one that takes its time with what it is sent');

# --- on a terminal

my $pty = IO::Pty->new();
my $pid = fork() // die "fork: $!\n";
if (!$pid) {
    POSIX::dup2(fileno($pty->slave()), 2);
    exec('s3pve', @nobody, 'ls') or POSIX::_exit(127);
}
$pty->close_slave();
my $shown = '';
local $SIG{ALRM} = sub { kill('TERM', $pid) };
alarm($WAIT);
while (sysread($pty, $shown, 1000, length($shown))) { }
alarm(0);
waitpid($pid, 0);
is(scalar(() = $shown =~ m/waiting for/g), 1, 'on a terminal the line is shown once as well');

done_testing();
