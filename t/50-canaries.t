# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Nothing of a caller, no secret and no control URL in any log, whatever goes wrong. Every path is walked with LogLevel trace8; then all
# that Apache wrote is searched: error log with standard output and error, access log with every note, whatever lies in its directory.
use strict;
use warnings;
use VapiTest;

# The last four digits of a number may be shown, what stands before them may not.
my %canary = (
    caller => '+49308877669911', caller_digits => '4930887766', called => '+49891122334455', called_digits => '8911223344', argument_number => '+447700900461', argument_digits => '7700900',
    runtime => '+33612345678901', runtime_digits => '3361234567', argument_name => 'CanaryArgumentName', argument => 'CanaryArgumentValue', said => 'CanaryTurnOfTheCaller',
    last => 'CanaryLastSaid', customer => 'CanaryCustomerName', prompt => 'CanarySystemPrompt', control => 'CanaryControlPath', listen => 'CanaryListenPath',
    sip => 'canary-sip-user', answer => 'CanaryOfAnAnswer', file => 'CanaryFileName', hmac => 'CanaryHmacSecret', bearer => 'CanaryBearerSecret', plain => 'CanaryPlainSecret',
    webhooks => 'Y2FuYXJ5LW9mLXdlYmhvb2tz', token => 'CanaryControlToken', key => 'CanaryApiKey', program => 'CanaryOfAProgram', wrong_bearer => 'CanaryWrongBearer',
    body => 'CanaryMalformedBody', dumped => 'CanaryDumpedSecret',
);

my $control = VapiControl->new;
my $closed = free_port();
my $conf = <<"END";
CustomLog "\@DIR\@/access_log" "%h %r %>s %{vapi-call}n %{vapi-type}n %{vapi-tool}n %{vapi-route}n %{vapi-destination}n %{vapi-member}n %{vapi-attempt}n %{vapi-outcome}n %{vapi-reason}n %{vapi-control-status}n %{vapi-control-ms}n %{vapi-lookup-ms}n"
VapiCredential hmac      hmac secret=file:\@DIR\@/hmac.secret preset=body-only
VapiCredential timed     hmac secret=$canary{hmac}
VapiCredential webhooks  hmac secret=whsec_$canary{webhooks} preset=standard-webhooks
VapiCredential bearer    bearer secret=env:CANARY_BEARER
VapiCredential plain     bearer secret=exec:\@DIR\@/program header=X-Vapi-Secret prefix=none
VapiTransferPlan brief   warm-transfer-experimental message="%{VAPI_CALLER} %{VAPI_LAST_SAID}" summary=Two summary-user="%{VAPI_TRANSCRIPT}"
VapiDestination billing  +14155550100 say="%{VAPI_CALLER} asks: %{VAPI_LAST_SAID} %{arg:$canary{argument_name}}" plan=brief caller-id=%{VAPI_CALLER}
VapiDestination sip      sip:$canary{sip}\@pbx.example.com sip-header="X-Said: %{VAPI_LAST_SAID}"
VapiDestination triage   assistant:Triage say="%{VAPI_TRANSCRIPT}"
VapiDestination asked    "%{arg:number}" from-caller=on
VapiDestination file     "%{arg:number}" from-caller=on caller-id=%{VAPI_TRANSCRIPT}
VapiAllow +49 pbx.example.com
VapiLogNumbers masked
VapiControlToken env:CANARY_TOKEN
VapiControlTimeout 400ms
VapiAuthenticate hmac timed webhooks bearer plain
VapiTool transferCall
VapiRoute none "arg('go') == 'none'" result="%{arg:$canary{argument_name}} %{VAPI_LAST_SAID}"
VapiRoute none "-n arg('path') && file(arg('path')) == 'x'" name=reads
VapiRoute none "arg('$canary{argument_name}') =~ /^x(.*)\$/"
VapiRoute asked "arg('go') == 'asked'"
VapiRoute sip "arg('go') == 'sip'"
VapiRoute triage "arg('go') == 'triage'"
VapiRoute file "arg('go') == 'file'"
VapiRoute billing "arg('go') == 'billing'"
END
my %more = (
    transfer => '', limited => 'VapiLimit call=1 caller=1/3600', none => 'VapiLogNumbers none', full => 'VapiLogNumbers full',
    broken => "VapiControlHosts http://127.0.0.1:$closed 127.0.0.1:" . $control->port, foreign => 'VapiControlHosts *.vapi.ai', private => 'VapiControlAllowPrivate off', ask => 'VapiApiKey env:CANARY_KEY url=' . $control->base . '/ask',
    said => 'VapiFailureSay "%{VAPI_CALLER} %{VAPI_LAST_SAID}"',
    params => "VapiTool transferCall\nVapiParam $canary{argument_name} integer required\nVapiParam go string enum=billing,sip",
    small => 'VapiBodyLimit 2048',
);
for my $name (sort keys %more) {
    $conf .= "<Location \"/$name\">\nSetHandler vapi-transfer\n" . $control->conf . "VapiSettle 0\n$more{$name}\n</Location>\n";
}

