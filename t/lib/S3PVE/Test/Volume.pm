package S3PVE::Test::Volume;

# A volume in a bucket, written to over NBD by t/nbd/volume, and its objects taken apart and damaged.
#
#   my $volume = S3PVE::Test::Volume->new($rgw, $bucket, "$dir");
#   $volume->write('back', 64 << 20, 'write -P 1 0 1M');    made, written by qemu-io, handed back
#   $volume->write('kill', 0, 'write -P 2 0 1M', 'flush');  and left as its node died
#   $volume->start(@options), ->qemu_io(@commands), ->stop('back'); the same in pieces
#   $volume->objects(): { name below the data directory => size };  ->log: names in order
#   $volume->get($name), ->put($name, $bytes), ->remove($name);     'volume.json' is one of them
#   $volume->change_page('leaf', 0, sub ($bytes) { ... });          with all sums above it
use v5.36;

use File::Temp;
use IPC::Open2 qw(open2);
use JSON::PP;

use S3PVE::Test;

my $FOLDER = 'images/100/vm-100-disk-0';

sub new ($class, $server, $bucket, $dir) {
    mkdir($dir);
    return bless({ server => $server, bucket => $bucket, dir => $dir }, $class);
}

sub name ($self) { return '100/vm-100-disk-0.raw' }

# @options: of t/nbd/volume.  It is open until stop().
sub start ($self, @options) {
    my $pid = open2(
        my $out, my $in, build() . '/t/nbd/volume',
        @options, $self->{server}{config},
        $self->{bucket}, "$self->{dir}/state", "$self->{dir}/nbd",
    );
    my $said = readline($out) // '';
    die "no volume: $said\n" if $said ne "ready\n";
    @$self{qw(pid in out)} = ($pid, $in, $out);
    return;
}

sub qemu_io ($self, @commands) {
    my $uri = "nbd+unix:///disk?socket=$self->{dir}/nbd";
    return run_ok('qemu-io', '-f', 'raw', $uri, map { ('-c', $_) } @commands);
}

# $end: "back" or "kill".
sub stop ($self, $end) {
    if ($end eq 'back') {
        print { $self->{in} } "back\n";
        close($self->{in});
    } else {
        kill('KILL', $self->{pid});
    }
    my @rest = readline($self->{out});
    waitpid($self->{pid}, 0);
    die "the volume was not handed back\n" if $end eq 'back' && $? != 0;
    delete($self->{data});
    return;
}

# $end: one of these, or that and options.  $create: bytes of a new volume, or 0.
sub write ($self, $end, $create, @commands) { ## no critic (ProhibitBuiltinHomonyms)
    ($end, my @options) = ref($end) ? @$end : ($end);
    $self->start(($create ? ('-c', $create) : ()), @options);
    $self->qemu_io(@commands) if @commands;
    return $self->stop($end);
}

# --- objects

sub run ($self, @args) { return s3pve($self->{server}, $self->{bucket}, @args) }

sub data ($self) {
    my $root = JSON::PP::decode_json($self->get('volume.json'));
    return $self->{data} //= "$FOLDER/d-" . substr($root->{uuid}, 0, 8);
}

sub key ($self, $name) {
    return $name eq 'volume.json' ? "$FOLDER/$name" : $self->data() . "/$name";
}

sub get ($self, $name) {
    my ($code, $out, $err) = $self->run('cat', $self->key($name));
    die "$name: $err" if $code != 0;
    return $out;
}

sub put ($self, $name, $bytes) {
    my ($code, undef, $err) = $self->run({ stdin => $bytes }, 'put', '-', $self->key($name));
    die "$name: $err" if $code != 0;
    return;
}

sub remove ($self, $name) {
    my ($code, undef, $err) = $self->run('rm', $self->key($name));
    die "$name: $err" if $code != 0;
    return;
}

sub objects ($self) {
    my (undef, $out) = $self->run('ls', '-r', '--json', $self->data() . '/');
    my $skip = length($self->data()) + 1;
    return {
        map { (substr($_->{key}, $skip) => $_->{size}) }
        map { JSON::PP::decode_json($_) } split(/\n/, $out)
    };
}

