# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Files that break while Apache runs, a file of a million lines, and patterns that would search for minutes.
use strict;
use warnings;
use VapiTest;

my %good = ('region.map' => "# prefixes\n+1 west\n+49 east\n", 'offices.map' => "+1 front\n", 'zones.map' => "+1 America/New_York\n", 'closed.txt' => "# closed\n12-25 Christmas\n");
my $conf = <<'END';
VapiCredential test hmac secret=file:@DIR@/vapi.secret preset=body-only
VapiAuthenticate test
VapiDestination front +14155550100
VapiDestination back  +14155550101
VapiMap region  region.map prefix
VapiMap again   @DIR@/region.map exact
VapiMap offices @DIR@/offices.map prefix
VapiMap zones   @DIR@/zones.map prefix
VapiHours office UTC "00:00-24:00" closed-file=closed.txt
VapiHours local map:zones "10:00-12:00" closed-file=@DIR@/closed.txt
<Location "/ask">
    SetHandler vapi-transfer
    VapiRoute map:offices "arg('go') == 'office'"
    VapiRoute none result="%{map:region} %{map:again:+1} %{hours:office} %{hours:local}"
</Location>
<Location "/console">
    SetHandler vapi-console
    VapiConsole manage
    Require all granted
</Location>
END
my $s = VapiTest->new(conf => $conf, files => \%good, processes => 1)->start;
my $dir = $s->dir;
is(asked(), 'west west open open +14155550100', 'maps and a closed-file as they were written');
is(asked('2026-12-25T15:00:00Z'), 'west west holiday holiday +14155550100', 'and on a closed date');

# What becomes of a file (undef: it goes), what the log says of it, and a good one afterwards with what it then says.
my @breaks = (
    ['a key without a value', 'region.map', "+1 west\n+49\n", qr/region\.map, line 2: /, "+1 north\n", 'north north open open +14155550100'],
    ['a key twice', 'region.map', "+1 west\n\n# x\n+1 east\n", qr/region\.map, line 4: /, "+1 west\n", 'west west open open +14155550100'],
    ['a NUL', 'region.map', "+1 west\n+2 a\0b\n", qr/region\.map, line 2: /, "+1 south\n", 'south south open open +14155550100'],
    ['no UTF-8', 'region.map', "+1 w\xe9st\n", qr/region\.map, line 1: /, "+1 west\n", 'west west open open +14155550100'],
    ['a map that is gone', 'region.map', undef, qr/region\.map/, "+1 west again\n", 'west again west again open open +14155550100'],
    ['a map of destinations that is gone', 'offices.map', undef, qr/offices\.map/, "+1 back\n", 'west again west again open open +14155550101'],
    ['a map of zones, broken', 'zones.map', "+1\n", qr/zones\.map, line 1: /, "+1 Asia/Kolkata\n", 'west again west again open closed +14155550101'],
    ['a day that is none', 'closed.txt', "12-25\n2026-02-30\n", qr/closed\.txt, line 2: /, "05-04 today\n", 'west again west again holiday holiday +14155550101'],
    ['a closed-file that is gone', 'closed.txt', undef, qr/closed\.txt/, "12-25\n", 'west again west again open closed +14155550101'],
);
my $before = 'west west open open +14155550100';
for (@breaks) {
    my ($name, $file, $broken, $words, $mended, $after) = @$_;
    defined $broken ? $s->write_file($file, $broken) : unlink "$dir/$file";
    my $log = length $s->log;
    $s->graceful;
    is(becomes($before, ["$dir/$file"]), "$before, stale: $dir/$file", "$name: the last good content stays in use, and status says so");
    my $logged = substr $s->log, $log;
    like($logged, qr/\[vapi_transfer:error\].*httpd\.conf:\d+: Vapi(?:Map|Hours): .*$words?.*its last good content stays in use/, "$name: logged, with file and line");
    $s->graceful;
    is(becomes($before, ["$dir/$file"]), "$before, stale: $dir/$file", "$name: and after another restart");
    my ($code, $said) = check($s);
    is($code, 1, "$name: httpd -t refuses it");
    like($said, $words, "$name: with its name and line");
    $s->write_file($file, $mended);
    $s->graceful;
    is(becomes($after, []), "$after, stale: ", "$name: mended, the new content is taken");
    $before = $after;
}
$s->allow_log(qr/its last good content stays in use/);

