#!/usr/bin/perl
# Adding, changing and removing a storage: tried first, then stored.
use v5.36;

use File::Temp qw(tempdir);
use FindBin qw($Bin);
use JSON::PP ();
use Sys::Syslog ();
use Test::More;

use PVE::Storage;
use PVE::Storage::Custom::S3Plugin;
use S3PVE::Config;
use S3PVE::Daemon;

# A double of the library: what it was asked, and what it answers.
my ($bucket_exists, @calls, $opened, @refuse, @warnings_of_client, @syslog);
BEGIN { $INC{'S3PVE.pm'} = 'double' } ## no critic (RequireLocalizedPunctuationVars)

package S3PVE::Error {
    use overload '""' => sub { return "$_[0]->{message}\n" }, fallback => 1;
}

package S3PVE {
    sub is_code ($err, $code) { return ref($err) && $err->{code} eq $code }
}

package S3PVE::Client {
    my sub fail ($code, $message) {
        die bless({ code => $code, message => $message }, 'S3PVE::Error');
    }

    my sub note_call ($name, %call) {
        push @calls, $name;
        main::is($call{timeout_ms}, 15000, 'a hook waits for the store 15 s at most');
        main::is($call{max_attempts}, 4, 'and asks it four times');
        return;
    }

    sub open ($class, $settings) { ## no critic (ProhibitBuiltinHomonyms)
        $opened = $settings;
        fail('INVALID', "region 'x y': only letters") if ($settings->{region} // '') eq 'x y';
        return bless({}, $class);
    }

    sub bucket_check ($self, %call) {
        note_call('check', %call);
        fail('DENIED', $refuse[0]) if @refuse;
        fail('NO_BUCKET', "there is no bucket 'bucket'") if !$bucket_exists;
        return;
    }

    sub bucket_create ($self, %call) {
        note_call('create', %call);
        $bucket_exists = 1;
        return;
    }
    sub warnings ($self) { return @warnings_of_client }
}

package main;

my $class = 'PVE::Storage::Custom::S3Plugin';
my $root = $ENV{S3PVE_TEST_ROOT} = $S3PVE::Config::ROOT = tempdir(CLEANUP => 1);
mkdir "$root/$_" for qw(etc etc/pve etc/pve/priv run mnt);
$S3PVE::Daemon::SYSTEMD = "$root/no-systemd";
$S3PVE::Daemon::MOUNTS = "$root/mounts";
@S3PVE::Daemon::PROGRAM = ("$Bin/../lib/double-s3pved");
open(my $fh, '>', "$root/mounts") or die;
close($fh);

my $scfg = {
    type => 's3',
    path => "$root/mnt/a",
    's3-endpoint' => 'https://s3.example.com',
    's3-bucket' => 'bucket',
    's3-access-key' => 'AK',
};
my $secret_file = S3PVE::Config::secret_file('a');

my sub attempt ($method, @args) {
    ($opened, @calls) = (undef);
    eval { $class->$method('a', @args) };
    return $@;
}

my sub secrets () { return S3PVE::Config::read_secrets('a') }

# --- adding

is(
    attempt('on_add_hook', $scfg),
    "S3 storage 'a': s3-secret-key: missing; give it with --s3-secret-key\n",
    'a storage without a secret is refused'
);
is($opened, undef, 'before anybody is asked');

is(
    attempt('on_add_hook', { $scfg->%*, 's3-create-bucket' => 0 }, 's3-secret-key' => 'SK'),
    "S3 storage 'a': there is no bucket 'bucket'\n",
    'a missing bucket is an error where it may not be created'
);
ok(!-e $secret_file, 'and nothing is stored');

is(
    attempt('on_add_hook', { $scfg->%*, 's3-region' => 'x y' }, 's3-secret-key' => 'SK'),
    "S3 storage 'a': s3-region 'x y': only letters\n",
    "the library's complaint reaches the user, in the words of storage.cfg"
);
is("@calls", '', 'without a request');

@refuse = ('GET bucket: 403 InvalidAccessKeyId');
@warnings_of_client = ("403, request id \x{e9}1", '403, request id 2');
{
    no warnings 'redefine'; ## no critic (ProhibitNoWarnings)
    local *Sys::Syslog::syslog = sub { push @syslog, [@_] };
    like(
        attempt('on_add_hook', $scfg, 's3-secret-key' => 'SK'), qr/403/,
        'a wrong key is an error'
    );
}
is_deeply(
    \@syslog,
    [
        ['warning', '%s', "storage 'a': 403, request id \xc3\xa91"],
        ['warning', '%s', "storage 'a': 403, request id 2"],
    ],
    'what the library said of each request is in the log'
);
@warnings_of_client = ();
is("@calls", 'check', 'and no reason to create anything');
@refuse = ('host:9000: SSL routines::wrong version number');
is(
    attempt('on_add_hook', $scfg, 's3-secret-key' => 'SK'),
    "S3 storage 'a': host:9000: SSL routines::wrong version number - no TLS at that port; should "
        . "s3-endpoint begin with http://?\n",
    'TLS where there is none is explained'
);
@refuse = ('host:9000: Failed to connect to proxy port 3128');
like(
    attempt('on_add_hook', { $scfg->%*, 's3-proxy' => 'proxy:3128' }, 's3-secret-key' => 'SK'),
    qr/3128 - by way of s3-proxy$/, 'and a proxy is named'
);
@refuse = ();

is(attempt('on_add_hook', $scfg, 's3-secret-key' => 'SK'), '', 'a good one is accepted');
is("@calls", 'check create check', 'the bucket was created');
is_deeply(secrets(), { 'secret-key' => 'SK' }, 'the secret is stored');
is($opened->{'secret-key'}, 'SK', 'the library was given it');
is($opened->{timeout}, 15, 'and no longer than a hook has');
is((stat($secret_file))[2] & 0777, 0600, 'and nobody else');

is(
    attempt('on_add_hook', { $scfg->%*, 's3-create-bucket' => 0 }, 's3-secret-key' => 'SK'),
    '', 'a bucket that is there is used'
);
is("@calls", 'check', 'as it is');

{
    local $PVE::Storage::CONFIG = {
        ids => {
            a => $scfg,
            local => { type => 'dir', path => '/var/lib/vz' },
            other => { $scfg->%*, 's3-prefix' => 'p' },
            twin => { $scfg->%*, 's3-endpoint' => 'S3.example.com/' },
        }
    };
    my $warning = '';
    local $SIG{__WARN__} = sub { $warning .= "@_" };
    attempt('on_add_hook', $scfg, 's3-secret-key' => 'SK');
    is(
        $warning,
        "storage 'twin' has the same bucket and prefix: each lists, prunes and removes the files "
            . "of both\n",
        'a second storage of the same files is added, with a warning'
    );
}

# --- changing

is(
    attempt('on_update_hook_full', $scfg, { content => { iso => 1 } }, ['nodes'], {}),
    '', 'what does not concern the store'
);
is($opened, undef, 'does not trouble it');

like(
    attempt('on_update_hook_full', $scfg, { 's3-cache-dir' => "$root/none" }, undef, {}),
    qr/^s3-cache-dir '\Q$root\E\/none': there is no such directory here/,
    'a cache directory has to be there'
);
is(
    attempt('on_update_hook_full', $scfg, { 's3-cache-dir' => $root }, undef, {}), '',
    'then it is taken'
);
is(
    attempt('on_update_hook_full', $scfg, { 's3-endpoint' => 'https://new' }, undef, {}),
    '', 'a new endpoint'
);
is($opened->{endpoint}, 'https://new', 'is tried');
is($opened->{'secret-key'}, 'SK', 'with the secret that is there');

is(
    attempt('on_update_hook_full', { $scfg->%*, port => 9000 }, {}, ['port'], {}), '',
    'a deleted port'
);
is($opened->{endpoint}, 'https://s3.example.com', 'is gone when the rest is tried');

is(
    attempt('on_update_hook_full', $scfg, {}, undef, { 's3-secret-key' => 'NEW' }), '',
    'a new secret'
);
is($opened->{'secret-key'}, 'NEW', 'is tried');
is_deeply(secrets(), { 'secret-key' => 'NEW' }, 'and stored');

@refuse = ('GET bucket: 403 InvalidAccessKeyId');
like(
    attempt('on_update_hook_full', $scfg, {}, undef, { 's3-secret-key' => 'BAD' }),
    qr/403/, 'one that is wrong'
);
is_deeply(secrets(), { 'secret-key' => 'NEW' }, 'is not');
@refuse = ();

is(
    attempt('on_update_hook_full', $scfg, {}, ['s3-secret-key'], { 's3-secret-key' => undef }),
    "S3 storage 'a': s3-secret-key: missing; give it with --s3-secret-key\n",
    'the only secret cannot be deleted'
);
is_deeply(secrets(), { 'secret-key' => 'NEW' }, 'and stays');

attempt('on_update_hook_full', $scfg, {}, undef, { 's3-session-token' => 'TOK' });
is_deeply(secrets(), { 'secret-key' => 'NEW', 'session-token' => 'TOK' }, 'a token is added');
is(
    attempt(
        'on_update_hook_full', $scfg, {}, ['s3-session-token'], { 's3-session-token' => undef }
    ),
    '',
    'a token can be deleted'
);
is_deeply(secrets(), { 'secret-key' => 'NEW' }, 'and is');

$bucket_exists = 0;
like(
    attempt('on_update_hook_full', $scfg, { 's3-region' => 'r' }, undef, {}),
    qr/no bucket/, 'a change never creates a bucket'
);
$bucket_exists = 1;

$PVE::Storage::CONFIG->{ids}->{a} = $scfg;
is(
    attempt(
        'on_update_hook', { 's3-endpoint' => 'https://old-api' }, 's3-secret-key' => 'OLDAPI'
    ),
    '',
    'the hook of older versions'
);
is($opened->{endpoint}, 'https://old-api', 'tries the change');
is($opened->{bucket}, 'bucket', 'on top of what storage.cfg has');
is_deeply(secrets(), { 'secret-key' => 'OLDAPI' }, 'and stores the secret');

# --- removing

S3PVE::Daemon::ensure('a', $scfg, 5);
ok(S3PVE::Daemon::is_mounted($scfg->{path}), 'a storage in use is mounted');
is(attempt('on_delete_hook', $scfg), '', 'removing it');
ok(!S3PVE::Daemon::is_mounted($scfg->{path}), 'unmounts');
ok(!-e $secret_file, 'removes the secret');
ok(!-e "$root/run/s3pve/a", 'and what was in /run');
is(attempt('on_delete_hook', $scfg), '', 'removing what is gone is fine');

my @warnings;
local $SIG{__WARN__} = sub { push @warnings, @_ };
S3PVE::Daemon::ensure('a', $scfg, 5);
open($fh, '>', "$root/behaviour") or die;
print {$fh} '{"stop":{"ok":true,"busy":true}}';
close($fh);
is(attempt('on_delete_hook', $scfg), '', 'removing a storage with open files works');
like("@warnings", qr/stays mounted/, 'but says that it stays mounted');
unlink("$root/behaviour");
is(S3PVE::Daemon::stop('a', $scfg, 5), 1, '(end of the daemon)');

done_testing();
