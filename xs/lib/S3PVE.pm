package S3PVE;

use v5.36;

use XSLoader;

XSLoader::load(__PACKAGE__);

our $VERSION = version(); # the library's: one source, one number

# Is $err the store saying that there is no such thing?  Safe on any $err.
sub is_not_found ($err) { return is_code($err, 'NOT_FOUND') }

# Has $err this code, e.g. 'NO_BUCKET'?  Safe on any $err.
sub is_code ($err, $code) {
    return ref($err) eq 'S3PVE::Error' && $err->{code} eq $code;
}

# Perl's interpreter threads would clone the pointer inside a handle.
sub S3PVE::Client::CLONE_SKIP { return 1 }

package S3PVE::Error {
    use overload
        '""' => sub { return "$_[0]->{message}\n" },
        bool => sub { return 1 },
        fallback => 1;
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE - an S3 bucket from Perl

=head1 SYNOPSIS

    use S3PVE;

    my $client = S3PVE::Client->open({
        endpoint => 'https://s3.example.com',
        bucket => 'backups',
        'credentials-file' => '/etc/pve/priv/storage/store.s3',
    });
    $client->put('notes/today', 'text', timeout_ms => 5000);
    for my $entry ($client->list('notes/', '/', undef)->@*) {
        say "$entry->{key} $entry->{size}";
    }

    my $info = eval { $client->head('no/such/key') };
    say 'not there' if S3PVE::is_not_found($@);

=head1 DESCRIPTION

The binding of L<libs3pve|s3pve(3)>. Nothing is opened, and no thread started, when it is loaded or when a client is
made; the network is used by the call that needs it, in its own thread, and for no longer than its deadline.

Keys are character strings, relative to the configured prefix. Data are byte strings. What methods return is never
tainted.

A client may be used after C<fork()>: the child opens connections of its own at its first call.

=head1 FUNCTIONS

=over

=item S3PVE::version()

=item S3PVE::providers()

The presets, a list of hashes: C<name title endpoint region addressing max_parts equal_parts part_copy>.

=item S3PVE::is_code($err, $code), S3PVE::is_not_found($err)

Whether C<$err>, which may be anything, is an error with that code.

=back

=head1 METHODS OF S3PVE::Client

Every method that talks to the store takes named arguments after its own: C<timeout_ms> (the deadline; the client's
C<timeout> setting otherwise) and C<max_attempts> (1: never repeat).

=over

=item open(\%settings)

Checks the settings and returns a client. The names are those of C<s3pve_config_set()>: L<s3pve(3)>, "OPTIONS".
Undefined values are left out.

=item setting($name)

A setting with defaults and preset applied; never a secret.

=item list($prefix, $delimiter, $start, limit => $n)

A reference to a list of hashes C<key size mtime etag storage_class>, and C<is_prefix> for what stands for all keys
below it. C<$delimiter> and C<$start> (list what comes after it) may be undefined.

=item head($key)

C<size mtime etag content_type storage_class>, and C<meta> where there is any.

=item get($key, limit => $bytes)

The data, at most 64 MiB unless said otherwise.

=item put($key, $data, %options)

Options: C<content_type storage_class tags if_absent if_match>. Returns C<size> and C<etag>.

=item get_file($key, $fd, offset => $bytes, length => $bytes)

=item put_file($key, $fd, %options)

From and to a file descriptor, of any size. The deadline is for each stretch without a byte.

=item delete($key), delete_many(\@keys), copy($source, $target)

=item presign($key, $seconds)

A URL that gets the object for so long.

=item bucket_check(), bucket_create(), bucket_location()

=item bucket_usage()

C<objects> and C<bytes> below the prefix, by listing all of it.

=item probe(), use_caps($json)

What the server really does, as JSON to keep; and to be told so.

=item sweep($prefix, $seconds)

Aborts multipart uploads that old below the prefix; returns how many.

=item counters()

Requests and bytes since the client was opened.

=item warnings()

Returns what the library had to say since the last time, one line each, and forgets it.

=item close()

=back

=head1 ERRORS

A failure dies with an object of class C<S3PVE::Error> that reads as one line and carries C<code> (C<NOT_FOUND>,
C<DENIED>, ...), C<errno>, C<http_status>, C<s3_code>, C<request_id> and C<message>.

=head1 SIGNALS

A signal that has a Perl handler interrupts a waiting call: the handler runs at once, and if it dies, as the usual
C<alarm> handler does, the call is over. Otherwise the call begins again. C<get_file>, C<put_file> and a conditional
C<put> cannot begin again; there the handler runs after the call.

=head1 SEE ALSO

L<s3pve(3)>, L<PVE::Storage::Custom::S3Plugin>

=cut
