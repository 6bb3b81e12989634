# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Who may speak to an endpoint: every kind of credential over real HTTP, and what each kind of stranger gets.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha1 hmac_sha256 hmac_sha512 sha1);
use IO::Select;
use MIME::Base64 qw(encode_base64);
use POSIX qw(strftime);
use Time::HiRes qw(time);
use VapiTest;

my %digest = (sha1 => \&hmac_sha1, sha256 => \&hmac_sha256, sha512 => \&hmac_sha512);
my $file_secret = 'the-secret-that-nobody-may-see';
my $whsec = 'whsec_' . encode_base64('a key of standard webhooks', '');
my $log_format = 'LogFormat "%{x-case}i outcome=%{vapi-outcome}n reason=%{vapi-reason}n" vapi' . "\nCustomLog \@DIR\@/access_log vapi\n";
my $hmac = "hmac secret=file:\@DIR\@/vapi.secret";

# NAME => what follows `VapiCredential NAME`; each has an endpoint of its own at /NAME.
my %credential = (
    (map { my $algorithm = $_; map { ("$algorithm-$_" => "$hmac algorithm=$algorithm encoding=$_") } qw(hex base64) } keys %digest),
    default => $hmac,
    bodyonly => "$hmac preset=body-only",
    prefixed => "$hmac prefix=sha256= header=X-Hub-Signature-256 timestamp-header=none",
    narrow => "$hmac tolerance=10 timestamp-header=X-Sent header=X-Signed",
    id => "$hmac id-header=X-Message-Id payload=\"{svix-id}.{timestamp}.{body}\"",
    url => "$hmac timestamp-header=none payload=\"{method} {url} {body}\"",
    publicurl => "$hmac timestamp-header=none payload=\"{method} {url} {body}\" url=https://voice.example.com",
    publicpath => "$hmac timestamp-header=none payload=\"{method} {url} {body}\" url=https://voice.example.com/hook",
    binary => 'hmac secret=file:@DIR@/binary.secret secret-encoding=base64 timestamp-header=none',
    webhooks => 'hmac secret=file:@DIR@/whsec.secret preset=standard-webhooks',
    rotated => "hmac secret=file:\@DIR\@/new.secret secret=file:\@DIR\@/vapi.secret preset=body-only",
    env => 'hmac secret=env:VAPI_TEST_SECRET preset=body-only',
    exec => "hmac secret='exec:\@DIR\@/say-secret with words' preset=body-only",
    literal => 'hmac secret=a-literal-secret preset=body-only',
    bearer => 'bearer secret=file:@DIR@/vapi.secret',
    ownheader => 'bearer secret=file:@DIR@/vapi.secret header=X-Token',
    inline => 'bearer secret=file:@DIR@/vapi.secret header=X-Vapi-Secret prefix=none',
    rotatedbearer => "bearer secret=file:\@DIR\@/new.secret secret=file:\@DIR\@/vapi.secret",
);
my $conf = $log_format
    . join('', map { "VapiCredential $_ $credential{$_}\n" . endpoint("/$_", $_) } sort keys %credential)
    . endpoint('/several', 'bearer bodyonly default') . endpoint('/anybody', 'none')
    . <<'END';
VapiDestination front +14155550199
<Location "/moves">
    SetHandler vapi-transfer
    VapiAuthenticate default
    VapiRoute none result="nobody is there"
</Location>
<Location "/apache">
    SetHandler vapi-transfer
    VapiAuthenticate apache
    AuthType Basic
    AuthName "calls"
    AuthBasicProvider file
    AuthUserFile @DIR@/users
    Require valid-user
</Location>
<Location "/apache-without-require">
    SetHandler vapi-transfer
    VapiAuthenticate apache
</Location>
<Location "/apache-or-signed">
    SetHandler vapi-transfer
    VapiAuthenticate apache bodyonly
</Location>
DocumentRoot @DIR@/docs
<Directory "@DIR@/docs">
    AllowOverride FileInfo