sub log ($self) { ## no critic (ProhibitBuiltinHomonyms)
    return grep { m!^log/! } sort keys $self->objects()->%*;
}

sub root ($self) { return JSON::PP::decode_json($self->get('volume.json')) }

sub set_root ($self, %members) {
    my $root = { $self->root()->%*, %members };
    $self->put('volume.json', JSON::PP->new->canonical->encode($root));
    return;
}

# Bytes of an object at an offset, other than they were.
sub damage ($self, $name, $offset, $len = 1) {
    my $bytes = $self->get($name);
    substr($bytes, $offset, $len) = ~. substr($bytes, $offset, $len);
    $self->put($name, $bytes);
    return;
}

sub cut ($self, $name, $len) {
    $self->put($name, substr($self->get($name), 0, $len));
    return;
}

# --- the checkpoint's bytes, as s3pve-format(5) has them

sub crc32c ($bytes) {
    state $table = [
        map {
            my $c = $_;
            $c = $c & 1 ? ($c >> 1) ^ 0x82f63b78 : $c >> 1 for 1 .. 8;
            $c
        } 0 .. 255
    ];
    my $crc = 0xffffffff;
    $crc = $table->[($crc ^ $_) & 0xff] ^ ($crc >> 8) for unpack('C*', $bytes);
    return $crc ^ 0xffffffff;
}

# A MAP object: its header as it is, and its pages: [kind, index, bytes].
my sub take_apart ($bytes) {
    my ($header_len, $n) = (unpack('V', substr($bytes, 12, 4)), unpack('V', substr($bytes, 60, 4)));
    my $at = $header_len;
    my @pages;
    for my $i (0 .. $n - 1) {
        my ($kind, $index, $len) = unpack('V3', substr($bytes, 128 + 16 * $i, 16));
        push(@pages, [$kind, $index, substr($bytes, $at, $len), $at - $header_len]);
        $at += $len;
    }
    return (substr($bytes, 0, $header_len), \@pages);
}

my sub put_together ($header, $pages) {
    for my $i (0 .. $#$pages) {
        my $page = $pages->[$i];
        substr($header, 128 + 16 * $i, 16) =
            pack('V4', $page->[0], $page->[1], length($page->[2]), crc32c($page->[2]));
    }
    substr($header, 16, 4) = pack('V', 0);
    substr($header, 16, 4) = pack('V', crc32c($header));
    return $header . join('', map { $_->[2] } @$pages);
}

# The sum of a page, in the ref to it that $bytes has from $at on.
my sub set_ref ($bytes, $at, $n, $index, $sum) {
    for my $i (0 .. $n - 1) {
        my $ref = $at + 20 * $i;
        substr($bytes, $ref + 16, 4) = pack('V', $sum)
            if unpack('V', substr($bytes, $ref, 4)) == $index;
    }
    return $bytes;
}

# Change page $index (of kind "leaf" or "root"; all of them in one object but the root) by $code,
# which keeps its length.
sub change_page ($self, $kind, $index, $code) {
    my $checkpoint = $self->root()->{head}{checkpoint};
    my ($root_header, $root_pages) = take_apart($self->get($checkpoint));
    my $pages_name = $checkpoint =~ s/0001$/0000/r;
    my ($header, $pages) = take_apart($self->get($pages_name));

    if ($kind eq 'leaf') {
        my ($leaf) = grep { $_->[0] == 1 && $_->[1] == $index } @$pages;
        my ($node) = grep { $_->[0] == 2 } @$pages;
        $leaf->[2] = $code->($leaf->[2]);
        $node->[2] = set_ref(
            $node->[2], 4, unpack('V', $node->[2]), $index % 1024,
            crc32c($leaf->[2])
        );
        my $n = unpack('V', substr($root_pages->[0][2], 32, 4));
        $root_pages->[0][2] = set_ref($root_pages->[0][2], 40, $n, 0, crc32c($node->[2]));
        $self->put($pages_name, put_together($header, $pages));
    } else {
        $root_pages->[0][2] = $code->($root_pages->[0][2]);
    }
    $self->put($checkpoint, put_together($root_header, $root_pages));
    return;
}

1;
