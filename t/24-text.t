# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# T values and route expressions: what is spoken and what the model gets, whatever a caller, a model or a payload brings.
use strict;
use warnings;
use utf8;
use JSON::PP ();
use VapiSchema;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $deep = ('%{tolower:' x 30) . '%{arg:a}' . ('}' x 30);
my @words = map { "word$_" } 1 .. 400;

# Spoken texts: the T as it stands in the configuration, the arguments, what is spoken; undef: the target is unavailable.
my @spoken = (
    # Literal text.
    ['{{transcript}} {% if a %} {{customer.name}}', {}, '{{transcript}} {% if a %} {{customer.name}}'],
    ['100 % $0 $1 $$ % { } %% <b>&amp;</b> \\d', {}, '100 % $0 $1 $$ % { } %% <b>&amp;</b> \\d'],
    ['%%{VAPI_CALLER} and %%%{VAPI_CALL_TYPE}', {}, '%{VAPI_CALLER} and %%{VAPI_CALL_TYPE}'],
    ['Grüße, two  blanks — 你好', {}, 'Grüße, two  blanks — 你好'],
    # Placeholders.
    ['Connecting %{arg:a} to %{arg:b}.', { a => 'Ann', b => 'Bob' }, 'Connecting Ann to Bob.'],
    ['%{arg:a}%{arg:b}', { a => 'x', b => 'y' }, 'xy'],
    ['[%{arg:none}]', {}, '[]'],
    ['%{tolower:%{arg:a}}', { a => 'BILLING' }, 'billing'],
    ['%{toupper:%{tolower:%{arg:a}}}!', { a => 'Billing' }, 'BILLING!'],
    ['%{escape:%{arg:a}}', { a => 'a b/c' }, 'a%20b/c'],
    ['%{arg:customer.id} %{arg:/customer/id} %{arg:customer.tags.1} %{arg:customer.tags.length}', { customer => { id => 7, tags => [qw(a b c)] } }, '7 7 b 3'],
    ['%{arg:customer.id}', { 'customer.id' => 'exact', customer => { id => 'path' } }, 'exact'],
    ['%{arg:n} %{arg:f} %{arg:t} %{arg:list} %{arg:null}', { n => 42, f => 1.5, t => JSON::PP::true, list => [1, 'a'], null => undef }, '42 1.5 true [1,"a"]'],
    ['%{msg:/call/type} %{msg:customer.number} %{msg:phoneNumber.name}', {}, 'inboundPhoneCall +14155550123 Main line'],
    ['%{VAPI_CALLER} %{VAPI_CALLED} %{VAPI_TYPE} %{VAPI_TOOL} %{VAPI_ASSISTANT}', {}, '+14155550123 +14155550190 tool-calls transferCall Front desk'],
    ['%{VAPI_PROVIDER} %{VAPI_TRANSPORT} %{VAPI_CALL_TYPE} %{VAPI_LANGUAGE} %{VAPI_ATTEMPT}', {}, 'twilio pstn inboundPhoneCall en 0'],
    ['%{VAPI_TURNS} %{VAPI_LAST_SAID}', {}, '1 I have a question about my bill.'],
    ['%{VAPI_TRANSCRIPT}', {}, 'AI: Good morning, how can I help? User: I have a question about my bill.'],
    ['%{HTTP:X-Tier} %{REQUEST_METHOD}', {}, 'gold POST'],
    # A value is a value: nothing in it is expanded again.
    ['%{arg:a}', { a => '%{VAPI_CALLER} %{arg:a} %{file:/etc/passwd}' }, '%{VAPI_CALLER} %{arg:a} %{file:/etc/passwd}'],
    ['%{tolower:%{arg:a}}', { a => '%{VAPI_CALLER}' }, '%{vapi_caller}'],
    ['%{arg:a}', { a => '$1 ${HOME} \\1 %%{x}' }, '$1 ${HOME} \\1 %%{x}'],
    ['%{arg:a}', { a => "' . file('/etc/passwd') . '" }, "' . file('/etc/passwd') . '"],
    ['%{arg:a}%{arg:b}', { a => '%', b => '{VAPI_CALLER}' }, '%{VAPI_CALLER}'],
    # Vapi expands {{ }} and {% %} in what it speaks.
    ['%{arg:a}', { a => '{{transcript}}' }, '{ {transcript} }'],
    ['%{arg:a}', { a => '{{{x}}}' }, '{ { {x} } }'],
    ['%{arg:a}', { a => '{% assign x = 1 %}{%- x -%}' }, '{ % assign x = 1 % }{ %- x -% }'],
    ['%{arg:a}', { a => "{\n{x}\n}" }, '{ {x} }'],
    ['%{arg:a}', { a => "{\x01{x}\x7f}" }, '{ {x} }'],
    ['%{arg:a}', { a => "{\x{85}{x}\x{200b}}" }, "{ {x}\x{200b}}"],
    ['%{arg:a}%{arg:b}', { a => '{', b => '{x}}' }, '{ {x} }'],
    ['%{arg:a}%{arg:none}%{arg:b}', { a => '{', b => '%x' }, '{ %x'],
    ['{%{arg:a}}', { a => '{x}' }, '{ {x} }'],
    ['{%{arg:a}}', { a => 'x' }, '{x}'],
    ['%{arg:a}{b}', { a => 'a{' }, 'a{ {b}'],
    ['{b}%{arg:a}', { a => '}a' }, '{b} }a'],
    ['{%{arg:a}', { a => '% if' }, '{ % if'],
    ['%{arg:a}}', { a => 'x %' }, 'x % }'],
    ['{{ "%{arg:a}" }}', { a => 'a b' }, '{{ "a b" }}'],
    ["{{ '%{arg:a}' }}", { a => 'x }} y' }, "{{ 'x } } y' }}"],
    # One line, without control characters.
    ['a%{arg:a}b', { a => "1\r\n2\t3\x0b\x0c4" }, 'a1 2 3 4b'],
    ['%{arg:a}', { a => "\n x\n\n y \n" }, ' x  y'],
    ['%{arg:a}', { a => "a\x01b\x1bc\x7fd\x{80}e\x{9f}f" }, 'abcdef'],
    ['%{arg:a}', { a => "a\x{85}b\x{2028}c\x{2029}d" }, 'a b c d'],
    ['%{arg:a}', { a => "Zoë \x{1F600} 你好 \x{a0}\x{ad}" }, "Zoë \x{1F600} 你好 \x{a0}\x{ad}"],
    ['%{arg:a}', { a => '<speak>&"\'</speak>' }, '<speak>&"\'</speak>'],
    # 1,000 characters at most, and no half of one.
    ['%{arg:a}', { a => 'x' x 1000 }, 'x' x 1000],
    ['%{arg:a}', { a => 'x' x 1001 }, 'x' x 1000],
    ['%{arg:a}', { a => 'ü' x 1500 }, 'ü' x 1000],
    ['%{arg:a}', { a => "\x{1F600}" x 1020 }, "\x{1F600}" x 1000],
    ['%{arg:a}', { a => ('x' x 999) . ' y' }, 'x' x 999],
    ['%{arg:a}', { a => ('x' x 1000) . ' y' }, 'x' x 1000],
    ['%{arg:a}', { a => join ' ', ('né') x 500 }, join ' ', ('né') x 333],
    ['Take %{arg:a} now', { a => "@words" }, cut("Take @words now")],
    [('literal ' x 130) . '%{arg:a}', { a => 'x' }, cut(('literal ' x 130) . 'x')],
    # What cannot be evaluated makes the target unavailable; the next route is asked.
    [$deep, { a => 'x' }, undef],
);

