#!/usr/bin/perl
# What Proxmox VE's programs do to files, on a real S3 server.
use v5.36;

use Digest::SHA qw(sha256_hex);
use Errno qw(EEXIST ENOENT ENOTEMPTY EPERM ENOTDIR EISDIR);
use Fcntl qw(O_RDONLY O_WRONLY O_RDWR O_CREAT O_EXCL O_TRUNC SEEK_SET);
use FindBin qw($RealBin);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $rgw = rgw();
my $bucket = $rgw->bucket();
my $daemon = S3PVE::Test::Daemon->new($rgw, $bucket);
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
my $mnt = $daemon->{mnt};
ok($daemon->settle(), '... and is online');

# The same everywhere, and not the same at any two places.
open(my $random, '<', '/dev/urandom') or die "/dev/urandom: $!\n";
read($random, my $noise, 1 << 20);
my sub content ($size) {
    my $data = '';
    for (my $i = 0; length($data) < $size; $i++) {
        $data .= pack('Q', $i) . substr($noise, $i % 1024);
    }
    return substr($data, 0, $size);
}

# --- writing and reading

for my $size (0, 1, 4095, 65536, (1 << 20) + 1, (16 << 20) - 1, 16 << 20, (16 << 20) + 1, 50 << 20)
{
    my $data = content($size);
    my $file = "$mnt/template/iso/size-$size.iso";
    spew($file, $data);
    is((stat($file))[7], $size, "$size bytes: stat knows the size after close");
    is(sha256_hex(slurp($file)), sha256_hex($data), '... and reads what was written');
}
my $objects = $rgw->objects($bucket);
is($objects->{'template/iso/size-52428800.iso'}, 52428800, 'another client sees the object');
ok(wait_until(5, sub { $daemon->ask('status')->{uploads} == 0 }), 'no upload is left');

my $data = content(50 << 20);
my $file = "$mnt/template/iso/size-52428800.iso";
open(my $fh, '<:raw', $file) or die "$file: $!\n";
my $wrong = 0;
for my $offset (0, 52428799, 7, 33 << 20, 4095, 20 << 20, (20 << 20) + 5, 16777215) {
    seek($fh, $offset, SEEK_SET);
    my $n = read($fh, my $got, 10000);
    $wrong++ if $got ne substr($data, $offset, 10000);
}
is($wrong, 0, 'reads here and there are right');

# --- replacing under a reader

seek($fh, 0, SEEK_SET);
read($fh, my $first, 100);
spew($file, 'new');
is(slurp($file), 'new', 'a file replaced while it is read has its new content');
seek($fh, 40 << 20, SEEK_SET);
my $n = read($fh, my $got, 100);
ok(!$n || $got eq substr($data, 40 << 20, 100), '... but the reader never gets a mixture');
close($fh);

# --- nobody sees half a file

my $half = "$mnt/snippets/half.yml";
sysopen(my $out, $half, O_WRONLY | O_CREAT) or die "$half: $!\n";
syswrite($out, 'half');
ok(
    !exists($rgw->objects($bucket)->{'snippets/half.yml'}),
    'a file being written is not in the bucket'
);
close($out) or die "$half: $!\n";
is($rgw->objects($bucket)->{'snippets/half.yml'}, 4, '... but after close it is');

# --- names

ok(!sysopen($fh, $half, O_WRONLY | O_CREAT | O_EXCL), 'O_EXCL refuses an existing name');
is($! + 0, EEXIST, '... with EEXIST');
my ($code, undef, $err) = run_cmd('dd', 'if=/dev/null', "of=$half", 'conv=excl');
isnt($code, 0, '... also for dd conv=excl');
like($err, qr/File exists/, '... which says so');
is(slurp($half), 'half', '... and the file is as it was');

for my $dir (qw(dump template/iso template/cache snippets import)) {
    ok(-d "$mnt/$dir", "$dir is there");
}
ok(mkdir("$mnt/mine"), 'a directory is made');
ok(!mkdir("$mnt/mine"), '... once');
is($! + 0, EEXIST, '... then EEXIST');
is(system('mkdir', '-p', "$mnt/mine/100/a/b"), 0, 'mkdir -p');
ok(!rmdir("$mnt/mine/100"), 'a directory with something in it stays');
is($! + 0, ENOTEMPTY, '... with ENOTEMPTY');
ok(rmdir("$mnt/mine/100/a/b"), 'an empty one goes');
ok(!-e "$mnt/mine/100/a/b", '... and is gone');
ok(!rmdir("$mnt/mine/none"), 'a missing one cannot go');
is($! + 0, ENOENT, '... with ENOENT');
ok(!rmdir($half), 'a file is no directory');
is($! + 0, ENOTDIR, '... with ENOTDIR');
is(system('rm', '-r', "$mnt/mine"), 0, 'rm -r');
ok(!rmdir("$mnt/dump"), 'a directory that Proxmox VE expects stays');

ok(!unlink("$mnt/snippets/none"), 'a missing file cannot be removed');
is($! + 0, ENOENT, '... with ENOENT');
ok(!stat("$mnt/snippets/none"), 'a missing file has no stat');
is($! + 0, ENOENT, '... with ENOENT');
ok(!symlink($half, "$mnt/snippets/link"), 'no symbolic links');
is($! + 0, EPERM, '... with EPERM');
ok(!link($half, "$mnt/snippets/link"), 'no hard links');
is($! + 0, EPERM, '... with EPERM');
ok(!sysopen($fh, "$mnt/snippets", O_WRONLY), 'a directory cannot be written');
is($! + 0, EISDIR, '... with EISDIR');

