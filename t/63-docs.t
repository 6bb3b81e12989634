# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Do the documents say what the module does? Every directive of the command table is in docs/directives.md and conf/vapi-transfer.conf and
# none that is not there, with the context and the keys that it has in the source; each example passes `httpd -t`; each word of expressions
# is told of; each note, outcome and reason that the module writes is in docs/log.md; what the console answers is in docs/console.md;
# the configurations of the others pass too, and links lead somewhere.
use strict;
use warnings;
use VapiTest;

my $top = VapiHttpd::top();
my %source = map { m{([^/]+)$} ? ($1 => slurp($_)) : () } glob("$top/src/*.c $top/mod_vapi_transfer.c");
my %context = read_table();
my @directives = sort keys %context;
cmp_ok(scalar @directives, '>', 30, 'the command table is read');

my %section = read_sections(slurp("$top/docs/directives.md"));
is_deeply([sort grep { /^Vapi/ } keys %section], \@directives, 'docs/directives.md has each directive of the command table, and no other');

# What the examples refer to, beside the configuration.
my %files = (
    (map { ($_ => ["Some-secret-of-$_\n", 0600]) } qw(vapi.secret redis.secret vapi-control.token vapi-api.key crm.token relay-ca.pem)),
    'vapi-secret' => ["#!/bin/sh\necho some-secret\n", 0700], 'vapi.key' => [scalar `openssl genrsa 2048 2>/dev/null`, 0600],
    'holidays.txt' => "12-26  the day after\n", 'region.map' => "+1 east\n+44 west\n", 'zones.map' => "+1 America/New_York\n", 'offices.map' => "+1 front\n+44 billing\n",
    'call-back.json' => '{"number":"%{VAPI_CALLER}"}', 'front.json' => '{"type":"number","number":"+14155550199"}',
);
# What other parts of a document have said before.
my @usual = ((map { "VapiDestination $_ +14155550199" } qw(front billing oncall triage)), 'VapiCredential prod hmac secret=file:@DIR@/vapi.secret preset=body-only',
    'VapiHours office UTC "Mon-Fri 09:00-17:00"', 'VapiLookup crm url=https://crm.example.com/%{VAPI_CALLER}');
my %options = (files => \%files, environment => { VAPI_OLD_SECRET => 'another', CRM_TOKEN => 'a-token' }, modules => [qw(authz_host auth_basic authn_core authn_file authz_user dbd watchdog)]);

