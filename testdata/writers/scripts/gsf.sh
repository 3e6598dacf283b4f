# GNOME's libgsf. It keeps the path of a file only if it finds it in a folder.
set -eu
archive=$2
gsf createzip "$archive" *
