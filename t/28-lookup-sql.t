# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# VapiLookup over SQL, asked through Apache and mod_dbd: of SQLite and of a real PostgreSQL, which goes away and comes back.
use strict;
use warnings;
use utf8;
use Encode qw(encode_utf8);
use Time::HiRes qw(sleep time);
use VapiPg;
use VapiTest;

my $caller = '+14155550123';
my $table = 'CREATE TABLE customer (phone varchar(40) PRIMARY KEY, name varchar(800), tier varchar(20), n integer, "Mixed" varchar(9))';
my $rows = "INSERT INTO customer VALUES ('$caller', 'Ann', 'gold', 7, 'x'), ('+14155550124', NULL, 'silver', NULL, NULL), ('-1', '', 'the dash', 0, '')";
my @hostile = ("'; DROP TABLE customer; --", "' OR '1'='1", '" OR ""="', '\\', "\\' OR 1=1 --", '%s %d %%', '$1 ?1 :a @a', "a\nb\r\n\tc", '/* x', 'ü😀 –', "x' UNION SELECT 'a','gold' --", '{{x}}', 'NULL', 'x' x 3000);
my $endpoint = 0;
my $forms = qr/VapiRoute: the table has no last route/;
my $down = qr/AH006\d\d|AH02655|terminating connection|server closed the connection|This probably means|before or while processing|Connection refused|Is the server running|connection to server|No such file or directory/;

sub place {
    my ($name, @lines) = @_;
    return join "\n", "<Location \"/$name\">", 'SetHandler vapi-transfer', @lines, "</Location>\n";
}

# The lookups that both databases answer, each with an endpoint that tells of it.
sub common_conf {
    return join "\n", 'CustomLog "@DIR@/access_log" "%{vapi-call}n outcome=%{vapi-outcome}n reason=%{vapi-reason}n lookup=%{vapi-lookup-ms}n took=%D pid=%P"',
        'VapiCredential test hmac secret=file:@DIR@/vapi.secret preset=body-only', 'VapiAuthenticate test',
        'VapiLookup crm   sql="SELECT name, tier, n, \\"Mixed\\" FROM customer WHERE phone = %s" arg=%{VAPI_CALLER}',
        'VapiLookup by    sql="SELECT phone, name FROM customer WHERE phone = %s OR name = %s" arg=%{arg:x} arg=%{arg:y}',
        'VapiLookup all   sql="SELECT phone FROM customer ORDER BY phone DESC"',
        'VapiLookup kept  sql="SELECT tier FROM customer WHERE phone = %s" arg=%{VAPI_CALLER} cache=3600',
        'VapiLookup echo  sql="SELECT CAST(%s AS varchar(4000)) AS said, \'100%%\' AS percent" arg=%{arg:x}',
        'VapiLookup skip  sql="SELECT CAST(%s AS integer) / (n - n) AS x FROM nowhere" arg=%{VAPI_CALLER} on-error=skip-route',
        place('crm', 'VapiRoute none "arg(\'first\') == \'1\'" result=first', 'VapiRoute none "lookup(\'crm.tier\') == \'iron\'"',
            'VapiRoute none "lookup(\'crm.tier\') =~ /gold|silver/ || lookup(\'crm\') != \'ok\'" result="%{lookup:crm}|%{lookup:crm.name}|%{lookup:crm.tier}|%{lookup:crm.n}|%{lookup:crm.Mixed}|%{lookup:crm.absent}"'),
        place('by', 'VapiRoute none result="%{lookup:by}|%{lookup:by.phone}"'), place('all', 'VapiRoute none result="%{lookup:all}|%{lookup:all.phone}|%{lookup:all.length}"'),
        place('kept', 'VapiRoute none result="%{lookup:kept}|%{lookup:kept.tier}"'), place('echo', 'VapiRoute none "lookup(\'echo.said\') == arg(\'x\')" result="same|%{lookup:echo.percent}"', 'VapiRoute none result="%{lookup:echo}"');
}

sub ask {
    my ($s, $where, %o) = @_;
    my $reply = $s->signed_post("/$where", vapi_tool_call(caller => $caller, %o, args => $o{args} || {}), headers => $o{headers});
    return told($reply);
}

