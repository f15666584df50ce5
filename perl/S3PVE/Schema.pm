package S3PVE::Schema;

# The properties of an S3 storage, as storage.cfg, pvesm, the API and forms know them.
#
# All plugins share one table of names, and a name in it twice stops every daemon of the node: hence
# the prefix.  Bounds are the library's; it says in better words what is wrong with a value.

use v5.36;

use PVE::JSONSchema;

# What a text must look like, and how to say so: a pattern alone is refused without a reason.
my $formats = {
    endpoint => [
        qr!(?:https?://)?[^\s/?#@]+/?!i,
        "needs an address such as 'https://s3.example.com:9000', without path, user and spaces",
    ],
    bucket => [
        qr/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/,
        "has 3 to 63 lowercase letters, digits, '.' and '-', with a letter or digit at both ends",
    ],
    prefix => [qr![^\s/][^\n]*!, "needs a folder such as 'pve/backups', without '/' in front"],
    word => [qr/[A-Za-z0-9_.-]+/, "has letters, digits, '_', '.' and '-' only"],
    'access-key' => [
        qr![^\s/,]+!, "has no spaces, '/' or ',' in it: the secret key goes into s3-secret-key",
    ],
    secret => [qr/\S+/, 'has no spaces in it, not even at its ends'],
    proxy => [
        qr!(?:http://)?[^\s/?#@]+/?!,
        "needs an address such as 'http://proxy.lan:3128', without user",
    ],
};

my $properties = {
    's3-endpoint' => {
        title => 'Endpoint',
        description => "Address of the S3 server, for example 'https://s3.example.com' or"
            . " 'http://minio.lan:9000'. 'https' is assumed. May be left out where the provider"
            . " and the region tell it.",
        type => 'string',
        format => 's3pve-endpoint',
        maxLength => 512,
    },
    's3-bucket' => {
        title => 'Bucket',
        description => "Name of the bucket.",
        type => 'string',
        format => 's3pve-bucket',
        maxLength => 63,
    },
    's3-prefix' => {
        title => 'Prefix',
        description => "Folder in the bucket below which everything is stored, for sharing the"
            . " bucket with others.",
        type => 'string',
        format => 's3pve-prefix',
        maxLength => 512,
    },
    's3-region' => {
        title => 'Region',
        description =>
            "Region of the bucket. Found out, or the provider's usual one, if not set.",
        type => 'string',
        format => 's3pve-word',
        maxLength => 63,
    },
    's3-access-key' => {
        title => 'Access Key',
        description => "Access key id.",
        type => 'string',
        format => 's3pve-access-key',
        maxLength => 128,
    },
    's3-secret-key' => {
        title => 'Secret Key',
        description =>
            "Secret access key. Kept in /etc/pve/priv/storage, readable by root only.",
        type => 'string',
        format => 's3pve-secret',
        maxLength => 256,
    },
    's3-session-token' => {
        title => 'Session Token',
        description =>
            "Session token that belongs to temporary keys. Kept like the secret key.",
        type => 'string',
        format => 's3pve-secret',
        maxLength => 4096,
    },
    's3-provider' => {
        title => 'Provider',
        description =>
            "Preset for a provider or server. Recognized by the endpoint if not set.",
        type => 'string',
        enum => [qw(
            aws minio ceph wasabi backblaze cloudflare digitalocean scaleway ovh hetzner
            google garage swift generic
        )],
    },
    's3-addressing' => {
        title => 'Addressing',
        description => "Where the bucket's name goes: into the path or in front of the host.",
        type => 'string',
        enum => [qw(auto path virtual)],
        default => 'auto',
    },
    's3-create-bucket' => {
        title => 'Create Bucket',
        description => "Create the bucket when the storage is added and it does not exist.",
        type => 'boolean',
        default => 1,
    },
    's3-upload-limit' => {
        title => 'Upload Limit',
        description => "MiB per second that this node sends at most. 0 means no limit.",
        type => 'integer',
        minimum => 0,
        maximum => 1000000,
        default => 0,
    },
    's3-download-limit' => {
        title => 'Download Limit',
        description => "MiB per second that this node receives at most. 0 means no limit.",
        type => 'integer',
        minimum => 0,
        maximum => 1000000,
        default => 0,
    },
    's3-connections' => {
        title => 'Connections',
        description => "Connections to the S3 server that this node opens at most.",
        type => 'integer',
        minimum => 1,
        maximum => 64,
        default => 16,
    },
    's3-part-size' => {
        title => 'Part Size',
        description => "Size in MiB of the parts in which large files are sent. Grows with the"
            . " file if not set.",
        type => 'integer',
        minimum => 5,
        maximum => 5120,
    },
    's3-storage-class' => {
        title => 'Storage Class',
        description =>
            "Storage class of new files, for example 'STANDARD_IA'. Classes that need"
            . " a restore before files can be read do not work.",
        type => 'string',
        format => 's3pve-word',
        maxLength => 31,
    },
    's3-sse' => {
        title => 'Encryption',
        description => "Encryption by the server.",
        type => 'string',
        enum => [qw(AES256 aws:kms aws:kms:dsse)],
    },
    's3-sse-kms-key' => {
        title => 'KMS Key',
        description => "Id of the key for encryption with 'aws:kms'.",
        type => 'string',
        format => 's3pve-secret',
        maxLength => 512,
    },
    's3-ca-file' => {
        title => 'CA File',
        description => "File with the certificates to trust instead of the system's, the same"
            . " on all nodes.",
        type => 'string',
        format => 'pve-storage-path',
    },
    's3-proxy' => {
        title => 'Proxy',
        description => "HTTP proxy to reach the S3 server, as 'http://host:port'.",
        type => 'string',
        format => 's3pve-proxy',
        maxLength => 512,
    },
    's3-cache-size' => {
        title => 'Cache Size',
        description =>
            "GiB on each node for what was read from files out of order, such as ISO"
            . " images. 0 means no cache.",
        type => 'integer',
        minimum => 0,
        maximum => 65536,
        default => 8,
    },
    's3-cache-dir' => {
        title => 'Cache Directory',
        description => "Directory for the cache, instead of /var/cache/s3pve.",
        type => 'string',
        format => 'pve-storage-path',
    },
    's3-durability' => {
        title => 'Durability',
        description =>
            "Where a guest's data is when its disk says that it is stored: in the bucket, or in"
            . " the journal on the node's own disk, which is faster, and from where it goes into"
            . " the bucket within seconds. With 'node' a node that is lost takes the last of it"
            . " along; what is left is the disk as it was a little earlier.",
        type => 'string',
        enum => [qw(bucket node)],
        default => 'bucket',
    },
    's3-journal-size' => {
        title => 'Journal Size',
        description =>
            "GiB of the journal that each disk in use has on the node, below /var/lib/s3pve: so much"
            . " can be written while the bucket cannot be reached. A small disk's is smaller.",
        type => 'integer',
        minimum => 1,
        maximum => 64,
        default => 1,
    },
    's3-quota' => {
        title => 'Quota',
        description =>
            "GiB that may be stored: writing ends there, and it is shown as the size"
            . " of the storage.",
        type => 'integer',
        minimum => 1,
        maximum => 1 << 30,
    },
};

# Once in a process: a name that is registered twice is an error.
sub register_formats () {
    for my $name (sort keys $formats->%*) {
        my ($pattern, $rule) = $formats->{$name}->@*;
        next if PVE::JSONSchema::get_format("s3pve-$name");
        PVE::JSONSchema::register_format(
            "s3pve-$name",
            sub ($value, @) {
                die "it $rule\n" if $value !~ m/^$pattern\z/;
                return $value;
            },
        );
    }

    return;
}

# A copy, as the caller adds to it.
sub properties () {
    return { map { $_ => { $properties->{$_}->%* } } keys $properties->%* };
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Schema - the properties of an S3 storage

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>, which describes them.

=cut
