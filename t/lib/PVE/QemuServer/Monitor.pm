package PVE::QemuServer::Monitor;

# A double for tests: a running QEMU, as far as it has disks over NBD.

use v5.36;

our @NODES; # as query-named-block-nodes has them
our @COMMANDS; # [vmid, what it was told]
our $READ = sub ($node) { return }; # what a read from a node does

sub mon_cmd ($vmid, $cmd, %args) {
    return \@NODES if $cmd eq 'query-named-block-nodes';
    push(@COMMANDS, [$vmid, $args{'command-line'} // $cmd]);
    $READ->($1) if ($args{'command-line'} // '') =~ m/^qemu-io (\S+) "read /;
    return '';
}

1;
