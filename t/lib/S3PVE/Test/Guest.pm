package S3PVE::Test::Guest;

# A guest for a test: QEMU's block layer alone, with a volume of a daemon as its disk, served again
# as NBD, so that what works on it sees what a guest would.
#
#   my $guest = S3PVE::Test::Guest->new($daemon, '100/vm-100-disk-0.raw');
#   run_ok('qemu-io', '-f', 'raw', $guest->uri(), '-c', 'read 0 4k');
#   my $fio = $guest->fio(20); ...; is($guest->fio_end($fio), 0, 'all is verified');
use v5.36;

use POSIX qw(WNOHANG);

use S3PVE::Test;

sub new ($class, $daemon, $name) {
    my $scratch = scratch();
    my $self = bless({ scratch => $scratch, dir => "$scratch" }, $class);
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        open(STDOUT, '>', "$self->{dir}/log") or POSIX::_exit(126);
        open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
        exec(
            'qemu-storage-daemon',
            '--blockdev',
            "driver=nbd,server.type=unix,server.path=$daemon->{run}/nbd.sock,export=$name,"
                . 'reconnect-delay=120,node-name=disk',
            '--nbd-server', "addr.type=unix,addr.path=$self->{dir}/guest",
            '--export', 'type=nbd,id=guest,node-name=disk,name=guest,writable=on',
        ) or POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    wait_until(10, sub { -S "$self->{dir}/guest" || waitpid($pid, WNOHANG) })
        and -S "$self->{dir}/guest"
        or die 'no guest: ' . slurp("$self->{dir}/log");
    return $self;
}

sub uri ($self) {
    return "nbd+unix:///guest?socket=$self->{dir}/guest";
}

# Writes all over the first @$mib MiB for so many seconds, and reads them again.
sub fio ($self, $seconds, $mib = 64) {
    my $pid = fork() // die "fork: $!\n";
    return $pid if $pid;
    open(STDOUT, '>', "$self->{dir}/fio") or POSIX::_exit(126);
    open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
    exec(
        'fio', '--name=x', '--ioengine=nbd', '--uri=' . $self->uri(), '--rw=randwrite',
        '--bs=4k-64k', '--iodepth=16', "--size=${mib}m", '--time_based', "--runtime=$seconds",
        '--rate=,6m', # the store keeps all of it in memory
        '--verify=crc32c', '--verify_state_save=0', '--verify_backlog=256', '--randrepeat=0',
        '--fsync=64',
    ) or POSIX::_exit(127);
    return;
}

# Its exit code.
sub fio_end ($self, $pid) {
    waitpid($pid, 0);
    return $? >> 8 | $? & 127;
}

sub fio_said ($self) {
    return slurp("$self->{dir}/fio");
}

sub fio_writes ($self) {
    my ($n) = $self->fio_said() =~ m/issued rwts: total=\d+,(\d+)/;
    return $n // 0;
}

sub stop ($self) {
    my $pid = delete($self->{pid}) // return 0;
    kill('TERM', $pid);
    waitpid($pid, 0);
    return $?;
}

sub DESTROY ($self) {
    local ($?, $@, $!);
    my $pid = delete($self->{pid}) // return;
    kill('KILL', $pid);
    waitpid($pid, 0);
    return;
}

1;
