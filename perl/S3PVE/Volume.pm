package S3PVE::Volume;

# The disks of guests, as the daemon has them.
#
# A volume is named "VMID/FILE".  One in format raw is a disk of a fixed size; any other is a file
# that grows, and what is in it is its own affair.  $class is the plugin's: it knows names and paths.

use v5.36;

use POSIX ();

use PVE::Storage::Plugin;
use PVE::Tools;

use S3PVE::Config;
use S3PVE::Daemon;

# Seconds.
use constant {
    ASK_TIMEOUT => 30, # a few requests to the store
    LIST_TIMEOUT => 60, # one for each volume
    OPEN_TIMEOUT => 120, # the lease of a node that died may have to run out first
    DRAIN_TIMEOUT => 60, # a step of it
    GRACE => 5, # the daemon's deadline comes before ours
};

use constant NAME_TRIES => 100; # names that others take while we look for one

our $LISTED; # while it is a hash, a listing is asked for once

# --- names

# The volume that an image is, or undef when it is a file of another kind.
sub image ($class, $volname) {
    my ($vtype, $name, $vmid) = $class->parse_volname($volname);
    return $vtype eq 'images' ? "$vmid/$name" : undef;
}

# The same of one that QEMU and the kernel use as it is.
sub disk ($class, $volname) {
    return undef if ($class->parse_volname($volname))[6] ne 'raw';
    return image($class, $volname);
}

# Made anew at each start, read by nobody but the guest, and never in a snapshot.
sub is_cloudinit ($volname) {
    return $volname =~ m!(?:^|/)vm-\d+-cloudinit\.[^/]+\z!;
}

sub check_snapshot ($class, $volname, $snapname) {
    die "snapshots of disks such as '$volname' are not supported yet\n"
        if defined($snapname) && defined(image($class, $volname));

    return;
}

# What QEMU connects to for it, or undef when it opens the file.
sub export ($class, $storeid, $volname) {
    my $name = is_cloudinit($volname) ? undef : disk($class, $volname);

    return undef if !defined($name);
    return { path => S3PVE::Config::paths($storeid)->{nbd}, name => $name };
}

# --- the daemon

my sub call ($storeid, $cmd, $timeout, %args) {
    my $request = { cmd => $cmd, %args };
    $request->{timeout} = $timeout if $cmd ne 'volumes'; # which comes from memory

    return S3PVE::Daemon::ask($storeid, $request, $timeout + GRACE)
        // die "storage '$storeid': the daemon s3pved does not run on this node\n";
}

# As JSON has it: a number with a fraction would be one with an exponent some day.
my sub integer ($n) { return 0 + sprintf('%.0f', $n) }

