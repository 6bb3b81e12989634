# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Who has a call, who is paused and who rests is known to all processes, and outlives graceful and full restarts and the death of Apache. What a
# killed child had only begun costs nobody anything for long.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my $calls = 0;
my %number = (a => '+14155550100', b => '+14155550101', c => '+14155550102');
my $done = 'The call is being transferred.';

sub server {
    my ($mpm, $pool, @lines) = @_;
    my $s = VapiTest->new(mpm => $mpm, processes => 2, threads => 8, conf => endpoint_conf($control, $pool, 'VapiSettle 0', @lines)
        . "<Location \"/vapi/console\">\nSetHandler vapi-console\nVapiConsole manage\nRequire all granted\n</Location>\n")->start;
    $s->allow_log(qr/outcome=(?:no-route|failed|unknown)/, qr/VapiRoute: the table has no last route/, qr/exit signal Killed/);
    return $s;
}

sub tool_call { my (%o) = @_; my $call = delete $o{call} // 'call-' . ++$calls; return vapi_tool_call(control => $control->url($call, delete $o{behaviour}), %o, call => $call) }
sub ask { my ($s, %o) = @_; my $first = $s->signed_post('/vapi/transfer', tool_call(%o))->{json}{results}[0]; return $first->{result} // $first->{error} }
sub members { my ($s) = @_; return $s->get('/vapi/console/status')->{json}{pools}{team}{members} }
sub shown { my ($s) = @_; my $m = members($s); return join ' ', map { "$_:$m->{$_}{state}:$m->{$_}{active}:$m->{$_}{served}" } sort keys %$m }
sub present { my ($s, $who, $state) = @_; return $s->post("/vapi/console/members/team/$who", $json->encode({ state => $state }))->{status} }

my $team = "<VapiPool team strategy=ordered>\nVapiMember a $number{a}\nVapiMember b $number{b}\nVapiMember c $number{c} capacity=2\n</VapiPool>\n";

for my $mpm (qw(event worker prefork)) {
    my $s = server($mpm, $team, 'VapiRoute pool:team');
    is(present($s, 'b', 'paused'), 200, "$mpm: one is paused");
    is(ask($s), $done, 'a call is sent') for 1, 2;
    my $known = 'a:available:1:1 b:paused:0:0 c:available:1:1';
    is(shown($s), $known, 'who has what');
    $s->graceful;
    is(shown($s), $known, 'after a graceful restart');
    $s->restart;
    is(shown($s), $known, 'after a full one');
    $s->kill9_all;
    $s->start;
    is(shown($s), $known, 'after all of it was killed');
    is(ask($s), $done, 'the next call');
    is(shown($s), 'a:available:1:1 b:paused:0:0 c:available:2:2', 'goes to who is free');
    isnt(ask($s), $done, 'then nobody is');
    is(present($s, 'b', 'available'), 200, 'one comes back');
    is(ask($s), $done, 'and takes a call');
    $s->stop;
}

{   # a child that is killed while it only prepares: what it leased is free when the request would have been over
    my $gate = VapiControl->new(paths => { '/gate' => 'hang' });
    my $s = server('event', $team =~ s/VapiMember [bc].*\n//gr . 'VapiAction gate before-transfer required timeout=60 url=' . $gate->base . "/gate\n", 'VapiBudget 6', 'VapiRoute pool:team');
    my $waiting = $s->post_start('/vapi/transfer', tool_call());
    ok($gate->wait_requests(1, 20), 'an action is waited for');
    is(members($s)->{a}{active}, 1, 'meanwhile the member is held');
    kill 'KILL', $s->children;
    $s->post_finish($waiting);
    ok(wait_until(sub { my $m = members($s); $m && !$m->{a}{active} }, 60), 'its child is killed: the member is free by himself, not after lease=');
    is(members($s)->{a}{served}, 0, 'and had no call');
    $s->allow_log(qr/action gate/, qr/is required, and gates/);
    $s->stop;
    $gate->stop;
}

{   # killed while the control API is asked: the call may have been sent, so the member keeps it for as long as lease= says
    my $s = server('event', $team =~ s/VapiMember [bc].*\n//gr =~ s/strategy=ordered/lease=6/r, 'VapiRoute pool:team');
    my $body = tool_call(call => 'gone', behaviour => 'hang');
    my $began = time;
    my $waiting = $s->post_start('/vapi/transfer', $body);
    ok(wait_until(sub { grep { $_->{call} eq 'gone' } $control->requests }, 20), 'the control API is asked');
    kill 'KILL', $s->children;
    $s->post_finish($waiting);
    like($s->signed_post('/vapi/transfer', $body)->{body}, qr/under way|in progress/, 'there are new children; the delivery that comes again hears that the member may have the call');
    ok(wait_until(sub { my $m = members($s); $m && !$m->{a}{active} }, 30), 'who keeps it until his lease is over');
    cmp_ok(time - $began, '>=', 5.99, 'lease=6');
    is(scalar(grep { $_->{call} eq 'gone' } $control->requests), 1, 'it was sent once');
    $s->stop;
}

done_testing;
