#!/usr/bin/perl
# What an administrator gets wrong, and what the hook tells him where Proxmox VE did not before: the
# property, its value unless that may be a secret, and what would be right.  Nothing needs a store.
use v5.36;

use File::Temp qw(tempdir);
use Test::More;

use PVE::Storage;
use PVE::Storage::Custom::S3Plugin;
use S3PVE::Config;

my $class = 'PVE::Storage::Custom::S3Plugin';
my $root = $S3PVE::Config::ROOT = tempdir(CLEANUP => 1);
mkdir "$root/$_" for qw(etc etc/pve etc/pve/priv);

my $SECRET = 'wJalr/XUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
my $good = {
    path => '/mnt/pve/a',
    's3-endpoint' => 'https://s3.example.com',
    's3-bucket' => 'bucket',
    's3-access-key' => 'AKIAIOSFODNN7EXAMPLE',
};

my @cases = (
    # what, changes (undef: left out), the words
    [
        'an endpoint with the bucket in it',
        { 's3-endpoint' => 'https://s3.example.com/bucket' },
        "s3-endpoint 'https://s3.example.com/bucket': no path allowed: only https://host:port; "
            . 'the bucket has an option of its own',
    ],
    [
        'an endpoint of another kind',
        { 's3-endpoint' => 'ftp://s3.example.com' },
        "s3-endpoint 'ftp://s3.example.com': unknown scheme; use https:// or http://",
    ],
    [
        'keys in the endpoint',
        { 's3-endpoint' => "https://key:$SECRET\@s3.example.com" },
        's3-endpoint: keys do not belong here: use access-key and secret-key',
    ],
    [
        'a pasted query',
        { 's3-endpoint' => 'https://s3.example.com?region=x' },
        "s3-endpoint 'https://s3.example.com?region=x': no query allowed: only https://host:port",
    ],
    [
        'an endpoint with a space behind',
        { 's3-endpoint' => 'https://s3.example.com ' },
        's3-endpoint: has a space in front or behind; write it without',
    ],
    [
        'an endpoint from a manual',
        { 's3-endpoint' => 'https://s3.<region>.example.com' },
        "s3-endpoint 'https://s3.<region>.example.com': put the real name in place of <...>",
    ],
    [
        'a port that is none',
        { 's3-endpoint' => 'https://s3.example.com:99999' },
        "s3-endpoint 'https://s3.example.com:99999': a port is a number from 1 to 65535",
    ],
    [
        'an IPv6 address as it is',
        { 's3-endpoint' => 'http://fd00::1:9000' },
        "s3-endpoint 'http://fd00::1:9000': an IPv6 address stands in brackets: "
            . 'https://[fd00::1]:9000',
    ],
    [
        'an IPv4 address that is none',
        { 's3-endpoint' => '10.0.0.300' },
        "s3-endpoint '10.0.0.300': not a valid IPv4 address",
    ],
    [
        'no endpoint',
        { 's3-endpoint' => undef },
        "s3-endpoint: missing; the server's address, as in https://s3.example.com:9000",
    ],
    [
        'a provider without a region',
        { 's3-endpoint' => undef, 's3-provider' => 'wasabi' },
        's3-region: missing; it gives the endpoint, https://s3.<region>.wasabisys.com',
    ],
    [
        'the address of the bucket',
        { 's3-endpoint' => 'https://bucket.s3.eu-west-1.amazonaws.com' },
        "s3-endpoint 'https://bucket.s3.eu-west-1.amazonaws.com': names the bucket already; "
            . "leave 'bucket.' away",
    ],
    [
        'a bucket with capital letters',
        { 's3-bucket' => 'My_Bucket' },
        "s3-bucket 'My_Bucket': only lower-case letters, digits, '-' and '.' are allowed, as in "
            . "'my-bucket'",
    ],
    [
        'a bucket as a URL',
        { 's3-bucket' => 's3://bucket' },
        "s3-bucket 's3://bucket': only lower-case letters, digits, '-' and '.' are allowed, as in "
            . "'s3-bucket'",
    ],
    [
        'a short bucket',
        { 's3-bucket' => 'ab' },
        "s3-bucket 'ab': 2 characters long; a bucket name has 3 to 63",
    ],
    [
        'a bucket with a dot behind',
        { 's3-bucket' => 'bucket.' },
        "s3-bucket 'bucket.': must begin and end with a letter or digit, and have one beside "
            . "every '.', as in 'bucket'",
    ],
    [
        'a prefix that climbs',
        { 's3-prefix' => 'a/../b' },
        "s3-prefix 'a/../b': has '.' or '..' as a part, which some servers and proxies resolve",
    ],
    [
        'a region in words',
        { 's3-region' => 'eu central 1' },
        "s3-region 'eu central 1': only letters, digits and '-', as in 'eu-central-1'",
    ],
    [
        'an unknown provider',
        { 's3-provider' => 'amazon' },
        qr/^s3-provider 'amazon': unknown; known are aws, minio, /,
    ],
    [
        'the secret as access key',
        { 's3-access-key' => $SECRET, 's3-secret-key' => 'AKIAIOSFODNN7EXAMPLE' },
        "s3-access-key: has '/' in it; is this the secret key?",
    ],
    ['no access key', { 's3-access-key' => undef }, qr/^s3-access-key: missing; it is the id /],
    [
        'no secret',
        { 's3-secret-key' => undef },
        's3-secret-key: missing; give it with --s3-secret-key',
    ],
    [
        'a fingerprint of another kind',
        { fingerprint => 'AA:BB' },
        qr/^fingerprint 'AA:BB': must be a certificate's SHA-256, 32 bytes as AA:BB/,
    ],
    [
        'a fingerprint without TLS',
        { fingerprint => join(':', ('AA') x 32), 's3-endpoint' => 'http://minio.lan:9000' },
        "fingerprint: endpoint 'http://minio.lan:9000' has no certificate; use https:// or drop "
            . 'the fingerprint',
    ],
    [
        'authorities that are not there',
        { 's3-ca-file' => '/nonexistent.pem' },
        "s3-ca-file '/nonexistent.pem': No such file or directory; each node needs it",
    ],
    [
        'a cache that is not there',
        { 's3-cache-dir' => '/nonexistent' },
        "s3-cache-dir '/nonexistent': there is no such directory here; make it on each node",
    ],
    [
        'a proxy with a password',
        { 's3-proxy' => 'http://user:TOPSECRET@proxy:3128' },
        's3-proxy: everybody could read a password in storage.cfg; use a proxy that wants none',
    ],
    [
        'a proxy of another kind',
        { 's3-proxy' => 'socks5://proxy:1080' },
        's3-proxy: only http:// proxies are supported',
    ],
    [
        'a storage class with a space',
        { 's3-storage-class' => 'STANDARD IA' },
        "s3-storage-class 'STANDARD IA': only ASCII letters, digits and signs, no spaces",
    ],
    [
        'a key for another encryption',
        { 's3-sse' => 'AES256', 's3-sse-kms-key' => 'k' },
        "s3-sse-kms-key: needs sse 'aws:kms' or 'aws:kms:dsse'",
    ],
    [
        'subdomains of an address',
        { 's3-endpoint' => 'https://10.0.0.1', 's3-addressing' => 'virtual' },
        "s3-addressing 'virtual': an IP address has no subdomain for the bucket; use 'path'",
    ],
    [
        'a secret with a space behind',
        { 's3-secret-key' => "$SECRET " },
        "s3-secret-key: has a space or a line end in it; copy it again",
    ],
);

for my $case (@cases) {
    my ($what, $changes, $expected) = $case->@*;
    my $scfg = { $good->%*, 's3-secret-key' => $SECRET, $changes->%* };
    delete $scfg->@{ grep { !defined($scfg->{$_}) } keys $scfg->%* };
    my $secret = delete $scfg->{'s3-secret-key'};

    eval { $class->on_add_hook('a', $scfg, defined($secret) ? ('s3-secret-key' => $secret) : ()); };
    my ($words) = $@ =~ m/^(?:S3 storage 'a': )?(.*)\n\z/;
    is($words, $expected, $what) if !ref($expected);
    like($words, $expected, $what) if ref($expected);
    unlike($@, qr/\Q$SECRET\E|TOPSECRET/, '... and no secret is shown');
    ok(!-e S3PVE::Config::secret_file('a'), '... nor kept');
}

done_testing();
