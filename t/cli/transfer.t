#!/usr/bin/perl
# What goes in comes out: sizes around a part, names of every kind, files and pipes.
use v5.36;

use Digest::SHA qw(sha256_hex);
use Encode qw(encode_utf8);
use HTTP::Tiny;
use JSON::PP qw(decode_json);
use Test::More;
use utf8;

use S3PVE::Test;

my $PART = 5 << 20;
my $dir = scratch();
$ENV{XDG_STATE_HOME} = "$dir/state";

# Not all zeroes, and no two parts alike.
sub data ($size, $seed = 1) {
    my $block = join('', map { pack('N', $_ * 2654435761 + $seed & 0xffffffff) } 1 .. 16384);
    my $data = $block x int($size / length($block) + 1);
    substr($data, $_ * $PART, 8, sprintf('%08d', $_)) for 0 .. int($size / $PART);
    return substr($data, 0, $size);
}

sub sizes ($server, $bucket, $name) {
    my $run = sub (@args) { return s3pve($server, $bucket, @args) };
    my %sizes = (
        0 => 'nothing', 1 => 'a byte', $PART - 1 => 'a byte less than a part',
        $PART => 'a part',
        $PART + 1 => 'a byte more than a part', 3 * $PART + 12345 => 'some parts',
    );
    for my $size (sort { $a <=> $b } keys %sizes) {
        my $what = "$name: $sizes{$size}";
        my $data = data($size);
        my $file = spew("$dir/in", $data);
        my @part = ('--part-size', 5);

        my ($status, $out, $err) = $run->('put', $file, "f/$size", @part);
        is("$status$out$err", '0', "$what: put, in silence");
        ($status) = $run->({ stdin => $data }, 'put', '-', "p/$size", @part);
        is($status, 0, "$what: put from a pipe");
        ($status, $out) = $run->('cat', "f/$size");
        is(sha256_hex($out), sha256_hex($data), "$what: cat");
        ($status) = $run->('get', "p/$size", "$dir/out");
        is(sha256_hex(slurp("$dir/out")), sha256_hex($data), "$what: get");
        ok(!-e "$dir/out.part", "$what: ... leaves no .part");
        my $head = decode_json(($run->('head', "f/$size", '--json'))[1]);
        is($head->{size}, $size, "$what: head knows the size");
    }
    return;
}

sub ranges ($run, $name) {
    my $data = data(2 * $PART + 77);
    $run->({ stdin => $data }, 'put', '-', 'ranges', '--part-size', 5);
    for my $case (
        ['0-0', 0, 1], ['1-3', 1, 3], ["$PART-", $PART, $PART + 77], ['-5', 2 * $PART + 72, 5],
        [($PART - 2) . '-' . ($PART + 1), $PART - 2, 4],
        ['-999999999', 0, 2 * $PART + 77],
    ) {
        my ($range, $first, $len) = @$case;
        my ($status, $out) = $run->('cat', '--range', $range, 'ranges');
        is($status, 0, "$name: cat --range $range");
        is(sha256_hex($out), sha256_hex(substr($data, $first, $len)), '... gives just that');
    }
    my $size = length($data);
    for my $range ("$size-", "$size-" . ($size + 5), '999999999-') {
        my ($status, $out, $err) = $run->('cat', '--range', $range, 'ranges');
        is($status, 2, "$name: cat --range $range fails");
        like($err, qr/ranges has $size bytes/, '... and says how many there are');
    }
    is(($run->('cat', '--range', $_, 'ranges'))[0], 2, "$name: no range: $_")
        for qw(5-3 x -0 - 1-2-3 -), '';
    return;
}

