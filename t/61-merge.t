# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What is in force where: virtual hosts inherit named objects and may override them, sections override values and replace lists.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP ();
use VapiTest;

my $control = VapiControl->new(paths => { map { ("/crm/$_" => { body => qq({"who":"crm of the $_"}) }) } qw(server host) });
my %maps = ('region.map' => "+1 server\n", 'offices.map' => "+1 front\n", 'host-region.map' => "+1 host\n", 'host-offices.map' => "+1 billing\n");
my $s = VapiTest->new(modules => ['headers'], files => { %maps, map { ("$_.secret" => ["$_-secret\n", 0600]) } qw(one two) });
my $conf = <<'END';
VapiCredential  test hmac secret=file:@DIR@/vapi.secret preset=body-only
VapiCredential  other hmac secret=file:@DIR@/one.secret preset=body-only
VapiTransferPlan brief warm-transfer-say-message message="of the server"
VapiDestination front   +14155550100 plan=brief
VapiDestination billing +14155550101
VapiDestination asked   "%{arg:number}" from-caller=on
VapiAllow +1415
VapiAuthenticate test
VapiTool transferCall
VapiRoute billing "arg('go') == 'billing'"
VapiRoute asked "arg('go') == 'asked'"
VapiRoute front
VapiBodyLimit 100000
VapiLogNumbers none
VapiSettle 0
VapiLimit outbound=4
VapiHours  clock UTC 00:00-24:00
VapiMap    region  @DIR@/region.map prefix
VapiMap    offices @DIR@/offices.map prefix
VapiSignal words bill
VapiSignal words question weight=2
VapiLookup crm url="CRM/crm/server"
VapiSet    who "set of the server"
VapiSet    more "more than the %{var:who}"
VapiAction note  answered file=@DIR@/notes/server-note
VapiAction other answered file=@DIR@/notes/server-other
CONTROL
<Location "/knows">
    SetHandler vapi-transfer
    VapiRoute none result="%{hours:clock}, %{map:region}, %{signal:words}, %{lookup:crm.who}, %{var:who}, %{var:more}"
</Location>
<Location "/knows/inner">
    VapiSet who "inner set" "arg('go') != 'nowhere'"
    VapiAction note answered file=@DIR@/notes/inner-note
    VapiSet only "in there"
</Location>
<Location "/knows/inner/most">
    VapiRoute none result="%{var:only}, %{var:who}"
</Location>
<Location "/mapped">
    SetHandler vapi-transfer
    VapiRoute map:offices
    VapiRoute none
</Location>
<Location "/unmerged">
    SetHandler vapi-transfer
</Location>
<Location "/routes">
    SetHandler vapi-transfer
    VapiRoute front say="of the section" result="of the section"
</Location>
<Location "/routes/inner">
    VapiLogNumbers masked
    VapiBodyLimit 6000
</Location>
<Location "/routes/inner/none">
    VapiRoute none result="of the inner section"
    VapiBodyLimit 1048576
</Location>
<Location "/tools">
    SetHandler vapi-transfer
    VapiTool another
    VapiParam go string required
</Location>
<Location "/who">
    SetHandler vapi-transfer
    VapiAuthenticate other
</Location>
<Location "/hosts">
    SetHandler vapi-transfer
    VapiControlHosts *.vapi.ai
</Location>
<Location "/limit">
    SetHandler vapi-transfer
    VapiLimit call=1
</Location>
<Location "/limit/more">
    VapiLimit caller=100/60
</Location>
<Directory "@DIR@/htdocs">
    AllowOverride All
</Directory>
<VirtualHost *:@PORT@>
    ServerName main.example.com
    DocumentRoot "@DIR@/htdocs"
</VirtualHost>
<VirtualHost *:@PORT@>
    ServerName inherits.example.com
    <Location "/vapi">
        SetHandler vapi-transfer
    </Location>
