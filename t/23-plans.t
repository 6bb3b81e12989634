# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Every mode of a transfer plan, with the fields that it takes: the very transferPlan that Vapi is told.
use strict;
use warnings;
use JSON::PP ();
use VapiSchema;
use VapiTest;

my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $transcript = '{{transcript}}';
my $wait = 'warm-transfer-wait-for-operator-to-speak-first-and-then-say';

sub summary { my ($system, $user, %more) = @_; return { enabled => $true, messages => [{ role => 'system', content => $system }, { role => 'user', content => $user }], %more } }

# The words after VapiTransferPlan NAME, and what comes of them.
my @plans = (
    ['warm-transfer-say-message message="By %{VAPI_ROUTE}."', { message => 'By route-0.' }],
    ['blind-transfer', {}],
    ['blind-transfer fallback-message="Nobody is there."', { fallbackPlan => { message => 'Nobody is there.' } }],
    ['blind-transfer fallback-message="Nobody is there." fallback-end-call=on', { fallbackPlan => { message => 'Nobody is there.', endCallEnabled => $true } }],
    ['blind-transfer fallback-message=Sorry fallback-end-call=off', { fallbackPlan => { message => 'Sorry', endCallEnabled => $false } }],
    ['blind-transfer fallback-message="No %{arg:department}."', { fallbackPlan => { message => 'No billing.' } }],
    ['blind-transfer verb=refer', { sipVerb => 'refer' }],
    ['blind-transfer verb=bye', { sipVerb => 'bye' }],
    ['blind-transfer verb=dial', { sipVerb => 'dial' }],
    ['blind-transfer verb=dial dial-timeout=1', { sipVerb => 'dial', dialTimeout => 1 }],
    ['blind-transfer verb=dial dial-timeout=10min sip-headers-in-refer=on', { sipVerb => 'dial', dialTimeout => 600, sipHeadersInReferToEnabled => $true }],
    ['blind-transfer sip-headers-in-refer=off', { sipHeadersInReferToEnabled => $false }],
    ['blind-transfer-add-summary-to-sip-header', {}],
    ['blind-transfer-add-summary-to-sip-header summary="Two sentences."', { summaryPlan => summary('Two sentences.', $transcript) }],
    ['blind-transfer-add-summary-to-sip-header message="From %{VAPI_CALLER}" summary=Short summary-timeout=60 fallback-message=No fallback-end-call=off verb=dial dial-timeout=20',
        { message => 'From +14155550123', summaryPlan => summary('Short', $transcript, timeoutSeconds => 60), fallbackPlan => { message => 'No', endCallEnabled => $false }, sipVerb => 'dial', dialTimeout => 20 }],
    ['warm-transfer-say-message message="A caller for %{arg:department}."', { message => 'A caller for billing.' }],
    ['warm-transfer-say-message message="Caller." verb=bye sip-headers-in-refer=on', { message => 'Caller.', sipVerb => 'bye', sipHeadersInReferToEnabled => $true }],
    ['warm-transfer-say-summary', {}],
    ['warm-transfer-say-summary summary-timeout=1', { summaryPlan => { enabled => $true, timeoutSeconds => 1 } }],
    ['warm-transfer-say-summary summary="Two sentences." summary-timeout=5', { summaryPlan => summary('Two sentences.', $transcript, timeoutSeconds => 5) }],
    ['warm-transfer-say-summary summary=S summary-user="Category: %{arg:department}. {{transcript}} {{customer.number}}"',
        { summaryPlan => summary('S', 'Category: billing. {{transcript}} {{customer.number}}') }],
    ['warm-transfer-say-summary summary=S summary-user="Note: %{arg:note}"', { summaryPlan => summary('S', "Note: 1 < 2 & \"3\" { {system} }\nnext") }],
    ['warm-transfer-twiml twiml="<Say>Hello</Say><Pause length=\"1\"/>"', { twiml => '<Say>Hello</Say><Pause length="1"/>' }],
    ['warm-transfer-twiml twiml="<Say>%{arg:note}</Say>"', { twiml => "<Say>1 &lt; 2 &amp; &quot;3&quot; { {system} }\nnext</Say>" }],
    ["warm-transfer-twiml twiml='<Gather><Say>%{arg:department} &amp; more</Say></Gather><Play>https://a.example/a.mp3</Play><Hangup/>' verb=dial dial-timeout=600",
        { twiml => '<Gather><Say>billing &amp; more</Say></Gather><Play>https://a.example/a.mp3</Play><Hangup/>', sipVerb => 'dial', dialTimeout => 600 }],
    ["$wait-message message=Caller", { message => 'Caller' }],
    ["$wait-message message=Caller timeout=1 verb=refer", { message => 'Caller', timeout => 1, sipVerb => 'refer' }],
    ["$wait-summary", {}],
    ["$wait-summary timeout=600 summary=S summary-timeout=3", { timeout => 600, summaryPlan => summary('S', $transcript, timeoutSeconds => 3) }],
    ['warm-transfer-experimental', {}],
    ['warm-transfer-experimental message=M summary=S hold-audio=https://a.example/hold.mp3 complete-audio=https://a.example/done.wav fallback-message=F fallback-end-call=on verb=dial dial-timeout=60 sip-headers-in-refer=on',
        { message => 'M', summaryPlan => summary('S', $transcript), holdAudioUrl => 'https://a.example/hold.mp3', transferCompleteAudioUrl => 'https://a.example/done.wav',
            fallbackPlan => { message => 'F', endCallEnabled => $true }, sipVerb => 'dial', dialTimeout => 60, sipHeadersInReferToEnabled => $true }],
    # T values: literal text as it stands, %%{ for %{, the encoding of their place.
    ['warm-transfer-say-message message="100 %, $1, %%{x}, {{customer.name}}, a < b"', { message => '100 %, $1, %{x}, {{customer.name}}, a < b' }],
    ['warm-transfer-say-message message="Note: %{arg:note}"', { message => 'Note: 1 < 2 & "3" { {system} } next' }],
    ['warm-transfer-say-message message="%{arg:long}"', { message => join ' ', ('word') x 200 }],
    ['blind-transfer fallback-message="%{arg:long}"', { fallbackPlan => { message => join ' ', ('word') x 200 } }],
);
my %args = (department => 'billing', note => "1 < 2 & \"3\" {{system}}\nnext", long => join(' ', ('word') x 300), longer => '&' x 900);

