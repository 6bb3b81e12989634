# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# conf/examples/after-hours.conf, regional-offices.conf and call-back.conf: who is open, who is called, what is booked.
use strict;
use warnings;
use VapiExample;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my $always = q("Mon-Sun 00:00-24:00");

# ---- after-hours

my $office = example('after-hours');
my %clock = (    # New York: five hours behind UTC in winter, four in summer
    '2026-01-05T14:00:00Z' => 'front', '2026-01-05T13:59:59Z' => 'closed', '2026-01-05T22:29:59Z' => 'front', '2026-01-05T22:30:00Z' => 'closed',
    '2026-05-04T13:00:00Z' => 'front', '2026-05-04T12:59:59Z' => 'closed', '2026-05-04T21:29:59Z' => 'front', '2026-05-04T21:30:00Z' => 'closed', '2026-05-09T16:00:00Z' => 'closed',
    '2026-12-25T16:00:00Z' => 'holiday', '2027-12-25T16:00:00Z' => 'holiday', '2026-12-24T17:59:59Z' => 'front', '2026-12-24T18:00:00Z' => 'closed', '2027-12-24T19:00:00Z' => 'front',
    '2026-11-26T16:00:00Z' => 'holiday', '2026-11-27T16:00:00Z' => 'holiday', '2027-11-26T16:00:00Z' => 'front', '2027-05-31T16:00:00Z' => 'holiday', '2027-01-01T16:00:00Z' => 'holiday', '2029-07-04T16:00:00Z' => 'holiday',
);
for my $at (sort keys %clock) {
    my $got = $office->decided('/vapi/office', vapi_tool_call(said => ['Hello.', 'I have a question about my bill.']), at => $at);
    is($got->{route}, $clock{$at}, "$at: $clock{$at}");
    is($got->{control}{destination}{number} // $got->{reply}{result}, {
        front => '+12125550100', holiday => 'The office is closed for the holiday. Offer to take a message.',
        closed => 'The office is closed. It opens on working days at 9 in the morning, New York time. Offer to take a message.',
    }->{ $clock{$at} }, 'and that is what is done');
}
my @words = (
    ['on-call', 'There is a flood in the cellar.'], ['on-call', 'A BURST PIPE!'], ['on-call', 'I smell gas.'], ['on-call', 'It smells of gas here.'], ['on-call', 'The house is on fire'], ['on-call', 'It is urgent.', 'I need somebody right now.'],
    ['on-call', 'There is smoke'], ['closed', 'It is urgent.'], ['closed', 'It is urgent, an emergency, I need somebody immediately.'], ['closed', 'About my gas bill'], ['closed', 'The fireplace is cold'], ['closed', 'Fire him.'], ['closed', 'A smokescreen'], ['closed'],
);
for my $row (@words) {
    my ($route, @said) = @$row;
    is($office->decided('/vapi/office', vapi_tool_call(said => \@said), at => '2026-05-09T16:00:00Z')->{route}, $route, "'@said': $route");
}
is($office->decided('/vapi/office', vapi_tool_call(said => ['A flood!']), at => '2026-12-25T16:00:00Z')->{route}, 'on-call', 'on a holiday, too');
is($office->decided('/vapi/office', vapi_tool_call(said => ['A flood!']), at => '2026-05-04T13:00:00Z')->{route}, 'front', 'while it is open the office takes it');
for my $row ([qq(VapiHours office UTC $always), 'front', '+12125550100'], [qq(VapiHours office UTC $always closed-file=\@DIR\@/closed), 'on-call', '+12125550199']) {
    my ($hours, $name, $number) = @$row;
    my @days = map { my (undef, undef, undef, $day, $month, $year) = gmtime time + $_ * 86400; sprintf "%04d-%02d-%02d\n", $year + 1900, $month + 1, $day } -1 .. 1;
    my $live = example('after-hours', control => $control, override => "$hours\n", files => { closed => join '', @days });
    my $got = $live->signed_post('/vapi/office', vapi_tool_call(call => "office-$name", said => ['A burst pipe!'], control => $control->url("office-$name")));
    is($got->{json}{results}[0]{result}, 'The call is being transferred.', "live: $name");
    is_deeply([numbers("office-$name")], [$number], 'is called');
    next if $name eq 'front';
    like($live->signed_post('/vapi/office', vapi_tool_call(call => 'office-none', said => ['Hello.'], control => $control->url('office-none')))->{json}{results}[0]{result}, qr/closed for the holiday/, 'the others are told');
    is_deeply([numbers('office-none')], [], 'and nobody is called');
}

