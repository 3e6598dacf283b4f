# libarchive's bsdtar.
set -eu
mode=$1 archive=$2
shift 2
case $mode in
file) bsdtar --format zip -ncf "$archive" "$@" ;;
pipe) bsdtar --format zip -ncf - "$@" ;;
zip64) bsdtar --format zip --options zip:zip64 -ncf "$archive" "$@" ;;
zip64-pipe) bsdtar --format zip --options zip:zip64 -ncf - "$@" ;;
stored) bsdtar --format zip --options zip:compression=store -ncf "$archive" "$@" ;;
stored-pipe) bsdtar --format zip --options zip:compression=store -ncf - "$@" ;;
esac
