# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Nothing of a caller, no secret and no control URL in any log, whatever goes wrong. Every path is walked with LogLevel trace8; then all
# that Apache wrote is searched: error log with standard output and error, access log with every note, whatever lies in its directory.
use strict;
use warnings;
use VapiExample qw(sqlite_ask);
use VapiGuard;
use VapiPg;
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
my $closed = closed_port();
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
    hangs => 'VapiControlTimeout 1500ms', broken => "VapiControlTimeout 400ms\nVapiControlHosts http://127.0.0.1:$closed 127.0.0.1:" . $control->port, foreign => 'VapiControlHosts *.vapi.ai', private => 'VapiControlAllowPrivate off', ask => 'VapiApiKey env:CANARY_KEY url=' . $control->base . '/ask',
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
    ['silent', 'unknown'], ['truncate', ''], ['huge=200000', 'transferred'],
);
tool_call('Vapi: hang', 'unknown reason=timeout', vapi => 'hang', async => 1, at => '/hangs');
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

# ---- lookups, actions, the spool, encrypted arguments, explain

# What a request says, what a lookup or a row answers, and the secrets of those who are asked. Numbers without their last four digits.
my %asked = (
    caller => '+49308877669922', caller_digits => '4930887766', argument => 'CanaryAskedArgument', said => 'CanaryAskedWords', name => 'CanaryAskedName', prompt => 'CanaryAskedPrompt', control => 'CanaryAskedControl',
    answer => 'CanaryLookupAnswer', failure => 'CanaryLookupFailure', to => '+33612345679999', to_digits => '3361234567', location => 'CanaryLookupLocation', row => 'CanarySqlValue', zone => 'CanaryLookupZone', key => 'CanaryMapKey',
    path => 'CanaryLookupPath', query => 'CanaryLookupQuery', bearer => 'CanaryLookupBearer', secret => 'CanaryLookupSecret', api_key => 'CanaryLookupKey', user => 'CanaryLookupUser', password => 'CanaryDbPassword',
    plain => 'CanaryPlainText', cipher => 'CanaryCipherText', rubbish => 'CanarySpoolRubbish',
);
my @given = qw(7CanaryGivenValue CanaryGivenTime CanaryGivenLocation);
my ($private, $public) = rsa_key();
my $database = VapiGuard::directory('canary') . '/db';
my $pg = VapiPg->new;
my %databases = (
    sqlite3 => { conf => "DBDriver sqlite3\nDBDParams \"$database\"\n", run => sub { sqlite_ask($database, $_[0]); chown +(getpwnam run_as())[2, 3], $database =~ s{/db\z}{}r, glob "$database*" if $> == 0; return } },
    pgsql => { conf => "DBDriver pgsql\nDBDParams \"" . $pg->params . " password=$asked{password}\"\nDBDMax 8\n", run => sub { $pg->psql($_[0]); return }, server => $pg },
);
walk($_, %{ $databases{$_} }) for sort keys %databases;

sub run_as { my ($user) = grep { defined getpwnam $_ } qw(www-data apache nobody); return $user }

# A private key and the file of its public one.
sub rsa_key {
    my $dir = VapiGuard::directory('key');
    system("openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $dir/key 2>/dev/null || openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $dir/key 2>/dev/null") == 0 or die 'openssl genpkey';
    system("openssl pkey -in $dir/key -pubout -out $dir/pub") == 0 or die 'openssl pkey';
    return (slurp("$dir/key"), "$dir/pub");
}

sub encrypted {
    my ($text) = @_;
    open my $out, '-|', qq(printf %s '$text' | openssl pkeyutl -encrypt -pubin -inkey $public -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256 | openssl base64 -A) or die "openssl: $!";
    return scalar <$out>;
}

# One that sends the caller's number, what was said and both kinds of argument. What never comes is not waited for.
sub out { my ($base, $behaviour) = @_; my $timeout = $behaviour eq 'hang' || $base =~ /^https/ ? '300ms' : 20; return "url=\"$base/$behaviour/$asked{path}/%{VAPI_CALLER}?$asked{query}=%{arg:what}\" header=\"X-Said: %{VAPI_LAST_SAID}\" header=\"X-Api-Key: $asked{api_key}\" bearer=env:CANARY_OUT secret-header=\"X-Secret: file:\@DIR\@/out.secret\" timeout=$timeout" }

