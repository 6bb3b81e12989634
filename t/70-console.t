# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# The console: who may ask it what, how it refuses, what explain says of a payload, and that nothing comes of it.
use strict;
use warnings;
use IO::Socket::INET;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my $canary = 'Canary-Florence';
my $crm = VapiControl->new(paths => {
    '/customers/%2B14155550123' => { status => 200, body => '{"tier":"gold","name":"' . $canary . '"}' }, '/customers/%2B14155550124' => { status => 503, body => '{}' },
});
my $s = VapiTest->new(conf => conf(), modules => ['remoteip', 'authz_host'], files => { 'team.json' => team(), 'desk.json' => desk() })->start;
my $port = $s->port;
my $payload = vapi_tool_call(args => { department => 'billing' }, control => $control->url('call-1'));
my $explain = '/manage/explain?location=/vapi/transfer';

# ---- the verbs

my %headers = ('cache-control' => 'no-store', 'content-type' => 'application/json', 'x-content-type-options' => 'nosniff', 'content-security-policy' => q{default-src 'none'});
for my $console ('/console', '/slash', '/match/one', '/read', '/manage') {
    my $got = $s->get("$console/status");
    is($got->{status}, 200, "GET $console/status");
    is_deeply([sort keys %{ $got->{json} }], [qw(control lookups outcomes pools routes spool stale state uptime version)], 'its members');
    my $explained = $s->post("$console/explain?location=/vapi/transfer", $payload);
    is("$explained->{status} $explained->{json}{outcome}", '200 transferred', "POST $console/explain");
    for my $reply ($got, $explained, $s->get("$console/"), $s->post("$console/explain", $payload)) {
        is_deeply({ map { $_ => $reply->{headers}{$_} } keys %headers }, \%headers, "headers of a $reply->{status}");
    }
}
my $status = $s->get('/console/status');
like($status->{json}{version}, qr/\A\d+\.\d+\.\d+\z/, 'the version');
like($status->{body}, qr/"uptime":\d{1,3}[,}]/, 'seconds since the start');
is_deeply($status->{json}{state}, { provider => 'shm', ok => JSON::PP::true }, 'the store works');
is_deeply($status->{json}{spool}, { waiting => 0, delivered => 0, set_aside => 0 }, 'no spool: nothing in it');
is_deeply($status->{json}{stale}, [], 'nothing is stale');
is_deeply($status->{json}{outcomes}, { map { ($_ => 0) } qw(transferred handed-off answered no-route refused failed unknown limited duplicate ignored unauthorized malformed) }, 'nothing was done yet');
is_deeply($status->{json}{control}, { count => 0, p50_ms => 0, p90_ms => 0, p99_ms => 0, connections => 0 }, 'nor sent');
is_deeply($status->{json}{pools}, {}, 'no pool');
is_deeply($status->{json}{lookups}, { map { ($_ => { ok => 0, none => 0, error => 0, cached => 0 }) } qw(crm poster strict skip) }, 'each lookup');
my $head = $s->request('HEAD', '/console/status');
is($head->{status} . ($head->{body} // q{}), q{200}, q{HEAD});
is($s->get('/console/%73tatus?x=y')->{status}, 200, 'a path that was percent-encoded');

for my $path ('/console', '/console/', '/console/nothing', '/console/status/', '/console/explain/', '/console/STATUS', '/manage/') {
    my $got = $s->get($path);
    is($got->{status}, 404, "nothing at $path");
    like($got->{json}{error}, qr/GET .*status.*POST .*explain.*members\/POOL\/MEMBER.*release\/CALL.*forget/, 'it names what there is');
}
for (['POST', 'status', 'GET, HEAD'], ['PUT', 'status', 'GET, HEAD'], ['OPTIONS', 'status', 'GET, HEAD'], ['GET', 'explain', 'POST'], ['HEAD', 'explain', 'POST'], ['DELETE', 'explain', 'POST']) {
    my ($method, $verb, $allow) = @$_;
    my $got = $s->request($method, "/manage/$verb", $method =~ /P[UO]/ ? '{}' : undef, { 'content-type' => 'application/json' });
    is("$got->{status} " . ($got->{headers}{allow} // ''), "405 $allow", "$method $verb");
    ok($method eq 'HEAD' || $got->{json}{error}, 'with an error');
}

# ---- who may ask

my %relayed = ('Forwarded' => 'for=192.0.2.7', 'X-Forwarded-For' => '127.0.0.1', 'Via' => '1.1 proxy');
for my $name (sort keys %relayed) {
    is($s->get('/console/status', { $name => $relayed{$name} })->{status}, 403, "without VapiConsole: $name");
    is($s->post('/console/explain?location=/vapi/transfer', $payload, { $name => '' })->{status}, 403, "$name, empty, and a POST");
    is($s->get('/console/', { $name => $relayed{$name} })->{status}, 403, 'nor is it told what there is');
    is($s->get("$_/status", { $name => $relayed{$name} })->{status}, 200, "$_: Require decides") for '/read', '/manage';
}
is($s->get('/remote/status')->{status}, 200, 'mod_remoteip, and nobody else');
is($s->get('/remote/status', { 'X-Client' => '192.0.2.7' })->{status}, 403, 'mod_remoteip took the header away that told of somebody else');
is($s->get('/denied/status')->{status}, 403, 'Require comes first');
$s->allow_log(qr/AH01630: client denied/);
# From another address of this machine, where it has one: the connection is not a loopback connection then.
for my $address (other_address()) {
    like(speak('GET', '/console/status', { Host => "localhost:$port" }, undef, $address), qr/\AHTTP\/1.1 403 /, 'another peer');
    like(speak('GET', '/console/status', { Host => "localhost:$port", 'X-Forwarded-For' => '127.0.0.1' }, undef, $address), qr/\AHTTP\/1.1 403 /, 'who says otherwise');
    like(speak('GET', '/read/status', { Host => "127.0.0.1:$port" }, undef, $address), qr/\AHTTP\/1.1 200 /, 'read: any whom Require lets in');
    like(speak('POST', $explain, { Host => "127.0.0.1:$port" }, $payload, $address), qr/\AHTTP\/1.1 200 /, 'manage, too');
    like(speak('GET', '/console/status', { Host => 'console.example.com' }, undef, $address), qr/\AHTTP\/1.1 403 /, 'whatever the Host');
    like(speak('GET', '/read/status', { Host => '[::1]' }, undef, $address), qr/\AHTTP\/1.1 403 /, 'an address of loopback is not its address');
}

# The Host: a name or address of the virtual host.
my %hosts = (
    "localhost:$port" => 200, 'localhost' => 200, 'LOCALHOST.' => 200, "127.0.0.1:$port" => 200, '127.0.0.1' => 200, '[::1]' => 200, "[::1]:$port" => 200, 'localhost:1' => 200,
    'evil.example' => 403, "evil.example:$port" => 403, 'localhost.evil.example' => 403, '192.0.2.7' => 403, '127.0.0.1.evil.example' => 403, '[::2]' => 403,
    'console.example.com' => 200, 'Console.Example.com:8443' => 200, 'other.example.com' => 200, 'a.wild.example.com' => 200, 'wild.example.com' => 403, 'xconsole.example.com' => 403,
);
for my $host (sort keys %hosts) {
    like(speak('GET', '/read/status', { Host => $host }), qr/\AHTTP\/1.1 $hosts{$host} /, "Host: $host");
    like(speak('POST', '/read/explain?location=/vapi/transfer', { Host => $host }, $payload), qr/\AHTTP\/1.1 $hosts{$host} /, "Host: $host, a POST");
}
like($s->raw("GET /read/status HTTP/1.0\r\n\r\n"), qr/\AHTTP\/1.1 403 /, 'no Host');
like($s->raw("GET http://evil.example/read/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), qr/\AHTTP\/1.1 403 /, 'another in the request line');

# Pages of other sites.
my %pages = (
    "Origin: http://localhost:$port" => 200, "Origin: https://LOCALHOST:$port" => 200, 'Origin: http://localhost' => 403, "Origin: http://localhost:1" => 403, 'Origin: http://evil.example' => 403, 'Origin: null' => 403,
    "Origin: localhost:$port" => 403, "Origin: http://localhost:$port/" => 403, "Origin: http://localhost:$port.evil.example" => 403, "Origin: http://evil\@localhost:$port" => 403, 'Origin: ' => 403,
    'Sec-Fetch-Site: cross-site' => 403, 'Sec-Fetch-Site: Cross-Site' => 403, 'Sec-Fetch-Site: same-origin' => 200, 'Sec-Fetch-Site: same-site' => 200, 'Sec-Fetch-Site: none' => 200,
);
for my $page (sort keys %pages) {
    my ($name, $value) = split /: /, $page, 2;
    like(speak('POST', $explain, { Host => "localhost:$port", $name => $value }, $payload), qr/\AHTTP\/1.1 $pages{$page} /, $page);
}
is($s->get('/read/status', { 'Sec-Fetch-Site' => 'cross-site' })->{status}, 200, 'what only reads may be linked to');

# The type of the body.
my %types = (
    'application/json' => 200, 'application/json; charset=utf-8' => 200, 'Application/JSON;x=y' => 200, 'text/plain' => 415, 'application/x-www-form-urlencoded' => 415, 'multipart/form-data; boundary=x' => 415,
    'application/jsonp' => 415, 'application/json; charset=utf-16' => 415, 'text/plain; application/json' => 415, '' => 415,
);
for my $type (sort keys %types) {
    is($s->request('POST', $explain, $payload, { 'content-type' => $type })->{status}, $types{$type}, "Content-Type: $type");
}
is($s->request('POST', $explain, undef, {})->{status}, 415, 'no body and no type');

# ---- what is asked

my %queries = (
    '' => '400 location', 'location=' => '400 location', 'location=vapi/transfer' => '400 location', 'location=http://localhost/vapi/transfer' => '400 location', 'location=/vapi/transfer&location=/vapi/transfer' => '400 location is given twice',
    'location=/nothing' => '404 SetHandler', 'location=/manage' => '404 SetHandler', 'location=/' => '404 SetHandler', 'location=/vapi%2ftransfer' => '200', 'location=%2Fvapi%2Ftransfer' => '200', 'location=/vapi/transfer/' => '200',
    'location=/vapi/transfer/below' => '200', 'location=/vapi/../vapi/transfer' => '200', 'location=/vapi/transfer%3Fx=y' => '200', 'location=/vapi/%2574ransfer' => '200', 'location=/../..' => '404', 'location=/x%0d%0aHost:evil' => '404', 'location=/vapi%00' => '400 percent', 'location=/%' => '400 percent',
    'location=/refusing' => '200', 'location=/by-expression' => '200', 'location=/vapi/transfer&&' => '200', 'location=/' . 'x' x 200 => '404', 'location=//vapi/transfer' => '200',
    (map { ("location=/vapi/transfer&at=$_" => '200') } '2026-05-04T15:00:00Z', '2026-05-04T15:00:00.123456Z', '2026-05-04T15:00:00,5Z', '2026-05-04T15:00:00%2B02:00', '2026-05-04T15:00:00+02:00', '2026-05-04T15:00:00-0400', '20260504T150000Z', '2026-05-04T15:00Z', '2026-05-04T15:00-04:00', '2026-05-04%2015:00:00Z', '2024-02-29T00:00:00Z'),
    (map { ("location=/vapi/transfer&at=$_" => '400 at must') } '', '2026-05-04T15:00:00', '2026-05-04', '15:00Z', 'now', '1777906800', '2026-13-04T15:00:00Z', '2026-02-30T15:00:00Z', '2025-02-29T00:00:00Z', '2026-05-04T25:00:00Z', '2026-05-04T15:60:00Z', '2026-05-04T15:00:00Zx', '2026-05-04T15:00:00%2B99:99', '2026-05-04T15:00:00X', '2026-05-04T15:00:00Z%0a', '%2b2026-05-04T15:00:00Z', 'x' x 3000),
    'location=/vapi/transfer&at=2026-05-04T15:00:00Z&at=2026-05-04T15:00:00Z' => '400 at is given twice', 'location=/vapi/transfer&lookups=off' => '200', 'location=/vapi/transfer&lookups=yes' => '400 lookups must', 'location=/vapi/transfer&lookups=' => '400 lookups must',
    'location=/vapi/transfer&when=now' => '400 unknown parameter when;', 'location=/vapi/transfer&%3Cscript%3E=1' => '400 unknown parameter;', 'location=/vapi/transfer&14155550123=1' => '400 unknown parameter;', 'location=/vapi/transfer&AT=x' => '400 unknown parameter AT;',
    'location=/vapi/transfer&with=attempt=1&with=var:level%3D3' => '200', (map { ("location=/vapi/transfer&with=$_" => '400 with: ') } '', 'nothing=ok', 'attempt=x', 'attempt', 'nothing.field=x', '%3Cb%3E=ok'),
);
for my $query (sort keys %queries) {
    my ($expected, $error) = split / /, $queries{$query}, 2;
    my $got = $s->post("/manage/explain?$query", $payload);
    my $name = length $query > 100 ? substr($query, 0, 100) . '...' : $query;
    is($got->{status}, $expected, "explain?$name");
    like($got->{json}{error}, qr/\A[^\n]*\Q$error\E/, "which says so") if defined $error;
    unlike($got->{json}{error} // '', qr/script|14155550123|<b>/, 'and repeats nothing') if $expected != 200;
}
is($s->post('/manage/explain', $payload)->{status}, 400, 'explain without a query');
is($s->post("$_/explain?location=/vapi/transfer&lookups=on", $payload)->{status}, 403, "$_: lookups=on needs manage") for '/console', '/read';
is($s->post("$explain&lookups=on", $payload)->{status}, 200, '/manage: lookups=on');

# The body.
my %bodies = ('' => 400, 'x' => 400, '[]' => 400, '{}' => 400, '{"message":7}' => 400, '{"message":{}}' => 200, '{"message":{"type":"x"}}' => 200, '{"message":{"type":"tool-calls"}' => 400, '{"message":{"type":"tool-calls","type":"x"}}' => 400);
for my $body (sort keys %bodies) {
    my $got = $s->post($explain, $body);
    is($got->{status}, $bodies{$body}, "the body $body");
    ok($got->{json}{error}, 'with a reason') if $got->{status} != 200;
}
is($s->post('/manage/explain?location=/small', vapi_tool_call(pad => 20_000))->{status}, 413, 'the endpoint\'s VapiBodyLimit holds');
is($s->post('/manage/explain?location=/small', vapi_tool_call())->{json}{outcome}, 'answered', 'a smaller one is taken');

# ---- what it says

my $whole = decided('/vapi/transfer', vapi_tool_call(args => { department => 'billing' }, caller => '+14155550123'));
is_deeply($whole, {
    outcome => 'transferred', reason => undef, route => 'billing', target => 'billing', destination => 'billing',
    control => { type => 'transfer', content => 'For +14155550123.', destination => { type => 'number', number => '+14155550100' } },
    reply => { result => 'The call is being transferred.' },
    trace => [{ route => 'sales', result => 'false', why => undef }, { route => 'billing', result => 'matched', why => undef }],
}, 'the whole of an explanation');
my $kept = decided('/vapi/transfer', vapi_tool_call(args => { department => 'none of them' }));
is_deeply([@$kept{qw(outcome route target destination control)}, $kept->{reply}], ['answered', 'none', 'none', undef, undef, { result => 'Nobody for none of them.' }], 'a none route');
is_deeply([map { "$_->{route} $_->{result} " . ($_->{why} // '-') } @{ decided('/table', vapi_tool_call(args => {}, call_type => 'webCall'))->{trace} }],
    ['false false -', 'billing unavailable wrong-transport', 'runtime unavailable wrong-transport', 'squad unavailable wrong-transport', 'team matched -'], 'each route that was asked, and none behind');
is_deeply(decided('/runtime', vapi_tool_call(args => { number => '+4930123456' }))->{trace}, [{ route => 'runtime', result => 'unavailable', why => 'not-allowed' }, { route => 'none', result => 'matched', why => undef }], 'a number that may not be dialled');
my $handed = decided('/table', vapi_tool_call(args => {}, call_type => 'webCall'));
is("$handed->{outcome} $handed->{route} $handed->{destination} $handed->{control}{type}", 'handed-off team team handoff', 'a handoff');
is_deeply(decided('/hopeless', vapi_tool_call()), {
    outcome => 'no-route', reason => 'no-match', route => undef, target => undef, destination => undef, control => undef,
    reply => { error => 'No destination is available for this transfer right now.' }, trace => [{ route => 'billing', result => 'false', why => undef }],
}, 'no route');
is_deeply([@{ decided('/tools', vapi_tool_call(name => $_->[0], args => $_->[1])) }{qw(outcome reason reply)}, $_->[0]], ['no-route', 'bad-argument', { error => $_->[2] }, $_->[0]], "refused as a live one: $_->[2]")
    for ['other', {}, 'unknown tool'], ['escalate', {}, "The argument 'where' is missing."], ['escalate', { where => 'x' x 5000 }, 'An argument is too long.'];
is(decided('/vapi/transfer', vapi_tool_call(calls => [{ name => 'a', args => { department => 'billing' } }, { name => 'b', args => {} }]))->{route}, 'billing', 'the first of several tool calls');
for my $type (qw(status-update end-of-call-report transcript voice-input tool-calls)) {
    is_deeply(decided('/vapi/transfer', vapi_message($type)), { outcome => 'ignored', (map { ($_ => undef) } qw(reason route target destination control)), reply => {}, trace => [] }, "nothing to decide: $type");
}

# By a live delivery of the same payload the same is sent and replied.
my %args = (billing => { department => 'billing' }, sales => { department => 'sales' }, other => { department => "\x{e4}\"\n{{x}}" }, number => { number => '+14155550177' }, sip => { number => 'sip:+14155550178@pbx.example.com' }, bad => { number => '+4930123456' }, file => { department => 'file', who => 'Ann' });
for my $path ('/vapi/transfer', '/table', '/runtime', '/planned', '/files', '/hopeless', '/silent') {
    for my $args (sort keys %args) {
        my $id = "live-$args" . ($path =~ s{/}{-}gr);
        for my $message (vapi_tool_call(call => $id, id => 'call_1', args => $args{$args}, control => $control->url($id)),
            map { vapi_message($_, call => "$id-$_", fields => { functionCall => { name => 'transferCall', parameters => $args{$args} }, parameters => $args{$args} }) } qw(transfer-destination-request handoff-destination-request assistant-request)) {
            my $said = decided($path, $message);
            my $live = $s->signed_post($path, $message)->{json};
            my $type = $json->decode($message)->{message}{type};
            my ($sent) = map { $_->{json} } grep { $_->{call} eq $id } $control->requests;
            my ($reply) = $type eq 'tool-calls' ? { %{ $live->{results}[0] } } : $live;
            delete @$reply{qw(name toolCallId)} if $type eq 'tool-calls';
            is_deeply($said->{reply}, $reply, "$path, $args, $type: the reply");
            is_deeply($said->{control}, $type eq 'tool-calls' ? $sent : undef, "$path, $args, $type: what is sent") if $type eq 'tool-calls' || $said->{control};
        }
    }
}
$s->allow_log(qr/outcome=no-route/, qr/a SIP destination is used for a call over pstn/, qr/has no control URL/, qr/AH10244: invalid URI path/, qr/VapiRoute none: never reached|VapiRoute \w+: never reached|has no last route without an expression/);

# ---- with a set clock and set answers

my %clock = ('2026-05-04T13:00:00Z' => 'open', '2026-05-04T12:59:59.999Z' => 'closed', '2026-05-04T17:29:59-04:00' => 'open', '2026-05-04T17:30:00-04:00' => 'closed', '2026-05-03T15:00:00%2B02:00' => 'closed', '2026-05-04T15:00+02:00' => 'open', '2026-12-25T12:00:00-05:00' => 'holiday');
is(decided("/asking&at=$_", vapi_tool_call())->{reply}{result}, "$clock{$_} level  attempt 0", "at=$_") for sort keys %clock;
is(decided('/asking&at=2026-05-04T15:00:00Z&with=var:level=3&with=attempt=2', vapi_tool_call())->{reply}{result}, 'open level 3 attempt 2', 'a set and an attempt');
is(decided('/asking&at=2026-05-04T15:00:00Z&with=var:level=a%20%26%2Bb%3D', vapi_tool_call())->{reply}{result}, 'open level a &+b= attempt 0', 'as it was encoded');
is(decided('/variables', vapi_tool_call())->{reply}{result}, 'POST /variables', 'Apache\'s own variables are those of the endpoint');

# ---- lookups

my @gold = (caller => '+14155550123');
is(decided('/looking', vapi_tool_call(@gold))->{reply}{result}, 'crm none - poster none no-match', 'a lookup that nothing was said of is none');
my $given = decided('/looking&with=crm.tier=gold&with=crm.address.zip=94107&with=crm.name=Ann', vapi_tool_call(@gold));
is("$given->{outcome} $given->{control}{content}", 'transferred For Ann in 94107.', 'fields that were given');
is(decided('/looking&with=crm=ok', vapi_tool_call(@gold))->{reply}{result}, 'crm ok - poster none no-match', 'a state: ok');
$given = decided('/looking&with=crm=error', vapi_tool_call(@gold));
is_deeply([$given->{reply}{result}, $given->{reason}, $given->{trace}[0]], ['crm error - poster none lookup-error', 'lookup-error', { route => 'billing', result => 'false', why => 'lookup-error' }], 'a state: error');
is_deeply(decided('/strict&with=skip=error&with=strict=error', vapi_tool_call(@gold)), {
    outcome => 'no-route', reason => 'lookup-error', (map { ($_ => undef) } qw(route target destination control)), reply => { error => 'A system that is needed to decide about this transfer cannot be reached right now.' },
    trace => [{ route => 'skipping', result => 'unavailable', why => 'lookup-error' }, { route => 'failing', result => 'unavailable', why => 'lookup-error' }],
}, 'what failed lookups do to the table');
is(decided('/strict&with=skip.x=y&with=strict=error', vapi_tool_call(@gold))->{route}, 'skipping', 'one that is not asked fails nobody');
is(scalar $crm->requests, 0, 'nobody was asked for that');
my $asked = decided('/looking&lookups=on', vapi_tool_call(@gold));
is($asked->{control}{content}, "For $canary in .", 'lookups=on: what the CRM says');
is_deeply([map { "$_->{method} $_->{path}" } $crm->requests], ['GET /customers/%2B14155550123'], 'it was asked once');
is(decided('/looking&lookups=on', vapi_tool_call(caller => undef))->{reply}{result}, 'crm none - poster none no-match', 'a lookup that does more than read is not made');
is(decided('/looking&lookups=on&with=crm.tier=silver', vapi_tool_call(@gold))->{reply}{result}, 'crm ok silver- poster none no-match', 'nor one that is given');
is(scalar $crm->requests, 1, 'nobody was asked');
is(decided('/looking&lookups=on', vapi_tool_call(call => 'failing', caller => '+14155550124'))->{reply}{result}, 'crm error - poster none lookup-error', 'a lookup that fails');
$s->log_like(qr/call=failing lookup crm: HTTP 503/, 'why stands in the log');
unlike($s->post('/read/explain?location=/looking&with=crm.tier=gold&with=crm.name=Zenobia', vapi_tool_call(@gold))->{body}, qr/Zenobia/, 'what was given is masked as what was looked up');

# ---- masked, without manage

my $number = '+14155550177';
my @message = (caller => '+14155559876', said => ["I am $canary."], control => $control->url('masked'));
for my $path ('/vapi/transfer', '/runtime', '/planned', '/files', '/silent', '/handing', '/saying', '/table') {
    for my $message (vapi_tool_call(args => { department => 'billing', number => $number, who => $canary }, @message), vapi_message('transfer-destination-request', fields => { functionCall => { name => 'x', parameters => { number => $number, who => $canary } } }, @message),
        vapi_message('assistant-request', @message), vapi_tool_call(args => { department => $canary, number => "sip:$canary\@pbx.example.com", who => $canary }, @message)) {
        my ($all, $got) = map { $s->post("$_/explain?location=$path", $message) } '/manage', '/read';
        is($got->{status}, 200, "$path, read only");
        unlike($got->{body}, qr/\Q$canary\E|\Q$number\E|4155559876/, 'nothing of the call');
        is(shape($got->{json}), shape($all->{json}), 'and of the same form');
        is_deeply({ %{ $got->{json} }, control => 0, reply => 0 }, { %{ $all->{json} }, control => 0, reply => 0 }, 'nothing else is hidden');
    }
}
my $read = decided('/vapi/transfer', vapi_tool_call(args => { department => 'billing' }), '/read');
is_deeply($read->{control}, { type => 'transfer', content => '***', destination => { type => 'number', number => '+14155550100' } }, 'a fixed target is shown');
is_deeply($read->{reply}, { result => 'The call is being transferred.' }, 'and what this module says');
is_deeply(decided('/vapi/transfer', vapi_tool_call(args => { department => 'x' }), '/read')->{reply}, { result => '***' }, 'not what a text says');
is_deeply(decided('/runtime', vapi_tool_call(args => { number => $number }), '/read')->{control}{destination}{number}, '***0177', 'a number that a call named');
is_deeply(decided('/runtime', vapi_tool_call(args => { number => 'sip:+14155550178@pbx.example.com' }), '/read')->{control}{destination}{sipUri}, 'sip:***0178@pbx.example.com', 'a SIP URI');
is_deeply(decided('/planned', vapi_tool_call(args => {}), '/read')->{control}, {
    type => 'transfer', content => '***',
    destination => {
        type => 'sip', sipUri => 'sip:oncall@pbx.example.com', callerId => '***', sipHeaders => { 'X-Who' => '***' },
        transferPlan => { mode => 'warm-transfer-say-summary', sipVerb => 'refer', summaryPlan => { enabled => JSON::PP::true, messages => [{ role => 'system', content => '***' }, { role => 'user', content => '***' }] } },
    },
}, 'a plan, headers, a caller id');
is_deeply(decided('/files', vapi_tool_call(args => { who => $canary }), '/read')->{control}, { type => 'handoff', content => '***', destination => { type => 'assistant', assistantName => '***', number => '***', sipUri => '***', assistantOverrides => { variableValues => { type => '***', number => '***', count => 3 } } } }, 'a file, whose strings may be anything');
is_deeply(decided('/files', vapi_tool_call(args => { department => 'file', who => $canary }), '/read')->{control}{destination}, { type => 'number', number => '+14155550166', extension => '***', message => '***', sipUri => '***' }, 'a file with a fixed number');
is(decided('/secretive', vapi_tool_call(args => { number => $number }), '/read')->{control}{destination}{number}, '***', 'VapiLogNumbers none hides it whole');
is(decided('/tools', vapi_tool_call(name => 'escalate', args => {}), '/read')->{reply}{error}, 'The argument \'where\' is missing.', 'why an argument was refused is shown');

# ---- nothing comes of it

$control->clear;
my $message = vapi_tool_call(call => 'again', id => 'call_1', args => { department => 'attempts' }, control => $control->url('again'));
decided('/limited', $message) for 1 .. 5;
is(scalar $control->requests, 0, 'nothing is sent');
is_deeply($s->signed_post('/limited', $message)->{json}{results}, [{ name => 'transferCall', toolCallId => 'call_1', result => 'attempt 0' }], 'nothing was claimed, counted or kept shut');
is(scalar $control->requests, 1, 'by a live delivery, then, it is');
is(decided('/limited', $message)->{outcome}, 'transferred', 'and what was done does not change what is explained');
$s->no_canary($canary, $number, '4155559876', '/ok/masked');
unlike(join('', grep { /refusing/ } split /^/, $s->log), qr/./, 'that an endpoint\'s Require would refuse the console is no news');

# ---- what is waiting, and what is stale

my $kept_dir = VapiTest->new(modules => ['watchdog'], files => { 'region.map' => "+1415 west\n" }, conf => "VapiSpool \@DIR\@/spool\nVapiMap region \@DIR\@/region.map prefix\n<Location \"/console\">\nSetHandler vapi-console\n</Location>\n")->start;
is_deeply([@{ $kept_dir->get('/console/status')->{json} }{qw(spool stale)}], [{ waiting => 0, delivered => 0, set_aside => 0 }, []], 'an empty spool, a map that can be read');
$kept_dir->write_file('region.map', "+1415\n");
$kept_dir->graceful;
is_deeply($kept_dir->get('/console/status')->{json}{stale}, [$kept_dir->dir . '/region.map'], 'a map that cannot be read any more is stale, and named');
$kept_dir->log_like(qr/region\.map, line 1/, 'and so it is in the log');
chmod 0, $kept_dir->dir . '/spool';
my $unread = $kept_dir->get('/console/status')->{json}{spool};
is_deeply($unread, { waiting => undef, delivered => 0, set_aside => undef }, 'a spool that cannot be read is not said to be empty');
$kept_dir->log_like(qr/VapiSpool: .* cannot be read/, 'which the log says, too');
chmod 0700, $kept_dir->dir . '/spool';

done_testing;

sub decided {
    my ($location, $message, $console) = @_;
    my $got = $s->post(($console // '/manage') . "/explain?location=$location", $message);
    diag("$got->{status} $got->{body}") if $got->{status} != 200;
    return $got->{json};
}

# The names and kinds of all members.
sub shape {
    my ($value) = @_;
    return '{' . join(' ', map { "$_:" . shape($value->{$_}) } sort keys %$value) . '}' if ref $value eq 'HASH';
    return '[' . join(' ', map { shape($_) } @$value) . ']' if ref $value eq 'ARRAY';
    return defined $value ? 'v' : 'null';
}

# Any headers, from any address; all that comes back.
sub speak {
    my ($method, $path, $headers, $body, $from) = @_;
    my %all = (Connection => 'close', defined $body ? ('Content-Type' => 'application/json', 'Content-Length' => length $body) : (), %$headers);
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 10, $from ? (LocalAddr => $from) : ()) or die "no connection: $!";
    print $socket "$method $path HTTP/1.1\r\n", (map { "$_: $all{$_}\r\n" } sort keys %all), "\r\n", $body // '';
    local $/;
    return scalar <$socket>;
}

# An address of this machine that is none of loopback. (Nothing is sent to find it.)
sub other_address {
    my $socket = IO::Socket::INET->new(Proto => 'udp', PeerAddr => '192.0.2.1', PeerPort => 9) or return;
    my $address = $socket->sockhost;
    return $address =~ /^(?:127\.|0\.0\.0\.0)/ ? () : $address;
}

sub team {
    return '{"type":"assistant","assistantName":"%{arg:who}","number":"%{VAPI_CALLER}","sipUri":"%{arg:who}","assistantOverrides":{"variableValues":{"type":"%{VAPI_CALLER}","number":"%{VAPI_CALLER}","count":3}}}';
}

sub desk { return '{"type":"number","number":"+14155550166","extension":"12","message":"%{arg:who}","sipUri":"%{arg:who}"}' }

sub conf {
    my %tables = (
        '/vapi/transfer' => [q{VapiRoute sales "arg('department') == 'sales'"}, q{VapiRoute billing "arg('department') == 'billing'"}, 'VapiRoute none result="Nobody for %{arg:department}."'],
        '/table' => [q{VapiRoute sales "false" name=false}, 'VapiRoute billing', 'VapiRoute runtime', 'VapiRoute squad', 'VapiRoute team', 'VapiRoute none'],
        '/hopeless' => [q{VapiRoute billing "false"}],
        '/tools' => ['VapiTool escalate', 'VapiParam where string required', 'VapiRoute billing'],
        '/runtime' => ['VapiRoute runtime', 'VapiRoute none result="Not %{arg:number}."'],
        '/secretive' => ['VapiLogNumbers none', 'VapiRoute runtime'],
        '/planned' => ['VapiRoute oncall'],
        '/files' => [q{VapiRoute desk "arg('department') == 'file'"}, 'VapiRoute file'],
        '/silent' => ['VapiRoute silent'],
        '/handing' => ['VapiRoute team say="%{VAPI_LAST_SAID}"'],
        '/saying' => ['VapiRoute billing say="%{VAPI_LAST_SAID}" result="%{VAPI_LAST_SAID}"'],
        '/asking' => [q(VapiRoute none result="%{hours:office} level %{var:level} attempt %{VAPI_ATTEMPT}")],
        '/variables' => ['VapiRoute none result="%{REQUEST_METHOD} %{REQUEST_URI}"'],
        '/looking' => [q{VapiRoute billing "lookup('crm.tier') == 'gold'" say="For %{lookup:crm.name} in %{lookup:crm.address.zip}."}, q(VapiRoute none result="crm %{lookup:crm} %{lookup:crm.tier}- poster %{lookup:poster} %{VAPI_REASON}")],
        '/strict' => [q{VapiRoute billing "lookup('skip.x') == 'y'" name=skipping}, q{VapiRoute billing "lookup('strict.x') == 'y'" name=failing}, 'VapiRoute none'],
        '/limited' => ['VapiLimit call=1', 'VapiRoute billing result="attempt %{VAPI_ATTEMPT}"'],
        '/small' => ['VapiBodyLimit 15000', 'VapiRoute none'],
        '/refusing' => ['VapiRoute billing', 'Require all denied'],
    );
    my $conf = <<'END';
VapiCredential test hmac secret=file:@DIR@/vapi.secret preset=body-only
VapiAllow +1415 pbx.example.com
VapiTransferPlan brief warm-transfer-say-summary summary="Two sentences." summary-user="%{VAPI_TRANSCRIPT}" verb=refer
VapiDestination billing +14155550100 say="For %{VAPI_CALLER}."
VapiDestination sales +14155550101
VapiDestination oncall sip:oncall@pbx.example.com plan=brief say="%{VAPI_LAST_SAID}" caller-id="%{VAPI_CALLER}" sip-header="X-Who: %{VAPI_CALLER}"
VapiDestination runtime %{arg:number} from-caller=on
VapiDestination silent +14155550102 say=""
VapiDestination team assistant:Team
VapiDestination squad squad-id:3f2b9c1e-0000-4000-8000-000000000000
VapiDestination file json:@DIR@/team.json from-caller=on say="%{VAPI_LAST_SAID}"
VapiDestination desk json:@DIR@/desk.json from-caller=on
VapiHours office America/New_York "Mon-Fri 09:00-17:30" closed=12-25
VapiSet level 3 "false"
END
    my $base = $crm->base;
    $conf .= qq(VapiLookup crm url="$base/customers/%{VAPI_CALLER}" timeout=30\nVapiLookup poster url="$base/post" method=POST\n)
        . qq(VapiLookup strict url="$base/strict" on-error=fail\nVapiLookup skip url="$base/skip" on-error=skip-route\n);
    $conf .= 'VapiControlAllowPrivate on' . "\n" . 'VapiControlHosts ' . $control->base . "\n";
    for my $path (sort keys %tables) {
        $conf .= "<Location \"$path\">\nSetHandler vapi-transfer\nVapiAuthenticate test\n" . join('', map { "$_\n" } @{ $tables{$path} }) . "</Location>\n";
    }
    return $conf . <<'END';
<Location "/by-expression">
    SetHandler "%{tolower:VAPI-TRANSFER}"
    VapiAuthenticate test
    VapiRoute billing
</Location>
<Location "/console">
    SetHandler vapi-console
</Location>
<Location "/slash/">
    SetHandler vapi-console
</Location>
<LocationMatch "^/match/\w+">
    SetHandler vapi-console
</LocationMatch>
<Location "/read">
    SetHandler vapi-console
    VapiConsole read
    Require all granted
</Location>
<Location "/manage">
    SetHandler vapi-console
    VapiConsole manage
    Require all granted
</Location>
<Location "/remote">
    SetHandler vapi-console
</Location>
RemoteIPHeader X-Client
RemoteIPInternalProxy 127.0.0.1
<Location "/denied">
    SetHandler vapi-console
    Require all denied
</Location>
<VirtualHost *:@PORT@>
    ServerName localhost:@PORT@
</VirtualHost>
<VirtualHost *:@PORT@>
    ServerName console.example.com
    ServerAlias other.example.com *.wild.example.com
</VirtualHost>
END
}
