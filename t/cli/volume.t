#!/usr/bin/perl
# s3pve volume: disks by their names, on a bucket and nothing else, and a disk's bytes out of it.
use v5.36;

use Digest::MD5;
use FindBin qw($RealBin);
use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Volume;

need_command(qw(qemu-io qemu-img));
my $dir = scratch();
$ENV{XDG_STATE_HOME} = "$dir/state";
my $rgw = rgw();
my $bucket = $rgw->bucket();

my sub run (@args) { return s3pve($rgw, $bucket, 'volume', @args) }
my sub lines ($text) {
    return map { decode_json($_) } split(/\n/, $text);
}

# --- names

my ($status, $out, $err) = run('create', '100/vm-100-disk-0.raw', '1G');
is("$status$out$err", '0', 'create, in silence');
($status, $out) = run('create', '100/vm-100-disk-1.qcow2', '--json');
my $info = decode_json($out);
ok($info->{file} && $info->{size} == 0, 'without a size it is a file that grows');
is($info->{name}, '100/vm-100-disk-1.qcow2', '... said as JSON');
is((run('create', '9/vm-9-disk-0.raw', '1536M'))[0], 0, 'another guest');
($status, $out, $err) = run('create', '100/vm-100-disk-0.raw', '2G');
is($status, 5, 'a name that is taken: status 5');
like($err, qr/^s3pve: volume create: [^\n]*100\/vm-100-disk-0\.raw[^\n]*\n\z/, '... in one line');

