#!/usr/bin/perl
# Every fault of the fake does what its name says, as curl sees it, and only as often as asked.
use v5.36;

use Digest::MD5 qw(md5_base64 md5_hex);
use Digest::SHA qw(sha256_hex);
use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE::Test;

need_command('curl');
my $fake = fakes3();
my $DATA = join('', map { chr($_ % 251) } 1 .. 100_000);

# One signed request; headers as "name: value" strings.  Returns { exit, status, headers, body }.
my sub ask ($method, $path, $body = undef, @headers) {
    my $hash = sha256_hex($body // '');
    my $scratch = scratch();
    my @send = defined($body) ? ('--data-binary', '@' . spew("$scratch/body", $body)) : ();
    push(@send, '-I') if $method eq 'HEAD';
    my ($exit) = run_cmd(
        'curl', '-sS', '-m', 3, '-X', $method, '--aws-sigv4', 'aws:amz:us-east-1:s3',
        '--user', "$fake->{access_key}:$fake->{secret_key}", '-D', "$scratch/head",
        '-o', "$scratch/out", '-H',
        "x-amz-content-sha256: $hash",
        (map { ('-H', $_) } @headers), @send, "$fake->{endpoint}$path",
    );
    my $head = -e "$scratch/head" ? slurp("$scratch/head") : '';
    my ($status) = $head =~ m!^HTTP/1.1 (\d+)!;
    return {
        exit => $exit,
        status => $status // 0,
        headers => { map { lc($_) } $head =~ m/^([^:\r\n]+): (.*?)\r$/mg },
        body => -e "$scratch/out" ? slurp("$scratch/out") : '',
    };
}

my sub with (%rule) {
    $fake->clear();
    $fake->rule(%rule);
    return;
}

is(ask('PUT', '/bkt')->{status}, 200, 'a bucket is made');
is(ask('PUT', '/bkt/k', $DATA)->{status}, 200, 'an object is put');
ok(ask('GET', '/bkt/k')->{body} eq $DATA, 'and got');

# --- instead of the work
with(
    op => 'GetObject', do => 'status', status => 503, code => 'SlowDown', 'retry-after' => 7,
    times => 2
);
my @storm = map { ask('GET', '/bkt/k') } 1 .. 3;
is(
    join(' ', map { $_->{status} } @storm), '503 503 200',
    'a storm lasts as many requests as asked'
);
is($storm[0]->{headers}->{'retry-after'}, 7, 'Retry-After is sent');
like($storm[0]->{body}, qr/<Code>SlowDown</, 'with the code');

with(op => 'GetObject', do => 'status', skip => 1);
is(
    join(' ', map { ask('GET', '/bkt/k')->{status} } 1 .. 3), '200 503 200',
    'the first can be left alone'
);

with(op => 'HeadObject', key => '^other', do => 'status');
is(ask('HEAD', '/bkt/k')->{status}, 200, 'another key is left alone');

with(do => 'status', status => 301, code => 'PermanentRedirect', region => 'eu-west-1');
my $moved = ask('GET', '/bkt/k');
like($moved->{body}, qr!<Region>eu-west-1</Region>!, 'a redirect says the region');
is($moved->{headers}->{'x-amz-bucket-region'}, 'eu-west-1', 'in a header too');

with(do => 'status', status => 403, code => 'AccessDenied', early => 1);
is(ask('PUT', '/bkt/k', $DATA)->{status}, 403, 'an early answer does not wait for the body');

with(do => 'hang');
my $began = time();
is(ask('GET', '/bkt/k')->{exit}, 28, 'a hanging request times out');
cmp_ok(time() - $began, '>', 2.5, '... and not before');

with(do => 'reset', after => 50_000);
isnt(ask('PUT', '/bkt/reset', $DATA)->{exit}, 0, 'a reset in mid-body breaks the request');
is(ask('HEAD', '/bkt/reset')->{status}, 404, 'and nothing was stored');

with(do => 'raw', text => "SSH-2.0-no\r\n");
isnt(ask('GET', '/bkt/k')->{exit}, 0, 'what is not HTTP is no answer');

# --- after the work
with(op => 'PutObject', do => 'lost');
isnt(ask('PUT', '/bkt/lost', 'x')->{exit}, 0, 'a lost answer is a failure');
is(ask('GET', '/bkt/lost')->{body}, 'x', 'but the work was done');

with(op => 'CopyObject', do => 'error200', code => 'InternalError', spaces => 20);
my $late = ask('PUT', '/bkt/copy', '', 'x-amz-copy-source: /bkt/k');
is($late->{status}, 200, 'a late error has status 200');
like($late->{body}, qr!\?> {20}\n<Error><Code>InternalError!, 'and is in the body');
is(ask('HEAD', '/bkt/copy')->{status}, 200, 'the work was done');

with(op => 'CopyObject', do => 'error200', work => 0);
ask('PUT', '/bkt/copy2', '', 'x-amz-copy-source: /bkt/k');
is(ask('HEAD', '/bkt/copy2')->{status}, 404, 'or was not, as asked');

with(op => 'PutObject', do => 'etag');
isnt(
    ask('PUT', '/bkt/e', 'x')->{headers}->{etag}, '"' . md5_hex('x') . '"',
    'an ETag can be wrong'
);

with(op => 'GetObject', do => 'content-range', by => 10);
is(
    ask('GET', '/bkt/k', undef, 'Range: bytes=0-9')->{headers}->{'content-range'},
    'bytes 10-19/100000', 'so can a Content-Range'
);

with(op => 'GetObject', do => 'corrupt', at => 77);
my $got = ask('GET', '/bkt/k')->{body};
is(length($got), length($DATA), 'a corrupt body is as long as the right one');
is(
    join(' ', grep { substr($got, $_, 1) ne substr($DATA, $_, 1) } 70 .. 90), '77',
    'but for one byte'
);

with(op => 'GetObject', do => 'short', by => 5);
$got = ask('GET', '/bkt/k');
is("$got->{exit} " . length($got->{body}), '0 99995', 'a short body looks whole');

for my $do (qw(truncate cut)) {
    with(op => 'GetObject', do => $do, after => 1000);
    $got = ask('GET', '/bkt/k');
    ok($got->{exit} == 18 || $got->{exit} == 56, "$do: the body ends before its time");
    cmp_ok(length($got->{body}), '<=', 1000, '... where asked');
}

with(op => 'GetObject', do => 'stall', after => 1000);
$got = ask('GET', '/bkt/k');
is("$got->{exit} " . length($got->{body}), '28 1000', 'a stall leaves the connection open');

with(op => 'ListObjectsV2', do => 'body', text => '<ListBucketResult><Contents>');
is(ask('GET', '/bkt?list-type=2')->{body}, '<ListBucketResult><Contents>', 'XML can be broken');

with(op => 'GetObject', do => 'headers', count => 20, size => 3000);
is(length(ask('GET', '/bkt/k')->{headers}->{'x-fake-20'}), 3000, 'headers can be many and huge');

with(op => 'GetObject', do => 'strip', header => 'Date,ETag');
$got = ask('GET', '/bkt/k')->{headers};
is(
    join(' ', map { exists($got->{$_}) ? 1 : 0 } qw(date etag last-modified)), '0 0 1',
    'headers can be missing'
);

with(op => 'GetObject', do => 'slow', rate => 100_000);
$began = time();
ok(ask('GET', '/bkt/k')->{body} eq $DATA, 'slow bytes arrive');
cmp_ok(time() - $began, '>', 0.7, '... slowly');

with(op => 'GetObject', do => 'delay', delay => 0.5);
$began = time();
ask('GET', '/bkt/k');
cmp_ok(time() - $began, '>=', 0.5, 'an answer can be late');

with(op => 'PutObject', do => 'ignore', header => 'If-None-Match');
is(ask('PUT', '/bkt/k', 'over', 'If-None-Match: *')->{status}, 200, 'a condition can be ignored');
is(ask('PUT', '/bkt/k', 'over', 'If-None-Match: *')->{status}, 412, 'once');

# --- settings
$fake->clear();
my $etag = md5_hex('over');
my $put = sub ($header) { ask('PUT', '/bkt/k', 'over', $header)->{status} };
is(
    $put->("If-Match: $etag") . $put->(qq{If-Match: "$etag"}), '200200',
    'both spellings of a condition hold'
);
$fake->set('etag-style' => 'quoted');
is($put->("If-Match: $etag") . $put->(qq{If-Match: "$etag"}), '412200', 'or only the quoted one');
$fake->set('etag-style' => 'bare');
is($put->("If-Match: $etag") . $put->(qq{If-Match: "$etag"}), '200412', 'or only the bare one');
$fake->set(conditions => 'off');
is($put->('If-Match: nonsense'), '200', 'conditions can be ignored altogether');
$fake->set(conditions => 'refuse');
is($put->('If-Match: nonsense'), '501', 'or refused');
$fake->set(conditions => 'ignore-match');
is(
    $put->('If-Match: nonsense') . $put->('If-None-Match: *'), '200412',
    'If-Match alone can be ignored'
);
$fake->set(conditions => 'ignore-none-match');
is(
    $put->('If-Match: nonsense') . $put->('If-None-Match: *'), '412200',
    'and If-None-Match alone'
);
$fake->set(conditions => 'resurrect');
is($put->('If-Match: nonsense'), '412', 'If-Match can be kept for what is there');
is(ask('PUT', '/bkt/none', 'x', 'If-Match: nonsense')->{status}, 200, 'and make what is not there');
$fake->set(conditions => 'race');
is(
    $put->("If-Match: $etag") . $put->('If-Match: nonsense'), '200412',
    'a server that races, asked one thing after the other'
);
ask('DELETE', '/bkt/none');
$fake->set(conditions => 'on', 'etag-style' => 'any');

$fake->set(skew => 1200);
my $skewed = ask('GET', '/bkt/k');
like($skewed->{body}, qr/RequestTimeTooSkewed/, 'a clock that is ahead refuses');
ok($skewed->{headers}->{date}, 'and says what time it is');
$fake->set(skew => 0, region => 'garage');
like(
    ask('GET', '/bkt/k')->{body}, qr!AuthorizationHeaderMalformed.*<Region>garage<!s,
    'a region is insisted on'
);
$fake->set(region => '', deny => 'GetObject');
like(ask('GET', '/bkt/k')->{body}, qr/AccessDenied/, 'an operation is denied');
$fake->set(deny => '', 'no-list-v2' => 1, 'no-batch-delete' => 1);
is(ask('GET', '/bkt?list-type=2')->{status}, 501, 'no ListV2');
is(ask('POST', '/bkt?delete=', '<Delete/>')->{status}, 501, 'no DeleteObjects');

my $md5 = 'Content-MD5: ' . md5_base64('right') . '==';
is(ask('PUT', '/bkt/m', 'right', $md5)->{status}, 200, 'a right Content-MD5 is taken');
like(ask('PUT', '/bkt/m', 'wrong', $md5)->{body}, qr/BadDigest/, 'a wrong one is not');
my $crc = 'x-amz-checksum-crc32c: 4waSgw=='; # of "123456789", a well-known check value
is(ask('PUT', '/bkt/c', 'anything', $crc)->{status}, 200, 'a wrong CRC32C is ignored');
$fake->set(checksums => 1);
like(ask('PUT', '/bkt/c', 'anything', $crc)->{body}, qr/BadDigest/, 'unless checked');
is(ask('PUT', '/bkt/c', '123456789', $crc)->{status}, 200, 'a right one is taken');

# --- the log
$fake->forget();
ask('GET', '/bkt/k', undef, 'Range: bytes=0-1');
ask('GET', '/bkt/none');
is($fake->count('GetObject'), 2, 'requests are counted');
is(($fake->log())[0]->{headers}->{range}, 'bytes=0-1', 'with their headers');
is(($fake->log())[1]->{code}, 'NoSuchKey', 'and what became of them');
unlike(join('', explain($fake->log())), qr/Signature=/, 'but no signature');

# --- listing
$fake->fill(bucket => 'bkt', prefix => 'many/', count => 2500);
my ($n, $token, $pages) = (0, '', 0);
$fake->set('no-list-v2' => 0);
do {
    my $page = ask(
        'GET',
        '/bkt?' . ($token && "continuation-token=$token&") . 'list-type=2&prefix=many%2F'
    );
    $n += () = $page->{body} =~ m/<Key>/g;
    ($token) = $page->{body} =~ m!<NextContinuationToken>(.*?)<!;
    $token =~ s/([^A-Za-z0-9])/sprintf('%%%02X', ord($1))/ge if $token;
    ++$pages;
} while ($token && $pages < 10);
is("$n in $pages", '2500 in 3', 'a long list comes in pages, each key once');
my $top = ask('GET', '/bkt?delimiter=%2F&list-type=2')->{body};
is(
    join(' ', $top =~ m!<CommonPrefixes><Prefix>(.*?)<!g), 'many/',
    'a delimiter folds keys to prefixes'
);
is((() = $top =~ m/<Key>/g), 6, 'and leaves the others');
is(
    join(
        ' ',
        ask('GET', '/bkt?list-type=2&max-keys=2&start-after=lost')->{body} =~ m!<Key>(.*?)<!g
    ),
    'm many/0000001',
    'a list can start anywhere'
);

# --- bytes that are not there
$fake->zeroes(bucket => 'bkt', key => 'huge', size => 6 << 30);
is(
    ask('HEAD', '/bkt/huge')->{headers}->{'content-length'}, 6 << 30,
    'an object of 6 GiB takes no room'
);
is(
    ask('GET', '/bkt/huge', undef, 'Range: bytes=6000000000-6000000003')->{body}, "\0" x 4,
    'and can be read'
);
like(
    ask('PUT', '/bkt/huge2', '', 'x-amz-copy-source: /bkt/huge')->{body}, qr/InvalidRequest/,
    'but not copied in one request'
);

done_testing();
