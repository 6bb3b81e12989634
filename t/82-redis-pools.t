# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Three Apaches that share one Redis share the people of their pools, too: who has a call at one of them has it for all.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
use VapiTest;
use VapiRedis;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my $redis = VapiRedis->new(password => 'open-sesame');
my %number = (a => '+14155550100', b => '+14155550101', c => '+14155550102');
my %name = reverse %number;
my $done = 'The call is being transferred.';
my $nobody = 'No destination is available for this transfer right now.';
my $calls = 0;

my $pools = <<"END";
<VapiPool team strategy=ordered no-answer=60>
VapiMember a $number{a} capacity=2
VapiMember b $number{b}
</VapiPool>
<VapiPool night strategy=ordered>
VapiMember n $number{b} capacity=2
VapiMember o $number{c}
</VapiPool>
<VapiPool turns strategy=round-robin sticky=60>
VapiMember x $number{a} capacity=9
VapiMember y $number{b} capacity=9
VapiMember z $number{c} capacity=9
</VapiPool>
END

sub node {
    my $s = VapiTest->new(files => { 'redis.secret' => ["open-sesame\n", 0600] }, conf => VapiRedis::load() . 'VapiState ' . $redis->words('password=file:@DIR@/redis.secret')
        . "\n<Location \"/vapi/console\">\nSetHandler vapi-console\nVapiConsole manage\nRequire all granted\n</Location>\n"
        . endpoint_conf($control, $pools, 'VapiSettle 0', 'VapiBudget 4', 'VapiRoute pool:turns "arg(\'to\') == \'turns\'"', 'VapiRoute pool:night "arg(\'to\') == \'night\'"', 'VapiRoute pool:team "-z arg(\'to\')"'))->start;
    $s->allow_log(qr/outcome=no-route/, qr/VapiRoute: the table has no last route/);
    return $s;
}

