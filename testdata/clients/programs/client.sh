#!/bin/sh
# Sends the upload with curl or wget. The mode is the argument. See run.go.
set -u
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

say() { printf '%s: %s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')"; }

# An empty token is no header: with curl, "Auth-Token:" removes it.
with_curl() {
	status=$(curl -sS -o "$folder/body" -w '%{http_code}' --cacert "$SSL_CERT_FILE" -H "Auth-Token:${TOKEN:+ $TOKEN}" "$@" "$URL" 2>"$folder/errors")
	if [ "$status" = 000 ] || [ ! -s "$folder/body" ]; then
		say failed "$(cat "$folder/errors")"
		return
	fi
	say status "$status"
	say body "$(cat "$folder/body")"
	say shown "$(cat "$folder/body")"
}

with_wget() {
	wget --tries=1 --no-verbose --content-on-error -O "$folder/body" --ca-certificate="$SSL_CERT_FILE" ${TOKEN:+--header="Auth-Token: $TOKEN"} \
		--header="Content-Type: $FORM_TYPE" --post-file="$FORM" "$URL" 2>"$folder/errors"
	errors=$(cat "$folder/errors")
	status=$(printf %s "$errors" | sed -n 's/.*ERROR \([0-9][0-9][0-9]\):.*/\1/p')
	if [ -z "$status" ]; then
		say failed "${errors:-nothing}"
		return
	fi
	say status "$status"
	say body "$(cat "$folder/body")"
	say shown "$(printf %s "$errors" | sed 's/.*ERROR/ERROR/')"
}

case $1 in
curl) with_curl --form "symbols.zip=@$ARCHIVE" ;;
curl-no-expect) with_curl -H Expect: --form "symbols.zip=@$ARCHIVE" ;;
curl-chunked) with_curl -H Expect: -H "Transfer-Encoding: chunked" --form "symbols.zip=@$ARCHIVE" ;;
curl-pipe) with_curl -X POST -H Expect: -H "Content-Type: $FORM_TYPE" --upload-file - <"$FORM" ;;
wget) with_wget ;;
esac
