#!/usr/bin/perl
# A file is published once, by the last close(2) of those who used it, and never for a writer that
# was killed: whatever forks, passes on descriptors or dies.
use v5.36;

use Fcntl qw(O_WRONLY O_RDWR O_CREAT O_TRUNC);
use FindBin qw($RealBin);
use POSIX;
use Test::More;
use Time::HiRes qw(sleep);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $fake = fakes3();
my $bucket = $fake->bucket();
my $daemon = S3PVE::Test::Daemon->new($fake, $bucket);
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
ok($daemon->settle(), '... and is online');
my $iso = "$daemon->{mnt}/template/iso";
my $n = 0;

# Run a program in Perl or the shell with $file set; what was put into the bucket for it?
my sub puts_of ($lang, $code) {
    my $name = 'f' . ++$n . '.iso';
    my @cmd =
        $lang eq 'perl'
        ? ($^X, '-MFcntl', '-MPOSIX', '-e', "my \$file = shift; $code", "$iso/$name")
        : ('sh', '-c', "file=\$0; $code", "$iso/$name");
    $fake->forget();
    run_cmd({ timeout => 30 }, @cmd);
    # What a release publishes comes after the program has ended.
    wait_until(10, sub { $daemon->ask('status')->{open} == 0 });
    my @puts = grep { $_->{key} eq "template/iso/$name" } $fake->log('PutObject');
    return map { $_->{length} } @puts;
}

my sub published ($length, $what, $lang, $code) {
    is_deeply([puts_of($lang, $code)], [$length], $what);
    return;
}

my sub dropped ($what, $lang, $code) {
    my @puts = puts_of($lang, $code);
    is_deeply(\@puts, [], $what);
    ok(vanishes("$iso/f$n.iso"), '... and no name is left');
    return;
}

my $open = 'sysopen(F, $file, O_WRONLY | O_CREAT | O_TRUNC) or die; ';

published(3, 'an ordinary writer', 'perl', "$open syswrite(F, 'one'); close(F) or die");
published(6, 'the shell, which copies the descriptor first', 'sh', 'echo hello >$file');
published(0, 'an empty file, made by the shell', 'sh', ': >$file');
published(0, 'an empty file, made by touch', 'sh', 'touch $file');
published(4, 'two programs, one after the other', 'sh', '(echo 1; /bin/echo 2) >$file');
published(
    6, 'a child is run while the file is written', 'perl',
    "$open syswrite(F, 'one'); system('true'); syswrite(F, 'two'); close(F) or die"
);
published(
    6, 'a child ends while the file is written', 'perl',
    "$open syswrite(F, 'one'); my \$pid = fork() // die; _exit(0) if !\$pid; waitpid(\$pid, 0);"
        . "syswrite(F, 'two'); close(F) or die"
);
published(
    6, 'a child is killed while the file is written', 'perl',
    "$open syswrite(F, 'one'); my \$pid = fork() // die; kill(KILL => \$\$) if !\$pid;"
        . "waitpid(\$pid, 0); syswrite(F, 'two'); close(F) or die"
);
published(
    3, 'the child writes, the parent only opened it', 'perl',
    "$open my \$pid = fork() // die; if (!\$pid) { syswrite(F, 'one'); _exit(0) }"
        . "waitpid(\$pid, 0); close(F) or die"
);
published(
    6, 'parent and child write in turn', 'perl',
    "$open syswrite(F, 'one'); my \$pid = fork() // die; if (!\$pid) { syswrite(F, 'two'); _exit(0) }"
        . "waitpid(\$pid, 0); close(F) or die"
);
published(
    3, 'the parent is gone before the child writes', 'perl',
    "$open my \$pid = fork() // die; _exit(0) if \$pid; sleep(1); syswrite(F, 'one'); close(F)"
);
published(
    6, 'the parent wrote before, and is gone when the child goes on', 'perl',
    "$open syswrite(F, 'one'); my \$pid = fork() // die; _exit(0) if \$pid; sleep(1);"
        . "syswrite(F, 'two'); close(F)"
);
published(
    3, 'the same twice over, as daemons are made', 'perl',
    "$open fork() && _exit(0); sleep(1); fork() && _exit(0); sleep(1); syswrite(F, 'one')"
);
published(
    6, 'the same, and he waited for the first child and has written before', 'perl',
    "$open syswrite(F, 'one'); my \$pid = fork() // die; if (!\$pid) { fork() && _exit(0); sleep(2);"
        . "syswrite(F, 'two'); _exit(0) } waitpid(\$pid, 0); _exit(0)"
);
published(
    6, '... or did not', 'perl',
    "$open syswrite(F, 'one'); my \$pid = fork() // die; if (!\$pid) { fork() && _exit(0); sleep(2);"
        . "syswrite(F, 'two'); _exit(0) } sleep(1); _exit(0)"
);
published(
    4, 'the parent closes what it opened for a child', 'perl',
    "$open my \$pid = fork() // die; if (!\$pid) { sleep(1); open(STDOUT, '>&', \*F) or die;"
        . "exec('/bin/echo', 'one') } close(F) or die; waitpid(\$pid, 0)"
);
published(
    3, 'a child that runs on has a copy, which it does not know of', 'perl',
    "$open my \$pid = fork() // die; if (!\$pid) { sleep(3); _exit(0) } syswrite(F, 'one');"
        . 'close(F) or die'
);
published(
    3, 'nobody closes it, the program just ends', 'perl',
    "$open syswrite(F, 'one'); _exit(0)"
);
published(
    3, 'a program with threads just ends', 'perl',
    "use threads; $open syswrite(F, 'one');"
        . 'threads->create(sub { sleep(9) })->detach() for 1 .. 4; sleep(1); _exit(0)'
);
published(
    3, 'one thread writes, another closes', 'perl',
    "use threads; $open threads->create(sub { syswrite(F, 'one') })->join(); close(F) or die"
);
published(
    3, 'the descriptor was copied and both are closed', 'perl',
    "$open open(my \$g, '>&', \\*F) or die; syswrite(\$g, 'one'); close(\$g); close(F) or die"
);
published(
    3, 'it is also open for reading', 'perl',
    "$open syswrite(F, 'one'); sysopen(my \$g, \$file, O_RDONLY); close(F) or die; sleep(1); _exit(0)"
);
published(
    3, 'nobody else can write to it meanwhile', 'perl',
    "$open sysopen(my \$g, \$file, O_WRONLY) and die; syswrite(F, 'one'); close(F) or die"
);

