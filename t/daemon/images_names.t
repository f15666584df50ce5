#!/usr/bin/perl
# Names in images/: what is made, removed, renamed and found there, by this node and by others.
use v5.36;

use Errno qw(EBUSY EEXIST EINVAL EISDIR ENOENT ENOTDIR ENOTEMPTY EPERM EXDEV);
use Fcntl qw(O_RDONLY O_RDWR O_WRONLY O_CREAT O_EXCL SEEK_SET);
use FindBin qw($RealBin);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $rgw = rgw();
my $bucket = $rgw->bucket();
my $daemon = S3PVE::Test::Daemon->new($rgw, $bucket, node => 'n1');
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
my $images = "$daemon->{mnt}/images";

my sub names ($dir) {
    opendir(my $dh, $dir) or die "$dir: $!\n";
    my @names = sort grep { !m/^\.\.?$/ } readdir($dh);
    return "@names";
}

my sub command ($cmd, %args) {
    my $answer = $daemon->ask("volume-$cmd", %args);
    die "volume-$cmd: $answer->{error}\n" if !$answer->{ok};
    return;
}

my sub fails ($result, $errno, $what) {
    my $got = $! + 0;
    ok(!$result, $what);
    is($got, $errno, '... for the right reason');
    return;
}

# --- directories

ok(-d $images, 'images is there');
is(names($images), '', '... and empty');
fails(mkdir($images), EEXIST, '... and cannot be made');
fails(rmdir($images), EBUSY, '... nor removed');
ok(mkdir("$images/100"), 'a guest gets its directory');
fails(mkdir("$images/100"), EEXIST, '... once');
is(names($images), '100', '... which is listed');
is(system('mkdir', '-p', "$images/100"), 0, 'mkdir -p');
fails(mkdir("$images/guest"), EPERM, 'a directory has a guest\'s number');
fails(mkdir("$images/0100"), EPERM, '... as Proxmox VE writes it');
ok(rmdir("$images/100"), 'an empty one is removed');
ok(!-e "$images/100", '... and gone');
fails(rmdir("$images/100"), ENOENT, '... once');

# --- by command

command('create', name => '100/vm-100-disk-0.raw', size => 1 << 20);
is(names($images), '100', 'a volume made by command has its guest\'s directory');
is(names("$images/100"), 'vm-100-disk-0.raw', '... and is in it');
fails(mkdir("$images/100"), EEXIST, '... which needs not be made');
fails(rmdir("$images/100"), ENOTEMPTY, '... and is not empty');
command('create', name => '100/vm-100-disk-1.raw', size => 2 << 20);
is(-s "$images/100/vm-100-disk-1.raw", 2 << 20, 'the next one is seen at once');
is(names("$images/100"), 'vm-100-disk-0.raw vm-100-disk-1.raw', '... and listed');
command('delete', name => '100/vm-100-disk-1.raw');
ok(!-e "$images/100/vm-100-disk-1.raw", 'a deleted one is gone at once');
is(names("$images/100"), 'vm-100-disk-0.raw', '... from the list, too');
command('rename', name => '100/vm-100-disk-0.raw', to => '101/base-101-disk-0.raw');
ok(!-e "$images/100/vm-100-disk-0.raw", 'one renamed by command is no longer where it was');
is(-s "$images/101/base-101-disk-0.raw", 1 << 20, '... but where it is');

# --- made and removed by name

