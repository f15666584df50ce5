package S3PVE::Harness;

# Proxmox VE's own programs, run from its sources in a private namespace, with our plugin in them.
#
#   my $pve = S3PVE::Harness->start();              skips the whole test when something is missing
#   my ($code, $out, $err) = $pve->run('pvesm', 'status');       my $out = $pve->must('pvesm', ...);
#   $pve->add($rgw, $bucket, 'store', '--content', 'iso');
#
# PVE_SRC      folder with Proxmox's repositories side by side
# PVE_HARNESS  folder with pve-run, which makes the namespace
# PVE_BASE     the root to run on: none (this machine's, the default) or a tree
# PVE_BUILD    our build for that root (this one)
#
# Everything that is changed is in the namespace, which goes with the test.
use v5.36;

use File::Temp;
use JSON::PP ();
use Test::More ();

use S3PVE::Test;

my $owner = $$;
my @started;

my sub skip ($why) {
    Test::More::plan(skip_all => $why);
    return;
}

# The build and our modules, put where packages would put them; share/perl5 is Proxmox's in there.
my $INSTALL = <<'EOS';
set -e
arch=$(perl -MConfig -e 'print $Config{vendorarch}')
lib=${arch%/perl5/*}
mkdir -p "$arch/auto" "$arch/S3PVE" /usr/local/sbin
cp "$PVE_BUILD/libs3pve.so.0" "$lib/"
cp "$PVE_BUILD/s3pved" /usr/local/sbin/
cp "$PVE_BUILD"/xs/blib/lib/S3PVE.pm "$arch/"
cp -r "$PVE_BUILD"/xs/blib/arch/auto/S3PVE "$arch/auto/"
cp "$PVE_TOP"/perl/S3PVE/*.pm "$arch/S3PVE/"
EOS

sub start ($class) {
    need_fuse();
    my ($src, $harness) = @ENV{qw(PVE_SRC PVE_HARNESS)};
    skip('PVE_SRC does not name the folder with the sources of Proxmox VE')
        if !defined($src) || !-d "$src/pve-storage";
    skip('PVE_HARNESS does not name the folder with pve-run')
        if !defined($harness) || !-x "$harness/pve-run";

    my $build = $ENV{PVE_BUILD} // build();
    my $scratch = File::Temp->newdir('/tmp/s3pve-pve.XXXXXX', CLEANUP => 0);
    my $self = bless(
        {
            run => "$harness/pve-run",
            root => "$scratch",
            env => {
                PVE_ROOT => "$scratch",
                PVE_BASE => $ENV{PVE_BASE} // 'none',
                PVE_BUILD => $build,
                LD_LIBRARY_PATH => $build, # not those of the test itself
                PERL5LIB => '',
                PVE_TOP => top(),
                CUSTOM_DIR => top() . '/perl/PVE/Storage/Custom',
            },
        },
        $class,
    );
    push(@started, $self);
    $self->must('sh', '-c', $INSTALL);

    return $self;
}

# As run_cmd(), inside; a leading hash may hold env, stdin and timeout.
sub run ($self, @cmd) {
    my $how = ref($cmd[0]) ? shift(@cmd) : {};
    my $env = { $self->{env}->%*, ($how->{env} // {})->%* };
    return run_cmd({ timeout => 300, $how->%*, env => $env }, $self->{run}, @cmd);
}

# The output of what has to work; anything said on standard error is a failure too, and shown.
sub must ($self, @cmd) {
    my ($code, $out, $err) = $self->run(@cmd);
    shift(@cmd) if ref($cmd[0]);
    die "@cmd: exit $code\n$err$out" if $code != 0;
    $self->{stderr} = $err;
    return $out;
}

# Proxmox's qemu-img can more than Debian's; what our tests need of that is added here.
my $QEMU_IMG = <<'EOS';
set -e
cp /usr/bin/qemu-img "$PVE_ROOT/qemu-img"
printf '#!/bin/sh\nexec %s/t/lib/pve-qemu-img %s/qemu-img "$@"\n' "$PVE_TOP" "$PVE_ROOT" >"$PVE_ROOT/wrapped"
chmod +x "$PVE_ROOT/wrapped"
mount --bind "$PVE_ROOT/wrapped" /usr/bin/qemu-img
EOS

# A storage "st" for everything in a new bucket, and a directory "disks" beside it; what storages of
# both kinds are to compare.  Return: the bucket.
sub add_disks ($self, $server, @options) {
    my $bucket = $server->bucket();
    my $content = 'images,rootdir,iso,backup,import,vztmpl,snippets';
    $self->add($server, $bucket, 'st', '--content', $content, @options);
    mkdir "$self->{root}/local";
    $self->must(
        qw(pvesm add dir disks --content), 'images,rootdir,backup', '--path',
        "$self->{root}/local"
    );
    $self->must('sh', '-c', $QEMU_IMG);

    return $bucket;
}

# The daemon's answer to one command.
sub ask ($self, $request) {
    my $perl = q{use S3PVE::Daemon; use JSON::PP;
        print encode_json(S3PVE::Daemon::ask('st', decode_json($ARGV[0]), 30))};
    my $json = JSON::PP->new->canonical;
    return $json->decode($self->must('perl', '-e', $perl, $json->encode($request)));
}

# What the daemon says of an open volume, or undef.
sub open_volume ($self, $name) {
    my ($volume) = grep { $_->{name} eq $name } $self->ask({ cmd => 'volumes' })->{volumes}->@*;
    return $volume;
}

# A line of a guest's configuration.
sub config ($self, $tool, $vmid, $key) {
    my ($value) = $self->must($tool, 'config', $vmid) =~ m/^\Q$key\E: (.*)$/m;
    return $value;
}

# What the running QEMU answers to one command.
sub qmp ($self, $vmid, $command, $args = {}) {
    my $perl = q{use PVE::QemuServer::Monitor; use JSON;
        my ($vmid, $cmd, $args) = (@ARGV[0, 1], decode_json($ARGV[2]));
        print JSON->new->allow_nonref->encode(
            PVE::QemuServer::Monitor::mon_cmd($vmid, $cmd, %$args, timeout => 60))};
    my $json = JSON::PP->new->allow_nonref;
    return $json->decode($self->must('perl', '-e', $perl, $vmid, $command, $json->encode($args)));
}

my sub cleanups ($self) {
    my $text =
        $self->must('sh', '-c', 'cat /var/log/pve/qmeventd.log; pgrep -fa "qm.*[c]leanup" || :');
    return (scalar(() = $text =~ m/gone, qm cleanup/g), $text =~ m/^\d+ .*cleanup/m ? 1 : 0);
}

# What ends a machine, `qm stop` unless it is said, and Proxmox's own cleaning up after it: a machine
# that is started before that is over keeps its lock for half a minute.
sub stop_vm ($self, $vmid, @how) {
    my ($before) = cleanups($self);
    my ($code, $out, $err) = $self->run('qm', @how ? @how : ('stop', $vmid));
    # the harness's monitor may lose the answer of a QEMU that ends
    die "qm @how: exit $code\n$err$out" if $code != 0 && $err !~ m/'quit' failed - QEMU went away/;
    my $is_over = sub {
        my ($n, $running) = cleanups($self);
        return $n > $before && !$running;
    };
    wait_until(60, $is_over) or die "no cleanup after machine $vmid\n";
    return;
}

# The SHA-256 of a volume, read from its path.
sub sum ($self, $volid) {
    my $path = $self->must('pvesm', 'path', $volid) =~ s/\n//r;
    return substr($self->must('sha256sum', $path), 0, 64);
}

# What it said that has to fail.
sub fails ($self, @cmd) {
    my ($code, $out, $err) = $self->run(@cmd);
    shift(@cmd) if ref($cmd[0]);
    die "@cmd: worked, though it must not\n$out" if $code == 0;
    return $err . $out;
}

sub add ($self, $server, $bucket, $storage, @options) {
    my @cmd = (
        'pvesm', 'add', 's3', $storage, '--s3-endpoint', $server->{endpoint}, '--s3-bucket',
        $bucket,
        '--s3-access-key', $server->{access_key}, '--s3-secret-key', $server->{secret_key},
    );
    return $self->must(@cmd, @options);
}

# The API, as pvedaemon runs it; a task is waited for, and must end well.
sub api ($self, @call) { return $self->must('pve-api', @call) }

# `pvesm status` of one storage: state, total, used and available KiB.
sub status ($self, $storage) {
    my ($line) = grep { m/^\Q$storage\E\s/ } split(/\n/, $self->must('pvesm', 'status'));
    my (undef, undef, $state, $total, $used, $avail) = split(' ', $line // '');
    return { state => $state // '', total => $total, used => $used, avail => $avail };
}

# The names after "storage:" that `pvesm list` has.
sub list ($self, $storage, @options) {
    my (undef, @lines) = split(/\n/, $self->must('pvesm', 'list', $storage, @options));
    my @names = sort map { m/^\Q$storage\E:(\S+)/ } @lines;

    return @names;
}

# Skip the test unless there are these programs inside; a number is a version to be at least.
sub need_program ($self, @names) {
    while (defined(my $name = shift(@names))) {
        my ($code, $out) = $self->run('sh', '-c', "command -v $name && $name --version");
        skip("there is no $name to run on") if $out !~ m!^/!;
        next if ($names[0] // '') !~ m/^\d+$/;
        my $version = shift(@names);
        my ($is) = $out =~ m/version (\d+)/;
        skip("$name is older than version $version; a newer PVE_BASE has it") if $is < $version;
    }

    return;
}

# Does this Proxmox VE have that version of the storage API, or a later one?
sub has_api ($self, $version) {
    my ($apiver) = $self->must('pvesm', 'apiinfo') =~ m/APIVER (\d+)/;
    return $apiver >= $version;
}

# A web server inside, for one folder; its URL.
sub web ($self, $dir) {
    my $port = 20000 + $$ % 10000;
    my $server = qq{cd $dir && exec python3 -m http.server --bind 127.0.0.1 $port >/dev/null 2>&1};
    $self->must('sh', '-c', "($server) & sleep 1");
    return "http://127.0.0.1:$port";
}

sub stop ($self) {
    run_cmd({ env => $self->{env} }, $self->{run}, '--reset');
    return;
}

END {
    if ($$ == $owner) {
        local $?;
        $_->stop() for @started;
    }
}

1;
