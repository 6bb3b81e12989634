# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Pools in a configuration: what virtual hosts inherit and have for themselves, who is the same person where, lines that a condition or a
# file brings, and what a dump shows of it all. What is refused is in t/60; what happens to calls in t/37.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP ();
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my %number = map { ($_ => sprintf '+1415555%04d', 100 + ord($_) - ord 'a') } 'a' .. 'f';

# ---- what a dump shows

my $hosts = <<'END';
VapiTransferPlan brief blind-transfer
VapiDestination desk sip:desk@pbx.example.com plan=brief
<VapiPool support strategy=weighted lease=15min wrap-up=30>
    VapiMember alice +14155550121 capacity=2 weight=3 skills=billing,es:2 label="Alice \"B\"" say="Connecting you to Alice."
    Include @DIR@/more.conf
    <IfDefine !NEVER>
        VapiMember carol assistant:Carol
    </IfDefine>
    <IfModule no_such_module>
        VapiMember dave +14155550124
    </IfModule>
</VapiPool>
<VapiPool sales>
    VapiMember alice label=Ally
    VapiMember bob
</VapiPool>
VapiAuthenticate none
<VirtualHost *:443>
    ServerName inherits.example.com
    <Location "/vapi">
        SetHandler vapi-transfer
        VapiRoute pool:support "pool('support.free') -gt 0" skills="%{arg:language}" leave=2
        VapiRoute none
    </Location>
</VirtualHost>
<VirtualHost *:443>
    ServerName overrides.example.com
    VapiDestination desk sip:other-desk@pbx.example.com
    <VapiPool sales sticky=60>
        VapiMember bob desk capacity=4
        VapiMember erin +14155550125
        VapiMember alice
    </VapiPool>
    <VapiPool own strategy=ordered>
        VapiMember erin
        VapiMember carol assistant:Karla
    </VapiPool>
    <Location "/vapi">
        SetHandler vapi-transfer
        VapiRoute pool:own
        VapiRoute none
    </Location>
</VirtualHost>
END
my %with = (files => { 'more.conf' => "VapiMember bob desk label=Bob\n<IfDefine NEVER>\nVapiMember frank nobody\n</IfDefine>\n" });
my ($code, $text, $said) = configtest($hosts, %with, defines => ['DUMP_VAPI']);
is($code, 0, 'DUMP_VAPI: exit code') or diag($said);
my %part = map { /^(?:server|virtual host) ([^: ]+)/ ? ($1 => $_) : () } split /^(?=server |virtual host )/m, $text;
my $of_server = <<'END';
  VapiPool sales strategy=least-busy
    VapiMember alice +14155550121 capacity=2 skills=billing,es:2 label=Ally say="Connecting you to Alice."
    VapiMember bob desk capacity=1 label=Bob plan=brief
  VapiPool support strategy=weighted lease=15min wrap-up=30
    VapiMember alice +14155550121 capacity=2 weight=3 skills=billing,es:2 label="Alice \"B\"" say="Connecting you to Alice."
    VapiMember bob desk capacity=1 weight=1 label=Bob plan=brief
    VapiMember carol assistant:Carol capacity=1 weight=1
END
chomp(my ($of_support) = $of_server =~ /(^  VapiPool support.*)/ms);
is(pools($part{localhost}), $of_server, 'the pools of the server: in order of their names, members in that of their lines');
is(pools($part{'inherits.example.com'}), $of_server, 'a virtual host inherits them');
is(pools($part{'overrides.example.com'}), <<"END", 'and may have others under a name');
  VapiPool own strategy=ordered
    VapiMember erin +14155550125 capacity=1
    VapiMember carol assistant:Karla capacity=1
  VapiPool sales strategy=least-busy sticky=60
    VapiMember bob desk capacity=4
    VapiMember erin +14155550125 capacity=1
    VapiMember alice +14155550121 capacity=2 skills=billing,es:2 label="Alice \\"B\\"" say="Connecting you to Alice."
