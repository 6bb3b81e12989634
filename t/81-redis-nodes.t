# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Three Apaches that share one Redis: what one has done the others know.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
use VapiTest;
use VapiRedis;

my $control = VapiControl->new;
my $redis = VapiRedis->new(password => 'open-sesame');
my $console = "<Location \"/vapi/console\">\nSetHandler vapi-console\n</Location>\n";

# One server of the three; each has a directory, and so a memory, of its own.
sub node {
    my (@lines) = @_;
    return VapiTest->new(files => { 'redis.secret' => ["open-sesame\n", 0600] }, conf => VapiRedis::load() . 'VapiState ' . $redis->words('password=file:@DIR@/redis.secret')
        . "\n$console" . endpoint_conf($control, 'VapiDestination billing +14155550100', 'VapiRoute billing', @lines))->start;
}

sub tool_call { my ($call, $id, %o) = @_; return vapi_tool_call(call => $call, id => $id, control => $control->url($call, delete $o{behaviour}), %o) }
sub ask { my ($s, @how) = @_; return $s->signed_post('/vapi/transfer', tool_call(@how)) }
sub said { my ($reply) = @_; my $first = $reply->{json}{results}[0]; return $first->{result} // $first->{error} }
sub posts { my ($call) = @_; return scalar grep { $_->{call} eq $call && $_->{method} eq 'POST' } $control->requests }
sub is_ok { my ($s, $ok, $name) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(wait_until(sub { !$s->get('/vapi/console/status')->{json}{state}{ok} == !$ok }, 20), $name) }

# The same delivery to all at the same moment: their replies.
sub at_once {
    my ($nodes, $body) = @_;
    my @waiting = map { $_->post_start('/vapi/transfer', $body) } @$nodes;
    return map { $nodes->[$_]->post_finish($waiting[$_]) } 0 .. $#$nodes;
}

my @nodes = map { node('VapiSettle 0', 'VapiBudget 3') } 1 .. 3;

for my $round (1 .. 5) {
    my $call = "once$round";
    my @replies = at_once(\@nodes, tool_call($call, 'call_A', behaviour => 'delay=200'));
    is(posts($call), 1, 'one delivery that comes to three servers at once is transferred once');
    my %bodies = map { ($_->{body} => 1) } @replies;
    is(scalar keys %bodies, 1, 'all three give the same reply');
    is(said($replies[0]), 'The call is being transferred.', 'which is that of the transfer');
}
{
    my $first = ask($nodes[0], 'again', 'call_A');
    is(ask($_, 'again', 'call_A')->{body}, $first->{body}, 'a duplicate at another server: the recorded reply') for @nodes[1, 2];
    is(posts('again'), 1, 'and no transfer');
    is(said(ask($nodes[1], 'again', 'call_B')), 'The call is being transferred.', 'another tool call of it is another request');
    my $changed = ask($nodes[2], 'again', 'call_A', args => { department => 'sales' });
    is($changed->{body}, $first->{body}, 'the same id with other arguments, at another server: the reply of the first');
    $nodes[2]->log_like(qr/call=again a tool call came again with other arguments/, 'which that one says');
}

# A server dies with a transfer under way: the others know that it may have been made.
{
    my $sent = $nodes[0]->post_start('/vapi/transfer', tool_call('dies', 'call_A', behaviour => 'hang'));
    ok(wait_until(sub { posts('dies') }, 5), 'a transfer is under way');
    $nodes[0]->kill9_all;
    is($nodes[0]->post_finish($sent)->{status}, 0, 'its server dies');
    my $reply;
    wait_until(sub { $reply = said(ask($nodes[1], 'dies', 'call_A')); $reply !~ /in progress/ }, 20);
    is($reply, 'The transfer may be under way.', 'another says, once its time is over, that it may be under way');
    is(posts('dies'), 1, 'and sends nothing');
    $nodes[0]->start;
    is(said(ask($nodes[0], 'dies', 'call_A')), 'The transfer may be under way.', 'so does the one that died');
}

# Limits and the gate hold over all.
{
    my @limited = map { node('VapiSettle 0', 'VapiLimit caller=4/60') } 1 .. 3;
    $_->allow_log(qr/outcome=limited/) for @limited;
    my @said = map { said(ask($limited[$_ % 3], "limit$_", 'call_A')) } 0 .. 5;
    is(scalar(grep { $_ eq 'The call is being transferred.' } @said), 4, 'four transfers of one caller on three servers, and no more');
    $_->stop for @limited;
    my @settling = map { node('VapiSettle 15') } 1 .. 2;
    $_->allow_log(qr/outcome=limited/) for @settling;
    is(said(ask($settling[0], 'gate', 'call_A')), 'The call is being transferred.', 'a call is transferred at one server');
    like(said(ask($settling[1], 'gate', 'call_B')), qr/under way/, 'and not moved again at another within VapiSettle');
    is(posts('gate'), 1, 'one transfer');
    $_->stop for @settling;
}

# Redis goes away from all of them.
{
    $redis->stop('kill');
    $_->allow_log(qr/Redis at 127\.0\.0\.1 port \d+ (?:cannot be used|is back)/) for @nodes;
    for my $i (0 .. 2) {
        is(said(ask($nodes[$i], "alone$i", 'call_A')), 'The call is being transferred.', "server $i transfers by itself");
        ask($nodes[$i], "alone$i", 'call_A');
        is(posts("alone$i"), 1, 'once');
        is_ok($nodes[$i], 0, 'and its status says so');
    }
    ask($nodes[0], 'once1', 'call_A');
    ask($nodes[0], 'again', 'call_A');
    is(posts('again'), 2, 'what a server did itself before, it knows');
    $redis->start;
    is_ok($nodes[$_], 1, "server $_ finds it again") for 0 .. 2;
    my $known = ask($nodes[0], 'again', 'call_A')->{json};
    is(posts('again'), 2, 'Redis has lost all: what a server did itself before the outage it knows, still');
    is_deeply(ask($nodes[1], 'again', 'call_A')->{json}, $known, 'and so does another again, by the first');
    ask($nodes[$_], "alone$_", 'call_A') for 0 .. 2;
    is(posts("alone$_"), 1, "what server $_ did meanwhile it knows still") for 0 .. 2;
    my @replies = at_once(\@nodes, tool_call('after', 'call_A', behaviour => 'delay=200'));
    is(posts('after'), 1, 'and together they transfer once again');
    my @down = map { scalar(() = $_->log =~ /cannot be used/g) } @nodes;
    is("@down", '1 1 1', 'each has said so once');
}

done_testing;
