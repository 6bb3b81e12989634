# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Pools when things go badly: a call that asks again while it is being moved, reports that make no sense, children that die all the while, and a
# configuration that changes under calls.
use strict;
use warnings;
use POSIX ();
use Time::HiRes qw(sleep time);
use VapiGuard;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my %number = (a => '+14155550100', b => '+14155550101', c => '+14155550102');
my $done = 'The call is being transferred.';
my $moving = qr/^A transfer of this call is under way\. If the caller is still here, ask again in \d+ seconds?\.$/;
my $console = "<Location \"/vapi/console\">\nSetHandler vapi-console\nVapiConsole manage\nRequire all granted\n</Location>\n";
my $calls = 0;

sub conf { my (@lines) = @_; return endpoint_conf($control, @lines) . $console }

sub server {
    my ($options, @lines) = @_;
    my $s = VapiTest->new(processes => 2, threads => 16, %$options, conf => conf(@lines))->start;
    $s->allow_log(qr/outcome=(?:no-route|refused|failed|unknown|limited)/, qr/VapiRoute: the table has no last route|there is no VapiSpool|exit signal Killed/);
    return $s;
}

sub pool { my ($head, @lines) = @_; return join "\n", "<VapiPool $head>", (map { "VapiMember $_" } @lines), "</VapiPool>\n" }
sub tool_call { my (%o) = @_; my $call = delete $o{call} // 'call-' . ++$calls; return vapi_tool_call(control => $control->url($call, delete $o{behaviour}), %o, call => $call) }
sub said { my ($reply) = @_; my $first = $reply->{json}{results}[0]; return $first->{result} // $first->{error} }
sub ask { my ($s, %o) = @_; return said($s->signed_post('/vapi/transfer', tool_call(%o))) }
sub members { my ($s, $pool) = @_; return (($s->get('/vapi/console/status')->{json} // {})->{pools} // {})->{$pool} ? $s->get('/vapi/console/status')->{json}{pools}{$pool}{members} : undef }
sub active { my ($s, $pool) = @_; my $m = members($s, $pool) or return 'unknown'; return join ' ', map { "$_=$m->{$_}{active}" } sort keys %$m }
sub release { my ($s, $call) = @_; return $s->post("/vapi/console/release/$call", '{}')->{json}{released} }
sub asked_for { my ($call, $to) = @_; return vapi_message('transfer-destination-request', call => $call, fields => { functionCall => { name => 'transferCall', parameters => { to => $to } } }) }

# Two tool calls in one delivery.
sub twice {
    my ($body) = @_;
    my $message = $json->decode($body);
    my $list = $message->{message}{toolCallList};
    push @$list, { %{ $list->[0] }, id => "$list->[0]{id}-2" };
    delete $message->{message}{toolWithToolCallList};
    return $json->encode($message);
}

# ---- a call that asks again while it is moved hears so, although the member who has it cannot be had

{
    my $s = server({}, pool('one', "a $number{a}") . pool('many', "b $number{b} capacity=5"), 'VapiRoute pool:one "arg(\'to\') == \'one\'"', 'VapiRoute pool:many "arg(\'to\') == \'many\'"',
        'VapiRoute none "arg(\'to\') == \'hours\'" result="Nine to five."', 'VapiRoute none result="Nobody is there."');
    for my $to (qw(one many)) {
        is(ask($s, call => $to, args => { to => $to }), $done, "$to: a call is sent to the only member");
        like(ask($s, call => $to, args => { to => $to }), $moving, "$to: asked again, it is under way, and not that nobody is there");
        is(ask($s, call => $to, args => { to => 'hours' }), 'Nine to five.', "$to: what asks for nobody is answered meanwhile");
        is($s->signed_post('/vapi/transfer', asked_for($to, $to))->{json}{error}, 'A transfer of this call is under way.', "$to: a request for a destination hears so, too");
    }
    is(active($s, 'one') . ' ' . active($s, 'many'), 'a=1 b=1', 'each has one call');
    is(ask($s, args => { to => 'one' }), 'Nobody is there.', 'another call hears that nobody is there');
    is($s->signed_post('/vapi/transfer', asked_for('another', 'one'))->{json}{error}, 'Nobody is there.', 'either way');
    is(release($s, 'one'), 1, 'the member is free again');
    my $reply = $s->signed_post('/vapi/transfer', twice(tool_call(call => 'both', args => { to => 'one' })));
    is($reply->{json}{results}[0]{result}, $done, 'of two tool calls of one delivery the first is taken');
    like($reply->{json}{results}[1]{error}, $moving, 'and the second hears that the call is under way');
    is(active($s, 'one'), 'a=1', 'nobody is kept for it');
    $s->stop;
}
{
    my $s = server({}, pool('one', "a $number{a}"), 'VapiSettle 0', 'VapiRoute pool:one', 'VapiRoute none result="Nobody is there."');
    my $reply = $s->signed_post('/vapi/transfer', twice(tool_call()));
    like($reply->{json}{results}[1]{error}, $moving, 'nor is it without VapiSettle: one delivery moves the call once');
    $s->stop;
}

# ---- what an action is told of a transfer that was refused with nobody left

{
    my $s = server({ files => { teams => "+12125550100 pool:team\n" } }, pool('team', "a $number{a} label=\"Ann Other\"") . "VapiMap teams \@DIR\@/teams exact\n"
        . "VapiAction note transfer-failed file=\@DIR\@/run/notes\n", 'VapiSettle 0', 'VapiRoute map:teams');
    is(ask($s, caller => '+12125550100', behaviour => $_), 'The transfer was refused. It is not possible right now.', "$_: refused at the last route") for 'status=400', 'body=error';
    ok(wait_until(sub { -e $s->dir . '/run/notes' && (() = slurp($s->dir . '/run/notes') =~ /\n/g) == 2 }, 20), 'an action is told');
    is_deeply([map { join ' | ', @{ $json->decode($_) }{qw(route target member outcome)} } split /\n/, slurp($s->dir . '/run/notes')], [('map:teams | map:teams | a | refused') x 2], 'of the route, what it names, and the member');
    $s->stop;
}

# ---- reports that make no sense change nothing

{
    my $s = server({}, pool('team', "a $number{a}"), 'VapiSettle 0', 'VapiRoute pool:team');
    is(ask($s, call => 'odd'), $done, 'a call is sent');
    my @elsewhere = map { { destination => { number => '+1900' . (5550000 + $_) }, status => 'completed' } } 1 .. 10_000;
    for my $transfers (\@elsewhere, {}, 'x', 5, undef, [1, undef, [], 'x'], [{ destination => 'x', status => 'completed' }, {}], [{ destination => { number => 5 }, status => 'completed' }, {}], [{ destination => { number => $number{a} }, status => ['completed'] }],
        [{ destination => { number => "$number{a}\n" }, status => 'completed' }], [{ destination => { number => $number{a} }, status => 'x' x 1_000_000 }]) {
        my $reply = $s->signed_post('/vapi/transfer', vapi_message('conversation-update', call => 'odd', artifact => { transfers => $transfers }));
        is("$reply->{status} $reply->{body} " . active($s, 'team'), '200 {} a=1', 'artifact.transfers is ' . substr $json->encode([$transfers]), 0, 60);
    }
    for my $reason ({}, [], 5, undef, '') {
        my $reply = $s->signed_post('/vapi/transfer', vapi_end_of_call_report(call => 'odd', fields => { endedReason => $reason }));
        is("$reply->{status} $reply->{body} " . active($s, 'team'), '200 {} a=1', 'endedReason is ' . $json->encode([$reason]));
    }
    my $reply = $s->signed_post('/vapi/transfer', vapi_end_of_call_report(call => 'odd', fields => { endedReason => 'x' x 1_000_000 }));
    is("$reply->{status} $reply->{body} " . active($s, 'team'), '200 {} a=0', 'an endedReason of a megabyte is one that nobody knows: the call is over');
    $s->stop;
}

# ---- skills that a call brings

{
    my $s = server({}, pool('team', "a $number{a} capacity=100 skills=billing,es:2"), 'VapiSettle 0', 'VapiRoute pool:team skills="%{arg:skills}"', 'VapiRoute none result="%{VAPI_REASON}"');
    is(ask($s, args => { skills => $_ }), $done, "somebody has '$_'") for 'es', 'es:2', ' billing , es:1 ', '', ',', 'es,es:1,';
    is(ask($s, args => { skills => $_ }), 'no-match', 'nobody has ' . substr $_, 0, 40) for 'es:3', 'es:99999999999999999999', 'es:-1', 'es:0', 'es:1e0', 'ES', 'es;billing', '%{arg:skills}', 'x' x 4000, join(',', map { "s$_" } 1 .. 700);
    is(active($s, 'team'), 'a=6', 'nobody else is leased');
    $s->stop;
}

# ---- a configuration that changes under calls

{
    my @routes = ('VapiSettle 0', 'VapiRoute pool:team "arg(\'to\') == \'team\'"', 'VapiRoute pool:desk "arg(\'to\') == \'desk\'"', 'VapiRoute none result="Nobody is there."');
    my $desk = pool('desk', "c $number{c}");
    my $s = server({}, pool('team strategy=ordered', "a $number{a} capacity=3") . $desk, @routes);
    my $becomes = sub { my ($pools, @lines) = @_; $s->set_conf(conf($pools, @lines)); $s->graceful };
    is(ask($s, call => $_, args => { to => 'team' }), $done, "$_ is sent") for 'c1' .. 'c3';
    is(ask($s, call => 'd1', args => { to => 'desk' }), $done, 'so is d1');
    $becomes->(pool('team', "a $number{a} capacity=1") . $desk, @routes);
    is(active($s, 'team'), 'a=3', 'a capacity below what is held');
    is(release($s, 'c1') + release($s, 'c2'), 2, 'two calls end');
    is(ask($s, args => { to => 'team' }), 'Nobody is there.', 'the member is still full');
    is(release($s, 'c3'), 1, 'the third ends');
    is(ask($s, call => 'c4', args => { to => 'team' }), $done, 'then there is room');
    $becomes->(pool('crew', "a $number{a}", 'c +14155559999'), 'VapiSettle 0', 'VapiRoute pool:crew');
    is(active($s, 'crew'), 'a=1 c=1', 'another pool has the same people, with what they hold, whatever their number');
    is($s->signed_post('/vapi/transfer', vapi_end_of_call_report(call => 'd1', reason => 'customer-ended-call'))->{body}, '{}', 'a call of a pool that is no more ends');
    is(active($s, 'crew'), 'a=1 c=0', 'its member is free');
    is(ask($s, call => 'e1'), $done, 'and gets a call');
    $becomes->("VapiDestination front $number{b}\n", 'VapiRoute front');
    is($s->signed_post('/vapi/transfer', vapi_end_of_call_report(call => 'e1', reason => 'customer-ended-call'))->{body}, '{}', 'which ends when there is no pool at all');
    is(release($s, 'c4'), 1, 'another is released then');
    $becomes->(pool('crew', "a $number{a}", "c $number{c}"), 'VapiSettle 0', 'VapiRoute pool:crew');
    is(active($s, 'crew'), 'a=0 c=0', 'all are free when they are back');
    $s->stop;
}

# ---- reloads under load: every call is sent to somebody, once, and who has how many is right to the last one

for my $mpm (qw(event worker prefork)) {
    my $s = server({ mpm => $mpm }, pool('team', "a $number{a} capacity=1000", "b $number{b} capacity=500"), 'VapiSettle 0', 'VapiRoute pool:team');
    $control->clear;
    my $until = time + 2.5;
    my @clients = map { client($s, "$mpm-$_", $until) } 1 .. 3;
    while (time < $until) { $s->graceful; sleep 0.2 }
    my %heard = map { my ($pid, $answers) = @$_; my @lines = <$answers>; waitpid $pid, 0; map { /^(\S+) (.*)$/ ? ($1 => $2) : () } @lines } @clients;
    my $m = members($s, 'team');
    is(join(' ', grep { $heard{$_} ne $done } sort keys %heard), '', "$mpm: all of " . keys(%heard) . ' calls are transferred');
    my %to;
    $to{ $_->{destination}{number} }++ for $control->transfers;
    is_deeply({ map { ($number{$_} => $m->{$_}{active}) } keys %$m }, \%to, "$mpm: each has as many as were sent to him") or diag(explain($m));
    is($to{ $number{a} } + $to{ $number{b} }, scalar keys %heard, "$mpm: one for each call");
    cmp_ok(abs($to{ $number{a} } - 2 * $to{ $number{b} }), '<=', 4, "$mpm: shared by their capacities");
    $s->stop;
}

sub client {
    my ($s, $prefix, $until) = @_;
    pipe my $read, my $answers or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        VapiGuard::leave();
        for (my $n = 1; time < $until; $n++) { print $answers "$prefix-$n ", ask($s, call => "$prefix-$n", behaviour => 'delay=10') // 'nothing', "\n"; sleep 0.02 }
        close $answers;
        POSIX::_exit(0);
    }
    close $answers;
    return [$pid, $read];
}

# ---- children die, Apache reloads, reports and the console free members at any moment: nobody has too many, and all are free in the end

# Calls, reports and releases, until that file is there.
sub storm {
    my ($s, $seed, $end) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    VapiGuard::leave();
    srand $seed;
    for (my $n = 1; !-e $end; $n++) {
        my $call = "storm-$seed-$n";
        my $body = tool_call(call => $call, behaviour => ('ok', 'delay=100', 'delay=500', 'status=400', 'status=500', 'status=429,retry-after=0', 'status=502', 'reset')[rand 8], caller => sprintf '+1212555%04d', rand 20);
        $s->signed_post('/vapi/transfer', $body) for 0 .. rand() < 0.2;
        $s->signed_post('/vapi/transfer', vapi_end_of_call_report(call => $call, reason => 'customer-ended-call')) if rand() < 0.7;
        $s->post("/vapi/console/release/$call", '{}') if rand() < 0.2;
    }
    POSIX::_exit(0);
}

for my $mpm (qw(event prefork)) {
    my $s = server({ mpm => $mpm, processes => $mpm eq 'prefork' ? 6 : 3 }, pool('team strategy=round-robin lease=3 sticky=60', "a $number{a} capacity=2", "b $number{b}", "c $number{c} capacity=3"), 'VapiSettle 0', 'VapiBudget 2', 'VapiRoute pool:team', 'VapiRoute none');
    $s->allow_log(qr/AH1039[23]|AH0004[56]/);
    my ($began, $end) = (time, $s->dir . '/run/storm-is-over');
    my @clients = map { storm($s, $_, $end) } 1 .. 4;
    my ($killed, @over) = (0);
    while (time < $began + 5 || ($killed < 10 && time < $began + 60)) {
        sleep rand 0.25;
        my @children = $s->children;
        $killed += kill 'KILL', $children[rand @children] if @children;
        my $m = members($s, 'team') or next;
        push @over, grep { $m->{$_}{active} > $m->{$_}{capacity} } keys %$m;
    }
    spit($end, '');
    waitpid $_, 0 for @clients;
    cmp_ok($killed, '>', 5, "$mpm: children were killed");
    is("@over", '', "$mpm: nobody ever has more than he can take");
    ok(wait_until(sub { active($s, 'team') eq 'a=0 b=0 c=0' }, 30), "$mpm: all are free in the end") or diag(active($s, 'team'));
    $s->stop;
}

done_testing;
