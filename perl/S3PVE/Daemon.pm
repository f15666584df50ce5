package S3PVE::Daemon;

# The daemon of a storage on this node: its control socket, starting and stopping it.
#
# Nothing here waits longer than its caller said, and nothing waits for S3: the daemon answers from
# memory.  libs3pve/DESIGN.md section 7 has the commands.

use v5.36;

use Cwd ();
use Errno qw(EAGAIN ECONNREFUSED ECONNRESET EINTR ENOENT EPIPE EWOULDBLOCK);
use Fcntl qw(LOCK_EX LOCK_NB O_CREAT O_RDONLY O_RDWR O_TRUNC O_WRONLY);
use JSON::PP ();
use POSIX ();
use Socket qw(AF_UNIX MSG_NOSIGNAL SOCK_STREAM SOCK_NONBLOCK pack_sockaddr_un);
use Time::HiRes qw(CLOCK_MONOTONIC clock_gettime sleep);

use PVE::Tools;

use S3PVE::Config;

use constant {
    ANSWER_MAX => 1 << 22, # bytes; a list of disks is the longest
    POLL => 0.05, # seconds between looks at something that has no event
    UNIT_POLL => 0.5, # the same where a look takes a process
    PING_TIMEOUT => 1,
    RELOAD_TIMEOUT => 5,
    STOP_TIMEOUT => 5,
};

our @PROGRAM = ('/usr/sbin/s3pved', '/usr/local/sbin/s3pved');
our $SYSTEMD = '/run/systemd/system'; # there when systemd runs the machine
our $SYSTEMCTL = '/usr/bin/systemctl';
our $MOUNTS = '/proc/mounts';

my sub now () { return clock_gettime(CLOCK_MONOTONIC) }

# --- the control socket

# Wait until the socket can be read (or written), or die at the deadline.
my sub await ($socket, $write, $deadline) {
    my $ready = 0;

    while ($ready <= 0) { # a signal may end it early
        my $left = $deadline - now();
        die "no answer in time\n" if $left <= 0;
        vec(my $bits = '', fileno($socket), 1) = 1;
        $ready = $write ? select(undef, $bits, undef, $left) : select($bits, undef, undef, $left);
    }

    return;
}

my sub is_again () { return $! == EAGAIN || $! == EWOULDBLOCK || $! == EINTR }

# A connected socket, or undef when nobody listens there.
my sub connect_to ($path, $deadline) {
    socket(my $socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0) or die "socket: $!\n";

    while (!connect($socket, pack_sockaddr_un($path))) {
        return undef if $! == ENOENT || $! == ECONNREFUSED;
        die "connect: $!\n" if !is_again();
        die "no answer in time\n" if now() > $deadline; # its queue is full
        sleep(POLL);
    }

    return $socket;
}