</Directory>
<VirtualHost *:@PORT@>
    ServerName localhost:@PORT@
</VirtualHost>
<VirtualHost *:@PORT@>
    ServerName https://calls.example.com
</VirtualHost>
<VirtualHost *:@PORT@>
    ServerName http://ported.example.com:8080
</VirtualHost>
END

my $s = VapiTest->new(conf => $conf, modules => [qw(auth_basic authn_core authn_file authz_user)], environment => { VAPI_TEST_SECRET => 'from-the-environment', TZ => 'UTC' });
mkdir $s->dir . '/docs' or die;
$s->write_file('docs/.htaccess', "SetHandler vapi-transfer\n");
$s->write_file('new.secret', "the-secret-of-next-month\n", 0600);
$s->write_file('binary.secret', encode_base64("\x00\x01 binary \xff", '') . "\n", 0600);
$s->write_file('whsec.secret', "$whsec\n", 0600);
$s->write_file('say-secret', "#!/bin/sh\n[ \"\$1\" = with ] && echo from-a-program\necho and-a-second-line\n", 0755);
$s->write_file('users', 'anna:{SHA}' . encode_base64(sha1('pass'), '') . "\n");
$s->start;
$s->log_like(qr/VapiCredential: secret: stands in the configuration itself/, 'the start warns of a secret that stands in the configuration');
$s->log_like(qr/VapiAuthenticate: none: whoever reaches this URL can move calls/, 'and of an endpoint that asks nobody who he is');
$s->allow_log(qr/vapi: outcome=unauthorized reason=(?:signature-missing|signature-wrong|timestamp-stale sent=\S+ now=\d+|secret-wrong|no-user|not-configured) count=\d+ /);

my $body = vapi_message('hang');
my $cases = 0;
my $now = int time;

# ---- what is let in

for my $algorithm (sort keys %digest) {
    for my $encoding (qw(hex base64)) {
        my %how = (algorithm => $algorithm, encoding => $encoding);
        my %time = (seconds => $now, milliseconds => $now . '123', 'ISO 8601' => iso($now) . 'Z', 'ISO 8601 with an offset' => iso($now + 7200) . '.250+02:00');
        accepted("$algorithm in $encoding, time in $_", "/$algorithm-$encoding", stamped($time{$_}, %how)) for sort keys %time;
    }
}
accepted('preset=body-only', '/bodyonly', { 'x-vapi-signature' => signature($body) });
accepted('hex in capitals', '/bodyonly', { 'x-vapi-signature' => uc signature($body) });
accepted('a prefix and a header of one\'s own', '/prefixed', { 'x-hub-signature-256' => 'sha256=' . signature($body) });
{
    my $sent = int(time) - 2;
    accepted('a time inside tolerance=10', '/narrow', { 'x-sent' => $sent, 'x-signed' => signature("$sent.$body") });
}
accepted('an id that is signed, too', '/id', { 'x-timestamp' => $now, 'x-message-id' => 'msg_1', 'x-signature' => signature("msg_1.$now.$body") });
accepted('a base64 secret of any bytes', '/binary', { 'x-signature' => signature($body, secret => "\x00\x01 binary \xff") });
accepted('the older of two secrets', '/rotated', { 'x-vapi-signature' => signature($body) });
accepted('the newer of two secrets', '/rotated', { 'x-vapi-signature' => signature($body, secret => 'the-secret-of-next-month') });
accepted('secret=env:', '/env', { 'x-vapi-signature' => signature($body, secret => 'from-the-environment') });
accepted('secret=exec:, its first line', '/exec', { 'x-vapi-signature' => signature($body, secret => 'from-a-program') });
accepted('a literal secret', '/literal', { 'x-vapi-signature' => signature($body, secret => 'a-literal-secret') });

