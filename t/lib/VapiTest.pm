# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiTest;

# One Apache for each object, with a configuration of a few lines, on a free port of loopback, in a directory of its own:
#
#     use VapiTest;
#     my $control = VapiControl->new(tls => 1);
#     my $s = VapiTest->new(conf => endpoint_conf($control, 'VapiDestination billing +14155550100', 'VapiRoute billing'));
#     $s->start;
#     my $reply = $s->signed_post('/vapi/transfer', vapi_tool_call(control => $control->url('call-1')));
#     is($reply->{status}, 200);
#     done_testing;
#
# What Apache says on the console goes into its error log, too. When a server ends, that is read: a line of level warn or above, or
# one that Apache did not write (a sanitizer's), fails the test unless it was allowed. done_testing ends the servers that still run.
#
# VAPI_TEST_MPM=event|worker|prefork, VAPI_TEST_BUILD=build/asan, VAPI_TEST_KEEP=1 (leaves the directories).
use strict;
use warnings;
use Errno ();
use Exporter ();
use File::Find ();
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Open3 qw(open3);
use JSON::PP ();
use POSIX ();
use Scalar::Util qw(weaken);
use Symbol qw(gensym);
use Test::More import => ['!done_testing'];
use Time::HiRes qw(sleep time);
use VapiCert;
use VapiControl;
use VapiGuard;
use VapiHttpd qw(base_conf closed_port free_port sanitizer_environment slurp spit);
use VapiPayload;

our @ISA = ('Exporter');
our @EXPORT = (
    (grep { /^\w+$/ } @Test::More::EXPORT), @VapiPayload::EXPORT,
    qw(done_testing endpoint_conf configtest configtest_fails closed_port free_port slurp spit wait_until),
);

my $json = JSON::PP->new->canonical->utf8;
my $secret = 'the-secret-that-nobody-may-see';
my $start_time = 60;
# An event child that is told to end at the very moment when a worker frees a connection may crash, with any module: close_worker_sockets().
my $closing_time = 0.03;
# What a stand-in on loopback needs, and what the start rightly warns of.
my @always_allowed = (
    qr/VapiControlHosts: an http:\/\/ pattern/, qr/VapiControlAllowPrivate: on:/,
    qr/\(9\)Bad file descriptor: AH03092: process_lingering_close/,    # of an event child that is told to end while a connection closes, with any module
    qr/AH\d+: server (?:is within MinSpareThreads of|reached) MaxRequestWorkers/,    # these servers are small
);
my @servers;

# conf => text, with @DIR@ and @PORT@ in it; mpm, modules => [names], processes, threads, log_level, module => 0 to do without mod_vapi_transfer;
# defines => [words for -D]; files => { name => content or [content, mode] } put beside the configuration first; tls => 1: speaks HTTPS;
# environment => { NAME => value } for the server.
sub new {
    my ($class, %o) = @_;
    my $self = bless {
        conf => '', log_level => 'info', defines => [], modules => [], environment => {},
        %o,
        mpm => $o{mpm} || $ENV{VAPI_TEST_MPM} || 'event',
        dir => VapiGuard::directory('httpd'), owner => $$, port => free_port(), allowed => [@always_allowed], log_read => 0, own => {},
    }, $class;
    mkdir "$self->{dir}/run" or die "$self->{dir}/run: $!";
    $self->write_file('vapi.secret', $self->secret . "\n", 0600);
    my %files = %{ $self->{files} || {} };
    $self->write_file($_, ref $files{$_} ? @{ $files{$_} } : $files{$_}) for keys %files;
    $self->_prepare_tls if $self->{tls};
    push @servers, $self;
    weaken $servers[-1];
    return $self;
}

sub _prepare_tls {
    my ($self) = @_;
    VapiCert::make($self->{dir}, 'good');
    $self->{own}{"$self->{dir}/$_"} = 1 for qw(ca.pem server.pem server.key);
    push @{ $self->{modules} }, qw(socache_shmcb ssl);
    $self->{conf} = "SSLEngine on\nSSLCertificateFile \@DIR\@/server.pem\nSSLCertificateKeyFile \@DIR\@/server.key\n" . $self->{conf};
}

