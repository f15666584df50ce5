#!/usr/bin/perl
# Real clients find what they look for: libnbd's, QEMU's, fio's.
use v5.36;

use FindBin qw($RealBin);
use JSON::PP;
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Memory;

need_command(qw(nbdinfo nbdcopy qemu-img qemu-io qemu-nbd fio));
my $SIZE = 64 << 20;
my $memory = S3PVE::Test::Memory->new(size => $SIZE, threads => 4);
my $dir = scratch();

my sub nbdinfo (@args) { return run_ok('nbdinfo', @args) }
my sub json (@cmd) { return decode_json(run_ok(@cmd)) }

subtest 'nbdinfo' => sub {
    my $uri = $memory->uri('disk');
    my ($disk) = json('nbdinfo', '--json', $uri)->{exports}->@*;
    is($disk->{'export-size'}, $SIZE, 'its size');
    is_deeply($disk->{contexts}, ['base:allocation'], 'one context');
    is($disk->{block_size_minimum}, 512, 'sectors');
    is($disk->{block_size_preferred}, 4096, 'blocks');
    is($disk->{block_size_maximum}, 32 << 20, 'a most');
    for my $can (qw(cache df fast_zero flush fua multi_conn trim zero)) {
        is((run_cmd('nbdinfo', '--can', $can =~ tr/_/-/r, $uri))[0], 0, "--can $can");
        ok($disk->{"can_$can"}, "$can is told, too");
    }
    is((run_cmd('nbdinfo', '--can', 'structured-reply', $uri))[0], 0, '--can structured-reply');
    is((run_cmd('nbdinfo', '--is', 'read-only', $uri))[0], 2, 'it is not read-only');
    is((run_cmd('nbdinfo', '--is', 'read-only', $memory->uri('frozen')))[0], 0, 'the other is');
    is(
        (run_cmd('nbdinfo', '--can', 'trim', $memory->uri('frozen')))[0], 2,
        '... and not trimmed'
    );
    my $list = json('nbdinfo', '--json', '--list', $memory->uri(''));
    is_deeply([map { $_->{'export-name'} } $list->{exports}->@*], ['disk', 'frozen'], '--list');
    isnt((run_cmd('nbdinfo', $memory->uri('other')))[0], 0, 'there is no other');
    like(
        run_ok('qemu-nbd', '-L', '-k', $memory->{socket}), qr/exports available: 2/,
        'qemu-nbd -L'
    );
};

subtest 'qemu-io' => sub {
    my @io = ('qemu-io', '-f', 'raw', $memory->uri());
    my sub io (@commands) {
        my ($code, $out, $err) = run_cmd(@io, map { ('-c', $_) } @commands);
        return $code || $out =~ m/failed|error/i ? "$code: $out$err" : '';
    }
    is(io('write -P 1 0 1M', 'read -P 1 0 1M'), '', 'write, read');
    is(io('write -f -P 2 64k 512', 'read -P 2 64k 512', 'read -P 1 65024 512'), '', 'with FUA');
    is(io('write -P 3 70001 3', 'read -P 3 70001 3', 'read -P 1 70000 1'), '', 'three bytes');
    is(io('write -z 128k 64k', 'read -P 0 128k 64k', 'read -P 1 192k 4k'), '', 'zeroes');
    is(io('write -z -u 256k 64k', 'read -P 0 256k 64k'), '', '... which may be a hole');
    is(io('discard 512k 128k', 'flush', 'read -P 1 640k 4k'), '', 'discard, flush');
    is(io('writev -P 4 1M 512 1k 2k', 'readv -P 4 1M 3k 512'), '', 'vectors');
    is(
        io(
            'aio_write -P 5 2M 1M', 'aio_write -P 6 3M 1M', 'aio_flush', 'read -P 5 2M 1M',
            'read -P 6 3M 1M'
        ),
        '',
        'asynchronous'
    );
    like(io('write -P 1 64M 512'), qr/./, 'but nothing behind the end');
    like(
              (run_cmd('qemu-io', '-f', 'raw', $memory->uri('frozen'), '-c', 'write 0 512'))[1]
            . (run_cmd('qemu-io', '-f', 'raw', $memory->uri('frozen'), '-c', 'write 0 512'))[2],
        qr/read-only|Permission|not permitted/i, 'nor on what is read-only'
    );
    like(run_ok(@io, '-c', 'map'), qr/1 MiB.*data|allocated/i, 'map');
};

