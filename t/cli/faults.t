#!/usr/bin/perl
# What a store can do to a client, and what the client makes of it: the right bytes or a failure,
# never the wrong bytes and never for ever.
use v5.36;

use Digest::SHA qw(sha256_hex);
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time);

use S3PVE::Test;

my $PART = 5 << 20;
my $dir = scratch();
$ENV{XDG_STATE_HOME} = "$dir/state";

my $small = join(',', 1 .. 4000);
my $large = join('', map { chr(ord('a') + $_) x $PART } 0 .. 3) . 'the end';
spew("$dir/small", $small);
spew("$dir/large", $large);

my $server = fakes3();
my $bucket = 'faults';

sub run (@args) {
    my $how = ref($args[0]) ? shift(@args) : {};
    return run_cmd(
        $how, 's3pve', @args, '--config', $server->{config}, '--bucket', $bucket,
        '--part-size', 5
    );
}

sub content ($key) {
    my ($status, $out) = run('cat', $key);
    return $status == 0 ? $out : "status $status";
}

# A put under a fault: [name, file, rules, status, further arguments].
my @puts = (
    [
        '503 before the body was read', 'small',
        [{ do => 'status', status => 503, code => 'SlowDown', op => 'PutObject', early => 1 }],
        0
    ],
    [
        'a body that arrived broken', 'small',
        [{ do => 'status', status => 400, code => 'BadDigest', op => 'PutObject' }], 0
    ],
    [
        '... again and again', 'small',
        [{ do => 'status', status => 400, code => 'BadDigest', op => 'PutObject', times => 0 }],
        1
    ],
    [
        'no ETag', 'small',
        [{ do => 'strip', header => 'etag', op => 'PutObject', times => 0 }], 1
    ],
    ['no time', 'small', [{ do => 'hang', op => 'PutObject', times => 0 }], 1, '--timeout', 2],
    [
        'a full store', 'small',
        [{
            do => 'status', status => 507, code => 'XMinioStorageFull', op => 'PutObject',
            times => 0
        }],
        1
    ],

    [
        'a lost Complete and a condition', 'large',
        [{ do => 'lost', op => 'CompleteMultipartUpload' }], 0, '--if-absent'
    ],
    [
        'a Complete with a wrong ETag', 'large',
        [{ do => 'etag', etag => '0' x 32 . '-5', op => 'CompleteMultipartUpload' }], 1
    ],
    [
        'a Complete that is HTML', 'large',
        [{
            do => 'body', text => '<html><body>hello</body></html>',
            op => 'CompleteMultipartUpload'
        }],
        0
    ],
    [
        'a Complete that never answers', 'large',
        [{ do => 'hang', op => 'CompleteMultipartUpload', times => 0 }], 1, '--timeout', 3
    ],
);

run('mb');
for my $case (@puts) {
    my ($what, $file, $rules, $want, @more) = @$case;
    state $n = 0;
    my $key = 'put' . ++$n;

    $server->clear();
    $server->rule(%$_) for @$rules;
    my $began = time();
    my ($status, $out, $err) = run('put', "$dir/$file", $key, @more);
    $server->clear();
    is($status, $want, "put, $what: status $want") or diag($err);
    cmp_ok(time() - $began, '<', 25, '... in time');
    is(sha256_hex(content($key)), sha256_hex(slurp("$dir/$file")), '... and it is there') if !$want;
    is($server->stats()->{uploads}, 0, '... and no upload is left');
}

# --- reading

run('put', "$dir/small", 'small');
run('put', "$dir/large", 'large');