sub dir    { $_[0]{dir} }
sub port   { $_[0]{port} }
sub pid    { $_[0]{pid} }
sub secret { $secret }
sub base   { ($_[0]{tls} ? 'https' : 'http') . "://127.0.0.1:$_[0]{port}" }

# A file beside the configuration; no_canary does not look into it.
sub write_file {
    my ($self, $name, $text, $mode) = @_;
    my $file = "$self->{dir}/$name";
    spit($file, $text);
    chmod $mode // 0644, $file;
    $self->{own}{$file} = 1;
    return $file;
}

sub set_conf { my ($self, $conf) = @_; $self->{conf} = $conf; $self->_write_conf; return }

sub _write_conf {
    my ($self) = @_;
    my $conf = base_conf(%$self) . $self->{conf};
    $conf =~ s/\@(DIR|PORT)\@/$self->{ lc $1 }/g;
    $self->write_file('httpd.conf', $conf);
}

sub _command {
    my ($self, @more) = @_;
    return (VapiHttpd::program(), '-d', $self->{dir}, '-f', "$self->{dir}/httpd.conf", (map { "-D$_" } @{ $self->{defines} }), @more);
}

sub _environment {
    my ($self) = @_;
    return (sanitizer_environment(), %{ $self->{environment} });
}

# ---- the server's life

sub start {
    my ($self) = @_;
    for my $try (1 .. 4) {
        my $log = -s "$self->{dir}/error_log" || 0;
        return $self if $self->_start_once;
        last if $self->log !~ /AH00072|Address already in use/ || $try == 4;
        truncate "$self->{dir}/error_log", $log;
        $self->{port} = free_port();
    }
    diag("Apache did not start:\n" . $self->log);
    $self->{failed} = 1;
    die "Apache did not start\n";
}

# Starts it where it must not start. What it said.
sub start_fails {
    my ($self, $name) = @_;
    my $before = length $self->log;
    my $started = $self->_start_once;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok(!$started, $name // 'Apache does not start');
    $self->stop if $started;
    $self->{log_read} = length $self->log;
    return substr $self->log, $before;
}

sub _start_once {
    my ($self) = @_;
    $self->_write_conf;
    my $pid_file = "$self->{dir}/run/httpd.pid";
    unlink $pid_file;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        # Not in the test's process group: a prefork parent in the foreground ends its whole group.
        POSIX::setsid();
        %ENV = (%ENV, $self->_environment);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/error_log";
        open STDERR, '>&', \*STDOUT;
        exec $self->_command('-DFOREGROUND') or POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    VapiGuard::group($pid);
    my $end = time + $start_time * ($self->_is_slow ? 8 : 1);
    while (time < $end) {
        return $self->_forget_process if waitpid($pid, POSIX::WNOHANG()) == $pid;
        return 1 if -s $pid_file && slurp($pid_file) == $pid && $self->_answers;
        sleep 0.02;
    }
    kill 'KILL', -$pid;
    waitpid $pid, 0;
    return $self->_forget_process;
}

sub _is_slow { my ($self) = @_; my %environment = $self->_environment; return exists $environment{LD_PRELOAD} }

sub _forget_process {
    my ($self) = @_;
    VapiGuard::ended(delete $self->{pid});
    return 0;
}

sub _answers {
    my ($self) = @_;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 1) ? 1 : 0;
}

# Ends it (TERM), sees that nothing of it is left, and reads its log.
sub stop {
    my ($self) = @_;
    my $pid = $self->{pid} or return;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    sleep $closing_time;
    kill 'TERM', $pid;
    my $ended = $self->_wait_for_end($pid, 60);
    fail('Apache ended when it was told to') if !$ended;
    $self->_kill_group($pid);
    $self->_forget_process;
    $self->log_clean;
}