my $s = VapiTest->new(
    log_level => 'trace8', conf => $conf, modules => ['env'],
    environment => { CANARY_BEARER => $canary{bearer}, CANARY_TOKEN => $canary{token}, CANARY_KEY => $canary{key} },
    files => {
        'hmac.secret' => ["$canary{hmac}\n", 0600],
        'program' => ["#!/bin/sh\n{ env; echo \"\$0 \$*\"; } > \"\${0%/*}/seen-by-program\"\necho $canary{program}\n", 0700],
    },
);
$s->allow_log(qr/stands in the configuration itself|VapiRoute: the table has no last route|VapiLogNumbers: full|VapiApiKey: url=http|needs summary/, qr/vapi: call=/, qr/never reached/);
$s->allow_log(qr/vapi: outcome=(?:malformed|unauthorized)/, qr/core:trace|:(?:trace\d|debug)\]/);
$s->start;
is(scalar(grep { /[A-Z]{4}/ && /$canary{hmac}|$canary{webhooks}|$canary{program}/ } split /\n/, slurp($s->dir . '/seen-by-program')), 0,
    'a program that gives a secret is told of no other');
$s->{own}{ $s->dir . '/seen-by-program' } = 1;    # Apache's own environment, where env: secrets are, is the program's too

my $count = 0;
my %outcomes;