sub walk_conf {
    my ($database, $crm, $closed) = @_;
    my %behaviour = (fails => 'status=500', refuses => 'status=400', moves => 'redirect', hangs => 'hang', resets => 'reset', rubbish => 'garbage');
    my $if = sub { return "\"arg('go') == '$_[0]'\"" };
    my $lookups = join '', map { "VapiLookup $_ " . out($crm->base, $behaviour{$_}) . "\n" } sort keys %behaviour;
    my $ask = join ' ', map { "%{lookup:$_}" } sort keys %behaviour;
    my $actions = join '', map { "VapiAction act-$_ answered route=acts " . out($crm->base, $behaviour{$_}) . "\n" } sort keys %behaviour;
    return $database . <<"END";
CustomLog "\@DIR\@/access_log" "%h %m %U %>s %{vapi-call}n %{vapi-type}n %{vapi-tool}n %{vapi-route}n %{vapi-destination}n %{vapi-member}n %{vapi-attempt}n %{vapi-outcome}n %{vapi-reason}n %{vapi-control-status}n %{vapi-control-ms}n %{vapi-lookup-ms}n"
VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only
VapiAuthenticate test
VapiSettle 0
VapiDecrypt \@DIR\@/key.pem ssn
VapiSpool \@DIR\@/spool
VapiAllow +49
VapiMap numbers \@DIR\@/numbers exact
VapiMap zones \@DIR\@/zones prefix
VapiHours office map:zones "Mon-Fri 09:00-17:30"
VapiSignal anger "$asked{said}"
VapiSet what "%{lookup:crm.name} %{arg:what} %{map:numbers:%{lookup:crm.key}}"
VapiLookup crm @{[ out($crm->base, 'ok') ]} body=\@DIR\@/body.json
VapiLookup kept @{[ out($crm->base, 'kept') ]} cache=60
VapiLookup own url=http://$asked{user}:$asked{password}\@127.0.0.1:@{[ $crm->port ]}/ok/x
VapiLookup down @{[ out("http://127.0.0.1:$closed", 'ok') ]}
VapiLookup tls @{[ out('https://127.0.0.1:' . $crm->port, 'ok') ]}
VapiLookup head url=@{[ $crm->base ]}/ok/x header="X-Who: %{lookup:crm.lines}"
VapiLookup stops @{[ out($crm->base, 'status=503') ]} on-error=fail
VapiLookup row sql="SELECT note FROM customer WHERE phone = %s" arg=%{VAPI_CALLER}
VapiLookup long sql="SELECT note FROM customer WHERE phone = %s" arg="%{arg:what}%{VAPI_TRANSCRIPT}"
${lookups}VapiDestination looked %{lookup:crm.phone} say="%{var:what}"
VapiDestination fixed +14155550100 say="%{lookup:row.note} %{arg:ssn} %{lookup:crm.name}" caller-id=%{VAPI_CALLER}
@{[ $control->conf ]}
<Location "/asks">
SetHandler vapi-transfer
${actions}VapiAction act-down answered route=acts @{[ out("http://127.0.0.1:$closed", 'ok') ]}
VapiAction act-tls answered route=acts @{[ out('https://127.0.0.1:' . $crm->port, 'ok') ]}
VapiAction act-ok answered route=acts @{[ out($crm->base, 'ok') ]} body=\@DIR\@/body.json
VapiAction act-head answered route=acts url=@{[ $crm->base ]}/ok/x header="X-Who: %{lookup:crm.lines}"
VapiAction act-row answered route=acts sql="INSERT INTO visit (phone, words) VALUES (%s, %s)" arg=%{VAPI_CALLER} arg="%{VAPI_LAST_SAID} %{lookup:row.note} %{arg:ssn}"
VapiAction act-line answered route=acts file=\@DIR\@/lines body=\@DIR\@/body.json
VapiAction gate-fails before-transfer required route=gated @{[ out($crm->base, 'status=500') ]}
VapiAction gate-row before-transfer required route=gated-row sql="INSERT INTO visit (phone, words) VALUES (%s, %s)" arg=%{VAPI_CALLER} arg=%{arg:what}
VapiAction gate-when before-transfer required route=gated-when when="lookup('hangs') == 'ok' || file(arg('what')) == 'x'" @{[ out($crm->base, 'hang') ]}
VapiRoute none @{[ $if->('answer') ]} result="%{lookup:crm.name} %{lookup:row.note} %{arg:ssn} %{var:what} %{signal:anger} %{hours:office} %{hours:office\@%{lookup:crm.zone}}"
VapiRoute none @{[ $if->('cached') ]} result="%{lookup:kept.name}"
VapiRoute none @{[ $if->('failures') ]} result="$ask %{lookup:down} %{lookup:tls} %{lookup:head} %{lookup:own}"
VapiRoute none @{[ $if->('rows') ]} result="%{lookup:row} %{lookup:long}"
VapiRoute none @{[ $if->('acts') ]} name=acts result="%{lookup:crm.name} %{lookup:row.note}"
VapiRoute looked @{[ $if->('looked') ]}
VapiRoute map:numbers:%{lookup:crm.key} @{[ $if->('mapped') ]}
VapiRoute fixed @{[ $if->('gated') ]} name=gated
VapiRoute fixed @{[ $if->('gated-row') ]} name=gated-row
VapiRoute fixed @{[ $if->('gated-when') ]} name=gated-when
VapiRoute fixed @{[ $if->('fixed') ]}
VapiRoute fixed "arg('go') == 'stops' && lookup('stops.x') == 'x'" name=stops
VapiRoute none "arg('go') == 'expression' && file(lookup('crm.name')) == 'x'"
</Location>
<Location "/read">
SetHandler vapi-console
</Location>
<Location "/manage">
SetHandler vapi-console
VapiConsole manage
</Location>
END
}

