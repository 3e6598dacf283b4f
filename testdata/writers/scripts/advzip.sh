# AdvanceCOMP's advzip. It keeps the path of a file only if it finds it in a folder.
set -eu
mode=$1 archive=$2
case $mode in
file) advzip -q -a "$archive" * ;;
stored) advzip -q -a -0 "$archive" * ;;
esac
