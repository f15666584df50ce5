#!/usr/bin/perl
# Every method against a server.
use v5.36;
use utf8;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE;
use S3PVE::Test;

binmode(Test::More->builder->$_(), ':encoding(UTF-8)') for qw(output failure_output);

my $fake = fakes3();
my sub client (%more) {
    return S3PVE::Client->open({
        endpoint => $fake->{endpoint},
        bucket => 'xs-client',
        'access-key' => $fake->{access_key},
        'secret-key' => $fake->{secret_key},
        %more,
    });
}

my sub error_of ($code) {
    eval { $code->(); 1 } and return '';
    return $@;
}

my $client = client();

# --- bucket

my $err = error_of(sub { $client->bucket_check(timeout_ms => 5000) });
is($err->{code}, 'NO_BUCKET', 'a missing bucket is told from a missing object');
is($err->{http_status}, 404, 'with the status');
is($err->{s3_code}, 'NoSuchBucket', 'the code of S3');
ok($err->{request_id} ne '', 'and the id of the request');

$client->bucket_create();
is(error_of(sub { $client->bucket_check() }), '', 'a created bucket is there');
is($client->bucket_location(), 'us-east-1', 'somewhere');

my $denied = error_of(sub { client('secret-key' => 'wrong')->bucket_check() });
is($denied->{code}, 'DENIED', 'a wrong key is denied');

# --- objects

my $data = join('', map { chr } 0 .. 255) x 10;
my $info = $client->put('dir/a key+ü', $data, content_type => 'text/x-test');
is($info->{size}, 2560, 'an object is put');
is($client->get('dir/a key+ü'), $data, 'and got, byte by byte');
$info = $client->head('dir/a key+ü');
is($info->{size}, 2560, 'head tells the size');
is($info->{content_type}, 'text/x-test', 'the type');
cmp_ok(abs($info->{mtime} - time()), '<', 60, 'and the time');

$err = error_of(sub { $client->get('dir/a key+ü', limit => 100) });
is($err->{code}, 'CORRUPT', 'more than one asked for is an error');
ok(S3PVE::is_not_found(error_of(sub { $client->head('none') })), 'a missing object is an answer');

$client->put('once', 'one', if_absent => 1);
is(
    error_of(sub { $client->put('once', 'two', if_absent => 1) })->{code}, 'CONFLICT',
    'a conditional put does not replace'
);
is($client->get('once'), 'one', 'what is there');
$client->put('once', 'two', if_match => $client->head('once')->{etag});
is($client->get('once'), 'two', 'unless it is what one thinks');
is($client->put('latin', "\xfc")->{size}, 1, 'data are bytes');
my $upgraded = "\xfc";
utf8::upgrade($upgraded);
is($client->put('latin', $upgraded)->{size}, 1, 'however Perl keeps them');

$client->copy('once', 'twice');
is($client->get('twice'), 'two', 'a copy is the same');

# --- files

my $scratch = scratch();
my $big = pack('N*', 0 .. (9 << 18) - 1); # 9 MiB, in two parts
open(my $fh, '<', spew("$scratch/in", $big)) or die;
$info = $client->put_file('big', fileno($fh), timeout_ms => 60000);
is($info->{size}, length($big), 'a file is sent');
open($fh, '+>', "$scratch/out") or die;
$client->get_file('big', fileno($fh));
ok(slurp("$scratch/out") eq $big, 'and comes back');
open($fh, '+>', "$scratch/out") or die;
$client->get_file('big', fileno($fh), offset => 4096, length => 8192);
ok(slurp("$scratch/out") eq substr($big, 4096, 8192), 'also a piece of it');
ok(error_of(sub { $client->put_file('bad', 999) }), 'a descriptor that is none');
ok(S3PVE::is_not_found(error_of(sub { $client->head('bad') })), 'leaves nothing behind');

# --- listing

$client->put("list/$_", $_) for 'a', 'b', 'ü', 'sub/c', 'sub/d';
my $keys = sub {
    return [map { $_->{key} } $client->list(@_)->@*];
};
is_deeply(
    $keys->('list/', undef, undef),
    ['list/a', 'list/b', 'list/sub/c', 'list/sub/d', 'list/ü'], 'a flat listing'
);
is_deeply($keys->('list/', '/', undef), ['list/a', 'list/b', 'list/sub/', 'list/ü'], 'one level');
is_deeply($keys->('list/', undef, 'list/sub/c'), ['list/sub/d', 'list/ü'], 'from somewhere on');
is_deeply($keys->('list/', undef, undef, limit => 2), ['list/a', 'list/b'], 'the first few');
is_deeply($keys->('none/', undef, undef), [], 'nothing is an empty list');
my ($dir) = grep { $_->{is_prefix} } $client->list('list/', '/', undef)->@*;
is($dir->{key}, 'list/sub/', 'a prefix is marked');
is($client->list('list/a', undef, undef)->[0]->{size}, 1, 'a key has a size');

my $usage = $client->bucket_usage();
cmp_ok($usage->{objects}, '>=', 10, 'use is counted in objects');
cmp_ok($usage->{bytes}, '>', length($big), 'and in bytes');

# --- the rest

like(
    $client->presign('once', 60), qr/^\Q$fake->{endpoint}\E.*X-Amz-Signature=[0-9a-f]{64}/,
    'a URL'
);
is($client->sweep('', 0), 0, 'no upload was left behind');

my $caps = $client->probe(timeout_ms => 60000);
like($caps, qr/^\{.*\}$/, 'what the server can do is a line of JSON');
is(error_of(sub { $client->use_caps($caps) }), '', 'to be used later');
ok(error_of(sub { $client->use_caps('{') }), 'if it is JSON');

$client->delete('once');
ok(S3PVE::is_not_found(error_of(sub { $client->head('once') })), 'a deleted object is gone');
is(error_of(sub { $client->delete('once') }), '', 'deleting it again is fine');
$client->delete_many([map { "list/$_" } 'a', 'b', 'ü', 'sub/c', 'sub/d']);
is_deeply($keys->('list/', undef, undef), [], 'many are deleted at once');
is(error_of(sub { $client->delete_many([]) }), '', 'or none');

my $counters = $client->counters();
cmp_ok($counters->{put}, '>', 5, 'requests are counted');
cmp_ok($counters->{bytes_sent}, '>', length($big), 'and bytes');

my @warnings = grep { !m/probe/ } $client->warnings(); # a probe wants to be refused
is(scalar(@warnings), 1, 'of all this one call left a line') or diag(@warnings);
like($warnings[0], qr/^ListObjectsV2 .*NoSuchBucket.*status 404.*request \S+/, 'the first');
is_deeply([$client->warnings()], [], 'which is told once');
$fake->rule(do => 'status', status => 500, op => 'HeadObject', times => 0);
for (1 .. 20) {
    eval { $client->head('big', max_attempts => 1) };
}
@warnings = $client->warnings();
is($warnings[-1], '4 more', 'many of them are counted');
is(scalar(@warnings), 17, 'and the first ones kept');

done_testing();
