package FakeS3::Store; ## no critic (RequireFilenameMatchesPackage)

# The multipart half of FakeS3::Store.
use v5.36;
use re '/a'; # bytes: \s and \w are ASCII

use Digest::MD5 qw(md5 md5_hex);

my sub upload ($self, $req) {
    my $upload = $self->bucket($req)->{uploads}->{ $req->{args}->{uploadId} };
    fail(404, 'NoSuchUpload', 'The specified multipart upload does not exist.')
        if !$upload || $upload->{key} ne $req->{key};
    return $upload;
}

my sub part_number ($self, $req) {
    my $n = $req->{args}->{partNumber};
    fail(400, 'InvalidArgument', 'Part number must be an integer between 1 and the limit')
        if $n !~ m/^\d+$/ || $n < 1 || $n > $self->{settings}->{'max-parts'};
    return $n;
}

sub CreateMultipartUpload ($self, $req) {
    my $bucket = $self->bucket($req);
    fail(400, 'KeyTooLongError', 'Your key is too long') if length($req->{key}) > 1024;
    my $id = sprintf('2~%s.%d', md5_hex(rand() . $req->{key}), ++$self->{n_upload});
    $bucket->{uploads}->{$id} = {
        id => $id,
        key => $req->{key},
        started => $self->now(),
        headers => kept_headers($req),
        tags => header($req, 'x-amz-tagging') // '',
        parts => {},
    };
    return {
        body => FakeS3::Xml::document(
            'InitiateMultipartUploadResult',
            Bucket => $req->{bucket},
            Key => $req->{key},
            UploadId => $id,
        ),
    };
}

sub UploadPart ($self, $req) {
    my $upload = upload($self, $req);
    my $n = part_number($self, $req);
    my $echo = $self->check_digests($req);
    my $etag = md5_hex($req->{body});
    $upload->{parts}->{$n} = { data => $req->{body}, etag => $etag, mtime => $self->now() };
    return { headers => { etag => qq{"$etag"}, %$echo } };
}

sub UploadPartCopy ($self, $req) {
    fail(501, 'NotImplemented', 'UploadPartCopy') if $self->{settings}->{'no-part-copy'};
    my $upload = upload($self, $req);
    my $n = part_number($self, $req);
    my $source = $self->copy_source($req);
    my ($offset, $length) = (0, length_of($source->{data}));
    if (my $range = header($req, 'x-amz-copy-source-range')) {
        my ($first, $last) = $range =~ m/^bytes=(\d+)-(\d+)$/
            or fail(400, 'InvalidArgument', $range);
        fail(416, 'InvalidRange', $range) if $last >= $length || $first > $last;
        ($offset, $length) = ($first, $last - $first + 1);
    }
    fail(400, 'InvalidRequest', 'The specified copy source is larger than the maximum: 5368709120')
        if $length > $self->{settings}->{'max-copy'};
    my $data =
        ref($source->{data})
        ? \(my $n_zeroes = $length)
        : substr($source->{data}, $offset, $length);
    my $etag = ref($data) ? md5_hex("zeroes $length") : md5_hex($data);
    $upload->{parts}->{$n} = { data => $data, etag => $etag, mtime => $self->now() };
    return {
        body => FakeS3::Xml::document(
            'CopyPartResult',
            LastModified => iso_date($self->now()),
            ETag => qq{"$etag"},
        ),
    };
}

