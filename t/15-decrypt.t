# Licensed under the Apache License, Version 2.0; see LICENSE.
#
# Tool arguments that arrive encrypted: what is opened, what is refused, and that nothing of it is written anywhere.
use strict;
use warnings;
use Digest::SHA qw(sha256);
use IO::Socket::SSL::Utils qw(KEY_create_rsa PEM_key2string);
use JSON::PP ();
use Math::BigInt;
use MIME::Base64 qw(decode_base64 encode_base64);
use VapiTest;

my $json = JSON::PP->new->canonical->utf8;
my ($key, $other) = map { PEM_key2string(KEY_create_rsa(2048)) } 1 .. 2;
my $control = VapiControl->new;
my $s = VapiTest->new(log_level => 'trace8', files => { 'vapi.key' => [$key, 0600] }, conf => conf())->start;
my ($ssn, $card, $pin) = ('canary-078-05-1120', 'canary-4111111111111111', 'canary-pin');
my $unread = sub { return "The argument '$_[0]' could not be read." };

# ---- what is opened

my %payment = (cardNumber => sealed($card), pin => sealed($pin), name => 'Ann');
my @opened = (
    ['a value', '/any', { ssn => sealed($ssn) }, "[$ssn] [] [] []"], ['values in an object, and what is beside them', '/any', { payment => \%payment }, "[] [$card] [$pin] [Ann]"], ['all', '/any', { ssn => sealed($ssn), payment => \%payment }, "[$ssn] [$card] [$pin] [Ann]"],
    ['not there', '/any', { other => 'x' }, '[] [] [] []'], ['null', '/any', { ssn => undef }, '[] [] [] []'], ['an empty text', '/any', { ssn => '' }, '[] [] [] []'], ['no object where its path goes', '/any', { payment => 'by cheque' }, '[] [] [] []'],
    ['an empty secret', '/any', { ssn => sealed('') }, '[] [] [] []'], ['of other letters', '/any', { ssn => sealed("M\xc3\xbcller") }, "[M\x{fc}ller] [] [] []"], ['of 190 bytes', '/any', { ssn => sealed('x' x 190) }, '[' . 'x' x 190 . '] [] [] []'],
    ['a path that is not named', '/any', { SSN => 'clear', payment => { Pin => 'clear' } }, '[] [] [] []'],
    ['a phone number, turned as VapiParam says', '/typed', { ssn => sealed('(415) 555-0123') }, '4155550123'], ['and compared in a route', '/typed', { ssn => sealed('+1 415 555 0100') }, 'the office'],
);
for (@opened) {
    my ($name, $path, $args, $expected) = @$_;
    is(ask($path, args => $args)->{result}, $expected, "opened: $name");
}
is(ask('/any', args => { ssn => sealed($ssn) }, args_as => 'string')->{result}, "[$ssn] [] [] []", 'opened: of arguments in a string');
is($s->signed_post('/any', vapi_message('function-call', fields => { functionCall => { name => 'transferCall', parameters => { ssn => sealed($ssn) } } }))->{json}{result}, "[$ssn] [] [] []", 'opened: of a function-call');
is($s->signed_post('/moves', vapi_message('transfer-destination-request', fields => { functionCall => { name => 'transferCall', parameters => { ssn => sealed($ssn) } } }))->{json}{destination}{number}, '+14155550101', 'opened: of a destination request');
is(ask('/moves', args => { ssn => sealed($ssn) }, control => $control->url('moved'))->{result}, 'The call is being transferred.', 'a route asks for it');
is(($control->transfers)[0]{destination}{number}, '+14155550101', 'and it transfers');

# ---- what is not: one error, whatever is wrong

