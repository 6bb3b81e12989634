# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Pools over the wire: who takes a call, by strategy, capacity, weight and skill; what is said and logged of him; and when his lease is given
# back. What reports do to leases is in t/45.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my %number = map { ($_ => sprintf '+1415555%04d', 100 + ord($_) - ord 'a') } 'a' .. 'f';
my %name = reverse %number;
my $done = 'The call is being transferred.';
my $nobody = 'No destination is available for this transfer right now.';
my $calls = 0;

# A server with these lines outside of the endpoint, and these routes.
sub server {
    my ($outside, @routes) = @_;
    my %o = ref $outside ? %$outside : (outside => $outside);
    my $s = VapiTest->new(processes => 2, threads => 16, %o, conf => endpoint_conf($control, $o{outside}, 'VapiSettle 0', @routes)
        . "<Location \"/vapi/console\">\nSetHandler vapi-console\nVapiConsole manage\nRequire all granted\n</Location>\n")->start;
    $s->allow_log(qr/outcome=(?:no-route|refused|failed|unknown|limited)/, qr/VapiRoute: the table has no last route/);
    return $s;
}

sub pool { my ($head, @lines) = @_; return join "\n", "<VapiPool $head>", (map { "VapiMember $_" } @lines), "</VapiPool>\n" }
sub tool_call { my (%o) = @_; my $call = delete $o{call} // 'call-' . ++$calls; return vapi_tool_call(control => $control->url($call, delete $o{behaviour}), %o, call => $call) }
sub ask { my ($s, %o) = @_; return said($s->signed_post($o{at} // '/vapi/transfer', tool_call(%o))) }
sub said { my ($reply) = @_; my $first = $reply->{json}{results}[0]; return $first->{result} // $first->{error} }
sub members { my ($s, $pool) = @_; return $s->get('/vapi/console/status')->{json}{pools}{$pool}{members} }
sub active { my ($s, $pool) = @_; my $m = members($s, $pool); return { map { ($_ => $m->{$_}{active}) } keys %$m } }
sub present { my ($s, $who, $state) = @_; return $s->post("/vapi/console/members/$who", $json->encode({ state => $state }))->{status} }
sub release { my ($s, $call) = @_; return $s->post("/vapi/console/release/$call", '{}')->{status} }
sub explain_call { my ($s, $with, %o) = @_; return $s->post("/vapi/console/explain?location=/vapi/transfer$with", tool_call(%o))->{json} }

# Who gets these calls: their names, in order; '-' where nobody did. Calls without a name are new ones.
sub takers {
    my ($s, $which, %o) = @_;
    return join '', map {
        $control->clear;
        my $said = ask($s, %o, defined $_ ? (call => $_) : ());
        my ($posted) = $control->transfers;
        $said eq $done && $posted ? $name{ $posted->{destination}{number} } : '-';
    } ref $which ? @$which : (undef) x $which;
}

# ---- strategies

{
    my $s = server(
        pool('busy', "a $number{a} capacity=2", "b $number{b} capacity=4", "c $number{c} capacity=2") . pool('idle strategy=longest-idle', map { "${_}i $number{$_}" } qw(a b c))
        . pool('turns strategy=round-robin', map { "${_}t $number{$_} capacity=9" } qw(a b c)) . pool('order strategy=ordered', map { "${_}o $number{$_} capacity=2" } qw(a b c))
        . pool('shares strategy=weighted', "aw $number{a} capacity=100 weight=6", "bw $number{b} capacity=100 weight=3", "cw $number{c} capacity=100 weight=1"),
        map { "VapiRoute pool:$_ \"arg('to') == '$_'\"" } qw(busy idle turns order shares));
    is(takers($s, 9, args => { to => 'busy' }), 'abcbacbb-', 'least-busy: the least of active/capacity, then who is idle longest; then nobody');
    is_deeply(active($s, 'busy'), { a => 2, b => 4, c => 2 }, 'all of which status shows');
    is(takers($s, [qw(i1 i2 i3 i4)], args => { to => 'idle' }), 'abc-', 'longest-idle: who never had a call, in order');
    is(release($s, $_), 200, "$_ is released") for qw(i2 i1 i3);
    is(takers($s, 3, args => { to => 'idle' }), 'bac', 'then who has had none for the longest');
    is(takers($s, 7, args => { to => 'turns' }), 'abcabca', 'round-robin');
    is(takers($s, 7, args => { to => 'order' }), 'aabbcc-', 'ordered: the first that has room');
    my %share;
    $share{$_}++ for split //, takers($s, 60, args => { to => 'shares' });
    ok(abs($share{a} - 36) <= 1 && abs($share{b} - 18) <= 1 && abs($share{c} - 6) <= 1, 'weighted: by their shares') or diag(explain(\%share));
    is(present($s, 'shares/aw', 'paused'), 200, 'one is paused');
    my %rest;
    $rest{$_}++ for split //, takers($s, 40, args => { to => 'shares' });
    ok(!$rest{a} && abs($rest{b} - 30) <= 1 && abs($rest{c} - 10) <= 1, 'the others share what was his') or diag(explain(\%rest));
    is(members($s, 'shares')->{bw}{served}, $share{b} + $rest{b}, 'who served how many is counted');
    $s->stop;
}

# ---- skills, leave, one member in several pools, maps, pool()

{
    my $s = server({ files => { teams => "desk desk\nsupport pool:support\n" }, outside =>
        pool('support strategy=ordered', "a $number{a} skills=billing,es:2", "b $number{b} skills=billing,es:1 capacity=2", "c $number{c} skills=tech:3")
        . pool('vip strategy=ordered', 'a', "d $number{d}") . "VapiMap teams \@DIR\@/teams exact default=pool:vip\nVapiDestination desk $number{f}\n" },
        'VapiRoute pool:support "arg(\'need\') == \'fixed\'" skills=billing,es:2 name=fixed',
        'VapiRoute pool:support "-n arg(\'skills\')" skills="%{arg:skills}" name=brought',
        'VapiRoute pool:support "arg(\'need\') == \'leave\'" leave=2 name=leave',
        'VapiRoute map:teams:%{arg:team} "-n arg(\'team\')"',
        'VapiRoute none "arg(\'need\') == \'counts\'" result="%{pool:support.free} of %{pool:support.members}, %{pool:support.busy} busy; %{VAPI_REASON}"',
        'VapiRoute none "pool(\'vip.free\') -eq 0" result="no VIP desk" name=full',
        'VapiRoute pool:vip "arg(\'need\') != \'leave\' && -z arg(\'skills\')"');
    is(ask($s, args => { need => 'counts' }), '4 of 3, 0 busy; no-match', 'pool() counts');
    is(takers($s, ['f1', 'f2'], args => { need => 'fixed' }), 'ad', 'skills with levels: one of them has both; then the routes behind');
    is(ask($s, args => { need => 'x' }), 'no VIP desk', 'a is one person in both pools, and d is taken');
    is(takers($s, 1, args => { skills => 'tech:3' }), 'c', 'skills that the call brings');
    is(takers($s, 1, args => { skills => $_ }), '-', "nobody has $_") for 'tech:4', 'french', "tech'; drop table", 'tech:3,es';
    is(ask($s, args => { need => 'counts' }), '2 of 3, 2 busy; no-match', 'pool() counts what is left');
    is(takers($s, 1, args => { need => 'leave' }), '-', 'leave=2: with two free nobody is taken');
    is(release($s, 'f1'), 200, 'a is free again');
    is(takers($s, 1, args => { need => 'leave' }), 'a', 'with three one is');
    is(release($s, 'call-' . $calls), 200, 'and again');
    is(takers($s, 1, args => { team => 'other' }), 'a', "a map's default is a pool");
    is(takers($s, 1, args => { team => 'desk' }), 'f', 'its value may be a destination');
    is(takers($s, 1, args => { team => 'support' }), 'b', 'or another pool');
    is(takers($s, 1, args => { skills => ' billing,,billing:1, ' }), 'b', 'what is empty or comes twice in skills that are put together counts for nothing');
    $s->stop;
}

# ---- what is said, sent and logged of a member

{
    my $s = server({ outside => "VapiTransferPlan brief warm-transfer-say-message message=\"For %{VAPI_MEMBER}.\"\nVapiTransferPlan short blind-transfer\n"
        . "VapiDestination bob $number{b} plan=brief say=\"To Bob.\"\n"
        . pool('team strategy=ordered', "alice $number{a} label=\"Alice from billing\" say=\"I'm connecting you to %{VAPI_MEMBER}.\" plan=brief", 'robert bob label=Robert', 'desk assistant:Desk', 'far sip:far@pbx.example.com')
        . "LogFormat \"%{vapi-route}n %{vapi-destination}n %{vapi-member}n %{vapi-outcome}n\" members\nCustomLog \@DIR\@/run/members members\n"
        . "VapiAction note after-transfer file=\@DIR\@/run/notes\n" },
        'VapiRoute pool:team "arg(\'to\') == \'other\'" say="Now %{VAPI_DESTINATION}, %{VAPI_TARGET}." plan=short name=other result="%{VAPI_MEMBER} has it."', 'VapiRoute pool:team');
    $s->allow_log(qr/there is no VapiSpool/, qr/SIP destination is used for a call over pstn/);
    $control->clear;
    is(ask($s, args => { to => 'other' }), 'Alice from billing has it.', 'the label is what is spoken');
    is_deeply([map { [$_->{content}, $_->{destination}{transferPlan}{mode}] } $control->transfers], [['Now alice, pool:team.', 'blind-transfer']], "the route's say and plan beat the member's; its name is the destination");
    is(release($s, "call-$calls"), 200, 'released');
    $control->clear;
    ask($s) for 1 .. 4;
    my ($alice, $bob, $desk, $far) = $control->transfers;
    is_deeply([$alice->{content}, $alice->{destination}{transferPlan}{message}], ["I'm connecting you to Alice from billing.", 'For Alice from billing.'], "the member's say and plan");
    is_deeply([$bob->{content}, $bob->{destination}{number}, $bob->{destination}{transferPlan}{message}], ['To Bob.', $number{b}, 'For Robert.'], "those of the destination that he is");
    is_deeply([$desk->{type}, $desk->{destination}{assistantName}], ['handoff', 'Desk'], 'a member may be an assistant');
    is($far->{destination}{sipUri}, 'sip:far@pbx.example.com', 'or at a SIP URI');
    is(ask($s), $nobody, 'all have a call');
    my $number_of_lines = sub { return scalar(() = slurp($s->dir . "/run/$_[0]") =~ /\n/g) };
    ok(wait_until(sub { $number_of_lines->('members') == 7 && $number_of_lines->('notes') == 5 }, 20), 'all is written');
    is_deeply([sort split /\n/, slurp($s->dir . '/run/members')], ['- - - -', '- - - no-route', 'other alice alice transferred', 'pool:team alice alice transferred', 'pool:team desk desk handed-off', 'pool:team far far transferred', 'pool:team robert robert transferred'],
        'the notes have names');
    is_deeply([sort map { "$_->{target} $_->{member} $_->{outcome}" } map { $json->decode($_) } split /\n/, slurp($s->dir . '/run/notes')], ['pool:team alice transferred', 'pool:team alice transferred', 'pool:team desk handed-off', 'pool:team far transferred', 'pool:team robert transferred'], 'and so do actions, in whatever order they are done');
    $s->stop;
}

# ---- other messages and kinds of call

{
    my $s = server(pool('team strategy=ordered', "a $number{a}", 'desk assistant:Desk', 'id assistant-id:7d2a5e1b-2f5c-4e0b-9f33-1f1d6b2c8a01', "b $number{b} capacity=2"), 'VapiRoute pool:team "arg(\'to\') != \'none\'"', 'VapiRoute none result=Nobody.');
    my $reply = sub { my ($type, %o) = @_; return $s->signed_post('/vapi/transfer', vapi_message($type, call => 'm-' . ++$calls, %o))->{json} };
    is($reply->('transfer-destination-request')->{destination}{number}, $number{a}, 'a transfer-destination-request leases, too');
    is($reply->('handoff-destination-request')->{destination}{assistantName}, 'Desk', 'a handoff-destination-request gets who can take a handoff');
    is($reply->('handoff-destination-request')->{destination}{assistantId}, '7d2a5e1b-2f5c-4e0b-9f33-1f1d6b2c8a01', 'as long as there is one');
    is_deeply($reply->('handoff-destination-request'), { error => 'Nobody.' }, 'then none');
    is($reply->('assistant-request')->{destination}{number}, $number{b}, 'an assistant-request');
    is_deeply(active($s, 'team'), { a => 1, desk => 1, id => 1, b => 1 }, 'each holds one');
    is(ask($s, call_type => 'webCall'), 'Nobody.', 'a call from the web reaches no telephone');
    is_deeply(active($s, 'team'), { a => 1, desk => 1, id => 1, b => 1 }, 'and nobody is kept for it');
    my $same = vapi_message('transfer-destination-request', call => 'twice');
    my ($first, $second) = map { $s->signed_post('/vapi/transfer', $same)->{json} } 1 .. 2;
    is_deeply($second, $first, 'a delivery that comes twice gets the same member');
    is(active($s, 'team')->{b}, 2, 'who holds one lease for it');
    $s->stop;
}

# ---- leases: given back, kept, over by themselves

{
    my $s = server(pool('one lease=2', "a $number{a}") . pool('two', "c $number{c}") . "VapiDestination b $number{b}\n", 'VapiRoute pool:two "arg(\'to\') == \'two\'"', 'VapiRoute pool:one', 'VapiRoute b "arg(\'to\') == \'b\'"');
    for my $case (['status=400', 0], ['body=error', 0], ['status=500', 0], ['status=404', 0], ['status=429,retry-after=1', 0], ['status=502', 1], ['silent', 1], ['garbage', 1]) {
        my ($behaviour, $kept) = @$case;
        ask($s, call => "lease-$behaviour", behaviour => $behaviour, args => { to => 'two' });
        is(active($s, 'two')->{c}, $kept, "$behaviour: the lease is " . ($kept ? 'kept' : 'given back'));
        is(release($s, "lease-$behaviour"), $kept ? 200 : 404, $kept ? 'until the console frees it' : 'and nothing is known of it');
        is(active($s, 'two')->{c}, 0, 'free');
    }
    is(members($s, 'two')->{c}{served}, 3, 'what was given back was never served');
    is(takers($s, ['back'], behaviour => 'status=500'), '-', 'a transfer that failed');
    my $began = time;
    is(takers($s, ['back']), 'a', 'does not keep the call from the same member');
    my $next;
    ok(wait_until(sub { ($next = takers($s, 1)) ne '-' }, 20), 'he has it until his lease is over');
    is($next, 'a', 'and then gets the next call');
    cmp_ok(time - $began, '>=', 1.99, 'lease=2: after two seconds');
    is(takers($s, ['back'], args => { to => 'b' }), 'b', 'the call that was sent to him is not sent to him again');
    $s->stop;
}

# ---- refused at a member: the next route; refused at an action: nobody is kept

{
    my $s = server(pool('team', "a $number{a}") . "VapiDestination b $number{b}\nVapiAction gate before-transfer required url=" . $control->base . "/status=500/gate/control route=gated\n",
        'VapiRoute pool:team "arg(\'to\') == \'gated\'" name=gated', 'VapiRoute pool:team', 'VapiRoute b');
    $s->allow_log(qr/action gate/);
    $control->script('status=400');
    is(ask($s), $done, 'refused with the member, taken with the next route');
    is(active($s, 'team')->{a}, 0, 'whose lease is given back');
    is(takers($s, 1, args => { to => 'gated' }), 'a', 'an action that is required failed: the next route has the same member');
    is(active($s, 'team')->{a}, 1, 'who holds one lease');
    $s->stop;
}

# ---- sticky, wrap-up, hunting by hand

{
    my $s = server(pool('team strategy=round-robin sticky=600 wrap-up=2', "a $number{a} capacity=6", "b $number{b} capacity=6", "c $number{c} capacity=6"), 'VapiRoute pool:team');
    is(takers($s, 3, caller => "+1212555010$_"), [qw(a b c)]->[$_] x 3, "sticky: this caller's member") for 0 .. 2;
    is(takers($s, 3, caller => undef), 'abc', 'nobody is remembered for the unknown');
    is($s->post('/vapi/console/forget', $json->encode({ number => '+12125550101' }))->{status}, 200, 'a caller is forgotten');
    is(takers($s, 1, caller => '+12125550101'), 'a', 'and gets whose turn it is');
    is(takers($s, ['w'], caller => '+12125550100'), 'a', 'one more');
    is(active($s, 'team')->{a}, 6, 'full');
    my $began = time;
    is(release($s, 'w'), 200, 'released');
    ok(wait_until(sub { active($s, 'team')->{a} == 5 }, 20), 'wrap-up: he is free in the end');
    cmp_ok(time - $began, '>=', 1.99, 'after wrap-up=2');
    $s->stop;
}

# ---- who is preferred is forgotten as long as he is known, also where deliveries are kept for less

{
    my $s = server("VapiState shm keep=1\n" . pool('team strategy=round-robin sticky=600', map { "$_ $number{$_} capacity=9" } qw(a b c)), 'VapiRoute pool:team');
    is(takers($s, 1, caller => '+12125550100'), 'a', 'keep=1: a caller');
    is(takers($s, 1, caller => undef), 'b', 'and another');
    sleep 1.6;
    cmp_ok($s->post('/vapi/console/forget', $json->encode({ number => '+12125550100' }))->{json}{forgotten}, '>', 0, 'is forgotten later');
    is(takers($s, 1, caller => '+12125550100'), 'c', 'with whom he had');
    $s->stop;
}

# ---- explain and given answers

{
    my $s = server(pool('team', "a $number{a} label=Alice say=\"To %{VAPI_MEMBER}.\"") . "VapiDestination b $number{b}\n", 'VapiRoute pool:team', 'VapiRoute b');
    for (1, 2) {
        my $x = explain_call($s, '');
        is("$x->{outcome} $x->{route} $x->{target} $x->{destination} $x->{control}{destination}{number} $x->{control}{content}", "transferred pool:team pool:team a $number{a} To Alice.", 'explain names who would take it');
    }
    is(active($s, 'team')->{a}, 0, 'and leases nobody');
    my $busy = explain_call($s, '&with=pool:team=busy');
    is_deeply([$busy->{route}, $busy->{trace}[0]{result}, $busy->{trace}[0]{why}], ['b', 'unavailable', 'busy'], 'with=pool:team=busy');
    is(takers($s, 1), 'a', 'he takes a call');
    is(explain_call($s, '')->{route}, 'b', 'and explain sees it');
    is(explain_call($s, '&with=pool:team=free')->{route}, 'pool:team', 'unless told otherwise');
    is($s->post('/vapi/console/explain?location=/vapi/transfer&with=pool:nobody=busy', tool_call(call => 'asked'))->{status}, 404, 'with=pool:nobody=busy: there is no such pool');
    is($s->post('/vapi/console/explain?location=/vapi/transfer&with=pool:team=late', tool_call(call => 'asked'))->{status}, 400, 'with=pool:team=late: there is no such state');
    is(present($s, 'team/a', 'busy'), 200, 'busy elsewhere');
    is(release($s, "call-" . ($calls - 2)), 200, 'released') or diag($calls);
    my $paused = explain_call($s, '');
    is_deeply([$paused->{route}, $paused->{trace}[0]{why}], ['b', 'paused'], 'whose presence says that he is not there counts as paused');
    $s->stop;
}

# ---- many at once never exceed a capacity

{
    my $s = server(pool('team', "a $number{a} capacity=3", "b $number{b} capacity=2"), 'VapiRoute pool:team');
    $control->clear;
    my @replies = $s->post_many(map { my $body = tool_call(behaviour => 'delay=300'); ['/vapi/transfer', $body, $s->signed($body)] } 1 .. 24);
    is(scalar(grep { said($_) eq $done } @replies), 5, '24 calls at once: as many are transferred as there is capacity');
    is(scalar(grep { said($_) eq $nobody } @replies), 19, 'the others hear that nobody is free');
    my %got;
    $got{ $name{ $_->{destination}{number} } }++ for $control->transfers;
    is_deeply(\%got, { a => 3, b => 2 }, 'nobody got more than he can take');
    is_deeply(active($s, 'team'), { a => 3, b => 2 }, 'and that is what the store says');
    $s->stop;
}

done_testing;
