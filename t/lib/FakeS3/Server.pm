package FakeS3::Server;

# One process, one select loop: connections, requests, answers, and the faults between them.
use v5.36;
use re '/a'; # bytes: \s and \w are ASCII

use IO::Socket::INET;
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_LINGER TCP_NODELAY);
use Time::HiRes qw(time);

use FakeS3::Control;
use FakeS3::Fault;
use FakeS3::List;
use FakeS3::Multipart;
use FakeS3::Request;
use FakeS3::Sig;
use FakeS3::Store;
use FakeS3::Xml;

my $CHUNK = 1 << 18;
my $HEAD_MAX = 1 << 16;

sub new ($class, $settings, $keys) {
    my $socket = IO::Socket::INET->new(
        Listen => 256, LocalAddr => '127.0.0.1', LocalPort => $settings->{port} // 0,
        ReuseAddr => 1,
    ) or die "listen: $!\n";
    $socket->blocking(0);
    return bless(
        {
            settings => $settings,
            keys => $keys,
            socket => $socket,
            store => FakeS3::Store->new($settings),
            faults => FakeS3::Fault->new(),
            connections => {},
            log => [],
            stats =>
                { accepted => 0, open_max => 0, requests => 0, bytes_in => 0, bytes_out => 0 },
        },
        $class,
    );
}

sub port ($self) {
    return $self->{socket}->sockport();
}

# Who is waited for, and how long: an answer may have a time at which it is due.
my sub waits ($self) {
    my ($read, $write, $wait) = ('', '', 0.5);
    my $now = time();
    vec($read, fileno($self->{socket}), 1) = 1;
    for my $c (values $self->{connections}->%*) {
        my $until_due = ($c->{due} // 0) - $now;
        vec($read, fileno($c->{fh}), 1) = 1;
        next if $c->{out} eq '' || $c->{silent};
        vec($write, fileno($c->{fh}), 1) = 1 if $until_due <= 0;
        $wait = $until_due if $until_due > 0 && $until_due < $wait;
    }
    return ($read, $write, $wait);
}

sub run ($self, $go_on) {
    while ($go_on->()) {
        my ($read, $write, $wait) = waits($self);
        next if select($read, $write, undef, $wait) < 0;
        $self->accept_all() if vec($read, fileno($self->{socket}), 1);
        for my $c (values $self->{connections}->%*) {
            my $fd = fileno($c->{fh});
            $self->send_some($c) if vec($write, $fd, 1);
            $self->receive($c) if $self->{connections}->{$fd} && vec($read, $fd, 1);
        }
    }
    return;
}

sub accept_all ($self) {
    while (my $fh = $self->{socket}->accept()) {
        $fh->blocking(0);
        setsockopt($fh, IPPROTO_TCP, TCP_NODELAY, 1);
        $self->{connections}->{ fileno($fh) } = { fh => $fh, in => '', out => '' };
        ++$self->{stats}->{accepted};
        my $n = keys $self->{connections}->%*;
        $self->{stats}->{open_max} = $n if $n > $self->{stats}->{open_max};
    }
    return;
}

sub drop ($self, $c, $hard = 0) {
    delete $self->{connections}->{ fileno($c->{fh}) };
    $c->{gone} = 1;
    setsockopt($c->{fh}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0)) if $hard;
    close($c->{fh});
    return;
}

sub receive ($self, $c) {
    my $n = sysread($c->{fh}, $c->{in}, $CHUNK, length($c->{in}));
    return if !defined($n) && $!{EAGAIN};
    return $self->drop($c) if !$n;
    $self->{stats}->{bytes_in} += $n;
    $self->advance($c);
    return;
}

