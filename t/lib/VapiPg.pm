# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiPg;

# A PostgreSQL of a test's own: in a new directory, on a free port of loopback and on a socket in that directory.
#
#     my $pg = VapiPg->new(sql => 'CREATE TABLE customer (phone varchar PRIMARY KEY, tier varchar)');
#     my $s = VapiTest->new(modules => ['dbd'], conf => $pg->dbd_conf . ...);
#     $pg->psql("INSERT INTO customer VALUES ('+14155550100', 'gold')");
#     $pg->restart('immediate');
#
# PostgreSQL does not run as root: it is then `postgres` or the first other user there is for such things. It ends with the test.
use strict;
use warnings;
use POSIX ();
use VapiDaemon;
use VapiGuard;

our @ISA = ('VapiDaemon');
my $name = 'vapi';       # of the user and of the database
# smart waits for those who are connected, fast (the usual) does not, immediate is a crash with its recovery, kill a crash.
my %signal = (smart => 'TERM', fast => 'INT', usual => 'INT', immediate => 'QUIT', last => 'QUIT', kill => 'KILL');

# A program of PostgreSQL's newest version that is installed.
sub program {
    my ($program) = @_;
    my @installed = sort { ($b =~ /(\d+)/)[0] <=> ($a =~ /(\d+)/)[0] } glob '/usr/lib/postgresql/*/bin /usr/pgsql-*/bin';
    for my $dir (@installed, split /:/, $ENV{PATH}) {
        return "$dir/$program" if -x "$dir/$program";
    }
    die "$program was not found: t/setup test installs it\n";
}

# started => 0 to leave it down, sql => text for psql once it runs.
sub new {
    my ($class, %o) = @_;
    my $self = bless { dir => VapiGuard::directory('pg'), owner => $$ }, $class;
    $self->reserve_port;
    if ($> == 0) {
        ($self->{user}) = grep { defined getpwnam $_ } qw(postgres nobody) or die 'no user to run PostgreSQL as';
        chown +(getpwnam $self->{user})[2, 3], $self->{dir};
    }
    $self->_make_database;
    if ($o{started} // 1) {
        $self->start;
        $self->psql($o{sql}) if $o{sql};
    }
    return $self;
}

sub _make_database {
    my ($self) = @_;
    my $pid = $self->_run(program('initdb'), '-D', "$self->{dir}/data", '-U', $name, qw(-A trust -E UTF8 --locale=C -N));
    waitpid $pid, 0;
    die "initdb failed:\n" . $self->log if $?;
    open my $conf, '>>', "$self->{dir}/data/postgresql.conf" or die "postgresql.conf: $!";
    print $conf "listen_addresses = '127.0.0.1'\nunix_socket_directories = '$self->{dir}'\nfsync = off\nmax_connections = 60\n"
        . "shared_buffers = 16MB\nautovacuum = off\nmax_wal_senders = 0\nmax_parallel_workers = 0\n";
    close $conf or die "postgresql.conf: $!";
}

# A process of the user that PostgreSQL runs as.
sub _run {
    my ($self, @command) = @_;
    return $self->_spawn(sub {
        if ($self->{user}) {
            my ($uid, $gid) = (getpwnam $self->{user})[2, 3];
            $) = "$gid $gid";
            POSIX::setgid($gid);
            POSIX::setuid($uid) or POSIX::_exit(126);
        }
        chdir '/';
        exec @command;
    });
}

# For DBDParams; over => 'socket' goes there by the socket.
sub params {
    my ($self, %o) = @_;
    my $host = ($o{over} // '') eq 'socket' ? $self->{dir} : '127.0.0.1';
    return "host=$host port=$self->{port} user=$name dbname=postgres connect_timeout=2";
}

# The lines that give a server its connections.
sub dbd_conf {
    my ($self, %o) = @_;
    return "DBDriver pgsql\nDBDParams \"" . $self->params(%o) . "\"\nDBDMin 1\nDBDKeep 4\nDBDMax 8\n";
}

sub _launch { my ($self) = @_; return $self->_run(program('postgres'), '-D', "$self->{dir}/data", '-p', $self->{port}) }
sub _patience { 60 }
sub _signals { \%signal }
sub _title { 'PostgreSQL' }

sub _answers {
    my ($self) = @_;
    open my $state, '<', "$self->{dir}/data/postmaster.pid" or return 0;
    my @lines = <$state>;
    return @lines >= 8 && $lines[0] == $self->{pid} && $lines[7] =~ /^ready/;
}

# Runs these statements. What they print, one line a row, columns with | between them; dies when one fails.
sub psql {
    my ($self, $sql) = @_;
    open my $out, '-|', program('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $self->params . ' connect_timeout=20', '-c', $sql or die "psql: $!";
    my $said = do { local $/; <$out> } // '';
    close $out or die "psql failed: $sql\n";
    chomp $said;
    return $said;
}

1;
