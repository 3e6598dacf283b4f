# Perl's IO::Compress::Zip.
use strict;
use warnings;
use IO::Compress::Zip qw(:constants $ZipError);

my ($mode, $archive, @names) = @ARGV;
my $zip;
for my $name (@names) {
    my $store = $mode =~ /stored/ || $name =~ m{/$};
    my @options = (
        Name => $name, Efs => 1, Method => $store ? ZIP_CM_STORE : ZIP_CM_DEFLATE,
        Zip64 => scalar($mode =~ /zip64/), Stream => scalar($mode =~ /pipe/),
    );
    if ($zip) {
        $zip->newStream(@options);
    } else {
        $zip = IO::Compress::Zip->new($mode =~ /pipe/ ? '-' : $archive, @options) or die $ZipError;
    }
    next if $name =~ m{/$};
    open my $file, '<:raw', $name or die "$name: $!";
    local $/;
    $zip->print(<$file>);
}
$zip->close() or die $ZipError;
