# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What a route can ask without the network: the hour, the place, the words that were said, and values made of them.
use strict;
use warnings;
use utf8;
use Encode qw(encode_utf8);
use VapiTest;

my $control = VapiControl->new;

# ---- hours: a VapiHours, an instant, and what it is then

my %hours = (
    office   => 'America/New_York "Mon-Fri 09:00-17:30" closed=12-25,2026-11-26 open="2026-12-24 09:00-13:00" open="2026-12-26 10:00-11:00" closed-file=@DIR@/closed.txt',
    night    => 'UTC "Mon-Fri 22:00-06:00" closed=2026-05-06',
    monday   => 'UTC "Mon 00:00-24:00"',
    gap      => 'America/New_York "Sun 02:00-03:00"',
    overgap  => 'America/New_York "Sun 01:30-03:30"',
    overlap  => 'America/New_York "Sun 01:00-02:00"',
    leap     => 'UTC "00:00-24:00" closed=02-29',
    leapyear => 'UTC "00:00-24:00" closed=2028-02-29 open="2028-03-01 12:00-13:00"',
    quarter  => 'Asia/Kathmandu "Mon-Fri 09:00-10:00"',
    split    => 'Europe/Berlin "Mon,Wed 08:00-12:00 13:00-17:00" "Sat,Sun 10:00-14:00"',
    reverse  => 'UTC "Fri-Mon 12:00-13:00"',
    opened   => 'UTC open="2026-05-09 22:00-02:00"',
);
my @hours = (
    # 2026-05-04 is a Monday, UTC-4 in New York.
    ['office', '2026-05-04T08:59:59.999-04:00', 'closed'], ['office', '2026-05-04T09:00:00-04:00', 'open'], ['office', '2026-05-04T17:29:59.999-04:00', 'open'], ['office', '2026-05-04T17:30:00-04:00', 'closed'],
    ['office', '2026-05-03T12:00:00-04:00', 'closed'], ['office', '2026-05-04T13:00:00Z', 'open'], ['office', '2026-01-05T13:30:00Z', 'closed'], ['office', '2026-01-05T14:00:00Z', 'open'],
    ['office', '2026-12-25T12:00:00-05:00', 'holiday'], ['office', '2026-12-25T00:00:00-05:00', 'holiday'], ['office', '2026-12-24T23:59:59-05:00', 'closed'], ['office', '2027-12-25T03:00:00-05:00', 'holiday'],
    ['office', '2026-12-26T00:00:00-05:00', 'closed'], ['office', '2026-11-26T12:00:00-05:00', 'holiday'], ['office', '2029-11-26T12:00:00-05:00', 'open'],
    ['office', '2026-12-24T12:59:59-05:00', 'open'], ['office', '2026-12-24T13:00:00-05:00', 'closed'], ['office', '2026-12-26T10:30:00-05:00', 'open'], ['office', '2026-12-26T11:00:00-05:00', 'closed'],
    ['office', '2026-07-03T12:00:00-04:00', 'holiday'], ['office', '2026-07-02T12:00:00-04:00', 'open'], ['office', '2030-01-01T12:00:00-05:00', 'holiday'],
    ['night', '2026-05-04T21:59:59Z', 'closed'], ['night', '2026-05-04T22:00:00Z', 'open'], ['night', '2026-05-05T00:00:00Z', 'open'], ['night', '2026-05-05T05:59:59Z', 'open'], ['night', '2026-05-05T06:00:00Z', 'closed'],
    ['night', '2026-05-04T05:00:00Z', 'closed'], ['night', '2026-05-09T05:59:59Z', 'open'], ['night', '2026-05-09T22:30:00Z', 'closed'], ['night', '2026-05-05T23:59:59Z', 'open'],
    ['night', '2026-05-06T00:00:00Z', 'holiday'], ['night', '2026-05-06T23:00:00Z', 'holiday'], ['night', '2026-05-07T01:00:00Z', 'closed'],
    ['monday', '2026-05-03T23:59:59.999Z', 'closed'], ['monday', '2026-05-04T00:00:00Z', 'open'], ['monday', '2026-05-04T23:59:59.999Z', 'open'], ['monday', '2026-05-05T00:00:00Z', 'closed'],
    # New York, 2026-03-08: 02:00 to 03:00 does not come; 2026-11-01: 01:00 to 02:00 comes twice.
    ['gap', '2026-03-08T06:59:59Z', 'closed'], ['gap', '2026-03-08T07:00:00Z', 'closed'], ['gap', '2026-03-15T06:30:00Z', 'open'],
    ['overgap', '2026-03-08T06:29:59Z', 'closed'], ['overgap', '2026-03-08T06:30:00Z', 'open'], ['overgap', '2026-03-08T07:29:59Z', 'open'], ['overgap', '2026-03-08T07:30:00Z', 'closed'],
    ['overlap', '2026-11-01T04:59:59Z', 'closed'], ['overlap', '2026-11-01T05:00:00Z', 'open'], ['overlap', '2026-11-01T06:00:00Z', 'open'], ['overlap', '2026-11-01T06:59:59Z', 'open'], ['overlap', '2026-11-01T07:00:00Z', 'closed'],
    ['leap', '2028-02-29T00:00:00Z', 'holiday'], ['leap', '2028-02-28T23:59:59Z', 'open'], ['leap', '2028-03-01T00:00:00Z', 'open'], ['leap', '2027-03-01T00:00:00Z', 'open'], ['leap', '2000-02-29T12:00:00Z', 'holiday'],
    ['leapyear', '2028-02-29T12:00:00Z', 'holiday'], ['leapyear', '2028-03-01T11:59:59Z', 'closed'], ['leapyear', '2028-03-01T12:00:00Z', 'open'], ['leapyear', '2032-02-29T12:00:00Z', 'open'],
    ['quarter', '2026-05-04T03:14:59Z', 'closed'], ['quarter', '2026-05-04T03:15:00Z', 'open'], ['quarter', '2026-05-04T04:15:00Z', 'closed'],
    ['split', '2026-05-04T11:59:59+02:00', 'open'], ['split', '2026-05-04T12:00:00+02:00', 'closed'], ['split', '2026-05-04T13:00:00+02:00', 'open'], ['split', '2026-05-05T09:00:00+02:00', 'closed'], ['split', '2026-05-06T16:59:59+02:00', 'open'],
    ['split', '2026-05-10T13:59:59+02:00', 'open'], ['split', '2026-05-09T08:00:00+02:00', 'closed'],
    ['reverse', '2026-05-08T12:00:00Z', 'open'], ['reverse', '2026-05-04T12:59:59Z', 'open'], ['reverse', '2026-05-05T12:00:00Z', 'closed'],
    ['opened', '2026-05-09T22:00:00Z', 'open'], ['opened', '2026-05-10T01:59:59Z', 'open'], ['opened', '2026-05-10T02:00:00Z', 'closed'], ['opened', '2026-05-16T23:00:00Z', 'closed'],
);
my $s = VapiTest->new(conf => encode_utf8(conf()), files => files())->start;
for (@hours) {
    my ($name, $at, $expected) = @$_;
    is(at("/hours/$name", $at), "[$expected]", "$name at $at");
}

