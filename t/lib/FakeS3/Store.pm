package FakeS3::Store;

# Buckets, objects and what S3 does with them, in memory.  One method an operation: it takes a
# request and returns an answer { status, headers, body }, or dies with { status, code, message }.
#
# An object is { data, etag, mtime, headers, tags }; data is a string, or a number: so many zeroes.
use v5.36;
use re '/a'; # bytes: \s and \w are ASCII

use Digest::MD5 qw(md5 md5_base64 md5_hex);
use MIME::Base64 qw(decode_base64);
use POSIX qw(strftime);
use Time::HiRes ();

use FakeS3::Sig;
use FakeS3::Xml;

# So old may be what a racing server's conditions are held against; its answers take longer.
my $RACE_S = 0.05;

our $KEPT = qr/^(?:content-type|content-encoding|content-disposition|cache-control
    |x-amz-meta-.*|x-amz-storage-class|x-amz-server-side-encryption.*)$/x;

sub new ($class, $settings) {
    return bless({ settings => $settings, buckets => {}, n_upload => 0 }, $class);
}

sub fail ($status, $code, $message = $code, %more) {
    die { status => $status, code => $code, message => $message, %more };
}

sub header ($req, $name) {
    return $req->{headers}->{$name};
}

sub http_date ($time) {
    return strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime($time));
}

sub iso_date ($time) {
    return strftime('%Y-%m-%dT%H:%M:%S.000Z', gmtime($time));
}

sub now ($self) {
    return time() + $self->{settings}->{skew};
}

sub length_of ($data) {
    return ref($data) ? $$data : length($data);
}

# Zeroes are made only where they are asked for; too many at once would not fit.
sub slice ($data, $offset, $length) {
    return substr($data, $offset, $length) if !ref($data);
    fail(500, 'InternalError', 'too many zeroes at once') if $length > (1 << 30);
    return "\0" x $length;
}

sub bucket ($self, $req) {
    return $self->{buckets}->{ $req->{bucket} }
        // fail(404, 'NoSuchBucket', 'The specified bucket does not exist');
}

sub object ($self, $req) {
    return $self->bucket($req)->{objects}->{ $req->{key} }
        // fail(404, 'NoSuchKey', 'The specified key does not exist.');
}

# What was there before.
my sub past ($bucket, $key) {
    return $bucket->{past}->{$key} //= [];
}

sub store ($self, $bucket, $key, $object) {
    $bucket->{sorted} = undef if !$bucket->{objects}->{$key};
    $object->{mtime} = $self->now();
    push(
        past($bucket, $key)->@*,
        { until => Time::HiRes::time(), object => $bucket->{objects}->{$key} }
    ) if $self->{settings}->{conditions} eq 'race';
    $bucket->{objects}->{$key} = $object;
    return;
}

sub remove ($bucket, $key) {
    $bucket->{sorted} = undef if delete($bucket->{objects}->{$key});
    return;
}