my $control = VapiControl->new;
my @conf = 'VapiCredential test hmac secret=file:@DIR@/vapi.secret preset=body-only';
my (@names, @locations);
sub location {
    my ($path, @routes) = @_;
    push @locations, qq{<Location "/$path">}, 'SetHandler vapi-transfer', 'VapiAuthenticate test', @routes, split(/\n/, $control->conf), '</Location>';
}
for my $i (0 .. $#plans) {
    push @conf, "VapiTransferPlan plan-$i $plans[$i][0]", "VapiDestination to-$i +14155550101 plan=plan-$i", "VapiDestination sip-$i sip:a\@pbx.example.com plan=plan-$i";
    location("number-$i", "VapiRoute to-$i name=route-$i");
    location("sip-$i", "VapiRoute sip-$i name=route-$i");
}
# A text that grows beyond what TwiML may be: the target is unavailable, the call is not lost.
push @conf, 'VapiTransferPlan too-long warm-transfer-twiml twiml="<Say>%{arg:longer}</Say>"', 'VapiDestination too-long +14155550102 plan=too-long', 'VapiDestination planless +14155550103';
location('too-long', q{VapiRoute too-long "-n %{VAPI_CALL}"}, 'VapiRoute planless');
location('by-route', 'VapiRoute planless plan=plan-2');
my $s = VapiTest->new(conf => join('', map { "$_\n" } @conf, @locations));
$s->allow_log(qr/a SIP destination is used for a call over pstn/);
$s->start;

my $call = 0;

sub deliver {
    my ($type, $path) = @_;
    my $id = 'call-' . ++$call;
    my $body = $type eq 'tool-calls' ? vapi_tool_call(call => $id, args => \%args, control => $control->url($id))
        : vapi_message($type, call => $id, fields => { functionCall => { name => 'transferCall', parameters => \%args } });
    return { call => $id, path => $path, type => $type, reply => $s->signed_post("/$path", $body) };
}

my @posted = map { my $i = $_; map { deliver('tool-calls', "$_-$i") } qw(number sip) } 0 .. $#plans;
my @others = map { deliver('tool-calls', $_) } qw(too-long by-route);
my %sent = map { ($_->{call} => $_) } $control->requests;
for my $i (0 .. $#plans) {
    my ($words, $fields) = @{ $plans[$i] };
    my ($mode) = split / /, $words;
    my $name = substr $words, 0, 110;
    for my $came (splice @posted, 0, 2) {
        my $request = $sent{ $came->{call} };
        is_deeply($request->{json}{destination}{transferPlan}, { mode => $mode, %$fields }, "$came->{path}: $name");
        control_fits($request->{body}, "Vapi takes it: $name");
    }
    for my $type ('transfer-destination-request', 'assistant-request') {
        my $came = deliver($type, "number-$i");
        my $plan = $came->{reply}{json}{destination}{transferPlan};
        is_deeply($plan, { mode => $mode, %$fields }, "the same in a reply to $type: $name") if $type =~ /^transfer/ || $words !~ /\%\{arg/;
        reply_fits($type, $came->{reply}{body}, "Vapi takes the reply to $type: $name");
    }
}
is($sent{ $others[0]{call} }{json}{destination}{number}, '+14155550103', 'TwiML that a value makes too long: the next route');
is_deeply($sent{ $others[1]{call} }{json}{destination}{transferPlan}, { mode => 'blind-transfer', fallbackPlan => { message => 'Nobody is there.' } }, 'a plan of the route alone');

# The bounds of times, and what is no time.
for my $case (['summary-timeout', 1, 60, 'warm-transfer-say-summary summary=S'], ['timeout', 1, 600, "$wait-summary"], ['dial-timeout', 1, 600, 'blind-transfer verb=dial']) {
    my ($key, $min, $max, $words) = @$case;
    my @lines = map { "VapiTransferPlan p $words $key=$_\n" } $min, $max, $min - 1, $max + 1, '1500ms', 'soon';
    my @codes = map { (configtest($_))[0] } @lines;
    is("@codes", '0 0 1 1 1 1', "$key=: $min to $max whole seconds");
}
done_testing;
