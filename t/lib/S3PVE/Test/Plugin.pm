package S3PVE::Test::Plugin;

# The plugin on a double of the daemon, for tests of disks:
#
#   my ($class, $scfg, $root) = plugin();     storage "a", not yet active
#   behave('volume-stat' => refusal('IO', 'why'));    answers instead of the usual ones; behave(): none
#   set_volumes({ '100/x.raw' => { size => 1 } });    what the daemon has; volumes(): the same
#   my @requests = asked();                   about volumes since the last time
#   is(error_of(sub { ... }), "why\n", ...);
use v5.36;

use Exporter qw(import);
use File::Temp qw(tempdir);
use JSON::PP ();

use PVE::Storage;
use PVE::Storage::Custom::S3Plugin;
use PVE::Storage::DirPlugin;
use S3PVE::Config;
use S3PVE::Daemon;
use S3PVE::Test qw(slurp spew top);

our @EXPORT_OK = qw(plugin behave volumes set_volumes asked error_of refusal);

my $json = JSON::PP->new->utf8->canonical;
my ($root, $scfg);
my $owner = $$;

sub plugin () {
    $root = $ENV{S3PVE_TEST_ROOT} = $S3PVE::Config::ROOT = tempdir(CLEANUP => 1);
    mkdir "$root/run";
    spew("$root/mounts", '');
    spew("$root/volumes", '{}');
    $S3PVE::Daemon::SYSTEMD = "$root/no-systemd";
    $S3PVE::Daemon::MOUNTS = "$root/mounts";
    @S3PVE::Daemon::PROGRAM = (top() . '/t/lib/double-s3pved');
    $scfg = {
        type => 's3',
        path => "$root/mnt/a",
        's3-bucket' => 'bucket',
        's3-endpoint' => 'https://s3.example.com',
        content => { images => 1, rootdir => 1 },
    };
    return ('PVE::Storage::Custom::S3Plugin', $scfg, $root);
}

sub behave (%answers) { return spew("$root/behaviour", $json->encode(\%answers)) }
sub volumes () { return $json->decode(slurp("$root/volumes")) }
sub set_volumes ($volumes) { return spew("$root/volumes", $json->encode($volumes)) }

sub asked () {
    my $commands = -e "$root/commands" ? slurp("$root/commands") : '';
    spew("$root/commands", '');
    return map { $json->decode($_) } grep { m/^\{/ } split(/\n/, $commands);
}

sub error_of ($code) {
    eval { $code->(); 1 } and return '';
    return $@;
}

sub refusal ($code, $error) {
    return { ok => JSON::PP::false, code => $code, error => $error };
}

END {
    S3PVE::Daemon::stop('a', $scfg, 5) if $scfg && $$ == $owner;
}

1;
