package FakeS3::Fault;

# What a healthy server never does.  A rule is a flat hash:
#
#   which requests:  op=UploadPart|*  key=REGEX  skip=N (leave the first N alone)
#                    times=N (1; 0 for ever)  p=0.3 (a share of them)
#   what happens:    do=...
#
# instead of the work
#   status    status=503 code=SlowDown message= retry-after= region= location= early=1
#             (early: answered before the body was read, and the connection closed)
#   hang      no answer at all
#   reset     RST after=N bytes of the request's body
#   raw       text= as the whole answer
# after the work
#   lost      the connection is reset instead of an answer
#   error200  200, spaces=N blanks, then an <Error> with code=; work=0: and nothing was done
#   etag      a wrong ETag, in header and body
#   content-range  by=N bytes off
#   corrupt   byte number at=N of the body is another
#   short     the body lacks its last by=N bytes and Content-Length agrees
#   truncate  after=N bytes of body the connection ends (fin) although Content-Length says more
#   cut       the same with RST
#   stall     the same, but the connection stays open
#   body      text= or size=N instead of the body
#   headers   count=N more headers of size=N bytes
#   strip     header=a,b are not in the answer
#   close     answered well, then closed without having said so
#   slow      the answer leaves at rate= bytes a second
#   delay     the answer leaves delay= seconds later
# with the work
#   ignore    header=a,b: as if the client had not sent them
use v5.36;
use re '/a'; # bytes: \s and \w are ASCII

use FakeS3::Xml;

my $INSTEAD = { status => 1, hang => 1, reset => 1, raw => 1 };

sub new ($class) {
    return bless({ rules => [] }, $class);
}

sub add ($self, $rule) {
    die "a rule needs do=\n" if !$rule->{do};
    push(
        $self->{rules}->@*,
        { op => '*', key => '', skip => 0, times => 1, hits => 0, seen => 0, %$rule }
    );
    return;
}

sub clear ($self) {
    $self->{rules} = [];
    return;
}

# The first rule for this request, counted; undef when it is to be left alone.
sub pick ($self, $req) {
    for my $rule ($self->{rules}->@*) {
        next if $rule->{op} ne '*' && $rule->{op} ne $req->{op};
        next if $rule->{key} ne '' && $req->{key} !~ m/$rule->{key}/;
        next if $rule->{times} && $rule->{hits} >= $rule->{times};
        next if $rule->{do} eq 'reset' && $req->{length} < ($rule->{after} // 0);
        next if $rule->{seen}++ < $rule->{skip};
        next if defined($rule->{p}) && rand() >= $rule->{p};
        ++$rule->{hits};
        return $rule;
    }
    return undef;
}

sub instead_of_work ($rule) {
    return $INSTEAD->{ $rule->{do} } || $rule->{do} eq 'error200' && !($rule->{work} // 1);
}

# Hide what the server shall not see, before it works.
sub blind ($rule, $req) {
    return if $rule->{do} ne 'ignore';
    delete $req->{headers}->{ lc($_) } for split(/,/, $rule->{header});
    return;
}

sub status_answer ($rule) {
    my $headers = {};
    $headers->{'retry-after'} = $rule->{'retry-after'} if defined($rule->{'retry-after'});
    $headers->{location} = $rule->{location} if defined($rule->{location});
    $headers->{'x-amz-bucket-region'} = $rule->{region} if defined($rule->{region});
    my $xml = {};
    $xml->{Region} = $rule->{region} if defined($rule->{region});
    $xml->{Endpoint} = $rule->{endpoint} if defined($rule->{endpoint});
    return {
        status => $rule->{status} // 503,
        code => $rule->{code} // 'SlowDown',
        message => $rule->{message} // 'as the test wants it',
        headers => $headers,
        xml => $xml,
    };
}

my $AFTER = {
    error200 => sub ($rule, $answer) {
        my $error =
            FakeS3::Xml::error($rule->{code} // 'InternalError', 'a late failure', 'FAKE');
        my ($declaration, $rest) = split(/\n/, $error, 2);
        %$answer =
            (status => 200, body => $declaration . ' ' x ($rule->{spaces} // 0) . "\n$rest");
    },
    etag => sub ($rule, $answer) {
        my $wrong = $rule->{etag} // '00000000000000000000000000000bad';
        $answer->{headers}->{etag} = qq{"$wrong"} if $answer->{headers}->{etag};
        $answer->{body} =~ s/<ETag>.*?<\/ETag>/<ETag>&quot;$wrong&quot;<\/ETag>/
            if $answer->{body};
    },
    'content-range' => sub ($rule, $answer) {
        my $by = $rule->{by} // 1;
        $answer->{headers}->{'content-range'} =~ s/(\d+)-(\d+)/($1 + $by) . '-' . ($2 + $by)/e;
    },
    corrupt => sub ($rule, $answer) {
        substr($answer->{body}, $rule->{at} // 0, 1) ^= "\x01";
    },
    short => sub ($rule, $answer) {
        substr($answer->{body}, -($rule->{by} // 1)) = '';
    },
    body => sub ($rule, $answer) {
        $answer->{body} = defined($rule->{size}) ? 'x' x $rule->{size} : $rule->{text};
    },
    headers => sub ($rule, $answer) {
        $answer->{headers}->{"x-fake-$_"} = 'y' x ($rule->{size} // 1000)
            for 1 .. $rule->{count} // 1;
    },
    strip => sub ($rule, $answer) {
        $answer->{strip}->{ lc($_) } = 1 for split(/,/, $rule->{header});
    },
};

# Change an answer that the work gave.
sub spoil ($rule, $answer) {
    my $change = $AFTER->{ $rule->{do} } or return;
    $change->($rule, $answer);
    return;
}

1;
