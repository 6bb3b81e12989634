# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What the model sends with a tool call: what is checked, how a configuration reads it, and every variable beside it.
use strict;
use warnings;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;

# ---- checked by VapiTool and VapiParam

my %tools = (
    text => 'a string required', number => 'a number required', integer => 'a integer required', boolean => 'a boolean required', phone => 'a phone required',
    choice => 'a string required "Where to" enum=billing,support', whole => 'a integer required enum=1,2', optional => 'a phone',
    several => "a string required\n    VapiParam b integer required\n    VapiParam c boolean",
);

# A tool's name, its arguments as JSON, and what must come of it: the argument as the routes see it, or (a pattern) the error.
my $missing = qr/\A[^\n]*'a' is missing[^\n]*\z/;
my $wrong = qr/\A[^\n]*'a' must be[^\n]*\z/;
my @checked = (
    ['text', '{"a":"x"}', 'x'], ['text', '{"a":7}', '7'], ['text', '{"a":true}', 'true'], ['text', '{"a":"{single}"}', '{single}'], ['text', '{"a":"{{ open"}', '{ { open'],
    ['text', '{"a":"x","more":[1,2]}', 'x'], ['text', '{"a":"M\u00fcller \ud83d\ude00"}', "M\x{fc}ller \x{1f600}"],
    ['text', '{}', $missing], ['text', '{"a":null}', $missing], ['text', '{"a":""}', $missing], ['text', '{"A":"x"}', $missing], ['text', '{"b":"x"}', $missing],
    ['text', '{"a":"{{customerNumber}}"}', $missing], ['text', '{"a":"for {{ name }} now"}', $missing], ['text', '{"a":{}}', $wrong], ['text', '{"a":["x"]}', $wrong],
    ['number', '{"a":1}', '1'], ['number', '{"a":-1.5}', '-1.5'], ['number', '{"a":"2.5"}', '2.5'], ['number', '{"a":"1e3"}', '1000'], map({ ['number', qq({"a":$_}), '1'] } '" 1"', '"1 "'),
    map({ ['number', qq({"a":$_}), $wrong] } '"one"', '"1x"', 'true', '[1]', '"0x10"', '"inf"', '"nan"', '"."', '"1,5"', '"--1"'), ['number', '{"a":""}', $missing],
    ['integer', '{"a":5}', '5'], ['integer', '{"a":"-5"}', '-5'], ['integer', '{"a":5.0}', '5'], ['integer', '{"a":"007"}', '7'], map({ ['integer', qq({"a":$_}), $wrong] } '5.5', '"5.5"', '"five"', 'false', '"1e3"', '1e300'),
    ['boolean', '{"a":true}', 'true'], ['boolean', '{"a":false}', 'false'], ['boolean', '{"a":"True"}', 'true'], map({ ['boolean', qq({"a":$_}), $wrong] } '1', '0', '"yes"', '"truely"', '[true]'),
    map({ ['phone', qq({"a":"$_"}), s/[^+0-9]//gr] } '+14155550123', '4155550123', '(415) 555-0123', '+1 415.555.0123', '5550123'), ['phone', '{"a":"0044 20 7946 0000"}', '+442079460000'],
    map({ ['phone', qq({"a":"$_"}), $wrong] } 'my number', '12345', '+1415555012345678', '415-CALL-NOW', '+', '4155550123;ext=1', '++14155550123', '1+4155550123', 'sip:a@b.example'),
    ['phone', '{"a":14155550123}', $wrong], ['phone', '{"a":"{{customer.number}}"}', $missing],
    ['choice', '{"a":"billing"}', 'billing'], ['choice', '{"a":"support"}', 'support'], map({ ['choice', qq({"a":$_}), 'billing'] } '"Billing"', '" billing"'),
    map({ ['choice', qq({"a":$_}), $wrong] } '"sales"', '"billing,support"', '"bill"', '1', 'true'),
    ['choice', '{"a":"sales"}', qr/billing,? ?support/], ['whole', '{"a":2}', '2'], ['whole', '{"a":"1"}', '1'], ['whole', '{"a":3}', $wrong],
    ['optional', '{}', ''], ['optional', '{"a":null}', ''], ['optional', '{"a":"+14155550123"}', '+14155550123'], ['optional', '{"a":"nonsense"}', $wrong],
    ['several', '{"a":"x","b":1}', 'x'], ['several', '{"a":"x"}', qr/'b' is missing/], ['several', '{"a":"x","b":"y"}', qr/'b' must be/], ['several', '{"a":"x","b":1,"c":2}', qr/'c' must be/], ['several', '{"b":1}', $missing],
    ['other', '{"a":"x"}', qr/\Aunknown tool\z/], ['', '{"a":"x"}', qr/\Aunknown tool\z/], ['TEXT', '{"a":"x"}', qr/\Aunknown tool\z/], ['text ', '{"a":"x"}', qr/\Aunknown tool\z/],
);

# Texts that are no arguments, whatever the tool: an error, for an argument may be lost.
my @unreadable = ('{', 'x', '[1]', 'null', '7', '"x"', '"{}"', '{"a":1}x', '{"a":1,"a":2}', '{"a":"\ud83d"}', '{"a":"\u0000"}', '{"a":1e999}', '{"a":99999999999999999999}', "{'a':1}", '{"a":NaN}', "\x{feff}{\"a\":1}",
    '{"a":' . '[' x 300 . ']' x 300 . '}');
my @objects = ('[1]', '7', 'true', '{"a":1,"a":2}', '{"a":"\ud83d"}', '{"a":"\u0000"}', '{"a":1e999}', '{"a":99999999999999999999}');

# ---- read by arg()

my %arguments = (
    department => 'billing', customer => { id => 42, name => 'Ann', tags => ['a', 'b'], 'a.b' => 'dotted key', length => 'a member' }, 'customer.name' => 'exact', list => [{ n => 1 }, { n => 2 }],
    yes => JSON::PP::true, no => JSON::PP::false, null => undef, real => 1.5, big => 9007199254740993, negative => -7, zero => 0, empty => '', nothing => {}, none => [],
    'x/y' => 'slash', 'm~n' => 'tilde', '/deep/key' => 'a key like a pointer', 10 => 'ten', number => '007',
);
my @paths = (
    ['department', 'billing'], ['/department', 'billing'], ['customer.id', '42'], ['/customer/id', '42'], ['customer.name', 'exact'], ['/customer/name', 'Ann'], ['customer.a.b', 'dotted key'],
    ['customer.tags', '["a","b"]'], ['customer.tags.0', 'a'], ['/customer/tags/1', 'b'], ['customer.tags.2', ''], ['customer.tags.00', ''], ['customer.tags.-1', ''], ['customer.tags.+0', ''], ['/customer/tags/-', ''],
    ['customer.tags.length', '2'], ['customer.length', 'a member'], ['list.length', '2'], ['list.1.n', '2'], ['/list/0/n', '1'], ['list.0', '{"n":1}'], ['nothing.length', '0'], ['none.length', '0'], ['department.length', ''],
    ['yes', 'true'], ['no', 'false'], ['null', ''], ['real', '1.5'], ['big', '9007199254740993'], ['negative', '-7'], ['zero', '0'], ['empty', ''], ['number', '007'], ['nothing', '{}'], ['none', '[]'],
    ['/x~1y', 'slash'], ['x/y', 'slash'], ['/m~0n', 'tilde'], ['/m~2n', ''], ['/deep/key', 'a key like a pointer'], ['10', 'ten'], ['missing', ''], ['missing.deeper', ''], ['/missing', ''], ['department.deeper', ''],
    ['customer.', ''], ['.customer', ''], ['Customer.id', ''], ['.', ''], ['/', ''],
);

# ---- read by msg(), and the variables

my @of_message = (
    ["msg('/call/type')", 'inboundPhoneCall'], ["msg('call.type')", 'inboundPhoneCall'], ["msg('/phoneNumber/name')", 'Main line'], ["msg('assistant.model.messages.0.role')", 'system'],
    ["msg('artifact.messages.length')", '4'], ["msg('/artifact/messages/1/role')", 'bot'], ["msg('toolCallList.0.function.arguments.department')", 'billing'], ["msg('assistant.serverMessages.2')", 'status-update'],
    ["msg('call.nothing')", ''], ["msg('type')", 'tool-calls'], ["msg('/toolWithToolCallList/0/async')", 'false'], ["msg('assistant.transcriber')", '{"language":"en","model":"nova-2","provider":"deepgram"}'],
    ['VAPI_CALLER', '+14155550123'], ['VAPI_CALLED', '+14155550190'], ['VAPI_CALL', qr/\Acall-\d+\z/], ['VAPI_TYPE', 'tool-calls'], ['VAPI_TOOL', 'transferCall'], ['VAPI_ASSISTANT', 'Front desk'], ['VAPI_PROVIDER', 'twilio'],
    ['VAPI_TRANSPORT', 'pstn'], ['VAPI_CALL_TYPE', 'inboundPhoneCall'], ['VAPI_TRANSCRIPT', 'AI: Good morning, how can I help? User: Billing! User: Please: a person.'], ['VAPI_LAST_SAID', 'Please: a person.'], ['VAPI_TURNS', '2'],
    ['VAPI_LANGUAGE', 'en'], ['VAPI_ATTEMPT', '0'], ['VAPI_ROUTE', 'none'], ['VAPI_TARGET', 'none'], ['VAPI_DESTINATION', ''], ['VAPI_MEMBER', ''],
    ['vapi_caller', '+14155550123'], ['REQUEST_METHOD', 'POST'], ['tolower:%{VAPI_ASSISTANT}', 'front desk'], ['toupper:%{arg:department}', 'BILLING'],
);

my $s = VapiTest->new(conf => conf())->start;
$s->allow_log(qr/outcome=no-route reason=bad-argument/);

for (@checked) {
    my ($tool, $arguments, $expected) = @$_;
    my $got = ask('/checked', name => $tool, args => bless(\$arguments, 'Raw'));
    my $shown = length $arguments > 60 ? substr($arguments, 0, 60) . '...' : $arguments;
    ref $expected ? like($got->{error}, $expected, "refused: $tool $shown") : is($got->{result}, "[$expected]", "taken: $tool $shown");
}
for my $text (@unreadable) {
    like(ask('/any', args => $text)->{error}, qr/\A[^\n]*arguments[^\n]*\z/, 'unreadable, in a string: ' . substr $text =~ s/[^ -~]/./gr, 0, 40);
}
for my $text (@objects) {
    like(ask('/any', args => bless(\"$text", 'Raw'))->{error}, qr/\A[^\n]*arguments[^\n]*\z/, "unreadable: $text");
}
is(ask('/any', args => '')->{result}, '[]', 'an empty string: no arguments');
is(ask('/any', name => 'whatever you like', args => {})->{result}, '[]', 'without VapiTool any name is answered');

# 4 KB for each
is(length ask('/long', args => { a => 'x' x 4096 })->{result}, 4, '4,096 bytes are an argument');
my %long = ('4,097 bytes' => { a => 'x' x 4097 }, 'a megabyte' => { a => 'x' x 1_000_000 }, 'one that nobody asks for' => { other => 'x' x 5000 }, 'a long list' => { a => [(1) x 3000] }, 'a long object' => { a => { b => { c => 'x' x 5000 } } },
    '4,097 bytes of two each' => { a => "\x{e4}" x 2049 });
like(ask('/long', args => $long{$_})->{error}, qr/too long/, "too long: $_") for sort keys %long;
is(ask('/long', args => { map { ("k$_" => 'x' x 4000) } 1 .. 20 })->{result}, 'long', 'many arguments of 4 KB');

# In messages that ask for a destination the same holds.
my $asked = $s->signed_post('/checked', vapi_message('transfer-destination-request', fields => { functionCall => { name => 'phone', parameters => { a => 'nobody' } } }));
like($asked->{json}{error}, $wrong, 'a destination request with a wrong argument');

# ---- arg() and msg()

for my $i (0 .. $#paths) {
    is(ask("/path/$i", args => \%arguments)->{result}, "[$paths[$i][1]]", "arg('$paths[$i][0]')");
}
for my $i (0 .. $#of_message) {
    my ($expression, $expected) = @{ $of_message[$i] };
    my $got = ask("/message/$i", call => "call-$i", args => { department => 'billing' }, said => ['Billing!', 'Please: a person.'])->{result};
    ref $expected ? like($got =~ s/[][]//gr, $expected, $expression) : is($got, "[$expected]", $expression);
}

# ---- in expressions

my %routed = (
    'a text' => [{ department => 'billing' }, 'equal'], 'a number, compared' => [{ n => 10 }, 'greater'], 'a number in a string' => [{ n => '10' }, 'greater'], 'a smaller number' => [{ n => 9 }, 'last'],
    'true' => [{ urgent => JSON::PP::true }, 'true'], 'false' => [{ urgent => JSON::PP::false }, 'last'], 'a pattern' => [{ zip => '94107' }, 'pattern'], 'in a list' => [{ lang => 'es' }, 'list'],
    'nothing' => [{}, 'last'], 'text that looks like an expression' => [{ department => "x' || 'a' == 'a" }, 'last'], 'a placeholder in a value' => [{ department => '%{VAPI_CALLER}' }, 'last'],
);
for (sort keys %routed) {
    is(ask('/routed', args => $routed{$_}[0])->{result}, $routed{$_}[1], "routed by $_");
}
is(ask('/routed', caller => '+4915112345678')->{result}, 'german', 'routed by the caller');
is(ask('/routed', caller => 'anonymous')->{result}, 'unknown', 'a caller who is none is unknown');
is(ask('/routed', caller => undef)->{result}, 'unknown', 'and so is none at all');

# ---- what is known of the route that was chosen

my $transferred = ask('/moves', call => 'moved', control => $control->url('moved'), args => { where => 'east' });
is($transferred->{result}, 'eastern east east transferred', 'VAPI_ROUTE, VAPI_TARGET, VAPI_DESTINATION, VAPI_OUTCOME in result=');
my ($sent) = $control->transfers;
is($sent->{content}, 'To east by eastern.', 'and in say=');
is(ask('/moves', call => 'web', call_type => 'webCall', control => $control->url('web'), args => { where => 'east' })->{result}, 'none: wrong-transport', 'VAPI_REASON: why the route before was not taken');
is(ask('/moves', call => 'other', control => $control->url('other'))->{result}, 'none: no-match', 'VAPI_REASON: none was true');
is(ask('/moves', call => 'handed', control => $control->url('handed'), args => { where => 'team' })->{result}, 'handed-off', 'VAPI_OUTCOME of a handoff');
is_deeply([map { ask('/attempts', call => 'again', id => "call_$_")->{result} } 1 .. 3, 3], ['attempt 0', 'attempt 1', 'attempt 2', 'attempt 2'], 'VAPI_ATTEMPT counts what was decided, and not what came again');
ask('/spoken', call => 'spoken', control => $control->url('spoken', 'status=404'), async => 1);
wait_until(sub { grep { $_->{json}{type} eq 'say' } $control->requests }, 20);
is_deeply([map { $_->{json}{content} } grep { $_->{json}{type} eq 'say' } $control->requests], ['failed call-gone east'], 'VAPI_OUTCOME and VAPI_REASON in what is said of a failure');
$s->allow_log(qr/outcome=failed/);

# ---- a caller's words are encoded where they go

is(ask('/any', args => { a => "{{ secret }} {% x %}\nline" })->{result}, '[{ { secret } } { % x % } line]', 'an argument brings no template and no line');
like(ask('/any', args => { a => join ' ', ('longer') x 500 })->{result}, qr/\A.{990,1000}(?<= longer)\z/, 'and is cut at a word to 1,000 characters');
$s->no_canary('4155550123', 'Please: a person', 'Ann', '94107');

configtest_fails(endpoint_conf(undef, @{ $_->[0] }), $_->[1], "refused: $_->[0][-1]") for (
    [['VapiParam a string'], qr/VapiParam: needs a VapiTool before it/],
    [['VapiTool t', 'VapiParam a text'], qr/VapiParam: the type 'text' is none of string/],
    [['VapiTool t', 'VapiParam a strin'], qr/did you mean string/],
    [['VapiTool t', 'VapiParam a string', 'VapiParam a string'], qr/VapiParam: 'a' is given twice for the tool t/],
    [['VapiTool t', 'VapiTool t'], qr/VapiTool: 't' is given twice/],
    [['VapiTool "two words"'], qr/VapiTool: 'two words'/],
    [['VapiTool t', 'VapiParam a string enum='], qr/VapiParam: enum= is empty/],
    [['VapiTool t', 'VapiParam a string enu=a'], qr/VapiParam: .*did you mean 'enum'/],
    [[q{VapiRoute none "arg('') == 'x'"}], qr/arg\(''\) names no value/],
    [['VapiRoute none result="%{VAPI_CALER}"'], qr/there is no variable %\{VAPI_CALER\}; did you mean %\{VAPI_CALLER\}/],
    [[q{VapiRoute none "ar('x') == 'x'"}], qr/there is no function ar\(\); did you mean arg\(\)/],
);
done_testing;

sub conf {
    my $conf = "VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\nVapiAuthenticate test\n"
        . "VapiDestination east +14155550101\nVapiDestination team assistant:Team\n" . $control->conf;
    my $endpoint = sub { my ($path, @lines) = @_; $conf .= join("\n    ", "<Location \"$path\">", 'SetHandler vapi-transfer', @lines) . "\n</Location>\n" };
    $endpoint->('/checked', (map { ("VapiTool $_ \"A tool.\"", "VapiParam $tools{$_}") } sort keys %tools), 'VapiRoute none result="[%{arg:a}]"');
    $endpoint->('/any', 'VapiRoute none result="[%{arg:a}]"');
    $endpoint->('/long', 'VapiRoute none result=long');
    $endpoint->("/path/$_", "VapiRoute none result=\"[%{arg:$paths[$_][0]}]\"") for 0 .. $#paths;
    for (0 .. $#of_message) {
        my ($expression) = @{ $of_message[$_] };
        $expression = $expression =~ /^msg\('(.*)'\)$/ ? "msg:$1" : $expression;
        $endpoint->("/message/$_", "VapiRoute none result=\"[%{$expression}]\"");
    }
    $endpoint->('/routed', map { "VapiRoute none $_" }
        q{"arg('department') == 'billing'" result=equal}, q{"arg('n') -gt 9" result=greater}, q{"arg('urgent') == 'true'" result=true}, q{"arg('zip') =~ /^941/" result=pattern},
        q{"arg('lang') in { 'de', 'es' }" result=list}, q{"%{VAPI_CALLER} =~ /^\+49/" result=german}, q{"%{VAPI_CALLER} == ''" result=unknown}, 'result=last');
    $endpoint->('/moves', q{VapiRoute east "arg('where') == 'east'" name=eastern say="To %{VAPI_TARGET} by %{VAPI_ROUTE}." result="%{VAPI_ROUTE} %{VAPI_TARGET} %{VAPI_DESTINATION} %{VAPI_OUTCOME}"},
        q{VapiRoute team "arg('where') == 'team'" result="%{VAPI_OUTCOME}"}, 'VapiRoute none result="%{VAPI_ROUTE}: %{VAPI_REASON}"');
    $endpoint->('/attempts', 'VapiRoute none result="attempt %{VAPI_ATTEMPT}"');
    $endpoint->('/spoken', 'VapiRoute east', 'VapiFailureSay "%{VAPI_OUTCOME} %{VAPI_REASON} %{VAPI_TARGET}"');
    return $conf;
}

# The answer to one tool call. Arguments that are Raw stand in the message as they are written.
sub ask {
    my ($path, %o) = @_;
    my $raw = ref $o{args} eq 'Raw' ? ${ $o{args} } : undef;
    $o{args} = { raw => 'arguments' } if defined $raw;
    my $body = vapi_tool_call(call => vapi_uuid(), %o);
    $body =~ s/\{"raw":"arguments"\}/$raw/g if defined $raw;
    return $s->signed_post($path, $body)->{json}{results}[0];
}