my $local = 'http://localhost:' . $s->port;
my @urls = (
    # name, path, what is signed as URL, Host header
    ['ServerName, port and query', '/url?a=1&b=%20', "$local/url?a=1&b=%20"],
    ['a Host header does not count', '/url', "$local/url", 'evil.example'],
    ['ServerName https://: no port but its own', '/url?x', 'https://calls.example.com/url?x', 'calls.example.com'],
    ['ServerName with a port', '/url', 'http://ported.example.com:8080/url', 'ported.example.com'],
    ['url= without a path gets the path of the request', '/publicurl?q=1', 'https://voice.example.com/publicurl?q=1'],
    ['url= with a path stands for itself', '/publicpath?q=1', 'https://voice.example.com/hook'],
);
for (@urls) {
    my ($name, $path, $url, $host) = @$_;
    accepted("{method} {url}: $name", $path, { 'x-signature' => signature("POST $url $body"), $host ? (host => $host) : () });
}
refused('{url} signed with the Host that was sent', '/url', { 'x-signature' => signature("POST http://evil.example/url $body"), host => 'evil.example' }, 'signature-wrong');
refused('{url} signed for another path', '/url?to=else', { 'x-signature' => signature("POST $local/url $body") }, 'signature-wrong');
refused('{method} signed as GET', '/url', { 'x-signature' => signature("GET $local/url $body") }, 'signature-wrong');

my %webhook = vapi_signature('standard-webhooks', $whsec, $body, id => 'msg_2');
my $other = 'v1,' . encode_base64(hmac_sha256('other', 'other'), '');
accepted('preset=standard-webhooks', '/webhooks', \%webhook);
accepted('one of several signatures', '/webhooks', { %webhook, 'webhook-signature' => "$other v1a,AAAA $webhook{'webhook-signature'}" });
refused('several signatures, none of them ours', '/webhooks', { %webhook, 'webhook-signature' => "$other $other" }, 'signature-wrong');
refused('only of another version', '/webhooks', { %webhook, 'webhook-signature' => $webhook{'webhook-signature'} =~ s/v1/v2/r }, 'signature-wrong');
refused('another id than was signed', '/webhooks', { %webhook, 'webhook-id' => 'msg_3' }, 'signature-wrong');
refused('no id', '/webhooks', { %webhook, 'webhook-id' => '' }, 'signature-wrong');
refused('another time than was signed', '/webhooks', { %webhook, 'webhook-timestamp' => $webhook{'webhook-timestamp'} + 1 }, 'signature-wrong');

accepted('Authorization: Bearer', '/bearer', { authorization => "Bearer $file_secret" });
accepted('Authorization: bearer, in small letters and with two blanks', '/bearer', { authorization => "bearer  $file_secret" });
accepted('a bearer in a header of its own', '/ownheader', { 'x-token' => "Bearer $file_secret" });
accepted('X-Vapi-Secret with prefix=none', '/inline', { 'x-vapi-secret' => $file_secret });
accepted('the older of two bearers', '/rotatedbearer', { authorization => "Bearer $file_secret" });
accepted('the newer of two bearers', '/rotatedbearer', { authorization => 'Bearer the-secret-of-next-month' });
refused("a bearer: $_->[0]", "/$_->[1]", $_->[2], 'secret-wrong') for (
    ['absent', 'bearer', {}],
    ['empty', 'bearer', { authorization => '' }],
    ['the scheme alone', 'bearer', { authorization => 'Bearer' }],
    ['the scheme and a blank', 'bearer', { authorization => 'Bearer ' }],
    ['without the scheme', 'bearer', { authorization => $file_secret }],
    ['wrong', 'bearer', { authorization => 'Bearer something' }],
    ['cut short', 'bearer', { authorization => 'Bearer ' . substr $file_secret, 0, -1 }],
    ['too long', 'bearer', { authorization => "Bearer ${file_secret}x" }],
    ['very long', 'bearer', { authorization => 'Bearer ' . 'x' x 7000 }],
    ['twice', 'bearer', { authorization => ["Bearer $file_secret", "Bearer $file_secret"] }],
    ['in another header', 'ownheader', { authorization => "Bearer $file_secret" }],
    ['empty X-Vapi-Secret', 'inline', { 'x-vapi-secret' => '' }],
    ['X-Vapi-Secret with a scheme', 'inline', { 'x-vapi-secret' => "Bearer $file_secret" }],
    ['neither of two', 'rotatedbearer', { authorization => 'Bearer something' }],
);

