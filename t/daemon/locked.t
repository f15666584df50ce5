#!/usr/bin/perl
# Who changes a name keeps others out of its directory until he has his answer: with a dead endpoint
# he gets one soon, whatever the storage's deadline.
use v5.36;

use FindBin qw($RealBin);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $rgw = rgw(own => 1);
my $daemon = S3PVE::Test::Daemon->new($rgw, $rgw->bucket());
ok($daemon->start(), 'the daemon starts with the usual deadline') or diag($daemon->output());
my $mnt = $daemon->{mnt};
ok($daemon->settle(), '... and is online');
my $backup = "$mnt/dump/vzdump-qemu-1-2026_01_01-00_00_00.vma";
spew("$mnt/import/a", 'a file');

my sub timed ($code) {
    my $begin = time();
    my $result = $code->();
    return (time() - $begin, $result);
}

my sub background (@cmd) {
    my $pid = fork() // die "fork: $!\n";
    return $pid if $pid;
    open(STDERR, '>', '/dev/null');
    { no warnings 'exec'; exec(@cmd) }
    POSIX::_exit(127);
}

# Each in a directory of its own, where they need not wait for each other.
my %changes = (
    unlink => 'rm a',
    mkdir => 'mkdir new',
    rmdir => 'rmdir d',
    'rename of a file' => 'mv a c',
    'rename that replaces nothing' => 'mv -n a c',
    'rename of a directory' => 'mv -T d f',
    'exclusive create' => 'set -C; : >x',
    'making a flag' => q{perl -MFcntl -e 'sysopen(F, "y", O_RDONLY|O_CREAT) or exit 1'},
    mknod => q{perl -e '$z = "z"; exit(syscall(133, $z, 0100644, 0) != 0)'},
);
my @whats = sort keys %changes;

my sub dir ($what) { return "$mnt/import/" . $what =~ tr/ /-/r }

my sub prepare ($what) {
    mkdir(dir($what));
    run_cmd('sh', '-c', "cd '@{[dir($what)]}'; rm -f c x y z; rmdir new f");
    mkdir(dir($what) . '/d');
    spew(dir($what) . '/a', "bytes of $what");
    return;
}

my sub change ($what) {
    my $begin = time();
    my ($status) = run_cmd('sh', '-c', "cd '@{[dir($what)]}' && $changes{$what}");
    return ($status, time() - $begin);
}

# All at once: { what => [exit status, seconds] }.
my sub change_all () {
    my %out;
    for my $what (@whats) {
        my $pid = open($out{$what}, '-|') // die "fork: $!\n";
        next if $pid;
        print join(' ', change($what)), "\n";
        STDOUT->flush();
        POSIX::_exit(0);
    }
    return { map { $_ => [split(/ /, readline($out{$_}))] } @whats };
}

prepare($_) for @whats;

for my $how (qw(pause kill)) {
    my $state = $how eq 'kill' ? 'gone' : 'hanging';
    spew("$backup.dat", "VMA\0" . 'x' x 1000);
    run_ok('ls', "$mnt/import");
    $rgw->$how();

    my $pid = background('rm', "$mnt/import/a");
    sleep(0.2);
    my ($s, $result) = timed(sub { scalar(my @names = glob("$mnt/import/*")) });
    is($result, 1 + @whats, "the endpoint is $state, which nobody knows: the directory is listed");
    cmp_ok($s, '<', 20, '... although a file in it is being removed');
    waitpid($pid, 0);
    isnt($?, 0, '... in vain');
    ok(!$daemon->ask('status')->{online}, '... and now it is known');

    # as many as may wait at once, and more, each until the storage's deadline
    my @writers = map { background('sh', '-c', "echo >$mnt/snippets/w$_") } 1 .. 24;
    sleep(0.5);
    my $results = change_all();
    for my $what (@whats) {
        my ($status, $took) = $results->{$what}->@*;
        isnt($status, 0, "the endpoint is known to be $state: $what fails");
        cmp_ok($took, '<', 8, '... soon');
    }
    ($s, $result) = timed(sub { unlink("$backup.dat") });
    ok($result, '... a backup that failed is removed');
    cmp_ok($s, '<', 8, '... soon');
    kill('KILL', @writers);
    waitpid($_, 0) for @writers;

    $rgw->${ \($how eq 'kill' ? 'revive' : 'resume') }();
    ok(wait_until(30, sub { $daemon->ask('status')->{online} }), 'the endpoint is back');
    if ($how eq 'kill') {
        for my $what (@whats) {
            is(slurp(dir($what) . '/a'), "bytes of $what", "... $what changed nothing");
            ok(-d dir($what) . '/d' && !-e dir($what) . '/f', '... nothing at all');
        }
    }
    sleep(6); # what a stopped server was asked for, it may still do when it goes on
    prepare($_) for @whats;
    spew("$mnt/import/a", 'a file');
}

is((change($_))[0], 0, "now it works: $_") for @whats;

is($daemon->stop(), 0, 'the daemon ends well');
done_testing();
