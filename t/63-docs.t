# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Do the documents say what the module does? Every directive of the command table is in docs/directives.md and conf/vapi-transfer.conf and
# none that is not there; each example passes `httpd -t`; each note, outcome and reason that the module writes is in docs/log.md.
use strict;
use warnings;
use VapiTest;

my $top = VapiHttpd::top();
my %source = map { m{([^/]+)$} ? ($1 => slurp($_)) : () } glob("$top/src/*.c $top/mod_vapi_transfer.c");
my @directives = sort $source{'directives.c'} =~ /^\s+(?:HOST|ENDPOINT)\("(\w+)"/mg;
cmp_ok(scalar @directives, '>', 20, 'the command table is read');

my %section = read_sections(slurp("$top/docs/directives.md"));
is_deeply([sort grep { /^Vapi/ } keys %section], \@directives, 'docs/directives.md has each directive of the command table, and no other');
my %files = map { ($_ => ["Some-secret-of-$_\n", 0600]) } qw(vapi.secret vapi-control.token vapi-api.key relay-ca.pem);
my %options = (files => { %files, 'vapi-secret' => ["#!/bin/sh\necho some-secret\n", 0700] }, environment => { VAPI_OLD_SECRET => 'another' });

for my $name (@directives) {
    my $text = $section{$name} // '';
    like($text, qr/^- Syntax: `$name [^`]/m, "$name: its syntax");
    like($text, qr/^- Default: \S/m, "$name: its default");
    is(context($text), $source{'directives.c'} =~ /ENDPOINT\("$name"/ ? 'server, virtual host, section' : $name eq 'VapiState' ? 'server' : 'server, virtual host', "$name: where it may stand");
    my ($example) = $text =~ /^Example:\n\n((?: {4}.*\n)+)/m;
    like($example // '', qr/^\s+$name /m, "$name: an example");
    passes("$name: its example", $example);
    my ($default) = $text =~ /^- Default: `($name [^`]+)`/m;
    passes("$name: its default", "$default\n") if $default;
}
passes('the example of an expression', $section{Expressions} =~ /^( {4}VapiRoute .*\n)/m);

# Each word of section 4 that is a function or variable is told of.
my @vocabulary = $source{'expression.c'} =~ /^\s+\{ "(\w+)", (?:var|eval)_/mg;
cmp_ok(scalar @vocabulary, '>', 20, 'the vocabulary of expressions is read');
is(join(' ', grep { $section{Expressions} !~ /\b$_\b/ } @vocabulary), '', 'docs/directives.md has all of it');

# ---- docs/log.md

my $log = slurp("$top/docs/log.md");
my @notes = map { /"(vapi-[a-z-]+)"/g } grep { /note|notes/ } split /\n/, $source{'log.c'} . $source{'webhook.c'};
my %seen;
@notes = grep { !$seen{$_}++ } @notes, qw(vapi-member vapi-lookup-ms);
cmp_ok(scalar @notes, '>=', 12, 'the notes are read');
is(join(' ', grep { $log !~ /`$_`/ } @notes), '', 'docs/log.md has every note');
is(join(' ', grep { !$seen{$_} } $log =~ /^\| `(vapi-[a-z-]+)`/mg), '', 'and no other');
my @outcomes = qw(transferred handed-off answered no-route refused failed unknown limited duplicate ignored unauthorized malformed);
is(join(' ', grep { $log !~ /^\| `$_` \| /m } @outcomes), '', 'docs/log.md has every outcome');
my @reasons = qw(no-match busy paused closed lookup-error not-allowed wrong-transport action-failed refused call-gone timeout limited no-control-url bad-argument signature-missing
    signature-wrong timestamp-stale secret-wrong not-configured no-user);
is(join(' ', grep { $log !~ /^\| (?:`[\w-]+` )*`$_` /m } @reasons), '', 'docs/log.md has every reason');
my %known = map { ($_ => 1) } @outcomes, @reasons;
my @emitted;
for my $file (qw(tool_calls.c requests.c webhook.c)) {
    push @emitted, $source{$file} =~ /end_with\([^;]*?, "([a-z-]+)", (?:"([a-z-]+)"|\w)/g, $source{$file} =~ /(?:outcome|reason) = "([a-z-]+)"/g;
}
push @emitted, $source{'transfer.c'} =~ /ended\(\w+, "([a-z-]+)"/g, $source{'transfer.c'} =~ /timed_out \? "([a-z-]+)"/g, $source{'destination.c'} =~ /return "([a-z-]+)";/g,
    $source{'route.c'} =~ /(?:reason|why) = "([a-z-]+)"/g, $source{'credential.c'} =~ /"((?:signature|timestamp|secret)-[a-z]+)"/g;
%seen = ();
@emitted = grep { defined && !$seen{$_}++ } @emitted;
cmp_ok(scalar @emitted, '>=', 20, 'what the module says is read');
is(join(' ', grep { !$known{$_} } @emitted), '', 'it says no other word');

# ---- conf/vapi-transfer.conf

my $conf = slurp("$top/conf/vapi-transfer.conf");
my %in_conf = map { ($_ => 1) } $conf =~ /^\s*#?\s*(Vapi\w+) /mg;
is(join(' ', grep { !$in_conf{$_} } @directives), '', 'conf/vapi-transfer.conf has every directive');
(my $active = $conf) =~ s/^LoadModule.*\n//m;
$active =~ s/^(\s*)#(Vapi|<)/$1$2/mg;
passes('all of conf/vapi-transfer.conf, with what is commented out', $active);

# ---- links between documents

for my $file ("$top/docs/directives.md", "$top/docs/log.md") {
    my @broken = grep { !-e "$top/docs/$_" } map { s/#.*//r } grep { !/^(?:https?:|#)/ } slurp($file) =~ /\]\(([^)]+)\)/g;
    is("@broken", '', "links of $file");
}
done_testing;

# { heading => text }
sub read_sections {
    my ($text) = @_;
    my (undef, @parts) = split /^##? (.+)\n/m, $text;
    return @parts;
}

sub context { my ($text) = @_; return $text =~ /^- Context: (.*)$/m ? $1 : '' }

# A test: `httpd -t` takes these lines, with what they refer to beside them.
sub passes {
    my ($name, $lines) = @_;
    my $conf = $lines // '';
    $conf =~ s{(?<=file:|File )/etc/[\w/]+/([\w.-]+)}{\@DIR\@/$1}g;
    $conf =~ s{/usr/local/bin/}{\@DIR\@/}g;
    my @lines = split /^/m, $conf =~ s/^ {4}//mgr;
    my $has_section = grep { /^\s*</ } @lines;
    unshift @lines, map { my $d = $_; (grep { /^\s*VapiDestination\s+$d / } @lines) ? () : "VapiDestination $d +14155550199\n" } qw(front billing oncall triage);
    my ($code, undef, $said) = configtest($has_section ? join('', @lines) : endpoint_conf(undef, @lines), %options);
    is("exit $code", 'exit 0', $name) or diag($said, @lines);
}
