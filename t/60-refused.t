# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What is wrong in a configuration is refused, or warned about, before Apache serves with it: in words that name file, line,
# directive, what was written and what is allowed. The cases are in t/data/refused.txt.
use strict;
use warnings;
use IO::Socket::SSL::Utils qw(KEY_create_ec KEY_create_rsa PEM_key2string);
use VapiTest;

my $file = VapiHttpd::top() . '/t/data/refused.txt';
my $rsa = PEM_key2string(KEY_create_rsa(2048));
my %files = (
    'empty.secret' => ['', 0600],
    'group.secret' => ["group\n", 0620],
    'others.secret' => ["others\n", 0602],
    'readable.secret' => ["readable\n", 0644],
    'two.words' => ["two words\n", 0600],
    'fails' => ["#!/bin/sh\necho canary-of-a-program; exit 3\n", 0700],
    'silent' => ["#!/bin/sh\n", 0700],
    'loose' => ["#!/bin/sh\necho x\n", 0777],
    'broken.json' => ["{\n \"type\": number\n}\n"],
    'other.json' => ['{"type":"number"}'],
    'number.json' => ['{"type":"number","number":"12"}'],
    'open.json' => ['{"type":"number","number":"+14155550100","message":"%{arg:x"}'],
    'names.json' => ['{"where":["%{map:region}"]}'],
    'cycle.json' => ['{"id":"%{lookup:crm.id}"}'],
    'good.txt' => ["# closed\n12-25 Christmas\n"],
    'broken.txt' => ["# closed\n12-25 Christmas\n12-32\n"],
    'good.map' => ["# places\n+1 north pole\n"],
    'no-value.map' => ["+1 north\n+49\n"],
    'twice.map' => ["# twice\n+1 a\n+2 b\n+1 c\n"],
    'control.map' => ["+1 a\e[2J\n"],
    'latin.map' => ["+49 M\xfcnchen\n"],
    'long.map' => ['x' x 256 . " y\n"],
    'zones.map' => ["+1 America/New_York\n+49 Europe/Berlin\n"],
    'wrong-zones.map' => ["+1 America/New_York\n# x\n+49 Europe/Berlim\n"],
    'front.map' => ["+1 front\n"],
    'offices.map' => ["+1 front\n\n+49 frnt\n"],
    'numbers.map' => ["+1 +14155550100\n"],
    'teams.map' => ["+1 front\n+49 pool:sales\n+44 pool:support\n"],
    'good.key' => [$rsa, 0600],
    'group.key' => [$rsa, 0640],
    'others.key' => [$rsa, 0604],
    'none.key' => ["canary-of-a-key\n", 0600],
    'ec.key' => [PEM_key2string(KEY_create_ec('prime256v1')), 0600],
    'short.key' => [PEM_key2string(KEY_create_rsa(1024)), 0600],
);
# Nothing of these may stand in a message.
my $never = qr/canary-of-|the-secret-that-nobody-may-see|secret-in-the-environment/;
my %options = (modules => ['dbd'], files => \%files, environment => { VAPI_T => 'secret-in-the-environment', VAPI_TEST_EMPTY => '' });
# The lines of the harness before those of a case.
my ($before) = map { $_ - 1 } (configtest("NoSuchDirective\n", %options))[2] =~ /line (\d+)/;

my @cases = read_cases($file);
cmp_ok(scalar @cases, '>=', 120, 'there are cases enough');
my %seen;
is(join(', ', grep { $seen{$_}++ } map { $_->{name} } @cases), '', 'each with a name of its own');
run(@cases);
check($_) for @cases;
done_testing;

# What httpd -t says of each case: its code and said. Some at a time, each from a process of its own.
sub run {
    my (@all) = @_;
    my @workers = map { worker($_, @all) } 0 .. 3;
    for my $worker (@workers) {
        my ($pid, $answers) = @$worker;
        while (my $line = <$answers>) {
            my ($i, @answer) = @{ JSON::PP::decode_json($line) };
            @{ $all[$i] }{qw(code said)} = @answer;
        }
        waitpid $pid, 0;
    }
}

# One that takes every fourth case: its process, and where it writes.
sub worker {
    my ($first, @all) = @_;
    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        VapiGuard::leave();
        for (my $i = $first; $i < @all; $i += 4) {
            my ($case, %needed) = ($all[$i], %files);
            delete @needed{ grep { index($case->{conf}, $_) < 0 } keys %needed };
            my ($code, undef, $said) = configtest($case->{raw} ? $case->{conf} : endpoint_conf(undef, $case->{conf}), %options, files => \%needed);
            print $write JSON::PP::encode_json([$i, $code, $said]), "\n";
        }
        close $write;
        POSIX::_exit(0);
    }
    close $write;
    return [$pid, $read];
}

# { name, conf, raw, expect => [[error|warning|silent, pattern], ...] }
sub read_cases {
    my ($path) = @_;
    my @read;
    for my $line (split /\n/, slurp($path)) {
        if ($line =~ /^(===?) (.+)/) { push @read, { name => $2, raw => $1 eq '===', conf => '', expect => [] } }
        elsif ($line =~ /^-- (error|warning|silent)(?:: (.+))?$/) { push @{ $read[-1]{expect} }, [$1, $2] }
        elsif (@read && $line !~ /^(?:#|\s*$)/) { $read[-1]{conf} .= "$line\n" }
    }
    return @read;
}

sub check {
    my ($case) = @_;
    my ($code, $said) = @$case{qw(code said)};
    my $refused = grep { $_->[0] eq 'error' } @{ $case->{expect} };
    my @wrong = @{ $case->{expect} } ? () : 'the case expects nothing';
    push @wrong, "exit code $code" if $code ne ($refused ? 1 : 0);
    push @wrong, 'a secret is shown' if $said =~ $never;
    for (@{ $case->{expect} }) {
        my ($kind, $pattern) = @$_;
        push @wrong, $kind eq 'silent' ? complaints($said) : misses($said, $kind, $pattern, $before + !$case->{raw});
    }
    ok(!@wrong, $case->{name}) or diag(join("\n", @wrong, "it said:\n$said", $case->{conf}));
}

# Lines that are no "Syntax OK".
sub complaints { my ($said) = @_; return map { "said without need: $_" } grep { !/^Syntax OK$/ } split /\n/, $said }

# A message of the kind, on a line that names its place; a syntax error has the place on the line before.
sub misses {
    my ($said, $kind, $pattern, $above) = @_;
    $pattern =~ s/FILE:(\d+)/'httpd\.conf:' . ($above + $1)/e;
    my @lines = grep { ($kind eq 'warning') == /\[vapi_transfer:warn\]/ } split /\n/, $said =~ s/(Syntax error on line \d+ of \S+:)\n/$1 /gr;
    return grep({ /$pattern/ && /httpd\.conf:\d+: |^AH\d+: Syntax error on line \d+ of DIR\/httpd\.conf:/ } @lines) ? () : "no $kind: $pattern";
}
