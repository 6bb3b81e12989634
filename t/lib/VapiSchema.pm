# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiSchema;

# Would Vapi take it? Holds what the module sends and replies against Vapi's own schemas (t/data/vapi-schemas.json).
#
#     control_fits($request->{body});               a body that the control API was sent
#     reply_fits('tool-calls', $reply->{body});     a reply to a message of that type
#
# As strict as Vapi has been seen to be: an object whose members are named takes no other.
use strict;
use warnings;
use B ();
use Exporter qw(import);
use JSON::PP ();
use Test::More ();
use VapiHttpd qw(slurp top);

our @EXPORT = qw(control_fits reply_fits schema_errors);

my $json = JSON::PP->new->utf8->allow_nonref;
my $definitions = $json->decode(slurp(top() . '/t/data/vapi-schemas.json'))->{definitions};

my %control = (transfer => 'ClientInboundMessageTransfer', handoff => 'ControlHandoff', say => 'ClientInboundMessageSay');
my %replies = (
    'tool-calls' => 'ServerMessageResponseToolCalls',
    'transfer-destination-request' => 'ServerMessageResponseTransferDestinationRequest',
    'handoff-destination-request' => 'ServerMessageResponseHandoffDestinationRequest',
    'assistant-request' => 'ServerMessageResponseAssistantRequest',
);
my %handoff = (assistant => 'HandoffDestinationAssistant', squad => 'HandoffDestinationSquad');

sub control_fits {
    my ($text, $name) = @_;
    my $body = eval { $json->decode($text) };
    my $definition = $control{ ref $body eq 'HASH' && $body->{type} || '' };
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return _none($name // 'Vapi takes it', $definition ? schema_errors($definition, $text) : 'no control message of a known type');
}

# Every reply says one thing: a result or an error, a destination or an error.
sub reply_fits {
    my ($type, $text, $name) = @_;
    my $reply = eval { $json->decode($text) };
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return _none($name // "a reply to $type", 'no JSON object') if ref $reply ne 'HASH';
    my @parts = $type eq 'tool-calls' ? @{ $reply->{results} || [] } : $reply;
    my @wrong = map { join '+', sort grep { !/^(?:name|toolCallId)$/ } keys %$_ } @parts;
    @wrong = grep { !/^(?:result|error|destination|assistantId|assistant|squadId|squad|assistant\+assistantOverrides|assistantId\+assistantOverrides)$/ } @wrong;
    # A refusal of a handoff has no destination (the documents' sample), though the schema asks for one.
    my $definition = $type eq 'handoff-destination-request' && defined $reply->{error} ? 'ServerMessageResponseTransferDestinationRequest' : $replies{$type};
    push @wrong, schema_errors($definition, $text);
    if ($type eq 'handoff-destination-request' && $reply->{destination}) {
        my $target = $handoff{ $reply->{destination}{type} // '' } or push @wrong, 'neither assistant nor squad';
        push @wrong, _errors('destination', { '$ref' => $target }, $reply->{destination}) if $target;
    }
    push @wrong, map { "$_: more than one line" } grep { /[\r\n]/ } map { ($_->{result} // (), $_->{error} // ()) } @parts;
    return _none($name // "a reply to $type", @wrong);
}

# What in this JSON text is not as the definition of that name says.
sub schema_errors {
    my ($name, $text) = @_;
    my $value = eval { $json->decode($text) };
    return 'no JSON' if $@;
    return _errors($name, $definitions->{$name} || die("no definition $name\n"), $value);
}

sub _none {
    my ($name, @wrong) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return Test::More::is(join("\n", @wrong), '', $name);
}

sub _kind {
    my ($value) = @_;
    return 'null' if !defined $value;
    return 'boolean' if JSON::PP::is_bool($value);
    return { HASH => 'object', ARRAY => 'array' }->{ ref $value } if ref $value;
    return B::svref_2object(\$value)->FLAGS & B::SVf_POK ? 'string' : 'number';
}

sub _errors {
    my ($at, $schema, $value) = @_;
    my $kind = _kind($value);
    if (my $name = $schema->{'$ref'}) {
        $name =~ s{.*/}{};
        return _errors($at, $definitions->{$name} || die("no definition $name\n"), $value);
    }
    my @wrong;
    push @wrong, "$at: $kind, not $schema->{type}" if $schema->{type} && $schema->{type} ne $kind;
    push @wrong, "$at: not of its list" if $schema->{enum} && !grep { defined $value && $_ eq $value } @{ $schema->{enum} };
    push @wrong, map { _errors($at, $_, $value) } @{ $schema->{allOf} || [] };
    push @wrong, _one_of($at, $schema->{oneOf}, $value) if $schema->{oneOf};
    return (@wrong, $kind eq 'object' ? _object_errors($at, $schema, $value)
        : $kind eq 'array' && $schema->{items} ? map { _errors("$at\[$_]", $schema->{items}, $value->[$_]) } 0 .. $#$value
        : $kind eq 'string' ? _string_errors($at, $schema, $value)
        : $kind eq 'number' ? _number_errors($at, $schema, $value) : ());
}

sub _one_of {
    my ($at, $choices, $value) = @_;
    my @errors = map { [_errors($at, $_, $value)] } @$choices;
    my @fit = grep { !@$_ } @errors;
    return @fit == 1 ? () : @fit ? "$at: fits more than one" : ("$at: fits none of:", map { "  " . join '; ', @$_ } @errors);
}

sub _object_errors {
    my ($at, $schema, $value) = @_;
    my $known = $schema->{properties};
    return (
        (map { exists $value->{$_} ? () : "$at.$_: missing" } @{ $schema->{required} || [] }),
        (map { !$known || $known->{$_} ? () : "$at.$_: should not exist" } sort keys %$value),
        (map { $known && $known->{$_} ? _errors("$at.$_", $known->{$_}, $value->{$_}) : () } sort keys %$value),
    );
}

sub _string_errors {
    my ($at, $schema, $value) = @_;
    return (
        length $value < ($schema->{minLength} // 0) ? "$at: too short" : (),
        length $value > ($schema->{maxLength} // 1e9) ? "$at: too long" : (),
        $schema->{pattern} && $value !~ /$schema->{pattern}/ ? "$at: not of its pattern" : (),
    );
}

sub _number_errors {
    my ($at, $schema, $value) = @_;
    return ($value < ($schema->{minimum} // -1e9) ? "$at: too small" : (), $value > ($schema->{maximum} // 1e9) ? "$at: too large" : ());
}

1;
