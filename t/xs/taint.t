#!/usr/bin/perl
# Under -T, what comes out of the library can be used to open, unlink and run, whatever went in.
use v5.36;

use FindBin qw($RealBin);
use Scalar::Util qw(tainted);
use Test::More;

use S3PVE;

if (!${^TAINT}) {
    require S3PVE::Test;
    my $fake = S3PVE::Test::fakes3();
    my @cmd = ($^X, '-T', (map { "-I$_" } @INC), $0);
    exit(system(@cmd, $fake->@{qw(endpoint access_key secret_key)}) == 0 ? 0 : 1);
}

# The number of tainted values in a structure.
my sub n_tainted ($value) {
    my $ref = ref($value);
    my $n = 0;
    for my $part ($ref eq '' ? () : $ref eq 'ARRAY' ? $value->@* : values $value->%*) {
        $n += __SUB__->($part);
    }
    return $n + (tainted($value) ? 1 : 0);
}

my ($endpoint, $access_key, $secret_key) = @ARGV;
ok(tainted($endpoint) && tainted($secret_key), 'arguments are tainted');
my $taint = substr($endpoint, 0, 0);
is(n_tainted([{ a => "x$taint" }, 'b']), 1, 'and taint is found wherever it is');

my $client = S3PVE::Client->open({
    endpoint => $endpoint,
    bucket => "xs-taint$taint",
    'access-key' => $access_key,
    'secret-key' => $secret_key,
});
my $key = "key$taint";

# All in one statement each, as that is how far taint spreads.
$client->bucket_create();
my @results = (
    setting => $client->setting("endpoint$taint"),
    put => $client->put($key, "data$taint"),
    head => $client->head($key),
    get => $client->get($key),
    list => $client->list("k$taint", undef, undef),
    copy => $client->copy($key, "key2$taint"),
    presign => $client->presign($key, 60),
    sweep => $client->sweep("x$taint", 0),
    usage => $client->bucket_usage(timeout_ms => "5000$taint"),
    location => $client->bucket_location(timeout_ms => "5000$taint"),
    counters => $client->counters(),
    probe => $client->probe(timeout_ms => "60000$taint"),
    error => (eval { $client->head("none$taint") } // $@),
);
while (my ($method, $result) = splice(@results, 0, 2)) {
    is(n_tainted($result), 0, "$method is not tainted");
}

my $size = $client->head($key)->{size};
delete local @ENV{qw(PATH IFS CDPATH ENV BASH_ENV)};
is(system("/usr/bin/test $size = 4"), 0, 'a size goes into a command');

done_testing();
