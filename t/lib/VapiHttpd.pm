# Licensed under the Apache License, Version 2.0; see LICENSE.
package VapiHttpd;

# Finds this machine's Apache and the lines that any configuration of it needs. For the tests and for the demonstration.
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use IO::Socket::INET;

our @EXPORT_OK = qw(top module_file program base_conf closed_port free_port sanitizer_environment spit slurp);

my $top = abs_path(dirname(__FILE__) . '/../..');

sub top { $top }

sub module_file {
    my $build = $ENV{VAPI_TEST_BUILD} || 'build';
    $build = "$top/$build" if $build !~ m{^/};
    return "$build/mod_vapi_transfer.so";
}

my %asked;

sub _ask {
    my ($name) = @_;
    return $asked{$name} //= do {
        my ($apxs) = grep { -x } $ENV{APXS} || (), map { ("$_/apxs", "$_/apxs2") } split /:/, $ENV{PATH};
        die "apxs was not found: t/setup installs it\n" if !$apxs;
        chomp(my $said = `$apxs -q $name`);
        $said;
    };
}

sub program { _ask('SBINDIR') . '/' . _ask('PROGNAME') }

my $compiled_in;

sub _is_compiled_in {
    my ($name) = @_;
    if (!$compiled_in) {
        my $httpd = program();
        $compiled_in = { map { (/^\s+(?:mod_)?(\w+)\.c$/ ? ($1 => 1) : ()) } `$httpd -l` };
    }
    return $compiled_in->{$name};
}

sub _load {
    my ($name) = @_;
    (my $source = $name) =~ s/^mpm_//;
    return '' if _is_compiled_in($source);
    return "LoadModule ${name}_module \"" . _ask('LIBEXECDIR') . "/mod_$name.so\"\n";
}

# dir, port, mpm, modules => [more], processes, threads, log_level, module => 0 to do without mod_vapi_transfer
sub base_conf {
    my (%o) = @_;
    my ($processes, $threads) = ($o{processes} || 2, $o{threads} || 8);
    my $workers = $processes * $threads;
    my $conf = join '', map { _load($_) } "mpm_$o{mpm}", qw(unixd authz_core log_config), @{ $o{modules} || [] };
    $conf .= 'LoadModule vapi_transfer_module "' . module_file() . "\"\n" if $o{module} // 1;
    $conf .= <<"END";
ServerRoot "$o{dir}"
DefaultRuntimeDir "$o{dir}/run"
PidFile "$o{dir}/run/httpd.pid"
ErrorLog "$o{dir}/error_log"
LogLevel $o{log_level}
ServerName localhost:$o{port}
Listen 127.0.0.1:$o{port}
END
    if ($> == 0) {
        my ($user) = grep { defined getpwnam $_ } qw(www-data apache nobody);
        $conf .= "User $user\nGroup #" . (getpwnam $user)[3] . "\n";
    }
    if ($o{mpm} eq 'prefork') {
        $conf .= "ServerLimit $workers\nStartServers $processes\nMinSpareServers 1\nMaxSpareServers $workers\nMaxRequestWorkers $workers\n";
    }
    else {
        # Room for the children of earlier generations, which end their requests while the new ones serve.
        my $limit = 4 * $processes;
        my $spare = $workers + $threads;
        $conf .= "ServerLimit $limit\nStartServers $processes\nThreadLimit $threads\nThreadsPerChild $threads\n"
            . "MinSpareThreads $threads\nMaxSpareThreads $spare\nMaxRequestWorkers $workers\n";
    }
    return $conf;
}

# A port of 127.0.0.1 on which nobody listens.
sub free_port {
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1) or die "no free port: $!";
    return $socket->sockport;
}

my @kept_closed;

# One on which nobody listens, nor can as long as this program runs.
sub closed_port {
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp') or die "no closed port: $!";
    push @kept_closed, $socket;
    return $socket->sockport;
}

# A module that was built with AddressSanitizer needs its runtime in the program that loads it.
sub sanitizer_environment {
    my $module = module_file();
    return () if !-e $module || slurp($module) !~ /__asan_init/;
    my @runtime = map { my $file = `gcc -print-file-name=$_.so`; chomp $file; $file } qw(libasan libubsan);
    return (
        LD_PRELOAD => "@runtime",
        ASAN_OPTIONS => $ENV{ASAN_OPTIONS} || 'detect_leaks=0',
        UBSAN_OPTIONS => $ENV{UBSAN_OPTIONS} || 'print_stacktrace=1',
    );
}

sub slurp {
    my ($file) = @_;
    open my $in, '<:raw', $file or die "$file: $!";
    local $/;
    return scalar <$in> // '';
}

sub spit {
    my ($file, $text) = @_;
    open my $out, '>:raw', $file or die "$file: $!";
    print $out $text;
    close $out or die "$file: $!";
}

1;
