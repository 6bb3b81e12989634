# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What an endpoint makes of HTTP itself: methods, sizes, types, slow and broken bodies, JSON that is none.
use strict;
use warnings;
use Compress::Zlib ();
use IO::Select;
use Time::HiRes qw(sleep time);
use VapiTest;

my $limit = 65536;
my $has_h2 = ($ENV{VAPI_TEST_MPM} || 'event') ne 'prefork' && -e VapiHttpd::_ask('LIBEXECDIR') . '/mod_http2.so';
my $conf = <<"END";
LogFormat "%{x-case}i outcome=%{vapi-outcome}n type=%{vapi-type}n" vapi
CustomLog \@DIR\@/access_log vapi
KeepAliveTimeout 60
VapiBudget 60
VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only
VapiAuthenticate test
<Location "/vapi">
    SetHandler vapi-transfer
</Location>
<Location "/small">
    SetHandler vapi-transfer
    VapiBodyLimit $limit
</Location>
<Location "/hurry">
    SetHandler vapi-transfer
    VapiBudget 500ms
</Location>
<Location "/gzip">
    SetHandler vapi-transfer
    VapiBodyLimit $limit
    SetInputFilter DEFLATE
</Location>
<Location "/limited">
    SetHandler vapi-transfer
    LimitRequestBody 2000
</Location>
END
$conf .= "Protocols h2c http/1.1\n" if $has_h2;

my $s = VapiTest->new(conf => $conf, processes => 1, modules => ['filter', 'deflate', $has_h2 ? 'http2' : ()])->start;
$s->allow_log(qr/AH10034|AH10159|AH00287/);    # of HTTP/2 with prefork, and of so few threads
my $good = '{"message":{"type":"hang"}}';
my $cases = 0;
my @malformed;

# ---- methods

for my $method (qw(GET HEAD PUT DELETE OPTIONS PATCH)) {
    my $got = $s->request($method, '/vapi');
    is("$got->{status} $got->{headers}{allow}", '405 POST', "$method: 405, which names POST");
    next if $method eq 'HEAD';
    like($got->{json}{error}, qr/\A[^\n]*POST[^\n]*\z/, 'with a hint of one line');
}
is($s->request('PUT', '/vapi', $good, $s->signed($good))->{status}, 405, 'a signature does not help');

# ---- sizes

my $full = padded($limit);
is(length $full, $limit, 'a body just as long as VapiBodyLimit');
is($s->signed_post('/small', $full)->{status}, 200, 'is read');
like(raw('/small', signed($full), chunked($full)), qr{\AHTTP/1\.1 200 }, 'in chunks, too');
my $long = padded($limit + 1);
like(raw('/small', signed($long) . 'Content-Length: ' . length($long) . "\r\n", ''), qr{\AHTTP/1\.1 413 .*Connection: (?:Upgrade, )?close}s, 'one byte more: 413, before a byte of it is read');
like(raw('/small', signed($long), sprintf("%x\r\n%s\r\n", length $long, $long)), qr{\AHTTP/1\.1 413 .*Connection: (?:Upgrade, )?close}s, 'in chunks: 413 at the cap, though more is to come');
like(raw('/small', signed($long) . "Content-Length: 99999999999999999999\r\n", ''), qr{\AHTTP/1\.1 (?:400|413) }, 'a length beyond all numbers');
$s->log_like(qr/:warn\] .*outcome=malformed .*VapiBodyLimit \(65536 bytes\)/, 'the log names the directive');
like(raw('/limited', signed($full), chunked($full)), qr{\AHTTP/1\.1 413 }, 'LimitRequestBody counts, too');
$s->allow_log(qr/core:error.*AH01588|http:error.*AH0158[78]|Requested content-length of|Read content-length of/);

# ---- types