# ---- several credentials in one line: any will do, and the refusal that got furthest is told

accepted('several: the first', '/several', { authorization => "Bearer $file_secret" });
accepted('several: the second', '/several', { 'x-vapi-signature' => signature($body) });
accepted('several: the third', '/several', stamped($now));
accepted('several: one right, the others wrong', '/several', { authorization => 'Bearer x', 'x-vapi-signature' => 'zz', %{ stamped($now) } });
refused('several: none right', '/several', { authorization => 'Bearer x', 'x-vapi-signature' => signature('other') }, 'signature-wrong');
refused('several: all wrong, one only stale', '/several', { authorization => 'Bearer x', %{ stamped($now - 900) } }, 'timestamp-stale');
accepted('VapiAuthenticate none: anybody', '/anybody', {});

# ---- signatures of a wrong form (T1-T3) and times that do not hold (T4)

my $right = signature("$now.$body");
refused("a signature $_->[0]", '/default', { 'x-timestamp' => $now, 'x-signature' => $_->[1] }, $_->[2] // 'signature-wrong') for (
    ['that is absent', undef, 'signature-missing'],
    ['that is empty', '', 'signature-missing'],
    ['of blanks', '   ', 'signature-missing'],
    ['of another body', signature("$now.other")],
    ['with another secret', signature("$now.$body", secret => 'other')],
    ['of the body alone', signature($body)],
    ['of another algorithm', signature("$now.$body", algorithm => 'sha512')],
    ['in base64 for hex', signature("$now.$body", encoding => 'base64')],
    ['cut short', substr $right, 0, 40],
    ['of an odd length', substr $right, 0, 63],
    ['too long', "${right}00"],
    ['of 7 KB', $right x 110],
    ['that is no hex', 'z' x 64],
    ['with a prefix', "sha256=$right"],
    ['that stands there twice', [$right, $right]],
    ['with a second one behind a comma', "$right,$right"],
    ['with a second one behind a blank', "$right $right"],
    ['in UTF-8', "\xc3\xa4" x 32],
);
refused('no prefix where one is due', '/prefixed', { 'x-hub-signature-256' => signature($body) }, 'signature-wrong');
refused('the prefix alone', '/prefixed', { 'x-hub-signature-256' => 'sha256=' }, 'signature-wrong');
refused('hex for base64', '/sha256-base64', stamped($now), 'signature-wrong');
refused('an id that is not the signed one', '/id', { 'x-timestamp' => $now, 'x-message-id' => 'msg_2', 'x-signature' => signature("msg_1.$now.$body") }, 'signature-wrong');
refused('no id where one is signed', '/id', { 'x-timestamp' => $now, 'x-signature' => signature(".$now.$body") }, 'signature-wrong');
refused('neither of two secrets', '/rotated', { 'x-vapi-signature' => signature($body, secret => 'x') }, 'signature-wrong');
refused('exec: not its second line', '/exec', { 'x-vapi-signature' => signature($body, secret => 'and-a-second-line') }, 'signature-wrong');
refused("a time that is $_->[0]", '/default', stamped($_->[1]), 'timestamp-stale') for (
    ['absent', undef], ['empty', ''], ['stale', $now - 320], ['stale, in milliseconds', ($now - 320) . '000'], ['stale, in ISO 8601', iso($now - 320) . 'Z'],
    ['in the future', $now + 3600], ['text', 'yesterday'], ['negative', -$now], ['with a sign', "+$now"], ['a fraction', "$now.5"], ['hexadecimal', '0x7fffffff'],
    ['beyond 64 bits', '99999999999999999999999999'], ['in microseconds', $now . '000000'], ['ISO 8601 without an offset', iso($now)],
    ['a day that no month has', '2026-02-31T00:00:00Z'], ['zero', 0], ['followed by more', "$now x"],
);
refused('the time twice', '/default', { 'x-timestamp' => [$now, $now], 'x-signature' => $right }, 'timestamp-stale');
refused('outside tolerance=10', '/narrow', { 'x-sent' => $now - 60, 'x-signed' => signature($now - 60 . ".$body") }, 'timestamp-stale');

