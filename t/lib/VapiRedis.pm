# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiRedis;

# A Redis of a test's own: in a new directory, on a free port of loopback.
#
#     my $redis = VapiRedis->new(password => 'open sesame');
#     my $s = VapiTest->new(conf => $redis->load . 'VapiState ' . $redis->words . ...);
#     $redis->stop('kill'); $redis->start; $redis->pause; $redis->go_on;
#     $redis->cli('FLUSHALL');
#
# It ends with the test.
use strict;
use warnings;
use IO::Socket::INET;
use VapiCert;
use VapiDaemon;
use VapiGuard;
use VapiHttpd qw(slurp spit);

our @ISA = ('VapiDaemon');
my %signal = (usual => 'TERM', last => 'KILL', kill => 'KILL');

# Debian's redis-tools bring the server under the name of a checker, which goes by the name that it is called by.
sub _program {
    for my $name (qw(redis-server valkey-server redis-check-rdb)) {
        for my $dir (split /:/, $ENV{PATH}) { return "$dir/$name" if -x "$dir/$name" }
    }
    die "redis-server was not found: t/setup test installs it\n";
}

# password => for everybody; acl => [lines of `user`]; tls => a kind of VapiCert: it speaks TLS alone; append => 1: it knows all after a
# restart; conf => more lines; started => 0 to leave it down
sub new {
    my ($class, %o) = @_;
    my $self = bless { %o, dir => VapiGuard::directory('redis'), owner => $$ }, $class;
    $self->reserve_port;
    VapiCert::make($self->{dir}, $self->{tls}) if $self->{tls};
    $self->start if $o{started} // 1;
    return $self;
}

# What follows VapiState.
sub words { my ($self, @more) = @_; return join ' ', ($self->{tls} ? 'rediss' : 'redis') . "://127.0.0.1:$self->{port}", @more }

# The line that loads the provider.
sub load {
    (my $file = VapiHttpd::module_file()) =~ s/transfer\.so$/state_redis.so/;
    return qq(LoadModule vapi_state_redis_module "$file"\n);
}

# Can this build speak TLS?
sub has_tls {
    (my $file = VapiHttpd::module_file()) =~ s/transfer\.so$/state_redis.so/;
    return slurp($file) =~ /redisInitiateSSL/ ? 1 : 0;
}

sub _conf {
    my ($self) = @_;
    my $port = $self->{tls} ? 'tls-port' : 'port';
    my $conf = ($self->{tls} ? "port 0\n" : '') . "$port $self->{port}\nbind 127.0.0.1\ndaemonize no\nsave \"\"\ndir $self->{dir}\n";
    $conf .= "tls-cert-file $self->{dir}/server.pem\ntls-key-file $self->{dir}/server.key\ntls-ca-cert-file $self->{dir}/ca.pem\ntls-auth-clients no\n" if $self->{tls};
    $conf .= "appendonly yes\nappendfsync always\n" if $self->{append};
    $conf .= qq(requirepass "$self->{password}"\n) if defined $self->{password};
    $conf .= "$_\n" for @{ $self->{acl} || [] };
    return $conf . ($self->{conf} // '');
}

sub _launch {
    my ($self) = @_;
    spit("$self->{dir}/redis.conf", $self->_conf);
    my $program = _program();
    return $self->_spawn(sub { exec {$program} 'redis-server', "$self->{dir}/redis.conf" });
}

sub _patience { 30 }
sub _signals { \%signal }
sub _title { 'redis-server' }

# A server that still reads its file takes connections, too.
sub _answers {
    my ($self) = @_;
    my $socket = $self->_connect or return 0;
    print $socket "PING\r\n";
    return (readline($socket) // '') =~ /^(?:\+PONG|-NOAUTH|-NOPERM|-WRONGPASS)/ ? 1 : 0;
}

sub _connect {
    my ($self) = @_;
    my %to = (PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => 10);
    return IO::Socket::INET->new(%to) if !$self->{tls};
    require IO::Socket::SSL;
    return IO::Socket::SSL->new(%to, SSL_verify_mode => 0);
}

# It stands still, and takes connections all the same.
sub pause { my ($self) = @_; kill 'STOP', $self->{pid}; return }
sub go_on { my ($self) = @_; kill 'CONT', $self->{pid}; return }

# A command, its words; what is answered: text, number, list, undef. Dies when it is an error.
sub cli {
    my ($self, @words) = @_;
    my $socket = $self->_connect or die "no connection to redis-server\n";
    my @commands = (defined $self->{password} ? ['AUTH', $self->{password}] : (), [@words]);
    my $said;
    for my $command (@commands) {
        print $socket '*' . @$command . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @$command;
        $socket->flush;
        $said = _read($socket);
    }
    return $said;
}

sub _read {
    my ($socket) = @_;
    my $line = readline($socket) // die "redis-server closed the connection\n";
    $line =~ s/\r\n\z//;
    my ($type, $rest) = (substr($line, 0, 1), substr $line, 1);
    die "redis-server: $rest\n" if $type eq '-';
    return $rest if $type eq '+' || $type eq ':';
    return undef if $rest < 0;
    return [map { _read($socket) } 1 .. $rest] if $type eq '*';
    read $socket, my $text, $rest + 2;
    return substr $text, 0, $rest;
}

1;
