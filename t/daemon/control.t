#!/usr/bin/perl
# The control socket, with nobody at the S3 endpoint: the daemon mounts, says that it is offline,
# and answers whatever comes along at once.
use v5.36;

use FindBin qw($RealBin);
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $daemon = S3PVE::Test::Daemon->new(undef, 'bucket', quota => 100);

my $begin = time();
ok($daemon->start(), 'the daemon starts although nobody is at the endpoint')
    or diag($daemon->output());
cmp_ok(time() - $begin, '<', 5, '... without waiting for it');
is(scalar($daemon->mounts()), 1, '... and mounts');
like(
    ($daemon->mounts())[0], qr/^s3pve:store1 \S+ fuse\.s3pve .*default_permissions,allow_other/,
    '... under its name, for all users'
);

# --- the answers

my $pong = $daemon->ask('ping');
ok($pong->{ok}, 'ping is answered');
is($pong->{pid}, $daemon->{pid}, '... with the process id');
is($pong->{storage}, 'store1', '... and the storage');

my $status = $daemon->ask('status');
ok($status->{mounted}, 'status: mounted');
ok(!$status->{online}, '... but offline');
is($status->{total}, 100 << 30, '... of the size of the quota');
is($status->{mountpoint}, $daemon->{mnt}, '... at the mountpoint');
is(ref($status->{$_}), 'HASH', "... with $_") for qw(cache counters);
unlike(encode_json($status), qr/secret/, '... and no secret');
ok(
    wait_until(20, sub { $daemon->ask('status')->{last_error} }),
    'the reason shows up in last_error'
);

$begin = time();
$daemon->ask('status') for 1 .. 100;
cmp_ok((time() - $begin) / 100, '<', 0.1, 'status waits for nothing');
is_deeply($daemon->ask('uploads'), { ok => JSON::PP::true, uploads => [] }, 'there are no uploads');

# --- strange clients

my sub invalid ($line, $what) {
    my $answer = $daemon->ask_line($line);
    ok($answer && !$answer->{ok}, "$what is refused");
    is($answer->{code}, 'INVALID', '... as invalid');
    return;
}
invalid('', 'an empty line');
invalid('{', 'half an object');
invalid('[1]', 'an array');
invalid('"status"', 'a string');
invalid('{"cmd": 7}', 'a number for a command');
invalid('{"cmd": "reboot"}', 'an unknown command');
invalid('{"cmd": "ping", "cmd": "stop"}', 'a command given twice');
invalid(qq({"cmd": "stop", "force": $_}), "force as $_") for qw(1 0 null "true" "" [] {});
invalid('{"cmd": "stop", "forced": true}', 'a key that nobody knows');
invalid('{"cmd": "ping", "force": true}', 'a key of another command');
invalid('{"cmd": "status\\u0000"}', 'a command with a zero byte');
is(
    $daemon->ask('stop', force => 1)->{error}, '"force" must be true or false',
    '... with the reason'
);
is($daemon->ask('ping', now => 1)->{error}, '"ping" has an unknown key', '... each');
invalid("\xff\xfe{}", 'what is not UTF-8');
invalid('[' x 60000, 'deep nesting');
invalid('{"cmd": "' . ('x' x 70000) . '"}', 'a line beyond 64 KiB');

