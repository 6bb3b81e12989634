# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Every shape in which Vapi sends a tool call. The argument and the tool's name choose the route: whichever is lost is seen in the transfer.
use strict;
use warnings;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $right = '+14155550101';
my $lost = '+14155550909';
my $control = VapiControl->new;
my $s = VapiTest->new(conf => endpoint_conf($control,
    "VapiDestination right $right", "VapiDestination lost $lost",
    'VapiDestination team assistant:Team', 'VapiDestination nobody assistant:Nobody',
    q{VapiRoute right "arg('department') == 'billing' && %{VAPI_TOOL} == 'escalate'"},
    q{VapiRoute none "arg('department') == 'closed'" result="It is\tclosed. %{arg:note}"},
    'VapiRoute lost result="Lost: %{arg:note}"',
) . requests_conf())->start;
my $calls = 0;
my %expected;    # call id => the number that it must be sent to

# ---- lists x places of the arguments x places of the name (W8-W14)

my $arguments = { department => 'billing' };
my $text = $json->encode($arguments);
my %argument_places = (
    'function.arguments, a string' => [function => arguments => $text], 'function.arguments, an object' => [function => arguments => $arguments],
    'function.parameters' => [function => parameters => $arguments], 'function.parameters, a string' => [function => parameters => $text],
    'arguments, a string' => [call => arguments => $text], 'arguments, an object' => [call => arguments => $arguments],
    'parameters' => [call => parameters => $arguments], 'parameters, a string' => [call => parameters => $text],
);
my %name_places = (
    'function.name' => [call => { function => { name => 'escalate' } }], 'name' => [call => { name => 'escalate' }],
    'the tool\'s function.name' => [tool => { function => { name => 'escalate' } }], 'the tool\'s name' => [tool => { name => 'escalate' }],
    'tool.name' => [tool => { tool => { name => 'escalate' } }],
);
for my $list (qw(toolCallList toolWithToolCallList toolCalls)) {
    for my $place (sort keys %argument_places) {
        for my $name (sort keys %name_places) {
            my ($where, $key, $value) = @{ $argument_places{$place} };
            my ($name_where, $named) = @{ $name_places{$name} };
            my $call = { id => 'call_1', type => 'function' };
            $where eq 'function' ? ($call->{function}{$key} = $value) : ($call->{$key} = $value);
            $call->{function}{name} = $named->{function}{name} if $name_where eq 'call' && $named->{function};
            $call->{name} = $named->{name} if $name_where eq 'call' && $named->{name};
            my %tool = $name_where eq 'tool' ? %$named : ();
            my %lists = $list eq 'toolWithToolCallList' ? ($list => [{ type => 'function', %tool, toolCall => $call }])
                : ($list => [$call], %tool ? (toolWithToolCallList => [{ %tool, toolCall => { id => 'call_1' } }]) : ());
            is_deeply(moved('right', 'tool-calls', %lists), result('call_1'), "$list, arguments in $place, name in $name");
        }
    }
}
is_deeply(moved('right', 'tool_calls', toolCallList => [call('call_1')]), result('call_1'), 'the type written tool_calls');

# ---- the same call in several lists is one call

my $empty = { id => 'call_1', function => { name => 'escalate', arguments => {} } };
my @lists = (
    [$empty, { toolCall => call('call_1') }, $empty], [call('call_1'), { toolCall => $empty }, $empty], [$empty, { toolCall => $empty }, call('call_1')],
    [{ id => 'call_1' }, { name => 'escalate', toolCall => { id => 'call_1' } }, { id => 'call_1', parameters => $arguments }],
);
for (@lists) {
    is_deeply(moved('right', 'tool-calls', toolCallList => [$_->[0]], toolWithToolCallList => [$_->[1]], toolCalls => [$_->[2]]), result('call_1'),
        'one call in three lists: answered once, its arguments found');
}
my $reply = moved('right', 'tool-calls', toolCallList => [call('a')], toolWithToolCallList => [{ toolCall => call('b') }], toolCalls => [call('c'), call('a')]);
is_deeply([map { $_->{toolCallId} } @{ $reply->{results} }], [qw(a b c)], 'three calls, one in each list: each is answered');

# ---- several calls in one message

my @several = (
    { id => '1', name => 'escalate', arguments => { department => 'closed', note => "line one\nline two" } }, call('2'),
    { id => '3', name => 'another', parameters => {} }, { id => '4', name => 'escalate', arguments => 'not JSON' }, call('5'),
);
$reply = moved('right', 'tool-calls', toolCallList => \@several);
is_deeply([map { "$_->{toolCallId} $_->{name}" } @{ $reply->{results} }], ['1 escalate', '2 escalate', '3 another', '4 escalate', '5 escalate'], 'five calls: answered in order, by name');
is($reply->{results}[0]{result}, 'It is\tclosed. line one line two', 'a none route before the transfer, in one line');
is($reply->{results}[1]{result}, 'The call is being transferred.', 'the first that can moves the call');
like($reply->{results}[$_]{error}, qr/under way.* ask again in \d+ seconds/, 'a later one does not, and is told so') for 2, 4;
like($reply->{results}[3]{error}, qr/arguments/, 'one that cannot be read does not stop the others');
$s->allow_log(qr/outcome=limited reason=busy/, qr/outcome=no-route reason=bad-argument/);

