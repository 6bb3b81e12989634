# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# VapiState redis://: how the line is read, who is let in, and what a server does while Redis is away, stands still, forgets or is full.
use strict;
use warnings;
use Time::HiRes qw(sleep time);
use VapiTest;
use VapiRedis;

my $control = VapiControl->new;
my $console = "<Location \"/vapi/console\">\nSetHandler vapi-console\n</Location>\n";
my @route = ('VapiDestination billing +14155550100', 'VapiRoute billing', 'VapiSettle 0');
my $load = VapiRedis::load();

sub conf { my ($state, @lines) = @_; return $load . "VapiState $state\n" . $console . endpoint_conf($control, @route, @lines) }
sub tool_call { my ($call, $id, %o) = @_; return vapi_tool_call(call => $call, id => $id, control => $control->url($call, delete $o{behaviour}), %o) }
sub ask { my ($s, @how) = @_; return $s->signed_post('/vapi/transfer', tool_call(@how)) }
sub posts { my ($call) = @_; return scalar grep { $_->{call} eq $call && $_->{method} eq 'POST' } $control->requests }
sub state { my ($s) = @_; return $s->get('/vapi/console/status')->{json}{state} }
sub is_ok { my ($s, $ok, $name) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; return ok(wait_until(sub { !state($s)->{ok} == !$ok }, 20), $name) }

# A tool call that must be transferred; how long that took.
sub transferred {
    my ($s, $call, $name) = @_;
    my $reply = ask($s, $call, 'call_A');
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($reply->{json}{results}[0]{result}, 'The call is being transferred.', $name);
    is(posts($call), 1, 'once');
    return $reply->{ms};
}

# ---- the line

