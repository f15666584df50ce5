#!/usr/bin/perl
# A store that does not list: nobody may take that for an empty one, and prune or back up on it.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE;
use S3PVE::Harness;
use S3PVE::Test;

my $BACKUP = 'vzdump-qemu-100-2026_01_02-03_04_05.vma.zst';

my $pve = S3PVE::Harness->start();
my $fake = fakes3();
$pve->add($fake, 'unlisted', 'st', '--content', 'iso,backup');
my $client = S3PVE::Client->open({
    endpoint => $fake->{endpoint},
    bucket => 'unlisted',
    'access-key' => $fake->{access_key},
    'secret-key' => $fake->{secret_key},
});
$client->put("dump/$BACKUP", 'x');

$fake->rule(do => 'status', status => 500, op => 'ListObjectsV2', times => 0);
like(
    $pve->fails('pvesm', 'list', 'st', '--content', 'backup'),
    qr!cannot list '/mnt/pve/st/dump' - Input/output error!, 'pvesm list fails'
);

# What Proxmox asks before it removes or writes a backup, as it asks it; the mount is there.
my $ask = 'use v5.36; use PVE::Storage; my $cfg = PVE::Storage::config();';
for my $case (
    ['the backup limit of vzdump', q{PVE::Storage::volume_list($cfg, 'st', 100, 'backup')}],
    [
        'pruning',
        q{PVE::Storage::prune_backups($cfg, 'st', { 'keep-last' => 1 }, 100, 'qemu', 1)}
    ],
    ['the list of all content', q{PVE::Storage::volume_list($cfg, 'st')}],
) {
    my ($what, $call) = $case->@*;
    my $without_check = 'no warnings; *PVE::Storage::activate_storage = sub { };';
    like(
        $pve->fails('perl', '-e', "$ask $without_check $call"),
        qr!cannot list '/mnt/pve/st/\S+' - Input/output error!, "$what fails"
    );
}

$fake->clear();
ok(
    wait_until(60, sub { ($pve->run('pvesm', 'list', 'st'))[1] =~ m/\Q$BACKUP\E/ }),
    'when the store lists again, the backup is there'
);

done_testing();
