# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What is wrong in a configuration is refused, or warned about, before Apache serves with it: in words that name file, line,
# directive, what was written and what is allowed. The cases are in t/data/refused.txt.
use strict;
use warnings;
use VapiTest;

my $file = VapiHttpd::top() . '/t/data/refused.txt';
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
);
# Nothing of these may stand in a message.
my $never = qr/canary-of-|the-secret-that-nobody-may-see|secret-in-the-environment/;
my %options = (files => \%files, environment => { VAPI_T => 'secret-in-the-environment', VAPI_TEST_EMPTY => '' });
# The lines of the harness before those of a case.
my ($before) = map { $_ - 1 } (configtest("NoSuchDirective\n"))[2] =~ /line (\d+)/;

my @cases = read_cases($file);
cmp_ok(scalar @cases, '>=', 120, 'there are cases enough');
my %seen;
is(join(', ', grep { $seen{$_}++ } map { $_->{name} } @cases), '', 'each with a name of its own');
check($_) for @cases;
done_testing;

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
    my ($code, undef, $said) = configtest($case->{raw} ? $case->{conf} : endpoint_conf(undef, $case->{conf}), %options);
    my $refused = grep { $_->[0] eq 'error' } @{ $case->{expect} };
    my @wrong = @{ $case->{expect} } ? () : 'the case expects nothing';
    push @wrong, "exit code $code" if $code ne ($refused ? 1 : 0);
    push @wrong, 'a secret is shown' if $said =~ $never;
    for (@{ $case->{expect} }) {
        my ($kind, $pattern) = @$_;
        push @wrong, $kind eq 'silent' ? complaints($said) : misses($said, $kind, $pattern);
    }
    ok(!@wrong, $case->{name}) or diag(join("\n", @wrong, "it said:\n$said", $case->{conf}));
}

# Lines that are no "Syntax OK".
sub complaints { my ($said) = @_; return map { "said without need: $_" } grep { !/^Syntax OK$/ } split /\n/, $said }

# A message of the kind, on a line that names its place; a syntax error has the place on the line before.
sub misses {
    my ($said, $kind, $pattern) = @_;
    $pattern =~ s/FILE:(\d+)/'httpd\.conf:' . ($before + $1)/e;
    my @lines = grep { ($kind eq 'warning') == /\[vapi_transfer:warn\]/ } split /\n/, $said =~ s/(Syntax error on line \d+ of \S+:)\n/$1 /gr;
    return grep({ /$pattern/ && /httpd\.conf:\d+: |^AH\d+: Syntax error on line \d+ of DIR\/httpd\.conf:/ } @lines) ? () : "no $kind: $pattern";
}
