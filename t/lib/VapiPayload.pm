# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiPayload;

# What Vapi sends: messages as they look on the wire, and the headers that prove who sent them.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256 hmac_sha256_hex);
use Exporter qw(import);
use JSON::PP ();
use MIME::Base64 qw(decode_base64 encode_base64);
use Time::HiRes qw(time);

our @EXPORT = qw(vapi_message vapi_tool_call vapi_status_update vapi_end_of_call_report vapi_transfer_update vapi_signature vapi_uuid);

my $json = JSON::PP->new->canonical->utf8;

sub vapi_uuid { return sprintf '%08x-%04x-4%03x-9%03x-%06x%06x', map { int rand $_ } 2**32, 2**16, 2**12, 2**12, 2**24, 2**24 }

# The body of a delivery of this type.
#   call      call id; default a new one               control    control URL; undef: the payload has none
#   caller    the far end's number; undef: unknown     called     own line
#   call_type, provider, transport                     of the call
#   said      [the caller's turns]                     pad        bytes of conversation to add, as after a long talk
#   transfers [[number or SIP URI, status], ...]       what artifact.transfers shows; either may be undef
#   artifact, call_fields, assistant, fields           hashes, laid over artifact, call, assistant and message
sub vapi_message {
    my ($type, %o) = @_;
    my $id = $o{call} // vapi_uuid();
    my $called = $o{called} // '+14155550190';
    my $caller = exists $o{caller} ? $o{caller} : '+14155550123';
    my @customer = defined $caller ? (customer => { number => $caller }) : ();
    my $assistant = _assistant($o{assistant});
    my $call = {
        id => $id,
        orgId => '6a7f9a1c-6f3e-4a35-9f0d-0f2d9b7f4c11',
        createdAt => '2026-05-04T15:02:11.000Z',
        updatedAt => '2026-05-04T15:02:12.000Z',
        type => $o{call_type} // 'inboundPhoneCall',
        status => 'in-progress',
        phoneCallProvider => $o{provider} // 'twilio',
        phoneCallProviderId => 'CA0c7f4f0a4f3a4a9c8f0e4d2b1a6e9d11',
        phoneCallTransport => $o{transport} // 'pstn',
        assistantId => $assistant->{id},
        phoneNumberId => 'c3b5a1de-0d9a-4a27-8d2e-5a0f6c1f7b22',
        @customer,
        monitor => {
            listenUrl => "wss://phone-call-websocket.aws-us-west-2-backend-production1.vapi.ai/$id/listen",
            defined $o{control} ? (controlUrl => $o{control}) : (),
        },
        %{ $o{call_fields} || {} },
    };
    my $message = {
        timestamp => int(time * 1000),
        type => $type,
        call => $call,
        @customer,
        phoneNumber => { id => 'c3b5a1de-0d9a-4a27-8d2e-5a0f6c1f7b22', number => $called, provider => 'twilio', name => 'Main line' },
        assistant => $assistant,
        artifact => {
            _conversation($assistant, $o{said}, $o{pad} || 0),
            $o{transfers} ? (transfers => [map { _transfer(@$_) } @{ $o{transfers} }]) : (),
            %{ $o{artifact} || {} },
        },
        %{ $o{fields} || {} },
    };
    return $json->encode({ message => $message });
}

