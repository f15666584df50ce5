package PVE::Storage::Plugin;

# A double for tests: a directory storage's grammar, the one table of property names, and a section's
# check, as far as our plugin builds on them.

use v5.36;

use File::Path ();

use PVE::Storage;

our @SHARED_STORAGE = qw(nfs cifs);

my $subdirs = {
    images => 'images',
    rootdir => 'private',
    iso => 'template/iso',
    vztmpl => 'template/cache',
    backup => 'dump',
    snippets => 'snippets',
    import => 'import',
};

my $suffix = {
    iso => qr/\.(?:iso|img)/i,
    vztmpl => qr/\.tar(?:\.(?:gz|xz|zst|bz2))?/,
    backup => qr/\.(?:tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)/,
    snippets => qr//,
    import => qr/\.(?:ova|ovf|qcow2|raw|vmdk)/,
};

sub check_config ($class, $storeid, $config, $create, $skip_schema_check) {
    my $options = $class->options();
    my $section = { type => $class->type(), $config->%* };

    for my $name (keys $config->%*) {
        die "can't change value of fixed parameter '$name'\n"
            if !$create && $options->{$name} && $options->{$name}->{fixed};
    }
    for my $name (grep { $create && !$options->{$_}->{optional} } keys $options->%*) {
        die "missing value for required option '$name'\n" if !defined($config->{$name});
    }

    return $section;
}

sub parse_volname ($class, $volname) {
    if ($volname =~ m!^(\d+)/((base-)?[^/\s]+\.(raw|qcow2|vmdk|subvol))$!) {
        return ('images', $2, $1, undef, undef, $3, $4);
    }
    my ($vtype, $name) = $volname =~ m!^([a-z]+)/(.+)$!;
    die "unable to parse directory volume name '$volname'\n"
        if !$vtype || !$suffix->{$vtype} || $name !~ m/^[^\/]+$suffix->{$vtype}$/;
    my ($vmid) = $name =~ m/^vzdump-(?:lxc|qemu)-(\d+)-/;
    my ($format) = $vtype eq 'import' ? $name =~ m/\.([^.]+)$/ : 'raw';

    return ($vtype, $name, $vmid, undef, undef, undef, $format);
}

sub get_subdir ($class, $scfg, $vtype) {
    my $subdir = $scfg->{'content-dirs'}->{$vtype} // $subdirs->{$vtype};
    return "$scfg->{path}/$subdir";
}

sub filesystem_path ($class, $scfg, $volname, $snapname = undef) {
    my ($vtype, $name, $vmid) = $class->parse_volname($volname);
    die "can't snapshot this image format\n" if defined($snapname);
    my $path = $class->get_subdir($scfg, $vtype) . ($vtype eq 'images' ? "/$vmid" : '') . "/$name";
    return wantarray ? ($path, $vmid, $vtype) : $path;
}

sub path ($class, $scfg, $volname, $storeid, $snapname = undef) {
    return $class->filesystem_path($scfg, $volname, $snapname);
}

sub list_volumes ($class, $storeid, $scfg, $vmid, $content_types) {
    my @volumes;
    for my $vtype ($content_types->@*) {
        if ($vtype =~ m/^(?:images|rootdir)$/) {
            push @volumes, grep { $_->{content} eq $vtype } map {
                { $_->%*, content => $_->{vmid} < 200 ? 'images' : 'rootdir' }
            } $class->list_images($storeid, $scfg, $vmid)->@*;
            next;
        }
        for my $path (glob($class->get_subdir($scfg, $vtype) . '/*')) {
            my ($name) = $path =~ m!([^/]+)$!;
            next if !eval { $class->parse_volname("$vtype/$name") };
            push @volumes,
                { volid => "$storeid:$vtype/$name", content => $vtype, size => -s $path };
        }
    }
    return \@volumes;
}

sub volume_size_info ($class, $scfg, $storeid, $volname, $timeout) {
    return 'asked the base class';
}

sub file_size_info ($path, $timeout, $format) {
    return -s $path;
}

# As in the original: bases count, other formats do not.
sub get_next_vm_diskname ($disks, $storeid, $vmid, $format, $scfg, $add_suffix) {
    my %taken = map { m/(?:vm|base)-$vmid-disk-(\d+)\.$format/ ? ($1 => 1) : () } $disks->@*;
    my ($free) = grep { !$taken{$_} } 0 .. 16383;
    return "vm-$vmid-disk-$free.$format";
}

sub find_free_diskname ($class, $storeid, $scfg, $vmid, $format, $add_suffix) {
    my @disks = map { $_->{volid} } $class->list_images($storeid, $scfg, $vmid)->@*;
    return get_next_vm_diskname(\@disks, $storeid, $vmid, $format, $scfg, $add_suffix);
}

sub volume_resize ($class, @param) { return 'asked the base class' }

sub activate_volume ($class, $storeid, $scfg, $volname, @more) {
    die "volume '$storeid:$volname' does not exist\n"
        if !-e $class->filesystem_path($scfg, $volname);
    return;
}

sub map_volume ($class, $storeid, $scfg, $volname, $snapname = undef, $hints = undef) {
    return scalar($class->path($scfg, $volname, $storeid, $snapname));
}

sub write_common_header ($fh, $size) {
    return syswrite($fh, pack('Q<', $size));
}

sub volume_export ($class, @param) { die "asked the base class\n" }

sub read_common_header ($fh) {
    sysread($fh, my $size, 8) == 8 or die "import: no size found in export header, aborting.\n";
    return unpack('Q<', $size);
}

sub volume_import ($class, @param) { die "asked the base class\n" }

sub config_aware_base_mkdir ($class, $scfg, $path) {
    File::Path::make_path($path) if $scfg->{'create-base-path'} // 1;
    return;
}

1;
