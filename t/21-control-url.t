# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Which control URLs are called: a payload may name any host, and only the listed ones are ever connected to.
use strict;
use warnings;
use VapiTest;

my $control = VapiControl->new;
my $tls = VapiControl->new(tls => 1);
my ($port, $tls_port) = ($control->port, $tls->port);
my $ca = 'VapiControlCAFile ' . $tls->ca;

my %endpoints = (
    usual => [],
    private => ["VapiControlHosts http://127.0.0.1:$port http://localhost:$port http://[::1]:$port"],
    plain => ["VapiControlHosts http://127.0.0.1:$port http://localhost:*", 'VapiControlAllowPrivate on'],
    'any-port' => ['VapiControlHosts http://127.0.0.1:*', 'VapiControlAllowPrivate on'],
    below => ["VapiControlHosts *.localhost:$tls_port LOCALHOST:$tls_port", 'VapiControlAllowPrivate on', $ca],
    tls => ["VapiControlHosts 127.0.0.1:$tls_port", 'VapiControlAllowPrivate on', $ca],
);
my $conf = "VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\nVapiDestination front +14155550100\n"
    . join '', map { qq{Header always set X-$_ "expr=%{note:vapi-$_}"\n} } qw(outcome reason);
# A list of the outer section is replaced by that of the inner one.
$conf .= "VapiControlHosts http://127.0.0.1:$port\n<Location \"/\">\nSetHandler vapi-transfer\nVapiAuthenticate test\nVapiRoute front\nVapiControlHosts *.vapi.ai\n</Location>\n";
$conf .= join '', map { "$_\n" } qq{<Location "/$_">}, @{ $endpoints{$_} }, '</Location>' for sort keys %endpoints;
my $s = VapiTest->new(conf => $conf, modules => ['headers'])->start;
$s->allow_log(qr/outcome=failed reason=not-allowed/);

my $call = 0;

# Sends a delivery with this control URL: the reply, and the line that the log has of it.
sub deliver {
    my ($endpoint, $url) = @_;
    my $id = 'url-' . ++$call;
    $url =~ s/CALL/$id/;
    my $reply = $s->signed_post("/$endpoint", vapi_tool_call(call => $id, control => $url));
    wait_until(sub { $s->log =~ / call=$id .*\n/ }, 20);
    return ($reply, $s->log =~ /(vapi: call=$id .*)/);
}