my $file = "$images/100/vm-100-disk-2.raw";
ok(sysopen(my $fh, $file, O_RDWR | O_CREAT | O_EXCL, 0600), 'a file is made') or diag($!);
is(-s $file, 0, '... and is empty');
is((stat($file))[2] & 07777, 0600, '... with its mode');
fails(sysopen(my $again, $file, O_RDWR | O_CREAT | O_EXCL), EEXIST, 'O_EXCL refuses it then');
is(syswrite($fh, 'x' x 10_000), 10_000, 'it grows when it is written');
is(-s $file, 10_000, '... as it should');
ok(close($fh), 'close');
is(-s $file, 10_000, '... leaves its length');
ok(unlink($file), 'it is removed');
ok(!-e $file, '... and gone');
fails(unlink($file), ENOENT, '... once');
my $stat = $daemon->ask('volume-stat', name => '100/vm-100-disk-2.raw');
is($stat->{code} // '', 'NOT_FOUND', '... and there is no such volume');
fails(
    sysopen($fh, "$images/100/no\$name.raw", O_WRONLY | O_CREAT),
    EINVAL, 'a name that no volume can have'
);
fails(sysopen($fh, "$images/file.raw", O_WRONLY | O_CREAT), EPERM, 'a file belongs to a guest');

ok(sysopen($fh, $file, O_RDWR | O_CREAT), 'a file is made again') or diag($!);
is(syswrite($fh, 'still here'), 10, '... and written');
ok(unlink($file), '... and removed while it is open');
ok(!-e $file, '... which takes its name');
sysseek($fh, 0, SEEK_SET);
is(sysread($fh, my $data, 100), 10, '... but who has it open');
is($data, 'still here', '... reads it');
is((stat($fh))[3], 0, '... and sees that it has no name');
close($fh);
ok(sysopen($fh, $file, O_RDWR | O_CREAT | O_EXCL), 'then there may be another of that name')
    or diag($!);
is(-s $fh, 0, '... which is empty');
close($fh);
ok(unlink($file), '... and goes, too');
ok(
    wait_until(10, sub { !$daemon->ask('volume-stat', name => '100/vm-100-disk-2.raw')->{ok} }),
    '... for good'
);

# --- folders that an import unpacks into

my $tmp = "$images/100/tmp_4711_100";
ok(mkdir($tmp), 'an import makes its folder');
fails(mkdir("$images/100/other"), EPERM, '... but no others are made');
is(names($tmp), '', '... which is empty');
is(names("$images/100"), 'tmp_4711_100', '... and listed');
spew("$tmp/disk.vmdk", 'unpacked' x 1000);
is(slurp("$tmp/disk.vmdk"), 'unpacked' x 1000, 'what is unpacked is there');
fails(rmdir($tmp), ENOTEMPTY, '... and its folder is not empty');
command('create', name => '100/vm-100-disk-0.vmdk', size => 1 << 20);
my $target = "$images/100/vm-100-disk-0.vmdk";
is(-s $target, 1 << 20, 'the volume it is to replace');
ok(rename("$tmp/disk.vmdk", $target), '... is replaced by a rename') or diag($!);
is(slurp($target), 'unpacked' x 1000, '... with its content and length');
is(names($tmp), '', 'nothing is left of it');
ok(rmdir($tmp), '... and the folder goes');
is(names("$images/100"), 'vm-100-disk-0.vmdk', '... for good');

# --- renaming

ok(rename($target, "$images/100/vm-100-disk-9.vmdk"), 'a file gets another name') or diag($!);
ok(!-e $target, '... and has no more its first one');
is(slurp("$images/100/vm-100-disk-9.vmdk"), 'unpacked' x 1000, '... but its content');
ok(
    rename("$images/100/vm-100-disk-9.vmdk", "$images/101/vm-101-disk-0.vmdk"),
    '... and another guest'
) or diag($!);
is(names("$images/100"), '', '... which the first one has no more');
is(-s "$images/101/vm-101-disk-0.vmdk", 8000, '... but the other');
my $snippet = "$daemon->{mnt}/snippets/a.txt";
spew($snippet, 'a');
fails(rename($snippet, "$images/101/a.raw"), EXDEV, 'nothing is moved in');
fails(rename("$images/101/vm-101-disk-0.vmdk", $snippet), EXDEV, '... nor out');
fails(rename("$images/101", "$images/102"), EPERM, 'a guest\'s directory keeps its name');
fails(rename($images, "$daemon->{mnt}/other"), EBUSY, '... and so does images');
is(system('mv', $snippet, "$images/101/vm-101-note.raw"), 0, 'mv copies then');
is(slurp("$images/101/vm-101-note.raw"), 'a', '... what is in it');
sysopen($fh, "$images/101/vm-101-note.raw", O_RDONLY) or die "open: $!\n";
fails(
    rename("$images/101/vm-101-note.raw", "$images/101/vm-101-none.raw"),
    EBUSY, 'an open one is not renamed'
);
close($fh);

# --- another node

my $second = S3PVE::Test::Daemon->new($rgw, $bucket, node => 'n2');
ok($second->start() && $second->settle(), 'another node') or diag($second->output());
my $theirs = "$second->{mnt}/images";
is(names($theirs), '101', '... sees the guests');
is(
    names("$theirs/101"),
    'base-101-disk-0.raw vm-101-disk-0.vmdk vm-101-note.raw',
    '... and their volumes'
);
ok(
    wait_until(
        150,
        sub {
            (eval { slurp("$theirs/101/vm-101-note.raw") } // '') eq 'a';
        }
    ),
    '... and reads them when they are free'
);
ok(wait_until(150, sub { unlink("$theirs/101/vm-101-disk-0.vmdk") }), '... and removes one')
    or diag($!);
spew("$theirs/102/vm-102-disk-0.raw", 'new') if mkdir("$theirs/102");
ok(wait_until(6, sub { !-e "$images/101/vm-101-disk-0.vmdk" }), 'which we see, soon');
ok(wait_until(6, sub { -e "$images/102/vm-102-disk-0.raw" }), '... as what it made');
is(-s "$images/102/vm-102-disk-0.raw", 3, '... of its length');

# --- in use

for my $case (['0', 4 << 20], ['1', (4 << 20) + 512]) {
    my ($number, $size) = $case->@*;
    my $name = "105/vm-105-disk-$number.raw";
    command('create', name => $name, size => $size);
    command('activate', name => $name);
    sysopen(my $fh, "$images/$name", O_WRONLY) or die "$name: $!\n";
    is(syswrite($fh, 'state'), 5, "a disk of $size bytes is written");
    close($fh) or die "$name: $!\n";
}
ok(
    unlink("$images/105/vm-105-disk-0.raw"),
    'who removes a small one that is in use, as swtpm does'
);
is(-s "$images/105/vm-105-disk-0.raw", 4 << 20, '... finds it again');
is(slurp("$images/105/vm-105-disk-0.raw") =~ tr/\0//c, 0, '... with nothing on it');
fails(unlink("$images/105/vm-105-disk-1.raw"), EBUSY, 'a larger one stays');
is(substr(slurp("$images/105/vm-105-disk-1.raw"), 0, 5), 'state', '... as it was');
for my $number (0, 1) {
    my $name = "105/vm-105-disk-$number.raw";
    command('deactivate', name => $name);
    ok(unlink("$images/$name"), 'one that is not in use goes');
    ok(!-e "$images/$name", '... and is gone');
}

# --- the end

is($second->stop(), 0, 'the other daemon ends well') or diag($second->output());
is($daemon->stop(), 0, 'the daemon ends well') or diag($daemon->output());
done_testing();
