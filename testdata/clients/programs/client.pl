# Sends the upload with Perl's LWP or HTTP::Tiny. The mode is the argument. See run.go.
use strict;
use warnings;

sub say_it {
    my ($key, $value) = @_;
    $value =~ s/\s+/ /g;
    print "$key: $value\n";
}

sub with_lwp {
    require LWP::UserAgent;
    require HTTP::Request::Common;
    no warnings 'once';
    local $HTTP::Request::Common::DYNAMIC_FILE_UPLOAD = 1;
    my @token = $ENV{TOKEN} ne '' ? ('Auth-Token' => $ENV{TOKEN}) : ();
    my $request = HTTP::Request::Common::POST($ENV{URL}, @token, Content_Type => 'form-data', Content => ['symbols.zip' => [$ENV{ARCHIVE}]]);
    my $response = LWP::UserAgent->new(timeout => 300, ssl_opts => {SSL_ca_file => $ENV{SSL_CERT_FILE}})->request($request);
    if (($response->header('Client-Warning') // '') eq 'Internal response') {
        return say_it('failed', $response->status_line);
    }
    say_it('status', $response->code);
    say_it('body', $response->decoded_content);
    say_it('shown', $response->status_line);
}

sub with_tiny {
    require HTTP::Tiny;
    open(my $form, '<:raw', $ENV{FORM}) or die $!;
    my %headers = ('Content-Type' => $ENV{FORM_TYPE}, 'Content-Length' => -s $ENV{FORM});
    $headers{'Auth-Token'} = $ENV{TOKEN} if $ENV{TOKEN} ne '';
    my $response = HTTP::Tiny->new(timeout => 300, verify_SSL => 1, SSL_options => {SSL_ca_file => $ENV{SSL_CERT_FILE}})->request(
        'POST', $ENV{URL}, {headers => \%headers, content => sub { read($form, my $piece, 1 << 16); $piece }});
    return say_it('failed', $response->{content}) if $response->{status} == 599;
    say_it('status', $response->{status});
    say_it('body', $response->{content});
    say_it('shown', "$response->{status} $response->{reason}");
}

$ARGV[0] eq 'lwp' ? with_lwp() : with_tiny();
