# Info-ZIP's zip with -UN=UTF8. It knows UTF-8 only in the locale en_US.UTF-8.
set -eu
LOCPATH=$(mktemp -d)
export LOCPATH ZIPOPT=-UN=UTF8
trap 'rm -rf "$LOCPATH"' EXIT
localedef -i en_US -f UTF-8 "$LOCPATH/en_US.UTF-8"
sh "$(dirname "$0")/infozip.sh" "$@"
