# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# VapiSpool: what Apache took on is on the disk before the caller's side hears of it, and is delivered whatever dies in between.
use strict;
use warnings;
use File::Find ();
use File::Path qw(remove_tree);
use IO::Socket::INET;
use Time::HiRes qw(sleep time utime);
use VapiPg;
use VapiTest;

# A stand-in that comes where nobody listened before: at => a socket that has its port. The first request that tells of a CALL is answered with the
# status that first(CALL, STATUS) gave.
{
    package StandIn;
    our @ISA = ('VapiControl');

    sub listen_on {
        my ($self) = @_;
        my $listen = delete $self->{at} or return $self->SUPER::listen_on(0);
        listen $listen, 1024 or die "listen: $!";
        $self->{port} = $listen->sockport;
        return $listen;
    }
    sub first { my ($self, $call, $status) = @_; return VapiHttpd::spit("$self->{dir}/first-$call", $status) }

    sub _answer {
        my ($self, $request) = @_;
        my $first = "$self->{dir}/first-" . (ref $request->{json} ? $request->{json}{call} // '' : '');
        return $self->SUPER::_answer($request) if !-e $first;
        my $status = VapiHttpd::slurp($first);
        unlink $first;
        return { status => $status };
    }
}

my $json = JSON::PP->new->canonical->utf8;
my $control = StandIn->new;
my $crm = StandIn->new;
my $slow = VapiControl->new;
my $base = $crm->base;
my $done = 'The call is being transferred.';
my @user = $> == 0 ? (getpwnam +(grep { defined getpwnam $_ } qw(www-data apache nobody))[0])[2, 3] : ($>, $) + 0);    # of the server's children
my @route = ('VapiDestination billing +14155550100', 'VapiRoute billing');
my $count = 0;

sub server {
    my ($o, @lines) = @_;
    return VapiTest->new(modules => ['watchdog'], %$o, conf => endpoint_conf($control, @route, @lines) . "<Location \"/console\">\nSetHandler vapi-console\n</Location>\n");
}