# ---- ids (T19)

my $long = 'x' x 10_240;
my $odd = "a\x01\n\t\"\\\x{e4}\x{2028}/<b>";
for (['10 KB', $long], ['control characters and quotes', $odd], ['a blank', ' '], ['an emoji', "\x{1f600}"], ['1', '1']) {
    my ($name, $id) = @$_;
    is_deeply(moved('right', 'tool-calls', toolCallList => [call($id)]), result($id), "an id of $name comes back as it was");
}
my %nameless = (
    'is missing' => {}, 'is null' => { id => undef }, 'is empty' => { id => '' }, 'is a number' => { id => 7 }, 'is an object' => { id => {} },
);
for my $name (sort keys %nameless) {
    my $call = { %{ call('x') } };
    delete $call->{id};
    is_deeply(unmoved('tool-calls', toolCallList => [{ %$call, %{ $nameless{$name} } }]), {}, "an id that $name cannot be answered");
}
$s->log_like(qr/:warn\] .*1 tool calls have no id and cannot be answered/, 'which the log says');
is_deeply(moved('right', 'tool-calls', toolCallList => [{ name => 'escalate', arguments => $arguments }, call('call_2')]), result('call_2'), 'the call beside it is answered and done');
is_deeply(unmoved('tool-calls', $_->[0] => $_->[1]), {}, "nothing to answer: $_->[0] is " . $json->encode([$_->[1]]))
    for [toolCallList => []], [toolCallList => undef], [toolCallList => 'x'], [toolCallList => {}], [toolCallList => [undef, 1, 'x', []]], [toolWithToolCallList => [{}]], [toolCalls => {}];
$s->allow_log(qr/0 tool calls have no id/);
$reply = moved('right', 'tool-calls', toolCallList => [call('same'), call('same')]);
is_deeply($reply, { results => [(result('same')->{results}[0]) x 2] }, 'the same id twice in a list: answered twice, done once');

# ---- a message that comes again

my $id = new_call('right');
my $body = message($id, 'tool-calls', toolCallList => [call('call_1')]);
my @answers = map { $s->signed_post('/vapi/transfer', $body)->{json} } 1 .. 3;
is_deeply(\@answers, [(result('call_1')) x 3], 'delivered three times: the same answer');
is_deeply($s->signed_post('/vapi/transfer', message($id, 'tool-calls', toolCalls => [call('call_1')]))->{json}, result('call_1'), 'and in another list');

# ---- answers are single-line strings

$reply = moved('lost', 'tool-calls', toolCallList => [{ id => '1', name => 'escalate', arguments => { note => "one\r\ntwo\ttabs\x{2028}three\x00four" =~ s/\x00/\x07/r } }]);
is($reply->{results}[0]{result}, 'Lost: one two tabs threefour', 'whatever an argument holds');
$reply = moved('lost', 'tool-calls', toolCallList => [{ id => '1', name => "a\nname", arguments => {} }]);
is($reply->{results}[0]{name}, "a\nname", 'the name is the one that was sent');
$reply = moved('lost', 'tool-calls', toolCallList => [{ id => '1', arguments => $arguments }]);
is($reply->{results}[0]{name}, '', 'also where there is none');

# ---- function-call

$id = new_call('right');
my %function = (functionCall => { name => 'escalate', parameters => $arguments }, timestamp => 1777906931000);
is_deeply(sent($id, 'function-call', %function), { result => 'The call is being transferred.' }, 'function-call: a result by itself');
is_deeply(sent($id, 'function-call', %function), { result => 'The call is being transferred.' }, 'the same time: the same answer');
like(sent($id, 'function-call', %function, timestamp => 1777906932000)->{error}, qr/under way/, 'another time: another request');
is_deeply(moved('right', 'function-call', functionCall => { name => 'escalate', parameters => $text }), { result => 'The call is being transferred.' }, 'parameters in a string');
is_deeply([keys %{ moved('lost', 'function-call', functionCall => { name => 'other', parameters => $arguments }) }], ['result'], 'another name');
like(unmoved('function-call', functionCall => { name => 'escalate', parameters => '{' })->{error}, qr/arguments/, 'parameters that cannot be read');
is_deeply(unmoved('function-call'), {}, 'no functionCall: nothing to do');

# ---- messages that ask for a destination: where their arguments stand

