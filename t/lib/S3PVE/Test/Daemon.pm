package S3PVE::Test::Daemon;

# s3pved for a test: started on a scratch folder, asked, stopped.
#
#   my $daemon = S3PVE::Test::Daemon->new($server, $bucket, 'cache-size' => 1, options => {...});
#   $daemon->start(); $daemon->settle(); "$daemon->{mnt}/dump"; $daemon->ask('status')->{used};
#
# $server is a fakes3() or rgw(), or undef for an endpoint where nobody listens.  What the object
# still has running or mounted ends with it.
use v5.36;

use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

use S3PVE::Test;

# An address where connections are refused at once.
my $NOBODY = { endpoint => 'http://127.0.0.1:9', access_key => 'key', secret_key => 'secret' };

sub new ($class, $server, $bucket, %settings) {
    $server //= $NOBODY;
    my $scratch = scratch();
    my $self = bless(
        {
            scratch => $scratch,
            dir => "$scratch",
            name => 'store1',
            mnt => "$scratch/mnt",
            run => "$scratch/run",
            output => "$scratch/output",
            args => delete($settings{args}) // [],
        },
        $class,
    );
    my $options = delete($settings{options}) // {};
    mkdir($self->{run}, 0700) or die "$self->{run}: $!\n";
    $self->{config} = {
        storage => $self->{name},
        mountpoint => $self->{mnt},
        'state-dir' => "$scratch/state",
        'cache-dir' => "$scratch/cache",
        'cache-size' => 1,
        %settings,
        options => {
            endpoint => $server->{endpoint},
            bucket => $bucket,
            'access-key' => $server->{access_key},
            'secret-key' => $server->{secret_key},
            %$options,
        },
    };
    my $given = $self->{config}->{options};
    delete $given->@{ grep { !defined($given->{$_}) } keys %$given };
    $self->configure();
    return $self;
}

sub configure ($self, %settings) {
    $self->{config} = { $self->{config}->%*, %settings };
    spew("$self->{run}/config", JSON::PP->new->canonical->encode($self->{config}));
    return;
}

# What the unit leaves of root's powers; the daemon has no more in a test either.
sub unit_privileges () {
    my $unit = slurp(top() . '/debian/s3pve.s3pved@.service');
    my ($caps) = $unit =~ m/^CapabilityBoundingSet=(.*)$/m or die "no CapabilityBoundingSet\n";
    my @caps = map { '+' . lc(s/^CAP_//r) } split(/ /, $caps);
    return ('setpriv', '--no-new-privs', '--bounding-set', join(',', '-all', @caps));
}

sub command ($self) {
    return (
        unit_privileges(), build() . '/s3pved', $self->{name}, '--run-dir', $self->{run},
        '--storage-cfg', "$self->{dir}/storage.cfg", $self->{args}->@*,
    );
}

# Start it and wait until it serves, or has ended; true when it serves.
sub start ($self) {
    my $before = -s $self->{output} // 0;
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        open(STDIN, '<', '/dev/null') or POSIX::_exit(126);
        open(STDOUT, '>>', $self->{output}) or POSIX::_exit(126);
        open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
        { no warnings 'exec'; exec($self->command()) }
        POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    wait_until(
        60,
        sub { !$self->alive() || substr($self->output(), $before) =~ m/start: s3pved / }
    );
    return $self->alive();
}

# Online, and done with what it does once: from now on requests are those of files, and of the
# heartbeat.  True when it came to that.
sub settle ($self) {
    return wait_until(20, sub { $self->ask('status')->{online} && -e "$self->{dir}/state/caps" });
}

sub output ($self) {
    return -e $self->{output} ? slurp($self->{output}) : '';
}

sub alive ($self) {
    return 0 if !$self->{pid};
    return 1 if waitpid($self->{pid}, WNOHANG) == 0;
    $self->{status} = $?;
    delete($self->{pid});
    return 0;
}

# Wait for its end; its exit code, 128 + signal, or undef when it stays.
sub wait_end ($self, $seconds = 40) {
    wait_until($seconds, sub { !$self->alive() });
    return undef if $self->{pid};
    return $self->{status} & 127 ? 128 + ($self->{status} & 127) : $self->{status} >> 8;
}

sub signal ($self, $signal) {
    kill($signal, $self->{pid}) if $self->{pid};
    return;
}

sub stop ($self) {
    $self->signal('TERM');
    return $self->wait_end();
}

# Through /proc, since a scratch folder's name may be too long for a socket's.
sub connect ($self) {
    opendir(my $dir, $self->{run}) or die "$self->{run}: $!\n";
    my $path = '/proc/self/fd/' . POSIX::dup(fileno($dir)) . '/control.sock';
    my $socket = IO::Socket::UNIX->new(Peer => $path);
    $path =~ m!/fd/(\d+)/! and POSIX::close($1);
    return $socket;
}

# One line to the control socket, one back; undef when nobody answers.
sub ask_line ($self, $line) {
    my $socket = $self->connect() // return undef;
    local $SIG{PIPE} = 'IGNORE';
    print {$socket} "$line\n";
    $socket->flush();
    my $answer = <$socket>;
    return defined($answer) ? decode_json($answer) : undef;
}

sub ask ($self, $cmd, %more) {
    return $self->ask_line(encode_json({ cmd => $cmd, %more }));
}

# A command about a volume: volume('activate', '100/vm-100-disk-0.raw').
sub volume ($self, $verb, $name, %more) {
    return $self->ask("volume-$verb", name => $name, %more);
}

# What `volumes` says of one that is open; undef when it is not.
sub open_volume ($self, $name) {
    my ($volume) = grep { $_->{name} eq $name } $self->ask('volumes')->{volumes}->@*;
    return $volume;
}

sub nbd ($self, $name) {
    return "nbd+unix:///$name?socket=$self->{run}/nbd.sock";
}

sub crash ($self) {
    $self->signal('KILL');
    return $self->wait_end(10);
}

sub mounts ($self) {
    return grep { (split(/ /))[1] eq $self->{mnt} } split(/\n/, slurp('/proc/mounts'));
}

sub DESTROY ($self) {
    local ($?, $@, $!);
    if ($self->alive()) {
        $self->signal('KILL');
        $self->wait_end(10);
    }
    for my $mount ($self->mounts()) {
        run_cmd('umount', '-l', $self->{mnt});
    }
    return;
}

1;
