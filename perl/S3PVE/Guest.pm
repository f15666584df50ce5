package S3PVE::Guest;

# A running QEMU and its connections to the daemon.
#
# NBD cannot tell a client that a disk has grown: the client learns the size when it connects.  So
# the daemon drops connections when it made a disk larger, and one request makes QEMU connect again.

use v5.36;

use constant TIMEOUT => 30; # seconds, for QEMU to connect and to read

# Of the plugin's users only those that have to do with virtual machines bring it along.
my sub monitor ($vmid, $cmd, %args) {
    require PVE::QemuServer::Monitor;
    return PVE::QemuServer::Monitor::mon_cmd($vmid, $cmd, %args, timeout => TIMEOUT);
}

# The nodes that are connected to it, and not yet so large.
my sub nodes ($vmid, $export, $size) {
    my $nodes = monitor($vmid, 'query-named-block-nodes');
    my $name = qr/[\/"]\Q$export->{name}\E["?]/; # in an address, or in JSON
    my @nodes = grep {
               $_->{drv} eq 'nbd'
            && $_->{file} =~ m/\Q$export->{path}\E/
            && $_->{file} =~ $name
            && $_->{image}->{'virtual-size'} < $size
    } $nodes->@*;

    return map { $_->{'node-name'} } @nodes;
}

# From then on it can be told to grow, which is the next thing that PVE does.  A guest that does not
# use NBD has nothing to learn.
sub notice_size ($vmid, $export, $size) {
    for my $node (nodes($vmid, $export, $size)) {
        my $read = qq{qemu-io $node "read 0 512"};
        my $said = monitor($vmid, 'human-monitor-command', 'command-line' => $read) // '';
        die "'$export->{name}' is larger now, but guest $vmid does not see it - $said\n"
            if $said =~ m/\S/;
    }

    return;
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Guest - tell a running QEMU that a disk has grown

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>.

=cut
