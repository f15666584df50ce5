package S3PVE::Measure;

# How long a program takes, how much processor and how much memory, of itself and of a daemon that
# works for it.
use v5.36;

use Config;
use Exporter qw(import);
use POSIX ();
use Time::HiRes qw(time);

our @EXPORT_OK = qw(measure median usage_of);

# wait4(2) is the only call that tells the peak memory of one child, and Perl has no name for it.
my $WAIT4 = { x86_64 => 61, aarch64 => 260 }->{ $Config{archname} =~ s/-.*//r };

my sub wait4 ($pid) {
    die "wait4 has no number here: $Config{archname}\n" if !$WAIT4;
    my $status = pack('i', 0);
    my $rusage = "\0" x (8 * 18);
    my $got = syscall($WAIT4, $pid, $status, 0, $rusage);
    die "wait4: $!\n" if $got != $pid;
    my ($user_s, $user_us, $sys_s, $sys_us, $max_kib) = unpack('q5', $rusage);
    return (unpack('i', $status), $user_s + $sys_s + ($user_us + $sys_us) / 1e6, $max_kib);
}

# Processor seconds and peak KiB of a running process so far.
sub usage_of ($pid) {
    open(my $fh, '<', "/proc/$pid/stat") or die "process $pid: $!\n";
    my @field = split(/ /, <$fh> =~ s/^.*\) //r);
    open($fh, '<', "/proc/$pid/status") or die "process $pid: $!\n";
    my ($peak) = join('', <$fh>) =~ m/^VmHWM:\s+(\d+)/m;
    return ($field[11] + $field[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK()), $peak;
}

# measure({ stdin => FILE, stdout => FILE, env => {}, daemon => PID }, @cmd)
# Returns { seconds, cpu, rss }: seconds, seconds, MiB.  Dies when the command fails.
sub measure ($how, @cmd) {
    my ($daemon_before) = $how->{daemon} ? usage_of($how->{daemon}) : 0;
    my $began = time();
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        local @ENV{ keys(($how->{env} // {})->%*) } = values(($how->{env} // {})->%*);
        open(STDIN, '<', $how->{stdin} // '/dev/null') or POSIX::_exit(126);
        open(STDOUT, '>', $how->{stdout} // '/dev/null') or POSIX::_exit(126);
        exec(@cmd) or POSIX::_exit(127);
    }
    my ($status, $cpu, $max_kib) = wait4($pid);
    my $seconds = time() - $began;
    die "@cmd: failed, status $status\n" if $status;
    if ($how->{daemon}) {
        my ($after, $peak) = usage_of($how->{daemon});
        ($cpu, $max_kib) = ($cpu + $after - $daemon_before, $peak);
    }
    return { seconds => $seconds, cpu => $cpu, rss => $max_kib / 1024 };
}

sub median (@numbers) {
    my @sorted = sort { $a <=> $b } @numbers;
    my $middle = int(@sorted / 2);
    return @sorted % 2 ? $sorted[$middle] : ($sorted[$middle - 1] + $sorted[$middle]) / 2;
}

1;
