package PVE::Tools;

# A double for tests: what our modules use of Proxmox's, with the same meaning.

use v5.36;

use Exporter qw(import);
use POSIX ();

our @EXPORT_OK = qw(run_command file_set_contents file_get_contents);

our @COMMANDS; # every command that was run; tests look at it
our $RUN = sub { return 0 }; # what running one does
our $OUTPUT = ''; # and prints

# A command that reads from or writes to a descriptor is run for real.
my sub pipe_through ($cmd, $in, $out, $errfunc) {
    pipe(my $err, my $w) or die "pipe: $!\n";
    my $pid = fork() // die "fork: $!\n";
    if ($pid == 0) {
        POSIX::dup2($in, 0) if defined($in);
        POSIX::dup2($out, 1) if defined($out);
        POSIX::dup2(fileno($w), 2);
        exec($cmd->@*) or POSIX::_exit(127);
    }
    close($w);
    while (my $line = readline($err)) {
        chomp($line);
        $errfunc->($line) if $errfunc;
    }
    waitpid($pid, 0);
    die "command '$cmd->@*' failed: exit code " . ($? >> 8) . "\n" if $?;
    return 0;
}

sub run_command ($cmd, %param) {
    push @COMMANDS, [$cmd->@*];
    my ($in, $out) = map { ($param{$_} // '') =~ m/&(\d+)$/ ? $1 : undef } qw(input output);
    return pipe_through($cmd, $in, $out, $param{errfunc}) if defined($in) || defined($out);
    my $status = $RUN->($cmd);
    $param{outfunc}->($_) for $param{outfunc} ? split(/\n/, $OUTPUT) : ();
    die "command '$cmd->@*' failed: exit code $status\n" if $status;
    return $status;
}

sub run_fork_with_timeout ($timeout, $code) {
    pipe(my $r, my $w) or die "pipe: $!\n";
    my $pid = fork() // die "fork: $!\n";
    if ($pid == 0) {
        syswrite($w, eval { $code->() } // "died: $@");
        POSIX::_exit(0);
    }
    close($w);
    vec(my $bits = '', fileno($r), 1) = 1;
    my $result;
    if (select($bits, undef, undef, $timeout) > 0) {
        sysread($r, $result, 65536);
    } else {
        kill('KILL', $pid);
    }
    waitpid($pid, 0);
    return $result;
}

sub file_set_contents ($path, $data, $perm = 0644) {
    my $new = "$path.tmp.$$";
    sysopen(my $fh, $new, POSIX::O_WRONLY | POSIX::O_CREAT | POSIX::O_TRUNC, $perm)
        or die "unable to open file '$new' - $!\n";
    print {$fh} $data;
    close($fh) or die "closing file '$new' failed - $!\n";
    rename($new, $path) or die "rename '$new' failed - $!\n";
    return;
}

sub file_get_contents ($path) {
    open(my $fh, '<', $path) or die "can't open '$path' - $!\n";
    local $/ = undef;
    return <$fh>;
}

1;