</VirtualHost>
<VirtualHost *:@PORT@>
    ServerName overrides.example.com
    VapiCredential  test hmac secret=file:@DIR@/two.secret preset=body-only
    VapiTransferPlan brief warm-transfer-say-message message="of the virtual host"
    VapiDestination billing +14155550201
    VapiAllow +44
    VapiLogNumbers full
    VapiHours  clock UTC open="2000-01-01 00:00-01:00"
    VapiMap    region  @DIR@/host-region.map exact default=otherwise
    VapiMap    offices @DIR@/host-offices.map prefix
    VapiSignal words invoice|question weight=5
    VapiLookup crm url="CRM/crm/host"
    VapiSet    who "set of the host"
    VapiAction note answered file=@DIR@/notes/host-note
    <Location "/vapi">
        SetHandler vapi-transfer
    </Location>
    <Location "/vapi/own">
        VapiRoute billing say="of its section"
        VapiLogNumbers masked
    </Location>
</VirtualHost>
<VirtualHost *:@PORT@>
    ServerName replaces.example.com
    VapiRoute none result="of the virtual host"
    VapiAuthenticate none
    <Location "/vapi">
        SetHandler vapi-transfer
    </Location>
</VirtualHost>
END
$conf =~ s/^CONTROL$/$control->conf/me;
$conf =~ s/CRM/$control->base/ge;
mkdir $s->dir . "/$_" for qw(htdocs notes);
mkdir $s->dir . "/htdocs/$_" for qw(override plain);
$s->write_file("htdocs/override/.htaccess", "VapiRoute none\n");
chmod 0755, $s->dir, map { $s->dir . "/htdocs$_" } '', '/override', '/plain';
$s->set_conf($conf);
$s->allow_log(qr/VapiAuthenticate: none: whoever/, qr/VapiLogNumbers: full/, qr/there is no VapiSpool/, qr/outcome=(?:unauthorized|no-route|limited|failed|malformed)/, qr/never reached/);
$s->start;

my $count = 0;