# ---- the answer tells nothing, and costs nothing

my $reply = post('/default', $body, { 'x-timestamp' => $now, 'x-signature' => signature('x') });
is($reply->{body}, '{"error":"authentication failed"}', 'the refusal has no detail');
is($reply->{headers}{'content-type'}, 'application/json', 'and is JSON');
is($reply->{headers}{'www-authenticate'}, 'Vapi', 'and says so in the way of HTTP');
refused('a body that is no JSON is not looked at', '/default', { 'x-timestamp' => $now, 'x-signature' => signature('x') }, 'signature-wrong', '{');
refused('nor its type', '/default', { 'content-type' => 'text/plain' }, 'signature-missing', 'x');

my %early = (
    'no signature' => ['/default', "X-Timestamp: $now"],
    'an empty signature' => ['/default', "X-Timestamp: $now\r\nX-Signature:"],
    'a signature of a wrong form' => ['/default', "X-Timestamp: $now\r\nX-Signature: 00"],
    'a stale time' => ['/default', 'X-Timestamp: ' . ($now - 999) . "\r\nX-Signature: $right"],
    'no time' => ['/default', "X-Signature: $right"],
    'no id' => ['/id', "X-Timestamp: $now\r\nX-Signature: $right"],
    'a wrong bearer' => ['/bearer', 'Authorization: Bearer x'],
    'none of several' => ['/several', "X-Vapi-Signature: 00\r\nX-Timestamp: $now"],
    'no user for apache' => ['/apache-without-require', 'X-Nothing: here'],
);
for (sort keys %early) {
    my ($path, $headers) = @{ $early{$_} };
    for my $more ('', "\r\nExpect: 100-continue") {
        my $start = time;
        my $answer = $s->raw("POST $path HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n$headers$more\r\n\r\n");
        like($answer, qr{\AHTTP/1\.1 401 .*\r\nConnection: close\r\n.*authentication failed}s, "refused by its headers alone, no byte of the body sent: $_" . ($more && ', with Expect'));
        cmp_ok(time - $start, '<', 20, 'at once');
    }
}
my $socket = $s->socket;
print $socket "POST /default HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\nX-Timestamp: $now\r\nX-Signature: $right\r\n\r\n";
ok(!IO::Select->new($socket)->can_read(0.3), 'a signature of the right form waits for the body');
print $socket '{}';
like(do { local $/; <$socket> }, qr{\AHTTP/1\.1 401 }, 'and is then refused');

# ---- apache: a user whom this location's Require demanded

my $anna = { authorization => 'Basic ' . encode_base64('anna:pass', '') };
accepted('apache: with a user', '/apache', $anna);
is(post('/apache', $body, {})->{status}, 401, 'apache: without one');
is(post('/apache', $body, { authorization => 'Basic ' . encode_base64('anna:wrong', '') })->{status}, 401, 'apache: with a wrong password');
$s->allow_log(qr/AH01617: user anna: authentication failure/);
refused('apache: no Require demands a user', '/apache-without-require', $anna, 'no-user');
accepted('apache or a signature: a signature', '/apache-or-signed', { 'x-vapi-signature' => signature($body) });
refused('apache or a signature: neither', '/apache-or-signed', $anna, 'signature-missing');