# ---- refused: endpoint, URL, why, host in the log
my $path = '/secret-path/CALL/control';
for my $case (
    ['usual', "https://evilvapi.ai$path", 'host not allowed', 'evilvapi.ai'],
    ['usual', "https://vapi.ai.evil.com$path", 'host not allowed', 'vapi.ai.evil.com'],
    ['usual', "https://vapi.ai$path", 'host not allowed', 'vapi.ai'],
    ['usual', "http://phone.vapi.ai$path", 'not https', 'phone.vapi.ai'],
    ['usual', "https://phone.vapi.ai:8443$path", 'port not allowed', 'phone.vapi.ai'],
    ['usual', "https://phone.vapi.ai.$path", 'trailing dot in the host', 'phone.vapi.ai.'],
    ['usual', "https://127.0.0.1$path", 'host not allowed', '127.0.0.1'],
    ['usual', "https://169.254.169.254$path", 'host not allowed', '169.254.169.254'],
    ['usual', "https://[::1]$path", 'host not allowed', '::1'],
    ['usual', "http://127.0.0.1:$port$path", 'not https', '127.0.0.1'],
    ['usual', "ftp://phone.vapi.ai$path", 'not https', '?'],
    ['usual', 'phone.vapi.ai', 'not https', '?'],
    ['plain', "http://user\@127.0.0.1:$port$path", 'user name in the URL', '127.0.0.1'],
    ['plain', "http://127.0.0.1:$port\@evil.com$path", 'user name in the URL', 'evil.com'],
    ['plain', "http://127.0.0.1:$port\\\@evil.com$path", 'character not allowed in a URL', 'evil.com'],
    ['plain', "http://127.0.0.1:$port$path?a=b", 'query not allowed', '127.0.0.1'],
    ['plain', "http://127.0.0.1:$port$path#part", 'fragment not allowed', '127.0.0.1'],
    ['plain', "http://127.0.0.1:$port/a b/control", 'character not allowed in a URL', '127.0.0.1'],
    ['plain', "http://127.0.0.1:$port/a\tb/control", 'character not allowed in a URL', '127.0.0.1'],
    ['plain', "http://127.0.0.1:$port/a\r\nX: y/control", 'character not allowed in a URL', '127.0.0.1'],
    ['plain', "http://127.0.0.1:$port/" . 'a' x 2048, 'URL too long', '127.0.0.1'],
    ['plain', "http://127.0.0.1:$port/\xe9/control", 'character not allowed in a URL', '127.0.0.1'],
    ['plain', "http://2130706433:$port$path", 'odd form of an IP address', '2130706433'],
    ['plain', "http://127.1:$port$path", 'odd form of an IP address', '127.1'],
    ['plain', "http://0x7f.0.0.1:$port$path", 'odd form of an IP address', '0x7f.0.0.1'],
    ['plain', "http://127.0.0%2e1:$port$path", 'character not allowed in the host', '?'],
    ['plain', "http://127.0.0.1:$tls_port$path", 'port not allowed', '127.0.0.1'],
    ['plain', "https://127.0.0.1:$port$path", 'host not allowed', '127.0.0.1'],
    ['plain', "<http://127.0.0.1:$tls_port$path>", 'port not allowed', '127.0.0.1'],
    ['tls', "https://localhost:$tls_port$path", 'host not allowed', 'localhost'],
    ['tls', "http://127.0.0.1:$tls_port$path", 'not https', '127.0.0.1'],
    ['below', "https://notlocalhost:$tls_port$path", 'host not allowed', 'notlocalhost'],
    # Allowed by name, refused by address.
    ['private', "http://127.0.0.1:$port$path", 'the host resolves to an address that is not public'],
    ['private', "http://localhost:$port$path", 'the host resolves to an address that is not public'],
    ['private', "http://[::1]:$port$path", 'the host resolves to an address that is not public'],
) {
    my ($endpoint, $url, $why, $host) = @$case;
    my ($reply, $line) = deliver($endpoint, $url);
    (my $name = "$endpoint: $url") =~ s/[\r\n\t\xe9]/?/g;
    $name = substr $name, 0, 80;
    is("$reply->{headers}{'x-outcome'} $reply->{headers}{'x-reason'}", 'failed not-allowed', "$name is refused");
    like($reply->{json}{results}[0]{error}, qr/transfer/, "$name: the model hears of it");
    like($line, defined $host ? qr/\((?:$why): \Q$host\E\)$/ : qr/\($why\)$/, "$name: the log says why, and the host alone");
}
is($_->connections, 0, 'nothing was connected to') for $control, $tls;

# ---- allowed
for my $case (
    ['plain', $control, "http://127.0.0.1:$port/ok/CALL/control"],
    ['plain', $control, "HTTP://127.0.0.1:$port/ok/CALL/control"],
    ['plain', $control, "http://LocalHost:$port/ok/CALL/control"],
    ['plain', $control, "<http://127.0.0.1:$port/ok/CALL/control>"],
    ['any-port', $control, "http://127.0.0.1:$port/ok/CALL/control"],
    ['tls', $tls, "https://127.0.0.1:$tls_port/ok/CALL/control"],
    ['below', $tls, "https://localhost:$tls_port/ok/CALL/control"],
    ['plain', $control, "http://127.0.0.1:$port/ok/%2e%2e/../CALL/control"],
) {
    my ($endpoint, $where, $url) = @$case;
    my ($reply) = deliver($endpoint, $url);
    is($reply->{headers}{'x-outcome'}, 'transferred', "$endpoint: $url is called");
    my @requests = grep { ($_->{call} // '') eq "url-$call" } $where->requests;
    (my $asked = $url) =~ s{^<?\w+://[^/]+|>$}{}g;
    $asked =~ s/CALL/url-$call/;
    is_deeply([map { $_->{path} } @requests], [$asked], 'once, with the path as it stands');
}
$s->no_canary('secret-path', '/control');
done_testing;