# Sends a tool call to a path of a virtual host: its reply, and what the control API was told.
sub ask {
    my ($host, $path, %o) = @_;
    $control->clear;
    my $call = $o{call} // 'call-' . ++$count;
    my $body = vapi_tool_call(call => $call, control => $control->url($call), args => { go => $o{go} // '', number => $o{number} // '' }, name => $o{name}, pad => $o{pad});
    my $reply = to_host($host, 'POST', $path, content => $body, headers => { 'content-type' => 'application/json', %{ $s->signed($body, secret => $o{secret}) } });
    my $answer = (eval { JSON::PP::decode_json($reply->{content}) } || {})->{results}[0] || {};
    my ($told) = $control->transfers;
    return {
        status => $reply->{status}, answer => $answer->{result} // $answer->{error}, number => $told->{destination}{number}, message => $told->{destination}{transferPlan}{message}, content => $told->{content}, call => $call,
    };
}

# A request to a virtual host: { status, content }
sub to_host {
    my ($host, $method, $path, %o) = @_;
    return HTTP::Tiny->new(timeout => 30, keep_alive => 0, proxy => undef, http_proxy => undef)->request($method, "http://$host.example.com:" . $s->port . $path, { peer => '127.0.0.1', %o });
}

# virtual host, path, what is asked, what comes of it
my $done = 'The call is being transferred.';
my @asked = (
    ['what stands in the server holds in a section', 'main', '/unmerged', {}, { status => 200, answer => $done, number => '+14155550100', message => 'of the server' }],
    ['another route of the server', 'main', '/unmerged', { go => 'billing' }, { number => '+14155550101' }],
    ['VapiAllow of the server', 'main', '/unmerged', { go => 'asked', number => '+14155550999' }, { number => '+14155550999' }],
    ['which refuses others', 'main', '/unmerged', { go => 'asked', number => '+442079460000' }, { number => '+14155550100' }],
    ['a table replaces the outer one', 'main', '/routes', { go => 'billing' }, { number => '+14155550100', content => 'of the section', answer => 'of the section' }],
    ['a section inside inherits the table', 'main', '/routes/inner', { go => 'billing' }, { number => '+14155550100', answer => 'of the section' }],
    ['and overrides a value', 'main', '/routes/inner', { pad => 4000 }, { status => 413, number => undef }],
    ['a third section replaces the table again', 'main', '/routes/inner/none', { go => 'billing' }, { number => undef, answer => 'of the inner section' }],
    ['and the value', 'main', '/routes/inner/none', { pad => 120_000 }, { status => 200 }],
    ['the value of the server', 'main', '/unmerged', { pad => 120_000 }, { status => 413 }],
    ['tools replace the outer ones', 'main', '/tools', {}, { number => undef, answer => 'unknown tool' }],
    ['the new one', 'main', '/tools', { name => 'another', go => 'billing' }, { number => '+14155550101' }],
    ['with its parameters', 'main', '/tools', { name => 'another' }, { number => undef, answer => "The argument 'go' is missing." }],
    ['the tool of the server', 'main', '/unmerged', { name => 'another' }, { number => undef, answer => 'unknown tool' }],
    ['VapiAuthenticate replaces the outer one', 'main', '/who', {}, { status => 401 }],
    ['by the new one', 'main', '/who', { secret => 'one-secret' }, { status => 200 }],
    ['VapiControlHosts replaces the outer list', 'main', '/hosts', {}, { number => undef, answer => 'The call cannot be transferred: its control URL is not allowed.' }],
    ['a virtual host inherits everything', 'inherits', '/vapi', { go => 'billing' }, { number => '+14155550101' }],
    ['its secret too', 'inherits', '/vapi', { secret => 'two-secret' }, { status => 401 }],
    ['and sections of the server', 'inherits', '/routes', {}, { content => 'of the section' }],
    ['a virtual host overrides a credential by its name', 'overrides', '/vapi', {}, { status => 401 }],
    ['with its own', 'overrides', '/vapi', { secret => 'two-secret' }, { status => 200 }],
    ['a destination by its name', 'overrides', '/vapi', { secret => 'two-secret', go => 'billing' }, { number => '+14155550201' }],
    ['a plan by its name, for an inherited destination', 'overrides', '/vapi', { secret => 'two-secret' }, { number => '+14155550100', message => 'of the virtual host' }],
    ['VapiAllow as a whole', 'overrides', '/vapi', { secret => 'two-secret', go => 'asked', number => '+442079460000' }, { number => '+442079460000' }],
    ['so that the outer one holds no more', 'overrides', '/vapi', { secret => 'two-secret', go => 'asked', number => '+14155550999' }, { number => '+14155550100' }],
    ['its section', 'overrides', '/vapi/own', { secret => 'two-secret' }, { number => '+14155550201', content => 'of its section' }],
    ['its objects in sections of the server', 'overrides', '/unmerged', { secret => 'two-secret', go => 'billing' }, { number => '+14155550201' }],
    ['a virtual host replaces table and credentials', 'replaces', '/vapi', { secret => 'whatever' }, { status => 200, number => undef, answer => 'of the virtual host' }],
    ['named objects of the server', 'main', '/knows', {}, { answer => 'open, server, 3, crm of the server, set of the server, more than the set of the server' }],
    ['a virtual host inherits them', 'inherits', '/knows', {}, { answer => 'open, server, 3, crm of the server, set of the server, more than the set of the server' }],
    ['a virtual host overrides hours, maps, signals, lookups and sets by their names', 'overrides', '/knows', { secret => 'two-secret' }, { answer => 'closed, otherwise, 5, crm of the host, set of the host, more than the set of the host' }],
    ['a section replaces a set of its name', 'main', '/knows/inner', {}, { answer => 'open, server, 3, crm of the server, inner set, more than the inner set' }],
    ['with all of its lines', 'main', '/knows/inner', { go => 'nowhere' }, { answer => 'open, server, 3, crm of the server, , more than the' }],
    ['a section inside it has its sets', 'main', '/knows/inner/most', {}, { answer => 'in there, inner set' }],
    ['also of a virtual host', 'overrides', '/knows/inner', { secret => 'two-secret' }, { answer => 'closed, otherwise, 5, crm of the host, inner set, more than the inner set' }],
    ['a route by a map', 'main', '/mapped', {}, { number => '+14155550100' }],
    ['by the map of a virtual host', 'overrides', '/mapped', { secret => 'two-secret' }, { number => '+14155550201' }],
    ['sections of the server keep their table there', 'replaces', '/routes', { secret => 'whatever' }, { content => 'of the section' }],
);
for (@asked) {
    my ($name, $host, $path, $question, $expected) = @$_;
    my $got = ask($host, $path, %$question);
    is_deeply({ map { ($_ => $got->{$_}) } keys %$expected }, $expected, $name);
}

# A VapiLimit replaces the outer one as a whole: call= is 10 again.
my $call = ask('main', '/limit')->{call};
is($control->transfers, 1, 'VapiLimit call=1: one');
ask('main', '/limit', call => $call);
is($control->transfers, 0, 'and no more');
ask('main', '/limit/more', call => $call);
is($control->transfers, 1, 'VapiLimit caller=: the inner one, whole');

# Actions, by their names: which files were written by one call each, as soon as the two lines of each call from before are there.
my $noted = sub { my $lines = 0; $lines += () = slurp($_) =~ /\n/g for glob $s->dir . '/notes/*'; return $lines };
my $none = grep { $_->[2] =~ m{^/knows|/none\z} || "$_->[1]$_->[2]" eq 'replaces/vapi' } @asked;
ok(wait_until(sub { $noted->() == 2 * $none }, 20), "two actions for each of the $none calls that a `none` route answered") or diag($noted->());
for (['main', '/knows', 'server-note server-other'], ['inherits', '/knows', 'server-note server-other'], ['overrides', '/knows', 'host-note server-other'], ['main', '/knows/inner', 'inner-note server-other'], ['overrides', '/knows/inner', 'inner-note server-other']) {
    my ($host, $path, $expected) = @$_;
    truncate $_, 0 for glob $s->dir . '/notes/*';
    ask($host, $path, secret => $host eq 'overrides' ? 'two-secret' : undef);
    my $written = sub { join ' ', map { m{([^/]+)$} } sort grep { -s } glob $s->dir . '/notes/*' };
    wait_until(sub { $written->() eq $expected }, 20);
    is($written->(), $expected, "actions at $host$path");
}

# How numbers are shown.
for (['main', '/unmerged', {}, 'caller=- to=-'], ['main', '/routes/inner', {}, 'caller=***0123 to=***0100'], ['overrides', '/vapi', { secret => 'two-secret' }, 'caller=+14155550123 to=+14155550100'],
    ['overrides', '/vapi/own', { secret => 'two-secret' }, 'caller=***0123 to=***0201'], ['inherits', '/vapi', {}, 'caller=- to=-']) {
    my ($host, $path, $question, $shown) = @$_;
    my $got = ask($host, $path, %$question);
    $s->log_like(qr/call=$got->{call} .*\Q$shown\E/, "VapiLogNumbers at $host$path: $shown");
}

# One call id in two virtual hosts is two calls.
my @numbers = map { ask($_, '/unmerged', call => 'shared', secret => $_ eq 'overrides' ? 'two-secret' : undef)->{number} } qw(main overrides);
is("@numbers", '+14155550100 +14155550100', 'virtual hosts do not take calls of each other for duplicates');

# .htaccess
is(to_host('main', 'GET', '/override/')->{status}, 500, 'VapiRoute in .htaccess: the request fails');
$s->log_like(qr/\.htaccess: VapiRoute not allowed (?:here|in)/, 'and the log says why');
isnt(to_host('main', 'GET', '/plain/')->{status}, 500, 'without it: not');

# The main server alone, without a virtual host: nothing is merged.
my $alone = VapiTest->new(conf => "VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\nVapiDestination front +14155550100\nSetHandler vapi-transfer\nVapiAuthenticate test\nVapiRoute front\n" . $control->conf)->start;
$control->clear;
is($alone->signed_post('/', vapi_tool_call(control => $control->url('alone')))->{status}, 200, 'an endpoint of the server itself');
is(scalar $control->transfers, 1, 'transfers');
done_testing;