sub walk {
    my ($driver, %o) = @_;
    my $answer = { name => $asked{answer}, phone => $asked{to}, key => $asked{key}, zone => $asked{zone}, lines => "$asked{answer}\r\nX: $asked{answer}" };
    my $fail = { status => 500, body => $asked{failure}, headers => { location => "/$asked{location}", 'x-canary' => $asked{failure} } };
    my $ok = { status => 200, body => JSON::PP->new->utf8->encode($answer) };
    my $crm = VapiControl->new(paths => { map { ("/$_/$asked{path}/%2B" . substr($asked{caller}, 1) . "?$asked{query}=$asked{argument}" => $ok) } 'ok', 'kept' });
    $o{run}->('CREATE TABLE customer (phone varchar(40), note varchar(100)); CREATE TABLE visit (phone varchar(40) UNIQUE, words varchar(4000));' . "INSERT INTO customer VALUES ('$asked{caller}', '$asked{row}')");
    $o{run}->(q{CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'told %', NEW.words; RETURN NEW; END $$; CREATE TRIGGER tells BEFORE INSERT ON visit FOR EACH ROW EXECUTE PROCEDURE tells()}) if $o{server};
    my $t = VapiTest->new(
        log_level => 'trace8', modules => ['dbd', 'watchdog', 'env'], conf => walk_conf($o{conf}, $crm, $closed), environment => { CANARY_OUT => $asked{bearer} },
        files => {
            'key.pem' => [$private, 0600], 'out.secret' => ["$asked{secret}\n", 0600], numbers => "$asked{key}2 fixed\nother fixed\n", zones => "+49 Europe/Berlin\n",
            'body.json' => '{"caller":"%{VAPI_CALLER}","said":"%{VAPI_TRANSCRIPT}","what":"%{arg:what}","ssn":"%{arg:ssn}","row":"%{lookup:row.note}"}',
        },
    );
    $t->allow_log(qr/core:trace|:(?:trace\d|debug)\]/, qr/a user and password stand in the configuration itself|a secret is sent in the clear|stands in the configuration itself|no Require stands beside it|has no last route|-D DUMP_CONFIG/);
    $t->start;

    my $ask = sub {
        my ($name, $expected, %a) = @_;
        my $id = "$driver-" . ++$count;
        $crm->script(@{ $a{script} || [] });
        my $body = vapi_tool_call(
            call => $id, caller => $asked{caller}, said => ["$asked{said} $asked{name}"], control => $control->url($asked{control}, $a{vapi}), name => $a{tool},
            args => { go => $a{go} // 'answer', what => $asked{argument}, ssn => $a{ssn} // encrypted($asked{plain}), asked => $asked{to} }, assistant => { model => { messages => [{ role => 'system', content => $asked{prompt} }] } },
        );
        my $reply = $t->signed_post('/asks', $body);
        is($reply->{status}, 200, "$driver, $name: 200");
        $t->log_like(qr/call=$id .*outcome=$expected/, "$driver, $name: $expected");
        return { call => $id, body => $body, told => $reply->{json}{results}[0]{result} // $reply->{json}{results}[0]{error} };
    };
    # Success: everything is there, where a text names it.
    is($ask->('answered', 'answered')->{told}, "$asked{answer} $asked{row} $asked{plain} $asked{answer} $asked{argument} 1 " . ($ask->('hours', 'answered')->{told} =~ /(\w+ \w+)\z/)[0], "$driver: what is asked comes");
    is($ask->('kept', 'answered', go => 'cached')->{told}, $asked{answer}, "$driver: an answer that is kept");
    is($ask->('kept', 'answered', go => 'cached')->{told}, $asked{answer}, "$driver: and was");
    $ask->('transferred', 'transferred', go => 'fixed');
    my $requests = join ' ', map { join ' ', $_->{path}, $_->{body}, values %{ $_->{headers} } } $crm->requests;
    like($requests, qr/\Q$asked{$_}\E/, "$driver: sent was the $_") for qw(bearer secret api_key path query argument said row plain caller_digits);
    # Failures of what is asked.
    $ask->('looked up, not allowed', 'no-route reason=not-allowed', go => 'looked');
    $ask->('looked up, no entry', 'no-route reason=no-match', go => 'mapped');
    $ask->('all failures', 'answered', go => 'failures');
    $ask->('all failures, with answers', 'answered', go => 'failures', script => [($fail) x 4, { status => 200, body => "<html>$asked{failure}" }, { status => 200, body => "{\"$asked{failure}\":" }, $fail]);
    $ask->("a failure that stops", 'no-route reason=lookup-error', go => 'stops', script => [$fail]);
    $ask->('an expression that fails', 'no-route', go => 'expression');
    $ask->('no plain text', 'no-route reason=bad-argument', ssn => $asked{cipher});
    my $other = encrypted($asked{plain}) =~ s/^(.)/$1 eq 'x' ? 'y' : 'x'/er;
    $ask->('another plain text', 'no-route reason=bad-argument', ssn => $other);
    $ask->('refused by Vapi', 'refused', go => 'fixed', vapi => 'body=error');
    $t->log_like(qr/lookup (\w+): HTTP 500 after/, "$driver: a failure is told of by its name");
    # Required actions, and all others: done, refused, put off.
    $ask->('gated', 'no-route reason=action-failed', go => 'gated', script => [$ok, $fail]);
    $ask->('gated by a row', 'transferred', go => 'gated-row');
    $ask->('gated by a row that is there', 'no-route reason=action-failed', go => 'gated-row');
    $ask->('gated by what fails', 'no-route reason=action-failed', go => 'gated-when', script => [$fail, $fail]);
    my $act = $ask->('acts', 'answered', go => 'acts');
    $t->signed_post('/asks', $act->{body});
    $t->log_like(qr/call=$act->{call} action=act-$_->[0] event=answered: $_->[1]/, "$driver: action $_->[0]") for ['refuses', 'HTTP 400; not tried any more: set aside'], ['moves', ''], ['fails', 'HTTP 500; tried again in'], ['hangs', ''], ['down', ''], ['tls', ''], ['row', 'the database refused the statement; tried again'],
        ['line', 'delivered'], ['ok', 'delivered'], ['head', 'cannot be filled in and is not done'];
    # Files of the spool that nobody wrote.
    my $spool = $t->dir . '/spool';
    my $waiting = sub { return grep { -f } glob "$spool/*" };
    cmp_ok(scalar $waiting->(), '>', 0, "$driver: some wait");
    like(slurp(($waiting->())[0]), qr/$asked{argument}/, "$driver: with what they are to say");
    is(join(' ', map { sprintf '%04o', (stat)[2] & 07777 } $waiting->()) =~ s/0600 ?//gr, '', "$driver: for the servers' user alone");
    my ($one) = $waiting->();
    my %put = ('1' => $asked{rubbish}, '2' => "{\"version\":1,\"action\":\"\\n$asked{rubbish} x\",\"call\":\"$asked{rubbish}\\n\",\"event\":\"$asked{rubbish} x\"}", 3 => slurp($one) =~ s/"kind":"\w+"/"kind":"$asked{rubbish}"/r, 4 => slurp($one) =~ s/"action":"[^"]*"/"action":"$asked{rubbish} $asked{rubbish}"/r);
    for my $i (sort keys %put) {
        my ($name, $new) = (sprintf('%s/%016x-%016x', $spool, (time - 2 * 86400) * 1_000_000, $i), "$spool.new");    # as one that was tried for days
        spit($new, $put{$i});
        chmod 0600, $new;
        chown +(getpwnam run_as())[2, 3], $new if $> == 0;
        rename $new, $name;
    }
    ok(wait_until(sub { my @aside = glob "$spool/set-aside/*-000000000000000[1-4]"; return @aside == 4 }, 30), "$driver: what is no errand is set aside");
    $t->log_like(qr/action=- event=-: is not readable; not tried any more/, "$driver: and the log names nothing of it");
    # The database fails, then goes.
    $o{run}->('ALTER TABLE customer RENAME TO gone');
    $ask->('no table', 'answered', go => 'rows');
    $o{server}->stop if $o{server};
    $ask->('no database', 'answered', go => 'rows');
    $t->log_like(qr/lookup row: the database (?:refused the statement|cannot be reached)|lookup row: no connection to the database/, "$driver: which the log says, without words of the database");
    if ($o{server}) {
        $o{server}->start;
        $ask->('a database again', 'answered', go => 'rows');
        unlike($t->log, qr/told $asked{said}/, 'nor what a trigger says');
    }
    # The console.
    $o{run}->('ALTER TABLE gone RENAME TO customer');
    my $message = vapi_tool_call(caller => $asked{caller}, said => [$asked{said}], args => { go => 'fixed', what => $asked{argument}, ssn => encrypted($asked{plain}) }, control => $control->url($asked{control}));
    my @shown = ($t->get('/read/status'), $t->post('/read/explain?location=/asks', $message), $t->post("/read/explain?location=/asks&with=row.note=$given[0]&with=crm.name=$given[0]", $message));
    push @shown, map { $t->post("/manage/explain?location=$_", $message) } "/asks&at=$given[1]", "/asks&with=$given[0]=x", "/asks&with=crm=$given[0]", "/asks&with=$given[0]", "/asks&with=attempt=$given[0]", "/$given[2]", "/asks&$given[0]=1", "/asks&lookups=$given[0]";
    is(join(' ', map { $_->{status} } @shown), '200 200 200 400 400 400 400 400 404 400 400', "$driver: asked of the console");
    is($shown[2]{json}{route}, 'fixed', "$driver: explained");
    my $said = join ' ', map { $_->{body} } @shown;
    is(join(' ', grep { index($said, $_) >= 0 } values %asked, @given), '', "$driver: shows and repeats nothing");
    my $live = $t->post('/manage/explain?location=/asks&lookups=on', $message);
    like($live->{body}, qr/$asked{row} $asked{plain}/, "$driver: but for those who manage it");
    is(join(' ', grep { /CanaryGiven/ && /\[vapi_transfer:/ } split /\n/, $t->log), '', "$driver: nor does the module log what was asked of the console");
    # All of it.
    $t->graceful;
    $ask->('once more', 'answered');
    $t->log_like(qr/\[\w+:trace[5-8]\]/, "$driver: httpd did write at its lowest levels");
    $t->allow_log(qr/vapi: call=|vapi: a?ction=|AH0063\d|AH0062\d|\[dbd:/);
    $t->{own}{$_} = 1 for grep { -f } glob("$spool/* $spool/.new-* $spool/set-aside/*"), $t->dir . '/lines';
    $t->no_canary((grep { !/^\+/ } values %asked), map { substr $_, 1 } grep { /^\+/ } values %asked);
    my ($code, $out, $err) = configtest(walk_conf($o{conf}, $crm, $closed), %$t{qw(modules environment files)}, defines => ['DUMP_VAPI']);
    is($code, 0, "$driver: a dump");
    is(join(' ', grep { index("$out$err", $asked{$_}) >= 0 } qw(bearer secret api_key user password)), '', "$driver: shows no secret");
    $t->stop;
}

# ---- pools: who is asked for, by what, who is sent where, what is reported of it, and the console's verbs

{
    my %pooled = (
        caller => '+49308877669933', caller_digits => '4930887766', called => '+49891122334466', called_digits => '8911223344', elsewhere => '+33612345670000', elsewhere_digits => '3361234567', runtime => '+49307766554411', runtime_digits => '4930776655',
        skill => 'canary-of-skills', said => 'CanaryPooledTurn', argument => 'CanaryPooledArgument', control => 'CanaryPooledControl', status => 'CanaryReportedStatus', ended => 'CanaryEndedReason', state => 'CanaryMemberState',
        member => 'canary-asked-member', pool => 'canary-asked-pool', call => 'Canary call', body => 'CanaryConsoleBody',
    );
    my @text = ((grep { !/^\+/ } values %pooled), map { substr $_, 1 } grep { /^\+/ } values %pooled);
    my $t = VapiTest->new(log_level => 'trace8', files => { teams => "+4930 pool:team\n" }, conf => endpoint_conf($control, <<"END") . "<Location \"/manage\">\nSetHandler vapi-console\nVapiConsole manage\nRequire all granted\n</Location>\n")->start;
CustomLog "\@DIR\@/access_log" "%h %m %>s %{vapi-call}n %{vapi-type}n %{vapi-tool}n %{vapi-route}n %{vapi-destination}n %{vapi-member}n %{vapi-attempt}n %{vapi-outcome}n %{vapi-reason}n"
VapiSettle 0
VapiMap teams \@DIR\@/teams prefix
VapiAllow +4930
VapiDestination asked "%{arg:number}" from-caller=on
<VapiPool team strategy=ordered sticky=60>
VapiMember ann +14155550111 capacity=3 skills=billing,es:2 say="%{VAPI_CALLER} said %{VAPI_LAST_SAID} %{arg:what}"
VapiMember ben asked capacity=9
VapiMember cay sip:cay\@pbx.example.com label="Cay"
</VapiPool>
VapiRoute pool:team "arg('go') == 'skills'" skills="%{arg:skills}" name=skilled
VapiRoute pool:team "arg('go') == 'free' && pool('team.free') -gt 0" leave=1 name=free
VapiRoute map:teams "arg('go') == 'map'"
VapiRoute none result="%{VAPI_LAST_SAID} %{pool:team.busy}"
END
    $t->allow_log(qr/core:trace|:(?:trace\d|debug)\]/, qr/vapi: call=/, qr/a secret is sent in the clear|AH0063\d|AH0062\d/);
    my $ask = sub {
        my ($id, $expected, %o) = @_;
        my $body = vapi_tool_call(call => $id, caller => $pooled{caller}, called => $pooled{called}, said => [$pooled{said}], control => $control->url($pooled{control}, $o{vapi}),
            args => { go => $o{go}, skills => $o{skills} // '', what => $pooled{argument}, number => $o{number} // $pooled{elsewhere} }, transfers => $o{transfers});
        is($t->signed_post('/vapi/transfer', $body)->{status}, 200, "pools, $id: 200");
        $t->log_like(qr/call=$id .*outcome=$expected/, "pools, $id: $expected");
    };
    is($t->signed_post('/vapi/transfer', vapi_message('transfer-destination-request', call => $pooled{call}, caller => $pooled{caller}, fields => { functionCall => { name => 'x', parameters => { go => 'map', number => $pooled{runtime} } } }))->{status}, 200,
        'pools: a call whose id is none');
    $ask->('pooled-skills', 'transferred', go => 'skills', skills => 'es');
    $ask->('pooled-no-skill', 'answered', go => 'skills', skills => "es,$pooled{skill}:3");
    $ask->('pooled-no-list', 'answered', go => 'skills', skills => "$pooled{skill} $pooled{skill}");
    $ask->('pooled-refused', 'answered', go => 'free', vapi => 'status=400');
    $ask->('pooled-unknown', 'unknown', go => 'free', vapi => 'garbage');
    $ask->('pooled-not-allowed', 'transferred', go => 'map');
    $ask->('pooled-runtime', 'transferred', go => 'map', number => $pooled{runtime});
    $ask->('pooled-runtime', 'answered', go => 'map', number => $pooled{runtime}, transfers => [[$pooled{runtime}, 'no-answer']]);
    for my $message (
        vapi_message('conversation-update', call => 'pooled-skills', caller => $pooled{caller}, transfers => [[$pooled{elsewhere}, $pooled{status}], ['+14155550111', $pooled{status}], ['+14155550111', 'no-answer']]),
        vapi_transfer_update(call => 'pooled-unknown', caller => $pooled{caller}, to => $pooled{elsewhere}), vapi_end_of_call_report(call => 'pooled-unknown', caller => $pooled{caller}, reason => $pooled{ended}),
        vapi_status_update('ended', call => 'pooled-runtime', caller => $pooled{caller}, reason => $pooled{ended}), vapi_end_of_call_report(call => $pooled{call}, caller => $pooled{caller}, reason => $pooled{ended}, transfers => [[$pooled{runtime}, 'busy']]),
    ) { is($t->signed_post('/vapi/transfer', $message)->{body}, '{}', 'pools: a report is taken') }
    $t->log_like(qr/call=pooled-\S+ report released 1/, 'pools: and frees somebody');
    my @asked = (
        ['/manage/members/team/ann', '{"state":"paused"}', 200], ['/manage/members/team/ann', "{\"state\":\"$pooled{state}\"}", 400], ['/manage/members/team/ann', $pooled{body}, 400], ['/manage/members/team/ann', "{\"$pooled{body}\":", 400],
        ['/manage/release/pooled-skills', '{}', 200], ['/manage/release/pooled-nowhere', "{\"$pooled{body}\":1}", 404],
        ['/manage/forget', "{\"number\":\"$pooled{runtime}\"}", 200], ['/manage/forget', "{\"number\":\"$pooled{caller}\"}", 200], ['/manage/forget', "{\"number\":\"$pooled{body}\"}", 400],
        ['/manage/explain?location=/vapi/transfer', vapi_tool_call(call => 'pooled-skills', caller => $pooled{caller}, said => [$pooled{said}], args => { go => 'skills', skills => $pooled{skill} }, control => $control->url($pooled{control})), 200],
    );
    is($t->post('/manage/release/Canary%20call', '{}')->{status}, 200, 'pools: a call whose id is none is released');
    my @shown = map { [$_->[2], $t->post($_->[0], $_->[1])] } @asked;
    is(join(' ', map { $_->[1]{status} } @shown), join(' ', map { $_->[0] } @shown), 'pools: asked of the console');
    my $said = join ' ', (map { $_->[1]{body} } @shown[0 .. 8]), $t->get('/manage/status')->{body};
    is(join(' ', grep { index($said, $_) >= 0 } @text), '', 'pools: it shows and repeats nothing');
    # a path is the administrator's own to write: httpd logs it, the module does not
    $t->post("/manage/members/$pooled{pool}/$pooled{member}", '{}');
    is(join(' ', grep { /canary-asked|Canary call/ && /\[vapi_transfer:/ } split /\n/, $t->log), '', 'pools: nor does the module log a name that is none, or an id of another form');
    $t->log_like(qr/console=release by=\S+ call=- released=\d/, 'pools: such an id is shown as none');
    $t->log_like(qr/console=forget by=\S+ forgotten=[1-9]/, 'pools: a caller is forgotten, and it says only how much');
    $t->graceful;
    $t->log_like(qr/\[\w+:trace[5-8]\]/, 'pools: httpd did write at its lowest levels');
    my $state = slurp($t->dir . '/run/vapi_transfer.state');
    is(join(' ', grep { index($state, $_) >= 0 } map { /^\d{12,}$/ ? substr($_, 0, -4) : $_ } grep { $_ ne $pooled{said} && !/^canary-asked|Canary call/ } @text), '', 'pools: nor has the state file it in the clear');
    $t->no_canary(grep { !/^canary-asked|Canary call/ } @text);
    $t->stop;
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