my %type = (
    200 => [
        'application/json', 'application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'APPLICATION/JSON; Charset=Utf-8', 'application/json ; charset=utf8',
        'application/json; profile=x', 'application/json;',
    ],
    415 => [
        undef, '', 'text/plain', 'text/json', 'application/xml', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/jsonp', 'application/json-patch+json',
        'application/json; charset=iso-8859-1', 'application/json; charset=utf-16', 'application/json; charset=', 'application/json; charset=utf-8x', 'application/jso', 'json',
    ],
);
for my $status (sort keys %type) {
    for my $type (@{ $type{$status} }) {
        my $headers = signed($good) . 'Content-Length: ' . length($good) . "\r\n" . (defined $type ? "Content-Type: $type\r\n" : '');
        like(raw('/vapi', $headers, $good, defined $type ? {} : { type => '' }), qr{\AHTTP/1\.1 $status }, "$status for " . (defined $type ? "Content-Type: $type" : 'no Content-Type'));
    }
}
my $zipped = Compress::Zlib::memGzip($good);
my $large = padded($limit + 1, 'random');
my @encodings = (
    # name, path, Content-Encoding, sent, signed, status
    ['none at all', '/vapi', 'identity', $good, $good, 200],
    ['gzip, without mod_deflate', '/vapi', 'gzip', $zipped, $zipped, 415],
    ['brotli', '/vapi', 'br', 'x', 'x', 415],
    ['gzip, through mod_deflate', '/gzip', 'gzip', $zipped, $good, 200],
    ['what mod_deflate does not read', '/gzip', 'br', $good, $good, 415],
    ['more than VapiBodyLimit in a smaller gzip', '/gzip', 'gzip', Compress::Zlib::memGzip($large), $large, 413],
    ['a gzip that mod_deflate takes for a bomb', '/gzip', 'gzip', Compress::Zlib::memGzip($full), $full, 400],
    ['a gzip that is none', '/gzip', 'gzip', $good, $good, 400],
);
for (@encodings) {
    my ($name, $path, $encoding, $sent, $signed, $status) = @$_;
    is($s->post($path, $sent, { %{ $s->signed($signed) }, 'content-encoding' => $encoding })->{status}, $status, "$status for Content-Encoding: $name");
}
$s->allow_log(qr/deflate:warn.*AH02649|deflate:warn.*AH01387/);

# ---- Expect, and connections that are kept

my $head = "POST /vapi HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" . signed($good) . 'Content-Length: ' . length($good) . "\r\n";
my $socket = $s->socket;
print $socket "${head}Expect: 100-continue\r\n\r\n";
is(read_reply($socket), 100, 'Expect: 100-continue: the body is asked for');
print $socket $good;
is(read_reply($socket), 200, 'and answered');
print $socket "$head\r\n$good" x 2;
is(read_reply($socket) . read_reply($socket), '200200', 'the connection is kept, and two requests at once are answered in order');
print $socket $head =~ s/signature: ../signature: 00/r, "\r\n$good";
is(read_reply($socket), 401, 'after a body that was read a refusal keeps the connection');
print $socket "$head\r\n$good";
is(read_reply($socket), 200, 'and the next is answered');
$s->allow_log(qr/outcome=unauthorized reason=signature-wrong/);

# ---- broken and slow bodies

like(cut("${head}\r\n" . substr $good, 0, 9), qr{\AHTTP/1\.1 400 }, 'a body that ends too early: 400');
my $chunked = $head =~ s/Content-Length: \d+/Transfer-Encoding: chunked/r;
like(cut("$chunked\r\n5\r\nhello\r\nzz\r\n"), qr{\AHTTP/1\.1 400 }, 'a bad chunk: 400');
like(cut("$chunked\r\n5\r\nhello\r\n"), qr{\AHTTP/1\.1 400 }, 'no last chunk: 400');
$s->allow_log(qr/http:error|core:error/);
my $hurried = $head =~ s{/vapi}{/hurry}r;
my %slow = (
    'that stops' => sub { my ($to) = @_; print $to substr $good, 0, 9 },
    'that never begins' => sub { },
    'of a byte now and then' => sub { my ($to) = @_; for (1 .. 200) { last if IO::Select->new($to)->can_read(0.1); print $to ' ' } },
);
for (sort keys %slow) {
    my $slow = $s->socket;
    my $start = time;
    print $slow "$hurried\r\n";
    $slow{$_}->($slow);
    is(read_reply($slow), 408, "a body $_: 408");
    my $took = time - $start;
    # Without it that would be 60 s, or as long as bytes come.
    ok($took > 0.2 && $took < 15, 'as VapiBudget says, of which the POST would have kept half') or diag("it took $took s");
}

