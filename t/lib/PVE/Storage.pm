package PVE::Storage;

# A double for tests: the version of the API, the configuration, and a name.

use v5.36;

our $APIVER = 15;
our $CONFIG = { ids => {} };

sub APIVER { return $APIVER }
sub config { return $CONFIG }
sub protection_file_path ($path) { return "$path.protected" }

1;
