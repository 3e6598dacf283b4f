<?php
// Sends the upload with PHP. The mode is the argument. See run.go.

function say(string $key, $value): void
{
    echo $key, ': ', preg_replace('/\s+/', ' ', (string) $value), "\n";
}

function withCurl(): void
{
    $curl = curl_init(getenv('URL'));
    curl_setopt_array($curl, [
        CURLOPT_POSTFIELDS => ['symbols.zip' => new CURLFile(getenv('ARCHIVE'))],
        CURLOPT_HTTPHEADER => getenv('TOKEN') !== '' ? ['Auth-Token: ' . getenv('TOKEN')] : [],
        CURLOPT_CAINFO => getenv('SSL_CERT_FILE'),
        CURLOPT_RETURNTRANSFER => true,
    ]);
    $body = curl_exec($curl);
    if ($body === false) {
        say('failed', curl_error($curl));
        return;
    }
    say('status', curl_getinfo($curl, CURLINFO_RESPONSE_CODE));
    say('body', $body);
}

function withStream(): void
{
    ini_set('memory_limit', '-1'); // the content has to be a string
    $headers = 'Content-Type: ' . getenv('FORM_TYPE');
    if (getenv('TOKEN') !== '') {
        $headers .= "\r\nAuth-Token: " . getenv('TOKEN');
    }
    $context = stream_context_create([
        'http' => ['method' => 'POST', 'header' => $headers, 'content' => file_get_contents(getenv('FORM')), 'timeout' => 300, 'ignore_errors' => true],
        'ssl' => ['cafile' => getenv('SSL_CERT_FILE')],
    ]);
    $body = @file_get_contents(getenv('URL'), false, $context);
    if (empty($http_response_header)) {
        say('failed', error_get_last()['message'] ?? '');
        return;
    }
    say('status', explode(' ', $http_response_header[0])[1]);
    say('body', $body);
    say('shown', $http_response_header[0]); // in a warning, without ignore_errors
}

$argv[1] === 'curl' ? withCurl() : withStream();