sub names ($run, $name) {
    my @names = map { encode_utf8("n/$_") } (
        'plain', 'with space', ' leading', 'a+b', '100%', 'a%20b', 'a&b=c?d#e', q{quo"te's},
        'ümläut', '日本語', 'deep/er/key', '~()!*', 'x=y;z,w', '-dash', 'a:b@c',
    );
    is(($run->({ stdin => 'x' }, 'put', '-', "tab\there"))[0], 2, "$name: no control characters");
    for my $key (@names) {
        my ($status, undef, $err) = $run->({ stdin => $key }, 'put', '-', '--', $key);
        is($status, 0, "$name: put '$key'") or diag($err);
        is(($run->('cat', '--', $key))[1], $key, '... comes back');
    }
    my ($status, $out) = $run->('ls', '-r', 'n/');
    is_deeply([split(/\n/, $out)], [sort @names], "$name: ls -r shows them all, in byte order");
    my @json = map { decode_json($_) } split(/\n/, ($run->('ls', '-r', 'n/', '--json'))[1]);
    is_deeply([map { encode_utf8($_->{key}) } @json], [sort @names], '... and so does --json');
    is(
        scalar(grep { $_->{size} && $_->{mtime} && $_->{etag} } @json), scalar(@names),
        '... in full'
    );

    ($status, $out) = $run->('ls', 'n/de');
    is($out, "n/deep/\n", "$name: ls stops at a slash");
    ($status, $out) = $run->('ls', '-l', 'n/pl');
    like($out, qr/^\s+7  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  n\/plain\n\z/, "$name: ls -l");
    is(($run->('ls', 'nothing/there'))[0], 3, "$name: ls of nothing is status 3");
    ($status, $out) = $run->('du', 'n/', '--json');
    is(decode_json($out)->{objects}, scalar(@names), "$name: du counts");

    ($status, $out) = $run->('presign', encode_utf8('n/ümläut'));
    my $said = HTTP::Tiny->new()->get($out =~ s/\n\z//r);
    is($said->{content}, encode_utf8('n/ümläut'), "$name: a presigned URL gets the object");

    is(($run->('cp', $names[3], 'n2/'))[0], 0, "$name: cp into a folder");
    is(($run->('cat', "n2/a+b"))[1], $names[3], '... copies');
    is(($run->('rm', @names[0 .. 2]))[0], 0, "$name: rm of several keys");
    is(($run->('rm', $names[0]))[0], 0, '... and of one that is gone');
    is(($run->('rm', '-r', 'n'))[0], 2, "$name: rm -r asks somebody");
    is(($run->('rm', '-r', 'n', '--yes'))[0], 0, '... or is told');
    is(
        ($run->('ls', '-r'))[1] =~ s/^(?:f|p)\/.*\n|^ranges\n//gmr, "n2/a+b\n",
        '... and takes nothing beside it'
    );
    return;
}

sub metadata ($run, $name) {
    my ($status, $out) = $run->(
        { stdin => 'x' }, 'put', '-', 'meta', '--content-type', 'text/x-test', '-m', 'Owner=me',
        '-m', 'note=two words', '--tags', 'a=1&b=2%203', '--json',
    );
    is($status, 0, "$name: put with metadata") or diag($out);
    my $head = decode_json(($run->('head', 'meta', '--json'))[1]);
    is($head->{content_type}, 'text/x-test', '... type');
    is_deeply($head->{meta}, { owner => 'me', note => 'two words' }, '... and metadata are kept');
    is(($run->('tags', 'meta'))[1], "a=1&b=2%203\n", '... and tags');
    $run->('tags', 'meta', 'c=4');
    is(($run->('tags', 'meta'))[1], "c=4\n", '... which can be replaced');
    $run->('cp', 'meta', 'meta2');
    is(
        decode_json(($run->('head', 'meta2', '--json'))[1])->{meta}{owner}, 'me',
        'cp takes it along'
    );
    $run->('rm', 'meta', 'meta2');
    return;
}

sub exit_codes ($server, $bucket, $name) {
    my $run = sub (@args) { return s3pve($server, $bucket, @args) };
    for my $verb (qw(cat get head)) {
        my ($status, $out, $err) = $run->($verb, 'not/there', $verb eq 'get' ? "$dir/none" : ());
        is($status, 3, "$name: $verb of nothing is status 3");
        like($err, qr/^s3pve: $verb: [^\n]*not\/there[^\n]*\n\z/, '... in one line that names it');
    }
    ok(!-e "$dir/none" && !-e "$dir/none.part", '... and no file is left');
    is((s3pve($server, 'no-such-bucket-here', 'ls'))[0], 3, "$name: no bucket is status 3");
    my $error = decode_json(($run->('cat', 'not/there', '--json'))[2]);
    is($error->{code}, 'NOT_FOUND', "$name: a JSON error has the library's code");
    is($error->{http_status}, 404, '... and the HTTP status');

    $run->({ stdin => 'one' }, 'put', '-', 'once');
    is(
        ($run->({ stdin => 'two' }, 'put', '-', 'once', '--if-absent'))[0], 5,
        "$name: --if-absent on what exists is status 5"
    );
    is(($run->('cat', 'once'))[1], 'one', '... and it stays as it was');
    is(($run->({ stdin => 'x' }, 'put', '-', 'new', '--if-absent'))[0], 0, '... else it is fine');
    is(($run->('cat', 'once', 'not/there', 'new'))[1], 'onex', 'a missing one stops no other');

    my $bad =
        spew("$dir/bad", slurp($server->{config}) =~ s/^secret-key = .*$/secret-key = WRONG/mr);
    my ($status, undef, $err) = run_cmd('s3pve', '-c', $bad, '-b', $bucket, 'ls');
    is($status, 4, "$name: a wrong key is status 4");
    unlike($err, qr/WRONG/, '... and is not repeated');
    return;
}

for my $which (qw(fakes3 rgw)) {
    my $server = $which eq 'fakes3' ? fakes3() : rgw();
    my $bucket = "cli-$$-$which";
    my $run = sub (@args) { return s3pve($server, $bucket, @args) };

    is(($run->('mb'))[0], 0, "$which: mb makes the bucket");
    is(($run->('mb'))[0], 0, '... and is content with its own');
    sizes($server, $bucket, $which);
    ranges($run, $which);
    metadata($run, $which);
    names($run, $which);
    exit_codes($server, $bucket, $which);

    my ($status, $out) = $run->('status', '--json');
    is($status, 0, "$which: status");
    ok(decode_json($out)->{online}, '... says online');
    my $caps = decode_json(($run->('probe', '--json'))[1]);
    is($caps->{range}, 'yes', "$which: probe sees ranges") or diag(explain($caps));
    like(($run->('probe'))[1], qr/read ranges +yes/, '... and says so in words');
    is(
        scalar(my @kept = glob("$dir/state/s3pve/probe-*")), $which eq 'fakes3' ? 1 : 2,
        '... and keeps it'
    );
    is(($run->({ stdin => 'x' }, 'put', '-', 'probed', '--if-absent'))[0], 0, '... for later runs');
}

is(
    (run_cmd(
        's3pve', '-e', 'http://127.0.0.1:1', '-b', 'b-b', '--credentials', 'anonymous', '-t', 1,
        'ls'
    ))[0],
    1,
    'a store that is not there is status 1'
);

done_testing();
