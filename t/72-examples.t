# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# The examples as files: each is tested, complete, refused nowhere, and names nobody who exists.
use strict;
use warnings;
use VapiExample;
use VapiTest;

my @names = examples();
cmp_ok(scalar @names, '>=', 6, 'there are examples');

# ---- each has a test that starts it

my @tests = glob VapiHttpd::top() . '/t/72-examples-*.t';
my $tests = join '', map { slurp($_) } @tests;
ok($tests =~ /\bexample\('\Q$_\E'/, "$_.conf is started by one of t/72-examples-*.t") for @names;

# ---- what stands in it

my %text = map { m{([^/]+)\z} ? ($1 => slurp($_)) : () } grep { -f } glob example_file('*');
my (%used, %said);
for my $name (@names) {
    my $conf = $text{"$name.conf"};
    my ($head) = $conf =~ /\A((?:#.*\n)+)/;
    like($head, qr/^# $_ /m, "$name says: $_") for qw(Modules Files Use At);
    like($head, qr/mod_vapi_transfer.*mod_ssl/s, "$name names its modules");
    my @files = $conf =~ /\$\{EXAMPLES\}\/([\w.-]+)/g;
    for my $file (@files) {
        ok(defined $text{$file}, "$name: $file is there");
        $used{$file} = 1;
        (my $group = $file) =~ s/-\w+(?=\.json)/-*/;
        like($head, qr/Copy .*(?:\Q$file\E|\Q$group\E)/s, "$name says to copy $file");
    }
    my %defined = map { ($_ => 1) } $conf =~ /^ +Define (\w+) /mg;
    is_deeply([grep { !$defined{$_} } $conf =~ /\$\{(\w+)\}/g], [], "$name: each \${NAME} has a value of its own");
    is_deeply([grep { !/^<IfDefine !(\w+)>\n +Define \1 \S.*\n<\/IfDefine>/ } $conf =~ /(<IfDefine.*?<\/IfDefine>)/sg], [], "$name: each can be given before");
    is_deeply([grep { $conf !~ /\$\{\Q$_\E\}/ } sort keys %defined], [], "$name: and is used");
    like($head, qr/VapiSpool/, "$name has actions, and says where the spool is to stand") if $conf =~ /^ *VapiAction/m;
    unlike($conf, qr/^[^#\n]*VapiSpool/m, "$name itself may stand in a virtual host");
}
is_deeply([grep { !/\.conf\z/ && !$used{$_} } sort keys %text], [], 'no file is left over');

# Numbers that nobody has: 555-01xx, and the ranges that Ofcom and the Bundesnetzagentur keep for stories. Hosts that nobody has: RFC 2606.
my $nobody = qr/\A\+(?:1[2-9]\d\d55501\d{1,2}|4420794601\d\d|493023125\d{3})\z/;
for my $file (sort keys %text) {
    my @numbers = $text{$file} =~ /(\+\d{7,15})\b/g;
    is_deeply([grep { $_ !~ $nobody } @numbers], [], "$file: its numbers are nobody's");
    my @hosts = $text{$file} =~ m{https?://([^/\s"]+)}g;
    is_deeply([grep { !/(?:\A|\.)example(?:\.com)?\z/ } @hosts], [], "$file: its hosts are nobody's");
    unlike($text{$file}, qr/[^\x00-\x7f]|\t|[ ]\n/, "$file: plain text");
}

# ---- what `httpd -t` says of it

for my $name (@names) {
    for my $in_host (0, 1) {
        my ($code, $standard, $error) = tested($name, in_host => $in_host);
        is("$code\n$standard$error", "0\nSyntax OK\n", "$name: fine, and no warning" . ($in_host ? ', in a virtual host' : ''));
    }
    my ($code, $standard, $error) = tested($name, spool => 0);
    my @warnings = grep { /\S/ && !/Syntax OK/ } split /\n/, $error;
    my $acts = grep { !/\brequired\b/ } $text{"$name.conf"} =~ /^ *(VapiAction .*)/mg;
    is("$code " . @warnings, '0 ' . ($acts ? 1 : 0), "$name without a spool: a warning where there is something to keep");
    like("@warnings", qr/there is no VapiSpool: actions are tried once/, 'which says so') if $acts;

    # The tools, as Vapi's API takes them.
    my @tools = $text{"$name.conf"} =~ /^ *VapiTool +(\w+)/mg;
    if (@tools) {
        ($code, $standard) = tested($name, words => ['DUMP_VAPI_TOOL']);
        my $printed = JSON::PP->new->decode($standard);
        is_deeply([map { $_->{function}{name} } ref $printed eq 'ARRAY' ? @$printed : $printed], \@tools, "$name: its tools can be printed");
    }

    # As a beginner includes it: nothing is there yet.
    ($code, $standard, $error) = configtest(qq(Include "@{[ example_file("$name.conf") ]}"\n), modules => VapiExample::modules_of($name));
    is($code, 1, "$name: without a secret it is refused");
    like($error, qr/VapiCredential.*\/etc\/apache2\/vapi\.secret/s, 'which is named');
    ($code, $standard, $error) = tested($name, defines => { EXAMPLES => '/nowhere/vapi' });
    next if $text{"$name.conf"} !~ /\$\{EXAMPLES\}/;
    is($code, 1, "$name: without its files it is refused");
    like($error, qr/\/nowhere\/vapi\/\w/, 'which are named');
}

# ---- all of them on one machine, each in a virtual host of its own

my $history = sqlite_history();
my $s = VapiTest->new(modules => VapiExample::modules_of('repeat-caller'), conf => all_hosts())->start;
for my $name (@names) {
    my @paths = $text{"$name.conf"} =~ /^<Location "(.*?)">/mg;
    for my $path (@paths) {
        my $asked = sub { my $got = $s->post_finish($s->post_start($path, @_)); return "$got->{status} $got->{body}" };
        my $body = vapi_message('speech-update');
        is($asked->($body, host => host_of($name)), '200 {}', "$name: $path takes a message that asks nothing");
        like($asked->($body, host => host_of($name), 'x-vapi-signature' => '0' x 64), qr/\A401 /, "$name: $path wants a signature");
        like($asked->($body, host => 'other.example.com'), qr/\A404 /, "$name: no other host has $path");
    }
}
$s->allow_log(qr/outcome=unauthorized/);

done_testing;

sub own_defines { return (SUPPORT_LOG => '@DIR@/escalations.jsonl', REPEAT_PARAMS => $history // '@DIR@/history.db') }

sub tested {
    my ($name, %o) = @_;
    $o{defines} = { own_defines(), %{ $o{defines} || {} } };
    return configtest(example_conf($name, %o), modules => VapiExample::modules_of($name), defines => $o{words} || []);
}

sub host_of { my ($name) = @_; return "$name.example.com" }

sub all_hosts {
    my $conf = "VapiSpool \@DIR\@/spool\n<VirtualHost *:\@PORT\@>\nServerName other.example.com\n</VirtualHost>\n";
    for my $name (@names) {
        my $one = example_conf($name, spool => 0, defines => { own_defines() });
        my ($defines, $include) = $one =~ /\A((?:Define [^\n]*\n)*)(.*)\z/s;
        $conf .= "$defines<VirtualHost *:\@PORT\@>\nServerName " . host_of($name) . "\n$include</VirtualHost>\n";
    }
    return $conf;
}