my $image = spew(
          "$dir/image", join('', map { pack('N', $_) x 1024 } 1 .. 4096)
        . "\0" x (16 << 20)
        . 'end' x 170
        . 'xx', 0600
);
truncate($image, $SIZE) or die "$image: $!\n";

subtest 'qemu-img' => sub {
    is(
        json('qemu-img', 'info', '--output=json', $memory->uri())->{'virtual-size'}, $SIZE,
        'info'
    );
    run_ok('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', $image, $memory->uri());
    like(
        run_ok('qemu-img', 'compare', $image, $memory->uri()), qr/identical/,
        'convert, compare'
    );
    my @map = grep { $_->{data} } json('qemu-img', 'map', '--output=json', $memory->uri())->@*;
    is($map[0]->{start}, 0, 'map: there is data');
    is($map[0]->{length}, 16 << 20, '... as long as it is');
    is($map[1]->{start}, 32 << 20, '... and behind a hole');
    run_ok('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', $memory->uri(), "$dir/qcow2");
    like(run_ok('qemu-img', 'compare', $image, "$dir/qcow2"), qr/identical/, 'read');

    for my $how (['-w'], ['-w', '--flush-interval=64'], []) {
        my @bench =
            ('qemu-img', 'bench', '-c', 2000, '-d', 64, '-f', 'raw', @$how, $memory->uri());
        like(run_ok(@bench), qr/Run completed/, "bench @$how");
    }
};

subtest 'nbdcopy' => sub {
    for my $connections (1, 4) {
        my @copy = ('nbdcopy', "--connections=$connections");
        run_ok(@copy, $image, $memory->uri());
        run_ok(@copy, $memory->uri(), "$dir/copy");
        is(system('cmp', $image, "$dir/copy"), 0, "$connections connections, there and back");
    }
    my @map = map { [split] } split(/\n/, nbdinfo('--map', $memory->uri()));
    is_deeply($map[0], [0, 16 << 20, 0, 'data'], 'nbdinfo --map: data');
    is_deeply($map[1], [16 << 20, 16 << 20, 3, 'hole,zero'], '... and a hole');
    my ($end) = map { $_->[0] + $_->[1] } $map[-1];
    is($end, $SIZE, '... up to the end');
    run_ok(
        'nbdcopy', '--destination-is-zero', '--request-size=1048576', '--requests=128', $image,
        $memory->uri()
    );
    like(
        run_ok('qemu-img', 'compare', $image, $memory->uri()), qr/identical/,
        'many large ones'
    );
};

subtest 'fio' => sub {
    my @fio = ('fio', '--name=x', '--ioengine=nbd', '--size=48m', '--uri=' . $memory->uri());
    for my $how (['randwrite', '4k', 16], ['randrw', '512', 4], ['write', '1m', 8]) {
        my ($rw, $bs, $depth) = @$how;
        my ($code, $out, $err) = run_cmd(
            @fio, "--rw=$rw", "--bs=$bs", "--iodepth=$depth",
            '--verify=crc32c', '--verify_state_save=0', '--verify_backlog=64', '--io_size=16m',
            '--randrepeat=0'
        );
        is($code, 0, "$rw $bs: every block is as it was written") or diag($out, $err);
    }
};

is($memory->ask('users disk'), 0, 'nobody is connected any more');
is($memory->stop(), 0, 'it ends well');
is(slurp($memory->{log}), '', 'and had nothing to complain of');

done_testing();
