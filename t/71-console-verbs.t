# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What the console changes: members, release, forget; who may, how it refuses, and what is different afterwards. What status counts.
use strict;
use warnings;
use IO::Socket::INET;
use Time::HiRes qw(time);
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my $crm = VapiControl->new(paths => {
    '/c/%2B14155550123' => { status => 200, body => '{"tier":"gold"}' }, '/c/%2B14155550124' => { status => 404, body => '' }, '/c/%2B14155550125' => { status => 500, body => '' },
});
my $s = VapiTest->new(conf => conf(), processes => 2, modules => [qw(authz_host auth_basic authn_core authn_file authz_user)], files => { users => 'admin:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=' . "\n" })->start;
$s->allow_log(qr/outcome=no-route|VapiRoute: the table has no last route|has no last route without an expression|AH01617|AH10244/);
my $port = $s->port;
my $calls = 0;
my $admin = 'Basic YWRtaW46YWRtaW4=';
my @verbs = (['members/support/alice', '{"state":"available"}'], ['release/nobody', '{}'], ['forget', '{"number":"+14155550199"}']);

# ---- who may

for my $verb (@verbs) {
    my ($path, $body) = @$verb;
    my ($name) = split m{/}, $path;
    for my $console ('/console', '/read') {
        my $got = $s->post("$console/$path", $body);
        is($got->{status}, 403, "$console: $name");
        like($got->{json}{error}, qr/\A$name needs VapiConsole manage\z/, 'which says why');
    }
    is($s->post("/console/$path", $body, { 'X-Forwarded-For' => '127.0.0.1' })->{status}, 403, "$name over a proxy");
    is($s->post("/manage/$path", $body)->{status}, $name eq 'release' ? 404 : 200, "/manage: $name");
    is($s->post("/login/$path", $body)->{status}, 401, "/login: $name needs the login");
    is($s->post("/login/$path", $body, { Authorization => $admin })->{status}, $name eq 'release' ? 404 : 200, 'and then is done');
    for my $method (qw(GET HEAD PUT DELETE PATCH OPTIONS)) {
        my $got = $s->request($method, "/manage/$path", $method eq 'PUT' || $method eq 'PATCH' ? $body : undef, { 'content-type' => 'application/json' });
        is("$got->{status} " . ($got->{headers}{allow} // ''), '405 POST', "$method $name");
    }
    for my $type ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', '', 'application/json; charset=utf-16', 'application/jsonp') {
        is($s->request('POST', "/manage/$path", $body, { 'content-type' => $type })->{status}, 415, "$name, Content-Type: $type");
    }
    is($s->request('POST', "/manage/$path", undef, {})->{status}, 415, "$name without a body or type");
    is($s->post("/manage/$path", $body, { 'content-encoding' => 'br' })->{status}, 415, "$name, packed as nobody reads it");
    for my $page ("Origin: http://evil.example", 'Origin: null', "Origin: http://localhost:$port.evil.example", 'Sec-Fetch-Site: cross-site') {
        my ($header, $value) = split /: /, $page, 2;
        like(speak("/manage/$path", { Host => "localhost:$port", $header => $value }, $body), qr/\AHTTP\/1.1 403 .*another site/s, "$name, $page");
    }
    like(speak("/manage/$path", { Host => "localhost:$port", Origin => "http://localhost:$port" }, $body), qr/\AHTTP\/1.1 (?:200|404) /, "$name, a page of its own");
    like(speak("/manage/$path", { Host => 'evil.example' }, $body), qr/\AHTTP\/1.1 403 /, "$name, a foreign Host");
    my $got = $s->post("/manage/$path", $body);
    is_deeply([map { $got->{headers}{$_} } qw(cache-control content-type x-content-type-options content-security-policy)], ['no-store', 'application/json', 'nosniff', q{default-src 'none'}], "$name: its headers");
}
is($s->post('/console/members/support/alice', '{"state":"paused"}', { Authorization => $admin })->{status}, 403, 'a login does not make up for VapiConsole');
is(member('alice')->{state}, 'available', 'nothing of that changed anything');

# ---- where they are

my %paths = (
    '/members' => 404, '/members/' => 404, '/members/support' => 404, '/members/support/' => 404, '/members//alice' => 404, '/members/support/alice/' => 404, '/members/support/alice/more' => 404, '/Members/support/alice' => 404,
    '/members/nothing/alice' => '404 no such pool', '/members/support/nobody' => '404 no such member', '/members/support/Alice' => '404 no such member', '/members/other/olga' => '404 no such pool', '/members/support/olga' => '404 no such member',
    '/members/support/%61lice' => 200, '/members/support/alice?x=y' => 200, '/members/support%2Falice' => 404, '/members/support/alice%00' => 404, '/members/..%2f/alice' => 404, '/members/support/%3Cb%3E' => '404 no such member',
    '/members/team/status' => 200, '/members/team/forget' => 200, '/members/team/explain' => 200, '/deep/members/support/alice' => 200, '/' . 'x' x 200 . '/members/support/alice' => 200,
    '/members/support/' . 'x' x 200 => '404 no such member',
    '/release' => 404, '/release/' => 404, '/release/x/y' => 404, '/release/' . 'x' x 200 => '404 nothing is known', '/release/%0d%0aX' => '404 nothing is known', '/release/%3Cscript%3E' => '404 nothing is known',
    '/forget/' => 404, '/forget/x' => 404, '/forgets' => 404, 'forget' => 404, '/members/x/release/nobody' => 404,
);
for my $path (sort keys %paths) {
    my ($expected, $error) = split / /, $paths{$path}, 2;
    my $got = $s->post("/manage$path", '{"state":"available"}');
    my $name = length $path > 60 ? substr($path, 0, 60) . '...' : $path;
    is($got->{status}, $expected, "POST $name");
    like($got->{json}{error}, qr/\Q$error\E/, 'which says so') if defined $error;
    unlike($got->{body}, qr/script|<b>|Alice|xxxx/, 'and repeats nothing') if $expected != 200 && $got->{json};
}
is($s->get('/manage/members/team/status')->{json}{version}, $s->get('/manage/status')->{json}{version}, 'a GET can only mean status');

# ---- bodies

my $deep = '[' x 2000 . ']' x 2000;
my %bodies = (
    '' => 400, 'x' => 400, '[]' => 400, '"paused"' => 400, '{}' => 400, '{"state":null}' => 400, '{"state":7}' => 400, '{"state":["paused"]}' => 400, '{"state":""}' => 400, '{"state":"gone"}' => 400, '{"state":"Paused"}' => 400,
    '{"state":"paused "}' => 400, '{"state":"paused\u0000"}' => 400, '{"state":"paused"' => 400, '{"state":"paused"}}' => 400, '{"state":"paused","state":"busy"}' => 400, "{\"state\":\"pa\xffused\"}" => 400, '{"State":"paused"}' => 400,
    '{"state":{"state":"paused"}}' => 400, "{\"x\":$deep}" => 400, $deep => 400, '{"state":"available","x":' . '[' x 150 . ']' x 150 . '}' => 200, '{"state":"av\u0061ilable"}' => 200, " {\n\"state\" : \"available\" } \n" => 200, '{"more":1,"state":"available"}' => 200,
    '{"state":"available"}' . ' ' x (4096 - 21) => 200, '{"state":"available"}' . ' ' x (4097 - 21) => 413, '{"state":"' . 'x' x 1_000_000 . '"}' => 413,
);
for my $body (sort keys %bodies) {
    my $got = $s->post('/manage/members/support/alice', $body);
    my $name = length $body > 60 ? substr($body, 0, 60) . '...(' . length($body) . ')' : $body;
    is($got->{status}, $bodies{$body}, "the body $name") or diag($got->{body});
    like($got->{json}{error}, qr/\w/, 'with a reason') if $got->{status} != 200;
}
for my $length (4000, 5000) {
    my $body = '{"state":"available"}' . ' ' x ($length - 21);
    my $chunks = join '', map { sprintf("%x\r\n%s\r\n", length $_, $_) } $body =~ /.{1,700}/gs;
    my $got = $s->raw("POST /manage/members/support/alice HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n");
    like($got, $length < 4096 ? qr/\AHTTP\/1.1 200 / : qr/\AHTTP\/1.1 413 /, "$length bytes in chunks");
}
like($s->raw("POST /manage/members/support/alice HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{\"state\":\"pau", 15), qr/\A(?:HTTP\/1.1 408 |\z)/, 'a body that does not come');
is(member('alice')->{state}, 'available', 'still nothing changed');

my %numbers = (
    '{}' => 400, '{"number":null}' => 400, '{"number":14155550123}' => 400, '{"number":""}' => 400, '{"number":"14155550123"}' => 400, '{"number":"+0123"}' => 400, '{"number":"+1415555012x"}' => 400, '{"number":"+14155550123 "}' => 400,
    '{"number":"+1\n4155550123"}' => 400, '{"number":"+14155550123\u0000"}' => 400, '{"number":"sip:"}' => 400, '{"number":"mailto:ann@example.com"}' => 400, '{"number":"sip:ann@example.com\r\nX: y"}' => 400, '{"number":["+14155550123"]}' => 400,
    '{"number":"+14155550123","number":"+14155550124"}' => 400, '{"caller":"+14155550123"}' => 400, '{"number":"*"}' => 400, $deep => 400, '{"number":"+14155550198"}' => 200, '{"number":"sip:ann@pbx.example.com"}' => 200, '{"number":"sips:ann@pbx.example.com"}' => 200,
    '{"number":"' . '1' x 5000 . '"}' => 413,
);
for my $body (sort keys %numbers) {
    my $got = $s->post('/manage/forget', $body);
    my $name = length $body > 60 ? substr($body, 0, 60) . '...' : $body;
    is($got->{status}, $numbers{$body}, "forget $name") or diag($got->{body});
    is_deeply($got->{json}, { forgotten => 0 }, 'of whom nothing is known') if $numbers{$body} == 200;
    unlike($got->{body}, qr/41555501[29]|ann@/, 'and repeats nothing');
}

# ---- members

is(takers(3), 'alice bob -', 'both are there');
release_all();
is_deeply($s->post('/manage/members/support/alice', '{"state":"paused"}')->{json}, { pool => 'support', member => 'alice', state => 'paused', active => 0, capacity => 1 }, 'alice pauses');
is(takers(2), 'bob -', 'and is not chosen');
is_deeply($s->post('/manage/members/support/bob', '{"state":"busy"}')->{json}, { pool => 'support', member => 'bob', state => 'busy', active => 1, capacity => 1 }, 'bob is busy; he has the call');
release_all();
is(takers(1), '-', 'nobody is there');
is_deeply([@{ member('alice') }{qw(state active)}, @{ member('bob') }{qw(state active)}], ['paused', 0, 'busy', 0], 'status says so');
is_deeply($s->post('/manage/members/front/alice', '{"state":"available"}')->{json}, { pool => 'front', member => 'alice', state => 'available', active => 0, capacity => 1 }, 'one person in two pools');
is(takers(2), 'alice -', 'is there in both');
$s->log_like(qr/vapi: console=members by=127\.0\.0\.1 pool=support member=bob state=busy/, 'a line of the log each');
$s->post('/login/members/support/bob', '{"state":"paused"}', { Authorization => $admin });
$s->log_like(qr/vapi: console=members by=admin pool=support member=bob state=paused/, 'with who it was');
my @before = (member('alice'), member('bob'));
is_deeply([map { "$_->{state} $_->{active} $_->{capacity}" } @before], ['available 1 1', 'paused 0 1'], 'what they hold');
$s->graceful;
is_deeply([member('alice'), member('bob')], \@before, 'a graceful restart changes nothing of it');
$s->restart;
is_deeply([member('alice'), member('bob')], \@before, 'nor does a full one');
release_all();
present('bob', 'available');

# ---- release

my $first = call();
is(ask($first), 'alice', 'a call');
is_deeply($s->post("/manage/release/$first", '{}')->{json}, { call => $first, released => 1 }, 'is over');
is(member('alice')->{active}, 0, 'she is free');
is_deeply($s->post("/manage/release/$first", '{}')->{json}, { call => $first, released => 0 }, 'once more: nothing to do');
is(ask($first), 'bob', 'the same call, which goes to nobody twice');
is(ask(call()), 'alice', 'another');
is(ask($first), '-', 'and nobody is left for the first');
is_deeply($s->post("/manage/release/$first", 'anything')->{json}, { call => $first, released => 1 }, 'its second lease; the body does not matter');
is_deeply([member('alice')->{active}, member('bob')->{active}], [1, 0], 'the other call keeps its own');
release_all();
my $two = call();
is(ask($two) . ask($two), 'alicebob', 'a call that came back');
is_deeply($s->post("/manage/release/$two", '')->{json}, { call => $two, released => 2 }, 'both its leases end');
my $direct = call();
is(said($direct, '/direct'), 'The call is being transferred.', 'a call to no pool');
is_deeply($s->post("/manage/release/$direct", '{}')->{json}, { call => $direct, released => 0 }, 'is known, and holds nothing');
is($s->post("/manage/release/$two-not", '{}')->{status}, 404, 'another is not');
$s->log_like(qr/vapi: console=release by=127\.0\.0\.1 call=\Q$two\E released=2/, 'a line of the log');
my $wrapped = call();
is(said($wrapped, '/wrapped'), 'The call is being transferred.', 'a pool with wrap-up=');
my $began = time;
is_deeply($s->post("/manage/release/$wrapped", '{}')->{json}, { call => $wrapped, released => 1 }, 'is released');
ok(wait_until(sub { !$s->get('/manage/status')->{json}{pools}{wrapping}{members}{wanda}{active} }, 20), 'she is free in the end');
cmp_ok(time - $began, '>=', 0.99, 'and wraps up before');

# Who does not answer rests, and is shown as paused until that is over or somebody says that he is there.
my $unanswered = call();
is(ask($unanswered), 'alice', 'a call to alice');
report($unanswered, 'no-answer');
is_deeply([@{ member('alice') }{qw(state active)}], ['paused', 0], 'whom Vapi reports not to have answered: she rests');
is(ask(call()), 'bob', 'and is not chosen');
is(present('bob', 'busy')->{json}{state}, 'busy', 'another state');
is(present('alice', 'busy')->{json}{state} . ' ' . member('alice')->{state}, 'busy busy', 'what is said of her meanwhile is what is shown');
is(present('alice', 'available')->{json}{state}, 'available', 'she is there');
is(ask(call()), 'alice', 'and is chosen');
report($unanswered, 'no-answer');
is_deeply([@{ member('alice') }{qw(state active)}], ['available', 1], 'the report once more changes nothing');
is_deeply($s->post("/manage/release/$unanswered", '{}')->{json}, { call => $unanswered, released => 0 }, 'nor is there anything to release');
present('bob', 'available');
release_all();

# ---- forget

my %known = (number => '+14155550123');
is(said(call(), '/looking', caller => '+14155550123'), 'gold', 'what the CRM says of a caller');
is(said(call(), '/looking', caller => '+14155550123'), 'gold', 'once more');
is(scalar $crm->requests, 1, 'is remembered');
is(said(call(), '/looking', caller => '+14155550124'), 'none', 'of another');
my $forgotten = $s->post('/manage/forget', $json->encode(\%known));
is($forgotten->{status}, 200, 'the first is to be forgotten');
cmp_ok($forgotten->{json}{forgotten}, '>=', 3, 'two claims and an answer');
is_deeply($s->post('/manage/forget', $json->encode(\%known))->{json}, { forgotten => 0 }, 'nothing is left of him');
is(said(call(), '/looking', caller => '+14155550124') . scalar $crm->requests, 'none2', 'the other is still known');
is(said(call(), '/looking', caller => '+14155550123') . scalar $crm->requests, 'gold3', 'the CRM is asked anew');
$s->log_like(qr/vapi: console=forget by=127\.0\.0\.1 forgotten=\d+/, 'a line of the log');
my $sip = 'sip:ann@pbx.example.com';
said(call(), '/sticky', caller => undef, call_fields => { customer => { sipUri => $sip } }, fields => { customer => { sipUri => $sip } });
release_all();
cmp_ok($s->post('/manage/forget', $json->encode({ number => $sip }))->{json}{forgotten}, '>=', 1, 'a SIP URI');

# Who had this caller before is preferred, until that is forgotten.
release_all();
$s->post("/manage/members/stickers/sam", '{"state":"paused"}');
is(ask(call(), '/sticky', caller => '+14155550126'), 'sue', 'sue has the caller');
release_all();
$s->post("/manage/members/stickers/sam", '{"state":"available"}');
is(ask(call(), '/sticky', caller => '+14155550126'), 'sue', 'and again');
release_all();
cmp_ok($s->post('/manage/forget', '{"number":"+14155550126"}')->{json}{forgotten}, '>=', 3, 'forgotten');
is(ask(call(), '/sticky', caller => '+14155550126'), 'sam', 'now it is the first');
is($s->post('/manage/forget', '{"number":"+14155550126"}')->{status}, 200, 'forgotten while he is with sam');
release_all();
is($s->get('/manage/status')->{json}{pools}{stickers}{members}{sam}{active}, 1, 'who has him until the lease is over: where the call was sent is forgotten, too');

# A delivery that was forgotten is none that was seen.
my $again = vapi_tool_call(call => 'again', id => 'call_1', caller => '+14155550127', args => {}, control => $control->url('again'));
$control->clear;
$s->signed_post('/direct', $again) for 1, 2;
is(scalar $control->transfers, 1, 'a delivery twice is one transfer');
cmp_ok($s->post('/manage/forget', '{"number":"+14155550127"}')->{json}{forgotten}, '>=', 2, 'forgotten');
is($s->post('/manage/release/again', '{}')->{status}, 404, 'where the call was sent, too');

# ---- another virtual host

is(other('POST', '/manage/members/other/olga', '{"state":"paused"}')->{json}{state}, 'paused', 'its pool');
is(other('POST', '/manage/members/support/alice', '{"state":"available"}')->{status}, 200, 'and those it inherits');
is(ask($first = call()), 'alice', 'a call here');
is(other('POST', "/manage/release/$first", '{}')->{status}, 404, 'is none there');
is(other('POST', '/manage/forget', '{"number":"+14155550123"}')->{json}{forgotten}, 0, 'nor is its caller');
my $there = other('GET', '/manage/status')->{json};
my $here = $s->get('/manage/status')->{json};
is_deeply([sort keys %{ $there->{pools} }], [qw(front other stickers support team wrapping)], 'its status: its pools');
is_deeply([sort keys %{ $here->{pools} }], [qw(front stickers support team wrapping)], 'which are not those of the first');
is($there->{pools}{support}{members}{alice}{active}, 1, 'a pool is shared by all who inherit it');
is_deeply([sort keys %{ $there->{lookups} }], [qw(crm own)], 'its lookups');
is_deeply([sort keys %{ $here->{lookups} }], ['crm'], 'and ours');
ok($there->{routes}{'/there'} && $there->{routes}{'/pool'}, 'its routes and those of the main server');
ok(!$here->{routes}{'/there'} && $here->{routes}{'/pool'}, 'ours');
release_all();

# ---- what status counts

$s->restart;
$control->clear;
$crm->clear;
for my $number (123, 123, 124, 125, 125) { said(call(), '/looking', caller => "+14155550$number") }
my $once = vapi_tool_call(call => 'once', args => {}, control => $control->url('once'));
$s->signed_post('/direct', $once) for 1, 2;
said(call(), '/direct');
said(call(), '/pool') for 1 .. 3;
said(call(), '/twice', args => { way => $_ }) for qw(one two two);
$s->post('/direct', $once);
$s->signed_post('/direct', vapi_message('status-update', fields => { status => 'in-progress' }));
$s->allow_log(qr/outcome=unauthorized|lookup crm: HTTP 500/);
my @told = (call(), call());
said($_, '/direct'), report($_, 'no-answer') for @told;
report($told[0], 'no-answer');
my $status = $s->get('/manage/status')->{json};
my %outcomes = %{ $status->{outcomes} };
is_deeply({ map { ($_ => $outcomes{$_}) } grep { $outcomes{$_} } keys %outcomes }, { transferred => 6, answered => 8, 'no-route' => 1, duplicate => 2, unauthorized => 1, ignored => 3 }, 'outcomes')
    or diag($json->encode(\%outcomes));
is_deeply($status->{lookups}{crm}, { ok => 0, none => 0, error => 2, cached => 3 }, 'lookups') or diag($json->encode($status->{lookups}));
my %ended = map { ($_ => 0) } qw(connected completed no-answer busy voicemail failed cancelled unreported);
is_deeply($status->{routes}{'/direct'}, [{ label => 'direct', target => 'direct', taken => 4, ended => { %ended, 'no-answer' => 2, unreported => 2 } }], 'routes, and what became of it');
is_deeply([map { "$_->{label} $_->{target} $_->{taken}" } @{ $status->{routes}{'/twice'} }], ['one none 0', 'none none 0', 'two none 2', 'none none 1'], 'two sections of one path follow each other') or diag($json->encode($status->{routes}{'/twice'}));
is_deeply([grep { exists $status->{routes}{$_} } '/manage', '/console', '/'], [], 'a path without routes is left out');
my $sent = $status->{control};
is("$sent->{count} $sent->{connections}", '6 ' . $control->connections, 'control requests, and the connections they needed') or diag($json->encode($sent));
ok($sent->{p50_ms} > 0 && $sent->{p50_ms} <= $sent->{p90_ms} && $sent->{p90_ms} <= $sent->{p99_ms} && $sent->{p99_ms} < 10_000, 'their times') or diag($json->encode($sent));
is($status->{pools}{support}{strategy}, 'ordered', 'a strategy');
is_deeply([sort keys %{ member('alice') }], [qw(active capacity served state)], 'a member');
is_deeply($status->{state}, { provider => 'shm', ok => JSON::PP::true }, 'the store');
is($s->request('HEAD', '/manage/status')->{status}, 200, 'HEAD');
unlike($s->get('/manage/status')->{body}, qr/4155550|once|http/, 'nothing of a caller in it');
my $text = $s->get('/manage/status')->{body};
unlike($text, qr/\d\.\d{3}/, 'times have two digits behind the point at most');
$s->graceful;
is($s->get('/manage/status')->{json}{outcomes}{transferred}, 0, 'counted since the latest restart');
release_all();

$s->no_canary('4155550123', '4155550124', '4155550126', '4155550127', 'ann@pbx');
done_testing;

sub call { return 'verbs-' . ++$calls }

# What the model was told.
sub said {
    my ($call, $path, %o) = @_;
    my $got = $s->signed_post($path, vapi_tool_call(control => $control->url($call), args => {}, %o, call => $call));
    my $first = $got->{json}{results}[0];
    return $first->{result} // $first->{error};
}

# Who got the call; '-' where nobody did.
sub ask {
    my ($call, $path, @more) = @_;
    $control->clear;
    said($call, $path // '/pool', @more);
    my ($sent) = $control->transfers;
    my %name = ('+14155550121' => 'alice', '+14155550122' => 'bob', '+14155550133' => 'sam', '+14155550134' => 'sue');
    return $sent ? $name{ $sent->{destination}{number} } : '-';
}

sub takers { my ($count) = @_; return join ' ', map { ask(call()) } 1 .. $count }
sub member { my ($name) = @_; return $s->get('/manage/status')->{json}{pools}{support}{members}{$name} }
sub present { my ($name, $state) = @_; return $s->post("/manage/members/support/$name", $json->encode({ state => $state })) }
# Vapi's report of how the call's only transfer ended.
sub report { my ($call, $ending) = @_; return $s->signed_post('/direct', vapi_message('end-of-call-report', call => $call, artifact => { transfers => [{ status => $ending }] })) }
sub release_all { $s->post("/manage/release/verbs-$_", '{}') for 1 .. $calls; return }

# A request to the other virtual host.
sub other {
    my ($method, $path, $body) = @_;
    my $answer = speak($path, { Host => 'other.example.com' }, $body, $method);
    my ($got, $text) = $answer =~ /\AHTTP\/1\.1 (\d+) .*?\r\n\r\n(.*)\z/s;
    return { status => $got, json => scalar eval { $json->decode($text) } };
}

sub speak {
    my ($path, $headers, $body, $method) = @_;
    my %all = (Connection => 'close', defined $body ? ('Content-Type' => 'application/json', 'Content-Length' => length $body) : (), %$headers);
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 10) or die "no connection: $!";
    print $socket +($method // 'POST') . " $path HTTP/1.1\r\n", (map { "$_: $all{$_}\r\n" } sort keys %all), "\r\n", $body // '';
    local $/;
    return scalar <$socket>;
}

sub conf {
    my %tables = (
        '/pool' => ['VapiRoute pool:support'], '/direct' => ['VapiRoute direct'], '/wrapped' => ['VapiRoute pool:wrapping'], '/sticky' => ['VapiRoute pool:stickers'],
        '/looking' => [q(VapiRoute none "lookup('crm') == 'ok'" result="%{lookup:crm.tier}"), q(VapiRoute none result="%{lookup:crm}")],
    );
    my $base = $crm->base;
    my $conf = <<"END";
VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only
VapiDestination direct +14155550111
VapiLookup crm url="$base/c/%{VAPI_CALLER}" timeout=30 cache=3600
<VapiPool support strategy=ordered lease=600>
    VapiMember alice +14155550121
    VapiMember bob +14155550122
</VapiPool>
<VapiPool front>
    VapiMember alice
</VapiPool>
<VapiPool team>
    VapiMember status +14155550130
    VapiMember forget +14155550131
    VapiMember explain +14155550132
</VapiPool>
<VapiPool stickers strategy=ordered sticky=600>
    VapiMember sam +14155550133
    VapiMember sue +14155550134
</VapiPool>
<VapiPool wrapping wrap-up=1>
    VapiMember wanda +14155550135
</VapiPool>
VapiControlAllowPrivate on
VapiSettle 0
END
    $conf .= 'VapiControlHosts ' . $control->base . "\n";
    for my $path (sort keys %tables) {
        $conf .= "<Location \"$path\">\nSetHandler vapi-transfer\nVapiAuthenticate test\n" . join('', map { "$_\n" } @{ $tables{$path} }) . "</Location>\n";
    }
    return $conf . <<'END';
<Location "/twice">
    SetHandler vapi-transfer
    VapiAuthenticate test
    VapiRoute none "arg('way') == 'one'" name=one
    VapiRoute none
</Location>
<Location "/console">
    SetHandler vapi-console
</Location>
<Location "/read">
    SetHandler vapi-console
    VapiConsole read
    Require all granted
</Location>
<Location "/manage">
    SetHandler vapi-console
    VapiConsole manage
    Require all granted
</Location>
<Location "/login">
    SetHandler vapi-console
    VapiConsole manage
    AuthType Basic
    AuthName console
    AuthUserFile @DIR@/users
    Require valid-user
</Location>
<VirtualHost *:@PORT@>
    ServerName localhost:@PORT@
    <Location "/twice">
        VapiRoute none "arg('way') == 'two'" name=two
        VapiRoute none
    </Location>
</VirtualHost>
<VirtualHost *:@PORT@>
    ServerName other.example.com
    VapiLookup own url="http://127.0.0.1:9/x"
    <VapiPool other>
        VapiMember olga +14155550140
    </VapiPool>
    <Location "/there">
        SetHandler vapi-transfer
        VapiAuthenticate test
        VapiRoute direct
    </Location>
</VirtualHost>
END
}