for my $name (@directives) {
    my $text = $section{$name} // '';
    like($text, qr/\A\n\w.*\.\n/, "$name: what it is for, in a sentence");
    like($text, qr/^- Syntax: `<?$name [^`]/m, "$name: its syntax");
    like($text, qr/^- Default: \S/m, "$name: its default");
    is(context($text), $context{$name}, "$name: where it may stand");
    my ($example) = $text =~ /^Example:\n\n((?: {4}.*\n)+)/m;
    like($example // '', qr/^\s+<?$name /m, "$name: an example");
    passes("$name: its example", $example);
    my ($default) = $text =~ /^- Default: `($name [^`]+)`/m;
    passes("$name: its default", "$default\n") if $default;
}
passes("an example of expressions: $_", "    $_\n") for map { /^ {4}(Vapi\w+ .*)$/mg } @section{'Expressions', 'Regular expressions'};

# The keys of each directive, where its reader lists them.
my %keys_in = (
    VapiCredential => 'credential_make.c', VapiTransferPlan => 'plan.c', VapiDestination => 'destination.c', VapiRoute => 'route.c', VapiHours => 'hours.c',
    VapiLookup => 'lookup.c', VapiAction => 'action.c', VapiPool => 'pool_make.c pool_rules', VapiMember => 'pool_make.c member_rules',
);
for my $name (sort keys %keys_in) {
    my ($file, $rules) = split / /, $keys_in{$name};
    my @keys = map { /\{ "([a-z-]+)", [01] \}/g } $source{$file} =~ /vapi_key_rule_t @{[$rules \/\/ '\\w+']}\[\] = \{(.*?)\};/sg;
    my $text = $section{$name} =~ s/fallback-\*/fallback-message fallback-end-call/r;
    cmp_ok(scalar @keys, '>', 2, "$name: its keys are read");
    is(join(' ', grep { $text !~ /(?<![\w-])\Q$_\E(?![\w-])/ } @keys), '', "$name: each of its keys");
}

# Each word of Apache's expression language that is ours is told of.
my @vocabulary = $source{'vocabulary.c'} =~ /^\s+\{ "(\w+)", (?:var|word)_/mg;
cmp_ok(scalar @vocabulary, '>', 25, 'the vocabulary of expressions is read');
is(join(' ', grep { $section{Expressions} !~ /\b$_\b/ } @vocabulary), '', 'docs/directives.md has all of it');
my %vocabulary = map { ($_ => 1) } @vocabulary;
is(join(' ', grep { defined && !$vocabulary{$_} } $section{Expressions} =~ /%\{(VAPI_\w+)\}|\| `(\w+)\('/g), '', 'and no other');

# ---- docs/log.md

my $log = slurp("$top/docs/log.md");
my @notes = map { /"(vapi-[a-z-]+)"/g } grep { /note|notes/ } split /\n/, join '', @source{'log.c', 'webhook.c', 'delivery.c'};
my %seen;
@notes = grep { !$seen{$_}++ } @notes;
cmp_ok(scalar @notes, '==', 12, 'the notes are read');
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
my ($met) = $source{'route.c'} =~ /^static const char \*met\(.*?\n\{\n(.*?)^\}/ms;
my ($dial) = $source{'route.c'} =~ /^static const char \*dial\(.*?\n\{\n(.*?)^\}/ms;
push @emitted, $source{'transfer.c'} =~ /ended\(\w+, "([a-z-]+)"/g, $source{'transfer.c'} =~ /timed_out \? "([a-z-]+)"/g, "$source{'destination.c'}$source{'dialling.c'}" =~ /return "([a-z]+-[a-z-]+)";/g,
    $source{'route.c'} =~ /(?:reason|why) = (?:\w+ \? \w+ : )?"([a-z-]+)"/g, "$met$dial" =~ /"([a-z-]+)"/g, $source{'errand.c'} =~ /reason = "([a-z-]+)"/g,
    $source{'credential.c'} =~ /"((?:signature|timestamp|secret)-[a-z]+)"/g, $source{'pool_take.c'} =~ /(?:return|[?:]) "([a-z-]+)"(?=;| :)/g;
%seen = ();
@emitted = grep { defined && !$seen{$_}++ } @emitted;
cmp_ok(scalar @emitted, '>=', 24, 'what the module says is read');
is(join(' ', grep { !$known{$_} } @emitted), '', 'it says no other word');

# ---- conf/vapi-transfer.conf

my $conf = slurp("$top/conf/vapi-transfer.conf");
my %in_conf = map { ($_ => 1) } $conf =~ /^\s*#?\s*<?(Vapi\w+) /mg;
is(join(' ', grep { !$in_conf{$_} } @directives), '', 'conf/vapi-transfer.conf has every directive');
(my $active = $conf) =~ s/^LoadModule.*\n//m;
$active =~ s/^(\s*)#(Vapi|<)/$1$2/mg;
passes('all of conf/vapi-transfer.conf, with what is commented out', $active);

# ---- docs/console.md

my $console = slurp("$top/docs/console.md");
my ($answer) = $source{'explain.c'} =~ /^static const char \*answer\(.*?\n\{\n(.*?)^\}/ms;
my ($status) = $source{'status.c'} =~ /^int vapi_status\(.*?\n\{\n(.*?)^\}/ms;
my ($verbs) = $source{'console.c'} =~ /verbs\[\] = \{(.*?)\};/s;
my %of_console = (
    'verb' => [map { /"([a-z]+)", M_/g } $verbs], 'parameter' => [$source{'explain.c'} =~ /strcmp\(name, "(\w+)"\)/g],
    'member of an explanation' => [$answer =~ /set_new\(all, "(\w+)"/g], 'member of the status' => ['version', 'uptime', $status =~ /set_new\(status, "(\w+)"/g],
);
for my $what (sort keys %of_console) {
    cmp_ok(scalar @{ $of_console{$what} }, '>', 1, "each $what is read");
    is(join(' ', grep { $console !~ /`$_[`=]|"$_"|\.\.\.\/$_\b/ } @{ $of_console{$what} }), '', "docs/console.md has each $what");
}

# ---- configurations in other documents

my ($complete) = $section{'A complete configuration'} =~ /^((?: {4}.*\n|\n(?= {4}))+)/m;
(my $rest = $complete) =~ s/^ +LoadModule.*\n//m;
my ($code, undef, $said) = configtest(undent($rest), %options);
is("exit $code\n$said", "exit 0\nSyntax OK\n", 'docs/directives.md: the complete configuration is taken as it stands, without a warning');
my %names = map { ($_ => 1) } $rest =~ /^\s*<?(Vapi\w+)/mg;
is(join(' ', grep { !$names{$_} } qw(VapiCredential VapiTransferPlan VapiDestination VapiPool VapiMember VapiHours VapiLookup VapiRoute)), '', 'and has all of a routing table');

for my $file (qw(README.md docs/console.md docs/lookups-and-actions.md docs/pools.md)) {
    my @blocks = grep { m{</Location>|^ {4}DBDriver }m } slurp("$top/$file") =~ /((?:^ {4}.*\n|^\n(?= {4}))+)/mg;
    cmp_ok(scalar @blocks, '>', 0, "$file: its configurations are read");
    for my $block (@blocks) {
        s/^ +LoadModule.*\n//mg, s/^ +\.\.\.$/SetHandler vapi-transfer\nVapiAuthenticate none/mg for $block;
        passes("$file: " . ($block =~ /(\S.*)/)[0], $block);
    }
}

# Those with a Redis, where its module is built; as TLS it needs more of hiredis than is everywhere.
my $redis = VapiHttpd::module_file() =~ s{transfer\.so\z}{state_redis.so}r;
for my $file (-e $redis ? qw(README.md docs/redis.md conf/vapi-transfer.conf) : ()) {
    my @lines = map { s/rediss:/redis:/r } slurp("$top/$file") =~ /^(?: {4}|#   )(VapiState +redis.*\n)/mg;
    cmp_ok(scalar @lines, '>', 0, "$file: its Redis is read");
    for my $line (@lines) {
        my ($status, undef, $says) = configtest("LoadModule vapi_state_redis_module $redis\n" . undent($line), %options);
        is("exit $status\n$says", "exit 0\nSyntax OK\n", "$file: " . $line =~ s/\n//r);
    }
}

# ---- links between documents

for my $file (glob("$top/docs/*.md $top/README.md")) {
    my $in = $file =~ s{/[^/]+\z}{}r;
    my @links = slurp($file) =~ /\]\(([^)]+)\)/g;
    is(join(' ', grep { !/^https?:/ && !leads_somewhere($in, $file, $_) } @links), '', 'links of ' . $file =~ s{.*/}{}r);
}
done_testing;

# A file that is there, and in it the heading that the link names.
sub leads_somewhere {
    my ($in, $file, $link) = @_;
    my ($to, $heading) = split /#/, $link;
    $to = length $to ? "$in/$to" : $file;
    return -e $to && (!defined $heading || grep { $_ eq $heading } map { s/[^\w -]//gr =~ tr/ /-/r } map { lc } slurp($to) =~ /^#+ (.+)$/mg);
}

# What the command table and the readers of directives say of where each may stand: { directive => context }
sub read_table {
    my $all = join '', map { $source{$_} } grep { /^directives/ } sort keys %source;
    my %reader = $source{'directives.c'} =~ /^static const form_t (\w+) = \{ (\w+),/mg;
    my @table = $source{'directives.c'} =~ /^\s+(HOST|POOL|ENDPOINT)\("(\w+)", (\w+)/mg;
    my %found;
    while (my ($kind, $name, $form) = splice @table, 0, 3) {
        my ($body) = $all =~ /^const char \*$reader{$form}\(.*?\n\{\n(.*?)^\}/ms or die "$name: no reader";
        $found{$name} = $kind ne 'ENDPOINT' ? ($body =~ /GLOBAL_ONLY/ ? 'server' : 'server, virtual host') : $body =~ /!cmd->path/ ? 'section' : 'server, virtual host, section';
    }
    return %found;
}

# { heading => text }
sub read_sections {
    my ($text) = @_;
    my (undef, @parts) = split /^##? (.+)\n/m, $text;
    return @parts;
}

sub context { my ($text) = @_; return $text =~ /^- Context: (.*)$/m ? $1 : '' }

# Lines of a document as those of a configuration, its files being in the test's directory.
sub undent { my ($lines) = @_; return $lines =~ s{/(?:etc|var|usr/local/bin)/(?:[\w.-]+/)*([\w.-]+)}{\@DIR\@/$1}gr =~ s/^ {4}//mgr }

# A test: `httpd -t` takes these lines, with what they refer to beside them.
sub passes {
    my ($name, $lines) = @_;
    my @lines = split /^/m, undent($lines // '');
    my $has_section = grep { /^\s*</ } @lines;
    unshift @lines, map { my ($object) = /^(\w+ \w+)/; (grep { /^\s*@{[ $object =~ s{ }{\\s+}r ]} / } @lines) ? () : "$_\n" } @usual;
    my @inside = $has_section ? () : grep { /^\s*Vapi(?:Set|Action) / } @lines;
    @lines = grep { my $line = $_; !grep { $_ eq $line } @inside } @lines;
    my $whole = $has_section ? join('', @lines) : endpoint_conf(undef, @lines) =~ s{(?=</Location>)}{join '', @inside}er;
    my ($code, undef, $said) = configtest($whole, %options);
    is("exit $code", 'exit 0', $name) or diag($said, $whole);
}
