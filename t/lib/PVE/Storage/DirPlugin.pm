package PVE::Storage::DirPlugin;

# A double for tests: notes and protection are files beside an archive.

use v5.36;

use PVE::Storage;
use PVE::Tools;

sub get_volume_attribute ($class, $scfg, $storeid, $volname, $attribute) {
    my ($vtype) = $class->parse_volname($volname);
    return undef if $vtype ne 'backup';

    my $path = $class->filesystem_path($scfg, $volname);
    return -e PVE::Storage::protection_file_path($path) ? 1 : 0 if $attribute eq 'protected';
    return undef if $attribute ne 'notes';
    return -e "$path.notes" ? PVE::Tools::file_get_contents("$path.notes") : '';
}

sub update_volume_attribute ($class, $scfg, $storeid, $volname, $attribute, $value) {
    my ($vtype) = $class->parse_volname($volname);
    die "only backups support attribute '$attribute'\n" if $vtype ne 'backup';

    my $path = $class->filesystem_path($scfg, $volname);
    my $file = $attribute eq 'notes' ? "$path.notes" : PVE::Storage::protection_file_path($path);
    return unlink($file) if !$value;
    return PVE::Tools::file_set_contents($file, $attribute eq 'notes' ? $value : '');
}

sub get_volume_notes ($class, $scfg, $storeid, $volname, $timeout = undef) {
    return get_volume_attribute($class, $scfg, $storeid, $volname, 'notes');
}

sub update_volume_notes ($class, $scfg, $storeid, $volname, $notes, $timeout = undef) {
    return update_volume_attribute($class, $scfg, $storeid, $volname, 'notes', $notes);
}

sub get_import_metadata ($class, $scfg, $volname, $storeid) {
    return { source => $volname };
}

1;