my $password = 'Canary-Sesame';
for my $case (
    ['redis:127.0.0.1'                        => qr/must begin with redis:\/\/ or rediss:\/\//],
    ['redis://'                               => qr/a host must stand behind redis\[s\]:\/\//],
    ["redis://:$password\@"                   => qr/a host must stand behind/],
    ['redis://h:0'                            => qr/the port must be a whole number from 1 to 65535/],
    ['redis://h:65536'                        => qr/the port must be/],
    ['redis://h:63x'                          => qr/the port must be/],
    ['redis://h:'                             => qr/the port must be/],
    ['redis://h/x'                            => qr/the database behind the \/ must be a whole number/],
    ['redis://h/1/2'                          => qr/the database behind the \//],
    ['redis://[::1'                           => qr/an IPv6 address stands in brackets/],
    ['redis://::1'                            => qr/a host must stand behind|the port must be/],
    ['redis://a b'                            => qr/takes|only|too many|one/],
    ["redis://joe:$password\@h"               => qr/a user is given by user=/],
    ["redis://:$password%\@h"                 => qr/a % must be written %25/],
    ['redis://:@h'                            => qr/the password before the @ is empty/],
    ["redis://:$password\@h password=env:PATH" => qr/the password is given twice: in the URL and by password=/],
    [qq(redis://h password="$password)        => qr/lacks its closing quote/],
    ["redis://:$password\@h x"                => qr/takes shm/],
    ["redis://h password=$password x"         => qr/word 3 is no key=value/],
    ['redis://h user=joe'                     => qr/user= needs a password=/],
    ['redis://h password='                    => qr/password/],
    ['redis://h password=env:NO_SUCH_NAME'    => qr/password: .*NO_SUCH_NAME/],
    ['redis://h ca=/etc/ca.pem'               => qr/ca= is for rediss:\/\/ alone/],
    ['redis://h prefix='                      => qr/prefix= is empty/],
    ['redis://h prefix=a*b'                   => qr/prefix= takes 1 to 40 letters, digits/],
    ['redis://h prefix=' . 'x' x 41           => qr/prefix= takes 1 to 40/],
    ['redis://h keep=0'                       => qr/keep= takes a time from 1s to 366 days, not '0'/],
    ['redis://h keep=soon'                    => qr/keep= takes a time/],
    ['redis://h prefix=a prefix=b'            => qr/prefix= is given twice/],
    ['redis://h pasword=x'                    => qr/unknown key 'pasword': redis takes user, password, ca, prefix, keep \(did you mean password\?\)/],
    ['redis://h size=1M'                      => qr/unknown key 'size': redis takes user, password, ca, prefix, keep/],
) {
    my ($words, $pattern) = @$case;
    my ($code, undef, $error) = configtest($load . "VapiState $words\n");
    (my $name = $words) =~ s/$password/PASSWORD/;
    like("exit $code\n$error", qr/\Aexit 1\n.*VapiState.*$pattern/s, "refused: $name");
    unlike($error, qr/$password/, 'without the password');
}
{
    my ($code, undef, $error) = configtest("VapiState redis://h\n");
    like("exit $code\n$error", qr/\Aexit 1\n.*'redis' needs the module vapi_state_redis, loaded above this line/s, 'the module is missing');
    for my $good ('redis://h', 'redis://h:6380/3', 'redis://[::1]:6379', 'redis://[fe80::1]/0', 'redis://h/ keep=1h prefix=a.b:c-d') {
        is((configtest(conf($good)))[0], 0, "taken: $good");
    }
    ($code, undef, $error) = configtest(conf("redis://:$password%40\@h"));
    like("exit $code\n$error", qr/\Aexit 0\n.*VapiState: a password in the URL can be read in httpd's own dumps: password=file:PATH/s, 'a password in the URL is warned about');
    unlike($error, qr/$password/, 'and not shown');
    ($code, undef, $error) = configtest(conf("redis://h password=$password user=joe"));
    like("exit $code\n$error", qr/\Aexit 0\n.*password: stands in the configuration itself/s, 'so is one that stands in the line');
    unlike($error, qr/$password/, 'which is not shown either');
    ($code, undef, $error) = configtest(conf('rediss://h ca=/etc/ssl/certs/ca-certificates.crt'));
    like("exit $code\n$error", VapiRedis::has_tls() ? qr/\Aexit 0\n/
        : qr/\Aexit 1\n.*this module was built against hiredis \d+\.\d+\.\d+ without TLS; hiredis 1\.0 or newer with its SSL part \(hiredis_ssl\) is needed/s,
        'TLS where this build has it, else a clear word');
}

# ---- who is let in

my $count = 0;
my @rules = qw(~vapi:* -@all +ping +select +evalsha +eval +get +set +getrange +time +del +hget +hmget +hset +hdel +hgetall +hlen +incrby +pexpire +pexpireat +pttl +zadd +zrange
    +zrem +zremrangebyscore);
for my $case (
    ['a password'              => { password => $password }, "password=file:\@DIR\@/redis.secret"],
    ['a user with just what docs/redis.md lists' => { acl => ["user joe on >$password @rules", 'user default off'] }, "user=joe password=file:\@DIR\@/redis.secret"],
    ['a password in the URL'   => { password => "$password\@/" }, undef],
) {
    my ($what, $options, $words) = @$case;
    my $redis = VapiRedis->new(%$options);
    my $state = $words ? $redis->words($words) : "redis://:$password%40%2F\@127.0.0.1:" . $redis->port . '/1';
    my $s = VapiTest->new(conf => conf($state), files => { 'redis.secret' => ["$password\n", 0600] })->start;
    is_deeply(state($s), { provider => 'redis', ok => JSON::PP::true }, "$what: status knows Redis");
    my $call = 'in' . ++$count;
    transferred($s, $call, "$what: transferred");
    is(ask($s, $call, 'call_A')->{json}{results}[0]{result}, 'The call is being transferred.', 'a duplicate gets the same');
    is(posts($call), 1, 'and is not transferred again');
    $s->no_canary($password);
    $s->log_unlike(qr/cannot be used/, 'nothing is wrong');
    $s->allow_log(qr/a password in the URL/);
    $s->stop;
}

for my $case (
    ['a wrong password'     => { password => 'another' }, 'password=file:@DIR@/redis.secret', qr/it refuses the password, or the user, of VapiState/],
    ['no password'          => { password => 'another' }, '', qr/it wants a password: password= of VapiState/],
    ['a password too much'  => {}, 'user=joe password=file:@DIR@/redis.secret', qr/it refuses the password, or the user/],
    ['a user who may not'   => { acl => ["user joe on >$password ~vapi:* +ping"] }, 'user=joe password=file:@DIR@/redis.secret', qr/its ACL lets this user not do what is needed/],
    ['other keys'           => { acl => ["user joe on >$password ~others:* +\@all"] }, 'user=joe password=file:@DIR@/redis.secret', qr/its ACL lets this user not do what is needed/],
    ['a replica'            => { conf => "replicaof 127.0.0.1 1\n" }, '', qr/it is a replica that may not be written to/],
) {
    my ($what, $options, $words, $pattern) = @$case;
    my $redis = VapiRedis->new(%$options);
    my $s = VapiTest->new(conf => conf($redis->words($words)), files => { 'redis.secret' => ["$password\n", 0600] })->start;
    $s->log_like(qr/VapiState: Redis at 127\.0\.0\.1 port \d+ cannot be used: $pattern.*hold on this node alone/, "$what: the start says so");
    transferred($s, 'out' . ++$count, "$what: the server serves all the same");
    is_ok($s, 0, 'and status says that the store is not reached');
    $s->no_canary($password);
    $s->stop;
}

# ---- it goes away, and comes back

{
    my $redis = VapiRedis->new(append => 1, started => 0);
    my $s = VapiTest->new(processes => 3, conf => conf($redis->words))->start;
    $s->log_like(qr/cannot be used: Connection refused/, 'it is not there at the start: the log says so');
    transferred($s, 'early', 'and the server serves');
    $redis->start;
    is_ok($s, 1, 'it comes: status knows without a restart');
    $s->log_like(qr/\[vapi_state_redis:warn\].*Redis at 127\.0\.0\.1 port \d+ is back after \d+ seconds/, 'the log too');
    ask($s, 'early', 'call_A');
    is(posts('early'), 1, 'what was transferred meanwhile is not transferred again');
    transferred($s, 'there', 'transferred with it');
    $redis->stop('kill');
    ask($s, 'there', 'call_A');
    is(posts('there'), 1, 'it goes away: what this server has transferred is known');
    is_ok($s, 0, 'status knows');
    my @ms = map { transferred($s, "away$_", 'transferred without it') } 1 .. 5;
    cmp_ok((sort { $a <=> $b } @ms)[2], '<', 1500, 'in time');
    $redis->start;
    is_ok($s, 1, 'it is back');
    ask($s, "away$_", 'call_A') for 1 .. 5;
    is(posts("away$_"), 1, 'known still') for 1 .. 5;
    $redis->restart;
    transferred($s, 'restarted', 'Redis was restarted: transferred');
    $redis->cli('SCRIPT', 'FLUSH');
    transferred($s, 'no-scripts', 'its scripts were dropped: transferred');
    $redis->cli('FLUSHALL');
    transferred($s, 'flushed', 'it was emptied: transferred');
    ask($s, 'flushed', 'call_A');
    is(posts('flushed'), 1, 'and known');
    my @errors = $s->log =~ /\[vapi_state_redis:error\][^\n]*/g;
    cmp_ok(scalar @errors, '<=', 4, 'a line each time it went, not one a request');

    $s->allow_log(qr/Redis at 127\.0\.0\.1 port \d+ (?:cannot be used|is back)/);
    # Back and forth under load: each is transferred once at most, and answered.
    my @calls = map { "storm$_" } 1 .. 24;
    my @posts = map { my $body = tool_call($_, 'call_A', behaviour => 'delay=20'); map { ['/vapi/transfer', $body, $s->signed($body)] } 1 .. 2 } @calls;
    my $killer = fork // die "fork: $!";
    if (!$killer) {
        sleep 0.05;
        kill 'KILL', $redis->pid;
        POSIX::_exit(0);
    }
    my @replies = $s->post_many(@posts);
    waitpid $killer, 0;
    is(scalar(grep { $_->{status} == 200 } @replies), scalar @posts, 'killed in the middle of requests: all are answered');
    is(join(' ', grep { posts($_) > 1 } @calls), '', 'none is transferred twice');
    $redis->stop;
    $redis->start;
    is_ok($s, 1, 'it is back');
    $s->graceful;
    transferred($s, 'graceful', 'after a graceful restart');
    ask($s, 'away1', 'call_A');
    is(posts('away1'), 1, 'what was done during an outage is known after it');
    $s->restart;
    ask($s, $_, 'call_A') for qw(away2 graceful);
    is(posts($_), 1, "and after stop and start: $_") for qw(away2 graceful);

    $redis->pause;
    my $first = transferred($s, 'halted', 'it stands still: transferred');
    cmp_ok($first, '<', 3000, 'after a second at most for each question');
    my $next = transferred($s, 'halted2', 'the next');
    cmp_ok($next, '<', 1600, 'needs less');
    $s->log_like(qr/cannot be used: it does not answer within 500 ms/, 'the log says so');
    $s->allow_log(qr/is back after/);
    $redis->go_on;
    is_ok($s, 1, 'it goes on: so do we');

    $redis->cli('CONFIG', 'SET', 'maxmemory', 1);
    ask($s, 'full', 'call_A');
    is(posts('full'), 0, 'it has no room: nothing is transferred that could be done twice');
    $s->log_like(qr/has no room \(maxmemory\)/, 'the log says so');
    $redis->cli('CONFIG', 'SET', 'maxmemory', 0);
    $s->allow_log(qr/outcome=(?:failed|limited|refused)/, qr/state store has no room/);
    transferred($s, 'room', 'it has room: transferred');
    $s->stop;
}

# ---- what stands in it

{
    my $redis = VapiRedis->new;
    my $s = VapiTest->new(conf => conf($redis->words('prefix=office:a')))->start;
    transferred($s, 'Canary-Call', 'transferred');
    my $keys = $redis->cli('KEYS', '*');
    is(join(' ', grep { !/^office:a:(?:salt$|seats$|[cnvto]:[0-9a-f]{32}$)/ } @$keys), '', 'all keys are our own, and digests');
    cmp_ok(scalar @$keys, '>=', 3, 'there are some');
    is(join(' ', grep { /Canary-Call|14155550/ } @$keys), '', 'no name of a call or number in them');
    is(scalar(grep { !/:salt$/ && $redis->cli('PTTL', $_) == -1 } @$keys), 0, 'and each ends by itself');
    $s->stop;
}

# ---- TLS, where this build has it

for my $case (VapiRedis::has_tls() ? (
    ['good'       => 'ca=@DIR@/ca.pem', 1],
    ['good'       => '', 0, qr/its certificate is not taken/],
    ['wrong-name' => 'ca=@DIR@/ca.pem', 0, qr/its certificate is not taken: .*mismatch/i],
    ['expired'    => 'ca=@DIR@/ca.pem', 0, qr/its certificate is not taken: .*expired/],
    ['unknown-ca' => 'ca=@DIR@/ca.pem', 0, qr/its certificate is not taken/],
) : ()) {
    my ($kind, $words, $taken, $pattern) = @$case;
    my $redis = VapiRedis->new(tls => $kind, password => $password);
    my $s = VapiTest->new(conf => conf($redis->words($words, 'password=file:@DIR@/redis.secret')),
        files => { 'redis.secret' => ["$password\n", 0600], 'ca.pem' => slurp($redis->dir . '/ca.pem') })->start;
    $s->log_like($pattern, "TLS, $kind, '$words': refused") if $pattern;
    is_ok($s, $taken, "TLS, $kind: status knows");
    transferred($s, "tls-$kind-" . length $words, "TLS, $kind: transferred");
    $s->stop;
}

done_testing;
