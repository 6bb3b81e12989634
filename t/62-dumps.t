# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What was understood: `-t -D DUMP_VAPI` for people, `-t -D DUMP_VAPI_TOOL` for Vapi's API.
use strict;
use warnings;
use IO::Socket::SSL::Utils qw(KEY_create_rsa PEM_key2string);
use JSON::PP ();
use VapiSchema;
use VapiTest;

my $hosts = <<'END';
VapiState shm:2M file=none
VapiDecrypt @DIR@/vapi.key ssn payment.cardNumber
VapiSpool @DIR@/spool sync=on
VapiHours office America/New_York Mon-Fri 09:00-17:30 closed=12-25,2026-11-26 closed=01-01 open="2026-12-24 09:00-12:00" closed-file=@DIR@/closed.txt
VapiHours local map:zones "10:00-12:00"
VapiMap zones @DIR@/zones.map prefix default=UTC
VapiMap region @DIR@/region.map exact default="the rest"
VapiSignal anger "\bangry\b|\"quoted\"" weight=3
VapiSignal anger lawyer
VapiLookup crm url="https://me:canary-of-a-user@crm.example.com/%{VAPI_CALLER}" header="X-Api-Key: canary-of-a-key" header="X-Name: %{VAPI_CALL}" secret-header="X-Other: env:VAPI_T" timeout=500ms cache=60 on-error=skip-route
VapiLookup erp url="https://erp.example.com/" bearer=file:@DIR@/vapi.secret method=POST body=@DIR@/body.json
VapiSet level critical "arg('urgent') == 'true'"
VapiSet level "%{lookup:crm.level}"
VapiSet kept "of the server"
VapiAction ticket before-transfer required url="https://erp.example.com/tickets" bearer=env:VAPI_T route=first,front "when=var('level') == 'critical'"
VapiAction note end-of-call file=@DIR@/notes
VapiCredential prod hmac secret=file:@DIR@/vapi.secret secret=file:@DIR@/vapi.secret preset=body-only
VapiCredential inline bearer secret=file:@DIR@/vapi.secret header=X-Vapi-Secret prefix=none
VapiTransferPlan brief warm-transfer-say-summary summary="Two sentences." summary-timeout=5
VapiDestination front +14155550199
VapiDestination billing +14155550100 say="Connecting \"you\"." plan=brief
VapiAllow +1415 !+1415976
VapiAuthenticate prod
<VirtualHost *:443>
    ServerName https://voice.example.com
    VapiDestination front +14155550777
    VapiHours office UTC 00:00-24:00
    VapiMap region @DIR@/zones.map prefix
    VapiSignal anger calm weight=-2
    VapiLookup crm url="https://voice-crm.example.com/"
    <Location "/vapi/transfer">
        SetHandler vapi-transfer
        VapiAuthenticate inline apache
        VapiControlToken file:@DIR@/vapi.secret
        VapiApiKey file:@DIR@/vapi.secret
        VapiTool transferCall "Transfers the caller, \"gently\"."
        VapiParam department string required "What the call is about" enum=billing,support
        VapiParam floor integer
        VapiParam price number
        VapiParam urgent boolean required
        VapiParam callback phone
        VapiRoute billing "arg('department') == 'billing'" plan=brief say="Hello" name=first
        VapiRoute none "arg('urgent') == 'false'" result="Later."
        VapiRoute front
        VapiRoute front "arg('floor') == '2'"
        VapiLimit call=3 caller=5/1h
        VapiLimit outbound=7
        VapiControlHosts *.vapi.ai control.example.com:8443
        VapiBudget 30
        VapiSettle 500ms
        VapiControlProxy http://proxy.example.com:3128
        VapiSet level "of the section"
        VapiAction note answered file=@DIR@/other-notes
    </Location>
</VirtualHost>
<VirtualHost *:8443>
    ServerName https://other.example.com:8443
    <Location "/two">
        SetHandler vapi-transfer
        VapiTool escalate
        VapiTool call_back "Calls back"
        VapiRoute front
        VapiBudget 5min
    </Location>
</VirtualHost>
<VirtualHost *:80>
    ServerName plain.example.com:80
    <Location "/plain">
        SetHandler vapi-transfer
        VapiRoute front
    </Location>
</VirtualHost>
END

