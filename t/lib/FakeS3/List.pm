package FakeS3::Store; ## no critic (RequireFilenameMatchesPackage)

# The listing half of FakeS3::Store: both versions, with delimiter, paged.
use v5.36;
use re '/a'; # bytes: \s and \w are ASCII

use MIME::Base64 qw(decode_base64 encode_base64);

sub list_encoder ($req) {
    return sub ($text) { $text }
        if ($req->{args}->{'encoding-type'} // '') ne 'url';
    return sub ($text) { FakeS3::Sig::encode($text, '/*') };
}

# Index of the first of the sorted keys that comes after $text.
my sub first_after ($keys, $text) {
    my ($low, $high) = (0, scalar(@$keys));
    while ($low < $high) {
        my $middle = ($low + $high) >> 1;
        if ($keys->[$middle] gt $text) {
            $high = $middle;
        } else {
            $low = $middle + 1;
        }
    }
    return $low;
}

# What a key is called in a list with that delimiter: itself, or the common prefix it folds into.
my sub fold ($key, $prefix, $delimiter) {
    my $end = $delimiter eq '' ? -1 : index($key, $delimiter, length($prefix));
    return $end < 0 ? ($key, 0) : (substr($key, 0, $end + length($delimiter)), 1);
}

# One page of keys and common prefixes after $after, in order, and whether there is more.
my sub page ($bucket, $prefix, $delimiter, $after, $max) {
    my $keys = $bucket->{sorted} //= [sort keys $bucket->{objects}->%*];
    my $i = first_after($keys, $after);
    my $at_prefix = $prefix eq '' ? 0 : first_after($keys, substr($prefix, 0, -1));
    my @found;
    for my $key (@$keys[($i > $at_prefix ? $i : $at_prefix) .. $#$keys]) {
        next if $key lt $prefix;
        last if index($key, $prefix) != 0;
        my ($name, $is_prefix) = fold($key, $prefix, $delimiter);
        next if $is_prefix && ($name le $after || @found && $found[-1]->{name} eq $name);
        return (\@found, 1) if @found == $max;
        push(@found, { name => $name, is_prefix => $is_prefix });
    }
    return (\@found, 0);
}

my sub entries ($bucket, $found, $encode) {
    return map {
        my $object = $bucket->{objects}->{ $_->{name} };
        $_->{is_prefix}
            ? (CommonPrefixes => [Prefix => $encode->($_->{name})])
            : (
                Contents => [
                    Key => $encode->($_->{name}),
                    LastModified => iso_date($object->{mtime}),
                    ETag => qq{"$object->{etag}"},
                    Size => length_of($object->{data}),
                    StorageClass => $object->{headers}->{'x-amz-storage-class'} // 'STANDARD',
                ]
            )
    } @$found;
}

my sub list ($self, $req, $after, $next) {
    my $bucket = $self->bucket($req);
    my %args = (prefix => '', delimiter => '', 'max-keys' => 1000, $req->{args}->%*);
    my $max = $args{'max-keys'} > 1000 ? 1000 : $args{'max-keys'};
    $max = $self->{settings}->{'max-keys'} if $max > $self->{settings}->{'max-keys'};
    my $encode = list_encoder($req);
    my ($found, $more) =
        $max ? page($bucket, $args{prefix}, $args{delimiter}, $after, $max) : ([], 0);
    my $last = @$found ? $found->[-1]->{name} : '';
    return {
        body => FakeS3::Xml::document(
            'ListBucketResult',
            Name => $req->{bucket},
            Prefix => $encode->($args{prefix}),
            ($args{delimiter} ne '' ? (Delimiter => $encode->($args{delimiter})) : ()),
            MaxKeys => $max,
            ($args{'encoding-type'} ? (EncodingType => 'url') : ()),
            IsTruncated => $more ? 'true' : 'false',
            $next->($encode, $more ? $last : undef, scalar(@$found)),
            entries($bucket, $found, $encode),
        ),
    };
}

sub ListObjects ($self, $req) {
    my $marker = $req->{args}->{marker} // '';
    my $with_delimiter = ($req->{args}->{delimiter} // '') ne '';
    return list(
        $self, $req, $marker,
        sub ($encode, $last, $n) {
            return (
                Marker => $encode->($marker),
                (defined($last) && $with_delimiter ? (NextMarker => $encode->($last)) : ()),
            );
        }
    );
}

# Tokens are opaque on purpose: a client that reads one breaks.
sub ListObjectsV2 ($self, $req) {
    fail(501, 'NotImplemented', 'list-type 2') if $self->{settings}->{'no-list-v2'};
    return $self->ListObjects($req) if $self->{settings}->{'ignore-list-v2'};
    my $args = $req->{args};
    my $token = $args->{'continuation-token'};
    my $after = defined($token) ? decode_base64($token =~ s/^1\///r) : $args->{'start-after'} // '';
    return list(
        $self, $req, $after,
        sub ($encode, $last, $n) {
            return (
                KeyCount => $n,
                (
                    defined($args->{'start-after'})
                    ? (StartAfter => $encode->($args->{'start-after'}))
                    : ()
                ),
                (defined($token) ? (ContinuationToken => $token) : ()),
                (
                    defined($last)
                    ? (NextContinuationToken => '1/' . encode_base64($last, ''))
                    : ()
                ),
            );
        }
    );
}

1;
