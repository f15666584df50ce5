#!/usr/bin/perl
# Proxmox VE unmounts nothing when a storage is removed, disabled or kept from a node: the daemon
# sees that in storage.cfg, twice, and leaves.
use v5.36;

use Fcntl qw(O_NONBLOCK O_WRONLY);
use FindBin qw($RealBin);
use POSIX qw(mkfifo);
use Sys::Hostname qw(hostname);
use Test::More;
use Time::HiRes qw(sleep);

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();
my $daemon = S3PVE::Test::Daemon->new(undef, 'bucket', args => ['--watch-interval', 0.2]);
my $node = hostname() =~ s/\..*//r;
my $others = "dir: local\n\tpath /var/lib/vz\n\tdisable\n\n";

my sub config ($text) {
    spew("$daemon->{dir}/new.cfg", $text);
    rename("$daemon->{dir}/new.cfg", "$daemon->{dir}/storage.cfg") or die "storage.cfg: $!\n";
    return;
}

my sub stays ($what, $text) {
    config($text);
    sleep(1);
    ok($daemon->alive(), "the daemon stays: $what") or diag($daemon->output()), $daemon->start();
    return;
}

my sub leaves ($what, $text, $why) {
    ok($daemon->alive() || $daemon->start(), 'the daemon is there') or diag($daemon->output());
    my $before = length($daemon->output());
    config($text);
    is($daemon->wait_end(10), 0, "... and leaves: $what");
    like(substr($daemon->output(), $before), qr/leaving: \Q$why\E/, '... and says why');
    is_deeply([$daemon->mounts()], [], '... nothing is mounted any more');
    config("s3: store1\n\ts3-bucket bucket\n");
    return;
}

ok($daemon->start(), 'there is no storage.cfg at all') or diag($daemon->output());
sleep(1);
ok($daemon->alive(), '... which means nothing');

stays('its section is there', "${others}s3: store1\n\ts3-bucket bucket\n\tcontent iso\n");
stays('also between others', "s3: a\n\tdisable\n\ns3: store1\n\ts3-bucket b\n\ns3: z\n\tdisable\n");
stays('"disable 0" is not disabled', "s3: store1\n\tdisable 0\n");
stays('this node is among its nodes', "s3: store1\n\tnodes other,$node\n");
stays('a comment is no section', "s3: store1\n#s3: store1\n#x: y\n\ts3-bucket b\n");

leaves('it was removed', $others, 'it is no longer in storage.cfg');
leaves('the file is empty', '', 'it is no longer in storage.cfg');
leaves('another type has the name', "dir: store1\n\tpath /x\n", 'it is no longer in storage.cfg');
leaves(
    'a longer name is another', "s3: store11\n\ts3-bucket b\n",
    'it is no longer in storage.cfg'
);
leaves('it was disabled', "s3: store1\n\ts3-bucket b\n\tdisable\n", 'it is disabled');
leaves('"disable 1" too', "s3: store1\n\tdisable 1\n\tnodes $node\n", 'it is disabled');
leaves('other nodes have it', "s3: store1\n\tnodes other,${node}x\n", 'it is not for this node');

ok($daemon->start(), 'the daemon is there') or diag($daemon->output());
chdir($daemon->{mnt}) or die "$daemon->{mnt}: $!\n";
config($others);
ok(wait_until(5, sub { $daemon->output() =~ m/staying for now/ }), 'a mount in use is not left');
ok($daemon->alive(), '... the daemon stays');
chdir('/');
is($daemon->wait_end(10), 0, '... until it is not in use');

# --- a fifo as storage.cfg: every look is one that we have answered

my $looks = S3PVE::Test::Daemon->new(undef, 'bucket', args => ['--watch-interval', 0.2]);
my $cfg = "$looks->{dir}/storage.cfg";
my $wanted = "s3: store1\n\ts3-bucket bucket\n";

my sub new_fifo () {
    mkfifo("$cfg.new", 0600) or die "mkfifo: $!\n";
    rename("$cfg.new", $cfg) or die "$cfg: $!\n";
    return;
}

# Be what the next look sees; false when nobody looks any more.
my sub look ($text) {
    my $fh;
    wait_until(5, sub { sysopen($fh, $cfg, O_WRONLY | O_NONBLOCK) }) or return 0;
    new_fifo();
    syswrite($fh, $text);
    return close($fh);
}

new_fifo();
ok($looks->start(), 'another daemon is there') or diag($looks->output());
for my $text ($others, $wanted, $others, "$wanted\tdisable\n", $wanted) {
    ok(look($text), 'it looks again and again');
}
unlike($looks->output(), qr/leaving/, 'one look that does not find the storage is not believed');
ok(look($others), 'one more');
ok(look($others), '... and the next says the same');
is($looks->wait_end(10), 0, 'two looks are') or diag($looks->output());

done_testing();
