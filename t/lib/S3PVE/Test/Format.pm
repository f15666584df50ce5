package S3PVE::Test::Format;

# A reader of volumes written from s3pve-format(5) and nothing else: what it makes of the bytes is what
# the manual says.  Strict, as the manual has a word for each byte; and slow.
#
#   my $volume = S3PVE::Test::Format->new($get, $list, 'images/100/vm-100-disk-0');
#   $volume->{root}  ->{size}                      $get->($key): bytes; $list->($prefix): keys in order
#   $volume->disk(): its bytes                     by checkpoint and log
#   $volume->replay($journal_file_bytes)           and what only the node's journal has
use v5.36;

use Digest::SHA qw(sha256);
use JSON::PP;

my $BLOCK = 4096;

my sub check ($good, $what) {
    die "$what\n" if !$good;
    return;
}

# Standard CRC-32C; @seed: the CRC of what would be before it.
sub crc32c ($bytes, $seed = 0) {
    state $table = [
        map {
            my $c = $_;
            $c = $c & 1 ? ($c >> 1) ^ 0x82f63b78 : $c >> 1 for 1 .. 8;
            $c
        } 0 .. 255
    ];
    my $crc = $seed ^ 0xffffffff;
    $crc = $table->[($crc ^ $_) & 0xff] ^ ($crc >> 8) for unpack('C*', $bytes);
    return $crc ^ 0xffffffff;
}

# The CRC that covers the field that holds it, at $at.
my sub own_crc ($bytes, $at, $seed = 0) {
    my $said = unpack('V', substr($bytes, $at, 4));
    substr($bytes, $at, 4) = "\0" x 4;
    return $said == crc32c($bytes, $seed);
}

