package S3PVE::Images;

# What the plugin does with disks of guests: the half of its methods that is about them.
#
# It stands between the plugin, which knows files of other kinds, and Proxmox's base class, which
# knows what an image in a file is.  S3PVE::Volume asks the daemon.

use v5.36;

use PVE::Storage::Plugin;

use S3PVE::Folders;
use S3PVE::Guest;
use S3PVE::Stream;
use S3PVE::Volume;

use base qw(PVE::Storage::Plugin);

# Seconds that QEMU waits for a daemon that is started again, before a guest sees an error.
use constant { RECONNECT => 600, CONNECT => 60 };

# Names are made by a write that fails if there is one, so nobody waits for others in the cluster.
# What is done without a quorum could not be put into a guest's configuration.
sub cluster_lock_storage {
    my ($class, $storeid, $shared, $timeout, $func, @param) = @_;

    PVE::Cluster::check_cfs_quorum() if $shared;

    return scalar($func->(@param));
}

# --- where they are

# Where the daemon has them.
sub get_subdir {
    my ($class, $scfg, $vtype) = @_;

    return $vtype eq 'images' ? "$scfg->{path}/images" : $class->SUPER::get_subdir($scfg, $vtype);
}

sub filesystem_path {
    my ($class, $scfg, $volname, $snapname) = @_;

    S3PVE::Volume::check_snapshot($class, $volname, $snapname);

    return $class->SUPER::filesystem_path($scfg, $volname);
}

sub qemu_blockdev_options {
    my ($class, $scfg, $storeid, $volname, $machine_version, $options) = @_;

    my $path = $class->filesystem_path($scfg, $volname, $options->{'snapshot-name'});
    my $export = S3PVE::Volume::export($class, $storeid, $volname);
    return { driver => 'file', filename => "$path" } if !$export;

    return {
        driver => 'nbd',
        server => { type => 'unix', path => "$export->{path}" },
        export => "$export->{name}",
        'reconnect-delay' => int(RECONNECT),
        'open-timeout' => int(CONNECT),
    };
}

# --- that they are

sub alloc_image {
    my ($class, $storeid, $scfg, $vmid, $fmt, $name, $size) = @_;

    S3PVE::Folders::check_images($storeid, $scfg);

    return S3PVE::Volume::allocate($class, $storeid, $scfg, $vmid, $fmt, $name, $size);
}

sub create_base {
    my ($class, $storeid, $scfg, $volname) = @_;

    my ($name, $vmid, $is_base) = ($class->parse_volname($volname))[1, 2, 5];
    my $base = $name =~ s/^vm-/base-/r;
    die "'$volname' cannot be made a base image\n" if $is_base || $base eq $name;

    return S3PVE::Volume::rename($class, $storeid, $scfg, $volname, $vmid, $base);
}

# PVE may leave out the guest when it gives a name.
sub rename_volume {
    my ($class, $scfg, $storeid, $source_volname, $target_vmid, $target_volname) = @_;

    $target_vmid //= ($class->parse_volname($source_volname))[2];
    my @to = ($target_vmid, $target_volname);

    return "$storeid:" . S3PVE::Volume::rename($class, $storeid, $scfg, $source_volname, @to);
}

sub free_image {
    my ($class, $storeid, $scfg, $volname, $is_base, $format) = @_;

    my $removed = S3PVE::Volume::remove($storeid, S3PVE::Volume::image($class, $volname));
    warn "volume '$storeid:$volname' does not exist\n" if !$removed;

    return undef;
}

sub list_images {
    my ($class, $storeid, $scfg, $vmid, $vollist, $cache) = @_;

    return [] if !S3PVE::Folders::has_images($scfg); # nobody needs to be asked
    return S3PVE::Volume::images($class, $storeid, $scfg, $vmid) if !$vollist;
    my $wanted = { map { $_ => 1 } $vollist->@* };
    my $images = S3PVE::Volume::images($class, $storeid, $scfg, undef);

    return [grep { $wanted->{ $_->{volid} } } $images->@*];
}

# --- how large they are

sub volume_size_info {
    my ($class, $scfg, $storeid, $volname, $timeout) = @_;

    my $disk = S3PVE::Volume::disk($class, $volname)
        // return $class->SUPER::volume_size_info($scfg, $storeid, $volname, $timeout);
    my $info = S3PVE::Volume::info($storeid, $disk, $timeout) // return undef;
    my ($size, $created) = map { int($_ // 0) } $info->@{qw(size created)};

    return wantarray ? ($size, 'raw', $size, undef, $created) : $size;
}

sub volume_resize {
    my ($class, $scfg, $storeid, $volname, $size, $running, $snapname) = @_;

    my $disk = S3PVE::Volume::disk($class, $volname) // return $class->SUPER::volume_resize(
        $scfg, $storeid, $volname, $size, $running,
        $snapname
    );
    S3PVE::Volume::check_snapshot($class, $volname, $snapname);
    S3PVE::Volume::resize($storeid, $disk, $size);

    my $vmid = ($class->parse_volname($volname))[2];
    my $export = S3PVE::Volume::export($class, $storeid, $volname);
    S3PVE::Guest::notice_size($vmid, $export, $size) if $running && $export;

    return undef;
}

# --- who has them

sub activate_volume {
    my ($class, $storeid, $scfg, $volname, $snapname, $cache, $hints) = @_;

    my $disk = S3PVE::Volume::disk($class, $volname)
        // return $class->SUPER::activate_volume($storeid, $scfg, $volname, $snapname, $cache);
    S3PVE::Volume::check_snapshot($class, $volname, $snapname);
    S3PVE::Volume::activate($storeid, $disk);

    return undef;
}

# A file that was open a moment ago is another node's sooner, too.
sub deactivate_volume {
    my ($class, $storeid, $scfg, $volname, $snapname, $cache) = @_;

    my $image = S3PVE::Volume::image($class, $volname);
    S3PVE::Volume::deactivate($storeid, $image) if defined($image) && !defined($snapname);

    return undef;
}

# --- what can be done with them

# Cloud-init images are made anew where others are copied, but PVE asks.
sub volume_has_feature {
    my ($class, $scfg, $feature, $storeid, $volname, $snapname, $running, $opts) = @_;

    my @features = qw(copy rename sparseinit template);
    @features = qw(copy sparseinit) if ($class->parse_volname($volname))[5]; # a base image
    @features = S3PVE::Volume::is_cloudinit($volname) ? 'copy' : () if $snapname;

    return (grep { $feature eq $_ } @features) ? 1 : undef;
}

sub volume_import {
    my ($class, $scfg, $storeid, $fh, $volname, $format, $snap, $base, $with, $rename) = @_;

    return $class->SUPER::volume_import(@_[1 .. $#_])
        if !defined(S3PVE::Volume::disk($class, $volname)) || $format ne 'raw+size' || $with;

    return "$storeid:" . S3PVE::Stream::read_disk($class, $storeid, $scfg, $fh, $volname, $rename);
}

# The file system of a container is in the page cache, and not yet on its disk.
sub volume_snapshot_needs_fsfreeze {
    return 1;
}

for my $method (qw(
    clone_image rename_snapshot volume_rollback_is_possible volume_snapshot volume_snapshot_delete
    volume_snapshot_info volume_snapshot_rollback
)) {
    no strict 'refs';
    *$method = sub { die "S3 storages have no snapshots and linked clones of disks yet\n" };
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Images - disks of guests, for the plugin

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>.

=cut
