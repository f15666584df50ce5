#!/usr/bin/perl
# Asking, starting and stopping the daemon: nothing waits longer than it may.
use v5.36;

use File::Temp qw(tempdir);
use FindBin qw($Bin);
use IO::Socket::UNIX;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep time);

use PVE::Tools;
use S3PVE::Config;
use S3PVE::Daemon;

my $root = $ENV{S3PVE_TEST_ROOT} = $S3PVE::Config::ROOT = tempdir(CLEANUP => 1);
mkdir "$root/$_" for qw(etc etc/pve etc/pve/priv run mnt);
$S3PVE::Daemon::SYSTEMD = "$root/no-systemd";
$S3PVE::Daemon::MOUNTS = "$root/mounts";
@S3PVE::Daemon::PROGRAM = ("$root/not-there", "$Bin/../lib/double-s3pved");

my $scfg = { path => "$root/mnt/a b", 's3-endpoint' => 'x', 's3-bucket' => 'bucket' };

my sub spew ($path, $text) {
    open(my $fh, '>', $path) or die "$path: $!\n";
    print {$fh} $text;
    return close($fh);
}

my sub slurp ($path) {
    open(my $fh, '<', $path) or return '';
    local $/ = undef;
    return <$fh>;
}

my sub behave (%answers) { return spew("$root/behaviour", JSON::PP->new->encode(\%answers)) }

my sub commands () { # since the last look, pings aside
    my @commands = grep { $_ ne 'ping' && $_ ne 'status' } split(/\n/, slurp("$root/commands"));
    spew("$root/commands", '');
    return join(' ', @commands);
}