# ---- no VapiAuthenticate, where the start cannot see it

refused('SetHandler in .htaccess without VapiAuthenticate', '/x', { 'x-vapi-signature' => signature($body) }, 'not-configured');
$s->log_like(qr/:error\] .*vapi: no VapiAuthenticate is in force here: every delivery is refused/, 'which is an error in the log');

# ---- replays (T5): the stored answer, nothing again

my $call = vapi_tool_call(id => 'call_1');
my $signed = { 'x-timestamp' => $now, 'x-signature' => signature("$now.$call") };
my @replies = map { post('/moves', $call, { %$signed, 'x-case' => $_ }) } qw(first again);
is_deeply($replies[0]{json}{results}[0]{result}, 'nobody is there', 'a signed tool call is answered');
is_deeply($replies[1]{json}, $replies[0]{json}, 'replayed inside the window: the same answer');
is(noted('again'), 'outcome=duplicate reason=-', 'and it is noted as seen before');
$s->allow_log(qr/came again with other arguments/);
my $changed = vapi_tool_call(id => 'call_1', call => JSON::PP->new->decode($call)->{message}{call}{id}, args => { department => 'x' });
is_deeply(post('/moves', $changed, { 'x-timestamp' => $now, 'x-signature' => signature("$now.$changed") })->{json}, $replies[0]{json},
    'the same id with other arguments: the stored answer');
$s->log_like(qr/a tool call came again with other arguments/, 'and a warning');

# ---- the log

