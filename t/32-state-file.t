# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# The file that remembers what was done: where it lies, who may have it, what is in it, and what happens when it cannot be had or is full.
use strict;
use warnings;
use IO::Socket::INET;
use Time::HiRes qw(time);
use VapiTest;

my $control = VapiControl->new;
my @route = ('VapiDestination billing +14155550100', 'VapiSettle 0', qq(VapiRoute none "arg('q') == 'none'" result="No, %{arg:q}."), 'VapiRoute billing');

sub conf { my ($state) = @_; return ($state ? "VapiState $state\n" : '') . endpoint_conf($control, @route) }
sub server { my ($state, %o) = @_; return VapiTest->new(%o, conf => conf($state)) }
sub ask { my ($s, $call, $id, %o) = @_; return $s->signed_post('/vapi/transfer', vapi_tool_call(control => $control->url($call), %o, call => $call, id => $id)) }
sub posts { my ($call) = @_; return scalar grep { $_->{call} eq $call } $control->requests }
sub mode { my ($file) = @_; return sprintf '%04o', (stat $file)[2] & 07777 }

# A test: the call, which was transferred before, is known; or it is not, and transferred again.
sub is_known {
    my ($s, $call, $is_known, $name) = @_;
    my $before = posts($call);
    ask($s, $call, 'call_A');
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(posts($call) - $before, $is_known ? 0 : 1, $name);
}

# VapiState, the file under the server's directory (none: no file at all), is a call known after stop and start
for my $case (
    ['',                              'run/vapi_transfer.state', 1, 'by default'],
    ['shm',                           'run/vapi_transfer.state', 1, 'shm'],
    ['shm:4M',                        'run/vapi_transfer.state', 1, 'shm:4M'],
    ['shm file=other.state',          'run/other.state',         1, 'a relative path'],
    ['shm "file=@DIR@/own.state"',    'own.state',               1, 'an absolute path'],
    ['shm file=none',                 undef,                     0, 'none'],
) {
    my ($state, $file, $is_known, $name) = @$case;
    (my $call = "where $name") =~ s/\W+/-/g;
    my $s = server($state)->start;
    is_known($s, $call, 0, "$name: a call is transferred");
    $s->graceful;
    is_known($s, $call, 1, "$name: known after a graceful restart");
    my @files = grep { -f } glob $s->dir . '/*.state* ' . $s->dir . '/run/*.state*';
    is_deeply(\@files, [$file ? $s->dir . "/$file" : ()], "$name: where the file is");
    is(mode($files[0]), '0600', "$name: for its owner alone") if $file;
    $s->restart;
    is_known($s, $call, $is_known, $name eq 'none' ? 'none: forgotten after stop and start' : "$name: known after stop and start");
    $s->stop;
}

# ---- what is in it

{
    my $s = server('')->start;
    my %private = (
        caller => '+14155550177', call => 'b7b9e3a4-8a0b-4e11-9c37-5f2d11aa0c55', id => 'call_Zm9yZXZlcnlvdW5nAAAAAAAA',
        said => 'my account number is four seven one one', argument => 'the-customer-of-2019',
    );
    my @told = (caller => $private{caller}, said => [$private{said}], args => { department => $private{argument} });
    ask($s, $private{call}, $private{id}, @told);
    $s->signed_post('/vapi/transfer', vapi_message('transfer-destination-request', call => $private{call}, @told[0 .. 3]));
    $s->signed_post('/vapi/transfer', vapi_message('status-update', call => $private{call}, @told[0 .. 3], fields => { status => 'ended' }));
    my $file = slurp($s->dir . '/run/vapi_transfer.state');
    for my $what (sort keys %private) {
        is(index($file, $private{$what}), -1, "the state file does not show the $what");
    }
    (my $digits = $private{caller}) =~ s/\D//g;
    is(index($file, $_), -1, 'nor part of it') for $digits, $control->url($private{call}), $private{call} =~ /^(\w{8}-\w{4})/;
    cmp_ok(index($file, 'The call is being transferred.'), '>', 0, 'only what was answered');
    $s->no_canary($s->secret, @private{qw(caller said argument)}, $control->url($private{call}));
    $s->stop;
}

