# Apache Ant's <zip> task.
set -eu
mode=$1 archive=$2
shift 2
filesonly=true
for name; do
	case $name in */) filesonly=false ;; esac
done
options="destfile=\"$archive\" filesonly=\"$filesonly\" encoding=\"UTF-8\""
case $mode in
zip64) options="$options zip64mode=\"always\"" ;;
stored) options="$options compress=\"false\"" ;;
update) options="$options update=\"true\"" ;;
esac
build=$(mktemp)
trap 'rm -f "$build"' EXIT
echo "<project><zip $options><fileset dir=\"$PWD\" defaultexcludes=\"false\"/></zip></project>" >"$build"
ant -q -S -f "$build"
