#!/usr/bin/perl
# Forks, signals and deadlines, as they come in Proxmox's daemons.
use v5.36;

use FindBin qw($RealBin);
use POSIX ();
use Test::More;
use Time::HiRes qw(alarm sleep time);

use lib "$RealBin/../lib";
use S3PVE;
use S3PVE::Test;

my $fake = fakes3();
my $client = S3PVE::Client->open({
    endpoint => $fake->{endpoint},
    bucket => 'xs-process',
    'access-key' => $fake->{access_key},
    'secret-key' => $fake->{secret_key},
});
$client->bucket_create();

my sub code_of ($err) { return ref($err) ? $err->{code} : $err }

my sub in_child ($code) { # what it returned, by the exit code
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        POSIX::_exit(eval { $code->() } ? 0 : 1);
    }
    waitpid($pid, 0);
    return $? == 0;
}

# --- fork

ok(in_child(sub { $client->bucket_check(timeout_ms => 5000); 1 }), 'a child can use the client');
is(eval { $client->bucket_check(timeout_ms => 5000); 1 }, 1, 'and the parent goes on');
ok(in_child(sub { undef($client); 1 }), 'a child can drop it');
is(eval { $client->bucket_check(timeout_ms => 5000); 1 }, 1, 'without harm to the parent');
my $before = $fake->stats()->{accepted};
$client->bucket_check(timeout_ms => 5000) for 1 .. 5;
is($fake->stats()->{accepted} - $before, 1, 'whose connection is still the same'); # 1: we who ask

my @children = map {
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        my $fine = eval { $client->bucket_check(timeout_ms => 10000) for 1 .. 20; 1 };
        POSIX::_exit($fine ? 0 : 1);
    }
    $pid;
} 1 .. 4;
my $failed = 0;
for my $pid (@children) {
    waitpid($pid, 0);
    $failed++ if $?;
}
is($failed, 0, 'four children at once do not disturb each other');

# --- deadlines and signals, with a server that does not answer

$fake->rule(do => 'hang', times => 0);

my $begin = time();
eval { $client->bucket_check(timeout_ms => 500) };
is(code_of($@), 'TIMEOUT', 'a silent server is a timeout');
my $took = time() - $begin;
ok($took > 0.4 && $took < 4, "when it was asked for ($took s)");

$begin = time();
eval {
    local $SIG{ALRM} = sub { die "alarm\n" };
    alarm(0.5);
    $client->bucket_check(timeout_ms => 20000);
};
alarm(0);
$took = time() - $begin;
is($@, "alarm\n", "an alarm of Proxmox's ends a call");
cmp_ok($took, '<', 3, "at once ($took s)");

my $n_signals = 0;
$begin = time();
eval {
    local $SIG{USR1} = sub { $n_signals++ };
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        for (1 .. 3) {
            sleep(0.2);
            kill('USR1', getppid());
        }
        POSIX::_exit(0);
    }
    local $SIG{CHLD} = sub { $n_signals++ };
    $client->bucket_check(timeout_ms => 2000);
};
is(code_of($@), 'TIMEOUT', 'a signal whose handler returns does not');
cmp_ok($n_signals, '>=', 3, 'though the handler was run');
cmp_ok(time() - $begin, '>', 1.9, 'the call goes on to its end');

$fake->clear();
is(eval { $client->bucket_check(timeout_ms => 5000); 1 }, 1, 'after all that the client works');

# --- not ours to touch

is(
    join(' ', map { $SIG{$_} // 'default' } qw(PIPE CHLD ALRM INT TERM)),
    'default default default default default', 'no handler of a signal was changed'
);

done_testing();
