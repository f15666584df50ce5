package S3PVE::Test;

# What tests in Perl have in common: servers, scratch folders, running programs, waiting.
#
#   my $fake = fakes3('skew=1200');         my $rgw = rgw();   (skips the whole test without Ceph)
#   $fake->{endpoint} {access_key} {secret_key} {config}        the same for both
#   $fake->rule(do => 'reset', op => 'UploadPart', after => 1000, times => 2);
#   is($fake->count('UploadPart'), 3, ...);                      $fake->log(): hashes
#   my $bucket = $rgw->bucket();                                 made, empty, of this test alone
#   $rgw->objects($bucket): { key => size };  $rgw->s3cmd(...)   as a client that is not ours sees it
#   $rgw->pause; $rgw->resume; $rgw->kill; $rgw->revive;         only with rgw(own => 1)
#
# Everything started here ends with the test, however that ends.
use v5.36;

use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp;
use HTTP::Tiny;
use JSON::PP;
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

## no critic (ProhibitAutomaticExportation)
our @EXPORT = qw(
    fakes3 rgw scratch slurp spew run_ok run_cmd s3pve wait_until vanishes top build tracked
    need_command need_fuse
);

my $TOP = abs_path(dirname(__FILE__) . '/../../..');
my @servers;
my $owner = $$;

sub top () { return $TOP }

sub build () {
    my $b = $ENV{B} // 'build';
    return $b =~ m!^/! ? $b : "$TOP/$b";
}

# Every file of the project, as git knows it, relative to the top; patterns as git takes them.
sub tracked (@patterns) {
    my @git = ('git', '-c', 'safe.directory=*', '-C', $TOP, 'ls-files', '-z', '--', @patterns);
    open(my $fh, '-|', @git) or die "git: $!\n";
    local $/ = "\0";
    chomp(my @files = <$fh>);
    close($fh) or die "git ls-files failed\n";
    return grep { -f "$TOP/$_" && !-l "$TOP/$_" } @files;
}

# --- files and programs

# A folder that goes when the object does; stringifies to its path.
sub scratch () {
    return File::Temp->newdir('s3pve-test.XXXXXX', TMPDIR => 1);
}

sub slurp ($path) {
    open(my $fh, '<:raw', $path) or die "$path: $!\n";
    local $/ = undef;
    return <$fh> // '';
}

sub spew ($path, $data, $mode = 0600) {
    open(my $fh, '>:raw', $path) or die "$path: $!\n";
    print {$fh} $data;
    close($fh) or die "$path: $!\n";
    chmod($mode, $path) or die "$path: $!\n";
    return $path;
}

# run_cmd({ stdin => 'text', timeout => 60, env => { A => 'b' } }, @cmd), the hash may be left out.
# Returns (exit code, stdout, stderr); 128 + signal when killed, 124 when it took too long.
sub run_cmd (@cmd) {
    my $how = ref($cmd[0]) ? shift(@cmd) : {};
    my ($in, $out, $err) = map { File::Temp->new() } 1 .. 3;
    print {$in} $how->{stdin} // '';
    close($in);
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        setpgrp(0, 0);
        open(STDIN, '<', $in->filename) or POSIX::_exit(126);
        open(STDOUT, '>', $out->filename) or POSIX::_exit(126);
        open(STDERR, '>', $err->filename) or POSIX::_exit(126);
        @ENV{ keys $how->{env}->%* } = values $how->{env}->%* if $how->{env};
        { no warnings 'exec'; exec(@cmd) } ## no critic (ProhibitNoWarnings)
        print STDERR "$cmd[0]: $!\n";
        POSIX::_exit(127);
    }
    my $status = 124 << 8;
    my $deadline = time() + ($how->{timeout} // 120);
    while (1) {
        if (waitpid($pid, WNOHANG) == $pid) {
            $status = $?;
            last;
        }
        if (time() > $deadline) {
            kill('KILL', -$pid);
            waitpid($pid, 0);
            last;
        }
        sleep(0.005);
    }
    my $code = $status & 127 ? 128 + ($status & 127) : $status >> 8;
    return ($code, slurp($out->filename), slurp($err->filename));
}

# Run it and return its output; a failure is the test's end, with what it said.
sub run_ok (@cmd) {
    my ($code, $out, $err) = run_cmd(@cmd);
    shift(@cmd) if ref($cmd[0]);
    die "@cmd: exit $code\n$err$out" if $code != 0;
    return $out;
}

# The command line on one of our servers and a bucket: s3pve($rgw, 'bucket', 'ls', ...).
sub s3pve ($server, $bucket, @args) {
    my $how = ref($args[0]) ? shift(@args) : {};
    my ($verb, @rest) = @args;
    return run_cmd(
        $how, build() . '/s3pve', $verb, '--config', $server->{config}, '--bucket',
        $bucket, @rest
    );
}

# Try until it is true or the time is over; returns what it returned last.
sub wait_until ($seconds, $code) {
    my $deadline = time() + $seconds;
    my $result = $code->();
    while (!$result && time() < $deadline) {
        sleep(0.05);
        $result = $code->();
    }
    return $result;
}

# On a mount: the kernel tells of the last close when it likes, maybe after the writer is gone.
sub vanishes ($file) {
    return wait_until(5, sub { !-e $file });
}

my sub skip_all ($why) {
    require Test::More;
    Test::More::plan(skip_all => $why);
    return;
}

sub need_command (@names) {
    for my $name (@names) {
        skip_all("$name is not installed") if !grep { -x "$_/$name" } split(/:/, $ENV{PATH});
    }
    return;
}

