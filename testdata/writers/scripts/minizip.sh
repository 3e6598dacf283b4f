# zlib's minizip.
set -eu
mode=$1 archive=$2
shift 2
case $mode in
file) minizip -o "$archive" "$@" ;;
stored) minizip -o -0 "$archive" "$@" ;;
update) minizip -a "$archive" "$@" ;;
esac >/dev/null