# Pieces of requests in any order: either an answer or a refusal, and nothing is stopped.
my @pieces = (
    ',',
    qw({ } [ ] " : \\ cmd ping status uploads force true false null 1 -1e999 \\u0000 \\ud800),
    ' ', "\t", "\0", "\xc3", "\xc3\xa4", '"cmd"', '"cmd":"ping"', '"cmd":"status"', '"force":',
);
my $odd = 0;
srand(7);
for (1 .. 3000) {
    my $line = join('', map { $pieces[rand(@pieces)] } 0 .. rand(8));
    $line = "{$line}" if $_ % 2;
    my $answer = $daemon->ask_line($line);
    next if $answer && ($answer->{ok} || $answer->{code} eq 'INVALID' && $answer->{error});
    $odd++;
    diag("odd answer to '$line'");
}
is($odd, 0, '3000 lines of rubbish are answered or refused');
ok($daemon->ask('ping')->{ok}, '... and the daemon goes on');

my $socket = $daemon->connect();
print {$socket} qq({"cmd": "ping"}\n{"cmd": "status"}\n{"cmd");
$socket->flush();
my @answers = map { decode_json(scalar(<$socket>)) } 1 .. 2;
ok($answers[0]->{ok} && $answers[1]->{mounted}, 'two requests may come in one piece');
sleep(0.3);
print {$socket} qq(: "ping"}\n);
$socket->flush();
ok(decode_json(scalar(<$socket>))->{ok}, '... and one in two');
close($socket);

# A client that has just gone may still count: then one of these was refused for it.
my @idle = map { $daemon->connect() } 1 .. 64;
my $refused = wait_until(
    5,
    sub {
        my $answer = $daemon->ask('ping');
        push(@idle, $daemon->connect()) if $answer->{ok};
        return $answer->{ok} ? undef : $answer;
    }
);
is($refused->{code}, 'THROTTLED', 'a sixty-fifth client is told that there are too many');
$begin = time();
is(readline($idle[0]), undef, 'who says nothing is hung up on');
cmp_ok(time() - $begin, '<', 12, '... after ten seconds');
@idle = ();
ok(wait_until(5, sub { $daemon->ask('ping')->{ok} }), 'then there is room again');

my ($code, $out) = run_cmd(
    'setpriv', '--reuid=65534', '--clear-groups', $^X, '-MIO::Socket::UNIX', '-e',
    'print IO::Socket::UNIX->new(Peer => shift) ? "in" : "out"', "$daemon->{run}/control.sock"
);
is($out, 'out', 'another user than root does not get in');
my $mode = (stat("$daemon->{run}/control.sock"))[2] & 07777;
is(sprintf('%o', $mode), '600', '... by the mode of the socket');

# --- reload

$daemon->configure(quota => 200);
my $reload = $daemon->ask('reload');
ok($reload->{ok} && !$reload->{restart}, 'a quota is in force after a reload');
is($daemon->ask('status')->{total}, 200 << 30, '... and shows');
my $good = $daemon->{config}->{options};
$daemon->configure(options => { %$good, bucket => 'another' });
is($daemon->ask('reload')->{code}, 'INVALID', 'another bucket is refused');
$daemon->configure(options => { %$good, 'part-size' => 20 });
ok($daemon->ask('reload')->{restart}, 'another size of parts wants a restart');
$daemon->configure(options => $good, 'cache-size' => 2);
$reload = $daemon->ask('reload');
ok($reload->{ok} && !$reload->{restart}, 'another size of the cache does not');
is($daemon->ask('status')->{cache}->{size}, 2 << 30, '... and shows');
$daemon->configure('cache-size' => 0.25);
ok($daemon->ask('reload')->{restart}, '... but one smaller than the part of volumes');
$daemon->configure('cache-size' => 1, durability => 'node');
ok(!$daemon->ask('reload')->{restart}, 'with what is in force it needs none, nor does durability');
$daemon->configure(node => 'another');
ok($daemon->ask('reload')->{restart}, 'another name of the node wants a restart');
$daemon->configure(node => undef, 'journal-size' => 3);
ok($daemon->ask('reload')->{restart}, '... or size of journals');
$daemon->configure('journal-size' => undef);
$daemon->configure('state-dir' => "$daemon->{dir}/elsewhere");
ok($daemon->ask('reload')->{restart}, 'another folder wants a restart');
spew("$daemon->{run}/config", 'rubbish');
is($daemon->ask('reload')->{code}, 'INVALID', 'rubbish is refused');
ok($daemon->ask('ping')->{ok}, '... and the daemon goes on');
$daemon->configure(quota => 300);
$daemon->signal('HUP');
ok(wait_until(5, sub { $daemon->ask('status')->{total} == 300 << 30 }), 'SIGHUP reloads as well');

# --- the end

$begin = time();
$daemon->ask('refresh');
cmp_ok(time() - $begin, '<', 6, 'refresh waits for a dead endpoint, but not long');

chdir($daemon->{mnt}) or die "$daemon->{mnt}: $!\n";
my $stop = $daemon->ask('stop');
ok($stop->{busy}, 'stop while it is in use says that it is busy');
ok($daemon->alive() && $daemon->mounts(), '... and changes nothing');
chdir('/');
$stop = $daemon->ask('stop');
ok($stop->{ok} && !$stop->{busy}, 'stop is obeyed when nothing is');
is($daemon->wait_end(), 0, '... the daemon ends well');
is_deeply([$daemon->mounts()], [], '... and unmounts');

ok($daemon->start(), 'it can be started again');
chdir($daemon->{mnt}) or die "$daemon->{mnt}: $!\n";
ok(!$daemon->ask('stop', force => JSON::PP::true)->{busy}, 'stop by force is obeyed in any case');
is($daemon->wait_end(), 0, '... the daemon ends well');
is_deeply([$daemon->mounts()], [], '... and unmounts');
chdir('/');

done_testing();
