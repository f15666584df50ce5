#!/usr/bin/perl
# Under -T, as pct, vzdump and pvedaemon run: what the daemon says can be used to open, unlink and run.
use v5.36;

use File::Temp qw(tempdir);
use IO::Socket::UNIX;
use Scalar::Util qw(tainted);
use Test::More;

use S3PVE::Config;
use S3PVE::Daemon;

if (!${^TAINT}) {
    exec($^X, '-T', (map { "-I$_" } @INC), $0) or die "perl: $!\n";
}

# The folder is ours; that its name comes from the environment taints it.
my $scratch = tempdir(CLEANUP => 1);
my ($root) = $scratch =~ m/^(.+)$/;
$S3PVE::Config::ROOT = $root;
mkdir "$root/$_" for qw(run run/s3pve run/s3pve/a);
my $socket = S3PVE::Config::paths('a')->{socket};
my $listener = IO::Socket::UNIX->new(Local => $socket, Listen => 5) or die "$socket: $!\n";

my $pid = fork() // die "fork: $!\n";
if (!$pid) {
    alarm(60);
    while (my $client = $listener->accept()) {
        readline($client);
        print {$client} '{"ok":true,"pid":123,"name":"a\u00e9","list":["x",{"y":"z"}]}' . "\n";
    }
    POSIX::_exit(0);
}

my sub strings ($value) {
    return map { __SUB__->($_) } $value->@* if ref($value) eq 'ARRAY';
    return map { __SUB__->($_) } %$value if ref($value) eq 'HASH';
    return $value;
}

ok(tainted($ENV{PATH}), 'taint is found');
my @strings = strings(S3PVE::Daemon::ask('a', { cmd => 'ping' }, 5));
is(scalar(@strings), 10, 'the daemon answers');
is(scalar(grep { tainted($_) } @strings), 0, 'and nothing of it is tainted');

kill('KILL', $pid);
waitpid($pid, 0);
done_testing();
