# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# The same under every MPM: threads, processes, and both.
use strict;
use warnings;
use VapiTest;

my $done = 'The call is being transferred.';

sub said { my ($reply) = @_; my $first = $reply->{json}{results}[0]; return $first->{result} // $first->{error} }

for my $mpm (qw(event worker prefork)) {
    my $control = VapiControl->new(tls => 1);
    my $s = VapiTest->new(mpm => $mpm, conf => endpoint_conf($control, 'VapiDestination billing +14155550100 say="Connecting you."', 'VapiDestination front +14155550199',
        qq(VapiRoute billing "arg('department') == 'billing'"), 'VapiRoute front',
        'VapiBudget 90', 'VapiControlTimeout 80', 'VapiControlConnectTimeout 60'))->start;    # 64 handshakes at once may take their time
    my $body = sub { my ($call, $behaviour, %o) = @_; return vapi_tool_call(call => $call, control => $control->url($call, $behaviour), args => { department => 'billing' }, timeout => 200, %o) };
    my $ask = sub { return $s->signed_post('/vapi/transfer', $body->(@_)) };
    my $sent = sub { my ($call) = @_; return map { $_->{json}{destination}{number} } grep { $_->{call} eq $call } $control->requests };

    my @paths = (
        'a transfer' => sub {
            is(said($ask->('plain')), $done, 'transferred');
            is_deeply([$control->transfers], [{ type => 'transfer', destination => { type => 'number', number => '+14155550100' }, content => 'Connecting you.' }], 'to the destination')
                or diag(explain($control->transfers));
        },
        'duplicates' => sub {
            my $text = $body->('twice', 'delay=200', id => 'call_A');
            my %replies;
            $replies{ $_->{body} }++ for $s->post_many(map { ['/vapi/transfer', $text, $s->signed($text)] } 1 .. 6);
            is(join(' ', values %replies), 6, 'six at once: one reply');
            is(scalar $sent->('twice'), 1, 'one transfer');
        },
        'refused, then the next route' => sub {
            $control->script('status=400');
            is(said($ask->('refused')), $done, 'transferred');
            is_deeply([$sent->('refused')], ['+14155550100', '+14155550199'], 'to the second destination');
        },
        'two that refuse' => sub {
            $s->allow_log(qr/call=hopeless .*outcome=refused/);
            is(said($ask->('hopeless', 'status=400')), 'The transfer was refused. It is not possible right now.', 'the model is told');
        },
        'unauthorized' => sub {
            $s->allow_log(qr/outcome=unauthorized/);
            is($s->signed_post('/vapi/transfer', $body->('forged'), secret => 'guessed')->{status}, 401, 'a wrong signature');
            is($s->post('/vapi/transfer', $body->('forged'))->{status}, 401, 'none');
            is(scalar $sent->('forged'), 0, 'nothing is sent');
        },
        'a destination request' => sub {
            my $reply = $s->signed_post('/vapi/transfer', vapi_message('transfer-destination-request', call => 'request'));
            is($reply->{json}{destination}{number}, '+14155550199', 'answered');
        },
        'a large body' => sub {
            is(said($ask->('large', 'ok', pad => 3_000_000)), $done, 'transferred');
            $s->allow_log(qr/longer than VapiBodyLimit/);
            is($ask->('larger', 'ok', pad => 11_000_000)->{status}, 413, 'up to the limit');
        },
        'a slow control API' => sub {
            my @slow = map { $s->post_start('/vapi/transfer', $body->("slow-$_", 'delay=500')) } 1 .. 6;
            is_deeply([map { said($s->post_finish($_)) } @slow], [($done) x 6], 'all are transferred');
        },
        'parallel calls' => sub {
            my @replies = $s->post_many(map { my $text = $body->("many-$_", 'ok', caller => sprintf '+1415555%04d', $_); ['/vapi/transfer', $text, $s->signed($text)] } 1 .. 64);
            is(scalar(grep { said($_) eq $done } @replies), 64, '64 at once are all transferred');
            my %calls;
            $calls{ $_->{call} }++ for grep { $_->{call} =~ /^many-/ } $control->requests;
            is(scalar keys %calls, 64, 'each call');
            is(scalar(grep { $_ != 1 } values %calls), 0, 'once');
        },
        'a graceful restart' => sub {
            $s->graceful;
            is(said($ask->('later')), $done, 'it serves on');
            is(said($s->signed_post('/vapi/transfer', $body->('twice', 'ok', id => 'call_A'))), $done, 'and knows');
            is(scalar $sent->('twice'), 1, 'what was done');
        },
    );
    while (my ($name, $do) = splice @paths, 0, 2) { subtest "$mpm: $name" => $do }
    $s->stop;
}

done_testing;
