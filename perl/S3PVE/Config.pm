package S3PVE::Config;

# From a section of storage.cfg to what the library and the daemon want, and where a storage has its
# files on this node.  Pure but for the secret file at the end.

use v5.36;

use Digest::SHA qw(sha256_hex);
use Fcntl qw(O_RDONLY);
use JSON::PP ();
use POSIX qw(ENOENT);

use PVE::Tools;

use constant {
    NAME_MAX => 80, # bytes: /run/s3pve/NAME/control.sock must stay below 108
    NAME_KEPT => 47,
    CACHE_SIZE => 8, # GiB
    SECRET_FILE_MAX => 16384,
};

our $ROOT = ''; # for tests: stands before every path

# Property of storage.cfg => setting of the library, the same word where it can be.
my $setting = {
    fingerprint => 'fingerprint',
    map { ("s3-$_" => $_) } qw(
        endpoint bucket prefix region provider addressing access-key connections part-size
        upload-limit download-limit storage-class sse sse-kms-key ca-file proxy
    ),
};

# Sensitive property => line of the secret file.
my $secret_line = { 's3-secret-key' => 'secret-key', 's3-session-token' => 'session-token' };

# A change of these wants to be tried before it is stored.
sub reaches_store ($property) {
    return $property eq 'port' || exists $setting->{$property};
}

# A complaint of the library that begins with a setting, told in the words of storage.cfg.
sub name_property ($text) {
    my ($name) = $text =~ m/^([a-z-]+)[ :]/ or return $text;

    return exists $setting->{"s3-$name"} || exists $secret_line->{"s3-$name"} ? "s3-$text" : $text;
}

# --- names and paths

my sub untaint_id ($storeid) {
    my ($id) = $storeid =~ m/^([a-zA-Z][a-zA-Z0-9_.-]*)\z/
        or die "'$storeid' is not a storage id: a letter, then letters, digits, '_', '.' and '-'\n";
    return $id;
}

# The storage's name in paths and units, see libs3pve/DESIGN.md section 8.
sub runtime_name ($storeid) {
    my $name = untaint_id($storeid);

    return $name if length($name) <= NAME_MAX;
    return
        substr($name, 0, NAME_KEPT) . '-' . substr(sha256_hex($name), 0, NAME_MAX - NAME_KEPT - 1);
}

sub paths ($storeid) {
    my $name = runtime_name($storeid);
    my $run = "$ROOT/run/s3pve/$name";

    return {
        name => $name,
        run => $run,
        config => "$run/config",
        socket => "$run/control.sock",
        nbd => "$run/nbd.sock", # QEMU's way to disks
        lock => "$run/start.lock", # the daemon holds $run/lock while it runs
        log => "$run/log",
        state => "$ROOT/var/lib/s3pve/$name",
        cache => "$ROOT/var/cache/s3pve/$name",
    };
}

# A path of storage.cfg as mounts have it: without a slash too many.
sub mountpoint ($path) {
    return $path =~ s!/{2,}!/!gr =~ s!(?<=.)/\z!!r;
}

sub secret_file ($storeid) {
    return "$ROOT/etc/pve/priv/storage/" . untaint_id($storeid) . '.s3';
}

# --- what the library and the daemon are told

# The endpoint with the stock property `port` applied, unless it names a port itself.
my sub endpoint ($scfg) {
    my $endpoint = $scfg->{'s3-endpoint'};

    return $endpoint if !defined($endpoint) || !defined($scfg->{port});
    $endpoint =~ s!/+$!!;
    return $endpoint =~ m/:\d+$/ ? $endpoint : "$endpoint:$scfg->{port}";
}

# Settings for S3PVE::Client->open(), without the secret.
sub client_settings ($storeid, $scfg) {
    my $settings = { storage => $storeid };

    for my $property (keys $setting->%*) {
        my $value = $scfg->{$property};
        $settings->{ $setting->{$property} } = "$value" if defined($value) && $value ne '';
    }
    my $endpoint = endpoint($scfg);
    $settings->{endpoint} = $endpoint if defined($endpoint);

    return $settings;
}

# One text for one place, however it is written.
sub identity ($storeid, $scfg) {
    my $settings = client_settings($storeid, $scfg);
    my $where = lc($settings->{endpoint} // '') =~ s!/+\z!!r;
    $where = "https://$where" if $where ne '' && $where !~ m!://!;
    $where = join('.', grep { defined } $settings->@{qw(provider region)}) if $where eq '';

    return join('/', $where, $settings->{bucket}, ($settings->{prefix} // '') =~ s!^/+|/+\z!!gr);
}

# The daemon's configuration: one text for one configuration, so that it can be compared.
sub daemon_config ($storeid, $scfg) {
    my $paths = paths($storeid);
    my $cache_dir = $scfg->{'s3-cache-dir'};
    my $config = {
        storage => $storeid,
        mountpoint => mountpoint($scfg->{path}),
        'state-dir' => $paths->{state},
        'cache-dir' => defined($cache_dir) ? "$cache_dir/$paths->{name}" : $paths->{cache},
        'cache-size' => int($scfg->{'s3-cache-size'} // CACHE_SIZE),
        options => {
            client_settings($storeid, $scfg)->%*,
            'credentials-file' => secret_file($storeid),
            'lock-dir' => "$ROOT/etc/pve/priv/lock", # for stores that do not keep conditions
        },
    };
    $config->{quota} = int($scfg->{'s3-quota'}) if $scfg->{'s3-quota'};
    $config->{'journal-size'} = int($scfg->{'s3-journal-size'}) if $scfg->{'s3-journal-size'};
    $config->{durability} = "$scfg->{'s3-durability'}" if $scfg->{'s3-durability'};

    return JSON::PP->new->utf8->canonical->pretty->encode($config);
}

# --- the secret: a file of lines "name = value", which the library reads too

sub read_secrets ($storeid) {
    my $path = secret_file($storeid);
    my ($fh, $text, $secrets);

    if (!sysopen($fh, $path, O_RDONLY)) {
        return {} if $! == ENOENT;
        die "cannot read '$path' - $!\n";
    }
    defined(sysread($fh, $text, SECRET_FILE_MAX)) or die "cannot read '$path' - $!\n";
    for my $line (split(/\n/, $text)) {
        $secrets->{$1} = $2 if $line =~ m/^\s*([a-z-]+)\s*=\s*(\S+)\s*$/;
    }

    return $secrets // {};
}

# The secrets with $sensitive applied: properties as hooks get them, undef for one to be deleted.
sub merge_secrets ($old, $sensitive) {
    my $new = { $old->%* };

    for my $property (grep { exists $sensitive->{$_} } keys $secret_line->%*) {
        my $value = $sensitive->{$property} // '';
        my ($untainted) = $value =~ m/^(\S*)\z/
            or die "$property: has a space or a line end in it; copy it again\n";
        my $line = $secret_line->{$property};
        $new->{$line} = $untainted;
        delete $new->{$line} if $untainted eq '';
    }

    return $new;
}

sub write_secrets ($storeid, $secrets) {
    my $text = join('', map { "$_ = $secrets->{$_}\n" } sort keys $secrets->%*);

    mkdir "$ROOT/etc/pve/priv/storage", 0700; # after the first time it is there
    PVE::Tools::file_set_contents(secret_file($storeid), $text, 0600);

    return;
}

sub delete_secrets ($storeid) {
    my $path = secret_file($storeid);

    unlink($path) or $! == ENOENT or die "cannot remove '$path' - $!\n";

    return;
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Config - where an S3 storage's settings, secrets and files are

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>.

=cut
