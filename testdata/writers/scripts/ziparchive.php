<?php
// PHP's ZipArchive.
[, $mode, $archive] = $argv;
$zip = new ZipArchive();
if ($zip->open($archive, $mode === 'update' ? 0 : ZipArchive::CREATE) !== true) {
    exit(1);
}
foreach (array_slice($argv, 3) as $name) {
    if (str_ends_with($name, '/')) {
        $done = $zip->addEmptyDir(rtrim($name, '/'));
    } else {
        $done = $zip->addFile($name, $name) && ($mode !== 'stored' || $zip->setCompressionName($name, ZipArchive::CM_STORE));
    }
    $done || exit(1);
}
if ($mode === 'update') {
    $zip->deleteName(getenv('DELETE')) || exit(1);
}
$zip->close() || exit(1);
