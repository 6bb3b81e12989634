# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# conf/examples/support-escalation.conf: every rule of it, and that its CRM, Salesforce, desk and log are reached as they are meant to be.
use strict;
use warnings;
use VapiExample;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my $world = VapiControl->new(paths => world());
my $s = example('support-escalation', control => $control, defines => {
    CRM_URL => $world->base . '/crm', SALESFORCE_URL => $world->base . '/salesforce', DESK_URL => $world->base . '/desk',
    (map { ($_ => 'file:@DIR@/' . lc) } qw(CRM_TOKEN SALESFORCE_TOKEN DESK_TOKEN)), SUPPORT_LOG => '@DIR@/run/escalations.jsonl',
}, files => { map { (lc, ["secret of $_\n" =~ tr/ /-/r, 0600]) } qw(CRM_TOKEN SALESFORCE_TOKEN DESK_TOKEN) });
$s->allow_log(qr/lookup \w+: HTTP 50[03]/, qr/lookup \w+: .*tim(?:e|ed) ?out/i);
my $log = $s->dir . '/run/escalations.jsonl';
is(sprintf('%o', (stat $log)[2] & 07777), '600', 'the log is there from the start, for nobody else');
my %number = (enterprise => '+12025550101', technical => '+12025550102', billing => '+12025550103', product => '+12025550104', general => '+12025550105');
my %mode = (enterprise => 'warm-transfer-say-summary', map { ($_ => 'warm-transfer-say-message') } qw(technical billing product general));

# ---- /vapi/support: tier, category and level, in this order (S70 to S75), in both forms in which the tool may ask

