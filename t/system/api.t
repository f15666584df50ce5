#!/usr/bin/perl
# The storage through Proxmox VE's API: uploads, downloads, notes, and what the web interface asks.
# pve-api runs it as pvedaemon does, in taint mode.
use v5.36;

use Digest::SHA qw(sha256_hex);
use FindBin qw($RealBin);
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE;
use S3PVE::Harness;
use S3PVE::Test;

my $pve = S3PVE::Harness->start();
my $rgw = rgw();
my $bucket = "api-$$-" . int(time());
my $client = S3PVE::Client->open({
    endpoint => $rgw->{endpoint},
    bucket => $bucket,
    'access-key' => $rgw->{access_key},
    'secret-key' => $rgw->{secret_key},
});

my sub api (@call) { return JSON::PP->new->allow_nonref->decode($pve->api(@call)) }
my sub in_bucket ($key) {
    return eval { $client->head($key, timeout_ms => 5000)->{size} }
}

# --- adding

api(
    'POST', '/storage', 'type=s3', 'storage=st', "s3-endpoint=$rgw->{endpoint}",
    "s3-bucket=$bucket",
    "s3-access-key=$rgw->{access_key}", "s3-secret-key=$rgw->{secret_key}",
    'content=iso,vztmpl,backup,snippets,import', 's3-prefix=a/prefix',
);
my $config = api('GET', '/storage/st');
is($config->{'s3-prefix'}, 'a/prefix', 'a storage is added');
is(join(' ', grep { m/secret|token/ } keys $config->%*), '', 'its secret is not told');
is($config->{shared}, 1, 'it is shared');
unlike(JSON::PP->new->encode($config), qr/\Q$rgw->{secret_key}\E/, 'anywhere');

my $status = api('GET', 'storage/st/status');
is($status->{active}, 1, 'it is active');
cmp_ok($status->{total}, '>', 1 << 40, 'and large');
my ($listed) = grep { $_->{storage} eq 'st' } api('GET', 'storage', 'format=1')->@*;
is($listed->{active}, 1, 'in the list of storages too');
like(api('GET', 'storage/st/identity')->{id}, qr/\Q$bucket\E/, 'it has an identity')
    if $pve->has_api(14);

# --- uploads

my $iso = join('', map { pack('N', rand(1 << 32)) } 1 .. 2_000_000); # 8 MB
my $file = '/var/tmp/pveupload-0011aa';

my sub upload ($data, $content, $filename, @more) {
    $pve->must({ stdin => $data }, 'sh', '-c', "cat > $file");
    return $pve->run(
        'pve-api', 'POST', 'storage/st/upload', "content=$content",
        "filename=$filename", "tmpfilename=$file", @more
    );
}

my ($code, $out) = upload(
    $iso, 'iso', 'up.iso', 'checksum=' . sha256_hex($iso),
    'checksum-algorithm=sha256'
);
is($code, 0, 'an ISO is uploaded') or diag($out);
is($client->get('a/prefix/template/iso/up.iso') eq $iso ? 1 : 0, 1, 'and is what it was');
($code) = upload('x', 'iso', 'bad.iso', 'checksum=' . sha256_hex('y'), 'checksum-algorithm=sha256');
isnt($code, 0, 'a wrong checksum is refused');
is(in_bucket('a/prefix/template/iso/bad.iso'), undef, 'and nothing is stored');
($code) = upload($iso, 'vztmpl', 'deb_1_amd64.tar.gz');
is(in_bucket('a/prefix/template/cache/deb_1_amd64.tar.gz'), length($iso), 'a template is uploaded');

# --- downloads

my $web = scratch();
spew("$web/net.iso", $iso, 0644);
spew("$web/net.tar.gz", $iso, 0644);
my $server = $pve->web("$web");
api('GET', 'query-url-metadata', "url=$server/net.iso");
$pve->api(
    'POST', 'storage/st/download-url', 'content=iso', 'filename=net.iso',
    "url=$server/net.iso", 'checksum=' . sha256_hex($iso), 'checksum-algorithm=sha256'
);
is($client->get('a/prefix/template/iso/net.iso') eq $iso ? 1 : 0, 1, 'an ISO is downloaded');
$pve->api(
    'POST', 'storage/st/download-url', 'content=vztmpl', 'filename=net_1_amd64.tar.gz',
    "url=$server/net.tar.gz"
);
is(in_bucket('a/prefix/template/cache/net_1_amd64.tar.gz'), length($iso), 'so is a template');
($code) = $pve->run(
    'pve-api', 'POST', 'storage/st/download-url', 'content=iso',
    'filename=wrong.iso', "url=$server/net.iso", 'checksum=' . sha256_hex('y'),
    'checksum-algorithm=sha256'
);
isnt($code, 0, 'a wrong checksum is refused');
is(
    join(' ', grep { m/wrong|tmp/ } map { $_->{key} } $client->list('', undef, undef)->@*),
    '', 'and nothing is left of it'
);

