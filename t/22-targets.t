# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What each target becomes in each message: the very JSON that Vapi gets, and where a target is unavailable.
use strict;
use warnings;
use JSON::PP ();
use VapiSchema;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $uuid = '3f2b9c1e-0000-4000-8000-00000000000a';
my $squad = '3f2b9c1e-0000-4000-8000-00000000000b';
my %types = (tool => 'tool-calls', transfer => 'transfer-destination-request', handoff => 'handoff-destination-request', assistant => 'assistant-request');
my $none = 'Nobody is there.';

# name => [the words after VapiDestination NAME, what it is at Vapi, the message types that can take it]
my %number = (type => 'number', number => '+14155550101');
my %targets = (
    number => ['+14155550101', {%number}, 'tool transfer assistant'],
    extended => ['+14155550101 extension=12# caller-id={{phoneNumber.number}}', { %number, extension => '12#', callerId => '{{phoneNumber.number}}' }, 'tool transfer assistant'],
    loose => ['411service e164=off', { type => 'number', number => '411service', numberE164CheckEnabled => JSON::PP::false }, 'tool transfer assistant'],
    planned => ['+14155550101 plan=blind', { %number, transferPlan => { mode => 'blind-transfer' } }, 'tool transfer assistant'],
    sip => ['sip:oncall@pbx.example.com', { type => 'sip', sipUri => 'sip:oncall@pbx.example.com' }, 'tool transfer assistant'],
    sips => [q{sips:a@b.example:5061;transport=tls plan=blind sip-header="X-Tier: gold" sip-header='X-From: %{VAPI_CALLER}' caller-id=+14155550123},
        { type => 'sip', sipUri => 'sips:a@b.example:5061;transport=tls', sipHeaders => { 'X-Tier' => 'gold', 'X-From' => '+14155550123' }, callerId => '+14155550123',
            transferPlan => { mode => 'blind-transfer' } }, 'tool transfer assistant'],
    assistant => ['assistant:Triage', { type => 'assistant', assistantName => 'Triage' }, 'tool transfer handoff'],
    'spaced' => ['"assistant:Front desk"', { type => 'assistant', assistantName => 'Front desk' }, 'tool transfer handoff'],
    'assistant-id' => ["assistant-id:$uuid", { type => 'assistant', assistantId => $uuid }, 'tool handoff assistant'],
    'squad-id' => ["squad-id:$squad", { type => 'squad', squadId => $squad }, 'handoff assistant'],
    (map { ("context-$_->[0]" => ["assistant:Triage context=$_->[1]", { type => 'assistant', assistantName => 'Triage', contextEngineeringPlan => $_->[2] }, 'tool handoff']) }
        ['all', 'all', { type => 'all' }], ['none', 'none', { type => 'none' }], ['last', 'last:7', { type => 'lastNMessages', maxMessages => 7 }],
        ['both', 'user-and-assistant', { type => 'userAndAssistantMessages' }], ['previous', 'previous-assistant', { type => 'previousAssistantMessages' }]),
    'context-squad' => ["squad-id:$squad context=none", { type => 'squad', squadId => $squad, contextEngineeringPlan => { type => 'none' } }, 'handoff'],
    'json-number' => ['json:@DIR@/number.json', { %number, callerId => '+14155550123', transferPlan => { mode => 'blind-transfer', timeout => 20 } }, 'tool transfer assistant'],
    'json-sip' => ['json:@DIR@/sip.json', { type => 'sip', sipUri => 'sip:x@pbx.example.com', sipHeaders => { 'X-A' => 'inboundPhoneCall' } }, 'tool transfer assistant'],
    'json-assistant' => ['json:@DIR@/assistant.json', { type => 'assistant', assistantName => 'Triage', transferMode => 'delete-history' }, 'tool transfer handoff'],
    'json-assistant-id' => ['json:@DIR@/assistant-id.json', { type => 'assistant', assistantId => $uuid, assistantOverrides => { variableValues => { caller => '+14155550123', n => 2 } } }, 'tool handoff assistant'],
    'json-squad' => ['json:@DIR@/squad.json', { type => 'squad', squadId => $squad, entryAssistantName => 'First' }, 'handoff'],
);
my %files = (
    'number.json' => { %{ $targets{'json-number'}[1] }, callerId => '%{VAPI_CALLER}' },
    'sip.json' => { %{ $targets{'json-sip'}[1] }, sipHeaders => { 'X-A' => '%{VAPI_CALL_TYPE}' } },
    'assistant.json' => $targets{'json-assistant'}[1],
    'assistant-id.json' => { %{ $targets{'json-assistant-id'}[1] }, assistantOverrides => { variableValues => { caller => '%{VAPI_CALLER}', n => 2 } } },
    'squad.json' => $targets{'json-squad'}[1],
    'run-time.json' => { type => 'number', number => '%{msg:customer.number}' },
    'run-time-sip.json' => { type => 'sip', sipUri => 'sip:%{VAPI_CALLER}@pbx.example.com' },
    'speaks.json' => { %number, message => 'From the file.' },
);
# How a destination says it: nothing, a text, silence. The last one overrides at the route.
my %says = (plain => ['', undef], says => [' say="Hold on."', 'Hold on.'], silent => [' say=""', '']);

