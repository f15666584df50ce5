package S3PVE::Test::Memory;

# Disks in memory behind the NBD server, for a test: t/nbd/memory, started, asked, killed.
#
#   my $memory = S3PVE::Test::Memory->new(size => 64 << 20, threads => 4, file => 1);
#   S3PVE::Test::Memory->new(descriptors => 30);    as many as it may have
#   $memory->uri('disk'); $memory->ask('resize disk 134217728'); $memory->crash(); $memory->start();
#
# There are "disk" and "frozen", which is read-only.  With a file what is on them survives a crash.
use v5.36;

use IPC::Open2;
use Test::More ();

use S3PVE::Test;

sub new ($class, %options) {
    my $scratch = scratch();
    my $self = bless({ size => 64 << 20, %options, scratch => $scratch }, $class);
    $self->{socket} = "$scratch/sock";
    $self->{log} = "$scratch/log";
    $self->start();
    return $self;
}

sub start ($self) {
    my @options = ('-s', $self->{size});
    push(@options, '-t', $self->{threads}) if $self->{threads};
    push(@options, '-f', "$self->{scratch}/disks") if $self->{file};
    my @cmd = (build() . '/t/nbd/memory', @options, $self->{socket}, 'disk', 'frozen=ro');
    my ($out, $in);
    my $most = $self->{descriptors} // 4096;
    $self->{pid} = open2(
        $out, $in, 'sh', '-c', 'exec 2>>"$0" && ulimit -Sn "$1" && shift && exec "$@"',
        $self->{log}, $most, @cmd,
    );
    $self->@{qw(in out)} = ($in, $out);
    my $ready = readline($out) // '';
    die "memory: $ready" . slurp($self->{log}) if $ready ne "ready\n";
    return;
}

# One command, see t/nbd/memory.c, and its answer.
sub ask ($self, $command) {
    print { $self->{in} } "$command\n";
    $self->{in}->flush();
    my $answer = readline($self->{out}) // die "memory: it is gone\n" . slurp($self->{log});
    chomp($answer);
    return $answer;
}

sub uri ($self, $export = 'disk') {
    return "nbd+unix:///$export?socket=$self->{socket}";
}

# For QEMU's options, which know more than an address.
sub node ($self, $export = 'disk', @more) {
    return join(
        ',', 'driver=nbd', 'server.type=unix', "server.path=$self->{socket}",
        "export=$export", @more
    );
}

my sub status_of ($self) {
    close($self->{in});
    waitpid($self->{pid}, 0);
    my $status = $?;
    delete($self->{pid});
    return $status;
}

sub crash ($self) {
    kill('KILL', $self->{pid});
    return status_of($self);
}

# Return: its exit status; 0 when all is well, also for a sanitizer.
sub stop ($self) {
    return status_of($self);
}

sub n_descriptors ($self) {
    return scalar(my @fds = glob("/proc/$self->{pid}/fd/*"));
}

sub rss_kib ($self) {
    my ($kib) = slurp("/proc/$self->{pid}/status") =~ m/^VmRSS:\s*(\d+)/m;
    return $kib;
}

sub DESTROY ($self) {
    return if !$self->{pid};
    local $?;
    $self->crash();
    return;
}

1;
