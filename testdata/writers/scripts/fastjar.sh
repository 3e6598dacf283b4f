# GNU fastjar, without a manifest. It adds a folder with everything in it, but for -E.
set -eu
mode=$1 archive=$2
shift 2
case $mode in
file) fastjar -cMEf "$archive" "$@" ;;
pipe) fastjar -cME "$@" ;;
stored) fastjar -cM0Ef "$archive" "$@" ;;
stored-pipe) fastjar -cM0E "$@" ;;
update) fastjar -uMEf "$archive" "$@" ;;
esac
