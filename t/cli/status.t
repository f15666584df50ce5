#!/usr/bin/perl
# s3pve --storage: what the storage's daemon says, what is done without one, and with one that lies.
use v5.36;

use IO::Socket::UNIX;
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time);

use S3PVE::Test;

my $dir = scratch();
my $fake = fakes3();
$ENV{S3PVE_RUN_DIR} = "$dir/run";
$ENV{XDG_STATE_HOME} = "$dir/state";
mkdir("$dir/run");
mkdir("$dir/run/s3");
spew("$dir/secret", "secret-key = $fake->{secret_key}\n");
spew(
    "$dir/run/s3/config",
    JSON::PP::encode_json({
        storage => 's3',
        options => {
            endpoint => $fake->{endpoint}, bucket => 'status', prefix => 'pve/',
            'access-key' => $fake->{access_key}, 'credentials-file' => "$dir/secret",
            connections => 4, region => undef,
        },
    })
);

sub run (@args) { return run_cmd('s3pve', @args, '-s', 's3') }

# A daemon that answers every line with the same text; returns its pid.
sub daemon ($answer) {
    unlink("$dir/run/s3/control.sock");
    my $listener = IO::Socket::UNIX->new(Local => "$dir/run/s3/control.sock", Listen => 5)
        or die "control.sock: $!\n";
    my $pid = fork() // die "fork: $!\n";
    return $pid if $pid;

    while (my $client = $listener->accept()) {
        my $line = <$client>;
        my $asked = eval { decode_json($line)->{cmd} } // '';
        print {$client} $asked eq 'status' ? $answer : qq({"ok":false,"error":"what?"}\n);
        sleep(60) if $answer eq '';
        close($client);
    }
    exit(0);
}

sub with_daemon ($answer, @args) {
    my $pid = daemon($answer);
    my $began = time();
    my @result = (run('status', @args), time() - $began);
    kill('KILL', $pid);
    waitpid($pid, 0);
    return @result;
}

is((run('mb'))[0], 0, 'the settings of a storage do');
run_ok({ stdin => 'x' x 100 }, 's3pve', 'put', '-', 'iso/a', '-s', 's3');
my ($status, $out, $err) = run('status', '--json');
is($status, 0, 'without a daemon the store is asked');
is(decode_json($out)->{used}, 100, '... and counted');
like((run('status'))[2], qr/no daemon/, '... which is said');

my $good = '{"ok":true,"online":true,"mounted":true,"used":4096,"last_error":"",'
    . '"cache":{"bytes":7,"size":1024},"uploads":0}';
($status, $out) = with_daemon("$good\n");
is($status, 0, 'a daemon answers');
like($out, qr/^online: true$/m, '... in words');
like($out, qr/^cache\.bytes: 7$/m, '... all of it');
unlike($out, qr/^ok/m, '... but for the envelope');
($status, $out) = with_daemon("$good\n", '--json');
is(decode_json($out)->{cache}->{size}, 1024, '... and as JSON');

($status, $out, $err) = with_daemon(qq({"ok":true,"online":false,"last_error":"no route"}\n));
is($status, 1, 'a store that is offline: status 1');
like($out, qr/^online: false$/m, '... but all is shown');
like($err, qr/no route/, '... and why');

for my $case (
    ['a refusal', qq({"ok":false,"error":"not now"}\n), qr/not now/],
    ['no JSON', "hello\n", qr/does not speak JSON/],
    ['half an answer', '{"ok":', qr/hung up/],
    ['an endless answer', '"' . 'x' x 3_000_000, qr/too much/],
) {
    my ($what, $answer, $text) = @$case;
    ($status, $out, $err) = with_daemon($answer);
    is($status, 1, "$what: status 1");
    like($err, $text, '... in words');
}

($status, $out, $err, my $s) = with_daemon('');
is($status, 1, 'a daemon that does not answer: status 1');
cmp_ok($s, '<', 15, '... in time');
like($err, qr/does not answer/, '... in words');

done_testing();