sub conversation { return artifact => { messages => [{ role => 'user', message => 'billing, please' }, @_, { role => 'bot', message => 'One moment.' }] } }
my $before = { role => 'tool_calls', toolCalls => [{ id => 'x0', function => { name => 'escalate', arguments => '{"department":"support"}' } }] };
my $last = { role => 'tool_calls', toolCalls => [{ id => 'x1', type => 'function', function => { name => 'escalate', arguments => $text } }] };
my %transfer = (
    'functionCall.parameters' => [functionCall => { name => 'escalate', parameters => $arguments }],
    'the last tool call of the conversation' => [conversation($before, $last)],
    'the last of several there' => [conversation({ role => 'tool_calls', toolCalls => [$before->{toolCalls}[0], $last->{toolCalls}[0]] })],
    'a conversation with tool_calls' => [conversation($before, { role => 'assistant', tool_calls => $last->{toolCalls} })],
    'arguments that are an object' => [conversation({ role => 'tool_calls', toolCalls => [call('x1')] })],
    'functionCall before the conversation' => [functionCall => { name => 'escalate', parameters => $arguments }, conversation($before)],
    'an empty functionCall' => [functionCall => { name => 'escalate', parameters => {} }, conversation($last)],
    'a tool result behind it' => [conversation($last, { role => 'tool_call_result', toolCallId => 'x1', result => 'ok' })],
);
for (sort keys %transfer) {
    is_deeply(asked('transfer-destination-request', @{ $transfer{$_} }), { destination => { type => 'number', number => $right } }, "transfer-destination-request: $_");
}
is_deeply(asked('transfer-destination-request', conversation($before)), { destination => { type => 'number', number => $lost } }, 'other arguments, another destination');
is_deeply(asked('transfer-destination-request'), { destination => { type => 'number', number => $lost } }, 'no arguments at all');
is_deeply(asked('handoff-destination-request', parameters => $arguments, conversation($before))->{destination}{assistantName}, 'Team', 'handoff-destination-request: message.parameters');
is_deeply(asked('handoff-destination-request', parameters => {}, conversation($last))->{destination}{assistantName}, 'Nobody', 'and nothing else');
like(asked('transfer-destination-request', functionCall => { name => 'escalate', parameters => '{' })->{error}, qr/arguments/, 'arguments that cannot be read: an error');
$s->allow_log(qr/outcome=no-route reason=bad-argument/);

# claimed by the id of the last tool call, else by the time
my ($first, $second) = map { call($_) } 'y1', 'y2';
$second->{function}{arguments} = { department => 'support' };
my $same = vapi_uuid();
my $ask = sub { $s->signed_post('/requests', message($same, 'transfer-destination-request', @_))->{json}{destination}{number} };
is($ask->(conversation({ toolCalls => [$first] })), $right, 'a first tool call');
is($ask->(conversation({ toolCalls => [$second] })), $lost, 'a second one of that call is decided anew');
is($ask->(conversation({ toolCalls => [$first] })), $right, 'the first again: its own answer');
is($ask->(timestamp => 1, functionCall => { name => 'escalate', parameters => $arguments }), $right, 'without a tool call the time tells');
is($ask->(timestamp => 2, functionCall => { name => 'escalate', parameters => {} }), $lost, 'one request from another');
is($ask->(timestamp => 1, functionCall => { name => 'escalate', parameters => {} }), $right, 'and the same one again');
$s->allow_log(qr/came again with other arguments/);

# ---- messages without a call

is_deeply($json->decode($s->signed_post('/vapi/transfer', $json->encode({ message => { type => 'tool-calls', toolCallList => [call('call_1')] } }))->{body})->{results}[0]{toolCallId},
    'call_1', 'no call in the message: answered all the same');
$s->log_like(qr/outcome=failed reason=no-control-url/, 'with the reason in the log');
$s->allow_log(qr/the payload has no control URL/);

my %number;
push @{ $number{ $_->{call} } }, $_->{json}{destination}{number} for $control->requests;
is_deeply(\%number, { map { ($_ => [$expected{$_}]) } keys %expected }, 'every call went, once, where its argument said');
cmp_ok(scalar keys %expected, '>', 120, 'and they are all here');
done_testing;

sub requests_conf {
    return <<'END';
<Location "/requests">
    SetHandler vapi-transfer
    VapiAuthenticate test
    VapiRoute team "arg('department') == 'billing' && %{VAPI_TYPE} == 'handoff-destination-request'"
    VapiRoute nobody "%{VAPI_TYPE} == 'handoff-destination-request'"
    VapiRoute right "arg('department') == 'billing' && %{VAPI_TOOL} == 'escalate'"
    VapiRoute lost
</Location>
END
}

sub call { my ($id) = @_; return { id => $id, type => 'function', function => { name => 'escalate', arguments => $arguments } } }

sub result { my ($id) = @_; return { results => [{ name => 'escalate', toolCallId => $id, result => 'The call is being transferred.' }] } }

# A new call that must be sent there.
sub new_call {
    my ($where) = @_;
    my $id = 'call-' . ++$calls;
    $expected{$id} = $where eq 'right' ? $right : $lost if $where;
    return $id;
}

sub message {
    my ($id, $type, %fields) = @_;
    return vapi_message($type, call => $id, control => $control->url($id), artifact => delete $fields{artifact}, fields => \%fields);
}

sub sent { my ($id, $type, %fields) = @_; return $s->signed_post('/vapi/transfer', message($id, $type, %fields))->{json} }

sub moved { my ($where, @message) = @_; return sent(new_call($where), @message) }

sub unmoved { my (@message) = @_; return sent(new_call(), @message) }

sub asked { my ($type, %fields) = @_; return $s->signed_post('/requests', message(new_call(), $type, %fields))->{json} }
