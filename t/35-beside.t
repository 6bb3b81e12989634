# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# What stands beside a transfer - actions, lookups, the spool - at its limits: few descriptors, files that others lock, restarts and stops
# under way. It costs no caller his transfer and no administrator his restart, and nothing of it is lost.
use strict;
use warnings;
use Fcntl qw(F_SETLK F_WRLCK SEEK_SET);
use Time::HiRes qw(sleep time utime);
use VapiCrm;
use VapiTest;

# An Apache that may have only so many files open.
{
    package Narrow;
    our @ISA = ('VapiTest');
    sub _command { my ($self, @more) = @_; return ('/bin/sh', '-c', "ulimit -n $self->{descriptors} && exec \"\$@\"", 'sh', $self->SUPER::_command(@more)) }
}

my $control = VapiControl->new;
my $crm = VapiCrm->new;
my $base = $crm->base;
my $done = 'The call is being transferred.';
my @user = $> == 0 ? (getpwnam +(grep { defined getpwnam $_ } qw(www-data apache nobody))[0])[2, 3] : ($>, $) + 0);    # of the server's children
my $abandoned = qr/action=\w+ event=\w+-transfer: (?:given up, since the server process ends|another process has locked the file); tried again/;
my $killed_after = 8;    # seconds: httpd itself kills a child that does not end in nine
my (@locks, $errand);

sub server {
    my ($o, @lines) = @_;
    my $class = $o->{descriptors} ? 'Narrow' : 'VapiTest';
    my $s = $class->new(modules => ['watchdog'], %$o, conf => endpoint_conf($control, 'VapiDestination first +14155550100', 'VapiDestination second +14155550101', @lines));
    $s->allow_log(qr/AH00045: child process \d+ still did not exit/);    # within three seconds; how long it may take is measured here
    return $s->start;
}