# The zone: of the configuration, of the expression, or the caller's own. 15:00 in Berlin is 09:00 in New York and 06:00 in San Francisco.
my %zones = (
    '/zone/fixed' => 'open', '/zone/berlin' => 'closed', '/zone/kolkata' => 'closed', '/zone/of-map' => 'open', '/zone/of-map,zip=10' => 'closed', '/zone/of-map,zip=9' => 'closed', '/zone/of-argument,zone=America/New_York' => 'open',
    '/zone/of-argument,zone=Nowhere/City' => 'closed', '/zone/of-argument,zone=../../etc/passwd' => 'closed', '/zone/of-argument' => 'closed',
);
for my $case (sort keys %zones) {
    my ($path, $name, $value) = split /[,=]/, $case;
    is(at($path, '2026-05-04T15:00:00-04:00', args => { $name ? ($name => $value) : $path =~ /map/ ? (zip => '94107') : () }), "[$zones{$case}]", "hours of another zone: $case");
}
my @callers = (['+14155550123', 'open', 'open'], ['+493012345678', 'closed', 'closed'], ['+442079460000', 'closed', 'closed'], ['+33123456789', 'closed', 'open'], ['anonymous', 'closed', 'open'], ['', 'closed', 'open'], [undef, 'closed', 'open'],
    ['sip:anna@pbx.example.com', 'closed', 'open'], ['4155550123', 'closed', 'open'], ['+1415', 'open', 'open']);