# Sends one tool call; checks what the log says came of it.
sub tool_call {
    my ($name, $expected, %o) = @_;
    my $call = $o{call} // 'call-' . ++$count;
    my $body = body($call, %o);
    my $reply = $s->signed_post($o{at} // '/transfer', $body, secret => $canary{hmac}, %{ $o{sign} || {} });
    is($reply->{status}, 200, "$name: 200");
    $s->log_like(qr/call=$call .*outcome=$expected/, "$name: $expected");
    $outcomes{ $expected =~ s/ .*//r }++;
    return ($call, $body, $reply);
}

sub body {
    my ($call, %o) = @_;
    my $monitor = { listenUrl => "wss://listen.example.com/$canary{listen}/listen", defined $o{control} ? (controlUrl => $o{control}) : () };
    $monitor->{controlUrl} = $control->url($canary{control}, $o{vapi}) if !exists $o{control};
    return vapi_tool_call(
        call => $call, caller => $o{caller} // $canary{caller}, called => $canary{called}, said => [$canary{said}, $canary{last}],
        assistant => { model => { provider => 'openai', messages => [{ role => 'system', content => $canary{prompt} }] } }, async => $o{async}, name => $o{name}, id => $o{id},
        args => $o{args_text} // { go => $o{go} // 'billing', $canary{argument_name} => $canary{argument}, number => $canary{argument_number}, %{ $o{args} || {} } },
        args_as => $o{args_as}, call_fields => { monitor => $monitor, customer => { number => $o{caller} // $canary{caller}, name => $canary{customer} } },
        call_type => $o{call_type}, provider => $o{provider}, fields => $o{fields},
    );
}

# ---- decided, sent, answered

my $answer = { status => 400, body => qq({"statusCode":400,"message":"$canary{answer}","error":"$canary{answer}"}), headers => { 'x-canary' => $canary{answer} } };
my ($call, $first) = tool_call('transferred', 'transferred');
is($s->signed_post('/transfer', $first, secret => $canary{hmac})->{status}, 200, 'delivered again');
$s->log_like(qr/call=$call .*outcome=duplicate/, 'a duplicate');
(my $other = $first) =~ s/$canary{argument}/another-$canary{argument}/g;
$s->signed_post('/transfer', $other, secret => $canary{hmac});
$s->log_like(qr/call=$call .*with other arguments/, 'again with other arguments');
tool_call('to a SIP URI', 'transferred', go => 'sip');
tool_call('to an assistant', 'handed-off', go => 'triage');
tool_call('a number that may be dialled', 'transferred', go => 'asked', args => { number => $canary{caller} });
tool_call('a number that may not be dialled', 'no-route reason=not-allowed', go => 'asked', args => { number => $canary{runtime} });
tool_call('a SIP URI that may not be dialled', 'no-route reason=not-allowed', go => 'asked', args => { number => "sip:$canary{sip}\@evil.example.com" });
tool_call('what is no number', 'no-route reason=not-allowed', go => 'asked', args => { number => $canary{argument} });
tool_call("a destination's text that fails", 'no-route reason=bad-argument', go => 'file', args => { number => $canary{caller} });
tool_call('answered by none', 'answered', go => 'none');
tool_call('no route', 'no-route', go => 'nowhere');
tool_call('an expression that fails', 'no-route', go => 'nowhere', args => { path => "/nowhere/$canary{file}" });
$s->log_like(qr/an expression of the table failed: \S+httpd\.conf:\d+: VapiRoute reads$/m, 'which names its place');
tool_call('a caller with a SIP URI', 'transferred', go => 'sip', caller => "sip:$canary{sip}\@pbx.example.com");
tool_call('an unknown caller', 'transferred', go => 'sip', caller => $canary{customer});
tool_call('another provider', 'transferred', provider => 'vonage');
tool_call('no telephone call', 'no-route reason=wrong-transport', call_type => 'webCall');
tool_call('another tool', 'no-route reason=bad-argument', name => 'hangUp');
tool_call('a tool with a name that is none', 'no-route reason=bad-argument', name => "$canary{argument} name");
tool_call('up to the limit', 'transferred', at => '/limited');
tool_call('over the limit', 'limited', at => '/limited');

# ---- what the control API does

tool_call("Vapi: $_->[0]", $_->[1], vapi => $_->[0], async => 1, at => '/said') for (
    ['status=400', 'refused'], ['status=401', 'failed'], ['status=404', 'failed reason=call-gone'], ['status=409', 'failed'], ['redirect', 'failed'], ['status=500', 'failed'],
    ['status=429,retry-after=0', 'failed reason=limited'], ['status=503', 'unknown'], ['body=error', 'refused'], ['body=html', 'transferred'], ['garbage', 'unknown'], ['reset', 'unknown'],
    ['silent', 'unknown'], ['hang', 'unknown reason=timeout'], ['truncate', ''], ['huge=200000', 'transferred'],
);
$control->script($answer);
tool_call('Vapi: an answer with much in it', 'refused');
for (
    ['nobody listens', '/broken', "http://127.0.0.1:$closed/$canary{control}/control", 'failed reason=timeout'], ['no TLS', '/broken', 'https://127.0.0.1:' . $control->port . "/$canary{control}", 'failed reason=timeout'],
    ['another port', '/transfer', "http://127.0.0.1:$closed/$canary{control}/control", 'failed reason=not-allowed'], ['another host', '/foreign', "https://evil.example.com/$canary{control}", 'failed reason=not-allowed'],
    ['a user in it', '/foreign', "https://$canary{control}:x\@api.vapi.ai/x", 'failed reason=not-allowed'], ['a private address', '/private', $control->url($canary{control}), 'failed reason=not-allowed'],
    ['no URL', '/foreign', " $canary{control} ", 'failed reason=not-allowed'], ['a query', '/foreign', "https://api.vapi.ai/$canary{control}?x=$canary{control}", 'failed reason=not-allowed'],
    ['none at all', '/transfer', undef, 'failed reason=no-control-url'], ['one asked for', '/ask', undef, 'transferred'],
) { tool_call("control URL: $_->[0]", $_->[3], at => $_->[1], control => $_->[2], async => 1) }
$control->script({ status => 401, body => qq({"error":"$canary{answer}"}) });
tool_call('control URL: refused to tell', 'failed reason=no-control-url', at => '/ask', control => undef);
is(scalar(grep { ($_->{headers}{authorization} // '') =~ /$canary{key}/ } $control->requests) > 0, 1, 'the API key was sent');
is(scalar(grep { ($_->{headers}{authorization} // '') =~ /$canary{token}/ } $control->requests) > 0, 1, 'the control token was sent');

# ---- arguments

tool_call('an argument of a wrong type', 'no-route reason=bad-argument', at => '/params');
tool_call('an argument that is missing', 'no-route reason=bad-argument', at => '/params', args_text => { go => 'billing', "x$canary{argument_name}" => 1 });
tool_call('an argument that is none of its choices', 'no-route reason=bad-argument', at => '/params', args_text => { go => $canary{argument}, $canary{argument_name} => 3 });
tool_call('arguments that cannot be read', 'no-route reason=bad-argument', args_text => "{\"$canary{argument_name}\":$canary{argument}");
tool_call('an argument that is too long', 'no-route reason=bad-argument', args => { long => $canary{argument} x 500 });

# ---- numbers

my ($shown) = tool_call('numbers masked', 'transferred');
$s->log_like(qr/call=$shown .* caller=\S*9911 to=\S*0100/, 'masked: their last four digits');
($shown) = tool_call('numbers: none', 'transferred', at => '/none');
$s->log_like(qr/call=$shown .* caller=- to=-/, 'none: nothing');
$s->log_unlike(qr/call=$shown .*(?:9911|0100)/, 'not even the last digits');

# ---- other messages

for my $type (qw(transfer-destination-request handoff-destination-request assistant-request status-update end-of-call-report conversation-update phone-call-control), $canary{argument}) {
    my $body = vapi_message(
        $type, call => 'other-' . ++$count, caller => $canary{caller}, called => $canary{called}, said => [$canary{said}, $canary{last}], control => $control->url($canary{control}),
        fields => { functionCall => { name => 'transferCall', parameters => { go => 'billing', $canary{argument_name} => $canary{argument} } }, status => $canary{argument}, transcript => $canary{said} },
    );
    is($s->signed_post('/transfer', $body, secret => $canary{hmac})->{status}, 200, "$type: 200");
}

# ---- who are you?

my %signed = (
    timed => { scheme => 'timestamp', secret => $canary{hmac} }, webhooks => { scheme => 'standard-webhooks', secret => "whsec_$canary{webhooks}" },
    bearer => { scheme => 'bearer', secret => $canary{bearer} },
);
tool_call("by $_", 'transferred', sign => $signed{$_}) for sort keys %signed;
my $plain = body('by-plain');
is($s->post('/transfer', $plain, { 'x-vapi-secret' => $canary{program} })->{status}, 200, 'by a secret in a header: 200');
my %refused = (
    'no header' => {}, 'a wrong signature' => { 'x-vapi-signature' => '0' x 64 }, 'a signature of a wrong form' => { 'x-vapi-signature' => 'short' },
    'a stale time' => { vapi_signature('timestamp', $canary{hmac}, $plain, now => time - 3600) }, 'a wrong secret' => { vapi_signature('timestamp', 'wrong', $plain) },
    'a wrong webhook' => { vapi_signature('standard-webhooks', 'whsec_d3Jvbmc=', $plain) }, 'a wrong bearer' => { authorization => "Bearer $canary{wrong_bearer}" },
    'half a bearer' => { authorization => 'Bearer ' . substr $canary{bearer}, 0, 12 }, 'a bearer and more' => { authorization => "Bearer $canary{bearer}$canary{bearer}" },
    'a bearer without its scheme' => { authorization => $canary{bearer} }, 'a wrong secret in a header' => { 'x-vapi-secret' => $canary{wrong_bearer} },
    'an empty secret' => { 'x-vapi-secret' => '' },
);
is($s->post('/transfer', $plain, $refused{$_})->{status}, 401, "$_: 401") for sort keys %refused;
is($s->request('GET', '/transfer', undef, { authorization => "Bearer $canary{bearer}", 'x-vapi-secret' => $canary{program} })->{status}, 405, 'GET with a secret: 405');

# ---- what cannot be read

my %malformed = (
    'cut off' => substr($plain, 0, 700), 'cut off early' => '{"message":{"type":"tool-calls","x":"' . $canary{body}, 'no JSON' => $canary{body}, 'a key twice' => qq({"message":{"$canary{body}":1,"$canary{body}":2,"type":"x","type":"y"}}),
    'no message' => qq({"$canary{body}":"$canary{body}"}), 'a list' => qq({"message":["$canary{body}"]}), 'behind it' => "$plain$canary{body}", 'no UTF-8' => qq({"message":{"type":"$canary{body}\xff\xfe"}}),
    'a NUL' => qq({"message":{"type":"tool-calls","call":{"id":"$canary{body}\\u0000"}}}), 'half a surrogate' => qq({"message":{"type":"$canary{body}\\ud800"}}), 'deep' => '{"message":' . '[' x 2000 . qq("$canary{body}"),
    'a strange number' => qq({"message":{"type":"tool-calls","$canary{body}":01e}}), 'empty' => '',
);
for my $name (sort keys %malformed) {
    my $reply = $s->signed_post('/transfer', $malformed{$name}, secret => $canary{hmac});
    unlike($reply->{body}, qr/Canary/, "$name: the reply ($reply->{status}) repeats nothing of it");
}
is($s->signed_post('/small', $plain, secret => $canary{hmac})->{status}, 413, 'too long: 413');
is($s->post('/transfer', $canary{body}, { 'content-type' => 'text/plain', vapi_signature('body-only', $canary{hmac}, $canary{body}) })->{status}, 415, 'no JSON by its type: 415');
is($s->post('/transfer', $canary{body}, { 'content-encoding' => 'gzip', vapi_signature('body-only', $canary{hmac}, $canary{body}) })->{status}, 415, 'compressed: 415');

# ---- all of it

$s->log_like(qr/\[http:trace4\]/, 'httpd did write its lines about headers') ;
cmp_ok(scalar(keys %outcomes), '>=', 8, 'every outcome was there');
my @secret = grep { !/^\+/ } values %canary;
$s->no_canary(@secret, (map { substr $_, 1 } grep { /^\+/ } values %canary), '/control', "$canary{control}");

# Numbers in full, where the administrator wants them: these, and nothing else.
my ($full) = tool_call('numbers in full', 'transferred', at => '/full', caller => '+493012345678');
$s->log_like(qr/call=$full .* caller=\+493012345678 to=\+14155550100/, 'full: the numbers');
($full) = tool_call('full, and a caller that is no number', 'no-route', at => '/full', caller => $canary{customer});
$s->no_canary(@secret, '/control');

# ---- HTTP/2, whose module has lines of its own about headers

my $has_h2 = ($ENV{VAPI_TEST_MPM} || 'event') ne 'prefork' && -e VapiHttpd::_ask('LIBEXECDIR') . '/mod_http2.so';
if ($has_h2 && grep { -x "$_/curl" } split /:/, $ENV{PATH}) {
    my $h2 = VapiTest->new(log_level => 'trace8', modules => ['http2'], files => { body => '{"message":{"type":"hang"}}', 'bearer.secret' => ["$canary{bearer}\n", 0600] },
        conf => "Protocols h2c http/1.1\nVapiCredential bearer bearer secret=file:\@DIR\@/bearer.secret\n<Location /vapi>\nSetHandler vapi-transfer\nVapiAuthenticate bearer\n</Location>\n")->start;
    $h2->allow_log(qr/AH10034|AH10159|AH00287/);
    open my $out, '-|', 'curl', '-sS', '--noproxy', '*', '--max-time', '20', '--http2-prior-knowledge', '-H', 'Content-Type: application/json', '-H', "Authorization: Bearer $canary{bearer}",
        '--data-binary', '@' . $h2->dir . '/body', $h2->base . '/vapi' or die "curl: $!";
    is(scalar <$out>, '{}', 'a delivery with a bearer secret over HTTP/2');
    $h2->log_like(qr/\[http2:trace1\]/, 'mod_http2 did write');
    $h2->no_canary($canary{bearer});
    $h2->stop;
}

# ---- dumps and refusals

my $secrets = "VapiCredential literal hmac secret=$canary{dumped}\nVapiCredential second bearer secret=$canary{dumped}\nVapiControlToken $canary{dumped}\nVapiApiKey $canary{dumped}\nVapiTool transferCall\n"
    . "VapiCredential signed hmac secret=$canary{dumped} url=https://me:$canary{dumped}\@example.com/x?$canary{dumped} payload={url}{timestamp}{body}\n";
my %configurations = (
    'as it is' => '', 'a wrong key' => "VapiCredential w hmac secrets=$canary{dumped}\n", 'a wrong kind' => "VapiCredential w hmac $canary{dumped}\n", 'a word behind it' => "VapiCredential w hmac secret=$canary{dumped} x\n",
    'an open quote' => "VapiCredential w hmac secret=\"$canary{dumped}\n", 'no base64' => "VapiCredential w hmac secret=*$canary{dumped}* secret-encoding=base64\n", 'a wrong header' => "VapiCredential w bearer secret=$canary{dumped} header=\n",
    'a token with a blank' => "VapiControlToken \"$canary{dumped} $canary{dumped}\"\n", 'two tokens' => "VapiControlToken $canary{dumped} $canary{dumped}\n", 'a key with a wrong URL' => "VapiApiKey $canary{dumped} url=http://me:$canary{dumped}\@x\n",
    'a proxy with a password' => "VapiControlProxy http://me:$canary{dumped}\@example.com:3128/\n", 'a name twice' => "VapiCredential literal hmac secret=$canary{dumped}2\n",
    'text behind a quote' => "VapiControlToken \"$canary{dumped}\"$canary{dumped}\n", 'a token that looks like a key' => "VapiControlToken " . lc($canary{dumped}) . "=\n", 'a URL with a password' => "VapiCredential w hmac secret=$canary{dumped} url=$canary{dumped}\@x\n",
);
for my $name (sort keys %configurations) {
    for my $defines (['DUMP_VAPI'], ['DUMP_VAPI_TOOL'], []) {
        my ($code, $out, $err) = configtest(endpoint_conf(undef, $secrets, $configurations{$name}), defines => $defines);
        is($code, $name eq 'as it is' ? 0 : 1, "$name: exit code (@$defines)");
        unlike("$out$err", qr/$canary{dumped}/i, "$name: no secret in what is said (@$defines)");
    }
}
done_testing;