my sub pid () {
    return (eval { S3PVE::Daemon::ask('a', { cmd => 'ping' }, 1) } // {})->{pid};
}

spew("$root/mounts", "proc /proc proc rw 0 0\n");
END { kill('KILL', pid()) if pid() }

# --- nobody there

is(S3PVE::Daemon::ask('a', { cmd => 'ping' }, 1), undef, 'without a daemon there is no answer');
is(S3PVE::Daemon::status('a', 1), undef, 'and no status');

# --- starting

# As a worker of PVE has them: not closed by an exec().
my @ours = (POSIX::pipe(), POSIX::open("$root/mounts"));
my %ours = map { readlink("/proc/self/fd/$_") => 1 } @ours;
is(scalar(keys %ours), 2, 'there is a pipe and a file of ours');
S3PVE::Daemon::ensure('a', $scfg, 5);
is(commands(), 'start a', 'the first program that is there is started');
ok(S3PVE::Daemon::is_mounted($scfg->{path}), 'and mounts, at a path with a space');
ok(S3PVE::Daemon::is_mounted("$root//mnt/a b/"), 'also with a slash too many');
symlink("$root/mnt", "$root/link");
ok(S3PVE::Daemon::is_mounted("$root/link/a b"), 'or through a link');
ok(!S3PVE::Daemon::is_mounted('/proc'), 'other kinds of mounts do not count');
my $first = pid();
isnt((stat("/proc/$first"))[0], undef, 'it runs');
like(slurp("/proc/$first/stat"), qr/^$first \(.*?\) \S \d+ (?!$$ )\d+ /, 'in a session of its own');
is(readlink("/proc/$first/fd/1"), '/dev/null', 'its output cannot end up in ours');
my @its = map { readlink } glob("/proc/$first/fd/*");
is(join(' ', grep { $ours{$_} } @its), '', 'it has no descriptor of ours');
is(
    join(' ', grep { m{^/dev/(?:tty|pts)|pipe|^\Q$root\E/(?!run/s3pve/a/log$)} } @its), '',
    'at all'
);
POSIX::close($_) for @ours;
is((stat("$root/run/s3pve/a/config"))[2] & 0777, 0600, 'its configuration is private');

my $begin = time();
S3PVE::Daemon::ensure('a', $scfg, 5) for 1 .. 20;
cmp_ok((time() - $begin) / 20, '<', 0.2, 'once it runs, being sure is quick');
is(commands(), '', 'and does nothing');

# --- changes

S3PVE::Daemon::ensure('a', { $scfg->%*, 's3-upload-limit' => 7 }, 5);
is(commands(), 'reload', 'a changed section is reloaded');
S3PVE::Daemon::ensure('a', { $scfg->%*, 's3-upload-limit' => 7 }, 5);
is(commands(), '', 'once');

S3PVE::Config::write_secrets('a', { 'secret-key' => 'new' });
utime(1e9, 1e9, S3PVE::Config::secret_file('a'));
S3PVE::Daemon::ensure('a', { $scfg->%*, 's3-upload-limit' => 7 }, 5);
is(commands(), 'reload', 'and so is a secret that another node stored');

behave(reload => { ok => JSON::PP::true, restart => JSON::PP::true });
S3PVE::Daemon::ensure('a', { $scfg->%*, 's3-cache-dir' => '/y' }, 5);
is(commands(), 'reload stop start a', 'what takes another directory is started anew');

behave(reload => { ok => JSON::PP::false, code => 'INVALID', error => 'endpoint must stay' });
S3PVE::Daemon::ensure('a', { $scfg->%*, 's3-endpoint' => 'y' }, 5);
is(commands(), 'reload stop start a', 'what cannot be reloaded is started anew');
isnt(pid(), $first, 'as another process');

my @warnings;
local $SIG{__WARN__} = sub { push @warnings, @_ };
behave(
    reload => { ok => JSON::PP::false, error => 'endpoint must stay' },
    stop => { ok => JSON::PP::true, busy => JSON::PP::true },
);
S3PVE::Daemon::ensure('a', { $scfg->%*, 's3-endpoint' => 'z' }, 5);
is(commands(), 'reload stop', 'but not while files are in use');
like("@warnings", qr/files are in use.*endpoint must stay/, 'which is said, with the reason');
ok(pid(), 'and it goes on');

is(S3PVE::Daemon::stop('a', $scfg, 2), 0, 'a busy daemon does not stop');

# --- several at once

behave();
S3PVE::Daemon::stop('a', $scfg, 5);
ok(!pid() && !S3PVE::Daemon::is_mounted($scfg->{path}), 'stopping ends it and its mount');
is(S3PVE::Daemon::stop('a', $scfg, 5), 1, 'stopping what does not run is fine');
commands();

my @children = map {
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        eval { S3PVE::Daemon::ensure('a', $scfg, 5) };
        POSIX::_exit($@ ? 1 : 0);
    }
    $pid;
} 1 .. 4;
my $failed = 0;
for my $pid (@children) {
    waitpid($pid, 0);
    $failed++ if $?;
}
is($failed, 0, 'four processes activate at the same time');
is(commands(), 'start a', 'and one daemon is started');

# --- a daemon that does not behave

behave(ping => 'silent', status => 'silent');
$begin = time();
eval { S3PVE::Daemon::status('a', 0.5) };
like($@, qr/^storage 'a': the daemon s3pved does not answer - no answer in time\n$/, 'no answer');
cmp_ok(time() - $begin, '<', 4, 'is noticed at the deadline');

local $SIG{ALRM} = sub { };
Time::HiRes::setitimer(Time::HiRes::ITIMER_REAL(), 0.05, 0.05);
$begin = time();
eval { S3PVE::Daemon::status('a', 0.5) };
Time::HiRes::setitimer(Time::HiRes::ITIMER_REAL(), 0);
like($@, qr/no answer in time/, 'signals do not end the wait');
cmp_ok(time() - $begin, '>', 0.4, 'before its time');

