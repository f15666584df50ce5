#!/usr/bin/perl
# The store goes away while volumes are open as files: what is known stays, what is written goes into
# the journal, what has to wait does so without an error, and whoever is killed meanwhile ends.
use v5.36;

use Fcntl qw(O_RDONLY O_RDWR SEEK_SET);
use FindBin qw($RealBin);
use POSIX qw(WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
need_command('dd');

use constant { MIB => 1 << 20 };
my $SOON = 3; # seconds

my $rgw = rgw(own => 1);
my $daemon = S3PVE::Test::Daemon->new($rgw, $rgw->bucket(), options => { timeout => 6 });
my sub start () {
    return $daemon->start() && $daemon->settle();
}
ok(start(), 'the daemon starts') or diag($daemon->output());
my $dir = "$daemon->{mnt}/images/100";

for my $n (0, 1) {
    my $answer = $daemon->ask('volume-create', name => "100/vm-100-disk-$n.raw", size => 16 * MIB);
    ok($answer->{ok}, 'a volume') or diag($answer->{error});
}
my ($disk, $cold) = map { "$dir/vm-100-disk-$_.raw" } 0, 1;

my sub open_file ($path) {
    sysopen(my $fh, $path, O_RDWR) or die "$path: $!\n";
    return $fh;
}

my sub put ($fh, $offset, $data) {
    sysseek($fh, $offset, SEEK_SET) // die "seek: $!\n";
    return syswrite($fh, $data);
}

my sub get ($fh, $offset, $length) {
    sysseek($fh, $offset, SEEK_SET) // die "seek: $!\n";
    sysread($fh, my $data, $length) // die "read: $!\n";
    return $data;
}

# In a child that may have to wait; its status, or undef while it does.
my sub begin ($code) {
    my $pid = fork() // die "fork: $!\n";
    POSIX::_exit(eval { $code->() } ? 0 : 1) if !$pid;
    return $pid;
}

my sub ended ($pid, $seconds) {
    my $status;
    wait_until($seconds, sub { waitpid($pid, WNOHANG) == $pid and defined($status = $?) });
    return $status;
}

my sub soon ($what, $code) {
    my $began = time();
    ok($code->(), $what);
    cmp_ok(time() - $began, '<', $SOON, '... soon');
    return;
}

# --- nothing of one of them on the node

my $fh = open_file($cold);
put($fh, 0, 'c' x (8 * MIB));
ok($fh->sync(), 'it is written');
close($fh);
is($daemon->stop(), 0, 'the daemon ends') or diag($daemon->output());
run_ok('sh', '-c', "rm -rf $daemon->{dir}/cache/*");
ok(start(), '... and starts again');
my @names = glob("$dir/*");
is(@names, 2, 'both are there');
$fh = open_file($disk);
my $cold_fh = open_file($cold);
put($fh, 0, 'before');
ok($fh->sync(), 'the other is written');

# --- away

$rgw->kill();
ok(wait_until(30, sub { !$daemon->ask('status')->{online} }), 'the store is gone');
soon('df works', sub { system("df $dir >/dev/null") == 0 });
soon('names are listed', sub { 2 == (() = glob("$dir/*")) });
soon('sizes are known', sub { (-s $cold // 0) == 16 * MIB });
soon('what is open is written', sub { put($fh, MIB, 'w' x MIB) == MIB });
soon('... and read', sub { get($fh, MIB, MIB) eq 'w' x MIB });
soon(
    '... also past the pages',
    sub { run_ok('dd', "if=$disk", 'iflag=direct', 'bs=1M', 'count=2') }
);

my $killed = begin(sub { $fh->sync() }); # one at a time, as the kernel has it
my $read = begin(sub { get($cold_fh, 0, 4096) });
my $direct = begin(sub { run_ok('dd', "if=$cold", 'iflag=direct', 'bs=1M', 'skip=4', 'count=1') });
sleep(3);
is(waitpid($killed, WNOHANG), 0, 'a flush waits for the store');
is(waitpid($read, WNOHANG), 0, '... as a read');
is(waitpid($direct, WNOHANG), 0, '... past the pages, too');
kill('KILL', $killed, $read);
is(ended($killed, 5), 9, 'who waits for a flush can be killed');
is(ended($read, 5), 9, '... as who waits for a read');
is(system("df $dir >/dev/null"), 0, 'df works still');
my $sync = begin(sub { $fh->sync() });
sleep(1);
is(waitpid($sync, WNOHANG), 0, 'another flush waits');

$rgw->revive();
ok(wait_until(60, sub { $daemon->ask('status')->{online} }), 'the store is back');
is(ended($sync, 60), 0, 'who waited for a flush has it');
is(ended($direct, 60), 0, '... as who waited for a read');
ok(get($cold_fh, 8 * MIB - 4096, 4096) eq 'c' x 4096, 'what was not read before is read');

# --- the end while it is away

$rgw->kill();
ok(wait_until(30, sub { !$daemon->ask('status')->{online} }), 'the store is gone again');
is(put($fh, 3 * MIB, 'in the journal'), 14, 'something is written');
$sync = begin(sub { $fh->sync() });
sleep(1);
is(waitpid($sync, WNOHANG), 0, '... and a flush waits');
my $began = time();
is($daemon->stop(), 0, 'the daemon ends well nevertheless') or diag($daemon->output());
cmp_ok(time() - $began, '<', 30, '... in time');
my $status = ended($sync, 5);
isnt($status // 0, 0, '... and the flush fails');
close($fh);
close($cold_fh);
$rgw->revive();
ok(start(), 'it starts again') or diag($daemon->output());
$fh = open_file($disk);
is(get($fh, 3 * MIB, 14), 'in the journal', 'what was written is there');
ok(get($fh, MIB, MIB) eq 'w' x MIB, '... with what was written before');
close($fh);
is($daemon->stop(), 0, 'the daemon ends well') or diag($daemon->output());
done_testing();
