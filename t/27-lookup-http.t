# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# VapiLookup over HTTP, asked through Apache: when it is asked and what it sends, what its answers become and what hostile ones can do,
# how long it may take, and what is kept.
use strict;
use warnings;
use utf8;
use Encode qw(decode_utf8 encode_utf8);
use JSON::PP ();
use Time::HiRes qw(sleep time);
use VapiCrm;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my %secret = (bearer => 'the-bearer-of-the-crm', key => 'the-key-of-the-crm', header => 'the-literal-token');
my $evil = "a b/c?d#e%f%2e+\"'\\&=;:\@<>{{x}}\n\t\x01~ü😀";    # where an argument is written
my $caller = '+14155550123';

my $crm = VapiCrm->new(answers => answers());
my $secure = VapiCrm->new(tls => 1, answers => answers());
my $impostor = VapiCrm->new(tls => 1, cert => 'unknown-ca', answers => answers());
my $control = VapiControl->new;
my $closed = closed_port();

sub answers {
    return {
        customers => { json => { tier => 'gold', name => 'Ann' } },
        shape => { json => {
            n => 42, f => 1.5, yes => JSON::PP::true, no => JSON::PP::false, nul => undef, none => '', 'a.b' => 'exact', a => { b => 'nested', c => 'deep' },
            list => [1, 'two', { phone => '+14155550121' }], object => {}, '0' => 'zero', tier => 'gold',
        } },
        array => { json => [{ phone => '+14155550122' }, 'second'] }, text => { json => 'only a text' }, number => { json => 7 },
        fifty => { json => { tier => 'gold' }, delay => 50 }, third => { json => { tier => 'late' } },
        slow => { json => { tier => 'late' }, delay => 2500 }, never => { hang => 1 },
    };
}

# ---- one server, with an endpoint for each thing that is tried