my $sealed = sealed($ssn);
my $bytes = decode_base64($sealed);
my %bad = (
    'in the clear' => $ssn, 'for another key' => sealed($ssn, $other), 'a flipped bit' => encode_base64($bytes ^ ("\0" x 255 . "\1"), ''), 'a flipped bit in front' => encode_base64($bytes ^ ("\1" . "\0" x 255), ''), 'cut off' => substr($sealed, 0, 100), 'too short' => encode_base64(substr($bytes, 1), ''),
    'too long' => encode_base64($bytes . 'x', ''), 'twice' => $sealed . $sealed, 'no base64' => "$sealed!", 'zeros' => encode_base64("\0" x 256, ''), 'all bits' => encode_base64("\xff" x 256, ''), 'another hash' => sealed($ssn, $key, hash => \&Digest::SHA::sha1),
    'another label' => sealed($ssn, $key, label => 'x'), 'padding of another kind' => encode_base64(raised("\0\2" . 'r' x (253 - length $ssn) . "\0$ssn", $key), ''), 'without padding' => encode_base64(raised("\0" x (256 - length $ssn) . $ssn, $key), ''),
    'a NUL in it' => sealed("a\0b"), 'no UTF-8' => sealed("\xff\xfe"), 'a blank' => ' ', 'a number' => 78051120, 'true' => JSON::PP::true, 'a list' => [$sealed], 'an object' => { value => $sealed }, 'a template' => '{{customer.ssn}}', 'four thousand letters' => 'A' x 4000,
);
for my $name (sort keys %bad) {
    is_deeply(ask('/any', args => { ssn => $bad{$name} }), { error => $unread->('ssn') }, "refused: $name");
    is_deeply(ask('/any', args => { ssn => $sealed, payment => { pin => $bad{$name} } }), { error => $unread->('/payment/pin') }, "refused: $name, in an object");
}
is_deeply(ask('/typed', args => { ssn => $ssn }), { error => $unread->('ssn') }, 'refused: before VapiParam looks at it');
like(ask('/typed', args => { ssn => sealed($ssn) })->{error}, qr/\AThe argument 'ssn' must be/, 'opened, and of the wrong kind');
is_deeply(ask('/typed', args => {}), { error => "The argument 'ssn' is missing." }, 'missing');
my $request = $s->signed_post('/moves', vapi_message('transfer-destination-request', fields => { functionCall => { name => 'transferCall', parameters => { ssn => $ssn } } }));
is_deeply($request->{json}, { error => $unread->('ssn') }, 'refused: in a destination request');
$s->log_like(qr/outcome=no-route reason=bad-argument/, 'the outcome in the log');
$s->allow_log(qr/outcome=no-route reason=bad-argument/, qr/VapiRoute none: never reached/);
my $explained = $s->post('/console/explain?location=/any', vapi_tool_call(args => { ssn => sealed($ssn) }));
is($explained->{json}{reply}{result}, '***', 'who may only read at the console does not see it');

# ---- nothing of it is written, at LogLevel trace8

$s->graceful;
is(ask('/any', args => { ssn => sealed($ssn) })->{result}, "[$ssn] [] [] []", 'after a restart');
my ($first) = grep { !/^-/ } split /\n/, $key;
$s->no_canary('canary-', 'M\xc3\xbcller', '4155550123', $sealed, substr($sealed, 0, 40), $first);
done_testing;

sub ask {
    my ($path, %o) = @_;
    my $answer = { %{ $s->signed_post($path, vapi_tool_call(%o))->{json}{results}[0] } };
    delete @$answer{qw(name toolCallId)};
    return $answer;
}

# ---- RSA-OAEP with SHA-256 and MGF1, as Vapi does it

sub modulus {
    my ($pem) = @_;
    my $der = decode_base64(join '', grep { !/^-/ } split /\n/, $pem);
    my $at = index $der, "\x02\x82\x01\x01\x00";
    return Math::BigInt->from_hex(unpack 'H*', substr $der, $at + 5, 256);
}

sub raised {
    my ($block, $pem) = @_;
    my $hex = Math::BigInt->from_hex(unpack 'H*', $block)->bmodpow(65537, modulus($pem))->as_hex;
    return pack 'H*', substr '0' x 512 . substr($hex, 2), -512;
}

sub mask {
    my ($seed, $length, $hash) = @_;
    my $mask = '';
    for (my $i = 0; length $mask < $length; $i++) { $mask .= $hash->($seed . pack 'N', $i) }
    return substr $mask, 0, $length;
}

sub sealed {
    my ($text, $pem, %o) = @_;
    my $hash = $o{hash} || \&sha256;
    my $label = $hash->($o{label} // '');
    my $size = length $label;
    my $block = $label . "\0" x (254 - 2 * $size - length $text) . "\1$text";
    my $seed = join '', map { chr int rand 256 } 1 .. $size;
    my $masked = $block ^ mask($seed, length $block, $hash);
    return encode_base64(raised("\0" . ($seed ^ mask($masked, $size, $hash)) . $masked, $pem // $key), '');
}

sub conf {
    my %tables = (
        '/any' => ['VapiRoute none result="[%{arg:ssn}] [%{arg:payment.cardNumber}] [%{arg:payment.pin}] [%{arg:payment.name}]"'],
        '/typed' => ['VapiTool transferCall', 'VapiParam ssn phone required', q{VapiRoute none "arg('ssn') == '+14155550100'" result="the office"}, 'VapiRoute none result="%{arg:ssn}"'],
        '/moves' => [q{VapiRoute known "arg('ssn') =~ /^canary-078-/"}, 'VapiRoute none result=unknown'],
    );
    my $conf = "VapiDecrypt \@DIR\@/vapi.key ssn payment.cardNumber /payment/pin\nVapiCredential test hmac secret=file:\@DIR\@/vapi.secret preset=body-only\nVapiDestination known +14155550101\n" . $control->conf;
    $conf .= join "\n", "<Location \"$_\">", 'SetHandler vapi-transfer', 'VapiAuthenticate test', @{ $tables{$_} }, "</Location>\n" for sort keys %tables;
    return $conf . "<Location \"/console\">\nSetHandler vapi-console\n</Location>\n";
}