# A tool-calls delivery. Beside vapi_message's:
#   id, name, args      of the one tool call; args a hash, or the very text to stand there
#   calls               [{ id, name, args }, ...] instead
#   args_as             object (default) or string
#   async, timeout      the tool's; timeout in seconds
sub vapi_tool_call {
    my (%o) = @_;
    my @calls = map { _tool_call($_, $o{args_as}) } $o{calls} ? @{ $o{calls} } : \%o;
    my @with_tool = map {
        {
            type => 'function',
            async => $o{async} ? JSON::PP::true : JSON::PP::false,
            server => { url => 'https://apache.example.com/vapi/transfer', timeoutSeconds => $o{timeout} // 20 },
            function => {
                name => $_->{function}{name},
                description => 'Transfers the caller to the right person.',
                parameters => { type => 'object', properties => { department => { type => 'string' } } },
            },
            messages => [],
            toolCall => $_,
        }
    } @calls;
    return vapi_message('tool-calls', %o, fields => { toolCallList => \@calls, toolWithToolCallList => \@with_tool, %{ $o{fields} || {} } });
}

# A status-update; `reason` is why the call ended.
sub vapi_status_update {
    my ($status, %o) = @_;
    return vapi_message('status-update', %o, fields => { status => $status, _ended($o{reason}), %{ $o{fields} || {} } });
}

# An end-of-call-report, likewise.
sub vapi_end_of_call_report {
    my (%o) = @_;
    my %report = (
        startedAt => '2026-05-04T15:02:11.000Z', endedAt => '2026-05-04T15:05:42.000Z', cost => 0.1931,
        analysis => { summary => 'The caller asked for billing.', successEvaluation => 'true' },
    );
    return vapi_message('end-of-call-report', %o, fields => { %report, _ended($o{reason}), %{ $o{fields} || {} } });
}

# A transfer-update; `to` is the number that the call goes to.
sub vapi_transfer_update {
    my (%o) = @_;
    my %update = $o{to} ? (destination => { type => 'number', number => $o{to} }) : ();
    return vapi_message('transfer-update', %o, fields => { %update, %{ $o{fields} || {} } });
}

sub _ended { my ($reason) = @_; return defined $reason ? (endedReason => $reason) : () }

sub _transfer {
    my ($to, $status) = @_;
    my $destination = !defined $to ? {} : $to =~ /^sips?:/ ? { type => 'sip', sipUri => $to } : { type => 'number', number => $to };
    return { destination => $destination, mode => 'blind-transfer', transcript => '', defined $status ? (status => $status) : () };
}

sub _tool_call {
    my ($c, $args_as) = @_;
    my $args = $c->{args} // {};
    $args = $json->encode($args) if ref $args && ($args_as // 'object') eq 'string';
    return {
        id => $c->{id} // 'call_' . join('', map { ('a' .. 'z', 'A' .. 'Z', 0 .. 9)[rand 62] } 1 .. 24),
        type => 'function',
        function => { name => $c->{name} // 'transferCall', arguments => $args },
    };
}

sub _assistant {
    my ($over) = @_;
    return {
        id => '7d2a5e1b-2f5c-4e0b-9f33-1f1d6b2c8a01',
        name => 'Front desk',
        model => {
            provider => 'openai',
            model => 'gpt-4o',
            messages => [{ role => 'system', content => 'You answer the telephone of a small company.' }],
        },
        voice => { provider => '11labs', voiceId => 'burt' },
        transcriber => { provider => 'deepgram', model => 'nova-2', language => 'en' },
        firstMessage => 'Good morning, how can I help?',
        serverMessages => ['tool-calls', 'end-of-call-report', 'status-update'],
        %{ $over || {} },
    };
}

my @small_talk = (
    'I have been trying to reach somebody about the invoice of last month, the one with the two positions that we never ordered.',
    'Yes, I already wrote an e-mail on Monday, but nobody came back to me, and the reminder says that it is due on Friday.',
    'No, the other number, the one on the second page, right under the address, it starts with a seven and a four.',
);

sub _conversation {
    my ($assistant, $said, $pad) = @_;
    my @turns = ([bot => $assistant->{firstMessage}], map { [user => $_] } @{ $said || ['I have a question about my bill.'] });
    # Every turn stands there three times, each in its own form.
    for (my $size = 0; $size < $pad; $size += 3 * length($turns[-1][1]) + 134) {
        push @turns, [bot => 'I see. Could you tell me a little more about that?'], [user => $small_talk[@turns % @small_talk]];
        $size += 3 * length($turns[-2][1]) + 134;
    }
    my $start = 1777906931000;
    my $now = $start;
    my @messages = map {
        $now += 4100;
        { role => $_->[0], message => $_->[1], time => $now, endTime => $now + 2900, secondsFromStart => ($now - $start) / 1000 }
    } @turns;
    my %openai = (bot => 'assistant', user => 'user');
    my %speaker = (bot => 'AI', user => 'User');
    return (
        messages => [{ role => 'system', message => $assistant->{model}{messages}[0]{content}, time => $start, secondsFromStart => 0 }, @messages],
        messagesOpenAIFormatted => [$assistant->{model}{messages}[0], map { { role => $openai{ $_->[0] }, content => $_->[1] } } @turns],
        transcript => join('', map { "$speaker{$_->[0]}: $_->[1]\n" } @turns),
    );
}

# The headers for a body. Schemes: body-only, timestamp (Vapi's default plan), standard-webhooks, bearer. `now`: another time than now.
sub vapi_signature {
    my ($scheme, $secret, $body, %o) = @_;
    my $now = $o{now} // int time;
    return ('x-vapi-signature' => hmac_sha256_hex($body, $secret)) if $scheme eq 'body-only';
    return ('x-timestamp' => $now, 'x-signature' => hmac_sha256_hex("$now.$body", $secret)) if $scheme eq 'timestamp';
    return (authorization => "Bearer $secret") if $scheme eq 'bearer';
    if ($scheme eq 'standard-webhooks') {
        my $id = $o{id} // 'msg_' . vapi_uuid();
        (my $key = $secret) =~ s/^whsec_//;
        my $signature = encode_base64(hmac_sha256("$id.$now.$body", decode_base64($key)), '');
        return ('webhook-id' => $id, 'webhook-timestamp' => $now, 'webhook-signature' => "v1,$signature");
    }
    die "vapi_signature: what is '$scheme'?";
}

1;