my $rsa = PEM_key2string(KEY_create_rsa(2048));
my ($key) = grep { !/^-/ } split /\n/, $rsa;
my %with = (
    modules => ['watchdog'], environment => { VAPI_T => 'canary-of-the-environment' },
    files => { 'vapi.key' => [$rsa, 0600], 'closed.txt' => "12-26\n", 'zones.map' => "+1 America/New_York\n+49 Europe/Berlin\n", 'region.map' => "+1 canary-of-a-map\n", 'body.json' => '{"x":"canary-of-a-body %{arg:x}"}' },
);
my ($code, $text, $said) = configtest($hosts, %with, defines => ['DUMP_VAPI']);
is($code, 0, 'DUMP_VAPI: exit code');
my %part = split_hosts($text);
is_deeply([sort keys %part], [qw(localhost other.example.com plain.example.com voice.example.com)], 'every virtual host is there');
my %expected = (
    localhost => [
        'VapiCredential inline bearer secret=set header=X-Vapi-Secret prefix=none', 'VapiCredential prod hmac secret=set secret=set preset=body-only algorithm=sha256 header=x-vapi-signature timestamp-header=none payload={body}',
        'VapiTransferPlan brief warm-transfer-say-summary summary="Two sentences." summary-timeout=5', 'VapiDestination front +14155550199', 'VapiDestination billing +14155550100 say="Connecting \"you\"." plan=brief',
        'VapiAllow +1415 !+1415976',
        'VapiHours office America/New_York "Mon-Fri 09:00-17:30" closed=12-25,2026-11-26 closed=01-01 open="2026-12-24 09:00-12:00" closed-file=', 'VapiHours local map:zones "10:00-12:00"', 'VapiMap zones prefix default=UTC (2 entries)',
        'VapiMap region exact default="the rest" (1 entries)', q{VapiSignal anger "\\\\bangry\\\\b|\"quoted\"" weight=3 "lawyer" weight=1}, 'VapiLookup crm url=https://set@crm.example.com/%{VAPI_CALLER} header="X-Api-Key: set" header="X-Name: %{VAPI_CALL}"',
        'secret-header="X-Other: set"', 'cache=60 on-error=skip-route', 'VapiLookup erp url=https://erp.example.com/ bearer=set method=POST body=',
    ],
    'voice.example.com' => [
        'VapiDestination front +14155550777', 'VapiDestination billing +14155550100', 'endpoint /vapi/transfer', 'VapiAuthenticate apache inline', 'VapiTool transferCall', 'VapiParam department string required enum=billing,support',
        q{1. first -> billing when arg('department') == 'billing' plan=brief say=...}, q{2. none -> none when arg('urgent') == 'false'}, '3. front -> front (', q{4. front#2 -> front when arg('floor') == '2'},
        'VapiHours office UTC "00:00-24:00"', 'VapiHours local map:zones', 'VapiMap region prefix (2 entries)', 'VapiSignal anger "calm" weight=-2', 'VapiLookup crm url=https://voice-crm.example.com/', 'VapiLookup erp ', 'VapiSet level "of the section"', 'VapiSet kept "of the server"',
        'VapiAction ticket before-transfer required route=first,front when="var(\'level\') == \'critical\'" url=https://erp.example.com/tickets bearer=set', 'VapiAction note answered file=',
        'VapiControlHosts *.vapi.ai control.example.com:8443', 'VapiBudget 30 ', 'VapiSettle 500ms ', 'VapiLimit call=3 caller=5/3600 outbound=7', 'VapiControlToken set', 'VapiApiKey set', 'VapiControlProxy set',
    ],
    'other.example.com' => [q{VapiSet level "critical" "arg('urgent') == 'true'"}, 'VapiSet level "%{lookup:crm.level}"', 'VapiAction note end-of-call file=', 'VapiDestination front +14155550199', 'endpoint /two', 'VapiAuthenticate prod', 'VapiTool escalate', 'VapiTool call_back', 'VapiBudget 300 '],
    'plain.example.com' => [
        'endpoint /plain', 'VapiAuthenticate prod', '1. front -> front (', 'VapiControlHosts *.vapi.ai', 'VapiBudget 8 ', 'VapiSettle 15 ', 'VapiControlTimeout 5 ', 'VapiControlConnectTimeout 2 ', 'VapiBodyLimit 10485760', 'VapiLimit call=10',
        'VapiLogNumbers masked',
    ],
);
for my $host (sort keys %expected) {
    is(join("\n", grep { index($part{$host}, $_) < 0 } @{ $expected{$host} }), '', "$host: what is in force there is shown") or diag($part{$host});
}
unlike($part{'plain.example.com'}, qr/VapiTool|VapiControlToken|VapiApiKey|\/two|\/vapi\/transfer/, 'and nothing of another');
like($text, qr/^state: shm$/m, 'the state store');
like($text, qr/^VapiDecrypt \(key set\) ssn payment\.cardNumber$/m, 'what is opened, and no key');
like($text, qr/^VapiSpool \S+\/spool sync=on$/m, 'the spool');
unlike($part{'voice.example.com'}, qr/America\/New_York|lawyer|set\@crm|end-of-call|"critical"\s*"arg/, 'what a virtual host or section overrides is not shown there');
like($text, qr/endpoint \/plain \(\S+httpd\.conf:\d+\)/, 'with file and line');
unlike("$text$said", qr/the-secret-that-nobody|canary-of-|\Q$key\E/, 'secrets are `set`');
is((configtest($hosts, %with, defines => ['DUMP_VAPI']))[1] =~ s/localhost:\d+//gr =~ s/:\d+//gr, $text =~ s/localhost:\d+//gr =~ s/:\d+//gr, 'twice the same');

# ---- DUMP_VAPI_TOOL

($code, $text) = configtest($hosts, %with, defines => ['DUMP_VAPI_TOOL']);
is($code, 0, 'DUMP_VAPI_TOOL: exit code');
my $json = JSON::PP->new->canonical->utf8;
my $tools = $json->decode($text);
is(ref $tools, 'ARRAY', 'several tools: an array');
my ($first, @others) = @$tools;
is_deeply([map { $_->{function}{name} } @$tools], [qw(transferCall escalate call_back)], 'in the order of the configuration');
is_deeply([map { $_->{server}{url} } @$tools], ['https://voice.example.com/vapi/transfer', ('https://other.example.com:8443/two') x 2], 'with the URL of each');
is_deeply(
    $first,
    {
        type => 'function', async => JSON::PP::false, server => { url => 'https://voice.example.com/vapi/transfer', timeoutSeconds => 40 },
        function => {
            name => 'transferCall', description => 'Transfers the caller, "gently".',
            parameters => {
                type => 'object', required => [qw(department urgent)],
                properties => {
                    department => { type => 'string', description => 'What the call is about', enum => [qw(billing support)] }, floor => { type => 'integer' }, price => { type => 'number' }, urgent => { type => 'boolean' },
                    callback => { type => 'string', description => $first->{function}{parameters}{properties}{callback}{description} },
                },
            },
        },
    },
    'the whole of one',
);
like($first->{function}{parameters}{properties}{callback}{description}, qr/\+1/, 'a phone number is described');
for my $tool (@$tools) {
    is(join("\n", schema_errors('CreateFunctionToolDTO', $json->encode($tool))), '', "$tool->{function}{name}: Vapi's API takes it");
    my $properties = $tool->{function}{parameters}{properties};
    is(join("\n", map { schema_errors('JsonSchema', $json->encode($properties->{$_})) } sort keys %$properties), '', "$tool->{function}{name}: and its parameters");
}

my $one = "VapiTool transferCall\nVapiDestination front +14155550199\nVapiRoute front\n";
($code, $text, $said) = configtest("ServerName https://one.example.com\n" . endpoint_conf(undef, $one), defines => ['DUMP_VAPI_TOOL']);
is("$code\n$said", "0\nSyntax OK\n", 'one tool: nothing but "Syntax OK" beside it');
my $tool = $json->decode($text);
is(ref $tool, 'HASH', 'one tool: an object');
is(join("\n", schema_errors('CreateFunctionToolDTO', $text)), '', "which Vapi's API takes");
is($tool->{server}{url}, 'https://one.example.com/vapi/transfer', 'with its URL');
is($tool->{server}{timeoutSeconds}, 20, 'and its time');
is_deeply($tool->{function}{parameters}, { type => 'object', properties => {}, required => [] }, 'and no parameters');

# A tool outside sections is that of each <Location> with the handler and without a tool of its own.
my $sections = join '', map { "<Location \"$_->[0]\">\nSetHandler $_->[1]\n$_->[2]</Location>\n" } ['/a', 'vapi-transfer', ''], ['/b', '"vapi-transfer"', "VapiTool own\n"], ['/c', 'server-status', ''];
for my $case (
    ["ServerName https://one.example.com\nVapiAuthenticate none\n$one$sections", 'own https://one.example.com/b, transferCall https://one.example.com/a', 'the server'],
    ["VapiAuthenticate none\n$one<VirtualHost *:443>\nServerName https://two.example.com\n$sections</VirtualHost>\n", 'own https://two.example.com/b, transferCall https://two.example.com/a', 'the server, for a virtual host'],
    ["<VirtualHost *:443>\nServerName https://two.example.com\nVapiAuthenticate none\n$one$sections</VirtualHost>\n", 'own https://two.example.com/b, transferCall https://two.example.com/a', 'a virtual host'],
    ["ServerName https://one.example.com\nVapiAuthenticate none\n${one}SetHandler vapi-transfer\n", 'transferCall https://one.example.com/', 'the server, with the handler'],
) {
    my ($conf, $expected, $name) = @$case;
    my $shown = $json->decode((configtest($conf, defines => ['DUMP_VAPI_TOOL']))[1]);
    is(join(', ', sort map { "$_->{function}{name} $_->{server}{url}" } ref $shown eq 'ARRAY' ? @$shown : $shown), $expected, "a tool of $name: where it is answered");
}

for my $dump (qw(DUMP_VAPI DUMP_VAPI_TOOL)) {
    ($code, $text) = configtest(endpoint_conf(undef, $one, "VapiRoute nobody\n"), defines => [$dump]);
    is("$code $text", '1 ', "$dump of a wrong configuration: exit code 1, and nothing on standard output");
    ($code, $text) = configtest("VapiBudget x\n", defines => [$dump]);
    is("$code $text", '1 ', "$dump of a wrong line: the same");
}
($code, $text) = configtest(endpoint_conf(undef, "VapiRoute none\n"), defines => ['DUMP_VAPI_TOOL']);
is("$code " . $json->encode($json->decode($text)), '0 []', 'no tool: an empty array');
done_testing;

# { name of a virtual host => its part of the dump }
sub split_hosts {
    my ($dump) = @_;
    return map { /^(?:server|virtual host) ([^: ]+)/ ? ($1 => $_) : () } split /^(?=server |virtual host )/m, $dump;
}
