#!/usr/bin/perl
# The endpoint dies, hangs and comes back: nothing waits for ever, names and sizes are still there,
# and everything goes on without a new mount.
use v5.36;

use Errno qw(EIO);
use FindBin qw($RealBin);
use POSIX qw(WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $rgw = rgw(own => 1);
my $bucket = $rgw->bucket();
my $daemon = S3PVE::Test::Daemon->new($rgw, $bucket, options => { timeout => 6 });
ok($daemon->start(), 'the daemon starts') or diag($daemon->output());
my $mnt = $daemon->{mnt};
my $SOON = 3; # seconds: half the timeout, so it cannot have waited for the store
ok($daemon->settle(), '... and is online');

my $data = join('', map { pack('N', $_) x 1024 } 1 .. 5000);
spew("$mnt/template/iso/a.iso", $data);
spew("$mnt/snippets/small", 'small');

# Run it and return how long it took, and its result.
my sub timed ($code) {
    my $begin = time();
    my $result = $code->();
    return (time() - $begin, $result);
}

# Nothing of it on the node: neither our cache nor the kernel's pages.
my sub cold ($file) {
    run_ok('sh', '-c', "rm -rf $daemon->{dir}/cache/*");
    run_ok('dd', "if=$file", 'iflag=nocache', 'count=0', 'status=none');
    return;
}

for my $how (qw(kill pause)) {
    my $state = $how eq 'kill' ? 'gone' : 'hanging';
    is(slurp("$mnt/snippets/small"), 'small', 'a small file is read');
    $rgw->$how();

    my ($s, $result) = timed(sub { system("df $mnt >/dev/null") });
    is($result, 0, "the endpoint is $state: df works");
    cmp_ok($s, '<', $SOON, '... at once');
    ($s, $result) = timed(sub { (stat("$mnt/template/iso/a.iso"))[7] });
    is($result, length($data), '... stat works');
    cmp_ok($s, '<', $SOON, '... soon');
    ok(wait_until(30, sub { !$daemon->ask('status')->{online} }), '... the storage is offline');
    ($s, $result) = timed(sub { scalar(my @list = glob("$mnt/template/iso/*")) });
    is($result, 1, '... names are listed');
    cmp_ok($s, '<', $SOON, '... soon');

    ($s, $result) =
        timed(sub { (run_cmd("cp", "$daemon->{dir}/run/config", "$mnt/snippets/new"))[0] });
    isnt($result, 0, '... writing fails');
    cmp_ok($s, '<', 20, '... within its time');
    ok(vanishes("$mnt/snippets/new"), '... and leaves no name');

    cold("$mnt/template/iso/a.iso");
    ($s, $result) = timed(sub { (run_cmd('tail', '-c', '3000000', "$mnt/template/iso/a.iso"))[0] });
SKIP: {
        skip('a part of it was still on the node', 1) if $result == 0;
        cmp_ok($s, '<', 30, '... reading what is not on the node fails within its time');
    }

    # Writers and readers that wait must not keep others from being answered.
    my @pids;
    for my $i (1 .. 40) {
        my $pid = fork() // die "fork: $!\n";
        if (!$pid) {
            open(STDERR, '>', '/dev/null');
            exec('sh', '-c', "echo $i >$mnt/snippets/w$i") or POSIX::_exit(1);
        }
        push(@pids, $pid);
    }
    sleep(0.3);
    ($s, $result) = timed(sub { system("df $mnt >/dev/null") });
    cmp_ok($s, '<', $SOON, '... df is quick with 40 writers waiting');
    ($s, $result) = timed(sub { $daemon->ask('status')->{ok} });
    cmp_ok($s, '<', $SOON, '... and so is status');
    kill('KILL', @pids);
    ok(
        wait_until(
            15,
            sub {
                @pids = grep { waitpid($_, WNOHANG) == 0 } @pids;
                !@pids;
            }
        ),
        '... and all can be killed'
    );

    $rgw->${ \($how eq 'kill' ? 'revive' : 'resume') }();
    ok(
        wait_until(30, sub { $daemon->ask('status')->{online} }),
        'the endpoint is back, and it is online'
    );
    ok(
        wait_until(
            20,
            sub {
                eval { slurp("$mnt/template/iso/a.iso") eq $data }
            }
        ),
        '... the file is whole'
    );
    spew("$mnt/snippets/after", $how);
    is(slurp("$mnt/snippets/after"), $how, '... files are written and read');
    is(scalar($daemon->mounts()), 1, '... on the same mount');
}

# --- the middle of a stream

my $pid = fork() // die "fork: $!\n";
if (!$pid) {
    open(STDERR, '>', '/dev/null');
    exec('sh', '-c', "yes | head -c 2G >$mnt/template/iso/stream.iso") or POSIX::_exit(1);
}
ok(
    wait_until(
        20,
        sub {
            grep { $_->{stored} > 0 } $daemon->ask('uploads')->{uploads}->@*;
        }
    ),
    'a stream has parts in the bucket'
);
$rgw->kill();
my ($s) = timed(sub { waitpid($pid, 0) });
isnt($?, 0, '... its writer is told when the endpoint dies');
cmp_ok($s, '<', 30, '... within its time');
ok(vanishes("$mnt/template/iso/stream.iso"), '... and nothing of it is seen');
$rgw->revive();
ok(wait_until(30, sub { $daemon->ask('status')->{online} }), '... nor when it is back');
ok(!-e "$mnt/template/iso/stream.iso", '... under no name');

$rgw->kill();
my ($t, $code) = timed(sub { $daemon->stop() });
is($code, 0, 'the daemon ends well although the endpoint is gone');
cmp_ok($t, '<', 20, '... in time');
is_deeply([$daemon->mounts()], [], '... unmounted');

done_testing();
