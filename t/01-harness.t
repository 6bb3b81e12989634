# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Do the tests see what they are there to see? The harness itself, with an Apache that does not load the module.
use strict;
use warnings;
use IO::Socket::SSL;
use Time::HiRes qw(alarm);
use VapiTest;

my %plain = (module => 0, modules => ['alias']);

{
    my $s = VapiTest->new(%plain, conf => "Redirect 204 /gone\nRedirect 204 /also\n")->start;
    is($s->get('/gone')->{status}, 204, 'it answers');
    is(scalar(grep { $_->{status} == 204 } $s->post_many(map { ["/gone?$_", '{}'] } 1 .. 8)), 8, 'eight at once');
    like($s->raw("GET /gone HTTP/1.0\r\n\r\n"), qr/^HTTP\/1\.1 204 /, 'bytes as they are');
    my @before = sort $s->children;
    ok(@before >= 2, 'it has children');
    $s->graceful;
    is($s->get('/gone')->{status}, 204, 'it answers after a graceful restart');
    $s->kill9_all;
    ok(!VapiGuard::group_lives($_), "$_ is gone") for grep { kill 0, $_ } @before;
    $s->start;
    is($s->get('/also')->{status}, 204, 'it starts again');
    $s->stop;
}

{
    my $s = VapiTest->new(%plain, mpm => 'prefork', conf => "ErrorDocument 404 \"none\"\n")->start;
    is($s->get('/x')->{status}, 404, 'prefork serves, and the test outlives it');
    spit($s->dir . '/written-by-apache', 'call +14155550123');
    my $notice = '[Sun Nov 22 14:00:00 2026] [core:notice] [pid 1]';
    my $clean = VapiTest::_is_alarming("$notice AH00094: Command line");
    my @alarms = grep { VapiTest::_is_alarming($_) } '[Sun Nov 22 14:00:00 2026] [x:warn] [pid 1] no',
        '==1==ERROR: AddressSanitizer: heap-buffer-overflow', 'src/a.c:1:2: runtime error: signed integer overflow',
        "$notice AH00052: child pid 2 exit signal Segmentation fault (11)";
    is($clean, 0, 'a notice is no alarm');
    is(scalar @alarms, 4, 'a warning, a sanitizer, a crash are');
}

my ($code, $out, $err) = configtest("NoSuchDirective on\n", %plain);
is($code, 1, 'a wrong configuration is refused');
like($err, qr/Invalid command 'NoSuchDirective'/, 'and the reason is there');
configtest_fails("Redirect\n", qr/takes/, 'the same in one line', %plain);
is((configtest('', %plain))[0], 0, 'a right one is not');
my $taken = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1) or die "listen: $!";
my $taken_port = $taken->sockport;
like(VapiTest->new(%plain, conf => "Listen 127.0.0.1:$taken_port\n")->start_fails('a start that must fail'), qr/127\.0\.0\.1:$taken_port/, 'says why');

# What comes of one request, or of several on one connection. An end is waited for; one that keeps the connection as soon as it has answered.
sub ask {
    my ($c, $behaviour, %more) = @_;
    my $times = $more{times} // 1;
    my @address = (PeerAddr => '127.0.0.1', PeerPort => $c->port);
    my $socket = $c->{tls} ? IO::Socket::SSL->new(@address, SSL_ca_file => $c->ca, SSL_verifycn_name => '127.0.0.1')
                           : IO::Socket::INET->new(@address);
    return 'no connection' if !$socket;
    print $socket "POST /$behaviour/c1/control HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\n\r\n{\"type\":\"transfer\"}" for 1 .. $times;
    my ($answer, $read) = ('', 0);
    local $SIG{ALRM} = sub { die "late\n" };
    my $stays = $behaviour =~ /^(?:ok|hang)$/;
    my $wanted = $behaviour eq 'ok' ? $times : 0;
    my $late = eval {
        alarm($stays && !$wanted ? 0.5 : 60);
        while ($read = sysread $socket, $answer, 65536, length $answer) { alarm 0.3 if $stays && $wanted == (() = $answer =~ /"status":"ok"/g) }
        alarm 0;
        1;
    } ? '' : ' and stays';
    return $answer . ($late || (defined $read ? '' : ' reset'));
}

for my $tls (0, 1) {
    my $c = VapiControl->new(tls => $tls);
    my $way = $tls ? 'TLS' : 'plain';
    like(ask($c, 'ok'), qr/^HTTP\/1\.1 200 .*\{"status":"ok"\} and stays$/s, "$way: ok keeps the connection");
    like(ask($c, 'status=503,retry-after=7,close'), qr/^HTTP\/1\.1 503 .*retry-after: 7.*"statusCode":503,?.*\}$/s, "$way: a status, closed");
    is(ask($c, 'silent'), '', "$way: nothing");
    is(ask($c, 'hang'), ' and stays', "$way: hangs");
    is(ask($c, 'reset'), ' reset', "$way: reset");
    my ($first) = map { $_->{json}{type} } $c->wait_requests(5);
    is($first, 'transfer', "$way: the request is written down");
    is($c->connections, 5, "$way: connections are counted");
    is(scalar $c->transfers, 5, "$way: transfers too");
    $c->clear;
    ask($c, 'ok', times => 3);
    is(scalar $c->requests, 3, "$way: three on one connection");
    is($c->connections, 1, "$way: one connection");
    $c->script('status=404,close', { status => 200, body => '{"own":1}', close => 1 });
    like(ask($c, 'ok'), qr/ 404 /, "$way: scripted");
    like(ask($c, 'ok'), qr/\{"own":1\}$/, "$way: scripted in full");
    like(ask($c, 'chunked,close,body=html'), qr/transfer-encoding: chunked.*\r\n0\r\n\r\n$/s, "$way: chunked");
    like(ask($c, 'redirect,close'), qr/ 302 .*location: \S+\/redirected\/c1\/control/s, "$way: redirect");
    is(length((split /\r\n\r\n/, ask($c, 'huge=300000,close'))[1]), 300000, "$way: huge");
    like(ask($c, 'garbage'), qr/no HTTP/, "$way: garbage");
    $c->stop;
}

is(ask(VapiControl->new(tls => 1, cert => $_), 'ok'), 'no connection', "certificate: $_") for qw(wrong-name expired unknown-ca);
my $bodies = vapi_tool_call(pad => 160_000, args => { department => 'billing' });
ok(length($bodies) > 150_000 && length($bodies) < 175_000, 'a long talk: ' . length $bodies);
done_testing;
