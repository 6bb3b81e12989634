# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Does it load, refuse what is wrong, and transfer a call, under every MPM and through every kind of restart?
use strict;
use warnings;
use VapiTest;

my $module = VapiHttpd::module_file();
my @shown = map { (split)[2] } grep { !/ w / } `nm -D --defined-only $module`;
is("@shown", 'vapi_transfer_module', 'the module shows its record and nothing else');

# The configuration that the documents begin with, as it is but for where things lie.
(my $shortest = slurp(VapiHttpd::top() . '/conf/vapi-transfer.conf')) =~ s/^LoadModule.*\n//m;
$shortest =~ s{/etc/apache2/vapi\.secret}{\@DIR\@/vapi.secret};
is(join('|', configtest($shortest)), "0||Syntax OK\n", 'the shortest configuration is right as it stands');

my @conf = (
    'VapiDestination billing +14155550100 say="Connecting you to billing."',
    'VapiDestination front +14155550199',
    q{VapiRoute billing "arg('department') == 'billing'"},
    'VapiRoute front',
);

for my $mpm (qw(event worker prefork)) {
    subtest $mpm => sub {
        my $control = VapiControl->new(tls => 1);
        my $s = VapiTest->new(mpm => $mpm, conf => endpoint_conf($control, @conf))->start;
        my @seen = one_transfer($s, $control);

        my $forged = vapi_tool_call(control => $control->url('forged'));
        is($s->post('/vapi/transfer', $forged)->{status}, 401, 'without a signature: 401');
        is($s->signed_post('/vapi/transfer', $forged, secret => 'another')->{status}, 401, 'with a wrong one: 401');
        my $got = $s->get('/vapi/transfer');
        is($got->{status}, 405, 'GET: 405');
        is($got->{headers}{allow}, 'POST', 'which names POST');
        $s->allow_log(qr/outcome=unauthorized/);

        $s->graceful;
        push @seen, one_transfer($s, $control);
        $s->restart;
        push @seen, one_transfer($s, $control);
        $s->kill9_all;
        $s->start;
        push @seen, one_transfer($s, $control);
        is(scalar $control->transfers, 4, 'one transfer for each call, and no other');
        $s->no_canary(@seen, $s->secret, '4155550123', '4155550100', $control->base);
        $s->stop;
    };
}
done_testing;

# Transfers one call, twice delivered. Returns what must stand in no log.
sub one_transfer {
    my ($s, $control) = @_;
    my $before = () = $control->transfers;
    my $said = 'words-of-the-caller-' . vapi_uuid();
    my $call = vapi_uuid();
    my $body = vapi_tool_call(
        call => $call, id => 'call_1', said => [$said], control => $control->url($call),
        args => { department => 'billing', note => "argument-$said" },
    );
    my $result = { name => 'transferCall', toolCallId => 'call_1', result => 'The call is being transferred.' };
    my $reply = $s->signed_post('/vapi/transfer', $body);
    is($reply->{status}, 200, 'a signed tool call: 200');
    like($reply->{headers}{'content-type'}, qr{^application/json}, 'as JSON');
    is_deeply($reply->{json}, { results => [$result] }, 'the model is told');
    is_deeply($s->signed_post('/vapi/transfer', $body)->{json}, $reply->{json}, 'delivered again: the same answer');
    my @transfers = $control->transfers;
    is(@transfers - $before, 1, 'the control API is told once');
    is_deeply(
        $transfers[-1],
        { type => 'transfer', destination => { type => 'number', number => '+14155550100' }, content => 'Connecting you to billing.' },
        'and this is what it is told',
    );
    $s->log_like(qr/call=$call .*route=billing .*outcome=transferred/, 'the log has the decision');
    return ($said, "/$call/control");
}
