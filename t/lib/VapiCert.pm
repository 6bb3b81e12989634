# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiCert;

# Certificates for servers on loopback, good ones and bad ones.
use strict;
use warnings;
use IO::Socket::SSL::Utils qw(CERT_create KEY_create_ec PEM_cert2file PEM_key2file);

# Makes DIR/ca.pem and, signed by it, DIR/server.pem with DIR/server.key. `kind`: good, wrong-name, expired, unknown-ca.
sub make {
    my ($dir, $kind) = @_;
    my @day = (86400, time);
    my $name = $kind eq 'wrong-name' ? [[DNS => 'elsewhere.example.com']] : [[DNS => 'localhost'], [IP => '127.0.0.1']];
    my $trusted = _authority();
    my $issuer = $kind eq 'unknown-ca' ? _authority() : $trusted;
    my ($cert, $key) = CERT_create(
        key => KEY_create_ec('prime256v1'),
        subject => { commonName => 'localhost' },
        subjectAltNames => $name,
        issuer => $issuer,
        purpose => 'server',
        not_before => $day[1] - 10 * $day[0],
        not_after => $day[1] + ($kind eq 'expired' ? -1 : 10) * $day[0],
    );
    PEM_cert2file($trusted->[0], "$dir/ca.pem");
    PEM_cert2file($cert, "$dir/server.pem");
    PEM_key2file($key, "$dir/server.key");
}

sub _authority {
    my ($cert, $key) = CERT_create(
        CA => 1,
        key => KEY_create_ec('prime256v1'),
        subject => { commonName => 'Test authority ' . int rand 1e9 },
        not_before => time - 86400,
        not_after => time + 20 * 86400,
    );
    return [$cert, $key];
}

1;
