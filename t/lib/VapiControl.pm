# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiControl;

# A stand-in for Vapi's control API (and for any other server that a request needs), on loopback. Each connection is served by a
# process of its own. It writes down every request before it answers; how it answers is said by the first part of the path,
#
#     https://127.0.0.1:PORT/BEHAVIOUR/CALL/control          GET /BEHAVIOUR/call/CALL  (VapiApiKey)
#
# or by what was queued with script(). A BEHAVIOUR is `ok`, or words with commas between them:
#
#     status=503  retry-after=1   an answer of that status, with that header        body=error|html|empty|HEX...  see _body
#     huge=BYTES                  an answer that long                               chunked   sent in chunks
#     delay=MS                    answers after that time                           drip=MS   a byte at a time, with pauses
#     hold=NAME                   answers when the test says release('NAME')
#     redirect                    302 to another path of this server
#     close                       answers as if it kept the connection, and closes it
#     silent                      closes without an answer                          reset     resets the connection, after it has read all
#     garbage                     answers what is no HTTP                           truncate  ends in the midst of the answer
#     hang                        never answers
use strict;
use warnings;
use Fcntl qw(:flock SEEK_SET);
use IO::Socket::INET;
use IO::Socket::SSL ();
use JSON::PP ();
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(sleep time);
use VapiCert;
use VapiGuard;
use VapiHttpd ();

my $json = JSON::PP->new->canonical->utf8;

# tls => 1 (default 0), cert => good|wrong-name|expired|unknown-ca, hang_tls => 1: accepts connections and says nothing, paths => { PATH => answer }
# where an answer is a BEHAVIOUR or a hash { status, headers, body } that may hold the same words.
# stays => DIR: writes there, and outlives this program.
sub new {
    my ($class, %o) = @_;
    my $self = bless { tls => 0, cert => 'good', paths => {}, %o, owner => $o{stays} ? 0 : $$ }, $class;
    $self->{dir} = $o{stays} || VapiGuard::directory('control');
    VapiCert::make($self->{dir}, $self->{cert}) if $self->{tls};
    my $listen = $self->listen_on(0);
    $self->{pid} = fork // die "fork: $!";
    if (!$self->{pid}) {
        VapiGuard::leave();
        $self->serve($listen);
    }
    VapiGuard::group($self->{pid}) if !$self->{stays};
    return $self;
}

sub listen_on {
    my ($self, $port) = @_;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1024, ReuseAddr => 1) or die "control API: $!";
    $self->{port} = $listen->sockport;
    return $listen;
}

# ---- what the test asks