# ---- a file that cannot be taken as it is

{
    my $first = server('')->start;
    my $file = $first->dir . '/run/vapi_transfer.state';
    my $second = server(qq(shm "file=$file"))->start;
    $second->log_like(qr/state file \Q$file\E: is in use by another server, and was not taken/, 'in use by another server: the start says so');
    is_known($first, 'two-servers', 0, 'in use: the first goes on');
    is_known($second, 'two-servers', 0, 'in use: the second serves, with a store of its own');
    is_known($second, 'two-servers', 1, 'in use: which works');
    $second->log_like(qr/could not be had at the start/, 'a reload says it again') if $second->graceful;
    is_known($second, 'two-servers', 1, 'in use: and survives a reload');
    is_known($first, 'two-servers', 1, 'in use: the first has its own still');
    $first->stop;
    $second->restart;
    is_known($second, 'two-servers', 1, 'once the first has gone the file is taken, with what is in it');
    $second->stop;
}

# As where DefaultRuntimeDir is not there, or is another user's: the file cannot be made.
{
    my $s = server('');
    mkdir $s->dir . '/run/vapi_transfer.state.new' or die;
    $s->start;
    $s->log_like(qr/vapi_transfer\.state: its successor \(\.new\) cannot be opened/, 'no file by default: the start says so');
    $s->log_like(qr/without its file the store is in memory only/, 'and what that means');
    is_known($s, 'no-file', 0, 'no file by default: it serves');
    $s->log_like(qr/could not be had at the start/, 'a reload says it again') if $s->graceful;
    is_known($s, 'no-file', 1, 'and knows what it did');
    $s->stop;
}

# What is done to the file between stop and start, what the start says, is the call known then.
for my $case (
    ['another layout', sub { patch($_[0], 8, pack 'L', 4711) },      qr/is of another version or machine and was not taken: it is kept with \.old/, 0, 1],
    ['no state file',  sub { spit($_[0], "hello\n" x 100) },         qr/is no state file and was not taken/,  0, 1],
    ['empty',          sub { spit($_[0], '') },                      qr/is no state file and was not taken/,  0, 1],
    ['cut short',      sub { truncate $_[0], 1024 * 1024 },          qr/is damaged and was not taken/,        0, 1],
    ['removed',        sub { unlink $_[0] },                         undef,                                   0, 0],
    ['readable',       sub { chmod 0644, $_[0] },                    undef,                                   1, 0],
) {
    my ($name, $do, $said, $is_known, $is_aside) = @$case;
    (my $call = "file $name") =~ s/\W+/-/g;
    my $s = server('')->start;
    my $file = $s->dir . '/run/vapi_transfer.state';
    is_known($s, $call, 0, "$name: before");
    $s->stop;
    $do->($file);
    $s->allow_log($said) if $said;
    $s->start;
    $s->log_like($said, "$name: the start says so") if $said;
    is(-e "$file.old" ? 1 : 0, $is_aside, "$name: the old one is " . ($is_aside ? 'set aside' : 'not set aside'));
    is_known($s, $call, $is_known, "$name: what was done is " . ($is_known ? 'known' : 'forgotten'));
    is_known($s, $call, 1, "$name: and it works");
    is(mode($file), '0600', "$name: for its owner alone");
    $s->stop;
}

sub patch {
    my ($file, $at, $bytes) = @_;
    open my $out, '+<:raw', $file or die "$file: $!";
    seek $out, $at, 0;
    print $out $bytes;
    close $out;
}

{
    my $s = server('')->start;
    $s->stop;
    my $file = $s->dir . '/run/vapi_transfer.state';
    rename $file, "$file.real" or die;
    symlink "$file.real", $file or die;
    $s->allow_log(qr/is a symbolic link|cannot be opened|Configuration Failed/);
    like($s->start_fails('a symbolic link is not followed'), qr/state file \Q$file\E: is a symbolic link/, 'and the start says so');
}

