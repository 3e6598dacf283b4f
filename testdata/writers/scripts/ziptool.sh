# libzip's ziptool.
set -eu
mode=$1 archive=$2
shift 2
index() { ziptool "$archive" name_locate "$1" 0 | grep -oE '[0-9]+$'; }
case $mode in
file | stored)
	number=0
	for name; do
		case $name in
		*/) ziptool -n "$archive" add_dir "$name" ;;
		*) ziptool -n "$archive" add_file "$name" "$name" 0 "$(stat -c %s "$name")" ;;
		esac
		if [ "$mode" = stored ]; then ziptool "$archive" set_file_compression "$number" store 0; fi
		number=$((number + 1))
	done
	;;
update)
	for name; do
		if number=$(index "$name"); then
			ziptool "$archive" delete "$number"
		fi
		ziptool "$archive" add_file "$name" "$name" 0 "$(stat -c %s "$name")"
	done
	ziptool "$archive" delete "$(index "$DELETE")"
	;;
esac