# The kernel closes descriptors in the middle of execve(2), with a lock held that much of /proc
# waits for.
published(
    4, 'another program becomes the writer, and what it does not need is closed', 'perl',
    "$open open(STDOUT, '>&', \\*F) or die; exec('/bin/echo', 'one')"
);
my @puts = puts_of(
    'perl',
    "$open syswrite(F, 'one'); my \$pid = fork() // die;"
        . "if (!\$pid) { open(STDOUT, '>&', \\*F) or die; exec('/bin/echo', 'two') }"
        . "close(F) or die; waitpid(\$pid, 0)"
);
is($puts[-1], 7, 'a child does so, as compressors do');
published(
    3, 'another program replaces the writer', 'perl',
    "$open syswrite(F, 'one'); exec('/bin/true')"
);

dropped(
    'a writer killed at once', 'perl',
    "$open syswrite(F, 'one'); kill(KILL => \$\$); sleep(9)"
);
dropped(
    'a writer ended by SIGTERM', 'perl',
    "$open syswrite(F, 'one'); kill(TERM => \$\$); sleep(9)"
);
dropped('a writer that crashed', 'perl', "$open syswrite(F, 'one'); kill(SEGV => \$\$); sleep(9)");
dropped('killed before it wrote anything', 'perl', "$open kill(KILL => \$\$); sleep(9)");
dropped(
    'a writer killed whose child has a copy and ends later', 'perl',
    "$open syswrite(F, 'one'); my \$pid = fork() // die; if (!\$pid) { sleep(2); _exit(0) }"
        . 'kill(KILL => $$); sleep(9)'
);
dropped(
    'a child killed in the middle of what its parent began', 'perl',
    "$open syswrite(F, 'one'); my \$pid = fork() // die; _exit(0) if \$pid; sleep(1);"
        . "syswrite(F, 'two'); kill(KILL => \$\$); sleep(9)"
);
dropped('killed as a pipe breaks', 'sh', 'yes >$file & sleep 0.5; kill -PIPE $!; wait');

# --- the parts of a killed stream

$fake->forget();
my $file = "$iso/large.iso";
my ($code) = run_cmd('sh', '-c', "head -c 64M /dev/zero >$file & sleep 0; wait");
is($code, 0, 'a large file is written');
is($fake->count('CompleteMultipartUpload'), 1, '... as a multipart upload');
is((stat($file))[7], 64 << 20, '... and has its size at once');

my $pid = fork() // die "fork: $!\n";
if (!$pid) {
    sysopen(my $fh, "$iso/killed.iso", O_WRONLY | O_CREAT) or POSIX::_exit(1);
    while (1) {
        syswrite($fh, "\0" x (1 << 20)) or POSIX::_exit(1);
    }
}
ok(wait_until(20, sub { $fake->stats()->{parts} > 1 }), 'another stream has parts in the bucket');
kill('KILL', $pid);
waitpid($pid, 0);
ok(
    wait_until(10, sub { $fake->stats()->{uploads} == 0 }),
    '... none are left when its writer is killed'
);
ok(vanishes("$iso/killed.iso"), '... nor its name');

# --- a writer that waits for a store which does not answer

$fake->rule(do => 'hang', op => 'PutObject', key => 'waiting');
$pid = fork() // die "fork: $!\n";
if (!$pid) {
    sysopen(my $fh, "$iso/waiting.iso", O_WRONLY | O_CREAT) or POSIX::_exit(1);
    syswrite($fh, 'abc');
    close($fh);
    POSIX::_exit(0);
}
my sub hangs () {
    return grep { $_->{key} =~ m/waiting/ } $fake->log('PutObject');
}
ok(wait_until(10, \&hangs), 'a close waits for the store');
kill('KILL', $pid);
ok(wait_until(5, sub { waitpid($pid, WNOHANG) == $pid }), '... and its process can be killed');

is($daemon->stop(), 0, 'the daemon ends well');
done_testing();