sub new ($class, $get, $list, $folder) {
    my $root = JSON::PP::decode_json($get->("$folder/volume.json"));
    my $self = bless({ get => $get, list => $list, root => $root }, $class);
    check($root->{format} eq 'vdisk' && $root->{version} == 1, 'volume.json');
    check($root->{block} == $BLOCK && $root->{size} % 512 == 0, 'block, size');
    check($root->{object_size} % $BLOCK == 0 && $root->{object_size} <= 32 << 20, 'object_size');
    check($root->{uuid} =~ m/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'uuid');
    check($root->{owner}{state} =~ m/^(?:closed|claiming|open)$/, 'owner.state');
    check($root->{owner}{nonce} =~ m/^[0-9a-f]{8}$/, 'owner.nonce');
    check(exists($root->{owner}{$_}), "owner.$_") for qw(epoch node incarnation);
    check(exists($root->{$_}), $_) for qw(rev epochs head deleting moving_to);
    $self->{uuid} = pack('H*', $root->{uuid} =~ s/-//gr);
    $self->{data} = $root->{data} // "$folder/d-" . substr($root->{uuid}, 0, 8);
    $self->{map} = {};
    $self->{seq} = $self->{jseq} = 0;
    $self->{hash} = "\0" x 16;
    $self->_checkpoint($root->{head}{checkpoint}) if defined($root->{head}{checkpoint});
    check($self->{seq} == $root->{head}{seq}, 'head.seq');
    $self->_log();
    return $self;
}

# --- checkpoints

my sub map_name ($seq, $epoch, $nonce, $part) {
    return sprintf('map/%016x-%08x-%08x-%04x', $seq, $epoch, $nonce, $part);
}

# Its pages: [kind, index, bytes, offset from the first page].
sub _map_object ($self, $name) {
    my $bytes = $self->{get}->("$self->{data}/$name");
    my (
        $magic, $version, $type, $header_len, undef, $flags, $uuid, $seq, $epoch, $nonce,
        $part, $n,
        $len, $incompat, $ro_compat, $compat, undef, $reserved
    ) = unpack('a8 v v V V V a16 Q< V V V V Q< Q< Q< Q< Q< a24', $bytes);
    check($magic eq "VDMAP\0\0\1" && $version == 1 && $type == 3 && $flags == 0, "$name: kind");
    check($uuid eq $self->{uuid} && $reserved eq "\0" x 24, "$name: UUID, reserved");
    check(!$incompat && !$ro_compat && !$compat, "$name: flags");
    check(map_name($seq, $epoch, $nonce, $part) eq $name, "$name: name");
    check($header_len == 128 + 16 * $n && $n <= 16384, "$name: length");
    check(own_crc(substr($bytes, 0, $header_len), 16), "$name: CRC");
    check(length($bytes) == $header_len + $len, "$name: length of the pages");
    my ($at, @pages) = (0);

    for my $i (0 .. $n - 1) {
        my ($kind, $index, $page_len, $crc) = unpack('V4', substr($bytes, 128 + 16 * $i, 16));
        my $page = substr($bytes, $header_len + $at, $page_len);
        check(crc32c($page) == $crc, "$name: page $i");
        push(@pages, [$kind, $index, $page, $at]);
        $at += $page_len;
    }
    check($at == $len, "$name: pages");
    return @pages;
}

# The page that a ref points to.
sub _page ($self, $kind, $ref) {
    my ($index, $row, $offset, $len, $crc) = @$ref;
    my $object = $self->{rows}[$row];
    check($object->{type} == 3, 'a ref points to a MAP object');
    my $pages = $self->{objects}{ $object->{name} } //= [$self->_map_object($object->{name})];
    my ($page) = grep { $_->[3] == $offset } @$pages;
    check($page && $page->[0] == $kind && length($page->[2]) == $len, 'a ref points to a page');
    check(crc32c($page->[2]) == $crc, 'the CRC in a ref');
    $self->{used}{$row}++;
    return $page;
}

my sub refs ($bytes, $at, $n) {
    return map { [unpack('V5', substr($bytes, $at + 20 * $_, 20))] } 0 .. $n - 1;
}

sub _rows ($self, $bytes) {
    for my $row (unpack('(a48)*', $bytes)) {
        my ($seq, $epoch, $nonce, $type, $part, $total, $live, $header_len, $died, $reserved) =
            unpack('Q< V V v v V V V Q< a8', $row);
        check($reserved eq "\0" x 8, 'reserved of a row');
        push(
            $self->{rows}->@*,
            $seq
            ? {
                name => $type == 3
                ? map_name($seq, $epoch, $nonce, $part)
                : sprintf('log/%016x-%08x-%08x', $seq, $epoch, $nonce),
                type => $type, total => $total, live => $live, header_len => $header_len,
                }
            : undef
        );
    }
    return;
}

sub _checkpoint ($self, $name) {
    my @pages = $self->_map_object($name);
    check(@pages == 1 && $pages[0][0] == 3, 'an object with nothing but the root page');
    my $root = $pages[0][2];
    my ($seq, $jseq, $hash, $n_refs, $n_rows) = unpack('Q< Q< a16 V V', $root);
    @$self{qw(seq jseq hash)} = ($seq, $jseq, $hash);
    $self->{rows} = [];
    $self->_rows(substr($root, 40 + 20 * $n_refs));
    check($self->{rows}->@* == $n_rows, 'rows');

    for my $node_ref (refs($root, 40, $n_refs)) {
        my $node = $self->_page(2, $node_ref);
        check($node->[1] == $node_ref->[0], 'the index of a node');
        my $n = unpack('V', $node->[2]);
        check(length($node->[2]) == 4 + 20 * $n, 'the length of a node');
        $self->_leaf($node_ref->[0], $_) for refs($node->[2], 4, $n);
    }
    for my $i (0 .. $#{ $self->{rows} }) {
        my $row = $self->{rows}[$i] // next;
        my $live = ($self->{used}{$i} // 0) + ($row->{name} eq $name ? 1 : 0);
        check($live == $row->{live}, "what of $row->{name} is pointed to");
    }
    return;
}

sub _leaf ($self, $node, $ref) {
    my $leaf = $self->_page(1, $ref);
    my $index = 1024 * $node + $ref->[0];
    check($leaf->[1] == $index, 'the index of a leaf');
    my $n = unpack('V', $leaf->[2]);
    check(length($leaf->[2]) == 4 + 12 * $n, 'the length of a leaf');
    my $end = 0;
    for my $run (unpack('x4 (a12)*', $leaf->[2])) {
        my ($first, $blocks, $place) = unpack('v v Q<', $run);
        check($first >= $end && $blocks && $first + $blocks <= 1024, 'runs in order');
        $end = $first + $blocks;
        my ($kind, $reserved, $off512, $row) =
            ($place & 3, $place >> 2 & 0x3fff, $place >> 16 & 0xffff, $place >> 32);
        check($reserved == 0 && ($kind == 1 || $place == 2), 'a place');
        next if $kind == 2;
        $self->{used}{$row} += $blocks;
        my $object = $self->{rows}[$row];
        check($object->{type} < 3, 'a place is in a segment');
        $self->{map}{ 1024 * $index + $first + $_ } = [$object->{name}, $off512 / 8 + $_]
            for 0 .. $blocks - 1;
    }
    return;
}

# --- segments

# One extent, whose data begins at $data; returns how many blocks that has.
my sub extent ($s, $bytes, $data, $frames) {
    my ($low, $high, $kind, $reserved, $blocks, $first_frame, $gc) =
        unpack('V v C C V V a16', $bytes);
    my $block = $low | $high << 32;
    my ($last) = ($s->{extents} // [])->@* ? $s->{extents}[-1] : [0, 0, 0];
    check($block >= $last->[0] + $last->[2] && $kind <= 2 && !$reserved, 'an extent');
    check($gc eq "\0" x 16 && $first_frame == $s->{n_read}, "an extent's frame");
    check($block + $blocks <= $s->{size_blocks}, 'within the volume');
    push($s->{extents}->@*, [$block, $kind, $blocks, $data]);
    return 0 if $kind;

    for (my $left = $blocks; $left > 0; $left -= 32) {
        my ($off512, $word, $n, $none) = unpack('V V v a6', $frames->[$s->{n_read}++]);
        my $want = $left < 32 ? $left : 32;
        check($off512 == 8 * $data && $word >> 24 == 0, 'a frame');
        check(($word & 0xffffff) == $want * $BLOCK && $n == $want, 'its length');
        check($none eq "\0" x 6, 'reserved of a frame');
        $data += $want;
    }
    return $blocks;
}

# Its fixed part, and {data}: all blocks of data; {sums}; {extents}: [block, kind, blocks, first data].
sub _segment ($self, $name) {
    my $bytes = $self->{get}->("$self->{data}/$name");
    my %s;
    (
        my ($magic, $version),
        @s{qw(type header_len crc flags uuid seq epoch nonce prev prev_hash jseq_first jseq_last)},
        @s{qw(size_blocks n_extents n_frames extents_at frames_at sums_at data_at data_len)},
        @s{qw(incompat ro_compat compat made reserved)}
    ) = unpack('a8 v v V V V a16 Q< V V Q< a16 Q< Q< Q< V6 Q< Q< Q< Q< Q< a88', $bytes);
    check($magic eq "VDSEG\0\0\1" && $version == 1 && $s{type} == 1, "$name: kind");
    check($s{uuid} eq $self->{uuid} && $s{reserved} eq "\0" x 88, "$name: UUID, reserved");
    check(!$s{flags} && !$s{incompat} && !$s{ro_compat} && !$s{compat}, "$name: flags");
    check(
        sprintf('log/%016x-%08x-%08x', @s{qw(seq epoch nonce)}) eq $name,
        "$name: name"
    );
    check($s{header_len} % $BLOCK == 0 && $s{data_at} == $s{header_len}, "$name: lengths");
    check(own_crc(substr($bytes, 0, $s{header_len}), 16), "$name: CRC");
    check(length($bytes) == $s{data_at} + $s{data_len}, "$name: length");
    check($s{extents_at} == 256, "$name: extents");
    $s{data} = substr($bytes, $s{data_at});
    $s{hash} = substr(sha256(substr($bytes, 0, $s{header_len})), 0, 16);
    $s{sums} = [unpack('V' . $s{data_len} / $BLOCK, substr($bytes, $s{sums_at}))];

    my $data = 0;
    my @frames = unpack('(a16)' . $s{n_frames}, substr($bytes, $s{frames_at}));
    $s{n_read} = 0;
    $data += extent(\%s, $_, $data, \@frames)
        for unpack('(a32)' . $s{n_extents}, substr($bytes, $s{extents_at}));
    check($s{n_read} == @frames && $data == $s{data_len} / $BLOCK, "$name: frames, data");
    check($s{sums_at} == $s{frames_at} + 16 * @frames, "$name: sums");
    return \%s;
}

sub _seq_name ($self, $seq) {
    for my $epoch ($self->{root}{epochs}->@*) {
        next if $seq < $epoch->{first} || ($epoch->{last} && $seq > $epoch->{last});
        return sprintf('log/%016x-%08x-%s', $seq, $epoch->{e}, $epoch->{nonce});
    }
    return '';
}

# Up to the first that is missing.
sub _log ($self) {
    my %there =
        map { substr($_, length($self->{data}) + 1) => 1 } $self->{list}->("$self->{data}/log/");
    while ($there{ my $name = $self->_seq_name($self->{seq} + 1) }) {
        my $s = $self->_segment($name);
        check($s->{prev} == $self->{seq} && $s->{prev_hash} eq $self->{hash}, "$name: order");
        check($s->{jseq_first} == $self->{jseq} + 1, "$name: records");
        for my $extent ($s->{extents}->@*) {
            my ($block, $kind, $blocks, $data) = @$extent;
            for my $i (0 .. $blocks - 1) {
                delete($self->{map}{ $block + $i });
                $self->{map}{ $block + $i } = [$name, $data + $i] if $kind == 0;
            }
        }
        @$self{qw(seq jseq hash)} = @$s{qw(seq jseq_last hash)};
    }
    my $last = $self->{root}{epochs}[-1];
    check(!$last->{last} || $self->{seq} == $last->{last}, 'the log is whole') if $last;
    return;
}

sub disk ($self) {
    my $disk = "\0" x $self->{root}{size};
    my %segments;
    for my $block (sort { $a <=> $b } keys $self->{map}->%*) {
        my $place = $self->{map}{$block};
        my $bytes = $place->[0]; # of a record, as they are
        if ($bytes =~ m/^log\//) {
            my $s = $segments{ $place->[0] } //= $self->_segment($place->[0]);
            $bytes = substr($s->{data}, $place->[1] * $BLOCK, $BLOCK);
            check(crc32c($bytes) == $s->{sums}[$place->[1]], "$place->[0]: block $place->[1]");
        }
        substr($disk, $block * $BLOCK, $BLOCK) = $bytes;
    }
    return substr($disk, 0, $self->{root}{size});
}

# --- the journal

my sub superblock ($bytes) {
    my %s;
    (my ($magic, $version), @s{qw(uuid generation ring_len tail jseq epoch nonce next seed)}) =
        unpack('a4 V a16 Q< Q< Q< Q< V V V V', $bytes);
    return undef if $magic ne 'VDRS' || $version != 1 || !own_crc($bytes, 4092);
    return \%s;
}

sub _entries ($self, $data, @entries) {
    for my $entry (@entries) {
        my ($low, $high, $kind, $none, $blocks, $offset) = unpack('V v C C V V', $entry);
        check($kind <= 2 && !$none, 'an entry');
        for my $i (0 .. $blocks - 1) {
            my $block = ($low | $high << 32) + $i;
            delete($self->{map}{$block});
            $self->{map}{$block} = [substr($data, $offset + $i * $BLOCK, $BLOCK)] if $kind == 0;
        }
    }
    return;
}

# One record at $at in the ring: its length; 0: there is none that goes on.
sub _record ($self, $ring, $at, $super, $jseq) {
    my (
        $magic, $version, $type, $header_len, $data_len, $number, $uuid, $epoch, $n, undef,
        $reserved
    ) = unpack('a4 v v V V Q< a16 V V Q< V', substr($ring, $at, 64));
    return 0 if $magic ne 'VDRJ' || $version != 1 || $number != $jseq || $uuid ne $self->{uuid};
    return 0 if !own_crc(substr($ring, $at, $header_len), 60, $super->{seed});
    check($header_len % $BLOCK == 0 && !$reserved, 'a record');
    return -(length($ring) - $at) if $type == 2;
    my $data = substr($ring, $at + $header_len, $data_len);
    my @sums = unpack('V' . $data_len / $BLOCK, substr($ring, $at + 64 + 16 * $n));
    for my $i (0 .. $#sums) {
        return 0 if crc32c(substr($data, $i * $BLOCK, $BLOCK)) != $sums[$i];
    }
    return $header_len + $data_len if $number <= $self->{jseq};
    $self->_entries($data, unpack('(a16)' . $n, substr($ring, $at + 64)));
    $self->{jseq} = $number;
    return $header_len + $data_len;
}

# How many records it had.
sub replay ($self, $bytes) {
    my ($super) = sort { $b->{generation} <=> $a->{generation} }
        grep { $_ } map { superblock(substr($bytes, $_ * $BLOCK, $BLOCK)) } 0, 1;
    check($super && $super->{uuid} eq $self->{uuid}, 'a superblock');
    check(
        sprintf('%08x', $super->{nonce}) eq $self->{root}{epochs}[-1]{nonce},
        'the journal of the last epoch'
    );
    my $ring = substr($bytes, 2 * $BLOCK, $super->{ring_len});
    my ($at, $jseq, $n) = ($super->{tail}, $super->{jseq}, 0);
    while (my $len = $self->_record($ring, $at, $super, $jseq)) {
        ($jseq, $n) = ($jseq + 1, $n + 1) if $len > 0;
        $at = ($at + abs($len)) % $super->{ring_len};
    }
    return $n;
}

1;
