package FakeS3::Control;

# The test's own door, /_fakes3/: unsigned, JSON in and out.
#
#   POST rule      add a rule (Fault.pm)          DELETE rule   forget all rules
#   GET log        every request so far           DELETE log    forget them
#   POST set       change settings                GET stats     connections, bytes, open uploads
#   POST fill      { bucket, prefix, count, size }: many objects at once
#   POST zeroes    { bucket, key, size }: an object of so many zeroes that takes no memory
use v5.36;
use re '/a'; # bytes: \s and \w are ASCII

use Digest::MD5 qw(md5_hex);
use JSON::PP;

my $json = JSON::PP->new->latin1->canonical;

my sub stats ($server) {
    my @buckets = values $server->{store}->{buckets}->%*;
    my ($uploads, $parts, $objects) = (0, 0, 0);
    for my $bucket (@buckets) {
        $uploads += keys $bucket->{uploads}->%*;
        $parts += keys $_->{parts}->%* for values $bucket->{uploads}->%*;
        $objects += keys $bucket->{objects}->%*;
    }
    return {
        $server->{stats}->%*,
        open => scalar(keys $server->{connections}->%*),
        uploads => $uploads,
        parts => $parts,
        objects => $objects,
    };
}

my sub fill ($server, $args) {
    my $store = $server->{store};
    my $bucket = $store->bucket($args);
    my $data = 'x' x ($args->{size} // 0);
    my $etag = md5_hex($data);
    for my $i (1 .. $args->{count}) {
        my $object = { data => $data, etag => $etag, headers => {}, tags => '' };
        $store->store($bucket, sprintf('%s%07d', $args->{prefix}, $i), $object);
    }
    return {};
}

my sub zeroes ($server, $args) {
    my $store = $server->{store};
    my $size = $args->{size};
    my $object = { data => \$size, etag => md5_hex("zeroes $size"), headers => {}, tags => '' };
    $store->store($store->bucket($args), $args->{key}, $object);
    return {};
}

my $VERBS = {
    'POST rule' => sub ($server, $args) { $server->{faults}->add($args); return {} },
    'DELETE rule' => sub ($server, $args) { $server->{faults}->clear(); return {} },
    'GET log' => sub ($server, $args) { return $server->{log} },
    'DELETE log' => sub ($server, $args) { $server->{log} = []; return {} },
    'GET stats' => sub ($server, $args) { return stats($server) },
    'POST fill' => \&fill,
    'POST zeroes' => \&zeroes,
    'POST set' => sub ($server, $args) {
        for my $name (keys %$args) {
            die "no setting '$name'\n" if !exists($server->{settings}->{$name});
            $server->{settings}->{$name} = $args->{$name};
        }
        return {};
    },
};

sub handle ($server, $req) {
    my $verb = $req->{method} . ' ' . ($req->{path} =~ s!^/_fakes3/!!r);
    my $said = eval {
        my $sub = $VERBS->{$verb} or die "no verb '$verb'\n";
        $sub->($server, $req->{body} eq '' ? {} : $json->decode($req->{body}));
    };
    return { body => $json->encode($said), headers => { 'content-type' => 'application/json' } }
        if $said;
    my $why = ref($@) ? $@->{message} : $@;
    return { status => 400, code => 'FakeS3', message => $why };
}

1;