sub cut {
    my ($text) = @_;
    return substr($text, 0, 1001) =~ /^(.*) /s ? $1 : $text;
}

# Route expressions: EXPR, arguments, is it taken?
my @expressions = (
    ["arg('a') == 'billing'", { a => 'billing' }, 1],
    ["arg('a') == 'billing'", { a => 'Billing' }, 0],
    ["arg('a') == 'billing'", {}, 0],
    ["arg('a') == 'billing'", { a => "' || true || '" }, 0],
    ["arg('a') == 'billing'", { a => "billing\n" }, 0],
    ["arg('a') =~ /^bill/", { a => 'billing' }, 1],
    ["arg('a') =~ /^BILL/i", { a => 'billing' }, 1],
    ["arg('a') !~ /bill/", { a => 'sales' }, 1],
    ["arg('zip') =~ /^9\\d{4}\$/", { zip => '94103' }, 1],
    ["arg('zip') =~ /^9\\d{4}\$/", { zip => 941030 }, 0],
    ["arg('zip') =~ m#^(\\d)(\\d+)#", { zip => '94103' }, 1],
    ["arg('a') =~ /^(\\w+)-(\\w+)\$/ && '\$2' == 'es'", { a => 'billing-es' }, 1],
    ["arg('a') =~ /^(\\w+)-(\\w+)\$/ && '\$2' == 'es'", { a => 'billing-en' }, 0],
    ["arg('a') =~ /^(\\w+)-(\\w+)\$/ && '\$2' == 'es'", { a => '$2-es-es' }, 0],
    ["arg('a') =~ /^(.*)\$/ && tolower('\$1') == '%{arg:b}'", { a => 'ABC', b => 'abc' }, 1],
    ["arg('a') =~ /(*LIMIT_MATCH=1000)^(a+)+\$/", { a => ('a' x 40) . 'b' }, 0],
    ["arg('a') in {'billing', 'invoices'}", { a => 'invoices' }, 1],
    ["arg('n') -gt 3 && arg('n') -lt 5", { n => 4 }, 1],
    ["arg('n') -gt 3", { n => 'many' }, 0],
    ["-z arg('a') && ! -n arg('b')", {}, 1],
    ["arg('a') -strmatch 'b*g'", { a => 'billing' }, 1],
    ["tolower(arg('a')) == 'billing' and not (arg('b') == 'x')", { a => 'BILLING' }, 1],
    ["arg('c.id') == '7' && arg('/c/list/1') == 'b' && arg('c.list.length') == '2'", { c => { id => 7, list => ['a', 'b'] } }, 1],
    ["arg('t') == 'true' && arg('n') == '1.50'", { t => JSON::PP::true, n => 1.5 }, 0],
    ["msg('/call/type') == 'inboundPhoneCall' && msg('customer.number') == %{VAPI_CALLER}", {}, 1],
    ["%{VAPI_CALLER} =~ /^\\+1415/ && %{VAPI_TURNS} -eq 1 && %{VAPI_ATTEMPT} == '0'", {}, 1],
    ["%{VAPI_TRANSCRIPT} =~ /QUESTION about/i && %{VAPI_LAST_SAID} =~ /bill/", {}, 1],
    ["%{REMOTE_ADDR} -ipmatch '127.0.0.0/8' && req('X-Tier') == 'gold'", {}, 1],
    ["%{TIME_YEAR} -ge 2024 && 'a' . 'b' == 'ab'", {}, 1],
    [('tolower(' x 30) . "arg('a')" . (')' x 30) . " == 'x'", { a => 'x' }, 0, 'fails'],
    [('tolower(' x 30) . "arg('a')" . (')' x 30) . " != 'x'", { a => 'words-of-the-caller' }, 0, 'fails'],
);

