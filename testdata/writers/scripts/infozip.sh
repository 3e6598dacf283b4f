# Info-ZIP's zip.
set -eu
mode=$1 archive=$2
shift 2
case $mode in
file) zip -q "$archive" "$@" ;;
pipe) zip -q - "$@" ;;
zip64) zip -q -fz "$archive" "$@" ;;
zip64-pipe) zip -q -fz - "$@" ;;
stored) zip -q -0 "$archive" "$@" ;;
stored-pipe) zip -q -0 - "$@" ;;
update)
	zip -q "$archive" "$@"
	zip -q -d "$archive" "$DELETE"
	;;
esac