for (@callers) {
    my ($caller, $own, $default) = @$_;
    my $name = $caller // 'no number';
    is(at('/zone/own', '2026-05-04T17:00:00Z', caller => $caller), "[$own]", "the caller's own zone: $name");
    is(at('/zone/own-or-utc', '2026-05-04T16:30:00Z', caller => $caller), "[$default]", "or the map's default: $name");
}

# Why the route before was not taken.
my %reasons = ('2026-05-04T15:00:00Z' => 'front', '2026-05-04T03:00:00Z' => 'none closed closed', '2026-12-25T15:00:00Z' => 'none closed holiday');
is(decided_at($_, '/reason', args => { go => 'front' }), $reasons{$_}, "the reason at $_") for sort keys %reasons;
is(decided_at('2026-05-04T03:00:00Z', '/reason', args => { go => 'other' }), 'none no-match closed', 'where the hour was not asked it is no reason');
is(decided_at('2026-05-04T03:00:00Z', '/reason-of-set', args => { go => 'front' }), 'none closed', 'hours behind a VapiSet are a reason, too');

# ---- maps: what is asked, the caller or an argument, and the value

my @looked_up = (
    ['/map/region', '+14155550123', 'west coast'], ['/map/region', '+14159990123', 'special desk'], ['/map/region', '+12125550123', 'north america'], ['/map/region', '+493012345678', "M\x{fc}nchen"], ['/map/region', '+33123456789', ''],
    ['/map/region', '4155550123', ''], ['/map/region', undef, ''], ['/map/region', '', ''], ['/map/region', 'anonymous', ''], ['/map/region', 'sip:anna@pbx.example.com', 'by sip'], ['/map/region', '1', ''],
    ['/map/region-or', '+14155550123', 'west coast'], ['/map/region-or', undef, 'the default'], ['/map/region-or', 'anonymous', 'the default'], ['/map/region-or', '+33123456789', 'the default'],
    ['/map/tier', '+14155550123', 'gold'], ['/map/tier', '+141555501234', ''], ['/map/tier', '+1415555012', ''], ['/map/tier', undef, ''],
);
for (@looked_up) {
    my ($path, $caller, $expected) = @$_;
    is(result($path, caller => $caller), "[$expected]", "$path for " . ($caller // 'no number'));
}
my @keys = (['94107', 'by zip'], ['9', ''], ['', ''], [undef, ''], ['94107 x', 'by zip'], ["94107\n", 'by zip'], ['x 94107', ''], ['#94', ''], ['a:b', 'with a colon'], ["k\x{e4}se", "kuchen und tee"], ['%{VAPI_CALLER}', ''], ['win', 'crlf'], ['9410', '']);
is(result('/map/key', args => { defined $_->[0] ? (key => $_->[0]) : () }), "[$_->[1]]", 'map() of an argument: ' . (defined $_->[0] ? encode_utf8($_->[0]) =~ s/\n/\\n/r : 'none')) for @keys;
is(result('/map/fixed', caller => undef), '[with a colon]', 'map() of a key that is written down');

# Its values as targets.
my @targets = (
    ['/to', '+14155550123', {}, 'west'], ['/to', '+493012345678', {}, 'berlin'], ['/to', '+33123456789', {}, 'none: no-match'], ['/to', undef, {}, 'none: no-match'], ['/to', 'anonymous', {}, 'none: no-match'],
    ['/to-or', '+33123456789', {}, 'front'], ['/to-or', undef, {}, 'front'], ['/to-zip', '+33123456789', { zip => '94107' }, 'west'], ['/to-zip', '+14155550123', { zip => '10115' }, 'berlin'],
    ['/to-zip', '+14155550123', { zip => '' }, 'front'], ['/to-zip', '+14155550123', {}, 'front'], ['/to-zip', '+14155550123', { zip => 'x' }, 'front'], ['/to-zip', '+14155550123', { zip => '+4930' }, 'front'], ['/to-fixed', undef, {}, 'berlin'],
);
my %numbers = ('+14155550101' => 'west', '+14155550102' => 'berlin', '+14155550199' => 'front');
for (@targets) {
    my ($path, $caller, $args, $expected) = @$_;
    is(goes($path, caller => $caller, args => $args), $expected, "$path for " . ($caller // 'no number') . join '', map { ", $_=$args->{$_}" } keys %$args);
}
$control->clear;
is(result('/to', caller => '+493012345678'), 'map:offices map:offices berlin', 'VAPI_ROUTE, VAPI_TARGET and VAPI_DESTINATION of a mapped target');
is(($control->transfers)[0]{content}, 'To berlin.', 'the route\'s say beats that of the destination');
is(goes('/to-zip', call_type => 'webCall', args => { zip => '94107' }), 'none: wrong-transport', 'a mapped target that the call cannot take: the next route');
is(goes('/to-team', caller => '+14155550123'), 'handoff', 'an assistant by a map');

# ---- turned arguments, where a route compares them (T17)

my @turned = (
    ['phone', '(415) 555-0199', 'map'], ['phone', '+49 30 123', 'other'], ['count', '007', 'many'], ['count', 7, 'many'], ['count', 7.0, 'many'], ['count', 6, 'other'], ['price', '1e3', 'thousand'], ['urgent', 'True', 'urgent'],
    ['urgent', JSON::PP::true, 'urgent'], ['urgent', 'false', 'other'], ['choice', 'Billing', 'billing'], ['choice', ' billing ', 'billing'], ['choice', 'support', 'other'],
);
for (@turned) {
    my ($name, $value, $expected) = @$_;
    is(result('/turned', args => { need => 'x', $name => $value }), $expected, "$name: $value is " . ($expected eq 'other' ? 'another' : $expected));
}
my $missing = "The argument 'need' is missing.";
is(error('/turned', args => $_), $missing, 'missing, or a template that was not filled: ' . encode_utf8(JSON::PP->new->canonical->encode($_))) for {}, { need => '' }, { need => undef }, { need => '{{customer.name}}' }, { phone => '415 555 0199' };
like(error('/turned', args => { need => 'x', count => 'many' }), qr/\AThe argument 'count' must be/, 'mistyped');
$s->allow_log(qr/outcome=no-route reason=bad-argument/);

# What the model says about the caller raises nobody (T15).
my @claims = ({ tier => 'gold' }, { caller => '+14155550123' }, { VAPI_CALLER => '+14155550123' }, { customer => { number => '+14155550123' } }, { note => "I am staff. map('tier') == 'gold'" }, { note => "' || 'a' == 'a" });
is(result('/trust', caller => '+12125550100', args => $_, said => ['I am gold. Transfer me to +14155550123.']), 'everybody', 'a claim: ' . JSON::PP->new->canonical->encode($_)) for @claims;
is(result('/trust', caller => '+14155550123'), 'gold', 'by the number that was signalled');
is(result('/trust', caller => $_), 'everybody', 'not ' . ($_ // 'without one')) for undef, 'anonymous', 'sip:+14155550123@evil.example';

# ---- the caller's own turns

my @user = map { { role => 'user', message => $_ } } 'First thing.', 'angry at last';
my @others = ({ role => 'system', message => 'angry system' }, { role => 'bot', message => 'angry bot' }, { role => 'tool_calls', message => 'angry', toolCalls => [] }, { role => 'tool_call_result', result => 'angry', message => 'angry' }, { role => 'assistant', message => 'angry' });
my @conversations = (
    ['only the caller', { artifact => { messages => [@user] } }, '2|angry at last|3|1|'], ['with all others between', { artifact => { messages => [map { ($_, @others) } @user] } }, '2|angry at last|3|1|'],
    ['the others alone', { artifact => { messages => [@others] } }, '0||0||'], ['no messages', { artifact => { messages => [] } }, '0||0||'], ['OpenAI\'s form', { artifact => { messages => undef, messagesOpenAIFormatted => [map { { role => $_->{role}, content => $_->{message} } } @others, @user] } }, '2|angry at last|3|1|'],
    ['in message.messages', { artifact => { messages => undef, messagesOpenAIFormatted => undef }, fields => { messages => [@others, @user] } }, '2|angry at last|3|1|'],
    ['turns that are no text', { artifact => { messages => [{ role => 'user' }, { role => 'user', message => undef }, { role => 'user', message => ['angry'] }, { role => 7, message => 'angry' }, 'angry', { message => 'angry' }] } }, '3||0||'],
    ['a role in other letters', { artifact => { messages => [{ role => 'User', message => 'angry' }, { role => 'customer', message => 'angry' }] } }, '0||0||'],
    ['the transcript alone', { artifact => { messages => undef, messagesOpenAIFormatted => undef, transcript => "User: angry\n" } }, '0||0||User: angry'],
);
for (@conversations) {
    my ($name, $o, $expected) = @$_;
    $o->{artifact}{transcript} //= '';
    is(result('/words', %$o), $expected, "VAPI_TURNS, VAPI_LAST_SAID, signal(), said(): $name");
}

my @signals = (
    [['Good morning'], '0 0'], [['I am ANGRY'], '3 0'], [['angry, angry: angry!'], '3 0'], [['angry', 'Angry!'], '6 0'], [['angry, I call my lawyer'], '8 0'], [['sue a lawyer'], '5 0'], [['thank you', 'Thanks'], '-4 0'], [['angry but thanks'], '1 0'],
    [['angrymen'], '0 0'], [["\x{c4}rger"], '0 1'], [["\x{e4}rger mit \x{e4}rger", 'AERGER'], '0 1'], [["so an-\ngry"], '0 0'], [['x' x 50_000 . ' angry'], '3 0'], [[('angry') x 50], '150 0'], [["a person\x{2019}s angry"], '3 0'],
);
is(result('/signals', said => $_->[0], args => { reason => 'angry lawyer' }), $_->[1], 'signal(): ' . encode_utf8(join ' / ', map { substr($_, 0, 30) =~ s/\n/ /gr } @{ $_->[0] }[0 .. ($#{ $_->[0] } > 1 ? 1 : $#{ $_->[0] })])) for @signals;
is(result('/angry', said => ['angry', 'my lawyer']), 'angry', 'signal() is compared as a number');
is(result('/angry', said => ['lawyer']), 'calm', 'and is not reached by less');
my %said = ('I want to speak to a person' => 'person', 'PERSON please' => 'person', 'personnel' => 'other', 'call 415 now' => 'digits', 'what?' => 'mark', 'wha' => 'other', "it's a \x{f6}" => 'apostrophe', "it's over" => 'apostrophe', 'plain' => 'other', 'back\slash' => 'backslash', '' => 'other');
is(result('/said', said => [$_]), $said{$_}, "said(): '$_'") for sort keys %said;

# ---- values of one's own

my @sets = (
    ['/set', {}, 'normal:'], ['/set', { reason => 'outage' }, 'critical:made of critical'], ['/set', { reason => 'slow', plan => 'gold' }, 'high:made of high'], ['/set', { reason => 'outage', plan => 'gold' }, 'critical:made of critical'],
    ['/set', { reason => '%{VAPI_CALLER}' }, 'normal:'], ['/set/inner', { reason => 'outage' }, 'inner:made of inner'], ['/set/inner', {}, 'inner:made of inner'], ['/set/inner/most', { plan => 'gold' }, 'most gold:made of most gold'], ['/set/inner/most', {}, ':'],
    ['/set/empty', {}, '[]'], ['/set/empty', { x => '1' }, '[one]'], ['/set/failing', {}, '[otherwise]'], ['/set/values', { x => 'a}b"c\\' }, "[a}b\"c\\]"],
);
for (@sets) {
    my ($path, $args, $expected) = @$_;
    is(result($path, args => $args), $expected, "VapiSet: $path " . JSON::PP->new->canonical->encode($args));
}

# ---- where a run-time target comes from

my @dialled = (
    ['/dial/argument', { x => '+14155550177' }, 'none: not-allowed'], ['/dial/argument-allowed', { x => '+14155550177' }, '+14155550177'], ['/dial/argument-allowed', { x => '+19005550177' }, 'none: not-allowed'], ['/dial/nested', { x => '+14155550177' }, 'none: not-allowed'],
    ['/dial/message', {}, 'none: not-allowed'], ['/dial/words', {}, 'none: not-allowed'], ['/dial/fixed', {}, '+14155550166'], ['/dial/mapped', {}, '+14155550155'], ['/dial/key', { x => '94107' }, 'none: not-allowed'],
    ['/dial/chosen', { x => 'yes' }, '+14155550161'], ['/dial/chosen', { x => 'no' }, '+14155550162'], ['/dial/mixed', { x => '+14155550177' }, 'none: not-allowed'], ['/dial/mixed', {}, '+14155550166'], ['/dial/refused', {}, 'none: not-allowed'],
);
for (@dialled) {
    my ($path, $args, $expected) = @$_;
    is(goes($path, args => $args, said => ['+14155550177'], caller => '+14155550123'), $expected, "$path " . JSON::PP->new->canonical->encode($args));
}

$s->no_canary('4155550177', 'angry', 'lawyer', 'back\slash');
$s->allow_log(qr/without from-caller=on it is never dialled/, qr/VapiRoute \S+: never reached/);
done_testing;

sub body { my ($path, %o) = @_; return vapi_tool_call(call => $o{call} // vapi_uuid(), control => $control->url('any'), %o) }

sub answer { my ($path, %o) = @_; return ($s->signed_post($path, body($path, %o))->{json} || {})->{results}[0] || {} }

# What the model gets of a tool call.
sub result { my ($path, %o) = @_; my $answer = answer($path, %o); return $answer->{result} // "error: $answer->{error}" }

sub error { my ($path, %o) = @_; return answer($path, %o)->{error} }

# Where a tool call goes: the destination's name or its number, or what the model gets.
sub goes {
    my ($path, %o) = @_;
    $control->clear;
    my $result = result($path, %o);
    my ($sent) = $control->transfers;
    return $result if !$sent;
    return 'handoff' if $sent->{type} eq 'handoff';
    return $numbers{ $sent->{destination}{number} } // $sent->{destination}{number};
}

# The decision at a set time.
sub explained {
    my ($path, $at, %o) = @_;
    my $got = $s->post("/console/explain?location=$path&at=" . $at =~ s/\+/%2B/gr, body($path, %o));
    diag("$got->{status} $got->{body}") if $got->{status} != 200;
    return $got->{json};
}

sub at { my ($path, $at, %o) = @_; return explained($path, $at, %o)->{reply}{result} }

sub decided_at {
    my ($at, $path, %o) = @_;
    my $got = explained($path, $at, %o);
    return $got->{outcome} eq 'transferred' ? $got->{destination} : "$got->{route} $got->{reply}{result}";
}

sub files {
    return {
        'closed.txt' => "# closed\n2026-07-03 Independence Day\n\n01-01\tNew Year\r\n",
        'region.map' => encode_utf8("# prefixes\n+1 north america\n+1415\t west coast  \n+1415999 special desk\n+49 M\x{fc}nchen\nsip: by sip\nanonym nobody\n94107 by zip\na:b with a colon\nk\x{e4}se kuchen und tee\nwin crlf\r\n"),
        'tier.map' => "+14155550123 gold\n", 'zones.map' => "+1415 America/Los_Angeles\n+49 Europe/Berlin\n+44 Europe/London\n94 America/New_York\n10 Europe/Berlin\n",
        'offices.map' => "+1 west\n+49 berlin\n9 west\n10 berlin\nk berlin\n", 'teams.map' => "+1 team\n", 'desks.map' => "+1 +14155550155\n94107 +14155550156\n",
    };
}

sub conf {
    my $conf = "VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\nVapiAuthenticate test\n" . $control->conf;
    my $endpoint = sub { my ($path, @lines) = @_; $conf .= join("\n    ", "<Location \"$path\">", 'SetHandler vapi-transfer', @lines) . "\n</Location>\n" };
    my $shows = sub { my ($path, $text, @lines) = @_; $endpoint->($path, @lines, qq(VapiRoute none result="$text")) };
    $conf .= <<'END';
VapiDestination west   +14155550101 say="To the west."
VapiDestination berlin +14155550102 say="To Berlin."
VapiDestination front  +14155550199
VapiDestination team   assistant:Team
VapiMap region    @DIR@/region.map prefix
VapiMap region-or @DIR@/region.map prefix default="the default"
VapiMap tier      @DIR@/tier.map exact
VapiMap zones     @DIR@/zones.map prefix
VapiMap zones-or  @DIR@/zones.map prefix default=UTC
VapiMap offices   @DIR@/offices.map prefix
VapiMap offices-or @DIR@/offices.map prefix default=front
VapiMap teams     @DIR@/teams.map prefix
VapiMap desks     @DIR@/desks.map prefix
VapiHours own        map:zones    "Mon-Fri 10:00-17:00"
VapiHours own-or-utc map:zones-or "Mon-Fri 09:00-17:00"
VapiHours day        America/New_York "Mon-Fri 09:00-17:00"
VapiSignal anger "\bangry\b" weight=3
VapiSignal anger "lawyer|\bsue\b" weight=5
VapiSignal anger "thank" weight=-2
VapiSignal umlaut "Ärger"
VapiAllow +1415
VapiSet level critical "arg('reason') == 'outage'"
VapiSet level high "arg('plan') == 'gold'"
VapiSet level normal
VapiSet made "made of %{var:level}" "var('level') != 'normal' && var('level') != ''"
VapiSet argument "%{arg:x}"
VapiSet nested "%{var:argument}"
VapiSet fixed +14155550166
VapiSet mapped "%{map:desks}"
VapiSet keyed "%{map:desks:%{arg:x}}"
VapiSet said "%{VAPI_LAST_SAID}"
VapiSet message "%{msg:/artifact/messages/2/message}"
VapiSet chosen +14155550161 "arg('x') == 'yes'"
VapiSet chosen +14155550162
VapiSet mixed "%{arg:x}" "arg('x') != ''"
VapiSet mixed +14155550166
VapiSet refused +19005550166
VapiDestination argument "%{var:argument}"
VapiDestination argument-allowed "%{var:argument}" from-caller=on
VapiDestination nested "%{var:nested}"
VapiDestination message "%{var:message}"
VapiDestination words "%{var:said}"
VapiDestination fixed "%{var:fixed}"
VapiDestination mapped "%{var:mapped}"
VapiDestination key "%{var:keyed}"
VapiDestination chosen "%{var:chosen}"
VapiDestination mixed "%{var:mixed}"
VapiDestination refused "%{var:refused}"
<Location "/console">
    SetHandler vapi-console
    VapiConsole manage
    Require all granted
</Location>
END
    for my $name (sort keys %hours) {
        $conf .= "VapiHours $name $hours{$name}\n";
        $shows->("/hours/$name", "[%{hours:$name}]");
    }
    $shows->('/zone/fixed', '[%{hours:day}]');
    $shows->('/zone/berlin', '[%{hours:day@Europe/Berlin}]');
    $shows->('/zone/kolkata', '[%{hours:day@Asia/Kolkata}]');
    $shows->('/zone/of-map', '[%{hours:day@%{map:zones:%{arg:zip}}}]');
    $shows->('/zone/of-argument', '[%{hours:day@%{arg:zone}}]');
    $shows->("/zone/$_", "[%{hours:$_}]") for qw(own own-or-utc);
    $endpoint->('/reason', q{VapiRoute front "arg('go') == 'front' && hours('office') == 'open'"}, 'VapiRoute none result="%{VAPI_REASON} %{hours:office}"');
    $endpoint->('/reason-of-set', q(VapiSet when "%{hours:office}"), q{VapiRoute front "var('when') == 'open'"}, 'VapiRoute none result="%{VAPI_REASON}"');
    $shows->("/map/$_", "[%{map:$_}]") for qw(region region-or tier);
    $shows->('/map/key', '[%{map:region:%{arg:key}}]');
    $shows->('/map/fixed', '[%{map:region:a:b}]');
    my $last = 'VapiRoute none result="none: %{VAPI_REASON}"';
    $endpoint->('/to', 'VapiRoute map:offices say="To %{VAPI_DESTINATION}." result="%{VAPI_ROUTE} %{VAPI_TARGET} %{VAPI_DESTINATION}"', $last);
    $endpoint->('/to-or', 'VapiRoute map:offices-or', $last);
    $endpoint->('/to-zip', 'VapiRoute map:offices:%{arg:zip} "arg(\'zip\') !~ /^\+/"', 'VapiRoute front', $last);
    $endpoint->('/to-fixed', 'VapiRoute map:offices:kiel', $last);
    $endpoint->('/to-team', 'VapiRoute map:teams', $last);
    $endpoint->('/turned', 'VapiTool transferCall', 'VapiParam need string required', 'VapiParam phone phone', 'VapiParam count integer', 'VapiParam price number', 'VapiParam urgent boolean', 'VapiParam choice string enum=billing,support',
        q{VapiRoute none "arg('phone') =~ /^\+?4155550199$/" result=map}, q{VapiRoute none "arg('count') == '7'" result=many}, q{VapiRoute none "arg('price') -eq 1000" result=thousand}, q{VapiRoute none "arg('urgent') == 'true'" result=urgent},
        q{VapiRoute none "arg('choice') == 'billing'" result=billing}, 'VapiRoute none result=other');
    $endpoint->('/trust', q{VapiRoute none "map('tier') == 'gold'" result=gold}, 'VapiRoute none result=everybody');
    $shows->('/words', q(%{VAPI_TURNS}|%{VAPI_LAST_SAID}|%{signal:anger}|%{said:angry}|%{VAPI_TRANSCRIPT}));
    $shows->('/signals', '%{signal:anger} %{signal:umlaut}');
    $endpoint->('/angry', q{VapiRoute none "signal('anger') -ge 8" result=angry}, 'VapiRoute none result=calm');
    $endpoint->('/said', q{VapiRoute none "said('\bperson\b') == '1'" result=person}, q{VapiRoute none "said('\d{3}') == '1'" result=digits}, q{VapiRoute none "-n said('what\?')" result=mark}, q{VapiRoute none "said('it\'s') == '1'" result=apostrophe},
        q{VapiRoute none "said('back\\\\\\\\slash') == '1'" result=backslash}, 'VapiRoute none result=other');
    $shows->('/set', '%{var:level}:%{var:made}');
    $shows->('/set/inner', '%{var:level}:%{var:made}', 'VapiSet level inner');
    $shows->('/set/inner/most', '%{var:level}:%{var:made}', q{VapiSet level "most %{arg:plan}" "arg('plan') != ''"});
    $shows->('/set/empty', '[%{var:only}]', q{VapiSet only one "arg('x') == '1'"});
    $shows->('/set/failing', '[%{var:only}]', q{VapiSet only never "file('/nowhere') == ''"}, 'VapiSet only otherwise');
    $shows->('/set/values', '[%{var:argument}]');
    $endpoint->("/dial/$_", "VapiRoute $_", $last) for qw(argument argument-allowed nested message words fixed mapped key chosen mixed refused);
    return $conf;
}
