# 7-Zip. It adds a folder with everything in it, so it gets the whole tree if there are
# folders to add.
set -eu
mode=$1 archive=$2
shift 2
for name; do
	case $name in */) set -- * ;; esac
done
case $mode in
file) 7zz a -tzip -bso0 -bsp0 "$archive" "$@" ;;
pipe) 7zz a -tzip -bsp0 -so stdout "$@" ;;
stored) 7zz a -tzip -mx=0 -bso0 -bsp0 "$archive" "$@" ;;
stored-pipe) 7zz a -tzip -mx=0 -bsp0 -so stdout "$@" ;;
update)
	7zz a -tzip -bso0 -bsp0 "$archive" "$@"
	7zz d -tzip -bso0 -bsp0 "$archive" "$DELETE"
	;;
esac