# What is well-formed, and names what is not there: a running server goes on without that value.
for (['offices.map', "+1 frunt\n", qr/VapiMap offices, line 1: there is no VapiDestination 'frunt'; did you mean 'front'\?/, 'open closed nobody', "+1 back\n"],
    ['zones.map', "+1 Asia/Kolkatta\n", qr/VapiMap zones, line 1: .*Asia\/Kolkat/, 'open closed +14155550101', "+1 Asia/Kolkata\n"]) {
    my ($file, $dangling, $words, $ending, $mended) = @$_;
    $s->write_file($file, $dangling);
    my $log = length $s->log;
    $s->graceful;
    like(becomes("west again west again $ending", []), qr/\Awest again west again \Q$ending\E, stale: \z/, "$file: a name that is not there ends no running server");
    like(substr($s->log, $log), qr/\[vapi_transfer:error\].*httpd\.conf:\d+: .*$words.*until the file is mended/, "$file: it is logged, with file and line");
    like((check($s))[1], $words, "$file: httpd -t refuses it");
    $s->write_file($file, $mended);
    $s->graceful;
    is(becomes($before, []), "$before, stale: ", "$file: mended");
}
$s->allow_log(qr/until the file is mended/);

# Several at once; and a first start refuses.
$s->write_file($_, "x\n") for qw(region.map closed.txt);
$s->graceful;
is(becomes($before, ["$dir/closed.txt", "$dir/region.map"]), "$before, stale: $dir/closed.txt $dir/region.map", 'two files: each is named once');
$s->stop;
like($s->start_fails('a first start refuses'), qr/VapiMap: .*region\.map, line 1: /, 'with file and line');
$s->write_file('region.map', $good{'region.map'});
like($s->start_fails('and the other one'), qr/VapiHours: .*closed\.txt, line 1: /, 'with file and line');
$s->write_file('closed.txt', $good{'closed.txt'});
unlink "$dir/region.map";
like($s->start_fails('a map that is not there'), qr/VapiMap: .*region\.map/, 'is named');

# ---- a million entries

{
    my $big = VapiTest->new(processes => 1, conf => endpoint_conf(undef, "VapiMap big \@DIR\@/big.map prefix\n", q(VapiRoute none result="%{map:big} %{map:big:%{arg:x}}")));
    $big->write_file('big.map', join '', map { sprintf "+1%07d value %d\n", $_, $_ } 0 .. 999_999);
    $big->start;
    my $worked = work_of($big->pid);
    cmp_ok($worked, '<', $big->_is_slow ? 60_000 : 15_000, sprintf 'a map of a million lines is ready after %d ms of work, read twice', $worked);
    is(result($big, '/vapi/transfer', caller => '+109999994711', args => { x => '+100000009' }), 'value 999999 value 0', 'and answers');
    my $before = work_of($big->children);
    $big->signed_post('/vapi/transfer', vapi_tool_call(caller => "+1055555500$_", args => { x => '+2' })) for 10 .. 59;
    my $each = (work_of($big->children) - $before) / 50;
    cmp_ok($each, '<', 10, sprintf 'with %.1f ms of work', $each);
    $big->stop;
}

# ---- patterns (T31)