# ---- not JSON (T12)

my $bom = "\xef\xbb\xbf";
my $canary = 'echo-this-canary';
my %bad = (
    'an empty body' => '', 'a blank' => ' ', 'null' => 'null', 'a list' => '[]', 'a list with a message' => '[{"message":{"type":"hang"}}]', 'a string' => qq("$canary"), 'a number' => '1',
    'half an object' => qq({"message":{"type":"$canary"), 'no end' => '{"message":{"type":"hang"}', 'too many ends' => '{"message":{"type":"hang"}}}', 'words behind it' => "$good $canary",
    'two objects' => "$good$good", 'NUL behind it' => "$good\0", 'a byte order mark' => "$bom$good", 'UTF-16' => join('', map { "$_\0" } split //, $good),
    'a form' => "message=$canary", 'a comma too many' => '{"message":{"type":"hang",}}', 'a comment' => '{"message":{"type":"hang"}/**/}', 'single quotes' => "{'message':{}}",
    'a key without quotes' => '{message:{}}', 'a key without value' => '{"message"}',
    (map { ("the number $_" => qq({"message":{"type":"hang","x":$_}})) } qw(NaN Infinity -Infinity nan 01 +1 .5 1. 1e 0x10 --1 1_000), '- 1'),
    (map { ("the word $_" => qq({"message":{"type":"hang","x":$_}})) } qw(True FALSE nul undefined)),
    'lists in lists in lists' => '{"message":{"type":"hang","x":' . '[' x 5000 . ']' x 5000 . '}}', 'only opening brackets' => '{"message":{"x":' . '[' x 100_000,
    'objects in objects' => '{"message":{"x":' . '{"x":' x 5000 . '1' . '}' x 5002,
    'a million and one values' => '{"message":{"type":"hang","x":[' . '0,' x 1_000_000 . '0]}}', 'a million and one members' => '{"message":{"type":"hang","x":{' . '"k":0,' x 1_000_000 . '"k":0}}}',
    'a message of 2000 members' => '{"message":{"type":"hang"' . join('', map { qq(,"k$_":1) } 1 .. 2000) . '}}',
    'two messages' => '{"message":{"type":"hang"},"message":{"type":"hang"}}', 'two types' => '{"message":{"type":"hang","type":"hang"}}',
    'two types, one of them escaped' => '{"message":{"type":"hang","typ\u0065":"hang"}}', 'two call ids' => '{"message":{"type":"hang","call":{"id":"a","id":"b"}}}',
    'no message' => '{}', 'a message that is null' => '{"message":null}', 'a list as message' => '{"message":[]}', 'a string as message' => qq({"message":"$canary"}), 'a type beside no message' => '{"type":"tool-calls"}',
    (map { my ($what, $text) = @$_; ("$what in the type" => qq({"message":{"type":"h$text"}}), "$what in the call id" => qq({"message":{"type":"hang","call":{"id":"$text"}}})) }
        ['half a surrogate' => '\ud83d'], ['the wrong half' => '\ude00'], ['NUL' => 'a\u0000b'], ['invalid UTF-8' => "\xff\xfe"], ['an overlong slash' => "\xc0\xaf"],
        ['a surrogate in UTF-8' => "\xed\xa0\x80"], ['an escape that is none' => '\x'], ['a control character' => "\x01"]),
);
for my $name (sort keys %bad) {
    my $got = $s->signed_post('/vapi', $bad{$name}, headers => { 'x-case' => 'case-' . ++$cases });
    is("$got->{status} " . join(',', keys %{ $got->{json} || {} }), '400 error', "400 for $name");
    unlike($got->{body}, qr/$canary|\n/, 'and nothing of it comes back');
    push @malformed, "case-$cases";
}
$s->allow_log(qr/outcome=malformed an authenticated delivery cannot be read: (?:not JSON|not a JSON object|no message object|a string is not valid|a key stands twice|nested too deep|too many (?:values|members))$/);
is_deeply([map { noted($_) } @malformed], [map { 'outcome=malformed type=-' } @malformed], 'each is noted as malformed');
$s->log_like(qr/:warn\] .*outcome=malformed an authenticated delivery cannot be read: not JSON/, 'the log says why');

my $half = '\ud83d';
my %unread = (
    'half a surrogate' => qq("$half"), 'NUL' => '"\u0000"', 'invalid UTF-8' => qq("\xff"), 'a key twice' => '{"a":1,"a":2}', 'a huge integer' => '9' x 400, 'a huge exponent' => '1e99999', 'a list of 1000' => '[' . '0,' x 999 . '0]',
    'depth 150' => '[' x 150 . ']' x 150, 'an escaped key' => '{"\ud83d":1}', 'many members' => '{' . join(',', map { qq("k$_":1) } 1 .. 5000) . '}',
);
for my $name (sort keys %unread) {
    my $got = $s->signed_post('/vapi', qq({"message":{"type":"hang","artifact":{"x":$unread{$name}}}}));
    is("$got->{status} $got->{body}", '200 {}', "$name costs nothing where nobody reads it");
}

# ---- messages that only tell (T13)

my @told = (
    qw(conversation-update end-of-call-report hang speech-update status-update transfer-update user-interrupted assistant.started assistant.speechStarted language-changed language-change-detected
        model-output transcript transcript[transcriptType="final"] voice-input chat.created chat.deleted session.created session.updated session.deleted call.deleted call.delete.failed call.artifact.upload
        something-new TOOL-CALLS tool-calls-2), '', 'x' x 10_000, "line\nbreak", '<script>',
);
for my $type (@told) {
    my $got = $s->signed_post('/vapi', vapi_message($type));
    is("$got->{status} $got->{headers}{'content-type'} $got->{body}", '200 application/json {}', 'heard, and nothing else: ' . substr $type =~ s/\W/./gr, 0, 40);
}
for my $type ('null', '5', 'true', '{}', '["tool-calls"]') {
    my $got = $s->signed_post('/vapi', qq({"message":{"type":$type}}), headers => { 'x-case' => 'type-' . ++$cases });
    is("$got->{status} $got->{body} " . noted("type-$cases"), '200 {} outcome=ignored type=other', "a type that is $type");
}
is($s->signed_post('/vapi', '{"message":{}}')->{body}, '{}', 'no type at all');
my @asking = qw(knowledge-base-request voice-request call.endpointing.request campaign.predial phone-call-control);
for my $type (@asking) {
    is($s->signed_post('/vapi', vapi_message($type))->{body}, '{}', "$type is not served") for 1, 2;
    $s->log_like(qr/:warn\] .*this URL receives \Q$type\E, which mod_vapi_transfer does not serve/, 'which the log says');
}
$s->signed_post('/vapi', vapi_message('voice-request', assistant => { id => 'another-assistant' }));
$s->log_like(qr/assistant=another-assistant: this URL receives voice-request/, 'of another assistant, too');
my %warned;
$warned{$_}++ for map { /\[pid (\d+).* (assistant=\S+: this URL receives \S+),/ ? "$1 $2" : () } split /\n/, $s->log;
is_deeply([grep { $warned{$_} > 1 } keys %warned], [], 'once for each assistant and process');
is(scalar(grep { /assistant=another-assistant/ } keys %warned), 1, 'and for each kind');

# ---- HTTP/2

if ($has_h2 && grep { -x "$_/curl" } split /:/, $ENV{PATH}) {
    my $call = vapi_tool_call(id => 'call_1');
    $s->write_file('body', $call);
    my $curl = sub {
        my ($file, @headers) = @_;
        open my $out, '-|', 'curl', '-sS', '--noproxy', '*', '--max-time', '60', '--http2-prior-knowledge', '-w', ' %{http_version} %{http_code}', '-H', 'Content-Type: application/json',
            (map { ('-H', $_) } @headers), '--data-binary', "\@$file", $s->base . '/vapi' or die "curl: $!";
        local $/;
        return scalar <$out>;
    };
    my %headers = %{ $s->signed($call) };
    like($curl->($s->dir . '/body', map { "$_: $headers{$_}" } keys %headers), qr/\A\{"results":\[.*"call_1".*\} 2 200\z/, 'a tool call over HTTP/2');
    is($curl->($s->dir . '/body', 'X-Vapi-Signature: ' . '0' x 64), '{"error":"authentication failed"} 2 401', 'one with a wrong signature');
    $s->allow_log(qr/outcome=no-route/);

    # A stream has no socket whose time-out could be set.
    my %slow = (%{ $s->signed('{') }, 'Content-Type' => 'application/json', 'X-Case' => 'slow-stream');
    my $start = time;
    open my $body, '|-', 'curl', '-sS', '--noproxy', '*', '--max-time', '60', '--http2-prior-knowledge', '-o', '/dev/null', '-X', 'POST', '-T', '-',
        (map { ('-H', "$_: $slow{$_}") } keys %slow), $s->base . '/hurry' or die "curl: $!";
    syswrite $body, '{';
    is(noted('slow-stream'), 'outcome=malformed type=-', 'a body that does not go on coming over HTTP/2 is not waited for');
    cmp_ok(time - $start, '<', 15, 'longer than VapiBudget');
    close $body;
}
$s->no_canary($canary, $s->secret);
done_testing;

# A well-formed message of so many bytes.
sub padded {
    my ($size, $random) = @_;
    my $empty = '{"message":{"type":"hang","pad":""}}';
    return $empty =~ s/""/'"' . join('', map { $random ? chr 97 + rand 26 : 'x' } 1 .. $size - length $empty) . '"'/er;
}

# The header that signs it.
sub signed { my ($body) = @_; my %headers = %{ $s->signed($body) }; return join '', map { "$_: $headers{$_}\r\n" } keys %headers }

sub chunked { my ($body) = @_; return join('', map { sprintf "%x\r\n%s\r\n", length, $_ } $body =~ /(.{1,5000})/gs) . "0\r\n\r\n" }

# One request with these header lines and body bytes; without a length it says that chunks follow. The whole answer.
sub raw {
    my ($path, $headers, $bytes, $o) = @_;
    $headers .= "Content-Type: application/json\r\n" if $headers !~ /^content-type:/mi && !defined $o->{type};
    $headers .= "Transfer-Encoding: chunked\r\n" if $headers !~ /^content-length:/mi;
    return $s->raw("POST $path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n$headers\r\n$bytes");
}

# Sends this and nothing more ever. The whole answer.
sub cut {
    my ($bytes) = @_;
    my $to = $s->socket;
    local $SIG{PIPE} = 'IGNORE';
    print $to $bytes;
    $to->flush;
    shutdown $to, 1;
    local $/;
    return scalar <$to> // '';
}

# Reads one answer off a connection that stays. Its status.
sub read_reply {
    my ($from) = @_;
    my $answer = '';
    while ($answer !~ /\r\n\r\n/) {
        return 'nothing came' if !IO::Select->new($from)->can_read(30) || !sysread $from, $answer, 1, length $answer;
    }
    my ($length) = $answer =~ /^Content-Length: (\d+)/mi;
    my $body = '';
    while ($length && length $body < $length) { sysread $from, $body, $length - length $body, length $body or last }
    return $answer =~ m{\AHTTP/1\.1 (\d+)} ? $1 : $answer;
}

sub noted {
    my ($case) = @_;
    my $found;
    wait_until(sub { ($found) = slurp($s->dir . '/access_log') =~ /^\Q$case\E (.*)$/m }, 20);
    return $found;
}
