#!/usr/bin/perl
# A storage on the command line of Proxmox VE, from adding it to removing it.
use v5.36;

use Digest::SHA;
use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(time);

use lib "$RealBin/../lib";
use S3PVE;
use S3PVE::Harness;
use S3PVE::Test;

my $pve = S3PVE::Harness->start();
my $rgw = rgw();
my $bucket = "pvesm-$$-" . int(time());
my $client = S3PVE::Client->open({
    endpoint => $rgw->{endpoint},
    bucket => $bucket,
    'access-key' => $rgw->{access_key},
    'secret-key' => $rgw->{secret_key},
});

my sub objects (@prefix) { # keys in the bucket, without our own and what marks folders
    my $list = $client->list($prefix[0] // '', undef, undef);
    return join(' ', grep { !m!^\.s3pve/|/$! } map { $_->{key} } $list->@*);
}

my sub exists_in_bucket ($key) {
    return eval { $client->head($key); 1 } ? 1 : 0;
}

my sub daemon_pid () { # which it writes into its lock
    return $pve->must('cat', '/run/s3pve/st/lock') =~ m/^(\d+)$/ ? $1 : die "no daemon\n";
}

# --- loading

$pve->must('pvesm', 'status');
is($pve->{stderr}, '', 'Proxmox loads the plugin without a word, such as of an older API');
$pve->must({ env => { PVE_TAINT => 1 } }, 'pvesm', 'status');
is($pve->{stderr}, '', 'in taint mode too');
like($pve->must('pvesm', 'help', 'add'), qr/s3-endpoint/, 'and knows its options');

# --- adding

my @add = (
    'pvesm', 'add', 's3', 'st', '--s3-endpoint', $rgw->{endpoint}, '--s3-bucket', $bucket,
    '--s3-access-key', $rgw->{access_key},
);
my @secret = ('--s3-secret-key', $rgw->{secret_key});
like($pve->fails(@add), qr/s3-secret-key: missing/, 'a storage without a secret is refused');
like($pve->fails(@add, '--s3-secret-key', 'wrong'), qr/SignatureDoesNotMatch/, 'with a wrong one');
like($pve->fails(@add, @secret, '--s3-create-bucket', 0), qr/NoSuchBucket/, 'without its bucket');
like($pve->fails(@add, @secret, '--s3-part-size', 1), qr/minimum value of 5/, 'with a bad value');
unlike($pve->must('cat', '/etc/pve/storage.cfg'), qr/s3:/, 'and none of them is stored');
is(
    $pve->must('sh', '-c', 'ls /etc/pve/priv/storage /run/s3pve 2>/dev/null; true') =~
        s/\S+:\s*//gr,
    '', 'nor their secrets'
);

my $begin = time();
$pve->must(@add, @secret, '--content', 'iso,vztmpl,backup,snippets,import', '--s3-quota', 100);
cmp_ok(time() - $begin, '<', 10, 'a good one is added');
is(eval { $client->bucket_check(); 1 }, 1, 'its bucket is made');
my $cfg = $pve->must('cat', '/etc/pve/storage.cfg');
like($cfg, qr/^s3: st\n/m, 'it is in storage.cfg');
unlike($cfg, qr/\Q$rgw->{secret_key}\E/, 'without the secret');
is(
    $pve->must('stat', '-c', '%a', '/etc/pve/priv/storage/st.s3'),
    "600\n", 'which is where only root can read it'
);
unlike($pve->must('cat', '/run/s3pve/st/config'), qr/\Q$rgw->{secret_key}\E/, 'and nowhere else');
like($pve->fails(@add, @secret), qr/already defined/, 'it cannot be added twice');

# --- state

my $status = $pve->status('st');
is($status->{state}, 'active', 'it is active');
is($status->{total}, 100 << 20, 'as large as the quota says');
$begin = time();
my $perl = q{use PVE::Storage; use Time::HiRes qw(time); my $b = time();
    for (1 .. 10) { PVE::Storage::storage_info(PVE::Storage::config()) } print +(time() - $b) / 10};
cmp_ok($pve->must('perl', '-e', $perl), '<', 0.5, 'its state is known at once');

# --- files

my $iso = "ISO\n" . join('', map { pack('N', $_) } 1 .. 1_500_000); # 6 MB
spew("$pve->{root}/in", $iso);
my $path = $pve->must('pvesm', 'path', 'st:iso/one.iso') =~ s/\n//r;
is($path, '/mnt/pve/st/template/iso/one.iso', 'a file has a path');
$pve->must('cp', "$pve->{root}/in", $path);
is_deeply([$pve->list('st')], ['iso/one.iso'], 'a file that was copied there is listed');
is($client->head('template/iso/one.iso')->{size}, length($iso), 'and is an object of that name');
$client->put('template/iso/two.iso', 'from elsewhere');
ok(wait_until(15, sub { scalar($pve->list('st')) == 2 }), 'so is one that came another way');

$pve->must('pvesm', 'export', 'st:iso/one.iso', 'raw+size', "$pve->{root}/out");
is(substr(slurp("$pve->{root}/out"), 8) eq $iso ? 1 : 0, 1, 'it can be exported');
my $stream = $pve->must('pvesm', 'export', 'st:iso/one.iso', 'raw+size', '-');
is($stream eq slurp("$pve->{root}/out") ? 1 : 0, 1, '... also to standard output');
$pve->must({ stdin => $stream }, 'pvesm', 'import', 'st:iso/piped.iso', 'raw+size', '-');
is($client->get('template/iso/piped.iso') eq $iso ? 1 : 0, 1, '... and imported from there');
$pve->must('pvesm', 'free', 'st:iso/piped.iso');
$pve->must('pvesm', 'import', 'st:iso/three.iso', 'raw+size', "$pve->{root}/out");
is($client->get('template/iso/three.iso') eq $iso ? 1 : 0, 1, 'and imported under another name');
like(
    $pve->fails('pvesm', 'import', 'st:iso/three.iso', 'raw+size', "$pve->{root}/out"),
    qr/already exists/, 'but not over one that is there'
);
is($client->get('template/iso/three.iso') eq $iso ? 1 : 0, 1, 'which stays');

truncate("$pve->{root}/out", 5_000_000);
like(
    $pve->fails('pvesm', 'import', 'st:iso/four.iso', 'raw+size', "$pve->{root}/out"),
    qr/ended early/, 'half a file is not imported'
);
is(exists_in_bucket('template/iso/four.iso'), 0, 'nor left in the bucket');

$pve->must('pvesm', 'free', 'st:iso/three.iso');
is(exists_in_bucket('template/iso/three.iso'), 0, 'a removed file is gone from the bucket');
like($pve->fails('pvesm', 'path', 'st:iso/../../x.iso'), qr/unable to parse/, 'paths stay inside');

my $alloc = $pve->fails('pvesm', 'alloc', 'st', 100, 'vm-100-disk-0.raw', '1G');
like($alloc, qr/^storage 'st' does not hold disk images; it holds: .*iso/m, 'disks are refused');
like(
    $pve->fails('pvesm', 'alloc', 'st', 100, '', '1G', '--format', 'qcow2'),
    qr/does not hold disk images/, 'in any format'
);

# --- backups

my @names = map { "vzdump-qemu-100-2026_01_0$_-00_00_00.vma.zst" } 1 .. 5;
for my $name (@names) {
    $pve->must('sh', '-c', "echo $name > /mnt/pve/st/dump/$name");
    $pve->must('sh', '-c', 'echo log > /mnt/pve/st/dump/' . $name =~ s/\.vma\.zst/.log/r);
}
my $note = "first line\nsecond";
my $attributes = q{use PVE::Storage; my ($volname, %set) = @ARGV;
    my @st = (PVE::Storage::config()->{ids}->{st}, 'st', $volname);
    my $plugin = PVE::Storage::Plugin->lookup('s3');
    $plugin->update_volume_attribute(@st, $_, $set{$_}) for sort keys %set;
    print join('|', map { $plugin->get_volume_attribute(@st, $_) } qw(notes protected))};
my @set = ('perl', '-e', $attributes, "backup/$names[0]");
is(
    $pve->must(@set, notes => $note, protected => 1), "$note|1",
    'a backup has notes and protection'
);
is($client->get("dump/$names[0].notes"), $note, 'notes are an object beside it');
is(exists_in_bucket("dump/$names[0].protected"), 1, 'so is its protection');

my $dry = $pve->must('pvesm', 'prune-backups', 'st', '--keep-last', 1, '--dry-run', 1);
is(scalar(() = $dry =~ m/\bremove\b/g), 3, 'pruning says what it would remove');
like($dry, qr/\Q$names[0]\E\s.*protected/, 'and what is protected');
is(scalar(my @all = $pve->list('st', '--content', 'backup')), 5, 'without doing so');
$pve->must('pvesm', 'prune-backups', 'st', '--keep-last', 1);
is_deeply(
    [$pve->list('st', '--content', 'backup')],
    ["backup/$names[0]", "backup/$names[4]"], 'then it does'
);
is(exists_in_bucket('dump/' . $names[1] =~ s/\.vma\.zst/.log/r), 0, 'with what belongs to it');
my (undef, @said) = $pve->run('pvesm', 'free', "st:backup/$names[0]"); # a task: its exit is 0
like("@said", qr/cannot remove protected volume/, 'protection holds');
is(exists_in_bucket("dump/$names[0]"), 1, 'and the backup is there');
$pve->must(@set, notes => '', protected => 0);
is(exists_in_bucket("dump/$names[0].notes"), 0, 'empty notes are none');
$pve->must('pvesm', 'free', "st:backup/$names[0]");
is(exists_in_bucket("dump/$names[0]"), 0, 'without protection it goes');

# --- other content

for my $case (
    ['vztmpl/debian_1.0_amd64.tar.zst', 'template/cache/debian_1.0_amd64.tar.zst'],
    ['snippets/user.yaml', 'snippets/user.yaml'],
    ['import/disk.raw', 'import/disk.raw'],
) {
    my ($volname, $key) = $case->@*;
    $pve->must('cp', "$pve->{root}/in", $pve->must('pvesm', 'path', "st:$volname") =~ s/\n//r);
    is(exists_in_bucket($key), 1, "$volname is $key");
    is(scalar(grep { $_ eq $volname } $pve->list('st')), 1, '... and listed');
}

# --- changing

like(
    $pve->fails('pvesm', 'set', 'st', '--s3-secret-key', 'wrong'),
    qr/SignatureDoesNotMatch/, 'a wrong secret is not taken'
);
like(
    $pve->fails('pvesm', 'set', 'st', '--s3-bucket', 'other'), qr/Unknown option/,
    'nor another bucket'
);
is($pve->status('st')->{state}, 'active', 'and all goes on');
$pve->must('pvesm', 'set', 'st', '--s3-quota', 50, '--s3-upload-limit', 100, @secret);
$pve->must('pvesm', 'status');
is($pve->status('st')->{total}, 50 << 20, 'another quota is in force');
$pve->must('pvesm', 'set', 'st', '--delete', 's3-quota');
$pve->must('pvesm', 'status');
cmp_ok($pve->status('st')->{total}, '>', 1 << 30, 'without one it is very large');
$pve->must('pvesm', 'set', 'st', '--disable', 1);
is($pve->status('st')->{state}, 'disabled', 'a storage can be disabled');
$pve->must('pvesm', 'set', 'st', '--disable', 0);
is($pve->status('st')->{state}, 'active', 'and enabled');
$pve->must({ env => { PVE_TAINT => 1 } }, 'pvesm', 'set', 'st', '--content', 'iso,backup');
is($pve->{stderr}, '', 'changes are made in taint mode too');

# --- a daemon that dies

my $pid = daemon_pid();
kill('KILL', $pid);
is(scalar($pve->list('st', '--content', 'iso')), 2, 'a killed daemon is replaced by the next use');
isnt(daemon_pid(), $pid, 'by another');

# --- removing

my $kept = objects();
$pid = daemon_pid();
$pve->must({ env => { PVE_TAINT => 1 } }, 'pvesm', 'remove', 'st');
is($pve->{stderr}, '', 'a storage is removed');
unlike($pve->must('cat', '/proc/mounts'), qr!/mnt/pve/st!, 'it is unmounted');
ok(!defined(readlink("/proc/$pid/exe")), 'its daemon has ended'); # a zombie has, too
is(
    $pve->must('sh', '-c', 'ls /etc/pve/priv/storage /run/s3pve 2>/dev/null; true') =~
        s/\S+:\s*//gr, '',
    'nothing is left'
);
is(objects(), $kept, 'but all that is in the bucket');

$pve->must(
    { env => { PVE_TAINT => 1 } }, @add, @secret, '--content', 'iso', '--path',
    '/mnt/other'
);
is_deeply(
    [$pve->list('st')], ['iso/one.iso', 'iso/two.iso'],
    'and is there when it is added again'
);
$pve->must('pvesm', 'remove', 'st');

done_testing();