sub new_call { return 'call-' . ++$count }
sub said { my ($reply) = @_; my $first = ($reply->{json} || {})->{results}[0] || {}; return $first->{result} // $first->{error} // "status $reply->{status}" }
sub tool_call { my ($call, %o) = @_; return vapi_tool_call(call => $call, control => $control->url($call, delete $o{behaviour}), %o) }
sub ask { my ($s, $call, %o) = @_; return said($s->signed_post('/vapi/transfer', tool_call($call, %o))) }
sub ask_many { my ($s, @calls) = @_; return map { said($_) } $s->post_many(map { my $body = tool_call($_); ['/vapi/transfer', $body, $s->signed($body)] } @calls) }

sub asked { my ($at, $path) = @_; return grep { $_->{path} =~ m{^/[^/]*\Q$path\E(?:[/?]|$)} } $at->requests }
sub keys_of { return map { $_->{headers}{'idempotency-key'} } @_ }
sub waiting { my ($s) = @_; return grep { -f && m{/[0-9a-f]{16}-[0-9a-f]{16}\z} } glob $s->dir . '/spool/*' }
sub aside { my ($s) = @_; return grep { -f } glob $s->dir . '/spool/set-aside/*' }
# What waits, with its text. It may go at any moment.
sub texts { my ($s) = @_; return map { my $text = eval { slurp($_) }; defined $text ? [$_, $text] : () } waiting($s) }
sub waiting_with { my ($s, $pattern) = @_; return map { $_->[1] =~ $pattern ? $_->[0] : () } texts($s) }
# All is done; what is put off need not wait so long.
sub none_waits { my ($s) = @_; return wait_until(sub { utime time, time, waiting($s); !waiting($s) }, 60) }
sub spool_status { my ($s) = @_; my $spool = $s->get('/console/status')->{json}{spool}; return "$spool->{waiting} waiting, $spool->{delivered} delivered, $spool->{set_aside} set aside" }
sub owner_and_mode { my ($file) = @_; my @stat = stat $file; return sprintf '%d %04o', $stat[4], $stat[2] & 07777 }

# A file in the spool, as one of the server's: taken on so many seconds ago, and due.
sub put {
    my ($s, $text, $age, $n) = @_;
    my $file = sprintf '%s/spool/%016x-%016x', $s->dir, (time - $age) * 1e6, $n;
    spit("$file.tmp", $text);
    chown @user, "$file.tmp";
    chmod 0600, "$file.tmp";
    rename "$file.tmp", $file or die "rename: $!";
    return $file;
}

# ---- one errand's way

my $s = server(
    { files => { 'words.json' => '{"words":"%{arg:words}"}' } },
    'VapiSpool spool', 'VapiLogNumbers none', 'VapiFailureSay "Sorry."', 'VapiBudget 60', 'VapiControlTimeout 50',
    qq(VapiAction early before-transfer url="$base/hold=crm/early" body=\@DIR\@/words.json when="arg('kind') == 'slow'" timeout=60),
    qq(VapiAction late after-transfer url="$base/hold=crm/late" body=\@DIR\@/words.json when="arg('kind') == 'slow'" timeout=60),
    qq(VapiAction failed transfer-failed url="$base/ok/failed"),
    qq(VapiAction note after-transfer url="$base/ok/note" when="arg('kind') == 'note'"),
    qq(VapiAction dead after-transfer url="$base/status=500/dead" when="arg('kind') == 'dead'"),
    sprintf(q(VapiAction growing after-transfer url="%s/ok/growing" when="arg('kind') == 'growing'"), $slow->base),
)->start;
is(owner_and_mode($s->dir . "/$_"), "$user[0] 0700", "$_ is made, and given to the server's user") for qw(spool spool/set-aside);
is(spool_status($s), '0 waiting, 0 delivered, 0 set aside', 'the status of an empty spool');

# One that fails again and again meanwhile.
$slow->script(('status=500') x 3, 'ok');
is(ask($s, 'growing', args => { kind => 'growing' }), $done, 'a call whose action will fail');

{
    my $words = 'CanaryOfTheCaller';
    my $started = $s->post_start('/vapi/transfer', tool_call('slow', behaviour => 'hold=slow', timeout => 100, args => { kind => 'slow', words => $words }));
    ok(wait_until(sub { grep { ($_->{call} // '') eq 'slow' } $control->requests }, 20), 'a transfer is under way');
    my ($early, @more) = waiting_with($s, qr/"before-transfer"/);
    is(scalar @more, 0, 'what comes before it waits');
    is(owner_and_mode($early), "$user[0] 0600", 'in a file that is for the server alone');
    like(slurp($early), qr/$words/, 'with its values');
    is(scalar asked($crm, '/early'), 0, 'and nothing of it is done yet');
    $control->release('slow');
    is(said($s->post_finish($started)), $done, 'the reply comes');
    my @files = waiting_with($s, qr/$words/);
    is(join(' ', map { owner_and_mode($_) } @files), join(' ', ("$user[0] 0600") x 2), 'the CRM hangs: both actions wait, each in a file');
    my @elsewhere;
    File::Find::find({ no_chdir => 1, wanted => sub { push @elsewhere, $_ if -f && !m{/spool/} && !$s->{own}{$_} && index(slurp($_), $words) >= 0 } }, $s->dir);
    is(join(' ', @elsewhere), '', 'the values are at rest nowhere else');
    $crm->release('crm');
    ok(wait_until(sub { !waiting_with($s, qr/$words/) }, 20), 'delivered: the files go');
    is_deeply([map { scalar asked($crm, $_) } qw(/early /late)], [1, 1], 'each was sent once');
    is(join(' ', map { $_->{body} } asked($crm, '/early'), asked($crm, '/late')), qq({"words":"$words"} {"words":"$words"}), 'whole');

    $control->script('status=400', 'hold=said');
    $started = $s->post_start('/vapi/transfer', tool_call('said', async => 1, timeout => 100));
    $s->allow_log(qr/outcome=refused/);
    ok(wait_until(sub { (grep { ($_->{call} // '') eq 'said' } $control->requests) == 2 }, 20), 'an async tool failed, and the caller hears so');
    is(scalar(() = waiting_with($s, qr/"transfer-failed"/)), 1, 'what comes after it is in the spool before the reply, too');
    is(scalar asked($crm, '/failed'), 0, 'and is not done yet');
    $control->release('said');
    ok($s->post_finish($started)->{status} == 200 && wait_until(sub { asked($crm, '/failed') }, 20), 'then it is');
}

# ---- what fails for now, and what fails for good

sub is_quiet { return wait_until(sub { !grep { $_->[1] !~ /growing|dead/ } texts($s) }, 30) }
{
    is_quiet();
    my @transient = (500, 503, 408, 429);
    my @calls = map { new_call() } @transient;
    $crm->first($calls[$_], $transient[$_]) for 0 .. $#calls;
    is(ask($s, $_, args => { kind => 'note' }), $done, 'a call whose action will fail for now') for @calls;
    $s->log_like(qr/:warn\] .*call=call-\d+ action=note event=after-transfer: HTTP $_; tried again in \d+ s/, "HTTP $_: tried again") for @transient;
    ok(is_quiet(), 'delivered at the second try');
    my %keys;
    $keys{ $_->{json}{call} }{ $_->{headers}{'idempotency-key'} }++ for asked($crm, '/note');
    is_deeply([map { join ' ', values %{ $keys{$_} } } @calls], [(2) x 4], 'twice with one and the same key');
    is(scalar(keys %{ { map { %{ $keys{$_} } } @calls } }), 4, 'each with its own');
    $s->log_like(qr/:info\] .*action=note event=after-transfer: delivered \d+ ms after it was taken on/, 'the log says that it was delivered');

    my @final = (404, 400, 401, 422);
    @calls = map { new_call() } @final;
    my $dir = $s->dir;
    $crm->script(map { "status=$_" } @final);
    ask($s, $_, args => { kind => 'note' }) for @calls;
    $s->log_like(qr/:error\] .*call=call-\d+ action=note event=after-transfer: HTTP $_; not tried any more: set aside in \Q$dir\E\/spool\/set-aside/, "HTTP $_: set aside at once, and said") for @final;
    ok(wait_until(sub { aside($s) == 4 }, 20), 'there they are');
    is(join(' ', map { owner_and_mode($_) } aside($s)), join(' ', ("$user[0] 0600") x 4), 'as they were');
    like(spool_status($s), qr/ 4 set aside$/, 'the status shows how many');

    # The administrator moves one back.
    my ($back) = sort { $a cmp $b } aside($s);
    my ($call) = slurp($back) =~ /"call":"(.*?)"/;
    rename $back, $back =~ s{/set-aside}{}r or die "rename: $!";
    ok(wait_until(sub { grep { $_->{json}{call} eq $call } (asked($crm, '/note'))[-1] }, 20) && is_quiet(), 'one that is moved back is delivered');
    is(scalar(keys %{ { map { ($_ => 1) } keys_of(grep { $_->{json}{call} eq $call } asked($crm, '/note')) } }), 1, 'with its key');
    my $counted = sub { my $grown = asked($slow, '/growing') >= 4; return spool_status($s) =~ /^\d+ waiting, (\d+) delivered, 3 set aside$/ && $1 == 8 + $grown };
    ok(wait_until($counted, 20), 'and counted') or diag(spool_status($s));

    # A day.
    ask($s, 'a-day', args => { kind => 'dead' });
    $s->log_like(qr/call=a-day action=dead event=after-transfer: HTTP 500; tried again in \d+ s/, 'one that fails');
    my $file = sub { my ($dead) = waiting_with($s, qr/a-day/); return $dead };
    made_old($file->(), 86300);
    $s->log_like(qr/call=a-day action=dead event=after-transfer: HTTP 500; tried again in 900 s/, 'after almost a day: a quarter of an hour is the longest pause');
    made_old($file->(), 86500);
    $s->log_like(qr/:error\] .*call=a-day action=dead event=after-transfer: HTTP 500; not tried any more: set aside/, 'after a day of failures: set aside');
}

# Makes it one that was taken on so long ago, and due.
sub made_old {
    my ($file, $age) = @_;
    my $stamp = sprintf '%016x', (time - $age) * 1e6;
    my $old = $file =~ s{/[0-9a-f]{16}(?=-[0-9a-f]{16}\z)}{/$stamp}r;
    rename $file, $old or die "rename: $!";
    utime time, time, $old;
    return;
}

# Pauses grow with the age.
{
    my @tries;
    ok(wait_until(sub { (@tries = asked($slow, '/growing')) >= 4 }, 60), 'three failures, and then it is delivered');
    my @pauses = map { $tries[$_]{time} - $tries[ $_ - 1 ]{time} } 1 .. 3;
    is(scalar(keys %{ { map { ($_ => 1) } keys_of(@tries) } }), 1, 'with one key');
    cmp_ok($pauses[0], '>=', 0.9, sprintf 'the first pause is a second (%.1f s)', $pauses[0]);
    cmp_ok($pauses[2], '>', 1.2 * $pauses[0], sprintf 'the third is longer (%.1f, %.1f, %.1f s)', @pauses);
    $s->allow_log(qr/call=growing .*HTTP 500; tried again/);
}

# ---- what is no errand, or none any more

{
    my $dir = $s->dir . '/spool';
    ask($s, 'model', args => { kind => 'dead' });
    my ($model) = waiting_with($s, qr/"call":"model"/);
    (my $text = slurp($model)) =~ s/\n+\z//;
    unlink $model;
    unlink aside($s);
    $text =~ s/\|dead"/|note"/;
    $text =~ s{"/status=500/dead"}{"/ok/note"};

    # Strangers first: what can be delivered lies behind them.
    mkdir "$dir/sub";
    spit("$dir/README", 'Mind the gap.');
    spit("$dir/.new-" . '0' x 16 . '-' . '0' x 16, $text);
    spit("$dir/.new-" . '0' x 16 . '-' . '1' x 16, $text);
    utime time - 4000, time - 4000, "$dir/.new-" . '0' x 16 . '-' . '1' x 16;
    mkdir "$dir/" . '0' x 16 . '-' . 'd' x 16;
    symlink "$dir/README", "$dir/" . '0' x 16 . '-' . 'e' x 16;
    POSIX::mkfifo("$dir/" . '0' x 16 . '-' . 'f' x 16, 0600);
    my %put = map { ($_->[0] => put($s, @$_[1 .. 3])) } (
        [half => '{"half', 1, 1], [empty => '', 1, 2], ['old half' => '{"half', 90000, 3], [gone => $text =~ s/\|note"/|gone"/r, 1, 4], [changed => $text =~ s/"kind":"http"/"kind":"sql"/r, 1, 5],
        [elsewhere => $text =~ s{"target":"/}{"target":"http://evil.example.com/}r, 1, 6], [header => $text =~ s{"Content-Type: }{"X-Evil: a\\r\\nContent-Type: }r, 1, 7], ['no key' => $text =~ s/"key":"\w+"/"key":"x"/r, 1, 8],
        [version => $text =~ s/"version":1/"version":2/r, 1, 9], [huge => $text . ' ' x 5e6, 1, 10], [list => '[' x 5000, 1, 11], [good => $text =~ s/"call":"model"/"call":"good"/r, 1, 12],
    );
    ok(wait_until(sub { !-e $put{good} }, 30), 'a good one among them is delivered');
    is((asked($crm, '/note'))[-1]{json}{event}, 'after-transfer', 'whole');
    $s->log_like(qr/:error\] .*call=- action=- event=-: is not readable; not tried any more: set aside/, 'an unreadable one is set aside after a day');
    $s->log_like(qr/:warn\] .*call=- action=- event=-: is not readable; tried again/, 'and waits before');
    $s->log_like(qr/call=model action=gone event=after-transfer: is of an action that the configuration has no more; tried again/, 'one of an action that is no more waits');
    $s->log_like(qr/call=model action=note event=after-transfer: does not fit its action, which was changed; tried again/, 'one that does not fit its action waits');
    $s->log_like(qr/:error\] .*VapiSpool: \Q$dir\E, or a file in it, cannot be read/, 'one that cannot be read is said');
    is(join(' ', map { -e $put{$_} ? () : $_ } sort keys %put), 'good old half', 'nothing else was removed');
    ok(-e "$dir/README" && -d "$dir/sub" && -e "$dir/.new-" . '0' x 16 . '-' . '0' x 16, 'a stranger\'s file is let be, and what is being written');
    ok(!-e "$dir/.new-" . '0' x 16 . '-' . '1' x 16, 'what nobody writes any more is removed');
    is(scalar(grep { $_->{path} !~ m{^/(?:ok|status=500|hold=crm)/} } $crm->requests), 0, 'nobody was asked for anything else');
    $s->log_unlike(qr/evil/, 'and the log shows nothing of it');

    # Its action comes back.
    $s->set_conf($s->{conf} =~ s/(?=VapiAction note )/VapiAction gone after-transfer url="$base\/ok\/gone"\n/r);
    $s->graceful;
    ok(wait_until(sub { utime time, time, $put{gone}; !-e $put{gone} }, 30), 'the action is there again: delivered');
    is((asked($crm, '/note'))[-1]{json}{call}, 'model', 'as it was');
    remove_tree($dir, { keep_root => 1 });
}

# The directory is lost under a running server: an action is tried once, and the log says so.
{
    my $before = asked($crm, '/note');
    remove_tree($s->dir . '/spool');
    is(ask($s, 'no-directory', args => { kind => 'note' }), $done, 'no directory any more: the caller is transferred');
    $s->log_like(qr/:error\] .*call=no-directory action=note event=after-transfer: cannot be written to the spool .*; tried once/, 'the log says that there is no spool');
    ok(wait_until(sub { asked($crm, '/note') == $before + 1 }, 20), 'the action is done all the same');
    $s->allow_log(qr/call=no-directory action=gone .*cannot be written/, qr/call=model .*tried again/);
    $s->stop;
}

# ---- the death of everything, while the CRM is down and the database too

my $pg = VapiPg->new(sql => 'CREATE TABLE action (call text)');
for my $sync ('off', 'on') {
    my $place = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp', ReuseAddr => 1) or die "no free port: $!";    # nobody listens
    my $port = $place->sockport;
    my $mortal = server({ modules => ['watchdog', 'dbd'], processes => 3 }, "VapiSpool spool sync=$sync", $pg->dbd_conf,
        "VapiAction before before-transfer url=http://127.0.0.1:$port/ok/before", "VapiAction after after-transfer url=http://127.0.0.1:$port/ok/after",
        'VapiAction row after-transfer sql="INSERT INTO action VALUES (%s)" arg=%{VAPI_CALL}', 'VapiAction line after-transfer file=lines')->start;
    $mortal->allow_log(qr/action=(?:before|after|row) event=\w+-transfer: .*; tried again/, qr/\[dbd:|AH006\d\d/, qr/^FATAL:  terminating connection/);
    my @calls = map { "outage-$sync-$_" } 1 .. 36;
    $pg->stop;
    is(scalar(grep { $_ eq $done } ask_many($mortal, @calls[0 .. 17])), 18, "sync=$sync: nobody is there: the calls are transferred");
    $mortal->log_like(qr/action=after event=after-transfer: .*; tried again in \d+ s/, "sync=$sync: and their actions wait");
    is(scalar(grep { $_ eq $done } ask_many($mortal, @calls[18 .. 35])), 18, "sync=$sync: and more");
    my ($shown) = spool_status($mortal) =~ /^(\d+) waiting, \d+ delivered, 0 set aside$/;
    cmp_ok($shown, '>=', 108, "sync=$sync: the status shows them");
    $mortal->kill9_all;
    my @left = waiting($mortal);
    my %keys = map { (slurp($_) =~ /"key":"(\w+)"/ ? ($1 => 1) : ()) } grep { slurp($_) =~ /\|(?:before|after)"/ } @left;
    cmp_ok(scalar @left, '>=', 108, "sync=$sync: killed: every errand that could not be done is there");
    is(scalar keys %keys, 72, "sync=$sync: each with a key of its own");
    is(scalar(grep { slurp($_) =~ /127\.0\.0\.1/ } @left), 0, "sync=$sync: and no server");
    my $back = StandIn->new(at => $place);
    undef $place;
    $pg->start;
    $mortal->start;
    ok(none_waits($mortal), "sync=$sync: they come back: all is delivered") or diag($mortal->log);
    my @requests = $back->requests;
    is_deeply({ map { ($_ => 1) } keys_of(@requests) }, \%keys, "sync=$sync: with these keys");
    my %events = map { ("$_->{json}{call} $_->{json}{event}" => 1) } @requests;
    is_deeply(\%events, { map { ("$_ before-transfer" => 1, "$_ after-transfer" => 1) } @calls }, "sync=$sync: before and after the transfer of every call");
    is(join(' ', sort { $a cmp $b } split /\n/, $pg->psql("SELECT DISTINCT call FROM action WHERE call LIKE 'outage-$sync-%'")), join(' ', sort @calls), "sync=$sync: a row for every call");
    my %lines = map { ($json->decode($_)->{call} => 1) } split /\n/, slurp($mortal->dir . '/lines');
    is_deeply(\%lines, { map { ($_ => 1) } @calls }, "sync=$sync: a line for every call");
    is(scalar(aside($mortal)), 0, "sync=$sync: none was given up");
    $mortal->stop;
}

# ---- restarts under load

{
    my $s = server({ processes => 2 }, 'VapiSpool spool', qq(VapiAction before before-transfer url="$base/delay=30/load"), qq(VapiAction after after-transfer url="$base/delay=30/load"))->start;
    $s->allow_log(qr/action=\w+ event=\w+-transfer: .*; tried again/);
    $crm->clear;
    my @clients = map { client($s, "load-$_") } 1 .. 3;
    for my $signal (qw(graceful hup graceful hup graceful)) {
        sleep 0.25;
        $s->$signal;
    }
    wait_until(sub { (grep { $_->{call} =~ /^load-/ } $control->requests) > 40 }, 60);
    my (%heard, %done);
    print { $_->{stop} } "stop\n" for @clients;
    for my $client (@clients) {
        close $client->{stop};
        my $lines = do { local $/; readline $client->{answers} };
        waitpid $client->{pid}, 0;
        %heard = (%heard, map { /^(\S+) (.*)$/ ? ($1 => $2) : () } split /\n/, $lines // '');
    }
    my @transferred = grep { $heard{$_} eq $done } sort keys %heard;
    cmp_ok(scalar @transferred, '>', 20, 'graceful and HUP restarts under load: there was one (' . @transferred . ' of ' . keys(%heard) . ' calls)');
    ok(none_waits($s), 'nothing waits in the end');
    $done{"$_->{json}{event} $_->{json}{call}"}{ $_->{headers}{'idempotency-key'} }++ for $crm->requests;
    is(join(' ', grep { !$done{"before-transfer $_"} || !$done{"after-transfer $_"} } @transferred), '', 'every action of every call that was transferred was done');
    is(join(' ', grep { keys %{ $done{$_} } != 1 } sort keys %done), '', 'each with one key, however often');
    is(scalar(aside($s)), 0, 'none was given up');
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
        for (my $n = 1; !select my $told = $ready, undef, undef, 0.01; $n++) { print $answers "$prefix-$n ", ask($s, "$prefix-$n"), "\n" }
        close $answers;
        POSIX::_exit(0);
    }
    close $answers;
    close $until;
    return { pid => $pid, answers => $read, stop => $stop };
}

# ---- without a spool

{
    my $s = server({}, qq(VapiAction once after-transfer url="$base/ok/once"), qq(VapiAction gate before-transfer required url="$base/ok/gate" when="1 == 2"))->start;
    $s->allow_log(qr/VapiAction gate: is required, and gates the table's last route/);
    $s->log_like(qr/:warn\] .*httpd\.conf:\d+: VapiAction once: there is no VapiSpool: actions are tried once, and lost when that fails or Apache dies/, 'without VapiSpool the start warns');
    $crm->script('status=500');
    is(ask($s, 'once-failing'), $done, 'without VapiSpool: a call whose action fails');
    $s->log_like(qr/:warn\] .*call=once-failing action=once event=after-transfer: HTTP 500; failed and is not tried again \(no VapiSpool\)/, 'the log says that it is lost');
    is(ask($s, 'once-well'), $done, 'another');
    wait_until(sub { spool_status($s) =~ /, 1 delivered,/ }, 20);
    sleep 1.3;    # what must not come
    is(join(' ', sort map { $_->{json}{call} } asked($crm, '/once')), 'once-failing once-well', 'each was tried once');
    is(spool_status($s), '0 waiting, 1 delivered, 0 set aside', 'the status');
    $crm->script('delay=1000');
    ask($s, 'once-stopped');
    $s->stop;
    is((asked($crm, '/once'))[-1]{json}{call}, 'once-stopped', 'what is under way at a stop is ended first');
    my ($code, undef, $said) = configtest(endpoint_conf(undef, @route, 'VapiAction gate before-transfer required url=https://crm.example.com/ route=billing', 'VapiRoute none'));
    unlike("$code $said", qr/VapiSpool/, 'required actions need none');
}

# ---- its directory

{
    my $top = VapiGuard::directory('spool');
    my %options = (modules => ['watchdog']);
    my $conf = sub { return endpoint_conf(undef, @route) =~ s/^/VapiSpool $_[0]\n/r };
    my $directory = sub {
        my ($name, $mode, @owner) = @_;
        mkdir "$top/$name" or die "$top/$name: $!";
        chown @owner ? @owner : @user, "$top/$name";
        chmod $mode, "$top/$name";
        return "$top/$name";
    };
    my $taken = sub { my ($where, $name) = @_; is_deeply([(configtest($conf->($where), %options))[0, 2]], [0, "Syntax OK\n"], $name) };
    $taken->("$top/new", 'one that can be made');
    ok(!-e "$top/new", 'httpd -t does not make it');
    $taken->($directory->('own', 0700), 'mode 0700');
    $taken->($directory->('group', 0750), 'mode 0750, for a group that may look');
    $taken->("$top/own/", 'a slash at its end');
    my @refused = (
        [$directory->('group-writes', 0770), 'may be written by others than its owner: chmod 700'], [$directory->('all-write', 0707), 'may be written by others than its owner'],
        [$directory->('all-read', 0755), 'may be read by others than its owner'], ["$top/nowhere/spool", 'cannot be made: there is no directory'], ["$top/own sync=maybe", 'sync=maybe: must be on or off'],
        ["$top/own fsync=on", 'fsync.*sync'], ["$top/own\nVapiSpool $top/group", 'is given twice'],
    );
    spit("$top/file", '');
    push @refused, ["$top/file", 'is no directory'];
    push @refused, [$directory->('of-root', 0700, 0, 0), 'belongs to another user than the one the servers run as: chown it to \w+'] if $> == 0;
    mkdir "$top/own/set-aside" or die $!;
    chown @user, "$top/own/set-aside";
    chmod 0777, "$top/own/set-aside";
    push @refused, ["$top/own", 'set-aside may be written by others'];
    configtest_fails($conf->($_->[0]), "VapiSpool.*(?:$_->[1])", "refused: $_->[1]", %options) for @refused;
    configtest_fails("<VirtualHost *:1>\nVapiSpool $top/own\n</VirtualHost>\n", 'VapiSpool cannot occur within', 'refused: in a virtual host', %options);
    configtest_fails($conf->("$top/own"), 'VapiSpool: needs mod_watchdog: load it', 'refused: without mod_watchdog') if !VapiHttpd::_is_compiled_in('watchdog');
    my $s = VapiTest->new(%options, conf => $conf->("$top/group-writes"));
    like($s->start_fails('a start with a directory that others may write'), qr/may be written by others than its owner/, 'says so');
}
done_testing;
