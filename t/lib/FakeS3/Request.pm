package FakeS3::Request;

# HTTP and S3's dialect of it: bytes to a request with its operation's name, and an answer to bytes.
use v5.36;
use re '/a'; # bytes: \s and \w are ASCII

use FakeS3::Sig;
use FakeS3::Store;
use FakeS3::Xml;

my $REASON = {
    200 => 'OK', 204 => 'No Content', 206 => 'Partial Content', 301 => 'Moved Permanently',
    304 => 'Not Modified', 307 => 'Temporary Redirect', 400 => 'Bad Request',
    403 => 'Forbidden',
    404 => 'Not Found', 405 => 'Method Not Allowed', 409 => 'Conflict',
    411 => 'Length Required',
    412 => 'Precondition Failed', 416 => 'Range Not Satisfiable', 429 => 'Too Many Requests',
    500 => 'Internal Server Error', 501 => 'Not Implemented', 503 => 'Service Unavailable',
};

# [operation, method, has a key, argument or header that tells]; the first that fits is it.
my $OPERATIONS = [
    ['UploadPartCopy', 'PUT', 1, 'partNumber', 'x-amz-copy-source'],
    ['UploadPart', 'PUT', 1, 'partNumber'],
    ['PutObjectTagging', 'PUT', 1, 'tagging'],
    ['CopyObject', 'PUT', 1, undef, 'x-amz-copy-source'],
    ['PutObject', 'PUT', 1],
    ['GetObjectTagging', 'GET', 1, 'tagging'],
    ['ListParts', 'GET', 1, 'uploadId'],
    ['GetObject', 'GET', 1],
    ['HeadObject', 'HEAD', 1],
    ['AbortMultipartUpload', 'DELETE', 1, 'uploadId'],
    ['DeleteObjectTagging', 'DELETE', 1, 'tagging'],
    ['DeleteObject', 'DELETE', 1],
    ['CreateMultipartUpload', 'POST', 1, 'uploads'],
    ['CompleteMultipartUpload', 'POST', 1, 'uploadId'],
    ['DeleteObjects', 'POST', 0, 'delete'],
    ['GetBucketLocation', 'GET', 0, 'location'],
    ['GetBucketVersioning', 'GET', 0, 'versioning'],
    ['ListMultipartUploads', 'GET', 0, 'uploads'],
    ['ListObjectsV2', 'GET', 0, 'list-type'],
    ['CreateBucket', 'PUT', 0],
    ['HeadBucket', 'HEAD', 0],
    ['DeleteBucket', 'DELETE', 0],
    ['ListObjects', 'GET', 0],
];

# What S3 knows and we do not: answered 501, not taken for something else.
my $UNKNOWN =
    qr/^(?:acl|cors|lifecycle|policy|website|versions|torrent|attributes|object-lock|retention)$/;

my sub operation ($req) {
    return 'ListBuckets' if $req->{bucket} eq '';
    my $args = $req->{args};
    for my $name (keys %$args) {
        return "Unknown:$name" if $name =~ m/$UNKNOWN/;
    }
    for my $row (@$OPERATIONS) {
        my ($op, $method, $has_key, $arg, $header) = @$row;
        next if $method ne $req->{method} || $has_key != ($req->{key} ne '');
        next if defined($arg) && !exists($args->{$arg});
        next if defined($header) && !$req->{headers}->{$header};
        return $op;
    }
    return "Unknown:$req->{method}";
}

# Path style, or the bucket in front of $domain in the host's name.
my sub split_target ($req, $domain) {
    my $path = FakeS3::Sig::decode($req->{path});
    my $host = ($req->{headers}->{host} // '') =~ s/:\d+$//r;
    return ($1, substr($path, 1)) if $host =~ m/^(.+)\.\Q$domain\E$/;
    my ($bucket, $key) = $path =~ m!^/([^/]*)/?(.*)$!s;
    return ($bucket, $key);
}

# Returns undef when it is no HTTP request.
sub parse ($head, $domain) {
    my ($line, @lines) = split(/\r\n/, $head);
    my ($method, $target) = ($line // '') =~ m!^([A-Z]+) (/\S*) HTTP/1\.[01]$! or return undef;
    my ($path, $query) = split(/\?/, $target, 2);
    my $req =
        { method => $method, path => $path, query => $query // '', headers => {}, body => '' };
    for my $header (@lines) {
        my ($name, $value) = $header =~ m/^([^:\s]+):\s*(.*?)\s*$/ or return undef;
        $name = lc($name);
        $value = "$req->{headers}->{$name},$value" if exists($req->{headers}->{$name});
        $req->{headers}->{$name} = $value;
    }
    $req->{length} = $req->{headers}->{'content-length'} // 0;
    return undef if $req->{length} !~ m/^\d+$/;
    $req->{close} = lc($req->{headers}->{connection} // '') eq 'close';
    $req->{control} = $path =~ m!^/_fakes3/!;
    $req->{args} = { map { $_->[0] => $_->[1] } FakeS3::Sig::query_pairs($req->{query}) };
    ($req->{bucket}, $req->{key}) = split_target($req, $domain);
    $req->{op} = operation($req);
    return $req;
}

# Head and body as they go over the wire.
sub answer ($req, $answer, $now) {
    state $n = 0;
    my $id = sprintf('FAKE%012d', ++$n);
    my $status = $answer->{status} // 200;
    my $body = $answer->{body} // '';
    my %headers = (
        date => FakeS3::Store::http_date($now),
        server => 'fakes3',
        'x-amz-request-id' => $id,
        ($answer->{headers} // {})->%*,
    );
    if ($answer->{code}) {
        $body = FakeS3::Xml::error($answer->{code}, $answer->{message}, $id, $answer->{xml} // {});
    }
    $headers{'content-type'} //= 'application/xml' if $body ne '';
    $headers{'content-length'} //= length($body) if $status != 204 && $status != 304;
    $headers{connection} = 'close' if $req->{close};
    delete @headers{ keys(($answer->{strip} // {})->%*) };
    my $head = sprintf("HTTP/1.1 %d %s\r\n", $status, $REASON->{$status} // 'Whatever');
    $head .= "$_: $headers{$_}\r\n" for sort keys %headers;
    return ("$head\r\n", $req->{method} eq 'HEAD' || $status == 204 || $status == 304 ? '' : $body);
}

1;