$of_support
END
like($part{'inherits.example.com'}, qr/^    1\. pool:support -> pool:support when \S.* skills=%\{arg:language\} leave=2 \(/m, 'a route with what it asks of a member');

# A line that an error names, in a file that a pool includes.
($code, undef, $said) = configtest("<VapiPool support>\nInclude \@DIR\@/more.conf\n</VapiPool>\n", files => { 'more.conf' => "VapiMember alice +14155550121\nVapiMember bob biling\n" });
like("$code $said", qr{\A1 .*more\.conf:2: VapiMember bob: there is no VapiDestination 'biling'}s, 'an included line that is wrong: file and line');
($code, undef, $said) = configtest("<VapiPool support>\nInclude \@DIR\@/more.conf\n</VapiPool>\n", files => { 'more.conf' => "VapiMember alice +14155550121\nVapiMember bob 12\n" });
like("$code $said", qr{\A1 .*line 2 of DIR/more\.conf:\s+VapiMember: '12' is not a number}s, 'likewise while it is read');

# ---- nodes of a cluster

my $endpoint = "VapiAuthenticate none\n<VirtualHost *:\@PORT\@>\nNAME<Location \"/vapi\">\nSetHandler vapi-transfer\nVapiRoute none\n</Location>\n</VirtualHost>\n";
my $redis = VapiHttpd::module_file() =~ s{transfer\.so\z}{state_redis.so}r;
my @stores = ('', -e $redis ? "LoadModule vapi_state_redis_module $redis\nVapiState redis://127.0.0.1:1\n" : ());
for my $store (@stores) {
    my @warned = map { (configtest($store . $endpoint =~ s/NAME/$_/r))[2] =~ /httpd\.conf:\d+: VapiState: the virtual host at \S+httpd\.conf:\d+ has an endpoint and no ServerName of its own/ ? 1 : 0 } '', "ServerName a.example.com\n";
    is_deeply(\@warned, [length $store ? 1 : 0, 0], length $store ? 'nodes know a virtual host by its ServerName' : 'on one machine it needs none');
}

# ---- who is the same person where

my $control = VapiControl->new;
my $s = VapiTest->new(conf => <<"END" . $control->conf);
VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only
VapiDestination desk $number{d}
<VapiPool support>
    VapiMember alice $number{a}
</VapiPool>
<VapiPool team>
    VapiMember alice
</VapiPool>
<VapiPool desks>
    VapiMember dora desk
</VapiPool>
VapiAuthenticate test
VapiSettle 0
VapiRoute pool:support "arg('to') == 'support'"
VapiRoute pool:team "arg('to') == 'team'"
VapiRoute pool:desks "arg('to') == 'desks'"
VapiRoute none result="free %{pool:support.free} busy %{pool:support.busy} members %{pool:support.members}"
<Location "/vapi">
    SetHandler vapi-transfer
</Location>
<VirtualHost *:\@PORT\@>
    ServerName main.example.com
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName Inherits.example.com
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName same.example.com
    <VapiPool support>
        VapiMember alice $number{a} capacity=1
    </VapiPool>
    <VapiPool desks>
        VapiMember dora desk
    </VapiPool>
</VirtualHost>
<VirtualHost *:\@PORT\@>
    ServerName other.example.com
    VapiDestination desk $number{e}
    <VapiPool support>
        VapiMember alice $number{a} capacity=2
    </VapiPool>
    <VapiPool desks>
        VapiMember dora desk
    </VapiPool>
</VirtualHost>
END
$s->allow_log(qr/outcome=no-route/);
$s->start;
my $count = 0;

# Where a call to this pool goes, at this virtual host; '-' where nobody is free; else what the model gets.
sub ask {
    my ($host, $to) = @_;
    $control->clear;
    my $body = vapi_tool_call(call => 'call-' . ++$count, control => $control->url("call-$count"), args => { to => $to });
    my $reply = HTTP::Tiny->new(timeout => 30, proxy => undef, http_proxy => undef)->request('POST', "http://$host.example.com:" . $s->port . '/vapi', { peer => '127.0.0.1', content => $body, headers => { 'content-type' => 'application/json', %{ $s->signed($body) } } });
    my ($told) = $control->transfers;
    return $told->{destination}{number} if $told;
    my $result = $json->decode($reply->{content})->{results}[0];
    return $result->{result} =~ /free 0 busy 1/ ? '-' : $result->{result} // $result->{error};
}

is(ask('main', ''), 'free 1 busy 0 members 1', 'nobody has a call');
is(ask('main', 'support'), $number{a}, 'Alice takes one');
is(ask('main', 'support'), '-', 'and is busy');
is(ask('main', 'team'), '-', 'in the other pool that names her');
is(ask('inherits', 'support'), '-', 'in a virtual host that inherits the pool');
is(ask('same', 'support'), '-', 'and in one whose own pool says the same of her');
is(join(' ', map { ask('other', 'support') } 1 .. 2), "$number{a} $number{a}", 'one that says otherwise has an Alice of its own');
is(ask('other', 'team'), 'free 0 busy 2 members 1', 'while a pool that it inherits keeps its people');
is(ask('main', 'desks'), $number{d}, 'a person at a named destination');
is(ask('same', 'desks'), '-', 'is the same where that name means the same');
is(ask('other', 'desks'), $number{e}, 'and another where it does not');
done_testing;

# The pools of a part of the dump.
sub pools { my ($dump) = @_; return join '', $dump =~ /^((?:  VapiPool|    VapiMember) .*\n)/mg }
