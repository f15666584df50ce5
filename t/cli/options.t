#!/usr/bin/perl
# The command line itself: what is refused, how, and that no secret goes where others can see it.
use v5.36;

use IO::Pty;
use IPC::Open3 qw(open3);
use JSON::PP qw(decode_json);
use POSIX ();
use Symbol qw(gensym);
use Test::More;

use S3PVE::Test;

my $dir = scratch();
delete @ENV{qw(S3PVE_CONFIG AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN)};
$ENV{XDG_STATE_HOME} = "$dir/state";
$ENV{S3PVE_RUN_DIR} = "$dir/run";

# Without a terminal, so that nothing is asked.
sub run (@args) {
    my $pid = open3(my $in, my $out, my $err = gensym(), 'setsid', '-w', 's3pve', @args);
    close($in);
    local $/ = undef;
    my ($stdout, $stderr) = (scalar(<$out>), scalar(<$err>));
    waitpid($pid, 0);
    return ($? >> 8, $stdout // '', $stderr // '');
}

my @LOCAL = ('-e', 'http://127.0.0.1:1', '-b', 'bucket', '--credentials', 'anonymous');
my @usage = (
    ['no command', [], qr/--help/],
    ['an unknown command', ['frobnicate'], qr/no command 'frobnicate'/],
    ['an unknown option', ['--frobnicate', 'ls'], qr/unknown or ambiguous option --frobnicate/],
    ['an unknown letter', ['-Z', 'ls'], qr/unknown option -Z/],
    [
        'an option of another command', ['ls', '--if-absent'],
        qr/ls: --if-absent is not an option/
    ],
    ['an option without its value', ['ls', '--bucket'], qr/--bucket needs a value/],
    [
        'a value nobody wants', ['--json=1', 'ls'],
        qr/"error":"--json takes no value"|--json takes no value/
    ],
    ['too many operands', ['ls', 'a', 'b'], qr/usage: s3pve ls/],
    ['too few operands', ['cp', 'a'], qr/usage: s3pve cp/],
    ['a range of nothing', [@LOCAL, 'cat', 'k', '--range', '5-3'], qr/--range wants.*'5-3'/],
    ['a time in years', [@LOCAL, 'sweep', '--older', '5y'], qr/--older wants.*'5y'/],
    [
        'a time in words', [@LOCAL, 'presign', 'k', '--expires', 'soon'],
        qr/--expires wants.*'soon'/
    ],
    ['standard input without a key', [@LOCAL, 'put', '-'], qr/'-' names no file.*KEY/],
    ['a folder for a file', [@LOCAL, 'get', 'dump/'], qr/'dump\/' names no file.*FILE/],
    ['metadata without a name', ['put', '-', 'k', '-m', '=x'], qr/NAME=VALUE/],
    [
        'no endpoint', ['-b', 'bucket', '-a', 'A', '--credentials', 'anonymous', 'ls'],
        qr/endpoint/
    ],
    ['no keys', ['-e', 'http://127.0.0.1:1', '-b', 'bucket', 'ls'], qr/access-key/],
    [
        'an access key alone', ['-e', 'http://127.0.0.1:1', '-b', 'b-b', '-a', 'A', 'ls'],
        qr/secret/
    ],
    ['a bad bucket', ['-b', 'No_Bucket', 'ls'], qr/bucket/],
    ['a bad endpoint', ['-e', 'ftp://x', 'ls'], qr/endpoint/],
    ['a bad number', ['--connections', '9999', 'ls'], qr/connections.*1 to 64/],
    ['a storage that is not active', ['-s', 'nope', 'ls'], qr/'nope' is not active/],
    [
        'a storage with a path for a name', ['-s', '../x', 'ls'],
        qr/'..\/x' is not.*: a letter, then/
    ],
    ['a missing configuration file', ['-c', "$dir/nope", 'ls'], qr/nope/],
);

for my $case (@usage) {
    my ($what, $args, $text) = @$case;
    my ($status, $out, $err) = run(@$args);

    is($status, 2, "$what: status");
    is($out, '', "$what: nothing on standard output");
    like($err, qr/^(?:s3pve: |\{)[^\n]*\n\z/, "$what: one line");
    like($err, $text, "$what: says so");
}

# --- secrets

for my $args (
    ['--secret-key', 'TOPSECRET', 'ls'],
    ['--secret-key=TOPSECRET', 'ls'],
    ['--secret', 'TOPSECRET', 'ls'],
    ['ls', '--session-token', 'TOPSECRET'],
    ['--json', '--secret-key', 'TOPSECRET', 'ls'],
    ['--proxy', 'http://user:TOPSECRET@proxy:3128', 'ls'],
    ['--secretkey=TOPSECRET', 'ls'],
) {
    my ($status, $out, $err) = run(@$args);
    is($status, 2, "@$args[0]: refused");
    unlike("$out$err", qr/TOPSECRET/, '... and not repeated');
}
like(
    (run('--secret-key', 'x', 'ls'))[2], qr/--config.*env.*terminal/,
    'it says what to do instead'
);

# --- help and version

my ($status, $out, $err) = run('--help');
is($status, 0, '--help succeeds');
like($out, qr/^  \Q$_\E\s/m, "... and shows $_") for qw(ls put get cat rm cp head mb probe status);
unlike($out, qr/secret-key/, '... and no option for secrets');
like((run('put', '--help'))[1], qr/--if-absent/, "a command's help shows its options");
like((run('--version'))[1], qr/^s3pve [\d.]+\n\z/, '--version');
ok((grep { /^minio\s/ } split(/\n/, (run('providers'))[1])), 'providers lists presets');
is(
    scalar(grep { decode_json($_)->{title} } split(/\n/, (run('providers', '--json'))[1])),
    scalar(split(/\n/, (run('providers'))[1])), '... in JSON, one a line'
);

# --- errors as JSON

($status, $out, $err) = run('ls', 'a', 'b', '--json');
my $error = decode_json($err);
is($error->{code}, 'INVALID', 'a JSON error has a code');
is($error->{command}, 'ls', '... its command');
like($error->{error}, qr/usage/, '... and words');

# --- where settings come from; nothing listens on port 1, so the message names the endpoint used

my $file = spew("$dir/conf", <<'EOT');
endpoint = http://127.0.0.1:1
bucket = from-file
access-key = A
secret-key = TOPSECRET
EOT
my @quick = ('--timeout', '1');
sub target (@args) { return (run(@quick, @args, 'ls'))[2] }

like(target('-c', $file), qr/from-file/, '--config is read');
like(target('-c', $file, '-b', 'from-option'), qr/from-option/, '... and options win over it');
{
    local $ENV{S3PVE_CONFIG} = $file;
    like(target(), qr/from-file/, 'S3PVE_CONFIG names a file');
}
{
    local @ENV{qw(AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY)} = ('A', 'TOPSECRET');
    like(
        target('-e', 'http://127.0.0.1:1', '-b', 'from-option'), qr/from-option/,
        'keys from the environment do',
    );
}
unlike(target('-c', $file, '-vv'), qr/TOPSECRET/, 'no secret in the log');
chmod(0644, $file);
like(target('-c', $file), qr/other users may read/, 'a file with a secret must be private');
spew($file, slurp($file) =~ s/^secret-key.*$//mr . "credentials = anonymous\n", 0644);
like(target('-c', $file), qr/from-file/, '... one without need not');

mkdir("$dir/run");
mkdir("$dir/run/s3");
spew("$dir/run/s3/config", <<"EOT");
{"storage":"s3","options":{"endpoint":"http://127.0.0.1:1","bucket":"from-storage","connections":4,
"access-key":"A","credentials-file":"$dir/secret"}}
EOT
spew("$dir/secret", "secret-key = TOPSECRET\n");
like(target('-s', 's3'), qr/from-storage/, '--storage reads what the daemon reads');
spew("$dir/secret", "secret-key = TOPSECRET\n", 0644);
like(
    target('-s', 's3'), qr/other users may read/,
    '... and a secret that is open to all is refused'
);
spew("$dir/run/s3/config", '{"options":');
is((run('-s', 's3', 'ls'))[0], 2, 'a broken configuration is an error');

# --- a secret typed at the prompt is not shown

{
    my $pty = IO::Pty->new();
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        $pty->make_slave_controlling_terminal();
        my $slave = $pty->slave();
        POSIX::dup2(fileno($slave), $_) for 0 .. 2;
        exec('s3pve', @quick, '-e', 'http://127.0.0.1:1', '-b', 'from-option', '-a', 'A', 'ls')
            or POSIX::_exit(127);
    }
    $pty->close_slave();
    my $shown = '';
    local $SIG{ALRM} = sub { die "no prompt\n" };
    alarm(20);
    while ($shown !~ /Secret key: /) {
        sysread($pty, $shown, 1000, length($shown)) or last;
    }
    syswrite($pty, "TOPSECRET\n");
    while (sysread($pty, $shown, 1000, length($shown))) { }
    alarm(0);
    waitpid($pid, 0);
    like($shown, qr/Secret key: .*from-option/s, 'on a terminal the secret is asked for and used');
    unlike($shown, qr/TOPSECRET/, '... and not shown');
}

done_testing();