sub tool_call { my (%o) = @_; my $call = delete $o{call} // 'call-' . ++$calls; return vapi_tool_call(control => $control->url($call, delete $o{behaviour}), %o, call => $call) }
sub ask { my ($s, %o) = @_; return said($s->signed_post('/vapi/transfer', tool_call(%o))) }
sub said { my ($reply) = @_; my $first = $reply->{json}{results}[0]; return $first->{result} // $first->{error} }
sub taker { my ($s, %o) = @_; $control->clear; my $said = ask($s, %o); my ($posted) = $control->transfers; return $posted ? $name{ $posted->{destination}{number} } : '-' }
sub shown { my ($s) = @_; my $m = $s->get('/vapi/console/status')->{json}{pools}{team}{members}; return join ' ', map { "$_:$m->{$_}{state}:$m->{$_}{active}" } sort keys %$m }
sub manage { my ($s, $verb, $body) = @_; return $s->post("/vapi/console/$verb", $json->encode($body || {})) }
sub report { my ($s, $call, $number, $status, %o) = @_; return $s->signed_post('/vapi/transfer', vapi_message('end-of-call-report', call => $call, %o, artifact => { transfers => [{ destination => { type => 'number', number => $number }, status => $status }] }, fields => { endedReason => 'assistant-forwarded-call' })) }

my ($one, $two, $three) = my @nodes = map { node() } 1 .. 3;

# ---- one capacity for all

my @waiting = map { my $s = $nodes[$_ % 3]; [$s, $s->post_start('/vapi/transfer', tool_call(call => "crowd$_", behaviour => 'delay=200'))] } 0 .. 11;
my @said = map { said($_->[0]->post_finish($_->[1])) } @waiting;
is(scalar(grep { $_ eq $done } @said), 3, 'twelve calls at once at three servers: three places, three transfers');
is(scalar(grep { $_ eq $nobody } @said), 9, 'nobody is free for the others');
is(shown($_), 'a:available:2 b:available:1', 'all three servers show who has what') for @nodes;
my ($first) = grep { $said[$_] eq $done } 0 .. 11;
is(manage($nodes[($first + 1) % 3], "release/crowd$first")->{json}{released}, 1, 'released at another server than the one that sent it');
isnt(taker($three), '-', 'his place is free at a third');
is(taker($one), '-', 'and taken again for all');
for my $i (0 .. 11, undef) {
    manage($one, 'release/' . (defined $i ? "crowd$i" : 'call-1'));
}
is(shown($_), 'a:available:0 b:available:0', 'all is free') for @nodes;

# ---- presence, reports, hunting, turns, who is preferred, who is forgotten

is(manage($two, 'members/team/a', { state => 'paused' })->{json}{state}, 'paused', 'one is paused at one server');
is(taker($one, call => 'hunt'), 'b', 'which another knows');
is(manage($three, 'members/team/a', { state => 'available' })->{status}, 200, 'he is back at a third');
report($two, 'hunt', $number{b}, 'no-answer');
is(shown($three), 'a:available:0 b:paused:0', 'a report at another server frees who did not answer, and lets him rest');
is(manage($one, 'members/team/b', { state => 'available' })->{status}, 200, 'until he is back');
is(taker($three, call => 'hunt'), 'a', 'the call that comes back at a third server goes to somebody else');
report($one, 'hunt', $number{a}, 'completed');
report($two, 'hunt', $number{a}, 'completed');
is(shown($one), 'a:available:0 b:available:0', 'reported twice, at two servers: free once');
is(join('', map { taker($nodes[$_ % 3], args => { to => 'turns' }, caller => undef) } 0 .. 5), 'abcabc', 'turns are taken over all servers');
is(taker($one, args => { to => 'turns' }, caller => '+12125550100'), 'a', 'a caller');
is(taker($_, args => { to => 'turns' }, caller => '+12125550100'), 'a', 'has the same member everywhere') for $two, $three;
cmp_ok(manage($two, 'forget', { number => '+12125550100' })->{json}{forgotten}, '>', 3, 'he is forgotten at one server');
is(taker($three, args => { to => 'turns' }, caller => '+12125550100'), 'b', 'and so at all');

# ---- Redis goes away: each by itself, and back

is(manage($one, 'members/night/n', { state => 'paused' })->{status}, 200, 'one is paused at one server');
is(manage($two, 'members/night/n', { state => 'paused' })->{status}, 200, 'and at a second');
is(manage($three, 'members/night/n', { state => 'available' })->{status}, 200, 'and back at a third');
is(taker($two, args => { to => 'night' }, call => 'before'), 'b', 'he has a call');
$redis->stop('kill');
$_->allow_log(qr/Redis at 127\.0\.0\.1 port \d+ (?:cannot be used|is back)/) for @nodes;
my $start = time;
is(taker($two, args => { to => 'night' }, call => 'alone'), 'b', 'without Redis a server goes by its own leases, and by what it knows of who is there');
cmp_ok(time - $start, '<', 4, 'within VapiBudget');
is(taker($two, args => { to => 'night' }), 'c', 'he has two places, both taken');
is(taker($two, args => { to => 'night' }), '-', 'then nobody is free');
is(taker($three, args => { to => 'night' }), 'b', 'another server knows nothing of that');
ok(wait_until(sub { !$two->get('/vapi/console/status')->{json}{state}{ok} }, 20), 'status says that the store is away');
my $here = manage($two, 'members/night/o', { state => 'paused' })->{json};
is_deeply([$here->{state}, $here->{here_only}], ['paused', JSON::PP::true], 'what is said of somebody now counts here only');
is(manage($two, 'release/alone')->{json}{released}, 1, 'a lease of the outage can be released');
$redis->start;
ok(wait_until(sub { $_->get('/vapi/console/status')->{json}{state}{ok} }, 20), 'it is found again') for @nodes;
$two->log_like(qr/is back/);
is(taker($two, args => { to => 'night' }), 'b', 'with Redis, which lost all');
is(taker($three, args => { to => 'night' }), 'c', 'a server still counts what it leased meanwhile: there he has two');
is(taker($two, args => { to => 'night' }), 'b', 'and only what it leased itself');
is(taker($two, args => { to => 'night' }), '-', 'until nobody is free for any');
unlike($_->log, qr/\+1415|\+1212|open-sesame/, 'no number and no password in the log') for @nodes;
is(scalar(grep { /\+?1415|\+?1212|2125550100/ } $redis->cli('KEYS', '*')), 0, 'nor in the keys');

done_testing;