my $control = VapiControl->new;
my @conf = ('VapiCredential test hmac secret=file:@DIR@/vapi.secret preset=body-only', 'VapiDestination yes +14155550101', 'VapiDestination other +14155550102 say="Other."',
    'VapiDestination wrong +14155550103 caller-id=%{arg:none}', 'VapiDestination loop +14155550104 say="' . $deep . '"');
my @locations;
sub location {
    my ($path, @lines) = @_;
    push @locations, qq{<Location "/$path">}, 'SetHandler vapi-transfer', 'VapiAuthenticate test', @lines, split(/\n/, $control->conf), '</Location>';
}

# A word of the configuration.
sub quoted {
    my ($text) = @_;
    utf8::encode($text);
    $text =~ s/\\(?=["\\]|\z)/\\\\/g;
    $text =~ s/"/\\"/g;
    return qq{"$text"};
}

for my $i (0 .. $#spoken) {
    my $say = quoted($spoken[$i][0]);
    push @conf, "VapiDestination say-$i +14155550101 say=$say";
    location("say-$i", qq{VapiRoute say-$i "-n %{VAPI_CALL}"}, 'VapiRoute other');
    location("result-$i", "VapiRoute yes result=$say");
    location("none-$i", "VapiRoute none result=$say");
}
location("expr-$_", 'VapiRoute yes ' . quoted($expressions[$_][0]), 'VapiRoute other') for 0 .. $#expressions;

my $all = 'r=%{VAPI_ROUTE} t=%{VAPI_TARGET} d=%{VAPI_DESTINATION} m=%{VAPI_MEMBER} o=%{VAPI_OUTCOME} w=%{VAPI_REASON}';
push @conf, qq{VapiDestination told +14155550105 say="$all"}, 'VapiTransferPlan told warm-transfer-say-message message="%{VAPI_ROUTE} %{VAPI_DESTINATION} %{VAPI_REASON}"';
my $if = '"-n %{VAPI_CALL}"';
location('told', qq{VapiRoute told name=first plan=told result="$all"});
location('told-none', qq{VapiRoute none name=first result="$all"});
location('told-later', "VapiRoute wrong $if", qq{VapiRoute told "%{VAPI_REASON} == 'bad-argument'" name=second plan=told result="$all"}, 'VapiRoute other');
location('told-refused', "VapiRoute yes $if", qq{VapiRoute told "%{VAPI_REASON} == 'refused'" name=second plan=told result="$all"}, 'VapiRoute other');
location('told-refused-none', "VapiRoute yes $if", qq{VapiRoute none name=last result="$all"});
location('told-limited', "VapiLimit call=1", 'VapiSettle 0', "VapiRoute yes $if", qq{VapiRoute none name=last result="$all"});
location('result-fails', qq{VapiRoute yes result="$deep"});
location('none-fails', qq{VapiRoute none result="$deep"});

my $file = {
    type => 'assistant', assistantName => 'Triage',
    assistantOverrides => { variableValues => { note => 'x: %{arg:a}', plain => '{{customer.name}} %%{x}', list => ['%{arg:b}', 1, undef], deep => { b => '%{tolower:%{arg:b}}' } } },
};
push @conf, 'VapiDestination file json:@DIR@/file.json';
location('file', 'VapiRoute file');
my $sip_file = {
    type => 'sip', sipUri => 'sip:x@pbx.example.com', callerId => '%{arg:id}', sipHeaders => { 'X-Note' => '%{arg:note}' },
    transferPlan => { mode => 'warm-transfer-twiml', twiml => '<Response><Say>%{arg:a}</Say></Response>' },
};
my %files = ('file.json' => $json->encode($file), 'sip-file.json' => $json->encode($sip_file));
push @conf, 'VapiDestination sip-file json:@DIR@/sip-file.json';
location('sip-file', qq{VapiRoute sip-file $if}, 'VapiRoute other');

my $s = VapiTest->new(conf => join('', map { "$_\n" } @conf, @locations), files => {%files});
$s->allow_log(qr/an expression of the table failed: \S+httpd\.conf:\d+: VapiRoute yes$/, qr/outcome=limited/, qr/SIP destination is used for a call over pstn/);
$s->start;

my $call = 0;

sub deliver {
    my ($path, $args, %o) = @_;
    my $id = 'call-' . ++$call;
    my $body = vapi_tool_call(call => $id, control => $control->url($id, $o{behaviour}), args => $args, %o);
    my $reply = $s->signed_post("/$path", $body, headers => { 'x-tier' => 'gold' });
    reply_fits('tool-calls', $reply->{body}, "$path: Vapi takes the reply");
    return { call => $id, reply => $reply, result => $reply->{json}{results}[0]{result} };
}

# ---- spoken, and to the model
my @came = map { my $i = $_; [map { deliver("$_-$i", $spoken[$i][1]) } qw(say result none)] } 0 .. $#spoken;
my @decided = map { deliver("expr-$_", $expressions[$_][1]) } 0 .. $#expressions;
my $from_file = deliver('file', { a => "1 \"2\" \\ {{3}}\n4", b => 'Ü' });
my %good = (a => 'x</Say><Dial>1</Dial>', note => 'gold', id => '+14155550123');
my @from_sip_file = map { deliver('sip-file', { %good, %$_ }) } {}, { note => "gold\r\nRefer-To: x" }, { note => "\n" }, { id => 'x" <sip:y@z>' }, { id => 1 x 41 };
my %sent;
push @{ $sent{ $_->{call} } }, $_ for $control->requests;
for my $i (0 .. $#spoken) {
    my ($text, $args, $expected) = @{ $spoken[$i] };
    my $name = substr(ascii($text), 0, 60) . ' with ' . substr(ascii($json->encode($args)), 0, 60);
    my ($say, $result, $none) = @{ $came[$i] };
    my @requests = @{ $sent{ $say->{call} } || [] };
    is(ascii($requests[0]{json}{content}), ascii($expected // 'Other.'), "say: $name");
    control_fits($_->{body}, "say: Vapi takes it: $name") for @requests;
    is(ascii($result->{result}), ascii($expected // 'The call is being transferred.'), "result: $name");
    is(ascii($none->{result}), ascii($expected // "I can't transfer the call right now."), "result of none: $name");
}
is_deeply(
    $sent{ $from_file->{call} }[0]{json}{destination}{assistantOverrides}{variableValues},
    { note => "x: 1 \"2\" \\ { {3} }\n4", plain => '{{customer.name}} %{x}', list => ['Ü', 1, undef], deep => { b => 'Ü' } },
    'json: every string is a text, encoded as JSON',
);

{
    my ($good, @bad) = map { $sent{ $_->{call} }[0]{json}{destination} } @from_sip_file;
    is($good->{transferPlan}{twiml}, '<Response><Say>x&lt;/Say&gt;&lt;Dial&gt;1&lt;/Dial&gt;</Say></Response>', 'json: TwiML gets values as XML');
    is_deeply([@$good{qw(sipHeaders callerId)}], [{ 'X-Note' => 'gold' }, '+14155550123'], 'json: a header and a caller id');
    is($_->{number}, '+14155550102', 'json: a line end in a header, or what is no caller id: the next route') for @bad;
}

# ---- route expressions
for my $i (0 .. $#expressions) {
    my ($text, $args, $taken, $fails) = @{ $expressions[$i] };
    my @to = map { $_->{json}{destination}{number} } @{ $sent{ $decided[$i]{call} } || [] };
    is_deeply(\@to, [$taken ? '+14155550101' : '+14155550102'], substr(ascii($text), 0, 90) . ' with ' . substr($json->encode($args), 0, 40) . ($taken ? ' is true' : $fails ? ' fails, and the next route is taken' : ' is not true'));
}
my $failures = grep { $_->[3] } @expressions;
wait_until(sub { (() = $s->log =~ /an expression of the table failed/g) >= $failures }, 20);
is(scalar(() = $s->log =~ /an expression of the table failed/g), $failures, 'each failure is logged, with its place');

# ---- what the texts of a route can name
for my $case (
    ['told', 'r=first t=told d=told m= o= w=', 'first told', 'r=first t=told d=told m= o=transferred w='],
    ['told-later', 'r=second t=told d=told m= o= w=bad-argument', 'second told bad-argument', 'r=second t=told d=told m= o=transferred w=bad-argument'],
    ['told-refused', 'r=second t=told d=told m= o= w=refused', 'second told refused', 'r=second t=told d=told m= o=transferred w=refused', 'status=422'],
    ['told-none', undef, undef, 'r=first t=none d= m= o=answered w='],
    ['told-refused-none', undef, undef, 'r=last t=none d= m= o=answered w=refused', 'status=400'],
) {
    my ($path, $say, $message, $result, @script) = @$case;
    $control->clear;
    $control->script(@script);
    my $came = deliver($path, {});
    my ($last) = grep { ($_->{destination}{number} // '') eq '+14155550105' } $control->transfers;
    is($last->{content}, $say, "$path: spoken");
    is($last->{destination}{transferPlan}{message}, $message, "$path: to the operator");
    is($came->{result}, $result, "$path: to the model");
}
{
    deliver('told-limited', {}, call => 'limited', id => 'a', control => $control->url('limited'));
    my $came = deliver('told-limited', {}, call => 'limited', id => 'b', control => $control->url('limited'));
    like($came->{result}, qr/^r=last .*o=limited w=limited$/, 'over a limit: to the model');
}
is(deliver('result-fails', {})->{result}, 'The call is being transferred.', 'a result that cannot be evaluated: the usual one');
is(deliver('none-fails', {})->{result}, "I can't transfer the call right now.", 'of none too');
$s->no_canary('words-of-the-caller', 'question about my bill', 'Ann to Bob', 'passwd');
$s->stop;

# At the most talkative level no value is logged either.
{
    my $loud = VapiTest->new(log_level => 'trace8', files => {%files}, conf => join '', map { "$_\n" } @conf, @locations);
    $loud->allow_log(@{ $s->{allowed} });
    $loud->start;
    $s = $loud;
    my ($i) = grep { $spoken[$_][0] =~ /^Connecting %/ } 0 .. $#spoken;
    deliver("$_-$i", { a => 'canary-of-the-caller', b => 'Bob' }) for qw(say result none);
    deliver("expr-$_", { a => 'canary-of-the-caller' }) for 0 .. $#expressions;
    $s->no_canary('canary-of-the-caller', 'question about my bill');
}
done_testing;

# Names and comparisons stay readable on a console.
sub ascii {
    my ($text) = @_;
    return undef if !defined $text;
    $text =~ s/([^\x20-\x7e])/sprintf '\\x{%x}', ord $1/ge;
    return $text;
}
