package S3PVE::Guest;

# A running QEMU and its connections to the daemon.
#
# NBD cannot tell a client that a disk has grown: the client learns the size when it connects.  So
# the daemon drops connections when it made a disk larger, and one request makes QEMU connect again.

use v5.36;

use Time::HiRes qw(sleep);

use constant {
    TRIES => 10,
    PAUSE => 0.2, # seconds
    TIMEOUT => 30, # seconds, for QEMU to connect and to read
};

# Of the plugin's users only those that have to do with virtual machines bring it along.
my sub monitor ($vmid, $cmd, %args) {
    require PVE::QemuServer::Monitor;
    return PVE::QemuServer::Monitor::mon_cmd($vmid, $cmd, %args, timeout => TIMEOUT);
}

# The nodes that are connected to it, and do not know that it is so large.
my sub stale_nodes ($vmid, $export, $size) {
    my $nodes = monitor($vmid, 'query-named-block-nodes');
    my $name = qr/[\/"]\Q$export->{name}\E["?]/; # in an address, or in JSON

    return map { $_->{'node-name'} =~ m/^([\w#.-]+)\z/ ? $1 : () } grep {
               $_->{drv} eq 'nbd'
            && $_->{file} =~ m/\Q$export->{path}\E/
            && $_->{file} =~ $name
            && $_->{image}->{'virtual-size'} < $size
    } $nodes->@*;
}

# It knows when this returns.  A guest that does not use NBD has nothing to learn.
sub notice_size ($vmid, $export, $size) {
    for (1 .. TRIES) {
        my @nodes = stale_nodes($vmid, $export, $size) or return;
        for my $node (@nodes) {
            my $read = qq{qemu-io $node "read 0 512"};
            monitor($vmid, 'human-monitor-command', 'command-line' => $read);
        }
        sleep(PAUSE);
    }

    die "'$export->{name}' is larger now, but the running guest $vmid does not see it;"
        . " stop and start it\n";
}

1;

__END__

=encoding utf8

=head1 NAME

S3PVE::Guest - tell a running QEMU that a disk has grown

=head1 DESCRIPTION

Internal to L<PVE::Storage::Custom::S3Plugin>.

=cut
