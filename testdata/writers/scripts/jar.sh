# The JDK's jar, without a manifest. It adds a folder with everything in it, so it gets the
# whole tree if there are folders to add.
set -eu
mode=$1 archive=$2
shift 2
for name; do
	case $name in */) set -- * ;; esac
done
case $mode in
file) jar -cMf "$archive" "$@" ;;
pipe) jar -cM "$@" ;;
stored) jar -cM0f "$archive" "$@" ;;
stored-pipe) jar -cM0 "$@" ;;
update) jar -uMf "$archive" "$@" ;;
esac