# Take what has arrived as far as it goes: head, then body, then work.
sub advance ($self, $c) {
    return if $c->{out} ne '' || $c->{silent};
    $self->take_head($c) if !$c->{req};
    my $req = $c->{req};
    return if !$req || $c->{gone} || $c->{out} ne '';

    my $rule = $req->{rule};
    my $have = length($c->{in});
    return $self->drop($c, 1)
        if $rule && $rule->{do} eq 'reset' && $have >= ($rule->{after} // 0);
    return if $have < $req->{length};
    $req->{body} = substr($c->{in}, 0, $req->{length}, '');
    $self->finish($c, $req);
    return;
}

sub take_head ($self, $c) {
    my $end = index($c->{in}, "\r\n\r\n");
    return if $end < 0 && length($c->{in}) <= $HEAD_MAX;
    my $head = substr($c->{in}, 0, $end + 4, '');
    my $req = FakeS3::Request::parse($head, $self->{settings}->{domain});
    return $req ? $self->begin($c, $req) : $self->drop($c);
}

# The head is there.
sub begin ($self, $c, $req) {
    $c->{req} = $req;
    return if $req->{control};
    $req->{rule} = $self->{faults}->pick($req);
    $req->{entry} = $self->note($req);
    my $rule = $req->{rule};
    if ($rule && $rule->{do} eq 'status' && $rule->{early}) {
        $req->{close} = 1;
        return $self->answer($c, $req, FakeS3::Fault::status_answer($rule));
    }
    if ($req->{headers}->{'transfer-encoding'}) {
        $req->{close} = 1;
        my $message = 'You must provide the Content-Length HTTP header.';
        return $self->answer(
            $c, $req,
            { status => 411, code => 'MissingContentLength', message => $message }
        );
    }
    syswrite($c->{fh}, "HTTP/1.1 100 Continue\r\n\r\n")
        if lc($req->{headers}->{expect} // '') eq '100-continue';
    return;
}

# A line of the log, filled in when the answer is known.
sub note ($self, $req) {
    my $entry = {
        op => $req->{op},
        method => $req->{method},
        bucket => $req->{bucket},
        key => $req->{key},
        query => $req->{query},
        length => $req->{length},
        time => time(),
        status => 0,
        code => '',
        fault => $req->{rule} ? $req->{rule}->{do} : '',
        headers => { $req->{headers}->%*, authorization => '' },
    };
    push($self->{log}->@*, $entry);
    ++$self->{stats}->{requests};
    return $entry;
}

# Head and body are there: judge, work, answer.
sub finish ($self, $c, $req) {
    return $self->answer($c, $req, FakeS3::Control::handle($self, $req)) if $req->{control};
    my $rule = $req->{rule};
    return $c->{silent} = 1 if $rule && $rule->{do} eq 'hang';
    if ($rule && $rule->{do} eq 'raw') {
        $req->{close} = 1;
        ($c->{out}, $req->{entry}->{status}) = ($rule->{text}, -1);
        return;
    }
    return $self->answer($c, $req, FakeS3::Fault::status_answer($rule))
        if $rule && $rule->{do} eq 'status';
    my $answer = $self->judge($req) // $self->work($req, $rule);
    FakeS3::Fault::spoil($rule, $answer) if $rule && !$answer->{code};
    if ($rule && $rule->{do} eq 'lost') {
        $req->{entry}->{status} = -1;
        return $self->drop($c, 1);
    }
    $self->answer($c, $req, $answer);
    return;
}

sub judge ($self, $req) {
    my $settings = $self->{settings};
    return undef if $settings->{anonymous} && !$req->{headers}->{authorization};
    return FakeS3::Sig::check($req, $self->{keys}, $self->{store}->now(), $settings->{region})
        // FakeS3::Sig::check_body($req);
}

sub work ($self, $req, $rule) {
    return {} if $rule && FakeS3::Fault::instead_of_work($rule);
    FakeS3::Fault::blind($rule, $req) if $rule;
    my $op = $req->{op};
    my $answer = eval {
        FakeS3::Store::fail(
            501, 'NotImplemented',
            'A header or query you provided implies functionality that is not implemented'
        ) if !$self->{store}->can($op);
        FakeS3::Store::fail(403, 'AccessDenied', 'Access Denied')
            if $self->{settings}->{deny} =~ m/\b$op\b/;
        $self->{store}->$op($req);
    };
    return $answer if $answer;
    return ref($@) ? $@ : { status => 500, code => 'InternalError', message => "fakes3: $@" };
}

sub answer ($self, $c, $req, $answer) {
    my $rule = $req->{rule};
    my ($head, $body) = FakeS3::Request::answer($req, $answer, $self->{store}->now());
    if ($req->{entry}) {
        $req->{entry}->{status} = $answer->{status} // 200;
        $req->{entry}->{code} = $answer->{code} // '';
        $req->{entry}->{bytes} = length($body);
        $req->{entry}->{done} = time();
    }
    my $do = $rule ? $rule->{do} : '';
    if ($do eq 'truncate' || $do eq 'cut' || $do eq 'stall') {
        $body = substr($body, 0, $rule->{after} // 0);
        $c->{end} = $do;
    }
    $c->{end} = 'truncate' if $do eq 'close';
    $c->{rate} = $rule->{rate} if $do eq 'slow';
    my $delay = $rule && $rule->{delay} // $answer->{delay};
    $c->{due} = time() + $delay if defined($delay);
    $c->{out} = $head . $body;
    return;
}

sub send_some ($self, $c) {
    my $length = $CHUNK;
    $length = int($c->{rate} / 10) || 1 if $c->{rate};
    my $n = syswrite($c->{fh}, $c->{out}, $length);
    return if !defined($n) && $!{EAGAIN};
    return $self->drop($c) if !defined($n);
    substr($c->{out}, 0, $n, '');
    $self->{stats}->{bytes_out} += $n;
    $c->{due} = time() + 0.1 if $c->{rate};
    $self->sent($c) if $c->{out} eq '';
    return;
}

sub sent ($self, $c) {
    my $req = delete $c->{req};
    my $end = delete($c->{end}) // '';
    delete $c->@{qw(due rate)};
    return $c->{silent} = 1 if $end eq 'stall';
    return $self->drop($c, $end eq 'cut') if $end ne '' || $req->{close};
    $self->advance($c) if $c->{in} ne '';
    return;
}

1;
