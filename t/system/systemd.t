#!/usr/bin/perl
# The unit under a real systemd: the mount is seen by all, systemd hears how the daemon is, and
# starts it again when it dies or stands still, but never because the store does.
use v5.36;

use FindBin qw($RealBin);
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep);

use lib "$RealBin/../lib";
use S3PVE::Test;

need_fuse();
need_command(qw(nsenter unshare));
plan(skip_all => 'systemd is not installed') if !-x '/lib/systemd/systemd';

my $scratch = scratch();
my $owner = $$;
my $UNIT = 's3pved@store1';
my $MNT = '/mnt/pve/store1';

my sub boot (@args) {
    my $how = ref($args[0]) ? shift(@args) : {};
    return run_cmd($how, top() . '/t/lib/boot', @args);
}
my sub inside (@cmd) { return boot('run', "$scratch/box", @cmd) }

# Its output; it has to work.
my sub must (@cmd) {
    my ($code, $out, $err) = inside(@cmd);
    die "@cmd: exit $code\n$err$out" if $code;
    chomp($out);
    return $out;
}

my sub property ($name) { return must(qw(systemctl show --value -p), $name, $UNIT) }
my sub pid () { return property('MainPID') }
my sub is_mounted () { return (inside('mountpoint', '-q', $MNT))[0] == 0 }
my sub fake (@args) { return must('/srv/t/fakes3', $args[0], '/srv/fake', @args[1 .. $#args]) }
my sub uploads () { return decode_json(fake('stats'))->{uploads} }
my sub journal () { return must('journalctl', '-q', '-u', $UNIT) }

# It runs, as another process than $before, and is mounted.
my sub comes_back ($before, $seconds) {
    return wait_until(
        $seconds,
        sub {
            my $now = pid();
            $now && $now != $before && property('ActiveState') eq 'active' && is_mounted();
        }
    );
}

# Programs, library and unit where the packages have them, and a fake server.
my sub install () {
    my ($root, $build) = ("$scratch/root", build());
    my $multiarch = run_ok('cc', '-print-multiarch') =~ s/\n//r;
    my %mode = ("$build/s3pved" => 'sbin', "$build/s3pve" => 'bin');
    run_ok('install', '-D', '-t', "$root/usr/$mode{$_}", $_) for keys %mode;
    run_ok('install', '-D', '-t', "$root/usr/lib/$multiarch", "$build/libs3pve.so.0");
    run_ok(
        'install', '-D', '-m', '0644', top() . '/debian/s3pve.s3pved@.service',
        "$root/usr/lib/systemd/system/s3pved\@.service"
    );
    run_ok('mkdir', '-p', "$root/srv/fake");
    run_ok('cp', '-r', top() . '/t/lib', "$root/srv/t");
    return run_ok('tar', '-C', $root, '-cf', "$scratch/root.tar", 'usr', 'srv');
}

my sub configure ($text) {
    spew("$scratch/config", $text);
    my ($code, $out, $err) = boot({ stdin => $text }, 'run', "$scratch/box", 'sh', '-c', <<~'END');
        mkdir -p -m 0700 /run/s3pve/store1 && cat >/run/s3pve/store1/config
        END
    die "config: $err$out" if $code;
    return;
}

END {
    if ($$ == $owner && -d "$scratch/box") {
        local $?;
        boot('stop', "$scratch/box");
    }
}

install();
my ($code, undef, $why) = boot('start', "$scratch/box", "$scratch/root.tar");
plan(skip_all => "systemd cannot run here: $why") if $code;

must(qw(systemd-run -q --unit fake -p Type=forking /srv/t/fakes3 start /srv/fake));
my %fake = map { split(/=/, $_, 2) } split(/\n/, fake('env'));
my $config = encode_json({
    storage => 'store1',
    mountpoint => $MNT,
    'state-dir' => '/var/lib/s3pve/store1',
    'cache-dir' => '/var/cache/s3pve/store1',
    'cache-size' => 1,
    options => {
        endpoint => $fake{FAKES3_ENDPOINT}, bucket => 'bucket', timeout => 5,
        'access-key' => $fake{AWS_ACCESS_KEY_ID}, 'secret-key' => $fake{AWS_SECRET_ACCESS_KEY},
    },
});
configure($config);
must('s3pve', '--storage', 'store1', 'mb');

# --- starting

must('systemctl', 'start', $UNIT);
ok(is_mounted(), 'it is mounted when systemd says that it has started, for all to see');
is(property('NotifyAccess') . property('SubState'), 'mainrunning', '... and runs');
ok(wait_until(20, sub { property('StatusText') =~ m/^online/ }), '... and tells systemd more');
must('sh', '-c', "echo text >$MNT/snippets/a");
is(must('cat', "$MNT/snippets/a"), 'text', 'files are written and read');
my $status = must('cat', '/proc/' . pid() . '/status');
like($status, qr/^NoNewPrivs:\s+1$/m, 'it can gain no privilege');
like($status, qr/^Seccomp:\s+2$/m, '... and makes no other system calls than it needs');
my $DISK = '100/vm-100-disk-0.raw';
my $SOCKET = '/run/s3pve/store1';
my sub asks ($cmd, %more) {
    my $line = encode_json({ cmd => $cmd, %more });
    my $ask = '$s = IO::Socket::UNIX->new(Peer => shift); print $s shift . "\n"; $s->flush();'
        . 'print scalar(<$s>)';
    return decode_json(
        must('perl', '-MIO::Socket::UNIX', '-e', $ask, "$SOCKET/control.sock", $line));
}
ok(asks('volume-create', name => $DISK, size => 8 << 20)->{ok}, 'a disk is made');
ok(asks('volume-activate', name => $DISK)->{ok}, '... and served');
SKIP: {
    skip('QEMU is not installed', 2) if !-x '/usr/bin/qemu-io';
    my @io = ('qemu-io', '-f', 'raw', "nbd+unix:///$DISK?socket=$SOCKET/nbd.sock");
    ok(must(@io, '-c', 'write -P 1 0 2M', '-c', 'discard 0 64k', '-c', 'flush'), '... written');
    ok(must(@io, '-c', 'read -P 1 1M 1M'), '... and read');
}
ok(asks('volume-deactivate', name => $DISK)->{ok}, '... and handed back');
like(property('Before'), qr/pve-guests\.service/, 'guests come later, and go earlier');

my $pid = pid();
must('systemctl', 'reload', $UNIT);
ok(wait_until(10, sub { journal() =~ m/config: read/ }), 'a reload is one');
is(pid(), $pid, '... of the same process');
is(property('ActiveState'), 'active', '... and ends');

# --- dying

must('systemctl', 'kill', '-s', 'KILL', $UNIT);
ok(comes_back($pid, 20), 'a killed daemon is started again, and mounts over the dead mount');
is(must('cat', "$MNT/snippets/a"), 'text', '... with its files');

$pid = pid();
must('systemctl', 'set-property', '--runtime', $UNIT, 'MemoryMax=24M');
isnt(
    (inside('sh', '-c', "yes | head -c 400M >$MNT/template/iso/a.iso"))[0], 0,
    'a writer is told when the daemon takes too much memory'
);
# groups of version 1 do not tell
like(journal(), qr/oom-kill|(?:status=9.*){2}/s, '... for which it is ended');
must('systemctl', 'set-property', '--runtime', $UNIT, 'MemoryMax=8G');
ok(comes_back($pid, 20), '... and started again');
ok(wait_until(20, sub { uploads() == 0 }), '... and the rest of the upload goes');

# --- standing still

must('mkdir', '-p', "/run/systemd/system/$UNIT.service.d");
must(
    'sh', '-c',
    "printf '[Service]\\nWatchdogSec=12\\n' >/run/systemd/system/$UNIT.service.d/a.conf"
);
must('systemctl', 'daemon-reload');
must('systemctl', 'restart', $UNIT);
$pid = pid();
must(qw(systemctl kill -s STOP fake));
isnt((inside('cp', '/etc/passwd', "$MNT/snippets/b"))[0], 0, 'the store hangs: writing fails');
sleep(16);
is(pid(), $pid, '... but the watchdog leaves the daemon alone');
is((inside('stat', '-f', $MNT))[0], 0, '... which answers');
must(qw(systemctl kill -s CONT fake));
ok(wait_until(30, sub { property('StatusText') =~ m/^online/ }), '... and is online after that');

must('systemctl', 'kill', '-s', 'STOP', $UNIT);
ok(comes_back($pid, 60), 'a daemon that stands still itself is replaced');

# --- ending

my $writer = fork() // die "fork: $!\n";
POSIX::_exit((inside('sh', '-c', "yes | head -c 4G >$MNT/template/iso/b.iso"))[0]) if !$writer;
ok(wait_until(20, sub { uploads() == 1 }), 'a stream is on its way');
must('systemctl', 'stop', $UNIT);
waitpid($writer, 0);
isnt($?, 0, '... its writer is told when the daemon is stopped');
is(property('ActiveState') . ' ' . property('Result'), 'inactive success', '... which ends well');
ok(!is_mounted(), '... unmounted');
is(uploads(), 0, '... and leaves no parts');

configure('rubbish');
isnt((inside('systemctl', 'start', $UNIT))[0], 0, 'a wrong configuration: it does not start');
sleep(2);
is(property('ActiveState') . ' ' . property('NRestarts'), 'failed 0', '... and is not tried again');
like(property('StatusText'), qr/config: line 1/, '... and says why');

done_testing();
