package FakeS3::Xml;

# What an S3 server says in XML, and the two small documents it is sent.
use v5.36;
use re '/a'; # bytes: \s and \w are ASCII

my $NS = 'http://s3.amazonaws.com/doc/2006-03-01/';

sub escape ($text) {
    my %entity = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;', '"' => '&quot;', "\r" => '&#13;');
    return $text =~ s/([&<>"\r])/$entity{$1}/gr;
}

sub unescape ($text) {
    my %char = (amp => '&', lt => '<', gt => '>', quot => '"', apos => "'");
    return $text =~ s{&(?:#(\d+)|#x([0-9A-Fa-f]+)|(\w+));}
        {defined($1) ? chr($1) : defined($2) ? chr(hex($2)) : $char{$3} // ''}ger;
}

# element(Name => 'text' | [children as pairs, in order])
sub element ($name, $content) {
    return "<$name>" . escape($content) . "</$name>" if !ref($content);
    my ($text, @pairs) = ('', @$content);
    while (my ($child, $value) = splice(@pairs, 0, 2)) {
        $text .= element($child, $value);
    }
    return "<$name>$text</$name>";
}

sub document ($name, @pairs) {
    my $inside = element($name, \@pairs) =~ s/^<$name>/<$name xmlns="$NS">/r;
    return qq{<?xml version="1.0" encoding="UTF-8"?>\n$inside};
}

sub error ($code, $message, $request_id, $more = {}) {
    return qq{<?xml version="1.0" encoding="UTF-8"?>\n} . element(
        Error => [
            Code => $code,
            Message => $message,
            (map { $_ => $more->{$_} } sort keys %$more),
            RequestId => $request_id,
        ],
    );
}

# All <name>...</name> of a document, as they stand.
sub inner ($xml, $name) {
    return $xml =~ m!<$name(?:\s[^>]*)?>(.*?)</$name>!gs;
}

# The text of the first <name>.
sub text ($xml, $name) {
    my ($raw) = inner($xml, $name);
    return defined($raw) ? unescape($raw) : undef;
}

1;
