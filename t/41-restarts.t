# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Apache is reloaded, restarted and loses children while calls come in: no call is lost or moved twice, and nothing piles up.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
use VapiTest;

my $control = VapiControl->new;
my $done = 'The call is being transferred.';
my @route = ('VapiDestination billing +14155550100', 'VapiRoute billing');

sub said { my ($reply) = @_; my $first = ($reply->{json} || {})->{results}[0] || {}; return $first->{result} // $first->{error} // "status $reply->{status}" }
sub tool_call { my ($call, $behaviour) = @_; return vapi_tool_call(call => $call, id => 'call_A', control => $control->url($call, $behaviour)) }
sub ask { my ($s, @how) = @_; return said($s->signed_post('/vapi/transfer', tool_call(@how))) }
sub posts { my ($prefix) = @_; my %posts; $posts{ $_->{call} }++ for grep { $_->{call} =~ /^\Q$prefix\E-/ } $control->requests; return \%posts }

# Clients that send one tool call after the other, each with a call of its own, while something is done to the server. What each call got to hear.
sub under_load {
    my ($s, $prefix, $behaviour, $do) = @_;
    my @clients = map { client($s, "$prefix-$_", $behaviour) } 1 .. 3;
    $do->();
    wait_until(sub { keys %{ posts($prefix) } > 30 }, 60);    # a slow machine is given the time for a load
    print { $_->{stop} } "stop\n" for @clients;
    my %heard;
    for my $client (@clients) {
        close $client->{stop};
        my $lines = do { local $/; readline $client->{answers} };
        waitpid $client->{pid}, 0;
        %heard = (%heard, map { /^(\S+) (.*)$/ ? ($1 => $2) : () } split /\n/, $lines // '');
    }
    return \%heard;
}

sub client {
    my ($s, $prefix, $behaviour) = @_;
    pipe my $read, my $answers or die "pipe: $!";
    pipe my $until, my $stop or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        VapiGuard::leave();
        close $stop;
        my $ready = '';
        vec($ready, fileno $until, 1) = 1;
        for (my $n = 1; !select my $told = $ready, undef, undef, 0.01; $n++) { print $answers "$prefix-$n ", ask($s, "$prefix-$n", $behaviour), "\n" }
        close $answers;
        POSIX::_exit(0);
    }
    close $answers;
    close $until;
    return { pid => $pid, answers => $read, stop => $stop };
}

# Tests: every call got its transfer, and one.
sub nothing_lost {
    my ($heard, $prefix, $name) = @_;
    my $posts = posts($prefix);
    my @lost = grep { $heard->{$_} ne $done } sort keys %$heard;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    cmp_ok(scalar keys %$heard, '>', 20, "$name: there was a load (" . keys(%$heard) . ' calls)');
    is(join("\n", map { "$_: $heard->{$_}" } @lost), '', "$name: every call was answered and transferred");
    is(join(' ', grep { ($posts->{$_} // 0) != 1 } keys %$heard), '', "$name: each once");
    is(join(' ', grep { !$heard->{$_} } keys %$posts), '', "$name: and no other");
}

sub zombies {
    my ($s) = @_;
    return grep { (eval { slurp("/proc/$_/stat") } // '') =~ /\) Z / } $s->children;
}

for my $mpm (qw(event prefork)) {
    my $s = VapiTest->new(mpm => $mpm, conf => endpoint_conf($control, @route))->start;
    my $heard = under_load($s, "graceful-$mpm", 'delay=20', sub { $s->graceful, sleep 0.15 for 1 .. 10 });
    nothing_lost($heard, "graceful-$mpm", "$mpm, ten graceful restarts");
    my ($one) = sort keys %$heard;
    is(ask($s, $one), $done, "$mpm: a call from before them is known");
    is(posts("graceful-$mpm")->{$one}, 1, "$mpm: and is not moved again");
    ok(wait_until(sub { !zombies($s) }, 20), "$mpm: no dead child is left");
    $s->stop;
}

# HUP ends the requests that are under way; what was done is known afterwards.
{
    my $s = VapiTest->new(conf => endpoint_conf($control, @route, 'VapiSettle 0'))->start;
    is(ask($s, 'hup-1'), $done, 'before HUP: transferred');
    $s->hup;
    is(ask($s, 'hup-1'), $done, 'after HUP: the same reply');
    is(posts('hup')->{'hup-1'}, 1, 'and no second transfer');
    is(ask($s, 'hup-2'), $done, 'another call is transferred');
    $s->stop;
}

# The module comes with a reload, goes with one, and comes again.
{
    my $s = VapiTest->new(module => 0)->start;
    is($s->signed_post('/vapi/transfer', tool_call('added-1'))->{status}, 404, 'without the module: not found');
    for my $time (1, 2) {
        $s->{module} = 1;
        $s->set_conf(endpoint_conf($control, @route));
        $s->graceful;
        is(ask($s, "added-$time"), $done, "added by a reload ($time): it transfers");
        is(ask($s, 'added-1'), $done, "added by a reload ($time): it knows what was done");
        $s->{module} = 0;
        $s->set_conf('');
        $s->graceful;
        is($s->signed_post('/vapi/transfer', tool_call("added-$time"))->{status}, 404, "removed by a reload ($time)");
    }
    is_deeply(posts('added'), { 'added-1' => 1, 'added-2' => 1 }, 'each was transferred once');
    $s->stop;
}

# What `apachectl graceful` does with a wrong configuration: httpd -t refuses it, the server is not told, and goes on.
{
    my $s = VapiTest->new(conf => endpoint_conf($control, @route))->start;
    is(ask($s, 'wrong-1'), $done, 'before: transferred');
    for my $wrong ('VapiRoute nowhere', 'VapiSettle often', 'VapiLimit cal=3') {
        $s->set_conf(endpoint_conf($control, @route, $wrong));
        my ($code, $said) = check($s);
        is($code, 1, "$wrong: httpd -t refuses it") or diag($said);
        is(ask($s, 'wrong-1'), $done, "$wrong: the running server still knows what was done");
    }
    $s->set_conf(endpoint_conf($control, 'VapiDestination billing +14155550111', 'VapiRoute billing'));
    my ($code, $said) = check($s);
    is($code, 0, 'httpd -t beside the running server') or diag($said);
    unlike($said, qr/in use/, 'does not touch its state file');
    is(ask($s, 'wrong-2'), $done, 'it goes on');
    is((grep { $_->{call} eq 'wrong-2' } $control->requests)[0]{json}{destination}{number}, '+14155550100', 'with the configuration that it had');
    $s->graceful;
    is(ask($s, 'wrong-3'), $done, 'the right one is taken');
    is((grep { $_->{call} eq 'wrong-3' } $control->requests)[0]{json}{destination}{number}, '+14155550111', 'by a reload');
    is_deeply(posts('wrong'), { map { ("wrong-$_" => 1) } 1 .. 3 }, 'each was transferred once');
    $s->stop;
}

sub check {
    my ($s) = @_;
    local %ENV = (%ENV, $s->_environment);
    my $pid = open my $out, '-|' // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec $s->_command('-t') or POSIX::_exit(127);
    }
    my $said = do { local $/; <$out> };
    close $out;
    return ($? >> 8, $said);
}

# A child is killed in the midst of its work, again and again: only what it was doing is lost, and nothing hangs.
{
    my $s = VapiTest->new(processes => 3, conf => endpoint_conf($control, @route, 'VapiBudget 5'))->start;
    $s->allow_log(qr/outcome=(?:unknown|limited)/, qr/AH1039[23]: children are killed successively/);
    my $heard = under_load($s, 'killed', 'delay=30', sub {
        for (1 .. 6) {
            my @children = wait_for_children($s, 2);
            kill 'KILL', $children[rand @children];
            sleep 0.25;
        }
    });
    my $posts = posts('killed');
    my @lost = grep { $heard->{$_} ne $done } keys %$heard;
    cmp_ok(scalar keys %$heard, '>', 20, 'children killed under load: there was one (' . keys(%$heard) . ' calls)');
    cmp_ok(scalar @lost, '<=', 18, 'only the requests of a killed child are lost: three clients, six times (' . @lost . ')');
    is(join(' ', grep { $posts->{$_} > 1 } keys %$posts), '', 'nobody is transferred twice');
    is(join(' ', grep { $heard->{$_} eq $done && !$posts->{$_} } keys %$heard), '', 'and nobody only in words');
    ok(wait_until(sub { !zombies($s) }, 20), 'no dead child is left');
    # A second after the deadline of what they were doing the dead count as dead.
    my $answered = qr/^(?:The transfer may be under way\.|\Q$done\E)$/;
    subtest 'what was lost is asked for again' => sub {
        plan(skip_all => 'nothing was lost') if !@lost;
        for my $call (@lost) {
            ok(wait_until(sub { ask($s, $call) =~ $answered }, 30), "$call: an answer");
            cmp_ok(posts('killed')->{$call} // 0, '<=', 1, "$call: one transfer at most");
        }
    };
    is(scalar(grep { ask($s, "after-$_") eq $done } 1 .. 30), 30, 'thirty calls afterwards: no lock hangs');
    $s->stop;
}

sub wait_for_children {
    my ($s, $count) = @_;
    my @children;
    wait_until(sub { @children = $s->children; @children >= $count }, 20);
    return @children;
}

# Sixty reloads: the parent, which lives through them, does not grow. (A sanitizer keeps what is freed, and says itself what leaks.)
{
    my $s = VapiTest->new(processes => 1, threads => 2, conf => endpoint_conf($control, @route, 'VapiDestination front +14155550199', 'VapiTransferPlan brief warm-transfer-say-summary summary="In short."'))->start;
    my $size = sub { return slurp('/proc/' . $s->pid . '/status') =~ /^RssAnon:\s+(\d+) kB/m ? $1 : die 'no RssAnon' };
    my $files = sub { return scalar(() = glob '/proc/' . $s->pid . '/fd/*') };
    my %at;
    for my $n (1 .. 60) {
        $s->graceful;
        $at{$n} = [$size->(), $files->()];
    }
    my $grown = $at{60}[0] - $at{30}[0];
    $s->_is_slow ? pass('the parent is not measured under a sanitizer') : cmp_ok($grown, '<', 600, "sixty reloads: the parent no longer grows ($at{1}[0], $at{30}[0], $at{60}[0] kB)");
    is($at{60}[1], $at{10}[1], 'sixty reloads: no file stays open');
    is(ask($s, 'reloaded'), $done, 'sixty reloads: it serves');
    ok(wait_until(sub { !zombies($s) && $s->children <= 2 }, 30), 'sixty reloads: the old children have ended');
    $s->stop;
}

done_testing;
