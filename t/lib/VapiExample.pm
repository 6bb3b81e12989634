# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiExample;

# A server that includes one file of conf/examples as a user would, with a console beside it:
#
#     use VapiTest;
#     use VapiExample;
#     my $s = example('support-escalation', defines => { CRM_URL => $crm->base });
#     is($s->decided('/vapi/support', $payload, with => ['crm.tier=gold'], at => '2026-05-04T15:00:00Z')->{route}, 'general');
#     $s->signed_post('/vapi/support', $payload);
use strict;
use warnings;
use Exporter qw(import);
use JSON::PP ();
use VapiGuard;
use VapiHttpd qw(top);
use VapiTest;

our @ISA = ('VapiTest');
our @EXPORT = qw(example examples example_conf example_file destination_request sqlite_history sqlite_ask urlencoded);

my $directory = top() . '/conf/examples';
my $json = JSON::PP->new->canonical->utf8;
# What a server of a test says of its secrets and of plain HTTP on loopback, and nobody should see in earnest.
my @always_allowed = (qr/url=: is http:\/\/: a secret is sent in the clear/);
my %modules = ('repeat-caller' => ['dbd']);

# The names of all, without .conf.
sub examples { return map { m{([^/]+)\.conf\z} } glob "$directory/*.conf" }

sub example_file { my ($name) = @_; return "$directory/$name" }

# The text of a configuration: its Defines, the spool (0: none), the Include (of another file: file => NAME), and what stands behind it.
# in_host => 1: as in a virtual host.
sub example_conf {
    my ($name, %o) = @_;
    my $text = VapiHttpd::slurp(example_file("$name.conf"));
    my %defines = (EXAMPLES => $directory, (map { ($_ => 'file:@DIR@/vapi.secret') } $text =~ /Define (\w+_(?:SECRET|TOKEN)) /g), %{ $o{defines} || {} });
    my $conf = join '', map { qq(Define $_ "$defines{$_}"\n) } sort keys %defines;
    my $spool = $o{spool} // 1 ? "VapiSpool \@DIR\@/spool\n" : '';
    my $file = $o{file} // example_file("$name.conf");
    my $include = qq(Include "$file"\n) . ($o{behind} // '');
    return $conf . $spool . ($o{in_host} ? "<VirtualHost *:\@PORT\@>\nServerName localhost\n$include</VirtualHost>\n" : $include);
}

sub modules_of { my ($name) = @_; return [watchdog => @{ $modules{$name} || [] }] }

# Options as of example_conf (but `behind`); control => a stand-in that control URLs may point to; override => lines of a virtual host, which override what
# the example has by the same name; patient => 1: a copy of it whose lookups may take longer, where a test is about what they answer, on a machine that
# may be slow; the rest is for VapiTest->new.
sub example {
    my ($name, %o) = @_;
    my ($control, $override, $is_patient) = delete @o{qw(control override patient)};
    if ($is_patient) {
        $o{file} = "\@DIR\@/$name.conf";
        $o{files} = { %{ $o{files} || {} }, "$name.conf" => VapiHttpd::slurp(example_file("$name.conf")) =~ s/\btimeout=\K\d+\b/30/gr };
    }
    my $behind = ($control ? $control->conf : '') . qq(<Location "/console">\nSetHandler vapi-console\nVapiConsole manage\nRequire local\n</Location>\n)
        . ($override ? "<VirtualHost *:\@PORT\@>\nServerName localhost\n$override</VirtualHost>\n" : '');
    my $conf = example_conf($name, behind => $behind, map { exists $o{$_} ? ($_ => delete $o{$_}) : () } qw(defines spool in_host file));
    my $self = VapiTest->new(modules => [authz_host => @{ modules_of($name) }], conf => $conf, %o);
    $self->allow_log(@always_allowed);
    return (bless $self, __PACKAGE__)->start;
}

# What would be done with this payload. with => [...], at => time.
sub decided {
    my ($self, $location, $payload, %o) = @_;
    my $query = join '&', "location=$location", (map { 'with=' . urlencoded($_) } @{ $o{with} || [] }), $o{at} ? 'at=' . urlencoded($o{at}) : ();
    my $got = $self->post("/console/explain?$query", $payload);
    die "decided: $got->{status} $got->{body}" if $got->{status} != 200;
    return $got->{json};
}

sub urlencoded { my ($text) = @_; $text =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge; return $text }

# A new database with the table of conf/repeat-caller.sql, made as its head says: of the servers' user, also its directory. Its file.
sub sqlite_history {
    my $dir = VapiGuard::directory('history');
    my $file = "$dir/history.db";
    system("sqlite3 $file < " . top() . '/conf/repeat-caller.sql') == 0 or die "sqlite3 failed\n";
    if ($> == 0) {
        my ($user) = grep { defined getpwnam $_ } qw(www-data apache nobody);
        chown +(getpwnam $user)[2, 3], $dir, $file or die "chown: $!";
    }
    return $file;
}

# What a statement yields: one line a row, | between the columns.
sub sqlite_ask {
    my ($file, $sql) = @_;
    open my $out, '-|', 'sqlite3', '-cmd', '.timeout 5000', $file, $sql or die "sqlite3: $!";
    my $said = do { local $/; <$out> } // '';
    close $out or die "sqlite3 failed: $sql\n";
    chomp $said;
    return $said;
}

# A transfer-destination-request as Vapi sends it: its arguments are those of the last tool call of the conversation. Options of vapi_message,
# and name, args, id.
sub destination_request {
    my (%o) = @_;
    my $call = { id => $o{id} // 'call_' . vapi_uuid(), type => 'function', function => { name => $o{name}, arguments => $json->encode($o{args}) } };
    my $earlier = { id => 'call_earlier', type => 'function', function => { name => 'somethingElse', arguments => '{"issue_category":"account"}' } };
    my @messages = (
        { role => 'user', message => 'I need help.' }, { role => 'tool_calls', toolCalls => [$earlier] }, { role => 'tool_call_result', result => 'done' },
        { role => 'user', message => 'A person, please.' }, { role => 'tool_calls', toolCalls => [$call] },
    );
    return vapi_message('transfer-destination-request', %o, artifact => { messages => \@messages });
}

1;
