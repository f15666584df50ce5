package PVE::QemuServer::Monitor;

# A double for tests: a running QEMU, as far as it has disks over NBD.

use v5.36;

our @NODES; # as query-named-block-nodes has them
our @COMMANDS; # [vmid, what it was told]
our $SAYS = ''; # what it says to a command

sub mon_cmd ($vmid, $cmd, %args) {
    return \@NODES if $cmd eq 'query-named-block-nodes';
    push(@COMMANDS, [$vmid, $args{'command-line'} // $cmd]);
    return $SAYS;
}

1;
