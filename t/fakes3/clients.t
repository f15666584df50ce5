#!/usr/bin/perl
# Clients that know nothing of us take the fake for an S3 server, and the gateway's quirks apart it
# answers as Ceph does.
use v5.36;

use FindBin qw($RealBin);
use Test::More;

use lib "$RealBin/../lib";
use S3PVE::Test;

need_command(qw(s3cmd rclone));
my $scratch = scratch();
my $big = spew("$scratch/big", join('', map { pack('N', $_) x 1024 } 1 .. 4096)); # 16 MiB
my $small = spew("$scratch/small", "a small one\n");

my sub s3cmd ($server, @args) {
    my $host = $server->{endpoint} =~ s!^http://!!r;
    return run_ok(
        's3cmd', '--config=/dev/null', '--no-ssl', "--host=$host", "--host-bucket=$host",
        "--access_key=$server->{access_key}", "--secret_key=$server->{secret_key}",
        "--region=$server->{region}", @args,
    );
}

my sub rclone ($server, @args) {
    my %option = (
        TYPE => 's3', PROVIDER => 'Other', ENDPOINT => $server->{endpoint},
        FORCE_PATH_STYLE => 'true',
        ACCESS_KEY_ID => $server->{access_key}, SECRET_ACCESS_KEY => $server->{secret_key},
        REGION => $server->{region}, CHUNK_SIZE => '5M', UPLOAD_CUTOFF => '8M',
    );
    my %env = map { ("RCLONE_CONFIG_X_$_" => $option{$_}) } keys %option;
    return run_ok({ env => { %env, RCLONE_CONFIG => '/dev/null' } }, 'rclone', '-q', @args);
}

my sub with_s3cmd ($server, $bucket) {
    s3cmd($server, 'put', '-q', $small, "s3://$bucket/dir/small + ü");
    s3cmd($server, 'put', '-q', '--multipart-chunk-size-mb=5', $big, "s3://$bucket/dir/big");
    s3cmd($server, 'get', '-q', '--force', "s3://$bucket/dir/big", "$scratch/back");
    s3cmd($server, 'cp', '-q', "s3://$bucket/dir/big", "s3://$bucket/copy");
    s3cmd($server, 'rm', '-q', "s3://$bucket/dir/big");
    my @listed = map { s/^\S+ \S+\s+//r } split(/\n/, s3cmd($server, 'ls', '-r', "s3://$bucket"));
    return { back => slurp("$scratch/back") eq slurp($big), listed => \@listed };
}

my sub with_rclone ($server, $bucket) {
    rclone($server, 'copyto', $small, "x:$bucket/r/small + ü");
    rclone($server, 'copyto', $big, "x:$bucket/r/big");
    rclone($server, 'copyto', "x:$bucket/r/big", "$scratch/back");
    rclone($server, 'copyto', "x:$bucket/r/big", "x:$bucket/r/copy");
    my $check = rclone($server, 'cat', '--offset', 4096, '--count', 8, "x:$bucket/r/copy");
    rclone($server, 'delete', "x:$bucket/r", '--include', 'big');
    my @listed = sort split(/\n/, rclone($server, 'lsf', '-R', '--format', 'ps', "x:$bucket/r"));
    return { back => slurp("$scratch/back") eq slurp($big), range => $check, listed => \@listed };
}

my $fake = fakes3();
my $bucket = 'clients';
s3cmd($fake, 'mb', "s3://$bucket");

my $by_s3cmd = with_s3cmd($fake, $bucket);
ok($by_s3cmd->{back}, 's3cmd gets a multipart object back as it was');
is_deeply(
    $by_s3cmd->{listed}, ["16777216  s3://$bucket/copy", "12  s3://$bucket/dir/small + ü"],
    's3cmd lists what it put, copied and did not remove',
);

my $by_rclone = with_rclone($fake, $bucket);
ok($by_rclone->{back}, 'rclone gets a multipart object back as it was');
is($by_rclone->{range}, pack('N2', 2, 2), 'rclone reads a range of a copy');
is_deeply(
    $by_rclone->{listed}, ['copy;16777216', 'small + ü;12'],
    'rclone lists what it put, copied and did not remove',
);

is((grep { $_->{code} =~ m/Signature|Authorization/ } $fake->log()), 0, 'no signature was doubted');
is($fake->stats()->{uploads}, 0, 'no upload is left open');

SKIP: {
    skip('no Ceph here', 2) if !grep { -x "$_/radosgw" } split(/:/, $ENV{PATH});
    my $rgw = rgw();
    my $theirs = $rgw->bucket();
    my $said = with_s3cmd($rgw, $theirs);
    s/\Q$theirs\E/$bucket/ for $said->{listed}->@*;
    is_deeply($said, $by_s3cmd, 's3cmd finds the same on Ceph RGW');
    is_deeply(with_rclone($rgw, $theirs), $by_rclone, 'rclone finds the same on Ceph RGW');
}

done_testing();