sub port { $_[0]{port} }
sub base { ($_[0]{tls} ? 'https' : 'http') . "://127.0.0.1:$_[0]{port}" }
sub url  { my ($self, $call, $behaviour) = @_; return $self->base . '/' . ($behaviour // 'ok') . "/$call/control" }
sub ca   { "$_[0]{dir}/ca.pem" }

# The directives that let Apache reach it.
sub conf {
    my ($self) = @_;
    return "VapiControlAllowPrivate on\nVapiControlHosts " . $self->base . "\n" if !$self->{tls};
    return "VapiControlAllowPrivate on\nVapiControlHosts 127.0.0.1:$self->{port} localhost:$self->{port}\nVapiControlCAFile " . $self->ca . "\n";
}

# Answers for the next requests, in order, whatever their path.
sub script {
    my ($self, @answers) = @_;
    $self->_locked(sub { my ($queue) = @_; push @$queue, @answers; return });
}

# Takes back what of them was not asked for.
sub unscript { my ($self) = @_; $self->_locked(sub { my ($queue) = @_; @$queue = (); return }); return }

# Lets those answer that hold=NAME.
sub release { my ($self, $name) = @_; VapiHttpd::spit("$self->{dir}/released-$name", ''); return }

# All that was received, in order: { time, connection, method, path, call, headers, body, json }
sub requests { my ($self) = @_; return grep { $_->{event} eq 'request' } $self->_events }

# Waits until there are as many, for at most so long.
sub wait_requests {
    my ($self, $count, $seconds) = @_;
    my $end = time + ($seconds // 20);
    my @requests;
    while ((@requests = $self->requests) < $count && time < $end) { sleep 0.02 }
    return @requests;
}

# Of the transfers alone: their bodies, decoded.
sub transfers { my ($self) = @_; return map { $_->{json} } grep { ($_->{json}{type} // '') =~ /^(transfer|handoff)$/ } $self->requests }

sub connections  { my ($self) = @_; return scalar grep { $_->{event} eq 'connection' } $self->_events }
sub tls_failures { my ($self) = @_; return scalar grep { $_->{event} eq 'no-tls' } $self->_events }

sub clear { my ($self) = @_; unlink "$self->{dir}/events"; return }

sub stop {
    my ($self) = @_;
    return if !$self->{pid} || $self->{owner} != $$;
    kill 'KILL', -$self->{pid}, $self->{pid};
    waitpid $self->{pid}, 0;
    VapiGuard::ended($self->{pid});
    delete $self->{pid};
    my $errors = "$self->{dir}/errors";
    warn "the stand-in control API itself failed:\n" . VapiHttpd::slurp($errors) if -s $errors;
}

sub DESTROY { my ($self) = @_; local ($?, $@, $!); $self->stop }

sub _events {
    my ($self) = @_;
    open my $in, '<:raw', "$self->{dir}/events" or return;
    return map { $json->decode($_) } grep { /\n\z/ } <$in>;
}

# ---- the server

sub serve {
    my ($self, $listen) = @_;
    POSIX::setsid();
    $0 = "stand-in for Vapi's control API, $self->{dir}";
    $SIG{CHLD} = 'IGNORE';
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', '/dev/null';
    open STDERR, '>>', "$self->{dir}/errors";
    my $connection = 0;
    while (1) {
        my $socket = $listen->accept or next;
        $connection++;
        my $pid = fork // next;
        next if $pid;
        close $listen;
        $SIG{PIPE} = 'IGNORE';
        eval { $self->_connection($socket, $connection); 1 } or print STDERR $@;
        POSIX::_exit(0);
    }
}

sub _connection {
    my ($self, $socket, $connection) = @_;
    $self->_write(event => 'connection', connection => $connection);
    return _wait_for_end($socket) if $self->{hang_tls};
    if ($self->{tls}) {
        my %server = (SSL_server => 1, SSL_cert_file => "$self->{dir}/server.pem", SSL_key_file => "$self->{dir}/server.key");
        IO::Socket::SSL->start_SSL($socket, %server) or return $self->_write(event => 'no-tls', connection => $connection);
    }
    my $unread = '';
    while (my $request = _read_request($socket, \$unread)) {
        my $answer = $self->_answer($request);
        $self->_write(event => 'request', connection => $connection, %$request);
        last if !$self->_reply($socket, $request, $answer);
    }
    $socket->close;
}

sub _write {
    my ($self, %event) = @_;
    my $line = $json->encode({ time => time, %event }) . "\n";
    open my $out, '>>:raw', "$self->{dir}/events" or die "events: $!";
    syswrite $out, $line;
}

sub _read_request {
    my ($socket, $unread) = @_;
    my $more = sub { $socket->sysread($$unread, 65536, length $$unread) };
    while ($$unread !~ /\r\n\r\n/) { $more->() or return }
    $$unread =~ s/\A(.*?)\r\n\r\n//s;
    my ($line, @headers) = split /\r\n/, $1;
    my ($method, $path) = split / /, $line;
    my %headers = map { my ($name, $value) = split /:\s*/, $_, 2; (lc $name => $value) } @headers;
    my $body = '';
    if (lc($headers{'transfer-encoding'} // '') eq 'chunked') {
        while (1) {
            while ($$unread !~ /\A([0-9a-fA-F]+)[^\n]*\r\n/) { $more->() or return }
            my $size = hex $1;
            $$unread =~ s/\A[^\n]*\r\n//;
            while (length $$unread < $size + 2) { $more->() or return }
            $body .= substr $$unread, 0, $size;
            substr $$unread, 0, $size + 2, '';
            last if !$size;
        }
    }
    elsif (my $size = $headers{'content-length'}) {
        $socket->syswrite("HTTP/1.1 100 Continue\r\n\r\n") if lc($headers{expect} // '') eq '100-continue';
        while (length $$unread < $size) { $more->() or return }
        $body = substr $$unread, 0, $size, '';
    }
    my ($call) = $path =~ m{/call/([^/?]+)$|/([^/]+)/control$} ? ($1 // $2) : ();
    return { method => $method, path => $path, call => $call, headers => \%headers, body => $body, json => scalar eval { $json->decode($body) } };
}

sub _answer {
    my ($self, $request) = @_;
    my $queued = $self->_locked(sub { my ($queue) = @_; return shift @$queue });
    my ($first) = $request->{path} =~ m{^/([^/]*)/};
    my $answer = $queued // $self->{paths}{ $request->{path} } // $first // 'ok';
    return $answer if ref $answer;
    my %answer = map { my ($word, $value) = split /=/, $_, 2; ($word => $value // 1) } split /,/, $answer;
    $answer{body} = _body($answer{body}) if exists $answer{body};
    return \%answer;
}

sub _body {
    my ($name) = @_;
    my %bodies = (
        error => '{"statusCode":400,"message":["property extra should not exist"],"error":"Bad Request"}',
        html => '<html><body>Bad gateway</body></html>',
        empty => '',
    );
    return $bodies{$name} // die "no body is called $name\n";
}

# Answers one request. False: the connection has ended.
sub _reply {
    my ($self, $socket, $request, $a) = @_;
    return _wait_for_end($socket) if $a->{hang};
    return _reset($socket) if $a->{reset};
    sleep $a->{delay} / 1000 if $a->{delay};
    if (defined $a->{hold}) { sleep 0.01 until -e "$self->{dir}/released-$a->{hold}" }
    return 0 if $a->{silent};

    my %headers = ('content-type' => 'application/json', %{ $a->{headers} || {} });
    my $status = $a->{status} // ($a->{redirect} ? 302 : 200);
    $headers{'retry-after'} = $a->{'retry-after'} if defined $a->{'retry-after'};
    $headers{location} = $self->base . '/redirected/' . ($request->{call} // 'x') . '/control' if $a->{redirect};
    return _send_huge($socket, $status, \%headers, $a->{huge}) && !$a->{close} if $a->{huge};
    my $body = $a->{body} // $self->_usual_body($request, $status);
    my $bytes = $a->{garbage} ? "\x16\x03 this is no HTTP\n\n" : _answer_bytes($status, \%headers, $body, $a->{chunked});
    substr($bytes, -5) = '' if $a->{truncate};
    return 0 if !_send($socket, $bytes, $a->{drip});
    return !($a->{garbage} || $a->{truncate} || $a->{close} || lc($request->{headers}{connection} // '') eq 'close');
}

sub _usual_body {
    my ($self, $request, $status) = @_;
    return $json->encode({ statusCode => $status + 0, message => 'no', error => 'Error' }) if $status >= 400;
    return '{"status":"ok"}' if $request->{method} ne 'GET';
    return $json->encode({ id => $request->{call}, monitor => { controlUrl => $self->url($request->{call} // 'x') } });
}

sub _answer_bytes {
    my ($status, $headers, $body, $chunked) = @_;
    my $head = join '', "HTTP/1.1 $status Said\r\n", map { "$_: $headers->{$_}\r\n" } sort keys %$headers;
    return $head . "transfer-encoding: chunked\r\n\r\n" . sprintf("%x\r\n%s\r\n0\r\n\r\n", length $body, $body) if $chunked && length $body;
    return $head . 'content-length: ' . length($body) . "\r\n\r\n$body";
}

sub _send {
    my ($socket, $bytes, $drip) = @_;
    while (length $bytes) {
        my $sent = $socket->syswrite($bytes, $drip ? 1 : length $bytes) or return 0;
        substr $bytes, 0, $sent, '';
        sleep $drip / 1000 if $drip;
    }
    return 1;
}

# A piece at a time: it may be longer than this machine's memory. True when all of it was taken.
sub _send_huge {
    my ($socket, $status, $headers, $left) = @_;
    my $piece = 'x' x 65536;
    _send($socket, join '', "HTTP/1.1 $status Said\r\n", (map { "$_: $headers->{$_}\r\n" } sort keys %$headers), "content-length: $left\r\n\r\n") or return 0;
    while ($left > 0) {
        _send($socket, $left < 65536 ? substr $piece, 0, $left : $piece) or return 0;
        $left -= 65536;
    }
    return 1;
}

sub _wait_for_end {
    my ($socket) = @_;
    1 while $socket->sysread(my $ignored, 65536);
    return 0;
}

sub _reset {
    my ($socket) = @_;
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    POSIX::_exit(0);
}

# Calls with the queue of scripted answers, and keeps what is left of it.
sub _locked {
    my ($self, $do) = @_;
    open my $file, '+>>:raw', "$self->{dir}/script" or die "script: $!";
    flock $file, LOCK_EX;
    seek $file, 0, SEEK_SET;
    my $queue = $json->decode(do { local $/; <$file> } || '[]');
    my $before = @$queue;
    my $result = $do->($queue);
    if (@$queue != $before) {
        truncate $file, 0;
        syswrite $file, $json->encode($queue);
    }
    return $result;
}

1;
