#!/usr/bin/perl
# Loading the plugin must not harm: it happens in every daemon of a node, and one that fails to
# load PVE::Storage is a node that does nothing.
use v5.36;

use File::Temp qw(tempdir);
use Test::More;

my @inc = map { "-I$_" } @INC;

# What it prints, errors included.
my sub run_perl ($switches, $program) {
    my @cmd = ($^X, $switches->@*, @inc, '-e', $program);
    open(my $fh, '-|', 'sh', '-c', 'exec "$@" 2>&1', 'sh', @cmd) or die "sh: $!\n";
    local $/ = undef;
    my $output = <$fh> // '';
    close($fh);
    return $output;
}

# A library that cannot be loaded, in front of the real one.
my $dir = tempdir(CLEANUP => 1);
open(my $fh, '>', "$dir/S3PVE.pm") or die;
print {$fh} "package S3PVE; die qq(libs3pve.so.0: cannot open shared object file\n);\n";
close($fh);

my $load = 'use v5.36; use PVE::Storage; use PVE::Storage::Custom::S3Plugin;';

is(
    run_perl(["-I$dir"], "$load print 'fine'"),
    'fine', 'a library that cannot be loaded does not keep the plugin from loading'
);

is(
    run_perl(["-I$dir"], $load . <<'EOC'),
my $class = 'PVE::Storage::Custom::S3Plugin';
my $scfg = { path => '/nonexistent', 's3-bucket' => 'bucket', 's3-access-key' => 'a' };
eval { $class->on_add_hook('a', $scfg, 's3-secret-key' => 's') };
print $@;
EOC
    "S3 storage 'a': the S3 library cannot be loaded - "
        . "libs3pve.so.0: cannot open shared object file\n",
    'what needs it says so'
);

is(
    run_perl([], "$load print grep { m/S3PVE[.]pm/ } keys %INC"),
    '', 'the library is not even loaded before it is needed'
);

is(run_perl(['-T'], "$load print 'fine'"), 'fine', 'all of it loads in taint mode');

is(
    run_perl([], <<'EOC'),
use v5.36;
my sub count ($what) { return scalar(my @entries = glob("/proc/self/$what/*")) }
my sub inet () { # our sockets, those of the network among them
    my %ours = map { (readlink($_) // '') =~ m/^socket:\[(\d+)\]/ ? ($1 => 1) : () } glob('/proc/self/fd/*');
    my @table = map { open(my $fh, '<', "/proc/self/net/$_"); <$fh> } qw(tcp tcp6 udp udp6);
    return scalar(grep { $ours{ (split)[9] // '' } } @table);
}
my $before = count('fd');
require S3PVE;
print count('fd') - $before, ' descriptors; ';
my $client = S3PVE::Client->open(
    { endpoint => 'https://192.0.2.1', bucket => 'bucket', 'access-key' => 'a', 'secret-key' => 's' });
print count('task'), ' thread, ', inet(), ' connections';
EOC
    '0 descriptors; 1 thread, 0 connections',
    'loading the library opens nothing; a client starts no thread and connects to nothing'
);

done_testing();