# All of it at once, as when the machine loses it.
sub kill9_all {
    my ($self) = @_;
    my $pid = $self->{pid} or return;
    $self->_kill_group($pid);
    waitpid $pid, 0;
    $self->_forget_process;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $self->log_clean;
}

sub restart { my ($self) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; $self->stop; return $self->start }

# New children with the configuration as it is now; returns when they alone take requests. The old ones may still end theirs (graceful), or end with
# them (hup).
sub graceful {
    my ($self) = @_;
    my @before = $self->children;
    $self->_reload('USR1');
    my $listener = $self->_listener;
    my $is_sure = 1;
    wait_until(sub { @before = grep { my $takes = _takes($_, $listener); $is_sure &&= defined $takes; $takes // 1 } @before; !@before || !$is_sure }, 20);
    # Without the right to see that, those that have nothing to end are waited for.
    wait_until(sub { !grep { -e "/proc/$_" } @before }, 2) if !$is_sure;
    return $self;
}

# The socket on which it listens, as /proc names it.
sub _listener {
    my ($self) = @_;
    my $at = sprintf '%08X:%04X', unpack('L', pack 'C4', 127, 0, 0, 1), $self->{port};
    my ($inode) = slurp('/proc/net/tcp') =~ /^\s*\d+: $at \S+ 0A (?:\S+\s+){5}(\d+) /m;
    return $inode ? "socket:[$inode]" : '';
}

# May this process take a connection of that socket? Undefined where nobody tells us.
sub _takes {
    my ($pid, $listener) = @_;
    my @open = glob "/proc/$pid/fd/*" or return -e "/proc/$pid/fd" && !-r _ ? undef : 0;
    for my $file (@open) {
        my $what = readlink $file;
        return undef if !defined $what && $!{EACCES};
        return 1 if ($what // '') eq $listener;
    }
    return 0;
}

sub hup { my ($self) = @_; sleep $closing_time; return $self->_reload('HUP') }

sub _reload {
    my ($self, $signal) = @_;
    my $serving = qr/resuming normal operations/;
    my $before = () = $self->log =~ /$serving/g;
    kill $signal, $self->{pid};
    my $came = wait_until(sub { my $now = () = $self->log =~ /$serving/g; $now > $before }, 60);
    die "no restart came about after $signal:\n" . $self->log if !$came;
    return $self;
}

# Process ids of its children.
sub children {
    my ($self) = @_;
    my $parent = $self->{pid} or return;
    return grep { (eval { slurp("/proc/$_/stat") } // '') =~ /\) \S+ \Q$parent\E / } map { m{^/proc/(\d+)$} ? $1 : () } glob '/proc/[0-9]*';
}

sub _wait_for_end {
    my ($self, $pid, $seconds) = @_;
    return wait_until(sub { waitpid($pid, POSIX::WNOHANG()) != 0 }, $seconds);
}

sub _kill_group {
    my ($self, $pid) = @_;
    kill 'KILL', -$pid;
    waitpid $pid, POSIX::WNOHANG();
    wait_until(sub { waitpid($pid, POSIX::WNOHANG()); !VapiGuard::group_lives($pid) }, 30) or fail('a process of Apache is left');
}

# ---- its log

sub log { my ($self) = @_; return -e "$self->{dir}/error_log" ? slurp("$self->{dir}/error_log") : '' }

# Lines of warn and above that may be there.
sub allow_log { my ($self, @patterns) = @_; push @{ $self->{allowed} }, @patterns; return }

# A test: such a line is there, or comes within some seconds. It may be there, then.
sub log_like {
    my ($self, $pattern, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $self->allow_log($pattern);
    my $came = wait_until(sub { $self->log =~ $pattern }, 20);
    ok($came, $name // "the log has $pattern") or diag($self->log);
    return $came;
}

sub log_unlike {
    my ($self, $pattern, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return unlike($self->log, $pattern, $name // "the log has no $pattern");
}

# A test: since it was last asked, the log got nothing that an administrator would have to look into.
sub log_clean {
    my ($self, $name) = @_;
    my $all = $self->log;
    my @new = split /\n/, substr $all, $self->{log_read} <= length $all ? $self->{log_read} : 0;
    $self->{log_read} = length $all;
    my @bad = grep { my $line = $_; !grep { $line =~ $_ } @{ $self->{allowed} } } grep { _is_alarming($_) } @new;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(join("\n", @bad), '', $name // 'nothing unexpected in the error log');
}

sub _is_alarming {
    my ($line) = @_;
    return 0 if $line !~ /\S/;
    return 1 if $line !~ /^\[[^\]]*\] \[[\w-]*:(\w+)\]/;
    return 1 if $1 =~ /^(?:warn|error|crit|alert|emerg)$/;
    return $line =~ /exit signal (?!Killed)|AddressSanitizer|runtime error:/ ? 1 : 0;
}

# A test: none of these texts stands in a file that the server wrote. Its state file, which nobody else may read, is no such file.
sub no_canary {
    my ($self, @texts) = @_;
    my (@found, %state);
    File::Find::find({ no_chdir => 1, wanted => sub {
        return if !-f || $self->{own}{$_} || /\.state\b[^\/]*$/;
        my $content = slurp($_);
        for my $text (@texts) { push @found, "'$text' in $_" if index($content, $text) >= 0 }
    } }, $self->{dir});
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(join("\n", @found), '', 'nothing of the caller, no secret and no control URL in any file');
}

# ---- asking it

# { status, reason, headers (names in small letters), body, json (undef where the body is none), ms }
sub request {
    my ($self, $method, $path, $body, $headers, %o) = @_;
    my @no_proxy = map { $_ => undef } qw(proxy http_proxy https_proxy);
    my $http = HTTP::Tiny->new(timeout => $o{timeout} // 30, keep_alive => 0, max_redirect => 0, verify_SSL => 0, @no_proxy);
    my $start = time;
    my $got = $http->request($method, $self->base . $path, { headers => $headers || {}, defined $body ? (content => $body) : () });
    return {
        status => $got->{status}, reason => $got->{reason}, headers => $got->{headers} || {}, body => $got->{content},
        json => scalar eval { $json->decode($got->{content}) }, ms => (time - $start) * 1000,
    };
}

sub get { my ($self, $path, $headers) = @_; return $self->request('GET', $path, undef, $headers) }

sub post {
    my ($self, $path, $body, $headers) = @_;
    return $self->request('POST', $path, $body, { 'content-type' => 'application/json', %{ $headers || {} } });
}

# scheme (body-only), secret, headers => more of them; see vapi_signature
sub signed_post {
    my ($self, $path, $body, %o) = @_;
    return $self->post($path, $body, $self->signed($body, %o));
}

sub signed {
    my ($self, $body, %o) = @_;
    return { vapi_signature($o{scheme} // 'body-only', $o{secret} // $self->secret, $body, %o), %{ $o{headers} || {} } };
}

# All at the same moment, each from a process of its own: [path, body, headers] each. Their replies, in the same order.
sub post_many {
    my ($self, @posts) = @_;
    pipe my $wait, my $go or die "pipe: $!";
    my @answers;
    for my $post (@posts) {
        pipe my $read, my $write or die "pipe: $!";
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            VapiGuard::leave();
            close $go;
            sysread $wait, my $never, 1;
            my $reply = $self->post(@$post);
            print $write $json->encode($reply);
            close $write;
            POSIX::_exit(0);
        }
        close $write;
        push @answers, [$pid, $read];
    }
    close $go;
    return map {
        my ($pid, $read) = @$_;
        my $text = do { local $/; <$read> };
        waitpid $pid, 0;
        $json->decode($text);
    } @answers;
}

# Sends a signed delivery and does not wait: what post_finish reads the reply from. headers => { host => ... } too.
sub post_start {
    my ($self, $path, $body, %headers) = @_;
    my %all = (host => "localhost:$self->{port}", 'content-type' => 'application/json', connection => 'close', %{ $self->signed($body) }, %headers);
    my $socket = $self->socket;
    print $socket "POST $path HTTP/1.1\r\n", (map { "$_: $all{$_}\r\n" } sort keys %all), 'content-length: ', length $body, "\r\n\r\n$body";
    $socket->flush;
    return $socket;
}

# { status, body, json } of it; status 0 where the connection ended without an answer.
sub post_finish {
    my ($self, $socket) = @_;
    my $answer = '';
    1 while $socket->sysread($answer, 65536, length $answer);
    my ($status, $body) = $answer =~ /\AHTTP\/1\.1 (\d+) .*?\r\n\r\n(.*)\z/s;
    return { status => $status // 0, body => $body // '', json => scalar eval { $json->decode($body) } };
}

# A connection to it.
sub socket {
    my ($self) = @_;
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 30) || die "no connection: $!";
}

# Sends these very bytes; all that comes back until it closes, or until nothing came for so many seconds.
sub raw {
    my ($self, $bytes, $seconds) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $socket = $self->socket;
    print $socket $bytes;
    $socket->flush;
    my $answer = '';
    my $watch = '';
    vec($watch, fileno $socket, 1) = 1;
    while (select my $ready = $watch, undef, undef, $seconds // 30) {
        last if !sysread $socket, $answer, 65536, length $answer;
    }
    return $answer;
}

# ---- configurations

# The usual endpoint at /vapi/transfer: lines that begin with an endpoint's own directive go into its <Location>.
sub endpoint_conf {
    my ($control, @lines) = @_;
    my @lists = map { split /^/m } map { /\n\z/ ? $_ : "$_\n" } @lines;
    my $own = qr/^\s*Vapi(?:Authenticate|Tool|Param|Route|Limit|Control\w+|ApiKey|Budget|FailureSay|BodyLimit|Settle|LogNumbers)\b/;
    my @inside = grep { /$own/ } @lists;
    my @outside = grep { !/$own/ } @lists;
    my $authenticate = (grep { /^\s*VapiAuthenticate/ } @inside) ? '' : "VapiAuthenticate test\n";
    return "VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\n"
        . join('', @outside)
        . "<Location \"/vapi/transfer\">\nSetHandler vapi-transfer\n$authenticate"
        . ($control ? $control->conf : '') . join('', @inside) . "</Location>\n";
}

# What `httpd -t` says of this text: (exit code, standard output, standard error). Options as for new.
sub configtest {
    my ($conf, %o) = @_;
    my $self = VapiTest->new(%o, conf => $conf);
    $self->_write_conf;
    local %ENV = (%ENV, $self->_environment);
    my $pid = open3(my $in, my $out, my $err = gensym, $self->_command('-t'));
    close $in;
    my $standard = do { local $/; <$out> } // '';
    my $error = do { local $/; <$err> } // '';
    waitpid $pid, 0;
    my $code = $? & 127 ? "signal " . ($? & 127) : $? >> 8;
    s/\Q$self->{dir}\E/DIR/g for $standard, $error;
    return ($code, $standard, $error);
}

# A test: this text is refused, with these words.
sub configtest_fails {
    my ($conf, $pattern, $name, %o) = @_;
    my ($code, $standard, $error) = configtest($conf, %o);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return like("exit $code\n$error", qr/\Aexit 1\n.*$pattern/s, $name // "refused: $conf");
}

sub wait_until {
    my ($true, $seconds) = @_;
    my $end = time + $seconds;
    while (!$true->()) {
        return 0 if time > $end;
        sleep 0.02;
    }
    return 1;
}

# Ends what still runs, each with its log read, then Test::More's own.
sub done_testing {
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $_->stop for grep { $_ && $_->{owner} == $$ } @servers;
    Test::More::done_testing();
}

sub DESTROY {
    my ($self) = @_;
    return if !$self->{pid} || $self->{owner} != $$;
    local ($?, $@, $!);
    $self->stop;
}

1;
