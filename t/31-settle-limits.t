# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# A call that is being moved is left alone for a while, and nobody is transferred more often than the administrator allows.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
use VapiTest;

my $control = VapiControl->new;
my $moving = qr/^A transfer of this call is under way\. If the caller is still here, ask again in (\d+) seconds?\.$/;
my $done = 'The call is being transferred.';

sub server {
    my ($o, @lines) = @_;
    my $s = VapiTest->new(%$o, conf => endpoint_conf($control, 'VapiDestination billing +14155550100 say="attempt %{VAPI_ATTEMPT}"', @lines)
        . "<Location \"/vapi/reports\">\nSetHandler vapi-transfer\nVapiAuthenticate test\nVapiRoute none\n</Location>\n")->start;
    $s->allow_log(qr/outcome=limited/);
    return $s;
}

# Asks for a transfer of this call with a new tool call; what the model gets to hear.
sub ask { my ($s, $call, %o) = @_; return said($s->signed_post($o{at} // '/vapi/transfer', tool_call($call, %o))) }
sub tool_call { my ($call, %o) = @_; return vapi_tool_call(control => $control->url($call, delete $o{behaviour}), %o, call => $call) }
sub said { my ($reply) = @_; my $first = $reply->{json}{results}[0]; return $first->{result} // $first->{error} }
sub posts { my ($call) = @_; return grep { $_->{call} eq $call } $control->requests }
sub contents { my ($call) = @_; return [map { $_->{json}{content} } posts($call)] }
sub transfers_of { my @statuses = @_; return (artifact => { transfers => [map { { status => $_ } } @statuses] }) }

# ---- VapiSettle, and VapiLimit caller=

# What ends after some seconds is asked for again at the end of this file.
my $settling = server({}, 'VapiSettle 8', 'VapiRoute billing');
is(ask($settling, 'settle'), $done, 'a call is transferred');
my $accepted = time;
{
    my ($seconds) = ask($settling, 'settle') =~ $moving;
    ok($seconds && $seconds <= 8, 'a second tool call is told to ask again in so many seconds') or diag($seconds // 'nothing');
    is(ask($settling, 'other'), $done, 'another call is not kept waiting');
    like(ask($settling, 'settle'), $moving, 'nor does asking go round it');
    is(scalar posts('settle'), 1, 'nothing more was sent');
}

my $limiting = server({ files => { 'api.key' => "key\n" } }, 'VapiSettle 0', 'VapiLimit caller=2/8', 'VapiApiKey file:@DIR@/api.key url=' . $control->base . '/ok', 'VapiRoute billing');
$limiting->allow_log(qr/VapiApiKey/);
my @caller = (caller => '+14155550777');
is(ask($limiting, "caller-$_", @caller), $done, "caller=2/8: call $_ of a caller") for 1, 2;
my $second = time;
{
    my $limited = ask($limiting, 'caller-3', @caller);
    is($limited, 'No more transfers of this call are possible now.', 'caller=2/8: no more, and no none route to say so');
    my $body = vapi_tool_call(call => 'caller-5', @caller);
    is(said($limiting->signed_post('/vapi/transfer', $body)), $limited, 'caller=2/8: over it');
    is(scalar posts('caller-5'), 0, 'caller=2/8: nothing is asked of Vapi either');
    is(ask($limiting, 'caller-4', caller => '+14155550778'), $done, 'caller=2/8: another caller');
    is(ask($limiting, "nobody-$_", caller => undef), $done, "caller=2/8: one without a number is nobody in particular ($_)") for 1 .. 3;
}

# That the first one failed is told after the second was accepted.
{
    my $s = server({}, 'VapiSettle 600', 'VapiDestination front +14155550199', q(VapiRoute front "%{VAPI_ATTEMPT} -eq 0"), 'VapiRoute billing');
    is(ask($s, 'early'), $done, 'a call is transferred');
    like(ask($s, 'early', transfers => [['+14155550199', 'connected']]), $moving, 'it is on its way');
    is(ask($s, 'early', transfers => [['+14155550199', 'no-answer']]), $done, 'that failed: to somebody else');
    is($s->signed_post('/vapi/transfer', vapi_message('conversation-update', call => 'early', transfers => [['+14155550777', 'connected'], ['+14155550199', 'no-answer']]))->{status}, 200, 'then it is shown again that the first failed');
    like(ask($s, 'early'), $moving, 'which says nothing of the second');
    is(ask($s, 'early', transfers => [['+14155550777', 'connected'], ['+14155550199', 'no-answer'], ['+14155550100', 'busy']]), $done, 'until that one is shown to have failed, too');
    $s->stop;
}

{
    my $s = server({}, 'VapiSettle 0', 'VapiRoute billing');
    is(ask($s, 'at-once'), $done, "VapiSettle 0: attempt $_ at once") for 0 .. 2;
    is_deeply(contents('at-once'), [map { "attempt $_" } 0 .. 2], 'VapiSettle 0: the attempts are counted');
    $s->stop;
}

{
    my $s = server({}, 'VapiRoute billing');
    # What the control API does, and whether the call counts as moved then.
    for my $case (
        ['ok', 1, 'accepted'], ['status=502', 1, 'unknown'], ['status=504', 1, 'unknown'], ['silent', 1, 'unknown'], ['reset', 1, 'unknown'], ['garbage', 1, 'unknown'],
        ['status=400', 0, 'refused'], ['body=error', 0, 'refused'], ['status=500', 0, 'failed'], ['status=404', 0, 'failed'], ['redirect', 0, 'failed'],
    ) {
        my ($behaviour, $is_shut, $what) = @$case;
        (my $call = "after-$behaviour") =~ s/=/-/;
        $s->allow_log(qr/call=$call .*outcome=$what/);
        my $first = ask($s, $call, behaviour => $behaviour);
        my $second = ask($s, $call);
        $is_shut ? like($second, $moving, "$behaviour ($what): the call is left alone") : is($second, $done, "$behaviour ($what): the call may be asked for again at once");
        is(scalar posts($call), $is_shut ? 1 : 2, "$behaviour: requests") or diag($first);
    }

    # What artifact.transfers shows with the first tool call, what a later message shows, and whether the call is open then.
    for my $case (
        ['failure',      [],               [qw(no-answer)],           1],
        ['busy',         [],               [qw(busy)],                1],
        ['voicemail',    [],               [qw(voicemail)],           1],
        ['failed',       [],               [qw(failed)],              1],
        ['cancelled',    [],               [qw(cancelled)],           1],
        ['connected',    [],               [qw(connected)],           0],
        ['completed',    [],               [qw(completed)],           0],
        ['unknown-word', [],               [qw(something-new)],       0],
        ['old-failure',  [qw(no-answer)],  [qw(no-answer)],           0],
        ['one-more',     [qw(no-answer)],  [qw(no-answer busy)],      1],
        ['one-more-ok',  [qw(no-answer)],  [qw(no-answer connected)], 0],
        ['overtaken',    [qw(busy busy)],  [qw(busy)],                0],
        ['nothing',      [],               [],                        0],
    ) {
        my ($call, $known, $shown, $is_open) = @$case;
        my %later = transfers_of(@$shown);
        is(ask($s, "$call-t", transfers_of(@$known)), $done, "$call: transferred");
        my $second = ask($s, "$call-t", %later);
        $is_open ? is($second, $done, "$call: a tool call that shows it goes through") : like($second, $moving, "$call: a tool call that shows it is kept waiting");
    }

    # Where a failure is shown, and of which call.
    my %failed = transfers_of('no-answer');
    for my $case (
        ['status-update',      '/vapi/transfer', sub { vapi_message('status-update', call => $_[0], %failed, fields => { status => 'in-progress' }) }, 1],
        ['other endpoint',     '/vapi/reports',  sub { vapi_message('status-update', call => $_[0], %failed, fields => { status => 'in-progress' }) }, 1],
        ['end-of-call-report', '/vapi/reports',  sub { vapi_message('end-of-call-report', call => $_[0], %failed) }, 1],
        ['any message',        '/vapi/reports',  sub { vapi_message('conversation-update', call => $_[0], %failed) }, 1],
        ['another call',       '/vapi/transfer', sub { vapi_message('status-update', call => "not-$_[0]", %failed, fields => { status => 'in-progress' }) }, 0],
        ['transfers as text',  '/vapi/transfer', sub { vapi_message('status-update', call => $_[0], artifact => { transfers => 'no-answer' }) }, 0],
    ) {
        my ($name, $at, $message, $is_open) = @$case;
        (my $call = "shown-by-$name") =~ s/ /-/g;
        is(ask($s, $call), $done, "$name: transferred");
        my $body = $message->($call);
        is($s->signed_post($at, $body)->{status}, 200, "$name: taken");
        my $second = ask($s, $call);
        $is_open ? is($second, $done, "$name: opens the call") : like($second, $moving, "$name: does not open the call");
    }
    my $unsigned = vapi_message('status-update', call => 'forged', %failed);
    is(ask($s, 'forged'), $done, 'forged: transferred');
    $s->allow_log(qr/outcome=unauthorized/);
    is($s->signed_post('/vapi/transfer', $unsigned, secret => 'guessed')->{status}, 401, 'forged: refused');
    like(ask($s, 'forged'), $moving, 'forged: a message that is not authentic opens nothing');

    # At the same moment, in several processes: one transfers.
    my @bodies = map { tool_call('same-moment', behaviour => 'delay=300', id => "call_$_") } 1 .. 8;
    my @texts = map { said($_) } $s->post_many(map { ['/vapi/transfer', $_, $s->signed($_)] } @bodies);
    is(scalar(grep { $_ eq $done } @texts), 1, 'eight different tool calls of one call at the same moment: one transfers');
    is(scalar(grep { /$moving/ } @texts), 7, 'seven are told that it is under way') or diag(join "\n", @texts);
    is(scalar posts('same-moment'), 1, 'one request was sent');
    $s->stop;
}

# ---- %{VAPI_ATTEMPT}

{
    my $s = server({}, 'VapiSettle 0', qq(VapiRoute none "%{VAPI_ATTEMPT} -ge 3" result="Attempt %{VAPI_ATTEMPT} is one too many."),
        qq(VapiRoute none "arg('q') == 'no'" result="No, at attempt %{VAPI_ATTEMPT}."), 'VapiRoute billing');
    $s->allow_log(qr/call=attempts .*outcome=failed/);
    my @asked = map { ask($s, 'attempts', %$_) } {}, { args => { q => 'no' } }, { behaviour => 'status=500' }, {}, {};
    is_deeply(\@asked, [$done, 'No, at attempt 1.', 'The transfer failed. It is not possible right now.', 'Attempt 3 is one too many.', 'Attempt 4 is one too many.'],
        'every decided tool call is an attempt, however it ended');
    my $body = tool_call('again', id => 'call_A');
    $s->signed_post('/vapi/transfer', $body) for 1 .. 3;
    ask($s, 'again');
    is_deeply(contents('again'), ['attempt 0', 'attempt 1'], 'a duplicate is none');
    $s->restart;
    is(ask($s, 'attempts'), 'Attempt 5 is one too many.', 'they are known after a restart');
    $s->stop;
}

# ---- VapiLimit

{
    my $s = server({}, 'VapiSettle 0', 'VapiLimit call=2', 'VapiRoute none "false" result="Not this one."', 'VapiRoute billing', 'VapiRoute none result="All is used up."',
        'VapiRoute none name=last result="Nor this."');
    $s->allow_log(qr/call=count .*outcome=failed/, qr/VapiRoute (?:none#2|last): never reached unless/);
    is(ask($s, 'count', behaviour => 'status=500'), 'The transfer failed. It is not possible right now.', 'call=2: a transfer that failed');
    is(ask($s, 'count'), $done, "call=2: transfer $_") for 1, 2;
    is(ask($s, 'count'), 'All is used up.', 'call=2: then the first unconditional none route answers');
    is(ask($s, 'not-counted'), $done, 'call=2: another call has its own');
    is(scalar posts('count'), 3, 'call=2: nothing was sent');
    $s->log_like(qr/call=count .*route=none#2 .*outcome=limited reason=limited/, 'the administrator sees it');
    my $id = 'call_A';
    is(ask($s, 'count', id => $id), 'All is used up.', 'call=2: so it stays') for 1, 2;
    my $reply = $s->signed_post('/vapi/transfer', vapi_message('transfer-destination-request', call => 'count'));
    is_deeply($reply->{json}, { error => 'All is used up.' }, 'call=2: a destination request is a transfer too');
    $s->restart;
    is(ask($s, 'count'), 'All is used up.', 'call=2: known after a restart');
    $s->stop;
}

{
    my $s = server({}, 'VapiBudget 30', 'VapiControlTimeout 30', 'VapiSettle 0', 'VapiLimit outbound=1', 'VapiRoute billing "true"', 'VapiRoute none result="Too much is going on."');
    my $slow = $s->post_start('/vapi/transfer', tool_call('slow', behaviour => 'hold=slow', timeout => 60));
    wait_until(sub { posts('slow') }, 20);
    is(ask($s, 'meanwhile'), 'Too much is going on.', 'outbound=1: while one waits for Vapi, no other may');
    is(scalar posts('meanwhile'), 0, 'outbound=1: nothing was sent');
    $control->release('slow');
    is(said($s->post_finish($slow)), $done, 'outbound=1: the first is transferred');
    is(ask($s, 'meanwhile'), $done, 'outbound=1: then the other may, and its call is as if it had not asked');
    is_deeply(contents('meanwhile'), ['attempt 0'], 'outbound=1: what was over the limit was no attempt');

    my $lost = $s->post_start('/vapi/transfer', tool_call('killed', behaviour => 'hang', timeout => 6));
    my $start = time;
    wait_until(sub { posts('killed') }, 20);
    kill 'KILL', $s->children;
    is($s->post_finish($lost)->{status}, 0, 'outbound=1: a child dies with its request');
    my $got = '';
    ok(wait_until(sub { ($got = ask($s, 'after')) eq $done }, 40), 'outbound=1: the place comes back') or diag($got);
    cmp_ok(time - $start, '<', 15, 'outbound=1: as soon as its budget of 4.5 s is over, not that of the endpoint');
    $s->stop;
}

# ---- after some seconds

sleep 0.02 while time < $accepted + 8.1;
is(ask($settling, 'settle'), $done, 'after VapiSettle the call, which is still there, is transferred');
is_deeply(contents('settle'), ['attempt 0', 'attempt 1'], 'as a new attempt; what was refused meanwhile was none');
sleep 0.02 while time < $second + 8.1;
is(ask($limiting, 'caller-6', @caller), $done, 'caller=2/8: after the 8 seconds');
$_->stop for $settling, $limiting;

done_testing;
