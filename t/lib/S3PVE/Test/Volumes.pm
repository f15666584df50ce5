package S3PVE::Test::Volumes;

# A double of the daemon's volumes, in a file of JSON: { NAME => { size, file, node, active, dirty } }.
#
# It answers as DESIGN-disks.md section 11 says, and refuses what that does not have.

use v5.36;

use JSON::PP ();

my $json = JSON::PP->new->utf8->canonical;

my sub load ($path) {
    open(my $fh, '<', $path) or return {};
    local $/ = undef;
    return $json->decode(<$fh>);
}

my sub store ($path, $volumes) {
    open(my $fh, '>', $path) or die "$path: $!\n";
    print {$fh} $json->encode($volumes);
    return close($fh);
}

my sub no ($code, $error) { return { ok => JSON::PP::false, code => $code, error => $error } }
my sub ok (%more) { return { ok => JSON::PP::true, %more } }

my sub told ($volumes, $name) {
    my $volume = $volumes->{$name};
    return {
        name => $name,
        size => $volume->{size} // 0,
        created => 1_700_000_000,
        state => $volume->{node} ? 'open' : 'closed',
        node => $volume->{node} // '',
        file => $volume->{file} ? JSON::PP::true : JSON::PP::false,
    };
}

my $commands = {
    'volume-list' => sub ($volumes, $request) {
        my $vmid = $request->{vmid};
        my @names = grep { !defined($vmid) || m!^$vmid/! } sort keys $volumes->%*;
        return ok(
            volumes => [map { told($volumes, $_) } grep { !$volumes->{$_}->{gone} } @names]);
    },
    'volume-create' => sub ($volumes, $request) {
        my ($name, $size) = $request->@{qw(name size)};
        return no('CONFLICT', "there is a volume $name") if $volumes->{$name};
        $volumes->{$name} = { size => $size // 0, defined($size) ? () : (file => 1) };
        return ok();
    },
};

my $of_one = {
    'volume-stat' =>
        sub ($volumes, $request) { return ok(told($volumes, $request->{name})->%*) },
    'volume-delete' => sub ($volumes, $request) {
        delete $volumes->{ $request->{name} };
        return ok();
    },
    'volume-rename' => sub ($volumes, $request) {
        my ($name, $to) = $request->@{qw(name to)};
        return no('CONFLICT', "$name is open") if $volumes->{$name}->{active};
        return no('CONFLICT', "there is a volume $to") if $volumes->{$to};
        $volumes->{$to} = delete $volumes->{$name};
        return ok();
    },
    'volume-resize' => sub ($volumes, $request) {
        $volumes->{ $request->{name} }->{size} = $request->{size};
        return ok();
    },
    'volume-activate' => sub ($volumes, $request) {
        $volumes->{ $request->{name} }->{active} = 1;
        return ok(socket => '/run/s3pve/a/nbd.sock', export => $request->{name});
    },
};

# What each takes, beside its name.
my $fields = {
    'volumes' => [],
    'volume-list' => [qw(timeout vmid)],
    'volume-create' => [qw(name size timeout)],
    'volume-rename' => [qw(name timeout to)],
    'volume-resize' => [qw(name size timeout)],
    map { ("volume-$_" => [qw(name timeout)]) } qw(stat delete activate deactivate),
};

my sub run ($volumes, $request) {
    my ($cmd, $name) = $request->@{qw(cmd name)};

    for my $field (grep { $_ ne 'cmd' } keys $request->%*) {
        return no('INVALID', "\"$cmd\" has an unknown key")
            if !grep { $_ eq $field } ($fields->{$cmd} // [])->@*;
    }
    return $commands->{$cmd}->($volumes, $request) if $commands->{$cmd};
    if ($cmd eq 'volumes') {
        my @open = grep { $volumes->{$_}->{active} } sort keys $volumes->%*;
        return ok(volumes => [map { { name => $_, dirty => $volumes->{$_}->{dirty} // 0 } } @open]);
    }
    if ($cmd eq 'volume-deactivate') {
        delete $volumes->{$name}->{active} if $volumes->{$name};
        return ok();
    }
    return no('INVALID', 'unknown command') if !$of_one->{$cmd};
    return no('NOT_FOUND', "there is no volume $name") if !$volumes->{$name};
    return no('CONFLICT', "node $volumes->{$name}->{node} has it open")
        if $volumes->{$name}->{node};
    return $of_one->{$cmd}->($volumes, $request);
}

sub answer ($path, $request) {
    my $volumes = load($path);
    my $answer = run($volumes, $request);

    store($path, $volumes);

    return $answer;
}

1;
