# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What became of the call: whatever Vapi reports of it, in any order, twice, at the same moment or never, each member is free when he does not have
# the call, and not before.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
use VapiTest;

my $control = VapiControl->new;
my $done = 'The call is being transferred.';
my (@pools, @routes, %number);

# A pool of one member for each case: it is asked for by its name.
sub pool {
    my ($name, $settings, @members) = @_;
    @members = ("${name}-one") if !@members;
    my @lines = map { $number{$_} //= sprintf '+1415556%04d', scalar keys %number; "VapiMember $_ $number{$_}" } @members;
    push @pools, "<VapiPool $name $settings>", @lines, '</VapiPool>';
    push @routes, qq(VapiRoute pool:$name "arg('to') == '$name'");
    return $name;
}

my $s;
my $console = qq(<Location "/vapi/console">\nSetHandler vapi-console\n</Location>\n);
my $elsewhere = qq(<Location "/vapi/reports">\nSetHandler vapi-transfer\nVapiAuthenticate test\nVapiRoute none\n</Location>\n);

sub server {
    my (@lines) = @_;
    $s = VapiTest->new(processes => 3, conf => endpoint_conf($control, 'VapiSettle 0', @pools, @lines, @routes, 'VapiRoute none result="Nobody is there."') . $elsewhere . $console)->start;
    @pools = @routes = ();
    return $s;
}

sub tool_call { my ($call, $to, %o) = @_; return vapi_tool_call(control => $control->url($call, delete $o{behaviour}), %o, call => $call, args => { to => $to }) }
sub said { my ($reply) = @_; my $first = $reply->{json}{results}[0]; return $first->{result} // $first->{error} }
sub ask { my ($call, $to, %o) = @_; return said($s->signed_post('/vapi/transfer', tool_call($call, $to, %o))) }
sub numbers_of { my ($call) = @_; return [map { $_->{json}{destination}{number} } grep { $_->{call} eq $call } $control->requests] }

# A report is taken, and answered with nothing.
sub inform {
    my ($body, $at) = @_;
    my $reply = $s->signed_post($at // '/vapi/transfer', $body);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is("$reply->{status} $reply->{body}", '200 {}', 'a report is taken');
}

sub status { return $s->get('/vapi/console/status')->{json} }
sub member { my ($pool, $name) = @_; my $m = status()->{pools}{$pool}{members}{ $name // "$pool-one" }; return "$m->{state} $m->{active}" }

# How a route's transfers ended: those that are not 0, without the unreported.
sub ended {
    my ($label) = @_;
    my ($route) = grep { $_->{label} eq $label } @{ status()->{routes}{'/vapi/transfer'} };
    return join ' ', map { "$_=$route->{ended}{$_}" } grep { $_ ne 'unreported' && $route->{ended}{$_} } sort keys %{ $route->{ended} };
}

# ---- single messages: what is told, what the member is then, how the route's transfer ended

my $free = 'available 0';
my $leased = 'available 1';
my $rests = 'paused 0';
sub shown { my (@statuses) = @_; return sub { my ($call, $number) = @_; vapi_message('conversation-update', call => $call, transfers => [map { [$number, $_] } @statuses]) } }
sub report { my ($reason, @statuses) = @_; return sub { my ($call, $number) = @_; vapi_end_of_call_report(call => $call, reason => $reason, transfers => [map { [$number, $_] } @statuses]) } }
sub update { my ($status, $reason) = @_; return sub { vapi_status_update($status, call => $_[0], reason => $reason) } }

my @cases = (
    ['completed', [shown('completed')], $free, 'completed=1'],
    ['no-answer', [shown('no-answer')], $rests, 'no-answer=1'],
    ['busy', [shown('busy')], $rests, 'busy=1'],
    ['voicemail', [shown('voicemail')], $rests, 'voicemail=1'],
    ['failed', [shown('failed')], $free, 'failed=1'],
    ['cancelled', [shown('cancelled')], $free, 'cancelled=1'],
    ['connected', [shown('connected')], $leased, ''],
    ['unknown-word', [shown('something-new')], $leased, ''],
    ['no-status', [shown(undef)], $leased, ''],
    ['nothing', [shown()], $leased, ''],
    ['other-number', [sub { vapi_message('conversation-update', call => $_[0], transfers => [['+14155559999', 'completed']]) }], $leased, ''],
    ['no-number', [sub { vapi_message('conversation-update', call => $_[0], transfers => [[undef, 'completed']]) }], $free, 'completed=1'],
    ['transfer-update', [sub { vapi_transfer_update(call => $_[0], to => $_[1]) }], $leased, ''],
    ['transfer-update-shows', [sub { vapi_transfer_update(call => $_[0], to => $_[1], transfers => [[$_[1], 'busy']]) }], $rests, 'busy=1'],

    ['ringing', [update('ringing')], $leased, ''],
    ['in-progress', [update('in-progress', 'customer-ended-call')], $leased, ''],
    ['forwarding', [update('forwarding')], $leased, ''],
    ['not-found', [update('not-found')], $leased, ''],
    ['ended', [update('ended', 'customer-ended-call')], $free, ''],
    ['ended-somehow', [update('ended')], $leased, ''],
    ['ended-forwarded', [update('ended', 'assistant-forwarded-call')], $leased, ''],
    ['forwarding-ended', [update('forwarding'), update('ended', 'assistant-forwarded-call'), report('assistant-forwarded-call')], $leased, ''],

    ['r-forwarded', [report('assistant-forwarded-call')], $leased, ''],
    ['r-returned', [report('assistant-request-returned-forwarding-phone-number')], $leased, ''],
    ['r-hook-ringing', [report('call.ringing.hook-executed-transfer')], $leased, ''],
    ['r-hook-ending', [report('call.ending.hook-executed-transfer')], $leased, ''],
    ['r-operator-busy', [report('call.forwarding.operator-busy')], $rests, 'busy=1'],
    ['r-no-answer', [report('call.forwarding.no-answer')], $rests, 'no-answer=1'],
    ['r-transfer-failed', [report('call.in-progress.error-transfer-failed')], $free, 'failed=1'],
    ['r-warm-failed', [report('call.in-progress.error-warm-transfer-max-duration')], $free, 'failed=1'],
    ['r-before-warm', [report('customer-ended-call-before-warm-transfer')], $free, 'cancelled=1'],
    ['r-during', [report('customer-ended-call-during-transfer')], $free, 'cancelled=1'],
    ['r-after-warm', [report('customer-ended-call-after-warm-transfer-attempt')], $free, ''],
    ['r-customer', [report('customer-ended-call')], $free, ''],
    ['r-new', [report('call.in-progress.error-of-next-year')], $free, ''],
    ['r-none', [report(undef)], $leased, ''],
    ['r-connected', [report('customer-ended-call', 'connected')], $leased, 'connected=1'],
    ['r-shows-busy', [report('assistant-forwarded-call', 'busy')], $rests, 'busy=1'],
    ['r-shows-completed', [report('assistant-forwarded-call', 'completed')], $free, 'completed=1'],

    # in several messages, and in another order
    ['late-no-answer', [update('ended', 'customer-ended-call'), report('customer-ended-call', 'no-answer')], $rests, 'no-answer=1'],
    ['early-no-answer', [report('customer-ended-call', 'no-answer'), update('ended', 'customer-ended-call')], $rests, 'no-answer=1'],
    ['connected-then', [shown('connected'), report('assistant-forwarded-call', 'completed')], $free, 'completed=1'],
    ['connected-late', [report('assistant-forwarded-call', 'completed'), shown('connected')], $free, 'completed=1'],
    ['connected-stays', [shown('connected'), update('ended', 'customer-ended-call')], $leased, 'connected=1'],
    ['two-of-one', [shown('no-answer', 'completed')], $rests, 'no-answer=1'],
);
pool($_->[0], 'lease=600 no-answer=60') for @cases;
server();

for my $case (@cases) {
    my ($name, $messages, $then, $ended) = @$case;
    my $call = "call-$name";
    is(ask($call, $name), $done, "$name: a call is sent to the member");
    is(member($name), $leased, "$name: who has it");
    inform($_->($call, $number{"$name-one"})) for @$messages;
    is(member($name), $then, "$name: then he is");
    is(ended("pool:$name"), $ended, "$name: the route's transfers ended");
    inform($_->($call, $number{"$name-one"})) for @$messages, reverse @$messages;
    is(member($name) . ' ' . ended("pool:$name"), "$then $ended", "$name: told again, in both orders, nothing changes");
}
$s->log_like(qr/\[vapi_transfer:info\] .*vapi: call=call-busy report released 1, rested 1$/m, 'the log says what a report set free');
$s->log_unlike(qr/call=call-(?:forwarding|r-forwarded|nothing) report/, 'and nothing where it did not');
is(scalar(() = $s->log =~ /call=call-completed report/g), 1, 'once');

# ---- reports that nothing is known for, or of another call

{
    my $before = member('connected');
    inform(report('customer-ended-call', 'completed')->('never-seen', $number{'connected-one'}));
    is(member('connected'), $before, 'a report of an unknown call frees nobody');
    inform(vapi_end_of_call_report(call => '', reason => 'customer-ended-call', call_fields => { id => undef }, transfers => [[$number{'connected-one'}, 'completed']]));
    is(member('connected'), $before, 'nor does one of a call without an id');
    my $reply = $s->signed_post('/vapi/transfer', shown('completed')->('call-connected', $number{'connected-one'}), secret => 'guessed');
    $s->allow_log(qr/outcome=unauthorized/);
    is($reply->{status}, 401, 'a forged report is refused');
    is(member('connected'), $before, 'and frees nobody');
    inform(shown('completed')->('call-connected', $number{'connected-one'}), '/vapi/reports');
    is(member('connected'), $free, 'a report at another endpoint of the same host counts');
    is(ended('pool:connected'), 'completed=1', 'for the route that the call was sent by');
}

# After stop and start the trail and the lease are there.
$s->restart;
is(member('forwarding'), $leased, 'a lease survives a restart');
inform(shown('no-answer')->('call-forwarding', $number{'forwarding-one'}));
is(member('forwarding'), $rests, 'a report after it frees the member');
$s->graceful;
inform(report('assistant-forwarded-call', 'completed')->('call-r-forwarded', $number{'r-forwarded-one'}));
is(member('r-forwarded'), $free, 'and after a graceful one');
$s->stop;

# ---- while the tool call is under way

pool($_, '') for qw(underway refused early crowd crowd2 deciding asked);
pool('team', 'strategy=ordered no-answer=60', qw(ann ben));
pool('wrapped', 'wrap-up=2');
pool('napping', 'no-answer=2');
pool('awake', 'no-answer=0');
pool('known', 'sticky=600 no-answer=0', qw(kim lee));
pool('shared-a', 'strategy=ordered', qw(sam));
pool('shared-b', 'strategy=ordered', qw(sam));
server('VapiDestination billing +14155550100', 'VapiDestination triage assistant:Triage', qq(VapiRoute billing "arg('to') == 'billing'"), qq(VapiRoute triage "arg('to') == 'triage'"), 'VapiBudget 60', 'VapiControlTimeout 50',
    qq(VapiRoute billing "arg('to') == 'if-free' && pool('deciding.free') == 1" name=if-free));

{
    my $working = $s->post_start('/vapi/transfer', tool_call('underway', 'underway', behaviour => 'hold=underway', id => 'call_A', timeout => 100));
    ok(wait_until(sub { @{ numbers_of('underway') } }, 20), 'the POST is under way');
    is(member('underway'), $leased, 'the member is leased');
    inform(report('customer-ended-call')->('underway', $number{'underway-one'}));
    is(member('underway'), $free, 'the call ends while it is being transferred: the member is free before the control API has answered');
    $control->release('underway');
    is(said($s->post_finish($working)), $done, "the tool call's own end");
    is(member('underway'), $free, 'changes nothing');
    is(ended('pool:underway'), '', 'nor is anything counted');
}

{
    $s->allow_log(qr/call=refused .*outcome=failed/);
    my $working = $s->post_start('/vapi/transfer', tool_call('refused', 'refused', behaviour => 'hold=refused,status=404', timeout => 100));
    ok(wait_until(sub { member('refused') eq $leased }, 20), 'another is under way');
    inform(report('customer-ended-call-during-transfer')->('refused', $number{'refused-one'}));
    is(member('refused'), $free, 'the call ends, and the member is free');
    is(ask('refused-next', 'refused'), $done, 'and gets the next call');
    $control->release('refused');
    like(said($s->post_finish($working)), qr/the call is not there any more/, 'the control API refuses');
    is(member('refused'), $leased, 'which does not touch the next call');
}

{
    my $end = report('customer-ended-call')->('early', $number{'early-one'});
    inform($end);
    is(ask('early', 'early'), $done, 'a call of which the end is reported before it is transferred');
    is(member('early'), $leased, 'holds the member');
    inform($end);
    is(member('early'), $free, 'until it is reported again');
}

# ---- at the same moment

for my $round (['crowd', [report('customer-ended-call', 'busy')], 'paused 0', 'busy=1'], ['crowd2', [update('ended', 'customer-ended-call'), report('customer-ended-call', 'no-answer'), shown('no-answer')], 'paused 0', 'no-answer=1']) {
    my ($pool, $messages, $then, $ended) = @$round;
    is(ask($pool, $pool), $done, "$pool: sent");
    my @bodies = map { $_->($pool, $number{"$pool-one"}) } (@$messages) x (12 / @$messages);
    is(join(' ', map { $_->{body} } $s->post_many(map { ['/vapi/transfer', $_, $s->signed($_)] } @bodies)), join(' ', ('{}') x 12), "$pool: twelve reports at once");
    is(member($pool), $then, "$pool: the member is freed, and rests");
    is(ended("pool:$pool"), $ended, "$pool: counted once");
    my ($log, $released, $rested) = ($s->log, 0, 0);
    ($released += $1, $rested += $2) while $log =~ /call=$pool report released (\d+), rested (\d+)/g;
    is("$released $rested", '1 1', "$pool: done once");
}

# ---- what the same message asks

{
    is(ask('deciding', 'deciding'), $done, 'the member has a call');
    is(ask('deciding', 'if-free'), 'Nobody is there.', 'and is not free');
    is(ask('deciding', 'if-free', transfers => [[$number{'deciding-one'}, 'completed']]), $done, 'a tool call whose payload shows that it ended is decided with that known');
}

# ---- a call that comes back

{
    is(ask('hunt', 'team'), $done, 'a call is sent to the first of a team');
    is(ask('hunt', 'team', transfers => [[$number{ann}, 'no-answer']]), $done, 'who does not answer: it is sent on');
    is_deeply(numbers_of('hunt'), [@number{qw(ann ben)}], 'to the second');
    is(member('team', 'ann') . ', ' . member('team', 'ben'), "$rests, $leased", 'while the first rests');
    is(ask('hunt', 'team', transfers => [[$number{ann}, 'no-answer'], [$number{ben}, 'failed']]), 'Nobody is there.', 'then there is nobody left for this call');
    is(member('team', 'ben'), $free, 'though the second is free');
    is(ask('hunt-2', 'team'), $done, 'and gets the next call');
    is_deeply(numbers_of('hunt-2'), [$number{ben}], 'instead of the first, who rests');
    is(ended('pool:team'), 'failed=1 no-answer=1', 'both ends are counted');
}

# ---- settings

# Tests: from this report on the member gets no call for two seconds, and is seen as that until then.
sub is_away {
    my ($name, $pool, $report, $away) = @_;
    is(ask($pool, $pool), $done, "$name: a call is sent");
    my ($told, $asked, @heard, @seen) = (time, 0);
    inform($report->($pool, $number{"$pool-one"}));
    ok(wait_until(sub { push @seen, member($pool); push @heard, ask("$pool-" . ++$asked, $pool); $heard[-1] eq $done }, 20), "$name: the member gets another in the end");
    cmp_ok(time - $told, '>=', 1.99, "$name: not before it is over");
    pop @heard, pop @seen;
    is_deeply([grep { $_ ne 'Nobody is there.' } @heard], [], "$name: until then he is not there");
    is_deeply([grep { $_ ne $away && $_ ne $free } @seen], [], "$name: and is seen so");
}

{
    is_away('wrap-up=2', 'wrapped', shown('completed'), $leased);
    is_away('no-answer=2', 'napping', shown('voicemail'), $rests);

    is(ask('awake', 'awake'), $done, 'no-answer=0: a call is sent');
    inform(shown('no-answer')->('awake', $number{'awake-one'}));
    is(member('awake'), $free, 'no-answer=0: nobody rests');
}

{
    my @caller = (caller => '+14155558001');
    is(ask('known-1', 'known', @caller), $done, 'sticky: a caller is sent to somebody');
    inform(shown('completed')->('known-1', $number{kim}));
    is(ask('known-2', 'known', @caller), $done, 'sticky: he calls again');
    inform(vapi_message('conversation-update', call => 'known-2', @caller, transfers => [[$number{kim}, 'no-answer']]));
    is(ask('known-3', 'known', @caller), $done, 'sticky: and again, after nobody answered');
    is_deeply([map { @{ numbers_of("known-$_") } } 1 .. 3], [@number{qw(kim kim lee)}], 'sticky: the same one, until that one did not answer');
}

{
    is(ask('sam-1', 'shared-a'), $done, 'a member of two pools gets a call of one');
    is(ask('sam-2', 'shared-b'), 'Nobody is there.', 'and none of the other');
    inform(shown('completed')->('sam-1', $number{sam}));
    is(ask('sam-2', 'shared-b'), $done, 'until the first is over');
}

# ---- without a pool

{
    is(ask('plain', 'billing'), $done, 'a call is sent to a destination');
    inform(shown('connected')->('plain', '+14155550100'));
    inform(report('assistant-forwarded-call', 'completed')->('plain', '+14155550100'));
    is(ended('billing'), 'completed=1', 'the end of it is counted');
    is(ask('handed', 'triage'), $done, 'a call is handed to an assistant');
    inform(report('customer-ended-call')->('handed', '+14155550100'));
    is(ended('triage'), '', 'whose end nobody reports');
}

# ---- destinations that Vapi asked for

{
    my $call = 'asked';
    my $reply = $s->signed_post('/vapi/transfer', vapi_message('transfer-destination-request', call => $call, fields => { functionCall => { name => 'transferCall', parameters => { to => 'asked' } } }));
    is($reply->{json}{destination}{number}, $number{'asked-one'}, 'a member is given as the destination');
    is(member('asked'), $leased, 'and leased');
    inform(report('call.forwarding.operator-busy')->($call, $number{'asked-one'}));
    is(member('asked'), $rests, 'a report frees him');
    is(ended('pool:asked'), 'busy=1', 'and is counted');
}
$s->stop;

# ---- hosts that share a pool, and members that are taken out

{
    my $pool = "<VapiPool both>\nVapiMember mia +14155557001\n%s</VapiPool>\n";
    my $hosts = join '', map {
        "<VirtualHost 127.0.0.1:\@PORT\@>\nServerName $_.example.com\n" . endpoint_conf($control, 'VapiSettle 0', 'VapiRoute pool:both', 'VapiRoute none') . "$console</VirtualHost>\n"
    } qw(one two);
    $s = VapiTest->new(conf => sprintf($pool, "VapiMember zoe +14155557002\n") . $hosts)->start;
    my $at = sub { my ($host, $body) = @_; return $s->post_finish($s->post_start('/vapi/transfer', $body, host => "$host.example.com")) };
    my $ask = sub { my ($host, $call) = @_; return said($at->($host, tool_call($call, 'both'))) };
    is($ask->('one', 'same-id'), $done, 'two hosts share a pool: one sends a call to the first');
    is($ask->('two', 'same-id'), $done, 'the other one, of the same id, to the second');
    is_deeply(numbers_of('same-id'), ['+14155557001', '+14155557002'], 'who are different people');
    is(member('both', 'mia') . ', ' . member('both', 'zoe'), "$leased, $leased", 'both are taken');
    is($at->('two', shown('completed')->('same-id', '+14155557001'))->{body}, '{}', 'a report at one host of the call of the other');
    is(member('both', 'mia'), $leased, 'frees nobody');

    $s->set_conf(sprintf($pool, '') . $hosts);
    $s->graceful;
    is($at->('two', shown('no-answer')->('same-id', '+14155557002'))->{body}, '{}', 'a report about somebody who is configured no more');
    $s->log_like(qr/call=same-id report released 1, rested 1$/m, 'frees him all the same');
    $s->set_conf(sprintf($pool, "VapiMember zoe +14155557002\n") . $hosts);
    $s->graceful;
    is(member('both', 'mia') . ', ' . member('both', 'zoe'), "$leased, $rests", 'as is seen when he is back');
    is($at->('one', shown('completed')->('same-id', '+14155557001'))->{body}, '{}', 'the first is reported at her own host');
    is(member('both', 'mia'), $free, 'and is free');
}

done_testing;
