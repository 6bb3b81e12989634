# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# The one POST that moves a call: what each answer of the control API comes to, through the whole module, and how that API is reached.
use strict;
use warnings;
use VapiSchema;
use VapiTest;

my ($first, $second) = ('+14155550101', '+14155550102');
my $done = 'The call is being transferred.';
my $perhaps = 'The transfer may be under way.';
my $no_transfer = qr/^The transfer (?:failed|was refused)/;
my $failure = "I'm sorry, I can't transfer the call right now.";

my %bodies = (
    'error-empty' => '{"error":"","status":"ok"}', 'error-null' => '{"error":null}', 'status-200' => '{"statusCode":200}', 'list' => '[{"error":"x"}]',
    'text' => 'error', 'error-text' => '{"error":"Bad Request"}', 'status-400' => '{"statusCode":400}', 'status-500' => '{"statusCode":500,"message":"x"}',
    'should-not-exist' => '{"message":["property extra should not exist"],"error":"Bad Request","statusCode":400}',
    'error-object' => '{"error":{"message":"no"}}',
);
my %paths = map { ("/body/$_/control" => { body => $bodies{$_} }) } keys %bodies;
$paths{'/body/created/control'} = { status => 201, body => $bodies{'error-text'} };
$paths{'/elsewhere/call/elsewhere'} = { body => '{"monitor":{"controlUrl":"https://evilvapi.ai/elsewhere/control"}}' };
$paths{'/nowhere/call/nowhere'} = { body => '{"monitor":{}}' };

my $control = VapiControl->new(paths => \%paths);
my $api = VapiControl->new;
my %tls = map { ($_ => VapiControl->new(tls => 1, cert => $_)) } qw(good wrong-name expired unknown-ca);
my $mute = VapiControl->new(tls => 1, hang_tls => 1);
my $proxy = VapiControl->new;
my $tunnel = Tunnel->new;
my $nobody = closed_port();

sub endpoint {
    my ($path, $reach, @lines) = @_;
    return join '', map { "$_\n" } qq{<Location "$path">}, 'SetHandler vapi-transfer', 'VapiAuthenticate test',
        q{VapiRoute first "-n %{VAPI_CALL}"}, 'VapiRoute second', $reach->conf, @lines, '</Location>';
}

my @notes = qw(outcome reason route control-status);
# Only what is to end by a time-out has a short one; all else has the time that a busy machine may need.
my @patient = ('VapiControlTimeout 15', 'VapiControlConnectTimeout 15', 'VapiBudget 30');
my $conf = join '',
    "VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\nVapiDestination first $first\nVapiDestination second $second\n",
    (map { qq{Header always set X-$_ "expr=%{note:vapi-$_}"\n} } @notes), "Header always set X-Took %D\n",
    endpoint('/main', $control, @patient),
    endpoint('/short', $control, 'VapiControlTimeout 1500ms'),
    endpoint('/nobody', $control, @patient, "VapiControlHosts http://127.0.0.1:$nobody"),
    (map { endpoint("/$_", $tls{$_}, @patient) } keys %tls),
    endpoint('/mute', $mute, 'VapiControlTimeout 30', 'VapiControlConnectTimeout 300ms', 'VapiBudget 30'),
    endpoint('/budget', $control, 'VapiControlTimeout 30', 'VapiBudget 3'),
    endpoint('/budget-mute', $mute, 'VapiControlTimeout 30', 'VapiControlConnectTimeout 30', 'VapiBudget 3'),
    endpoint('/token', $control, @patient, 'VapiControlToken file:@DIR@/token'),
    endpoint('/say', $control, @patient),
    endpoint('/say-own', $control, @patient, 'VapiFailureSay "No transfer for %{VAPI_TOOL}: %{VAPI_REASON}."'),
    endpoint('/say-none', $control, @patient, 'VapiFailureSay none'),
    (map { endpoint("/key-$_", $control, $_ eq 'hang' ? 'VapiControlTimeout 600ms' : @patient, 'VapiApiKey file:@DIR@/key url=' . $control->base . "/$_") }
        qw(ok elsewhere nowhere status=401 status=404 status=500 body=html garbage redirect hang silent)),
    endpoint('/key-gone', $control, @patient, "VapiApiKey file:\@DIR\@/key url=http://127.0.0.1:$nobody/x"),
    endpoint('/proxy', $control, @patient, 'VapiControlAllowPrivate off', 'VapiControlProxy ' . $proxy->base),
    endpoint('/tunnel', $tls{good}, @patient, 'VapiControlProxy http://127.0.0.1:' . $tunnel->port),
    endpoint('/no-tunnel', $tls{good}, @patient, 'VapiControlProxy ' . $proxy->base);
