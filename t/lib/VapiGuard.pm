# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiGuard;

# Whatever a test starts or writes ends with it, however it ends: a process of its own waits for the end of the test (a pipe that
# closes, which happens after kill -9 too) and then kills the process groups and removes the directories it was told of.
use strict;
use warnings;
use File::Path qw(remove_tree);
use File::Temp ();
use IO::Handle;
use POSIX ();
use Time::HiRes qw(sleep);

my ($pipe, $guard, $owner, $over);

umask 022;    # Apache's children are another user, and read what a test writes

# A new directory that the server's children may read.
sub directory {
    my ($name) = @_;
    my $dir = File::Temp::tempdir("vapi-$name-XXXXXX", TMPDIR => 1, CLEANUP => 0);
    chmod 0755, $dir or die "$dir: $!";
    _tell("directory $dir");
    return $dir;
}

sub group { _tell("group $_[0]") }
sub ended { _tell("ended $_[0]") }

# To be called in a forked process that lives on: the pipe is its parent's.
sub leave {
    close $pipe if $pipe;
    ($pipe, $guard, $owner) = ();
}

# Is there a process in this group that has not ended? One that has, and that nobody has asked for yet, does not count.
sub group_lives {
    my ($group) = @_;
    return 0 if !kill 0, -$group;
    for my $file (glob '/proc/[0-9]*/stat') {
        open my $in, '<', $file or next;
        return 1 if (<$in> // '') =~ /\) ([A-Z]) \d+ (\d+) / && $2 == $group && $1 !~ /[ZX]/;
    }
    return 0;
}

sub _tell {
    my ($line) = @_;
    return if $over;
    _start() if !$owner || $owner != $$;
    print $pipe "$line\n";
}

sub _start {
    pipe my $read, my $write or die "pipe: $!";
    $SIG{$_} ||= sub { exit 1 } for qw(INT TERM HUP);
    $guard = fork // die "fork: $!";
    if (!$guard) {
        close $write;
        _watch($read);
        POSIX::_exit(0);
    }
    close $read;
    $write->autoflush;
    ($pipe, $owner) = ($write, $$);
}

sub _watch {
    my ($read) = @_;
    POSIX::setsid();
    $SIG{$_} = 'IGNORE' for qw(INT TERM HUP PIPE);
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', '/dev/null';
    open STDERR, '>', '/dev/null';
    my (%groups, %directories);
    while (<$read>) {
        chomp;
        my ($what, $name) = split / /, $_, 2;
        if    ($what eq 'group') { $groups{$name} = 1 }
        elsif ($what eq 'ended') { delete $groups{$name} }
        else                     { $directories{$name} = 1 }
    }
    kill 'KILL', map { -$_ } keys %groups;
    for my $group (keys %groups) {
        for (1 .. 200) { last if !group_lives($group); sleep 0.02 }
    }
    return if $ENV{VAPI_TEST_KEEP};
    remove_tree($_) for keys %directories;
}

END {
    if ($owner && $owner == $$) {
        local $?;
        $over = 1;
        close $pipe;
        waitpid $guard, 0;
    }
}

1;