# [name, key, rule, statuses that will do]; with status 0 the content must be right.
my @gets = (
    [
        'one that breaks again and again', 'large',
        { do => 'cut', after => 3_000_000, times => 6 }, 0
    ],
    ['a short body that says so', 'small', { do => 'short', by => 10, times => 0 }, 1],
    ['the wrong range', 'large', { do => 'content-range', by => 1, times => 0 }, 1],
    ['no Content-Range', 'large', { do => 'strip', header => 'content-range', times => 0 }, 1],
    [
        'headers without end', 'small',
        { do => 'headers', count => 5000, size => 100, times => 0 }, 1
    ],
    [
        'a header without end', 'small',
        { do => 'headers', count => 1, size => 500_000, times => 0 },
        1, 0
    ],
    ['a body that stalls', 'large', { do => 'stall', after => 0, times => 0 }, 1],
    [
        'no HTTP', 'small',
        { do => 'raw', text => "220 smtp.example.org ESMTP\r\n", times => 0 }, 1
    ],
    [
        'a negative length', 'small',
        { do => 'raw', text => "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc", times => 0 },
        1
    ],
    [
        'a login page', 'small',
        {
            do => 'raw', times => 0,
            text =>
                "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
        },
        1,
        2
    ],
);
for my $case (@gets) {
    my ($what, $key, $rule, @want) = @$case;
    $server->clear();
    $server->rule(op => 'GetObject', %$rule);
    my $began = time();
    unlink("$dir/got");
    my ($status, $out, $err) = run('get', $key, "$dir/got", '--timeout', 3);
    $server->clear();
    ok((grep { $_ == $status } @want), "get, $what: status @want") or diag("$status $err");
    cmp_ok(time() - $began, '<', 25, '... in time');
    is(sha256_hex(slurp("$dir/got")), sha256_hex(slurp("$dir/$key")), '... and the bytes are right')
        if !$status;
    ok(!-e "$dir/got" && !-e "$dir/got.part", '... and no file is there') if $status;
}

# --- listing, deleting and the rest

my $bomb = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' . join(
    '',
    map { "<!ENTITY $_->[0] \"" . "&$_->[1];" x 10 . '">' }
        (['b', 'a'], ['c', 'b'], ['d', 'c'], ['e', 'd'], ['f', 'e'], ['g', 'f'], ['h', 'g'])
) . ']><ListBucketResult><Contents><Key>&h;</Key><Size>1</Size></Contents></ListBucketResult>';
my $file = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    . '<ListBucketResult><Contents><Key>&x;</Key><Size>1</Size></Contents></ListBucketResult>';
my @lists = (
    ['an XML bomb', { do => 'body', text => $bomb }],
    ['an external entity', { do => 'body', text => $file }],
    ['half a document', { do => 'truncate', after => 150 }],
    ['another document', { do => 'body', text => '<CreateBucketResult/>' }],
    ['an endless document', { do => 'body', size => 30_000_000 }],
    [
        'a truncated page without a token',
        {
            do => 'body',
            text => '<ListBucketResult><IsTruncated>true</IsTruncated>'
                . '<Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>'
        }
    ],
    [
        'a key from elsewhere',
        {
            do => 'body',
            text => '<ListBucketResult><IsTruncated>false</IsTruncated>'
                . '<Contents><Key>../../etc/passwd</Key><Size>1</Size></Contents>'
                . '</ListBucketResult>'
        }
    ],
    [
        'a size that is none',
        {
            do => 'body',
            text => '<ListBucketResult><Contents><Key>small</Key><Size>-1</Size>'
                . '</Contents></ListBucketResult>'
        }
    ],
);
for my $case (@lists) {
    my ($what, $rule) = @$case;
    $server->clear();
    $server->rule(op => 'ListObjectsV2', times => 0, %$rule);
    my $began = time();
    my ($status, $out, $err) = run('ls', '-r', 's', '--timeout', 3);
    $server->clear();
    is($status, 1, "ls, $what: fails") or diag("$out$err");
    unlike($out, qr/root:|\.\.|aaaaa/, '... and shows nothing of it');
    cmp_ok(time() - $began, '<', 25, '... in time');
}

$server->rule(do => 'lost', op => 'DeleteObjects');
is((run('rm', 'put1', 'put2', 'put3'))[0], 0, 'rm, a lost answer');
is(content('put1'), 'status 3', '... and it is gone');
$server->rule(
    do => 'status', status => 403, code => 'AccessDenied', op => 'DeleteObjects',
    times => 0
);
is((run('rm', 'put5', 'put4'))[0], 4, 'rm, refused');
$server->clear();
$server->rule(do => 'error200', op => 'CopyObject', code => 'InternalError', work => 0);
is((run('cp', 'large', 'copy'))[0], 0, 'cp, an error with 200');
is(sha256_hex(content('copy')), sha256_hex($large), '... and the copy is whole');
$server->clear();