my $base = $crm->base;
my @conf = (
    'CustomLog "@DIR@/access_log" "%{vapi-call}n outcome=%{vapi-outcome}n reason=%{vapi-reason}n lookup=%{vapi-lookup-ms}n control=%{vapi-control-ms}n took=%D pid=%P"',
    'VapiCredential test hmac secret=file:@DIR@/vapi.secret preset=body-only', 'VapiAuthenticate test', 'VapiAllow +1415 !+1415555019 pbx.example.com',
    "VapiLookup crm     url=$base/customers/%{VAPI_CALLER}",
    "VapiLookup encoded url=\"$base/encoded/%{VAPI_CALLER}/x%{arg:x}y/%{arg:x}?q=%{arg:x}&n=%{VAPI_CALLER}&e=%{arg:absent}\" header=\"X-Caller: %{VAPI_CALLER}\" header=\"X-Literal: a %{arg:h}\""
        . ' header="X-Crm-Token: ' . $secret{header} . '" bearer=file:@DIR@/bearer secret-header="X-Api-Key: env:CRM_KEY"',
    "VapiLookup posted  url=$base/posted body=\@DIR\@/body.json header=\"X-Kind: %{arg:kind}\"",
    "VapiLookup kind    url=$base/%{arg:kind} timeout=20", "VapiLookup endless url=$base/%{arg:kind} timeout=700ms",
    "VapiLookup part    url=$base/customers/a%{arg:kind}", "VapiLookup shape   url=$base/shape", "VapiLookup array url=$base/array", "VapiLookup text url=$base/text", "VapiLookup number url=$base/number",
    "VapiLookup second  url=$base/second/%{lookup:crm.tier}", "VapiLookup third url=$base/third/%{lookup:kind.tier}",
    "VapiLookup down    url=http://127.0.0.1:$closed/x",
    (map { "VapiLookup d$_ url=$base/status=500/x on-error=$_" } qw(continue skip-route fail)),
    "VapiLookup kept    url=$base/customers/%{VAPI_CALLER} cache=3600", "VapiLookup kept-none url=$base/status=404/%{VAPI_CALLER} cache=3600", "VapiLookup kept-error url=$base/status=500/%{VAPI_CALLER} cache=3600",
    "VapiLookup short   url=$base/customers/%{VAPI_CALLER}?short cache=4", "VapiLookup kept-post url=$base/customers/post body=\@DIR\@/body.json cache=3600", "VapiLookup kept-huge url=$base/large cache=3600",
    "VapiLookup fifty   url=$base/fifty", "VapiLookup pause url=$base/held/%{arg:n} timeout=20",
    (map { "VapiLookup slow$_ url=$base/slow/$_" } 1 .. 3), (map { "VapiLookup never$_ url=$base/never/$_ timeout=2" } 1 .. 3), "VapiLookup prompt url=$base/never/x timeout=150ms",
    "VapiLookup proxied url=http://crm.example.com/customers/%{VAPI_CALLER} proxy=$base",
    (map { "VapiLookup $_->[0] url=" . $_->[1]->base . '/customers/x bearer=file:@DIR@/bearer' . ($_->[2] ? " ca=$_->[2]" : '') } ['secure', $secure, $secure->ca], ['doubtful', $secure], ['impostor', $impostor, $impostor->ca]),
    "VapiLookup host    url=$base/host",
    'VapiSet level "%{lookup:dskip-route.tier}"', 'VapiSet tier "%{lookup:crm.tier}"',
    'VapiDestination billing +14155550100', 'VapiDestination greeted +14155550101 say="Hello %{lookup:crm.name}."', 'VapiDestination missed +14155550102 say="Hello %{lookup:dskip-route.name}."',
    'VapiDestination nameless +14155550103 say="Hello %{lookup:dcontinue.name}."', 'VapiDestination barred +14155550104 say="Hello %{lookup:dfail.name}."',
    'VapiTransferPlan twiml warm-transfer-twiml twiml="<Say>%{lookup:host.text}</Say>"',
    'VapiDestination dialled "%{lookup:host.number}"', 'VapiDestination spoken +14155550105 say="%{lookup:host.text}"', 'VapiDestination marked +14155550106 plan=twiml',
    'VapiDestination headed sip:oncall@pbx.example.com sip-header="X-Name: %{lookup:host.text}"', 'VapiDestination shown +14155550107 caller-id=%{lookup:host.number} extension=%{lookup:host.extension}',
    place('lazy', 'VapiRoute none "arg(\'first\') == \'1\'" result=first', 'VapiRoute none "arg(\'never\') == \'1\' && lookup(\'crm.tier\') == \'gold\'"', 'VapiRoute none "lookup(\'crm.tier\') == \'silver\'"',
        'VapiRoute none "lookup(\'crm\') == \'none\' || var(\'tier\') == \'iron\'"', 'VapiRoute greeted "lookup(\'crm.tier\') == \'gold\' && var(\'tier\') == \'gold\'" result="%{lookup:crm.tier} %{lookup:crm}"', 'VapiRoute none'),
    place('encoded', 'VapiRoute none result="%{lookup:encoded}"'), place('posted', 'VapiRoute none "lookup(\'posted.tier\') == \'iron\'"', 'VapiRoute none "lookup(\'posted\') == \'none\'"', 'VapiRoute none result="%{lookup:posted}|%{lookup:posted.id}|%{lookup:posted.status}"'),
    place('kind', 'VapiRoute none result="%{lookup:kind}|%{lookup:kind.tier}"'), place('endless', 'VapiRoute none result="%{lookup:endless}|%{lookup:endless.tier}"'),
    place('part', 'VapiRoute none result="%{lookup:part}"'), place('chain', 'VapiRoute none result="%{lookup:second}|%{lookup:third}"'),
    place('shape', map { "VapiRoute none \"arg('path') == '$_'\" result=\"[%{lookup:$_}]\"" } shape_paths()),
    place('continue', 'VapiRoute billing "lookup(\'dcontinue.tier\') == \'gold\'"', 'VapiRoute none "-n lookup(\'dcontinue.tier\')"', 'VapiRoute none "lookup(\'dcontinue\') == \'error\'" result="%{VAPI_REASON}"'),
    place('skip', 'VapiRoute billing "lookup(\'dskip-route.tier\') != \'x\'"', 'VapiRoute billing "lookup(\'dskip-route\') == \'error\'"', 'VapiRoute none result="%{VAPI_REASON}"'),
    place('fail', 'VapiRoute none "arg(\'before\') == \'1\'" result=before', 'VapiRoute billing "lookup(\'dfail.tier\') == \'gold\'"', 'VapiRoute billing', 'VapiRoute none'),
    place('set', 'VapiRoute billing "var(\'level\') == \'gold\'"', 'VapiRoute billing "-z var(\'level\')"', 'VapiRoute none "-z var(\'level\')"', 'VapiRoute none result="asked by none: %{VAPI_REASON}"'),
    place('missed', 'VapiRoute missed', 'VapiRoute none result="%{VAPI_REASON}"'), place('nameless', 'VapiRoute nameless'), place('barred', 'VapiRoute barred', 'VapiRoute billing'),
    place('words', 'VapiRoute none result="[%{lookup:dfail.name}%{lookup:dskip-route.name}]"'),
    place('cached', (map { "VapiRoute none \"arg('which') == '$_'\" result=\"%{lookup:$_}|%{lookup:$_.tier}\"" } qw(kept kept-none kept-error short kept-post kept-huge)), 'VapiRoute none'),
    place('unasked', 'VapiRoute billing'), place('fifty', 'VapiRoute billing "lookup(\'fifty.tier\') == \'gold\'"'),
    place('late', 'VapiBudget 5500ms', 'VapiRoute none "lookup(\'slow1.tier\') == \'x\'"', 'VapiRoute none "lookup(\'slow2.tier\') == \'x\'"', 'VapiRoute none "lookup(\'slow3.tier\') == \'x\'"', 'VapiRoute billing'),
    place('hung', 'VapiRoute none "lookup(\'never1\') == \'ok\'"', 'VapiRoute none "lookup(\'never2\') == \'ok\'"', 'VapiRoute none "lookup(\'never3\') == \'ok\'"', 'VapiRoute billing'),
    place('prompt', 'VapiRoute none result="%{lookup:prompt}"'),
    place('outbound', 'VapiBudget 30', 'VapiLimit outbound=1', 'VapiRoute none "lookup(\'pause.tier\') == \'late\'" result="%{lookup:pause.tier}"', 'VapiRoute none result="limited [%{lookup:crm.name}]"'),
    place('limited', 'VapiLimit call=1', 'VapiSettle 0', 'VapiRoute billing "lookup(\'crm.tier\') == \'gold\'"', 'VapiRoute none result="limited [%{lookup:crm.name}]"'),
    place('tls', map { "VapiRoute none \"arg('which') == '$_'\" result=\"%{lookup:$_}|%{lookup:$_.tier}\"" } qw(secure doubtful impostor proxied down)),
    place('hostile', (map { "VapiRoute $_ \"arg('which') == '$_'\"" } qw(dialled spoken marked headed shown)), 'VapiRoute none "arg(\'which\') == \'result\'" result="<%{lookup:host.text}>"', 'VapiRoute none result="refused: %{VAPI_REASON}"'),
);

