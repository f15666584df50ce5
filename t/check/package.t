#!/usr/bin/perl
# What the packages do to a running node: Proxmox's daemons learn of the plugin, and no daemon of ours
# is restarted under what is being written.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

my $debian = top() . '/debian';

# A file without its comments.
my sub lines_of ($name) { return slurp("$debian/$name") =~ s/^[ \t]*#.*\n//mgr }

is(
    lines_of('pve-storage-s3.triggers'),
    "activate-noawait pve-api-updates\n",
    'installing the plugin restarts the daemons of Proxmox VE, those of HA and schedules too'
);
like(
    lines_of('pve-storage-s3.install'), qr!^usr/share/perl5$!m,
    'it is in the package that says so'
);

# needrestart(8) reads it as Perl.
our %nrconf;
like(
    lines_of('s3pve.install'), qr!^debian/needrestart/s3pve\.conf etc/needrestart/conf\.d$!m,
    'needrestart has a word from us'
);
eval lines_of('needrestart/s3pve.conf') . '; 1' or die $@; ## no critic (ProhibitStringyEval)
my @overrides = map { [$_, $nrconf{override_rc}->{$_}] } keys $nrconf{override_rc}->%*;
is(scalar(@overrides), 1, 'it is one');
is($overrides[0][1], 0, 'not to restart');
like('s3pved@st.service', qr/$overrides[0][0]/, 'a daemon of ours');
unlike($_, qr/$overrides[0][0]/, "but $_ is not ours")
    for qw(pvedaemon.service ssh.service xs3pved@st.service);

my $rules = lines_of('rules');
like(
    $rules, qr/^\tdh_installsystemd --name=s3pved@ --no-enable --no-start$/m,
    'nor does debhelper'
);
unlike($rules, qr/restart-after-upgrade/, 'at any time');

# The scripts, as dpkg calls them, with a systemctl and a socket's owner that tell.
my $scratch = scratch();
my %script;
for my $name (qw(prerm postinst postrm)) {
    my $text = lines_of("s3pve.$name");
    unlike($text, qr/\b(?:re)?start\b\s+["']?s3pved/, "$name starts nothing");
    unlike(
        $text, qr/\bkill\b|\bumount\b|systemctl[^\n]*\bstop\b(?! s3pved\@NAME)/,
        '... nor ends by force'
    );
    $script{$name} =
        slurp("$debian/s3pve.$name") =~ s!/run/s3pve!$scratch/run!gr =~ s/^#DEBHELPER#\n//mr;
}
mkdir "$scratch/$_" for qw(run run/st);
my $path = "$scratch/run/st/control.sock";

# Run prerm while a daemon answers so; its exit code, what it said, and what the daemon was asked.
my sub prerm ($answer, @args) {
    require IO::Socket::UNIX;
    unlink($path, "$scratch/asked");
    my $listener = IO::Socket::UNIX->new(Local => $path, Listen => 1) or die "$path: $!\n";
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        alarm(60);
        my $client = $listener->accept();
        spew("$scratch/asked", scalar(readline($client)));
        print {$client} "$answer\n";
        unlink($path) if $answer =~ m/"busy":false/;
        POSIX::_exit(0);
    }
    my ($code, undef, $err) = run_cmd('sh', '-c', $script{prerm}, 'prerm', @args);
    kill('KILL', $pid);
    waitpid($pid, 0);
    return ($code, $err, -e "$scratch/asked" ? slurp("$scratch/asked") : '');
}

for my $args (['upgrade', '1.0'], ['deconfigure'], ['failed-upgrade', '1.0']) {
    is_deeply([prerm('', $args->@*)], [0, '', ''], "prerm $args->[0] leaves the daemons alone");
}
is_deeply(
    [prerm('{"ok":true,"busy":false}', 'remove')],
    [0, '', qq({"cmd":"stop"}\n)], 'removing the package asks them to end'
);
my ($code, $err) = prerm('{"ok":true,"busy":true}', 'remove');
isnt($code, 0, 'and fails while files are in use');
like($err, qr/files are in use on the S3 storage st;/, 'with the storage named');

done_testing();
