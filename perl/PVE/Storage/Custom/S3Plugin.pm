package PVE::Storage::Custom::S3Plugin;

# Disks of guests, ISO images, container templates, backups, snippets and import images in a bucket.
#
# The plugin configures and starts the daemon s3pved of a storage and asks it for what it wants:
# disks over its control socket, see S3PVE::Images; other files come and go through its mount, by the base
# class's own code.  Only the hooks talk to S3.

use v5.36;

use POSIX ();

use PVE::Storage::Plugin;

use S3PVE::Config;
use S3PVE::Daemon;
use S3PVE::Folders;
use S3PVE::Images;
use S3PVE::Schema;
use S3PVE::Store;
use S3PVE::Stream;
use S3PVE::Volume;

use base qw(S3PVE::Images);

use constant {
    API_OLDEST => 11, # the first that keeps properties of our own secret: Proxmox VE 8.4
    API_TESTED => 15,
};

# Seconds.  PVE calls these in a row for all storages and has no timeouts of its own.
use constant {
    STATUS_TIMEOUT => 2,
    ACTIVATE_TIMEOUT => 5,
    STOP_TIMEOUT => 5,
};

# PVE makes them available on all nodes, and does not migrate what is on them.
push @PVE::Storage::Plugin::SHARED_STORAGE, 's3'
    if !grep { $_ eq 's3' } @PVE::Storage::Plugin::SHARED_STORAGE;

# Configuration

sub api {
    my $version = PVE::Storage::APIVER();

    # 10 would write the secret key to storage.cfg, for everybody to read
    die "needs Proxmox VE 8.4 or later\n" if $version < API_OLDEST;

    return $version < API_TESTED ? $version : API_TESTED;
}

sub type {
    return 's3';
}

sub plugindata {
    return {
        content => [
            { map { $_ => 1 } qw(backup images import iso none rootdir snippets vztmpl) },
            { backup => 1, iso => 1, vztmpl => 1 },
        ],
        format => [{ raw => 1 }, 'raw'],
        'sensitive-properties' => { 's3-secret-key' => 1, 's3-session-token' => 1 },
    };
}

sub properties {
    S3PVE::Schema::register_formats();

    return S3PVE::Schema::properties();
}

# All stock names here exist since Proxmox VE 8.4: one that does not would keep every daemon of the
# node from starting.
sub options {
    return {
        (map { $_ => { optional => 1 } } keys properties()->%*),
        's3-bucket' => { fixed => 1 },
        's3-prefix' => { optional => 1, fixed => 1 },
        path => { optional => 1, fixed => 1 },
        map { $_ => { optional => 1 } } qw(
            bwlimit content content-dirs create-base-path create-subdirs disable fingerprint
            max-protected-backups nodes port prune-backups shared
        ),
    };
}

# Runs in every process at every change of storage.cfg: no more than what makes a section usable,
# and nothing that a section might pass today and fail tomorrow.
sub check_config {
    my ($class, $storeid, $config, $create, $skip_schema_check) = @_;

    $config->{path} = "/mnt/pve/$storeid" if $create && !$config->{path};

    return $class->SUPER::check_config($storeid, $config, $create, $skip_schema_check);
}

# Storage implementation

