# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What the model asked once is done once: across processes, threads, restarts and the death of everything in between.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
use VapiTest;

my $control = VapiControl->new;
my @log = ('LogFormat "%P %{vapi-outcome}n %{vapi-type}n %{vapi-call}n" decision', 'CustomLog "@DIR@/decisions" decision');
my @route = ('VapiDestination billing +14155550100', 'VapiRoute billing');

# VapiSettle 0: nothing but the claim keeps a tool call from being done twice.
sub server {
    my ($o, @lines) = @_;
    return VapiTest->new(processes => 3, %$o, conf => join("\n", @log, '') . endpoint_conf($control, @route, 'VapiSettle 0', @lines))->start;
}

sub tool_call { my ($call, $id, %o) = @_; return vapi_tool_call(call => $call, id => $id, timeout => 60, control => $control->url($call, delete $o{behaviour}), %o) }
sub ask { my ($s, @how) = @_; return $s->signed_post('/vapi/transfer', tool_call(@how)) }
sub said { my ($reply) = @_; my $first = $reply->{json}{results}[0] || $reply->{json}; return $first->{result} // $first->{error} }
sub posts { my ($call) = @_; return scalar grep { $_->{call} eq $call && $_->{method} eq 'POST' } $control->requests }

# The outcomes of this call that were written down, once there are as many.
sub outcomes {
    my ($s, $count, $call) = @_;
    my @lines;
    wait_until(sub { @lines = grep { / \Q$call\E$/ } split /\n/, -e $s->dir . '/decisions' ? slurp($s->dir . '/decisions') : ''; @lines >= $count }, 20);
    return map { [split / /] } @lines;
}

# A process that lets the control API answer as soon as so many clients are connected, and had a moment to be heard.
sub released_when_connected {
    my ($s, $name, $count) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    VapiGuard::leave();
    my $connected = sprintf '^ *\d+: \S+:%04X \S+ 01 ', $s->port;
    wait_until(sub { (() = slurp('/proc/net/tcp') =~ /$connected/mg) >= $count }, 20);
    sleep 0.2;
    $control->release($name);
    POSIX::_exit(0);
}

# Four threads a process: a crowd is more than one process can hear.
my $s = server({ threads => 4 }, 'VapiBudget 30', 'VapiControlTimeout 30');

{
    my $first = ask($s, 'again', 'call_A');
    is($first->{status}, 200, 'a tool call is answered');
    is(said($first), 'The call is being transferred.', 'and transferred');
    is(ask($s, 'again', 'call_A')->{body}, $first->{body}, "it comes again: the same reply ($_)") for 1, 2;
    is(posts('again'), 1, 'one transfer');
    $s->graceful;
    is(ask($s, 'again', 'call_A')->{body}, $first->{body}, 'after a graceful restart: the same reply');
    $s->restart;
    is(ask($s, 'again', 'call_A')->{body}, $first->{body}, 'after stop and start: the same reply');
    $s->kill9_all;
    $s->start;
    is(ask($s, 'again', 'call_A')->{body}, $first->{body}, 'after the death of all processes: the same reply');
    is(posts('again'), 1, 'still one transfer');
    is(said(ask($s, 'again', 'call_B')), 'The call is being transferred.', 'another tool call of it is another request');
    is(posts('again'), 2, 'and another transfer');
}

{
    my $body = tool_call('crowd', 'call_A', behaviour => 'hold=crowd');
    my %replies;
    my $releases = released_when_connected($s, 'crowd', 20);
    $replies{ $_->{body} }++ for $s->post_many(map { ['/vapi/transfer', $body, $s->signed($body)] } 1 .. 20);
    waitpid $releases, 0;
    is(scalar keys %replies, 1, 'twenty at the same moment get the same reply');
    like((keys %replies)[0], qr/"result":"The call is being transferred\."/, 'which is that of the transfer');
    is(posts('crowd'), 1, 'one transfer');
    my @new = outcomes($s, 20, 'crowd');
    is(scalar @new, 20, 'each is written down');
    is(scalar(grep { $_->[1] eq 'transferred' } @new), 1, 'one did it');
    is(scalar(grep { $_->[1] eq 'duplicate' } @new), 19, 'nineteen knew that they are duplicates');
    my %processes = map { ($_->[0] => 1) } @new;
    cmp_ok(scalar keys %processes, '>', 1, 'several processes had a part in it, of four threads each');
}

{
    my $working = $s->post_start('/vapi/transfer', tool_call('wait', 'call_A', behaviour => 'hold=wait'));
    wait_until(sub { posts('wait') }, 20);
    my $hasty = ask($s, 'wait', 'call_A', timeout => 1);
    is(said($hasty), 'This transfer is already in progress.', 'a duplicate whose time is over first: it is in progress');
    like($hasty->{body}, qr/"error"/, 'which is an error to the model');
    cmp_ok($hasty->{ms}, '<', 15_000, 'when three quarters of the time-out of its tool are over');
    my $waiting = $s->post_start('/vapi/transfer', tool_call('wait', 'call_A'));
    sleep 0.3;
    $control->release('wait');
    my ($first, $patient) = map { $s->post_finish($_) } $working, $waiting;
    is(said($first), 'The call is being transferred.', 'the first is transferred');
    is($patient->{body}, $first->{body}, 'a duplicate that can wait gets its reply');
    is(posts('wait'), 1, 'one transfer');
}

{
    my $first = ask($s, 'changed', 'call_A', args => { department => 'billing' });
    is(ask($s, 'changed', 'call_A', args => { department => 'sales' })->{body}, $first->{body}, 'the same id with other arguments: the reply of the first');
    is(posts('changed'), 1, 'and no second transfer');
    $s->log_like(qr/call=changed a tool call came again with other arguments/, 'the administrator is told');
    is(ask($s, 'elsewhere', 'call_A')->{status}, 200, 'the same id in another call');
    is(posts('elsewhere'), 1, 'is another request');
}

# Several tool calls in one delivery: the ids, the texts that come back, the transfers.
for my $case (
    ['two'    => [qw(call_A call_B)],        ['The call is being transferred.', qr/^A transfer of this call is under way\..* in 1 second\.$/]],
    ['twice'  => [qw(call_A call_A)],        [('The call is being transferred.') x 2]],
    ['three'  => [qw(call_C call_A call_C)], ['The call is being transferred.', qr/under way/, 'The call is being transferred.']],
) {
    my ($call, $ids, $texts) = @$case;
    $s->allow_log(qr/call=$call .*outcome=limited/);
    my $body = tool_call($call, undef, calls => [map { { id => $_ } } @$ids]);
    my $reply = $s->signed_post('/vapi/transfer', $body);
    my @results = @{ $reply->{json}{results} };
    is_deeply([map { $_->{toolCallId} } @results], $ids, "$call: each is answered, in order");
    for my $i (0 .. $#$texts) {
        my $text = $results[$i]{result} // $results[$i]{error};
        ref $texts->[$i] ? like($text, $texts->[$i], "$call: answer $i") : is($text, $texts->[$i], "$call: answer $i");
    }
    is($s->signed_post('/vapi/transfer', $body)->{body}, $reply->{body}, "$call: the delivery again gets the same");
    is(posts($call), 1, "$call: one transfer");
}

# Legacy function-calls have no id: they are known by their time.
{
    my $function_call = sub {
        my ($time, $department) = @_;
        my %function = (name => 'transferCall', parameters => { department => $department // 'billing' });
        return $s->signed_post('/vapi/transfer', vapi_message('function-call', call => 'legacy', control => $control->url('legacy'),
            fields => { timestamp => $time, functionCall => \%function }));
    };
    my $first = $function_call->(1777906931001);
    is_deeply($first->{json}, { result => 'The call is being transferred.' }, 'a function-call is transferred');
    is($function_call->(1777906931001)->{body}, $first->{body}, 'the same again: the same reply');
    is(posts('legacy'), 1, 'one transfer');
    $function_call->(1777906935001);
    is(posts('legacy'), 2, 'another time is another one');
}

# Another virtual host: the same ids are another delivery there.
{
    my $hosts = VapiTest->new(conf => join('', map {
        "<VirtualHost 127.0.0.1:\@PORT\@>\nServerName $_.example.com\n" . endpoint_conf($control, @route, 'VapiSettle 0') . "</VirtualHost>\n"
    } qw(one two)))->start;
    my $at = sub { my ($host) = @_; return $hosts->post_finish($hosts->post_start('/vapi/transfer', tool_call('hosts', 'call_A'), host => "$host.example.com")) };
    is(said($at->($_)), 'The call is being transferred.', "virtual host $_ transfers") for qw(one two);
    is(posts('hosts'), 2, 'each for itself');
    $at->($_) for qw(two one one);
    is(posts('hosts'), 2, 'and once');
    $hosts->restart;
    $at->($_) for qw(two one);
    is(posts('hosts'), 2, 'after a restart too');
    $hosts->stop;
}

# ---- messages that are answered without a POST

sub last_tool_call {
    my ($id, $department) = @_;
    my $function = { name => 'transferCall', arguments => $department ? qq({"department":"$department"}) : '{}' };
    return { messages => [{ role => 'user', message => 'Hello' }, $id ? { role => 'tool_calls', toolCalls => [{ id => $id, type => 'function', function => $function }] } : ()] };
}

# Each is limited to one transfer a call: a second decision would show. [type, what tells one from the other => a, b]
{
    my $limited = VapiTest->new(processes => 3, conf => join("\n", @log, '') . endpoint_conf($control, 'VapiDestination billing +14155550100',
        'VapiDestination triage assistant:Triage', 'VapiDestination assistant assistant-id:7d2a5e1b-2f5c-4e0b-9f33-1f1d6b2c8a01', 'VapiLimit call=1', 'VapiSettle 0',
        qq(VapiRoute assistant "%{VAPI_TYPE} == 'handoff-destination-request'"), 'VapiRoute billing'))->start;
    for my $case (
        ['transfer-destination-request', 'by the last tool call', sub { (artifact => last_tool_call($_[0])) }],
        ['transfer-destination-request', 'by its time', sub { (artifact => last_tool_call(), fields => { timestamp => $_[0] }) }],
        ['handoff-destination-request', 'by the last tool call', sub { (artifact => last_tool_call($_[0])) }],
        ['handoff-destination-request', 'by its time', sub { (artifact => last_tool_call(), fields => { timestamp => $_[0] }) }],
    ) {
        my ($type, $by, $fields) = @$case;
        (my $call = "$type-$by") =~ s/ /-/g;
        my $request = sub { my ($id) = @_; return $limited->signed_post('/vapi/transfer', vapi_message($type, call => $call, $fields->($id))) };
        $limited->allow_log(qr/call=$call .*outcome=limited/);
        my $first = $request->('1777906931001');
        ok($first->{json}{destination}, "$type, known $by: a destination is given") or diag($first->{body});
        is($request->('1777906931001')->{body}, $first->{body}, "$type, known $by: again, the same");
        ok($request->('1777906932002')->{json}{error}, "$type, known $by: another one is decided anew");
        is($request->('1777906931001')->{body}, $first->{body}, "$type, known $by: and the first has its reply still");
    }
    my @said = map { $limited->signed_post('/vapi/transfer', vapi_message('assistant-request', call => 'ring', fields => { timestamp => $_ }))->{body} } 1, 2;
    like($said[0], qr/"number":"\+14155550100"/, 'an assistant-request is answered');
    is($said[1], $said[0], 'once a call');

    # Calls that Vapi gives no id are as many as there are deliveries.
    for my $type ('assistant-request', 'transfer-destination-request') {
        my @nameless = map { qq({"message":{"type":"$type","call":{"type":"inboundPhoneCall","customer":{"number":"+1415555010$_"}}}}) } 1, 2;
        like($limited->signed_post('/vapi/transfer', $_)->{body}, qr/"number":"\+14155550100"/, "$type without a call's id: each is decided") for @nameless;
        like($limited->signed_post('/vapi/transfer', $nameless[0])->{body}, qr/"number":"\+14155550100"/, "$type without a call's id: and known again");
    }

    my @bodies = map { vapi_message('transfer-destination-request', call => 'changed-request', artifact => last_tool_call('call_A', $_)) } qw(billing sales);
    my @changed = map { $limited->signed_post('/vapi/transfer', $_)->{body} } @bodies;
    is($changed[1], $changed[0], 'the same tool call with other arguments: the reply of the first');
    $limited->log_like(qr/call=changed-request .*came again with other arguments/, 'and the administrator is told');

    my $body = vapi_message('transfer-destination-request', call => 'many-requests', artifact => last_tool_call('call_A'));
    my %replies;
    $replies{ $_->{body} }++ for $limited->post_many(map { ['/vapi/transfer', $body, $limited->signed($body)] } 1 .. 12);
    is(scalar keys %replies, 1, 'twelve destination requests at once get one reply');
    like((keys %replies)[0], qr/"destination"/, 'with the destination');

    my $count = 0;
    for (['ringing', 'ignored'], ['ringing', 'duplicate'], ['ended', 'ignored'], ['ended', 'duplicate'], ['ringing', 'duplicate']) {
        my ($status, $outcome) = @$_;
        my $reply = $limited->signed_post('/vapi/transfer', vapi_message('status-update', call => 'status', fields => { status => $status }));
        is($reply->{body}, '{}', "status-update $status: nothing to say");
        is((outcomes($limited, ++$count, 'status'))[-1][1], $outcome, "$status is $outcome");
    }
    $limited->stop;
}

# ---- the death of everything

# A start that has the store for itself knows at once that the dead are dead.
{
    my $mortal = server({ files => { 'api.key' => "key\n" } }, 'VapiBudget 40', 'VapiControlTimeout 40', 'VapiApiKey file:@DIR@/api.key url=' . $control->base . '/hang');
    $mortal->allow_log(qr/VapiApiKey/);
    my $sent = $mortal->post_start('/vapi/transfer', tool_call('asked', 'call_A', behaviour => 'hang'));
    my $unsent = $mortal->post_start('/vapi/transfer', vapi_tool_call(call => 'preparing', id => 'call_A', timeout => 60));
    my $start = time;
    ok(wait_until(sub { posts('asked') && grep { $_->{path} =~ m{/call/preparing$} } $control->requests }, 20), 'one POST is out, another is being prepared');
    $mortal->kill9_all;
    is($mortal->post_finish($_)->{status}, 0, 'they got no answer') for $sent, $unsent;
    $mortal->start;
    my ($asked, $lost) = $mortal->post_many(map { ['/vapi/transfer', $_, $mortal->signed($_)] } tool_call('asked', 'call_A'), tool_call('preparing', 'call_A'));
    cmp_ok(time, '<', $start + 40, 'before the time of either was over');
    is(said($asked), 'The transfer may be under way.', 'killed while the POST was out: the retry says that it may be under way');
    is(posts('asked'), 1, 'and sends nothing');
    is(said($lost), 'The call is being transferred.', 'killed before the POST: the retry transfers');
    is(posts('preparing'), 1, 'once');
    is(ask($mortal, 'preparing', 'call_A')->{body} =~ /being transferred/ ? posts('preparing') : 'another reply', 1, 'and is known again');
    is(said(ask($mortal, 'asked', 'call_A')), 'The transfer may be under way.', 'the lost one stays what it is');
    is(posts('asked'), 1, 'nothing is sent again');
    $mortal->stop;
}

done_testing;
