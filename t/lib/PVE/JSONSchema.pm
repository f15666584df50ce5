package PVE::JSONSchema;

# A double for tests: formats by name, as far as our properties use them.

use v5.36;

my $formats = { 'pve-storage-path' => sub ($path) { return $path } };

sub get_format ($name) { return $formats->{$name} }

sub register_format ($name, $code) {
    die "JSON schema format '$name' already registered\n" if $formats->{$name};
    $formats->{$name} = $code;
    return;
}

1;
