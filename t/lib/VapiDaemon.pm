# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiDaemon;

# A server of a test's own (VapiPg, VapiRedis): in a new directory, on a free port of loopback; it ends with the test. Whoever is one says how it
# is started (_launch: its process), whether it can be asked (_answers), what it is called (_title), how long that may take
# (_patience), and by which signals it ends (_signals: `usual`, `kill`, `last` where the test is over, and others).
use strict;
use warnings;
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(sleep time);
use VapiGuard;
use VapiHttpd qw(slurp);

sub dir  { $_[0]{dir} }
sub port { $_[0]{port} }
sub pid  { $_[0]{pid} }
sub log  { my ($self) = @_; return -e "$self->{dir}/log" ? slurp("$self->{dir}/log") : '' }

# A process in a group of its own, whose words go to the log: `become` is called in it, and does not come back.
sub _spawn {
    my ($self, $become) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    POSIX::setsid();
    VapiGuard::leave();
    open STDIN, '<', '/dev/null';
    open STDOUT, '>>', "$self->{dir}/log";
    open STDERR, '>&', \*STDOUT;
    $become->();
    POSIX::_exit(127);
}

# A port of its own for as long as it lives, up or down: this socket does not listen, and lets only those in who ask to share it, as servers do.
# Nobody else is given the port meanwhile, and who connects while the server is down is refused.
sub reserve_port {
    my ($self) = @_;
    $self->{place} = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp', ReuseAddr => 1) or die "no free port: $!";
    $self->{port} = $self->{place}->sockport;
    return $self;
}

# Returns when it can be asked.
sub start {
    my ($self) = @_;
    my $end = time + $self->_patience;
    while (1) {
        return $self if $self->_start_once;
        last if time > $end;
        sleep 0.3;    # what was killed has not quite ended
    }
    die $self->_title . " did not start:\n" . $self->log;
}

sub _start_once {
    my ($self) = @_;
    my $pid = $self->{pid} = $self->_launch;
    VapiGuard::group($pid);
    my $end = time + $self->_patience;
    while (time < $end && waitpid($pid, POSIX::WNOHANG()) != $pid) {
        return 1 if $self->_answers;
        sleep 0.02;
    }
    $self->stop('kill');
    return 0;
}

sub stop {
    my ($self, $how) = @_;
    my $pid = delete $self->{pid} or return;
    kill 'CONT', $pid;
    kill $self->_signals->{ $how // 'usual' }, $pid;
    waitpid $pid, 0;
    VapiGuard::ended($pid);
    return;
}

sub restart {
    my ($self, $how) = @_;
    $self->stop($how);
    return $self->start;
}

sub DESTROY {
    my ($self) = @_;
    return if !$self->{pid} || $self->{owner} != $$;
    local ($?, $@, $!);
    $self->stop('last');
}

1;
