#!/usr/bin/perl
# Whom we believe on https: one certificate, an authority, and nobody else.
use v5.36;

use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(time);

use S3PVE::Test;

my $server = rgw(tls => '');
my $dir = scratch();
my $data = join('', map { pack('N', $_) } 1 .. 3_000_000); # 12 MB, three parts

# The server's settings, less its fingerprint, and more.
sub settings (@lines) {
    my $conf = slurp($server->{config}) =~ s/^fingerprint = .*\n//mr;
    return spew("$dir/conf", join("\n", $conf, @lines, ''));
}

sub run (@args) {
    my $how = ref($args[0]) ? shift(@args) : {};
    return run_cmd($how, 's3pve', @args, '-c', "$dir/conf", '-b', 'tls');
}

my $fingerprint = slurp("$server->{dir}/fingerprint") =~ s/\s+//gr;
my %trusted = (
    'its fingerprint' => "fingerprint = $fingerprint",
    'its fingerprint without colons' => 'fingerprint = ' . lc($fingerprint =~ s/://gr),
    'an authority of our own' => "ca-file = $server->{dir}/cert.pem",
);
for my $what (sort keys %trusted) {
    settings($trusted{$what});
    is((run('mb'))[0], 0, "$what: mb");
    my ($status, undef, $err) = run({ stdin => $data }, 'put', '-', 'large', '--part-size', 5);
    is($status, 0, '... put') or diag($err);
    is(sha256_hex((run('cat', 'large'))[1]), sha256_hex($data), '... and cat');
}

my %strange = (
    'nobody vouches for it' => [],
    'another fingerprint' => ['fingerprint = ' . join(':', ('AB') x 32)],
    'another fingerprint, though its authority is known' =>
        ['fingerprint = ' . join(':', ('AB') x 32), "ca-file = $server->{dir}/cert.pem"],
);
for my $what (sort keys %strange) {
    settings($strange{$what}->@*);
    my $began = time();
    my ($status, $out, $err) = run('ls');
    is($status, 1, "$what: refused");
    cmp_ok(time() - $began, '<', 3, '... at once');
    like($err, qr/certificate|fingerprint/i, '... in words that help');
}

settings('ca-file = /nonexistent.pem');
is((run('ls'))[0], 1, 'a missing authority is no authority');

# A name that the certificate does not have, at the same address.
my ($port) = $server->{endpoint} =~ m/:(\d+)$/;
open(my $hosts, '<', '/etc/hosts') or die "/etc/hosts: $!\n";
my ($alias) =
    grep { !m/^localhost$/ } map { m/^127\.0\.0\.1\s+(.*\S)/ ? split(/\s+/, $1) : () } <$hosts>;
SKIP: {
    skip('/etc/hosts has no other name for 127.0.0.1', 2) if !$alias;
    for my $case (["ca-file = $server->{dir}/cert.pem", 1], ["fingerprint = $fingerprint", 0]) {
        settings($case->[0], "endpoint = https://$alias:$port", 'addressing = path');
        is((run('ls'))[0], $case->[1], "another name, with $case->[0]: status $case->[1]");
    }
}

# One that knows nothing of TLS, and says so in HTTP, as most do.
my $http = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!\n";
my $plain = $http->sockport();
my $pid = fork() // die "fork: $!\n";
if (!$pid) {
    while (my $client = $http->accept()) {
        sysread($client, my $hello, 5);
        syswrite($client, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    }
    _exit(0);
}
for my $case (["http://127.0.0.1:$port", 'https://'], ["https://127.0.0.1:$plain", 'http://']) {
    settings("endpoint = $case->[0]", 'addressing = path', 'timeout = 3');
    my $began = time();
    my ($status, undef, $err) = run('ls');
    is($status, 1, "$case->[0]: the wrong scheme");
    like($err, qr/say \Q$case->[1]\E/, '... is told');
    cmp_ok(time() - $began, '<', 5, '... soon');
}
kill('KILL', $pid);

done_testing();