# A redirect must not carry our signature to somebody else.
my $other = fakes3();
$server->rule(
    do => 'status', status => 307, code => 'TemporaryRedirect', times => 0,
    location => "$other->{endpoint}/faults/small"
);
isnt((run('cat', 'small'))[0], 0, 'a redirect to another host is not followed');
is($other->count(), 0, '... not even asked');
$server->clear();

# --- servers of all kinds

sub with (%settings) {
    my $before = $server;
    $server = fakes3(map { "$_=$settings{$_}" } sort keys %settings);
    run('mb');
    return $before;
}

for my $case (
    [{ skew => 1200 }, 'a clock twenty minutes ahead'],
    [{ skew => -86400 }, 'a clock a day behind'],
    [{ region => 'eu-west-9' }, 'a region that must match'],
    [{ 'no-list-v2' => 1 }, 'no version 2 of listing'],
    [{ 'ignore-list-v2' => 1 }, 'version 2 of listing ignored'],
    [{ 'no-batch-delete' => 1 }, 'no batch delete'],
    [{ 'random-etags' => 1 }, 'ETags that say nothing'],
    [{ 'max-copy' => 6 << 20 }, 'copies of few bytes'],
    [{ 'max-copy' => 6 << 20, 'no-part-copy' => 1 }, 'copies of few bytes and no part copies'],
    [{ 'equal-parts' => 1 }, 'equal parts', '--provider', 'cloudflare'],
    [{ 'etag-style' => 'quoted' }, 'ETags in quotes'],
    [{ 'etag-style' => 'bare' }, 'bare ETags'],
    [{ 'max-keys' => 3 }, 'pages of three keys'],
    [{ 'create-again' => 0 }, 'no second creation'],
) {
    my ($settings, $what, @more) = @$case;
    my $before = with(%$settings);
    is((run('mb'))[0], 0, "$what: mb again");
    is((run('put', "$dir/large", 'k/large', @more))[0], 0, "$what: put");
    is((run('put', "$dir/small", 'k/small', '--if-absent'))[0], 0, '... put if absent');
    is((run('put', "$dir/small", 'k/small', '--if-absent'))[0], 5, '... once');
    run({ stdin => $_ }, 'put', '-', "k/$_") for 1 .. 5;
    is((run('ls', '-r'))[1], join('', map { "k/$_\n" } 1 .. 5, 'large', 'small'), '... ls');
    is((run('cp', 'k/large', 'k2'))[0], 0, '... cp');
    is(sha256_hex(content('k2')), sha256_hex($large), '... whole');
    is((run('rm', '-r', 'k', '--yes'))[0], 0, '... rm');
    is((run('ls', '-r'))[1], "k2\n", '... all of it');
    $server = $before;
}

{
    my $before = with(conditions => 'off');
    run('put', "$dir/small", 'there');
    is(
        (run('put', "$dir/large", 'there', '--if-absent'))[0], 5,
        'a server that ignores conditions: looked at before'
    );
    $server = $before;
}

# A reader that stands still for longer than the timeout, while ranges are under way.
{
    my $megs = 72;
    spew("$dir/long", 'abcdefgh' x ($megs << 17));
    run('put', "$dir/long", 'long');
    $server->rule(op => 'GetObject', do => 'delay', delay => 0.1, times => 0);
    my $reader = q{my $n = 0; my @at = (38, 60);
        while (my $got = sysread(STDIN, my $bytes, 1 << 20)) {
            $n += $got;
            sleep(3), shift(@at) if @at && $n > $at[0] << 20;
        }
        print $n >> 20};
    my ($status, $out, $err) = run_cmd(
        'sh', '-c',
        "s3pve cat long -t 1 -c $server->{config} -b $bucket | perl -e '$reader'"
    );
    is($out, $megs, 'a reader that stands still gets all of it') or diag($err);
    $server->clear();
}

done_testing();
