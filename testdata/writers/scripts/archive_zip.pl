# Perl's Archive::Zip.
use strict;
use warnings;
use Archive::Zip qw(:CONSTANTS :ERROR_CODES);
use Encode qw(decode);

$Archive::Zip::UNICODE = 1;
my ($mode, $archive, @names) = @ARGV;
my $zip = Archive::Zip->new();
if ($mode eq 'update') {
    $zip->read($archive) == AZ_OK or die;
    defined $zip->removeMember($_) for @names, $ENV{DELETE};
}
$zip->desiredZip64Mode(ZIP64_HEADERS) if $mode =~ /zip64/;
for my $name (@names) {
    my $member = $name =~ m{/$} ? $zip->addDirectory($name, decode('UTF-8', $name)) : $zip->addFile($name, decode('UTF-8', $name));
    $member->desiredCompressionMethod(COMPRESSION_STORED) if $mode =~ /stored/;
}
if ($mode =~ /pipe/) {
    binmode STDOUT;
    $zip->writeToFileHandle(*STDOUT, 0) == AZ_OK or die;
} elsif ($mode eq 'update') {
    $zip->overwrite() == AZ_OK or die;
} else {
    $zip->writeToFileNamed($archive) == AZ_OK or die;
}