# ---- regional-offices

my $regions = example('regional-offices');
my %number = (london => '+442079460100', berlin => '+493023125100', 'new-york' => '+12125550100', chicago => '+13125550100', world => '+12125550150');
# [why, caller, zip, time, destination]; a Monday
my @calls = (
    ['London', '+442079460999', undef, '2026-05-04T07:30:00Z', 'london'], ['London, a second before', '+442079460999', undef, '2026-05-04T07:29:59Z', 'world'], ['London in winter', '+442079460999', undef, '2026-01-05T07:30:00Z', 'world'],
    ['Berlin', '+493023125999', undef, '2026-05-04T06:30:00Z', 'berlin'], ['Berlin, closed', '+493023125999', undef, '2026-05-04T16:00:00Z', 'world'], ['Chicago', '+13125550155', undef, '2026-05-04T13:30:00Z', 'chicago'],
    ['Chicago, where New York is open already', '+13125550155', undef, '2026-05-04T12:30:00Z', 'world'], ['New York', '+16465550155', undef, '2026-05-04T12:30:00Z', 'new-york'], ['anywhere else in America', '+14155550155', undef, '2026-05-04T12:30:00Z', 'new-york'],
    ['Japan, while clocks of UTC say open', '+81312345678', undef, '2026-05-04T12:00:00Z', 'world'], ['nobody known', undef, undef, '2026-05-04T12:00:00Z', 'world'], ['a weekend', '+442079460999', undef, '2026-05-03T12:00:00Z', 'world'],
    ['New York, who asks for Chicago', '+12125550155', '60601', '2026-05-04T14:00:00Z', 'chicago'], ['... before Chicago opens', '+12125550155', '60601', '2026-05-04T13:00:00Z', 'new-york'], ['... after New York closed', '+12125550155', '60601', '2026-05-04T22:30:00Z', 'chicago'],
    ['an unknown zip', '+12125550155', '94107', '2026-05-04T14:00:00Z', 'new-york'], ['no zip at all', '+12125550155', 'the one in Chicago', '2026-05-04T14:00:00Z', 'new-york'], ['London, who asks for New York', '+442079460999', '10001', '2026-05-04T19:00:00Z', 'new-york'],
);
for my $row (@calls) {
    my ($name, $caller, $zip, $at, $office) = @$row;
    my $got = $regions->decided('/vapi/regions', vapi_tool_call(caller => $caller, args => { defined $zip ? (zip => $zip) : () }), at => $at);
    is("$got->{destination} $got->{control}{destination}{number}", "$office $number{$office}", "$name: $office");
}
my $anywhere = example('regional-offices', control => $control, override => "VapiHours local map:zones $always\n");
for my $row (['+442079460999', undef, 'london'], ['+13125550155', undef, 'chicago'], ['+442079460999', 60601, 'chicago'], ['+81312345678', undef, 'world']) {
    my ($caller, $zip, $office) = @$row;
    my $id = vapi_uuid();
    $anywhere->signed_post('/vapi/regions', vapi_tool_call(call => $id, caller => $caller, args => { defined $zip ? (zip => $zip) : () }, control => $control->url($id)));
    is_deeply([numbers($id)], [$number{$office}], "live: $caller " . ($zip // '') . " to $office");
}

# ---- call-back

my $crm = VapiControl->new(paths => { '/callbacks' => { status => 201, body => '{"id":7}' }, '/calls' => { status => 204, body => '' } });
my $booking = example('call-back', control => $control, defines => { CALLBACK_URL => $crm->base, CALLBACK_TOKEN => 'file:@DIR@/token' }, files => { token => ["token-of-the-crm\n", 0600] });
$booking->allow_log(qr/action book: HTTP 500/, qr/outcome=no-route/, qr/action=note event=answered: HTTP 503; tried again/);
for my $row (['+12025550155', {}, '+12025550155'], ['+12025550155', { number => '+1 (415) 555-0177' }, '+14155550177'], [undef, { number => '+14155550178' }, '+14155550178']) {
    my ($caller, $args, $number) = @$row;
    my $id = vapi_uuid();
    my ($told, @asked) = book($id, $caller, { when => 'tomorrow at ten', %$args }, 2);
    is($told->{result}, 'The call back is booked for tomorrow at ten. Confirm it to the caller and say goodbye.', "a call back to $number");
    my ($booked) = grep { $_->{path} eq '/callbacks' } @asked;
    is_deeply($booked->{json}, { number => $number, when => 'tomorrow at ten', call => $id }, 'is booked');
    is("$booked->{method} $booked->{headers}{authorization}", 'POST Bearer token-of-the-crm', 'with the token');
    my ($noted) = grep { $_->{path} eq '/calls' } @asked;
    is_deeply([@{ $noted->{json} }{qw(event call route outcome)}], ['answered', $id, 'booked', 'answered'], 'and noted afterwards');
    is_deeply([numbers($id)], [], 'nobody is called');
}
# It cannot be booked: the caller is connected. It cannot be noted: that is done later.
$crm->script({ status => 500, body => '{}' });
my ($told, @asked) = book('unbooked', '+12025550155', { when => 'now' }, 2);
is($told->{result}, 'The call is being transferred.', 'a call back that cannot be booked is not promised');
is_deeply([numbers('unbooked')], ['+14155550100'], 'the caller is connected');
is_deeply([map { "$_->{path} " . ($_->{json}{event} // '-') } @asked], ['/callbacks -', '/calls after-transfer'], 'and that is noted');
($told, @asked) = book('nobody', undef, { when => 'now' }, 1);
is($told->{result}, 'The call is being transferred.', 'no number: the caller is connected');
like((book('unasked', '+12025550155', {}, 0))[0]{error}, qr/when/, 'the model is told to ask when');
like((book('misheard', '+12025550155', { when => 'now', number => 'my office' }, 0))[0]{error}, qr/number/, 'or for a number that is one');
($told, @asked) = book('web', undef, { when => 'now' }, 1, call_type => 'webCall');
is_deeply([$told->{error}, $asked[0]{json}{event}], ['No destination is available for this transfer right now.', 'transfer-failed'], 'a call that can neither be called back nor connected');
$crm->clear;
$booking->signed_post('/vapi/callback', vapi_message('end-of-call-report', call => 'ended', fields => { endedReason => 'customer-ended-call' }));
@asked = $crm->wait_requests(1, 30);
is_deeply([map { $_->{json}{event} . ' ' . $_->{json}{call} } @asked], ['end-of-call ended'], 'the end of the call is noted');

$crm->clear;
$crm->script({ status => 201, body => '{}' }, { status => 503, body => '{}' });
($told, @asked) = book('later', '+12025550155', { when => 'now' }, 3);
my @notes = grep { $_->{path} eq '/calls' } @asked;
is(scalar @notes, 2, 'the CRM is down for a moment: it is told again');
is($notes[0]{headers}{'idempotency-key'}, $notes[1]{headers}{'idempotency-key'}, 'with the same key');
ok(wait_until(sub { $booking->get('/console/status')->{json}{spool}{waiting} == 0 }, 20), 'and nothing waits any more');

done_testing;

sub numbers { my ($call) = @_; return map { $_->{json}{destination}{number} } grep { $_->{call} eq $call } $control->requests }

# The result that the model gets, and what the CRM was asked: so many requests.
sub book {
    my ($call, $caller, $args, $count, %o) = @_;
    $crm->clear;
    my $got = $booking->signed_post('/vapi/callback', vapi_tool_call(name => 'requestCallback', call => $call, caller => $caller, args => $args, control => $control->url($call), %o));
    return ($got->{json}{results}[0], $crm->wait_requests($count, 30));
}