my (%content, %operator);
for my $tier ('enterprise', 'premium', 'standard', undef) {
    for my $category (qw(technical billing account product)) {
        for my $level (qw(basic intermediate advanced critical)) {
            my $expected = expected($tier // '', $category, $level);
            my %args = (issue_category => $category, complexity_level => $level, customer_context => 'Pays by card.', escalation_reason => 'Two charges.');
            my @with = (with => [defined $tier ? "crm.tier=$tier" : 'crm=none']);
            my $posted = $s->decided('/vapi/support', vapi_tool_call(name => 'escalateToSupport', args => \%args), @with);
            my $replied = $s->decided('/vapi/support', destination_request(name => 'escalateToSupport', args => \%args), @with);
            my $destination = $posted->{control}{destination};
            my $name = ($tier // 'no tier') . ", $category, $level";
            is("$posted->{route} $destination->{number} $destination->{transferPlan}{mode}", "$expected $number{$expected} $mode{$expected}", "$name: $expected");
            is_deeply($replied->{reply}{destination}, { %$destination, message => $posted->{control}{content} }, 'a transfer-destination-request gets the same');
            $content{ $posted->{control}{content} }{$expected} = 1;
            $operator{ $json->encode($destination->{transferPlan}) =~ s/technical|billing|account|product|basic|intermediate|advanced|critical/-/gr }{$expected} = 1;
        }
    }
}
is_deeply([sort map { keys %$_ } values %content], [sort keys %number], 'each team has a sentence of its own for the caller');
is_deeply([sort map { keys %$_ } values %operator], [sort keys %number], 'and one for who picks up');
my %scene = (issue_category => 'technical', complexity_level => 'critical', customer_context => 'Runs a hospital.', escalation_reason => 'All is down.');
my $plan = $s->decided('/vapi/support', vapi_tool_call(name => 'escalateToSupport', args => \%scene))->{control}{destination}{transferPlan};
is_deeply([map { $_->{role} } @{ $plan->{summaryPlan}{messages} }], ['system', 'user'], 'the summary is asked for by two messages');
like($plan->{summaryPlan}{messages}[1]{content}, qr/technical.*critical.*All is down\..*Runs a hospital\..*\{\{transcript\}\}/, 'of which the second has all that is known');
my $technical = $s->decided('/vapi/support', vapi_tool_call(name => 'escalateToSupport', args => { %scene, complexity_level => 'advanced' }));
like($technical->{control}{destination}{transferPlan}{message}, qr/advanced.*Runs a hospital\..*All is down\./, 'who picks up is told what and why');

is($s->decided('/vapi/support', destination_request(name => 'escalateToSupport', args => { issue_category => 'plumbing', complexity_level => 'basic' }))->{reason}, 'bad-argument', 'a category that is none');
like($s->decided('/vapi/support', vapi_tool_call(name => 'escalateToSupport', args => { issue_category => 'billing' }))->{reply}{error}, qr/complexity_level/, 'an argument that is missing');
is($s->decided('/vapi/support', vapi_message('transfer-destination-request'))->{route}, 'general', 'a request without any tool call: general support');

my (undef, $printed) = VapiTest::configtest(example_conf('support-escalation', defines => { SUPPORT_LOG => '@DIR@/run/escalations.jsonl' }), defines => ['DUMP_VAPI_TOOL'], modules => ['watchdog']);
my ($tool, $other) = map { $_->{function}{parameters} } @{ $json->decode($printed) };
is_deeply({ map { ($_ => $tool->{properties}{$_}{enum}) } keys %{ $tool->{properties} } }, {
    issue_category => [qw(technical billing account product)], complexity_level => [qw(basic intermediate advanced critical)], customer_context => undef, escalation_reason => undef,
}, 'the tool as Vapi is told of it has all four arguments');
is_deeply([sort @{ $tool->{required} }], ['complexity_level', 'issue_category'], 'two of which are needed');
is_deeply([[sort keys %{ $other->{properties} }], $other->{required}], [['customer_context', 'escalation_reason', 'issue_category'], ['issue_category']], 'the desk\'s makes the level out by itself');

# ---- the same, live: the CRM is asked by the caller's number (the tiers of S70's sample)

for my $row (['+1234567890', 'enterprise'], ['+0987654321', 'technical'], ['+1111111111', 'technical'], ['+12025550155', 'technical'], ['+12025550156', 'technical'], [undef, 'technical']) {
    my ($caller, $expected) = @$row;
    my $who = $caller // 'nobody';
    $world->clear;
    my $id = vapi_uuid();
    my %args = (issue_category => 'technical', complexity_level => 'advanced');
    my $got = $s->signed_post('/vapi/support', vapi_tool_call(name => 'escalateToSupport', call => $id, caller => $caller, args => \%args, control => $control->url($id)));
    is("$got->{status} $got->{json}{results}[0]{result}", '200 The call is being transferred.', "$who: the model is told");
    my ($sent) = map { $_->{json} } grep { $_->{call} eq $id } $control->requests;
    is($sent->{destination}{number}, $number{$expected}, "$expected was called");
    my @asked = $world->requests;
    # One that begins with +0 is no number anywhere: whoever has such a one is as good as unknown.
    is(scalar @asked, ($caller // '+0') =~ /\A\+0/ ? 0 : 1, 'the CRM was asked once');
    next if !@asked;
    is("$asked[0]{method} $asked[0]{path}", "GET /crm/customers/by-phone/%2B" . substr($caller, 1), 'by the number, encoded');
    is($asked[0]{headers}{authorization}, 'Bearer secret-of-CRM_TOKEN', 'with the token');
}
# S77: a failure of the CRM costs the tier, not the transfer.
for my $caller ('+12025550157', '+12025550158') {
    my $got = $s->signed_post('/vapi/support', destination_request(name => 'escalateToSupport', caller => $caller, args => { issue_category => 'billing', complexity_level => 'basic' }));
    is("$got->{status} $got->{json}{destination}{number}", "200 $number{billing}", 'the CRM fails: by the arguments alone');
    cmp_ok($got->{ms}, '<', 5000, 'and in time');    # Vapi waits so long, too
}
# What a caller calls himself stays in his own part of the path; what is no number and no SIP URI is nobody.
my @hostile = ("sip:' OR '1'='1\@b.example.com", "sip:a'OR'1'='1\@b.example.com", 'sip:a&sobject=User&User.fields=Password@b.example.com', 'sip:a%23%2e%2e/../../admin;x=y@b.example.com', '../../admin?x=y#z', "+1' OR '1'='1", '..');
for my $caller (@hostile) {
    $world->clear;
    $s->signed_post('/vapi/support', destination_request(name => 'escalateToSupport', caller => $caller, args => { issue_category => 'billing', complexity_level => 'basic' }));
    is_deeply([map { $_->{path} } $world->requests], $caller =~ /\Asip:\S+\z/ ? ['/crm/customers/by-phone/' . urlencoded($caller)] : [], "the caller $caller");
}
my $known = sub { return $s->signed_post('/vapi/support', destination_request(name => 'escalateToSupport', caller => '+1234567890', args => { issue_category => 'billing', complexity_level => 'basic' })) };
$known->();
my $before = () = $world->requests;
$known->();
is(scalar $world->requests, $before, 'what the CRM said is kept for a minute');

# S76, S77
is($s->signed_post('/vapi/support', vapi_message($_))->{body}, '{}', "$_: taken") for qw(status-update end-of-call-report conversation-update hang);
my $forged = vapi_tool_call(name => 'escalateToSupport', args => \%scene, control => $control->url('forged'));
is($s->signed_post('/vapi/support', $forged, secret => 'another')->{status}, 401, 'a bad signature');
is(scalar(grep { $_->{call} eq 'forged' } $control->requests), 0, 'moves nothing');
$s->allow_log(qr/outcome=unauthorized/);

# ---- /vapi/support-desk: how hard it is (S79), by words first

my @levels = (
    [critical => 'The site is down'], [critical => 'an OUTAGE since noon'], [critical => 'It is critical'], [critical => 'Urgent!'], [critical => 'this is an emergency'], [critical => 'down', 'our api'],
    [critical => 'no idea', 'no idea', 'Case_Count__c=3'], [critical => 'the api', '', 'Case_Count__c=3'], [advanced => 'the API fails'], [advanced => '', 'an integration'], [advanced => 'custom work'], [advanced => 'our migration'],
    [advanced => 'Enterprise features'], [advanced => 'a question', '', 'Support_Tier__c=enterprise'], [advanced => 'a question', '', 'Support_Tier__c=Enterprise'], [advanced => 'the api', '', 'Case_Count__c=2'],
    [basic => 'a question', '', 'Case_Count__c=2'], [basic => 'a question', '', 'Support_Tier__c=standard'], [basic => 'a question'], [basic => 'a customer who downloads the capital'], [basic => ''],
);
for my $row (@levels) {
    my ($level, $reason, $context, $field) = @$row;
    my @with = ('pool:specialists=free', $field ? "salesforce.searchRecords.0.$field" : 'salesforce=error');
    my $got = desk({ issue_category => 'technical', escalation_reason => $reason, customer_context => $context // '' }, @with);
    like(summary($got), qr/Level: $level\./, "'$reason' " . ($field // '') . " is $level");
}

like(desk({ escalation_reason => 'It is down' })->{reply}{error}, qr/issue_category/, 'the category is asked for');

# ---- who takes it (S80 to S83)

my %specialist = ('+12025550121' => 'Ann', '+12025550122' => 'Bob', '+12025550123' => 'Carla', '+12025550124' => 'Dan', '+12025550106' => 'the queue', '+12025550107' => 'general support');
my $free = 'pool:specialists=free';
my $ann = desk({ issue_category => 'technical' }, $free);
is("$ann->{route} $ann->{control}{destination}{number}", 'pool:specialists +12025550121', 'a specialist who is free');
is($ann->{control}{content}, "I'm connecting you to Ann, our technical specialist.", 'by name');
like(summary($ann), qr/For Ann\..*Category: technical\..*\{\{transcript\}\}/, 'who gets a summary');
is($ann->{control}{destination}{transferPlan}{mode}, 'warm-transfer-say-summary', 'before he has the caller');
my %wait = (5 => '', '' => '', 6 => ' Current wait time is approximately 6 minutes.', 40 => ' Current wait time is approximately 40 minutes.');
for my $minutes (sort keys %wait) {
    my $queued = desk({ issue_category => 'billing' }, 'pool:specialists=busy', "desk.estimatedWaitTime=$minutes");
    is("$queued->{route} $queued->{control}{content}", "callback-queue All specialists are busy. You'll be added to our priority queue.$wait{$minutes}", "nobody is free, a wait of '$minutes' minutes");
    like($queued->{control}{destination}{transferPlan}{message}, qr/billing issue, basic: the customer needs a call back/, 'who calls back is told');
}
is(desk({ issue_category => 'billing' }, 'pool:specialists=busy', $_)->{route}, 'fallback', "$_: general support") for 'desk=error', 'desk=none';
is(desk({ issue_category => 'billing' }, $free, 'desk=error')->{control}{content}, "I'm connecting you to Carla, our billing specialist.", 'who is free needs no queue');

# Live: who can do what, each as often as he has room, and then the queue.
my %able = (
    technical => { basic => 'Ann Bob', advanced => 'Ann Bob', critical => 'Ann' }, product => { basic => 'Ann Bob', advanced => 'Bob', critical => 'Bob' },
    billing => { basic => 'Carla Dan Dan', advanced => 'Carla', critical => 'Carla' }, account => { basic => 'Carla Dan Dan', advanced => 'Carla', critical => 'Carla' },
);
my %words = (basic => 'a question', advanced => 'the API', critical => 'all is down');
for my $category (sort keys %able) {
    for my $level (sort keys %words) {
        my (@calls, @took);
        while (@took < 6 && ($took[-1] // '') !~ /queue|general/) {
            push @calls, vapi_uuid();
            push @took, ask($calls[-1], $category, $words{$level});
        }
        my $last = pop @took;
        is(join(' ', sort(@took), '-', $last), "$able{$category}{$level} - the queue", "$category, $level");
        release(@calls[0 .. $#calls - 1]);
    }
}

# The fewest calls first: half of Dan is less than all of Carla, and more than nothing.
state(carla => 'paused');
is(ask('fewest-1', 'billing'), 'Dan', 'Carla has a break');
state(carla => 'available');
is(ask('fewest-2', 'billing'), 'Carla', 'she is back, and has fewer calls than Dan');
is(ask('fewest-3', 'billing'), 'Dan', 'who has room for another');
is(ask('fewest-4', 'billing'), 'the queue', 'and now nobody has');
release(map { "fewest-$_" } 1 .. 3);
state($_ => 'paused') for qw(ann bob);
is(ask('paused-1', 'technical'), 'the queue', 'all who could are away');
state($_ => 'available') for qw(ann bob);

# Who does not answer: the call comes back, and goes to another; he is left in peace.
my $first = ask('back', 'technical');
my ($second) = grep { $_ ne $first } qw(Ann Bob);
my %number_of = reverse %specialist;
is(ask('back', 'technical', 'a question', transfers => [[$number_of{$first}, 'no-answer']]), $second, "$first did not answer: $second");
is(member(lc $first), 'paused 0', "$first rests, and has no call");
like($s->log, qr/call=back report released 1, rested 1/, 'as the log says');
is(member(lc $second), 'available 1', "$second has it");
is(ask('back', 'technical', 'a question', transfers => [[$number_of{$first}, 'no-answer'], [$number_of{$second}, 'busy']]), 'the queue', 'nor could the other: the queue');
state($_ => 'available') for qw(ann bob);
is(member('ann') . ', ' . member('bob'), 'available 0, available 0', 'who says that he is there rests no more');
# A caller who hangs up before he is through leaves nobody busy.
my $gone = ask('gone', 'product', 'the API');
is($s->signed_post('/vapi/support-desk', vapi_end_of_call_report(call => 'gone', reason => 'customer-ended-call-before-warm-transfer'))->{body}, '{}', 'the end is reported');
is("$gone " . member('bob'), 'Bob available 0', 'and Bob is free');
my $got_through = ask('through', 'product', 'the API');
$s->signed_post('/vapi/support-desk', vapi_end_of_call_report(call => 'through', reason => 'assistant-forwarded-call', transfers => [['+12025550122', 'connected']]));
is("$got_through " . member('bob'), 'Bob available 1', 'who has the caller has him on');
release('through');

# Live: what the caller hears, the queue and Salesforce are asked, by the form that escalateToSupport has as a transferCall tool.
state(carla => 'busy');
state(bob => 'busy');
for my $row (['+12025550160', 'technical', 'The migration', 'Ann', "I'm connecting you to Ann, our technical specialist."],
    ['+12025550160', 'account', 'It is urgent', 'the queue', "All specialists are busy. You'll be added to our priority queue. Current wait time is approximately 7 minutes."],
    ['+12025550161', 'product', 'a question', 'general support', "I'm connecting you to our general support team, who can help you."]) {
    my ($caller, $category, $reason, $who, $message) = @$row;
    $world->clear;
    $world->script({ status => 200, body => '{"searchRecords":[{"Case_Count__c":3}]}' }, 'status=503') if $who eq 'general support';
    my $call = vapi_uuid();
    my $got = $s->signed_post('/vapi/support-desk', destination_request(name => 'escalateToSupport', call => $call, caller => $caller, args => { issue_category => $category, escalation_reason => $reason }));
    is("$got->{status} $specialist{ $got->{json}{destination}{number} }", "200 $who", "$category, '$reason': $who");
    is($got->{json}{destination}{message}, $message, 'what the caller hears');
    my %asked = map { $_->{path} =~ m{\A/(\w+)/} ? ($1 => $_) : () } $world->requests;
    is($asked{desk}{path} // 'nobody', $who eq 'Ann' ? 'nobody' : "/desk/queue?category=$category", 'the queue is asked for where nobody is free');
    is($asked{desk}{headers}{authorization}, 'Bearer secret-of-DESK_TOKEN', 'with its token') if $who ne 'Ann';
    is($asked{salesforce}{path} // 'kept', $reason eq 'It is urgent' ? 'kept' : contact_path($caller), 'Salesforce, where the words do not tell');
    next if $who ne 'general support';
    ok(wait_until(sub { slurp($log) =~ /\n/ }, 20), 'the failure is written down');
    my ($line, @more) = split /\n/, slurp($log);
    is(scalar @more, 0, 'as one line');
    my $trouble = $json->decode($line);
    like(delete $trouble->{time}, qr/\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\z/, 'when');
    is_deeply($trouble, { call => $call, category => 'product', complexity => 'critical', why => 'lookup-error' }, 'what');
    unlike($line, qr/2025550161/, 'and not who');
}
state($_ => 'available') for qw(carla bob);
# S78: no caller says more to Salesforce than what he is looked up by.
for my $caller (@hostile) {
    $world->clear;
    $s->signed_post('/vapi/support-desk', destination_request(name => 'escalateToSupport', caller => $caller, args => { issue_category => 'billing' }));
    my @asked = grep { $_->{path} =~ /salesforce/ } $world->requests;
    is_deeply([map { $_->{path} } @asked], $caller =~ /\Asip:\S+\z/ ? [contact_path($caller)] : [], "the caller $caller is one parameter");
    is($_->{headers}{authorization}, 'Bearer secret-of-SALESFORCE_TOKEN', 'with its token') for @asked;
}

# ---- the four scenes that the example is tried by (S84), each to its end

for my $row (['billing', 'a complex bill of an enterprise customer', '/vapi/support', '+1234567890', { issue_category => 'billing', complexity_level => 'advanced' }, $number{enterprise}],
    ['technical', 'an advanced technical problem', '/vapi/support', '+12025550170', { issue_category => 'technical', complexity_level => 'advanced' }, $number{technical}],
    ['critical', 'a critical one', '/vapi/support', '+12025550171', { issue_category => 'product', complexity_level => 'critical' }, $number{enterprise}],
    ['basic', 'a basic question that the assistant could not answer', '/vapi/support', '+12025550172', { issue_category => 'technical', complexity_level => 'basic' }, $number{general}]) {
    my ($id, $name, $path, $caller, $args, $number) = @$row;
    my $got = $s->signed_post($path, vapi_tool_call(name => 'escalateToSupport', call => "scene-$id", caller => $caller, args => $args, control => $control->url("scene-$id")));
    is($got->{json}{results}[0]{result}, 'The call is being transferred.', $name);
    is_deeply([map { $_->{json}{destination}{number} } grep { $_->{call} eq "scene-$id" } $control->requests], [$number], "goes to $number");
    like($s->log, qr/call=scene-$id .*outcome=transferred/, 'and is one line of the log');
}

done_testing;

sub expected {
    my ($tier, $category, $level) = @_;
    return 'enterprise' if $tier eq 'enterprise' || $level eq 'critical';
    return 'technical'  if $category eq 'technical' && ($level eq 'advanced' || $level eq 'intermediate');
    return 'billing'    if $category eq 'billing' || $category eq 'account';
    return $category eq 'product' ? 'product' : 'general';
}

# A live call at the desk: who got it. The caller is nobody whom Salesforce knows.
sub ask {
    my ($call, $category, $reason, %o) = @_;
    my $before = () = $control->requests;
    my %args = (issue_category => $category, escalation_reason => $reason // 'a question');
    my $got = $s->signed_post('/vapi/support-desk', vapi_tool_call(name => 'escalateToSupport', call => $call, caller => '+12025550162', args => \%args, control => $control->url($call), %o));
    my ($sent) = ($control->requests)[$before .. $before];
    return $sent ? $specialist{ $sent->{json}{destination}{number} } : $got->{body};
}

sub release {
    for my $call (@_) {
        my $got = $s->post("/console/release/$call", '{}');
        is("$got->{status} " . ($got->{json}{released} // '-'), '200 1', "$call has ended, says the telephone system");
    }
}

sub state {
    my ($who, $state) = @_;
    my $got = $s->post("/console/members/specialists/$who", $json->encode({ state => $state }));
    is("$got->{status} " . ($got->{json}{state} // $got->{body}), "200 $state", "$who is $state, says the desk");
}

sub member { my ($who) = @_; my $m = $s->get('/console/status')->{json}{pools}{specialists}{members}{$who}; return "$m->{state} $m->{active}" }

sub desk { my ($args, @with) = @_; return $s->decided('/vapi/support-desk', vapi_tool_call(name => 'escalateToSupport', args => $args), with => \@with) }

sub summary { my ($got) = @_; return $got->{control}{destination}{transferPlan}{summaryPlan}{messages}[1]{content} }

sub contact_path {
    my ($caller) = @_;
    return '/salesforce/services/data/v60.0/parameterizedSearch/?q=' . urlencoded($caller) . '&in=PHONE&sobject=Contact&Contact.fields=Account.Type,Support_Tier__c,Case_Count__c,Contract_Level__c&Contact.limit=1';
}

sub world {
    my %crm = ('1234567890' => 'enterprise', '0987654321' => 'standard', '1111111111' => 'premium');
    my $contact = sub { my (%fields) = @_; return { status => 200, body => $json->encode({ searchRecords => [{ attributes => { type => 'Contact' }, %fields }] }) } };
    return {
        (map { ("/crm/customers/by-phone/%2B$_" => { status => 200, body => $json->encode({ tier => $crm{$_} }) }) } keys %crm),
        '/crm/customers/by-phone/%2B12025550155' => { status => 404, body => '{"error":"unknown"}' }, '/crm/customers/by-phone/%2B12025550156' => { status => 204, body => '' },
        '/crm/customers/by-phone/%2B12025550157' => { status => 500, body => 'oops' }, '/crm/customers/by-phone/%2B12025550158' => { hang => 1 },
        contact_path('+12025550160') => $contact->(Support_Tier__c => 'Standard', Case_Count__c => 1),
        contact_path('+12025550162') => $contact->(Support_Tier__c => 'Standard', Case_Count__c => 0),
        (map { ("/desk/queue?category=$_" => { status => 200, body => '{"estimatedWaitTime":7}' }) } qw(technical billing account product)),
    };
}