{
    my %hostile = ('a word of 100 KB' => ['a' x 100_000 . '!'], 'short words' => [('a' x 12 . '! ') x 7000 . 'b'], 'many turns' => [('a' x 2000 . '!') x 50]);
    my %asking = (
        said => [q{said('^(a+)+$') == '1' || said('(a|aa)+$') == '1'}], signal => [q{signal('bad') != 0}], set => [q{var('bad') != ''}], text => [q{arg('x') == 'never'}, 'result="%{signal:bad}%{said:(a+)+$}"'],
    );
    my %httpds = (transcript => q{%{VAPI_TRANSCRIPT} =~ /(a+)+$/}, words => q{%{VAPI_LAST_SAID} =~ m#^(a|aa)+$#}, message => q{msg('/artifact/transcript') =~ /(a+)+b$/ || 'x' == 'y'}, own => q{%{VAPI_LAST_SAID} =~ /(*LIMIT_MATCH=500)(a+)+$/});
    my $patterns = "VapiSignal bad (a+)+\$\nVapiSignal bad ^(a|aa)+\$\nVapiSet bad yes \"-n said('(a+)+\$')\"\nVapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\nVapiAuthenticate test\n";
    for my $path (sort(keys %asking), sort keys %httpds) {
        my ($expression, $result) = @{ $asking{$path} || [$httpds{$path}] };
        $patterns .= "<Location \"/$path\">\nSetHandler vapi-transfer\nVapiRoute none \"$expression\" result=matched\nVapiRoute none " . ($result // 'result=missed') . "\n</Location>\n";
    }
    my $p = VapiTest->new(conf => $patterns, processes => 1)->start;
    for my $path (sort(keys %asking), sort keys %httpds) {
        for my $text (sort keys %hostile) {
            my $before = work_of($p->children);
            my $got = $p->signed_post("/$path", vapi_tool_call(call => "$path-" . $text =~ tr/ /-/r, said => $hostile{$text}));
            is($got->{json}{results}[0]{result}, $path eq 'text' ? '0' : 'missed', "$path, $text: nothing matches");
            my $worked = work_of($p->children) - $before;
            cmp_ok($worked, '<', 4000, sprintf '%s, %s: with %d ms of work, where VapiBudget is 8 s', $path, $text, $worked);
        }
        next if !$asking{$path} || $path eq 'text';
        $p->log_like(qr/call=$path-a-word-of-100-KB a regular expression reached its limit in what the caller said, and counts as not found/, "$path: the log says that the limit was reached");
    }
    # Each word is just too short to reach the limit of httpd's own patterns: the most that they can cost.
    my $before = work_of($p->children);
    my $costly = $p->signed_post('/transcript', vapi_tool_call(said => [('a' x 11 . '! ') x 7000]));
    is($costly->{json}{results}[0]{result}, 'missed', 'words just under the limit of httpd\'s patterns: nothing matches');
    my $worked = work_of($p->children) - $before;
    cmp_ok($worked, '<', 6000, sprintf 'with %d ms of work, where VapiBudget is 8 s', $worked);
    is(result($p, '/said', said => ['aaaa']), 'matched', 'what ends in time is found');
    is(result($p, '/words', said => ['aaaa']), 'matched', 'by httpd, too');
    $p->allow_log(qr/a regular expression reached its limit/);
    $p->no_canary('aaaaaaaa');
}
done_testing;

sub result {
    my ($server, $path, %o) = @_;
    my $got = $server->signed_post($path, vapi_tool_call(%o));
    return ($got->{json} || {})->{results}[0]{result} // "status $got->{status}: $got->{body}";
}

# What the routes know at a time, and where a mapped route goes.
sub asked {
    my ($at) = @_;
    my ($knows, $goes) = map { $s->post('/console/explain?location=/ask&at=' . ($at // '2026-05-04T15:00:00Z'), vapi_tool_call(args => { go => $_ }))->{json} } '', 'office';
    return ($knows->{reply}{result} // 'nothing') . ' ' . ($goes->{control}{destination}{number} // 'nobody');
}

# The same with what is stale, as soon as it is so: a child of before may take one more request.
sub becomes {
    my ($answers, $stale) = @_;
    my $shown;
    wait_until(sub {
        my $status = $s->get('/console/status')->{json} or return 0;
        $shown = asked() . ', stale: ' . join ' ', sort @{ $status->{stale} };
        return $shown eq "$answers, stale: @$stale";
    }, 20);
    return $shown;
}

# The processor time that these processes have had, in ms: what else the machine does adds nothing to it.
sub work_of {
    my (@pids) = @_;
    my $ticks = 0;
    for my $stat (map { eval { slurp("/proc/$_/stat") } // () } @pids) {
        my @fields = split / /, $stat =~ s/.*\) //sr;
        $ticks += $fields[11] + $fields[12];
    }
    return 1000 * $ticks / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

sub check {
    my ($server) = @_;
    local %ENV = (%ENV, $server->_environment);
    my $pid = open my $out, '-|' // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec $server->_command('-t') or POSIX::_exit(127);
    }
    my $said = do { local $/; <$out> };
    close $out;
    return ($? >> 8, $said);
}
