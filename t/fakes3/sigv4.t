#!/usr/bin/perl
# The fake's own idea of a signature, against Amazon's documented examples and against curl.
use v5.36;

use FindBin qw($RealBin);
use Test::More;
use Time::Local qw(timegm);

use lib "$RealBin/../lib";
use FakeS3::Sig;
use S3PVE::Test;

my $KEYS = { AKIAIOSFODNN7EXAMPLE => 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' };
my $NOW = timegm(0, 0, 0, 24, 4, 2013);
my $EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

# From "Signature Calculations for the Authorization Header" in the S3 API reference.
my $examples = [
    [
        'GET of a range', 'GET', '/test.txt', '',
        { range => 'bytes=0-9', 'x-amz-content-sha256' => $EMPTY },
        'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
    ],
    [
        'PUT of a name to be encoded', 'PUT', '/test%24file.text', '',
        {
            date => 'Fri, 24 May 2013 00:00:00 GMT',
            'x-amz-storage-class' => 'REDUCED_REDUNDANCY',
            'x-amz-content-sha256' =>
                '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
        },
        '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
    ],
    [
        'GET of a sub-resource', 'GET', '/', 'lifecycle', { 'x-amz-content-sha256' => $EMPTY },
        'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
    ],
    [
        'GET of a list', 'GET', '/', 'max-keys=2&prefix=J',
        { 'x-amz-content-sha256' => $EMPTY },
        '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
    ],
];

my sub request ($method, $path, $query, $headers, $signature) {
    my %headers =
        (host => 'examplebucket.s3.amazonaws.com', 'x-amz-date' => '20130524T000000Z', %$headers);
    my $signed = join(';', sort keys %headers);
    $headers{authorization} =
          'AWS4-HMAC-SHA256 '
        . 'Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,'
        . "SignedHeaders=$signed,Signature=$signature";
    return { method => $method, path => $path, query => $query, headers => \%headers, body => '' };
}

for my $example (@$examples) {
    my ($name, @request) = @$example;
    my $verdict = FakeS3::Sig::check(request(@request), $KEYS, $NOW, 'us-east-1');
    is($verdict, undef, "$name: the documented signature is right") or diag(explain($verdict));
    $request[-1] =~ tr/0-9/1-90/;
    is(
        FakeS3::Sig::check(request(@request), $KEYS, $NOW, 'us-east-1')->{code},
        'SignatureDoesNotMatch', "$name: another is not"
    );
}

my $presigned = {
    method => 'GET',
    path => '/test.txt',
    query => 'X-Amz-Algorithm=AWS4-HMAC-SHA256'
        . '&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request'
        . '&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host'
        . '&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
    headers => { host => 'examplebucket.s3.amazonaws.com' },
    body => '',
};
is(
    FakeS3::Sig::check($presigned, $KEYS, $NOW + 86400, ''), undef,
    'the documented presigned URL is right'
);
is(
    FakeS3::Sig::check($presigned, $KEYS, $NOW + 86401, '')->{message}, 'Request has expired',
    'and expires when it says',
);

my @get = $examples->[0]->@[1 .. 5];
my $late = FakeS3::Sig::check(request(@get), $KEYS, $NOW + 901, '');
is($late->{code}, 'RequestTimeTooSkewed', 'a quarter of an hour is the limit');
my $elsewhere = FakeS3::Sig::check(request(@get), $KEYS, $NOW, 'garage');
is($elsewhere->{code}, 'AuthorizationHeaderMalformed', 'another region is refused');
is($elsewhere->{xml}->{Region}, 'garage', 'with the right one in the answer');
is(
    FakeS3::Sig::check(request(@get), {}, $NOW, '')->{code}, 'InvalidAccessKeyId',
    'an unknown key is named so'
);
my $unsigned = request(@get);
$unsigned->{headers}->{'x-amz-meta-more'} = 'x';
like(
    FakeS3::Sig::check($unsigned, $KEYS, $NOW, '')->{message}, qr/not signed/,
    'every x-amz header has to be signed'
);
my $with_token = { AKIAIOSFODNN7EXAMPLE => $KEYS->{AKIAIOSFODNN7EXAMPLE} . ' token' };
is(
    FakeS3::Sig::check(request(@get), $with_token, $NOW, '')->{code}, 'ExpiredToken',
    'temporary keys need their token'
);

need_command('curl');
my $fake = fakes3();
my @curl = (
    'curl', '-sS', '--aws-sigv4', 'aws:amz:us-east-1:s3', '--user',
    "$fake->{access_key}:$fake->{secret_key}",
    '-w', '%{http_code}',
);
is(
    run_ok(@curl, '-X', 'PUT', '-H', "x-amz-content-sha256: $EMPTY", "$fake->{endpoint}/curl"),
    '200', 'curl makes a bucket'
);
is(
    run_ok(
        @curl, '-H', 'x-amz-content-sha256: UNSIGNED-PAYLOAD', '-T', $0,
        "$fake->{endpoint}/curl/key"
    ),
    '200',
    'curl puts an object',
);
is(
    run_ok(@curl, '-H', "x-amz-content-sha256: $EMPTY", "$fake->{endpoint}/curl/key"),
    slurp($0) . '200',
    'curl gets it back',
);
$curl[5] = "$fake->{access_key}:wrong";
like(
    run_ok(@curl, '-H', "x-amz-content-sha256: $EMPTY", "$fake->{endpoint}/curl/key"),
    qr/SignatureDoesNotMatch.*403$/s,
    'curl with a wrong key gets nothing',
);

done_testing();
