#!/usr/bin/perl
# What Proxmox learns of the type when it loads the plugin.
use v5.36;

use Test::More;

use PVE::Storage;
use PVE::Storage::Custom::S3Plugin;

my $class = 'PVE::Storage::Custom::S3Plugin';

# --- version of the API

for my $case ([11, 11], [12, 12], [13, 13], [14, 14], [15, 15], [16, 15], [20, 15]) {
    my ($version, $expected) = $case->@*;
    local $PVE::Storage::APIVER = $version;
    is($class->api(), $expected, "speaks $expected where Proxmox speaks $version");
}
{
    local $PVE::Storage::APIVER = 10;
    eval { $class->api() };
    is($@, "needs Proxmox VE 8.4 or later\n", 'refuses a version that would expose the secret');
}

# --- the one table of properties that all plugins share

# Names that Proxmox VE 8.4 has, and more of them than we may use.
my $stock = {
    map { $_ => 1 }
        qw(
        type storage nodes content disable prune-backups max-protected-backups shared subdir format
        preallocation content-dirs options port
        path mkdir create-base-path create-subdirs is_mountpoint bwlimit nocow
        vgname base saferemove saferemove_throughput tagged_only thinpool export server share password
        domain smbversion target portal monhost pool data-pool namespace username authsupported krbd
        keyring fuse fs-name blocksize sparse mountpoint iscsiprovider nowritecache comstar_tg
        comstar_hg lio_tpg datastore fingerprint encryption-key master-pubkey skip-cert-verification
        volume server2 transport maxfiles
        )
};
# Names that came later, which 8.4 would not know.
my $later = { map { $_ => 1 } qw(snapshot-as-volume-chain zfs-base-path saferemove-stepsize) };

my $properties = $class->properties();
my $options = $class->options();

for my $name (sort keys $properties->%*) {
    ok($name =~ m/^s3-/ && !$stock->{$name} && !$later->{$name}, "$name cannot collide");
    ok($options->{$name}, "$name can be used");

    my $p = $properties->{$name};
    ok($p->{title} && $p->{description} =~ m/\.$/, "$name is described");
    ok(!exists($p->{optional}), "$name leaves it to options() whether it is needed");
    if ($p->{type} eq 'integer') {
        ok(defined($p->{minimum}) && defined($p->{maximum}), "$name is bounded");
    } elsif ($p->{type} eq 'string') {
        ok($p->{enum} || $p->{format}, "$name has a format");
        ok($p->{enum} || $p->{maxLength} || $p->{format} eq 'pve-storage-path', "$name is bounded");
        ok(!$p->{format} || PVE::JSONSchema::get_format($p->{format}), "$name\'s format is known");
    } else {
        is($p->{type}, 'boolean', "$name is a boolean");
    }
}
for my $name (sort grep { !$properties->{$_} } keys $options->%*) {
    ok($stock->{$name}, "$name is a name that every supported version has");
}

my @ours = qw(
    access-key addressing bucket ca-file cache-dir cache-size connections create-bucket durability
    download-limit endpoint journal-size part-size prefix provider proxy quota region secret-key session-token
    sse sse-kms-key storage-class upload-limit
);
my @stocks = qw(
    bwlimit content content-dirs create-base-path create-subdirs disable fingerprint
    max-protected-backups nodes path port prune-backups shared
);
my $expected = { map { $_ => { optional => 1 } } @stocks, map { "s3-$_" } @ours };
$expected->{'s3-bucket'} = { fixed => 1 };
$expected->{$_}->{fixed} = 1 for qw(s3-prefix path);
is_deeply($options, $expected, 'these can be set, and which of them is required and fixed');

my $sensitive = $class->plugindata()->{'sensitive-properties'};
is_deeply([sort keys $sensitive->%*], ['s3-secret-key', 's3-session-token'], 'two are secret');
ok($options->{$_}->{optional}, "$_ is optional: it is taken away before the check")
    for keys $sensitive->%*;

for my $case (
    ['s3-endpoint', 'https://s3.example.com', 1],
    ['s3-endpoint', 'minio.lan:9000', 1],
    ['s3-endpoint', 'http://[fd00::1]:9000/', 1],
    ['s3-endpoint', 'ftp://s3.example.com', 0],
    ['s3-endpoint', 'https://key:secret@s3.example.com', 0],
    ['s3-endpoint', 'https://s3.example.com/bucket', 0],
    ['s3-bucket', 'my.bucket-1', 1],
    ['s3-bucket', 'My_Bucket', 0],
    ['s3-prefix', 'pve/cluster one', 1],
    ['s3-prefix', '/pve', 0],
    ['s3-bucket', 'ab', 0],
    ['s3-bucket', 'a' x 63, 1],
    ['s3-bucket', 'a' x 64, 0],
    ['s3-region', 'us east', 0],
    ['s3-access-key', 'AKIA/x', 0],
    ['s3-secret-key', 'a b', 0],
    ['s3-secret-key', "a\n", 0],
    ['s3-proxy', 'http://proxy:3128', 1],
    ['s3-proxy', 'http://user:password@proxy:3128', 0],
) {
    my ($name, $value, $valid) = $case->@*;
    my $check = PVE::JSONSchema::get_format($properties->{$name}->{format});
    my $matches = eval { $check->($value) } // '';
    is($matches, $valid ? $value : '', "$name '$value' is " . ($valid ? 'accepted' : 'refused'));
    like($@, qr/^it (?:needs|has) .{10,}\n$/, '... with a reason') if !$valid;
}

require S3PVE;
is_deeply(
    [sort $properties->{'s3-provider'}->{enum}->@*],
    [sort map { $_->{name} } S3PVE::providers()],
    'the providers are the ones that the library knows',
);

# --- content

my ($valid, $default) = $class->plugindata()->{content}->@*;
is_deeply(
    [sort keys $valid->%*],
    [qw(backup images import iso none rootdir snippets vztmpl)],
    'disks, files of all kinds, and nothing'
);
is_deeply([grep { !$valid->{$_} } keys $default->%*], [], 'the default is valid');
is(scalar(grep { $default->{$_} } qw(images rootdir)), 0, 'disks are to be asked for');

is(scalar(grep { $_ eq 's3' } @PVE::Storage::Plugin::SHARED_STORAGE), 1, 'the type is shared');
{
    delete local $INC{'PVE/Storage/Custom/S3Plugin.pm'};
    local $SIG{__WARN__} = sub { };
    require PVE::Storage::Custom::S3Plugin;
}
is(scalar(grep { $_ eq 's3' } @PVE::Storage::Plugin::SHARED_STORAGE), 1, 'loaded twice, once');

# --- a section of storage.cfg

my $section = $class->check_config('a', { 's3-bucket' => 'b' }, 1, 1);
is($section->{path}, '/mnt/pve/a', 'a new storage is mounted below /mnt/pve');
$section = $class->check_config('a', { 's3-bucket' => 'b', path => '/srv/x' }, 1, 1);
is($section->{path}, '/srv/x', 'or where one says');
$section = $class->check_config('a', { 's3-region' => 'r' }, 0, 1);
ok(!exists($section->{path}), 'an update has only what changes');

for my $fixed (qw(path s3-bucket s3-prefix)) {
    eval { $class->check_config('a', { $fixed => 'x' }, 0, 1) };
    is($@, "can't change value of fixed parameter '$fixed'\n", "$fixed stays as it was");
}
eval { $class->check_config('a', {}, 1, 1) };
is($@, "missing value for required option 's3-bucket'\n", 'only the bucket is required');

done_testing();
