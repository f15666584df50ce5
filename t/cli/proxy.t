#!/usr/bin/perl
# A proxy between us and the store that wants a password, or lies.
use v5.36;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

use S3PVE::Test;

my $dir = scratch();

# Answers every request with the same text, whatever is asked.
sub proxy ($answer) {
    my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1')
        or die "listen: $@\n";
    my $pid = fork() // die "fork: $!\n";
    return ($listener->sockport(), $pid) if $pid;

    while (my $client = $listener->accept()) {
        while (defined(my $line = <$client>)) {
            last if $line eq "\r\n";
        }
        print {$client} $answer;
        close($client);
    }
    exit(0);
}

sub through ($answer, $scheme, @args) {
    my ($port, $pid) = proxy($answer);
    my $conf = spew("$dir/conf", <<~"EOT");
        endpoint = $scheme://store.example.org
        bucket = bucket
        access-key = A
        secret-key = TOPSECRET
        proxy = http://user:PASSWORD\@127.0.0.1:$port
        timeout = 5
        EOT
    my $began = time();
    my @result = (run_cmd('s3pve', '-c', $conf, @args), time() - $began);
    kill('KILL', $pid);
    waitpid($pid, 0);
    return @result;
}

my $refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
for my $scheme (qw(http https)) {
    my ($status, $out, $err, $s) = through($refusal, $scheme, 'ls', '-vv');
    is($status, 4, "$scheme: a proxy that wants another password is status 4") or diag($err);
    cmp_ok($s, '<', 3, '... at once');
    unlike("$out$err", qr/PASSWORD|TOPSECRET/, '... and no password is shown');
    like($err, qr/407/, '... but what happened is');
}

my $nothing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
my ($status) = through($nothing, 'https', 'cat', 'key');
is($status, 1, 'a proxy that knows no such host says nothing of the object');

done_testing();
