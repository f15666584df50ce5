package FakeS3::Sig;

# Signature Version 4 as a server checks it, written from Amazon's description and not from the
# library's code: a mistake has to be made twice to go unnoticed.
use v5.36;
use re '/a'; # bytes: \s and \w are ASCII

use Digest::SHA qw(hmac_sha256 hmac_sha256_hex sha256_hex);
use POSIX qw(strftime);
use Time::Local qw(timegm);

my $MAX_SKEW = 15 * 60;

sub decode ($text) {
    return $text =~ s/%([0-9A-Fa-f]{2})/chr(hex($1))/ger;
}

sub encode ($text, $keep = '') {
    return $text =~ s/([^A-Za-z0-9\-._~$keep])/sprintf('%%%02X', ord($1))/ger;
}

sub query_pairs ($query) {
    return map {
        my ($name, $value) = split(/=/, $_, 2);
        [decode($name), decode($value // '')]
    } grep { length } split(/&/, $query);
}

my sub canonical_query (@pairs) {
    my @encoded = map { [encode($_->[0]), encode($_->[1])] } @pairs;
    my @sorted = sort { $a->[0] cmp $b->[0] || $a->[1] cmp $b->[1] } @encoded;
    return join('&', map { "$_->[0]=$_->[1]" } @sorted);
}

my sub canonical_headers ($req, @names) {
    return join('', map { "$_:" . ($req->{headers}->{$_} =~ s/ +/ /gr) . "\n" } @names);
}

my sub signature ($secret, $date, $scope, $canonical) {
    my $key = "AWS4$secret";
    $key = hmac_sha256($_, $key) for split(m!/!, $scope);
    return hmac_sha256_hex(
        join("\n", 'AWS4-HMAC-SHA256', $date, $scope, sha256_hex($canonical)), $key,
    );
}

my sub denied ($code, $message, %more) {
    return { status => 403, code => $code, message => $message, %more };
}

my sub malformed ($message, %more) {
    return { status => 400, code => 'AuthorizationHeaderMalformed', message => $message, %more };
}

# From the Authorization header or from the query of a presigned URL: the same fields.
my sub claim ($req) {
    my %query = map { $_->[0] => $_->[1] } query_pairs($req->{query});
    if (my $algorithm = $query{'X-Amz-Algorithm'}) {
        return {
            presigned => 1,
            algorithm => $algorithm,
            credential => $query{'X-Amz-Credential'},
            signed => $query{'X-Amz-SignedHeaders'},
            signature => $query{'X-Amz-Signature'},
            date => $query{'X-Amz-Date'},
            token => $query{'X-Amz-Security-Token'},
            expires => $query{'X-Amz-Expires'},
            hash => 'UNSIGNED-PAYLOAD',
        };
    }
    my $text = $req->{headers}->{authorization} or return undef;
    my ($algorithm, $rest) = $text =~ m/^(\S+)\s+(.*)$/ or return {};
    my %field = map { m/^\s*(\w+)=(.*?)\s*$/ } split(/,/, $rest);
    return {
        algorithm => $algorithm,
        credential => $field{Credential},
        signed => $field{SignedHeaders},
        signature => $field{Signature},
        date => $req->{headers}->{'x-amz-date'},
        token => $req->{headers}->{'x-amz-security-token'},
        hash => $req->{headers}->{'x-amz-content-sha256'},
    };
}

my sub check_time ($claim, $now) {
    my @t = ($claim->{date} // '') =~ m/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/
        or return denied('AccessDenied', 'no valid x-amz-date');
    my $then = timegm(@t[5, 4, 3, 2], $t[1] - 1, $t[0]);
    if ($claim->{presigned}) {
        my $lifetime = $claim->{expires} // 0;
        return denied('AuthorizationQueryParametersError', 'X-Amz-Expires out of range')
            if $lifetime < 1 || $lifetime > 604800;
        return denied('AccessDenied', 'Request has expired') if $now > $then + $lifetime;
        return undef if $then <= $now + $MAX_SKEW;
    }
    return undef if abs($then - $now) <= $MAX_SKEW;
    return denied(
        'RequestTimeTooSkewed',
        'The difference between the request time and the current time is too large.',
        xml => {
            RequestTime => $claim->{date},
            ServerTime => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime($now)),
        },
    );
}

my sub check_scope ($claim, $region) {
    my ($id, @scope) = split(m!/!, $claim->{credential} // '');
    return malformed('the credential is malformed') if @scope != 4;
    return malformed('service and terminator') if "$scope[2]/$scope[3]" ne 's3/aws4_request';
    return malformed('date of the scope') if $scope[0] ne substr($claim->{date} // '', 0, 8);
    return malformed(
        "the region '$scope[1]' is wrong; expecting '$region'",
        xml => { Region => $region }
    ) if $region ne '' && $scope[1] ne $region;
    return undef;
}

my sub check_headers ($req, $claim, @signed) {
    my %signed = map { $_ => 1 } @signed;
    return denied('AccessDenied', 'host is not signed') if !$signed{host};
    for my $name (sort keys $req->{headers}->%*) {
        return denied(
            'AccessDenied',
            "There were headers present in the request which were not signed: $name"
        ) if $name =~ m/^x-amz-/ && !$signed{$name};
    }
    for my $name (@signed) {
        return denied('SignatureDoesNotMatch', "signed header $name is not there")
            if !$req->{headers}->{$name};
    }
    return undef;
}

# Returns undef when the request is rightly signed, else what to answer.
# $keys: access key => "secret" or "secret token"; $now: the server's clock; $region: '' accepts any
sub check ($req, $keys, $now, $region) {
    my $claim = claim($req) or return denied('AccessDenied', 'Anonymous access is forbidden');
    return malformed('not AWS4-HMAC-SHA256') if ($claim->{algorithm} // '') ne 'AWS4-HMAC-SHA256';
    my $wrong = check_scope($claim, $region);
    return $wrong if $wrong;

    my ($id, $scope) = split(m!/!, $claim->{credential}, 2);
    my ($secret, $token) = split(/ /, $keys->{$id} // '');
    return denied('InvalidAccessKeyId', 'The access key does not exist in our records.')
        if !defined($secret);
    return { status => 400, code => 'ExpiredToken', message => 'The provided token has expired.' }
        if defined($token) && $token ne ($claim->{token} // '');
    $wrong = check_time($claim, $now);
    return $wrong if $wrong;
    return { status => 400, code => 'InvalidRequest', message => 'Missing x-amz-content-sha256' }
        if !defined($claim->{hash});

    my @signed = split(/;/, $claim->{signed} // '');
    $wrong = check_headers($req, $claim, @signed);
    return $wrong if $wrong;

    my @pairs = grep { $_->[0] ne 'X-Amz-Signature' } query_pairs($req->{query});
    my $canonical = join(
        "\n",
        $req->{method}, encode(decode($req->{path}), '/'), canonical_query(@pairs),
        canonical_headers($req, sort @signed), join(';', sort @signed), $claim->{hash},
    );
    return undef
        if signature($secret, $claim->{date}, $scope, $canonical) eq ($claim->{signature} // '');
    return denied(
        'SignatureDoesNotMatch',
        'The request signature we calculated does not match the signature you provided.',
        xml => { CanonicalRequest => $canonical },
    );
}

# The body against the hash that was signed for it; to be called once the body is there.
sub check_body ($req) {
    my $hash = $req->{headers}->{'x-amz-content-sha256'} // 'UNSIGNED-PAYLOAD';
    return undef if $hash eq 'UNSIGNED-PAYLOAD';
    return { status => 501, code => 'NotImplemented', message => "$hash is not supported" }
        if $hash =~ m/^STREAMING-/;
    return undef if $hash eq sha256_hex($req->{body});
    return {
        status => 400,
        code => 'XAmzContentSHA256Mismatch',
        message =>
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
    };
}

1;