ok(rename($half, "$mnt/snippets/whole.yml"), 'a file is renamed');
is(slurp("$mnt/snippets/whole.yml"), 'half', '... with its content');
ok(!-e $half, '... and the old name is gone');
spew("$mnt/snippets/other.yml", 'other');
ok(rename("$mnt/snippets/other.yml", "$mnt/snippets/whole.yml"), '... also over another');
is(slurp("$mnt/snippets/whole.yml"), 'other', '... which is replaced');
ok(unlink("$mnt/snippets/whole.yml"), 'and removed');
ok(!-e "$mnt/snippets/whole.yml", '... it is gone');
ok(!exists($rgw->objects($bucket)->{'snippets/whole.yml'}), '... from the bucket, too');

# --- programs

my $source = "$daemon->{dir}/source.iso";
spew($source, content(3 << 20), 0640);
utime(1_600_000_000, 1_600_000_000, $source);
is(system('cp', '-p', '--', $source, "$mnt/template/iso/copy.iso"), 0, 'cp -p');
is(system('cmp', $source, "$mnt/template/iso/copy.iso"), 0, '... copies');
is((stat("$mnt/template/iso/copy.iso"))[9], 1_600_000_000, '... the time as well');
is(system('cp', '--', "$mnt/template/iso/copy.iso", "$daemon->{dir}/back.iso"), 0, 'and back');
is(system('cmp', $source, "$daemon->{dir}/back.iso"), 0, '... the same');

mkdir("$daemon->{dir}/tree");
spew("$daemon->{dir}/tree/$_", content(100_000)) for qw(a b c);
my $archive = "$mnt/dump/vzdump-lxc-101-2026_01_01-00_00_00.tar";
is(
    system("tar -C $daemon->{dir} --sort=name -cf - tree >$archive"), 0,
    'tar writes through the shell'
);
is(run_ok('tar', 'tf', $archive), "tree/\ntree/a\ntree/b\ntree/c\n", '... and lists');
my $list = run_ok('sh', '-c', "tar tf $archive | head -1");
is($list, "tree/\n", '... also when nobody listens to the end');

my ($df) = run_ok('df', '-P', '-T', '-B', '1', "$mnt/dump") =~ m/^(s3pve.*)$/m;
like($df, qr/^s3pve:store1 +fuse\.s3pve +\d+ +\d+ +\d+ /, 'df, as vzdump asks it');
is(system('chmod', '600', $archive), 0, 'chmod is fine');
is(system('chown', '0:0', $archive), 0, 'chown is fine');
is(system('flock', '-n', $archive, 'true'), 0, 'flock is fine');
is(system('truncate', '-s', '5000', "$mnt/snippets/grown"), 0, 'a file made by truncate');
is(slurp("$mnt/snippets/grown"), "\0" x 5000, '... is zeroes');
is(system('fallocate', '-l', '9000', "$mnt/snippets/grown"), 0, 'fallocate makes it longer');
is((stat("$mnt/snippets/grown"))[7], 9000, '... as it says');
isnt(
    system("fallocate -p -o 0 -l 4096 $mnt/snippets/grown 2>/dev/null"), 0,
    '... but makes no holes'
);

# --- another node

my $other = S3PVE::Test::Daemon->new($rgw, $bucket);
ok($other->start(), 'another node mounts the same bucket') or diag($other->output());
ok(wait_until(10, sub { -e "$other->{mnt}/template/iso/copy.iso" }), '... and sees the files');
spew("$mnt/snippets/news", 'one');
ok(wait_until(7, sub { -e "$other->{mnt}/snippets/news" }), 'a new file shows up there within 5 s');
spew("$mnt/snippets/news", 'two, longer');
ok(
    wait_until(7, sub { -s "$other->{mnt}/snippets/news" == 11 }),
    '... and so does its next version'
);
is(slurp("$other->{mnt}/snippets/news"), 'two, longer', '... with its content');
unlink("$mnt/snippets/news");
ok(wait_until(7, sub { !-e "$other->{mnt}/snippets/news" }), '... and its end');
# --- two nodes write one name at once: each close is a whole object, the later one stays

my @mounts = ($mnt, $other->{mnt});
my @writers = map {
    my $file = "$mounts[$_]/template/iso/both.iso";
    my $cmd = "head -c 40M /dev/zero | tr '\\0' $_ >$file";
    my $writer = fork() // die "fork: $!\n";
    exec('sh', '-c', $cmd) or POSIX::_exit(1) if !$writer;
    $writer;
} 0, 1;
is(join(' ', map { waitpid($_, 0); $? } @writers), '0 0', 'two nodes write the same name');
my @seen = map {
    my $dir = $_;
    wait_until(8, sub { ((-s "$dir/template/iso/both.iso") // 0) == 40 << 20 });
    sleep(6);
    my $text = slurp("$dir/template/iso/both.iso");
    join('', grep { index($text, $_) >= 0 } map { chr } 0 .. 255);
} @mounts;
like($seen[0], qr/^[01]$/, '... and one of them is there, unmixed');
is($seen[1], $seen[0], '... the same on both');
unlike($rgw->s3cmd('multipart', "s3://$bucket"), qr/both/, '... and no parts are left');
unlink("$mnt/template/iso/both.iso");

is($other->stop(), 0, 'the other node leaves');

is($daemon->stop(), 0, 'the daemon ends well');
done_testing();
