#!/usr/bin/perl
# The storage in use: state, files, and what it does not do.
use v5.36;

use File::Path qw(make_path);
use File::Temp qw(tempdir);
use FindBin qw($Bin);
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use PVE::Storage;
use PVE::Storage::Custom::S3Plugin;
use PVE::Storage::DirPlugin;
use S3PVE::Config;
use S3PVE::Daemon;
use S3PVE::Folders;

my $class = 'PVE::Storage::Custom::S3Plugin';
my $root = $ENV{S3PVE_TEST_ROOT} = $S3PVE::Config::ROOT = tempdir(CLEANUP => 1);
my $mnt = "$root/mnt/a";
mkdir "$root/run";
$S3PVE::Daemon::SYSTEMD = "$root/no-systemd";
$S3PVE::Daemon::MOUNTS = "$root/mounts";
@S3PVE::Daemon::PROGRAM = ("$Bin/../lib/double-s3pved");

my $scfg = {
    type => 's3',
    path => $mnt,
    's3-bucket' => 'bucket',
    's3-endpoint' => 'https://s3.example.com',
    content => { map { $_ => 1 } qw(iso vztmpl backup snippets import) },
};

my sub spew ($path, $text) {
    open(my $fh, '>', $path) or die "$path: $!\n";
    print {$fh} $text;
    return close($fh);
}

my sub behave (%answers) { return spew("$root/behaviour", JSON::PP->new->encode(\%answers)) }

my sub error_of ($code) {
    eval { $code->(); 1 } and return '';
    return $@;
}

spew("$root/mounts", '');
END { S3PVE::Daemon::stop('a', $scfg, 5) if $scfg }

# --- state

is($class->check_connection('a', $scfg), 1, 'without a daemon activation may go on, to start it');
is_deeply([$class->status('a', $scfg, {})], [undef], 'but there is no status yet');

is(
    error_of(sub { $class->activate_storage('a', { $scfg->%*, 'create-base-path' => 0 }, {}) }),
    "storage 'a': directory '$mnt' does not exist, and create-base-path is 0\n",
    'a mount point that is not to be made has to be there'
);
$class->activate_storage('a', $scfg, {});
ok(S3PVE::Daemon::is_mounted($mnt), 'activating starts the daemon');
is($class->check_connection('a', $scfg), 1, 'which is healthy');
is_deeply(
    [$class->status('a', $scfg, {})],
    [1 << 50, (1 << 50) - 12345, 12345, 1],
    'total, available and used bytes are what the daemon says'
);

my $down = { ok => JSON::PP::true, online => JSON::PP::false, mounted => JSON::PP::true };
behave(status => { $down->%*, last_error => 'connect: refused' });
is(
    error_of(sub { $class->check_connection('a', $scfg) }),
    "connect: refused\n",
    'a store out of reach is offline, for a reason'
);
is_deeply([$class->status('a', $scfg, {})], [undef], 'and not active');
behave(status => { $down->%*, last_error => '' });
is($class->check_connection('a', $scfg), 1, 'one that has not been asked yet is not');
behave(status => { $down->%*, online => JSON::PP::true, mounted => JSON::PP::false });
is_deeply([$class->status('a', $scfg, {})], [undef], 'without a mount it is not active');

# PVE has no timeout of its own, and asks for all storages in a row.
behave(status => 'silent');
for my $method (qw(check_connection status)) {
    my $begin = time();
    like(error_of(sub { $class->$method('a', $scfg, {}) }), qr/no answer in time/, "$method dies");
    cmp_ok(time() - $begin, '<', 4, '... soon, when the daemon stands still');
}
behave();

# --- directories