# --- looking and changing

my $content = api('GET', 'storage/st/content');
is_deeply(
    [sort map { $_->{volid} } $content->@*],
    [
        'st:iso/net.iso', 'st:iso/up.iso', 'st:vztmpl/deb_1_amd64.tar.gz',
        'st:vztmpl/net_1_amd64.tar.gz',
    ],
    'all of it is listed'
);
my ($entry) = grep { $_->{volid} eq 'st:iso/up.iso' } $content->@*;
is($entry->{size}, length($iso), 'with sizes');
cmp_ok(abs($entry->{ctime} - time()), '<', 600, 'and times');
is(api('GET', 'storage/st/content/st:iso/up.iso')->{size}, length($iso), 'a file can be asked for');

my $backup = 'vzdump-qemu-100-2026_01_02-03_04_05.vma.zst';
$client->put("a/prefix/dump/$backup", 'archive');
ok(
    wait_until(
        15,
        sub {
            grep { $_->{volid} =~ m/vzdump/ } api('GET', 'storage/st/content')->@*;
        }
    ),
    'a backup that another client stored shows up'
);
api('PUT', "storage/st/content/st:backup/$backup", "notes=Grüße\nzwei", 'protected=1');
my ($shown) = grep { $_->{volid} =~ m/vzdump/ } api('GET', 'storage/st/content')->@*;
like($shown->{notes}, qr/^Gr.+e$/, 'the first line of its notes is listed');
is($shown->{protected}, 1, 'and its protection');
like(
    $pve->fails('pve-api', 'DELETE', "storage/st/content/st:backup/$backup"),
    qr/protected/, 'which keeps it'
);
api('PUT', "storage/st/content/st:backup/$backup", 'protected=0');
$pve->api('DELETE', "storage/st/content/st:backup/$backup");
is(
    join(' ', map { $_->{key} } $client->list('a/prefix/dump/v', undef, undef)->@*),
    '', 'until it is removed, with its notes'
);

like(
    $pve->fails(
        'pve-api', 'POST', 'storage/st/content', 'vmid=100', 'filename=vm-100-disk-0.raw',
        'size=32M'
    ),
    qr/does not hold disk images/,
    'a disk is refused'
);

# --- an appliance, whose disks are looked into where it lies

my $manifests = "$ENV{PVE_SRC}/pve-storage/src/test/ovf_manifests";
my ($ovf) = glob("$manifests/*.ovf");
my ($disk) = slurp($ovf) =~ m/ovf:href="([^"]+)"/;
run_ok('tar', '-C', $manifests, '-cf', "$web/one.ova", $ovf =~ s!.*/!!r, $disk);
$pve->must('cp', "$web/one.ova", '/mnt/pve/st/import/one.ova');
my $import = api('GET', 'storage/st/import-metadata', 'volume=import/one.ova');
is($import->{type}, 'vm', 'an OVA can be looked into');
my ($found) = grep { ref } values $import->{disks}->%*;
is($found->{volid}, "st:import/one.ova/$disk", 'and its disk is found');

# --- changing and removing

api('PUT', '/storage/st', 's3-quota=7', 'prune-backups=keep-last=3');
is(api('GET', '/storage/st')->{'s3-quota'}, 7, 'a change is stored');
is(api('GET', 'storage/st/status')->{total}, 7 << 30, 'and in force');
like(
    $pve->fails('pve-api', 'PUT', '/storage/st', 's3-access-key=WRONG'),
    qr/InvalidAccessKeyId|403/, 'a wrong key is not'
);
api('DELETE', '/storage/st');
like($pve->fails('pve-api', 'GET', '/storage/st'), qr/does not exist/, 'a storage is removed');
is(in_bucket('a/prefix/template/iso/up.iso'), length($iso), 'what is in the bucket stays');

done_testing();