sub on_add_hook {
    my ($class, $storeid, $scfg, %sensitive) = @_;

    my $secrets = S3PVE::Config::merge_secrets({}, \%sensitive);
    S3PVE::Folders::check_cache($scfg);
    S3PVE::Store::check($storeid, $scfg, $secrets, $scfg->{'s3-create-bucket'} // 1);
    S3PVE::Config::write_secrets($storeid, $secrets);
    S3PVE::Store::warn_of_twins($storeid, $scfg);

    return;
}

# Before Proxmox VE 9.1 hooks are told the changes only.
sub on_update_hook {
    my ($class, $storeid, $update, %sensitive) = @_;

    my $scfg = PVE::Storage::config()->{ids}->{$storeid};

    return $class->on_update_hook_full($storeid, $scfg, $update, [], \%sensitive);
}

sub on_update_hook_full {
    my ($class, $storeid, $scfg, $update, $delete, $sensitive) = @_;

    S3PVE::Folders::check_cache($update);
    my @changed = (keys $update->%*, ($delete // [])->@*, keys $sensitive->%*);
    return if !grep { S3PVE::Config::reaches_store($_) || exists $sensitive->{$_} } @changed;

    my $new = { $scfg->%*, $update->%* };
    delete $new->@{ $delete->@* } if $delete;
    my $secrets = S3PVE::Config::merge_secrets(S3PVE::Config::read_secrets($storeid), $sensitive);
    S3PVE::Store::check($storeid, $new, $secrets, 0);

    if (keys $sensitive->%*) {
        S3PVE::Config::write_secrets($storeid, $secrets);
        S3PVE::Daemon::notice_secret($storeid);
    }

    return;
}

# Also what undoes a failed addition, so nothing needs to be there.
sub on_delete_hook {
    my ($class, $storeid, $scfg) = @_;

    my $stopped = eval { S3PVE::Daemon::stop($storeid, $scfg, STOP_TIMEOUT) };
    warn $@ if $@;
    warn "storage '$storeid': files are in use, so it stays mounted at $scfg->{path} here\n"
        if defined($stopped) && !$stopped;
    S3PVE::Config::delete_secrets($storeid);
    S3PVE::Daemon::forget($storeid) if $stopped;

    return;
}

# True while no daemon runs, as activate_storage() comes next and starts it.
sub check_connection {
    my ($class, $storeid, $scfg) = @_;

    my $status = S3PVE::Daemon::status($storeid, STATUS_TIMEOUT) // return 1;
    return 1 if $status->{online};

    my $reason = $status->{last_error} // '';
    return 1 if $reason eq ''; # it has not heard from the store yet
    die "$reason\n";
}

sub activate_storage {
    my ($class, $storeid, $scfg, $cache) = @_;

    S3PVE::Folders::check_subdirs($class, $storeid, $scfg);
    S3PVE::Folders::check_base($storeid, $scfg);
    S3PVE::Daemon::ensure($storeid, $scfg, ACTIVATE_TIMEOUT);
    S3PVE::Folders::make_subdirs($class, $storeid, $scfg, ACTIVATE_TIMEOUT);

    return;
}

sub deactivate_storage {
    my ($class, $storeid, $scfg, $cache) = @_;

    S3PVE::Daemon::stop($storeid, $scfg, STOP_TIMEOUT)
        or die "storage '$storeid' has files in use\n";

    return;
}

sub status {
    my ($class, $storeid, $scfg, $cache) = @_;

    my $status = S3PVE::Daemon::status($storeid, STATUS_TIMEOUT);
    return undef if !$status || !$status->{online} || !$status->{mounted};

    return (map({ int($status->{$_} // 0) } qw(total avail used)), 1);
}

sub get_identity {
    my ($class, $scfg, $storeid) = @_;

    return S3PVE::Config::identity($storeid, $scfg);
}

# Files of all kinds but images, which are the base's, S3PVE::Images

sub free_image {
    my ($class, $storeid, $scfg, $volname, $is_base, $format) = @_;

    return $class->SUPER::free_image($storeid, $scfg, $volname, $is_base, $format)
        if defined(S3PVE::Volume::image($class, $volname));
    die "cannot remove protected volume '$volname' on '$storeid'\n"
        if $class->get_volume_attribute($scfg, $storeid, $volname, 'protected');

    my $path = $class->filesystem_path($scfg, $volname);
    if (!unlink($path)) {
        die "cannot remove '$path' - $!\n" if $! != POSIX::ENOENT;
        warn "'$path' does not exist\n";
    }

    return undef;
}

# The base's takes a directory that cannot be read for an empty one.  And a file that is just being
# written under a name of its own is nobody's snippet.
sub list_volumes {
    my ($class, $storeid, $scfg, $vmid, $content_types) = @_;

    local $S3PVE::Volume::LISTED = {}; # the base asks once for images and once for rootdir
    my @files = grep { !m/^(?:images|rootdir)$/ } $content_types->@*;
    S3PVE::Folders::check_listing($scfg, $class->get_subdir($scfg, $_)) for @files;
    my $volumes = $class->SUPER::list_volumes($storeid, $scfg, $vmid, $content_types);

    return [grep { $_->{volid} !~ m/\.tmp(?:_dwnl|_dcom)?\.\d+$/ } $volumes->@*];
}

# From the directory in memory, where the base would read the file.  Only of an image inside or in
# a format of its own does one have to look for the size.
sub volume_size_info {
    my ($class, $scfg, $storeid, $volname, $timeout) = @_;

    my ($vtype, $format) = ($class->parse_volname($volname))[0, 6];
    return $class->SUPER::volume_size_info($scfg, $storeid, $volname, $timeout)
        if $vtype eq 'images' || $format !~ m/^(?:raw|ova|ovf)$/;

    my @st = stat($class->filesystem_path($scfg, $volname)) or return undef;
    return wantarray ? ($st[7], $format, $st[7], undef, $st[10]) : $st[7];
}

sub volume_has_feature {
    my ($class, $scfg, $feature, $storeid, $volname, $snapname, @more) = @_;

    return $class->SUPER::volume_has_feature(@_[1 .. $#_])
        if defined(S3PVE::Volume::image($class, $volname));

    return $feature eq 'copy' && !defined($snapname) ? 1 : undef;
}

# The base's blocks of 4 KiB are small for a network.
sub volume_export {
    my ($class, $scfg, $storeid, $fh, $volname, $format, $snap, $base, $with_snapshots) = @_;

    return $class->SUPER::volume_export(@_[1 .. $#_])
        if $with_snapshots
        || defined($snap // $base)
        || !S3PVE::Stream::is_raw($class, $volname, $format);

    my $path = $class->filesystem_path($scfg, $volname);
    my $size = $class->volume_size_info($scfg, $storeid, $volname)
        // die "volume '$storeid:$volname' does not exist\n";
    S3PVE::Stream::write_volume($fh, $path, $size);

    return;
}

# Before Proxmox VE 9.1 the base class knows disks only; and a stream that ends early is not a file.
sub volume_import {
    my ($class, $scfg, $storeid, $fh, $volname, $format, @how) = @_;

    return $class->SUPER::volume_import(@_[1 .. $#_])
        if defined(S3PVE::Volume::image($class, $volname))
        || !S3PVE::Stream::is_raw($class, $volname, $format);

    S3PVE::Stream::read_file($fh, scalar($class->filesystem_path($scfg, $volname)));

    return "$storeid:$volname";
}

# Notes and protection of backups, and what an OVA has in it: files beside the archive and files to
# look into, the same as in any directory.
for my $method (qw(
    get_import_metadata get_volume_attribute get_volume_notes update_volume_attribute
    update_volume_notes
)) {
    no strict 'refs';
    *$method = sub { return PVE::Storage::DirPlugin->can($method)->(@_) };
}

1;

__END__

=encoding utf8

=head1 NAME

PVE::Storage::Custom::S3Plugin - an S3 bucket as a storage of Proxmox VE

=head1 SYNOPSIS

    pvesm add s3 offsite --s3-endpoint https://s3.example.com --s3-bucket backups \
        --s3-access-key AKIA... --s3-secret-key "$(cat secret)" --content backup,iso

    vzdump 100 --storage offsite --compress zstd
    pvesm list offsite
    pvesm set offsite --prune-backups keep-daily=7,keep-weekly=4

    pvesm set offsite --content backup,iso,images,rootdir
    qm set 100 --scsi1 offsite:32

=head1 DESCRIPTION

Storage type C<s3> keeps disks of guests, backups, ISO images, container templates, snippets and import images in a
bucket of any S3-compatible object store, for all nodes of a cluster. Each file is one object under the name that
Proxmox VE gives it, so that any other S3 client can read and write it too; a disk is a folder of many, see L</DISKS>.

On each node the daemon L<s3pved(8)> mounts the storage at F</mnt/pve/E<lt>storageE<gt>>. A backup is sent while it is
written: it needs no space on the node, and it is in the bucket in full, or not at all, when B<vzdump> has ended.

The package must be installed on all nodes of the cluster before a storage is added, and the storage be removed before
the package is: a node that does not know the type drops it from F<storage.cfg> when it writes that file.

=head1 OPTIONS

B<s3-bucket> is required, and so are, when a storage is added, the two keys. B<s3-bucket>, B<s3-prefix> and B<path>
cannot be changed later.

=over

=item B<s3-endpoint> I<url>

The server's address. C<https> is assumed; C<http://minio.lan:9000> is fine. Not needed where B<s3-provider> and
B<s3-region> tell it. The stock option B<port> is used where the address has none.

=item B<s3-bucket> I<name>, B<s3-prefix> I<folder>

The bucket, and the folder in it below which everything is stored. Two storages with the same of both show the same
files: what one prunes or removes, the other loses.

=item B<s3-access-key> I<id>, B<s3-secret-key> I<key>, B<s3-session-token> I<token>

Credentials. Secret key and token are kept in F</etc/pve/priv/storage>, not in F<storage.cfg>, and are shown by nothing.

=item B<s3-create-bucket> I<boolean>

Create a missing bucket when the storage is added. Default: yes.

=item B<s3-provider> I<name>, B<s3-region> I<name>, B<s3-addressing> C<auto>|C<path>|C<virtual>

A preset, the region, and where the bucket's name goes. Usually found out.

=item B<fingerprint> I<sha256>, B<s3-ca-file> I<file>, B<s3-proxy> I<url>

The server's certificate, or a file of authorities, on each node, to trust instead of the system's; and an HTTP proxy,
one that wants no password.

=item B<s3-upload-limit>, B<s3-download-limit> I<MiB/s>, B<s3-connections> I<number>

What a node may use of the network.

=item B<s3-part-size> I<MiB>, B<s3-storage-class> I<class>, B<s3-sse> I<kind>, B<s3-sse-kms-key> I<id>

How new files are stored.

=item B<s3-cache-size> I<GiB>, B<s3-cache-dir> I<directory>

The node's cache for what is read out of order, as ISO images are. Default: 8 GiB below F</var/cache/s3pve>. Another
directory must be there, on each node.

=item B<s3-durability> C<bucket>|C<node>

Where a guest's data is when its disk says that it is stored. C<bucket>, the default: in the bucket. C<node>: on the
node's own disk, from where it goes into the bucket within seconds. See L</DISKS>. For disks that are opened from then
on.

=item B<s3-journal-size> I<GiB>

The journal that each disk in use has on the node: so much can be written while the bucket cannot be reached, and so
much of the node's disk is taken. Default: 1 GiB, or twice the disk's size where that is less. For disks that are opened
after the node's daemon started anew.

=item B<s3-quota> I<GiB>

What may be stored, and what is shown as the size of the storage. Without it, the size shown is a very large one.

=back

The stock options B<content>, B<nodes>, B<disable>, B<prune-backups>, B<max-protected-backups>, B<bwlimit>,
B<content-dirs>, B<create-base-path>, B<create-subdirs> and B<path> mean what they mean for directories.

=head1 DISKS

With content C<images> or C<rootdir> a storage has disks of virtual machines and containers. All that is written goes
into a journal on the node first, F</var/lib/s3pve>, which wants to be on a fast disk, and from there into the bucket.
What is read is kept on the node, too, in the cache. A disk can be used by one node at a time; any other has it as soon
as the guest has ended here.

=over

=item *

With B<s3-durability> C<bucket> nothing that a guest was told is stored is lost with the node: a guest that asks for
that, as databases do with each transaction, waits for the bucket.

=item *

With C<node> it waits for the node's disk only. Should the node never come back, the last seconds are missing, more if
the bucket could not be reached: the disk is as it was a little earlier, in one piece, as after a power cut.

=item *

Both survive the end of the daemon, however it ends, without loss; a virtual machine waits for the next one. So does it
wait while the bucket cannot be reached, once the journal is full; no guest sees an error for that. A container stands
on the mount, and does not survive the daemon's end.

=item *

When a guest ends, all of its disk goes into the bucket. If that cannot be, the task says so, and the disk stays this
node's: start the guest here again, or wait until the bucket is there and stop it once more. A disk whose node is dead
can be used by another one after a minute.

=back

Virtual machines reach a disk over NBD, containers and tools as a file below F<images> of the mount. Disks have format
C<raw> and take the space in the bucket that was written to. A disk can be made larger while it is in use.

There are no snapshots, no linked clones and no live migration yet: a guest is stopped, or suspended to disk, and
started on the other node; clones are full ones; backups of containers take mode C<stop> or C<suspend>.

=head1 STATE

A storage is active on a node while its daemon has lately heard from the store. Nothing that Proxmox VE does waits for
the store without a limit: with the store out of reach the storage is shown as offline, and using it fails with the
reason.

A change of the configuration, also of the secret, reaches each node within ten seconds. A change that needs a new
mount, such as another endpoint, waits until no file is in use.

=head1 FILES

=over

=item F</etc/pve/priv/storage/E<lt>storageE<gt>.s3>

The secret key, for root only.

=item F</run/s3pve/E<lt>storageE<gt>/>

The daemon's configuration, its control socket and that for disks.

=item F</var/lib/s3pve/E<lt>storageE<gt>/>, F</var/cache/s3pve/E<lt>storageE<gt>/>

What the daemon needs after a crash, journals of disks among it; and what may go at any time.

=back

=head1 SEE ALSO

L<s3pved(8)>, L<s3pve(1)>, L<pvesm(1)>

=cut