sub place {
    my ($name, @lines) = @_;
    return join "\n", "<Location \"/$name\">", 'SetHandler vapi-transfer', $control->conf, @lines, "</Location>";
}

sub shape_paths {
    return map { "shape.$_" } qw(n f yes no nul none a.b a.c a list list.length list.0 list.1 list.2 list.2.phone list.3 a.length object object.length absent absent.length n.length 0),
        qw(a.c.length);
}

my $s = VapiTest->new(
    conf => join("\n", @conf, ''),
    environment => { CRM_KEY => $secret{key}, map { ($_ => "http://127.0.0.1:$closed", uc $_ => "http://127.0.0.1:$closed") } qw(http_proxy https_proxy all_proxy) },
    files => { bearer => ["$secret{bearer}\n", 0600], 'body.json' => encode_utf8('{"phone":"%{VAPI_CALLER}","deep":[{"x":"%{arg:x}"},7,true,null,1.5],"kind":"is %{arg:kind}, 100%%{ok}","ü":"{{y}}"}') },
);
$s->allow_log(
    qr/VapiRoute: the table has no last route|VapiRoute \S+: never reached unless|is http:\/\/: a secret is sent in the clear/, qr/a SIP destination is used for a call over pstn/,
    qr/vapi: call=\S+ lookup [\w-]+: (?:HTTP \d+ after \d+ ms|the answer is [\w ]+|no time left|[A-Z][\w', ()]+)$/, qr/outcome=(?:no-route reason=lookup-error|limited reason=(?:limited|busy)) /,
);
$s->start;

# What the model is told: a result, or an error behind the word.
sub ask {
    my ($where, %o) = @_;
    my $args = { %{ $o{args} || {} } };
    my $reply = $s->signed_post("/$where", vapi_tool_call(control => $control->url('x'), caller => $caller, %o, args => $args));
    is($reply->{status}, 200, "/$where: 200") if $reply->{status} != 200;
    return told($reply->{json}{results}[0]);
}

sub told { my ($one) = @_; return $one->{result} // "error: $one->{error}" }

# What the access log says of this call.
sub noted {
    my ($call) = @_;
    my $line;
    wait_until(sub { ($line) = grep { /^\Q$call\E / } -e $s->dir . '/access_log' ? split /\n/, slurp($s->dir . '/access_log') : (); defined $line }, 20);
    return { map { /^(\w+)=(.*)/ ? ($1 => $2) : () } split / /, $line // '' };
}

sub escaped { my ($text) = @_; return encode_utf8($text) =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger }

# ---- asked when it is needed, and once

{
    my $call = vapi_uuid();
    is(scalar $crm->asked(sub { is(ask('lazy', args => { first => 1 }, call => $call), 'first', 'a route before those that ask') }), 0, '... asks nothing');
    is(noted($call)->{lookup}, '-', '... and notes no time');
    $control->clear;
    my @asked = $crm->asked(sub { is(ask('lazy', call => $call = vapi_uuid()), 'gold ok', 'asked by three routes, a set, and three texts') });
    is(scalar @asked, 1, '... once');
    is("$asked[0]{method} $asked[0]{path} [$asked[0]{body}]", 'GET /customers/%2B14155550123 []', '... with GET, the plus sign of the number encoded');
    is(($control->transfers)[0]{content}, 'Hello Ann.', '... and its answer is spoken');
    like(noted($call)->{lookup}, qr/^[1-9]\d*$/, '... its time is noted');
    my $two = $s->signed_post('/lazy', vapi_tool_call(caller => $caller, control => $control->url('x'), calls => [{ id => 'one', args => { never => 2 } }, { id => 'two', args => { never => 3 } }]));
    is(scalar @{ $two->{json}{results} }, 2, 'two tool calls in one delivery');
    is(scalar(grep { $_->{path} =~ /customers/ } $crm->requests), 2, '... ask once, too');
}

# ---- what is sent

for my $value ('plain', '+14155550123', 'a/b', '..%2f', '../..', '?x=1&y=2#z', "new\r\nX-Evil: 1", 'üß – 😀', "' OR 1=1 --", '100%', '%2e%2e', '%{VAPI_CALLER}', $evil) {
    my @asked = $crm->asked(sub { is(ask('encoded', args => { x => $value }), 'ok', 'a value in a URL: ' . escaped($value)) });
    my $e = escaped($value);
    is($asked[0]{path}, "/encoded/%2B14155550123/x${e}y/$e?q=$e&n=%2B14155550123&e=", '... is encoded wherever it stands');
    is($asked[0]{headers}{'x-evil'}, undef, '... and makes no header') if $value =~ /Evil/;
}
{
    my @asked = $crm->asked(sub { is(ask('encoded', args => { x => 1, h => "b: ü\tc" }), 'ok', 'headers') });
    my $headers = $asked[0]{headers};
    is_deeply([@$headers{qw(authorization x-api-key x-crm-token x-caller)}, decode_utf8($headers->{'x-literal'})], ["Bearer $secret{bearer}", $secret{key}, $secret{header}, $caller, "a b: ü\tc"],
        '... and secrets are sent as they are written');
    for my $value ("a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x01b", "a\x7fb") {
        is(scalar $crm->asked(sub { is(ask('encoded', args => { x => 1, h => $value }), 'error', 'a control character in a header: ' . escaped($value)) }), 0, '... nothing is sent');
    }
    $s->log_like(qr/lookup encoded: a value with a (?:line end|control character) may not stand in a header$/m);
}
for my $x ($evil, "\"}],\"phone\":\"+1900\"", '\\', "\x{1f}\x{7f}\x{2028}", '{{transcript}}%{VAPI_CALLER}') {
    my @asked = $crm->asked(sub { is(ask('posted', args => { x => $x, kind => 'vip' }), 'ok||ok', 'a body') });
    is(scalar @asked, 1, '... is sent once, whoever asks');
    is("$asked[0]{method} $asked[0]{headers}{'content-type'} $asked[0]{headers}{'x-kind'}", 'POST application/json vip', '... with POST');
    is_deeply($asked[0]{json}, { phone => $caller, deep => [{ x => $x }, 7, JSON::PP::true, undef, 1.5], kind => 'is vip, 100%{ok}', 'ü' => '{{y}}' }, '... its values as they are: ' . escaped($x));
}
for ([crm => 'lazy', undef], [encoded => 'encoded', undef, { x => 1 }], [crm => 'lazy', 'anonymous'], map { [kind => 'kind', $caller, { kind => $_ }] } '', '.', '..') {
    my ($lookup, $where, $from, $args) = @$_;
    my $name = 'nothing is asked where ' . (!defined $from ? 'the caller is unknown' : $args ? "a part of the path is '$args->{kind}'" : 'the caller is anonymous');
    is(scalar $crm->asked(sub { ask($where, caller => $from, args => $args) }), 0, $name);
}
is(ask('kind', args => { kind => '..' }), 'none|', '... it is none');
is(scalar $crm->asked(sub { is(ask('part', args => { kind => $_ }), 'none', "... as is one with '$_' in a part of a path") for '', '.', '..' }), 0, '... nothing is asked');
is(ask('part', args => { kind => '...' }), 'ok', '... three are none of these');
is(scalar $crm->asked(sub { is(ask('lazy', caller => 'sip:ann@example.com'), 'gold ok', 'a SIP caller') }), 1, '... is asked for');
is(($crm->requests)[0]{path}, '/customers/sip%3Aann%40example.com', '... encoded');
{
    my @asked = $crm->asked(sub { is(ask('chain', args => { kind => 'status=404' }), 'ok|none', 'a lookup with the answer of another, and one that has none') });
    is_deeply([sort map { $_->{path} } @asked], ['/customers/%2B14155550123', '/second/gold', '/status%3D404'], '... which is not asked');
}

# ---- what comes back

$crm->answers(
    (map { ("s$_" => { status => $_, json => { tier => 'x' } }) } 201, 204, 206, 400, 401, 404, 410, 429, 500, 503),
    html => { body => '<html><body>Hello</body></html>' }, empty => { body => '' }, blank => { body => ' ' }, cut => { json => { tier => 'x' }, truncate => 1 }, twice => { body => '{"tier":"x","tier":"y"}' },
    half => { body => '{"tier":"x"' }, behind => { body => '{"tier":"x"} {}' }, nul => { body => "{\"tier\":\"x\\u0000y\"}" }, latin => { body => "{\"tier\":\"\xe4\"}" }, bom => { body => "\xef\xbb\xbf{\"tier\":\"x\"}" },
    nan => { body => '{"tier":NaN}' }, deep => { body => ('[' x 3000) . (']' x 3000) }, huge => { json => { tier => 'x' }, fill => 1048577 }, vast => { huge => 3e9 }, whole => { json => { tier => 'x' }, fill => 1048576 },
    array => { json => [{ tier => 'x' }] }, list => { json => { tier => ['x', { y => 1 }] } }, null => { body => 'null' }, chunked => { json => { tier => 'x' }, chunked => 1 }, typed => { json => { tier => 'x' }, headers => { 'content-type' => 'text/plain' } },
    redirect => { redirect => 1 }, moved => { status => 301, headers => { location => '/customers/x' } }, silent => { silent => 1 }, reset => { reset => 1 }, garbage => { garbage => 1 }, closing => { json => { tier => 'x' }, close => 1 },
    hang => { hang => 1 }, drip => { json => { tier => 'x' x 200 }, drip => 20 }, number => { json => { tier => 12 } }, object => { json => { tier => { a => 1 } } },
);
my %kinds = (
    'ok|x' => [qw(s201 s206 whole chunked typed closing)], 'ok|' => [qw(array null)], 'ok|["x",{"y":1}]' => ['list'], 'ok|12' => ['number'], 'ok|{"a":1}' => ['object'], 'none|' => [qw(s204 s404)],
    'error|' => [qw(s400 s401 s410 s429 s500 s503 html empty blank cut twice half behind latin bom nan deep huge vast redirect moved silent reset garbage)],
);
$crm->clear;
for my $expected (sort keys %kinds) {
    is(ask('kind', args => { kind => $_ }), $expected, "an answer: $_") for @{ $kinds{$expected} };
}
is(ask('endless', args => { kind => $_ }), 'error|', "an answer: $_") for qw(hang drip);
is(scalar(grep { $_->{path} =~ /redirected|customers/ } $crm->requests), 0, 'a redirect is not followed');
unlike(ask('kind', args => { kind => 'nul' }), qr/x.*y/, 'a NUL');
$s->log_like(qr/call=\S+ lookup kind: $_(?: after \d+ ms)?$/m) for 'HTTP 500', 'HTTP 302', 'the answer is longer than 1048576 bytes', 'the answer is not JSON';

my %fields = (
    n => 42, f => '1.5', yes => 'true', no => 'false', nul => '', none => '', 'a.b' => 'exact', 'a.c' => 'deep', a => '{"b":"nested","c":"deep"}', list => '[1,"two",{"phone":"+14155550121"}]',
    'list.length' => 3, 'list.0' => 1, 'list.1' => 'two', 'list.2' => '{"phone":"+14155550121"}', 'list.2.phone' => '+14155550121', 'list.3' => '', 'a.length' => 2, object => '{}', 'object.length' => 0,
    absent => '', 'absent.length' => '', 'n.length' => '', 0 => 'zero',
);
is(ask('shape', args => { path => "shape.$_" }), "[$fields{$_}]", "the field $_") for sort keys %fields;

# ---- what went wrong decides

{
    my $call;
    my $fresh = sub { $control->clear; return $call = vapi_uuid() };
    is(ask('continue', call => $fresh->()), 'lookup-error', 'on-error=continue: its fields are empty, and a route behind knows why');
    is(scalar $crm->asked(sub { is(ask('skip', call => $fresh->()), 'lookup-error', 'on-error=skip-route: a route that asks it is not taken, whatever it compares') }), 1, '... nor asked twice');
    is(ask('fail', args => { before => 1 }), 'before', 'on-error=fail: a route before is');
    like(ask('fail', call => $fresh->()), qr/^error: [A-Z][^\n]*cannot be reached[^\n]*\.$/, '... none behind, and the model is told');
    is(scalar $control->requests, 0, '... nothing is sent');
    is(join(' ', @{ noted($call) }{qw(outcome reason)}), 'no-route lookup-error', '... and it is noted');
    $s->log_like(qr/call=$call .*outcome=no-route reason=lookup-error/, '... and logged');
    is(scalar $crm->asked(sub { is(ask('set'), 'asked by none: lookup-error', 'through a VapiSet: each route that asks it is skipped') }), 1, '... of one lookup');
    is(ask('missed'), 'lookup-error', 'in the say= of a destination: it is skipped');
    is(ask('nameless', call => $fresh->()), 'The call is being transferred.', '... or goes on');
    is(($control->transfers)[0]{content}, 'Hello .', '... without the name');
    like(ask('barred', call => $fresh->()), qr/^error: .*cannot be reached/, '... or is the end');
    is(scalar $control->requests, 0, '... and nothing is sent');
    is(ask('words', call => $fresh->()), '[]', 'in the result= of a route that was taken it is only empty');
    is(noted($call)->{outcome}, 'answered', '... which stays taken');
}

# ---- what is kept

sub kept { my ($which, %o) = @_; return ask('cached', args => { which => $which }, %o) }
my $short_since;
{
    my (%pids, $call);
    my @short = $crm->asked(sub { is(kept('short'), 'ok|gold', 'kept for some seconds') for 1, 2 });
    $short_since = time;
    is(scalar @short, 1, '... asked once in them');
    my @asked = $crm->asked(sub {
        is(kept('kept', call => $call = vapi_uuid()), 'ok|gold', 'kept');
        $pids{ noted($call)->{pid} }++;
        # Several at once, each of which takes its time: no single process gets them all.
        for (1 .. 40) {
            my @calls = map { vapi_uuid() } 1 .. 8;
            my @replies = $s->post_many(map {
                my $body = vapi_tool_call(caller => $caller, control => $control->url('x', 'delay=100'), call => $_, args => { which => 'kept' });
                ['/cached', $body, $s->signed($body)]
            } @calls);
            my @others = grep { $_ ne 'ok|gold' } map { told($_->{json}{results}[0]) } @replies;
            is("@others", '', 'kept, for eight at once') if @others;
            $pids{ noted($_)->{pid} }++ for @calls;
            last if keys %pids > 1;
        }
    });
    cmp_ok(scalar keys %pids, '>', 1, 'two processes were asked');
    is(scalar @asked, 1, 'kept: asked once by all of them');
    is(scalar $crm->asked(sub { is(kept('kept', call => $call = vapi_uuid()), 'ok|gold', 'what is kept') }), 0, '... is not asked');
    is(noted($call)->{lookup}, 0, '... and took no time');
    is(scalar $crm->asked(sub { is(kept('kept', caller => '+14155550177'), 'ok|gold', 'another caller') }), 1, '... is asked for');
    is(scalar $crm->asked(sub { is(kept('kept-none'), 'none|', 'none') for 1, 2 }), 1, '... is kept');
    is(scalar $crm->asked(sub { is(kept('kept-error'), 'error|', 'an error') for 1, 2 }), 2, '... is not');
    is(scalar $crm->asked(sub { kept('kept', caller => undef) }), 0, 'an unknown caller is not asked for');
    is(scalar $crm->asked(sub { ask('lazy') for 1, 2 }), 2, 'without cache= each request asks');
    is(scalar $crm->asked(sub { is(ask('cached', args => { which => 'kept-post', x => 1 }), 'ok|gold', 'a POST with cache=') for 1, 2 }), 1, '... is kept');
    is(scalar $crm->asked(sub { ask('cached', args => { which => 'kept-post', x => 2 }) }), 1, '... by what it sends');
    $crm->answers(large => { json => { tier => 'gold', pad => 'p' x 100_000 } });
    is(scalar $crm->asked(sub { is(kept('kept-huge'), 'ok|gold', 'what is too large to be kept') for 1, 2 }), 2, '... is asked again');
    $s->graceful;
    is(scalar $crm->asked(sub { is(kept('kept'), 'ok|gold', 'over a graceful restart') }), 0, '... it is kept');
}

# ---- connections are kept, too

{
    my @asked = $crm->asked(sub { ask('lazy') for 1 .. 20 });
    my %connections = map { ($_->{connection} => 1) } @asked;
    cmp_ok(scalar keys %connections, '<=', scalar($s->children), '20 lookups: at most a connection for each process');
    my @replies = $s->post_many(map { my $body = vapi_tool_call(caller => $caller, control => $control->url('x')); ['/lazy', $body, $s->signed($body)] } 1 .. 8);
    is(scalar(grep { ($_->{json}{results}[0]{result} // '') eq 'gold ok' } @replies), 8, 'eight at once');
}
{
    # What this machine needs at least for one request of a stand-in, for a transfer without a lookup, and for one with it.
    my ($request, $unasked, $quickest, @took) = (1e9) x 3;
    my $bound = sub { return $unasked + $request + 50 + 30 };
    my $until_asked = sub {
        my ($do) = @_;
        $control->clear;
        my $began = time;
        $do->();
        return 1000 * (($control->requests)[0]{time} - $began);
    };
    for (1 .. 60) {
        my $call = vapi_uuid();
        my $direct = $until_asked->(sub { HTTP::Tiny->new(proxy => undef, http_proxy => undef)->post($control->url('direct'), { content => '{}' }) });
        push @took, [$until_asked->(sub { ask('fifty', call => $call) }), noted($call)->{lookup}];
        my $without = $until_asked->(sub { ask('unasked') });
        ($request, $unasked, $quickest) = map { $_->[0] < $_->[1] ? $_->[0] : $_->[1] } [$request, $direct], [$unasked, $without], [$quickest, $took[-1][0]];
        last if @took > 3 && $quickest < $bound->();
    }
    note join ' ', 'ms until the control API had it:', map { sprintf '%.1f', $_->[0] } @took;
    # A packet that waits for the one before to be acknowledged waits for 40 ms, each time.
    cmp_ok($quickest, '<', $bound->(), sprintf 'a lookup of 50 ms: the control API has the transfer soon after; without one it took %.1f ms', $unasked);
    is(scalar(grep { $_->[1] < 50 || $_->[1] > $_->[0] } @took), 0, '... and its time is noted');
}

# ---- what it reaches, and how

is(ask('tls', args => { which => 'secure' }), 'ok|gold', 'over TLS, with ca=');
is(ask('tls', args => { which => $_ }), 'error|', "over TLS: $_") for qw(doubtful impostor);
is(($secure->requests)[0]{headers}{authorization}, "Bearer $secret{bearer}", 'a token over TLS');
is(scalar $impostor->requests, 0, '... and none to an impostor');
is(ask('tls', args => { which => 'down' }), 'error|', 'nobody listens');
is(scalar $crm->asked(sub { is(ask('tls', args => { which => 'proxied' }), 'ok|gold', 'through proxy=') }), 1, '... as one request');
is(($crm->requests)[0]{path}, 'http://crm.example.com/customers/%2B14155550123', '... with the whole URL');

# ---- hostile answers: as if the administrator, or the caller, had written them

sub hostile {
    my ($which, %host) = @_;
    $crm->answers(host => { json => \%host });
    $control->clear;
    my $told = ask('hostile', args => { which => $which });
    my ($sent) = $control->transfers;
    return ($sent, $told);
}

for (
    ['+14155550150', '+14155550150'], ['sip:bob@pbx.example.com', 'sip:bob@pbx.example.com'], ['+14155550199'], ['+19005550100'], ['+881612345678'], ['911'], [''], ['sip:bob@evil.example.com'],
    ['sip:+19005550100@pbx.example.com'], ['sip:bob@pbx.example.com?Replaces=1'], ['sip:bob@pbx.example.com;maddr=10.0.0.1'], ["+14155550150\r\nX: 1"], ['+14155550150,9'], ['+1415555015{{x}}'], ['{{customer.number}}'],
    ['%{VAPI_CALLED}'], [14155550150], [['+14155550150']], [{ number => '+14155550150' }], [JSON::PP::true], ['sip:a@b@pbx.example.com'], ['assistant:Other'], ['+' . '1415' x 1250], ["+14155550150\x{0}"],
) {
    my ($number, $dialled) = @$_;
    my ($sent, $told) = hostile('dialled', number => $number);
    my $shown = escaped(ref $number ? $json->encode([$number]) : substr $number, 0, 60);
    if ($dialled) {
        my $to = $sent->{destination};
        is($to->{number} // $to->{sipUri}, $dialled, "a looked-up target that is allowed: $shown");
    }
    else {
        is(defined $sent ? 'sent' : $told =~ s/ (?:not-allowed|lookup-error)$/ REASON/r, 'refused: REASON', "a looked-up target that is not: $shown");
    }
}
{
    my $words = "a {{secret}} {%x%}\r\nb\x{0b}\x{85}\x{2028}c \x1b[31m</Say><Dial>+1900</Dial>&\"'";
    my ($sent) = hostile('spoken', text => $words);
    unlike($sent->{content}, qr/\{\{|\}\}|\{%|%\}|[\x00-\x1f\x7f-\x9f\x{2028}]/, 'looked-up words: one line, without Liquid or control characters');
    like($sent->{content}, qr/^a \{ \{secret\} \} .* b.*c /, '... and otherwise as they are');
    ($sent) = hostile('spoken', text => 'word ' x 1000);
    cmp_ok(length $sent->{content}, '<=', 1000, '... cut at 1,000 characters');
    like($sent->{content}, qr/word$/, '... at a word');
    (undef, my $told) = hostile('result', text => $words);
    unlike($told, qr/\{\{|\}\}|[\x00-\x1f\x7f-\x9f\x{2028}]/, 'looked-up words in a result');
    (undef, $told) = hostile('result', text => 'w' x 5000);
    cmp_ok(length $told, '<=', 1000, '... cut, too');
    ($sent) = hostile('marked', text => '</Say><Dial>+1900</Dial>&"\'');
    is($sent->{destination}{transferPlan}{twiml}, '<Say>&lt;/Say&gt;&lt;Dial&gt;+1900&lt;/Dial&gt;&amp;&quot;&#39;</Say>', '... in TwiML');
    ($sent) = hostile('headed', text => 'Ann');
    is($sent->{destination}{sipHeaders}{'X-Name'}, 'Ann', '... in a SIP header');
    ($sent) = hostile('shown', number => '+14155550150', extension => '1234#');
    is_deeply([@{ $sent->{destination} }{qw(callerId extension)}], ['+14155550150', '1234#'], '... as a number to be shown, and an extension');
    ($sent) = hostile('shown', number => '+1{{x}}', extension => '1');
    is($sent->{destination}{callerId}, '+1{ {x} }', '... without Liquid');
    for (["+1\r\n2", '1'], ['', '1'], [{ a => 1 }, '1'], ['x' x 5000, '1'], map { ['+14155550150', $_] } '{{x}}', "1\n2", ['1'], '9' x 11) {
        ($sent, $told) = hostile('shown', number => $_->[0], extension => $_->[1]);
        is(defined $sent ? 'sent' : $told, 'refused: bad-argument', '... which must have that form');
    }
    ($sent, $told) = hostile('headed', text => "Ann\r\nX-Evil: 1");
    is($sent, undef, '... which takes no line end');
    like($told, qr/^refused: /, '... so that the next route is asked');
}

# ---- limits

{
    $control->clear;
    my $call = vapi_uuid();
    is(ask('limited', call => $call), 'The call is being transferred.', 'the first transfer of a call');
    is(scalar $crm->asked(sub { is(ask('limited', call => $call), 'limited []', 'over VapiLimit call= the last resort answers') }), 0, '... and nothing is looked up, not even for its words');
    for my $round (1, 2) {
        $crm->clear;
        $crm->answers(held => { json => { tier => 'late' }, hold => "round-$round" });
        my $waits = $s->post_start('/outbound', vapi_tool_call(caller => $caller, timeout => 60, args => { n => $round }));
        wait_until(sub { $crm->requests }, 20);
        is(ask('outbound', args => { n => 'b' }), 'limited []', 'over VapiLimit outbound=, while another request waits for its lookup') if $round == 1;
        is($s->signed_post('/outbound', vapi_message('handoff-destination-request'))->{json}{error}, 'limited []', '... a destination request, too') if $round == 2;
        $crm->release("round-$round");
        is(told($s->post_finish($waits)->{json}{results}[0]), 'late', '... which counts until it is answered');
        is(scalar $crm->requests, 1, '... nothing is looked up');
    }
    is(ask('outbound', args => { n => 'c' }), 'late', '... and then there is room again');
}

# ---- time: all of these at the same moment

{
    $control->clear;
    $crm->clear;
    my (%waits, %call);
    my $began = time;
    my $send = sub { my ($name, $where, $make, %o) = @_; $waits{$name} = $s->post_start("/$where", $make->(call => $call{$name} = vapi_uuid(), caller => $caller, %o)) };
    my $destination = sub { vapi_message('transfer-destination-request', fields => { functionCall => { name => 'transferCall', parameters => {} } }, @_) };
    $send->('late', 'late', \&vapi_tool_call, control => $control->url('late', 'delay=500'));
    $send->('tool', 'hung', \&vapi_tool_call, control => $control->url('tool'), timeout => 5);
    $send->('request', 'hung', $destination);
    $send->('prompt', 'prompt', \&vapi_tool_call);
    my %reply = map { ($_ => $s->post_finish($waits{$_})) } qw(prompt tool late request);
    my %took = map { ($_ => noted($call{$_})->{took} / 1000) } keys %waits;
    note join ', ', map { sprintf '%s %.0f ms', $_, $took{$_} } sort keys %took;
    my %posted = map { ($_->{call} => 1000 * ($_->{time} - $began)) } $control->requests;

    is(told($reply{prompt}{json}{results}[0]), 'error', 'a lookup that does not answer within its timeout= of 150 ms');
    cmp_ok($took{prompt}, '<', 1900, '... ends then, where 2 s are usual');
    is(told($reply{late}{json}{results}[0]), 'The call is being transferred.', 'three slow lookups, and a slow control API');
    cmp_ok($posted{late}, '<', 5500 - 700, '... the transfer keeps its 2 seconds, or most of them on a slow machine');
    cmp_ok($took{late}, '<', 5500, '... and the answer comes within VapiBudget');
    is(scalar(grep { m{/slow/} } map { $_->{path} } $crm->requests), 2, '... the third lookup is not begun');
    is(told($reply{tool}{json}{results}[0]), 'The call is being transferred.', 'a tool that waits 5 seconds');
    cmp_ok($posted{tool}, '<', 3200, '... half of three quarters of that is for lookups');
    cmp_ok($took{tool}, '<', 3750, '... and the answer comes within it');
    is($reply{request}{json}{destination}{number}, '+14155550100', 'a destination request with lookups that never end');
    cmp_ok($took{request}, '<', 5900, '... is answered within about 5 seconds, not the 6 that they would take');
    sleep 0.05 while time < $short_since + 4.1;
    is(scalar $crm->asked(sub { is(kept('short'), 'ok|gold', 'what was kept for some seconds') }), 1, '... is asked again');
}
$s->stop;

# ---- nothing of it in any log, at its loudest

{
    my %canary = (
        caller => '4930887766', argument => 'CanaryArgumentValue', header => 'CanaryHeaderValue', answer => 'CanaryOfAnAnswer', name => 'CanaryLookedUpName', path => 'CanaryUrlPath', query => 'CanaryUrlQuery', body => 'CanaryOfABody',
        bearer => 'CanaryBearerOfCrm', key => 'CanaryKeyOfCrm', literal => 'CanaryLiteralToken', user => 'CanaryUser', password => 'CanaryPassword', basic => 'Q2FuYXJ5VXNlcjpDYW5hcnlQYXNzd29yZA', number => '3361234567',
    );
    $crm->answers(
        $canary{path} => { json => { tier => $canary{answer}, name => $canary{name}, number => "+$canary{number}8901", list => [$canary{answer}] } },
        error => { status => 500, body => "{\"error\":\"$canary{answer}\"}", headers => { 'x-canary' => $canary{answer} } }, html => { body => "<p>$canary{answer}</p>" },
        moved => { status => 302, headers => { location => "$base/$canary{path}" } },
    );
    my @kinds = qw(error html moved hang garbage truncate reset closed);
    my $with = " bearer=file:\@DIR\@/bearer secret-header=\"X-Api-Key: env:CRM_KEY\" header=\"X-Crm-Token: $canary{literal}\" header=\"X-Value: %{arg:h}\" timeout=";
    my $loud = VapiTest->new(
        log_level => 'trace8', environment => { CRM_KEY => $canary{key} },
        files => { bearer => ["$canary{bearer}\n", 0600], 'body.json' => "{\"x\":\"%{arg:x} $canary{body}\"}" },
        conf => join "\n", 'CustomLog "@DIR@/access_log" "%h %r %>s %{vapi-call}n %{vapi-route}n %{vapi-destination}n %{vapi-outcome}n %{vapi-reason}n %{vapi-lookup-ms}n"',
            'VapiCredential test hmac secret=file:@DIR@/vapi.secret preset=body-only', 'VapiAuthenticate test', 'VapiAllow +49',
            "VapiLookup crm url=\"$base/$canary{path}/%{VAPI_CALLER}?$canary{query}=%{arg:x}\"${with}20 cache=3600", "VapiLookup posted url=\"$base/$canary{path}\" body=\@DIR\@/body.json${with}20",
            "VapiLookup user url=http://$canary{user}:$canary{password}\@127.0.0.1:" . $crm->port . "/$canary{path}/%{arg:x}",
            (map { my $at = $_ eq 'closed' ? "http://127.0.0.1:$closed" : $base; "VapiLookup $_ url=\"$at/$_/$canary{path}/%{VAPI_CALLER}?$canary{query}=%{arg:x}\"$with" . ($_ eq 'hang' ? '300ms' : 20) } @kinds),
            'VapiDestination dialled "%{lookup:crm.number}" say="%{lookup:crm.name}"', 'VapiDestination spoken +14155550100 say="%{lookup:crm.name}"', 'VapiSet level "%{lookup:crm.list}"',
            place('x', (map { "VapiRoute none \"arg('which') == '$_' && lookup('$_.tier') != 'y'\" result=\"[%{lookup:$_.tier}]\"" } 'user', 'posted', @kinds), 'VapiRoute none "arg(\'which\') == \'set\'" result="%{var:level}"',
                'VapiRoute dialled "arg(\'which\') == \'dialled\' && lookup(\'crm.tier\') =~ /^Canary(.*)$/"', 'VapiRoute spoken "arg(\'which\') == \'spoken\' && lookup(\'crm.tier\') == \'' . $canary{answer} . '\'"', 'VapiRoute none result="none"'), '');
    $loud->allow_log(qr/is http:\/\/: a secret is sent|stand in the configuration itself|vapi: call=/, qr/core:trace|:(?:trace\d|debug)\]/);
    $loud->start;
    my $told = sub {
        my ($which, %args) = @_;
        my $body = vapi_tool_call(control => $control->url('x'), caller => "+$canary{caller}9911", args => { which => $which, x => $canary{argument}, h => $canary{header}, %args });
        return told($loud->signed_post('/x', $body)->{json}{results}[0]);
    };
    is($told->('spoken'), 'The call is being transferred.', 'at trace8: a transfer') for 1, 2;
    is($told->('dialled'), 'none', '... to what is not allowed');
    is($told->('set'), "[\"$canary{answer}\"]", '... through a set');
    is($told->($_), "[$canary{answer}]", "... $_") for qw(user posted);
    is($told->($_), '[]', "... $_") for @kinds;
    is($told->('posted', h => "$canary{header}\r\nX: $canary{header}"), '[]', '... a line end in a header');
    $crm->answers($canary{path} => { status => 500 });
    my @basic = grep { ($_->{headers}{authorization} // '') =~ /^Basic $canary{basic}/ } $crm->requests;
    is(scalar @basic, 1, '... a user and password were sent');
    $loud->stop;
    $loud->no_canary(values %canary);
}

done_testing;