($status, $out) = run('ls');
is(
    $out, "100/vm-100-disk-0.raw\n100/vm-100-disk-1.qcow2\n9/vm-9-disk-0.raw\n",
    'ls, in order of names'
);
is((run('ls', 100))[1], $out =~ s/^9.*\n//mr, '... of one guest');
is((run('ls', 77))[1], '', '... that has none');
($status, $out) = run('ls', '-l', 9);
like(
    $out, qr/^ +1610612736  \d{4}-\d\d-\d\dT[\d:]{8}Z  closed   - +9\/vm-9-disk-0\.raw\n\z/,
    'ls -l'
);
my ($json) = grep { !$_->{file} } lines((run('ls', '--json', 100))[1]);
is("$json->{size} $json->{state} '$json->{node}'", "1073741824 closed ''", 'ls --json');
cmp_ok(abs($json->{created} - time()), '<', 300, '... with the time it was made');
is_deeply(decode_json((run('stat', $json->{name}, '--json'))[1]), $json, 'stat --json, the same');
like((run('stat', $json->{name}))[1], qr/^size: 1073741824$/m, 'stat in words');
is((run('stat', '100/vm-100-disk-7.raw'))[0], 3, 'stat of nothing: status 3');

for my $bad (
    'vm-100-disk-0.raw', '100/', '/100/x.raw', '100/../x.raw', '0/vm-0-disk-0.raw',
    '100/a b.raw',
    '100/x', '100/' . 'x' x 300 . '.raw'
) {
    my %with = (create => ['1G'], mv => ['100/y.raw']);
    for my $verb (qw(create stat mv dump fsck export)) {
        ($status, $out, $err) = run($verb, $bad, ($with{$verb} // [])->@*);
        is($status, 2, "volume $verb '" . substr($bad, 0, 20) . "': status 2");
        like($err, qr/^s3pve: volume $verb: [^\n]+\n\z/, '... in one line');
    }
}
for my $size ('', '0', '0K', '1X', '0x10', '1e3', '1000', '20P', 'G') {
    ($status, $out, $err) = run('create', '100/vm-100-disk-2.raw', $size);
    is($status, 2, "a size of '$size': status 2");
    like($err, qr/size/, '... and says so');
}
is((run('create', '100/vm-100-disk-2.raw', '1.5G'))[0], 0, 'a size of 1.5G is one');
is((run('ls', $_))[0], 2, "no guest: '$_'") for qw(x 0 1x -1);
for my $case (['volume'], ['volume', 'frob'], ['volume', 'ls', '--data'], ['volume', 'create']) {
    ($status, $out, $err) = s3pve($rgw, $bucket, @$case);
    is($status, 2, "s3pve @$case: status 2");
    like($err, qr/^s3pve: [^\n]+\n\z/, '... in one line');
}

# --- another name, and none

is((run('mv', '9/vm-9-disk-0.raw', '9/base-9-disk-0.raw'))[0], 0, 'mv');
is((run('ls', 9))[1], "9/base-9-disk-0.raw\n", '... and it has the other name');
is((run('mv', '9/vm-9-disk-0.raw', '9/vm-9-x.raw'))[0], 3, 'mv of nothing: status 3');
is((run('mv', '9/base-9-disk-0.raw', '100/vm-100-disk-0.raw'))[0], 5, '... onto one: status 5');
is((run('mv', '9/base-9-disk-0.raw', '9/base-9-disk-0.raw'))[0], 2, '... onto itself: status 2');
is((run('rm', '9/base-9-disk-0.raw'))[0], 2, 'rm asks somebody');
is((run('ls', 9))[1], "9/base-9-disk-0.raw\n", '... and does nothing');
is((run('rm', '-y', '9/base-9-disk-0.raw', '100/vm-100-disk-2.raw'))[0], 0, '... or is told');
is((run('ls'))[1], "100/vm-100-disk-0.raw\n100/vm-100-disk-1.qcow2\n", '... and they are gone');
is((run('rm', '-y', '9/base-9-disk-0.raw'))[0], 3, 'rm of nothing: status 3');
run('rm', '-y', '100/vm-100-disk-0.raw', '100/vm-100-disk-1.qcow2');
is_deeply($rgw->objects($bucket), {}, 'nothing is left in the bucket');

# --- bytes

my $SIZE = 64 << 20;
my $volume = S3PVE::Test::Volume->new($rgw, $bucket, "$dir/volume");
my $name = $volume->name();
my @writes = (
    'write -P 1 0 20M', 'write -P 2 513k 1k', 'write -z 100k 64k', 'discard 256k 64k',
    'write -P 3 40M 3M', 'write -P 4 67108352 512',
);
my $model = spew("$dir/model", '');
truncate($model, $SIZE);

# The same to a file, which is what the disk must be.
my sub write_both ($end, $create, @commands) {
    $volume->write($end, $create, @commands);
    run_ok('qemu-io', '-f', 'raw', $model, map { ('-c', s/discard/write -z/r) } @commands);
    return;
}

my sub is_model ($what) {
    my ($code, $said) =
        run_cmd('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', "$dir/out", $model);
    is($code, 0, "$what: every byte is what was written") or diag($said);
    is(-s "$dir/out", -s $model, '... and no other');
    return;
}

write_both('back', $SIZE, @writes, 'flush');
($status, $out, $err) = run('export', $name, "$dir/out");
is("$status$out$err", '0', 'export, in silence');
is_model('closed');
cmp_ok((stat("$dir/out"))[12] * 512, '<', 30 << 20, 'what was never written takes no room');
ok(!-e "$dir/out.part", '... and no .part is left');
($status, $out) = run('export', $name, '-');
is(Digest::MD5::md5_hex($out), Digest::MD5::md5_hex(slurp($model)), 'to standard output');
spew("$dir/full", 'x' x 5000);
run_ok('sh', '-c', "s3pve volume export -c $rgw->{config} -b $bucket $name - >>$dir/full");
is(-s "$dir/full", 5000 + $SIZE, '... which may be a file that has something');
($status, $out) = run('export', $name, "$dir/out", '--json');
$json = decode_json($out);
is("$json->{state} $json->{size} $json->{lost}", "closed $SIZE 0", 'export --json');
cmp_ok(abs($json->{as_of} - time()), '<', 300, '... with the time of the last write');

is((run('mv', $name, '200/vm-200-disk-1.raw'))[0], 0, 'with another name');
is((run('export', '200/vm-200-disk-1.raw', "$dir/out"))[0], 0, '... it is exported');
is_model('renamed');
is((run('fsck', '--data', '200/vm-200-disk-1.raw'))[0], 0, '... and clean');
is((run('mv', '200/vm-200-disk-1.raw', $name))[0], 0, '... and it may have its old one again');
my $whole = $volume->get('volume.json');
$volume->set_root(length => 5_000_001);
is((run('export', $name, "$dir/out"))[0], 0, 'a file that grows');
is(-s "$dir/out", 5_000_001, '... is as long as it is');
ok(slurp("$dir/out") eq substr(slurp($model), 0, 5_000_001), '... and has what was written');
is((run('fsck', $name))[0], 0, '... and is clean');
$volume->put('volume.json', $whole);

write_both('kill', 0, 'write -P 5 10M 15M', 'write -P 6 2M 4k', 'flush');
write_both('kill', 0, 'write -P 7 11M 1M', 'write -z 3M 64k', 'discard 12M 1M', 'flush');
my %before = $volume->objects()->%*;
my $root = $volume->get('volume.json');
($status, $out, $err) = run('export', $name, "$dir/out");
is($status, 0, 'of a volume whose node was killed');
like(
    $err, qr/is open, by node n1: this is what the store had of it, as of 20/,
    '... which it says'
);
is_model('killed');
is_deeply($volume->objects(), \%before, 'it leaves no object and takes none');
is($volume->get('volume.json'), $root, '... and the volume is still that node\'s');

my ($what) = map { $_->{what} } lines((run('dump', $name, '--json'))[1]);
is($what, 'root', 'dump begins with the root');
my %seen;
$seen{ $_->{what} }++ for lines((run('dump', '-l', $name, '--json'))[1]);
is_deeply(
    [sort keys %seen],
    [qw(checkpoint epoch extent leaf node object root run segment)],
    '... and shows all there is'
);
is($seen{segment}, grep({ !m/^map/ } keys %before) - 1, '... each segment that lives');
($status, $out) = run('dump', $name);
is(
    scalar(() = $out =~ m/^(?:root|epoch|checkpoint|object|segment) \w+=/mg), $out =~ tr/\n//,
    'in words'
);
is((run('dump', '100/vm-100-disk-9.raw'))[0], 3, 'dump of nothing: status 3');
is((run('export', '100/vm-100-disk-9.raw', "$dir/none"))[0], 3, 'export of nothing: status 3');
ok(!-e "$dir/none" && !-e "$dir/none.part", '... leaves no file');

# --- while a node writes to it

my $live = S3PVE::Test::Volume->new($rgw, $rgw->bucket(), "$dir/live");
$live->start('-c', $SIZE);
my $writer = fork() // die "fork: $!\n";
if (!$writer) {
    $live->qemu_io(map { ("write -P $_ " . 256 * $_ . 'k 256k', 'flush') } 1 .. 200);
    POSIX::_exit(0);
}
my ($n_whole, $n_looked) = (0, 0);
until ($n_whole == 200 || $n_looked++ > 100) {
    my ($code) = $live->run('volume', 'export', '--quiet', $name, "$dir/live.raw");
    my $disk = $code == 0 ? slurp("$dir/live.raw") : 'none';
    my $n = 0;
    ++$n while $n < 200 && substr($disk, ($n + 1) << 18, 1 << 18) eq chr($n + 1) x (1 << 18);
    my $rest = substr($disk, ($n + 1) << 18);
    last if $rest =~ m/[^\0]/ || $n < $n_whole; # not what it was after some write, or before
    $n_whole = $n;
    last if ($live->run('volume', 'fsck', '--data', $name))[0] != 0;
}
waitpid($writer, 0);
is($n_whole, 200, "live: each of $n_looked exports was the disk after some write, and clean");
cmp_ok($n_looked, '>', 1, '... while it was written to');
is(($live->run('volume', 'rm', '-y', $name))[0], 5, 'rm of what a node has: status 5');
is(($live->run('volume', 'mv', $name, '1/vm-1-x.raw'))[0], 5, 'mv of it: status 5');
$live->stop('back');
is(($live->run('volume', 'fsck', '--data', $name))[0], 0, 'and it is clean afterwards');

# --- damage

my ($first) = $volume->log();
my $data_at = unpack('V', substr($volume->get($first), 12, 4));
my $sound = $volume->get($first);
unlink("$dir/out");
$volume->damage($first, $data_at + 5 * 4096 + 100);
($status, $out, $err) = run('export', $name, "$dir/out");
is($status, 1, 'a damaged block: status 1');
like($err, qr/\Q$first\E: block 5 of its data is damaged/, '... and says which');
ok(
    !-e "$dir/out" && !-e "$dir/out.part",
    '... and leaves nothing that could be taken for the disk'
);
($status, $out, $err) = run('export', '--salvage', $name, "$dir/out");
is($status, 1, '--salvage: status 1');
like($err, qr/^s3pve: lost: 4096 bytes at 20480: /m, '... says what is lost');
is(scalar(() = $err =~ m/lost:/g), 1, '... and no more');
run_ok('qemu-io', '-f', 'raw', $model, '-c', 'write -z 20k 4k');
is_model('all but that');
$volume->remove($first);
($status, $out, $err) = run('export', '--salvage', $name, "$dir/out", '--json');
is($status, 1, 'a segment that is missing');
my @lost = grep { $_->{lost} } lines($err);
is(decode_json($out)->{lost}, scalar(@lost), '... is told, in JSON too');
run_ok('qemu-io', '-f', 'raw', $model, map { ('-c', "write -z $_->{offset} $_->{lost}") } @lost);
is_model('all but what was in it');
$volume->put($first, $sound);
$volume->damage(($volume->log())[-1], 300);
($status, $out, $err) = run('export', '--salvage', $name, "$dir/out");
like($err, qr/lost: [^\n]*what was written from then on is lost/, 'a damaged log ends there');
($status, $out, $err) = run('export', $name, "$dir/out");
is($status, 1, '... and is none, unless that is said');

done_testing();