my $control = VapiControl->new;
my @conf = ('VapiCredential test hmac secret=file:@DIR@/vapi.secret preset=body-only', 'VapiTransferPlan blind blind-transfer', 'VapiTransferPlan warm warm-transfer-say-message message=Caller.');
my %locations;

sub location { my ($path, @routes) = @_; $locations{$path} = [@routes]; return }

# A run-time expression in front: an unconditional route to a destination would leave the one behind it unreachable.
my $always = q{"-n %{VAPI_TYPE}"};
for my $name (keys %targets) {
    for my $say (keys %says) {
        push @conf, "VapiDestination $name-$say $targets{$name}[0]$says{$say}[0]";
        location("/$name-$say", "VapiRoute $name-$say $always", qq{VapiRoute none result="$none"});
    }
}
location('/none', qq{VapiRoute none result="$none"});
location('/none-usual', 'VapiRoute none');
location('/nothing', q{VapiRoute number-plain "false"});

# ---- what the route says beats what the destination says
push @conf, 'VapiDestination both +14155550101 say="The destination." plan=blind';
location('/route-say', 'VapiRoute both say="The route." plan=warm');
location('/route-silent', 'VapiRoute both say=""');
push @conf, 'VapiDestination speaks json:@DIR@/speaks.json';
location('/speaks', 'VapiRoute speaks');
location('/speaks-route', 'VapiRoute speaks say="The route."');
location('/speaks-silent', 'VapiRoute speaks say=""');
location('/result', q{VapiRoute number-plain result="Done: %{VAPI_ROUTE}." name=first});

# ---- known only at run time
push @conf, 'VapiAllow +1415 !+1415900 +44 pbx.example.com *.sip.example !bad.sip.example +1900@gold.example',
    'VapiDestination by-caller %{VAPI_CALLER}', 'VapiDestination by-arg %{arg:to} from-caller=on', 'VapiDestination by-arg-off %{arg:to}',
    'VapiDestination by-msg-off %{msg:call.customer.number}', 'VapiDestination by-said-off %{VAPI_LAST_SAID}', 'VapiDestination loose-arg %{arg:to} from-caller=on e164=off',
    'VapiDestination json-caller json:@DIR@/run-time.json from-caller=on', 'VapiDestination json-caller-off json:@DIR@/run-time.json',
    'VapiDestination json-sip-caller json:@DIR@/run-time-sip.json', 'VapiDestination partly "sip:%{arg:to}@pbx.example.com" from-caller=on',
    'VapiDestination by-extension +14155550101 extension=%{arg:to}', 'VapiDestination by-caller-id +14155550101 caller-id=%{arg:to}',
    'VapiDestination by-header sip:a@pbx.example.com sip-header="X-To: %{arg:to}"', 'VapiDestination back +14155550190', 'VapiDestination back-run %{VAPI_CALLED}';
location("/$_", "VapiRoute $_ $always", qq{VapiRoute none result="$none"})
    for qw(by-caller by-arg by-arg-off by-msg-off by-said-off loose-arg json-caller json-caller-off json-sip-caller partly by-extension by-caller-id by-header back back-run);

