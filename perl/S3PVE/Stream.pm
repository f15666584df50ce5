package S3PVE::Stream;

# Volumes as streams: eight bytes of size and then the data, which format raw+size is.
#
# $class is the plugin's: it knows names and paths.

use v5.36;

use Fcntl qw(O_CREAT O_EXCL O_WRONLY);
use POSIX ();

use PVE::Storage::Plugin;
use PVE::Tools;

use S3PVE::Volume;

# Is the file itself what the stream has?
sub is_raw ($class, $volname, $format) {
    my ($vtype, $file_format) = ($class->parse_volname($volname))[0, 6];

    return
           $format eq 'raw+size'
        && $vtype =~ m/^(?:images|iso|vztmpl|snippets|import)$/
        && $file_format =~ m/^(?:raw|ova|ovf)$/;
}

# Return: bytes that were copied.
my sub copy ($args, %fds) {
    my $copied = 0;
    my $said = sub ($line) { $copied = $1 if $line =~ m/^(\d+) bytes? / };
    my $dd = ['/usr/bin/env', 'LC_ALL=C', '/usr/bin/dd', 'bs=1M', 'iflag=fullblock', $args->@*];

    PVE::Tools::run_command($dd, errfunc => $said, %fds);

    return $copied;
}

# The size may have been given in sectors.
my sub check_length ($size, $copied) {
    my $missing = $size - $copied;
    die "the stream ended early: $missing bytes are missing\n" if $missing >= 512;
    return;
}

# To $fh.
sub write_volume ($fh, $path, $size) {
    PVE::Storage::Plugin::write_common_header($fh, $size);
    copy(["if=$path"], output => '>&' . fileno($fh));

    return;
}

# A new file, whole or not at all.
sub read_file ($fh, $path) {
    sysopen(my $out, $path, O_WRONLY | O_CREAT | O_EXCL, 0644)
        or die $! == POSIX::EEXIST
        ? "file '$path' already exists\n"
        : "cannot write '$path' - $!\n";
    eval {
        my $size = PVE::Storage::Plugin::read_common_header($fh);
        my @fds = (input => '<&' . fileno($fh), output => '>&' . fileno($out));
        copy([], @fds);
        check_length($size, -s $out);
        close($out) or die "cannot store '$path' - $!\n";
    };
    if (my $err = $@) {
        unlink($path); # before it is closed: then it never was in the bucket
        close($out);
        die $err;
    }

    return;
}

# What it can be named: as it was, or anew if $rename allows that.
my sub free_name ($class, $storeid, $volname, $rename) {
    my (undef, $name, $vmid) = $class->parse_volname($volname);

    return ($vmid, $name) if !S3PVE::Volume::info($storeid, "$vmid/$name");
    die "volume '$storeid:$volname' already exists\n" if !$rename;
    warn "volume '$storeid:$volname' already exists - importing with a different name\n";

    return ($vmid, undef);
}

# A new disk, which is all zeroes: those of the stream are not written.  Return: its name.
sub read_disk ($class, $storeid, $scfg, $fh, $volname, $rename) {
    my ($vmid, $name) = free_name($class, $storeid, $volname, $rename);
    my $size = PVE::Storage::Plugin::read_common_header($fh);
    my $new = $class->alloc_image($storeid, $scfg, $vmid, 'raw', $name, $size / 1024);

    eval {
        my $path = $class->filesystem_path($scfg, $new);
        my @args = ("of=$path", 'conv=sparse,notrunc,fsync');
        check_length($size, copy(\@args, input => '<&' . fileno($fh)));
    };
    if (my $err = $@) {
        eval { $class->free_image($storeid, $scfg, $new, 0, 'raw') };
        warn $@ if $@;
        die $err;
    }

    return $new;
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Stream - export and import of volumes

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>.

=cut
