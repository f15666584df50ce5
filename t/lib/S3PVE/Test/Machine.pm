package S3PVE::Test::Machine;

# A small Debian guest: the distribution's kernel and programs, and a disk it starts from.
#
#   my $guest = S3PVE::Test::Machine->new();            skips the whole test where there can be none
#   $guest->make_disk($path, $bytes);                 its root file system, to be put on a volume
#   $guest->boot("driver=nbd,...", 'write 20');       its disk, and what it is to do
#   $guest->said(qr/.../, $seconds);  $guest->wait_end($seconds);  $guest->kill();
#
# The kernel checks and mounts the disk from an initramfs; what is done is t/lib/guest-init.
use v5.36;

use File::Path qw(make_path);
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

use S3PVE::Test;

my @PROGRAMS = qw(/bin/busybox /sbin/e2fsck /usr/bin/fio);
my @MACHINE = qw(-m 256 -nodefaults -no-reboot -display none);
my $KVM = [qw(-accel kvm -cpu kvm64)];
my $EMULATED = [qw(-accel tcg -cpu max)];
my @MODULES = qw(
    virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk
); # in this order

my sub skip_all ($why) {
    require Test::More;
    Test::More::plan(skip_all => $why);
    return;
}

# The kernel of this release, not installed: its image, and the modules it takes to see the disk.
my sub fetch_kernel ($dir) {
    make_path("$dir/deb");
    my (undef, $out) = run_cmd('apt-cache', 'depends', 'linux-image-cloud-amd64');
    my ($name) = $out =~ m/Depends: (\S+)/ or return;
    run_cmd('sh', '-c', 'cd "$0" && apt-get download -q "$1"', "$dir/deb", $name);
    my ($deb) = glob("$dir/deb/*.deb") or return;
    run_ok('dpkg-deb', '-x', $deb, "$dir/kernel");
    my ($image) = glob("$dir/kernel/boot/vmlinuz-*");
    my @modules;

    for my $name (@MODULES) { # the one that is built in is not there
        my ($module) = split(/\n/, run_ok('find', "$dir/kernel", '-name', "$name.ko*")) or next;
        run_ok('xz', '-d', $module) if $module =~ s/\.xz$//;
        push(@modules, $module);
    }
    return ($image, @modules);
}

# Programs of this machine with all they load, below a folder.
my sub install ($root, @programs) {
    make_path(map { "$root/$_" } qw(bin dev proc sys mnt tmp data));
    my %files = map { $_ => 1 } @programs;
    for my $program (@programs) {
        my (undef, $out) = run_cmd('ldd', $program);
        $files{$1} = 1 while $out =~ m/(\/\S+) \(0x/g;
    }
    run_ok('cp', '-L', '--parents', (sort keys %files), $root);
    run_ok('ln', '-sf', 'busybox', "$root/bin/$_") for qw(sh mount insmod switch_root);
    return;
}

my sub make_initramfs ($self, @modules) {
    my $root = "$self->{dir}/initramfs";
    install($root, qw(/bin/busybox /sbin/e2fsck));
    make_path("$root/modules");
    for my $i (keys @modules) {
        run_ok('cp', $modules[$i], sprintf('%s/modules/%d.ko', $root, $i));
    }
    spew("$root/init", <<~'END', 0755);
        #!/bin/busybox sh
        mount -t devtmpfs dev /dev
        mount -t proc proc /proc
        for module in /modules/*; do insmod $module; done
        while ! test -b /dev/vda; do busybox sleep 0.1; done
        e2fsck -p /dev/vda
        echo "guest: journal replayed $?"
        e2fsck -fn /dev/vda
        echo "guest: e2fsck $?"
        mount -t ext4 /dev/vda /mnt
        exec switch_root /mnt /init
        END
    run_ok(
        'sh', '-c', 'cd "$0" && find . | busybox cpio -o -H newc | gzip -1 >"$1"',
        $root, "$self->{dir}/initramfs.gz"
    );
    return;
}

# Some machines have a /dev/kvm on which nothing comes far.  Without a disk the kernel ends at once.
my sub kvm_works ($self) {
    return 0 if !-w '/dev/kvm';
    my ($code) = run_cmd(
        { timeout => 5 }, 'qemu-system-x86_64', @$KVM, @MACHINE, '-kernel',
        $self->{kernel}, '-append', 'panic=-1',
    );
    return $code == 0;
}

sub new ($class) {
    need_command(qw(qemu-system-x86_64 busybox fio gzip xz mkfs.ext4 apt-get dpkg-deb));
    my $scratch = scratch();
    my $self = bless({ scratch => $scratch, dir => "$scratch" }, $class);
    ($self->{kernel}, my @modules) = fetch_kernel($self->{dir})
        or skip_all('the kernel of linux-image-cloud-amd64 cannot be fetched');
    make_initramfs($self, @modules);
    $self->{machine} = kvm_works($self) ? $KVM : $EMULATED;
    return $self;
}

sub make_disk ($self, $path, $bytes) {
    my $root = "$self->{dir}/root";
    install($root, @PROGRAMS);
    run_ok('cp', top() . '/t/lib/guest-init', "$root/init");
    run_ok('truncate', '-s', $bytes, $path);
    run_ok('mkfs.ext4', '-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0', '-d', $root, $path);
    return;
}

sub boot ($self, $blockdev, $job) {
    $self->{console} = "$self->{dir}/console";
    unlink($self->{console});
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        open(STDIN, '<', '/dev/null') or POSIX::_exit(126);
        open(STDOUT, '>', "$self->{dir}/qemu.log") or POSIX::_exit(126);
        open(STDERR, '>&', \*STDOUT) or POSIX::_exit(126);
        exec(
            'qemu-system-x86_64', $self->{machine}->@*, @MACHINE, '-kernel', $self->{kernel},
            '-initrd', "$self->{dir}/initramfs.gz", '-append',
            "console=ttyS0 panic=-1 quiet job=$job", '-serial', "file:$self->{console}",
            '-blockdev', "$blockdev,node-name=disk", '-device', 'virtio-blk-pci,drive=disk',
        ) or POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    return;
}

sub console ($self) {
    return -e $self->{console} ? slurp($self->{console}) =~ s/\r//gr : '';
}

sub alive ($self) {
    return 0 if !$self->{pid};
    return 1 if waitpid($self->{pid}, WNOHANG) == 0;
    $self->{status} = $?;
    delete($self->{pid});
    return 0;
}

# Wait until it says so; what it said, or nothing when it has ended before, or the time is over.
sub said ($self, $what, $seconds = 60) {
    wait_until($seconds, sub { $self->console() =~ $what || !$self->alive() });
    my ($match) = $self->console() =~ m/^(.*$what.*)$/m;
    return $match;
}

sub wait_end ($self, $seconds = 60) {
    return wait_until($seconds, sub { !$self->alive() });
}

sub kill ($self) { ## no critic (ProhibitBuiltinHomonyms)
    CORE::kill('KILL', $self->{pid}) if $self->alive();
    return $self->wait_end(10);
}

sub DESTROY ($self) {
    local ($?, $@, $!);
    $self->kill();
    return;
}

1;