for my $case (
    ["nonsense\n", qr/does not answer - .*/, 'what is no JSON'],
    ["[1]\n", qr/the answer is no object/, 'what is no object'],
    ['', qr/the connection was closed/, 'an end without an answer'],
    ['{"ok":tr', qr/the connection was closed/, 'half an answer'],
    ['x' x ((1 << 22) + 1), qr/the answer is too long/, 'an answer without an end'],
) {
    my ($answer, $expected, $what) = $case->@*;
    behave(status => $answer);
    eval { S3PVE::Daemon::status('a', 20) }; # the double takes its time with a long one
    like($@, $expected, "$what is refused");
    is(($@ =~ tr/\n//), 1, '... in one line');
}

behave(status => { ok => JSON::PP::false, error => 'no such thing' });
eval { S3PVE::Daemon::status('a', 20) };
is($@, "storage 'a': the daemon s3pved has no status - no such thing\n", 'a refusal is an error');

# --- a killed one

behave();
kill('KILL', pid());
sleep(0.05) while pid();
ok(-S "$root/run/s3pve/a/control.sock", 'a killed daemon leaves its socket');
is(S3PVE::Daemon::ask('a', { cmd => 'ping' }, 1), undef, 'which counts as nobody');
commands();
S3PVE::Daemon::ensure('a', $scfg, 5);
is(commands(), 'start a', 'and it is started again');

kill('KILL', pid());
sleep(0.05) while pid();
@PVE::Tools::COMMANDS = ();
$PVE::Tools::RUN = sub ($cmd) {
    spew("$root/mounts", '') if "$cmd->@*" eq "/usr/bin/umount -l $scfg->{path}";
    return 0;
};
is(S3PVE::Daemon::stop('a', $scfg, 2), 1, 'stopping after that');
is("$PVE::Tools::COMMANDS[0]->@*", "/usr/bin/umount -l $scfg->{path}", 'removes the dead mount');

# --- one that cannot start

behave(start => 'config: bucket: missing');
$begin = time();
eval { S3PVE::Daemon::ensure('a', $scfg, 2) };
is(
    $@,
    "storage 'a': the daemon s3pved did not come up - config: bucket: missing\n",
    'a failed start tells the last line of its log'
);
cmp_ok(time() - $begin, '<', 6, 'by the deadline');

@S3PVE::Daemon::PROGRAM = ("$root/not-there");
eval { S3PVE::Daemon::ensure('a', $scfg, 0.5) };
is(
    $@, "storage 'a': there is no $root/not-there; install the package s3pve on this node\n",
    'a missing program is named'
);

S3PVE::Daemon::forget('a');
ok(!-e "$root/run/s3pve/a", 'forgetting leaves nothing in /run');

# --- with systemd

is(
    S3PVE::Daemon::unit('s3-a_b.c'), 's3pved@s3-a_b.c.service',
    'a unit has the name of its storage'
);

mkdir $S3PVE::Daemon::SYSTEMD;
@PVE::Tools::COMMANDS = ();
eval { S3PVE::Daemon::ensure('a', $scfg, 0.3) };
is_deeply(
    [@PVE::Tools::COMMANDS[0, 1]],
    [
        ['/usr/bin/systemctl', 'reset-failed', 's3pved@a.service'],
        ['/usr/bin/systemctl', 'start', '--no-block', 's3pved@a.service'],
    ],
    'systemd starts it where it runs the machine',
);
like($@, qr/did not come up - see: journalctl -u s3pved\@a\.service\n$/, 'and has its log');

$PVE::Tools::OUTPUT = "config: bucket: missing\n";
eval { S3PVE::Daemon::ensure('a', $scfg, 0.3) };
like($@, qr/did not come up - config: bucket: missing\n$/, 'or the reason itself');

$PVE::Tools::OUTPUT = "failed\n";
$begin = time();
eval { S3PVE::Daemon::ensure('a', $scfg, 10) };
like($@, qr/did not come up/, 'one that systemd gave up');
cmp_ok(time() - $begin, '<', 5, 'is not waited for');

S3PVE::Config::delete_secrets('a');
eval { S3PVE::Daemon::ensure('a', $scfg, 0.3) };
is(
    $@,
    "storage 'a': the daemon s3pved did not come up - its secret key is not stored; do so: "
        . "pvesm set a --s3-secret-key KEY\n",
    'a secret that is missing is named before all'
);

$PVE::Tools::RUN = sub ($cmd) { return $cmd->[1] eq 'start' ? 5 : 0 };
eval { S3PVE::Daemon::ensure('a', $scfg, 0.3) };
like(
    $@,
    qr/^storage 'a': systemd does not start s3pved\@a\.service; is the package s3pve installed/,
    'so is a package'
);

done_testing();