my %lines;
for (split /\n/, $s->log) {
    my ($hours, $minutes, $seconds, $reason) = /^\[\w+ \w+ +\d+ (\d+):(\d+):([\d.]+) .* vapi: outcome=unauthorized reason=(\S+)/ or next;
    push @{ $lines{$reason} }, 3600 * $hours + 60 * $minutes + $seconds;
}
is(join(' ', sort keys %lines), 'no-user not-configured secret-wrong signature-missing signature-wrong timestamp-stale', 'each reason to refuse stands in the log');
for my $reason (sort keys %lines) {
    my @at = @{ $lines{$reason} };
    is(scalar(grep { my $pause = $at[$_] - $at[$_ - 1]; $pause >= 0 && $pause < 59 } 1 .. $#at), 0, "... once in a minute: $reason");
}
$s->log_like(qr/:warn\] .*\[client 127\.0\.0\.1:\d+\] vapi: outcome=unauthorized reason=signature-wrong/, 'with where it came from');
$s->log_like(qr/reason=timestamp-stale sent=(?:-|\d+) now=\d{10} count=1 /, 'of a stale time with both clocks');
$s->no_canary($file_secret, 'the-secret-of-next-month', 'from-the-environment', 'a-literal-secret', $right, 'Bearer x', $whsec);
$s->stop;

# ---- a user that something else than Require has found

my $tls = VapiTest->new(tls => 1, modules => ['authz_user'], conf => $log_format . join '', map {
    my ($path, $require) = @$_;
    "<Location \"$path\">\nSetHandler vapi-transfer\nVapiAuthenticate apache\nSSLUserName SSL_PROTOCOL\n$require</Location>\n"
} ['/named', ''], ['/open', "Require all granted\n"], ['/demanded', "Require valid-user\n"]);
$tls->start;
$tls->allow_log(qr/outcome=unauthorized reason=no-user/, qr/AH01873: Init: Session Cache is not configured/);
is($tls->post('/named', $body)->{status}, 401, 'apache: a user whom nobody demanded is none');
is($tls->post('/open', $body)->{status}, 401, 'nor is one where everybody is let in');
is($tls->post('/demanded', $body)->{status}, 200, 'the same user, demanded by Require, is one');
$tls->stop;

# ---- starts that fail

my %refused = (
    'a file that is empty' => ['VapiCredential c hmac secret=file:@DIR@/empty', qr/VapiCredential: secret: .*empty/],
    'a file that is not there' => ['VapiCredential c hmac secret=file:@DIR@/nothing', qr/VapiCredential: secret: /],
    'a variable that is not set' => ['VapiCredential c hmac secret=env:VAPI_NOT_THERE', qr/VapiCredential: secret: /],
    'a program that fails' => ['VapiCredential c bearer secret=exec:/bin/false', qr/VapiCredential: secret: /],
    'a program without a path' => ['VapiCredential c bearer secret=exec:false', qr/VapiCredential: secret: /],
    'an empty literal' => ['VapiCredential c hmac secret=', qr/VapiCredential: secret: .*empty/],
    'no secret' => ['VapiCredential c hmac', qr/VapiCredential: secret= is missing/],
    'an endpoint without VapiAuthenticate' => ["<Location /x>\nSetHandler vapi-transfer\n</Location>", qr/VapiAuthenticate is missing/],
    'a credential that is not there' => ["<Location /x>\nSetHandler vapi-transfer\nVapiAuthenticate prod\n</Location>", qr/there is no VapiCredential 'prod'/],
);
configtest_fails($refused{$_}[0], $refused{$_}[1], "refused: $_", files => { empty => "\n" }) for sort keys %refused;
done_testing;

sub endpoint { my ($path, $who) = @_; return "<Location \"$path\">\nSetHandler vapi-transfer\nVapiAuthenticate $who\n</Location>\n" }

sub iso { return strftime('%Y-%m-%dT%H:%M:%S', gmtime shift) }

# What Vapi computes, written anew: nothing of it is the module's.
sub signature {
    my ($signed, %how) = @_;
    my $bytes = $digest{ $how{algorithm} // 'sha256' }->($signed, $how{secret} // $file_secret);
    return ($how{encoding} // 'hex') eq 'hex' ? unpack 'H*', $bytes : encode_base64($bytes, '');
}

# The headers of Vapi's default plan, signed at that time.
sub stamped {
    my ($time, %how) = @_;
    my $signed = ($time // '') . ".$body";
    return { defined $time ? ('x-timestamp' => $time) : (), 'x-signature' => signature($signed, %how) };
}

# Header for header as given: a list is a header that stands there several times.
sub post {
    my ($path, $sent, $headers) = @_;
    my %all = (host => 'localhost:' . $s->port, 'content-type' => 'application/json', 'content-length' => length $sent, connection => 'close', %$headers);
    my $head = join '', map { my $name = $_; map { "$name: $_\r\n" } ref $all{$name} ? @{ $all{$name} } : $all{$name} } grep { defined $all{$_} } sort keys %all;
    my ($status, $answered, $answer) = $s->raw("POST $path HTTP/1.1\r\n$head\r\n$sent") =~ m{\AHTTP/1\.1 (\d+)[^\r]*\r\n(.*?)\r\n\r\n(.*)}s;
    return {
        status => $status, body => $answer, json => scalar eval { JSON::PP->new->utf8->decode($answer) },
        headers => { map { my ($name, $value) = split /: /, $_, 2; (lc $name => $value) } split /\r\n/, $answered },
    };
}

# What the request notes say of the request with this X-Case.
sub noted {
    my ($case) = @_;
    my $found;
    wait_until(sub { ($found) = slurp($s->dir . '/access_log') =~ /^\Q$case\E (.*)$/m }, 20);
    return $found;
}

sub accepted {
    my ($name, $path, $headers) = @_;
    my $reply = post($path, $body, $headers);
    return is("$reply->{status} $reply->{body}", '200 {}', "let in: $name");
}

sub refused {
    my ($name, $path, $headers, $reason, $sent) = @_;
    my $case = 'case-' . ++$cases;
    my $reply = post($path, $sent // $body, { %$headers, 'x-case' => $case });
    return is("$reply->{status} " . (noted($case) // 'not noted'), "401 outcome=unauthorized reason=$reason", "kept out: $name");
}