sub said { my ($reply) = @_; my $first = ($reply->{json} || {})->{results}[0] || {}; return $first->{result} // $first->{error} // "status $reply->{status}" }
sub tool_call { my ($call, %o) = @_; return vapi_tool_call(call => $call, control => $control->url($call), %o) }
sub ask { my ($s, $call, %o) = @_; return $s->signed_post('/vapi/transfer', tool_call($call, %o)) }
sub number_of { my ($call) = @_; return join ' ', map { $_->{json}{destination}{number} } grep { ($_->{call} // '') eq $call } $control->requests }
sub asked { my ($part) = @_; return grep { $_->{path} =~ m{^/\Q$part\E(?:[/?]|$)} } $crm->requests }
sub keys_of { return keys %{ { map { ($_->{headers}{'idempotency-key'} => 1) } @_ } } }
sub waiting { my ($s) = @_; return grep { -f && m{/[0-9a-f]{16}-[0-9a-f]{16}\z} } glob $s->dir . '/spool/*' }
sub aside { my ($s) = @_; return grep { -f } glob $s->dir . '/spool/set-aside/*' }
sub size_of { my ($s, $name) = @_; return -s $s->dir . "/$name" || 0 }
sub lines_for { my ($s, $pattern) = @_; return grep { /$pattern/ } split /\n/, $s->log }

# What waits need not wait any longer.
sub make_due { my ($s) = @_; utime time, time, waiting($s); return }

# The seconds until it serves again after this signal.
sub time_of_reload {
    my ($s, $signal) = @_;
    my $began = time;
    $s->$signal;
    wait_until(sub { $s->get('/vapi/transfer')->{status} == 405 }, 30);
    return time - $began;
}
sub is_quick { my ($took, $most, $name) = @_; return cmp_ok($took, '<', $most, sprintf '%s (%.1f s)', $name, $took) }

# A process of its own that locks a file, as another program would. Closing its pipe ends that.
sub lock_file {
    my ($file) = @_;
    pipe my $until, my $hold or die "pipe: $!";
    pipe my $read, my $locked or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        VapiGuard::leave();
        close $_ for $hold, @locks;
        open my $in, '+<', $file or die "$file: $!";
        my $all = pack 's s x![q] q q i x![q]', F_WRLCK, SEEK_SET, 0, 0, 0;
        fcntl $in, F_SETLK, $all or die "$file: $!";
        syswrite $locked, 'x';
        sysread $until, my $never, 1;
        POSIX::_exit(0);
    }
    close $locked;
    sysread($read, my $got, 1) or die "$file was not locked\n";
    push @locks, $hold;
    return $hold;
}
sub unlock { my ($lock) = @_; @locks = grep { $_ != $lock } @locks; close $lock; return }

$crm->answers(map { ($_ => { hang => 1 }) } qw(few event prefork));

# ---- few descriptors, and a server of actions that hangs: each that waits holds a file

{
    my $threads = ($ENV{VAPI_TEST_MPM} || 'event') eq 'prefork' ? 1 : 8;    # one child, always
    my $s = server({ descriptors => 160, processes => 1, threads => $threads }, 'VapiSpool spool', 'VapiSettle 0', 'VapiRoute first', qq(VapiAction few after-transfer url="$base/few/x" timeout=300));
    my $child;
    wait_until(sub { ($child) = $s->children }, 20);
    like(slurp("/proc/$child/limits"), qr/^Max open files\s+160\s/m, 'a server that may have 160 files open');
    my @calls = map { "few-$_" } 1 .. 150;
    my %said;
    $said{ said(ask($s, $_)) }++ for @calls;
    is_deeply(\%said, { $done => 150 }, '150 calls whose action hangs: all transferred');
    is(scalar waiting($s), 150, 'the spool has them all');
    my @open = glob "/proc/$child/fd/*";
    cmp_ok(scalar @open, '<', 120, 'and there are descriptors left (' . @open . ' in use)');
    wait_until(sub { asked('few') >= 8 }, 20);
    like(scalar asked('few'), qr/^[89]$/, 'its eight threads are busy with as many, and the watchdog perhaps with one that they did not take');
    $errand = slurp((waiting($s))[0]);

    $crm->answers(few => { json => {} });
    is_quick(time_of_reload($s, 'hup'), $killed_after, 'HUP with these under way');
    ok(wait_until(sub { make_due($s); !waiting($s) }, 60), 'the server of actions answers: all is delivered');
    is_deeply([sort keys %{ { map { ($_->{json}{call} => 1) } asked('few') } }], [sort @calls], 'of every call');
    is(scalar keys_of(asked('few')), 150, 'with one key each, also those that were under way');
    is(scalar aside($s), 0, 'none was given up');
    $s->allow_log($abandoned);
    $s->stop;
}

# ---- a file that another process has locked

{
    my $s = server({ processes => 1 }, 'VapiSpool spool', 'VapiRoute first', 'VapiRoute second',
        'VapiAction gate before-transfer required file=gate route=first', 'VapiAction note after-transfer file=note timeout=300', 'VapiAction long after-transfer file=long timeout=300');
    $s->allow_log(qr/VapiRoute second: never reached unless/);
    my %lock = map { ($_ => lock_file($s->dir . "/$_")) } qw(note long);
    my $reply = ask($s, 'note');
    is(said($reply), $done, 'an action that is not required, to a file that is locked: transferred');
    is_quick($reply->{ms} / 1000, 5, 'without waiting for it');
    is(number_of('note'), '+14155550100', 'by its route');
    cmp_ok(size_of($s, 'gate'), '>', 0, 'the required one to another file was done');

    $lock{gate} = lock_file($s->dir . '/gate');
    my $began = time;
    is(said(ask($s, 'gate')), $done, 'a required one to a file that is locked: transferred');
    my $took = time - $began;
    is(number_of('gate'), '+14155550101', 'by the route behind');
    cmp_ok($took, '>=', 1.9, sprintf 'it had its two seconds (%.1f s)', $took);
    is_quick($took, 6, 'and not all that VapiBudget leaves');
    $s->log_like(qr/call=gate action gate: another process has locked the file after \d+ ms/, 'the log says why');

    is(size_of($s, 'note'), 0, 'nobody wrote to the one that is locked still');
    unlock($lock{note});
    ok(wait_until(sub { size_of($s, 'note') && (() = slurp($s->dir . '/note') =~ /\n/g) == 2 }, 20), 'the lock is gone: the lines come');
    is_deeply([sort map { JSON::PP::decode_json($_)->{call} } split /\n/, slurp($s->dir . '/note')], ['gate', 'note'], 'one of each call');

    # Those of the other file hold their threads still, for minutes.
    ok(wait_until(sub { waiting($s) == 2 }, 20), 'two wait for the other file');
    $s->allow_log($abandoned);
    is_quick(time_of_reload($s, 'hup'), $killed_after, 'HUP while they wait');
    make_due($s);
    sleep 1.3;    # the watchdog waits for it, now
    is_quick(time_of_reload($s, 'hup'), $killed_after, 'HUP while the watchdog waits');
    is(scalar waiting($s), 2, 'both are in the spool');
    unlock($lock{long});
    ok(wait_until(sub { make_due($s); !waiting($s) }, 30), 'the lock is gone: delivered');
    is_deeply([sort map { JSON::PP::decode_json($_)->{call} } split /\n/, slurp($s->dir . '/long')], ['gate', 'note'], 'a line of each call');
    $s->stop;
}

# ---- an action before the transfer asks nothing, one after it may

{
    $crm->answers(slow => { json => { x => 'late' }, delay => 700 }, known => { json => { tier => 'gold' } }, act => { json => {} });
    my $s = server(
        { files => { 'body.json' => '{"slow":"%{lookup:slow}/%{lookup:slow.x}","known":"%{lookup:known.tier}"}' } },
        'VapiSpool spool', "VapiLookup slow url=$base/slow/%{VAPI_CALL} timeout=60", "VapiLookup known url=$base/known/%{VAPI_CALL} timeout=60",
        q(VapiRoute first "lookup('known.tier') == 'gold'"), 'VapiRoute none',
        (map { my $event = $_; map { qq(VapiAction $event-$_->[0] $event-transfer url="$base/act/$event-$_->[1]\n) }
            ['when', q(when" when="lookup('slow.x') != 'late' && lookup('known.tier') == 'gold'")], ['unless', q(unless" when="lookup('slow') == 'ok'")], ['url', 'url/u%{lookup:slow.x}-%{lookup:known.tier}"'], ['body', 'body" body=@DIR@/body.json'] } qw(before after)),
        qq(VapiAction end end-of-call url="$base/act/end-url/u%{lookup:slow.x}" when="lookup('known.tier') == 'gold'"),
    );
    my $reply = ask($s, 'lazy');
    is(said($reply), $done, 'eight actions that would ask a slow system: transferred');
    is_quick($reply->{ms} / 1000, 8, 'the reply waits for the one question of those after it');
    ok(wait_until(sub { asked('act') >= 6 }, 20), 'they are done');
    sleep 0.2;    # what must not come
    is(join(' ', sort map { $_->{path} =~ s{^/act/}{}r } asked('act')), 'after-body after-unless after-url/ulate-gold before-body before-url/u-gold before-when', 'what the decision asked is filled in; what it did not ask, only after the transfer');
    is(join(' ', sort map { $_->{body} } grep { $_->{path} =~ /body/ } asked('act')), '{"slow":"none/","known":"gold"} {"slow":"ok/late","known":"gold"}', 'also in a body');
    is(scalar asked('slow'), 1, 'the slow system was asked once');
    cmp_ok((asked('slow'))[0]{time}, '>', (grep { ($_->{call} // '') eq 'lazy' } $control->requests)[0]{time}, 'when the transfer was on its way');
    is(scalar asked('known'), 1, 'the other once, for the decision');
    my $line = qr/call=lazy lookup slow: the decision did not ask it, and an action before the transfer asks nothing: it is none there/;
    $s->log_like($line, 'the log says so');
    is(scalar lines_for($s, $line), 1, 'once');
    is(scalar lines_for($s, qr/call=lazy .*lookup known/), 0, 'and nothing of the other');

    $s->signed_post('/vapi/transfer', vapi_message('end-of-call-report', call => 'lazy', fields => { endedReason => 'customer-ended-call' }));
    ok(wait_until(sub { grep { $_->{path} =~ /end-url/ } asked('act') }, 20), 'end-of-call');
    is(join(' ', map { $_->{path} } grep { $_->{path} =~ /end-url/ } asked('act')), '/act/end-url/ulate', 'asks by itself');
    is(scalar asked('slow'), 2, 'once more');
    $s->stop;
}

# ---- a restart and a stop while the server of actions hangs, for a thread that does an action and for the watchdog that does it again

{
    my %s = map { ($_ => server({ mpm => $_, processes => $_ eq 'prefork' ? 3 : 1, threads => $_ eq 'prefork' ? 1 : 4 }, 'VapiSpool spool', 'VapiRoute first', qq(VapiAction hang after-transfer url="$base/$_/x" timeout=300))) } qw(event prefork);
    my @mpms = sort keys %s;
    my $tried = sub { my ($mpm, $call) = @_; return grep { $_->{json}{call} eq "$mpm-$call" } asked($mpm) };
    my $each_tried = sub { my ($n, $call, $name) = @_; ok(wait_until(sub { $tried->($_, $call) == $n }, 30), "$_: $name") for @mpms; return };
    my $reload = sub { my ($name) = @_; is_quick(time_of_reload($s{$_}, 'hup'), $killed_after, "$_: HUP $name") for @mpms; return };
    $_->allow_log($abandoned) for values %s;

    is(said(ask($s{$_}, "$_-one")), $done, "$_: a call whose action hangs") for @mpms;
    $each_tried->(1, 'one', 'it is under way');
    $reload->('while a thread waits');
    is(scalar waiting($s{$_}), 1, "$_: it is in the spool") for @mpms;
    make_due($s{$_}) for @mpms;
    $each_tried->(2, 'one', 'the watchdog tries it');
    $reload->('while the watchdog waits');
    make_due($s{$_}) for @mpms;
    $each_tried->(3, 'one', 'the watchdog tries it again');
    is(said(ask($s{$_}, "$_-two")), $done, "$_: another call") for @mpms;
    $each_tried->(1, 'two', 'under way, too');
    for my $mpm (@mpms) {
        my $began = time;
        $s{$mpm}->stop;
        is_quick(time - $began, $killed_after, "$mpm: TERM while both wait");
        is(scalar waiting($s{$mpm}), 2, "$mpm: both are in the spool");
    }
    $crm->answers(map { ($_ => { json => {} }) } @mpms);
    for my $mpm (@mpms) {
        $s{$mpm}->start;
        ok(wait_until(sub { make_due($s{$mpm}); !waiting($s{$mpm}) }, 30), "$mpm: it starts, and the server of actions answers: delivered");
        is(join(' ', map { scalar keys_of($tried->($mpm, $_)) } qw(one two)), '1 1', "$mpm: each with its one key");
        is(scalar aside($s{$mpm}), 0, "$mpm: none was given up");
        $s{$mpm}->stop;
    }
}

# ---- prefork, with all of it, restarted again and again

{
    my $database = $crm->{dir} . '/beside.db';
    system('sqlite3', '-cmd', '.output /dev/null', $database, 'PRAGMA journal_mode=WAL; CREATE TABLE tier (id TEXT, tier TEXT); INSERT INTO tier VALUES (1, 2)') == 0 or die "sqlite3 failed\n";
    chmod 0777, $crm->{dir};
    chown @user, grep { -e } map { "$database$_" } '', '-wal', '-shm';
    $crm->answers(load => { json => {} }, lead => { json => {} });
    my $s = server({ mpm => 'prefork', modules => ['watchdog', 'dbd'], processes => 4, threads => 1 }, 'VapiSpool spool', 'VapiSettle 0', 'DBDriver sqlite3', "DBDParams $database",
        'VapiLookup row sql="SELECT tier FROM tier WHERE id = %s" arg=1', "VapiLookup known url=$base/known/%{VAPI_CALL} timeout=30",
        q(VapiRoute first "lookup('known.tier') == 'gold' && lookup('row') != 'none'"), 'VapiRoute none',    # SQLite is locked at times, when all children connect
        "VapiAction lead before-transfer required url=$base/lead/x route=first timeout=30", "VapiAction load after-transfer url=$base/load/x");
    $s->allow_log($abandoned, qr/action=load event=after-transfer: .*; tried again/, qr/\[dbd:|AH006\d\d/, qr/lookup row: /);
    my @clients = map { client($s, "load-$_") } 1 .. 4;
    my @took;
    for (1 .. 10) {
        sleep 0.1;
        push @took, time_of_reload($s, 'hup');
    }
    wait_until(sub { (grep { $_->{call} =~ /^load-/ } $control->requests) > 60 }, 60);
    my %heard;
    print { $_->{stop} } "stop\n" for @clients;
    for my $client (@clients) {
        close $client->{stop};
        my $lines = do { local $/; readline $client->{answers} };
        waitpid $client->{pid}, 0;
        %heard = (%heard, map { /^(\S+) (.*)$/ ? ($1 => $2) : () } split /\n/, $lines // '');
    }
    my ($longest) = sort { $b <=> $a } @took;
    is_quick($longest, $killed_after, 'ten HUPs of prefork under load: it serves soon after each');
    my @transferred = grep { $heard{$_} eq $done } sort keys %heard;
    cmp_ok(scalar @transferred, '>', 50, 'calls are transferred meanwhile (' . @transferred . ' of ' . keys(%heard) . ')');
    is(said(ask($s, 'load-last')), $done, 'and afterwards');
    ok(wait_until(sub { make_due($s); !waiting($s) }, 60), 'nothing waits in the end');
    my %times;
    $times{ $_->{json}{call} }{ $_->{headers}{'idempotency-key'} }++ for asked('load');
    is(join(' ', grep { !$times{$_} } @transferred), '', 'every action of every call that was transferred was done');
    is(join(' ', grep { keys %{ $times{$_} } != 1 } sort keys %times), '', 'with one key, however often');
    is(scalar aside($s), 0, 'none was given up');
    $s->stop;
}

# Sends one tool call after the other until it is told to stop.
sub client {
    my ($s, $prefix) = @_;
    pipe my $read, my $answers or die "pipe: $!";
    pipe my $until, my $stop or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        VapiGuard::leave();
        close $stop;
        my $ready = '';
        vec($ready, fileno $until, 1) = 1;
        for (my $n = 1; !select my $told = $ready, undef, undef, 0.03; $n++) { print $answers "$prefix-$n ", said(ask($s, "$prefix-$n")), "\n" }
        close $answers;
        POSIX::_exit(0);
    }
    close $answers;
    close $until;
    return { pid => $pid, answers => $read, stop => $stop };
}

# ---- children that end while the watchdog goes through a long spool: they end in order

{
    $crm->answers(many => { json => {} });
    my @servers = map { server({ mpm => 'prefork', processes => 1, threads => 1 }, 'VapiSpool spool', 'MaxConnectionsPerChild 1', 'VapiRoute first', qq(VapiAction many after-transfer url="$base/many/x" timeout=300)) } 1 .. 4;
    fill_spool($_, $errand =~ s/\|few"/|many"/r =~ s{/few/}{/many/}r, 600) for @servers;
    my %child;
    for my $s (@servers) {
        ok(wait_until(sub { waiting($s) < 600 }, 30), 'the watchdog is at it');
        ($child{$s}) = $s->children;
        $s->get('/nothing');    # one connection, and its child ends
    }
    for my $s (@servers) {
        $s->allow_log($abandoned, qr/AH00161: server reached MaxRequestWorkers/);
        ok(wait_until(sub { my ($now) = $s->children; $now && $now != $child{$s} }, 30), 'another child comes');
        is(scalar lines_for($s, qr/exit signal/), 0, 'the one before did not crash');
        $s->stop;
    }
    is(scalar(map { aside($_) } @servers), 0, 'nothing was given up');
}

# More of the same, which are due.
sub fill_spool {
    my ($s, $text, $number) = @_;
    for my $n (1 .. $number) {
        my $file = sprintf '%s/spool/%016x-%016x', $s->dir, (time - 1) * 1e6, $n;
        spit("$file.new", $text);
        chown @user, "$file.new";
        chmod 0600, "$file.new";
        rename "$file.new", $file or die "rename: $!";
    }
    return;
}

# ---- sets of an enclosing section; a regular expression that reaches its limit where no route asks it

{
    my $place = sub { my ($path, @lines) = @_; return join "\n", "<Location \"$path\">", @lines, '</Location>', '' };
    my @endpoint = ('SetHandler vapi-transfer', 'VapiAuthenticate test');
    my $long = '%{said:(a|aa)+[0-9]}';
    my $s = VapiTest->new(modules => ['watchdog'], conf => join '', "VapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\nVapiSignal loud \"(a|aa)+[0-9]\"\nVapiSet level \"%{var:base}\"\nVapiSet base server\n",
        $place->('/in', 'VapiSet tier gold', 'VapiSet base outer'),
        $place->('/in/deep/one', @endpoint, q(VapiRoute none "var('tier') == 'gold'" result="%{var:tier} %{var:level}")),
        $place->('/in/deep/two', @endpoint, 'VapiSet base "%{var:tier}"', 'VapiRoute none result="%{var:level}"'),
        $place->('/turned', @endpoint, 'VapiSet level turned', 'VapiSet base "%{var:level}"', 'VapiRoute none result="%{var:base} %{var:level}"'),
        $place->('/said', @endpoint, qq(VapiRoute none result="[$long$long]")), $place->('/signal', @endpoint, 'VapiRoute none result="[%{signal:loud}]"'));
    $s->allow_log(qr/VapiRoute: the table has no last route/);
    $s->start;
    my $told = sub { my ($path, $call, @said) = @_; return said($s->signed_post($path, vapi_tool_call(call => $call, @said ? (said => \@said) : ()))) };
    is($told->('/in/deep/one', 'in-one'), 'gold outer', 'a set of an enclosing <Location> is found, and its base= takes the place of the server\'s');
    is($told->('/in/deep/two', 'in-two'), 'gold', 'one of its own that uses it takes the place of both');
    is($told->('/turned', 'turned'), 'turned turned', 'two sets that refer to each other the other way round');
    my $limit = 'a regular expression reached its limit in what the caller said, and counts as not found';
    for (['/said', '[]'], ['/signal', '[0]']) {
        my ($path, $result) = @$_;
        my $call = "limit-$path" =~ tr{/}{}dr;
        is($told->($path, $call, 'a' x 300), $result, "$path: a pattern that only result= asks reaches its limit: not found");
        $s->log_like(qr/:warn\] .*call=$call \Q$limit\E/, "$path: the log says so");
        is(scalar lines_for($s, qr/call=$call \Q$limit\E/), 1, "$path: once");
        isnt($told->($path, "$call-short", 'aa9'), $result, "$path: words in which it is found");
        $s->log_unlike(qr/call=$call-short \Q$limit\E/, "$path: without a word");
    }
    $s->stop;
}

# ---- what a file may say to a model

{
    my $taken = sub {
        my ($role, $content, $more) = @_;
        my $file = JSON::PP->new->canonical->encode({
            type => 'number', number => '+14155550100', message => 'One moment, %{arg:name}.',
            transferPlan => { mode => 'warm-transfer-say-summary', summaryPlan => { enabled => JSON::PP::true, messages => [{ role => 'system', content => 'Two sentences.' }, { role => $role, content => $content, %{ $more || {} } }] } },
        });
        return configtest(endpoint_conf($control, 'VapiSet level x', 'VapiLookup crm url=https://crm.example.com/', 'VapiDestination d json:@DIR@/said.json', 'VapiRoute d'), files => { 'said.json' => $file });
    };
    my $refused = qr/httpd\.conf:\n.*VapiDestination: DIR\/said\.json: a message of role system may hold no value of the caller or the model/s;
    for my $value ('%{arg:note}', 'As {{transcript}} and %{VAPI_TRANSCRIPT}', '%{lookup:crm.note}', '%{var:level}', '%{said:angry}', "%{msg:/customer/name}") {
        my ($code, undef, $said) = $taken->('system', "Say: $value");
        like("exit $code\n$said", qr/\Aexit 1\n.*$refused/s, "a system message with $value: refused");
        ($code, undef, $said) = $taken->('user', "Say: $value");
        is($code, 0, "a user's message with it: taken") or diag($said);
    }
    like(($taken->('system', 'Three.', { content => [{ type => 'text', text => '%{arg:note}' }] }))[2], $refused, 'deep in a system message: refused');
    like(($taken->('%{arg:role}', 'Say: %{arg:note}'))[2], $refused, 'a role that the call says: refused');
    is(($taken->('system', 'Three sentences.'))[0], 0, 'a system message that holds no value: taken');
}
done_testing;