{
    my $s = server('shm file=nowhere/own.state');
    $s->allow_log(qr/cannot be opened|Configuration Failed/);
    like($s->start_fails('a directory that does not exist'), qr{state file \S+/run/nowhere/own\.state: .*cannot be opened}, 'and the start says so');
}

# ---- its size

{
    my $s = server('shm:2M')->start;
    my $file = $s->dir . '/run/vapi_transfer.state';
    is(-s $file, 2 * 1024 * 1024, 'a file of 2M');
    is_known($s, 'size', 0, 'transferred');
    $s->set_conf(conf('shm:5M'));
    $s->graceful;
    like($s->log, qr/another file or size takes effect when the server is stopped and started/, 'another SIZE in a reload: the log says when it counts');
    is(-s $file, 2 * 1024 * 1024, 'not yet');
    is_known($s, 'size', 1, 'known still');
    $s->restart;
    is(-s $file, 5 * 1024 * 1024, 'after stop and start it is so');
    is_known($s, 'size', 1, 'larger: known still');
    $s->set_conf(conf('shm:1M'));
    $s->restart;
    is(-s $file, 1024 * 1024, 'and smaller');
    is_known($s, 'size', 1, 'smaller: known still');
    is(mode($file), '0600', 'for its owner alone');
    $s->stop;
}

# ---- keep=

{
    my $s = server('shm keep=1')->start;
    my $began = time;
    is_known($s, 'kept', 0, 'keep=1: transferred');
    ok(wait_until(sub { ask($s, 'kept', 'call_A'); posts('kept') == 2 }, 20), 'keep=1: forgotten in the end');
    cmp_ok(time - $began, '>=', 0.99, 'keep=1: and known for a second');
    $s->stop;
}

# ---- a full store

{
    # The control API of one call: it answers when it is told to.
    my $api = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1, Timeout => 30) or die "control API: $!";
    my @slow = ('VapiControlAllowPrivate on', 'VapiControlHosts http://127.0.0.1:*', 'VapiControlTimeout 200', 'VapiBudget 200');
    my $s = VapiTest->new(conf => "VapiState shm:1M\n" . endpoint_conf(undef, @slow, @route))->start;
    is_known($s, 'oldest', 0, 'before: transferred');
    my $tool_calls = 0;
    for my $n (1 .. 130) {
        my $body = vapi_tool_call(call => "fill-$n", calls => [map { { id => "call_$_", args => { q => 'none' } } } 1 .. 32]);
        my $results = $s->signed_post('/vapi/transfer', $body)->{json}{results};
        $tool_calls += grep { ($_->{result} // '') eq 'No, none.' } @$results;
    }
    is($tool_calls, 130 * 32, 'more tool calls than the store can hold are all answered');
    is_known($s, 'newest', 0, 'full: a first attempt is transferred');
    is_known($s, 'newest', 1, 'full: and known');
    is_known($s, 'oldest', 0, 'full: the oldest had to go');
    my $working = $s->post_start('/vapi/transfer', vapi_tool_call(call => 'work', id => 'call_A', timeout => 300, control => 'http://127.0.0.1:' . $api->sockport . '/work/control'));
    my $asked = $api->accept;
    ok($asked && $asked->sysread(my $request, 65536), 'full: one is at work');
    for my $n (1 .. 130) {
        my $body = vapi_tool_call(call => "more-$n", calls => [map { { id => "call_$_", args => { q => 'none' } } } 1 .. 32]);
        $s->signed_post('/vapi/transfer', $body);
    }
    $asked->syswrite("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    $asked->close;
    like($s->post_finish($working)->{body}, qr/being transferred/, 'full: which is finished');
    is_known($s, 'work', 1, 'full: and known');
    $s->log_unlike(qr/no room/, 'full: no room was never lacking');
    $s->stop;
}

done_testing;