# False when the other side has died.
my sub send_line ($socket, $line, $deadline) {
    while ($line ne '') {
        await($socket, 1, $deadline);
        my $n = send($socket, $line, MSG_NOSIGNAL);
        return 0 if !defined($n) && ($! == EPIPE || $! == ECONNRESET);
        die "send: $!\n" if !defined($n) && !is_again();
        substr($line, 0, $n // 0) = '';
    }

    return 1;
}

# A line without its end, untainted; undef when the other side has died.
my sub receive_line ($socket, $deadline) {
    my $line = '';
    my $seen = 0; # bytes of it, without an end

    while (index($line, "\n", $seen) < 0) {
        $seen = length($line);
        await($socket, 0, $deadline);
        my $n = sysread($socket, $line, 65536, length($line));
        return undef if !defined($n) && $! == ECONNRESET;
        die "read: $!\n" if !defined($n) && !is_again();
        die "the connection was closed\n" if defined($n) && $n == 0;
        die "the answer is too long\n" if length($line) > ANSWER_MAX;
    }
    my ($untainted) = $line =~ m/^([^\n]*)\n/;

    return $untainted;
}

# One request, one answer; undef when no daemon runs.  Dies when one runs but does not answer.
sub ask ($storeid, $request, $timeout) {
    my $json = JSON::PP->new->utf8->canonical;
    my $deadline = now() + $timeout;

    my $answer = eval {
        my $socket = connect_to(S3PVE::Config::paths($storeid)->{socket}, $deadline)
            // return undef;
        send_line($socket, $json->encode($request) . "\n", $deadline) or return undef;
        my $decoded = $json->decode(receive_line($socket, $deadline) // return undef);
        die "the answer is no object\n" if ref($decoded) ne 'HASH';
        $decoded;
    };
    if (my $err = $@) {
        chomp($err);
        die "storage '$storeid': the daemon s3pved does not answer - $err\n";
    }

    return $answer;
}

# --- the mount

# As the kernel knows it: its parent without links.  The mount itself is not touched.
my sub real_path ($mountpoint) {
    my ($parent, $name) = $mountpoint =~ m!^(.*)/([^/]+)\z! or return $mountpoint;
    my $real = Cwd::realpath($parent eq '' ? '/' : $parent) // $parent;

    return ($real eq '/' ? '' : $real) . "/$name";
}

my sub unescape ($field) { return $field =~ s/\\([0-7]{3})/chr(oct($1))/ger }

# Is a FUSE mount there?  Asks the kernel's table, never the mount, which may be dead.
sub is_mounted ($path) {
    my $mountpoint = real_path(S3PVE::Config::mountpoint($path));
    open(my $fh, '<', $MOUNTS) or die "cannot read $MOUNTS - $!\n";
    while (my $line = <$fh>) {
        my (undef, $where, $type) = split(/ /, $line);
        return 1 if $type =~ m/^fuse/ && unescape($where) eq $mountpoint;
    }

    return 0;
}

my sub unmount ($mountpoint) {
    PVE::Tools::run_command(['/usr/bin/umount', '-l', $mountpoint], quiet => 1, timeout => 5);
    return;
}

# --- starting

my sub systemctl (@args) {
    PVE::Tools::run_command([$SYSTEMCTL, @args], quiet => 1, timeout => 5);
    return;
}

# All that a storage id is made of may stand in a unit's name as it is.
sub unit ($storeid) {
    return 's3pved@' . S3PVE::Config::runtime_name($storeid) . '.service';
}

# In the child of a child: become a daemon that shares nothing with whoever started it.
my sub become ($program, $paths) {
    my $null = POSIX::open('/dev/null', O_RDWR);
    my $log = POSIX::open($paths->{log}, O_WRONLY | O_CREAT | O_TRUNC, 0600) // $null;
    POSIX::dup2($null, 0);
    POSIX::dup2($null, 1);
    POSIX::dup2($log, 2);
    opendir(my $dh, '/proc/self/fd') or POSIX::_exit(1);
    POSIX::close($_) for grep { m/^[0-9]+$/ && $_ > 2 } readdir($dh);

    $SIG{$_} = 'DEFAULT' for qw(PIPE CHLD HUP INT TERM ALRM USR1 USR2);
    POSIX::sigprocmask(POSIX::SIG_SETMASK(), POSIX::SigSet->new());
    delete @ENV{qw(NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC LISTEN_PID LISTEN_FDS JOURNAL_STREAM)};
    $ENV{PATH} = '/usr/sbin:/usr/bin:/sbin:/bin';
    chdir('/');

    exec {$program} $program, $paths->{name};
}

# Without systemd, as in a container.  The child between us and the daemon ends at once, so that
# the daemon is nobody's child here.
my sub spawn ($paths) {
    my ($program) = grep { -x $_ } @PROGRAM;
    die "there is no $PROGRAM[0]; install the package s3pve on this node\n" if !defined($program);

    my $pid = fork() // die "fork: $!\n";
    if ($pid == 0) {
        POSIX::setsid();
        my $daemon = fork();
        become($program, $paths) if defined($daemon) && $daemon == 0;
        POSIX::_exit(0);
    }
    waitpid($pid, 0); # somebody else's SIGCHLD handler may have been faster

    return;
}

my sub start ($storeid, $paths) {
    return spawn($paths) if !-d $SYSTEMD;

    my $unit = unit($storeid);
    eval { systemctl('reset-failed', $unit) }; # an unknown unit is fine
    eval { systemctl('start', '--no-block', $unit); 1 }
        or die "systemd does not start $unit; is the package s3pve installed? - $@";

    return;
}

my sub unit_property ($storeid, $name) {
    my $show = [$SYSTEMCTL, 'show', '--value', "--property=$name", unit($storeid)];
    my $text = '';
    my $take = sub ($line) { $text = $line if $line =~ m/\S/ };

    eval { PVE::Tools::run_command($show, outfunc => $take, quiet => 1, timeout => 5) };

    return $text;
}

# Why a daemon did not come up: its last words, or where they are to be found.
my sub why ($storeid, $paths) {
    my ($text, $where) = ('', "see $paths->{log}");

    my $secrets = eval { S3PVE::Config::read_secrets($storeid) } // {};
    return "its secret key is not stored; do so: pvesm set $storeid --s3-secret-key KEY"
        if !$@ && !defined($secrets->{'secret-key'});
    if (-d $SYSTEMD) {
        $where = 'see: journalctl -u ' . unit($storeid);
        $text = unit_property($storeid, 'StatusText');
    } elsif (open(my $fh, '<', $paths->{log})) {
        ($text) = reverse(<$fh>);
    }
    chomp($text //= '');

    return $text =~ m/\S/ ? $text : $where;
}

# Until it is mounted, and knows whether it reaches the store.  A silent store does not keep it down.
my sub await_mount ($storeid, $mountpoint, $deadline) {
    my $mounted = 0;
    my $look = now() + UNIT_POLL;

    while (now() < $deadline) {
        my $status = eval { ask($storeid, { cmd => 'status' }, PING_TIMEOUT) } // {};
        $mounted = $status->{ok} && is_mounted($mountpoint);
        return if $mounted && ($status->{online} || ($status->{last_error} // '') ne '');
        if (!$mounted && -d $SYSTEMD && now() > $look) { # pvestatd asks for all storages in a row
            last if unit_property($storeid, 'ActiveState') eq 'failed';
            $look = now() + UNIT_POLL;
        }
        sleep(POLL);
    }
    return if $mounted;

    my $why = why($storeid, S3PVE::Config::paths($storeid));
    die "the daemon s3pved did not come up - $why\n";
}

# --- its configuration

# The secret's file has changed when its time has; the configuration's file carries that time, so
# that a node learns of a new secret which another node stored.
my sub secret_time ($storeid) {
    return (stat(S3PVE::Config::secret_file($storeid)))[9] // 0;
}

my sub is_current ($paths, $config, $time) {
    sysopen(my $fh, $paths->{config}, O_RDONLY) or return 0;
    my $mtime = (stat($fh))[9];
    sysread($fh, my $text, length($config) + 1) // return 0;
    return $text eq $config && $mtime == $time;
}

my sub write_config ($paths, $config, $time) {
    my $new = "$paths->{config}.new";

    sysopen(my $fh, $new, O_WRONLY | O_CREAT | O_TRUNC, 0600) or die "cannot write '$new' - $!\n";
    print {$fh} $config;
    close($fh) or die "cannot write '$new' - $!\n";
    utime($time, $time, $new);
    rename($new, $paths->{config}) or die "cannot rename '$new' - $!\n";

    return;
}

# One starter at a time on this node.
my sub with_lock ($paths, $deadline, $code) {
    mkdir "$S3PVE::Config::ROOT/run/s3pve", 0755;
    mkdir $paths->{run}, 0700;
    sysopen(my $fh, $paths->{lock}, O_RDWR | O_CREAT, 0600)
        or die "cannot open '$paths->{lock}' - $!\n";
    while (!flock($fh, LOCK_EX | LOCK_NB)) {
        die "cannot lock '$paths->{lock}' - $!\n" if !is_again();
        die "'$paths->{lock}' is held by somebody else\n" if now() > $deadline;
        sleep(POLL);
    }

    return $code->();
}

# --- what the plugin calls

# Is that process still there?  One that has ended and is not yet reaped is not.
my sub is_alive ($pid) { return $pid && defined(readlink("/proc/$pid/exe")) }

# Ask it to end, and wait until it has: its last act is to remove the socket, and that must not be
# the next one's.  Returns its answer, undef when none runs.
my sub request_stop ($storeid, $deadline) {
    my $ping = ask($storeid, { cmd => 'ping' }, $deadline - now()) // return undef;
    my $answer = ask($storeid, { cmd => 'stop' }, $deadline - now()) // return undef;
    return $answer if !$answer->{ok} || $answer->{busy};

    while (is_alive($ping->{pid}) && now() < $deadline) {
        sleep(POLL);
    }

    return $answer;
}

# The running daemon did not take the new configuration: only a new one can have it.
my sub replace ($storeid, $reason) {
    my $answer = request_stop($storeid, now() + STOP_TIMEOUT) // return 1;
    return 1 if $answer->{ok} && !$answer->{busy};
    warn "storage '$storeid': files are in use, the change waits for the next start - $reason\n";

    return 0;
}

# Returns whether one is to be started: when none runs any more, or the one that does cannot take
# the change, such as another endpoint, directory or part size.
my sub reload ($storeid) {
    my $answer = ask($storeid, { cmd => 'reload' }, RELOAD_TIMEOUT) // return 1;
    return 0 if $answer->{ok} && !$answer->{restart};
    return replace($storeid, $answer->{error} // 'an option that only a new daemon takes');
}

# The daemon runs, with this configuration, and its mount is there.  Cheap when that is so already.
sub ensure ($storeid, $scfg, $timeout) {
    my $deadline = now() + $timeout;
    my $paths = S3PVE::Config::paths($storeid);
    my $config = S3PVE::Config::daemon_config($storeid, $scfg);
    my $time = secret_time($storeid);
    my $fine = sub {
        my $answer = ask($storeid, { cmd => 'ping' }, PING_TIMEOUT);
        return $answer && $answer->{ok} && is_mounted($scfg->{path});
    };

    return if is_current($paths, $config, $time) && $fine->();
    my $make_sure = sub {
        my $changed = !is_current($paths, $config, $time);
        write_config($paths, $config, $time) if $changed;
        my $running = defined(ask($storeid, { cmd => 'ping' }, PING_TIMEOUT));
        $running = !reload($storeid) if $running && $changed;
        start($storeid, $paths) if !$running;
        await_mount($storeid, $scfg->{path}, $deadline);
    };
    return if eval { with_lock($paths, $deadline, $make_sure); 1 };
    die $@ =~ s/^(?!storage ')/storage '$storeid': /r;
}

# The daemon's `status`, or undef when none runs.
sub status ($storeid, $timeout) {
    my $answer = ask($storeid, { cmd => 'status' }, $timeout) // return undef;
    my $reason = $answer->{error} // 'it does not say why';
    die "storage '$storeid': the daemon s3pved has no status - $reason\n" if !$answer->{ok};

    return $answer;
}

# A daemon that runs reads its secret again; one that does not will.
sub notice_secret ($storeid) {
    my $answer = ask($storeid, { cmd => 'reload' }, RELOAD_TIMEOUT);
    warn "storage '$storeid': the new secret was not taken - $answer->{error}\n"
        if $answer && !$answer->{ok};

    return;
}

# End the daemon and its mount.  Return: 0 when files are in use and it goes on, else 1.
sub stop ($storeid, $scfg, $timeout) {
    my $deadline = now() + $timeout;
    my $answer = request_stop($storeid, $deadline);

    return 0 if $answer && $answer->{busy};
    eval { systemctl('stop', '--no-block', unit($storeid)) } if -d $SYSTEMD;
    while (is_mounted($scfg->{path})) {
        # a mount without a daemon is what a killed one left behind
        unmount($scfg->{path}) if !$answer || now() > $deadline;
        sleep(POLL) if $answer;
    }

    return 1;
}

# Nothing of the storage stays in /run.  What it kept for a crash stays: it names uploads to abort.
sub forget ($storeid) {
    my $paths = S3PVE::Config::paths($storeid);

    unlink($paths->@{qw(config log socket lock)}, "$paths->{run}/lock");
    rmdir($paths->{run});

    return;
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Daemon - start, ask and stop the daemon of an S3 storage

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>. See L<s3pved(8)> for the daemon.

=cut