sub told {
    my ($reply) = @_;
    my $one = $reply->{json}{results}[0] or return "status $reply->{status}";
    return $one->{result} // "error: $one->{error}";
}

sub noted {
    my ($s, $call) = @_;
    my $line;
    wait_until(sub { ($line) = grep { /^\Q$call\E / } -e $s->dir . '/access_log' ? split /\n/, slurp($s->dir . '/access_log') : (); defined $line }, 20);
    return { map { /^(\w+)=(.*)/ ? ($1 => $2) : () } split / /, $line // '' };
}

sub common {
    my ($s, $kind, $sql) = @_;
    my $call = vapi_uuid();
    is(ask($s, 'crm', args => { first => 1 }, call => $call), 'first', "$kind: a route before that matches");
    is(noted($s, $call)->{lookup}, '-', '... nothing is asked');
    is(ask($s, 'crm', call => $call = vapi_uuid()), 'ok|Ann|gold|7|x|', "$kind: a row, its columns by name");
    like(noted($s, $call)->{lookup}, qr/^\d+$/, '... its time is noted');
    is(ask($s, 'crm', caller => '+14155550124'), 'ok||silver|||', "$kind: NULL is empty");
    is(ask($s, 'crm', caller => '+14155550125'), 'none|||||', "$kind: no row");
    is(ask($s, 'crm', caller => undef), 'none|||||', "$kind: an unknown caller");
    is(ask($s, 'by', args => { x => $_, y => 'Ann' }), 'none|', "$kind: an argument that is '$_'") for '', '.', '..';
    is(ask($s, 'by', args => { x => 'z', y => 'Ann' }), "ok|$caller", "$kind: two arguments, in their order");
    is(ask($s, 'by', args => { x => '-1', y => 'z' }), 'ok|-1', "$kind: ... and the first");
    is(ask($s, 'all'), 'ok|-1|1', "$kind: of several rows the first") if $kind eq 'sqlite';
    like(ask($s, 'all'), qr/^ok\|[^|]+\|1$/, "$kind: of several rows one");
    for my $x (@hostile) {
        my $name = substr encode_utf8($x) =~ s/[^ -~]/?/gr, 0, 40;
        is(ask($s, 'echo', args => { x => $x }), 'same|100%', "$kind: bound as it is: $name");
        is(ask($s, 'by', args => { x => $x, y => $x }), 'none|', '... and finds nothing');
    }
    is($sql->('SELECT count(*) FROM customer'), 3, "$kind: the table is as it was");
    is(ask($s, 'kept'), 'ok|gold', "$kind: kept");
    is(ask($s, 'kept', caller => '+14155550126'), 'none|', "$kind: none, kept");
    $sql->("UPDATE customer SET tier = 'iron' WHERE phone = '$caller'");
    $sql->("INSERT INTO customer (phone, tier) VALUES ('+14155550126', 'new')");
    is(ask($s, 'kept', call => $call = vapi_uuid()), 'ok|gold', '... is not asked again');
    is(noted($s, $call)->{lookup}, 0, '... and took no time');
    is(ask($s, 'kept', caller => '+14155550126'), 'none|', '... nor is none');
    is(ask($s, 'kept', caller => '+14155550124'), 'ok|silver', '... for this caller alone');
    $sql->("UPDATE customer SET tier = 'gold' WHERE phone = '$caller'");
    $sql->("DELETE FROM customer WHERE phone = '+14155550126'");
}

# ---- what the start refuses, or says

my $with_dbd = sub { my ($more, @o) = @_; return ("DBDriver sqlite3\nDBDParams \@DIR\@/db\nVapiLookup a $more\n", @o) };
for (
    ['sql="SELECT 1"', qr/VapiLookup: sql=: needs mod_dbd, loaded above this line/, []], ['sql="SELECT %s"', qr/VapiLookup: sql=: the statement has 1 %s, and 0 arg= are given/],
    ['sql="SELECT \'%s\'" arg=x', qr/VapiLookup: sql=: a %s stands inside quotes/], ['sql="SELECT \'%{VAPI_CALLER}\'"', qr/VapiLookup: sql=: the statement holds a %\{: a value is given to it as %s, and by arg=/],
    ['sql="SELECT 1; DROP TABLE x"', qr/VapiLookup: sql=: it is more than one statement/], ['sql="SELECT 1" url=http://a/', qr/VapiLookup: sql= does not go with url=|VapiLookup: .*url=/], ['sql="SELECT 1" bearer=x', qr/VapiLookup: bearer= does not go with sql=/],
) {
    my ($line, $words, $modules) = @$_;
    my ($conf) = $modules ? "VapiLookup a $line\n" : $with_dbd->($line);
    configtest_fails($conf, $words, "refused: $line", modules => $modules // ['dbd']);
}

# ---- SQLite

# Another program locks it, until what this returns is called.
sub locked {
    my ($db) = @_;
    unlink "$db-locked";
    open my $lock, '|-', 'sqlite3', $db or die "sqlite3: $!";
    $lock->autoflush(1);
    print $lock "BEGIN EXCLUSIVE;\n.shell touch $db-locked\n";
    wait_until(sub { -e "$db-locked" }, 30) or die 'not locked';
    return sub { print $lock "COMMIT;\n"; close $lock };
}

{
    my $dir = VapiGuard::directory('sqlite');
    my $db = "$dir/db";
    chmod 0777, $dir;
    my $sql = sub { my ($text, $in) = @_; $in //= $db; open my $out, '-|', 'sqlite3', '-bail', $in, $text or die "sqlite3: $!"; chomp(my $said = join '', <$out>); close $out or die "sqlite3 failed: $text\n"; chmod 0666, glob "$dir/*"; return $said };
    $sql->("$table; $rows");
    $sql->("$table; $rows; UPDATE customer SET name = 'Bea'", "$dir/other");
    # One process: a connection that is made while the file is locked fails at once, those that are there wait.
    my @one = (processes => 1, threads => ($ENV{VAPI_TEST_MPM} // '') eq 'prefork' ? 1 : 8);
    my $s = VapiTest->new(modules => ['dbd'], @one, log_level => 'trace8', conf => "DBDriver sqlite3\nDBDParams $db\n" . common_conf() =~ s/^VapiLookup skip.*\n//mr =~ s/^VapiLookup crm .*\K$/ timeout=20/mr . join '',
        "VapiLookup quick sql=\"SELECT tier FROM customer WHERE phone = %s\" arg=%{VAPI_CALLER} timeout=700ms\n", "VapiLookup bytes sql=\"SELECT CAST(x'61E462' AS text) AS bad, x'C3A4' AS good, x'00FF' AS nul\"\n",
        "VapiLookup alter sql=\"SELECT * FROM customer WHERE phone = %s\" arg=%{VAPI_CALLER}\n",
        place('quick', 'VapiRoute none result="%{lookup:quick}|%{lookup:quick.tier}"'), place('bytes', 'VapiRoute none result="%{lookup:bytes.bad}|%{lookup:bytes.good}|%{lookup:bytes.nul}"'), place('alter', 'VapiRoute none result="%{lookup:alter}|%{lookup:alter.more}"'),
        # Of three virtual hosts one has its own database, one its own lookup, and one both.
        map { my ($name, @more) = @$_; join "\n", "<VirtualHost *:\@PORT\@>", "ServerName $name.example.com", @more, "</VirtualHost>", '' } ['main'], ['database', 'DBDriver sqlite3', "DBDParams $dir/other"],
        ['lookup', 'VapiLookup kept sql="SELECT name AS tier FROM customer WHERE phone = %s" arg=%{VAPI_CALLER} cache=3600'],
        ['both', 'DBDriver sqlite3', "DBDParams $dir/other", 'VapiLookup kept sql="SELECT name AS tier FROM customer WHERE phone = %s" arg=%{VAPI_CALLER} cache=3600']);
    $s->start;
    common($s, 'sqlite', $sql);
    my %hosts = (main => 'gold', database => 'gold', lookup => 'Ann', both => 'Bea');
    for my $host (sort keys %hosts) {
        for my $again (0, 1) {
            my $call = vapi_uuid();
            my $socket = $s->post_start('/kept', vapi_tool_call(caller => $caller, call => $call), host => "$host.example.com");
            is(told($s->post_finish($socket)), "ok|$hosts{$host}", "a virtual host of its own: $host");
            noted($s, $call);
        }
    }
    is(ask($s, 'bytes'), 'a?b|ä|', 'bytes that are no UTF-8');
    $sql->("ALTER TABLE customer ADD COLUMN more varchar(9) DEFAULT 'new'");
    is(ask($s, 'alter'), 'ok|new', 'a table that another has changed');
    is(ask($s, 'crm'), 'ok|Ann|gold|7|x|', '... the other statements, too');

    my $locked = locked($db);
    my $waits = $s->post_start('/crm', vapi_tool_call(caller => $caller));
    sleep 0.3;
    $locked->();
    is(told($s->post_finish($waits)), 'ok|Ann|gold|7|x|', 'a database that another has locked for a moment');
    $locked = locked($db);
    my $call = vapi_uuid();
    is(ask($s, 'quick', call => $call), 'error|', 'one that stays locked');
    my $took = noted($s, $call)->{took} / 1000;
    cmp_ok($took, '>=', 700, '... is waited for as long as timeout= says');
    cmp_ok($took, '<', 1900, '... and no longer, as the usual 2 s would be');
    $s->log_like(qr/call=\Q$call\E lookup quick: no answer from the database in time$/m);
    $locked->();
    is(ask($s, 'crm'), 'ok|Ann|gold|7|x|', '... and works when it is not');
    rename $db, "$db.gone";
    $s->graceful;
    is(ask($s, 'crm'), 'error|||||', 'a file that is gone');
    $s->log_like(qr/lookup crm: no connection to the database; mod_dbd's own line in the error log says why/);
    unlink $db;
    rename "$db.gone", $db;
    is(ask($s, 'crm'), 'ok|Ann|gold|7|x|', '... until it is there again');
    $s->allow_log(qr/dbd:error|\[dbd:crit\]|no such table/);
    $s->allow_log($forms);
    $s->stop;
    $s->no_canary(substr($caller, 1, 8), grep { length > 6 } map { encode_utf8($_) } @hostile);
}

# One statement that the database does not know: mod_dbd prepares none then, and says so. Made good, all work.
{
    my $dir = VapiGuard::directory('sqlite');
    chmod 0777, $dir;
    my $sql = sub { system 'sqlite3', '-bail', "$dir/db", @_; chmod 0666, "$dir/db" };
    $sql->("$table; $rows");
    my $s = VapiTest->new(modules => ['dbd'], processes => 1, conf => "DBDriver sqlite3\nDBDParams $dir/db\n" . common_conf() . place('skip', 'VapiRoute none "lookup(\'skip.x\') == \'1\' || lookup(\'skip.x\') != \'1\'"', 'VapiRoute none result="%{VAPI_REASON}"'));
    $s->allow_log($forms, qr/\[dbd:error\] .* AH00633: failed to initialise/);
    $s->start;
    $s->log_like(qr/\[dbd:error\] .*failed to prepare SQL statements/, 'a statement that is wrong: the start says so');
    $s->log_like(qr/\[dbd:crit\] .*child init failed/, '... for each child');
    is(ask($s, 'skip'), 'lookup-error', '... it is error');
    is(ask($s, 'crm'), 'error|||||', '... as is every other');
    $s->log_like(qr/lookup (?:skip|crm): no connection to the database; mod_dbd's own line in the error log says why/);
    $sql->('CREATE TABLE nowhere (n integer)');
    is(ask($s, 'crm'), 'ok|Ann|gold|7|x|', '... until the table is there');
    $s->stop;
}
{
    my $s = VapiTest->new(modules => ['dbd'], processes => 1, conf => common_conf());
    $s->allow_log($forms);
    $s->start;
    $s->allow_log(qr/lookup crm: no connection to the database/);
    is(ask($s, 'crm'), 'error|||||', 'without a DBDriver all are errors');
    $s->log_like(qr/\[dbd:error\] .*AH02654: not configured/, '... and the log says why');
    $s->stop;
}

# ---- PostgreSQL

{
    my $pg = VapiPg->new(sql => "$table; $rows");
    my $nap = 'sql="SELECT tier, pg_sleep(CAST(%s AS float)) FROM customer WHERE phone = %s" arg=%{arg:s} arg=%{VAPI_CALLER}';
    my $s = VapiTest->new(modules => ['dbd'], processes => 1, threads => 16, log_level => 'trace8', conf => $pg->dbd_conf . common_conf() =~ s/^VapiLookup skip.*\n//mr . join '',
        "VapiLookup nap $nap timeout=600ms\n", (map { "VapiLookup nap$_ $nap\n" } 1 .. 3), "VapiLookup number sql=\"SELECT %d + 1 AS n\" arg=%{arg:x}\n", "VapiLookup all-of sql=\"SELECT * FROM customer WHERE phone = %s\" arg=%{VAPI_CALLER}\n",
        "VapiLookup writes sql=\"INSERT INTO customer (phone, name) VALUES (%s, %s) RETURNING name\" arg=%{arg:x} arg=made\n",
        place('nap', 'VapiRoute none result="%{lookup:nap}|%{lookup:nap.tier}"'), place('naps', 'VapiBudget 3', map({ "VapiRoute none \"lookup('nap$_.tier') == 'x'\"" } 1 .. 3), 'VapiRoute none result="%{VAPI_REASON}"'),
        place('number', 'VapiRoute none result="%{lookup:number}|%{lookup:number.n}"'), place('all-of', 'VapiRoute none result="%{lookup:all-of}|%{lookup:all-of.more}"'), place('writes', 'VapiRoute none "lookup(\'writes.name\') == \'x\'"', 'VapiRoute none result="%{lookup:writes}|%{lookup:writes.name}"'));
    $s->allow_log($down, $forms, qr/vapi: call=\S+ lookup [\w-]+: [a-z][^"]*$/);
    $s->start;
    common($s, 'pgsql', sub { $pg->psql(@_) });
    is(ask($s, 'number', args => { x => 41 }), 'ok|42', 'a whole number, as %d');
    is(ask($s, 'number', args => { x => '4; DROP TABLE customer' }), 'error|', '... and what is none');
    is(ask($s, 'number', args => { x => 1 }), 'ok|2', '... which breaks nothing');
    is(ask($s, 'writes', args => { x => '+1' }), 'ok|made', 'a statement that writes and gives a row: asked twice, done once');
    is(ask($s, 'writes', args => { x => '+1' }), 'error|', '... and refused');
    $pg->psql("ALTER TABLE customer ADD COLUMN more varchar DEFAULT 'new'");
    is(ask($s, 'all-of'), 'ok|new', 'a table that was changed');

    # time
    my @took;
    for (1 .. 2) {
        my $call = vapi_uuid();
        is(ask($s, 'nap', call => $call, args => { s => 1.9 }), 'error|', 'a statement that sleeps');
        push @took, noted($s, $call)->{took} / 1000;
        cmp_ok($took[-1], '>=', 600, '... is waited for until its timeout=');
        $s->log_like(qr/call=\Q$call\E lookup nap: no answer from the database in time$/m);
    }
    note "timeout=600ms: @took ms";
    cmp_ok((sort { $a <=> $b } @took)[0], '<', 1500, '... and no longer');
    is(ask($s, 'nap', args => { s => '0.05' }), 'ok|gold', 'one that sleeps less');
    my $call = vapi_uuid();
    is(ask($s, 'naps', call => $call, args => { s => 2.5 }), 'lookup-error', 'three that sleep');
    my $took = noted($s, $call)->{took} / 1000;
    note "three slow statements and VapiBudget 3: $took ms";
    cmp_ok($took, '<', 2900, '... leave half of a small budget, or most of it on a slow machine');
    $pg->psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%pg_sleep%'");
    is(ask($s, 'crm'), 'ok|Ann|gold|7|x|', 'and then the others work');
    my @asleep = map { $s->post_start('/nap', vapi_tool_call(caller => $caller, args => { s => 0.9 })) } 1 .. 8;
    wait_until(sub { $pg->psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()") >= 8 }, 1);
    is(ask($s, 'crm'), 'ok|Ann|gold|7|x|', 'with all connections in use: a statement waits for one');
    is(told($s->post_finish($_)), 'error|', '... they were given up') for @asleep;

    # It goes away and comes back.
    is(ask($s, 'crm'), 'ok|Ann|gold|7|x|', 'before a restart');
    for my $how (qw(fast immediate kill)) {
        $pg->restart($how);
        is(ask($s, 'crm', call => $call = vapi_uuid()), 'ok|Ann|gold|7|x|', "after a restart ($how) the first lookup is right");
        is(ask($s, 'all-of'), 'ok|new', '... and another statement');
    }
    under_traffic($s, $pg, $_) for qw(fast immediate);
    $pg->psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    is(join(' ', map { ask($s, 'crm') } 1 .. 8), join(' ', ('ok|Ann|gold|7|x|') x 8), 'connections that were ended one by one');
    $pg->stop;
    for (1 .. 2) {
        is(ask($s, 'crm', call => $call = vapi_uuid()), 'error|||||', 'while it is down');
        cmp_ok(noted($s, $call)->{took} / 1000, '<', 5500, '... it is not waited for long: lookups may take 6 s of VapiBudget');
    }
    is(ask($s, 'kept'), 'ok|gold', '... and what is kept is still told');
    $pg->start;
    is(ask($s, 'crm'), 'ok|Ann|gold|7|x|', 'up again: the first is right');
    is($pg->psql("SELECT count(*) FROM customer"), 4, 'nothing was written but once');
    $s->stop;
    $s->no_canary(substr($caller, 1, 8), grep { length > 6 } map { encode_utf8($_) } @hostile);

    # Down when Apache starts.
    $pg->stop;
    $s = VapiTest->new(modules => ['dbd'], processes => 1, conf => $pg->dbd_conf . common_conf() =~ s/^VapiLookup skip.*\n//mr);
    $s->allow_log($down, $forms);
    $s->start;
    is(ask($s, 'crm'), 'error|||||', 'down at the start');
    $s->log_like(qr/lookup crm: no connection to the database; mod_dbd's own line in the error log says why/);
    $pg->start;
    is(ask($s, 'crm'), 'ok|Ann|gold|7|x|', '... and up later: the first is right');
    $s->stop;
}

# Four callers ask all the time while it restarts.
sub under_traffic {
    my ($s, $pg, $how) = @_;
    my $dir = VapiGuard::directory('traffic');
    my @pids;
    for my $n (1 .. 4) {
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            VapiGuard::leave();
            srand;    # ids of its own
            open my $out, '>', "$dir/$n";
            for (my $after = 0; $after < 5; $after += -e "$dir/up" ? 1 : 0) {
                my $began = time;
                my $told = ask($s, 'crm');
                printf $out "%.6f %.0f %s\n", $began, 1000 * (time - $began), $told;
            }
            close $out;
            POSIX::_exit(0);
        }
        push @pids, $pid;
    }
    sleep 0.2;
    $pg->restart($how);
    my $up = time;
    spit("$dir/up", '');
    waitpid $_, 0 for @pids;
    my @asked = map { [split / /, $_, 3] } map { split /\n/, slurp("$dir/$_") } 1 .. 4;
    my $right = 'ok|Ann|gold|7|x|';
    note sprintf '%d asked, %d not answered in the meantime', scalar @asked, scalar grep { $_->[2] ne $right } @asked;
    is(join(' ', map { $_->[2] } grep { $_->[2] ne $right && $_->[2] ne 'error|||||' } @asked), '', "a restart ($how) under traffic: each lookup is right, or an error");
    cmp_ok(scalar(grep { $_->[0] > $up } @asked), '>=', 16, '... some came after it');
    is(scalar(grep { $_->[0] > $up && $_->[2] ne $right } @asked), 0, '... and all of those are right');
    is(scalar(grep { $_->[1] > 5500 } @asked), 0, '... none waited longer than its timeout=, not all the time that there is');
}

done_testing;