my $conf = join '', map { "$_\n" } @conf, (map { qq{Header always set X-$_ "expr=%{note:vapi-$_}"} } qw(outcome reason route)),
    (map { (qq{<Location "$_">}, 'SetHandler vapi-transfer', 'VapiAuthenticate test', @{ $locations{$_} }, split(/\n/, $control->conf), '</Location>') } sort keys %locations);
my $s = VapiTest->new(conf => $conf, modules => ['headers'], files => { map { ($_ => $json->encode($files{$_})) } keys %files });
$s->allow_log(
    qr/without from-caller=on it is never dialled/, qr/the table has no last route without an expression/, qr/outcome=no-route/,
    qr/a SIP destination is used for a call over pstn/, qr/a destination is the line that the caller dialled/,
);
$s->start;

my $call = 0;

# One delivery: type, path, options of the payload. What came: { reply, sent, call }
sub deliver {
    my ($short, $path, %o) = @_;
    my $id = 'call-' . ++$call;
    my $type = $types{$short};
    %o = (call => $id, control => $control->url($id), %o);
    my $args = delete $o{args} // {};
    my $body = $short eq 'tool' ? vapi_tool_call(%o, id => 't1', args => $args)
        : vapi_message($type, %o, fields => { $short eq 'handoff' ? (parameters => $args) : (functionCall => { name => 'transferCall', parameters => $args }) });
    my $reply = $s->signed_post($path, $body);
    return { type => $type, path => $path, call => $id, reply => $reply, outcome => $reply->{headers}{'x-outcome'}, reason => $reply->{headers}{'x-reason'} || '-' };
}

# With what the control API was told of each, read once.
sub with_sent {
    my (@came) = @_;
    my %sent;
    push @{ $sent{ $_->{call} } }, $_ for $control->requests;
    $control->clear;
    for my $came (@came) {
        my @requests = @{ $sent{ $came->{call} } || [] };
        $came->{sent} = [map { $_->{json} } @requests];
        control_fits($_->{body}, "$came->{path}, $came->{type}: Vapi takes what the control API is told") for @requests;
        reply_fits($came->{type}, $came->{reply}{body}, "$came->{path}, $came->{type}: Vapi takes the reply");
    }
    return @came;
}

# What the page of the interface says of a destination and a text to speak.
sub expected_control {
    my ($destination, $say) = @_;
    my $phone = $destination->{type} =~ /^(?:number|sip)$/;
    return {
        type => $phone ? 'transfer' : 'handoff',
        destination => { %$destination, $phone && defined $say && $say eq '' ? (message => '') : () },
        defined $say && $say ne '' ? (content => $say) : (),
    };
}

sub expected_reply {
    my ($short, $destination, $say) = @_;
    my $phone = $destination->{type} =~ /^(?:number|sip)$/;
    my @message = defined $say && $short ne 'handoff' ? (message => $say) : ();
    return { destination => { %$destination, @message } } if $phone || $short ne 'assistant';
    return { map { exists $destination->{$_} ? ($_ => $destination->{$_}) : () } qw(assistantId squadId assistantOverrides) };
}