sub need_fuse () {
    skip_all('mounting takes root and /dev/fuse') if $> != 0 || !-w '/dev/fuse';
    need_command('fusermount3');
    return;
}

# --- servers

my sub read_env ($text) {
    return map { split(/=/, $_, 2) } split(/\n/, $text);
}

my sub server ($class, $dir, $text, %more) {
    my %env = read_env($text);
    my $server = bless(
        {
            dir => $dir,
            config => "$dir/s3pve.conf",
            endpoint => $env{FAKES3_ENDPOINT} // $env{RGW_ENDPOINT},
            access_key => $env{AWS_ACCESS_KEY_ID},
            secret_key => $env{AWS_SECRET_ACCESS_KEY},
            region => $env{AWS_DEFAULT_REGION},
            %more,
        },
        $class,
    );
    push(@servers, $server) if $more{own};
    return $server;
}

# A fake of one's own; settings as in t/lib/fakes3.
sub fakes3 (@settings) {
    my $scratch = scratch();
    my $out = run_ok("$TOP/t/lib/fakes3", 'start', "$scratch", @settings, "watch=$$");
    return server('S3PVE::Test::Fake', "$scratch", $out, own => 1, scratch => $scratch);
}

# The gateway that this run of prove shares, or one's own.
sub rgw (%options) {
    need_command(qw(radosgw ceph-mon ceph-osd radosgw-admin));
    my $shared = $ENV{S3PVE_TEST_RGW};
    my $own = delete($options{own}) || %options || !$shared;
    my $scratch = $own ? scratch() : undef;
    my $dir = $own ? "$scratch/rgw" : $shared;
    my @options = map { $options{$_} eq '' ? "--$_" : ("--$_", $options{$_}) } sort keys %options;
    my $out = run_ok({ timeout => 180 }, "$TOP/t/lib/rgw", 'start', $dir, @options);
    return server('S3PVE::Test::Rgw', $dir, $out, own => $own, scratch => $scratch);
}

END {
    if ($$ == $owner) {
        local $?;
        $_->stop() for @servers;
    }
}

package S3PVE::Test::Server;

use Time::HiRes qw(time);

# A client that is not ours, on this server; returns what it said.
sub s3cmd ($self, @args) {
    my $host = $self->{endpoint} =~ s!^https?://!!r;
    return S3PVE::Test::run_ok(
        's3cmd', '--config=/dev/null',
        ($self->{endpoint} =~ m/^https/ ? ('--ssl', '--no-check-certificate') : '--no-ssl'),
        "--host=$host", "--host-bucket=$host", "--region=$self->{region}",
        "--access_key=$self->{access_key}", "--secret_key=$self->{secret_key}", @args,
    );
}

# A bucket that only this test knows.
sub bucket ($self) {
    state $n = 0;
    my $name = sprintf('t%d-%d-%d', $$, ++$n, time());
    $self->s3cmd('mb', "s3://$name");
    return $name;
}

# What is in it, as that client sees it: { key => size }.
sub objects ($self, $bucket) {
    my @lines = split(/\n/, $self->s3cmd('ls', '--recursive', "s3://$bucket"));
    return { map { m!^\S+ \S+ +(\d+) +s3://[^/]+/(.*)$! ? ($2 => $1) : () } @lines };
}

package S3PVE::Test::Fake;

use parent -norequire => 'S3PVE::Test::Server';

my sub ask ($self, $method, $verb, $args = undef) {
    my $content = defined($args) ? JSON::PP->new->latin1->encode($args) : '';
    my $url = "$self->{endpoint}/_fakes3/$verb";
    my $said = HTTP::Tiny->new(timeout => 20)->request($method, $url, { content => $content });
    die "fakes3: $method $verb: $said->{status} $said->{content}\n" if $said->{status} != 200;
    return JSON::PP::decode_json($said->{content});
}

sub rule ($self, %rule) { return ask($self, 'POST', 'rule', \%rule) }
sub clear ($self) { return ask($self, 'DELETE', 'rule') }
sub set ($self, %settings) { return ask($self, 'POST', 'set', \%settings) }
sub stats ($self) { return ask($self, 'GET', 'stats') }
sub forget ($self) { return ask($self, 'DELETE', 'log') }
sub fill ($self, %args) { return ask($self, 'POST', 'fill', \%args) }
sub zeroes ($self, %args) { return ask($self, 'POST', 'zeroes', \%args) }

# Requests so far, all or of one operation.
sub log ($self, $op = undef) { ## no critic (ProhibitBuiltinHomonyms)
    return grep { !defined($op) || $_->{op} eq $op } ask($self, 'GET', 'log')->@*;
}

sub count ($self, $op = undef) {
    return scalar(my @entries = $self->log($op));
}

sub stop ($self) {
    my $pid = { map { split(/=/, $_, 2) } split(/\n/, S3PVE::Test::slurp("$self->{dir}/env")) }
        ->{FAKES3_PID};
    kill('KILL', $pid);
    return;
}

package S3PVE::Test::Rgw;

use parent -norequire => 'S3PVE::Test::Server';

for my $verb (qw(pause resume kill revive stop)) {
    no strict 'refs';
    *$verb = sub ($self) {
        die "only a gateway of one's own can be disturbed: rgw(own => 1)\n" if !$self->{own};
        S3PVE::Test::run_ok("$TOP/t/lib/rgw", $verb, $self->{dir});
        return;
    };
}

1;
