#!/usr/bin/perl
# A file is as long as what was written to it, whoever looks, and when: while the bucket does not know
# it yet, after the daemon ended or was killed, and on a node that has just seen it shorter.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;
use S3PVE::Test::Daemon;

need_fuse();

use constant MIB => 1 << 20;
my $NAME = '100/vm-100-disk-0.qcow2';
my $rgw = rgw();
my $bucket = $rgw->bucket();
my ($one, $two) =
    map { S3PVE::Test::Daemon->new($rgw, $bucket, node => $_, durability => 'node') } qw(n1 n2);
ok($_->start() && $_->settle(), 'a daemon starts') or diag($_->output()) for $one, $two;
ok(mkdir("$one->{mnt}/images/100"), 'a guest');

my sub path ($daemon) { return "$daemon->{mnt}/images/$NAME" }

# More of it; what is there then.
my $content = '';

my sub append ($size) {
    my $more = join('', map { sprintf("%015d\n", $_) } 1 .. $size / 16);
    open(my $fh, '>>', path($one)) or die "$NAME: $!\n";
    print {$fh} $more;
    close($fh) or die "$NAME: $!\n";
    $content .= $more;
    return;
}

# Its length as one who opens it sees it, and as it is read to its end.
my sub is_whole ($daemon, $what) {
    open(my $fh, '<', path($daemon)) or return fail("$what: $!");
    is(-s $fh, length($content), "$what: its length");
    local $/ = undef;
    return ok(<$fh> eq $content, '... and content');
}

my sub size_by_list ($daemon) {
    my $answer = $daemon->ask('volume-list', vmid => 100);
    my ($size) = map { $_->{size} } grep { $_->{name} eq $NAME } $answer->{volumes}->@*;
    return $size;
}

append(MIB);
is(size_by_list($one), MIB, 'a list has its length at once');
is($one->ask('volume-stat', name => $NAME)->{size}, MIB, '... and so has what tells of one');

for my $end (qw(crash stop)) {
    for (1 .. 3) {
        append(MIB);
        $one->$end();
        ok($one->start() && $one->settle(), "$end, and it starts again") or diag($one->output());
        is(-s path($one), length($content), '... a name has its length') if $end eq 'crash';
        is_whole($one, '... the file');
    }
}

# --- on another node

ok($one->volume('deactivate', $NAME)->{ok}, 'it is handed back');
is_whole($two, 'the other node has it');
ok($two->volume('deactivate', $NAME)->{ok}, '... and hands it back');
for (1 .. 3) {
    is(-s path($two), length($content), 'the other sees its length');
    append(MIB);
    ok($one->volume('deactivate', $NAME)->{ok}, '... before the first made it longer');
    is_whole($two, '... and opens it');
    ok($two->volume('deactivate', $NAME)->{ok}, '... and hands it back');
}
is($_->stop(), 0, 'a daemon ends well') or diag($_->output()) for $one, $two;
done_testing();
