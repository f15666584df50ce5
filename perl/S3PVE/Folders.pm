package S3PVE::Folders;

# The directories of a storage on this node: its mount point, those of its content, its cache.
#
# $class is the plugin's: it knows where content goes.

use v5.36;

use File::Path ();
use POSIX qw(ENOENT);

use PVE::Tools;

use S3PVE::Daemon;

# Not set while the storage is just being added.
sub content_types ($scfg) {
    return grep { $_ ne 'none' } sort keys(($scfg->{content} // {})->%*);
}

sub has_images ($scfg) {
    return scalar(grep { m/^(?:images|rootdir)$/ } content_types($scfg));
}

sub check_images ($storeid, $scfg) {
    return if has_images($scfg);
    my $content = join(', ', content_types($scfg)) || 'nothing';
    die "storage '$storeid' does not hold disk images; it holds: $content\n";
}

# The daemon makes its mount point, unless it is not to be made.
sub check_base ($storeid, $scfg) {
    my $path = $scfg->{path};

    return if $scfg->{'create-base-path'} // 1;
    return if S3PVE::Daemon::is_mounted($path) || -d $path;
    die "storage '$storeid': directory '$path' does not exist, and create-base-path is 0\n";
}

# Two kinds of content in one directory would be listed as each other.  Disks of containers are
# images, and those have a place that nobody can change.
sub check_subdirs ($class, $storeid, $scfg) {
    my $seen = { $class->get_subdir($scfg, 'images') => 'images' };

    for my $vtype (grep { !m/^(?:images|rootdir)$/ } content_types($scfg)) {
        my $subdir = $class->get_subdir($scfg, $vtype) =~ s!/+(?:\./+)*!/!gr =~ s!/$!!r;
        my $other = $seen->{$subdir};
        die "storage '$storeid' uses directory $subdir for '$other' and for '$vtype';"
            . " see content-dirs\n"
            if $other;
        $seen->{$subdir} = $vtype;
    }

    return;
}

# The usual ones are always there.  In a child, as a mount may stand still.
sub make_subdirs ($class, $storeid, $scfg, $timeout) {
    return if !($scfg->{'create-subdirs'} // 1);

    my @subdirs = map { $class->get_subdir($scfg, $_) } keys(($scfg->{'content-dirs'} // {})->%*);
    return if !@subdirs;

    my $made = PVE::Tools::run_fork_with_timeout(
        $timeout,
        sub {
            File::Path::make_path(@subdirs, { error => \my $errors });
            return $errors && @$errors ? join(', ', map { %$_ } @$errors) : 'ok';
        },
    ) // 'no answer in time';
    die "storage '$storeid': cannot create content directories - $made\n" if $made ne 'ok';

    return;
}

# Die unless it can be read to its end: only then is a name that does not come one that is not there.
# What has once been listed the daemon knows, so whoever reads it next gets all of it too.
sub check_listing ($scfg, $dir) {
    die "cannot list '$dir' - it is not mounted\n" if !S3PVE::Daemon::is_mounted($scfg->{path});

    if (opendir(my $dh, $dir)) {
        do { $! = 0 } while defined(readdir($dh)); ## no critic (RequireLocalizedPunctuationVars)
        return if $! == 0;
    } elsif ($! == ENOENT) {
        return;
    }
    die "cannot list '$dir' - $!\n";
}

# The daemon would go without a cache, or fill the disk where another should have been mounted.
sub check_cache ($scfg) {
    my $dir = $scfg->{'s3-cache-dir'} // return;
    return if -d $dir;
    die "s3-cache-dir '$dir': there is no such directory here; make it on each node\n";
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Folders - the directories of an S3 storage on this node

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>.

=cut