# ---- the table
my @cells;
for my $name (sort keys %targets) {
    for my $say (sort keys %says) {
        push @cells, map { { name => $name, say => $says{$say}[1], short => $_, came => deliver($_, "/$name-$say") } } sort keys %types;
    }
}
with_sent(map { $_->{came} } @cells);
my %no_context = map { ($_ => 1) } grep { /^context-(?!squad)/ } keys %targets;
for my $cell (@cells) {
    my ($came, $short, $target) = ($cell->{came}, $cell->{short}, $targets{ $cell->{name} });
    my $can = " $target->[2] " =~ / $short / || $cell->{name} =~ /squad$/ && $short eq 'assistant' || $no_context{ $cell->{name} } && $short eq 'transfer';
    my $name = "$came->{path} in a $came->{type}";
    my $reply = $came->{reply}{json};
    my $text = $short eq 'tool' ? $reply->{results}[0]{result} : $reply->{error};
    if (!$can) {
        is("$came->{outcome} $came->{reason} $text", "answered wrong-transport $none", "$name: unavailable");
        is_deeply($came->{sent}, [], "$name: nothing is sent");
        next;
    }
    my %destination = %{ $target->[1] };
    # What a transfer's destination alone has, or a handoff's alone.
    delete $destination{ $short eq 'transfer' ? 'contextEngineeringPlan' : 'transferMode' };
    if ($short eq 'tool') {
        is_deeply($came->{sent}, [expected_control(\%destination, $cell->{say})], "$name: sent to the control API");
        is("$came->{outcome} $text", ($destination{type} =~ /^(?:number|sip)$/ ? 'transferred' : 'handed-off') . ' The call is being transferred.', "$name: taken");
    }
    else {
        is_deeply($reply, expected_reply($short, \%destination, $cell->{say}), "$name: the reply");
        is($came->{outcome}, 'answered', "$name: answered");
        is_deeply($came->{sent}, [], "$name: nothing is sent");
    }
}
for my $short (sort keys %types) {
    my ($none_own, $none_usual, $nothing) = with_sent(map { deliver($short, "/$_") } qw(none none-usual nothing));
    my @said = map { my $reply = $_->{reply}{json}; $short eq 'tool' ? $reply->{results}[0] : $reply } $none_own, $none_usual, $nothing;
    my $kind = $short eq 'tool' ? 'result' : 'error';
    is("$none_own->{outcome} $said[0]{$kind}", "answered $none", "none in a $types{$short}: its result, as $kind");
    is("$none_usual->{outcome} $said[1]{$kind}", "answered I can't transfer the call right now.", "none in a $types{$short}: the usual text");
    is("$nothing->{outcome} $nothing->{reason}", 'no-route no-match', "a table without a match in a $types{$short}");
    ok($said[2]{error}, 'is an error');
}

# ---- a call that is no telephone call
for my $type (qw(webCall vapi.websocketCall)) {
    for my $short (sort keys %types) {
        my @phones = grep { $targets{$_}[1]{type} =~ /^(?:number|sip)$/ && " $targets{$_}[2] " =~ / $short / } sort keys %targets;
        my @came = with_sent(map { deliver($short, $_, call_type => $type) } (map { "/$_-plain" } @phones), '/by-caller');
        is_deeply([grep { "$_->{outcome} $_->{reason}" ne 'answered wrong-transport' || @{ $_->{sent} } } @came], [], "$type, $types{$short}: no number and no SIP target");
    }
    my ($handoff) = with_sent(deliver('tool', '/assistant-plain', call_type => $type));
    is($handoff->{outcome}, 'handed-off', "$type: an assistant can take it");
}
is((deliver('tool', '/number-plain', call_type => 'outboundPhoneCall'))->{outcome}, 'transferred', 'an outbound call is one');

# ---- route over destination
for my $case (
    ['/route-say', { %number, transferPlan => { mode => 'warm-transfer-say-message', message => 'Caller.' } }, 'The route.'],
    ['/route-silent', { %number, transferPlan => { mode => 'blind-transfer' } }, ''],
    ['/speaks-route', {%number}, 'The route.'],
    ['/speaks-silent', {%number}, ''],
) {
    my ($path, $destination, $say) = @$case;
    my ($told, $asked) = with_sent(deliver('tool', $path), deliver('transfer', $path));
    is_deeply($told->{sent}, [expected_control($destination, $say)], "$path: beats the destination's over the control URL, and it is said once");
    is_deeply($asked->{reply}{json}, expected_reply('transfer', $destination, $say), "$path: and in a reply");
}
{
    my ($speaks, $result) = with_sent(deliver('tool', '/speaks'), deliver('tool', '/result'));
    is_deeply($speaks->{sent}, [{ type => 'transfer', destination => { %number, message => 'From the file.' } }], "a json: file's own message stays where nothing else is said");
    is($result->{reply}{json}{results}[0]{result}, 'Done: first.', 'result= of a route that transfers');
}

