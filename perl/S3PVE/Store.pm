package S3PVE::Store;

# The store itself: are the settings good for it?  Hooks try that before a change is stored, and
# nothing else in the plugin talks to S3.

use v5.36;

use Sys::Syslog ();

use S3PVE::Config;

# Somebody waits, storage.cfg is locked for 60 s at most, and a wrong address stays wrong.
use constant { TIMEOUT => 15, ATTEMPTS => 4 };

my sub log_warning ($storeid, @lines) {
    for my $line (@lines) {
        utf8::encode($line);
        eval { Sys::Syslog::syslog('warning', '%s', "storage '$storeid': $line") };
    }

    return;
}

# What is wrong whatever the store says.  Values that may hold a secret are not repeated.
my sub check_settings ($scfg, $secrets) {
    for my $property (grep { S3PVE::Config::reaches_store($_) } sort keys $scfg->%*) {
        die "$property: has a space in front or behind; write it without\n"
            if $scfg->{$property} =~ m/^\s|\s\z/;
    }
    die "s3-proxy: everybody could read a password in storage.cfg; use a proxy that wants none\n"
        if ($scfg->{'s3-proxy'} // '') =~ m/@/;
    die "s3-ca-file '$scfg->{'s3-ca-file'}': $!; each node needs it\n"
        if defined($scfg->{'s3-ca-file'}) && !-r $scfg->{'s3-ca-file'};
    die "s3-access-key: missing; it is the id that belongs to the secret key\n"
        if !defined($scfg->{'s3-access-key'});
    die "s3-secret-key: missing; give it with --s3-secret-key\n"
        if !defined($secrets->{'secret-key'});

    return;
}

# The library, when it is wanted and not before: should it not load, PVE::Storage still does.
my sub open_client ($storeid, $scfg, $secrets) {
    eval { require S3PVE; 1 }
        or die 'the S3 library cannot be loaded - ' . (split(/\n/, $@))[0] . "\n";

    my $settings =
        { S3PVE::Config::client_settings($storeid, $scfg)->%*, $secrets->%*, timeout => TIMEOUT };
    my $client = eval { S3PVE::Client->open($settings) };
    die S3PVE::Config::name_property("$@") if !$client;

    return $client;
}

# Create it where it is missing and may be created; the error tells what is wrong with it.
my sub check_bucket ($client, $create) {
    my @call = (timeout_ms => TIMEOUT * 1000, max_attempts => ATTEMPTS);

    return if eval { $client->bucket_check(@call); 1 };
    my $err = $@;
    die $err if !$create || !S3PVE::is_code($err, 'NO_BUCKET');

    $client->bucket_create(@call);
    $client->bucket_check(@call);

    return;
}

# Which property may be to blame where the error is the network's.
my sub advice ($scfg, $err) {
    return ' - no TLS at that port; should s3-endpoint begin with http://?'
        if $err =~ m/wrong version number/;
    return ' - by way of s3-proxy' if defined($scfg->{'s3-proxy'}) && $err =~ m/onnect/;
    return '';
}

# Two storages may share a store, with different content or nodes; more often it is a slip.
sub warn_of_twins ($storeid, $scfg) {
    my $ids = PVE::Storage::config()->{ids};
    my $identity = S3PVE::Config::identity($storeid, $scfg);

    for my $other (sort grep { $_ ne $storeid } keys $ids->%*) {
        next if !$ids->{$other} || $ids->{$other}->{type} ne 's3'; # one may be unreadable
        warn "storage '$other' has the same bucket and prefix: each lists, prunes and removes the"
            . " files of both\n"
            if S3PVE::Config::identity($other, $ids->{$other}) eq $identity;
    }

    return;
}

# Die, in words for the user, unless the store can be used with that section and these secrets.
sub check ($storeid, $scfg, $secrets, $create) {
    my $client;

    eval {
        check_settings($scfg, $secrets);
        $client = open_client($storeid, $scfg, $secrets);
        check_bucket($client, $create);
    };
    my $err = "$@"; # one line, whatever class it was
    return if $err eq '';

    log_warning($storeid, $client->warnings()) if $client; # with ids of requests
    chomp($err);
    die "S3 storage '$storeid': $err" . advice($scfg, $err) . "\n";
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Store - try an S3 storage's settings on its store

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>.

=cut
