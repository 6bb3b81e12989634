# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# conf/examples/repeat-caller.conf with the table of conf/repeat-caller.sql: who calls for the third time in a week, in SQLite and, as the
# example says, in PostgreSQL.
use strict;
use warnings;
use VapiExample;
use VapiPg;
use VapiTest;

my $control = VapiControl->new;
my @hostile = ("sip:a'OR'1'='1\@b.example.com", "sip:a',(1))--\@b.example.com");

# ---- the rule, by explanations

my $asked = example('repeat-caller', defines => { REPEAT_PARAMS => sqlite_history() });
my %route = (0 => 'front', 1 => 'front', 2 => 'senior', 3 => 'senior', 40 => 'senior', '' => 'front');
is($asked->decided('/vapi/repeat', vapi_tool_call(), with => ["history.calls=$_"])->{route}, $route{$_}, "'$_' calls before: $route{$_}") for sort keys %route;
is($asked->decided('/vapi/repeat', vapi_tool_call(), with => ['history=none'])->{route}, 'front', 'nothing is known');
is_deeply([map { "$_->{route} $_->{result} " . ($_->{why} // '-') } @{ $asked->decided('/vapi/repeat', vapi_tool_call(), with => ['history=error'])->{trace} }], ['senior unavailable lookup-error', 'front matched -'], 'the database is away');

# ---- with a database

my $file = sqlite_history();
my $pg = VapiPg->new(sql => slurp(VapiHttpd::top() . '/conf/repeat-caller.sql'));
my %database = (
    SQLite => { defines => { REPEAT_PARAMS => $file }, ask => sub { sqlite_ask($file, @_) }, ago => sub { "datetime('now', '-$_[0]')" } },
    PostgreSQL => {
        defines => { REPEAT_DRIVER => 'pgsql', REPEAT_PARAMS => $pg->params, REPEAT_SINCE => q(now() - interval '7 days') },
        ask => sub { $pg->psql(@_) }, ago => sub { "now() - interval '$_[0]'" },
    },
);
like(slurp(example_file('repeat-caller.conf')), qr/^# +Define \Q$_->[0]\E +"?\Q$_->[1]\E"?$/m, "$_->[0] is what the example says") for ['REPEAT_DRIVER', 'pgsql'], ['REPEAT_SINCE', $database{PostgreSQL}{defines}{REPEAT_SINCE}];
for my $name (sort keys %database) {
    my $d = $database{$name};
    my $s = example('repeat-caller', patient => 1, control => $control, defines => $d->{defines}, override => "VapiSettle 0\n");
    my $caller = '+12025550155';
    for my $nth (1 .. 4) {
        is(called($s, "$name-$nth", $caller), $nth < 3 ? '+16465550100' : '+16465550190', "$name: call $nth of the same caller");
        ok(wait_until(sub { $d->{ask}->("SELECT COUNT(*) FROM vapi_history WHERE caller = '$caller'") == $nth }, 20), 'is in the history');
    }
    is($d->{ask}->("SELECT caller, call_id, route, outcome FROM vapi_history WHERE call_id = '$name-3'"), "$caller|$name-3|senior|transferred", 'with all that the table asks');
    is(called($s, "$name-other", '+12025550156'), '+16465550100', 'another caller has a history of his own');
    ok(wait_until(sub { rows($d, "$name-other") == 1 }, 20), 'which begins');

    # A call that is moved three times is one call.
    for my $nth (2, 3) {
        is(called($s, "$name-other", '+12025550156', $nth), '+16465550100', 'the same call once more');
        ok(wait_until(sub { rows($d, "$name-other") == $nth }, 20), 'is one more row');
    }
    is(called($s, "$name-again", '+12025550156'), '+16465550100', 'and still it was only one call');

    # Seven days.
    for my $row (['6 days', '+16465550190'], ['8 days', '+16465550100']) {
        my ($ago, $number) = @$row;
        my $old = '+1202555017' . substr $ago, 0, 1;
        $d->{ask}->("INSERT INTO vapi_history (caller, call_id, route, outcome, at) VALUES ('$old', 'old-$_', 'front', 'transferred', " . $d->{ago}->($ago) . ')') for 1, 2;
        is(called($s, "$name-old$number", $old), $number, "two calls $ago ago");
    }

    # Nobody's number is no number; what looks like SQL is a value.
    my $before = $d->{ask}->('SELECT COUNT(*) FROM vapi_history');
    is(called($s, "$name-nobody", undef), '+16465550100', 'a caller without a number');
    for my $hostile (@hostile) {
        my $call = "$name-" . vapi_uuid();
        is(called($s, $call, $hostile, undef, transport => 'sip'), '+16465550100', "the caller $hostile");
        ok(wait_until(sub { rows($d, $call) == 1 }, 20), 'is written down');
        is($d->{ask}->("SELECT caller FROM vapi_history WHERE call_id = '$call'"), $hostile, 'as he calls himself');
    }
    is($d->{ask}->('SELECT COUNT(*) FROM vapi_history'), $before + @hostile, 'and nobody else is');
    ok(wait_until(sub { $s->get('/console/status')->{json}{spool}{waiting} == 0 }, 20), 'nothing waits');
}

# As a user includes it: the database, too, is a virtual host's.
my $in_host = example('repeat-caller', patient => 1, control => $control, defines => $database{SQLite}{defines}, in_host => 1);
is(called($in_host, 'in-host', '+12025550155'), '+16465550190', 'in a virtual host: the history is read');
ok(wait_until(sub { rows($database{SQLite}, 'in-host') == 1 }, 20), 'and written');

# ---- the database is away: the call is not, and what was to be written comes later

my $s = example('repeat-caller', patient => 1, control => $control, defines => $database{PostgreSQL}{defines});
is(called($s, 'away-0', '+12025550155'), '+16465550190', 'the history is there');
$pg->stop('immediate');
$s->allow_log(qr/\bdbd?:|dbd:error|AH00629|AH00632|AH00633|AH00634|AH00635|AH00636/, qr/lookup history: /, qr/action=remember event=after-transfer: .*; tried again in/);
is(called($s, 'away-1', '+12025550157'), '+16465550100', 'PostgreSQL is away: the call is connected');
is(called($s, 'away-2', '+12025550155'), '+16465550100', 'a repeat caller, to the front');
cmp_ok($s->get('/console/status')->{json}{spool}{waiting}, '>=', 1, 'what was to be written waits');
$pg->start;
ok(wait_until(sub { utime undef, undef, glob $s->dir . '/spool/*-*'; rows($database{PostgreSQL}, 'away-1') == 1 && rows($database{PostgreSQL}, 'away-2') == 1 }, 30), 'and is written when it is back');
is(called($s, 'away-3', '+12025550155'), '+16465550190', 'the history is there again');

done_testing;

sub rows { my ($d, $call) = @_; return $d->{ask}->("SELECT COUNT(*) FROM vapi_history WHERE call_id = '$call'") }

# The number that this call was sent to; `nth`: for the so-many-eth time.
sub called {
    my ($s, $call, $caller, $nth, %o) = @_;
    my $got = $s->signed_post('/vapi/repeat', vapi_tool_call(call => $call, caller => $caller, control => $control->url($call), %o));
    my @sent = map { $_->{json}{destination}{number} } grep { $_->{call} eq $call } $control->requests;
    return @sent == ($nth // 1) ? $sent[-1] : "sent @sent, told $got->{body}";
}
