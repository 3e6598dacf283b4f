# git archive. To a pipe, it streams large files; here all files are large.
set -eu
mode=$1 archive=$2
shift 2
GIT_DIR=$(mktemp -d)
export GIT_DIR GIT_WORK_TREE=.
trap 'rm -rf "$GIT_DIR"' EXIT
git init -q
git add -f .
tree=$(git write-tree)
case $mode in
file) git archive --format=zip -o "$archive" "$tree" ;;
pipe) git -c core.bigFileThreshold=1 archive --format=zip "$tree" ;;
stored) git archive --format=zip -0 -o "$archive" "$tree" ;;
stored-pipe) git -c core.bigFileThreshold=1 archive --format=zip -0 "$tree" ;;
esac