is(
    error_of(sub {
        $class->activate_storage('a', { $scfg->%*, 'content-dirs' => { iso => 'dump/' } }, {});
    }),
    "storage 'a' uses directory $mnt/dump for 'backup' and for 'iso'; see content-dirs\n",
    'two kinds of content do not share a directory'
);
$class->activate_storage('a', { $scfg->%*, 'content-dirs' => { iso => 'my/iso' } }, {});
ok(-d "$mnt/my/iso", 'a directory of the user is made');
$class->activate_storage(
    'a',
    { $scfg->%*, 'content-dirs' => { iso => 'other' }, 'create-subdirs' => 0 }, {}
);
ok(!-d "$mnt/other", 'unless it is not to be');
{
    no warnings 'redefine'; ## no critic (ProhibitNoWarnings)
    local *File::Path::make_path = sub { sleep(20) };
    my $new = { $scfg->%*, 'content-dirs' => { iso => 'slow' } };
    my $begin = time();
    is(
        error_of(sub { S3PVE::Folders::make_subdirs($class, 'a', $new, 0.5) }),
        "storage 'a': cannot create content directories - no answer in time\n",
        'a mount that stands still is an error'
    );
    cmp_ok(time() - $begin, '<', 5, 'when its time is over');
}
{
    my $new = { $scfg->%* };
    delete $new->{content};
    is(
        error_of(sub { $class->activate_storage('a', $new, {}) }),
        '', 'a storage that is just being added has no content set'
    );
}

# --- files

make_path("$mnt/dump", "$mnt/template/iso", "$mnt/snippets", "$mnt/import");
my $backup = 'backup/vzdump-qemu-100-2026_01_02-03_04_05.vma.zst';
my $archive = $class->filesystem_path($scfg, $backup);
is($archive, "$mnt/dump/vzdump-qemu-100-2026_01_02-03_04_05.vma.zst", 'a file has a path');
is_deeply([$class->path($scfg, $backup, 'a')], [$archive, 100, 'backup'], 'an owner and a type');

spew($archive, 'x' x 1000);
is(scalar($class->volume_size_info($scfg, 'a', $backup, 5)), 1000, 'its size is the exact one');
is_deeply(
    [($class->volume_size_info($scfg, 'a', $backup, 5))[0 .. 2]],
    [1000, 'raw', 1000],
    'with format and use'
);
is(scalar($class->volume_size_info($scfg, 'a', 'iso/none.iso', 5)), undef, 'none if missing');
is(
    $class->volume_size_info($scfg, 'a', 'import/x.qcow2', 5),
    'asked the base class', 'only an image with a size of its own is looked into'
);

spew("$mnt/snippets/$_", '') for qw(user.yaml user.yaml.tmp.123 x.tmp_dwnl.9);
is_deeply(
    [map { $_->{volid} } $class->list_volumes('a', $scfg, undef, ['snippets'])->@*],
    ['a:snippets/user.yaml'],
    'a snippet that is being written is not listed'
);

spew("$mnt/file", '');
is(
    error_of(sub {
        my $odd = { $scfg->%*, 'content-dirs' => { iso => 'file' } };
        $class->list_volumes('a', $odd, undef, ['snippets', 'iso']);
    }),
    "cannot list '$mnt/file' - Not a directory\n",
    'a directory that cannot be read is not an empty one'
);
is_deeply($class->list_volumes('a', $scfg, undef, ['vztmpl']), [], 'one that is not there is');

$class->update_volume_attribute($scfg, 'a', $backup, 'notes', "one\ntwo");
is($class->get_volume_attribute($scfg, 'a', $backup, 'notes'), "one\ntwo", 'a backup has notes');
is($class->get_volume_notes($scfg, 'a', $backup), "one\ntwo", 'by the old name too');
$class->update_volume_notes($scfg, 'a', $backup, 'three');
is($class->get_volume_attribute($scfg, 'a', $backup, 'notes'), 'three', 'which can be changed');

$class->update_volume_attribute($scfg, 'a', $backup, 'protected', 1);
is(
    error_of(sub { $class->free_image('a', $scfg, $backup, undef, 'raw') }),
    "cannot remove protected volume '$backup' on 'a'\n",
    'a protected backup stays'
);
ok(-e $archive, 'untouched');
$class->update_volume_attribute($scfg, 'a', $backup, 'protected', 0);
is($class->free_image('a', $scfg, $backup, undef, 'raw'), undef, 'without protection it goes');
ok(!-e $archive, 'is gone');
ok(-d "$mnt/dump", 'its directory is not');
{
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    is($class->free_image('a', $scfg, $backup, undef, 'raw'), undef, 'removing it again');
    is("@warnings", "'$archive' does not exist\n", 'only warns');
}
mkdir "$mnt/snippets/dir";
is(
    error_of(sub { $class->free_image('a', $scfg, 'snippets/dir', undef, 'raw') }),
    "cannot remove '$mnt/snippets/dir' - Is a directory\n",
    'what cannot be removed is an error'
);
ok(-d "$mnt/snippets/dir", 'and stays');
is_deeply(
    $class->get_import_metadata($scfg, 'import/x.ova', 'a'),
    { source => 'import/x.ova' }, 'an OVA is looked into as in a directory'
);

