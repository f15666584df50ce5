#!/usr/bin/perl
# What becomes of each operation when the store, or the way there, misbehaves.  The command line is
# the client, since it does no more than call the library.
use v5.36;

use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE::Test;

my $fake = fakes3();
my $scratch = scratch();
my $small = spew("$scratch/small", join(' ', 1 .. 1000));
my $big = spew("$scratch/big", join('', map { pack('N', $_) x 1024 } 1 .. 3072))
    ; # 3 parts, the last of 2 MiB
my ($OK, $FAILED, $USAGE, $MISSING, $DENIED, $CONFLICT) = 0 .. 5;

my sub run (@args) {
    return s3pve($fake, 'faults', { timeout => 60 }, @args);
}

my sub fetch ($key) {
    unlink("$scratch/back");
    my ($code, undef, $err) = run('get', $key, "$scratch/back");
    die "get $key: $err" if $code;
    return slurp("$scratch/back");
}

# Each: a name, the operation on the wire, what to run, and what must be so afterwards.
my @put_big = ('put', '--part-size', 5, $big, 'new');
my $new_is_big = sub (@) { fetch('new') eq slurp($big) };
my $operations = [
    ['put', 'PutObject', ['put', $small, 'new'], sub (@) { fetch('new') eq slurp($small) }],
    ['begin of an upload', 'CreateMultipartUpload', \@put_big, $new_is_big],
    ['part of an upload', 'UploadPart', \@put_big, $new_is_big],
    ['end of an upload', 'CompleteMultipartUpload', \@put_big, $new_is_big],
    [
        'get', 'GetObject', ['get', 'big', "$scratch/got"],
        sub (@) { slurp("$scratch/got") eq slurp($big) }
    ],
    ['list', 'ListObjectsV2', ['ls', '-r'], sub ($out) { $out eq "big\ngone\nsmall\n" }],
    ['head', 'HeadObject', ['head', 'small'], sub ($out) { $out =~ m/\b3892\b/ }],
    ['copy', 'CopyObject', ['cp', 'big', 'new'], $new_is_big],
    [
        'removal', 'DeleteObject', ['rm', 'gone'],
        sub (@) { (run('head', 'gone'))[0] == $MISSING }
    ],
];

my sub begin () {
    $fake->clear();
    run('rm', 'new');
    run('put', $small, 'gone');
    run('sweep', '--older', '0s');
    unlink("$scratch/got");
    $fake->forget();
    return;
}

# Under this fault the operation ends with that code, in time, and leaves no parts behind.
# Returns how many such requests were sent.
my sub outcome ($what, $operation, $expected, $fault, @more) {
    my ($name, $op, $do, $check) = @$operation;
    begin();
    $fake->rule(op => $op, %$fault);
    my $since = time();
    my ($code, $out, $err) = run(@$do, @more);
    my $seconds = time() - $since;
    my $n = $fake->count($op);
    $fake->clear();
    is($code, $expected, "$name, $what: " . ($expected ? "fails with $expected" : 'succeeds'))
        or diag($err);
    cmp_ok($seconds, '<', 12, '... in time');
    ok($check->($out), '... and what it did is right') if $expected == $OK && $code == $OK;
    return $n;
}

my sub no_parts_left () {
    is($fake->stats()->{uploads}, 0, '... and left no parts behind');
    return;
}

is((run('mb'))[0], $OK, 'a bucket is made');
is((run('put', $small, 'small'))[0], $OK, 'a small object is put');
is((run('put', '--part-size', 5, $big, 'big'))[0], $OK, 'a large one too');

# --- what passes
for my $operation (@$operations) {
    my $n = outcome('503 SlowDown twice', $operation, $OK, { do => 'status', times => 2 });
    cmp_ok($n, '>=', 3, '... asked a third time');
    outcome(
        '500 once', $operation, $OK,
        { do => 'status', status => 500, code => 'InternalError' }
    );
    outcome('connection reset twice', $operation, $OK, { do => 'reset', times => 2 });
    outcome('not HTTP', $operation, $OK, { do => 'raw', text => "SSH-2.0-hello\r\n\r\n" });
    outcome('200 huge headers', $operation, $OK, { do => 'headers', count => 60, size => 4000 });
    no_parts_left();
    outcome('answer lost', $operation, $OK, { do => 'lost' });
    next if $operation->[1] eq 'CreateMultipartUpload'; # its id was lost with the answer
    no_parts_left();
}
outcome('answer lost', $operations->[1], $OK, { do => 'lost' });
is($fake->stats()->{uploads}, 1, '... one upload is left whose id nobody heard');
run('sweep', '--older', '0s');
no_parts_left();

