#!/usr/bin/perl
# From storage.cfg to the library and the daemon.
use v5.36;

use File::Temp qw(tempdir);
use JSON::PP ();
use Test::More;

use S3PVE::Config;

$S3PVE::Config::ROOT = tempdir(CLEANUP => 1);
my $root = $S3PVE::Config::ROOT;
mkdir "$root/$_" for qw(etc etc/pve etc/pve/priv);

# names

is(S3PVE::Config::runtime_name('s3-store.a_b'), 's3-store.a_b', 'a storage is named by its id');

my $long = 'x' x 80;
is(S3PVE::Config::runtime_name($long), $long, 'up to 80 bytes');

my $one = S3PVE::Config::runtime_name("${long}1");
my $two = S3PVE::Config::runtime_name("${long}2");
is(length($one), 80, 'a longer one is cut to 80');
isnt($one, $two, 'and two that begin alike stay apart');
like($one, qr/^x{47}-[0-9a-f]{32}$/, 'as DESIGN.md says');

is(S3PVE::Config::paths('a')->{socket}, "$root/run/s3pve/a/control.sock", 'the control socket');
cmp_ok(
    length(S3PVE::Config::paths("${long}1")->{socket}) - length($root),
    '<', 108, 'the path of a socket fits'
);

for my $bad ('', '../etc', 'a/b', "a\n", "a b") {
    eval { S3PVE::Config::secret_file($bad) };
    like(
        $@, qr/^'\Q$bad\E' is not a storage id: a letter, /,
        "'" . $bad =~ s/\n/\\n/r . "' is no id"
    );
}

# settings

my $scfg = {
    type => 's3',
    path => '/mnt/pve/a',
    's3-endpoint' => 'minio.lan',
    's3-bucket' => 'bucket',
    's3-access-key' => 'AK',
    's3-upload-limit' => 5,
    's3-create-bucket' => 1,
    's3-quota' => '10',
    fingerprint => 'AA:BB',
    'prune-backups' => 'keep-last=1',
};
is_deeply(
    S3PVE::Config::client_settings('a', $scfg),
    {
        storage => 'a',
        endpoint => 'minio.lan',
        bucket => 'bucket',
        'access-key' => 'AK',
        'upload-limit' => '5',
        fingerprint => 'AA:BB',
    },
    'the library gets what concerns it, by its own names',
);

for my $case (
    ['minio.lan', 9000, 'minio.lan:9000'],
    ['https://minio.lan/', 9000, 'https://minio.lan:9000'],
    ['http://minio.lan:80', 9000, 'http://minio.lan:80'],
    ['[fd00::1]', 9000, '[fd00::1]:9000'],
) {
    my ($endpoint, $port, $expected) = $case->@*;
    my $settings = S3PVE::Config::client_settings(
        'a',
        { $scfg->%*, 's3-endpoint' => $endpoint, port => $port }
    );
    is($settings->{endpoint}, $expected, "port $port goes with endpoint $endpoint");
}

my $text = S3PVE::Config::daemon_config('a', $scfg);
my $config = JSON::PP->new->utf8->decode($text);
is($config->{mountpoint}, '/mnt/pve/a', 'the daemon is told where to mount');
is($config->{'cache-size'}, 8, 'has a cache');
is($config->{quota}, 10, 'knows the quota');
like($text, qr/"quota" : 10\b/, 'as a number, though storage.cfg has only text');
is(
    $config->{options}->{'credentials-file'},
    "$root/etc/pve/priv/storage/a.s3", 'and finds the secret itself'
);
is($config->{options}->{'lock-dir'}, "$root/etc/pve/priv/lock", 'and the cluster\'s locks');
ok(!exists($config->{$_}), "and leaves $_ to it") for qw(durability journal-size);
$config = S3PVE::Config::daemon_config('a', { $scfg->%*, 's3-durability' => 'node' });
is(JSON::PP->new->decode($config)->{durability}, 'node', 'unless it is set');
$config = S3PVE::Config::daemon_config('a', { $scfg->%*, 's3-journal-size' => '4' });
like($config, qr/"journal-size" : 4\b/, 'unless it is set, too');
is(S3PVE::Config::daemon_config('a', { $scfg->%* }), $text, 'the same section gives the same text');

$config = JSON::PP->new->decode(S3PVE::Config::daemon_config(
    'a', { $scfg->%*, 's3-cache-dir' => '/ssd', 's3-cache-size' => 0 }
));
is($config->{'cache-dir'}, '/ssd/a', 'storages do not share a folder of a cache directory');
is($config->{'cache-size'}, 0, 'no cache is a choice');

# secrets

is_deeply(S3PVE::Config::read_secrets('a'), {}, 'no secret yet');

my $secrets = S3PVE::Config::merge_secrets({}, { 's3-secret-key' => 'se/cret+=' });
S3PVE::Config::write_secrets('a', $secrets);
my $file = S3PVE::Config::secret_file('a');
is((stat($file))[2] & 0777, 0600, 'the secret is for root only');
is_deeply(S3PVE::Config::read_secrets('a'), { 'secret-key' => 'se/cret+=' }, 'and is read back');

is_deeply(
    S3PVE::Config::merge_secrets($secrets, { 's3-session-token' => 'tok' }),
    { 'secret-key' => 'se/cret+=', 'session-token' => 'tok' },
    'what is not named stays',
);
is_deeply(
    S3PVE::Config::merge_secrets($secrets, { 's3-secret-key' => undef }),
    {}, 'a deleted one goes'
);

eval { S3PVE::Config::merge_secrets({}, { 's3-secret-key' => "a\nsession-token = b" }) };
is(
    $@, "s3-secret-key: has a space or a line end in it; copy it again\n",
    'a secret cannot bring lines of its own'
);
unlike($@, qr/session-token/, 'nor show up in the error');

S3PVE::Config::delete_secrets('a');
ok(!-e $file, 'the secret can be removed');
ok(eval { S3PVE::Config::delete_secrets('a'); 1 }, 'twice');

done_testing();
