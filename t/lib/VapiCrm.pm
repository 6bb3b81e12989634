# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiCrm;

# A stand-in for the customer's own systems, which lookups ask: a VapiControl that answers JSON by the first part of the path.
#
#     my $crm = VapiCrm->new(answers => { customers => { json => { tier => 'gold' } }, slow => { json => {}, delay => 500 } });
#     VapiLookup crm url=@{[ $crm->base ]}/customers/%{VAPI_CALLER}
#     $crm->answers(customers => { status => 404 });
#
# An answer holds json (data), or body (bytes), fill (a length that blanks behind it make), and status, headers or the words of a BEHAVIOUR; a path
# without one is answered as VapiControl does.
use strict;
use warnings;
use JSON::PP ();
use VapiControl;
use VapiHttpd qw(slurp spit);

our @ISA = ('VapiControl');

my $json = JSON::PP->new->canonical->utf8->allow_nonref;

sub new {
    my ($class, %o) = @_;
    my $self = $class->SUPER::new(%o);
    $self->answers(%{ $o{answers} || {} });
    return $self;
}

# Changes what these parts answer, from the next request on.
sub answers {
    my ($self, %answers) = @_;
    for my $part (keys %answers) {
        my $file = "$self->{dir}/answer-$part";
        spit("$file.new", $json->encode($answers{$part}));
        rename "$file.new", $file or die "$file: $!";
    }
}

# What was asked while this was done: its requests, in order.
sub asked {
    my ($self, $do) = @_;
    $self->clear;
    $do->();
    return $self->requests;
}

sub _answer {
    my ($self, $request) = @_;
    my ($part) = $request->{path} =~ m{\A(?:http://[^/]+)?/([^/?%]+)};
    my $file = "$self->{dir}/answer-" . ($part // '');
    return $self->SUPER::_answer($request) if !-e $file;
    my $answer = $json->decode(slurp($file));
    $answer->{body} = $json->encode($answer->{json}) if exists $answer->{json};
    $answer->{body} .= ' ' x ($answer->{fill} - length $answer->{body}) if $answer->{fill};
    return $answer;
}

1;