my sub why ($answer) { return $answer->{error} // 'the daemon does not say why' }

my sub has_code ($answer, $code) { return !$answer->{ok} && ($answer->{code} // '') eq $code }

# One of $codes makes it undef instead of an error.
my sub must ($storeid, $cmd, $timeout, $codes, %args) {
    my $answer = call($storeid, $cmd, $timeout, %args);

    return $answer if $answer->{ok};
    return undef if grep { has_code($answer, $_) } $codes->@*;
    my $what = defined($args{name}) ? "volume '$storeid:$args{name}'" : "storage '$storeid'";
    die "$what: " . why($answer) . "\n";
}

# True, or false when there is one of that name.  Without a size: a file that grows.
sub create ($storeid, $name, $size = undef) {
    my @size = defined($size) ? (size => integer($size)) : ();
    return
        defined(must($storeid, 'volume-create', ASK_TIMEOUT, ['CONFLICT'], name => $name, @size));
}

# True, or false when there was none.
sub remove ($storeid, $name) {
    return defined(must($storeid, 'volume-delete', ASK_TIMEOUT, ['NOT_FOUND'], name => $name));
}

# {name, size, created, state, node, file}, or undef when there is none.
sub info ($storeid, $name, $timeout = undef) {
    return must($storeid, 'volume-stat', $timeout // ASK_TIMEOUT, ['NOT_FOUND'], name => $name);
}

my sub list ($storeid, $vmid) {
    my @vmid = defined($vmid) ? (vmid => integer($vmid)) : ();
    return must($storeid, 'volume-list', LIST_TIMEOUT, [], @vmid)->{volumes};
}

sub resize ($storeid, $name, $size) {
    must($storeid, 'volume-resize', ASK_TIMEOUT, [], name => $name, size => integer($size));
    return;
}

sub activate ($storeid, $name) {
    must($storeid, 'volume-activate', OPEN_TIMEOUT, [], name => $name);
    return;
}

# Bytes that the bucket does not have, or undef when it is not open here.
my sub dirty ($storeid, $name) {
    my $volumes = must($storeid, 'volumes', ASK_TIMEOUT, [])->{volumes};
    my ($one) = grep { $_->{name} eq $name } $volumes->@*;
    return $one ? $one->{dirty} : undef;
}

# All of it goes into the bucket, and any node may have it.  For as long as that takes, if only it
# gets on.
sub deactivate ($storeid, $name) {
    my $left;

    while (1) {
        my $answer = call($storeid, 'volume-deactivate', DRAIN_TIMEOUT, name => $name);
        return if $answer->{ok};
        my $dirty = has_code($answer, 'TIMEOUT') ? dirty($storeid, $name) : undef;
        die "volume '$storeid:$name' stays open on this node: " . why($answer) . "\n"
            if !defined($dirty) || (defined($left) && $dirty >= $left);
        $left = $dirty;
    }

    return;
}

# True, or false when there is one of that name.  Nobody uses it, so it need not stay active.
my sub rename_to ($storeid, $name, $new) {
    deactivate($storeid, $name);
    my $answer = call($storeid, 'volume-rename', ASK_TIMEOUT, name => $name, to => $new);
    return 1 if $answer->{ok};
    return 0 if has_code($answer, 'CONFLICT') && info($storeid, $new);
    die "volume '$storeid:$name' is not renamed: " . why($answer) . "\n";
}

# --- what the plugin does with them

# Try one name after the other until $take gets one: another node may look for one, too, or one that
# is being deleted is not listed any more.
my sub take_free_name ($class, $storeid, $scfg, $vmid, $format, $take) {
    my @taken = map { $_->{volid} } $class->list_images($storeid, $scfg, $vmid)->@*;

    for (1 .. NAME_TRIES) {
        my $name = PVE::Storage::Plugin::get_next_vm_diskname(
            \@taken, $storeid, $vmid, $format, $scfg, 1,
        );
        return "$vmid/$name" if $take->("$vmid/$name");
        push(@taken, $name);
    }

    die "storage '$storeid': no free name for a disk of guest $vmid\n";
}

# "VMID/NAME", if that is an image of this format.
my sub check_name ($class, $vmid, $name, $format) {
    my @parts = $class->parse_volname("$vmid/$name");
    die "illegal name '$name' - it is no file's\n" if $parts[1] ne $name;
    die "illegal name '$name' - wrong extension for format ('$parts[6] != '$format')\n"
        if $parts[6] ne $format;

    return "$parts[2]/$parts[1]";
}

# The daemon made an empty file; QEMU makes an image of it.
my sub format_file ($class, $storeid, $scfg, $name, $format, $size) {
    my $path = $class->filesystem_path($scfg, $name);
    my $cmd = ['/usr/bin/qemu-img', 'create', '-q', '-f', $format, $path, $size];

    return if eval { PVE::Tools::run_command($cmd, errmsg => 'unable to create image'); 1 };
    my $err = $@;
    eval { remove($storeid, $name) };
    warn $@ if $@;
    die $err;
}

# Exactly as large as asked for, in KiB, which may be a fraction: a mirror wants equal sizes.
sub allocate ($class, $storeid, $scfg, $vmid, $format, $name, $kib) {
    die "S3 storages have no subvolumes: give the volume a size\n" if $format eq 'subvol';
    die "unsupported format '$format'\n" if $format !~ m/^(?:raw|qcow2|vmdk)\z/;
    my $size = POSIX::ceil($kib) * 1024;
    my $take = sub ($volume) { create($storeid, $volume, $format eq 'raw' ? $size : undef) };

    if (defined($name) && $name ne '') {
        $name = check_name($class, $vmid, $name, $format);
        $take->($name) or die "disk image '$storeid:$name' already exists\n";
    } else {
        $name = take_free_name($class, $storeid, $scfg, $vmid, $format, $take);
    }
    format_file($class, $storeid, $scfg, $name, $format, $size) if $format ne 'raw';

    return $name;
}

# Under the name of another guest, or under one that is given.  Return: the new name.
sub rename ($class, $storeid, $scfg, $volname, $vmid, $name) {
    my ($old, $format) = (image($class, $volname), ($class->parse_volname($volname))[6]);
    die "'$volname' is no disk: it cannot be renamed\n" if !defined($old);
    my $take = sub ($new) { rename_to($storeid, $old, $new) };

    return take_free_name($class, $storeid, $scfg, $vmid, $format, $take) if !defined($name);
    my $new = check_name($class, $vmid, $name, $format);
    $take->($new) or die "target volume '$name' already exists\n";

    return $new;
}

# How large a guest sees it.  That of an image in a file is in that file; one that nobody reads, or
# that cannot be read here, is told as long as it is.
my sub virtual_size ($class, $scfg, $volume, $format) {
    my $size = int($volume->{size});
    return $size if !$volume->{file} || is_cloudinit($volume->{name});
    my $path = $class->filesystem_path($scfg, $volume->{name});
    return eval { PVE::Storage::Plugin::file_size_info($path, 10, $format) } // $size;
}

# As list_images() has them, those of a guest or of all.
sub images ($class, $storeid, $scfg, $vmid) {
    my $known = $LISTED // {};
    my $volumes = $known->{ $vmid // '' } //= list($storeid, $vmid);
    my @images;

    for my $volume ($volumes->@*) {
        my ($vtype, $owner, $format) = eval { ($class->parse_volname($volume->{name}))[0, 2, 6] }
            or next; # nothing of PVE's
        my $image = {
            volid => "$storeid:$volume->{name}",
            format => $format,
            vmid => $owner,
            size => virtual_size($class, $scfg, $volume, $format),
        };
        $image->{ctime} = int($volume->{created}) if $volume->{created};
        push(@images, $image);
    }

    return \@images;
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Volume - the disks of guests on an S3 storage

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>.

=cut