# ---- known only at run time: path, argument (or caller), what is dialled; undef: refused
my @runs = (
    ['/by-caller', { caller => '+14155550123' }, '+14155550123'],
    ['/by-caller', { caller => '+14159001234' }, undef],
    ['/by-caller', { caller => '+33155550123' }, undef],
    ['/by-caller', { caller => undef }, undef],
    ['/json-caller', { caller => '+14155550123' }, '+14155550123'],
    ['/json-caller', { caller => '+19005550123' }, undef],
    ['/json-caller-off', { caller => '+14155550123' }, undef],
    ['/json-sip-caller', { caller => '+14155550123' }, 'sip:+14155550123@pbx.example.com'],
    ['/json-sip-caller', { caller => '+19005550123' }, undef],
    ['/by-msg-off', { caller => '+14155550123' }, undef],
    ['/by-said-off', { said => ['+14155550123'] }, undef],
    ['/back-run', {}, undef],
    (map { ['/by-arg-off', $_, undef] } '+14155550123', 'sip:a@pbx.example.com'),
    (map { ['/by-arg', $_, $_] } '+14155550123', '+447700900123', 'sip:a@pbx.example.com', 'SIP:a@PBX.example.com', 'sips:a@x.sip.example;transport=tls', 'sip:+14155550123@pbx.example.com', 'sip:+1900@gold.example'),
    (map { ['/by-arg', $_, undef] }
        '+19005550123', '+14159001234', '4155550123', '14155550123', '+1415555012x', '+1415 555 0123', '+14155550123;ext=5', '+14155550123,,9', '911', '+', '', ' +14155550123', "+14155550123\n", "+14155550123\r\nX: y",
        '+0114155550123', '+141555501234567890', '{{customer.number}}', '%{VAPI_CALLER}', 'assistant:Triage', "assistant-id:$uuid", 'tel:+14155550123', 'json:/etc/passwd',
        'sip:a@evil.example', 'sip:a@bad.sip.example', 'sip:a@pbx.example.com.evil.example', 'sip:a@sip.example', 'sip:a@pbx.example.com@evil.example', 'sip:+19005550123@pbx.example.com', 'sip:%2B19005550123@pbx.example.com',
        'sip:19005550123@pbx.example.com', 'sip:0019005550123@pbx.example.com', 'sip:+14159001234@x.sip.example', 'sip:a@pbx.example.com?Route=x', 'sip:a@pbx.example.com;maddr=10.0.0.1', 'sip:a@pbx.example.com;%6Daddr=10.0.0.1',
        'sip:a;phone-context=x@pbx.example.com', '<sip:a@pbx.example.com>', '"x" <sip:a@pbx.example.com>', "sip:a\@pbx.example.com\r\nX: y", 'sip://a@pbx.example.com', 'sip:a@10.0.0.1', 'sip:', 'https://pbx.example.com'),
    ['/loose-arg', '14155550123', '14155550123'],
    ['/loose-arg', '+14155550123', '+14155550123'],
    (map { ['/loose-arg', $_, undef] } '19005550123', '911', '0014155550123', '1-900-555-0123', '1415x5550123'),
    ['/partly', 'a', 'sip:a@pbx.example.com'],
    (map { ['/partly', $_, undef] } '+19005550123', 'a@evil.example;x=', 'a@evil.example', 'x y', "x\r\ny", '%00'),
);
my @ran = with_sent(map { ref $_->[1] ? deliver('tool', $_->[0], %{ $_->[1] }) : deliver('tool', $_->[0], args => { to => $_->[1] }) } @runs);
for my $i (0 .. $#runs) {
    my ($path, $what, $dialled) = @{ $runs[$i] };
    my $name = "$path " . (ref $what ? $json->encode($what) : $json->encode([$what]));
    my @to = map { $_->{destination}{number} // $_->{destination}{sipUri} } @{ $ran[$i]{sent} };
    is_deeply(\@to, [$dialled // ()], $name . (defined $dialled ? ' is dialled' : ' is not dialled'));
    is("$ran[$i]{outcome} $ran[$i]{reason}", defined $dialled ? 'transferred -' : 'answered not-allowed', "$name: why");
}

# ---- texts that stand in a destination
my @texts = (
    ['/by-extension', '12', { %number, extension => '12' }],
    (map { ['/by-extension', $_, undef] } '', '12345678901', '12;', "1\r2", '{{x}}'),
    ['/by-caller-id', '+14155550177', { %number, callerId => '+14155550177' }],
    (map { ['/by-caller-id', $_, undef] } '', 'x' x 41, "+1415\r\n5550177"),
    ['/by-header', 'gold; "x" <y>', { type => 'sip', sipUri => 'sip:a@pbx.example.com', sipHeaders => { 'X-To' => 'gold; "x" <y>' } }],
    (map { ['/by-header', $_, undef] } "a\r\nX-Other: b", "a\nb", "a\rb"),
);
my @written = with_sent(map { deliver('tool', $_->[0], args => { to => $_->[1] }) } @texts);
for my $i (0 .. $#texts) {
    my ($path, $value, $destination) = @{ $texts[$i] };
    my $name = "$path " . $json->encode([$value]);
    is_deeply($written[$i]{sent}, [$destination ? { type => 'transfer', destination => $destination } : ()], $name . ($destination ? '' : ' makes it unavailable'));
    is("$written[$i]{outcome} $written[$i]{reason}", $destination ? 'transferred -' : 'answered bad-argument', "$name: why");
}

# ---- what is said once
my $other = { id => '7d2a5e1b-2f5c-4e0b-9f33-1f1d6b2c8a02' };
my $warned = sub { my ($pattern) = @_; my $count = () = $s->log =~ /$pattern/g; return $count };
$s->stop;
{
    # One process, since each says it once.
    my $one = VapiTest->new(mpm => 'event', processes => 1, conf => $conf, modules => ['headers'], files => $s->{files});
    $one->allow_log(@{ $s->{allowed} }, qr/AH10159: server is within MinSpareThreads/);
    $one->start;
    $s = $one;
    my %twilio_sip = (provider => 'twilio', transport => 'sip');
    for my $case (
        ['a SIP target on pstn', qr/assistant=(\S+): a SIP destination is used for a call over pstn/, 'tool', '/sip-plain', { transport => 'pstn' }, {%twilio_sip}],
        ['a warm plan without Twilio', qr/assistant=(\S+): a warm transfer plan is used on a provider other than Twilio/, 'tool', '/route-say', { provider => 'vonage' }, {}],
        ['an own line', qr/assistant=(\S+): a destination is the line that the caller dialled/, 'tool', '/back', {}, { called => '+14155550191' }],
        ['no control URL', qr/assistant=(\S+): the payload has no control URL/, 'tool', '/number-plain', { control => undef }, {}],
        ['call control delegated', qr/assistant=(\S+): serverMessages holds phone-call-control/, 'tool', '/number-plain', { assistant => { serverMessages => ['phone-call-control'] } }, {}],
    ) {
        my ($name, $pattern, $short, $path, $wrong, $right) = @$case;
        deliver($short, $path, %$right);
        is($warned->($pattern), 0, "$name: not said where it is right");
        deliver($short, $path, %$wrong) for 1 .. 3;
        $one->log_like($pattern, "$name: said");
        deliver($short, $path, %$wrong, assistant => { %{ $wrong->{assistant} || {} }, %$other }) for 1 .. 3;
        wait_until(sub { $warned->($pattern) >= 2 }, 20);
        is($warned->($pattern), 2, "$name: once for each assistant");
    }
    $one->allow_log(qr/outcome=failed reason=no-control-url/);
    # The same kinds where the answer is a reply.
    my %third = (assistant => { id => '7d2a5e1b-2f5c-4e0b-9f33-1f1d6b2c8a03' });
    deliver('transfer', '/sip-plain', transport => 'pstn', %third);
    deliver('assistant', '/route-say', provider => 'vonage', %third);
    deliver('transfer', '/back', %third);
    deliver('transfer', '/number-plain', assistant => { serverMessages => ['phone-call-control'], %{ $third{assistant} } });
    $one->log_like(qr/8a03: $_/, "in destination requests too: $_")
        for 'a SIP destination', 'a warm transfer plan', 'a destination is the line', 'serverMessages holds phone-call-control';
}
done_testing;