# --- a stream

my sub import_of ($data, $volname, $format = 'raw+size') {
    spew("$root/stream", $data);
    open(my $fh, '<:raw', "$root/stream") or die;
    return $class->volume_import($scfg, 'a', $fh, $volname, $format);
}

my $iso = join('', map { pack('N', $_) } 1 .. 1000);
is(import_of(pack('Q<', 4096) . $iso, 'iso/in.iso'), 'a:iso/in.iso', 'a stream is imported');
is(-s "$mnt/template/iso/in.iso", 4000, 'its size may be given in sectors');
is(
    error_of(sub { import_of(pack('Q<', 4000) . $iso, 'iso/in.iso') }),
    "file '$mnt/template/iso/in.iso' already exists\n", 'but not over a file'
);
is(-s "$mnt/template/iso/in.iso", 4000, 'which stays');
is(
    error_of(sub { import_of(pack('Q<', 8000) . $iso, 'iso/short.iso') }),
    "the stream ended early: 4000 bytes are missing\n", 'half a stream is no file'
);
ok(!-e "$mnt/template/iso/short.iso", 'and none is left');
ok(error_of(sub { import_of('', 'iso/empty.iso') }), 'nor of none');
ok(!-e "$mnt/template/iso/empty.iso", 'at all');
for my $case (['import/x.qcow2', 'raw+size'], ['iso/x.iso', 'tar+size'], [$backup, 'raw+size']) {
    is(
        error_of(sub { import_of('', $case->@*) }),
        "asked the base class\n", "$case->[0] from $case->[1] is the base's to judge"
    );
}

# --- what it does not do

is(
    error_of(sub { $class->alloc_image('a', $scfg, 100, 'raw', undef, 1024) }),
    "storage 'a' does not hold disk images; it holds: backup, import, iso, snippets, vztmpl\n",
    'a disk is refused, in words'
);
ok(!-e "$mnt/images", 'for which no directory is made');
is_deeply($class->list_images('a', $scfg), [], 'there are none, and nobody is asked');
is($class->volume_has_feature($scfg, 'copy', 'a', 'import/x.qcow2'), 1, 'files can be copied');
for my $feature (qw(snapshot clone template sparseinit rename replicate)) {
    is(
        $class->volume_has_feature($scfg, $feature, 'a', 'iso/x.iso'), undef,
        "there is no $feature"
    );
}
is(
    $class->volume_has_feature($scfg, 'copy', 'a', 'iso/x.iso', 'snap'),
    undef, 'nor a copy of a snapshot'
);

# --- identity and end

is($class->get_identity($scfg, 'a'), 'https://s3.example.com/bucket/', 'what it is stored in');
isnt(
    $class->get_identity({ $scfg->%*, 's3-prefix' => 'p' }, 'a'),
    $class->get_identity($scfg, 'a'),
    'a prefix makes another storage'
);
is(
    $class->get_identity(
        { $scfg->%*, 's3-endpoint' => 'S3.Example.com/', 's3-prefix' => '/p/' }, 'a'
    ),
    'https://s3.example.com/bucket/p',
    'however it is written'
);
is(
    $class->get_identity(
        { 's3-provider' => 'aws', 's3-region' => 'eu-west-1', 's3-bucket' => 'b' }, 'a'
    ),
    'aws.eu-west-1/b/',
    'a provider and a region stand for an endpoint'
);

behave(stop => { ok => JSON::PP::true, busy => JSON::PP::true });
is(
    error_of(sub { $class->deactivate_storage('a', $scfg, {}) }),
    "storage 'a' has files in use\n",
    'a storage in use is not deactivated'
);
behave();
is(error_of(sub { $class->deactivate_storage('a', $scfg, {}) }), '', 'one that is not, is');
ok(!S3PVE::Daemon::is_mounted($mnt), 'and unmounted');
is(
    error_of(sub { $class->list_volumes('a', $scfg, undef, ['snippets']) }),
    "cannot list '$mnt/snippets' - it is not mounted\n",
    'what lies below its mount point then is not listed'
);

done_testing();