my $s = VapiTest->new(conf => $conf, modules => ['headers'], threads => 64);
$s->write_file($_, "$_-of-the-control-api\n", 0600) for qw(token key);
$s->allow_log(qr/VapiApiKey: url=http/, qr/outcome=(?:refused|failed|unknown) /, qr/the payload has no control URL/);
$s->start;

# Each: path and payload's options of a delivery, of a tool that waits for longer than any budget here. Sends them all at once; their replies.
sub send_all {
    my (@posts) = @_;
    return $s->post_many(map { my ($path, %o) = @$_; my $body = vapi_tool_call(timeout => 60, %o); [$path, $body, $s->signed($body)] } @posts);
}

sub seen { my ($where, $call) = @_; return grep { ($_->{call} // '') eq $call } $where->requests }

# The same, once there is one: a request may be given up before a slow stand-in has read it.
sub seen_late {
    my ($where, $call) = @_;
    my @seen;
    wait_until(sub { @seen = seen($where, $call) }, 20);
    return @seen;
}

sub said { my ($reply) = @_; return $reply->{json}{results}[0]{result} // '-', $reply->{json}{results}[0]{error} // '-' }

# Milliseconds in Apache, from its arrival.
sub took { my ($reply) = @_; return ($reply->{headers}{'x-took'} =~ /(\d+)/)[0] / 1000 }

# What came of a case: outcome, reason and status as noted, and the numbers that the control API was told.
sub came_of {
    my ($reply, @requests) = @_;
    my %h = %{ $reply->{headers} };
    my @to = map { $_->{json}{destination}{number} eq $first ? 1 : 2 } grep { ($_->{json}{type} // '') eq 'transfer' } @requests;
    return "$h{'x-outcome'} " . ($h{'x-reason'} || '-') . ' ' . ($h{'x-control-status'} || '-') . " to @to";
}

# ---- every row of the table; where two numbers were told, the first was refused
my @rows = (
    (map { [$_, 'transferred - 200 to 1'] } 'ok', 'body=empty', 'body=html', 'chunked', 'close', 'huge=300000', 'huge=1000000000'),
    (map { ["status=$_", "transferred - $_ to 1"] } 201, 202, 204, 299),
    (map { ["/$_", 'transferred - 200 to 1'] } qw(error-empty error-null status-200 list text)),
    (map { ["/$_", 'refused refused 200 to 1 2'] } qw(error-text status-400 status-500 should-not-exist error-object)),
    ['/created', 'refused refused 201 to 1 2'],
    (map { ["status=$_", "refused refused $_ to 1 2"] } 400, 402, 405, 413, 415, 422, 451),
    (map { ["status=$_", "failed refused $_ to 1"] } 401, 403, 409, 500, 501, 301, 307),
    ['redirect', 'failed refused 302 to 1'],
    (map { ["status=$_", "failed call-gone $_ to 1"] } 404, 410),
    ['status=429', 'failed limited 429 to 1 1'],
    ['status=503,retry-after=0', 'failed refused 503 to 1 1'],
    (map { ["status=$_", "unknown timeout $_ to 1"] } 408, 502, 503, 504, 520),
    (map { [$_, 'unknown timeout - to 1'] } qw(silent reset garbage)),
    ['truncate', 'unknown timeout 200 to 1'],
    ['hang', 'unknown timeout - to 1'],
    ['delay=8000', 'unknown timeout - to 1'],
    ['drip=300', 'unknown timeout - to 1'],
);
# The call of a row, its control URL.
my $number = 0;
my @rows_calls = map { $number++; m{^/(.*)} ? [$1, $control->base . "/body/$1/control"] : ["row-$number", $control->url("row-$number", $_)] } map { $_->[0] } @rows;
my @rows_replies;
# `close` alone: a transfer that took its connection just before the end arrives would be unknown, and rightly.
for my $some ([grep { $rows[$_][0] ne 'close' } 0 .. $#rows], [grep { $rows[$_][0] eq 'close' } 0 .. $#rows]) {
    @rows_replies[@$some] = send_all(map { [$rows[$_][0] =~ /^(?:hang|delay|drip)/ ? '/short' : '/main', call => $rows_calls[$_][0], control => $rows_calls[$_][1]] } @$some);
}
seen_late($control, $rows_calls[$_][0]) for 0 .. $#rows;
my %requests;
push @{ $requests{ $_->{call} // '' } }, $_ for $control->requests;
for my $i (0 .. $#rows) {
    my ($behaviour, $expected) = @{ $rows[$i] };
    my ($reply, @requests) = ($rows_replies[$i], @{ $requests{ $rows_calls[$i][0] } || [] });
    is(came_of($reply, @requests), $expected, "$behaviour: $expected");
    my ($result, $error) = said($reply);
    $expected =~ /^transferred/ ? is($result, $done, "$behaviour: the model hears of a transfer")
        : $expected =~ /^unknown/ ? is($error, $perhaps, "$behaviour: the model hears that it may be under way")
        : like($error, $no_transfer, "$behaviour: the model hears that it failed");
    reply_fits('tool-calls', $reply->{body});
    control_fits($_->{body}) for @requests;
    cmp_ok(took($reply), '<', 30_000, "$behaviour: inside the budget");
}
is(scalar(grep { $_->{path} =~ /redirected/ } $control->requests), 0, 'a redirect is not followed');

# ---- the same, where the second answer is another
for my $case (
    ['429, then taken', 'transferred - 200 to 1 1', 'status=429'],
    ['503 with Retry-After, then taken', 'transferred - 200 to 1 1', 'status=503,retry-after=0'],
    ['503 with Retry-After, then 503 without', 'unknown timeout 503 to 1 1', 'status=503,retry-after=0', 'status=503'],
    ['429, then refused, then the next route', 'transferred - 200 to 1 1 2', 'status=429', 'status=400'],
    ['429, then cut off', 'unknown timeout - to 1 1', 'status=429', 'reset'],
    ['refused, then the next route is taken', 'transferred - 200 to 1 2', 'status=400'],
    ['refused in a 200, then the next route is taken', 'transferred - 200 to 1 2', 'body=error'],
    ['refused, then the call is gone', 'failed call-gone 404 to 1 2', 'status=422', 'status=404'],
    ['refused, then unknown', 'unknown timeout - to 1 2', 'status=422', 'silent'],
) {
    my ($name, $expected, @script) = @$case;
    my $call = vapi_uuid();
    $control->script(@script);
    my ($reply) = send_all(['/main', call => $call, control => $control->url($call)]);
    is(came_of($reply, seen($control, $call)), $expected, $name);
    is($reply->{headers}{'x-route'}, $expected =~ /2$/ ? 'second' : 'first', "$name: the route is noted");
}
{
    $control->script('status=429,retry-after=1');
    my ($reply) = send_all(['/main', call => 'asked-to-wait', control => $control->url('asked-to-wait')]);
    my @requests = seen($control, 'asked-to-wait');
    is(scalar @requests, 2, 'Retry-After: once more');
    cmp_ok($requests[1]{time} - $requests[0]{time}, '>', 0.95, 'after the time that Vapi asked for');
}

# ---- nothing can have been sent
{
    my @cases = (['/nobody', "http://127.0.0.1:$nobody"], map { ["/$_", $tls{$_}->base] } qw(wrong-name expired unknown-ca));
    my @replies = send_all((map { [$_->[0], control => "$_->[1]/ok/unsent/control"] } @cases),
        ['/mute', control => $mute->url('unsent')], ['/good', call => 'sent', control => $tls{good}->url('sent')]);
    my $good = pop @replies;
    is(came_of($good, seen($tls{good}, 'sent')), 'transferred - 200 to 1', 'a certificate of the given authority is good');
    for my $i (0 .. $#cases) {
        like(came_of($replies[$i]), qr/^failed timeout - to $/, "$cases[$i][0]: failed");
        like((said($replies[$i]))[1], $no_transfer, "$cases[$i][0]: the model hears it");
    }
    for my $name (qw(wrong-name expired unknown-ca)) {
        is(scalar $tls{$name}->requests, 0, "$name: nothing is sent to a server with such a certificate");
        is($tls{$name}->connections, 2, "$name: tried once more");
    }
    is(came_of($replies[-1]), 'failed timeout - to ', 'a server that never shakes hands: failed');
    wait_until(sub { $mute->connections >= 2 }, 20);
    is($mute->connections, 2, 'tried once more');
    cmp_ok(took($replies[-1]), '<', 15_000, 'VapiControlConnectTimeout holds');
}

# ---- time
{
    $mute->clear;
    my ($hang, $wait, $connect, $tool, $slow, $drip) = send_all(
        ['/budget', call => 'b-hang', control => $control->url('b-hang', 'hang')],
        ['/budget', call => 'b-wait', control => $control->url('b-wait', 'status=429,retry-after=60')],
        ['/budget-mute', call => 'b-connect', control => $mute->url('b-connect')],
        ['/main', call => 'b-tool', timeout => 4, control => $control->url('b-tool', 'status=503,retry-after=60')],
        ['/short', call => 'b-slow', control => $control->url('b-slow', 'hang')],
        ['/budget', call => 'b-drip', control => $control->url('b-drip', 'drip=300')],
    );
    is(came_of($hang, seen_late($control, 'b-hang')), 'unknown timeout - to 1', 'VapiBudget ends a control request');
    is(came_of($wait, seen($control, 'b-wait')), 'failed limited 429 to 1 1', 'a long Retry-After leaves time for the second try');
    like(came_of($connect), qr/^failed timeout - to $/, 'VapiBudget ends a handshake');
    # Where one does not hold, VapiControlTimeout, Retry-After or the other's bytes would take 10 s and more.
    cmp_ok(took($_), '<', 8000, 'VapiBudget holds') for $hang, $wait, $connect, $drip;
    is(came_of($tool, seen($control, 'b-tool')), 'failed refused 503 to 1 1', "the tool's own time-out");
    cmp_ok(took($tool), '<', 8000, 'three quarters of server.timeoutSeconds hold');
    cmp_ok(took($slow), '>', 1400, 'VapiControlTimeout: as long as it says');
    cmp_ok(took($slow), '<', 7000, 'and no longer: VapiBudget is 8 s');
}

# ---- what stands in the request
{
    send_all(['/token', call => 'with-token', control => $control->url('with-token')], ['/main', call => 'without', control => $control->url('without')]);
    my %headers = map { ($_ => (seen($control, $_))[0]{headers}) } qw(with-token without);
    is($headers{'with-token'}{authorization}, 'Bearer token-of-the-control-api', 'VapiControlToken is sent');
    is($headers{without}{authorization}, undef, 'without it nothing is');
    is($headers{without}{'content-type'}, 'application/json', 'the body is JSON');
    is($headers{without}{expect}, undef, 'no question before it');
}

# ---- the caller of an async tool hears of a failure
{
    my @cases = (
        ['/say', 'status=404', 1, $failure],
        ['/say', 'status=400', 1, $failure],
        ['/say', 'ok', 1],
        ['/short', 'hang', 1],
        ['/say', 'status=502', 1],
        ['/say', 'status=404', 0],
        ['/say-own', 'status=500', 1, 'No transfer for transferCall: refused.'],
        ['/say-none', 'status=404', 1],
    );
    send_all(map { [$cases[$_][0], call => "say-$_", async => $cases[$_][2], control => $control->url("say-$_", $cases[$_][1])] } 0 .. $#cases);
    for my $i (0 .. $#cases) {
        my ($path, $behaviour, $async, $text) = @{ $cases[$i] };
        my @say;
        wait_until(sub { @say = grep { ($_->{json}{type} // '') ne 'transfer' } seen($control, "say-$i"); @say || !defined $text }, 20);
        is_deeply([map { $_->{json} } @say], [defined $text ? { type => 'say', content => $text } : ()], "$path, $behaviour, async $async: " . ($text // 'nothing') . ' is spoken');
        control_fits($_->{body}) for @say;
    }
}

# ---- a payload without a control URL
{
    my ($reply) = send_all(['/main', call => 'urlless']);
    is(came_of($reply), 'failed no-control-url - to ', 'no control URL, no key: failed');
    like((said($reply))[1], qr/no control URL/, 'the model hears why');
    my @keys = qw(ok elsewhere nowhere status=401 status=404 status=500 body=html garbage redirect hang silent gone);
    my @replies = send_all((map { ["/key-$_", call => $_ eq 'elsewhere' || $_ eq 'nowhere' ? $_ : "key-$_"] } @keys), ['/key-ok', call => 'has-one', control => $control->url('has-one')]);
    my %reply = map { ($keys[$_] => $replies[$_]) } 0 .. $#keys;
    my ($get, @posts) = seen($control, 'key-ok');
    is(came_of($reply{ok}, @posts), 'transferred - 200 to 1', 'VapiApiKey: Vapi is asked for the URL');
    is("$get->{method} $get->{path} $get->{headers}{authorization}", 'GET /ok/call/key-ok Bearer key-of-the-control-api', 'with the key');
    is($posts[0]{headers}{authorization}, undef, 'which the control API is not told');
    is(came_of($reply{elsewhere}, seen($control, 'elsewhere')), 'failed not-allowed - to ', 'its answer is held against VapiControlHosts');
    is(came_of($reply{$_}), 'failed no-control-url - to ', "GET /call/ID, $_: no control URL") for grep { !/^(?:ok|elsewhere)$/ } @keys;
    is(scalar(grep { $_->{path} =~ /redirected/ } $control->requests), 0, 'a redirect is not followed');
    cmp_ok(took($reply{hang}), '<', 7000, 'a key server that never answers ends in time: VapiBudget is 8 s');
    is(scalar(grep { $_->{method} eq 'GET' } seen($control, 'has-one')), 0, 'a payload with a URL: nobody is asked');
}

# ---- a proxy
{
    my ($plain, $tunnelled, $refused) = send_all(
        ['/proxy', call => 'by-proxy', control => $control->url('by-proxy')],
        ['/tunnel', call => 'by-tunnel', control => $tls{good}->url('by-tunnel')],
        ['/no-tunnel', call => 'by-none', control => $tls{good}->url('by-none')],
    );
    my ($request) = seen($proxy, 'by-proxy');
    is(came_of($plain, $request), 'transferred - 200 to 1', 'VapiControlProxy is asked');
    is($request->{path}, $control->url('by-proxy'), 'for the control URL');
    is(scalar seen($control, 'by-proxy'), 0, 'and nobody else');
    is(came_of($tunnelled, seen($tls{good}, 'by-tunnel')), 'transferred - 200 to 1', 'https goes through a tunnel of the proxy');
    is($tunnel->asked, 'CONNECT 127.0.0.1:' . $tls{good}->port, 'to the control host');
    like(came_of($refused, seen($tls{good}, 'by-none')), qr/^failed timeout .* to $/, 'a proxy that makes no tunnel: nothing was sent');
}
$s->no_canary(map { "$_-of-the-control-api" } qw(token key));
$s->stop;

# ---- connections are kept
{
    my $one = VapiTest->new(mpm => 'event', processes => 1, threads => 6, conf => endpoint_conf($control, "VapiDestination first $first", 'VapiRoute first', @patient));
    $one->start->allow_log(qr/outcome=unknown/, qr/AH10159: server is within MinSpareThreads/);    # as one process always is
    my $transfer = sub {
        my ($call, $behaviour) = @_;
        return $one->signed_post('/vapi/transfer', vapi_tool_call(call => $call, timeout => 60, control => $control->url($call, $behaviour)));
    };
    my $burst = sub { my ($name) = @_; $one->post_many(map { my $body = vapi_tool_call(call => "$name-$_", timeout => 60, control => $control->url("$name-$_", 'delay=250')); ['/vapi/transfer', $body, $one->signed($body)] } 1 .. 4) };
    $control->clear;
    $transfer->("warm-$_") for 1 .. 10;
    is($control->connections, 1, 'ten transfers, one after the other: one connection');
    $burst->('first');
    cmp_ok($control->connections, '<=', 4, 'four at once: four connections at most');
    $burst->($_) for qw(second third);
    $transfer->("again-$_") for 1 .. 3;
    cmp_ok($control->connections, '<=', 4, 'threads take over the connections of others: no new one');

    my $others = kept_connections() - 1;
    for my $i (1 .. 5) {
        my $reply = $transfer->("shut-$i", 'close');
        wait_until(sub { kept_connections() <= $others }, 20) or diag('the end of the connection did not arrive');
        is((said($reply))[0], $done, 'a connection that was closed after an answer costs nothing');
    }
    is(scalar seen($control, "shut-$_"), 1, 'and is sent once') for 1 .. 5;
    for my $end (qw(silent reset)) {
        $transfer->("kept-$end");
        my $reply = $transfer->("cut-$end", $end);
        my ($kept, $cut) = map { [seen($control, "$_-$end")] } qw(kept cut);
        is($cut->[0]{connection}, $kept->[0]{connection}, "$end: on a kept connection");
        is(scalar @$cut, 1, "$end after a request was read: it is not sent again");
        is((said($reply))[1], $perhaps, "$end: the model hears that it may be under way");
    }
}
done_testing;

# Connections to the control API whose end has not arrived.
sub kept_connections { my $to = sprintf ':%04X 01 ', $control->port; return scalar grep { /^\s*\d+: \S+ \S+$to/ } split /\n/, slurp('/proc/net/tcp') }

# A proxy that knows CONNECT alone.
package Tunnel;
use IO::Select;

sub new {
    my ($class) = @_;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 8) or die "proxy: $!";
    my $self = bless { port => $listen->sockport, dir => VapiGuard::directory('proxy') }, $class;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        VapiGuard::leave();
        POSIX::setsid();
        $SIG{CHLD} = 'IGNORE';
        while (my $client = $listen->accept) {
            next if fork;
            eval { $self->_serve($client) };
            POSIX::_exit(0);
        }
        POSIX::_exit(0);
    }
    VapiGuard::group($pid);
    return $self;
}

sub port { $_[0]{port} }
sub asked { my ($self) = @_; return join ' ', map { VapiHttpd::slurp($_) } glob "$self->{dir}/*" }

sub _serve {
    my ($self, $client) = @_;
    my $head = '';
    while ($head !~ /\r\n\r\n/) { sysread $client, $head, 1, length $head or return }
    my ($method, $host, $port) = $head =~ /^(\w+) ([\d.]+):(\d+) /;
    VapiHttpd::spit("$self->{dir}/$$", "$method $host:$port");
    my $server = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port) or return;
    syswrite $client, "HTTP/1.1 200 Connected\r\n\r\n";
    my %other = ($client => $server, $server => $client);
    while (my @ready = IO::Select->new($client, $server)->can_read) {
        for my $from (@ready) {
            sysread $from, my $bytes, 65536 or return;
            syswrite $other{$from}, $bytes;
        }
    }
}