# --- what stays
for my $operation (@$operations) {
    my $denied = { do => 'status', status => 403, code => 'AccessDenied', times => 0 };
    my $n = outcome('denied', $operation, $DENIED, $denied);
    cmp_ok($n, '<=', 3, '... without asking again');
    no_parts_left();
    outcome('no answer ever', $operation, $FAILED, { do => 'hang', times => 0 }, '--timeout', 2);
}

# --- a limit: the parts take turns, and the last, which is the smallest, is there first
begin();
is((run(@put_big, '--upload-limit', 6))[0], $OK, 'a limited upload');
my %done = map { $_->{length} => $_->{done} } $fake->log('UploadPart');
cmp_ok($done{ 2 << 20 }, '<', $done{ 5 << 20 }, '... holds up no part for the sake of another');

# --- answers that lie
my ($put, undef, $part, $complete, $get, $list, undef, $copy) = @$operations;
for my $operation ($complete, $copy) {
    my $late = { do => 'error200', code => 'InternalError', spaces => 50 };
    outcome('an error after 200, work done', $operation, $OK, $late);
    outcome('an error after 200, work not done', $operation, $OK, { %$late, work => 0 });
    outcome('denied after 200', $operation, $DENIED, { %$late, code => 'AccessDenied', work => 0 });
    no_parts_left();
    outcome('an answer cut short', $operation, $OK, { do => 'truncate', after => 30 });
}
outcome(
    'broken XML', $list, $FAILED,
    { do => 'body', text => '<ListBucketResult><Contents><Key>' }
);
outcome(
    'XML of entities',
    $list, $FAILED,
    {
        do => 'body', times => 0,
        text =>
            '<!DOCTYPE a [<!ENTITY b "cc">]><ListBucketResult><Prefix>&b;</Prefix></ListBucketResult>',
    },
    '--timeout',
    3
);
outcome('the body ends too early', $get, $OK, { do => 'truncate', after => 100_000, times => 2 });
outcome('the body ends with RST', $get, $OK, { do => 'cut', after => 100_000, times => 2 });
outcome('the body is short and Content-Length agrees', $get, $OK, { do => 'short', by => 1000 });
outcome('Content-Range is another', $get, $FAILED, { do => 'content-range', by => 100 });
outcome('Range is ignored', $get, $OK, { do => 'ignore', header => 'range', times => 0 });
outcome('no ETag', $get, $OK, { do => 'strip', header => 'etag', times => 0 });
outcome('another ETag', $part, $FAILED, { do => 'etag', times => 0 });
no_parts_left();

# --- a store that is special
my sub with_settings ($what, $operation, %settings) {
    my %usual = (
        region => '', skew => 0, 'no-list-v2' => 0, 'ignore-list-v2' => 0,
        'no-batch-delete' => 0,
        'max-keys' => 1000, 'random-etags' => 0, 'complete-again' => 0
    );
    begin();
    $fake->set(%settings);
    my ($code, $out, $err) = run($operation->[2]->@*);
    ok($code == $OK && $operation->[3]->($out), "$operation->[0], $what")
        or diag("exit $code: $err");
    $fake->set(map { $_ => $usual{$_} } keys %settings);
    return;
}
for my $operation ($put, $complete, $get, $list, $copy) {
    with_settings('a clock 20 minutes ahead', $operation, skew => 1200);
    with_settings('a clock an hour behind', $operation, skew => -3600);
    with_settings('a region of its own', $operation, region => 'garage');
}
with_settings('no ListObjectsV2', $list, 'no-list-v2' => 1);
with_settings('ListObjectsV2 answered as version 1', $list, 'ignore-list-v2' => 1);
with_settings('pages of one key', $list, 'max-keys' => 1);
with_settings('ETags that say nothing', $complete, 'random-etags' => 1);
begin();
$fake->set('no-batch-delete' => 1);
$fake->fill(bucket => 'faults', prefix => 'many/', count => 30);
is((run('rm', '-r', '--yes', 'many'))[0], $OK, 'no DeleteObjects: a tree is removed one by one');
is((run('ls', '-r'))[1], "big\ngone\nsmall\n", '... and nothing else');
$fake->set('no-batch-delete' => 0);

# --- conditions
begin();
is((run('put', '--if-absent', $small, 'small'))[0], $CONFLICT, 'a key that exists is a conflict');
begin();
$fake->rule(op => 'PutObject', do => 'lost');
is(
    (run('put', '--if-absent', $small, 'new'))[0], $OK,
    'our own write whose answer was lost is none'
);
is(fetch('new'), slurp($small), '... and it is there');

# --- a storm
begin();
$fake->rule(do => 'status', p => 0.2, times => 0);
is(
    (run('put', '--part-size', 5, $big, 'new'))[0], $OK,
    'one request in five refused: a large put succeeds'
);
$fake->clear();
ok($new_is_big->(), '... and what it did is right');
no_parts_left();

done_testing();