my sub same_etag ($self, $given, $etag) {
    return 1 if $given eq '*';
    my $style = $self->{settings}->{'etag-style'}; # any, bare, quoted
    return 0 if $style eq 'bare' && $given =~ m/^"/;
    return 0 if $style eq 'quoted' && $given !~ m/^"/;
    return ($given =~ s/^W\///r =~ s/^"|"$//gr) eq $etag;
}

# Why these conditions do not let a write through that finds $there; nothing: they do.
my sub refusal ($self, $none, $match, $there) {
    my $failed = 'At least one of the pre-conditions you specified did not hold';
    my $conditions = $self->{settings}->{conditions};
    return [412, 'PreconditionFailed', $failed]
        if defined($none) && $there && same_etag($self, $none, $there->{etag});
    return undef if !defined($match) || !$there && $conditions eq 'resurrect';
    return [404, 'NoSuchKey', 'The specified key does not exist.'] if !$there;
    return same_etag($self, $match, $there->{etag}) ? undef : [412, 'PreconditionFailed', $failed];
}

# The conditions of a write on what is there now, or, in a race, was there a moment ago.
sub check_conditions ($self, $req, $bucket) {
    my $conditions = $self->{settings}->{conditions};
    my ($none, $match) = map { header($req, $_) } qw(if-none-match if-match);
    return if $conditions eq 'off';
    fail(501, 'NotImplemented', 'conditions are not implemented')
        if $conditions eq 'refuse' && defined($none // $match);
    $none = undef if $conditions eq 'ignore-none-match';
    $match = undef if $conditions eq 'ignore-match';
    my @there = ($bucket->{objects}->{ $req->{key} });
    push(
        @there,
        map { $_->{object} }
            grep { $_->{until} > Time::HiRes::time() - $RACE_S } past($bucket, $req->{key})->@*,
    ) if $conditions eq 'race';
    my @refusals = map { refusal($self, $none, $match, $_) } @there;
    fail($refusals[0]->@*) if !grep { !defined } @refusals;
    return;
}

my sub crc32c ($data) {
    state @table = map {
        my $c = $_;
        $c = $c & 1 ? 0x82F63B78 ^ ($c >> 1) : $c >> 1 for 1 .. 8;
        $c
    } 0 .. 255;
    my $crc = 0xFFFFFFFF;
    $crc = $table[($crc ^ $_) & 255] ^ ($crc >> 8) for unpack('C*', $data);
    return $crc ^ 0xFFFFFFFF;
}

# What the client says of its body besides the signed hash.
sub check_digests ($self, $req) {
    my $md5 = header($req, 'content-md5');
    if (defined($md5) && !$self->{settings}->{'no-content-md5'}) {
        fail(400, 'InvalidDigest', 'The Content-MD5 you specified is not valid.')
            if length(decode_base64($md5)) != 16;
        fail(400, 'BadDigest', 'The Content-MD5 you specified did not match what we received.')
            if $md5 ne md5_base64($req->{body}) . '==';
    }
    my $crc = header($req, 'x-amz-checksum-crc32c');
    return {} if !defined($crc) || !$self->{settings}->{checksums};
    fail(400, 'BadDigest', 'The CRC32C you specified did not match the calculated checksum.')
        if decode_base64($crc) ne pack('N', crc32c($req->{body}));
    return { 'x-amz-checksum-crc32c' => $crc };
}

sub kept_headers ($req) {
    return { map { $_ => header($req, $_) } grep { m/$KEPT/ } keys $req->{headers}->%* };
}

# --- buckets

sub CreateBucket ($self, $req) {
    fail(400, 'InvalidBucketName', 'The specified bucket is not valid.')
        if $req->{bucket} !~ m/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
    fail(409, 'BucketAlreadyExists', 'The requested bucket name is not available.')
        if $req->{bucket} =~ m/^taken-/;
    fail(409, 'BucketAlreadyOwnedByYou', 'You own it already.')
        if $self->{buckets}->{ $req->{bucket} } && !$self->{settings}->{'create-again'};
    $self->{buckets}->{ $req->{bucket} } //= { objects => {}, uploads => {}, made => $self->now() };
    return { headers => { location => "/$req->{bucket}" } };
}

sub HeadBucket ($self, $req) {
    $self->bucket($req);
    return { headers => { 'x-amz-bucket-region' => $self->{settings}->{region} || 'us-east-1' } };
}

sub DeleteBucket ($self, $req) {
    fail(409, 'BucketNotEmpty', 'The bucket is not empty.')
        if keys $self->bucket($req)->{objects}->%*;
    delete $self->{buckets}->{ $req->{bucket} };
    return { status => 204 };
}

sub ListBuckets ($self, $req) {
    my @list =
        map { (Bucket => [Name => $_, CreationDate => iso_date($self->{buckets}->{$_}->{made})]) }
        sort keys $self->{buckets}->%*;
    return { body => FakeS3::Xml::document('ListAllMyBucketsResult', Buckets => \@list) };
}

sub GetBucketLocation ($self, $req) {
    $self->bucket($req);
    my $region = $self->{settings}->{region} || 'us-east-1';
    my $said = FakeS3::Xml::document('LocationConstraint') =~ s/><\//>$region<\//r;
    return { body => $region eq 'us-east-1' ? $said =~ s/us-east-1//r : $said };
}

sub GetBucketVersioning ($self, $req) {
    $self->bucket($req);
    return { body => FakeS3::Xml::document('VersioningConfiguration') };
}

# --- objects

sub PutObject ($self, $req) {
    my $bucket = $self->bucket($req);
    fail(400, 'KeyTooLongError', 'Your key is too long') if length($req->{key}) > 1024;
    my $echo = $self->check_digests($req);
    $self->check_conditions($req, $bucket);
    my $object = {
        data => $req->{body},
        etag => md5_hex($req->{body}),
        headers => kept_headers($req),
        tags => header($req, 'x-amz-tagging') // '',
    };
    $self->store($bucket, $req->{key}, $object);
    my $answer = { headers => { etag => qq{"$object->{etag}"}, %$echo } };
    $answer->{delay} = $RACE_S * 1.2 if $self->{settings}->{conditions} eq 'race';
    return $answer;
}

my sub object_headers ($object) {
    my $headers = { 'content-type' => 'binary/octet-stream', $object->{headers}->%* };
    delete $headers->{'x-amz-storage-class'}
        if ($headers->{'x-amz-storage-class'} // '') eq 'STANDARD';
    $headers->{etag} = qq{"$object->{etag}"};
    $headers->{'last-modified'} = http_date($object->{mtime});
    $headers->{'accept-ranges'} = 'bytes';
    my $n_tags = () = $object->{tags} =~ m/=/g;
    $headers->{'x-amz-tagging-count'} = $n_tags if $n_tags;
    return $headers;
}

# "bytes=a-b", "bytes=a-" and "bytes=-n" to (offset, length); nothing when it is no such range.
my sub range ($text, $size) {
    my ($first, $last) = $text =~ m/^bytes=(\d*)-(\d*)$/ or return;
    if ($first eq '') {
        return if $last eq '';
        $last = $size if $last > $size;
        return ($size - $last, $last);
    }
    return if $last ne '' && $last < $first;
    fail(416, 'InvalidRange', 'The requested range is not satisfiable') if $first >= $size;
    $last = $size - 1 if $last eq '' || $last >= $size;
    return ($first, $last - $first + 1);
}

sub GetObject ($self, $req) {
    my $object = $self->object($req);
    my ($match, $none) = map { header($req, $_) } qw(if-match if-none-match);
    fail(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold')
        if defined($match) && !same_etag($self, $match, $object->{etag});
    return { status => 304, headers => { etag => qq{"$object->{etag}"} } }
        if defined($none) && same_etag($self, $none, $object->{etag});

    my $headers = object_headers($object);
    my $size = length_of($object->{data});
    my @range = range(header($req, 'range') // '', $size);
    my ($offset, $length) = @range ? @range : (0, $size);
    $headers->{'content-range'} = sprintf('bytes %d-%d/%d', $offset, $offset + $length - 1, $size)
        if @range;
    my $answer = { status => @range ? 206 : 200, headers => $headers };
    if ($req->{method} eq 'HEAD') {
        $headers->{'content-length'} = $length;
        return $answer;
    }
    return { %$answer, body => slice($object->{data}, $offset, $length) };
}

sub HeadObject ($self, $req) {
    return $self->GetObject($req);
}

sub DeleteObject ($self, $req) {
    my $bucket = $self->bucket($req);
    $self->check_conditions($req, $bucket) if defined(header($req, 'if-match'));
    remove($bucket, $req->{key});
    return { status => 204 };
}

sub DeleteObjects ($self, $req) {
    my $bucket = $self->bucket($req);
    fail(501, 'NotImplemented', 'no batch delete here') if $self->{settings}->{'no-batch-delete'};
    fail(400, 'InvalidRequest', 'Missing required header for this request: Content-MD5')
        if !defined(header($req, 'content-md5') // header($req, 'x-amz-checksum-crc32c'));
    $self->check_digests($req);
    my @keys =
        map { FakeS3::Xml::text($_, 'Key') // '' } FakeS3::Xml::inner($req->{body}, 'Object');
    fail(400, 'MalformedXML', 'The XML you provided was not well-formed') if !@keys || @keys > 1000;
    my @said;
    for my $key (@keys) {
        if ($key =~ m/undeletable/) { # a key that policy protects, for tests of partial failure
            push(@said, Error => [Key => $key, Code => 'AccessDenied', Message => 'Access Denied']);
            next;
        }
        remove($bucket, $key);
        push(@said, Deleted => [Key => $key]) if $req->{body} !~ m!<Quiet>true</Quiet>!;
    }
    return { body => FakeS3::Xml::document('DeleteResult', @said) };
}

sub copy_source ($self, $req) {
    my $text = FakeS3::Sig::decode(header($req, 'x-amz-copy-source')) =~ s/\?versionId=.*//r;
    my ($bucket, $key) = $text =~ m!^/?([^/]+)/(.+)$!s
        or fail(400, 'InvalidArgument', 'copy source');
    my $source = $self->object({ bucket => $bucket, key => $key });
    my $match = header($req, 'x-amz-copy-source-if-match');
    fail(412, 'PreconditionFailed', 'the source has changed')
        if defined($match) && !same_etag($self, $match, $source->{etag});
    return $source;
}

sub CopyObject ($self, $req) {
    my $bucket = $self->bucket($req);
    my $source = $self->copy_source($req);
    fail(400, 'InvalidRequest', 'The specified copy source is larger than the maximum: 5368709120')
        if length_of($source->{data}) > $self->{settings}->{'max-copy'};
    $self->check_conditions($req, $bucket);
    my $replace = uc(header($req, 'x-amz-metadata-directive') // 'COPY') eq 'REPLACE';
    my $replace_tags = uc(header($req, 'x-amz-tagging-directive') // 'COPY') eq 'REPLACE';
    my $object = {
        data => $source->{data},
        etag => $source->{etag},
        headers => $replace ? kept_headers($req) : { $source->{headers}->%* },
        tags => $replace_tags ? header($req, 'x-amz-tagging') // '' : $source->{tags},
    };
    my $class = header($req, 'x-amz-storage-class');
    $object->{headers}->{'x-amz-storage-class'} = $class if defined($class);
    $self->store($bucket, $req->{key}, $object);
    return {
        body => FakeS3::Xml::document(
            'CopyObjectResult',
            LastModified => iso_date($object->{mtime}),
            ETag => qq{"$object->{etag}"},
        ),
    };
}

# --- tags

sub GetObjectTagging ($self, $req) {
    my @tags = FakeS3::Sig::query_pairs($self->object($req)->{tags});
    my @set = map { (Tag => [Key => $_->[0], Value => $_->[1]]) } @tags;
    return { body => FakeS3::Xml::document('Tagging', TagSet => \@set) };
}

sub PutObjectTagging ($self, $req) {
    my $object = $self->object($req);
    my @tags = map {
        my $tag = $_;
        join('=', map { FakeS3::Sig::encode(FakeS3::Xml::text($tag, $_)) } qw(Key Value))
    } FakeS3::Xml::inner($req->{body}, 'Tag');
    fail(400, 'BadRequest', 'Object tags cannot be greater than 10') if @tags > 10;
    $object->{tags} = join('&', @tags);
    return {};
}

sub DeleteObjectTagging ($self, $req) {
    $self->object($req)->{tags} = '';
    return { status => 204 };
}

1;
