# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# VapiAction: which of them is done at what moment, what it sends, what a required one gates, and that no other holds up a caller.
use strict;
use warnings;
use HTTP::Tiny;
use Time::HiRes qw(sleep time);
use VapiCrm;
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my $control = VapiControl->new;
my $crm = VapiControl->new;
my $base = $crm->base;
my $done = 'The call is being transferred.';
my $no_spool = qr/there is no VapiSpool/;
my $count = 0;

# Servers whose endpoints share what stands outside of sections. lines => those, at => { PATH => the section's own lines }; the rest is VapiTest's.
sub server {
    my (%o) = @_;
    my ($lines, $at) = delete @o{qw(lines at)};
    my $conf = "VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\nVapiAuthenticate test\n" . $control->conf . $lines;
    $conf .= "<Location \"$_\">\nSetHandler vapi-transfer\n$at->{$_}</Location>\n" for sort keys %$at;
    my $s = VapiTest->new(modules => ['watchdog'], conf => $conf, %o);
    $s->allow_log($no_spool, qr/AH00632: .* database is locked|AH02655/, qr/VapiRoute: the table has no last route/, qr/is required, and gates the table's last route/, qr/outcome=(?:refused|failed|unknown|no-route|limited)/);
    return $s->start;
}

sub new_call { return 'call-' . ++$count }
sub said { my ($reply) = @_; my $first = ($reply->{json} || {})->{results}[0] || $reply->{json} || {}; return $first->{result} // $first->{error} // "status $reply->{status}" }

# One tool call. behaviour: of the control API.
sub tool_call { my ($call, %o) = @_; my $behaviour = delete $o{behaviour}; return vapi_tool_call(call => $call, control => $control->url($call, $behaviour), %o) }
sub ask { my ($s, $path, $call, %o) = @_; return $s->signed_post($path, tool_call($call, %o)) }

# What the CRM was asked for under this path (behind the behaviour): all of it, or as many as there should be by now.
sub asked { my ($path) = @_; return grep { $_->{path} =~ m{^/[^/]*\Q$path\E(?:[/?]|$)} } $crm->requests }
sub asked_for { my ($path, $number) = @_; my @asked; wait_until(sub { (@asked = asked($path)) >= $number }, 20); return @asked }
# The lines that are whole: another may be on its way.
sub lines_of { my ($s, $name) = @_; my $file = $s->dir . "/$name"; my @lines = -e $file ? slurp($file) =~ /^(.*)\n/mg : (); return @lines }
sub posts { my ($call) = @_; return grep { ($_->{call} // '') eq $call && $_->{method} eq 'POST' } $control->requests }

# ---- moments

my @events = qw(before-transfer before-answer after-transfer transfer-failed answered end-of-call);
my $table = <<'END';
VapiDestination billing +14155550100
VapiDestination other   +14155550101
VapiDestination triage  assistant:Triage
VapiTool transferCall
VapiParam go string required
VapiRoute billing "arg('go') == 'bill'"
VapiRoute other "arg('go') =~ /^(?:bill|other)$/"
VapiRoute triage "arg('go') == 'triage'"
VapiRoute none "arg('go') == 'none'" name=booked result="You will be called back."
END
my $s = server(
    lines => $table . join('', map { "VapiAction all-$_ $_ file=\@DIR\@/events\n" } @events),
    at => { '/vapi/transfer' => '', '/vapi/limited' => "VapiLimit call=1\nVapiSettle 0\n" },
);
my %expected;

# Sends it; what is to come of it is looked at when all were sent. A moment is "EVENT route target outcome reason".
sub moments {
    my ($name, $call, $body, $moments, %o) = @_;
    my $reply = $s->signed_post($o{at} // '/vapi/transfer', $body);
    is($reply->{status}, 200, "$name: 200");
    $expected{$call} ||= { names => [], moments => [] };
    push @{ $expected{$call}{names} }, $name;
    push @{ $expected{$call}{moments} }, @$moments;
    return $reply;
}
sub moments_of_tool_call {
    my ($name, $go, $moments, %o) = @_;
    my $call = $o{call} // new_call();
    my $body = tool_call($call, args => { go => $go }, behaviour => $o{behaviour});
    moments($name, $call, $body, $moments, at => $o{at});
    return ($call, $body);
}

{
    my $to_billing = 'before-transfer billing billing - -';
    my ($first, $body) = moments_of_tool_call('transferred', 'bill', [$to_billing, 'after-transfer billing billing transferred -']);
    moments('the same again', $first, $body, []);
    moments_of_tool_call('another tool call of it while it settles', 'bill', [], call => $first);
    moments_of_tool_call('handed off', 'triage', ['before-transfer triage triage - no-match', 'after-transfer triage triage handed-off -']);
    moments_of_tool_call('perhaps transferred', 'bill', [$to_billing, 'after-transfer billing billing unknown timeout'], behaviour => 'status=504');
    moments_of_tool_call('failed', 'bill', [$to_billing, 'transfer-failed billing billing failed refused'], behaviour => 'status=500');
    moments_of_tool_call('the call is gone', 'bill', [$to_billing, 'transfer-failed billing billing failed call-gone'], behaviour => 'status=404');
    moments_of_tool_call('refused at every route', 'bill', [$to_billing, 'before-transfer other other - refused', 'transfer-failed other other refused refused'], behaviour => 'status=400');
    moments_of_tool_call('refused at the only one', 'other', ['before-transfer other other - no-match', 'transfer-failed other other refused refused'], behaviour => 'status=400');
    moments_of_tool_call('no route', 'nowhere', ['transfer-failed - - no-route no-match']);
    moments_of_tool_call('answered by none', 'none', ['before-answer booked none - no-match', 'answered booked none answered no-match']);
    moments('no control URL', 'no-url', vapi_tool_call(call => 'no-url', args => { go => 'bill' }), ['transfer-failed billing billing failed no-control-url']);
    $s->allow_log(qr/the payload has no control URL/);
    moments('an argument that is missing', 'bad', tool_call('bad', args => {}), []);
    moments('a tool that is unknown', 'tool', tool_call('tool', args => { go => 'bill' }, name => 'hangUp'), []);
    my ($limited) = moments_of_tool_call('up to the limit', 'bill', [$to_billing, 'after-transfer billing billing transferred -'], at => '/vapi/limited');
    moments_of_tool_call('over the limit', 'bill', [], at => '/vapi/limited', call => $limited);

    $control->script('status=400', 'ok');
    moments_of_tool_call('refused, and then transferred', 'bill', [$to_billing, 'before-transfer other other - refused', 'after-transfer other other transferred -']);
}

# Requests for a destination, and messages that ask for nothing.
{
    my $asked_by = sub { my ($type, $go, @more) = @_; return (artifact => { messages => [{ role => 'tool_calls', toolCalls => [{ id => 'call_A', type => 'function', function => { name => 'transferCall', arguments => { go => $go } } }] }] }, fields => { timestamp => 1777906931000, @more }) };
    my @given = ('before-transfer billing billing - -', 'answered billing billing answered -');
    my $request = vapi_message('transfer-destination-request', call => 'tdr', $asked_by->('transfer', 'bill'));
    like(moments('transfer-destination-request', 'tdr', $request, \@given)->{body}, qr/"number":"\+14155550100"/, 'it has its destination');
    moments('the same again', 'tdr', $request, []);
    moments('transfer-destination-request, answered by none', 'tdr-none', vapi_message('transfer-destination-request', call => 'tdr-none', $asked_by->('transfer', 'none')), ['before-answer booked none - no-match', 'answered booked none answered no-match']);
    moments('transfer-destination-request, no route', 'tdr-nowhere', vapi_message('transfer-destination-request', call => 'tdr-nowhere', $asked_by->('transfer', 'nowhere')), ['transfer-failed - - no-route no-match']);
    moments('handoff-destination-request', 'hdr', vapi_message('handoff-destination-request', call => 'hdr', fields => { parameters => { go => 'triage' } }), ['before-transfer triage triage - no-match', 'answered triage triage answered -']);
    my %report = (fields => { endedReason => 'customer-ended-call' });
    my ($routed) = grep { $expected{$_}{names}[0] eq 'handed off' } keys %expected;
    for my $call ($routed, 'never-routed') {
        moments("end of $call", $call, vapi_message('end-of-call-report', call => $call, %report), ['end-of-call - - - -']);
        moments("end of $call again", $call, vapi_message('end-of-call-report', call => $call, %report), []) for 1, 2;
    }
    moments($_, $_, vapi_message($_, call => $_), []) for qw(status-update transfer-update conversation-update hang);
}

# What was written for each call, as soon as all of it is there.
sub written { my %written; push @{ $written{ $_->{call} } }, $_ for map { $json->decode($_) } lines_of($s, 'events'); return \%written }
{
    my $total = 0;
    $total += @{ $expected{$_}{moments} } for keys %expected;
    wait_until(sub { lines_of($s, 'events') >= $total }, 30);
    sleep 0.3;    # what must not come
    my $written = written();
    for my $call (sort keys %expected) {
        my @got = map { my $e = $_; join ' ', $e->{event}, map { length $e->{$_} ? $e->{$_} : '-' } qw(route target outcome reason) } @{ $written->{$call} || [] };
        is_deeply([sort @got], [sort @{ $expected{$call}{moments} }], "actions of: @{[join ', ', @{ $expected{$call}{names} }]}");
    }
    is(join(' ', grep { !$expected{$_} } keys %$written), '', 'and of no other call');
}

# The default body, exactly.
{
    my ($transferred) = grep { $expected{$_}{names}[0] eq 'transferred' } keys %expected;
    my ($line) = grep { /"after-transfer"/ && /"\Q$transferred\E"/ } lines_of($s, 'events');
    my $time = qr/20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/;
    like($line, qr/\A\{"event":"after-transfer","time":"$time","call":"$transferred","route":"billing","target":"billing","member":"","outcome":"transferred","reason":"","attempt":0\}\z/, 'the body of a file= without body=');
    my ($second) = new_call();
    ask($s, '/vapi/limited', $second, id => $_, args => { go => $_ }) for qw(nowhere other);
    ok(wait_until(sub { written()->{$second} && @{ written()->{$second} } == 3 }, 20), 'two attempts of a call');
    is_deeply([sort map { "$_->{event} $_->{attempt}" } @{ written()->{$second} }], ['after-transfer 1', 'before-transfer 1', 'transfer-failed 0'], 'each with its number');
    is((stat $s->dir . '/events')[2] & 07777, 0600, 'the file is for its owner alone');
}

# Sixty at once from all processes: a line each. Then another takes the file away, as logrotate does.
{
    my $before = () = lines_of($s, 'events');
    my @bodies = map { tool_call("crowd-$_", args => { go => 'bill' }) } 1 .. 30;
    is(scalar(grep { said($_) eq $done } $s->post_many(map { ['/vapi/transfer', $_, $s->signed($_)] } @bodies)), 30, 'thirty calls at once');
    ok(wait_until(sub { lines_of($s, 'events') >= $before + 60 }, 30), 'two lines each');
    is(scalar(grep { ref eval { $json->decode($_) } } lines_of($s, 'events')), $before + 60, 'every line is one JSON text');
    is_deeply([map { scalar @{ $_ || [] } } @{ written() }{ map { "crowd-$_" } 1 .. 30 }], [(2) x 30], 'two of each call');

    rename $s->dir . '/events', $s->dir . '/events.1' or die "rename: $!";
    ask($s, '/vapi/transfer', 'renamed', args => { go => 'bill' });
    ok(wait_until(sub { lines_of($s, 'events.1') == $before + 62 }, 20), 'the file is renamed: lines go where it is');
    $s->graceful;
    is((stat $s->dir . '/events')[2] & 07777, 0600, 'a graceful restart makes a new one');
    ok(wait_until(sub { ask($s, '/vapi/transfer', new_call(), args => { go => 'bill' }); lines_of($s, 'events') > 0 }, 20), 'and the next lines go there');
    $s->stop;
}

# ---- what is sent, and for which endpoint

my $sqlite = $s->dir . '/actions.db';
my @owner = $> == 0 ? (getpwnam +(grep { defined getpwnam $_ } qw(www-data apache nobody))[0])[2, 3] : ($>, $) + 0);
sub sql { my ($statement) = @_; open my $out, '-|', 'sqlite3', '-cmd', '.timeout 5000', $sqlite, $statement or die "sqlite3: $!"; my @lines = <$out>; close $out or die "sqlite3 failed\n"; chomp @lines; return @lines }
sql('CREATE TABLE action (call TEXT, text TEXT)');
chmod 0777, $s->dir;
chown @owner, $sqlite;
my $said = qq{a "quoted" \\ word\nof {{Liquid}} \x{e9}\x{1F600} '); DROP TABLE action; --};
utf8::encode(my $said_bytes = $said);
{
    my $sends = server(
        modules => ['watchdog', 'dbd'],
        files => {
            'note.json' => '{"call":"%{VAPI_CALL}","who":{"number":"%{VAPI_CALLER}"},"words":["%{arg:words}","is: %{arg:words}!"],"%{VAPI_CALL}":1,"none":null,"outcome":"%{VAPI_OUTCOME}","reason":"%{VAPI_REASON}",'
                . '"route":"%{VAPI_ROUTE}","target":"%{VAPI_TARGET}","destination":"%{VAPI_DESTINATION}","attempt":"%{VAPI_ATTEMPT}"}',
            'crm.token' => ["token-of-the-crm\n", 0600],
        },
        lines => <<"END",
DBDriver sqlite3
DBDParams "$sqlite"
VapiDestination billing +14155550100
VapiDestination other   +14155550101
VapiRoute billing "arg('go') == 'bill'"
VapiRoute other
VapiAction plain  after-transfer url="$base/ok/plain"
VapiAction note   after-transfer url="$base/ok/note/%{VAPI_CALL}/%{arg:words}?o=%{VAPI_OUTCOME}&w=%{arg:words}" method=PUT body=\@DIR\@/note.json bearer=file:\@DIR\@/crm.token secret-header="X-Key: file:\@DIR\@/crm.token" header="X-Route: to %{VAPI_ROUTE}" header="Content-Type: application/vnd.note+json"
VapiAction look   after-transfer url="$base/ok/look?call=%{VAPI_CALL}" method=GET
VapiAction row    after-transfer sql="INSERT INTO action VALUES (%s, %s)" arg=%{VAPI_CALL} arg=%{arg:words}
VapiAction line   after-transfer file=\@DIR\@/notes body=\@DIR\@/note.json route=billing
VapiAction both   after-transfer url="$base/ok/both" route=other,billing
VapiAction other  after-transfer url="$base/ok/other" route=other
VapiAction when   after-transfer url="$base/ok/when" when="%{VAPI_OUTCOME} == 'transferred' && %{VAPI_DESTINATION} == 'other'"
VapiAction wrong  after-transfer url="$base/ok/wrong" header="X-Words: %{arg:words}"
VapiAction unsure after-transfer url="$base/ok/unsure" when="file(arg('words')) == ''"
VapiAction failed transfer-failed url="$base/ok/failed?o=%{VAPI_OUTCOME}&r=%{VAPI_REASON}&t=%{VAPI_ROUTE}" method=DELETE
VapiAction mine   after-transfer url="$base/ok/mine/server"
END
        at => { '/a' => '', '/b' => qq(VapiAction mine after-transfer url="$base/ok/mine/b"\nVapiAction own after-transfer url="$base/ok/own" when="%{VAPI_CALL} != ''"\n) },
    );
    $sends->log_like(qr/httpd\.conf:\d+: .*is http:\/\/: a secret is sent in the clear/, 'a secret over plain HTTP is warned about');
    ask($sends, '/a', 'sent', args => { go => 'bill', words => $said });
    $sends->log_like(qr/call=sent action=wrong event=after-transfer: cannot be filled in and is not done: /, 'a line end in a header: not done, and said');
    $sends->log_like(qr/action=unsure event=after-transfer: its when= cannot be evaluated; not done/, 'a when= that fails: not done, and said');

    my ($plain) = asked_for('/plain', 1);
    is("$plain->{method} $plain->{headers}{'content-type'}", 'POST application/json', 'without method= and body= it is a POST of JSON');
    is(join(' ', sort keys %{ $plain->{json} }), 'attempt call event member outcome reason route target time', 'with the members of the default body');
    like($plain->{headers}{'idempotency-key'}, qr/\A[0-9a-f]{32}\z/, 'and a key');
    ok(!$plain->{headers}{authorization}, 'and nobody else\'s secret');

    my ($note) = asked_for('/note', 1);
    (my $encoded = $said_bytes) =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge;
    is("$note->{method} $note->{path}", "PUT /ok/note/sent/$encoded?o=transferred&w=$encoded", 'values are percent-encoded in the URL');
    is_deeply({ map { $_ => $note->{headers}{$_} } qw(authorization x-key x-route content-type) },
        { authorization => 'Bearer token-of-the-crm', 'x-key' => 'token-of-the-crm', 'x-route' => 'to billing', 'content-type' => 'application/vnd.note+json' }, 'its headers');
    my %body = (call => 'sent', who => { number => '+14155550123' }, words => [$said, "is: $said!"], '%{VAPI_CALL}' => 1, none => undef, outcome => 'transferred', reason => '', route => 'billing', target => 'billing', destination => 'billing', attempt => '0');
    is_deeply($note->{json}, \%body, 'a body=FILE: the values are strings of it, as they were said');
    ok(wait_until(sub { lines_of($sends, 'notes') == 1 }, 20), 'a file= with a body=: one line');
    is_deeply($json->decode((lines_of($sends, 'notes'))[0]), \%body, 'with the same');
    my ($look) = asked_for('/look', 1);
    is("$look->{method} $look->{path} $look->{body}", 'GET /ok/look?call=sent ', 'a GET has no body');
    ok(wait_until(sub { sql('SELECT * FROM action') }, 20), 'a row came');
    is(join("\n", sql('SELECT call || text FROM action')), "sent$said_bytes", 'an SQL statement: values are values');

    $control->script('status=500');
    ask($sends, '/a', 'lost', args => { go => 'bill', words => 'x' });
    my ($failed) = asked_for('/failed', 1);
    is("$failed->{method} $failed->{path}$failed->{body}", 'DELETE /ok/failed?o=failed&r=refused&t=billing', 'a failure has its outcome, reason and route');

    ask($sends, '/b', 'elsewhere', args => { go => 'x', words => 'y' });
    asked_for($_, 1) for qw(/when /other /own /wrong);
    is(scalar asked_for('/both', 2), 2, 'route=LABEL,LABEL: of both routes');
    asked_for($_, 2) for qw(/plain /mine);
    sleep 0.2;    # what must not come
    is_deeply([map { scalar asked($_) } qw(/other /when /own /wrong /plain /failed)], [1, 1, 1, 1, 2, 1], 'route=, when= and one in a <Location>: once each, where they belong');
    is(join(' ', sort map { $_->{path} } asked('/mine')), '/ok/mine/b /ok/mine/server', "a <Location>'s own takes the place of the server's");
    is(scalar(lines_of($sends, 'notes')), 1, 'route=billing: not for another');
    my @with_keys = grep { $_->{path} !~ m{/look} } $crm->requests;
    my %keys = map { ($_->{headers}{'idempotency-key'} => 1) } @with_keys;
    is(scalar keys %keys, scalar @with_keys, 'each has another key: of each action, and of each delivery');
    $sends->stop;
}

# ---- required ones

sql('CREATE TABLE once (id TEXT UNIQUE)');
my $required = server(
    modules => ['watchdog', 'dbd'], processes => 4,
    lines => <<'END' . "DBDriver sqlite3\nDBDParams \"$sqlite\"\n",
VapiDestination billing +14155550100
VapiDestination other   +14155550101
VapiRoute billing "arg('go') == 'bill'"
VapiRoute other   "arg('go') =~ /^(?:bill|other)$/"
VapiRoute none    "arg('go') == 'book'" name=booked result="It is booked."
VapiRoute none    name=last result="Nothing was booked."
END
    at => {
        '/order' => qq(VapiAction second before-transfer url="$base/ok/second/%{VAPI_ROUTE}"\nVapiAction first before-transfer required url="$base/ok/first" timeout=30\nVapiAction next before-transfer required url="$base/ok/next" timeout=30\n),
        '/gate' => qq(VapiAction gate before-transfer required url="$base/status=500/gate" route=billing\nVapiAction told after-transfer url="$base/ok/told?r=%{VAPI_REASON}"\n),
        '/all' => qq(VapiAction all before-transfer required url="$base/status=404/all/%{VAPI_CALL}"\nVapiAction never before-transfer url="$base/ok/never"\n),
        '/only' => qq(VapiRoute billing\nVapiRoute other\nVapiAction only before-transfer required url="$base/status=503/only"\nVapiAction left transfer-failed url="$base/ok/left/%{VAPI_CALL}?r=%{VAPI_ROUTE}&t=%{VAPI_TARGET}&o=%{VAPI_OUTCOME}&w=%{VAPI_REASON}"\n),
        '/when' => qq(VapiAction when before-transfer required url="$base/status=500/when" when="arg('vip') == 'yes' && %{VAPI_ROUTE} == 'billing'"\n),
        '/unsure' => qq(VapiAction unsure before-transfer required url="$base/status=500/unsure" when="%{VAPI_ROUTE} == 'billing' && file(arg('go')) == 'x'"\n),
        '/slow' => qq(VapiAction slow before-transfer required url="$base/hang/slow" route=billing\n),
        '/tight' => qq(VapiBudget 4\nVapiAction tight before-transfer required url="$base/hang/tight" route=billing timeout=60\n),
        '/short' => qq(VapiAction short before-transfer required url="$base/hang/short" route=billing timeout=300ms\n),
        '/book' => qq(VapiAction book before-answer required url="$base/delay=200/book" route=booked timeout=30\nVapiAction failing before-answer required url="$base/status=500/failing" when="arg('fail') == 'yes' && %{VAPI_ROUTE} == 'booked'"\n),
        '/settle' => qq(VapiLimit call=2\nVapiAction settle before-transfer required url="$base/ok/settle" timeout=30\n),
        '/limited' => qq(VapiLimit call=1\nVapiSettle 0\nVapiAction limited before-transfer required url="$base/ok/limited" timeout=30\nVapiAction answer before-answer required url="$base/ok/limited-answer"\n),
        '/sql' => qq(VapiAction sql before-transfer required sql="INSERT INTO once VALUES (%s)" arg=%{arg:id} route=billing timeout=30\n),
        '/file' => qq(VapiAction file before-transfer required file=\@DIR\@/required timeout=30\n),
    },
);
$required->log_like(qr/httpd\.conf:\d+: .*VapiAction only: is required, and gates the table's last route/, 'one that gates the last route is warned about');
$required->log_unlike(qr/VapiAction (?:gate|slow|book): is required, and gates/, 'one that gates another is not');
sub number_of { my ($call) = @_; return join ' ', map { $_->{json}{destination}{number} // $_->{json}{type} } posts($call) }

{
    my $call = new_call();
    $control->script('status=400', 'ok');
    is(said(ask($required, '/order', $call, args => { go => 'bill' })), $done, 'required ones succeed, one route is refused, the next is taken');
    my @order = sort { $a->{time} <=> $b->{time} } grep { $_->{path} !~ /second/ } asked_for('/first', 1), asked_for('/next', 1), posts($call);
    is(join(' ', map { $_->{path} } @order[0, 1]), '/ok/first /ok/next', 'they come in their order, before the transfer');
    is(number_of($call), '+14155550100 +14155550101', 'two routes were tried');
    is_deeply([map { scalar asked($_) } qw(/first /next)], [1, 1], 'each was done once a request');
    is(join(' ', sort map { $_->{path} } asked_for('/second', 2)), '/ok/second/billing /ok/second/other', 'one that is not required is done at every route');
}

# Those that have to wait do so while the rest is asked.
my @slow = map { my $call = new_call(); [$_, $call, time, $required->post_start($_, tool_call($call, args => { go => 'bill' }))] } qw(/slow /tight /short);

{
    my $call = new_call();
    is(said(ask($required, '/gate', $call, args => { go => 'bill' })), $done, 'one fails at its route: the caller is transferred');
    is(number_of($call), '+14155550101', 'by the next route');
    $required->log_like(qr/call=$call action gate: HTTP 500 after \d+ ms/, 'the log says which failed, and how');
    is(join(' ', map { $_->{path} } asked_for('/told', 1)), '/ok/told?r=', 'what comes after a transfer has no reason');

    $call = new_call();
    is(said(ask($required, '/all', $call, args => { go => 'bill' })), 'Nothing was booked.', 'one fails that every transfer needs: the last resort answers');
    is(number_of($call), '', 'nothing is sent');
    is(scalar asked("/all/$call"), 1, 'it was tried once');
    $required->log_like(qr/call=$call .*outcome=answered reason=action-failed/, 'the reason is in the log');
    like($required->signed_post('/all', vapi_message('transfer-destination-request', call => 'all-tdr', fields => { functionCall => { name => 'x', parameters => { go => 'other' } } }))->{body}, qr/"error":"Nothing was booked\."/, 'a transfer-destination-request: the same');
    is(scalar asked('/all/all-tdr'), 1, 'asked once, too');

    $call = new_call();
    my $failed = sub { my ($name, $reply) = @_; ok($reply->{json}{error} || $reply->{json}{results}[0]{error}, "$name: no route is left: an error") };
    $failed->('tool-calls', ask($required, '/only', $call));
    $failed->('transfer-destination-request', $required->signed_post('/only', vapi_message('transfer-destination-request', call => 'only-tdr')));
    for my $which ($call, 'only-tdr') {
        my ($left) = asked_for("/left/$which", 1);
        is($left->{path}, "/ok/left/$which?r=other&t=other&o=no-route&w=action-failed", 'transfer-failed is of the route that was tried last');
    }

    for (['/when', 'vip', { vip => 'yes' }, '+14155550101'], ['/when', 'no vip', {}, '+14155550100'], ['/unsure', 'a when= that cannot be evaluated counts as true', {}, '+14155550101']) {
        my ($path, $name, $args, $number) = @$_;
        $call = new_call();
        ask($required, $path, $call, args => { go => 'bill', %$args });
        is(number_of($call), $number, "$path, $name");
    }

    $call = new_call();
    my $reply = ask($required, '/book', $call, args => { go => 'book' });
    my ($book) = asked('/book');
    is(said($reply), 'It is booked.', 'before-answer: it is booked');
    cmp_ok($reply->{ms}, '>=', 199, 'and then confirmed');
    is($book->{json}{event}, 'before-answer', 'the event');
    is(said(ask($required, '/book', new_call(), args => { go => 'book', fail => 'yes' })), 'Nothing was booked.', 'before-answer fails: the next `none` route answers');

    $call = new_call();
    ask($required, '/settle', $call, args => { go => 'bill' }) for 1, 2;
    is(scalar asked('/settle'), 1, 'a call that is moving: not asked');
    $call = new_call();
    is(said(ask($required, '/limited', $call, args => { go => 'bill' })), $done, 'up to the limit');
    is(said(ask($required, '/limited', $call, args => { go => 'bill' })), 'Nothing was booked.', 'over it the last resort answers');
    is_deeply([map { scalar asked($_) } qw(/limited /limited-answer)], [1, 0], 'and nothing is asked');
    is($required->signed_post('/settle', vapi_message('transfer-destination-request', call => 'call-' . ($count - 1), fields => { functionCall => { name => 'x', parameters => { go => 'bill' } } }))->{json}{error}, 'A transfer of this call is under way.', 'a request for a destination of it');
    is(scalar asked('/settle'), 1, 'likewise');

    for my $number ('+14155550100', '+14155550101') {
        $call = new_call();
        ask($required, '/sql', $call, args => { go => 'bill', id => "it's 1" });
        is(number_of($call), $number, 'a row that can be inserted once: ' . number_of($call));
    }
    is(join('|', sql('SELECT * FROM once')), "it's 1", 'it is there');
    ask($required, '/file', $call = new_call(), args => { go => 'bill' });
    is(scalar(lines_of($required, 'required')), 1, 'a line was written before the reply');
}

# At least: their own time, or what VapiBudget leaves them. At most: where they would end without that.
for (['/slow', 2000, 6000], ['/tight', 2000, 4000], ['/short', 300, 2000]) {
    my ($path, $least, $most) = @$_;
    my ($slow) = grep { $_->[0] eq $path } @slow;
    is(said($required->post_finish($slow->[3])), $done, "$path: it hangs, and the caller is transferred");
    my ($post) = posts($slow->[1]);
    is($post->{json}{destination}{number}, '+14155550101', "$path: by the next route");
    my ($began) = asked($path);
    my ($from_start, $ms) = map { int(($post->{time} - $_) * 1000) } $slow->[2], $began->{time};
    cmp_ok($from_start, '>=', $least - 10, "$path: it had its time ($from_start ms)");
    cmp_ok($ms, '<', $most, "$path: and no more ($ms ms)");
}
$required->allow_log(qr/action \w+: (?:HTTP \d+|.*) after \d+ ms/, qr/its when= cannot be evaluated, and counts as true/, qr/VapiRoute other: never reached unless/);

# Everything dies behind one that was done and before the transfer; Vapi asks again.
{
    my $call = new_call();
    my $body = tool_call($call, args => { go => 'bill' });
    my @before = map { $_->{headers}{'idempotency-key'} } asked('/first'), asked('/next');
    $crm->script('ok', 'hang');
    my $lost = $required->post_start('/order', $body);
    ok(wait_until(sub { asked('/next') == 2 }, 20), 'one was done, the next is under way');
    $required->kill9_all;
    is($required->post_finish($lost)->{status}, 0, 'all dies');
    $required->start;
    is(said($required->signed_post('/order', $body)), $done, 'the same delivery again: transferred');
    my @keys = map { my @asked = asked($_); [map { $_->{headers}{'idempotency-key'} } @asked] } qw(/first /next);
    is_deeply([map { scalar @$_ } @keys], [3, 3], 'both were done again');
    is($keys[$_][2], $keys[$_][1], 'with the same key') for 0, 1;
    isnt($keys[$_][1], $before[$_], 'another than that of another call') for 0, 1;
    isnt($keys[0][1], $keys[1][1], 'and than that of another action');
    is(number_of($call), '+14155550100', 'one transfer');
    $required->stop;
}

# ---- the others hold up nobody

{
    my $hang = server(
        lines => join('', "VapiSpool \@DIR\@/spool\nVapiDestination billing +14155550100\nVapiRoute billing\n", map { "VapiAction hang-$_ before-transfer url=\"$base/hang/delay/$_\" timeout=60\nVapiAction after-$_ after-transfer url=\"$base/hang/delay/$_\" timeout=60\n" } 1 .. 3),
        at => { '/with' => '', '/without' => join '', map { qq(VapiAction $_ end-of-call url="$base/ok/x"\n) } map { ("hang-$_", "after-$_") } 1 .. 3 },
    );
    my $http = HTTP::Tiny->new(timeout => 20, keep_alive => 1, proxy => undef, http_proxy => undef);
    my (%times, @replies);
    for my $path (('/without', '/with') x 10) {
        my $body = tool_call(new_call());
        my $start = time;
        push @replies, $http->post($hang->base . $path, { headers => { 'content-type' => 'application/json', %{ $hang->signed($body) } }, content => $body });
        push @{ $times{$path} }, time - $start;
    }
    my %median = map { my @sorted = sort { $a <=> $b } @{ $times{$_} }; ($_ => 1000 * $sorted[5]) } keys %times;
    is(join(' ', grep { $_->{content} !~ /\Q$done\E/ } @replies), '', 'twenty on one connection, with actions whose server hangs: all transferred');
    is(scalar(grep { lc($_->{headers}{connection} // '') eq 'close' } @replies), 0, 'the connection is kept');
    cmp_ok($median{'/with'}, '<', 3 * $median{'/without'} + 500, sprintf 'six of them cost the reply nothing that could be seen (%.0f ms, without them %.0f)', @median{qw(/with /without)});
    cmp_ok((sort { $b <=> $a } @{ $times{'/with'} })[0], '<', 8, 'and none waits for them, which take a minute');
    ok(wait_until(sub { asked('/delay/1') }, 20), 'they were under way');
    $hang->kill9_all;    # it would wait for those that are under way
}

# ---- what the start says

{
    my $conf = sub { my ($action, $routes) = @_; return endpoint_conf(undef, "VapiSpool \@DIR\@/spool", 'VapiDestination billing +14155550100', $routes // "VapiRoute billing \"1 == 1\"\nVapiRoute none name=last") =~ s{(?=</Location>)}{$action\n}r };
    my %options = (modules => ['watchdog']);
    my $gates = 'is required, and gates the table.s last route: when it fails, the caller may be left without any';
    for (
        ['VapiAction a before-answer required url=https://crm.example.com/', undef, "httpd\\.conf:\\d+: VapiAction a: $gates"],
        ['VapiAction a before-answer required url=https://crm.example.com/ route=last', undef, $gates],
        ['VapiAction a before-transfer required url=https://crm.example.com/', 'VapiRoute billing', $gates],
        ['VapiAction a before-transfer required url=https://crm.example.com/', undef, ''],
        ['VapiAction a before-transfer url=https://crm.example.com/', 'VapiRoute billing', ''],
        ['VapiAction a after-transfer url=https://crm.example.com/ route=billing,last', undef, ''],
    ) {
        my ($action, $routes, $warning) = @$_;
        my ($code, undef, $said) = configtest($conf->($action, $routes), %options);
        is($code, 0, "$action: taken");
        $warning ? like($said, qr/$warning/, 'with a warning') : unlike($said, qr/VapiAction/, 'without a word');
    }
    configtest_fails($conf->('VapiAction a after-transfer url=https://crm.example.com/ route=biling'), 'httpd\.conf:\d+: VapiAction a: route=biling: no route of the table has this label.*billing', 'a label that no route has: with the nearest', %options);
    configtest_fails($conf->('VapiAction a after-transfer url=https://crm.example.com/ route=billing,'), 'route=billing,', 'a comma too many', %options);
    configtest_fails($conf->("VapiAction a after-transfer required url=https://crm.example.com/"), 'required goes with before-transfer and before-answer', 'required where nothing can be gated', %options);
    configtest_fails($conf->("VapiAction a after-transfers url=https://crm.example.com/"), 'after-transfer', 'an event that there is not', %options);
    configtest_fails($conf->("VapiAction a answered file=/x\nVapiAction a answered file=/y"), q{'a' is given twice}, 'a name twice in a section', %options);
    configtest_fails($conf->('VapiAction a answered url=https://%{VAPI_CALL}.example.com/'), 'url=', 'a host that a caller would choose', %options);
    configtest_fails($conf->(q{VapiAction a answered sql="INSERT INTO x VALUES ('%{VAPI_CALL}')"}), 'a value is given to it as %s', 'a value in a statement', %options, modules => ['watchdog', 'dbd']);
    configtest_fails($conf->('VapiAction a answered sql="INSERT INTO x VALUES (%s)" arg=%{VAPI_CALL}'), 'mod_dbd', 'a statement without mod_dbd', %options);
}

# ---- nothing of it in any log

{
    my %canary = (caller => '+4930887766', words => 'CanaryOfTheCaller', token => 'CanaryToken', key => 'CanaryKey', user => 'CanaryUser', password => 'CanaryPassword', path => 'canary-path', answer => 'CanaryAnswer', body => 'CanaryBody');
    my $closed = closed_port();
    my $spool = VapiGuard::directory('spool') . '/spool';
    my $send = qq(body=\@DIR\@/canary.json bearer=file:\@DIR\@/canary.token secret-header="X-Key: file:\@DIR\@/canary.key" header="X-Words: %{arg:words}");
    (my $user_base = $base) =~ s{//}{//$canary{user}:$canary{password}\@};
    my $logged = server(
        log_level => 'trace8', modules => ['watchdog', 'dbd'],
        files => { 'canary.json' => qq({"words":"%{arg:words} $canary{body}","caller":"%{VAPI_CALLER}"}), 'canary.token' => ["$canary{token}\n", 0600], 'canary.key' => ["$canary{key}\n", 0600] },
        lines => <<"END",
CustomLog "\@DIR\@/access_log" "%h %r %>s %{vapi-outcome}n %{vapi-reason}n %{vapi-route}n"
VapiSpool $spool
DBDriver sqlite3
DBDParams "$sqlite"
VapiDestination billing +14155550100
VapiRoute billing
VapiAction ok      before-transfer required url="$base/ok/$canary{path}/%{arg:words}?c=%{VAPI_CALLER}" $send timeout=30
VapiAction sql     after-transfer  sql="INSERT INTO action VALUES (%s, %s)" arg=%{VAPI_CALLER} arg=%{arg:words}
VapiAction refused after-transfer  sql="INSERT INTO once VALUES (%s)" arg=%{arg:words}
VapiAction file    after-transfer  file=$spool.lines body=\@DIR\@/canary.json
VapiAction user    after-transfer  url="$user_base/ok/$canary{path}/%{arg:words}" secret-header="X-Key: file:\@DIR\@/canary.key"
VapiAction answer  after-transfer  url="$base/answer/$canary{path}/%{arg:words}" $send
VapiAction closed  after-transfer  url="http://127.0.0.1:$closed/$canary{path}/%{arg:words}" $send
VapiAction garbage after-transfer  url="$base/garbage/$canary{path}/%{arg:words}" $send
VapiAction away    after-transfer  url="$base/redirect/$canary{path}/%{arg:words}" $send
VapiAction slow    after-transfer  url="$base/hang/$canary{path}/%{arg:words}" $send timeout=200ms
VapiAction header  after-transfer  url="$base/ok/$canary{path}" header="X-Words: %{arg:words}%{arg:end}"
VapiAction dots    after-transfer  url="$base/ok/$canary{path}/%{arg:dots}" $send
END
        at => { '/a' => '', '/gate' => qq(VapiAction ok before-transfer required url="$base/status=500/$canary{path}/%{arg:words}" $send\n) },
    );
    $logged->allow_log(qr/:(?:trace\d|debug)\]/, qr/action=\w+ event=\w+-transfer: /, qr/action ok: /, qr/is http:/, qr/user.*password/i);
    my %args = (words => $canary{words}, end => "\r\n$canary{words}", dots => '..');
    my $replies = join ' ', map { $logged->signed_post($_, tool_call(new_call(), caller => "$canary{caller}11", args => \%args))->{body} } '/a', '/a', '/gate';
    unlike($replies, qr/Canary|\Q$canary{caller}\E|canary-path/, 'nothing of an action in a reply');
    $logged->log_like(qr/action=$_ event/, "the log knows of $_") for qw(closed garbage away slow header dots refused);
    my $with_user = sub { return scalar grep { ($_->{headers}{authorization} // '') =~ /^Basic / && $_->{headers}{'x-key'} eq $canary{key} } $crm->requests };
    wait_until(sub { $with_user->() >= 2 && asked("/$canary{path}") >= 10 && -s "$spool.lines" }, 20);
    my @spooled = grep { -f } glob "$spool/* $spool/set-aside/*";
    cmp_ok(scalar @spooled, '>=', 6, 'some wait in the spool');
    my $kept = join "\n", map { eval { slurp($_) } // '' } @spooled;
    like($kept, qr/$canary{words}/, 'which is where the values are');
    unlike($kept, qr/CanaryToken|CanaryKey|CanaryUser|CanaryPassword|127\.0\.0\.1/, 'no secret and no server is in it');
    is($with_user->(), 2, 'the secrets were sent');
    $logged->stop;
    $logged->no_canary(values %canary);
    is(join(' ', grep { my $file = $_; grep { index(slurp($file), $_) >= 0 } @canary{qw(words token key user password body)} } glob $logged->dir . '/run/*'), '', 'nor in the file of VapiState');
    like(slurp("$spool.lines"), qr/$canary{words} $canary{body}/, 'the file= has its lines');
}

# ---- an action that is filled in before the transfer changes nothing of what is decided after it

{
    my @routes = map { "$_\n" } 'VapiRoute billing', q(VapiRoute other "var('tier') == 'gold'"), 'VapiRoute none';
    my $records = VapiCrm->new(answers => { tier => { json => { tier => 'gold' } } });
    my $asking = server(
        lines => "VapiSettle 0\nVapiDestination billing +14155550100\nVapiDestination other +14155550101\nVapiLookup crm url=@{[ $records->base ]}/tier/%{VAPI_CALL} timeout=30\nVapiSet tier %{lookup:crm.tier}\n",
        at => { '/with' => join('', "VapiAction note before-transfer file=\@DIR\@/notes when=\"var('tier') != 'gold'\"\n", @routes), '/without' => join('', @routes) },
    );
    $asking->allow_log(qr/lookup crm: the decision did not ask it/, qr/never reached unless Vapi refuses/);
    for my $path ('/without', '/with') {
        my $call = new_call();
        $control->clear;
        $control->script('status=400', 'ok');
        is(said(ask($asking, $path, $call)), $done, "$path: the second route is taken");
        is(join(' ', map { $_->{json}{destination}{number} } posts($call)), '+14155550100 +14155550101', '... when Vapi refused the first');
    }
    $asking->stop;
}

# ---- many actions, threads and processes write to one file: each line whole, and none empty

{
    my $writing = server(processes => 2, lines => "VapiDestination billing +14155550100\n" . join('', map { "VapiAction a$_ after-transfer file=\@DIR\@/all\n" } 1 .. 8), at => { '/vapi/transfer' => "VapiRoute billing\n" });
    for (1 .. 10) {
        $writing->post_many(map { my $body = tool_call(new_call()); ['/vapi/transfer', $body, $writing->signed($body)] } 1 .. 12);
    }
    wait_until(sub { lines_of($writing, 'all') >= 10 * 12 * 8 }, 30);
    my @lines = split /\n/, slurp($writing->dir . '/all'), -1;
    pop @lines;
    is(scalar @lines, 10 * 12 * 8, 'a line of each');
    is(scalar(grep { !/^\{.*\}$/ } @lines), 0, 'each of them whole');
    $writing->stop;
}
done_testing;
