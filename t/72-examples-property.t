# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# conf/examples/property-management.conf: every rule of it by explanations, then whole calls with a property system that answers.
use strict;
use warnings;
use VapiExample;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my $api = PropertySystem->new;
my %options = (defines => { PROPERTY_API => $api->base, PROPERTY_TOKEN => 'file:@DIR@/token' }, files => { token => ["token-of-the-property-system\n", 0600] });
my $asked = example('property-management', %options);
my ($open, $closed) = ('2026-05-04T18:00:00Z', '2026-05-05T03:00:00Z');    # a Monday in Los Angeles, 11:00 and 20:00
my @tenant = map { "tenant.tenant.$_" } 'id=tenant_123', 'name=John Smith', 'status=active', 'property=123 Main St', 'account_standing=good';
my @free = ('agents.available_agents.0.name=Mike', 'agents.available_agents.0.phone=+12135550132', 'agents.queue_length=2');
my @queue = ('agents.queue_length=3', 'agents.estimated_wait_minutes=12');
my @maintenance = ('maintenance.destination=+12135550133', 'maintenance.agent_name=Rosa');
my %number = (emergency => '+12135550111', office => '+12135550101', general => '+12135550102', voicemail => '+12135550199');

# ---- the table: [why, arguments, what is known, the route, what is called or said]

