#!/usr/bin/perl
# What goes in is checked, what comes out is one line and an object.
use v5.36;

use POSIX ();
use Test::More;

use S3PVE;

my %settings = (
    endpoint => 'http://127.0.0.1:1',
    bucket => 'bucket',
    'access-key' => 'AK',
    'secret-key' => 'very-secret',
);

my sub with (%more) { return { %settings, %more } }

my sub error_of ($code) {
    eval { $code->(); 1 } and return '';
    return $@;
}

like(S3PVE::version(), qr/^\d+\.\d+\.\d+/, 'the library has a version');
is($S3PVE::VERSION, S3PVE::version(), 'and the module has the same');

my @providers = S3PVE::providers();
cmp_ok(scalar(@providers), '>=', 13, 'there are presets for providers');
is_deeply(
    [sort keys $providers[0]->%*],
    [qw(addressing endpoint equal_parts max_parts name part_copy region title)],
    'with all that is known of them'
);

# --- opening

my $client = S3PVE::Client->open(\%settings);
isa_ok($client, 'S3PVE::Client');
is($client->setting('endpoint'), 'http://127.0.0.1:1', 'a setting can be asked for');
is($client->setting('connections'), '16', 'defaults included');
is($client->setting('secret-key'), '', 'but not the secret');
ok(S3PVE::Client->open({ %settings, region => undef }), 'an undefined setting is left out');

for my $case (
    [with(bucket => 'No_Good'), qr/^bucket 'No_Good': only lower-case letters/],
    [with(colour => 'blue'), qr/^option 'colour': there is no option/],
    [with(bucket => undef), qr/^bucket: missing$/],
    [with(bucket => "buck\0et"), qr/^bucket has a zero byte in it$/],
    [with(bucket => ['bucket']), qr/^bucket must be a string$/],
    ['endpoint', qr/settings must be a hash reference$/],
    [undef, qr/settings must be a hash reference$/],
) {
    my ($settings, $expected) = $case->@*;
    my $err = error_of(sub { S3PVE::Client->open($settings) });
    like($err, $expected, "refused: " . "$err" =~ s/\n//r);
    is(ref($err), 'S3PVE::Error', '... with an object');
    is($err->{code}, 'INVALID', '... a code');
    unlike($err, qr/very-secret/, '... and without the secret');
}

# --- an error

my $err = error_of(sub { $client->head('key', timeout_ms => 300, max_attempts => 1) });
is(ref($err), 'S3PVE::Error', 'a failure is an object');
like("$err", qr/\A[^\n]+\n\z/, 'reads as one line');
is($err->{message} . "\n", "$err", 'which is its message');
ok($err->{code} =~ m/^[A-Z_]+$/ && $err->{errno} > 0, 'with a code and an errno');
is($err->{http_status}, 0, 'no status where nobody answered');
ok(exists($err->{s3_code}) && exists($err->{request_id}), 'and places for what the store says');
ok($err, 'it is true');
ok(!S3PVE::is_not_found($err), 'and can be told apart');
ok(!S3PVE::is_not_found($_), 'from anything') for 'text', undef, {}, bless({}, 'X');
ok(S3PVE::is_code(bless({ code => 'NO_BUCKET' }, 'S3PVE::Error'), 'NO_BUCKET'), 'by its code');

# --- arguments

for my $case (
    ['a key that is no string', sub { $client->head(['key']) }, qr/key must be a string/],
    ['no key', sub { $client->head(undef) }, qr/key must be a string/],
    ['a key with a zero byte', sub { $client->head("a\0b") }, qr/key has a zero byte/],
    ['an empty key', sub { $client->head('') }, qr/key/],
    ['data with wide characters', sub { $client->put('k', "\x{20ac}") }, qr/wide characters/],
    ['no data', sub { $client->put('k', undef) }, qr/data must be a string/],
    ['an unknown option', sub { $client->head('k', limit => 1) }, qr/no option 'limit' here/],
    ['half an option', sub { $client->head('k', 'timeout_ms') }, qr/in pairs/],
    ['a negative timeout', sub { $client->head('k', timeout_ms => -1) }, qr/must be a number/],
    [
        'a timeout in words', sub { $client->head('k', timeout_ms => 'soon') },
        qr/must be a number/
    ],
    [
        'keys that are no list', sub { $client->delete_many('k') },
        qr/must be an array reference/
    ],
    ['a key among keys', sub { $client->delete_many(['k', undef]) }, qr/key must be a string/],
    ['a lifetime in words', sub { $client->presign('k', 'long') }, qr/must be a number/],
    ['a descriptor in words', sub { $client->put_file('k', 'file') }, qr/must be a number/],
) {
    my ($what, $code, $expected) = $case->@*;
    my $error = error_of($code);
    like($error, $expected, "$what is refused");
    is(eval { $error->{code} }, 'INVALID', '... as an invalid request');
}

for my $case (
    ['no object', sub { S3PVE::Client::head('x', 'k') }],
    ['another object', sub { S3PVE::Client::head(bless({}, 'X'), 'k') }],
    [
        'a forged object',
        sub { S3PVE::Client::head(bless(\(my $x = ''), 'S3PVE::Client'), 'k') }
    ],
) {
    my ($what, $code) = $case->@*;
    like(error_of($code), qr/not a S3PVE::Client/, "$what is refused");
}

$client->close();
like(error_of(sub { $client->head('k') }), qr/the client is closed/, 'a closed client is closed');
undef($client);
pass('and can be dropped');

done_testing();
