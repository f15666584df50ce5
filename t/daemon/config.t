#!/usr/bin/perl
# A wrong configuration ends the daemon at once, with an exit code the unit does not retry, and
# with words that name the file, the setting and what would be right.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

my $EX_CONFIG = 78;
my $daemon = S3PVE::Test::Daemon->new(undef, 'bucket');
my $good = { $daemon->{config}->%* };
my $file = "$daemon->{run}/config";

my sub run_daemon () {
    my ($code, $out, $err) = run_cmd({ timeout => 20 }, $daemon->command());
    return ($code, $err);
}

my sub refused ($what, $like) {
    my ($code, $err) = run_daemon();
    is($code, $EX_CONFIG, "$what is refused for good");
    like($err, $like, '... with the reason');
    unlike($err, qr/secret/, '... and without the secret');
    return;
}

my sub refused_setting ($name, $value, $like) {
    $daemon->{config} = {%$good};
    $daemon->configure($name => $value);
    refused("$name " . (ref($value) ? 'of a wrong type' : $value // 'missing'), $like);
    return;
}

refused_setting('storage', 'other', qr/config: is for storage 'other'/);
refused_setting('storage', [], qr/'storage' is not a name/);
refused_setting('storage', 'store1' . 'x' x 80, qr/config: is for storage 'store1xx/);
refused_setting('mountpoint', undef, qr/'mountpoint'.* needed/);
refused_setting('mountpoint', 'mnt/pve', qr/'mountpoint' is not an absolute path/);
refused_setting('mountpoint', '/mnt/../etc', qr/'mountpoint' is not an absolute path/);
refused_setting('mountpoint', '/', qr/'mountpoint' is not an absolute path/);
refused_setting('state-dir', "$good->{mountpoint}/state", qr/below 'mountpoint'/);
refused_setting('cache-dir', "$good->{mountpoint}", qr/below 'mountpoint'/);
refused_setting('cache-size', 'large', qr/'cache-size' is not a number of GiB/);
refused_setting('cache-size', -1, qr/'cache-size' is not a number of GiB/);
refused_setting('quota', 1e30, qr/'quota' is not a number of GiB/);
refused_setting('durability', $_, qr/'durability' is not "bucket" or "node"/) for 'both', 1, [];
refused_setting('node', $_, qr/'node' is not a node's name/) for '', 'a/b', 'x' x 64, 7;
refused_setting('journal-size', $_, qr/'journal-size' is not a number of GiB, 1.16 at least/)
    for 0, 0.05, 'large';
refused_setting('colour', 'red', qr/unknown setting 'colour'/);
refused_setting('options', 'many', qr/'options' is not an object/);
refused_setting('options', { $good->{options}->%*, bucket => 'No_Bucket!' }, qr/bucket/);
refused_setting('options', { $good->{options}->%*, bucket => ['a'] }, qr/'bucket' is not a string/);
refused_setting('options', { $good->{options}->%*, shape => 'round' }, qr/shape/);
refused_setting('options', { endpoint => 'http://127.0.0.1:9' }, qr/bucket/);

spew($file, '{"storage": "store1",');
refused('half a file', qr/config: line 1: /);
spew($file, '[]');
refused('something else than an object', qr/not a JSON object/);
spew($file, '{"storage": "store1", "storage": "store1"}');
refused('a setting given twice', qr/duplicate/);
spew($file, ' ' x (300 << 10));
refused('an enormous file', qr/longer than 262144 bytes/);

$daemon->{config} = {%$good};
$daemon->configure();
chmod(0620, $file);
refused('a file that others can write', qr/others .* can write/);
unlink($file);
mkdir($file);
refused('a folder', qr/not a regular file/);
rmdir($file);

my ($code, $err) = run_daemon();
isnt($code, 0, 'no configuration is a failure');
like($err, qr/config: No such file/, '... that names the file');
$daemon->configure('state-dir' => '/proc/state');
($code, $err) = run_daemon();
isnt($code, 0, 'a state folder that cannot be made is a failure');
like($err, qr!/proc/state cannot be made; name another in \Q$file\E: !, '... that names both');
is_deeply([$daemon->mounts()], [], 'nothing was mounted by all that');

my $s3pved = build() . '/s3pved';
is((run_cmd($s3pved))[0], 2, 'no storage id is bad usage');
is((run_cmd($s3pved, 'a', 'b'))[0], 2, 'two are too many');
is((run_cmd($s3pved, '../etc'))[0], 2, 'a storage id is no path');
like(
    (run_cmd($s3pved, 'a'))[2], qr/'a' is not a storage's name: that has 2 to 80 letters/,
    '... and is told what one is'
);
is((run_cmd($s3pved, 'x' x 81))[0], 2, 'nor longer than a socket allows');
is((run_cmd($s3pved, 'store1', '--colour'))[0], 2, 'an unknown option is bad usage');
like((run_cmd($s3pved, '--version'))[1], qr/^s3pved \d+\.\d+/, 'it knows its version');

done_testing();
