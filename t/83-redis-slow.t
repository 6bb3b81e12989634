# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# A Redis that answers, but late each time: a transfer asks a dozen times, and still the caller's answer comes inside the budget.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(sleep time);
use VapiTest;
use VapiRedis;

my $redis = VapiRedis->new;
my $control = VapiControl->new;

# A wire to Redis; each answer is held back for so many seconds. It ends with the test.
sub hold_back {
    my ($in, $out, $delay) = @_;
    my $both = IO::Select->new($in, $out);
    while (my @ready = $both->can_read) {
        for my $from (@ready) {
            sysread($from, my $text, 65536) or return;
            sleep $delay if $from == $out;
            syswrite($from == $out ? $in : $out, $text) or return;
        }
    }
    return;
}

sub slow_wire {
    my ($delay) = @_;
    my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1') or die "no listener: $!";
    my $pid = fork // die "fork: $!";
    return { port => $listener->sockport, pid => $pid, owner => $$ } if $pid;
    $SIG{CHLD} = 'IGNORE';
    $SIG{TERM} = 'DEFAULT';
    setpgrp;
    alarm 300;
    while (my $in = $listener->accept) {
        next if fork;
        alarm 300;
        my $out = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$redis->{port}");
        hold_back($in, $out, $delay) if $out;
        require POSIX;
        POSIX::_exit(0);
    }
    require POSIX;
    POSIX::_exit(0);
}

my @wires;
END { my $status = $?; for (grep { $_->{owner} == $$ } @wires) { kill KILL => -$_->{pid}; waitpid $_->{pid}, 0 } $? = $status }

sub server {
    my ($delay, @lines) = @_;
    push @wires, slow_wire($delay);
    return VapiTest->new(conf => VapiRedis::load() . "VapiState redis://127.0.0.1:$wires[-1]{port} prefix=w$wires[-1]{port}\n"
        . "<Location \"/vapi/console\">\nSetHandler vapi-console\n</Location>\n"
        . endpoint_conf($control, "<VapiPool team>\nVapiMember ann +14155550101 capacity=9\n</VapiPool>\n", 'VapiSettle 0', 'VapiRoute pool:team', q(VapiRoute none result="Nobody is free."), 'VapiLimit call=5', @lines))->start;
}

sub ask { my ($s, $call) = @_; return $s->signed_post('/vapi/transfer', vapi_tool_call(call => $call, id => 'call_A', control => $control->url($call))) }
sub posts { my ($call) = @_; return scalar grep { $_->{call} eq $call && $_->{method} eq 'POST' } $control->requests }

# ---- 20 ms an answer: slow, but all of it is had

{
    my $s = server(0.02);
    is(ask($s, 'steady')->{json}{results}[0]{result}, 'The call is being transferred.', '20 ms an answer: transferred');
    is(posts('steady'), 1, 'once');
    like($redis->cli('HLEN', "w$wires[-1]{port}:seats"), qr/[1-9]/, 'and the lease stands in Redis');
    ok($s->get("/vapi/console/status")->{json}{state}{ok}, 'the store is well');
    $s->log_unlike(qr/cannot be used/, 'nothing is said');
    $s->stop;
}

# ---- 400 ms an answer: a dozen would take twice the budget

{
    my $s = server(0.4, 'VapiBudget 3');
    $s->allow_log(qr/Redis at 127\.0\.0\.1 port \d+ (?:cannot be used|is back)/);
    for my $call (qw(late1 late2 late3)) {
        my $reply = ask($s, $call);
        is($reply->{json}{results}[0]{result}, 'The call is being transferred.', "400 ms an answer: $call is transferred");
        cmp_ok($reply->{ms}, '<', 4000, 'inside the budget of 3 s, and not after the 5 that all answers take');
        is(posts($call), 1, 'once');
        is(ask($s, $call)->{json}{results}[0]{result}, 'The call is being transferred.', 'told again');
        is(posts($call), 1, 'no second transfer');
    }
    $s->log_like(qr/cannot be used: a request has waited \d+ ms for its answers in all.*hold on this node alone/, 'the log says why');
    $s->stop;
}

done_testing();