my @rows = (
    # S92, S99: the tenants' system is down; what no department is for.
    ['the lookup of the tenant fails', { inquiry_type => 'maintenance' }, ['tenant=error', @free], 'general-queue', $number{general}, qr/general team/],
    ['... for a leasing inquiry too', { inquiry_type => 'leasing' }, ['tenant=error', @free], 'general-queue', $number{general}, qr/general team/],
    ['no known inquiry', { inquiry_type => 'other' }, [@tenant, @free], 'other', $number{office}, qr/main office/],
    # S93: emergencies.
    ['an emergency', { inquiry_type => 'emergency' }, [@tenant, 'emergency.destination=+12135550130', 'emergency.agent_name=Ed', 'emergency.ticket_id=EM_789'], 'dispatcher', '+12135550130', qr/Ed now\. Your ticket is EM_789/],
    ['an emergency of nobody known', { inquiry_type => 'emergency' }, ['emergency.destination=+12135550130'], 'dispatcher', '+12135550130', qr/emergency/],
    ['nobody is named', { inquiry_type => 'emergency' }, [@tenant, 'emergency=none'], 'emergency-line', $number{emergency}, qr/emergency line/],
    ['the lookup of the dispatcher fails', { inquiry_type => 'emergency' }, ['tenant=error', 'emergency=error'], 'emergency-line', $number{emergency}, qr/emergency line/],
    ['a number is named that is none of ours', { inquiry_type => 'emergency' }, [@tenant, 'emergency.destination=+19005550199'], 'emergency-line', $number{emergency}, qr/emergency line/],
    # S94, S96: somebody is free: whom the department names, else the first.
    ['maintenance', { inquiry_type => 'maintenance' }, [@tenant, @free, @maintenance], 'maintenance-team', '+12135550133', qr/Rosa of our maintenance team/],
    ['maintenance names nobody', { inquiry_type => 'maintenance' }, [@tenant, @free, 'maintenance=error'], 'agent', '+12135550132', qr/Mike of our maintenance team/],
    ['maintenance names a stranger', { inquiry_type => 'maintenance' }, [@tenant, @free, 'maintenance.destination=+19005550199'], 'agent', '+12135550132', qr/Mike/],
    ['leasing', { inquiry_type => 'leasing' }, [@tenant, @free, 'leasing.destination=+12135550134'], 'leasing-office', '+12135550134', qr/leasing office/],
    ['a lease', { inquiry_type => 'lease' }, [@tenant, @free, 'leasing.destination=+12135550134'], 'leasing-office', '+12135550134', qr/leasing office/],
    ['rent', { inquiry_type => 'rent' }, [@tenant, @free, 'billing.destination=+12135550135'], 'billing-office', '+12135550135', qr/billing department/],
    ['billing', { inquiry_type => 'billing' }, [@tenant, @free, 'billing.destination=+12135550135'], 'billing-office', '+12135550135', qr/billing department/],
    ['anything else', { inquiry_type => 'general' }, [@tenant, @free, @maintenance], 'agent', '+12135550132', qr/Mike of our general team/],
    ['the free one cannot be called', { inquiry_type => 'general' }, [@tenant, 'agents.available_agents.0.phone=+19005550199', @queue], 'main-office', $number{office}, qr/main office/],
    # Who is no tenant (S91, S103).
    ['repairs of nobody known', { inquiry_type => 'maintenance' }, [@free, @maintenance], 'unrecognised', $number{general}, qr/couldn't find your number/],
    ['an account of nobody known', { inquiry_type => 'rent' }, ['tenant=none', @free], 'unrecognised', $number{general}, qr/couldn't find your number/],
    ['an answer without a tenant', { inquiry_type => 'rent' }, ['tenant=ok', @free], 'unrecognised', $number{general}, qr/couldn't find your number/],
    ['who looks for a flat', { inquiry_type => 'leasing' }, ['tenant=none', @free], 'agent', '+12135550132', qr/Mike of our leasing team/],
    # S96: a queue.
    ['a queue', { inquiry_type => 'general' }, [@tenant, @queue], 'queue', undef, qr/about 12 minutes\..*offer a call back/],
    ['a queue, and a yes to a call back', { inquiry_type => 'general', callback => JSON::PP::true }, [@tenant, @queue, 'attempt=1'], 'callback', undef, qr/call back is booked/],
    ['... in the words of a careless model', { inquiry_type => 'general', callback => 'True' }, [@tenant, @queue, 'attempt=1'], 'callback', undef, qr/call back is booked/],
    ['... and a no', { inquiry_type => 'general', callback => JSON::PP::false }, [@tenant, @queue, 'attempt=1'], 'declined', $number{voicemail}, qr/within 4 hours/],
    ['a no that was not asked for', { inquiry_type => 'general', callback => JSON::PP::false }, [@tenant, @queue], 'queue', undef, qr/offer a call back/],
    ['a no, and somebody is free by now', { inquiry_type => 'general', callback => JSON::PP::false }, [@tenant, @free, 'attempt=1'], 'agent', '+12135550132', qr/Mike/],
    # S96: all are busy.
    ['all are busy', { inquiry_type => 'general' }, [@tenant, 'agents.queue_length=0'], 'all-busy', $number{voicemail}, qr/leave a message.*within 4 hours/],
    ['all are busy, and it is urgent', { inquiry_type => 'general', urgency => 'urgent' }, [@tenant, 'agents=ok'], 'priority-callback', undef, qr/priority call back/],
    ['all are busy, commercial', { inquiry_type => 'general' }, [@tenant, 'tenant.tenant.tier=commercial', 'agents=ok'], 'priority-callback', undef, qr/priority call back/],
    ['... and no call back is wanted', { inquiry_type => 'general', urgency => 'urgent', callback => JSON::PP::false }, [@tenant, 'agents=ok', 'attempt=1'], 'declined', $number{voicemail}, qr/leave a message/],
    # S99: nobody is on duty, nobody could be asked.
    ['nobody is on duty', { inquiry_type => 'general' }, [@tenant, 'agents.department_status=closed', 'agents.queue_length=1'], 'main-office', $number{office}, qr/main office/],
    ['availability cannot be asked', { inquiry_type => 'general' }, [@tenant, 'agents=error'], 'main-office', $number{office}, qr/main office/],
    ['availability knows nothing', { inquiry_type => 'general' }, [@tenant, 'agents=none'], 'main-office', $number{office}, qr/main office/],
);
for my $row (@rows) {
    my ($name, $args, $with, $route, $number, $said) = @$row;
    my $got = dispatch($args, $open, @$with);
    is("$got->{route} " . ($got->{control}{destination}{number} // 'nobody'), "$route " . ($number // 'nobody'), "$name: $route");
    like($got->{control}{content} // $got->{reply}{result}, $said, 'in those words');
}
like(dispatch({ inquiry_type => 'parking' }, $open, @tenant)->{reply}{error}, qr/inquiry_type.*emergency.*other/, 'the model is told which inquiries there are');
like(dispatch({ inquiry_type => 'general', urgency => 'very' }, $open, @tenant)->{reply}{error}, qr/urgency/, 'and how urgent it may be');
is($asked->decided('/vapi/dispatch', vapi_tool_call(name => 'dispatchCall', caller => undef, args => { inquiry_type => 'general', callback => JSON::PP::true }), at => $open, with => [@queue])->{route}, 'queue', 'nobody is called back who has no number');

# S102: hours, by the clock of Los Angeles. [time, open]
for my $row (['2026-05-04T16:00:00Z', 1], ['2026-05-04T15:59:59Z', 0], ['2026-05-05T00:00:00Z', 0], ['2026-05-04T23:59:59Z', 1], ['2026-05-09T17:00:00Z', 1], ['2026-05-09T16:59:59Z', 0], ['2026-05-09T22:00:00Z', 0], ['2026-05-10T21:59:59Z', 1],
    ['2026-01-05T17:00:00Z', 1], ['2026-01-05T16:59:59Z', 0], [$closed, 0]) {
    my ($at, $is_open) = @$row;
    is(dispatch({ inquiry_type => 'general' }, $at, @tenant, @free)->{route}, $is_open ? 'agent' : 'after-hours', "$at: " . ($is_open ? 'open' : 'closed'));
}
is(dispatch({ inquiry_type => 'general' }, $closed, @tenant, @free)->{control}{destination}{number}, $number{voicemail}, 'after hours: the voicemail');
is(dispatch({ inquiry_type => 'emergency' }, $closed, 'emergency=none')->{control}{destination}{number}, $number{emergency}, 'an emergency: the emergency line');
is(dispatch({ inquiry_type => 'emergency' }, $closed, 'emergency.destination=+12135550130')->{route}, 'dispatcher', 'or whom the property system names');
is(dispatch({ inquiry_type => 'general', callback => JSON::PP::true }, $closed, @tenant)->{route}, 'callback', 'a call back that was promised is booked all the same');

# S101: priorities, as whoever takes over reads them (S98).
for my $row (['critical', 'general', 'normal', 'tier=commercial'], ['critical', 'general', 'normal', 'tier=commercial', 'account_standing=delinquent'], ['high', 'maintenance', 'urgent', 'account_standing=good'], ['normal', 'maintenance', 'normal', 'account_standing=good'], ['normal', 'lease', undef, 'account_standing=good'],
    ['low', 'rent', 'normal', 'account_standing=delinquent'], ['low', 'rent', undef, 'account_standing=delinquent'], ['normal', 'rent', 'urgent', 'account_standing=delinquent'], ['normal', 'leasing', 'urgent', 'name=nobody']) {
    my ($priority, $type, $urgency, @fields) = @$row;
    my $got = dispatch({ inquiry_type => $type, defined $urgency ? (urgency => $urgency) : () }, $open, (map { "tenant.tenant.$_" } 'id=tenant_1', @fields), @free);
    like(summary($got), qr/Priority: $priority\./, "$type, " . ($urgency // 'no urgency') . ", @fields: $priority");
}
like(summary(dispatch({ inquiry_type => 'emergency' }, $open, 'emergency.destination=+12135550130')), qr/Priority: critical\./, 'an emergency: critical');
is(summary(dispatch({ inquiry_type => 'maintenance', inquiry => 'The tap drips.', urgency => 'urgent' }, $open, @tenant, @free)),
    'Tenant: John Smith at 123 Main St. Account status: good. Inquiry type: maintenance. Previous context: The tap drips.. Priority: high. Conversation: {{transcript}}' =~ s/\.\./../r, 'the summary has what is known');

# ---- the router of the squad (S90), in all the forms in which its tool may ask

my %assistant = (emergency => 'Maintenance', maintenance => 'Maintenance', map { ($_ => 'Leasing') } qw(leasing lease rent general other));
for my $type (sort keys %assistant) {
    my $id = vapi_uuid();
    my $called = $asked->decided('/vapi/router', vapi_tool_call(name => 'route', args => { inquiry_type => $type }));
    is("$called->{outcome} $called->{control}{type} $called->{control}{destination}{assistantName}", "handed-off handoff $assistant{$type}", "$type: to $assistant{$type}");
    my $handoff = $asked->signed_post('/vapi/router', vapi_message('handoff-destination-request', fields => { parameters => { inquiry_type => $type } }));
    is($handoff->{json}{destination}{assistantName}, $assistant{$type}, 'a handoff-destination-request');
    my $transfer = $asked->signed_post('/vapi/router', destination_request(name => 'route', args => { inquiry_type => $type }));
    is($transfer->{json}{destination}{assistantName}, $assistant{$type}, 'a transfer-destination-request');
}

# ---- whole calls, at any time of the day: the office of this virtual host is always open (S103)

my $live = example('property-management', patient => 1, %options, control => $control, override => qq(VapiHours office UTC "Mon-Sun 00:00-24:00"\n));
$live->allow_log(qr/lookup \w+: HTTP 500/, qr/action book: HTTP 500/, qr/outcome=no-route/);
my $phone = { map { ($_ => PropertySystem::phone($_)) } qw(good delinquent commercial broken nobody) };

# An emergency.
my ($said, $sent, @went) = call(good => { inquiry_type => 'emergency', inquiry => 'Water everywhere' });
is("$said $sent->{destination}{number}", 'The call is being transferred. +12135550130', 'an emergency');
is($sent->{content}, "This is an emergency: I'm connecting you to Emergency Maintenance now. Your ticket is EM_789.", 'what the caller hears');
is_deeply(bodies(@went), {
    'POST /api/tenants/lookup' => { phone => $phone->{good}, inquiry_type => 'emergency' },
    'POST /api/routing/emergency' => { tenant_id => 'tenant_good', property => '123 Main St, Apt 4B', inquiry_type => 'emergency', priority => 'high' },
}, 'what the property system was asked (S91, S93)');
is_deeply([grep { $_->{headers}{authorization} ne 'Bearer token-of-the-property-system' } @went], [], 'always with its token');

# A tenant whose tap drips, one who asks about the rent, and somebody who looks for a flat (S94, S95).
for my $row ([good => maintenance => '+12135550133', { inquiry_type => 'maintenance', tenant_id => 'tenant_good', property => '123 Main St, Apt 4B', tenant_status => 'active' }],
    [good => rent => '+12135550135', { inquiry_type => 'rent', tenant_id => 'tenant_good', account_standing => 'good' }],
    [nobody => leasing => '+12135550134', { inquiry_type => 'lease', tenant_id => '', property => '', account_standing => '' }]) {
    my ($who, $type, $number, $body) = @$row;
    my $department = $type eq 'rent' ? 'billing' : $type;
    ($said, $sent, @went) = call($who => { inquiry_type => $type });
    is($sent->{destination}{number}, $number, "$type: $number");
    is_deeply(bodies(@went), {
        'POST /api/tenants/lookup' => { phone => $phone->{$who}, inquiry_type => $type }, "POST /api/routing/$department" => $body,
        "GET /api/agents/availability?department=$department&priority=normal" => undef,
    }, 'its own body, and no other lookup');
}

# A number that nobody knows, and a system that is down: the fallback is told why (S99).
($said, $sent, @went) = call(nobody => { inquiry_type => 'maintenance' });
is("$sent->{destination}{number} " . scalar @went, "$number{general} 1", 'an unrecognised number');
for my $row ([broken => 'maintenance', $number{general}, 'lookup_failed'], [good => 'other', $number{office}, 'unknown_inquiry'], [delinquent => 'rent', $number{office}, 'no_agents'], [good => 'general', $number{office}, 'system_error']) {
    my ($who, $type, $number, $error) = @$row;
    ($said, $sent, @went) = call($who => { inquiry_type => $type }, undef, 'fallback');
    is($sent->{destination}{number}, $number, "$error: $number");
    is_deeply(bodies(@went)->{'POST /api/routing/fallback'}, { phone => $phone->{$who}, error_type => $error, original_inquiry => $type }, 'and the property system is told');
    like([grep { $_->{path} =~ /fallback/ } @went]->[0]{headers}{'idempotency-key'}, qr/\A[0-9a-f]{32}\z/, 'in a way that it may come twice');
}

# A queue, and a call back (S96, S97): the same call asks again.
my $id = vapi_uuid();
($said, $sent) = call(commercial => { inquiry_type => 'general' }, $id);
is(($sent // 'nobody') . " $said", 'nobody All of our general team are on the phone. The wait is about 5 minutes. Tell the caller, offer a call back, and call this tool again with callback=true or callback=false.', 'a queue');
($said, $sent, @went) = call(commercial => { inquiry_type => 'general', callback => JSON::PP::true, callback_time => 'tomorrow at ten' }, $id);
is(($sent // 'nobody') . " $said", 'nobody A call back is booked. Tell the caller that we will call, and say goodbye.', 'a call back');
is_deeply(bodies(@went)->{'POST /api/callbacks/schedule'}, { tenant_id => 'tenant_commercial', phone => $phone->{commercial}, inquiry_type => 'general', priority => 'critical', requested_time => 'tomorrow at ten' }, 'was booked');
$id = vapi_uuid();
call(commercial => { inquiry_type => 'general' }, $id);
($said, $sent) = call(commercial => { inquiry_type => 'general', callback => JSON::PP::false }, $id);
is($sent->{destination}{number}, $number{voicemail}, 'a call back that is not wanted: the voicemail (S100)');
($said, $sent) = call(commercial => { inquiry_type => 'general', callback => JSON::PP::true, callback_time => 'never' });
is(($sent // 'nobody') . ' ' . ($said =~ /The wait is about/ ? 'queue' : $said), 'nobody queue', 'one that cannot be booked is not promised');

done_testing;

sub dispatch { my ($args, $at, @with) = @_; return $asked->decided('/vapi/dispatch', vapi_tool_call(name => 'dispatchCall', args => $args), at => $at, with => \@with) }

sub summary { my ($got) = @_; return $got->{control}{destination}{transferPlan}{summaryPlan}{messages}[1]{content} }

# One call of a tenant's: what the model was told, what the control API got, what the property system was asked. `later`: it must be asked that, too.
sub call {
    my ($who, $args, $call, $later) = @_;
    $call //= vapi_uuid();
    $api->clear;
    my $before = () = of_call($call);
    my $got = $live->signed_post('/vapi/dispatch', vapi_tool_call(name => 'dispatchCall', call => $call, caller => $phone->{$who}, args => $args, control => $control->url($call)));
    wait_until(sub { grep { $_->{path} =~ /$later/ } $api->requests }, 20) if $later;
    my @sent = of_call($call);
    return ($got->{json}{results}[0]{result} // $got->{json}{results}[0]{error}, @sent > $before ? $sent[-1] : undef, $api->requests);
}

sub of_call { my ($call) = @_; return map { $_->{json} } grep { $_->{call} eq $call } $control->requests }

sub bodies { return { map { ("$_->{method} $_->{path}" => $_->{json}) } @_ } }

# The property system: it knows some tenants by their numbers, and how it stands with the departments.
package PropertySystem;
use parent -norequire, 'VapiControl';

my (%phone, %tenant);

BEGIN {
    %phone = (good => '+12135550140', delinquent => '+12135550141', commercial => '+12135550142', broken => '+12135550143', nobody => '+12135550144');
    %tenant = (good => { account_standing => 'good' }, delinquent => { account_standing => 'delinquent' }, commercial => { account_standing => 'good', tier => 'commercial' });
}

sub phone { my ($who) = @_; return $phone{$who} }

sub _answer {
    my ($self, $request) = @_;
    my $answer = answer($request->{path}, $request->{json} || {});
    return ref $answer ? { status => 200, body => $json->encode($answer) } : { status => $answer, body => '{}' };
}

sub answer {
    my ($path, $body) = @_;
    if ($path eq '/api/tenants/lookup') {
        my ($who) = grep { $phone{$_} eq $body->{phone} } keys %phone;
        return $who eq 'broken' ? 500 : 404 if !$tenant{$who};
        return { tenant => { id => "tenant_$who", name => 'John Smith', status => 'active', property => '123 Main St, Apt 4B', %{ $tenant{$who} } }, routing_suggestion => 'maintenance_team' };
    }
    return { destination => '+12135550130', agent_name => 'Emergency Maintenance', ticket_id => 'EM_789', priority => 'critical' } if $path eq '/api/routing/emergency';
    my %office = (maintenance => '+12135550133', leasing => '+12135550134', billing => '+12135550135');
    return { destination => $office{$1}, agent_name => 'Rosa' } if $path =~ m{\A/api/routing/(maintenance|leasing|billing)\z};
    return $body->{requested_time} eq 'never' ? 500 : { id => 'cb_1' } if $path eq '/api/callbacks/schedule';
    return { ok => JSON::PP::true } if $path eq '/api/routing/fallback';
    my ($department, $priority) = $path =~ m{\A/api/agents/availability\?department=(\w+)&priority=(\w+)\z} or return 404;
    return 500 if "$department $priority" eq 'general normal';
    return { available_agents => [], queue_length => 2, estimated_wait_minutes => 5, department_status => 'available' } if $priority eq 'critical';
    return { available_agents => [], queue_length => 0, department_status => 'closed' } if $priority eq 'low';
    return { available_agents => [{ id => 'agent_456', name => 'Mike Johnson', phone => '+12135550132', department => $department }], queue_length => 2, estimated_wait_minutes => 5, department_status => 'available' };
}