# The parts a Complete names, checked as S3 does.
my sub chosen_parts ($self, $req, $upload) {
    my @chosen;
    my $last = 0;
    for my $xml (FakeS3::Xml::inner($req->{body}, 'Part')) {
        my ($n, $etag) = map { FakeS3::Xml::text($xml, $_) // '' } qw(PartNumber ETag);
        my $part = $upload->{parts}->{$n};
        fail(400, 'InvalidPart', 'One or more of the specified parts could not be found.')
            if !$part || ($etag =~ s/^"|"$//gr) ne $part->{etag};
        fail(400, 'InvalidPartOrder', 'The list of parts was not in ascending order.')
            if $n <= $last;
        $last = $n;
        push(@chosen, $part);
    }
    fail(400, 'MalformedXML', 'The XML you provided was not well-formed') if !@chosen;
    my @sizes = map { length_of($_->{data}) } @chosen;
    pop(@sizes);
    fail(400, 'EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size')
        if grep { $_ < $self->{settings}->{'min-part'} } @sizes;
    fail(400, 'InvalidPart', 'All non-trailing parts must have the same length.')
        if $self->{settings}->{'equal-parts'} && grep { $_ != $sizes[0] } @sizes;
    return @chosen;
}

my sub join_data (@parts) {
    return join('', map { $_->{data} } @parts) if !grep { ref($_->{data}) } @parts;
    my $size = 0;
    $size += length_of($_->{data}) for @parts;
    return \$size; # a part that is only a length makes the whole one
}

sub CompleteMultipartUpload ($self, $req) {
    my $bucket = $self->bucket($req);
    my $done = $bucket->{done}->{ $req->{args}->{uploadId} };
    return $done if $done && $self->{settings}->{'complete-again'};
    my $upload = upload($self, $req);
    my @parts = chosen_parts($self, $req, $upload);
    $self->check_conditions($req, $bucket);

    my $etag = md5_hex(join('', map { pack('H*', $_->{etag}) } @parts)) . '-' . @parts;
    $etag = md5_hex(rand()) if $self->{settings}->{'random-etags'};
    $self->store(
        $bucket, $req->{key},
        {
            data => join_data(@parts),
            etag => $etag,
            headers => $upload->{headers},
            tags => $upload->{tags},
        },
    );
    delete $bucket->{uploads}->{ $upload->{id} };
    return $bucket->{done}->{ $upload->{id} } = {
        body => FakeS3::Xml::document(
            'CompleteMultipartUploadResult',
            Location => "http://localhost/$req->{bucket}/"
                . FakeS3::Sig::encode($req->{key}, '/'),
            Bucket => $req->{bucket},
            Key => $req->{key},
            ETag => qq{"$etag"},
        ),
    };
}

sub AbortMultipartUpload ($self, $req) {
    my $upload = upload($self, $req);
    delete $self->bucket($req)->{uploads}->{ $upload->{id} };
    return { status => 204 };
}

sub ListParts ($self, $req) {
    my $upload = upload($self, $req);
    my $after = $req->{args}->{'part-number-marker'} || 0;
    my $max = $req->{args}->{'max-parts'} || 1000;
    my @numbers = sort { $a <=> $b } grep { $_ > $after } keys $upload->{parts}->%*;
    my $more = @numbers > $max;
    splice(@numbers, $max) if $more;
    my @parts = map {
        my $part = $upload->{parts}->{$_};
        (
            Part => [
                PartNumber => $_,
                LastModified => iso_date($part->{mtime}),
                ETag => qq{"$part->{etag}"},
                Size => length_of($part->{data}),
            ]
        )
    } @numbers;
    return {
        body => FakeS3::Xml::document(
            'ListPartsResult',
            Bucket => $req->{bucket},
            Key => $req->{key},
            UploadId => $upload->{id},
            PartNumberMarker => $after,
            ($more ? (NextPartNumberMarker => $numbers[-1]) : ()),
            MaxParts => $max,
            IsTruncated => $more ? 'true' : 'false',
            @parts,
        ),
    };
}

sub ListMultipartUploads ($self, $req) {
    my %args = ('key-marker' => '', 'upload-id-marker' => '', prefix => '', $req->{args}->%*);
    my $max = $args{'max-uploads'} || 1000;
    my $encode = list_encoder($req);
    my @all = sort { $a->{key} cmp $b->{key} || $a->{id} cmp $b->{id} }
        grep { index($_->{key}, $args{prefix}) == 0 } values $self->bucket($req)->{uploads}->%*;
    @all = grep {
        my $order = $_->{key} cmp $args{'key-marker'};
        $order > 0
            || $order == 0
            && $args{'upload-id-marker'} ne ''
            && $_->{id} gt $args{'upload-id-marker'}
    } @all;
    my $more = @all > $max;
    splice(@all, $max) if $more;
    my @uploads = map { (
        Upload => [
            Key => $encode->($_->{key}), UploadId => $_->{id},
            Initiated => iso_date($_->{started}),
        ]
    ) } @all;
    return {
        body => FakeS3::Xml::document(
            'ListMultipartUploadsResult',
            Bucket => $req->{bucket},
            Prefix => $encode->($args{prefix}),
            (
                $more
                ? (
                    NextKeyMarker => $encode->($all[-1]->{key}),
                    NextUploadIdMarker => $all[-1]->{id}
                    )
                : ()
            ),
            MaxUploads => $max,
            IsTruncated => $more ? 'true' : 'false',
            @uploads,
        ),
    };
}

1;
